//! Reading: records of a sequence in order, values of a map.

use std::ops::Range;
use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable};

use crate::block::{BlockInfo, Entry};
use crate::database::{self, guarded};
use crate::{Map, Sequence, Store, StoreError, codec};

/// A record of a sequence.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its position.
    pub position: u64,
    block: Arc<Vec<u8>>,
    range: Range<usize>,
}

impl Record {
    /// What was appended.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.block[self.range.clone()]
    }
}

/// The records of a sequence in order, up to the last that was there when it was asked for. One block is in memory at
/// a time.
///
/// A damaged block is an error, [`StoreError::Damaged`], and then the iterator goes on with the next block. After any
/// other error the same block is tried again, so stop, or wait before going on.
#[derive(Debug)]
pub struct Records<'a> {
    store: &'a Store,
    sequence: Sequence,
    position: u64,
    end: u64,
    block: Arc<Vec<u8>>,
    /// Of those in `block`, the ones to come, the next one last.
    ranges: Vec<Range<usize>>,
}

impl Records<'_> {
    /// The position that comes next.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(range) = self.ranges.pop() {
                self.position += 1;
                return Some(Ok(Record { position: self.position - 1, block: self.block.clone(), range }));
            }
            if self.position >= self.end {
                return None;
            }
            match self.store.block(self.sequence, self.position, self.end) {
                Ok(OpenBlock { info, raw, mut ranges }) => {
                    self.block = Arc::new(raw);
                    ranges.reverse();
                    // Records before the first that is wanted.
                    ranges.truncate(ranges.len() - (self.position - info.first) as usize);
                    self.ranges = ranges;
                }
                Err(error) => {
                    if let StoreError::Damaged { next, .. } = error {
                        self.position = next;
                    }
                    return Some(Err(error));
                }
            }
        }
    }
}

/// The values of a map in the order of their keys, as they were when they were asked for.
///
/// A damaged value is an error, [`StoreError::DamagedValue`], and then the iterator goes on with the next one. After
/// any other error it ends.
pub struct Scan {
    path: std::path::PathBuf,
    map: Map,
    range: Option<redb::OwnedRange<&'static [u8], &'static [u8]>>,
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Scan").field("path", &self.path).field("map", &self.map).finish_non_exhaustive()
    }
}

impl Iterator for Scan {
    type Item = Result<(Vec<u8>, Vec<u8>), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (path, map) = (&self.path, self.map);
        let range = self.range.as_mut()?;
        let result = guarded(path, || {
            let Some(pair) = range.next() else { return Ok(None) };
            let (key, stored) = pair.map_err(|error| StoreError::from_redb(path, "read", error))?;
            let key = key.value().to_vec();
            let damaged = |what| StoreError::DamagedValue { path: path.clone(), map, key: key.clone(), what };
            let value = codec::decode(map.name(), &key, stored.value()).map_err(damaged)?;
            Ok(Some((key, value)))
        });
        if !matches!(result, Ok(Some(_)) | Err(StoreError::DamagedValue { .. })) {
            self.range = None;
        }
        result.transpose()
    }
}

