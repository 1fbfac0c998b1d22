//! What is open, by parent: which problems the outside was told of, so that their children can be
//! quiet, and which children have one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Exit, Gate, Slot, is_problem};
use crate::entity::{Candidate, Kind};
use crate::plan::{Mode, TypePlan};
use serde::{Deserialize, Serialize};

/// How far up from a key its ancestors are looked at. The nearest one with an open problem counts.
pub const ANCESTORS_MAX: usize = 8;

/// What is open. It holds one entry for each problem that stands, so it is bounded as the entities are.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Open {
    /// By record key the problems that the outside was told of: whether it is flapping, and of which
    /// type, with the code of the state.
    told: BTreeMap<Box<str>, BTreeMap<(bool, u16), u8>>,
    /// The parent under which a problem is counted; tables may say another by now.
    parents: BTreeMap<Slot, Box<str>>,
    /// By parent and child the number of problems that stand, told or not.
    children: BTreeMap<Box<str>, BTreeMap<Box<str>, u32>>,
    /// When the grace ends of a key that has recovered.
    grace: BTreeMap<Box<str>, i64>,
    /// What is held back, by the key that inhibits it.
    waiting: BTreeMap<Box<str>, BTreeSet<Slot>>,
}

impl Open {
    /// A candidate says that there is a problem under `parent`, or (`None`) none that counts.
    pub(super) fn stand(&mut self, slot: &Slot, parent: Option<&str>) {
        if let Some(before) = self.parents.remove(slot)
            && let Some(children) = self.children.get_mut(&before)
        {
            if let Some(problems) = children.get_mut(&slot.1) {
                *problems -= 1;
                if *problems == 0 {
                    children.remove(&slot.1);
                }
            }
            if children.is_empty() {
                self.children.remove(&before);
            }
        }
        if let Some(parent) = parent {
            self.parents.insert(slot.clone(), parent.into());
            *self.children.entry(parent.into()).or_default().entry(slot.1.clone()).or_default() += 1;
        }
    }

    /// The outside is told; if this was the last open problem of the key, and somebody waits for
    /// that: when its grace ends.
    pub(super) fn tell(&mut self, candidate: &Candidate, plan: &TypePlan, now_us: i64, grace_us: i64) -> Option<i64> {
        if !plan.inhibit || plan.mode != Mode::State {
            return None;
        }
        let about = (candidate.kind != Kind::StateChanged, candidate.signal_type);
        if is_problem(candidate, plan) {
            self.told.entry(candidate.key.clone()).or_default().insert(about, candidate.to.state);
            self.grace.remove(&candidate.key);
            return None;
        }
        let problems = self.told.get_mut(&candidate.key)?;
        problems.remove(&about);
        if !problems.is_empty() {
            return None;
        }
        self.told.remove(&candidate.key);
        if !self.waiting.contains_key(&candidate.key) {
            return None;
        }
        let end_us = now_us.saturating_add(grace_us);
        self.grace.insert(candidate.key.clone(), end_us);
        Some(end_us)
    }

    /// How many problems of a key the outside knows.
    pub(super) fn problems(&self, key: &str) -> i64 {
        self.told.get(key).map_or(0, |problems| problems.len() as i64)
    }

    /// How many other children of `parent` have a problem.
    pub(super) fn siblings(&self, parent: &str, key: &str) -> i64 {
        let Some(children) = self.children.get(parent) else { return 0 };
        children.len() as i64 - i64::from(children.contains_key(key))
    }

    /// The candidate of `slot` waits for `ancestor`.
    pub(super) fn wait(&mut self, ancestor: &str, slot: &Slot) {
        self.waiting.entry(ancestor.into()).or_default().insert(slot.clone());
    }

    /// The candidate of `slot` does not wait for `ancestor` any longer.
    pub(super) fn wait_no_more(&mut self, ancestor: &str, slot: &Slot) {
        if let Some(waiting) = self.waiting.get_mut(ancestor) {
            waiting.remove(slot);
            if waiting.is_empty() {
                self.waiting.remove(ancestor);
            }
        }
    }

    /// What is wrong with a key, as far as the outside knows.
    fn trouble<'a>(&self, key: &str, types: &'a [TypePlan]) -> Option<&'a str> {
        let (&(flapping, signal_type), &state) = self.told.get(key)?.first_key_value()?;
        Some(if flapping { "flapping" } else { types[signal_type as usize].state_name(state) })
    }
}

impl Gate {
    /// The nearest ancestor whose open problem the outside knows, and the reason that this makes.
    pub(super) fn inhibitor(
        &self,
        candidate: &Candidate,
        table_us: i64,
        exit: &Exit<'_>,
    ) -> Option<(Box<str>, Box<str>)> {
        let plan = &exit.plan.types[candidate.signal_type as usize];
        if !plan.inhibit || !is_problem(candidate, plan) {
            return None;
        }
        let mut key: &str = &candidate.key;
        for _ in 0..ANCESTORS_MAX {
            key = exit.parent(key, table_us).filter(|ancestor| **ancestor != *candidate.key)?;
            if let Some(state) = self.open.trouble(key, &exit.plan.types) {
                return Some((key.into(), format!("inhibited: {key} is {state}").into()));
            }
        }
        None
    }

    /// The grace after the recovery of `parent` is over: what waited for it tries again, oldest
    /// first.
    pub(super) fn release(&mut self, parent: &str, now_us: i64, exit: &mut Exit<'_>) {
        // A problem in between has ended the grace, and a later one may be on.
        if self.open.grace.get(parent) != Some(&now_us) {
            return;
        }
        self.open.grace.remove(parent);
        let Some(slots) = self.open.waiting.get(parent) else { return };
        let of_slot = |slot: &Slot| Some((self.held.get(slot)?.candidate.time_us, slot.clone()));
        let mut waiting: Vec<(i64, Slot)> = slots.iter().filter_map(of_slot).collect();
        waiting.sort();
        for (_, slot) in waiting {
            if let Some(held) = self.take(&slot) {
                self.retry(slot, held, now_us, exit);
            }
        }
    }
}
