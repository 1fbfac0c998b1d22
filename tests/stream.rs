//! A stream of signals as a test writes it, and the core run on it.

use std::sync::Arc;

use stillhouse_core::block::{Block, Row, fingerprint, id_hash, key_hash};
use stillhouse_core::columns::outcome;
use stillhouse_core::event::{Change, Data, Flood, Judgement, StateView, Windowed};
use stillhouse_core::rule::{Judge, NoJudge};
use stillhouse_core::table::Table;
use stillhouse_core::{Core, Entry, Event, Ledger, Plan};

use crate::derive_told::tell_derived;

/// One signal, mapped.
#[derive(Clone, Debug)]
pub struct Signal {
    pub source: u32,
    pub time_us: i64,
    pub rank: u64,
    pub id: String,
    pub has_id: bool,
    pub signal_type: u16,
    pub outcome: u8,
    pub key: String,
    pub state: u8,
    pub value: String,
    pub severity: u8,
}

/// What the log holds after its sources.
#[derive(Clone, Debug)]
pub enum Item {
    Signal(Signal),
    SourceEnded(u32),
    Tick(i64),
    Table(Arc<Table>),
    Snapshot(Snapshot),
}

/// How all entities of a signal type are.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub signal_type: u16,
    pub age_us: i64,
    pub rows: Vec<Signal>,
    /// Whether all of it comes.
    pub ends: bool,
}

/// A whole input.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    pub sources: Vec<String>,
    pub items: Vec<Item>,
    /// Whether the log ends with [`Entry::End`].
    pub ended: bool,
}

/// How a run divides its input and its work; nothing of it may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    pub shards: usize,
    pub block_rows: usize,
    /// Entries for each call of the core.
    pub entries: usize,
}

pub const WHOLE: Division = Division { shards: 1, block_rows: 1 << 20, entries: 1 << 20 };

/// What came of a run of the core.
pub struct Run {
    pub events: Vec<Event>,
    pub bytes: String,
    pub ledger: Ledger,
    pub core: Core,
}

/// A signal of source 0 and type 0 without severity.
pub fn signal(time_us: i64, id: &str, key: &str, state: u8, value: &str) -> Signal {
    Signal {
        source: 0,
        time_us,
        rank: 0,
        id: id.into(),
        has_id: true,
        signal_type: 0,
        outcome: outcome::OBSERVED,
        key: key.into(),
        state,
        value: value.into(),
        severity: 0,
    }
}

impl Stream {
    /// A stream of one source, to its end.
    pub fn of(signals: impl IntoIterator<Item = Signal>) -> Self {
        Self { sources: vec!["a".into()], items: signals.into_iter().map(Item::Signal).collect(), ended: true }
    }

    pub fn signals(&self) -> impl Iterator<Item = &Signal> {
        self.items.iter().filter_map(|item| match item {
            Item::Signal(signal) => Some(signal),
            _ => None,
        })
    }

    /// The entries of the log.
    pub fn entries(&self, block_rows: usize) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.sources.iter().map(|name| Entry::Source(name.as_str().into())).collect();
        let mut block = Block::default();
        let mut position = 0;
        for item in &self.items {
            match item {
                Item::Signal(signal) => {
                    add(&mut block, signal, &self.sources);
                    position += 1;
                    if block.rows.len() == block_rows {
                        flush(&mut block, position, &mut entries);
                    }
                }
                Item::SourceEnded(source) => {
                    flush(&mut block, position, &mut entries);
                    entries.push(Entry::SourceEnded(*source));
                }
                Item::Tick(now_us) => {
                    flush(&mut block, position, &mut entries);
                    entries.push(Entry::Tick(*now_us));
                }
                Item::Table(table) => {
                    flush(&mut block, position, &mut entries);
                    entries.push(Entry::Table(Arc::clone(table)));
                }
                Item::Snapshot(snapshot) => {
                    flush(&mut block, position, &mut entries);
                    let (signal_type, age_us) = (snapshot.signal_type, snapshot.age_us);
                    entries.push(Entry::SnapshotBegins(signal_type));
                    for rows in snapshot.rows.chunks(block_rows) {
                        rows.iter().for_each(|row| add(&mut block, row, &self.sources));
                        position += rows.len() as u64;
                        let block = Arc::new(std::mem::replace(&mut block, Block { position, ..Block::default() }));
                        entries.push(Entry::SnapshotRows { signal_type, block });
                    }
                    if snapshot.ends {
                        entries.push(Entry::Snapshot { signal_type, age_us });
                    }
                }
            }
        }
        flush(&mut block, position, &mut entries);
        if self.ended {
            entries.push(Entry::End);
        }
        entries
    }
}

fn flush(block: &mut Block, position: u64, entries: &mut Vec<Entry>) {
    if !block.rows.is_empty() {
        entries.push(Entry::Signals(Arc::new(std::mem::take(block))));
    }
    block.position = position;
}

pub fn add(block: &mut Block, signal: &Signal, sources: &[String]) {
    let mut row = Row::new(signal.source, signal.rank);
    row.time_us = signal.time_us;
    row.id_hash = id_hash(&sources[signal.source as usize], &signal.id);
    row.key_hash = key_hash(signal.signal_type, signal.key.as_bytes());
    row.fingerprint = fingerprint(signal.state, signal.value.as_bytes());
    row.id = block.push_text(&signal.id);
    row.key = block.push_text(&signal.key);
    row.value = block.push_text(&signal.value);
    if signal.outcome != outcome::OBSERVED {
        row.reason = block.push_text("made up");
    }
    row.signal_type = signal.signal_type;
    row.outcome = signal.outcome;
    row.state = signal.state;
    row.severity = signal.severity;
    row.has_id = signal.has_id;
    block.rows.push(row);
}

