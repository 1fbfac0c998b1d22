//! Signals of a file, as a rule is given them: the columns of the fields that it declares.
//!
//! With a configuration they are decoded as `run` decodes them. Without one, each record is a
//! CloudEvent, or a JSON object whose keys are the fields: `data.status` is read at `data.status`,
//! or else at `status`. A suppressor is given candidates, whose fields are keys of the object.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;
use stillhouse_core::Block;
use stillhouse_core::block::NO_TIME;
use stillhouse_core::columns::{Batch, Column, TextColumn, Values};
use stillhouse_core::rule::{Field, FieldKind};

use crate::config::Config;
use crate::decode::columns::ColumnBuilder;
use crate::decode::framing::{CHUNK_BYTES, Chunk, Framer, Framing};
use crate::decode::json::Projection;
use crate::decode::record::{Decoder, Rows};
use crate::decode::time::rfc3339;
use crate::decode::{Slot, Slots};
use crate::input::Input;
use crate::mask::{InputMask, Masks};
use crate::run::input_config;
use crate::tables;

/// How a row is told from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The number of the signal among those of its type, from 1.
    pub row: u64,
    /// Event time, in microseconds since 1970, if it has one.
    pub time_us: Option<i64>,
    /// Its id; empty where it has none.
    pub id: String,
}

/// Some signals of a file.
#[derive(Debug, Default)]
pub struct Given {
    /// The fields of the rule.
    pub batch: Batch,
    /// One for each row.
    pub labels: Vec<Label>,
    /// What could not be read, and why.
    pub unread: Vec<String>,
    /// Signals of other types.
    pub others: u64,
}

/// How the records of a file are read.
pub enum Reader {
    /// As a configuration says.
    Configured(Box<Configured>),
    /// As the rule's fields say.
    Plain(Box<Plain>),
    /// They have been read already.
    Ready(Given),
}

impl Reader {
    /// Reads signals of the type `signal` (an index) as `config` says, from `input`.
    ///
    /// # Errors
    /// If the configuration does not read this input, or lacks a table or a salt.
    pub fn configured(config: &Config, signal: usize, fields: &[Field], input: &Input) -> Result<Self> {
        let of = |at: usize| if at == signal { fields.to_vec() } else { Vec::new() };
        let types: Vec<_> = config.signals.iter().enumerate().map(|(at, one)| (one.name.clone(), of(at))).collect();
        let found = input_config(config, &input.name())?;
        let mut decoder = Decoder::new(found, &input.name(), &types);
        for table in tables::load(config, &types)? {
            decoder.set_table(&table);
        }
        let mask = Masks::new(config, |name| std::env::var(name).ok())?.input(found, &input.name());
        let collect = Collect { signal: signal as u16, fields: fields.to_vec(), ..Collect::default() };
        Ok(Self::Configured(Box::new(Configured { decoder: Arc::new(decoder), mask, collect })))
    }

    /// Reads CloudEvents and plain objects.
    pub fn plain(fields: &[Field]) -> Self {
        Self::Plain(Box::new(Plain::new(fields)))
    }

    /// Reads `input` and hands on what it finds, until `each` says that it has enough.
    ///
    /// # Errors
    /// If the input cannot be read, or `each` fails.
    pub fn read(&mut self, input: &Input, each: &mut dyn FnMut(Given) -> Result<bool>) -> Result<()> {
        let mut framer = Framer::new(match self {
            Self::Ready(given) => return each(std::mem::take(given)).map(|_| ()),
            Self::Configured(configured) => configured.decoder.framing(),
            Self::Plain(_) => Framing::Json,
        });
        let mut source = open(input).with_context(|| input.path())?;
        loop {
            let buffer = framer.buffer();
            let before = buffer.len();
            buffer.resize(before + CHUNK_BYTES, 0);
            let read = source.read(&mut buffer[before..]);
            buffer.truncate(before + read.as_ref().copied().unwrap_or(0));
            let end = match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => false,
                Err(error) => return Err(error).context(input.path()),
                Ok(length) => length == 0,
            };
            if let Some(chunk) = framer.chunk(end, end) {
                let given = match self {
                    Self::Configured(configured) => configured.chunk(chunk),
                    Self::Plain(plain) => plain.chunk(chunk),
                    Self::Ready(_) => return Ok(()),
                };
                if !each(given)? {
                    return Ok(());
                }
            }
            if end {
                return Ok(());
            }
        }
    }
}

