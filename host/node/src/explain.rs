//! Why an event left, or why none did: the chain from raw signals through rules to what was said.
//!
//! It is all in the log: it is distilled again, and what concerns one entity is kept on the way.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::Value;
use stillhouse_core::columns::outcome;
use stillhouse_core::event::Time;
use stillhouse_core::{Block, Change, Entry, Row};

use crate::durable::{Entry as Left, Kept, Recorded};
use crate::replay::{Range, replay};
use crate::run::{Options, Watch};

/// So many signals and events are kept of one question; beyond, the oldest are let go and counted.
pub const KEPT_MAX: usize = 10_000;

/// How much of a signal is shown, in bytes.
const RAW_BYTES_MAX: usize = 2_048;

/// A signal, and what its mapper made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Heard {
    /// Its place among all signals.
    pub position: u64,
    /// Event time; absent if it has none.
    pub time: Option<String>,
    #[serde(skip)]
    time_us: i64,
    /// The signal type, as far as it is known.
    pub signal: String,
    /// Its id.
    pub id: String,
    /// The source.
    pub source: String,
    /// The record key that the mapper gave it.
    pub key: String,
    /// The state that the mapper gave it.
    pub state: Option<String>,
    /// Digest of the mapper.
    pub mapper: String,
    /// What became of it.
    pub fate: String,
    /// The signal as it came, after masking.
    pub raw: String,
}

/// What is known of a question.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Explained {
    /// The signals, in log order.
    pub signals: Vec<Heard>,
    /// The events, in their order.
    pub events: Vec<Value>,
    /// How many were let go at [`KEPT_MAX`].
    pub let_go: u64,
}

/// What a word names: an event if there is one of this id, else an entity or a signal.
///
/// # Errors
/// If the store cannot be read.
pub fn event_of(recorded: &Recorded, id: &str) -> Result<Option<(u64, Value)>> {
    for record in recorded.events(0) {
        let record = record?;
        let left = Left::decode(record.bytes())?;
        // Most are not even parsed.
        if memchr::memmem::find(left.line, id.as_bytes()).is_some() {
            let event: Value = serde_json::from_slice(left.line)?;
            if event["id"] == *id {
                return Ok(Some((left.log, event)));
            }
        }
    }
    Ok(None)
}

struct Look<'q> {
    keys: &'q BTreeSet<String>,
    signal: Option<&'q str>,
    types: Vec<(String, Vec<String>, Vec<String>)>,
    sources: Vec<String>,
    found: Explained,
}

impl Look<'_> {
    fn wants(&self, block: &Block, row: &Row) -> bool {
        let key = row.outcome == outcome::OBSERVED && self.keys.contains(block.text(row.key));
        key || self.signal.is_some_and(|id| block.text(row.id) == id)
    }

    fn hear(&self, block: &Block, index: usize, row: &Row) -> Heard {
        let of_type = self.types.get(usize::from(row.signal_type));
        let (signal, states, mappers) = match of_type {
            Some((signal, states, mappers)) => (signal.clone(), states.as_slice(), mappers.as_slice()),
            None => (String::new(), &[][..], &[][..]),
        };
        let reason = block.text(row.reason);
        let fate = match row.outcome {
            outcome::OBSERVED => String::new(),
            outcome::DROPPED => format!("dropped by its mapper: {reason}"),
            _ => format!("a dead letter: {reason}"),
        };
        let mut raw = block.raw(row.raw).into_owned();
        let cut = (0..=RAW_BYTES_MAX.min(raw.len())).rev().find(|&at| raw.is_char_boundary(at)).unwrap_or(0);
        raw.truncate(cut);
        let observed = row.outcome == outcome::OBSERVED;
        Heard {
            position: block.position + index as u64,
            time: (row.time_us != i64::MIN).then(|| Time(row.time_us).to_string()),
            time_us: row.time_us,
            signal,
            id: block.text(row.id).to_owned(),
            source: self.sources.get(row.source as usize).cloned().unwrap_or_default(),
            key: block.text(row.key).to_owned(),
            state: states.get(usize::from(row.state)).filter(|_| observed).cloned(),
            mapper: mappers.get(usize::from(row.mapper)).cloned().unwrap_or_default(),
            fate,
            raw,
        }
    }
}

