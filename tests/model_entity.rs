//! The oracle of one entity: duplicates by fingerprint, evidence, flapping, holds and silence.

use stillhouse_core::Ledger;
use stillhouse_core::event::severity_name;
use stillhouse_core::level::Side;
use stillhouse_core::plan::{Against, CLEAR, DampingPlan, DedupePlan, FlappingPlan, Mode, SILENT, TypePlan};
use stillhouse_core::rule::Condition;

use crate::model::{BY_SIGNAL, BY_TIMER, Place, Record, Shown, shown};
use crate::model_evidence::Evidence;
use crate::model_flap::{Figure, Score};
use crate::model_level;
use crate::model_window;
use crate::stream::Signal;

/// State, and the value unless it only decides the state.
type Seen = (u8, String);

struct Pending {
    what: Seen,
    /// The newest.
    value: String,
    since_us: i64,
    due_us: i64,
    /// Signals that speak for it.
    inputs: u64,
    /// Those of them that the books settle with it; the others belong to a flapping.
    signals: u64,
    severity: u8,
    first: Option<String>,
    last: Option<String>,
}

struct Flapping {
    since_us: i64,
    inputs: u64,
    signals: u64,
}

/// What is forgotten when an entity is forgotten.
#[derive(Default)]
struct Memory {
    announced: Option<Seen>,
    /// The value that it was announced with.
    value: String,
    side: Side,
    pending: Option<Pending>,
    flapping: Option<Flapping>,
    /// When anything was observed last, duplicates included.
    seen_us: i64,
    /// When a problem was observed last, duplicates included.
    problem_us: i64,
    /// All that reached the deduplication, in order.
    fingerprints: Vec<(Seen, i64)>,
    evidence: Evidence,
    /// The change bits, oldest first.
    bits: Vec<bool>,
    figure: Figure,
    /// The last that reached the flap detection.
    reached: Option<(Seen, i64)>,
}

impl Memory {
    fn is_silent(&self) -> bool {
        self.announced.as_ref().is_some_and(|(state, _)| *state == SILENT)
    }
}

/// One entity and what was said of it.
pub struct Entity<'a> {
    plan: &'a TypePlan,
    place: u64,
    key: String,
    now_us: i64,
    memory: Memory,
    ledger: Ledger,
    /// What falls into windows.
    windowed: Vec<Signal>,
    pub said: Vec<(Place, Record)>,
    /// Whether a figure came so near to a mark that only exact numbers tell on which side it is.
    pub unsure: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Timer {
    Hold,
    Quiet,
    Reuse,
    Clear,
    Silent,
    Forget,
}

impl<'a> Entity<'a> {
    pub fn new(plan: &'a TypePlan, signal_type: u16, key: &str) -> Self {
        Self {
            plan,
            place: u64::from(signal_type),
            key: key.into(),
            now_us: i64::MIN,
            memory: Memory::default(),
            ledger: Ledger::default(),
            windowed: Vec::new(),
            said: Vec::new(),
            unsure: false,
        }
    }

    /// Says what all windows came to, once event time has come to `to_us`.
    pub fn look_back(&mut self, to_us: i64) {
        let Mode::Window(plan) = &self.plan.mode else { return };
        let said = model_window::say(plan, &self.windowed, to_us);
        self.ledger.merged_blip += said.blips;
        self.ledger.open += said.open;
        for (time_us, phase, signals, record) in said.results {
            self.now_us = time_us;
            self.say(&record.kind.clone(), phase, signals, record);
        }
    }

    /// Adds this entity's part to the books.
    pub fn close(&self, ledger: &mut Ledger) {
        ledger.open += self.ledger.open;
        ledger.emitted += self.ledger.emitted;
        ledger.merged_fingerprint += self.ledger.merged_fingerprint;
        ledger.merged_repeated += self.ledger.merged_repeated;
        ledger.merged_blip += self.ledger.merged_blip;
        ledger.open += self.memory.pending.as_ref().map_or(0, |pending| pending.signals);
        ledger.open += self.memory.evidence.open();
        ledger.open += self.memory.flapping.as_ref().map_or(0, |flapping| flapping.signals);
    }

