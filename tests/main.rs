//! One test binary: an oracle written apart from the core, properties against it, exact vectors.
//!
//! `SEEDS=20000 cargo test --release -p stillhouse-tests` looks longer; a failure prints its seed,
//! and `SEED=17 cargo test ...` runs that one alone.

mod bad_input;
mod chance;
mod cli;
mod config;
mod confirm;
mod corrections;
mod demo;
mod derive_config;
mod derive_incident;
mod derive_objective;
mod derive_told;
mod derive_trigger;
mod drive;
mod examples;
mod flapping;
mod gate;
mod gate_context;
mod gate_fake;
mod gate_flapping;
mod gate_flood;
mod gate_inhibit;
mod gate_properties;
mod gate_spread;
mod gate_truth;
mod generate;
mod hostile;
mod hostile_load;
mod inputs;
mod journal;
mod level;
mod load;
mod model;
mod model_entity;
mod model_evidence;
mod model_flap;
mod model_level;
mod model_window;
mod operators;
mod plans;
mod properties;
mod recordings;
mod recordings_bursts;
mod recordings_kubernetes;
mod score;
mod silence;
mod spread;
mod stream;
mod tidy;
mod transient;
mod tune;
mod vectors;
mod windows;
