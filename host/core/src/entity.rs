//! One entity: what it was announced to be, what it may be becoming, and whether it flaps.
//!
//! Signals come in order of event time. A timer of the entity that is due at the time of a signal
//! or before fires first, at its own time: so a state that has lasted exactly its hold counts.

mod compare;
mod confirm;
mod flap;
mod spread;

use self::confirm::Confirmed;
use self::flap::Flap;
use self::spread::Spread;
use crate::dedupe::Seen;
use crate::derive::Tally;
use crate::evidence::Evidence;
use crate::ledger::Ledger;
use crate::level::Level;
use crate::past::Correction;
use crate::plan::{CLEAR, Mode, SILENT, TypePlan};
use crate::rule::{Condition, RuleId};
use crate::window::{Counted, Owner, Window};
use serde::{Deserialize, Serialize};

pub use self::compare::Drift;
pub use self::spread::SPREAD_MAX;

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The ordinal of its source.
    pub source: u32,
    /// Its event time.
    pub time_us: i64,
    /// Its id.
    pub id: String,
}

impl Input {
    pub(crate) fn set(&mut self, seen: &Observation<'_>) {
        self.source = seen.source;
        self.time_us = seen.time_us;
        self.id.clear();
        self.id.push_str(seen.id);
    }

    fn copy(&mut self, other: &Self) {
        self.source = other.source;
        self.time_us = other.time_us;
        self.id.clone_from(&other.id);
    }
}

/// A state and since when it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// It is in another state.
    StateChanged,
    /// It began to flap.
    FlappingStarted,
    /// It no longer flaps.
    FlappingStopped,
    /// A window of it is news before it ends.
    WindowOpened,
    /// A window of it that is news has ended.
    WindowClosed,
    /// So many sources report its problem that it is not held back any more. No event of its own.
    Spread,
}

/// An event that may leave, before its suppressor has judged it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The flap score in thousandths of a percent, where the type detects flapping: of all weights, or
    /// with damping of the cut, and then it may be above 100,000.
    pub score_mpct: Option<u32>,
    /// How many sources have reported the problem, as far as the type counts them; 0 where it does not.
    pub sources: u32,
    /// Signals that the ledger settles with this candidate.
    pub signals: u64,
    /// Of a window.
    pub window: Option<Box<Counted>>,
    /// Why it was missed, and is said after all; set by the gate.
    pub missed: Option<Box<Because>>,
    /// The version of the mapper that its entity listens to, as [`crate::block::Row::mapper`]; set by the
    /// shard.
    pub mapper: u16,
    /// Whether its suppressor's tried version counts for it; set by the gate.
    pub tried_judge: bool,
    /// Whether it may be corrected when the tried version of the mapper is withdrawn; set by the shard.
    pub on_trial: bool,
}

/// Why what was said no longer stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Because {
    /// A late signal was taken in.
    Late(Input),
    /// A version of a rule was withdrawn.
    Withdrawn(Box<RuleId>),
}

/// Where an entity puts its candidates and its books.
#[derive(Debug, Default)]
pub struct Effects {
    /// In the order in which they were made.
    pub candidates: Vec<Candidate>,
    /// What late signals changed.
    pub corrections: Vec<Correction>,
    /// Late signals that came too late to be taken in.
    pub uncorrected: u64,
    /// What a withdrawn version said and is no longer known.
    pub not_taken_back: u64,
    /// What was settled.
    pub ledger: Ledger,
    /// What was counted for objectives.
    pub tally: Tally,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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

/// What an entity waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    /// An unconfirmed problem is too old to count.
    Evidence,
    /// It no longer flaps.
    Flapping,
    /// The pending state has lasted.
    Hold,
    /// A problem that nobody has spoken of for long enough is over.
    Clear,
    /// It should have been observed.
    Silence,
    /// A window ends.
    Window,
    /// Nothing is left to know of it.
    Forget,
}

/// The earlier of two timers, the first of equal ones.
fn earlier(one: Option<(i64, Timer)>, other: Option<(i64, Timer)>) -> Option<(i64, Timer)> {
    one.into_iter().chain(other).min_by_key(|&(due_us, _)| due_us)
}

