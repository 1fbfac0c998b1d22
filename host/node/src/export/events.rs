//! What left as rows, one for each event.

use std::borrow::Cow;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;
use sonic_rs::LazyValue;

use super::Range;
use super::columns::{Cell, Column, Kind, Rows};
use crate::durable::{Entry, Recorded};

/// What a row has.
pub const COLUMNS: [Column; 14] = [
    Column::required("position", Kind::Number),
    Column::required("log_position", Kind::Number),
    Column::required("id", Kind::Text),
    Column::required("type", Kind::Name),
    Column::new("subject", Kind::Name),
    Column::new("time", Kind::Time),
    Column::new("signal", Kind::Name),
    Column::new("from_state", Kind::Name),
    Column::new("to_state", Kind::Name),
    Column::new("severity", Kind::Name),
    Column::new("inputs", Kind::Number),
    Column::new("mapper", Kind::Name),
    Column::new("suppressor", Kind::Name),
    Column::required("data", Kind::Json),
];

/// An event as the columns need it.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    subject: Option<Cow<'a, str>>,
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: LazyValue<'a>,
}

/// What the columns show of the data of an event, where it has it.
#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    signal: Option<Cow<'a, str>>,
    #[serde(borrow)]
    from: Option<State<'a>>,
    #[serde(borrow)]
    to: Option<State<'a>>,
    #[serde(borrow)]
    severity: Option<Cow<'a, str>>,
    counts: Option<Counts>,
    #[serde(borrow)]
    provenance: Option<Provenance<'a>>,
    #[serde(borrow)]
    mapper: Option<Rule<'a>>,
    /// What would have left, of an event that is held back.
    #[serde(borrow)]
    candidate: Option<Box<Data<'a>>>,
    /// What should have left, of a correction.
    #[serde(borrow)]
    event: Option<Box<Data<'a>>>,
}

#[derive(Deserialize)]
struct State<'a> {
    #[serde(borrow)]
    state: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Counts {
    inputs: Option<u64>,
}

#[derive(Deserialize)]
struct Provenance<'a> {
    #[serde(borrow)]
    mapper: Option<Rule<'a>>,
    #[serde(borrow)]
    suppressor: Option<Rule<'a>>,
}

#[derive(Deserialize)]
struct Rule<'a> {
    #[serde(borrow)]
    digest: Cow<'a, str>,
}

/// Writes the rows of a range. `told`: how far it is.
pub fn export(recorded: &Recorded, range: Range, rows: &mut Rows, told: &mut dyn FnMut(u64, u64)) -> Result<()> {
    for record in recorded.events(range.from) {
        let record = record?;
        let position = record.position;
        if position >= range.to {
            break;
        }
        let entry = Entry::decode(record.bytes()).with_context(|| format!("the event at position {position}"))?;
        row(position, entry, rows).with_context(|| format!("the event at position {position} is not understood"))?;
        told(position + 1, rows.count());
    }
    Ok(())
}

fn row(position: u64, entry: Entry<'_>, rows: &mut Rows) -> Result<()> {
    let line: Line<'_> = sonic_rs::from_slice(entry.line)?;
    let data = inner(line.data.as_raw_str())?;
    let time_us = match &line.time {
        Some(time) => Some(time.parse::<Timestamp>()?.as_microsecond()),
        None => None,
    };
    let state = |state: &Option<State<'_>>| Cell::from(state.as_ref().map(|state| &*state.state));
    let digest = |rule: Option<&Rule<'_>>| Cell::from(rule.map(|rule| &*rule.digest));
    let provenance = data.provenance.as_ref();
    rows.push([
        position.into(),
        entry.log.into(),
        (&*line.id).into(),
        (&*line.kind).into(),
        line.subject.as_deref().into(),
        time_us.map_or(Cell::Null, Cell::Number),
        data.signal.as_deref().into(),
        state(&data.from),
        state(&data.to),
        data.severity.as_deref().into(),
        data.counts.as_ref().and_then(|counts| counts.inputs).into(),
        digest(provenance.and_then(|provenance| provenance.mapper.as_ref()).or(data.mapper.as_ref())),
        digest(provenance.and_then(|provenance| provenance.suppressor.as_ref())),
        line.data.as_raw_str().into(),
    ])
}

/// What an event is about: its data, or that of what it holds back or corrects.
fn inner(data: &str) -> Result<Data<'_>> {
    let mut data: Data<'_> = sonic_rs::from_str(data)?;
    while let Some(within) = data.candidate.take().or_else(|| data.event.take()) {
        let signal = data.signal.take();
        data = *within;
        data.signal = data.signal.or(signal);
    }
    Ok(data)
}
