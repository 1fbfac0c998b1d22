//! The gate: candidates of all entities, in total order, before they leave.
//!
//! A candidate passes inhibition by its parent, the flood limits of its type and source, and the
//! suppressor of its type, in this order; each may hold it back, within bounds. What is held back
//! ends in an event of its own, leaves at its deadline, or leaves as soon as nothing holds it.
//! What the outside was told last is what `from` says: a state that is held back is known to nobody.
//!
//! While an entity flaps, a state of it that is held back waits for the end of the flapping,
//! whatever its deadline. That is bounded all the same: the flapping event of the entity is itself
//! held for at most `suppress_max`, and from then on the outside knows that no state can be told.

mod changes;
mod context;
mod correct;
mod flood;
mod inhibit;
mod leave;
mod memo;
mod tried;

use std::collections::{BTreeMap, BTreeSet};

pub use context::field_kind;
pub use flood::FLOOD_KEYS_MAX;
pub use inhibit::ANCESTORS_MAX;
pub(crate) use leave::source_of;

use crate::columns::{Blobs, Verdicts, verdict};
use crate::derive::Derive;
use crate::entity::{Candidate, Kind};
use crate::event::{Event, Judgement};
use crate::ledger::Ledger;
use crate::plan::{CLEAR, Mode, Plan, TypePlan};
use crate::rule::{Condition, Judge};
use crate::table::Tables;
use serde::{Deserialize, Serialize};

use changes::Changes;
use context::{Answer, Row};
use correct::{Fate, Told};
use flood::{Floods, Scope};
use inhibit::Open;
use memo::Memos;
use tried::Trials;

/// How many candidates may be held back at once, for whatever reason. At the bound a candidate
/// leaves instead, and says so.
pub const HELD_MAX: usize = 100_000;

/// Signal type, record key, and whether it is about flapping: at most one candidate of each is held.
type Slot = (u16, Box<str>, bool);

/// Why a candidate is held back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Cause {
    /// Its suppressor said so.
    Suppressed,
    /// Its suppressor will be asked again at the deadline.
    Delayed,
    /// This key, its parent or an ancestor, has an open problem.
    Inhibited(Box<str>),
    /// It is beyond a flood limit.
    Flooded(Scope),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Held {
    candidate: Candidate,
    cause: Cause,
    reason: Box<str>,
    deadline_us: i64,
    judged: i64,
    /// Whether an event said that it is held back.
    told: bool,
    /// Whether its entity flaps, so that it waits without a timer.
    parked: bool,
    /// When the flapping ended for which it waited.
    resumed_us: Option<i64>,
}

/// What the gate waits for; the order is that of timers of one time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Timer {
    /// The deadline of a candidate.
    Held(Slot),
    /// The end of the grace after a parent has recovered.
    Grace(Box<str>),
    /// The next window of a signal type whose limits were exceeded.
    Flood(u16),
}

/// One try of a candidate to leave.
struct Try {
    now_us: i64,
    /// The event time whose tables count: a timer comes before the tables of its own time.
    table_us: i64,
    judged: i64,
    /// What its suppressor said already, and the version of it that is tried.
    answers: Answers,
    /// What is to be said if it leaves now: what held it back until now.
    before: Option<Judgement>,
    /// Whether an event said that it was held back.
    told: bool,
}

/// Verdicts on the candidates of one step, for the types whose suppressors can be asked in batches.
#[derive(Debug, Default)]
pub struct Batched {
    /// By signal type, of the version in force and of the tried one; `None` where each candidate is
    /// judged when its turn comes.
    verdicts: Vec<[Option<Verdicts>; 2]>,
    rows: Vec<usize>,
}

/// What the version in force and the tried one have said already.
type Answers = [Option<Answer>; 2];

impl Batched {
    fn next(&mut self, signal_type: u16) -> Answers {
        let row = &mut self.rows[signal_type as usize];
        *row += 1;
        let of = |verdicts: &Option<Verdicts>| verdicts.as_ref().map(|verdicts| Answer::of(verdicts, *row - 1));
        self.verdicts[signal_type as usize].each_ref().map(of)
    }
}

