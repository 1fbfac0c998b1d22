//! What a store holds, to be read.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use stillhouse_core::table::Table;
use stillhouse_store::{Map, Sequence, Store};

use super::Paged;
use crate::config::{Config, Overrides};
use crate::journal::Given;

/// An event of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The position of the log behind the entry with which it left.
    pub log: u64,
    /// As it left, with its end of line.
    pub line: &'a [u8],
}

impl<'a> Entry<'a> {
    /// As a record.
    pub fn encode(self) -> Vec<u8> {
        [self.log.to_le_bytes().as_slice(), self.line].concat()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// If it is too short.
    pub fn decode(record: &'a [u8]) -> Result<Self> {
        let Some((log, line)) = record.split_first_chunk() else { bail!("an event of {} bytes", record.len()) };
        Ok(Self { log: u64::from_le_bytes(*log), line })
    }
}

/// A store that is read, beside its run or after it.
#[derive(Clone)]
pub struct Recorded {
    /// The store.
    pub store: Arc<Store>,
}

impl Recorded {
    /// Opens a store to read it.
    ///
    /// # Errors
    /// If it cannot be read, or nothing was ever written to it.
    pub fn open(path: &Path) -> Result<Self> {
        let store = Store::open_to_read(path)?;
        if store.next(Sequence::Log) == 0 {
            bail!("{}: nothing was written to this store yet", path.display());
        }
        Ok(Self { store: Arc::new(store) })
    }

    /// The entries of the log from a position on.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn log(&self, from: u64) -> Result<Log> {
        let path = self.store.path().display().to_string();
        Ok(Log { records: Paged::new(&self.store, Sequence::Log, from), path })
    }

    /// The events from a position on.
    pub fn events(&self, from: u64) -> Paged {
        Paged::new(&self.store, Sequence::Events, from)
    }

    /// A file that was kept.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn file(&self, key: &str) -> Result<Option<Vec<u8>>> {
        file(&self.store, key)
    }

    /// The file of a version of a rule.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn rule(&self, digest: &str) -> Result<Option<Vec<u8>>> {
        self.file(&format!("rule/{digest}"))
    }

    /// A table.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn table(&self, digest: &str) -> Result<Option<Arc<Table>>> {
        match self.file(&format!("table/{digest}"))? {
            Some(bytes) => Ok(Some(Arc::new(postcard::from_bytes(&bytes).context("a table is not understood")?))),
            None => Ok(None),
        }
    }

    /// The configuration that counts at the end of the log.
    ///
    /// # Errors
    /// As [`Recorded::config`].
    pub fn newest_config(&self) -> Result<Config> {
        let Some(newest) = super::Kept::newest(&self.store, u64::MAX)? else { bail!("the store has no checkpoint") };
        self.config(&newest.state.config)
    }

    /// A configuration by its digest.
    ///
    /// # Errors
    /// If it is not there, or is refused by this version of the program.
    pub fn config(&self, digest: &str) -> Result<Config> {
        let Some(bytes) = self.file(&format!("config/{digest}"))? else {
            bail!("the store does not have the configuration of digest {digest}");
        };
        let (path, text, year): (String, String, Option<i16>) =
            postcard::from_bytes(&bytes).context("a configuration is not understood")?;
        Ok(Config::parse(Path::new(&path), text, &Overrides { year })?)
    }
}

/// A file that was kept in a store.
///
/// # Errors
/// If the store cannot be read.
pub fn file(store: &Store, key: &str) -> Result<Option<Vec<u8>>> {
    let (from, to) = (format!("{key}/"), format!("{key}0"));
    let mut whole: Option<Vec<u8>> = None;
    for part in store.scan(Map::Files, from.as_bytes(), Some(to.as_bytes()))? {
        whole.get_or_insert_default().extend(part?.1);
    }
    Ok(whole)
}

/// The entries of a log, in order.
pub struct Log {
    records: Paged,
    path: String,
}

impl Iterator for Log {
    type Item = Result<(u64, Given)>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.records.next()?;
        let given = record.map_err(anyhow::Error::from).and_then(|record| {
            let position = record.position;
            Ok((position, Given::decode(record.bytes()).with_context(|| format!("position {position}"))?))
        });
        Some(given.with_context(|| format!("{}: the log cannot be read further", self.path)))
    }
}
