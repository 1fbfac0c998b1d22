//! How candidates are held, end and leave, and the events that say so.

use super::correct::{Fate, Revision, Why};
use super::{Cause, Exit, Gate, HELD_MAX, Held, Slot, Timer, as_known};
use crate::entity::{Candidate, Input, Kind, Standing};
use crate::event::{
    Change, Counts, Data, Event, HeldBy, Judgement, Provenance, Source, StateView, Suppressed, Time, WindowCounts,
    WindowView, Windowed, id_of, severity_name,
};
use crate::rule::RuleId;
use crate::window::{Counted, result_id};

impl Gate {
    /// Holds a candidate back, says so, and sets the timers that end that.
    pub(super) fn hold(&mut self, slot: Slot, mut held: Held, now_us: i64, exit: &mut Exit<'_>) {
        debug_assert!(self.held.len() < HELD_MAX, "who holds looks at the bound first");
        match &held.cause {
            Cause::Inhibited(ancestor) => self.open.wait(ancestor, &slot),
            Cause::Flooded(scope) => {
                let next_us = self.floods.withhold(*scope, &held.candidate, &slot, now_us, exit);
                self.timers.insert((next_us, Timer::Flood(slot.0)));
            }
            Cause::Suppressed | Cause::Delayed => {}
        }
        if matches!(held.cause, Cause::Suppressed | Cause::Inhibited(_)) && !held.told {
            held.told = true;
            let event = suppressed(&held, "held", now_us, None, exit);
            exit.emit(now_us, event);
        }
        if held.candidate.kind == Kind::StateChanged
            && let Some(flapping) = self.held.get_mut(&(slot.0, slot.1.clone(), true))
        {
            as_known(&mut flapping.candidate, &held.candidate);
        }
        self.told.note(&held.candidate, &exit.plan.types[slot.0 as usize], Fate::Held);
        self.timers.insert((held.deadline_us, Timer::Held(slot.clone())));
        self.held.insert(slot, held);
    }

    /// Takes out what is held in a slot.
    pub(super) fn take(&mut self, slot: &Slot) -> Option<Held> {
        let held = self.held.remove(slot)?;
        self.timers.remove(&(held.deadline_us, Timer::Held(slot.clone())));
        match &held.cause {
            Cause::Inhibited(ancestor) => self.open.wait_no_more(ancestor, slot),
            Cause::Flooded(scope) => self.floods.withhold_no_more(*scope, &held.candidate, slot),
            Cause::Suppressed | Cause::Delayed => {}
        }
        Some(held)
    }

    /// The state of what was held back ended before it could leave.
    pub(super) fn end(&mut self, held: Held, time_us: i64, exit: &mut Exit<'_>) {
        exit.ledger.settle(|ledger| &mut ledger.suppressed, held.candidate.signals);
        self.told.note(&held.candidate, &exit.plan.types[held.candidate.signal_type as usize], Fate::Ended);
        // A flood may be over by the end of the flapping for which its candidate waited.
        if let Cause::Flooded(scope) = held.cause
            && !held.parked
            && held.resumed_us.is_none()
        {
            self.floods.ended(scope, held.candidate.signals);
            if !held.told {
                // The end of the flood says how many there were.
                return;
            }
        }
        let event = suppressed(&held, "ended", time_us, Some(time_us - held.candidate.time_us), exit);
        exit.emit(time_us, event);
    }

