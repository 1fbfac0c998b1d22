//! One entity: what it was announced to be, what it may be becoming, and whether it flaps.
//!
//! Signals come in order of event time. A timer of the entity that is due at the time of a signal
//! or before fires first, at its own time: so a state that has lasted exactly its hold counts.

use crate::dedupe::Seen;
use crate::derive::Tally;
use crate::flapping::History;
use crate::ledger::Ledger;
use crate::plan::{CLEAR, Mode, TypePlan};
use crate::rule::Condition;

/// What a signal says, in the hands of its entity.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// Event time.
    pub time_us: i64,
    /// Code of the canonical state.
    pub state: u8,
    /// What tells observations of one state apart.
    pub value: &'a str,
    /// Of state and value.
    pub fingerprint: u64,
    /// 0 info to 3 critical.
    pub severity: u8,
    /// The signal's id.
    pub id: &'a str,
    /// The ordinal of its source.
    pub source: u32,
}

/// A signal that an event names in its provenance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// The ordinal of its source.
    pub source: u32,
    /// Its event time.
    pub time_us: i64,
    /// Its id.
    pub id: String,
}

impl Input {
    fn set(&mut self, seen: &Observation<'_>) {
        self.source = seen.source;
        self.time_us = seen.time_us;
        self.id.clear();
        self.id.push_str(seen.id);
    }
}

/// A state and since when it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Code of the canonical state.
    pub state: u8,
    /// What tells it apart from the same state with another value.
    pub value: Option<Box<str>>,
    /// Of state and value.
    pub fingerprint: u64,
    /// Event time at which it began.
    pub since_us: i64,
}

impl Standing {
    fn of(seen: &Observation<'_>) -> Self {
        Self {
            state: seen.state,
            value: (!seen.value.is_empty()).then(|| seen.value.into()),
            fingerprint: seen.fingerprint,
            since_us: seen.time_us,
        }
    }
}

/// What happened to an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It is in another state.
    StateChanged,
    /// It began to flap.
    FlappingStarted,
    /// It no longer flaps.
    FlappingStopped,
}

/// An event that may leave, before its suppressor has judged it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Event time of the decision.
    pub time_us: i64,
    /// Whether a timer made it, and so comes before what signals of the same time make.
    pub by_timer: bool,
    /// What happened.
    pub kind: Kind,
    /// Index of the signal type.
    pub signal_type: u16,
    /// The record key.
    pub key: Box<str>,
    /// What the entity was announced to be before; for flapping, what it is announced to be.
    pub from: Option<Standing>,
    /// What it is now.
    pub to: Standing,
    /// The greatest severity of its inputs.
    pub severity: u8,
    /// How many signals speak for it.
    pub inputs: u64,
    /// The first of them.
    pub first: Input,
    /// The last of them before the decision.
    pub last: Input,
    /// Signals since the last event of this entity that said again what was known.
    pub repeated: u64,
    /// States since the last event of this entity that did not last.
    pub blips: u64,
    /// The flap score in thousandths of a percent, where the type detects flapping.
    pub score_mpct: Option<u32>,
    /// Signals that the ledger settles with this candidate.
    pub signals: u64,
}

/// Where an entity puts its candidates and its books.
#[derive(Debug, Default)]
pub struct Effects {
    /// In the order in which they were made.
    pub candidates: Vec<Candidate>,
    /// What was settled.
    pub ledger: Ledger,
    /// What was counted for objectives.
    pub tally: Tally,
}

#[derive(Clone, Debug, Default)]
struct Pending {
    // Kept when it ends, so that the next blip allocates nothing.
    active: bool,
    to: Standing,
    due_us: i64,
    severity: u8,
    inputs: u64,
    signals: u64,
    first: Input,
    last: Input,
}

