//! A block: consecutive records of a sequence, compressed and checked together.
//!
//! Raw, it is the records one after the other, each with its length before it, 4 bytes little-endian. It is stored
//! compressed, or as it is if that is no longer; the two lengths tell which. Its entry in the index has, little-endian:
//! how many records (4 bytes), the raw (4) and the stored length (4), the time (8), the CRC-32 of what is stored (4),
//! and the CRC-32 of the entry with its sequence and first position (4).

use std::borrow::Cow;
use std::ops::Range;

use crate::codec::{compress, decompress, u32_at};
use crate::{BLOCK_BYTES, RECORD_BYTES_MAX, Sequence};

/// A block ends with the record that takes it to [`BLOCK_BYTES`].
pub const RAW_BYTES_MAX: usize = BLOCK_BYTES + RECORD_BYTES_MAX + LENGTH_BYTES;
const _: () = assert!(RAW_BYTES_MAX < u32::MAX as usize);

/// What stands before each record.
pub const LENGTH_BYTES: usize = 4;

/// A record of so many bytes is long: it is worth a block of its own.
const LONG_BYTES: usize = 64 << 10;

const ENTRY_BYTES: usize = 28;

/// What is known of a block without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockInfo {
    /// The position of its first record.
    pub first: u64,
    /// How many records it has.
    pub count: u32,
    /// Bytes of its records, with 4 for the length of each.
    pub raw_bytes: u32,
    /// Bytes that are stored of it.
    pub stored_bytes: u32,
    /// The latest of the times that were given with its records.
    pub time_us: i64,
}

impl BlockInfo {
    /// The position after its last record.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }
}

/// A block on its way into the store.
#[derive(Clone, Debug)]
pub struct Block {
    pub first: u64,
    pub count: u32,
    pub time_us: i64,
    pub raw_bytes: usize,
    bytes: Vec<u8>,
    is_sealed: bool,
}

impl Block {
    pub fn new(first: u64) -> Self {
        Self { first, count: 0, time_us: i64::MIN, raw_bytes: 0, bytes: Vec::new(), is_sealed: false }
    }

    pub fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// Whether more may be appended.
    pub fn is_open(&self) -> bool {
        !self.is_sealed && self.raw_bytes < BLOCK_BYTES
    }

    /// Appends one record, given in parts.
    pub fn append(&mut self, time_us: i64, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        self.bytes.extend_from_slice(&(length as u32).to_le_bytes());
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.raw_bytes = self.bytes.len();
        self.count += 1;
        self.time_us = self.time_us.max(time_us);
    }

    /// A block of one record, given in parts; sealed if it is long. Its position and time are not known yet.
    pub fn packed(parts: &[&[u8]]) -> Self {
        let mut block = Self::new(0);
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length < LONG_BYTES {
            block.append(i64::MIN, parts);
            return block;
        }
        let start = (length as u32).to_le_bytes();
        let raw: Vec<&[u8]> = std::iter::once(start.as_slice()).chain(parts.iter().copied()).collect();
        block.raw_bytes = LENGTH_BYTES + length;
        block.bytes = compress(&raw).unwrap_or_else(|| raw.concat());
        (block.count, block.is_sealed) = (1, true);
        block
    }

    /// Takes in the block that follows, or gives it back if the two are too long for one.
    pub fn join(&mut self, later: Self) -> Option<Self> {
        if !self.is_open() || later.is_sealed || self.raw_bytes + later.raw_bytes > BLOCK_BYTES {
            return Some(later);
        }
        self.bytes.extend_from_slice(&later.bytes);
        self.raw_bytes = self.bytes.len();
        self.count += later.count;
        self.time_us = self.time_us.max(later.time_us);
        None
    }

    pub fn seal(&mut self) {
        if !self.is_sealed {
            if let Some(short) = compress(&[&self.bytes]) {
                self.bytes = short;
            }
            self.is_sealed = true;
        }
    }

    /// What is stored of it: its entry in the index, and its bytes.
    pub fn stored(&self, sequence: Sequence) -> ([u8; ENTRY_BYTES], Cow<'_, [u8]>) {
        let short = if self.is_sealed { None } else { compress(&[&self.bytes]) };
        let bytes = short.map_or(Cow::Borrowed(self.bytes.as_slice()), Cow::Owned);
        let entry = entry(sequence, self.first, self.count, self.raw_bytes as u32, self.time_us, &bytes);
        (entry, bytes)
    }
}

/// The entry in the index of a block of which `bytes` is stored.
pub fn entry(
    sequence: Sequence,
    first: u64,
    count: u32,
    raw_bytes: u32,
    time_us: i64,
    bytes: &[u8],
) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    entry[0..4].copy_from_slice(&count.to_le_bytes());
    entry[4..8].copy_from_slice(&raw_bytes.to_le_bytes());
    entry[8..12].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
    entry[12..20].copy_from_slice(&time_us.to_le_bytes());
    entry[20..24].copy_from_slice(&crc32fast::hash(bytes).to_le_bytes());
    let check = checksum(sequence, first, &entry[..24]);
    entry[24..].copy_from_slice(&check.to_le_bytes());
    entry
}