impl Store {
    /// The records of a sequence in order, from a position to the last that is there now. What is removed by retention
    /// before it is reached is an error; nothing is held back for a reader, however long it takes.
    ///
    /// # Errors
    /// If the position is no longer kept.
    pub fn read(&self, sequence: Sequence, from: u64) -> Result<Records<'_>, StoreError> {
        let (first, end) = (self.first(sequence), self.next(sequence));
        if from < first {
            return Err(StoreError::Trimmed { sequence, position: from, first });
        }
        Ok(Records { store: self, sequence, position: from, end, block: Arc::default(), ranges: Vec::new() })
    }

    /// What is known of each block that is kept, in order. Those whose entry is damaged are left out; reading and
    /// `check` tell of them.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn blocks(&self, sequence: Sequence) -> Result<Vec<BlockInfo>, StoreError> {
        self.reading(|transaction| {
            let entries = || -> Result<Vec<BlockInfo>, redb::Error> {
                let mut blocks = Vec::new();
                for pair in transaction.open_table(database::index(sequence))?.iter()? {
                    let (first, entry) = pair?;
                    blocks.extend(Entry::decode(sequence, first.value(), entry.value()).map(|entry| entry.info));
                }
                Ok(blocks)
            };
            entries().map_err(|error| StoreError::from_redb(self.path(), "read", error))
        })
    }

    /// A value of a map.
    ///
    /// # Errors
    /// If it is damaged or cannot be read.
    pub fn get(&self, map: Map, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.reading(|transaction| {
            let find = || -> Result<_, redb::Error> { Ok(transaction.open_table(database::values(map))?.get(key)?) };
            let Some(stored) = find().map_err(|error| StoreError::from_redb(self.path(), "read", error))? else {
                return Ok(None);
            };
            let damaged =
                |what| StoreError::DamagedValue { path: self.path().to_owned(), map, key: key.to_vec(), what };
            codec::decode(map.name(), key, stored.value()).map(Some).map_err(damaged)
        })
    }

    /// The values of a map from a key, up to and without another, in the order of their keys. While it is read, what
    /// is written meanwhile makes the file longer: do not hold it for long.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn scan(&self, map: Map, from: &[u8], to: Option<&[u8]>) -> Result<Scan, StoreError> {
        // An empty range, which redb does not take.
        if to.is_some_and(|to| to <= from) {
            return Ok(Scan { path: self.path().to_owned(), map, range: None });
        }
        self.reading(|transaction| {
            let range = || -> Result<_, redb::Error> {
                let table = transaction.open_table(database::values(map))?;
                Ok(match to {
                    Some(to) => table.range_owned(from..to)?,
                    None => table.range_owned(from..)?,
                })
            };
            let range = range().map_err(|error| StoreError::from_redb(self.path(), "read", error))?;
            Ok(Scan { path: self.path().to_owned(), map, range: Some(range) })
        })
    }

    /// The block that holds a position. Whatever keeps it from being read, a damage of the database too, is a damage
    /// of this block, so that what follows can be read.
    pub(crate) fn block(&self, sequence: Sequence, position: u64, end: u64) -> Result<OpenBlock, StoreError> {
        let first = self.first(sequence);
        if position < first {
            return Err(StoreError::Trimmed { sequence, position, first });
        }
        let fault = |error| StoreError::from_redb(self.path(), "read", error);
        let found = self.reading(|transaction| find(transaction, sequence, position, end).map_err(fault))?;
        let damaged = |what| {
            let path = self.path().to_owned();
            StoreError::Damaged { path, what, sequence, position, next: found.next }
        };
        let open = |entry: Entry| {
            let stored = self.reading(|transaction| stored(transaction, sequence, &entry.info).map_err(fault));
            let stored = stored.map_err(|error| match error {
                StoreError::Broken { what, .. } => damaged(what),
                error => error,
            })?;
            let (raw, ranges) = entry.open(stored).map_err(damaged)?;
            Ok(OpenBlock { info: entry.info, raw, ranges })
        };
        let result = found.entry.clone().map_err(damaged).and_then(open);
        if matches!(result, Err(StoreError::Damaged { .. })) {
            // It may have been removed since; whoever does that says so before it ends.
            let first = self.after_writing(|| self.first(sequence));
            if position < first {
                return Err(StoreError::Trimmed { sequence, position, first });
            }
        }
        result
    }
}

/// A block as it is read.
pub(crate) struct OpenBlock {
    pub info: BlockInfo,
    pub raw: Vec<u8>,
    /// Where its records are.
    pub ranges: Vec<Range<usize>>,
}

/// What the index says of a position.
struct Found {
    entry: Result<Entry, String>,
    /// Where the block after it begins.
    next: u64,
}

fn find(transaction: &ReadTransaction, sequence: Sequence, position: u64, end: u64) -> Result<Found, redb::Error> {
    let index = transaction.open_table(database::index(sequence))?;
    let next = match position.checked_add(1) {
        Some(after) => index.range(after..)?.next().transpose()?.map_or(end, |(first, _)| first.value()),
        None => end,
    };
    let entry = match index.range(..=position)?.next_back().transpose()? {
        Some((first, entry)) => Entry::decode(sequence, first.value(), entry.value()),
        None => Err("the entry of a block is missing".to_owned()),
    };
    let entry = entry.and_then(|entry| {
        if entry.info.end() <= position {
            Err("the entry of a block is missing".to_owned())
        } else if entry.info.end() > next {
            Err("a block overlaps the next".to_owned())
        } else {
            Ok(entry)
        }
    });
    Ok(Found { entry, next })
}

/// The stored bytes of a block, as far as there are any, and one more at most than there should be.
fn stored(transaction: &ReadTransaction, sequence: Sequence, info: &BlockInfo) -> Result<Vec<u8>, redb::Error> {
    let length = info.stored_bytes as usize;
    let mut stored = Vec::with_capacity(length);
    let pieces = transaction.open_table(database::pieces(sequence))?;
    for pair in pieces.range((info.first, 0)..=(info.first, u32::MAX))? {
        let (_, piece) = pair?;
        let room = length + 1 - stored.len();
        stored.extend_from_slice(&piece.value()[..piece.value().len().min(room)]);
    }
    Ok(stored)
}