#[derive(Clone, Debug, Default)]
struct Flap {
    history: History,
    fingerprint: Option<u64>,
    last_us: i64,
    /// Event time at which flapping started.
    since_us: Option<i64>,
    severity: u8,
    inputs: u64,
    signals: u64,
    first: Input,
    last: Input,
}

/// One entity of one signal type.
#[derive(Clone, Debug, Default)]
pub struct Entity {
    /// The record key.
    pub key: Box<str>,
    /// Index of the signal type.
    pub signal_type: u16,
    /// When its next timer will be looked at: at its due time or before. `i64::MAX` for never.
    pub armed_us: i64,
    announced: Option<Standing>,
    /// Event time of its last observation.
    seen_us: i64,
    /// Event time of its last observation of a problem.
    problem_us: i64,
    /// Event time of its last event: what happens to it later happens no earlier.
    told_us: i64,
    repeated: u32,
    blips: u32,
    pending: Option<Box<Pending>>,
    flap: Option<Box<Flap>>,
    seen: Option<Box<Seen>>,
}

impl Entity {
    /// An entity of which nothing is known.
    pub fn new(signal_type: u16, key: &str) -> Self {
        Self { key: key.into(), signal_type, armed_us: i64::MAX, ..Self::default() }
    }

    /// Whether nothing is known of it, so that it can be forgotten.
    pub fn is_blank(&self) -> bool {
        self.announced.is_none() && !self.is_pending() && self.flap.is_none() && self.seen.is_none()
    }

    /// Signals of it that are in no place of the ledger yet.
    pub fn open(&self) -> u64 {
        let pending = self.pending.as_ref().map_or(0, |pending| if pending.active { pending.signals } else { 0 });
        pending + self.flap.as_ref().map_or(0, |flap| flap.signals)
    }

    /// When its next timer is due.
    pub fn due_us(&self, plan: &TypePlan) -> Option<i64> {
        if let Some(flap) = &self.flap
            && flap.since_us.is_some()
        {
            return plan.flapping?.quiet_us.map(|quiet_us| flap.last_us.saturating_add(quiet_us));
        }
        if let Some(pending) = self.pending.as_ref().filter(|pending| pending.active) {
            return Some(pending.due_us);
        }
        let (seen_us, after_us) = match plan.condition(self.announced.as_ref()?.state) {
            Condition::Problem if plan.mode == Mode::State => {
                (self.problem_us, plan.clear_after_us.get(usize::from(self.announced.as_ref()?.state)).copied()??)
            }
            _ => (self.seen_us, plan.forget_after_us),
        };
        Some(seen_us.saturating_add(after_us).max(self.told_us))
    }

    /// Fires the timers that are due at `to_us` or before.
    pub fn advance(&mut self, plan: &TypePlan, to_us: i64, out: &mut Effects) {
        while let Some(due_us) = self.due_us(plan).filter(|&due_us| due_us <= to_us) {
            if self.is_flapping() {
                self.stop_flapping(plan, due_us, true, out);
                if let Some(flap) = &mut self.flap {
                    flap.history.clear();
                }
            } else if self.is_pending() {
                self.announce(plan, due_us, true, out);
            } else if self.is_problem(plan) {
                self.clear(plan, due_us, out);
            } else {
                self.forget();
            }
        }
    }

    fn is_problem(&self, plan: &TypePlan) -> bool {
        plan.mode == Mode::State
            && self.announced.as_ref().is_some_and(|standing| plan.condition(standing.state) == Condition::Problem)
    }

    fn forget(&mut self) {
        let key = std::mem::take(&mut self.key);
        *self = Self { key, signal_type: self.signal_type, armed_us: self.armed_us, ..Self::default() };
    }

