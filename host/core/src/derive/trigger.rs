//! Triggers: events that ask somebody else to act, at most once for each cause, never too often,
//! and not again and again for what does not help.
//!
//! Whatever is withheld says so. At a bound nothing is asked for: an action that is not taken can
//! be taken later.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::breaker::{Asked, Breakers, Scope, Verdict};
use super::told::Told;
use crate::event::{Cause, Derived, Event, Time, Trigger as Data, id_of, severity_name};
use crate::plan::Plan;
use serde::{Deserialize, Serialize};

pub use super::breaker::BreakerPlan;

/// For how long a trigger remembers at least what it asked for.
pub const REMEMBER_US: i64 = 86_400_000_000;

/// How much of what it asked for a trigger remembers, and how many breakers it may have open. At
/// the bound it withholds.
pub const REMEMBER_MAX: usize = 100_000;

/// `[trigger.NAME]`
#[derive(Clone, Debug, Default)]
pub struct TriggerPlan {
    /// Its name.
    pub name: Box<str>,
    /// The kind of event, one of [`super::KINDS`].
    pub on: Box<str>,
    /// The signal types, incidents or objectives; empty for all.
    pub of: Vec<Box<str>>,
    /// The states that an entity has come to; empty for all.
    pub to: Vec<Box<str>>,
    /// What is less severe does not count.
    pub min_severity: u8,
    /// The record keys or groups.
    pub key: Option<glob::Pattern>,
    /// What to do.
    pub action: Box<str>,
    /// With what.
    pub params: BTreeMap<Box<str>, Box<str>>,
    /// How often at most.
    pub rate: Option<RatePlan>,
    /// Nothing is asked for until this long after the first observation.
    pub bootstrap_us: i64,
    /// When to stop for a while.
    pub breaker: Option<BreakerPlan>,
}

/// `rate`
#[derive(Clone, Copy, Debug)]
pub struct RatePlan {
    /// This often at most.
    pub max: usize,
    /// In any time of this length.
    pub per_us: i64,
}

impl TriggerPlan {
    fn wants(&self, told: &Told<'_>) -> bool {
        let any = |names: &[Box<str>], name: &str| names.is_empty() || names.iter().any(|known| **known == *name);
        *self.on == *told.kind
            && any(&self.of, told.of)
            && told.state.is_none_or(|(state, _)| any(&self.to, state))
            && told.severity >= self.min_severity
            && self.key.as_ref().is_none_or(|key| key.matches(told.key))
    }

    /// For how long it counts how often it acted for a key.
    fn repeat_us(&self) -> i64 {
        self.breaker.map_or(REMEMBER_US, |breaker| breaker.repeat_within_us)
    }

    fn remember_us(&self) -> i64 {
        REMEMBER_US.max(self.repeat_us()).max(self.rate.map_or(0, |rate| rate.per_us))
    }
}

/// All triggers and what they asked for.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Triggers {
    fired: BTreeMap<u16, Fired>,
    breakers: Breakers,
}

/// What one trigger asked for and remembers.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Fired {
    /// When, for which key, and the idempotency key; in order of time.
    log: VecDeque<(i64, Box<str>, Box<str>)>,
    known: BTreeSet<Box<str>>,
    by_key: BTreeMap<Box<str>, VecDeque<i64>>,
}

impl Fired {
    fn forget(&mut self, until_us: i64) {
        while self.log.front().is_some_and(|(time_us, ..)| *time_us <= until_us) {
            let Some((time_us, key, idempotency_key)) = self.log.pop_front() else { return };
            self.known.remove(&idempotency_key);
            let Some(times) = self.by_key.get_mut(&key) else { continue };
            if times.front() == Some(&time_us) {
                times.pop_front();
            }
            if times.is_empty() {
                self.by_key.remove(&key);
            }
        }
    }

    fn add(&mut self, time_us: i64, key: &str, idempotency_key: &str) {
        self.log.push_back((time_us, key.into(), idempotency_key.into()));
        self.known.insert(idempotency_key.into());
        self.by_key.entry(key.into()).or_default().push_back(time_us);
    }

