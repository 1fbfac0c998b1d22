//! The program `stillhouse` as a library, so that tests and benches can drive it in memory.

pub mod clock;
pub mod config;
pub mod decode;
pub mod input;
pub mod map;
pub mod pipeline;
pub mod rules;
pub mod run;
pub mod summary;
