//! The registry of versions: what commands do, a model written apart, and versions that misbehave.

#[path = "../../../../tests/chance.rs"]
mod chance;
mod model;
mod properties;
mod registry;
mod simulation;
mod world;
