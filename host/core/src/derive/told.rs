//! What an event says, as far as incidents and triggers need it.

use crate::event::{Data, Derived, Event};
use crate::rule::Condition;

/// The events that triggers can act on. Late signals, dead letters, what is held back, corrections
/// and what triggers themselves say are not among them.
pub const KINDS: [&str; 10] = [
    "state.changed",
    "flapping.started",
    "flapping.stopped",
    "window.opened",
    "window.closed",
    "incident.opened",
    "incident.updated",
    "incident.resolved",
    "burn.started",
    "burn.stopped",
];

/// What an event says.
pub(crate) struct Told<'a> {
    /// The event's id.
    pub id: &'a str,
    /// The event's type, without the project's name.
    pub kind: &'a str,
    /// When it left.
    pub time_us: i64,
    /// The record key, or the group.
    pub key: &'a str,
    /// Of which signal type, incident or objective.
    pub of: &'a str,
    /// 0 info to 3 critical.
    pub severity: u8,
    /// When what it tells of began.
    pub since_us: i64,
    /// When what it tells of ended, if it is over.
    pub until_us: i64,
    /// What, beside all this, makes its cause this one and no other.
    pub what: String,
    /// The state of the entity that it tells of.
    pub state: Option<(&'a str, Condition)>,
    /// Whether it tells of something that never was known to go on.
    pub at_once: bool,
}

impl<'a> Told<'a> {
    /// Reads an event that left at `time_us`; `None` if nothing is made of its kind.
    pub fn of(event: &'a Event, time_us: i64) -> Option<Self> {
        let kind = event.kind.strip_prefix("stillhouse.")?;
        if !KINDS.contains(&kind) {
            return None;
        }
        let told = Self {
            id: &event.id,
            kind,
            time_us,
            key: event.subject.as_deref().unwrap_or_default(),
            of: "",
            severity: 0,
            since_us: time_us,
            until_us: time_us,
            what: String::new(),
            state: None,
            at_once: false,
        };
        Some(match &event.data {
            Data::Change(change) => Self {
                of: &change.signal,
                severity: severity_code(change.severity),
                since_us: change.since.0,
                until_us: change.since.0,
                what: change.to.state.to_string(),
                state: Some((&change.to.state, change.to.condition)),
                ..told
            },
            Data::Window(windowed) => {
                let (start_us, early) = (windowed.window.start.0, windowed.revision > 1);
                let over = kind == "window.closed";
                let state = if over { ("closed", Condition::Healthy) } else { ("open", Condition::Problem) };
                Self {
                    of: &windowed.signal,
                    severity: severity_code(windowed.severity),
                    since_us: start_us,
                    until_us: windowed.window.end.filter(|_| over).map_or(start_us, |end| end.0),
                    state: Some(state),
                    at_once: over && !early,
                    ..told
                }
            }
            Data::Derived(derived) => match &**derived {
                Derived::Incident(data) => Self {
                    of: &data.name,
                    severity: severity_code(data.severity),
                    since_us: data.started.0,
                    what: format!("{} {}", data.incident, data.revision),
                    ..told
                },
                Derived::Burn(data) => Self {
                    of: &data.objective,
                    severity: severity_code(data.severity),
                    since_us: data.started.0,
                    what: format!("{} {} {}", data.over, data.long.window_us, data.short.window_us),
                    ..told
                },
                Derived::Sli(_) | Derived::Trigger(_) | Derived::Breaker(_) => return None,
            },
            _ => return None,
        })
    }
}

/// The opposite of [`crate::event::severity_name`].
fn severity_code(name: &str) -> u8 {
    (0..3).find(|&code| crate::event::severity_name(code) == name).unwrap_or(3)
}