/// Candidates that are held back, and what is known of all that passed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Gate {
    held: BTreeMap<Slot, Held>,
    timers: BTreeSet<(i64, Timer)>,
    floods: Floods,
    open: Open,
    changes: Changes,
    memos: Memos,
    /// The time of the last candidate that a signal made: what is due then and fires later is its
    /// consequence, and comes after the tables of that time.
    signal_us: Option<i64>,
    told: Told,
    trials: Trials,
}

/// What the gate needs at hand to let an event leave.
pub struct Exit<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Names of the sources.
    pub sources: &'a [Box<str>],
    /// The tables.
    pub tables: &'a Tables,
    /// The suppressors.
    pub judge: &'a mut dyn Judge,
    /// Where the signals end.
    pub ledger: &'a mut Ledger,
    /// What is made of the events that leave.
    pub derive: &'a mut Derive,
    /// What leaves.
    pub out: &'a mut Vec<Event>,
}

impl Exit<'_> {
    /// Lets an event leave; it stands at `time_us` in the total order.
    pub fn emit(&mut self, time_us: i64, event: Event) {
        self.derive.fire(time_us, self.plan, self.tables, self.out);
        let at = self.out.len();
        self.out.push(event);
        self.derive.take(time_us, at, self.plan, self.tables, self.out);
    }

    /// The parent of a key, where the plan says how it is known.
    fn parent(&self, key: &str, table_us: i64) -> Option<&str> {
        let inhibit = self.plan.inhibit.as_ref()?;
        let parent = self.tables.get(&inhibit.table, key, &inhibit.column, table_us)?;
        (*parent != *key).then_some(parent)
    }
}

impl Gate {
    /// Asks the suppressors about `candidates`: one batch for each signal type whose suppressor
    /// needs to know nothing of what happens to the others.
    pub fn judge(&self, candidates: &[Candidate], exit: &mut Exit<'_>) -> Batched {
        let types = exit.plan.types.len();
        let mut of_type: Vec<Vec<Row<'_>>> = (0..types).map(|_| Vec::new()).collect();
        for candidate in candidates.iter().filter(|candidate| candidate.kind != Kind::Spread) {
            let table_us = table_us(candidate);
            of_type[candidate.signal_type as usize].push(Row::new(candidate, candidate.time_us, table_us));
        }
        let verdicts = of_type.iter().zip(0..).map(|(rows, signal_type)| {
            let is_tried = exit.judge.tried(signal_type).is_some();
            [false, true].map(|tried| {
                let now = (!tried || is_tried) && !context::is_live(exit.judge, signal_type, tried);
                now.then(|| context::ask(rows, signal_type, Blobs::default(), tried, exit))
            })
        });
        Batched { verdicts: verdicts.collect(), rows: vec![0; types] }
    }

    /// Lets the next candidate of the step leave, or holds it back.
    pub fn pass(&mut self, mut candidate: Candidate, batched: &mut Batched, exit: &mut Exit<'_>) {
        let now_us = candidate.time_us;
        let slot = slot_of(&candidate);
        // The flapping of the entity ended just now, and so does the state that waited for that.
        let resumed = candidate.kind == Kind::StateChanged
            && self.held.get(&slot).is_some_and(|held| held.resumed_us == Some(now_us));
        let before = if resumed { self.take(&slot) } else { None };
        self.fire(now_us, exit);
        if !candidate.by_timer {
            self.signal_us = Some(now_us);
        }
        if candidate.kind == Kind::Spread {
            return self.spread(&slot, &candidate, exit);
        }
        let answers = batched.next(candidate.signal_type);
        let table_us = table_us(&candidate);
        self.follow(&slot, &candidate, table_us, exit);
        match candidate.kind {
            Kind::FlappingStarted => self.park(&mut candidate),
            Kind::FlappingStopped => self.resume(&mut candidate, exit.plan),
            _ => {}
        }
        if let Some(held) = before.or_else(|| self.take(&slot)) {
            let back = is_back(&held.candidate, &candidate, &exit.plan.types[slot.0 as usize]);
            candidate.from = held.candidate.from.clone();
            first_word(&mut candidate, &held.candidate);
            self.end(held, now_us, exit);
            if back {
                // Nobody was told of the state that ends here, so its end is no news either.
                self.told.note(&candidate, &exit.plan.types[slot.0 as usize], Fate::Ended);
                return exit.ledger.settle(|ledger| &mut ledger.suppressed, candidate.signals);
            }
        }
        let first = Try { now_us, table_us, judged: 0, answers, before: None, told: false };
        self.enter(slot, candidate, first, exit);
    }

