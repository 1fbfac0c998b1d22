//! The entries of the log: all that the driver was given, in order. Replaying them gives the same bytes,
//! whatever the clock said in between.

use std::borrow::Cow;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use stillhouse_core::Span;
use stillhouse_core::rule::{Condition, State};
use stillhouse_core::table::Table;

use crate::decode::framing::Chunk;

/// One thing that the driver was given.
#[derive(Debug, Deserialize, Serialize)]
pub enum Given {
    /// The configuration from here on: its digest. The first entry is one.
    Config(String),
    /// The next input.
    Input {
        /// Its name, which configurations match.
        name: String,
        /// The name of its source.
        source: String,
        /// Its path, by which it is known again.
        path: String,
    },
    /// Whole records of an input.
    Chunk {
        /// Which input, from 0.
        input: u32,
        /// The number of the first record.
        first: u64,
        /// The bytes of the records.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
        /// Start and length of each record; `None`: every line is one.
        records: Option<Vec<(u32, u32)>>,
        /// Records that could not be framed: number, beginning, and what is wrong.
        broken: Vec<(u64, Vec<u8>, String)>,
    },
    /// An input has ended.
    Ended(u32),
    /// An input that had ended goes on.
    Reopened(u32),
    /// All inputs have ended: what waits for order is processed.
    End,
    /// Wall-clock time, in microseconds since 1970.
    Tick(i64),
    /// Rows of a table. A large one takes several entries, one right after the other.
    Table {
        /// Its name.
        name: Box<str>,
        /// SHA-256 of its file.
        digest: Box<str>,
        /// The names of its columns.
        columns: Vec<Box<str>>,
        /// Key and values of each row.
        rows: Vec<(Box<str>, Vec<Box<str>>)>,
        /// Whether this is its last entry: from then on it counts.
        last: bool,
    },
    /// The mapper of a signal type, and what its states mean.
    Mapper(Mapper),
    /// A part of the file of a version of a rule, before the first event that names it.
    Rule {
        /// SHA-256 of the file, in hexadecimal.
        digest: String,
        /// The next bytes of it.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
        /// Whether these are the last.
        last: bool,
    },
    /// What the registry of versions was told.
    Rollout(Box<stillhouse_rollout::Event>),
    /// So many records of an input were let go, since the host was behind.
    Shed(u32, u64),
    /// The next input, of which there are snapshots only: their records are chunks as those of signals are.
    SnapshotInput {
        /// The signal type.
        signal: String,
        /// Its name, which configurations match.
        name: String,
        /// The name of its source.
        source: String,
        /// Its path, by which it is known again.
        path: String,
    },
    /// A snapshot of this input begins; of one that was not ended nothing counts.
    SnapshotBegins(u32),
    /// All of a snapshot was given.
    Snapshot {
        /// Which input, from 0.
        input: u32,
        /// SHA-256 of its file, in hexadecimal.
        digest: String,
        /// How old it was when it was read.
        age_us: i64,
    },
}

/// A mapper as the log names it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Mapper {
    /// The signal type.
    pub signal: String,
    /// SHA-256 of its file, in hexadecimal.
    pub digest: String,
    /// The version of its states.
    pub schema: u32,
    /// The name of each state, and whether it is healthy (0), a problem (1) or the end (2).
    pub states: Vec<(String, u8)>,
}

impl Mapper {
    /// A mapper for the log.
    pub fn of(signal: &str, digest: &str, schema: u32, states: &[State]) -> Self {
        let code = |condition| match condition {
            Condition::Healthy => 0,
            Condition::Problem => 1,
            Condition::Gone => 2,
        };
        let states = states.iter().map(|state| (state.name.clone(), code(state.condition))).collect();
        Self { signal: signal.to_owned(), digest: digest.to_owned(), schema, states }
    }