    /// How often after `after_us`.
    fn count(&self, after_us: i64) -> usize {
        self.log.len() - self.log.partition_point(|(time_us, ..)| *time_us <= after_us)
    }

    /// How often after `after_us` for a key.
    fn count_of(&self, key: &str, after_us: i64) -> usize {
        self.by_key.get(key).map_or(0, |times| times.len() - times.partition_point(|time_us| *time_us <= after_us))
    }
}

impl Triggers {
    /// When something is next due.
    pub fn due_us(&self) -> Option<i64> {
        self.breakers.due_us()
    }

    /// Does what is due first.
    pub fn fire(&mut self, plan: &Plan, made: &mut Vec<Event>) {
        let Some((index, scope)) = self.breakers.close(plan, made) else { return };
        if let (Scope::Key(key), Some(fired)) = (scope, self.fired.get_mut(&index)) {
            // The key has been quiet: it begins anew.
            fired.by_key.remove(&key);
        }
    }

    /// Takes in an event. `first_us` is the time of the first observation.
    pub fn take(&mut self, told: &Told<'_>, first_us: i64, plan: &Plan, made: &mut Vec<Event>) {
        for (index, trigger) in (0..).zip(&plan.derive.triggers) {
            if trigger.wants(told) {
                self.decide((index, trigger), told, first_us, plan, made);
            }
        }
    }

    fn decide(
        &mut self,
        (index, trigger): (u16, &TriggerPlan),
        told: &Told<'_>,
        first_us: i64,
        plan: &Plan,
        made: &mut Vec<Event>,
    ) {
        let idempotency_key = idempotency_key(trigger, told);
        let fired = self.fired.entry(index).or_default();
        fired.forget(told.time_us.saturating_sub(trigger.remember_us()));
        let repeats = fired.count_of(told.key, told.time_us.saturating_sub(trigger.repeat_us()));
        let too_often = |rate: RatePlan| fired.count(told.time_us.saturating_sub(rate.per_us)) >= rate.max;
        let withheld = if told.time_us < first_us.saturating_add(trigger.bootstrap_us) {
            Some("bootstrap")
        } else if fired.known.contains(&*idempotency_key) {
            Some("duplicate")
        } else if fired.log.len() >= REMEMBER_MAX {
            Some("bound")
        } else {
            let asked = Asked { index, trigger, told, repeats, too_often: trigger.rate.is_some_and(too_often), plan };
            match self.breakers.ask(&asked, made) {
                Verdict::Pass => None,
                Verdict::Withhold(reason) => Some(reason),
            }
        };
        if withheld.is_none() {
            fired.add(told.time_us, told.key, &idempotency_key);
        }
        let kind = if withheld.is_none() { "stillhouse.trigger" } else { "stillhouse.trigger.withheld" };
        let data = Data {
            trigger: trigger.name.clone(),
            withheld,
            action: trigger.action.clone(),
            params: trigger.params.clone(),
            idempotency_key,
            attempt: withheld.is_none().then_some(repeats as u64 + 1),
            severity: severity_name(told.severity),
            cause: Cause {
                id: told.id.into(),
                kind: format!("stillhouse.{}", told.kind).into(),
                of: told.of.into(),
                since: Time(told.since_us),
            },
            config: plan.config_digest.as_str().into(),
        };
        let id = id_of(&[kind.as_bytes(), trigger.name.as_bytes(), told.id.as_bytes()]);
        made.push(Event::derived(kind, id, Some(told.key), told.time_us, Derived::Trigger(data)));
    }
}

/// What makes the cause of a trigger this one and no other: what it is, since when.
fn idempotency_key(trigger: &TriggerPlan, told: &Told<'_>) -> Box<str> {
    let [name, kind, of, key, what] = [&*trigger.name, told.kind, told.of, told.key, &told.what].map(str::as_bytes);
    id_of(&[name, kind, of, key, what, &told.since_us.to_le_bytes()]).into()
}