/// One entity of one signal type.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Entity {
    /// The record key.
    pub key: Box<str>,
    /// Index of the signal type.
    pub signal_type: u16,
    /// The version of the mapper that it listened to last, as [`crate::block::Row::mapper`].
    pub mapper: u16,
    /// When its next timer will be looked at: at its due time or before. `i64::MAX` for never.
    #[serde(skip, default = "never_us")]
    pub armed_us: i64,
    announced: Option<Standing>,
    /// Its last observation was made by a snapshot.
    by_snapshot: bool,
    /// Event time of its last observation.
    seen_us: i64,
    /// Event time of its last observation of a problem.
    problem_us: i64,
    /// Event time of its last event: what happens to it later happens no earlier.
    told_us: i64,
    repeated: u32,
    blips: u32,
    #[serde(serialize_with = "if_active")]
    pending: Option<Box<Pending>>,
    flap: Option<Box<Flap>>,
    memory: Option<Box<Memory>>,
}

fn never_us() -> i64 {
    i64::MAX
}

/// What is kept of an ended one is room, not state.
fn if_active<S: serde::Serializer>(pending: &Option<Box<Pending>>, serializer: S) -> Result<S::Ok, S::Error> {
    pending.as_ref().filter(|pending| pending.active).serialize(serializer)
}

/// What operators remember that not every type has; there once one of them does.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Memory {
    seen: Option<Seen>,
    evidence: Option<Box<Evidence>>,
    spread: Option<Box<Spread>>,
    window: Window,
    level: Option<Box<Level>>,
}

// There are millions of them, so what only some types need is boxed, and all of that together.
const _: () = assert!(size_of::<Entity>() <= 136);

impl Entity {
    /// An entity of which nothing is known.
    pub fn new(signal_type: u16, key: &str) -> Self {
        Self { key: key.into(), signal_type, armed_us: i64::MAX, ..Self::default() }
    }

    /// Whether nothing is known of it, so that it can be forgotten.
    pub fn is_blank(&self) -> bool {
        let window = self.memory.as_ref().is_some_and(|memory| !memory.window.is_idle());
        !window && self.is_forgotten()
    }

    /// Forgets its counts if nothing else is known of it: one that its shard has forgotten knows as little.
    pub(crate) fn forget_if_blank(&mut self) {
        if self.is_blank() {
            let (key, signal_type) = (std::mem::take(&mut self.key), self.signal_type);
            let (mapper, armed_us) = (self.mapper, self.armed_us);
            *self = Self { key, signal_type, mapper, armed_us, ..Self::default() };
        }
    }

    /// Whether nothing is known of it but what is in its windows, which end by themselves.
    fn is_forgotten(&self) -> bool {
        let evidence = self.evidence().is_some_and(|evidence| !evidence.is_empty());
        let seen = self.memory.as_ref().is_some_and(|memory| memory.seen.is_some());
        let level = self.memory.as_ref().and_then(|memory| memory.level.as_deref()).is_some_and(Level::is_known);
        self.announced.is_none() && !self.is_pending() && !evidence && self.flap.is_none() && !seen && !level
    }

    /// Whether something of it is open: a problem, a state that may become one, flapping, a window.
    pub fn is_open(&self, plan: &TypePlan) -> bool {
        let window = self.memory.as_ref().is_some_and(|memory| !memory.window.is_idle());
        let evidence = self.evidence().is_some_and(|evidence| evidence.open() > 0);
        self.is_problem(plan) || self.is_pending() || self.is_flapping() || evidence || window
    }

    /// Signals of it that are in no place of the ledger yet.
    pub fn open(&self) -> u64 {
        let pending = self.pending.as_ref().map_or(0, |pending| if pending.active { pending.signals } else { 0 });
        let evidence = self.evidence().map_or(0, Evidence::open);
        let window = self.memory.as_ref().map_or(0, |memory| memory.window.open());
        pending + evidence + self.flap.as_ref().map_or(0, |flap| flap.signals()) + window
    }

    /// When its next timer is due.
    pub fn due_us(&self, plan: &TypePlan) -> Option<i64> {
        self.timer(plan).map(|(due_us, _)| due_us)
    }

    /// Its next timer: of those of equal time, evidence first.
    fn timer(&self, plan: &TypePlan) -> Option<(i64, Timer)> {
        let evidence = self.evidence_due_us(plan).map(|due_us| (due_us, Timer::Evidence));
        let window = self.memory.as_ref().and_then(|memory| memory.window.due_us());
        let window = window.map(|due_us| (due_us, Timer::Window));
        earlier(window, earlier(evidence, self.state_timer(plan)))
    }

