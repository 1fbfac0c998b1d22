//! How bytes are compressed, and how a value is stored.
//!
//! A value of a map is stored as a tag (0: as it is, 1: compressed), the CRC-32 of all else of it with its map and key,
//! its length if it is compressed, 4 bytes little-endian each, and its bytes.

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};

use crate::VALUE_BYTES_MAX;

/// Level 1 makes half of what lz4 makes of signals, and is read at 2 GB/s: see the README.
const LEVEL: i32 = 1;

/// A shorter value is stored as it is.
const PLAIN_BYTES_MAX: usize = 1024;

/// What a thread keeps to compress into: room for a block.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

const PLAIN: u8 = 0;
const COMPRESSED: u8 = 1;

thread_local! {
    // Making these anew costs more than to compress a small block.
    static COMPRESSOR: RefCell<(Option<Compressor<'static>>, Vec<u8>)> = const { RefCell::new((None, Vec::new())) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// `parts`, one after the other, compressed, or `None` if that makes them no shorter. Each is a frame of its own, so
/// that they need not be put together; a reader takes them for one.
pub fn compress(parts: &[&[u8]]) -> Option<Vec<u8>> {
    let length = parts.iter().map(|part| part.len()).sum();
    COMPRESSOR.with_borrow_mut(|(compressor, scratch)| {
        if compressor.is_none() {
            *compressor = Compressor::new(LEVEL).ok();
        }
        let compressor = compressor.as_mut()?;
        let mut short = Vec::new();
        for part in parts.iter().filter(|part| !part.is_empty()) {
            scratch.clear();
            scratch.reserve(zstd::zstd_safe::compress_bound(part.len()));
            compressor.compress_to_buffer(part, scratch).ok()?;
            short.extend_from_slice(scratch);
        }
        if scratch.capacity() > SCRATCH_BYTES_MAX {
            *scratch = Vec::new();
        }
        (short.len() < length).then_some(short)
    })
}

/// The `length` bytes that `compress` made `short` of. No more than these are ever allocated.
pub fn decompress(short: &[u8], length: usize) -> Result<Vec<u8>, String> {
    DECOMPRESSOR.with_borrow_mut(|decompressor| {
        if decompressor.is_none() {
            *decompressor = Some(Decompressor::new().map_err(|error| error.to_string())?);
        }
        let Some(decompressor) = decompressor else { return Err("no decompressor".to_owned()) };
        let bytes =
            decompressor.decompress(short, length).map_err(|error| format!("cannot be decompressed: {error}"))?;
        if bytes.len() == length { Ok(bytes) } else { Err(format!("has {} bytes, not {length}", bytes.len())) }
    })
}

/// The four bytes at `at` as a number.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn checksum(map: &str, key: &[u8], tag: u8, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(map.as_bytes());
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(&[tag]);
    hasher.update(rest);
    hasher.finalize()
}

/// A value as it is stored in `map` under `key`.
pub fn encode(map: &str, key: &[u8], value: &[u8]) -> Vec<u8> {
    let short = if value.len() > PLAIN_BYTES_MAX { compress(&[value]) } else { None };
    let tag = if short.is_some() { COMPRESSED } else { PLAIN };
    let bytes = short.as_deref().unwrap_or(value);
    let length = (value.len() as u32).to_le_bytes();
    let length: &[u8] = if tag == COMPRESSED { &length } else { &[] };
    tagged(map, key, tag, &[length, bytes])
}

/// A tag and all else of a value, with its checksum.
pub fn tagged(map: &str, key: &[u8], tag: u8, rest: &[&[u8]]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(5 + rest.iter().map(|part| part.len()).sum::<usize>());
    stored.extend_from_slice(&[tag, 0, 0, 0, 0]);
    rest.iter().for_each(|part| stored.extend_from_slice(part));
    let check = checksum(map, key, tag, &stored[5..]);
    stored[1..5].copy_from_slice(&check.to_le_bytes());
    stored
}

/// The value that is stored in `map` under `key` as `stored`, or what is wrong with it.
pub fn decode(map: &str, key: &[u8], stored: &[u8]) -> Result<Vec<u8>, String> {
    let (Some(tag), Some(check)) = (stored.first(), u32_at(stored, 1)) else {
        return Err(format!("has {} bytes, at least 5 are needed", stored.len()));
    };
    if checksum(map, key, *tag, &stored[5..]) != check {
        return Err("does not match its checksum".to_owned());
    }
    match (*tag, u32_at(stored, 5)) {
        (PLAIN, _) => Ok(stored[5..].to_vec()),
        (COMPRESSED, Some(length)) if length as usize <= VALUE_BYTES_MAX => decompress(&stored[9..], length as usize),
        (COMPRESSED, _) => Err("has a length beyond the limit".to_owned()),
        (tag, _) => Err(format!("is stored in the unknown way {tag}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_and_belongs_to_its_key() {
        for value in
            [Vec::new(), b"short".to_vec(), vec![7; 100_000], (0..5000_u32).flat_map(u32::to_le_bytes).collect()]
        {
            let stored = encode("meta", b"key", &value);
            assert_eq!(decode("meta", b"key", &stored).as_ref(), Ok(&value));
            assert!(decode("meta", b"kez", &stored).is_err());
            assert!(decode("dead", b"key", &stored).is_err());
            let step = stored.len().div_ceil(500);
            for at in (0..stored.len()).step_by(step) {
                let mut flipped = stored.clone();
                flipped[at] ^= 0x10;
                assert!(decode("meta", b"key", &flipped).is_err(), "byte {at}");
            }
            assert!((0..stored.len().min(20)).all(|length| decode("meta", b"key", &stored[..length]).is_err()));
        }
        assert!(encode("meta", b"key", &[7; 100_000]).len() < 100);
    }

    #[test]
    fn no_more_is_allocated_than_a_value_may_have() {
        let mut bomb = vec![COMPRESSED, 0, 0, 0, 0];
        bomb.extend_from_slice(&u32::MAX.to_le_bytes());
        bomb.extend_from_slice(&compress(&[&[0; 4096]]).unwrap());
        let check = checksum("meta", b"key", COMPRESSED, &bomb[5..]);
        bomb[1..5].copy_from_slice(&check.to_le_bytes());
        assert_eq!(decode("meta", b"key", &bomb), Err("has a length beyond the limit".to_owned()));
        assert!(decompress(&compress(&[&[0; 1 << 20]]).unwrap(), 4096).is_err(), "more comes out than was said");
        assert!(decompress(&compress(&[&[0; 4096]]).unwrap(), 5000).is_err(), "less comes out than was said");
    }
}
