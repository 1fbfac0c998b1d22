//! The configuration file as it is written. Unknown keys are refused by serde; what the values mean
//! together is checked in [`super`].

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use crate::config::duration::Duration;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    #[serde(default)]
    pub rules: Rules,
    #[serde(default)]
    pub order: Order,
    #[serde(default)]
    pub input: Vec<Input>,
    #[serde(default)]
    pub signal: BTreeMap<Spanned<String>, Signal>,
}

/// `[rules]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Where `NAME.wasm` is looked for before the rules that ship, relative to this file.
    pub folder: Option<String>,
}

/// `[order]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    pub allowed_lateness: Option<Duration>,
    pub idle_after: Option<Spanned<Duration>>,
    pub pending_max: Option<Spanned<u64>>,
    pub id_window: Option<Duration>,
    pub ids_max: Option<Spanned<u64>>,
}

/// `[[input]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    #[serde(default = "everything")]
    pub files: Spanned<String>,
    pub format: Spanned<Format>,
    pub file_fields: Option<Spanned<String>>,
    pub unmatched: Option<Spanned<Unmatched>>,
    #[serde(rename = "type")]
    pub signal_type: Option<Spanned<String>>,
    pub source: Option<String>,
    pub id: Option<Spanned<String>>,
    pub subject: Option<Spanned<String>>,
    pub sequence: Option<Spanned<String>>,
    pub time: Option<Time>,
    #[serde(default)]
    pub pattern: Vec<Pattern>,
}

fn everything() -> Spanned<String> {
    Spanned::new(0..0, "*".into())
}

/// `format`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Text,
    Json,
    CloudEvents,
}

/// `unmatched`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Unmatched {
    DeadLetter,
    Drop,
}

/// `time = { .. }`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Time {
    pub fields: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    pub each_field: bool,
    pub format: Option<Spanned<String>>,
    pub zone: Option<Spanned<String>>,
    pub year: Option<Spanned<i16>>,
}

/// `[[input.pattern]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    #[serde(rename = "type")]
    pub signal_type: Spanned<String>,
    pub regex: Spanned<String>,
    pub each: Option<Spanned<String>>,
}

/// `[signal.TYPE]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    pub mapper: Spanned<String>,
    #[serde(default)]
    pub mapper_settings: BTreeMap<String, Setting>,
    pub suppressor: Option<Spanned<String>>,
    pub suppressor_settings: Option<Spanned<BTreeMap<String, Setting>>>,
    #[serde(default)]
    pub mode: Mode,
    pub hold_down: Option<Spanned<Duration>>,
    pub hold_open: Option<Spanned<Duration>>,
    pub clear_after: Option<Spanned<ClearAfter>>,
    pub forget_after: Option<Spanned<Duration>>,
    pub suppress_max: Option<Spanned<Duration>>,
    pub never_suppress: Option<Spanned<Severity>>,
    pub dedupe: Option<Spanned<Dedupe>>,
    pub flapping: Option<Spanned<Flapping>>,
}

/// A setting of a rule; it reaches the rule as text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Setting {
    Text(String),
    Int(i64),
    Float(f64),
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
    #[default]
    State,
    Occurrence,
}

/// `clear_after`: for all problem states, or by name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum ClearAfter {
    All(Duration),
    ByState(BTreeMap<String, Duration>),
}

/// `never_suppress`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Info,
    Warning,
    Error,
    Critical,
    Never,
}

/// `dedupe`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dedupe {
    pub window: Duration,
    #[serde(default)]
    pub against: Against,
}

/// `against`
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Against {
    #[default]
    Any,
    Last,
}

/// `flapping`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flapping {
    pub high: f64,
    pub low: f64,
    pub quiet: Option<Duration>,
}