    /// Fires what is due at `to_us` or before.
    pub fn fire(&mut self, to_us: i64, exit: &mut Exit<'_>) {
        while self.timers.first().is_some_and(|&(due_us, _)| due_us <= to_us) {
            match self.timers.pop_first() {
                Some((due_us, Timer::Held(slot))) => self.expire(&slot, due_us, exit),
                Some((due_us, Timer::Grace(parent))) => self.release(&parent, due_us, exit),
                Some((due_us, Timer::Flood(signal_type))) => self.drain(signal_type, due_us, exit),
                None => {}
            }
        }
        self.told.forget(to_us);
    }

    /// The trial of a mapper is over.
    pub fn end_trial(&mut self, signal_type: u16) {
        self.told.end_trial(signal_type);
    }

    /// Signals that are held back.
    pub fn open(&self) -> u64 {
        self.held.values().map(|held| held.candidate.signals).sum()
    }

    /// How many memos of suppressors, and how many changes, were forgotten at their bounds.
    pub fn forgotten(&self) -> (u64, u64) {
        (self.memos.forgotten(), self.changes.forgotten())
    }

    /// Notes what a candidate means for others, whether or not it leaves.
    fn follow(&mut self, slot: &Slot, candidate: &Candidate, table_us: i64, exit: &Exit<'_>) {
        let plan = &exit.plan.types[slot.0 as usize];
        if plan.inhibit && plan.mode == Mode::State {
            self.open.stand(slot, exit.parent(&slot.1, table_us).filter(|_| is_problem(candidate, plan)));
        }
        if candidate.kind == Kind::StateChanged && context::reads(exit.judge, slot.0, "changes") {
            self.changes.add(candidate.time_us, slot.0, &slot.1);
        }
    }

    /// The entity of `started` flaps: what is held of it waits, and is told to nobody.
    fn park(&mut self, started: &mut Candidate) {
        let slot = state_slot(started);
        let Some(held) = self.take(&slot) else { return };
        as_known(started, &held.candidate);
        self.held.insert(slot, Held { parked: true, ..held });
    }

    /// The entity of `stopped` no longer flaps: what is held of it goes on.
    fn resume(&mut self, stopped: &mut Candidate, plan: &Plan) {
        let slot = state_slot(stopped);
        let Some(held) = self.held.get_mut(&slot) else { return };
        as_known(stopped, &held.candidate);
        if !std::mem::take(&mut held.parked) {
            return;
        }
        let now_us = stopped.time_us;
        held.resumed_us = Some(now_us);
        held.deadline_us = match held.cause {
            _ if is_spread(&held.candidate, &plan.types[slot.0 as usize]) => now_us,
            Cause::Suppressed | Cause::Delayed => held.deadline_us.max(now_us),
            // Whether they still hold it is looked at anew.
            Cause::Inhibited(_) | Cause::Flooded(_) => now_us,
        };
        self.timers.insert((held.deadline_us, Timer::Held(slot)));
    }

    /// So many sources report the state of an entity that it is not held back any longer.
    fn spread(&mut self, slot: &Slot, spread: &Candidate, exit: &mut Exit<'_>) {
        let Some(held) = self.held.get_mut(slot) else { return };
        held.candidate.sources = held.candidate.sources.max(spread.sources);
        if !held.parked {
            self.expire(slot, spread.time_us, exit);
        }
    }

    /// What is held leaves, or tries to: at its deadline, or when nothing may hold it any longer.
    fn expire(&mut self, slot: &Slot, now_us: i64, exit: &mut Exit<'_>) {
        let Some(held) = self.take(slot) else { return };
        let plan = &exit.plan.types[slot.0 as usize];
        let held_back_us = now_us - held.candidate.time_us;
        if is_spread(&held.candidate, plan) {
            let judgement = Judgement { outcome: "overridden", reason: reported(&held.candidate), held_back_us };
            self.leave(held.candidate, now_us, Some(judgement), exit);
        } else if held.cause != Cause::Suppressed && held_back_us < plan.suppress_max_us {
            self.retry(slot.clone(), held, now_us, exit);
        } else {
            let outcome = outcome(&held.cause);
            let judgement = Judgement { outcome, reason: held.reason, held_back_us };
            self.leave(held.candidate, now_us, Some(judgement), exit);
        }
    }

