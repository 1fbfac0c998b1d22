//! What an event says, as far as incidents and triggers need it.

use crate::event::{Change, Data, Derived, Event};

/// The events that triggers can act on. Late signals, dead letters, what is held back, corrections
/// and what triggers themselves say are not among them.
pub const KINDS: [&str; 8] = [
    "state.changed",
    "flapping.started",
    "flapping.stopped",
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
    /// What, beside all this, makes its cause this one and no other.
    pub what: String,
    /// The change of an entity.
    pub change: Option<&'a Change>,
}

impl<'a> Told<'a> {
    /// Reads an event that left at `time_us`; `None` if nothing is made of its kind.
    pub fn of(event: &'a Event, time_us: i64) -> Option<Self> {
        let kind = event.kind.strip_prefix("stillhouse.")?;
        if !KINDS.contains(&kind) {
            return None;
        }
        let (of, severity, since_us, what, change) = match &event.data {
            Data::Change(change) => {
                (&*change.signal, change.severity, change.since.0, change.to.state.to_string(), Some(&**change))
            }
            Data::Derived(derived) => match &**derived {
                Derived::Incident(data) => {
                    let what = format!("{} {}", data.incident, data.revision);
                    (&*data.name, data.severity, data.started.0, what, None)
                }
                Derived::Burn(data) => {
                    let what = format!("{} {} {}", data.over, data.long.window_us, data.short.window_us);
                    (&*data.objective, data.severity, data.started.0, what, None)
                }
                Derived::Sli(_) | Derived::Trigger(_) | Derived::Breaker(_) => return None,
            },
            _ => return None,
        };
        let key = event.subject.as_deref().unwrap_or_default();
        Some(Self { id: &event.id, kind, time_us, key, of, severity: severity_code(severity), since_us, what, change })
    }
}

/// The opposite of [`crate::event::severity_name`].
fn severity_code(name: &str) -> u8 {
    (0..3).find(|&code| crate::event::severity_name(code) == name).unwrap_or(3)
}