    /// What changes its state next. Silence is told of once nothing else is open.
    fn state_timer(&self, plan: &TypePlan) -> Option<(i64, Timer)> {
        if let Some(flap) = self.flap.as_ref().filter(|flap| flap.is_active()) {
            return flap.due_us(plan).map(|due_us| (due_us, Timer::Flapping));
        }
        if let Some(pending) = self.pending.as_ref().filter(|pending| pending.active) {
            return Some((pending.due_us, Timer::Hold));
        }
        let after = |from_us: i64, after_us: Option<i64>, timer| Some((from_us.saturating_add(after_us?), timer));
        let forget = after(self.seen_us, Some(plan.forget_after_us), Timer::Forget);
        let silence = plan.silent_after_us.filter(|_| plan.mode == Mode::State);
        let silence = after(self.seen_us, silence, Timer::Silence);
        let next = match &self.announced {
            None if self.is_forgotten() => None,
            Some(known) if self.is_problem(plan) && known.state != SILENT => {
                let clear_after_us = plan.clear_after_us.get(usize::from(known.state)).copied().flatten();
                earlier(after(self.problem_us, clear_after_us, Timer::Clear), silence)
            }
            Some(known) if known.state != SILENT => earlier(silence, forget),
            _ => forget,
        };
        next.map(|(due_us, timer)| (due_us.max(self.told_us), timer))
    }

    /// Fires the timers that are due at `to_us` or before.
    pub fn advance(&mut self, plan: &TypePlan, to_us: i64, out: &mut Effects) {
        while let Some((due_us, timer)) = self.timer(plan).filter(|&(due_us, _)| due_us <= to_us) {
            match timer {
                Timer::Evidence => {
                    self.expire_evidence(plan, due_us, out);
                    // Its shard forgets whom nothing is known of; who is observed first knows as little.
                    if self.is_blank() {
                        self.forget(out);
                    }
                }
                Timer::Flapping => self.stop_flapping(plan, due_us, true, out),
                Timer::Hold => self.announce(plan, due_us, true, out),
                Timer::Clear => {
                    self.clear_evidence(out);
                    self.turn(plan, CLEAR, 0, self.problem_us, due_us, out);
                }
                Timer::Silence => self.turn(plan, SILENT, 1, self.seen_us, due_us, out),
                Timer::Window => self.fire_window(plan, out),
                Timer::Forget => {
                    // Somebody was told of its silence, so its end is told too.
                    if self.is_problem(plan) {
                        self.turn(plan, CLEAR, 0, self.seen_us, due_us, out);
                    }
                    self.forget(out);
                }
            }
        }
    }

    fn fire_window(&mut self, plan: &TypePlan, out: &mut Effects) {
        if let (Mode::Window(window), Some(memory)) = (&plan.mode, &mut self.memory) {
            memory.window.fire(Owner { plan: window, signal_type: self.signal_type, key: &self.key }, out);
        }
    }

    fn is_problem(&self, plan: &TypePlan) -> bool {
        plan.mode == Mode::State
            && self.announced.as_ref().is_some_and(|standing| plan.condition(standing.state) == Condition::Problem)
    }

    fn forget(&mut self, out: &mut Effects) {
        self.clear_evidence(out);
        let key = std::mem::take(&mut self.key);
        // Windows end by themselves.
        let window = self.memory.take().map(|memory| memory.window).filter(|window| !window.is_idle());
        let memory = window.map(|window| Box::new(Memory { window, ..Memory::default() }));
        let (signal_type, mapper, armed_us) = (self.signal_type, self.mapper, self.armed_us);
        *self = Self { key, signal_type, mapper, armed_us, memory, ..Self::default() };
    }

