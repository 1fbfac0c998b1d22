//! The configuration file as it is written. Unknown keys are refused by serde; what the values mean
//! together is checked in [`super`].

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use crate::config::confirm::Confirm;
use crate::config::control::Control;
use crate::config::derive;
use crate::config::duration::Duration;
use crate::config::flapping::Flapping;
use crate::config::flood::Flood;
use crate::config::inhibit::Inhibit;
use crate::config::maintenance::Maintenance;
use crate::config::mask::Mask;
use crate::config::rollout::Rollout;
use crate::config::sink;
use crate::config::snapshot::Snapshot;
use crate::config::table::Table;
use crate::config::window::Window;
use crate::input::Shed;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// `[rules]`
    #[serde(default)]
    pub rules: Rules,
    /// `[rollout]`
    pub rollout: Option<Spanned<Rollout>>,
    /// `[control]`
    pub control: Option<Spanned<Control>>,
    /// `[store]`
    #[serde(default)]
    pub store: sink::Store,
    /// `[sink.NAME]`, by name.
    #[serde(default)]
    pub sink: BTreeMap<Spanned<String>, sink::Sink>,
    /// `[intake]`
    pub intake: Option<sink::Intake>,
    /// `[order]`
    #[serde(default)]
    pub order: Order,
    /// `[[input]]`, in order; the first whose `files` match reads an input.
    #[serde(default)]
    pub input: Vec<Input>,
    /// `[inhibit]`
    pub inhibit: Option<Inhibit>,
    /// `[[maintenance]]`
    #[serde(default)]
    pub maintenance: Vec<Maintenance>,
    /// `[[mask]]`, in order.
    #[serde(default)]
    pub mask: Vec<Spanned<Mask>>,
    /// `[table.NAME]`, by name.
    #[serde(default)]
    pub table: BTreeMap<Spanned<String>, Table>,
    /// `[[snapshot]]`, at most one of a signal type.
    #[serde(default)]
    pub snapshot: Vec<Snapshot>,
    /// `[signal.TYPE]`, by signal type.
    #[serde(default)]
    pub signal: BTreeMap<Spanned<String>, Signal>,
    /// `[incident.NAME]`
    #[serde(default)]
    pub incident: BTreeMap<Spanned<String>, derive::Incident>,
    /// `[objective.NAME]`
    #[serde(default)]
    pub objective: BTreeMap<Spanned<String>, derive::Objective>,
    /// `[trigger.NAME]`
    #[serde(default)]
    pub trigger: BTreeMap<Spanned<String>, derive::Trigger>,
}

/// `[rules]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Where `NAME.wasm` is looked for before the rules that ship, relative to this file.
    pub folder: Option<String>,
    /// Public keys; a rule's file must be signed with one of them (no signature is asked for).
    pub trust: Option<Spanned<Vec<Spanned<String>>>>,
}

/// `[order]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// How far behind the newest event time of its source a signal may be (5s).
    pub allowed_lateness: Option<Duration>,
    /// A source that is silent for this long holds nobody up (10m).
    pub idle_after: Option<Spanned<Duration>>,
    /// A signal that is further ahead of all others is a dead letter, until three of its source in a
    /// row agree (off).
    pub leap_max: Option<Spanned<Duration>>,
    /// How many signals may wait to be put in order (1,000,000).
    pub pending_max: Option<Spanned<u64>>,
    /// How long an id is remembered, in event time (10m).
    pub id_window: Option<Duration>,
    /// How many ids are remembered (1,048,576).
    pub ids_max: Option<Spanned<u64>>,
}

/// `[[input]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Which files it reads: a pattern with `*` for the file name; standard input is `-`.
    #[serde(default = "everything")]
    pub files: Spanned<String>,
    /// What they are made of.
    pub format: Spanned<Format>,
    /// A regular expression on the file name; its named groups become fields.
    pub file_fields: Option<Spanned<String>>,
    /// What becomes of text that no pattern matches (dead-letter).
    pub unmatched: Option<Spanned<Unmatched>>,
    /// JSON: the signal type.
    #[serde(rename = "type")]
    pub signal_type: Option<Spanned<String>>,
    /// The name of the source (the file name).
    pub source: Option<String>,
    /// JSON: path of the id.
    pub id: Option<Spanned<String>>,
    /// JSON: path of the subject.
    pub subject: Option<Spanned<String>>,
    /// Path or group of a number that orders signals of equal time.
    pub sequence: Option<Spanned<String>>,
    /// How event time is read.
    pub time: Option<Time>,
    /// Text: the patterns, tried in order.
    #[serde(default)]
    pub pattern: Vec<Pattern>,
    /// While the host is behind, signals of a file that is followed are let go: `low`, `medium` or `high`
    /// priority; without it they are waited with.
    pub shed: Option<Shed>,
}

fn everything() -> Spanned<String> {
    Spanned::new(0..0, "*".into())
}

/// `format`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Lines, read by patterns.
    Text,
    /// JSON objects in any layout.
    Json,
    /// CloudEvents 1.0, structured or in batches.
    CloudEvents,
}

