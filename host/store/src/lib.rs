//! The log: an append-only file of checked records behind one storage seam. Bytes only; what they
//! mean is for others to know.

pub mod log;
pub mod storage;

pub use log::{Log, LogError};
pub use storage::{FileStorage, MemoryStorage, Storage};
