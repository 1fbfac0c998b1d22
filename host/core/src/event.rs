//! What leaves: distilled events, and the record of what did not. CloudEvents 1.0 as JSON.

mod derived;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use xxhash_rust::xxh3::Xxh3Default;

use crate::rule::{Condition, RuleId};

pub use derived::{Breaker, Burn, BurnWindow, Cause, Derived, Incident, IncidentCounts, Member, Sli, Trigger};

/// The JSON Schema (2020-12) of every event.
pub const EVENT_SCHEMA: &str = include_str!("../event.schema.json");

/// How much of a signal a late event or a dead letter shows.
pub const RAW_BYTES_MAX: usize = 4096;

/// An event, as it leaves. Serialises to one CloudEvent; the order of its fields is part of the
/// format.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    specversion: &'static str,
    /// Deterministic: the same log gives the same ids, so that a consumer sees each event once.
    pub id: String,
    source: &'static str,
    /// `stillhouse.state.changed` and so on.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The record key, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Box<str>>,
    /// Event time of the decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    datacontenttype: &'static str,
    /// What happened.
    pub data: Data,
}

/// The data of an event.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Data {
    /// Of `stillhouse.state.changed`, `.flapping.started` and `.flapping.stopped`.
    Change(Box<Change>),
    /// Of `stillhouse.window.opened` and `.closed`.
    Window(Box<Windowed>),
    /// Of `stillhouse.suppressed`.
    Suppressed(Box<Suppressed>),
    /// Of `stillhouse.flood.started` and `.stopped`.
    Flood(Box<Flood>),
    /// Of `stillhouse.correction`.
    Correction(Box<Correction>),
    /// Of `stillhouse.drift`.
    Drift(Box<Drift>),
    /// Of `stillhouse.late`.
    Late(Box<Late>),
    /// Of `stillhouse.dead-letter`.
    DeadLetter(Box<DeadLetter>),
    /// Of what is made of other events.
    Derived(Box<Derived>),
}

/// A distilled change of an entity.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// The signal type.
    pub signal: Box<str>,
    /// What the entity was announced to be; null if nothing was known.
    pub from: Option<StateView>,
    /// What it is now.
    pub to: StateView,
    /// When the new state, or the flapping, began.
    pub since: Time,
    /// How long it had lasted when it was announced.
    pub held_us: i64,
    /// How long the state before had lasted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lasted_us: Option<i64>,
    /// `info`, `warning`, `error` or `critical`.
    pub severity: &'static str,
    /// How many signals it stands for.
    pub counts: Counts,
    /// The flap score, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flap_score: Option<f64>,
    /// What its suppressor said, where it did not leave at once and unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judgement: Option<Judgement>,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// A state as events show it.
#[derive(Clone, Debug, Serialize)]
pub struct StateView {
    /// The canonical state.
    pub state: Box<str>,
    /// What tells it apart from the same state with another value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Box<str>>,
    /// What it means to be in it; not shown.
    #[serde(skip)]
    pub condition: Condition,
}

/// How many signals an event stands for.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Counts {
    /// Signals that speak for it.
    pub inputs: u64,
    /// Signals since the last event of the entity that said again what was known.
    pub repeated: u64,
    /// States since the last event of the entity that did not last.
    pub blips: u64,
}

/// What is known of an entity is other than what a snapshot says.
#[derive(Clone, Debug, Serialize)]
pub struct Drift {
    /// The signal type.
    pub signal: Box<str>,
    /// `state`: it is in another one; `missing`: it has a problem and is not known; `orphan`: it is known, and
    /// the snapshot does not have it.
    pub kind: &'static str,
    /// What the entity was announced to be; null if nothing was known.
    pub known: Option<StateView>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// What the snapshot says it is; null if it does not have it.
    pub snapshot: Option<StateView>,
    /// Event time at which the snapshot came.
    pub taken: Time,
    /// The record of the snapshot; null if it has none.
    pub record: Option<Source>,
    /// The mapper version that read it.
    pub mapper: RuleView,
    /// Digest of the configuration.
    pub config: Box<str>,
}

