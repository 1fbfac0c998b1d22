//! The log as rows: one for each record of an input as it was given, one for each entry that is something else.

use anyhow::Result;
use memchr::memchr_iter;
use parquet::data_type::ByteArray;
use serde_json::json;

use super::Range;
use super::columns::{Cell, Column, Kind, Rows};
use crate::durable::{Kept, Recorded};
use crate::journal::Given;

/// What a row has.
pub const COLUMNS: [Column; 10] = [
    Column::required("position", Kind::Number),
    Column::required("kind", Kind::Name),
    Column::new("input", Kind::Name),
    Column::new("source", Kind::Name),
    Column::new("record", Kind::Number),
    Column::new("raw", Kind::Text),
    Column::new("bytes", Kind::Bytes),
    Column::new("time", Kind::Time),
    Column::new("digest", Kind::Name),
    Column::new("detail", Kind::Json),
];

/// Writes the rows of a range. `told`: how far it is.
pub fn export(recorded: &Recorded, range: Range, rows: &mut Rows, told: &mut dyn FnMut(u64, u64)) -> Result<()> {
    // Which inputs there are is told by the log before, or by a checkpoint.
    let kept = Kept::newest(&recorded.store, range.from)?;
    let begin = kept.as_ref().map_or(0, |kept| kept.state.log);
    let names = kept.map(|kept| kept.state.rollouts.inputs).unwrap_or_default();
    let mut inputs = Inputs(names.iter().map(|(name, source)| Input::new(name, source)).collect());
    for entry in recorded.log(begin)? {
        let (position, given) = entry?;
        if position >= range.to {
            break;
        }
        if let Given::Input { name, source, .. } | Given::SnapshotInput { name, source, .. } = &given {
            inputs.0.push(Input::new(name, source));
        }
        if position >= range.from {
            Entry { position, inputs: &inputs }.rows(given, rows)?;
            told(position + 1, rows.count());
        }
    }
    Ok(())
}

/// The inputs of a log, in their order.
struct Inputs(Vec<Input>);

struct Input {
    name: ByteArray,
    source: ByteArray,
}

impl Input {
    fn new(name: &str, source: &str) -> Self {
        Self { name: name.into(), source: source.into() }
    }
}

/// What a row says of an entry that is no record.
#[derive(Default)]
struct Other<'g> {
    input: Option<u32>,
    time_us: Option<i64>,
    digest: Option<&'g str>,
    detail: Option<serde_json::Value>,
}

struct Entry<'i> {
    position: u64,
    inputs: &'i Inputs,
}