    /// Takes in the next observation.
    pub fn observe(&mut self, plan: &TypePlan, seen: &Observation<'_>, out: &mut Effects) {
        self.advance(plan, seen.time_us, out);
        self.seen_us = seen.time_us;
        if plan.condition(seen.state) == Condition::Problem {
            self.problem_us = seen.time_us;
        }
        if let Some(dedupe) = plan.dedupe {
            let before = self.seen.get_or_insert_default();
            if before.is_duplicate(dedupe, seen.fingerprint, seen.time_us) {
                out.ledger.settle(|ledger| &mut ledger.merged_fingerprint, 1);
                self.repeated += 1;
                return;
            }
        }
        if plan.mode == Mode::Occurrence {
            self.begin(plan, seen, 1);
            return self.announce(plan, seen.time_us, false, out);
        }
        // While it flaps, a signal is settled when the flapping ends, not with a state.
        let counted = u64::from(!self.track_flapping(plan, seen, out));
        match plan.condition(seen.state) {
            Condition::Gone => self.end(plan, seen, counted, out),
            _ => self.follow(plan, seen, counted, out),
        }
        if self.is_pending() && !self.is_flapping() && self.due_us(plan).is_some_and(|due_us| due_us <= seen.time_us) {
            self.announce(plan, seen.time_us, false, out);
        }
    }

    /// The hold: what differs from the announced state must last.
    fn follow(&mut self, plan: &TypePlan, seen: &Observation<'_>, counted: u64, out: &mut Effects) {
        if self.announced.as_ref().is_some_and(|announced| announced.fingerprint == seen.fingerprint) {
            self.cancel_pending(out);
            self.repeat(counted, out);
        } else if self.announced.as_ref().is_none_or(|announced| announced.state == CLEAR)
            && plan.condition(seen.state) == Condition::Healthy
        {
            // The first healthy state of an entity is where it starts from, and no news.
            self.cancel_pending(out);
            self.announced = Some(Standing::of(seen));
            self.repeat(counted, out);
        } else if let Some(pending) =
            self.pending.as_mut().filter(|pending| pending.active && pending.to.fingerprint == seen.fingerprint)
        {
            pending.inputs += 1;
            pending.signals += counted;
            pending.severity = pending.severity.max(seen.severity);
            pending.last.set(seen);
        } else {
            self.cancel_pending(out);
            self.begin(plan, seen, counted);
        }
    }

    fn begin(&mut self, plan: &TypePlan, seen: &Observation<'_>, counted: u64) {
        let hold_us = plan.hold_us(self.announced.as_ref().map(|announced| announced.state), seen.state);
        let pending = self.pending.get_or_insert_default();
        pending.active = true;
        pending.to = Standing::of(seen);
        pending.due_us = seen.time_us.saturating_add(hold_us);
        pending.severity = seen.severity;
        pending.inputs = 1;
        pending.signals = counted;
        pending.first.set(seen);
        pending.last.set(seen);
    }

    /// The entity is no more. That is news only if somebody was told of a problem.
    fn end(&mut self, plan: &TypePlan, seen: &Observation<'_>, counted: u64, out: &mut Effects) {
        let mut counted = counted;
        if self.is_flapping() {
            self.stop_flapping(plan, seen.time_us, false, out);
            counted = 0;
        }
        self.cancel_pending(out);
        if self.is_problem(plan) {
            self.begin(plan, seen, counted);
            self.announce(plan, seen.time_us, false, out);
        } else {
            out.ledger.settle(|ledger| &mut ledger.merged_repeated, counted);
        }
        self.forget();
    }

    fn repeat(&mut self, counted: u64, out: &mut Effects) {
        self.repeated += 1;
        out.ledger.settle(|ledger| &mut ledger.merged_repeated, counted);
    }

    fn cancel_pending(&mut self, out: &mut Effects) {
        if let Some(pending) = self.pending.as_mut().filter(|pending| pending.active) {
            pending.active = false;
            self.blips += 1;
            out.ledger.settle(|ledger| &mut ledger.merged_blip, pending.signals);
        }
    }

