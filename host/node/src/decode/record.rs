//! Reads one input: which slot each wanted field fills, and how a record becomes a row.

use std::fmt::Write;
use std::sync::Arc;

use stillhouse_core::block::{Block, Row, Span, id_hash, rank_of_id};
use stillhouse_core::columns::outcome;
use stillhouse_core::rule::Field;
use stillhouse_core::table::Table;

use crate::config::InputConfig;
use crate::config::schema::{Format, Unmatched};
use crate::decode::framing::{Chunk, Framing};
use crate::decode::json::Projection;
use crate::decode::lookup::Lookup;
use crate::decode::shape::Shapes;
use crate::decode::text::Pattern;
use crate::decode::time::{TimeFormat, rfc3339};
use crate::decode::{Slot, Slots};
use crate::tables::TablePath;

/// Event times from the year 1 to 9999, in microseconds since 1970: far enough from the bounds of
/// the numbers that differences of times never overflow.
const TIMES_US: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// How the records of one input are read. Made once for each input, shared by all workers.
#[derive(Clone, Debug)]
pub struct Decoder {
    format: Format,
    unmatched: Unmatched,
    projection: Projection,
    patterns: Vec<Pattern>,
    /// The paths that are wanted; a slot's number is its index here.
    paths: Vec<String>,
    /// By signal type: the slot of each field of its mapper.
    places: Vec<Vec<usize>>,
    /// By signal type: the fields that are looked up in tables.
    lookups: Vec<Vec<Lookup>>,
    type_names: Vec<String>,
    json_type: Option<u16>,
    time: Vec<usize>,
    time_names: Vec<String>,
    each_field: bool,
    time_format: TimeFormat,
    /// A record needs no event time: that of its snapshot counts.
    timeless: bool,
    id: Option<usize>,
    source: Option<usize>,
    signal_type: Option<usize>,
    sequence: Option<usize>,
    /// Wanted fields whose value is known before a record is read.
    constants: Vec<(usize, String)>,
    wanted: Wanted,
    source_name: String,
}

/// Wanted fields that are not in the record as it stands.
#[derive(Clone, Debug, Default)]
struct Wanted {
    time: Option<usize>,
    edge: Option<usize>,
    id: Option<usize>,
    data: Option<usize>,
}

/// Where the rows of a block go besides the block: to the columns of their mapper.
pub trait Rows {
    /// A row of this type was added to the block; its fields are in the slots.
    fn row(&mut self, block: &mut Block, signal_type: u16, row: usize, slots: &Slots<'_>, places: &[usize]);

    /// The number that stands for a source in this block.
    fn source(&mut self, name: &str) -> u32;
}

impl Decoder {
    /// A decoder for the file `file_name`, for mappers that read these fields, by signal type.
    pub fn new(input: &InputConfig, file_name: &str, types: &[(String, Vec<Field>)]) -> Self {
        let cloud_events = input.format == Format::CloudEvents;
        let mut decoder = Self {
            format: input.format,
            unmatched: input.unmatched,
            projection: Projection::default(),
            patterns: Vec::new(),
            paths: Vec::new(),
            places: Vec::new(),
            lookups: Vec::new(),
            type_names: types.iter().map(|(name, _)| name.clone()).collect(),
            json_type: input.signal_type,
            time: Vec::new(),
            time_names: input.time.fields.clone(),
            each_field: input.time.each_field,
            time_format: input.time.format.clone(),
            timeless: false,
            id: None,
            source: None,
            signal_type: None,
            sequence: None,
            constants: Vec::new(),
            wanted: Wanted::default(),
            source_name: input.source.clone().unwrap_or_else(|| file_name.to_owned()),
        };
        // Attributes of a CloudEvent stand at its root; those of other records are in their data.
        let root = |path: &str| if cloud_events { path.to_owned() } else { format!("data.{path}") };
        decoder.time = input.time.fields.iter().map(|field| decoder.slot(&root(field))).collect();
        if cloud_events {
            decoder.id = Some(decoder.slot("id"));
            decoder.source = Some(decoder.slot("source"));
            decoder.signal_type = Some(decoder.slot("type"));
        } else {
            decoder.id = input.id.as_ref().map(|path| decoder.slot(&root(path)));
        }
        let sequence = input.sequence.clone().or_else(|| cloud_events.then(|| "sequence".to_owned()));
        decoder.sequence = sequence.map(|path| decoder.slot(&root(&path)));
        for (_, fields) in types {
            let mut place = |path: &str| match (path, &input.subject) {
                ("subject", Some(path)) => decoder.slot(&root(path)),
                (path, _) => decoder.slot(path),
            };
            let places: Vec<usize> = fields.iter().map(|field| place(&field.path)).collect();
            let looked_up = fields.iter().zip(&places).filter_map(|(field, &to)| {
                let path = TablePath::parse(&field.path)?;
                Some(Lookup::new(path, place(path.field), to))
            });
            let lookups = looked_up.collect();
            decoder.places.push(places);
            decoder.lookups.push(lookups);
        }
        decoder.bind(input, file_name, cloud_events);
        decoder
    }