    /// Takes in the next observation.
    pub fn observe(&mut self, plan: &TypePlan, seen: &Observation<'_>, out: &mut Effects) {
        self.advance(plan, seen.time_us, out);
        self.by_snapshot = false;
        let mut seen = seen;
        let levelled;
        if let Some(level) = &plan.level {
            match self.memory.get_or_insert_default().level.get_or_insert_default().read(plan, level, seen) {
                Some(read) => levelled = read,
                None => return self.repeat(1, out),
            }
            seen = &levelled;
        }
        out.tally.state = Some(seen.state);
        self.seen_us = seen.time_us;
        if plan.condition(seen.state) == Condition::Problem {
            self.problem_us = seen.time_us;
        }
        if let Some(dedupe) = plan.dedupe {
            let before = self.memory.get_or_insert_default().seen.get_or_insert_default();
            if before.is_duplicate(dedupe, seen.fingerprint, seen.time_us) {
                out.ledger.settle(|ledger| &mut ledger.merged_fingerprint, 1);
                self.repeated += 1;
                return;
            }
        }
        if let Mode::Window(window) = &plan.mode {
            let owner = Owner { plan: window, signal_type: self.signal_type, key: &self.key };
            let memory = self.memory.get_or_insert_default();
            return memory.window.observe(owner, plan.condition(seen.state), seen, out);
        }
        if plan.mode == Mode::Occurrence {
            self.begin(plan, seen, 1);
            return self.announce(plan, seen.time_us, false, out);
        }
        let gone = plan.condition(seen.state) == Condition::Gone;
        let confirmed = if gone { Confirmed::Yes } else { self.confirm(plan, seen, out) };
        if confirmed == Confirmed::No {
            return;
        }
        // While it flaps, a signal is settled when the flapping ends, not with a state.
        let counted = u64::from(!self.track_flapping(plan, seen, out));
        if gone {
            self.end(plan, seen, counted, out);
        } else {
            self.follow(plan, seen, counted, confirmed, out);
        }
        let due = self.pending.as_ref().is_some_and(|pending| pending.active && pending.due_us <= seen.time_us);
        if due && !self.is_flapping() {
            self.announce(plan, seen.time_us, false, out);
        }
    }

    /// The hold: what differs from the announced state must last.
    fn follow(
        &mut self,
        plan: &TypePlan,
        seen: &Observation<'_>,
        counted: u64,
        confirmed: Confirmed,
        out: &mut Effects,
    ) {
        if self.announced.as_ref().is_some_and(|announced| announced.fingerprint == seen.fingerprint) {
            self.cancel_pending(out);
            self.repeat(counted, out);
            self.spread_announced(plan, seen, out);
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
            if plan.level.is_some() {
                pending.to.value = Some(seen.value.into());
            }
            self.spread_pending(plan, seen.source);
        } else {
            self.cancel_pending(out);
            self.begin(plan, seen, counted);
            if confirmed == Confirmed::First {
                self.support(plan);
            }
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
        self.start_spread();
        self.spread_pending(plan, seen.source);
    }

    /// The entity is no more. That is news only if somebody was told of a problem.
    fn end(&mut self, plan: &TypePlan, seen: &Observation<'_>, counted: u64, out: &mut Effects) {
        let mut counted = counted;
        if self.is_flapping() {
            self.stop_flapping(plan, seen.time_us, false, out);
            counted = 0;
        }
        self.cancel_pending(out);
        self.clear_evidence(out);
        if self.is_problem(plan) {
            self.begin(plan, seen, counted);
            self.announce(plan, seen.time_us, false, out);
        } else {
            out.ledger.settle(|ledger| &mut ledger.merged_repeated, counted);
        }
        self.forget(out);
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
        let sources = self.announce_spread();
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
            score_mpct: self.flap.as_ref().and_then(|flap| flap.score_mpct(plan, time_us)),
            sources,
            signals: pending.signals,
            window: None,
            missed: None,
            mapper: 0,
            on_trial: false,
            tried_judge: false,
        };
        self.announced = Some(pending.to.clone());
        self.told_us = time_us;
        out.candidates.push(candidate);
    }

    /// Silence since `since_us` has turned the entity into `state`.
    fn turn(&mut self, plan: &TypePlan, state: u8, severity: u8, since_us: i64, due_us: i64, out: &mut Effects) {
        let last = Input { source: u32::MAX, time_us: since_us, id: String::new() };
        let to = Standing { state, value: None, fingerprint: crate::block::fingerprint(state, b""), since_us };
        let turned = Pending { active: true, to, due_us, severity, first: last.clone(), last, ..Pending::default() };
        self.pending = Some(Box::new(turned));
        self.start_spread();
        self.announce(plan, due_us, true, out);
    }

    fn is_pending(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.active)
    }
}
