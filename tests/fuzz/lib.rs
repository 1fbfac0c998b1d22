//! Any bytes into every decoder: the same targets for cargo-fuzz and for `tests/fuzzing.rs`.
// Of what the tests share, not all is used here.
#![allow(dead_code)]

#[path = "../chance.rs"]
mod chance;
#[path = "../derive_told.rs"]
mod derive_told;
/// Events are held against their schema by the tests; here it would only be slow.
mod event_schema {
    pub fn check_lines(_lines: &[u8]) {}
}
#[path = "../generate.rs"]
mod generate;
#[path = "../plans.rs"]
mod plans;
#[path = "../stream.rs"]
mod stream;
#[path = "targets.rs"]
pub mod targets;
