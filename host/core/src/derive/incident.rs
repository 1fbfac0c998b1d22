//! Incidents: entities of one group that are in trouble together, from the first trouble to the end
//! of the last one and a quiet time after it.
//!
//! An entity joins when it is told to be in a problem state, or to flap, with at least the least
//! severity, or when a window of it opens; it has recovered when none of this is so any more. An
//! occurrence, and a window that is told only when it closes, is over at once. An entity in trouble
//! stays in the group that it joined, whatever a table says of it meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use super::group::By;
use super::told::Told;
use crate::event::{
    Derived, Event, Incident as Data, IncidentCounts, Member as MemberView, Time, id_of, severity_name,
};
use crate::plan::{Mode, Plan, TypePlan};
use crate::rule::Condition;
use crate::table::Tables;
use serde::{Deserialize, Serialize};

/// How many members all open incidents may have together, recovered ones included. At the bound a
/// new one is not taken in, which is counted.
pub const MEMBERS_MAX: usize = 100_000;

/// `[incident.NAME]`
#[derive(Clone, Debug)]
pub struct IncidentPlan {
    /// Its name.
    pub name: Box<str>,
    /// The signal types; empty for all.
    pub signals: Vec<Box<str>>,
    /// What makes entities belong together.
    pub by: By,
    /// Trouble of less than this does not count.
    pub min_severity: u8,
    /// How long there must be a member in trouble before it is opened.
    pub open_after_us: i64,
    /// How long all members must have recovered before it is resolved.
    pub resolve_after_us: i64,
    /// Between two events of it there is at least this time, unless it is resolved.
    pub update_every_us: i64,
    /// How many members its events list.
    pub members_max: usize,
}

/// The index of its plan, and its group.
type Slot = (u16, Box<str>);

/// The index of a plan, a signal type and a record key.
type Home = (u16, Box<str>, Box<str>);

/// All incidents that are open or may be.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Incidents {
    incidents: BTreeMap<Slot, Incident>,
    /// One entry for each incident that waits for something.
    timers: BTreeSet<(i64, Slot)>,
    /// The group of each entity in trouble.
    homes: BTreeMap<Home, Box<str>>,
    members: usize,
    untracked: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Incident {
    id: Box<str>,
    first_us: i64,
    /// 0 before it is opened.
    revision: u32,
    last_event: Option<Box<str>>,
    told_us: i64,
    /// Whether something has changed since its last event.
    changed: bool,
    /// When the quiet time after the last recovery is over.
    quiet_us: Option<i64>,
    armed_us: Option<i64>,
    severity: u8,
    started_us: i64,
    ended_us: i64,
    #[serde(with = "counts")]
    counts: IncidentCounts,
    members: BTreeMap<(Box<str>, Box<str>), Member>,
}

/// As all fields: events leave one out.
mod counts {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::IncidentCounts;