    /// Its states.
    pub fn states(&self) -> Vec<State> {
        let condition = |code| match code {
            0 => Condition::Healthy,
            1 => Condition::Problem,
            _ => Condition::Gone,
        };
        self.states.iter().map(|(name, code)| State { name: name.clone(), condition: condition(*code) }).collect()
    }
}

/// The number of [`Given::Chunk`] in the format: it is the third.
const CHUNK_VARIANT: u32 = 2;

/// A rule's file is cut into entries of so many bytes.
const RULE_BYTES: usize = 1 << 20;

/// A table is cut into entries of about so many bytes.
const TABLE_BYTES: usize = 1 << 20;

impl Given {
    /// A table as entries.
    pub fn table(table: &Table) -> impl Iterator<Item = Self> {
        let mut rows = table.rows.iter().peekable();
        let mut done = false;
        std::iter::from_fn(move || {
            let (mut part, mut bytes) = (Vec::new(), 0);
            while bytes < TABLE_BYTES
                && let Some((key, values)) = rows.next()
            {
                bytes += key.len() + values.iter().map(|value| value.len() + 1).sum::<usize>();
                part.push((key.clone(), values.clone()));
            }
            let last = rows.peek().is_none();
            (!std::mem::replace(&mut done, last)).then(|| Self::Table {
                name: table.name.clone(),
                digest: table.digest.clone(),
                columns: table.columns.clone(),
                rows: part,
                last,
            })
        })
    }

    /// The file of a version of a rule as entries.
    pub fn rule<'r>(digest: &'r str, file: &'r [u8]) -> impl Iterator<Item = Self> + 'r {
        let parts = file.chunks(RULE_BYTES).enumerate();
        parts.map(move |(at, bytes)| Self::Rule {
            digest: digest.to_owned(),
            bytes: bytes.to_vec(),
            last: (at + 1) * RULE_BYTES >= file.len(),
        })
    }

    /// A chunk as an entry, in parts of which the second is its bytes: they are many, and are not copied here.
    ///
    /// # Panics
    /// Never: it is plain data.
    pub fn chunk_parts(input: usize, chunk: &Chunk) -> [Cow<'_, [u8]>; 3] {
        let span = |span: &Span| (span.start, span.len);
        let records: Option<Vec<(u32, u32)>> = chunk.records.as_ref().map(|records| records.iter().map(span).collect());
        let head = (CHUNK_VARIANT, input as u32, chunk.first, chunk.bytes.len());
        let plain = "what is given is plain data";
        let head = postcard::to_allocvec(&head).expect(plain);
        let tail = postcard::to_allocvec(&(records, &chunk.broken)).expect(plain);
        [Cow::Owned(head), Cow::Borrowed(&chunk.bytes), Cow::Owned(tail)]
    }

    /// A chunk as an entry.
    pub fn chunk(input: usize, chunk: &mut Chunk) -> Self {
        let span = |span: &Span| (span.start, span.len);
        Self::Chunk {
            input: input as u32,
            first: chunk.first,
            bytes: std::mem::take(&mut chunk.bytes),
            records: chunk.records.as_ref().map(|records| records.iter().map(span).collect()),
            broken: chunk.broken.clone(),
        }
    }
}

impl Given {
    /// As a record of the log.
    ///
    /// # Panics
    /// Never: it is plain data.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("what is given is plain data")
    }

    /// Reads a record of the log.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(record: &[u8]) -> Result<Self> {
        postcard::from_bytes(record).context("an entry of the log is not understood")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_in_parts_is_a_chunk() {
        let spans = vec![Span { start: 0, len: 300 }, Span { start: 301, len: 7 }];
        for records in [None, Some(spans)] {
            let broken = vec![(9, b"cut".to_vec(), "too long".to_owned())];
            let mut chunk = Chunk { bytes: vec![7; 400], records, first: 300, broken, ..Chunk::default() };
            let parts = Given::chunk_parts(5, &chunk).concat();
            assert_eq!(parts, Given::chunk(5, &mut chunk).encode());
        }
    }
}
