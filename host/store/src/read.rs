//! Reading: records of a sequence in order, values of a map.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable};

use crate::block::{BlockInfo, Entry};
use crate::database;
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

/// A page of a scan has at most so many values.
const PAGE_VALUES: usize = 64;

/// A page of a scan ends with the value that takes it to so many bytes.
const PAGE_BYTES: usize = 1 << 20;

type Pair = (Vec<u8>, Vec<u8>);

/// The values of a map in the order of their keys, read a page at a time: an error of the disk that closes the
/// database meanwhile is not seen, since it is opened anew.
///
/// A damaged value is an error, [`StoreError::DamagedValue`], and then the iterator goes on with the next one. After
/// any other error it ends.
#[derive(Debug)]
pub struct Scan<'a> {
    store: &'a Store,
    map: Map,
    /// From this key on there is more; `None`: there is not.
    from: Option<Vec<u8>>,
    to: Option<Vec<u8>>,
    page: VecDeque<Result<Pair, StoreError>>,
}

impl Scan<'_> {
    /// Reads the next page, and tells from which key on there is more.
    fn turn(&mut self, from: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let (map, to, page) = (self.map, self.to.as_deref(), &mut self.page);
        let path = self.store.path();
        let fault = |error: redb::Error| StoreError::from_redb(path, "read", error);
        self.store.reading(|transaction| {
            // It may be called again.
            page.clear();
            let range = (|| -> Result<_, redb::Error> {
                let table = transaction.open_table(database::values(map))?;
                Ok(match to {
                    Some(to) => table.range_owned(from..to)?,
                    None => table.range_owned(from..)?,
                })
            })()
            .map_err(fault)?;
            let mut bytes = 0;
            for pair in range {
                let (key, stored) = match pair {
                    Ok(pair) => pair,
                    Err(error) => match StoreError::from_redb(path, "read", error) {
                        closed @ StoreError::Reopened { .. } => return Err(closed),
                        error => {
                            page.push_back(Err(error));
                            return Ok(None);
                        }
                    },
                };
                let key = key.value().to_vec();
                let damaged = |what| StoreError::DamagedValue { path: path.to_owned(), map, key: key.clone(), what };
                let value = codec::decode(map.name(), &key, stored.value()).map_err(damaged);
                bytes += key.len() + value.as_ref().map_or(0, Vec::len);
                let next = [key.as_slice(), &[0]].concat();
                page.push_back(value.map(|value| (key, value)));
                if page.len() >= PAGE_VALUES || bytes >= PAGE_BYTES {
                    return Ok(Some(next));
                }
            }
            Ok(None)
        })
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<Pair, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty()
            && let Some(from) = self.from.take()
        {
            match self.turn(&from) {
                Ok(next) => self.from = next,
                Err(error) => return Some(Err(error)),
            }
        }
        self.page.pop_front()
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

    /// The values of a map from a key, up to and without another, in the order of their keys.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn scan(&self, map: Map, from: &[u8], to: Option<&[u8]>) -> Result<Scan<'_>, StoreError> {
        let mut scan = Scan { store: self, map, from: None, to: to.map(<[u8]>::to_vec), page: VecDeque::new() };
        // An empty range is none that redb takes.
        if to.is_none_or(|to| to > from) {
            scan.from = scan.turn(from)?;
        }
        Ok(scan)
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
