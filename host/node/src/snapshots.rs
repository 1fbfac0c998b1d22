//! Snapshots: files that say how all entities of a signal type are at one time.
//!
//! A file is read as a whole and checked before anything of it is handed on, so that half a snapshot is never
//! compared. Its records then go the way of signals: they are masked, logged, decoded and mapped; the core
//! compares them once all have come ([`stillhouse_core::reconcile`]). With `--follow` the files are watched
//! ([`watch`]), otherwise they are read once, after the inputs.

pub mod watch;

use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

use crate::config::{SnapshotConfig, hex};
use crate::decode::framing::{CHUNK_BYTES, Chunk, Framer, Framing};
use crate::metric;

/// A larger file is refused: it is held in memory as a whole.
pub const FILE_BYTES_MAX: u64 = 512 << 20;

/// A snapshot that was read as a whole.
#[derive(Debug)]
pub struct Snapshot {
    /// Which of [`crate::config::Config::snapshots`] it is of.
    pub index: usize,
    /// SHA-256 of its file, in hexadecimal.
    pub digest: String,
    /// How old it was when it was read.
    pub age_us: i64,
    /// Its records.
    pub chunks: Vec<Chunk>,
}

/// How many snapshots there were.
#[derive(Debug, Default)]
pub struct Counted {
    taken: AtomicU64,
    refused: AtomicU64,
}

impl Counted {
    /// One more was taken in as a whole.
    pub fn take(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    /// One more could not be used.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Taken, and refused.
    pub fn counts(&self) -> (u64, u64) {
        (self.taken.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// As Prometheus reads it.
    pub fn text(&self) -> String {
        let (taken, refused) = self.counts();
        let lines = [("taken", taken), ("refused", refused)].map(|(of, count)| format!("{{outcome=\"{of}\"}} {count}"));
        let help = "Snapshots that were taken in as a whole, or could not be used.";
        metric::family("snapshots_total", help, "counter", lines)
    }
}

/// The bytes of a snapshot's file, and their digest.
fn bytes_of(config: &SnapshotConfig) -> Result<(Vec<u8>, String), String> {
    let mut bytes = Vec::new();
    let read = File::open(&config.path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("a snapshot of more than {} MiB", FILE_BYTES_MAX >> 20));
    }
    let digest = hex(&Sha256::digest(&bytes));
    Ok((bytes, digest))
}

/// Reads a snapshot, unless it is the one of digest `known`.
///
/// # Errors
/// If the file cannot be read, is too large, is empty, or is no JSON where it should be: with the line and column
/// of what is wrong, and without the name of the file.
pub fn read(config: &SnapshotConfig, index: usize, known: Option<&str>) -> Result<Option<Snapshot>, String> {
    let (bytes, digest) = bytes_of(config)?;
    if known == Some(digest.as_str()) {
        return Ok(None);
    }
    check(config.framing, &bytes)?;
    Ok(Some(Snapshot { index, digest, age_us: 0, chunks: chunks(config.framing, &bytes) }))
}

/// What is wrong with a file, and where. Who writes it anew begins with an empty one: that says nothing of
/// anybody.
fn check(framing: Framing, bytes: &[u8]) -> Result<(), String> {
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    if text.trim_ascii().is_empty() {
        let nobody = if framing == Framing::Json { "; where there is nobody, expected `[]`" } else { "" };
        return Err(format!("is empty, expected the records of all entities{nobody}"));
    }
    if framing == Framing::Lines {
        return Ok(());
    }
    for document in serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>() {
        document.map_err(|error| {
            let reason = error.to_string();
            let reason = reason.split(" at line ").next().unwrap_or_default();
            format!("line {}, column {}: not JSON as a whole: {reason}", error.line(), error.column())
        })?;
    }
    Ok(())
}

/// The records of a file.
fn chunks(framing: Framing, bytes: &[u8]) -> Vec<Chunk> {
    let mut framer = Framer::new(framing);
    let mut chunks = Vec::new();
    for part in bytes.chunks(CHUNK_BYTES) {
        framer.buffer().extend_from_slice(part);
        chunks.extend(framer.chunk(false, false));
    }
    chunks.extend(framer.chunk(true, true));
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_records_of_a_file_are_found_whatever_its_layout() {
        let records = |text: &str| {
            check(Framing::Json, text.as_bytes()).unwrap_or_else(|reason| panic!("{text}: {reason}"));
            let chunks = chunks(Framing::Json, text.as_bytes());
            let count = |chunk: &Chunk| match &chunk.records {
                Some(records) => records.len(),
                None => chunk.bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count(),
            };
            chunks.iter().map(count).sum::<usize>()
        };
        let list = |items: &str| {
            format!(
                "{{\n  \"apiVersion\": \"v1\",\n  \"items\": [{items}],\n  \"kind\": \"List\",\n  \"metadata\": {{}}\n}}\n"
            )
        };
        assert_eq!(records(&list("{\"a\": 1},\n    {\"b\": {\"items\": []}}")), 2);
        assert_eq!(records(&list("")), 0);
        assert_eq!(records("[]"), 0);
        assert_eq!(records("[{}, {}, {}]"), 3);
        assert_eq!(records("{\"a\":1}\n{\"a\":2}"), 2);
        let item = format!("{{\"a\": \"{}\"}}", "x".repeat(1000));
        assert_eq!(records(&list(&vec![item; 1000].join(","))), 1000);
    }

    #[test]
    fn a_file_that_is_cut_or_empty_is_refused_with_the_place() {
        let refused = |framing, text: &[u8]| check(framing, text).unwrap_err();
        assert_eq!(
            refused(Framing::Json, b"{\"kind\": \"List\",\n\"items\": [{}, {\"a\""),
            "line 2, column 18: not JSON as a whole: EOF while parsing an object"
        );
        assert!(refused(Framing::Json, b"{}\n{}}").starts_with("line 2, column 3: "));
        for nothing in [&b""[..], b"\n \n", b"\xEF\xBB\xBF"] {
            assert!(refused(Framing::Json, nothing).contains("is empty"));
            assert!(refused(Framing::Lines, nothing).contains("is empty"));
        }
    }
}