fn checksum(sequence: Sequence, first: u64, entry: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(sequence.name().as_bytes());
    hasher.update(&first.to_le_bytes());
    hasher.update(entry);
    hasher.finalize()
}

/// An entry of the index, checked.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub info: BlockInfo,
    check: u32,
}

impl Entry {
    pub fn decode(sequence: Sequence, first: u64, bytes: &[u8]) -> Result<Self, String> {
        let number = |at| u32_at(bytes, at);
        let time = bytes.get(12..20).and_then(|time| time.try_into().ok()).map(i64::from_le_bytes);
        let (Some(count), Some(raw_bytes), Some(stored_bytes), Some(time_us), Some(check), Some(own), ENTRY_BYTES) =
            (number(0), number(4), number(8), time, number(20), number(24), bytes.len())
        else {
            return Err(format!("the entry of a block has {} bytes, not {ENTRY_BYTES}", bytes.len()));
        };
        if checksum(sequence, first, &bytes[..24]) != own {
            return Err("the entry of a block does not match its checksum".to_owned());
        }
        let info = BlockInfo { first, count, raw_bytes, stored_bytes, time_us };
        let is_sound = count > 0 && stored_bytes <= raw_bytes && raw_bytes as usize <= RAW_BYTES_MAX;
        if is_sound { Ok(Self { info, check }) } else { Err(format!("the entry of a block makes no sense: {info:?}")) }
    }

    /// The raw bytes of the block of which `stored` is stored, and where its records are in them.
    pub fn open(&self, stored: Vec<u8>) -> Result<(Vec<u8>, Vec<Range<usize>>), String> {
        let BlockInfo { count, raw_bytes, stored_bytes, .. } = self.info;
        if stored.len() != stored_bytes as usize {
            return Err(format!("a block has {} bytes, not {stored_bytes}", stored.len()));
        }
        if crc32fast::hash(&stored) != self.check {
            return Err("a block does not match its checksum".to_owned());
        }
        let raw = if stored_bytes == raw_bytes {
            stored
        } else {
            decompress(&stored, raw_bytes as usize).map_err(|what| format!("a block {what}"))?
        };
        let records = records(&raw, count).ok_or("the records of a block do not fill it")?;
        Ok((raw, records))
    }
}

/// Where the records of a raw block are.
fn records(raw: &[u8], count: u32) -> Option<Vec<Range<usize>>> {
    let mut records = Vec::with_capacity((count as usize).min(raw.len() / LENGTH_BYTES));
    let mut at = 0;
    for _ in 0..count {
        let start = at + LENGTH_BYTES;
        at = start.checked_add(u32_at(raw, at)? as usize).filter(|end| *end <= raw.len())?;
        records.push(start..at);
    }
    (at == raw.len()).then_some(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_back_or_says_what_is_wrong() {
        let mut block = Block::new(7);
        let records: [&[u8]; 4] = [b"", b"one", &[9; 5000], b"four"];
        records.iter().enumerate().for_each(|(at, record)| block.append(10 - at as i64, &[record]));
        let (entry, stored) = block.stored(Sequence::Log);
        let stored = stored.into_owned();
        let decoded = Entry::decode(Sequence::Log, 7, &entry).unwrap();
        let info = BlockInfo { first: 7, count: 4, raw_bytes: 5023, stored_bytes: stored.len() as u32, time_us: 10 };
        assert_eq!(decoded.info, info);
        let (raw, ranges) = decoded.open(stored.clone()).unwrap();
        assert!(ranges.iter().map(|range| &raw[range.clone()]).eq(records));
        block.seal();
        assert_eq!(block.stored(Sequence::Log), (entry, stored.as_slice().into()), "sealed before or not");

        assert!(Entry::decode(Sequence::Log, 8, &entry).is_err());
        assert!(Entry::decode(Sequence::Events, 7, &entry).is_err());
        assert!(Entry::decode(Sequence::Log, 7, &entry[1..]).is_err());
        for at in 0..entry.len() {
            let mut flipped = entry;
            flipped[at] ^= 1;
            assert!(Entry::decode(Sequence::Log, 7, &flipped).is_err(), "byte {at} of the entry");
        }
        for at in 0..stored.len() {
            let mut flipped = stored.clone();
            flipped[at] ^= 1;
            assert!(decoded.open(flipped).is_err(), "byte {at} of the block");
        }
        assert!(decoded.open(stored[1..].to_vec()).is_err());
    }

    #[test]
    fn records_must_fill_their_block() {
        assert_eq!(records(&[1, 0, 0, 0, 9, 0, 0, 0, 0], 2), Some(vec![4..5, 9..9]));
        assert_eq!(records(&[1, 0, 0, 0, 9], 2), None);
        assert_eq!(records(&[1, 0, 0, 0, 9, 0, 0, 0, 0], 1), None);
        assert_eq!(records(&[255, 255, 255, 255, 9], 1), None);
    }
}