    /// What was held, and is held no longer, tries again to leave.
    fn retry(&mut self, slot: Slot, held: Held, now_us: i64, exit: &mut Exit<'_>) {
        let before = Judgement {
            outcome: outcome(&held.cause),
            reason: held.reason,
            held_back_us: now_us - held.candidate.time_us,
        };
        let again = Try {
            now_us,
            table_us: now_us.saturating_sub(i64::from(self.signal_us != Some(now_us))),
            judged: held.judged + i64::from(held.cause == Cause::Delayed),
            answers: Answers::default(),
            before: Some(before),
            told: held.told,
        };
        self.enter(slot, held.candidate, again, exit);
    }

    /// Inhibition, flood limits, suppressor: lets the candidate leave unless one of them holds it.
    fn enter(&mut self, slot: Slot, mut candidate: Candidate, attempt: Try, exit: &mut Exit<'_>) {
        let plan = &exit.plan.types[slot.0 as usize];
        let now_us = attempt.now_us;
        let bound_us = candidate.time_us.saturating_add(plan.suppress_max_us);
        let held_back_us = now_us - candidate.time_us;
        let mut judgement = attempt.before;
        let held = |candidate, cause, reason, deadline_us| Held {
            candidate,
            cause,
            reason,
            deadline_us,
            judged: attempt.judged,
            told: attempt.told,
            parked: false,
            resumed_us: None,
        };
        if let Some((ancestor, reason)) = self.inhibitor(&candidate, attempt.table_us, exit) {
            match self.overruled(&candidate, &reason, bound_us, now_us, plan) {
                None => {
                    let held = held(candidate, Cause::Inhibited(ancestor), reason, bound_us);
                    return self.hold(slot, held, now_us, exit);
                }
                overruled => judgement = overruled,
            }
        }
        if candidate.severity < plan.never_suppress
            && let Some(scope) = plan.flood.and_then(|limits| self.floods.full(&candidate, now_us, limits))
        {
            let reason = flood::reason(scope, now_us, exit);
            match self.overruled(&candidate, &reason, bound_us, now_us, plan) {
                None => {
                    let held = held(candidate, Cause::Flooded(scope), reason, bound_us);
                    return self.hold(slot, held, now_us, exit);
                }
                overruled => judgement = overruled,
            }
        }
        let (answer, tried_judge) =
            self.ask(&candidate, attempt.judged, now_us, attempt.table_us, attempt.answers, exit);
        candidate.tried_judge = tried_judge;
        let said = |outcome, reason| Some(Judgement { outcome, reason, held_back_us });
        match answer.verdict {
            verdict::ESCALATE => {
                candidate.severity = candidate.severity.max(answer.severity);
                judgement = said("escalated", answer.reason);
            }
            verdict::FAILED => judgement = said("failed", answer.reason),
            verdict::SUPPRESS | verdict::DELAY => {
                let deadline_us = if answer.until_us == 0 { bound_us } else { answer.until_us.min(bound_us) };
                match self.overruled(&candidate, &answer.reason, deadline_us, now_us, plan) {
                    None => {
                        let delayed = answer.verdict == verdict::DELAY;
                        let cause = if delayed { Cause::Delayed } else { Cause::Suppressed };
                        let held = held(candidate, cause, answer.reason, deadline_us);
                        return self.hold(slot, held, now_us, exit);
                    }
                    overruled => judgement = overruled,
                }
            }
            _ => {}
        }
        self.leave(candidate, now_us, judgement, exit);
    }

    /// Why a candidate leaves although it should be held back until `deadline_us`; `None` if it
    /// can be held.
    fn overruled(
        &self,
        candidate: &Candidate,
        reason: &str,
        deadline_us: i64,
        now_us: i64,
        plan: &TypePlan,
    ) -> Option<Judgement> {
        let held_back_us = now_us - candidate.time_us;
        let said = |outcome, reason: &str| Some(Judgement { outcome, reason: reason.into(), held_back_us });
        if is_spread(candidate, plan) {
            said("overridden", &reported(candidate))
        } else if candidate.severity >= plan.never_suppress {
            said("overridden", reason)
        } else if self.held.len() >= HELD_MAX {
            said("overridden", "too many candidates are held back")
        } else if deadline_us <= now_us {
            said("released", reason)
        } else {
            None
        }
    }