    fn slot(&mut self, path: &str) -> usize {
        match self.paths.iter().position(|known| known == path) {
            Some(slot) => slot,
            None => {
                self.paths.push(path.to_owned());
                self.paths.len() - 1
            }
        }
    }

    /// Says for each wanted path where its value comes from.
    fn bind(&mut self, input: &InputConfig, file_name: &str, cloud_events: bool) {
        let file = input.file_fields.as_ref().and_then(|regex| regex.captures(file_name));
        let from_file = |path: &str| {
            let group = path.strip_prefix("data.")?;
            file.as_ref()?.name(group).map(|found| found.as_str().to_owned())
        };
        for (slot, path) in self.paths.iter().enumerate() {
            match path.as_str() {
                "time" if !cloud_events || self.time != [slot] => self.wanted.time = Some(slot),
                "data.edge" if self.each_field => self.wanted.edge = Some(slot),
                "data" => self.wanted.data = Some(slot),
                "id" if self.id.is_none() => self.wanted.id = Some(slot),
                path if TablePath::parse(path).is_some() => {}
                "source" if !cloud_events => self.constants.push((slot, self.source_name.clone())),
                path if cloud_events => self.projection.want(path, slot),
                // What other records call `subject` is the subject, unless another path is configured.
                "subject" => match from_file("data.subject") {
                    Some(value) => self.constants.push((slot, value)),
                    None => self.projection.want("subject", slot),
                },
                path => match (from_file(path), path.strip_prefix("data.")) {
                    (Some(value), _) => self.constants.push((slot, value)),
                    (None, Some(path)) => self.projection.want(path, slot),
                    (None, None) => {}
                },
            }
        }
        if cloud_events && self.places.iter().flatten().any(|&slot| self.time == [slot]) {
            self.wanted.time = self.time.first().copied();
        }
        let paths = &self.paths;
        let mut slot_of = |group: &str| {
            let path = format!("data.{group}");
            let in_data = paths.iter().position(|known| *known == path);
            in_data.or_else(|| paths.iter().position(|known| group == "subject" && known == "subject"))
        };
        self.patterns = input
            .patterns
            .iter()
            .map(|pattern| Pattern::new(pattern.signal_type, pattern.regex.clone(), pattern.each.clone(), &mut slot_of))
            .collect();
    }

    /// How the bytes of this input are cut into records.
    pub fn framing(&self) -> Framing {
        if self.format == Format::Text { Framing::Lines } else { Framing::Json }
    }

    /// The name of this input as a source.
    pub fn source_name(&self) -> &str {
        &self.source_name
    }

    /// The same decoder for an input that is told apart from another of the same name.
    pub fn named(mut self, source_name: &str) -> Self {
        for (_, value) in self.constants.iter_mut().filter(|(slot, _)| self.paths[*slot] == "source") {
            source_name.clone_into(value);
        }
        source_name.clone_into(&mut self.source_name);
        self
    }

    /// Whether records need no event time, since what they say of it does not count.
    pub fn set_timeless(&mut self, timeless: bool) {
        self.timeless = timeless;
    }

