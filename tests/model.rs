//! The oracle: what the core must say, computed slowly from the whole stream at once.
//!
//! Written from the semantics, not from the core. It knows no shards, no heaps and no batches: it
//! looks at all signals before a position, sorts all admitted ones, and goes through each entity.
//! It does not know idle sources, bounds and suppressors; exact tests cover these.

use std::collections::BTreeMap;

use stillhouse_core::block::{NO_TIME, id_hash};
use stillhouse_core::columns::outcome;
use stillhouse_core::event::{Data, Event, StateView};
use stillhouse_core::plan::{SILENT, TypePlan};
use stillhouse_core::{Ledger, Plan};

use crate::model_entity::Entity;
use crate::stream::{Item, Signal, Stream};

/// A state and its value, as events show them.
pub type Shown = (String, Option<String>);

/// An event as far as the model knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub kind: String,
    pub key: Option<String>,
    pub signal: Option<String>,
    pub time_us: Option<i64>,
    pub from: Option<Shown>,
    pub to: Option<Shown>,
    pub since_us: Option<i64>,
    pub inputs: u64,
    /// Only of a change of state.
    pub severity: Option<String>,
    /// The id of the signal; of a change of state the id of the first that speaks for it.
    pub first: Option<String>,
    /// The id of the last one.
    pub last: Option<String>,
    /// Of a window, as [`window_text`] writes it.
    pub window: Option<String>,
}

/// What the core must say.
#[derive(Debug)]
pub struct Said {
    pub records: Vec<Record>,
    pub ledger: Ledger,
    /// Whether some of it hangs on less than the model can tell: it says nothing then.
    pub unsure: bool,
}

/// Where an event stands: time, phase (timers, what comes at a watermark, signals, dead letters of
/// that time), then what orders those of one phase.
pub type Place = (i64, u8, String, u64, usize);

pub const BY_TIMER: u8 = 0;
pub const AT_WATERMARK: u8 = 1;
pub const BY_SIGNAL: u8 = 2;
pub const DEAD: u8 = 3;

/// What the core must say of a stream.
pub fn say(plan: &Plan, stream: &Stream) -> Said {
    let mut ledger = Ledger::default();
    let mut said: Vec<(Place, Record)> = Vec::new();
    let mut admitted: Vec<(usize, &Signal)> = Vec::new();
    let mut watermark_us = i64::MIN;
    let mut position = 0;
    for (at, item) in stream.items.iter().enumerate() {
        let Item::Signal(signal) = item else { continue };
        watermark_us = watermark_before(plan, stream, at);
        ledger.received += 1;
        let now = (watermark_us, AT_WATERMARK, String::new(), position as u64, position);
        match signal.outcome {
            outcome::DROPPED => ledger.dropped += 1,
            outcome::OBSERVED if is_duplicate(plan, stream, at, watermark_us) => ledger.merged_id += 1,
            outcome::OBSERVED if signal.time_us < watermark_us => {
                ledger.late += 1;
                said.push((now, about("stillhouse.late", plan, signal, Some(signal.key.clone()))));
            }
            outcome::OBSERVED => admitted.push((position, signal)),
            _ => {
                ledger.dead_lettered += 1;
                let usable = signal.time_us != NO_TIME && signal.time_us >= watermark_us;
                let hash = hash_of(stream, signal);
                let then = (signal.time_us, DEAD, format!("{:020} {hash:020}", signal.rank), 0, position);
                said.push((if usable { then } else { now }, about("stillhouse.dead-letter", plan, signal, None)));
            }
        }
        position += 1;
    }
    watermark_us = watermark_us.max(watermark_before(plan, stream, stream.items.len()));
    let newest_us = stream.signals().map(|signal| signal.time_us).max().unwrap_or(i64::MIN);
    let (before_us, timers_us) = match stream.ended && newest_us > i64::MIN {
        true => (newest_us + 1, newest_us),
        false => (watermark_us, watermark_us),
    };
    admitted.sort_by_key(|(position, signal)| (signal.time_us, signal.rank, hash_of(stream, signal), *position));
    let mut entities: BTreeMap<(u16, &str), Entity> = BTreeMap::new();
    for &(_, signal) in &admitted {
        if signal.time_us >= before_us {
            ledger.open += 1;
            continue;
        }
        let entity = entities.entry((signal.signal_type, &signal.key));
        let type_plan = &plan.types[signal.signal_type as usize];
        entity.or_insert_with(|| Entity::new(type_plan, signal.signal_type, &signal.key)).take(signal);
    }
    let mut unsure = false;
    for entity in entities.values_mut() {
        entity.fire_timers(timers_us);
        entity.look_back(timers_us);
        entity.close(&mut ledger);
        unsure |= entity.unsure;
        said.append(&mut entity.said);
    }
    said.sort_by(|a, b| a.0.cmp(&b.0));
    said.retain(|(place, _)| (place.0, place.1) < (before_us, BY_SIGNAL));
    Said { records: said.into_iter().map(|(_, record)| record).collect(), ledger, unsure }
}

fn hash_of(stream: &Stream, signal: &Signal) -> u64 {
    id_hash(&stream.sources[signal.source as usize], &signal.id)
}