    /// Takes the next signal in order.
    pub fn take(&mut self, signal: &Signal) {
        self.fire_timers(signal.time_us);
        self.now_us = signal.time_us;
        let mut what: Seen = (signal.state, signal.value.clone());
        let levelled;
        let mut signal = signal;
        if let Some(level) = self.plan.level.as_ref().filter(|_| self.plan.condition(signal.state) != Condition::Gone) {
            let Some(side) = model_level::side(level, self.memory.side, signal) else {
                self.ledger.merged_repeated += 1;
                return;
            };
            self.memory.side = side;
            levelled = model_level::on(self.plan, level, side, signal);
            signal = &levelled;
            what = (signal.state, String::new());
        }
        self.memory.seen_us = signal.time_us;
        if self.plan.condition(signal.state) == Condition::Problem {
            self.memory.problem_us = signal.time_us;
        }
        if let Some(dedupe) = &self.plan.dedupe {
            let duplicate = self.is_duplicate(dedupe, &what, signal.time_us);
            self.memory.fingerprints.push((what.clone(), signal.time_us));
            if duplicate {
                self.ledger.merged_fingerprint += 1;
                return;
            }
        }
        if let Mode::Window(_) = &self.plan.mode {
            match self.plan.condition(signal.state) {
                Condition::Problem => self.windowed.push(signal.clone()),
                _ => self.ledger.merged_repeated += 1,
            }
            return;
        }
        if self.plan.mode == Mode::Occurrence {
            self.announce(BY_SIGNAL, Pending::of(signal));
            return;
        }
        let mut first = false;
        if self.plan.condition(signal.state) != Condition::Gone && self.plan.confirm.is_some() {
            match self.confirm(signal) {
                Some(confirmed) => first = confirmed,
                None => return,
            }
        }
        let mut counted = 1;
        if let Some(flapping) = &self.plan.flapping {
            counted = u64::from(!self.flap(flapping, &what, signal));
        }
        if let Some(damping) = &self.plan.damping {
            counted = u64::from(!self.damp(damping, &what, signal));
        }
        if self.plan.condition(signal.state) == Condition::Gone {
            self.gone(signal, counted);
            return;
        }
        self.hold(what, signal, counted, first);
        // A hold of zero, or one that ended while it flapped.
        if self.memory.flapping.is_none()
            && let Some(pending) = self.memory.pending.take_if(|pending| pending.due_us <= signal.time_us)
        {
            self.announce(BY_SIGNAL, pending);
        }
    }

    fn is_duplicate(&self, dedupe: &DedupePlan, what: &Seen, time_us: i64) -> bool {
        let near = |seen: &(Seen, i64)| seen.0 == *what && time_us - seen.1 <= dedupe.window_us;
        match dedupe.against {
            Against::Any => self.memory.fingerprints.iter().any(near),
            Against::Last => self.memory.fingerprints.last().is_some_and(near),
        }
    }

    /// Whether an observation goes on, and if so, whether it is the first of a problem that is
    /// believed.
    fn confirm(&mut self, signal: &Signal) -> Option<bool> {
        let plan = self.plan.confirm.as_ref()?;
        let is_problem = self.plan.condition(signal.state) == Condition::Problem;
        let weighed = self.memory.evidence.weigh(plan, signal, is_problem);
        self.ledger.merged_repeated += weighed.repeated;
        self.ledger.merged_blip += weighed.blips;
        if weighed.holds == is_problem {
            return Some(weighed.first);
        }
        if is_problem {
            self.memory.evidence.wait();
        } else {
            self.ledger.merged_repeated += 1;
        }
        None
    }

    /// Whether the signal belongs to a flapping.
    fn flap(&mut self, plan: &FlappingPlan, what: &Seen, signal: &Signal) -> bool {
        let time_us = signal.time_us;
        if let (Some(quiet_us), Some((_, reached_us))) = (plan.quiet_us, &self.memory.reached)
            && time_us - reached_us >= quiet_us
        {
            self.memory.bits.clear();
        }
        let changed = self.memory.reached.as_ref().is_some_and(|(before, _)| before != what);
        self.memory.reached = Some((what.clone(), time_us));
        self.memory.bits.push(changed);
        let score = Score::of(plan, &self.memory.bits);
        if self.goes_on_flapping() {
            if score.stops() {
                self.stop_flapping(BY_SIGNAL);
            }
            return true;
        }
        let starts = score.starts();
        if starts {
            self.start_flapping();
        }
        starts
    }

    /// Whether the signal belongs to a flapping, as damping sees it.
    fn damp(&mut self, plan: &DampingPlan, what: &Seen, signal: &Signal) -> bool {
        let before = self.memory.reached.replace((what.clone(), signal.time_us));
        let to = self.plan.condition(what.0);
        let changed = before.filter(|(before, _)| before != what && to != Condition::Gone);
        if let Some((before, _)) = &changed {
            self.memory.figure.add(plan, signal.time_us, self.plan.condition(before.0), to);
        }
        if self.goes_on_flapping() {
            return true;
        }
        let starts = changed.is_some()
            && self.memory.figure.starts(plan).unwrap_or_else(|| {
                self.unsure = true;
                false
            });
        if starts {
            self.start_flapping();
        }
        starts
    }