    /// From now on this version of a table counts.
    pub fn set_table(&mut self, table: &Arc<Table>) {
        self.lookups.iter_mut().flatten().for_each(|lookup| lookup.set(table));
    }

    /// Whether signals name their own sources.
    pub fn has_sources(&self) -> bool {
        self.source.is_some()
    }

    /// Decodes a chunk into the rows of `block`, which takes over the bytes.
    pub fn decode(&self, chunk: Chunk, block: &mut Block, rows: &mut dyn Rows) {
        block.raw = chunk.bytes;
        let raw = std::mem::take(&mut block.raw);
        // Checked once for all records; only where that fails, each is checked on its own.
        let valid = simdutf8::basic::from_utf8(&raw).ok();
        let (mut slots, mut shapes) = (Slots::default(), Shapes::default());
        let mut broken = chunk.broken.iter().peekable();
        let mut number = chunk.first;
        let mut record = |span: Span, block: &mut Block, rows: &mut dyn Rows| {
            while broken.peek().is_some_and(|(at, ..)| *at == number) {
                number += 1;
                broken.next();
            }
            let range = span.start as usize..(span.start + span.len) as usize;
            let at = At { number, span };
            number += 1;
            match valid.and_then(|text| text.get(range.clone())).or_else(|| std::str::from_utf8(&raw[range]).ok()) {
                Some(text) if text.trim_ascii().is_empty() && self.format == Format::Text => {}
                Some(text) => self.record(text, at, (&mut slots, &mut shapes), block, rows),
                None => self.dead(at, "not UTF-8", block, rows),
            }
        };
        match &chunk.records {
            Some(spans) => spans.iter().for_each(|&span| record(span, block, rows)),
            None => {
                let mut start = 0;
                for end in memchr::memchr_iter(b'\n', &raw) {
                    let length = raw[start..end].strip_suffix(b"\r").map_or(end - start, <[u8]>::len);
                    record(Span { start: start as u32, len: length as u32 }, block, rows);
                    start = end + 1;
                }
            }
        }
        block.raw = raw;
        for (number, kept, reason) in chunk.broken {
            let start = block.raw.len() as u32;
            block.raw.extend_from_slice(&kept);
            let span = Span { start, len: kept.len() as u32 };
            self.dead(At { number, span }, &reason, block, rows);
        }
    }

    fn record<'a>(
        &self,
        text: &'a str,
        at: At,
        (slots, shapes): (&mut Slots<'_>, &mut Shapes),
        block: &mut Block,
        rows: &mut dyn Rows,
    ) {
        // The slots of the record before are of no use; only their memory is.
        let mut own: Slots<'a> = Slots { values: Vec::new(), unescaped: std::mem::take(&mut slots.unescaped) };
        own.values = recycle(std::mem::take(&mut slots.values));
        own.reset(self.paths.len());
        if self.format == Format::Text {
            self.line(text, at, &mut own, block, rows);
        } else if !text.trim_ascii().is_empty() {
            match self.projection.read_alike(text, &mut own, shapes) {
                Ok(()) => self.object(text, at, &mut own, block, rows),
                Err(reason) => self.dead(at, &reason, block, rows),
            }
        }
        slots.unescaped = std::mem::take(&mut own.unescaped);
        slots.values = recycle(own.values);
    }

    fn line<'a>(&self, text: &'a str, at: At, slots: &mut Slots<'a>, block: &mut Block, rows: &mut dyn Rows) {
        for pattern in &self.patterns {
            let matched = pattern.read(text, slots, &mut |part, found| {
                let mut own = Slots { values: found.values.clone(), unescaped: String::new() };
                self.signals(pattern.signal_type, text, at, part, &mut own, block, rows);
            });
            if matched {
                return;
            }
        }
        match self.unmatched {
            Unmatched::DeadLetter => self.dead(at, "no pattern matches this line", block, rows),
            Unmatched::Drop => {
                let mut row = self.row(at, rows);
                row.outcome = outcome::DROPPED;
                block.rows.push(row);
            }
        }
    }

