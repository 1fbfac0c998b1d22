//! Distilled events as a score sees them: who, what, since when, told when.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::read::MultiGzDecoder;
use serde_json::Value;
use stillhouse_core::Event;
use stillhouse_core::event::{Data, Time};

/// Types of events that tell of a single signal or of what was held back, and of no entity.
const ASIDE: [&str; 3] = ["stillhouse.late", "stillhouse.dead-letter", "stillhouse.suppressed"];

/// Types of events that raise an alarm, if they are severe enough.
const ALARMS: [&str; 4] =
    ["stillhouse.state.changed", "stillhouse.flapping.started", "stillhouse.window.opened", "stillhouse.window.closed"];

/// Severities that raise no alarm.
const QUIET: [&str; 2] = ["info", ""];

/// A distilled event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// When it was told, in event time.
    pub time_us: i64,
    /// When what it tells of began.
    pub since_us: i64,
    /// The type of the event.
    pub kind: Box<str>,
    /// The signal type.
    pub signal: Box<str>,
    /// The record key.
    pub subject: Box<str>,
    /// The state it tells of.
    pub state: Box<str>,
    /// The value of the state.
    pub value: Box<str>,
    /// The severity.
    pub severity: Box<str>,
    /// Signals that speak for it.
    pub inputs: u64,
    /// Signals that said again what was known.
    pub repeated: u64,
    /// Whether it corrects an event before it.
    pub corrects: bool,
}

impl Told {
    /// Reads a file of events, in order of time. Events that tell of no entity are left out.
    ///
    /// # Errors
    /// If it cannot be read, or a line is no event; with the line.
    pub fn load(path: &Path) -> Result<Vec<Self>> {
        let unreadable = || format!("{}: cannot be read", path.display());
        let file = std::fs::File::open(path).with_context(unreadable)?;
        let packed = path.extension().is_some_and(|extension| extension == "gz");
        let reader: Box<dyn BufRead> =
            if packed { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(BufReader::new(file)) };
        let mut events = Vec::new();
        for (index, line) in reader.lines().enumerate() {
            let line = line.with_context(unreadable)?;
            if line.trim().is_empty() {
                continue;
            }
            match Self::parse(&line) {
                Ok(told) => events.extend(told),
                Err(reason) => bail!(
                    "{}:{}: not a distilled event: {reason}; expected what `stillhouse run --output` writes",
                    path.display(),
                    index + 1
                ),
            }
        }
        // Stable: events of one time stay as they were told.
        events.sort_by_key(|event| event.time_us);
        Ok(events)
    }

    fn parse(line: &str) -> Result<Option<Self>, String> {
        let event: Value =
            serde_json::from_str(line).map_err(|error| format!("column {}: not JSON", error.column()))?;
        let text = |value: &Value| -> Box<str> { value.as_str().unwrap_or_default().into() };
        let kind = event["type"].as_str().ok_or("no `type`")?;
        if ASIDE.contains(&kind) {
            return Ok(None);
        }
        let data = &event["data"];
        let Some(signal) = data["signal"].as_str() else { return Ok(None) };
        let time_us = time_us(&event["time"]).ok_or("`time` is no time as in RFC 3339")?;
        Ok(Some(Self {
            time_us,
            since_us: self::time_us(&data["since"])
                .or_else(|| self::time_us(&data["window"]["start"]))
                .unwrap_or(time_us),
            kind: kind.into(),
            signal: signal.into(),
            subject: text(&event["subject"]),
            state: text(&data["to"]["state"]),
            value: text(&data["to"]["value"]),
            severity: text(&data["severity"]),
            inputs: data["counts"]["inputs"].as_u64().unwrap_or_default(),
            repeated: data["counts"]["repeated"].as_u64().unwrap_or_default(),
            corrects: data["supersedes"].is_string(),
        }))
    }

    /// An event of a state or of flapping as it leaves the core; `None` of any other.
    pub fn of(event: &Event) -> Option<Self> {
        let Data::Change(change) = &event.data else { return None };
        Some(Self {
            time_us: event.time?.0,
            since_us: change.since.0,
            kind: event.kind.into(),
            signal: change.signal.clone(),
            subject: event.subject.clone().unwrap_or_default(),
            state: change.to.state.clone(),
            value: change.to.value.clone().unwrap_or_default(),
            severity: change.severity.into(),
            inputs: change.counts.inputs,
            repeated: change.counts.repeated,
            corrects: false,
        })
    }

    /// Whether it tells of trouble: a warning or more, for the first time, and not the end of flapping.
    pub fn is_alarm(&self) -> bool {
        !self.corrects && ALARMS.contains(&&*self.kind) && !QUIET.contains(&&*self.severity)
    }
}

fn time_us(value: &Value) -> Option<i64> {
    value.as_str()?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond)
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.strip_prefix("stillhouse.").unwrap_or(&self.kind);
        write!(f, "{} {} since {} ({kind}, {})", self.subject, self.state, Time(self.since_us), self.signal)
    }
}
