//! An append-only log of records.
//!
//! Format 1: the 8 bytes `STLHLOG1`, then for each record its length, the CRC-32 of the length and the
//! CRC-32 of the bytes, each 4 bytes little-endian, then the bytes. A record that was torn by a crash
//! can only be the last; it is cut off when the log is opened to append. A length that does not check,
//! or bytes that do not and are followed by others, were damaged, which is an error: nothing after
//! them is believed, and nothing is cut.

use std::io;

pub use self::storage::{FileStorage, MemoryStorage, Storage};

mod storage;

const MAGIC: &[u8; 8] = b"STLHLOG1";
const HEAD_BYTES: u64 = 12;

/// A longer record is refused.
pub const RECORD_BYTES_MAX: usize = 64 << 20;

/// Why a log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The storage failed.
    #[error("the log cannot be read or written: {0}")]
    Storage(#[from] io::Error),
    /// The bytes are no log, or one of another format.
    #[error("not a log of format 1: it begins with {0:?}")]
    Format(Vec<u8>),
    /// A record does not check, and it is not a torn end.
    #[error("the record at byte {offset} is damaged: {what}; the {records} records before it are sound")]
    Damaged {
        /// Where it begins.
        offset: u64,
        /// How many sound records come before it.
        records: u64,
        /// What does not check.
        what: &'static str,
    },
    /// A record is too long to be appended.
    #[error("a record of {0} bytes, limit {RECORD_BYTES_MAX}")]
    TooLong(usize),
}

/// A log over some storage.
#[derive(Debug)]
pub struct Log<S> {
    storage: S,
    /// Where the next record is read.
    at: u64,
    records: u64,
}

impl<S: Storage> Log<S> {
    /// Opens a log to read it from its first record.
    ///
    /// # Errors
    /// If the storage fails or holds something else.
    pub fn open(mut storage: S) -> Result<Self, LogError> {
        let mut magic = [0; MAGIC.len()];
        let length = storage.read_at(0, &mut magic)?;
        if magic[..length] != MAGIC[..] {
            return Err(LogError::Format(magic[..length].to_vec()));
        }
        Ok(Self { storage, at: MAGIC.len() as u64, records: 0 })
    }

    /// Opens a log to append to it; empty storage becomes an empty log. Tells how many bytes of a
    /// torn record were cut off.
    ///
    /// # Errors
    /// As [`Log::open`], and if a record is damaged.
    pub fn open_to_append(mut storage: S) -> Result<(Self, u64), LogError> {
        if storage.read_at(0, &mut [0])? == 0 {
            storage.append(MAGIC)?;
        }
        let mut log = Self::open(storage)?;
        while log.next()?.is_some() {}
        let rest = log.rest_bytes()?;
        if rest > 0 {
            log.storage.truncate(log.at)?;
            log.storage.sync()?;
        }
        Ok((log, rest))
    }

    /// How many bytes follow the last record that was read: at the end of a log, those of a record
    /// that was torn.
    ///
    /// # Errors
    /// If the storage fails.
    pub fn rest_bytes(&mut self) -> Result<u64, LogError> {
        let mut rest = 0;
        let mut buffer = [0; 4096];
        loop {
            match self.storage.read_at(self.at + rest, &mut buffer)? {
                0 => return Ok(rest),
                length => rest += length as u64,
            }
        }
    }

    /// Appends a record. It is safe from a loss of power after the next [`Log::sync`].
    ///
    /// # Errors
    /// If it is too long, or the storage fails: then the log must be opened again.
    pub fn append(&mut self, record: &[u8]) -> Result<(), LogError> {
        if record.len() > RECORD_BYTES_MAX {
            return Err(LogError::TooLong(record.len()));
        }
        let length = (record.len() as u32).to_le_bytes();
        let mut bytes = Vec::with_capacity(record.len() + HEAD_BYTES as usize);
        bytes.extend_from_slice(&length);
        bytes.extend_from_slice(&crc32fast::hash(&length).to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(record).to_le_bytes());
        bytes.extend_from_slice(record);
        self.storage.append(&bytes)?;
        self.at += bytes.len() as u64;
        self.records += 1;
        Ok(())
    }

