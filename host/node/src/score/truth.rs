//! The truth: what happened, labelled by people or by whoever made it happen. JSON, one truth a
//! line; the demo's `truth.jsonl` is one, too.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::de::{Deserialize, Deserializer, Error};
use stillhouse_core::event::Time;

use super::told::Told;

/// The least that a line must have.
const EXAMPLE: &str = r#"{"subject":"web-3","from":"2026-03-02T10:00:00Z","to":"2026-03-02T10:30:00Z"}"#;

/// Something that happened, and that an event should tell. What is absent may be anything.
#[derive(Clone, Debug)]
pub struct Truth {
    /// What it was, for people.
    pub name: Option<Box<str>>,
    /// The signal type.
    pub signal: Option<Box<str>>,
    /// The record key.
    pub subject: Option<Box<str>>,
    /// The type of the event that tells it.
    pub kind: Option<Box<str>>,
    /// The state that the event tells of.
    pub state: Option<Box<str>>,
    /// The value of that state.
    pub value: Option<Box<str>>,
    /// The severity of the event.
    pub severity: Option<Box<str>>,
    /// What the event tells of began at this time or later.
    pub from_us: i64,
    /// It began at this time or before.
    pub to_us: i64,
    /// The event was told at this time or before.
    pub told_by_us: Option<i64>,
}

/// A line as it is written.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(alias = "story")]
    name: Option<Box<str>>,
    signal: Option<Box<str>>,
    #[serde(alias = "key")]
    subject: Option<Box<str>>,
    kind: Option<Box<str>>,
    state: Option<Box<str>>,
    value: Option<Box<str>>,
    severity: Option<Box<str>>,
    #[serde(alias = "since_from")]
    from: When,
    #[serde(alias = "since_to")]
    to: When,
    told_by: Option<When>,
}

/// Microseconds since 1970, written as in RFC 3339.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct When(i64);

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let refused = |_| D::Error::custom(format!("expected a time such as `2026-03-02T10:00:00Z`, got `{text}`"));
        text.parse::<jiff::Timestamp>().map(|time| Self(time.as_microsecond())).map_err(refused)
    }
}

impl Truth {
    /// Reads a file of truths.
    ///
    /// # Errors
    /// If it cannot be read, has none, or a line is no truth; with the line.
    pub fn load(path: &Path) -> Result<Vec<Self>> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
        let truths = Self::parse(&text, &path.display().to_string())?;
        if truths.is_empty() {
            bail!("{}: no truth in it; expected JSON, one a line, such as {EXAMPLE}", path.display());
        }
        Ok(truths)
    }

    /// Reads truths, one a line; `file` is what errors call the text.
    ///
    /// # Errors
    /// If a line is no truth; with the line.
    pub fn parse(text: &str, file: &str) -> Result<Vec<Self>> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        lines
            .map(|(index, line)| {
                let at = || format!("{file}:{}", index + 1);
                let line: Line = serde_json::from_str(line).map_err(|error| {
                    anyhow::anyhow!(
                        "{}:{}: not a truth: {}; expected such as {EXAMPLE}",
                        at(),
                        error.column(),
                        reason(&error)
                    )
                })?;
                if line.to < line.from {
                    bail!("{}: `to` ({}) is before `from` ({})", at(), Time(line.to.0), Time(line.from.0));
                }
                Ok(Self::from(line))
            })
            .collect()
    }

    /// Whether `event` tells it, with windows that are wider by `slack_us` at both ends.
    pub fn is_told_by(&self, event: &Told, slack_us: i64) -> bool {
        let window = self.from_us.saturating_sub(slack_us)..=self.to_us.saturating_add(slack_us);
        is(&self.signal, &event.signal)
            && is(&self.subject, &event.subject)
            && is(&self.kind, &event.kind)
            && is(&self.state, &event.state)
            && is(&self.value, &event.value)
            && is(&self.severity, &event.severity)
            && window.contains(&event.since_us)
            && self.told_by_us.is_none_or(|by_us| event.time_us <= by_us)
            && (self.kind.is_some() || self.state.is_some() || event.is_alarm())
    }

    /// Whether it names such an event, at whatever time and of whatever entity.
    pub fn names(&self, event: &Told) -> bool {
        (self.kind.is_some() || self.state.is_some())
            && is(&self.signal, &event.signal)
            && is(&self.kind, &event.kind)
            && is(&self.state, &event.state)
    }
}

/// serde's reason without its place: the line is named by the caller.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(reason, _)| reason.to_owned())
}

fn is(wanted: &Option<Box<str>>, got: &str) -> bool {
    wanted.as_deref().is_none_or(|wanted| wanted == got)
}

impl From<Line> for Truth {
    fn from(line: Line) -> Self {
        Self {
            name: line.name,
            signal: line.signal,
            subject: line.subject,
            kind: line.kind,
            state: line.state,
            value: line.value,
            severity: line.severity,
            from_us: line.from.0,
            to_us: line.to.0,
            told_by_us: line.told_by.map(|by| by.0),
        }
    }
}

impl fmt::Display for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = self.subject.as_deref().unwrap_or("any subject");
        write!(f, "{subject}{} from {} to {}", spaced(&self.state), Time(self.from_us), Time(self.to_us))?;
        match &self.name {
            Some(name) => write!(f, " ({name})"),
            None => Ok(()),
        }
    }
}

fn spaced(text: &Option<Box<str>>) -> String {
    text.as_deref().map_or(String::new(), |text| format!(" {text}"))
}
