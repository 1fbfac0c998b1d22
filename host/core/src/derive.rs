//! What is made of distilled events once they leave: incidents, indicators and burn rates, triggers
//! for automation. It sees them in total order, after the gate; its events are about events, so the
//! ledger knows nothing of them.
//!
//! Events feed each other forward only: state changes and flapping feed incidents; these, burn
//! rates and both of the former feed triggers; nothing is made of an indicator or of what triggers
//! say. So there is no loop.
//!
//! At one time the order is: timers first, as everywhere, of them the ends of panes (objectives in
//! the order of their plan, then by group: the indicator, then its burn rates), then incidents, then
//! breakers. Then each event that leaves, followed by the incidents that it changes. What a trigger
//! makes of an event follows that event at once.

mod breaker;
mod group;
mod incident;
mod objective;
mod tally;
mod told;
mod trigger;

use crate::event::Event;
use crate::plan::Plan;
use crate::table::Tables;
use serde::{Deserialize, Serialize};

pub use group::{ALL, By};
pub use incident::{IncidentPlan, MEMBERS_MAX};
pub use objective::{BurnPlan, OTHER, ObjectivePlan, PANES_MAX, WINDOW_PANES_MAX};
pub use tally::{Count, Tally};
pub use told::KINDS;
pub use trigger::{BreakerPlan, REMEMBER_MAX, REMEMBER_US, RatePlan, TriggerPlan};

use incident::Incidents;
use objective::Objectives;
use told::Told;
use trigger::Triggers;

/// What to derive.
#[derive(Clone, Debug, Default)]
pub struct DerivePlan {
    /// `[incident.NAME]`, by name.
    pub incidents: Vec<IncidentPlan>,
    /// `[objective.NAME]`, by name.
    pub objectives: Vec<ObjectivePlan>,
    /// `[trigger.NAME]`, by name.
    pub triggers: Vec<TriggerPlan>,
}

impl DerivePlan {
    /// The names of all that is derived, in order.
    pub(crate) fn names(&self) -> Vec<Box<str>> {
        let incidents = self.incidents.iter().map(|plan| ("incident", &plan.name));
        let objectives = self.objectives.iter().map(|plan| ("objective", &plan.name));
        let triggers = self.triggers.iter().map(|plan| ("trigger", &plan.name));
        incidents.chain(objectives).chain(triggers).map(|(of, name)| format!("{of}.{name}").into()).collect()
    }

    /// Whether nothing is derived.
    pub fn is_empty(&self) -> bool {
        self.incidents.is_empty() && self.objectives.is_empty() && self.triggers.is_empty()
    }
}

/// What was derived so far.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Derive {
    /// Event time of the first observation.
    first_us: Option<i64>,
    objectives: Objectives,
    incidents: Incidents,
    triggers: Triggers,
}

/// Whose timer is due; in this order at one time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Objective(usize),
    Incident,
    Breaker,
}

impl Derive {
    /// Adds what the shards counted of the observations before the watermark.
    pub fn count(&mut self, tallies: impl IntoIterator<Item = Tally>) {
        let mut first_us: Option<i64> = None;
        for tally in tallies {
            first_us = first_us.into_iter().chain(tally.first_us).min();
            self.objectives.count(tally.tallied);
        }
        // What comes later is later in event time, too.
        self.first_us = self.first_us.or(first_us);
    }

    /// Lets timers fire that are due at `to_us` or before.
    pub fn fire(&mut self, to_us: i64, plan: &Plan, tables: &Tables, out: &mut Vec<Event>) {
        if plan.derive.is_empty() {
            return;
        }
        let mut made = Vec::new();
        while let Some((due_us, due)) = self.due(plan).filter(|(due_us, _)| *due_us <= to_us) {
            match due {
                Due::Objective(at) => self.objectives.fire(at, plan, tables, &mut made),
                Due::Incident => self.incidents.fire(plan, &mut made),
                Due::Breaker => self.triggers.fire(plan, &mut made),
            }
            for event in made.drain(..) {
                self.leave(due_us, event, plan, out);
            }
        }
    }

    fn due(&self, plan: &Plan) -> Option<(i64, Due)> {
        let objective = self.objectives.due(&plan.derive.objectives).map(|(due_us, at)| (due_us, Due::Objective(at)));
        let incident = self.incidents.due_us().map(|due_us| (due_us, Due::Incident));
        let breaker = self.triggers.due_us().map(|due_us| (due_us, Due::Breaker));
        objective.into_iter().chain(incident).chain(breaker).min()
    }

    /// Takes in `out[at]`, which has just left and stands at `time_us`, and appends what follows.
    pub fn take(&mut self, time_us: i64, at: usize, plan: &Plan, tables: &Tables, out: &mut Vec<Event>) {
        if plan.derive.is_empty() {
            return;
        }
        let Some(told) = out.get(at).and_then(|event| Told::of(event, time_us)) else { return };
        let (mut requests, mut incidents) = (Vec::new(), Vec::new());
        self.triggers.take(&told, self.first_us.unwrap_or(time_us), plan, &mut requests);
        self.incidents.take(&told, plan, tables, &mut incidents);
        out.append(&mut requests);
        for event in incidents {
            self.leave(time_us, event, plan, out);
        }
    }

    /// Lets a derived event leave, and what triggers make of it.
    fn leave(&mut self, time_us: i64, event: Event, plan: &Plan, out: &mut Vec<Event>) {
        let mut requests = Vec::new();
        if let Some(told) = Told::of(&event, time_us) {
            self.triggers.take(&told, self.first_us.unwrap_or(time_us), plan, &mut requests);
        }
        out.push(event);
        out.append(&mut requests);
    }

    /// When the oldest incident began that is not resolved.
    pub fn needed_us(&self) -> Option<i64> {
        self.incidents.oldest_us()
    }

    /// How often an entity could not become a member of an incident because there were too many.
    pub fn untracked(&self) -> u64 {
        self.incidents.untracked()
    }
}