    /// Returns once all that was appended would survive a loss of power.
    ///
    /// # Errors
    /// If the storage cannot promise it.
    pub fn sync(&mut self) -> Result<(), LogError> {
        Ok(self.storage.sync()?)
    }

    /// The next record; `None` at the end, and at a record that was torn.
    ///
    /// # Errors
    /// If the storage fails or the record is damaged.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, LogError> {
        let mut head = [0; HEAD_BYTES as usize];
        if self.storage.read_at(self.at, &mut head)? < head.len() {
            return Ok(None);
        }
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let damaged = |what| LogError::Damaged { offset: self.at, records: self.records, what };
        if crc32fast::hash(&head[..4]) != number(4) {
            return Err(damaged("its length does not match its checksum"));
        }
        let wanted = number(0) as usize;
        if wanted > RECORD_BYTES_MAX {
            return Err(damaged("its length is beyond the limit"));
        }
        let mut record = vec![0; wanted];
        let got = self.storage.read_at(self.at + HEAD_BYTES, &mut record)?;
        if got < wanted {
            return Ok(None);
        }
        let end = self.at + HEAD_BYTES + wanted as u64;
        if crc32fast::hash(&record) != number(8) {
            let is_last = self.storage.read_at(end, &mut [0])? == 0;
            return if is_last { Ok(None) } else { Err(damaged("its checksum does not match")) };
        }
        self.at = end;
        self.records += 1;
        Ok(Some(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(records: &[&[u8]]) -> Vec<u8> {
        let (mut log, cut) = Log::open_to_append(MemoryStorage::default()).unwrap();
        assert_eq!(cut, 0);
        records.iter().for_each(|record| log.append(record).unwrap());
        log.storage.0
    }

    fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>, LogError> {
        let mut log = Log::open(MemoryStorage(bytes.to_vec()))?;
        let mut records = Vec::new();
        while let Some(record) = log.next()? {
            records.push(record);
        }
        Ok(records)
    }

    #[test]
    fn a_log_gives_back_what_it_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for record in [b"one".as_slice(), b"", b"three"] {
            let (mut log, cut) = Log::open_to_append(FileStorage::open(&path).unwrap()).unwrap();
            assert_eq!(cut, 0);
            log.append(record).unwrap();
            log.sync().unwrap();
        }
        assert_eq!(read(&std::fs::read(&path).unwrap()).unwrap(), [b"one".as_slice(), b"", b"three"]);
    }

    #[test]
    fn wherever_the_power_is_cut_whole_records_stay_and_the_log_goes_on() {
        let whole = written(&[b"one", b"two", b"three"]);
        for length in MAGIC.len()..whole.len() {
            let torn = MemoryStorage(whole[..length].to_vec());
            let (mut log, cut) = Log::open_to_append(torn).unwrap();
            log.append(b"more").unwrap();
            let records = read(&log.storage.0).unwrap();
            let (last, kept) = records.split_last().unwrap();
            assert_eq!(last, b"more");
            assert_eq!(kept, &[b"one".to_vec(), b"two".to_vec()][..kept.len()]);
            assert_eq!(written(&kept.iter().map(Vec::as_slice).collect::<Vec<_>>()).len() as u64 + cut, length as u64);
        }
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let whole = written(&[b"one", b"two", b"three"]);
        for at in MAGIC.len()..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 16;
            // At the end it cannot be told from a torn record; nothing wrong is ever given back.
            let records = read(&flipped).unwrap_or_default();
            assert!(records.len() < 3, "byte {at}");
            assert_eq!(records, [b"one".to_vec(), b"two".to_vec()][..records.len()]);
        }
        let mut first = whole.clone();
        first[MAGIC.len() + HEAD_BYTES as usize] ^= 1;
        assert!(read(&first).unwrap_err().to_string().contains("damaged: its checksum"));
        let mut length = whole.clone();
        length[MAGIC.len() + 1] ^= 1;
        let refused = Log::open_to_append(MemoryStorage(length)).unwrap_err();
        assert!(refused.to_string().contains("its length"), "a damaged length is no torn end: {refused}");
        assert!(matches!(read(b"something else"), Err(LogError::Format(_))));
        assert!(matches!(read(b"STLH"), Err(LogError::Format(_))));
    }
}