/// `unmatched`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Unmatched {
    /// A dead letter.
    DeadLetter,
    /// Counted as dropped.
    Drop,
}

/// `time = { .. }`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// Paths or groups; the first that is there counts (`time`).
    pub fields: Option<Spanned<Vec<String>>>,
    /// One signal for each of the fields that is there; `data.edge` names it.
    #[serde(default)]
    pub each_field: bool,
    /// `rfc3339`, `unix`, `unix-ms`, `unix-us` or a strptime format.
    pub format: Option<Spanned<String>>,
    /// The zone of times that carry no offset (UTC).
    pub zone: Option<Spanned<String>>,
    /// The year of times that carry none.
    pub year: Option<Spanned<i16>>,
}

/// `[[input.pattern]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// The signal type of the lines it matches.
    #[serde(rename = "type")]
    pub signal_type: Spanned<String>,
    /// Matches the line; named groups become fields.
    pub regex: Spanned<String>,
    /// Matches again and again what follows; each match is a signal.
    pub each: Option<Spanned<String>>,
}

/// `[signal.TYPE]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// Name of the mapper, or a path that ends in `.wasm`.
    pub mapper: Spanned<String>,
    /// What the mapper is told.
    #[serde(default)]
    pub mapper_settings: BTreeMap<String, Setting>,
    /// The version of the mapper's states that this is written for.
    pub schema: Option<Spanned<u32>>,
    /// States that the mapper must have.
    pub states: Option<Spanned<Vec<String>>>,
    /// Name or path of the suppressor.
    pub suppressor: Option<Spanned<String>>,
    /// What the suppressor is told.
    pub suppressor_settings: Option<Spanned<BTreeMap<String, Setting>>>,
    /// States that last (default), occurrences, or windows.
    #[serde(default)]
    pub mode: Mode,
    /// How long a new state must last, unless it ends a problem (0s).
    pub hold_down: Option<Spanned<Duration>>,
    /// How long a healthy state must last to end a problem (0s).
    pub hold_open: Option<Spanned<Duration>>,
    /// A problem that is not observed again for this long is over.
    pub clear_after: Option<Spanned<ClearAfter>>,
    /// A known entity that is not observed for this long is in the state `silent`, a problem; for
    /// sources that speak again and again. Not with `clear_after`.
    pub silent_after: Option<Spanned<Duration>>,
    /// A healthy or silent entity that is not observed for this long is forgotten (30d).
    pub forget_after: Option<Spanned<Duration>>,
    /// A problem that this many sources report (2 to 32) is not held back, whatever would hold it.
    pub spread: Option<Spanned<u64>>,
    /// A signal that is late by at most this is taken in after all, and what it changes is corrected.
    pub correct: Option<Spanned<Duration>>,
    /// No event is held back for longer (1d).
    pub suppress_max: Option<Spanned<Duration>>,
    /// Events of at least this severity are never held back (critical).
    pub never_suppress: Option<Spanned<Severity>>,
    /// Deduplication by fingerprint.
    pub dedupe: Option<Spanned<Dedupe>>,
    /// What must be observed before a problem is believed.
    pub confirm: Option<Spanned<Confirm>>,
    /// Bounds on a number that decide the state.
    pub level: Option<Spanned<super::level::Level>>,
    /// Flap detection.
    pub flapping: Option<Spanned<Flapping>>,
    /// How many events may leave at a time.
    pub flood: Option<Spanned<Flood>>,
    /// Whether it takes part in `[inhibit]`.
    pub inhibit: Option<Spanned<bool>>,
    /// What falls together, for `mode = "window"`.
    pub window: Option<Spanned<Window>>,
    /// How new versions of its rules are tried.
    pub rollout: Option<Spanned<Rollout>>,
}

/// A setting of a rule; it reaches the rule as text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Setting {
    /// A text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// True or false.
    Bool(bool),
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Int(int) => write!(f, "{int}"),
            Self::Float(float) => write!(f, "{float}"),
            Self::Bool(value) => write!(f, "{value}"),
        }
    }
}

/// `mode`
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// An entity is in a state until it is observed in another.
    #[default]
    State,
    /// Every observation that survives deduplication is an event.
    Occurrence,
    /// Problems that fall together are one event.
    Window,
}

impl Mode {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Occurrence => "occurrence",
            Self::Window => "window",
        }
    }
}

/// `clear_after`: for all problem states, or by name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum ClearAfter {
    /// For all problem states.
    All(Duration),
    /// By the name of the state.
    ByState(BTreeMap<String, Duration>),
}

/// `never_suppress`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// All.
    Info,
    /// Warnings and more.
    Warning,
    /// Errors and more.
    Error,
    /// Critical ones.
    Critical,
    /// None: everything may be held back.
    Never,
}

/// `dedupe`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dedupe {
    /// How long an equal fingerprint is a duplicate; it extends the window.
    pub window: Duration,
    /// What it is compared with: `any` for occurrences and `last` for states, unless given.
    pub against: Option<Against>,
}

/// `against`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Against {
    /// Any fingerprint of the record key.
    Any,
    /// The last one only.
    Last,
}