    /// The pending state has lasted: it is what the entity is announced to be.
    fn announce(&mut self, plan: &TypePlan, time_us: i64, by_timer: bool, out: &mut Effects) {
        let Some(pending) = self.pending.as_mut() else { return };
        pending.active = false;
        let candidate = Candidate {
            time_us,
            by_timer,
            kind: Kind::StateChanged,
            signal_type: self.signal_type,
            key: self.key.clone(),
            from: self.announced.take(),
            to: pending.to.clone(),
            severity: pending.severity,
            inputs: pending.inputs,
            first: pending.first.clone(),
            last: pending.last.clone(),
            repeated: u64::from(std::mem::take(&mut self.repeated)),
            blips: u64::from(std::mem::take(&mut self.blips)),
            score_mpct: self.flap.as_ref().filter(|_| plan.flapping.is_some()).map(|flap| flap.history.score_mpct()),
            signals: pending.signals,
        };
        self.announced = Some(pending.to.clone());
        self.told_us = time_us;
        out.candidates.push(candidate);
    }

    /// A problem that nobody has spoken of for long enough is over.
    fn clear(&mut self, plan: &TypePlan, due_us: i64, out: &mut Effects) {
        let last = Input { source: u32::MAX, time_us: self.problem_us, id: String::new() };
        let to = Standing {
            state: CLEAR,
            value: None,
            fingerprint: crate::block::fingerprint(CLEAR, b""),
            since_us: self.problem_us,
        };
        let cleared = Pending { active: true, to, due_us, first: last.clone(), last, ..Pending::default() };
        self.pending = Some(Box::new(cleared));
        self.announce(plan, due_us, true, out);
    }

    /// Adds the observation to the history, starts and stops flapping. Whether the signal belongs
    /// to flapping and is settled with it.
    fn track_flapping(&mut self, plan: &TypePlan, seen: &Observation<'_>, out: &mut Effects) -> bool {
        let Some(limits) = plan.flapping else { return false };
        let flap = self.flap.get_or_insert_default();
        if limits.quiet_us.is_some_and(|quiet_us| seen.time_us.saturating_sub(flap.last_us) >= quiet_us) {
            flap.history.clear();
        }
        let changed = flap.fingerprint.replace(seen.fingerprint).is_some_and(|before| before != seen.fingerprint);
        flap.history.push(changed);
        flap.last_us = seen.time_us;
        let score_mpct = flap.history.score_mpct();
        if flap.since_us.is_some() {
            flap.signals += 1;
            flap.inputs += 1;
            flap.severity = flap.severity.max(seen.severity);
            flap.last.set(seen);
            if score_mpct <= limits.low_mpct {
                self.stop_flapping(plan, seen.time_us, false, out);
            }
            return true;
        }
        if score_mpct < limits.high_mpct {
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
        let candidate = self.flapping_candidate(Kind::FlappingStarted, Standing::of(seen), seen.time_us, false);
        out.candidates.extend(candidate.map(|candidate| Candidate { signals: 1, ..candidate }));
        true
    }

    fn stop_flapping(&mut self, plan: &TypePlan, time_us: i64, by_timer: bool, out: &mut Effects) {
        let Some(since_us) = self.flap.as_ref().and_then(|flap| flap.since_us) else { return };
        let stands = self.pending.as_ref().filter(|pending| pending.active).map(|pending| pending.to.clone());
        let to = Standing { since_us, ..stands.or_else(|| self.announced.clone()).unwrap_or_default() };
        let candidate = self.flapping_candidate(Kind::FlappingStopped, to, time_us, by_timer);
        if let Some(flap) = &mut self.flap {
            flap.since_us = None;
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

    fn flapping_candidate(&self, kind: Kind, to: Standing, time_us: i64, by_timer: bool) -> Option<Candidate> {
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
            score_mpct: Some(flap.history.score_mpct()),
            signals: 0,
        })
    }

    fn is_pending(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.active)
    }

    fn is_flapping(&self) -> bool {
        self.flap.as_ref().is_some_and(|flap| flap.since_us.is_some())
    }
}
