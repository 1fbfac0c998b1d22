//! Whether a store is sound: each block and each value against its checksum, and the database under them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::ReadableTableMetadata;

use crate::database;
use crate::{FORMAT, Map, Sequence, Store, StoreError};

/// So many damages are listed; beyond them they are counted.
pub const DAMAGES_MAX: usize = 100;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub file_bytes: u64,
    /// The version of its format.
    pub format: u64,
    /// What its sequences hold, in the order of [`Sequence::ALL`].
    pub sequences: Vec<SequenceReport>,
    /// What its maps hold, in the order of [`Map::ALL`].
    pub maps: Vec<MapReport>,
    /// The first [`DAMAGES_MAX`] damages.
    pub damages: Vec<Damage>,
    /// How many there are.
    pub damage_count: u64,
}

impl Report {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage_count == 0
    }
}

/// What can be read of a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceReport {
    /// Which one.
    pub sequence: Sequence,
    /// The oldest position.
    pub first: u64,
    /// The position after the newest.
    pub next: u64,
    /// Blocks that can be read.
    pub blocks: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of these.
    pub raw_bytes: u64,
    /// Bytes that are stored of them.
    pub stored_bytes: u64,
}

/// What can be read of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapReport {
    /// Which one.
    pub map: Map,
    /// Values that can be read.
    pub values: u64,
    /// Their bytes.
    pub raw_bytes: u64,
}

/// Something that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where it is.
    pub place: Place,
    /// What does not check.
    pub what: String,
}

/// Where a damage is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The records of a sequence from a position up to and without another.
    Records {
        /// Which sequence.
        sequence: Sequence,
        /// The first that cannot be read.
        first: u64,
        /// The next that can.
        end: u64,
    },
    /// A value.
    Value {
        /// Of which map.
        map: Map,
        /// Under which key.
        key: Vec<u8>,
    },
    /// A map, from some key on.
    Map(Map),
    /// The database under all of it.
    Database,
}

/// Reads a whole store and tells what is in it and what is damaged. Nothing is written. `progress` is called with how
/// much is done, and with the whole.
///
/// # Errors
/// If the store cannot be opened at all.
pub fn check(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Report, StoreError> {
    Check::begin(Store::open_to_read(path)?, progress)?.run()
}

struct Check<'a> {
    store: Arc<Store>,
    report: Report,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl<'a> Check<'a> {
    fn begin(store: Store, progress: &'a mut dyn FnMut(u64, u64)) -> Result<Self, StoreError> {
        let report = Report {
            path: store.path().to_owned(),
            file_bytes: store.file_bytes()?,
            format: FORMAT,
            sequences: Vec::new(),
            maps: Vec::new(),
            damages: Vec::new(),
            damage_count: 0,
        };
        // Blocks and values, and one step for the database.
        let total = store.reading(|transaction| {
            let count = || -> Result<u64, redb::Error> {
                let mut total = 1;
                for sequence in Sequence::ALL {
                    total += transaction.open_table(database::index(sequence))?.len()?;
                }
                for map in Map::ALL {
                    total += transaction.open_table(database::values(map))?.len()?;
                }
                Ok(total)
            };
            count().map_err(|error| StoreError::from_redb(store.path(), "read", error))
        })?;
        Ok(Self { store: Arc::new(store), report, done: 0, total, progress })
    }

    fn run(mut self) -> Result<Report, StoreError> {
        (self.progress)(0, self.total);
        for sequence in Sequence::ALL {
            let found = self.sequence(sequence);
            self.report.sequences.push(found);
        }
        for map in Map::ALL {
            let found = self.map(map);
            self.report.maps.push(found);
        }
        // Nobody reads it any more.
        match Arc::get_mut(&mut self.store).map(Store::check_database) {
            None | Some(Ok(true)) => {}
            Some(Ok(false)) => self.damage(Place::Database, "its pages do not match their checksums".to_owned()),
            Some(Err(error)) => self.damage(Place::Database, error.to_string()),
        }
        self.step();
        Ok(self.report)
    }

    fn sequence(&mut self, sequence: Sequence) -> SequenceReport {
        let (first, next) = (self.store.first(sequence), self.store.next(sequence));
        let mut found = SequenceReport { sequence, first, next, blocks: 0, records: 0, raw_bytes: 0, stored_bytes: 0 };
        let mut position = first;
        while position < next {
            match self.store.block(sequence, position, next) {
                Ok(block) => {
                    position = block.info.end();
                    found.blocks += 1;
                    found.records += u64::from(block.info.count);
                    found.raw_bytes += u64::from(block.info.raw_bytes);
                    found.stored_bytes += u64::from(block.info.stored_bytes);
                }
                Err(error) => {
                    let (what, end) = match error {
                        StoreError::Damaged { what, next, .. } => (what, next),
                        error => (error.to_string(), next),
                    };
                    self.damage(Place::Records { sequence, first: position, end }, what);
                    position = end;
                }
            }
            self.step();
        }
        found
    }

    fn map(&mut self, map: Map) -> MapReport {
        let mut found = MapReport { map, values: 0, raw_bytes: 0 };
        let store = Arc::clone(&self.store);
        let values = match store.scan(map, b"", None) {
            Ok(values) => values,
            Err(error) => {
                self.damage(Place::Map(map), error.to_string());
                return found;
            }
        };
        for value in values {
            match value {
                Ok((_, value)) => {
                    found.values += 1;
                    found.raw_bytes += value.len() as u64;
                }
                Err(StoreError::DamagedValue { key, what, .. }) => self.damage(Place::Value { map, key }, what),
                Err(error) => self.damage(Place::Map(map), error.to_string()),
            }
            self.step();
        }
        found
    }

    fn damage(&mut self, place: Place, what: String) {
        self.report.damage_count += 1;
        if self.report.damages.len() < DAMAGES_MAX {
            self.report.damages.push(Damage { place, what });
        }
    }

    fn step(&mut self) {
        // Damages may make more steps than there are entries.
        self.done = (self.done + 1).min(self.total);
        (self.progress)(self.done, self.total);
    }
}
