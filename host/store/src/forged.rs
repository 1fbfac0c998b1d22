//! Blocks and values whose checksums are right whatever is in them, so that what is behind the checksums can be
//! tested with any bytes.

use std::ops::Range;

use crate::block::Entry;
use crate::{Map, Sequence, block, codec};

/// Opens a block of any bytes that says to have so many records and, uncompressed, so many bytes.
///
/// # Errors
/// What is wrong with it.
pub fn block(count: u32, raw_bytes: u32, stored: &[u8]) -> Result<(Vec<u8>, Vec<Range<usize>>), String> {
    let entry = block::entry(Sequence::Log, 0, count, raw_bytes, 0, stored);
    Entry::decode(Sequence::Log, 0, &entry)?.open(stored.to_vec())
}

/// Reads a value that is stored in any way as any bytes.
///
/// # Errors
/// What is wrong with it.
pub fn value(tag: u8, rest: &[u8]) -> Result<Vec<u8>, String> {
    let name = Map::Meta.name();
    codec::decode(name, b"key", &codec::tagged(name, b"key", tag, &[rest]))
}