/// Runs the core without suppressors.
pub fn run(plan: &Arc<Plan>, stream: &Stream, division: Division) -> Run {
    run_with(plan, stream, division, &mut NoJudge)
}

/// Runs the core; the books must balance after every step.
pub fn run_with(plan: &Arc<Plan>, stream: &Stream, division: Division, judge: &mut dyn Judge) -> Run {
    let mut core = Core::new(Arc::clone(plan), division.shards);
    let mut events = Vec::new();
    for entries in stream.entries(division.block_rows).chunks(division.entries) {
        core.step(entries.iter().cloned(), judge, &mut events);
        let ledger = core.ledger();
        assert!(ledger.balances(), "the books do not balance: {ledger:?}, placed {}", ledger.placed());
        assert_eq!(core.count_open(), ledger.open, "open signals, counted and in the books: {ledger:?}");
    }
    let bytes = bytes(&events);
    // Of many divisions of one input one is enough: the others give the same bytes.
    if division == WHOLE {
        crate::event_schema::check_lines(bytes.as_bytes());
    }
    Run { bytes, events, ledger: core.ledger(), core }
}

/// Runs the core, divided in many ways that must not show, and compares what it tells.
pub fn check_divided(plan: Plan, stream: &Stream, expected: &[&str]) -> Run {
    let plan = Arc::new(plan);
    let whole = run(&plan, stream, WHOLE);
    assert_eq!(told(&whole.events), expected);
    for shards in [1, 3] {
        for (block_rows, entries) in [(1, 1), (2, 1), (3, 2), (5, 100)] {
            let division = Division { shards, block_rows, entries };
            let divided = run(&plan, stream, division);
            assert_eq!(whole.bytes, divided.bytes, "{division:?}");
            assert_eq!(whole.ledger, divided.ledger, "{division:?}");
        }
    }
    whole
}

/// The events as they leave.
pub fn bytes(events: &[Event]) -> String {
    let mut bytes = Vec::new();
    for event in events {
        event.write_line(&mut bytes);
    }
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// Each event in one line, for exact comparisons.
pub fn told(events: &[Event]) -> Vec<String> {
    events.iter().map(tell).collect()
}

fn tell(event: &Event) -> String {
    let kind = event.kind.trim_start_matches("stillhouse.");
    let at = event.time.map_or("never".into(), |time| time.0.to_string());
    let key = event.subject.as_deref().unwrap_or("-");
    format!("{at} {kind} {key} {}", tell_data(&event.data))
}

fn tell_data(data: &Data) -> String {
    match data {
        Data::Change(change) => tell_change(change) + &tell_judgement(change.judgement.as_ref()),
        Data::Window(window) => tell_window(window) + &tell_judgement(window.judgement.as_ref()),
        Data::Suppressed(held) => {
            let after = held.held_back_us.map_or(String::new(), |us| format!(" after {us}"));
            let deadline_us = held.deadline.0;
            format!("{}{after} deadline {deadline_us}: {}", held.outcome, tell_data(&held.candidate))
        }
        Data::Flood(flood) => tell_flood(flood),
        Data::Correction(correction) => {
            let kind = correction.kind.trim_start_matches("stillhouse.");
            let now = match correction.event.as_deref() {
                Some(Data::Change(change)) => tell_change(change),
                Some(_) => "another window".into(),
                None => "nothing".into(),
            };
            format!("revision {} of {kind}: {now}", correction.revision)
        }
        Data::Drift(drift) => {
            let name = |view: &Option<StateView>| view.as_ref().map_or("?".into(), name_of);
            let since = drift.since.map_or(String::new(), |since| format!(" since {}", since.0));
            format!(
                "{}: {}{since}, snapshot of {} {}",
                drift.kind,
                name(&drift.known),
                drift.taken.0,
                name(&drift.snapshot)
            )
        }
        Data::Late(late) => format!("{} by {}", late.id, late.late_us),
        Data::DeadLetter(dead) => dead.id.to_string(),
        Data::Derived(derived) => tell_derived(derived),
    }
}

fn tell_judgement(judgement: Option<&Judgement>) -> String {
    judgement.map_or(String::new(), |said| format!(" {} after {}", said.outcome, said.held_back_us))
}

fn tell_window(window: &Windowed) -> String {
    let counts = window.counts;
    let end = window.window.end.map_or("..".into(), |end| end.0.to_string());
    let span = format!("{} [{},{end})", window.window.kind, window.window.start.0);
    let more = if counts.at_least { "+" } else { "" };
    let counts = format!("inputs {} sources {} values {}{more}", counts.inputs, counts.sources, counts.values);
    format!("{span} {counts} revision {}", window.revision)
}

fn tell_flood(flood: &Flood) -> String {
    let source = flood.source.as_deref().map_or(String::new(), |source| format!(" from {source}"));
    let limit = format!("{}{source} in {} since {}", flood.max, flood.per_us, flood.since.0);
    let Some(held) = &flood.withheld else { return limit };
    let (candidates, ended, signals) = (held.candidates, held.ended, held.signals);
    format!("{limit}: {candidates} withheld, {ended} ended, {signals} signals of {}", held.keys.join(" "))
}

fn name_of(view: &StateView) -> String {
    format!("{}{}", view.state, view.value.as_deref().unwrap_or(""))
}

fn tell_change(change: &Change) -> String {
    let from = change.from.as_ref().map_or("?".into(), name_of);
    let (to, since_us, inputs) = (name_of(&change.to), change.since.0, change.counts.inputs);
    format!("{from}>{to} since {since_us} inputs {inputs}")
}