    fn object<'a>(&self, text: &'a str, at: At, slots: &mut Slots<'a>, block: &mut Block, rows: &mut dyn Rows) {
        let signal_type = match (self.json_type, self.signal_type) {
            (Some(signal_type), _) => signal_type,
            (None, slot) => match slot.and_then(|slot| slots.text(slot)) {
                None => return self.dead(at, "not a CloudEvent: no `type`", block, rows),
                Some(name) => match self.type_names.iter().position(|known| known == name) {
                    Some(index) => index as u16,
                    None => {
                        let short: String = name.chars().take(128).collect();
                        let known: Vec<&str> = self.type_names.iter().map(|name| name.as_str()).collect();
                        let known = crate::config::listed(&known);
                        let reason = format!("unknown signal type `{short}`; configured: {known}");
                        return self.dead_event(at, &reason, slots, block, rows);
                    }
                },
            },
        };
        self.signals(signal_type, text, at, 0, slots, block, rows);
    }

    /// A record is one signal, or one for each of its times.
    #[allow(clippy::too_many_arguments)]
    fn signals<'a>(
        &self,
        signal_type: u16,
        text: &'a str,
        at: At,
        part: u64,
        slots: &mut Slots<'a>,
        block: &mut Block,
        rows: &mut dyn Rows,
    ) {
        for (slot, value) in &self.constants {
            let start = slots.unescaped.len() as u32;
            slots.unescaped.push_str(value);
            slots.values[*slot] = Slot::Unescaped(start, slots.unescaped.len() as u32);
        }
        if let Some(slot) = self.wanted.data
            && let Ok(value) = sonic_rs::get_from_str(text, ["data"])
        {
            let start = slots.unescaped.len() as u32;
            slots.unescaped.push_str(value.as_raw_str());
            slots.values[slot] = Slot::Unescaped(start, slots.unescaped.len() as u32);
        }
        if !self.each_field {
            let slot = self.time.iter().copied().find(|&slot| slots.is_present(slot));
            return self.signal(signal_type, slot, at, part, slots, block, rows);
        }
        let mut none = true;
        for (index, &slot) in self.time.iter().enumerate() {
            if slots.is_present(slot) {
                none = false;
                if let Some(edge) = self.wanted.edge {
                    let start = slots.unescaped.len() as u32;
                    slots.unescaped.push_str(&self.time_names[index]);
                    slots.values[edge] = Slot::Unescaped(start, slots.unescaped.len() as u32);
                }
                let part = part * self.time.len() as u64 + index as u64;
                self.signal(signal_type, Some(slot), at, part, slots, block, rows);
            }
        }
        if none {
            self.signal(signal_type, None, at, part, slots, block, rows);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn signal(
        &self,
        signal_type: u16,
        time: Option<usize>,
        at: At,
        part: u64,
        slots: &mut Slots<'_>,
        block: &mut Block,
        rows: &mut dyn Rows,
    ) {
        let time_us = match time {
            _ if self.timeless => 0,
            None => {
                let names =
                    crate::config::listed(&self.time_names.iter().map(|name| name.as_str()).collect::<Vec<_>>());
                return self.dead(at, &format!("no event time: none of {names} is there"), block, rows);
            }
            Some(slot) => match (&self.time_format, slots.text(slot)) {
                // What nearly every signal has.
                (TimeFormat::Rfc3339, Some(text)) if let Some(time_us) = rfc3339(text) => time_us,
                (format, text) => match format.read(slots.values[slot], text) {
                    Ok(time_us) => time_us,
                    Err(reason) => return self.dead(at, &reason, block, rows),
                },
            },
        };
        if !TIMES_US.contains(&time_us) {
            return self.dead(at, "event time: expected a year from 1 to 9999", block, rows);
        }
        let mut row = match self.source {
            None => self.row(at, rows),
            Some(slot) => match slots.text(slot) {
                Some(source) => Row::new(rows.source(source), 0),
                None => return self.dead(at, "not a CloudEvent: no `source`", block, rows),
            },
        };
        row.raw = at.span;
        row.time_us = time_us;
        row.signal_type = signal_type;
        let source = self.source.and_then(|slot| slots.text(slot)).unwrap_or(&self.source_name);
        match self.id {
            Some(slot) => match (slots.text(slot), slots.values[slot]) {
                (Some(id), _) => self.set_id(&mut row, block, source, id),
                (None, Slot::Int(id)) => self.set_id(&mut row, block, source, &id.to_string()),
                _ if self.source.is_some() => return self.dead(at, "not a CloudEvent: no `id`", block, rows),
                _ => at.set_number(&mut row, block, source, part),
            },
            None => at.set_number(&mut row, block, source, part),
        }
        if let Some(slot) = self.sequence {
            let sequence = match slots.values[slot] {
                Slot::Int(sequence) => u64::try_from(sequence).ok(),
                _ => slots.text(slot).and_then(|text| text.parse().ok()),
            };
            row.rank = sequence.unwrap_or(row.rank);
        }
        if let Some(slot) = self.wanted.time {
            slots.values[slot] = Slot::Int(time_us);
        }
        if let Some(slot) = self.wanted.id {
            let start = slots.unescaped.len() as u32;
            slots.unescaped.push_str(block.text(row.id));
            slots.values[slot] = Slot::Unescaped(start, slots.unescaped.len() as u32);
        }
        self.lookups[signal_type as usize].iter().for_each(|lookup| lookup.fill(slots));
        block.rows.push(row);
        let index = block.rows.len() - 1;
        rows.row(block, signal_type, index, slots, &self.places[signal_type as usize]);
    }

    fn set_id(&self, row: &mut Row, block: &mut Block, source: &str, id: &str) {
        row.id = block.push_text(id);
        row.id_hash = id_hash(source, id);
        row.rank = rank_of_id(id);
        row.has_id = true;
    }

    fn row(&self, at: At, rows: &mut dyn Rows) -> Row {
        let mut row = Row::new(rows.source(&self.source_name), at.number);
        row.raw = at.span;
        row
    }

    /// A dead letter of an event that can be read: it keeps its source, id and time.
    fn dead_event(&self, at: At, reason: &str, slots: &Slots<'_>, block: &mut Block, rows: &mut dyn Rows) {
        let text = |slot: Option<usize>| slot.and_then(|slot| slots.text(slot));
        let time = self.time.iter().copied().find(|&slot| slots.is_present(slot));
        let time_us = time.and_then(|slot| self.time_format.read(slots.values[slot], slots.text(slot)).ok());
        let (Some(source), Some(id), Some(time_us)) = (text(self.source), text(self.id), time_us) else {
            return self.dead(at, reason, block, rows);
        };
        let mut row = Row::new(rows.source(source), 0);
        row.raw = at.span;
        row.reason = block.push_text(reason);
        self.set_id(&mut row, block, source, id);
        if TIMES_US.contains(&time_us) {
            row.time_us = time_us;
        }
        block.rows.push(row);
    }

    fn dead(&self, at: At, reason: &str, block: &mut Block, rows: &mut dyn Rows) {
        let mut row = self.row(at, rows);
        row.reason = block.push_text(reason);
        at.set_number(&mut row, block, &self.source_name, 0);
        block.rows.push(row);
    }
}

/// Where a record stands in its input.
#[derive(Clone, Copy)]
struct At {
    number: u64,
    span: Span,
}

impl At {
    /// A signal without an id is named by where it stands: `17`, or `17.3` for a part of a record.
    fn set_number(self, row: &mut Row, block: &mut Block, source: &str, part: u64) {
        let start = block.text.len();
        // Writing into a string cannot fail.
        let _ = write!(block.text, "{}", self.number);
        if part > 0 {
            let _ = write!(block.text, ".{part}");
        }
        row.id = Span { start: start as u32, len: (block.text.len() - start) as u32 };
        row.id_hash = id_hash(source, block.text(row.id));
        row.rank = self.number << 20 | part.min((1 << 20) - 1);
    }
}

/// The memory of slots, for slots that borrow from something else.
fn recycle<'b>(mut values: Vec<Slot<'_>>) -> Vec<Slot<'b>> {
    values.clear();
    // The vector is empty, so nothing is converted: collecting in place keeps its memory.
    values.into_iter().map(|_| Slot::Absent).collect()
}