    fn goes_on_flapping(&mut self) -> bool {
        let Some(flapping) = &mut self.memory.flapping else { return false };
        flapping.signals += 1;
        flapping.inputs += 1;
        true
    }

    fn start_flapping(&mut self) {
        // What was pending belongs to the flapping now.
        let signals = self.memory.pending.as_mut().map_or(0, |pending| std::mem::take(&mut pending.signals));
        self.memory.flapping = Some(Flapping { since_us: self.now_us, inputs: 1, signals });
        let record = Record { since_us: Some(self.now_us), inputs: 1, ..Record::default() };
        self.say("stillhouse.flapping.started", BY_SIGNAL, 1, record);
    }

    fn stop_flapping(&mut self, phase: u8) {
        let Some(flapping) = self.memory.flapping.take() else { return };
        if let Some(pending) = &mut self.memory.pending {
            pending.due_us = pending.due_us.max(self.now_us);
        }
        let record = Record { since_us: Some(flapping.since_us), inputs: flapping.inputs, ..Record::default() };
        self.say("stillhouse.flapping.stopped", phase, flapping.signals, record);
    }

    fn gone(&mut self, signal: &Signal, counted: u64) {
        self.stop_flapping(BY_SIGNAL);
        self.cancel();
        if self.announced(Condition::Problem) {
            self.announce(BY_SIGNAL, Pending { signals: counted, ..Pending::of(signal) });
        } else {
            self.ledger.merged_repeated += counted;
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.drop_evidence();
        self.memory = Memory::default();
    }

    fn drop_evidence(&mut self) {
        self.ledger.merged_blip += std::mem::take(&mut self.memory.evidence).open();
    }

    fn hold(&mut self, what: Seen, signal: &Signal, counted: u64, first: bool) {
        if self.memory.announced.as_ref() == Some(&what) {
            self.cancel();
            self.ledger.merged_repeated += counted;
            return;
        }
        let unknown = self.memory.announced.as_ref().is_none_or(|(state, _)| *state == CLEAR);
        if unknown && self.plan.condition(what.0) == Condition::Healthy {
            self.cancel();
            self.memory.announced = Some(what);
            self.memory.value = signal.value.clone();
            self.ledger.merged_repeated += counted;
            return;
        }
        if self.memory.pending.as_ref().is_some_and(|pending| pending.what == what) {
            let pending = self.memory.pending.as_mut().expect("it was just seen");
            pending.inputs += 1;
            pending.signals += counted;
            pending.severity = pending.severity.max(signal.severity);
            pending.last = Some(signal.id.clone());
            pending.value = signal.value.clone();
            return;
        }
        self.cancel();
        let opens = self.announced(Condition::Problem) && self.plan.condition(what.0) == Condition::Healthy;
        let hold_us = if opens { self.plan.hold_open_us } else { self.plan.hold_down_us };
        let mut pending = Pending { what, signals: counted, ..Pending::of(signal) };
        if first {
            // The observation itself is the last of them.
            let support = self.memory.evidence.support();
            pending.since_us = support[0].0.time_us;
            pending.inputs = support.len() as u64;
            pending.signals += support.iter().filter(|(_, open)| *open).count() as u64;
            pending.severity = support.iter().map(|(signal, _)| signal.severity).max().unwrap_or(0);
            pending.first = Some(support[0].0.id.clone());
        }
        pending.due_us = (pending.since_us + hold_us).max(signal.time_us);
        self.memory.pending = Some(pending);
    }

    fn cancel(&mut self) {
        if let Some(pending) = self.memory.pending.take() {
            self.ledger.merged_blip += pending.signals;
        }
    }

    fn announced(&self, condition: Condition) -> bool {
        self.memory.announced.as_ref().is_some_and(|(state, _)| self.plan.condition(*state) == condition)
    }

    /// Fires, each at its own time, what is due at `to_us` or before.
    pub fn fire_timers(&mut self, to_us: i64) {
        while let Some((timer, due_us)) = self.next_timer() {
            if due_us > to_us {
                break;
            }
            self.now_us = due_us;
            match timer {
                Timer::Hold => {
                    let pending = self.memory.pending.take().expect("a hold needs a pending state");
                    self.announce(BY_TIMER, pending);
                }
                Timer::Quiet => {
                    self.stop_flapping(BY_TIMER);
                    self.memory.bits.clear();
                }
                Timer::Reuse => self.stop_flapping(BY_TIMER),
                Timer::Clear => {
                    self.drop_evidence();
                    self.announce(BY_TIMER, Pending::unheard(CLEAR, self.memory.problem_us, 0));
                }
                Timer::Silent => self.announce(BY_TIMER, Pending::unheard(SILENT, self.memory.seen_us, 1)),
                // Whoever was told of the silence is told that nobody waits any longer.
                Timer::Forget if self.memory.is_silent() => {
                    self.announce(BY_TIMER, Pending::unheard(CLEAR, self.memory.seen_us, 0));
                    self.forget();
                }
                Timer::Forget => self.forget(),
            }
        }
        if let Some(confirm) = &self.plan.confirm {
            self.ledger.merged_blip += self.memory.evidence.leave(confirm, to_us);
        }
    }

    fn next_timer(&mut self) -> Option<(Timer, i64)> {
        let memory = &self.memory;
        let (timer, due_us) = if let (Some(_), Some(damping)) = (&memory.flapping, &self.plan.damping) {
            let reused_us = memory.figure.reused_us(damping);
            self.unsure |= reused_us.is_none();
            (Timer::Reuse, reused_us?)
        } else if memory.flapping.is_some() {
            let quiet_us = self.plan.flapping.as_ref()?.quiet_us?;
            (Timer::Quiet, memory.reached.as_ref()?.1 + quiet_us)
        } else if let Some(pending) = &memory.pending {
            (Timer::Hold, pending.due_us)
        } else if match self.plan.mode {
            Mode::State => {
                let knows_nothing =
                    memory.fingerprints.is_empty() && memory.evidence.is_empty() && memory.side == Side::Normal;
                memory.announced.is_none() && !knows_nothing
            }
            Mode::Occurrence => memory.announced.is_some(),
            Mode::Window(_) => !memory.fingerprints.is_empty(),
        } {
            (Timer::Forget, memory.seen_us + self.plan.forget_after_us)
        } else if let Some(silent_us) = self.plan.silent_after_us
            && memory.announced.as_ref().is_some_and(|(state, _)| *state != SILENT)
        {
            (Timer::Silent, memory.seen_us + silent_us)
        } else if self.announced(Condition::Healthy) || memory.is_silent() {
            (Timer::Forget, memory.seen_us + self.plan.forget_after_us)
        } else if self.announced(Condition::Problem) {
            let state = memory.announced.as_ref()?.0;
            (Timer::Clear, memory.problem_us + self.plan.clear_after_us[state as usize]?)
        } else {
            return None;
        };
        Some((timer, due_us.max(self.now_us)))
    }

    fn announce(&mut self, phase: u8, pending: Pending) {
        let view = |(state, _): &Seen, value: &str| -> Shown { shown(self.plan, *state, value) };
        let record = Record {
            from: self.memory.announced.as_ref().map(|what| view(what, &self.memory.value)),
            to: Some(view(&pending.what, &pending.value)),
            since_us: Some(pending.since_us),
            inputs: pending.inputs,
            severity: Some(severity_name(pending.severity).into()),
            first: pending.first,
            last: pending.last,
            ..Record::default()
        };
        self.memory.announced = Some(pending.what);
        self.memory.value = pending.value;
        self.say("stillhouse.state.changed", phase, pending.signals, record);
    }

    fn say(&mut self, kind: &str, phase: u8, signals: u64, record: Record) {
        let place = (self.now_us, phase, self.key.clone(), self.place, self.said.len());
        let record = Record {
            kind: kind.into(),
            key: Some(self.key.clone()),
            signal: Some(self.plan.name.clone()),
            time_us: Some(self.now_us),
            ..record
        };
        self.ledger.emitted += signals;
        self.said.push((place, record));
    }
}

impl Pending {
    /// What no signal says.
    fn unheard(state: u8, since_us: i64, severity: u8) -> Self {
        let what = (state, String::new());
        let value = String::new();
        Self { what, value, since_us, due_us: since_us, inputs: 0, signals: 0, severity, first: None, last: None }
    }

    fn of(signal: &Signal) -> Self {
        Self {
            what: (signal.state, signal.value.clone()),
            value: signal.value.clone(),
            since_us: signal.time_us,
            due_us: signal.time_us,
            inputs: 1,
            signals: 1,
            severity: signal.severity,
            first: Some(signal.id.clone()),
            last: Some(signal.id.clone()),
        }
    }
}
