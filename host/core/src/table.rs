//! Enrichment tables: what is known of a key beside its signals, such as which service a node
//! belongs to. A new version counts for whatever is decided after the watermark at which it came.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One version of a table: rows by key, all with the same columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its name.
    pub name: Box<str>,
    /// SHA-256 of the file it was read from, in lower-case hexadecimal.
    pub digest: Box<str>,
    /// The names of the columns; the key is not among them.
    pub columns: Vec<Box<str>>,
    /// A value for each column; empty where the file gives none.
    pub rows: BTreeMap<Box<str>, Vec<Box<str>>>,
}

impl Table {
    /// The value of `column` for `key`; `None` where there is none or it is empty.
    pub fn get(&self, key: &str, column: &str) -> Option<&str> {
        let at = self.columns.iter().position(|known| **known == *column)?;
        self.rows.get(key)?.get(at).map(|value| &**value).filter(|value| !value.is_empty())
    }
}

/// The tables in force, by name, and since when.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Versions by the event time from which they count, oldest first.
    versions: BTreeMap<Box<str>, Vec<(i64, Arc<Table>)>>,
}

impl Tables {
    /// A new version of a table, from `from_us` on.
    pub fn set(&mut self, table: Arc<Table>, from_us: i64) {
        let versions = self.versions.entry(table.name.clone()).or_default();
        match versions.last_mut() {
            Some(last) if last.0 == from_us => last.1 = table,
            _ => versions.push((from_us, table)),
        }
    }

    /// The version of a table that counts at `time_us`.
    pub fn at(&self, name: &str, time_us: i64) -> Option<&Arc<Table>> {
        let versions = self.versions.get(name)?;
        versions.iter().rev().find(|(from_us, _)| *from_us <= time_us).map(|(_, table)| table)
    }

    /// What a table says of `key` at `time_us`.
    pub fn get(&self, name: &str, key: &str, column: &str, time_us: i64) -> Option<&str> {
        self.at(name, time_us)?.get(key, column)
    }

    /// The versions that count, by name: from when on, and the digest of each.
    pub(crate) fn named(&self) -> Vec<(Box<str>, i64, Box<str>)> {
        let mut named = Vec::new();
        for (name, versions) in &self.versions {
            named.extend(versions.iter().map(|(from_us, table)| (name.clone(), *from_us, table.digest.clone())));
        }
        named
    }

    /// Forgets versions that nothing decided after `before_us` needs.
    pub fn forget(&mut self, before_us: i64) {
        for versions in self.versions.values_mut() {
            let in_force = versions.iter().rposition(|(from_us, _)| *from_us <= before_us).unwrap_or(0);
            versions.drain(..in_force);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(service: &str) -> Arc<Table> {
        let rows = [("n1".into(), vec![service.into()])].into_iter().collect();
        Arc::new(Table { name: "topology".into(), digest: "".into(), columns: vec!["service".into()], rows })
    }

    #[test]
    fn a_version_counts_from_its_time_on() {
        let mut tables = Tables::default();
        tables.set(table("a"), i64::MIN);
        tables.set(table("b"), 10);
        let at = |tables: &Tables, time_us| tables.get("topology", "n1", "service", time_us).map(str::to_owned);
        assert_eq!([at(&tables, 9), at(&tables, 10)], [Some("a".into()), Some("b".into())]);
        tables.forget(9);
        assert_eq!(at(&tables, 9), Some("a".into()));
        tables.forget(10);
        assert_eq!([at(&tables, 9), at(&tables, 10)], [None, Some("b".into())]);
        assert_eq!(tables.get("topology", "n2", "service", 10), None);
        assert_eq!(tables.get("topology", "n1", "rack", 10), None);
    }
}
