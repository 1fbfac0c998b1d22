//! Circuit breakers of triggers: for a key that triggers again and again, and for a whole trigger
//! that triggers too often.
//!
//! Closed, open and half-open are those of Nygard, "Release It!" (2nd edition, 2018), with one
//! difference: whether an action helped is not known here, so quiet stands for success. An open
//! breaker is half-open after `open_for` and then lets one cause through. If the next one comes
//! within `close_after` it opens again; if all is quiet for that long it closes. The breaker of the
//! whole trigger is asked first, and whatever exceeds the rate opens it, half-open or not.

use std::collections::{BTreeMap, BTreeSet};

use super::told::Told;
use super::trigger::{REMEMBER_MAX, TriggerPlan};
use crate::event::{Breaker as Data, Derived, Event, Time, id_of};
use crate::plan::Plan;
use serde::{Deserialize, Serialize};

/// `breaker`
#[derive(Clone, Copy, Debug)]
pub struct BreakerPlan {
    /// How often a key may trigger..
    pub repeat_max: usize,
    /// ..within this time.
    pub repeat_within_us: i64,
    /// How long the breaker is open.
    pub open_for_us: i64,
    /// How long it must be quiet, half-open, to close.
    pub close_after_us: i64,
}

/// What a breaker is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Scope {
    /// All keys of the trigger.
    Trigger,
    /// One key.
    Key(Box<str>),
}

/// The index of a trigger, and what of it.
type Slot = (u16, Scope);

/// A cause that a trigger would act on.
pub(super) struct Asked<'a> {
    pub index: u16,
    pub trigger: &'a TriggerPlan,
    pub told: &'a Told<'a>,
    /// How often it acted for this key lately.
    pub repeats: usize,
    /// Whether it acted too often lately, for all keys together.
    pub too_often: bool,
    pub plan: &'a Plan,
}

/// Whether a trigger may act.
pub(super) enum Verdict {
    Pass,
    /// It may not, for this reason.
    Withhold(&'static str),
}

/// The breakers that are not closed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Breakers {
    breakers: BTreeMap<Slot, Breaker>,
    timers: BTreeSet<(i64, u16, Scope)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Breaker {
    opened_us: i64,
    /// When it is half-open.
    until_us: i64,
    /// When it closes.
    close_us: i64,
    /// Whether it has let one cause through since then.
    probed: bool,
    withheld: u64,
}

impl Breakers {
    /// When the next one closes.
    pub fn due_us(&self) -> Option<i64> {
        self.timers.first().map(|(due_us, ..)| *due_us)
    }

    /// Closes the first that is due to; tells which.
    pub fn close(&mut self, plan: &Plan, made: &mut Vec<Event>) -> Option<Slot> {
        let (due_us, index, scope) = self.timers.pop_first()?;
        let slot = (index, scope);
        let breaker = self.breakers.remove(&slot)?;
        made.push(breaker.tell("stillhouse.breaker.closed", &slot, due_us, None, plan));
        Some(slot)
    }

    /// Whether a trigger may act; opens the breaker that says no, and counts the cause that a
    /// half-open one lets through.
    pub fn ask(&mut self, asked: &Asked<'_>, made: &mut Vec<Event>) -> Verdict {
        let scopes = [Scope::Trigger, Scope::Key(asked.told.key.into())].map(|scope| (asked.index, scope));
        for slot in &scopes {
            let Some(breaker) = self.breakers.get_mut(slot) else { continue };
            let half_open = asked.told.time_us >= breaker.until_us;
            if half_open && !breaker.probed {
                continue;
            }
            if half_open {
                self.open(slot, asked, "again", made);
            }
            return self.withhold(slot, "breaker");
        }
        let [trigger, key] = scopes;
        let repeats_max = asked.trigger.breaker.map_or(usize::MAX, |plan| plan.repeat_max);
        if asked.repeats >= repeats_max && !self.breakers.contains_key(&key) {
            return if self.open(&key, asked, "repeat", made) {
                self.withhold(&key, "breaker")
            } else {
                Verdict::Withhold("bound")
            };
        }
        if asked.too_often {
            return if self.open(&trigger, asked, "rate", made) {
                self.withhold(&trigger, "rate")
            } else {
                Verdict::Withhold("rate")
            };
        }
        for slot in [trigger, key] {
            self.probe(slot, asked);
        }
        Verdict::Pass
    }

    fn withhold(&mut self, slot: &Slot, reason: &'static str) -> Verdict {
        if let Some(breaker) = self.breakers.get_mut(slot) {
            breaker.withheld += 1;
        }
        Verdict::Withhold(reason)
    }

    /// Opens a breaker, or opens it again; false if the trigger has none or too many are known.
    fn open(&mut self, slot: &Slot, asked: &Asked<'_>, reason: &'static str, made: &mut Vec<Event>) -> bool {
        let Some(of) = asked.trigger.breaker else { return false };
        let time_us = asked.told.time_us;
        let until_us = time_us.saturating_add(of.open_for_us);
        let close_us = until_us.saturating_add(of.close_after_us);
        let known = self.breakers.remove(slot);
        if known.is_none() && self.breakers.len() >= REMEMBER_MAX {
            return false;
        }
        if let Some(known) = &known {
            self.timers.remove(&(known.close_us, slot.0, slot.1.clone()));
        }
        let (opened_us, withheld) = known.map_or((time_us, 0), |known| (known.opened_us, known.withheld));
        let breaker = Breaker { opened_us, until_us, close_us, probed: false, withheld };
        made.push(breaker.tell("stillhouse.breaker.opened", slot, time_us, Some(reason), asked.plan));
        self.timers.insert((close_us, slot.0, slot.1.clone()));
        self.breakers.insert(slot.clone(), breaker);
        true
    }

    /// A half-open breaker has let a cause through: it waits for quiet from here on.
    fn probe(&mut self, slot: Slot, asked: &Asked<'_>) {
        let (Some(breaker), Some(of)) = (self.breakers.get_mut(&slot), asked.trigger.breaker) else { return };
        self.timers.remove(&(breaker.close_us, slot.0, slot.1.clone()));
        breaker.probed = true;
        breaker.close_us = asked.told.time_us.saturating_add(of.close_after_us);
        self.timers.insert((breaker.close_us, slot.0, slot.1));
    }
}

impl Breaker {
    fn tell(&self, kind: &'static str, slot: &Slot, time_us: i64, reason: Option<&'static str>, plan: &Plan) -> Event {
        let trigger = &plan.derive.triggers[slot.0 as usize];
        let (scope, key) = match &slot.1 {
            Scope::Trigger => ("trigger", None),
            Scope::Key(key) => ("key", Some(&**key)),
        };
        let data = Data {
            trigger: trigger.name.clone(),
            scope,
            reason,
            until: reason.is_some().then_some(Time(self.until_us)),
            opened: Time(self.opened_us),
            withheld: self.withheld,
            config: plan.config_digest.as_str().into(),
        };
        let name = [kind, &*trigger.name, scope, key.unwrap_or_default()].join("\0");
        let id = id_of(&[name.as_bytes(), &time_us.to_le_bytes()]);
        Event::derived(kind, id, key, time_us, Derived::Breaker(data))
    }
}