fn open(input: &Input) -> io::Result<Box<dyn Read>> {
    match input {
        Input::Stdin => Ok(Box::new(io::stdin())),
        Input::File(path) => {
            let file = File::open(path)?;
            if file.metadata()?.is_dir() {
                return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a folder, expected a file"));
            }
            let gzip = path.extension().is_some_and(|extension| extension == "gz");
            Ok(if gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
        }
    }
}

/// Reads as a configuration says.
pub struct Configured {
    decoder: Arc<Decoder>,
    mask: Option<InputMask>,
    collect: Collect,
}

impl Configured {
    fn chunk(&mut self, mut chunk: Chunk) -> Given {
        if let Some(mask) = &self.mask {
            mask.chunk(&mut chunk);
        }
        let mut block = Block::default();
        self.collect.begin();
        self.decoder.decode(chunk, &mut block, &mut self.collect);
        let dead = block.rows.iter().filter(|row| row.reason.len > 0);
        let unread = dead.map(|row| format!("record {}: {}", block.text(row.id), block.text(row.reason))).collect();
        self.collect.end(unread)
    }
}

/// Takes the rows of one type.
#[derive(Default)]
struct Collect {
    signal: u16,
    fields: Vec<Field>,
    rows: u64,
    columns: Option<ColumnBuilder>,
    labels: Vec<Label>,
    others: u64,
}

impl Collect {
    fn begin(&mut self) {
        self.columns = Some(ColumnBuilder::new(&self.fields));
    }

    fn push(&mut self, slots: &Slots<'_>, places: &[usize], time_us: Option<i64>, id: String) {
        self.rows += 1;
        self.labels.push(Label { row: self.rows, time_us, id });
        if let Some(columns) = &mut self.columns {
            columns.push(slots, places.iter().copied());
        }
    }

    fn end(&mut self, unread: Vec<String>) -> Given {
        Given {
            batch: self.columns.take().map(|mut columns| columns.take()).unwrap_or_default(),
            labels: std::mem::take(&mut self.labels),
            unread,
            others: std::mem::take(&mut self.others),
        }
    }
}

impl Rows for Collect {
    fn row(&mut self, block: &mut Block, signal_type: u16, row: usize, slots: &Slots<'_>, places: &[usize]) {
        if signal_type != self.signal {
            self.others += 1;
            return;
        }
        let row = &block.rows[row];
        let time_us = (row.time_us != NO_TIME).then_some(row.time_us);
        let id = block.text(row.id).to_owned();
        self.push(slots, places, time_us, id);
    }

    fn source(&mut self, _: &str) -> u32 {
        0
    }
}

/// Reads CloudEvents and plain objects.
pub struct Plain {
    projection: Projection,
    collect: Collect,
    /// The slots of fields that are times, which may be written as text.
    times: Vec<usize>,
    /// For each field: where else its value may be, in a record that is no CloudEvent.
    bare: Vec<Option<usize>>,
    /// The slot of `data` as a whole, if it is asked for.
    whole: Option<usize>,
    specversion: usize,
    time: usize,
    id: usize,
    slots: usize,
}

impl Plain {
    fn new(fields: &[Field]) -> Self {
        let mut projection = Projection::default();
        let count = fields.len();
        let mut bare = Vec::new();
        let mut slots = count;
        for (slot, field) in fields.iter().enumerate() {
            projection.want(&field.path, slot);
            let path = field.path.strip_prefix("data.");
            bare.push(path.map(|path| {
                projection.want(path, slots);
                slots += 1;
                slots - 1
            }));
        }
        let mut want = |path: &str| {
            projection.want(path, slots);
            slots += 1;
            slots - 1
        };
        let (specversion, time, id) = (want("specversion"), want("time"), want("id"));
        let times = fields.iter().enumerate().filter(|(_, field)| field.kind == FieldKind::Int).map(|(slot, _)| slot);
        let times = times.chain([time]).collect();
        let whole = fields.iter().position(|field| field.path == "data");
        let collect = Collect { fields: fields.to_vec(), ..Collect::default() };
        Self { projection, collect, times, bare, whole, specversion, time, id, slots }
    }

    fn chunk(&mut self, chunk: Chunk) -> Given {
        self.collect.begin();
        let mut unread: Vec<String> =
            chunk.broken.iter().map(|(number, _, reason)| format!("record {number}: {reason}")).collect();
        let records: Vec<Range<usize>> = match &chunk.records {
            Some(spans) => spans.iter().map(|span| span.start as usize..(span.start + span.len) as usize).collect(),
            None => lines(&chunk.bytes),
        };
        for (at, range) in records.into_iter().enumerate() {
            let number = chunk.first + at as u64;
            let Ok(text) = std::str::from_utf8(&chunk.bytes[range]) else {
                unread.push(format!("record {number}: not UTF-8"));
                continue;
            };
            if text.trim_ascii().is_empty() {
                continue;
            }
            if let Err(reason) = self.record(text) {
                unread.push(format!("record {number}: {reason}"));
            }
        }
        self.collect.end(unread)
    }

    fn record(&mut self, text: &str) -> Result<(), String> {
        let mut slots = Slots::default();
        slots.reset(self.slots);
        self.projection.read(text, &mut slots)?;
        if !slots.is_present(self.specversion) {
            for (slot, bare) in self.bare.iter().enumerate() {
                if let (false, Some(bare)) = (slots.is_present(slot), bare) {
                    slots.values[slot] = slots.values[*bare];
                }
            }
        }
        if let Some(whole) = self.whole {
            let data = sonic_rs::get_from_str(text, ["data"]).map(|data| data.as_raw_str().to_owned());
            let is_bare = !slots.is_present(self.specversion);
            slots.values[whole] = match data {
                Ok(data) => {
                    let start = slots.unescaped.len() as u32;
                    slots.unescaped.push_str(&data);
                    Slot::Unescaped(start, slots.unescaped.len() as u32)
                }
                Err(_) if is_bare => Slot::Text(text),
                Err(_) => Slot::Absent,
            };
        }
        for &slot in &self.times {
            if let Some(time_us) = slots.text(slot).and_then(rfc3339) {
                slots.values[slot] = Slot::Int(time_us);
            }
        }
        let time_us = match slots.values[self.time] {
            Slot::Int(time_us) => Some(time_us),
            _ => None,
        };
        let id = match slots.values[self.id] {
            Slot::Int(id) => id.to_string(),
            _ => slots.text(self.id).unwrap_or_default().to_owned(),
        };
        let places: Vec<usize> = (0..self.bare.len()).collect();
        self.collect.push(&slots, &places, time_us, id);
        Ok(())
    }
}

fn lines(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut start = 0;
    let ends = memchr::memchr_iter(b'\n', bytes);
    ends.map(|end| std::mem::replace(&mut start, end + 1)..end).collect()
}

/// Some rows of a batch.
///
/// # Panics
/// If there are no such rows.
pub fn part(batch: &Batch, rows: Range<usize>) -> Batch {
    let column = |column: &Column| Column {
        values: match &column.values {
            Values::Text(text) => Values::Text(text_part(text, &rows)),
            Values::Dict { codes, entries } => {
                Values::Dict { codes: codes[rows.clone()].to_vec(), entries: entries.clone() }
            }
            Values::Ints(ints) => Values::Ints(ints[rows.clone()].to_vec()),
            Values::Floats(floats) => Values::Floats(floats[rows.clone()].to_vec()),
            Values::Bools(bools) => Values::Bools(bools[rows.clone()].to_vec()),
        },
        present: if column.present.is_empty() { Vec::new() } else { column.present[rows.clone()].to_vec() },
    };
    Batch { rows: rows.len() as u32, columns: batch.columns.iter().map(column).collect() }
}

/// Batches that were read for one rule, one after the other.
///
/// # Panics
/// If they are not of the same fields, or have dictionaries.
pub fn join(batches: Vec<Batch>) -> Batch {
    let mut batches = batches.into_iter();
    let Some(mut all) = batches.next() else { return Batch::default() };
    for batch in batches {
        for (column, more) in all.columns.iter_mut().zip(&batch.columns) {
            append(column, all.rows as usize, more, batch.rows as usize);
        }
        all.rows += batch.rows;
    }
    all
}

fn append(column: &mut Column, rows: usize, more: &Column, count: usize) {
    if !(column.present.is_empty() && more.present.is_empty()) {
        column.present.resize(rows, 1);
        column.present.extend_from_slice(&more.present);
        column.present.resize(rows + count, 1);
    }
    match (&mut column.values, &more.values) {
        (Values::Text(text), Values::Text(more)) => (0..count).for_each(|row| text.push(more.get(row))),
        (Values::Ints(ints), Values::Ints(more)) => ints.extend_from_slice(more),
        (Values::Floats(floats), Values::Floats(more)) => floats.extend_from_slice(more),
        (Values::Bools(bools), Values::Bools(more)) => bools.extend_from_slice(more),
        // The decoder makes columns of one kind for one field, and no dictionaries.
        _ => unreachable!("columns of one field are of one kind"),
    }
}

fn text_part(text: &TextColumn, rows: &Range<usize>) -> TextColumn {
    let offsets = &text.offsets[rows.start..=rows.end];
    let base = offsets[0];
    let data = text.data[base as usize..offsets[rows.len()] as usize].to_vec();
    TextColumn { offsets: offsets.iter().map(|offset| offset - base).collect(), data }
}

/// The text of a field in a row; `None` where it is absent.
pub fn text_at(column: &Column, row: usize) -> Option<String> {
    if column.present.get(row).is_some_and(|&present| present == 0) {
        return None;
    }
    Some(match &column.values {
        Values::Text(text) => text.get(row).to_owned(),
        Values::Dict { codes, entries } => entries.get(codes[row] as usize).to_owned(),
        Values::Ints(ints) => ints[row].to_string(),
        Values::Floats(floats) => floats[row].to_string(),
        Values::Bools(bools) => (bools[row] != 0).to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Vec<Field> {
        let field = |path: &str, kind| Field { path: path.into(), kind };
        vec![
            field("data.status", FieldKind::Text),
            field("time", FieldKind::Int),
            field("data.load.now", FieldKind::Float),
            field("data", FieldKind::Text),
        ]
    }

    fn read(records: &str) -> Given {
        let mut framer = Framer::new(Framing::Json);
        framer.buffer().extend_from_slice(records.as_bytes());
        Plain::new(&fields()).chunk(framer.chunk(true, true).unwrap())
    }

    fn row(given: &Given, row: usize) -> Vec<Option<String>> {
        given.batch.columns.iter().map(|column| text_at(column, row)).collect()
    }

    #[test]
    fn fields_are_found_in_events_and_in_plain_objects() {
        let some = |text: &str| Some(text.to_owned());
        let given = read(
            "{\"specversion\":\"1.0\",\"id\":\"a\",\"time\":\"1970-01-01T00:00:01Z\",\"status\":\"no\",\"data\":{\"status\":\"up\"}}\n\
             {\"status\":\"down\",\"load\":{\"now\":1.5},\"time\":7}\nnonsense\n\
             {\"data\":{\"status\":\"up\"},\"data.load.now\":2}\n",
        );
        assert_eq!(row(&given, 0), [some("up"), some("1000000"), None, some("{\"status\":\"up\"}")]);
        let whole = "{\"status\":\"down\",\"load\":{\"now\":1.5},\"time\":7}";
        assert_eq!(row(&given, 1), [some("down"), some("7"), some("1.5"), some(whole)]);
        assert_eq!(row(&given, 2)[..3], [some("up"), None, some("2")]);
        assert_eq!(given.labels[0], Label { row: 1, time_us: Some(1_000_000), id: "a".into() });
        assert_eq!(given.labels.len(), 3);
        assert!(given.unread[0].starts_with("record 3: not a JSON object"), "{:?}", given.unread);
    }

    #[test]
    fn a_part_of_a_batch_has_its_rows() {
        let given = read("{\"status\":\"a\",\"time\":1}\n{\"status\":\"bc\"}\n{\"status\":\"\",\"time\":3}\n");
        let part = part(&given.batch, 1..3);
        assert_eq!(part.rows, 2);
        let texts: Vec<_> = (0..2).map(|row| text_at(&part.columns[0], row)).collect();
        assert_eq!(texts, [Some("bc".into()), Some(String::new())]);
        assert_eq!(text_at(&part.columns[1], 0), None);
        assert_eq!(text_at(&part.columns[1], 1).as_deref(), Some("3"));
    }

    #[test]
    fn batches_are_joined() {
        let given = read("{\"status\":\"a\"}\n{\"status\":\"b\",\"time\":2}\n{\"status\":\"c\"}\n{\"time\":4}\n");
        let pieces = |at: &[usize]| at.windows(2).map(|at| part(&given.batch, at[0]..at[1])).collect::<Vec<_>>();
        let texts = |batch: &Batch| -> Vec<_> {
            let row = |row| batch.columns.iter().map(move |column| text_at(column, row)).collect::<Vec<_>>();
            (0..batch.rows as usize).map(row).collect()
        };
        for at in [&[0, 4][..], &[0, 1, 4], &[0, 2, 3, 4], &[0, 1, 2, 3, 4]] {
            assert_eq!(texts(&join(pieces(at))), texts(&given.batch), "{at:?}");
        }
    }
}