/// The watermark that the items before `end` make. It never falls.
fn watermark_before(plan: &Plan, stream: &Stream, end: usize) -> i64 {
    let mut watermark_us = i64::MIN;
    let mut newest: Vec<Option<i64>> = vec![None; stream.sources.len()];
    let mut source_ended = vec![false; stream.sources.len()];
    for item in &stream.items[..end] {
        match item {
            Item::Signal(signal) if signal.time_us == NO_TIME => {}
            Item::Signal(signal) => {
                let newest = &mut newest[signal.source as usize];
                *newest = Some(newest.unwrap_or(i64::MIN).max(signal.time_us));
            }
            Item::SourceEnded(source) => source_ended[*source as usize] = true,
            Item::Tick(_) | Item::Table(_) | Item::Snapshot(_) => {}
        }
        let running = newest.iter().zip(&source_ended).filter(|(_, ended)| !**ended).map(|(newest, _)| *newest);
        // `None` is less than any time.
        if let Some(Some(least)) = running.min() {
            watermark_us = watermark_us.max(least - plan.order.allowed_lateness_us);
        }
    }
    watermark_us
}

/// An id is remembered until the watermark has passed the end of its window.
fn is_duplicate(plan: &Plan, stream: &Stream, at: usize, watermark_us: i64) -> bool {
    let Item::Signal(signal) = &stream.items[at] else { return false };
    let name = |signal: &Signal| &stream.sources[signal.source as usize];
    // Compared with the last one of that id only: an id that is used again at another time is not
    // the same signal any more.
    let last = stream.items[..at].iter().rev().find_map(|item| match item {
        Item::Signal(other) => {
            let same = other.id == signal.id && name(other) == name(signal);
            (other.has_id && other.outcome == outcome::OBSERVED && same).then_some(other.time_us)
        }
        _ => None,
    });
    let window_us = plan.order.id_window_us;
    signal.has_id
        && last.is_some_and(|last_us| {
            (last_us - signal.time_us).abs() <= window_us && last_us.saturating_add(window_us) >= watermark_us
        })
}

fn about(kind: &str, plan: &Plan, signal: &Signal, key: Option<String>) -> Record {
    Record {
        kind: kind.into(),
        key,
        signal: plan.types.get(signal.signal_type as usize).map(|plan| plan.name.clone()),
        time_us: (signal.time_us != NO_TIME).then_some(signal.time_us),
        first: Some(signal.id.clone()),
        ..Record::default()
    }
}

/// A state as events show it.
pub fn shown(plan: &TypePlan, state: u8, value: &str) -> Shown {
    let unheard = if state == SILENT { "silent" } else { "clear" };
    let name = plan.states.get(state as usize).map_or(unheard, |state| &state.name);
    (name.into(), (!value.is_empty()).then(|| value.into()))
}

/// The signal type of the data of an event.
pub fn signal_of(data: &Data) -> Option<&str> {
    match data {
        Data::Change(change) => Some(&change.signal),
        Data::Window(windowed) => Some(&windowed.signal),
        Data::Suppressed(suppressed) => signal_of(&suppressed.candidate),
        Data::Late(late) => Some(&late.signal),
        Data::DeadLetter(dead) => dead.signal.as_deref(),
        Data::Flood(flood) => Some(&flood.signal),
        Data::Correction(correction) => Some(&correction.signal),
        Data::Drift(drift) => Some(&drift.signal),
        Data::Derived(_) => None,
    }
}

/// What a record says of a window.
pub fn window_text(kind: &str, end_us: Option<i64>, sources: usize, values: usize, revision: u32) -> String {
    format!("{kind} to {end_us:?}, {sources} sources, {values} values, revision {revision}")
}

/// An event of the core as far as the model knows it.
pub fn record_of(event: &Event) -> Record {
    let mut record = Record {
        kind: event.kind.into(),
        key: event.subject.as_deref().map(Into::into),
        time_us: event.time.map(|time| time.0),
        ..Record::default()
    };
    let view = |view: &StateView| (view.state.to_string(), view.value.as_deref().map(Into::into));
    match &event.data {
        Data::Change(change) => {
            record.signal = Some(change.signal.to_string());
            record.since_us = Some(change.since.0);
            record.inputs = change.counts.inputs;
            if event.kind == "stillhouse.state.changed" {
                record.from = change.from.as_ref().map(view);
                record.to = Some(view(&change.to));
                record.severity = Some(change.severity.into());
                record.first = change.provenance.first.as_ref().map(|source| source.id.to_string());
                record.last = change.provenance.last.as_ref().map(|source| source.id.to_string());
            }
            assert_eq!(change.counts.inputs, change.provenance.inputs, "inputs are told twice");
        }
        Data::Late(late) => {
            record.signal = Some(late.signal.to_string());
            record.first = Some(late.id.to_string());
        }
        Data::DeadLetter(dead) => {
            record.signal = dead.signal.as_deref().map(Into::into);
            record.first = Some(dead.id.to_string());
        }
        Data::Suppressed(suppressed) => {
            record.signal = signal_of(&suppressed.candidate).map(Into::into);
        }
        Data::Drift(drift) => record.signal = Some(drift.signal.to_string()),
        Data::Derived(_) => {}
        Data::Window(windowed) => {
            record.signal = Some(windowed.signal.to_string());
            record.since_us = Some(windowed.window.start.0);
            record.inputs = windowed.counts.inputs;
            record.severity = Some(windowed.severity.into());
            record.first = windowed.provenance.first.as_ref().map(|source| source.id.to_string());
            record.last = windowed.provenance.last.as_ref().map(|source| source.id.to_string());
            let (end_us, counts) = (windowed.window.end.map(|end| end.0), windowed.counts);
            let revision = windowed.revision;
            record.window = Some(window_text(windowed.window.kind, end_us, counts.sources, counts.values, revision));
        }
        Data::Flood(flood) => record.signal = Some(flood.signal.to_string()),
        Data::Correction(correction) => record.signal = Some(correction.signal.to_string()),
    }
    record
}
