//! The data of derived events: what is made of other events, after they have left.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Data, Event, Time};

/// The data of a derived event.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Derived {
    /// Of `stillhouse.incident.opened`, `.updated` and `.resolved`.
    Incident(Incident),
    /// Of `stillhouse.sli`.
    Sli(Sli),
    /// Of `stillhouse.burn.started` and `.stopped`.
    Burn(Burn),
    /// Of `stillhouse.trigger` and `stillhouse.trigger.withheld`.
    Trigger(Trigger),
    /// Of `stillhouse.breaker.opened` and `.closed`.
    Breaker(Breaker),
}

/// An incident as it stands now. A consumer keeps one row for each `incident` and replaces it with
/// what has the greater `revision`.
#[derive(Clone, Debug, Serialize)]
pub struct Incident {
    /// Its id, the same in all of its events.
    pub incident: Box<str>,
    /// The `[incident.NAME]` that made it.
    pub name: Box<str>,
    /// What its members have in common.
    pub group: Box<str>,
    /// 1 when it is opened, and one more with each event.
    pub revision: u32,
    /// The id of its event before this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<Box<str>>,
    /// The greatest severity so far.
    pub severity: &'static str,
    /// When the first trouble of a member began.
    pub started: Time,
    /// When the last trouble ended; only once it is resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// From `started` to `ended`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<i64>,
    /// How many there are.
    pub counts: IncidentCounts,
    /// Its members, recovered ones too, in the order in which their trouble began, up to a bound.
    /// The first is where it probably started.
    pub members: Vec<Member>,
    /// Digest of the configuration.
    pub config: Box<str>,
}

/// What an incident counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IncidentCounts {
    /// Members in trouble now.
    pub now: u64,
    /// Members so far.
    pub ever: u64,
    /// Events of its members so far.
    pub events: u64,
    /// Events of entities that would be members were not too many known already.
    #[serde(skip_serializing_if = "is_zero")]
    pub untracked: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// An entity that an incident is about.
#[derive(Clone, Debug, Serialize)]
pub struct Member {
    /// The signal type.
    pub signal: Box<str>,
    /// The record key.
    pub key: Box<str>,
    /// The state it is in; `flapping` while it flaps.
    pub state: Box<str>,
    /// When its first trouble of this incident began.
    pub since: Time,
    /// When its last trouble ended, unless it is in trouble now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// The id of the last event of it.
    pub event: Box<str>,
}

/// How many observations of a pane of time were good.
#[derive(Clone, Debug, Serialize)]
pub struct Sli {
    /// The `[objective.NAME]`.
    pub objective: Box<str>,
    /// The signal type.
    pub signal: Box<str>,
    /// Which entities; `all` unless they are told apart.
    pub group: Box<str>,
    /// The first moment of the pane.
    pub start: Time,
    /// The first moment after it.
    pub end: Time,
    /// Healthy observations.
    pub good: u64,
    /// Observations of a problem.
    pub bad: u64,
    /// The share of good ones, from 0 to 1.
    pub ratio: f64,
    /// Digest of the configuration.
    pub config: Box<str>,
}

/// An error budget that is used up too fast, or no longer.
#[derive(Clone, Debug, Serialize)]
pub struct Burn {
    /// The `[objective.NAME]`.
    pub objective: Box<str>,
    /// The signal type.
    pub signal: Box<str>,
    /// Which entities; `all` unless they are told apart.
    pub group: Box<str>,
    /// What share of observations should be good, in percent.
    pub target: f64,
    /// The burn rate above which it is too fast.
    pub over: f64,
    /// As configured.
    pub severity: &'static str,
    /// When it started.
    pub started: Time,
    /// How long it lasted; only when it stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<i64>,
    /// The long window.
    pub long: BurnWindow,
    /// The short window.
    pub short: BurnWindow,
    /// Digest of the configuration.
    pub config: Box<str>,
}

/// What a window that ends with the event says.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct BurnWindow {
    /// Its length.
    pub window_us: i64,
    /// Healthy observations.
    pub good: u64,
    /// Observations of a problem.
    pub bad: u64,
    /// How many times as fast as the target allows the error budget is used up.
    pub rate: f64,
}

/// A request to act, or one that was withheld.
#[derive(Clone, Debug, Serialize)]
pub struct Trigger {
    /// The `[trigger.NAME]`.
    pub trigger: Box<str>,
    /// Why nothing is to be done: `bootstrap`, `duplicate`, `breaker`, `rate` or `bound`. Only where
    /// it was withheld.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withheld: Option<&'static str>,
    /// What to do, as configured.
    pub action: Box<str>,
    /// With what, as configured.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<Box<str>, Box<str>>,
    /// The same for the same cause: whoever acts keeps it and acts once.
    pub idempotency_key: Box<str>,
    /// Which time it is for this key, from 1; only where it was not withheld.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u64>,
    /// `info`, `warning`, `error` or `critical`.
    pub severity: &'static str,
    /// Why.
    pub cause: Cause,
    /// Digest of the configuration.
    pub config: Box<str>,
}

/// The event that a trigger acts on.
#[derive(Clone, Debug, Serialize)]
pub struct Cause {
    /// Its id.
    pub id: Box<str>,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// Of which signal type, incident or objective it is.
    pub of: Box<str>,
    /// When what it tells of began.
    pub since: Time,
}

/// A circuit breaker that keeps automation from feeding on what it does.
#[derive(Clone, Debug, Serialize)]
pub struct Breaker {
    /// The `[trigger.NAME]`.
    pub trigger: Box<str>,
    /// Whether it is about one `key`, or about the whole `trigger`.
    pub scope: &'static str,
    /// Why it opened: `repeat`, `rate`, or `again` after it was half-open; only when it opens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// When it is half-open, so that one attempt may pass; only when it opens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// When it first opened.
    pub opened: Time,
    /// How many causes it has withheld so far.
    pub withheld: u64,
    /// Digest of the configuration.
    pub config: Box<str>,
}

impl Event {
    pub(crate) fn derived(kind: &'static str, id: String, subject: Option<&str>, time_us: i64, data: Derived) -> Self {
        Self::new(kind, id, subject.map(Into::into), Some(Time(time_us)), Data::Derived(Box::new(data)))
    }
}