    /// Asks the suppressor about one candidate, whose turn it is; and whether its tried version counts.
    fn ask(
        &mut self,
        candidate: &Candidate,
        judged: i64,
        now_us: i64,
        table_us: i64,
        answers: Answers,
        exit: &mut Exit<'_>,
    ) -> (Answer, bool) {
        let signal_type = candidate.signal_type;
        let mut row = Row { judged, ..Row::new(candidate, now_us, table_us) };
        if [false, true].into_iter().any(|tried| context::is_live(exit.judge, signal_type, tried)) {
            row.changes = self.changes.count(now_us, signal_type, &candidate.key);
            if let Some(parent) = exit.parent(&candidate.key, table_us) {
                row.parent_open = self.open.problems(parent);
                row.siblings_open = self.open.siblings(parent, &candidate.key);
            }
        }
        self.ask_both(row, answers, exit)
    }
}

/// Tables count from a time on, for signals of that time and later timers.
fn table_us(candidate: &Candidate) -> i64 {
    candidate.time_us.saturating_sub(i64::from(candidate.by_timer))
}

fn slot_of(candidate: &Candidate) -> Slot {
    (candidate.signal_type, candidate.key.clone(), is_about_flapping(candidate.kind))
}

fn is_about_flapping(kind: Kind) -> bool {
    match kind {
        Kind::StateChanged | Kind::Spread | Kind::WindowOpened | Kind::WindowClosed => false,
        Kind::FlappingStarted | Kind::FlappingStopped => true,
    }
}

fn state_slot(candidate: &Candidate) -> Slot {
    (candidate.signal_type, candidate.key.clone(), false)
}

/// That an entity flaps is a problem, whichever state it is seen in.
fn is_problem(candidate: &Candidate, plan: &TypePlan) -> bool {
    match candidate.kind {
        Kind::FlappingStarted => true,
        Kind::FlappingStopped | Kind::WindowOpened | Kind::WindowClosed => false,
        Kind::StateChanged | Kind::Spread => plan.condition(candidate.to.state) == Condition::Problem,
    }
}

/// Whether so many sources speak for it that nothing may hold it back.
fn is_spread(candidate: &Candidate, plan: &TypePlan) -> bool {
    plan.spread.is_some_and(|enough| candidate.sources >= u32::from(enough))
}

fn reported(candidate: &Candidate) -> Box<str> {
    format!("reported by {} sources", candidate.sources).into()
}

/// How the judgement of an event is called that leaves after it was held back for this cause.
fn outcome(cause: &Cause) -> &'static str {
    if *cause == Cause::Delayed { "delayed" } else { "released" }
}

/// Lets an event about flapping say nothing of a state that is held back.
fn as_known(flapping: &mut Candidate, held: &Candidate) {
    if let Some(known) = held.from.as_ref().filter(|_| flapping.to.fingerprint == held.to.fingerprint) {
        flapping.to = crate::entity::Standing { since_us: flapping.to.since_us, ..known.clone() };
    }
    flapping.from = held.from.clone();
}

/// Whether `next` ends what is held in a way that leaves all as the outside knows it.
fn is_back(held: &Candidate, next: &Candidate, plan: &TypePlan) -> bool {
    match next.kind {
        // What is held is the other end of the flapping: nobody knows of it.
        Kind::FlappingStarted | Kind::FlappingStopped => true,
        // An occurrence is news even if it says what one before it said.
        _ if plan.mode == Mode::Occurrence => false,
        Kind::WindowOpened | Kind::WindowClosed => false,
        Kind::StateChanged | Kind::Spread => {
            let condition = plan.condition(next.to.state);
            let known = held.from.as_ref();
            let from = known.map(|known| plan.condition(known.state));
            let over = next.to.state == CLEAR || condition == Condition::Gone;
            known.is_some_and(|known| known.fingerprint == next.to.fingerprint)
                || known.is_none_or(|known| known.state == CLEAR) && condition != Condition::Problem
                || from != Some(Condition::Problem) && over
        }
    }
}

/// Nobody has heard of the early result of this window, so there is nothing to supersede.
fn first_word(candidate: &mut Candidate, held: &Candidate) {
    if let Some(counted) = candidate.window.as_mut().filter(|_| held.kind == Kind::WindowOpened) {
        counted.told_early = false;
    }
}