    /// Lets a candidate leave: from now on the outside knows what it says.
    pub(super) fn leave(
        &mut self,
        candidate: Candidate,
        now_us: i64,
        judgement: Option<Judgement>,
        exit: &mut Exit<'_>,
    ) {
        if let Some(by) = candidate.missed.clone() {
            let said = data(&candidate, judgement, exit);
            return self.say(&candidate, Some(said), Revision::NONE, &Why { by: &by, now_us }, exit);
        }
        exit.ledger.settle(|ledger| &mut ledger.emitted, candidate.signals);
        let plan = &exit.plan.types[candidate.signal_type as usize];
        if let Some(limits) = plan.flood {
            self.floods.count(&candidate, now_us, limits);
        }
        if candidate.kind == Kind::StateChanged
            && !self.held.is_empty()
            && let Some(flapping) = self.held.get_mut(&(candidate.signal_type, candidate.key.clone(), true))
        {
            // The event about flapping that is held back speaks of what is known by now.
            flapping.candidate.from = Some(candidate.to.clone());
            if flapping.candidate.kind == Kind::FlappingStopped {
                let since_us = flapping.candidate.to.since_us;
                flapping.candidate.to = Standing { since_us, ..candidate.to.clone() };
            }
        }
        if let Some(inhibit) = &exit.plan.inhibit
            && let Some(end_us) = self.open.tell(&candidate, plan, now_us, inhibit.grace_us)
        {
            self.timers.insert((end_us, Timer::Grace(candidate.key.clone())));
        }
        let kind = kind_name(candidate.kind);
        let id = match &candidate.window {
            Some(counted) => result_id(kind, &candidate, counted),
            None => id_of(&[kind.as_bytes(), &identity(&candidate, exit), &now_us.to_le_bytes()]),
        };
        if plan.correct_us.is_some() || candidate.on_trial {
            self.told.note(&candidate, plan, Fate::Left(Revision { id: Some(id.clone()), number: 1 }));
        }
        self.note_tried(&candidate, &id);
        let data = data(&candidate, judgement, exit);
        exit.emit(now_us, Event::new(kind, id, Some(candidate.key), Some(Time(now_us)), data));
    }
}

fn suppressed(held: &Held, outcome: &'static str, time_us: i64, held_back_us: Option<i64>, exit: &Exit<'_>) -> Event {
    let kind = kind_name(held.candidate.kind);
    let id = id_of(&[outcome.as_bytes(), kind.as_bytes(), &identity(&held.candidate, exit), &time_us.to_le_bytes()]);
    let rule = match held.cause {
        Cause::Suppressed | Cause::Delayed => suppressor(&held.candidate, exit),
        Cause::Inhibited(_) | Cause::Flooded(_) => None,
    };
    let data = Suppressed {
        outcome,
        reason: held.reason.clone(),
        rule: rule.map_or(HeldBy::Host("host"), |rule| HeldBy::Rule(rule.into())),
        deadline: Time(held.deadline_us),
        held_back_us,
        kind,
        candidate: data(&held.candidate, None, exit),
    };
    let data = Data::Suppressed(Box::new(data));
    Event::new("stillhouse.suppressed", id, Some(held.candidate.key.clone()), Some(Time(time_us)), data)
}

/// What makes a candidate this one and no other.
fn identity(candidate: &Candidate, exit: &Exit<'_>) -> Vec<u8> {
    let from = candidate.from.as_ref().map_or(0, |from| from.fingerprint);
    let mut bytes = Vec::with_capacity(candidate.key.len() + candidate.last.id.len() + 34);
    bytes.extend_from_slice(&candidate.signal_type.to_le_bytes());
    bytes.extend_from_slice(&from.to_le_bytes());
    bytes.extend_from_slice(&candidate.to.fingerprint.to_le_bytes());
    bytes.extend_from_slice(&candidate.to.since_us.to_le_bytes());
    bytes.extend_from_slice(&(candidate.key.len() as u64).to_le_bytes());
    bytes.extend_from_slice(candidate.key.as_bytes());
    bytes.extend_from_slice(candidate.last.id.as_bytes());
    // An id is one signal's within its source only.
    bytes.push(0);
    bytes.extend_from_slice(exit.sources.get(candidate.last.source as usize).map_or(b"", |name| name.as_bytes()));
    bytes
}

/// What an event about a candidate says.
pub(super) fn data(candidate: &Candidate, judgement: Option<Judgement>, exit: &Exit<'_>) -> Data {
    match &candidate.window {
        Some(counted) => Data::Window(Box::new(windowed(candidate, counted, judgement, exit))),
        None => Data::Change(Box::new(change(candidate, judgement, exit))),
    }
}