/// What a window of an entity came to: early, or at its end.
#[derive(Clone, Debug, Serialize)]
pub struct Windowed {
    /// The signal type.
    pub signal: Box<str>,
    /// From when to when.
    pub window: WindowView,
    /// What was in it.
    pub counts: WindowCounts,
    /// The greatest of its observations: `info`, `warning`, `error` or `critical`.
    pub severity: &'static str,
    /// 1 for the first result of a window, 2 for the one that corrects it.
    pub revision: u32,
    /// The id of the event that this one corrects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<Box<str>>,
    /// What its suppressor said, where it did not leave at once and unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judgement: Option<Judgement>,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// A window as events show it.
#[derive(Clone, Debug, Serialize)]
pub struct WindowView {
    /// `session`, `tumbling` or `sliding`.
    pub kind: &'static str,
    /// When it began.
    pub start: Time,
    /// The first moment that is no longer in it; only at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Time>,
}

/// What was in a window.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct WindowCounts {
    /// Observations of a problem.
    pub inputs: u64,
    /// Distinct sources of them.
    pub sources: usize,
    /// Distinct values of them.
    pub values: usize,
    /// There were more sources or values than [`crate::window::DISTINCT_MAX`]; that many is a least.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub at_least: bool,
}

/// What a suppressor said of a candidate.
#[derive(Clone, Debug, Serialize)]
pub struct Judgement {
    /// `released` at its deadline, `delayed`, `escalated`, `overridden` or `failed`.
    pub outcome: &'static str,
    /// Why.
    pub reason: Box<str>,
    /// How long it was held back.
    pub held_back_us: i64,
}

/// Where an event comes from.
#[derive(Clone, Debug, Serialize)]
pub struct Provenance {
    /// The first signal that speaks for it; null if a timer made it.
    pub first: Option<Source>,
    /// The last one before the decision.
    pub last: Option<Source>,
    /// How many there were.
    pub inputs: u64,
    /// The mapper version.
    pub mapper: RuleView,
    /// The suppressor version, where the type has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppressor: Option<RuleView>,
    /// Digest of the configuration.
    pub config: Box<str>,
}

/// A signal that an event names.
#[derive(Clone, Debug, Serialize)]
pub struct Source {
    /// Where it came from.
    pub source: Box<str>,
    /// Its id there.
    pub id: Box<str>,
    /// Its event time.
    pub time: Time,
}

/// A rule version that an event names.
#[derive(Clone, Debug, Serialize)]
pub struct RuleView {
    /// Its name.
    pub name: Box<str>,
    /// Its semantic version.
    pub version: Box<str>,
    /// SHA-256 of its file.
    pub digest: Box<str>,
}

impl From<&RuleId> for RuleView {
    fn from(rule: &RuleId) -> Self {
        Self { name: (&*rule.name).into(), version: (&*rule.version).into(), digest: (&*rule.digest).into() }
    }
}

/// A candidate that was held back, and how that ended.
#[derive(Clone, Debug, Serialize)]
pub struct Suppressed {
    /// `held`: it is held back from now on; `ended`: its state ended first, and it will not leave.
    pub outcome: &'static str,
    /// Why.
    pub reason: Box<str>,
    /// The suppressor that said so, or the host.
    pub rule: HeldBy,
    /// When it leaves after all if its state still stands.
    pub deadline: Time,
    /// How long it was held back; only for `ended`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_back_us: Option<i64>,
    /// The type that the event would have had.
    pub kind: &'static str,
    /// What would have left.
    pub candidate: Data,
}

/// Who holds a candidate back.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum HeldBy {
    /// A suppressor.
    Rule(RuleView),
    /// The host, for a flood or for a problem of the parent: the text `host`.
    Host(&'static str),
}

/// More candidates than may leave in one window of event time.
#[derive(Clone, Debug, Serialize)]
pub struct Flood {
    /// The signal type.
    pub signal: Box<str>,
    /// The source, where the limit is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Box<str>>,
    /// How many may leave in a window.
    pub max: u32,
    /// How long a window is.
    pub per_us: i64,
    /// When the first was held back.
    pub since: Time,
    /// What was held back until the flood was over; only for `stopped`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withheld: Option<Withheld>,
    /// Digest of the configuration.
    pub config: Box<str>,
}

