//! The rule runtime of Stillhouse: the only place that knows of WebAssembly.
//!
//! [`RuleEngine::load`] turns a file into a [`Rule`] or says why not. What it
//! has loaded is proved: its file fits the contract and its limits, it imports
//! nothing but the log, its manifest is sound, its own test cases pass, and
//! the same signal gets the same answer whatever stands beside it. A [`Rule`]
//! is cheap to clone; it makes [`MapperInstance`]s and [`SuppressorInstance`]s,
//! one for each worker, which stay warm and are replaced when a call fails.
//!
//! # What a bad rule can do
//! Nothing to anybody else. A call that traps, loops, asks for memory or
//! answers nonsense is repeated with smaller parts of its batch until the rows
//! at fault are alone; these fail, the rest gets its answer. See [`Limits`]
//! for every bound, and `split.rs` for why the outcome of a row does not
//! depend on its batch.

mod batch;
mod bindings;
mod cache;
mod cases;
mod check;
mod compile;
mod compiler;
mod contract;
mod engine;
mod error;
mod failure;
mod fields;
mod guest;
mod instance;
mod limits;
mod load;
mod manifest;
mod proof;
mod purity;
pub mod schema;
pub mod signature;
mod split;
mod turns;
mod whole;
mod worlds;
mod wrap;

pub use batch::{Given, GivenError, batch_from_given};
pub use cases::{Answer, Case, CaseResult};
pub use compiler::{Compiler, compile_apart};
pub use contract::imports;
pub use engine::{EngineConfig, RuleEngine};
pub use error::{EngineError, InstanceError, LoadError, Stage};
pub use failure::{Failure, FailureKind};
pub use instance::{CallStats, MapperInstance, RowFailure, SuppressorInstance};
pub use limits::Limits;
pub use load::{Kind, Rule};
pub use whole::whole;
