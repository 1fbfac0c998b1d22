//! The part of an entity that detects flapping: while it flaps, its changes are withheld.

use super::{Candidate, Effects, Entity, Input, Kind, Observation, Standing};
use crate::flapping::History;
use crate::flapping::damping::Merit;
use crate::plan::{DampingPlan, TypePlan};
use crate::rule::Condition;
use serde::{Deserialize, Serialize};

/// What flap detection knows of an entity.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Flap {
    history: History,
    merit: Merit,
    /// Fingerprint and state of the last observation.
    before: Option<(u64, u8)>,
    last_us: i64,
    /// When the figure of merit falls below the reuse mark; known while it flaps.
    reuse_us: i64,
    /// Event time at which flapping started.
    since_us: Option<i64>,
    severity: u8,
    inputs: u64,
    signals: u64,
    first: Input,
    last: Input,
}

impl Flap {
    /// Whether the entity flaps.
    pub(super) fn is_active(&self) -> bool {
        self.since_us.is_some()
    }

    /// Signals that are settled when the flapping ends.
    pub(super) fn signals(&self) -> u64 {
        self.signals
    }

    /// When the flapping ends if nothing more is observed.
    pub(super) fn due_us(&self, plan: &TypePlan) -> Option<i64> {
        match &plan.flapping {
            Some(limits) => limits.quiet_us.map(|quiet_us| self.last_us.saturating_add(quiet_us)),
            None => plan.damping.map(|_| self.reuse_us),
        }
    }

    /// The flap score at `time_us`, where the type has one.
    pub(super) fn score_mpct(&self, plan: &TypePlan, time_us: i64) -> Option<u32> {
        match (&plan.flapping, &plan.damping) {
            (Some(limits), _) => Some(self.history.score_mpct(limits.weights)),
            (None, Some(damping)) => Some(self.merit.score_mpct(damping, time_us)),
            (None, None) => None,
        }
    }

    /// Takes in an observation. Whether flapping starts with it, or stops if the entity flaps.
    fn turns(&mut self, plan: &TypePlan, seen: &Observation<'_>) -> bool {
        let before = self.before.replace((seen.fingerprint, seen.state));
        let changed = before.filter(|&(fingerprint, _)| fingerprint != seen.fingerprint);
        let silent_us = seen.time_us.saturating_sub(std::mem::replace(&mut self.last_us, seen.time_us));
        if let Some(limits) = &plan.flapping {
            if limits.quiet_us.is_some_and(|quiet_us| silent_us >= quiet_us) {
                self.history.clear();
            }
            self.history.push(changed.is_some());
            let score_mpct = self.history.score_mpct(limits.weights);
            return if self.is_active() { limits.stops(score_mpct) } else { limits.starts(score_mpct) };
        }
        let (Some(damping), Some((_, state))) = (&plan.damping, changed) else { return false };
        let penalty = penalty(damping, plan.condition(state), plan.condition(seen.state));
        if penalty == 0 {
            return false;
        }
        self.merit.add(damping, penalty, seen.time_us);
        let starts = !self.is_active() && self.merit.starts(damping);
        if starts || self.is_active() {
            self.reuse_us = self.merit.reuse_us(damping);
        }
        starts
    }
}

/// What a change of condition adds to the figure of merit.
fn penalty(damping: &DampingPlan, from: Condition, to: Condition) -> u32 {
    match to {
        // It ends here, so nothing is withheld any more.
        Condition::Gone => 0,
        _ if from == to => damping.change,
        Condition::Problem => damping.down,
        Condition::Healthy => damping.up,
    }
}

impl Entity {
    /// Takes an observation into flap detection, starts and stops flapping. Whether the signal belongs
    /// to flapping and is settled with it.
    pub(super) fn track_flapping(&mut self, plan: &TypePlan, seen: &Observation<'_>, out: &mut Effects) -> bool {
        if plan.flapping.is_none() && plan.damping.is_none() {
            return false;
        }
        let flap = self.flap.get_or_insert_default();
        let turns = flap.turns(plan, seen);
        if flap.is_active() {
            flap.signals += 1;
            flap.inputs += 1;
            flap.severity = flap.severity.max(seen.severity);
            flap.last.set(seen);
            if turns {
                self.stop_flapping(plan, seen.time_us, false, out);
            }
            return true;
        }
        if !turns {
            return false;
        }
        flap.since_us = Some(seen.time_us);
        flap.inputs = 1;
        flap.severity = seen.severity;
        flap.first.set(seen);
        flap.last.set(seen);
        // What was pending belongs to the flapping now.
        flap.signals = self
            .pending
            .as_mut()
            .filter(|pending| pending.active)
            .map_or(0, |pending| std::mem::take(&mut pending.signals));
        let candidate = self.flapping_candidate(plan, Kind::FlappingStarted, Standing::of(seen), seen.time_us, false);
        out.candidates.extend(candidate.map(|candidate| Candidate { signals: 1, ..candidate }));
        true
    }

    pub(super) fn stop_flapping(&mut self, plan: &TypePlan, time_us: i64, by_timer: bool, out: &mut Effects) {
        let Some(since_us) = self.flap.as_ref().and_then(|flap| flap.since_us) else { return };
        let stands = self.pending.as_ref().filter(|pending| pending.active).map(|pending| pending.to.clone());
        let to = Standing { since_us, ..stands.or_else(|| self.announced.clone()).unwrap_or_default() };
        let candidate = self.flapping_candidate(plan, Kind::FlappingStopped, to, time_us, by_timer);
        if let Some(flap) = &mut self.flap {
            flap.since_us = None;
            if by_timer {
                // Silence clears the history; a figure of merit goes on falling.
                flap.history.clear();
            }
            let signals = std::mem::take(&mut flap.signals);
            out.candidates.extend(candidate.map(|candidate| Candidate { signals, ..candidate }));
        }
        self.told_us = time_us;
        let from = self.announced.as_ref().map(|announced| announced.state);
        if let Some(pending) = self.pending.as_mut().filter(|pending| pending.active) {
            let held_us = pending.to.since_us.saturating_add(plan.hold_us(from, pending.to.state));
            pending.due_us = held_us.max(time_us);
        }
    }

    fn flapping_candidate(
        &self,
        plan: &TypePlan,
        kind: Kind,
        to: Standing,
        time_us: i64,
        by_timer: bool,
    ) -> Option<Candidate> {
        let flap = self.flap.as_ref()?;
        Some(Candidate {
            time_us,
            by_timer,
            kind,
            signal_type: self.signal_type,
            key: self.key.clone(),
            from: self.announced.clone(),
            to,
            severity: flap.severity,
            inputs: flap.inputs,
            first: flap.first.clone(),
            last: flap.last.clone(),
            repeated: u64::from(self.repeated),
            blips: u64::from(self.blips),
            score_mpct: flap.score_mpct(plan, time_us),
            sources: 0,
            signals: 0,
            window: None,
            missed: None,
            mapper: 0,
            on_trial: false,
            tried_judge: false,
        })
    }

    pub(super) fn is_flapping(&self) -> bool {
        self.flap.as_ref().is_some_and(|flap| flap.is_active())
    }
}