impl Watch for Look<'_> {
    fn progress(&mut self, _: u64, _: u64) {}

    fn entries(&mut self, entries: &[Entry]) {
        for entry in entries {
            match entry {
                Entry::Source(name) | Entry::SourceUnheard(name) | Entry::SnapshotSource(name) => {
                    self.sources.push(name.to_string())
                }
                Entry::Rules(Change::Mapper { signal_type, plan }) => {
                    if let Some(of_type) = self.types.get_mut(usize::from(*signal_type)) {
                        of_type.1 = plan.states.iter().map(|state| state.name.clone()).collect();
                        of_type.2 = plan.mappers.iter().map(|rule| rule.digest.clone()).collect();
                    }
                }
                Entry::Signals(block) | Entry::SnapshotRows { block, .. } => {
                    for (index, row) in block.rows.iter().enumerate() {
                        if self.wants(block, row) {
                            let heard = self.hear(block, index, row);
                            self.found.signals.push(heard);
                        }
                    }
                    let over = self.found.signals.len().saturating_sub(KEPT_MAX);
                    self.found.signals.drain(..over);
                    self.found.let_go += over as u64;
                }
                _ => {}
            }
        }
    }
}

/// Looks for all that concerns `keys`, and a signal, in the log up to a position.
///
/// # Errors
/// If the store cannot be read or replayed.
pub fn explain(
    recorded: &Recorded,
    keys: &BTreeSet<String>,
    signal: Option<&str>,
    to: Option<u64>,
    options: &Options,
) -> Result<Explained> {
    let Some(oldest) = Kept::all(&recorded.store)?.into_iter().next() else {
        bail!("{}: there is no checkpoint from which the log could be read", recorded.store.path().display())
    };
    let types = oldest.state.rollouts.types.iter().map(|of_type| of_type.named()).collect();
    let sources = oldest.state.pipeline.source_names();
    let mut look = Look { keys, signal, types, sources, found: Explained::default() };
    let mut lines = Vec::new();
    let range = Range { from: Some(oldest.state.log), to, ..Range::default() };
    replay(None, recorded, range, &mut Lines { keys, signal, lines: &mut lines }, options, &mut look)?;
    let mut found = look.found;
    found.events = lines;
    tell_fates(&mut found);
    Ok(found)
}

/// Keeps the lines that concern somebody.
struct Lines<'q> {
    keys: &'q BTreeSet<String>,
    signal: Option<&'q str>,
    lines: &'q mut Vec<Value>,
}

impl std::io::Write for Lines<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let has = |text: &str| memchr::memmem::find(line, text.as_bytes()).is_some();
            if self.lines.len() < KEPT_MAX && (self.keys.iter().any(|key| has(key)) || self.signal.is_some_and(has)) {
                let event: Value = serde_json::from_slice(line)?;
                let subject = event["subject"].as_str().is_some_and(|subject| self.keys.contains(subject));
                let about = self.signal.is_some_and(|id| {
                    let named = |at: &Value| at["id"] == *id;
                    let provenance = &event["data"]["provenance"];
                    named(&event["data"]) || named(&provenance["first"]) || named(&provenance["last"])
                });
                if subject || about {
                    self.lines.push(event);
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Says what became of each signal, as far as the events and its neighbours tell.
fn tell_fates(found: &mut Explained) {
    let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
    let mut last: BTreeMap<(String, String), String> = BTreeMap::new();
    for heard in &mut found.signals {
        let events = || found.events.iter().filter(|event| event["data"]["signal"] == *heard.signal);
        let of_id = |event: &&Value, kind: &str| event["type"] == *kind && event["data"]["id"] == *heard.id;
        if let Some(late) = events().find(|event| of_id(event, "stillhouse.late")) {
            heard.fate = format!("late by {} µs: see event {}", late["data"]["late_us"], text(&late["id"]));
            continue;
        }
        if let Some(dead) = found.events.iter().find(|event| of_id(event, "stillhouse.dead-letter")) {
            heard.fate = format!("a dead letter: {}; see event {}", text(&dead["data"]["reason"]), text(&dead["id"]));
            continue;
        }
        if !heard.fate.is_empty() {
            continue;
        }
        if !seen.insert((heard.source.clone(), heard.id.clone())) {
            heard.fate = "merged: an equal id came before".into();
            continue;
        }
        let state = heard.state.clone().unwrap_or_default();
        let entity = (heard.signal.clone(), heard.key.clone());
        let before = last.insert(entity, state.clone());
        let is_first = before.is_none();
        let said_again = before.is_some_and(|before| before == state);
        let named = events().find(|event| {
            let provenance = &event["data"]["provenance"];
            let is = |at: &Value| at["id"] == *heard.id && at["source"] == *heard.source;
            event["subject"] == *heard.key && (is(&provenance["first"]) || is(&provenance["last"]))
        });
        heard.fate = match named {
            Some(event) => format!("an input of event {} ({})", text(&event["id"]), text(&event["type"])),
            None if is_first => "the first that is known of its entity".into(),
            None if said_again => "said again what was known".into(),
            None => "its state did not last, waits, or is an inner input: see the events around it".into(),
        };
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

impl Heard {
    /// Event time in microseconds; `i64::MIN` if it has none.
    pub fn time_us(&self) -> i64 {
        self.time_us
    }
}
