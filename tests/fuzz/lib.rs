//! Any bytes into every decoder: the same targets for cargo-fuzz and for `tests/fuzzing.rs`.
// Of what the tests share, not all is used here.
#![allow(dead_code)]

#[path = "../chance.rs"]
mod chance;
#[path = "../derive_told.rs"]
mod derive_told;
#[path = "../generate.rs"]
mod generate;
#[path = "../plans.rs"]
mod plans;
#[path = "../stream.rs"]
mod stream;
#[path = "targets.rs"]
pub mod targets;