fn windowed(candidate: &Candidate, counted: &Counted, judgement: Option<Judgement>, exit: &Exit<'_>) -> Windowed {
    let plan = &exit.plan.types[candidate.signal_type as usize];
    let early = counted.told_early.then(|| result_id(kind_name(Kind::WindowOpened), candidate, counted));
    Windowed {
        signal: (&*plan.name).into(),
        window: WindowView { kind: counted.shape, start: Time(counted.start_us), end: counted.end_us.map(Time) },
        counts: WindowCounts {
            inputs: candidate.inputs,
            sources: counted.sources,
            values: counted.values,
            at_least: counted.at_least,
        },
        severity: severity_name(candidate.severity),
        revision: if counted.told_early { 2 } else { 1 },
        supersedes: early.map(Into::into),
        judgement,
        provenance: provenance(candidate, exit),
    }
}

fn change(candidate: &Candidate, judgement: Option<Judgement>, exit: &Exit<'_>) -> Change {
    let plan = &exit.plan.types[candidate.signal_type as usize];
    let view = |standing: &Standing| StateView {
        state: plan.state_name(standing.state).into(),
        value: standing.value.clone(),
        condition: plan.condition(standing.state),
    };
    let lasted_us = match (candidate.kind, &candidate.from) {
        // A problem that is believed on evidence may have begun before the state that was announced.
        (Kind::StateChanged, Some(from)) => Some((candidate.to.since_us - from.since_us).max(0)),
        _ => None,
    };
    Change {
        signal: (&*plan.name).into(),
        from: candidate.from.as_ref().map(view),
        to: view(&candidate.to),
        since: Time(candidate.to.since_us),
        held_us: candidate.time_us - candidate.to.since_us,
        lasted_us,
        severity: severity_name(candidate.severity),
        counts: Counts { inputs: candidate.inputs, repeated: candidate.repeated, blips: candidate.blips },
        flap_score: candidate.score_mpct.map(|score_mpct| f64::from(score_mpct) / 1000.0),
        judgement,
        provenance: provenance(candidate, exit),
    }
}

fn provenance(candidate: &Candidate, exit: &Exit<'_>) -> Provenance {
    Provenance {
        first: source(&candidate.first, exit),
        last: source(&candidate.last, exit),
        inputs: candidate.inputs,
        mapper: exit.plan.types[candidate.signal_type as usize].mapper(candidate.mapper).into(),
        suppressor: suppressor(candidate, exit).map(Into::into),
        config: exit.plan.config_digest.as_str().into(),
    }
}

/// The version of the suppressor that counts for a candidate.
fn suppressor<'e>(candidate: &Candidate, exit: &'e Exit<'_>) -> Option<&'e RuleId> {
    let tried = exit.judge.tried(candidate.signal_type).filter(|_| candidate.tried_judge);
    match tried {
        Some((_, judge)) => judge.rule(candidate.signal_type),
        None => exit.judge.rule(candidate.signal_type),
    }
}

/// A signal as events name it.
pub(super) fn source(input: &Input, exit: &Exit<'_>) -> Option<Source> {
    source_of(input, exit.sources)
}

/// As [`source`].
pub(crate) fn source_of(input: &Input, sources: &[Box<str>]) -> Option<Source> {
    sources.get(input.source as usize).map(|name| Source {
        source: name.clone(),
        id: input.id.as_str().into(),
        time: Time(input.time_us),
    })
}

/// The CloudEvents type of what happened.
pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        // A spread candidate never leaves: what it lets leave is a change of state.
        Kind::StateChanged | Kind::Spread => "stillhouse.state.changed",
        Kind::FlappingStarted => "stillhouse.flapping.started",
        Kind::FlappingStopped => "stillhouse.flapping.stopped",
        Kind::WindowOpened => "stillhouse.window.opened",
        Kind::WindowClosed => "stillhouse.window.closed",
    }
}