impl Entry<'_> {
    fn rows(&self, given: Given, rows: &mut Rows) -> Result<()> {
        let (kind, other) = match &given {
            Given::Chunk { .. } => return self.chunk(given, rows),
            Given::Config(digest) => ("config", Other { digest: Some(digest), ..Other::default() }),
            Given::Input { path, .. } => {
                let input = (self.inputs.0.len() as u32).checked_sub(1);
                ("input", Other { input, detail: Some(json!({ "path": path })), ..Other::default() })
            }
            Given::Ended(input) => ("ended", Other { input: Some(*input), ..Other::default() }),
            Given::Reopened(input) => ("reopened", Other { input: Some(*input), ..Other::default() }),
            Given::End => ("end", Other::default()),
            Given::Tick(time_us) => ("tick", Other { time_us: Some(*time_us), ..Other::default() }),
            Given::Table { name, digest, columns, rows, last } => {
                let detail = json!({ "name": name, "columns": columns, "rows": rows.len(), "last": last });
                ("table", Other { digest: Some(digest), detail: Some(detail), ..Other::default() })
            }
            Given::Mapper(mapper) => {
                let detail = Some(serde_json::to_value(mapper)?);
                ("mapper", Other { digest: Some(&mapper.digest), detail, ..Other::default() })
            }
            Given::Rule { digest, bytes, last } => {
                let detail = Some(json!({ "bytes": bytes.len(), "last": last }));
                ("rule", Other { digest: Some(digest), detail, ..Other::default() })
            }
            Given::Rollout(event) => {
                ("rollout", Other { detail: Some(serde_json::to_value(event)?), ..Other::default() })
            }
            Given::Shed(input, records) => {
                let detail = Some(json!({ "records": records }));
                ("shed", Other { input: Some(*input), detail, ..Other::default() })
            }
            Given::SnapshotInput { signal, path, .. } => {
                let input = (self.inputs.0.len() as u32).checked_sub(1);
                let detail = Some(json!({ "path": path, "signal": signal }));
                ("snapshot-input", Other { input, detail, ..Other::default() })
            }
            Given::SnapshotBegins(input) => ("snapshot-begins", Other { input: Some(*input), ..Other::default() }),
            Given::Snapshot { input, digest, age_us } => {
                let detail = Some(json!({ "age_us": age_us }));
                ("snapshot", Other { input: Some(*input), digest: Some(digest), detail, ..Other::default() })
            }
        };
        self.other(kind, &other, rows)
    }

    fn other(&self, kind: &str, other: &Other<'_>, rows: &mut Rows) -> Result<()> {
        let input = other.input.and_then(|input| self.inputs.0.get(input as usize));
        rows.push([
            self.position.into(),
            kind.into(),
            input.map(|input| &input.name).into(),
            input.map(|input| &input.source).into(),
            Cell::Null,
            Cell::Null,
            Cell::Null,
            other.time_us.map_or(Cell::Null, Cell::Number),
            other.digest.into(),
            other.detail.as_ref().map(|detail| detail.to_string().as_str().into()).unwrap_or_default(),
        ])
    }

    /// The records of a chunk under the numbers that the core knows them by.
    fn chunk(&self, given: Given, rows: &mut Rows) -> Result<()> {
        let Given::Chunk { input, first, bytes, records, broken } = given else { return Ok(()) };
        let of = self.inputs.0.get(input as usize);
        let (signal, unframed) = (ByteArray::from("signal"), ByteArray::from("broken"));
        let mut row = |number: u64, is_whole: bool, raw: ByteArray, detail: Cell| {
            let (text, bytes) = match simdutf8::basic::from_utf8(raw.data()) {
                Ok(_) => (Cell::Text(raw), Cell::Null),
                Err(_) => (Cell::Null, Cell::Text(raw)),
            };
            rows.push([
                self.position.into(),
                Cell::from(if is_whole { &signal } else { &unframed }),
                of.map(|of| &of.name).into(),
                of.map(|of| &of.source).into(),
                number.into(),
                text,
                bytes,
                Cell::Null,
                Cell::Null,
                detail,
            ])
        };
        let spans = spans(&bytes, records);
        let bytes = ByteArray::from(bytes);
        let mut broken = broken.into_iter().peekable();
        let mut number = first;
        for (start, length) in spans {
            while let Some((at, kept, reason)) = broken.next_if(|(at, ..)| *at <= number) {
                row(at, false, kept.into(), json!({ "reason": reason }).to_string().as_str().into())?;
                number = number.max(at + 1);
            }
            // What is blank is counted, and says nothing.
            if bytes.data()[start..start + length].trim_ascii().is_empty() {
                number += 1;
                continue;
            }
            row(number, true, bytes.slice(start, length), Cell::Null)?;
            number += 1;
        }
        for (at, kept, reason) in broken {
            row(at, false, kept.into(), json!({ "reason": reason }).to_string().as_str().into())?;
        }
        Ok(())
    }
}

/// Start and length of each record, within the bytes.
fn spans(bytes: &[u8], records: Option<Vec<(u32, u32)>>) -> Vec<(usize, usize)> {
    let Some(records) = records else {
        let mut start = 0;
        let line = |end| {
            let line = (start, bytes[start..end].strip_suffix(b"\r").map_or(end - start, <[u8]>::len));
            start = end + 1;
            line
        };
        return memchr_iter(b'\n', bytes).map(line).collect();
    };
    let within = |(start, length): (u32, u32)| {
        let start = (start as usize).min(bytes.len());
        (start, (length as usize).min(bytes.len() - start))
    };
    records.into_iter().map(within).collect()
}