/// What a flood held back.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Withheld {
    /// How many candidates.
    pub candidates: u64,
    /// How many of them ended unheard; the others left, or something else holds them now.
    pub ended: u64,
    /// The signals of those that ended unheard.
    pub signals: u64,
    /// The first record keys.
    pub keys: Vec<Box<str>>,
}

/// What a late signal changed in what was said. Whoever keeps events puts `event` in the place of the
/// one that it supersedes, or takes that one out.
#[derive(Clone, Debug, Serialize)]
pub struct Correction {
    /// The signal type.
    pub signal: Box<str>,
    /// How often this was said, this time included: 1 if it had been missed.
    pub revision: u32,
    /// The id of the event that no longer stands; null if it had been missed.
    pub supersedes: Option<Box<str>>,
    /// The type of the event that is corrected.
    pub kind: &'static str,
    /// The late signal, if that is why.
    pub late: Option<Source>,
    /// The version of a rule that was withdrawn, if that is why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<RuleView>,
    /// The data of the event as it should have been; null if there should have been none.
    pub event: Option<Box<Data>>,
}

/// A signal that came after the watermark had passed.
#[derive(Clone, Debug, Serialize)]
pub struct Late {
    /// The signal type.
    pub signal: Box<str>,
    /// Its source.
    pub source: Box<str>,
    /// Its id.
    pub id: Box<str>,
    /// The watermark when it came.
    pub watermark: Time,
    /// By how much it was late.
    pub late_us: i64,
    /// The signal as it came, cut at [`RAW_BYTES_MAX`].
    pub raw: Box<str>,
}

/// A signal that could not be read or mapped.
#[derive(Clone, Debug, Serialize)]
pub struct DeadLetter {
    /// The signal type, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<Box<str>>,
    /// Its source.
    pub source: Box<str>,
    /// Its id; the line, where it has none.
    pub id: Box<str>,
    /// What was expected and what came.
    pub reason: Box<str>,
    /// The mapper, where it is the mapper that rejected it or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapper: Option<RuleView>,
    /// The signal as it came, cut at [`RAW_BYTES_MAX`].
    pub raw: Box<str>,
}

impl Event {
    pub(crate) fn new(
        kind: &'static str,
        id: String,
        subject: Option<Box<str>>,
        time: Option<Time>,
        data: Data,
    ) -> Self {
        Self {
            specversion: "1.0",
            id,
            source: "stillhouse",
            kind,
            subject,
            time,
            datacontenttype: "application/json",
            data,
        }
    }

    /// Appends the event as one line of JSON.
    ///
    /// # Panics
    /// Never: every field can be written as JSON.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        serde_json::to_writer(&mut *out, self).expect("events are plain data");
        out.push(b'\n');
    }
}

/// A point in event time: microseconds since 1970-01-01 UTC, shown as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(
    /// Microseconds since 1970-01-01 UTC.
    pub i64,
);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What no calendar of four-digit years holds is shown at its edge.
        let (least, most) = (Timestamp::MIN.as_microsecond(), Timestamp::MAX.as_microsecond());
        let time = Timestamp::from_microsecond(self.0.clamp(least, most)).unwrap_or_default();
        write!(f, "{time:.6}")
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The name of a severity.
pub fn severity_name(severity: u8) -> &'static str {
    match severity {
        0 => "info",
        1 => "warning",
        2 => "error",
        _ => "critical",
    }
}

/// An id made of what an event says: 128 bits in hexadecimal.
pub(crate) fn id_of(parts: &[&[u8]]) -> String {
    let mut hash = Xxh3Default::new();
    for part in parts {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    format!("{:032x}", hash.digest128())
}

/// The beginning of a signal, at most [`RAW_BYTES_MAX`] bytes.
pub(crate) fn raw_text(raw: &str) -> Box<str> {
    let mut end = raw.len().min(RAW_BYTES_MAX);
    while !raw.is_char_boundary(end) {
        end -= 1;
    }
    raw[..end].into()
}
