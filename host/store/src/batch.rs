//! What one transaction commits together.

use std::collections::BTreeMap;

use crate::block::{Block, LENGTH_BYTES};
use crate::{Map, Sequence, codec};

/// Consecutive records of a batch form one block until they have so many bytes.
pub const BLOCK_BYTES: usize = 512 << 10;
/// A longer record is refused.
pub const RECORD_BYTES_MAX: usize = 64 << 20;
/// A longer value is refused.
pub const VALUE_BYTES_MAX: usize = 16 << 20;
/// A longer key is refused.
pub const KEY_BYTES_MAX: usize = 16 << 10;

/// Why a batch cannot be written, now or later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// It would leave a gap, or commit something a second time.
    #[error("a record for position {came} of the {}, and the next is {expected}", sequence.name())]
    OutOfOrder {
        /// Whose position.
        sequence: Sequence,
        /// The position that comes next.
        expected: u64,
        /// The position that was given.
        came: u64,
    },
    /// A record, a key or a value is too long.
    #[error("a {what} of {bytes} bytes for the {place}, limit {max}")]
    TooLong {
        /// `record`, `key` or `value`.
        what: &'static str,
        /// For which sequence or map.
        place: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
}

/// A record on its way into a batch, compressed already if it is long: by whoever made it, on as many threads as
/// make records, and not by the one thread that commits.
#[derive(Clone, Debug)]
pub struct Packed(Block);

impl Packed {
    /// The record that these parts are, one after the other.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        Self(Block::packed(parts))
    }

    /// How many bytes the record has uncompressed, with its length.
    #[must_use]
    pub fn raw_bytes(&self) -> usize {
        self.0.raw_bytes
    }
}

/// What one transaction commits together. What is wrong with it is told when it is written.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    runs: [Vec<Block>; 2],
    pub(crate) values: BTreeMap<(Map, Vec<u8>), Option<Vec<u8>>>,
    trims: [u64; 2],
    value_bytes: usize,
    fault: Option<BatchError>,
}

impl Batch {
    /// Appends a record at the position `first`, which follows the last one. Consecutive records form one block,
    /// cut at [`BLOCK_BYTES`]; `time_us` is the time by which it is kept.
    pub fn append(&mut self, sequence: Sequence, first: u64, time_us: i64, record: &[u8]) {
        if record.len() > RECORD_BYTES_MAX {
            return self.too_long("record", sequence.name(), record.len(), RECORD_BYTES_MAX);
        }
        self.expect(sequence, first);
        let run = &mut self.runs[sequence as usize];
        match run.last_mut().filter(|block| block.is_open()) {
            Some(block) => block.append(time_us, &[record]),
            None => {
                let mut block = Block::new(first);
                block.append(time_us, &[record]);
                run.push(block);
            }
        }
    }

    /// As [`Batch::append`], of a record that is packed.
    pub fn append_packed(&mut self, sequence: Sequence, first: u64, time_us: i64, record: Packed) {
        let Packed(mut block) = record;
        if block.raw_bytes - LENGTH_BYTES > RECORD_BYTES_MAX {
            return self.too_long("record", sequence.name(), block.raw_bytes - LENGTH_BYTES, RECORD_BYTES_MAX);
        }
        self.expect(sequence, first);
        (block.first, block.time_us) = (first, time_us);
        self.push(sequence, block);
    }

    /// Sets a value. It is compressed at once if it is long.
    pub fn put(&mut self, map: Map, key: &[u8], value: Vec<u8>) {
        if value.len() > VALUE_BYTES_MAX {
            return self.too_long("value", map.name(), value.len(), VALUE_BYTES_MAX);
        }
        let stored = codec::encode(map.name(), key, &value);
        self.set(map, key.to_vec(), Some(stored));
    }

    /// Deletes a value, if there is one.
    pub fn delete(&mut self, map: Map, key: &[u8]) {
        self.set(map, key.to_vec(), None);
    }

    /// Removes the blocks that end at or before a position, those of this batch too.
    pub fn trim(&mut self, sequence: Sequence, before: u64) {
        let trim = &mut self.trims[sequence as usize];
        *trim = before.max(*trim);
    }

    /// Takes in a batch that follows this one: the two are committed together.
    pub fn merge(&mut self, later: Self) {
        self.fault = self.fault.take().or(later.fault);
        for (sequence, later_run) in Sequence::ALL.into_iter().zip(later.runs) {
            for block in later_run {
                self.expect(sequence, block.first);
                self.push(sequence, block);
            }
            self.trim(sequence, later.trims[sequence as usize]);
        }
        for ((map, key), value) in later.values {
            self.set(map, key, value);
        }
    }

    /// How many bytes its records have uncompressed, and its keys and values as they are stored.
    #[must_use]
    pub fn raw_bytes(&self) -> usize {
        self.value_bytes + self.runs.iter().flatten().map(|block| block.raw_bytes).sum::<usize>()
    }

    /// Whether there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fault.is_none() && self.values.is_empty() && self.trims == [0; 2] && self.runs.iter().all(Vec::is_empty)
    }

    /// Compresses what is appended so far, on this thread. What is appended afterwards begins a new block.
    pub fn seal(&mut self) {
        self.runs.iter_mut().flatten().for_each(Block::seal);
    }

    pub(crate) fn blocks(&self, sequence: Sequence) -> &[Block] {
        &self.runs[sequence as usize]
    }

    pub(crate) fn trimmed(&self, sequence: Sequence) -> u64 {
        self.trims[sequence as usize]
    }

    /// The positions that it appends, if any.
    pub(crate) fn appended(&self, sequence: Sequence) -> Option<std::ops::Range<u64>> {
        let run = self.blocks(sequence);
        Some(run.first()?.first..run.last()?.end())
    }

    pub(crate) fn fault(&self) -> Option<&BatchError> {
        self.fault.as_ref()
    }

    fn expect(&mut self, sequence: Sequence, came: u64) {
        let expected = self.blocks(sequence).last().map_or(came, Block::end);
        if came != expected {
            self.fault.get_or_insert(BatchError::OutOfOrder { sequence, expected, came });
        }
    }

    /// Adds the block that follows to the last one, or behind it.
    fn push(&mut self, sequence: Sequence, block: Block) {
        let run = &mut self.runs[sequence as usize];
        let rest = match run.last_mut() {
            Some(last) => last.join(block),
            None => Some(block),
        };
        run.extend(rest);
    }

    fn set(&mut self, map: Map, key: Vec<u8>, stored: Option<Vec<u8>>) {
        if key.len() > KEY_BYTES_MAX {
            return self.too_long("key", map.name(), key.len(), KEY_BYTES_MAX);
        }
        let size = |stored: &Option<Vec<u8>>| stored.as_ref().map_or(0, Vec::len);
        self.value_bytes += key.len() + size(&stored);
        let key_bytes = key.len();
        if let Some(before) = self.values.insert((map, key), stored) {
            self.value_bytes -= key_bytes + size(&before);
        }
    }

    fn too_long(&mut self, what: &'static str, place: &'static str, bytes: usize, max: usize) {
        self.fault.get_or_insert(BatchError::TooLong { what, place, bytes, max });
    }
}
const _: () = assert!(BLOCK_BYTES > LENGTH_BYTES);