    pub fn serialize<S: Serializer>(counts: &IncidentCounts, serializer: S) -> Result<S::Ok, S::Error> {
        [counts.now, counts.ever, counts.events, counts.untracked].serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IncidentCounts, D::Error> {
        let [now, ever, events, untracked] = <[u64; 4]>::deserialize(deserializer)?;
        Ok(IncidentCounts { now, ever, events, untracked })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Member {
    joined: u64,
    problem: bool,
    flapping: bool,
    /// The state of its problem.
    stands: Box<str>,
    state: Box<str>,
    since_us: i64,
    ended_us: i64,
    event: Box<str>,
}

impl Member {
    fn in_trouble(&self) -> bool {
        self.problem || self.flapping
    }
}

/// What an event says of the trouble of an entity.
#[derive(Clone, Copy)]
enum Says {
    Problem,
    /// A problem that does not last.
    Occurred,
    Healthy,
    Flaps,
    Calm,
}

impl Says {
    fn of(told: &Told<'_>, incident: &IncidentPlan, plan: &Plan) -> Option<Self> {
        let (_, condition) = told.state?;
        let counts = told.severity >= incident.min_severity;
        let occurs = |of: &TypePlan| of.name == told.of && of.mode == Mode::Occurrence;
        let at_once = told.at_once || plan.types.iter().any(occurs);
        Some(match told.kind {
            "flapping.started" if counts => Self::Flaps,
            "flapping.started" | "flapping.stopped" => Self::Calm,
            _ if !counts || condition != Condition::Problem && !told.at_once => Self::Healthy,
            _ if at_once => Self::Occurred,
            _ => Self::Problem,
        })
    }

    fn is_trouble(self) -> bool {
        matches!(self, Self::Problem | Self::Occurred | Self::Flaps)
    }
}

impl Incidents {
    /// When something is next due.
    pub fn due_us(&self) -> Option<i64> {
        self.timers.first().map(|(due_us, _)| *due_us)
    }

    /// When the oldest one began.
    pub fn oldest_us(&self) -> Option<i64> {
        self.incidents.values().map(|incident| incident.first_us).min()
    }

    /// How often an entity was not taken in because too many were known.
    pub fn untracked(&self) -> u64 {
        self.untracked
    }

    /// Does what is due first.
    pub fn fire(&mut self, plan: &Plan, made: &mut Vec<Event>) {
        let Some((due_us, slot)) = self.timers.pop_first() else { return };
        if let Some(incident) = self.incidents.get_mut(&slot) {
            incident.armed_us = None;
        }
        self.settle(slot, due_us, plan, made);
    }

    /// Takes in an event of an entity.
    pub fn take(&mut self, told: &Told<'_>, plan: &Plan, tables: &Tables, made: &mut Vec<Event>) {
        for (index, incident) in (0..).zip(&plan.derive.incidents) {
            if !incident.signals.is_empty() && !incident.signals.iter().any(|signal| **signal == *told.of) {
                continue;
            }
            let Some(says) = Says::of(told, incident, plan) else { continue };
            let home = (index, Box::from(told.of), Box::from(told.key));
            let part = incident.by.part(told.key);
            let group = self.homes.get(&home).cloned();
            let group = group.unwrap_or_else(|| incident.by.group(part, tables, told.time_us).into());
            let slot = (index, group);
            if self.note(incident, &slot, home, says, told) {
                self.settle(slot, told.time_us, plan, made);
            }
        }
    }

    /// Notes what an event says of an incident; whether it is about it at all.
    fn note(&mut self, of: &IncidentPlan, slot: &Slot, home: Home, says: Says, told: &Told<'_>) -> bool {
        let member = (home.1.clone(), home.2.clone());
        let known = self.incidents.get(slot).and_then(|incident| incident.members.get(&member));
        if !says.is_trouble() && !known.is_some_and(Member::in_trouble) {
            return false;
        }
        if known.is_none() {
            if self.members >= MEMBERS_MAX {
                self.untracked += 1;
                let Some(incident) = self.incidents.get_mut(slot) else { return false };
                incident.counts.untracked += 1;
                return true;
            }
            self.members += 1;
        }
        let incident = self.incidents.entry(slot.clone()).or_insert_with(|| Incident::new(of, &slot.1, told));
        if incident.note(member, says, told) {
            self.homes.insert(home, slot.1.clone());
        } else {
            self.homes.remove(&home);
        }
        true
    }

    /// Opens, updates or resolves an incident if it is time to, and sees to it that it is looked at
    /// again.
    fn settle(&mut self, slot: Slot, time_us: i64, plan: &Plan, made: &mut Vec<Event>) {
        let Some(incident) = self.incidents.get_mut(&slot) else { return };
        let of = &plan.derive.incidents[slot.0 as usize];
        if let Some(armed_us) = incident.armed_us.take() {
            self.timers.remove(&(armed_us, slot.clone()));
        }
        let over = incident.settle(of, &slot.1, time_us, plan, made);
        if over {
            self.members -= incident.members.len();
            self.incidents.remove(&slot);
        } else if let Some(due_us) = incident.due_us(of) {
            incident.armed_us = Some(due_us);
            self.timers.insert((due_us, slot));
        }
    }
}

impl Incident {
    /// An incident that begins with an event.
    fn new(of: &IncidentPlan, group: &str, told: &Told<'_>) -> Self {
        // The event names its entity and its time.
        let id = id_of(&[b"incident", of.name.as_bytes(), group.as_bytes(), told.id.as_bytes()]).into();
        let (first_us, started_us) = (told.time_us, told.since_us);
        Self { id, first_us, started_us, ended_us: i64::MIN, ..Self::default() }
    }

    /// Notes what an event says of a member; whether the member is in trouble now.
    fn note(&mut self, key: (Box<str>, Box<str>), says: Says, told: &Told<'_>) -> bool {
        let joined = self.members.len() as u64;
        let member = self.members.entry(key).or_insert_with(|| {
            self.changed = true;
            self.counts.ever += 1;
            Member { joined, since_us: told.since_us, ..Member::default() }
        });
        let before = member.in_trouble();
        let to = told.state.map_or("", |(state, _)| state);
        match says {
            Says::Problem => (member.problem, member.stands) = (true, to.into()),
            Says::Occurred | Says::Healthy => member.problem = false,
            Says::Flaps => member.flapping = true,
            Says::Calm => member.flapping = false,
        }
        let now = member.in_trouble();
        let state: Box<str> = match (member.flapping, member.problem) {
            (true, _) => "flapping".into(),
            (false, true) => member.stands.clone(),
            (false, false) => to.into(),
        };
        self.changed |= member.state != state;
        member.state = state;
        member.event = told.id.into();
        self.counts.events += 1;
        self.counts.now = self.counts.now + u64::from(now) - u64::from(before);
        if says.is_trouble() {
            self.started_us = self.started_us.min(told.since_us);
            self.changed |= told.severity > self.severity || now != before;
            self.severity = self.severity.max(told.severity);
        }
        if !now {
            // Flapping ends when it is told to end; a state, when the next one began.
            let ended_us = if matches!(says, Says::Calm) { told.time_us } else { told.until_us };
            member.ended_us = ended_us;
            self.ended_us = self.ended_us.max(ended_us);
            self.changed |= before;
        }
        self.quiet_us = (self.counts.now == 0).then_some(told.time_us);
        now
    }

    /// Opens, updates or resolves it if it is time to; whether it is over.
    fn settle(&mut self, of: &IncidentPlan, group: &str, time_us: i64, plan: &Plan, made: &mut Vec<Event>) -> bool {
        if self.revision == 0 {
            if self.first_us.saturating_add(of.open_after_us) <= time_us {
                self.tell("stillhouse.incident.opened", of, group, time_us, plan, made);
            } else {
                // Nobody was told of it, and its members' own events have left.
                return self.counts.now == 0;
            }
        }
        if self.quiet_us.is_some_and(|since_us| since_us.saturating_add(of.resolve_after_us) <= time_us) {
            self.tell("stillhouse.incident.resolved", of, group, time_us, plan, made);
            return true;
        }
        if self.changed && self.told_us.saturating_add(of.update_every_us) <= time_us {
            self.tell("stillhouse.incident.updated", of, group, time_us, plan, made);
        }
        false
    }

    fn due_us(&self, of: &IncidentPlan) -> Option<i64> {
        if self.revision == 0 {
            return Some(self.first_us.saturating_add(of.open_after_us));
        }
        let resolve_us = self.quiet_us.map(|since_us| since_us.saturating_add(of.resolve_after_us));
        let update_us = self.changed.then(|| self.told_us.saturating_add(of.update_every_us));
        resolve_us.into_iter().chain(update_us).min()
    }

    fn tell(
        &mut self,
        kind: &'static str,
        of: &IncidentPlan,
        group: &str,
        time_us: i64,
        plan: &Plan,
        made: &mut Vec<Event>,
    ) {
        self.revision += 1;
        self.told_us = time_us;
        self.changed = false;
        let ended_us = (kind == "stillhouse.incident.resolved").then(|| self.ended_us.max(self.started_us));
        let data = Data {
            incident: self.id.clone(),
            name: of.name.clone(),
            group: group.into(),
            revision: self.revision,
            supersedes: self.last_event.take(),
            severity: severity_name(self.severity),
            started: Time(self.started_us),
            ended: ended_us.map(Time),
            duration_us: ended_us.map(|ended_us| ended_us - self.started_us),
            counts: self.counts,
            members: self.listed(of.members_max),
            config: plan.config_digest.as_str().into(),
        };
        let id = id_of(&[kind.as_bytes(), self.id.as_bytes(), &self.revision.to_le_bytes()]);
        self.last_event = Some(id.as_str().into());
        made.push(Event::derived(kind, id, Some(group), time_us, Derived::Incident(data)));
    }

    /// The first members by when their trouble began.
    fn listed(&self, members_max: usize) -> Vec<MemberView> {
        let mut members: Vec<_> = self.members.iter().collect();
        members.sort_by_key(|(_, member)| (member.since_us, member.joined));
        members.truncate(members_max);
        let view = |((signal, key), member): (&(Box<str>, Box<str>), &Member)| MemberView {
            signal: signal.clone(),
            key: key.clone(),
            state: member.state.clone(),
            since: Time(member.since_us),
            ended: (!member.in_trouble()).then_some(Time(member.ended_us)),
            event: member.event.clone(),
        };
        members.into_iter().map(view).collect()
    }
}
