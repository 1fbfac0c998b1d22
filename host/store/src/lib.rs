//! The store: two append-only sequences of records and a few maps in one file. What a batch holds is
//! committed together, and is there after a loss of power. Bytes only; what they mean is for others
//! to know.
//!
//! ```
//! use stillhouse_store::{Batch, Map, MemoryStorage, Sequence, Store};
//!
//! let store = Store::open_on(MemoryStorage::default())?;
//! let mut batch = Batch::default();
//! batch.append(Sequence::Log, 0, 1_700_000_000_000_000, b"the first record");
//! batch.put(Map::Positions, b"kubelet.log", b"4096".to_vec());
//! store.write(&batch)?;
//!
//! let first = store.read(Sequence::Log, 0)?.next().expect("one record")?;
//! assert_eq!((first.position, first.bytes()), (0, b"the first record".as_slice()));
//! assert_eq!(store.get(Map::Positions, b"kubelet.log")?.as_deref(), Some(b"4096".as_slice()));
//! # Ok::<(), stillhouse_store::StoreError>(())
//! ```

pub mod fault;
#[doc(hidden)]
pub mod forged;

mod batch;
mod block;
mod check;
mod codec;
mod committer;
mod database;
mod error;
mod read;
mod retention;
mod storage;
mod store;

pub use batch::{BLOCK_BYTES, Batch, BatchError, KEY_BYTES_MAX, Packed, RECORD_BYTES_MAX, VALUE_BYTES_MAX};
pub use block::BlockInfo;
pub use check::{DAMAGES_MAX, Damage, MapReport, Place, Report, SequenceReport, check};
pub use committer::{CommitCounts, CommitError, CommitOptions, Committer, Health};
pub use error::StoreError;
pub use read::{Record, Records, Scan};
pub use retention::{Retention, trim_to};
pub use storage::{FileStorage, MemoryStorage, Overlay, Storage};
pub use store::Store;

/// The version of the format that this code writes and reads.
pub const FORMAT: u64 = 1;

/// An append-only sequence of records with dense positions from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sequence {
    /// What the core was given.
    Log,
    /// What left it.
    Events,
}

impl Sequence {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Log, Self::Events];

    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Events => "events",
        }
    }
}

/// A map from bytes to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Map {
    /// What a run is told about itself.
    Meta,
    /// State from which a restart goes on.
    Checkpoints,
    /// How far each reader of a sequence has come.
    Cursors,
    /// How far each source has been read.
    Positions,
    /// Dead letters.
    Dead,
    /// Files that a replay needs, by digest.
    Files,
}

impl Map {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Meta, Self::Checkpoints, Self::Cursors, Self::Positions, Self::Dead, Self::Files];

    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Checkpoints => "checkpoints",
            Self::Cursors => "cursors",
            Self::Positions => "positions",
            Self::Dead => "dead",
            Self::Files => "files",
        }
    }
}
