//! The program `stillhouse` as a library, so that tests and benches can drive it in memory.

pub mod author;
pub mod clock;
pub mod config;
pub mod control;
pub mod decode;
pub mod demo;
pub mod diff;
pub mod durable;
pub mod explain;
#[cfg(feature = "export")]
pub mod export;
pub mod input;
pub mod intake;
pub mod journal;
pub mod map;
pub mod mask;
pub mod metric;
pub mod pipeline;
pub mod replay;
pub mod rollouts;
pub mod rules;
pub mod run;
pub mod score;
pub mod scrub;
pub mod sinks;
pub mod snapshots;
pub mod summary;
pub mod tables;
pub mod tune;
mod watched;

/// Chunks and blocks come and go at a high rate and are passed between threads; this allocator keeps
/// their memory instead of giving it back to the system each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
