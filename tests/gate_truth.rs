//! What every run through the gate must keep to, read from its events alone: each suppression ends
//! once and in time, nothing is told twice or out of order, limits hold, and `from` is what was told
//! last.

use std::collections::BTreeMap;

use stillhouse_core::Plan;
use stillhouse_core::event::{Change, Data, Event, Judgement, Provenance, StateView, Suppressed, Windowed};
use stillhouse_core::plan::{Mode, TypePlan};
use stillhouse_core::rule::Condition;

/// Signal type, record key, and whether it is about flapping.
type Slot = (String, String, bool);

/// A state and its value.
type Shown = (String, Option<String>);

/// What the outside knows, event by event.
#[derive(Default)]
struct Outside {
    /// What is held back: its state (of flapping it may change), since when, and when it was made.
    held: BTreeMap<Slot, (Option<Shown>, i64, i64)>,
    told: BTreeMap<(String, String), Shown>,
    /// By type, key and start the ids of the early results of windows.
    opened: BTreeMap<(String, String, i64), String>,
    floods: BTreeMap<(String, Option<String>), i64>,
    /// By type, source and window the candidates that left without any judgement.
    left: BTreeMap<(String, Option<String>, i64), u32>,
    newest_us: i64,
}

/// What is wrong with the events of a run. From `end_us` on there is nothing but signals of other
/// keys that let every deadline pass.
pub fn told_wrongly(plan: &Plan, events: &[Event], end_us: i64) -> Option<String> {
    let mut outside = Outside { newest_us: i64::MIN, ..Outside::default() };
    let wrong = events.iter().find_map(|event| Some(format!("{}: {event:?}", outside.take(plan, event)?)));
    wrong.or_else(|| {
        // Only flapping may still withhold a state, and only if it need not end.
        let ends = |slot: &Slot| of_type(plan, &slot.0).flapping.is_none_or(|flapping| flapping.quiet_us.is_some());
        let mut lost = outside.held.iter().filter(|(_, held)| held.2 < end_us);
        let lost = lost.find(|(slot, _)| slot.2 || ends(slot)).map(|held| format!("held back for ever: {held:?}"));
        let flood = outside.floods.iter().find(|(_, since_us)| **since_us < end_us);
        lost.or_else(|| Some(format!("a flood that does not end: {:?}", flood?)))
    })
}

fn of_type<'a>(plan: &'a Plan, name: &str) -> &'a TypePlan {
    plan.types.iter().find(|of_type| of_type.name == name).expect("a type of the plan")
}

fn shown(view: &StateView) -> Shown {
    (view.state.to_string(), view.value.as_deref().map(str::to_owned))
}

fn is_problem(plan: &TypePlan, shown: &Shown) -> bool {
    plan.states.iter().any(|state| state.name == shown.0 && state.condition == Condition::Problem)
}

/// What of a window is held back, and where: its slot, its kind and its start.
fn held_window(windowed: &Windowed, kind: &str, key: &str) -> (Slot, (Option<Shown>, i64, i64)) {
    let start_us = windowed.window.start.0;
    ((windowed.signal.to_string(), key.to_owned(), false), (Some((kind.into(), None)), start_us, start_us))
}

impl Outside {
    fn take(&mut self, plan: &Plan, event: &Event) -> Option<String> {
        let time_us = event.time?.0;
        let key = event.subject.as_deref().unwrap_or_default();
        let wrong = match &event.data {
            Data::Suppressed(said) => self.suppressed(plan, said, key, time_us),
            Data::Change(change) => self.change(plan, change, event.kind, key, time_us),
            Data::Flood(flood) => {
                let scope = (flood.signal.to_string(), flood.source.as_deref().map(str::to_owned));
                match (&flood.withheld, self.floods.remove(&scope)) {
                    (None, None) => {
                        self.floods.insert(scope, time_us);
                        (time_us != flood.since.0).then(|| "it begins at another time".into())
                    }
                    (Some(held), Some(since_us)) => (since_us != flood.since.0 || held.ended > held.candidates)
                        .then(|| format!("it began at {since_us}")),
                    _ => Some("a flood starts twice or ends twice".into()),
                }
            }
            Data::Window(windowed) => self.window(plan, windowed, event, key, time_us),
            Data::Correction(_) => return Some("a correction, and nothing late is taken in".into()),
            // What came too late or is unreadable stands where it was found.
            Data::Late(_) | Data::DeadLetter(_) | Data::Derived(_) | Data::Drift(_) => return None,
        };
        let early = time_us < self.newest_us;
        let wrong = wrong.or_else(|| early.then(|| format!("before {}", self.newest_us)));
        self.newest_us = time_us;
        wrong
    }

    fn suppressed(&mut self, plan: &Plan, said: &Suppressed, key: &str, time_us: i64) -> Option<String> {
        let (slot, it) = match &said.candidate {
            Data::Change(candidate) => {
                let slot = (candidate.signal.to_string(), key.to_owned(), said.kind != "stillhouse.state.changed");
                let made_us = candidate.since.0 + candidate.held_us;
                let it = ((!slot.2).then(|| shown(&candidate.to)), candidate.since.0, made_us);
                (slot, it)
            }
            Data::Window(candidate) => held_window(candidate, said.kind, key),
            _ => return Some("neither a change of state nor a window is held back".into()),
        };
        let of_type = of_type(plan, &slot.0);
        let known = self.held.remove(&slot);
        match said.outcome {
            "held" => {
                if let Some(known) = known {
                    return Some(format!("held twice, before as {known:?}"));
                }
                // A window does not say when its result was made: now, if it was not delayed before.
                let made_us = if matches!(of_type.mode, Mode::Window(_)) { time_us } else { it.2 };
                if said.deadline.0 - made_us > of_type.suppress_max_us || said.deadline.0 <= time_us {
                    return Some("held back for too long or not at all".into());
                }
                self.held.insert(slot, it);
            }
            _ => {
                if known.is_some_and(|known| known != it) {
                    return Some("another one is held back".into());
                }
            }
        }
        match &said.candidate {
            Data::Change(candidate) => self.from(of_type, candidate, key),
            _ => None,
        }
    }

    /// A final result names the early one if that was told, and only then.
    fn window(&mut self, plan: &Plan, windowed: &Windowed, event: &Event, key: &str, time_us: i64) -> Option<String> {
        let (slot, it) = held_window(windowed, event.kind, key);
        if let Some(known) = self.held.remove(&slot)
            && (windowed.judgement.is_none() || known != it)
        {
            return Some(format!("left while this is held back: {known:?}"));
        }
        let id = (slot.0.clone(), slot.1, windowed.window.start.0);
        let wrong = if event.kind == "stillhouse.window.opened" {
            self.opened.insert(id, event.id.clone()).is_some() || windowed.revision != 1
        } else {
            let opened = self.opened.get(&id);
            windowed.supersedes.as_deref() != opened.map(|id| &**id)
                || windowed.revision != if opened.is_some() { 2 } else { 1 }
        };
        if wrong {
            return Some("it does not correct what was told".into());
        }
        let of_type = of_type(plan, &slot.0);
        self.limits(of_type, windowed.severity, windowed.judgement.as_ref(), &windowed.provenance, time_us)
    }

    fn change(&mut self, plan: &Plan, change: &Change, kind: &str, key: &str, time_us: i64) -> Option<String> {
        let slot = (change.signal.to_string(), key.to_owned(), kind != "stillhouse.state.changed");
        let of_type = of_type(plan, &slot.0);
        let made_us = change.since.0 + change.held_us;
        let it = ((!slot.2).then(|| shown(&change.to)), change.since.0, made_us);
        let held_back_us = change.judgement.as_ref().map_or(0, |said| said.held_back_us);
        if let Some(known) = self.held.remove(&slot)
            && (change.judgement.is_none() || known != it)
        {
            return Some(format!("left while this is held back: {known:?}"));
        }
        if time_us != made_us + held_back_us {
            return Some("left neither when it was made nor as late as it says".into());
        }
        let parked = !slot.2 && (of_type.flapping.is_some() || of_type.damping.is_some());
        if held_back_us > of_type.suppress_max_us && !parked {
            return Some("held back for too long".into());
        }
        let state = (slot.0.clone(), slot.1.clone(), false);
        let withheld = self.held.get(&state).and_then(|held| held.0.as_ref());
        if withheld == Some(&shown(&change.to)) && change.from.is_some() {
            return Some("it tells of a state that is held back".into());
        }
        if let Some(wrong) = self
            .from(of_type, change, key)
            .or_else(|| self.limits(of_type, change.severity, change.judgement.as_ref(), &change.provenance, time_us))
        {
            return Some(wrong);
        }
        if !slot.2 {
            self.told.insert((slot.0, slot.1), shown(&change.to));
        }
        None
    }

    /// `from` is what was told last, except where that is no problem: where an entity starts from,
    /// and that it is no more, is told only if it is news.
    fn from(&self, of_type: &TypePlan, change: &Change, key: &str) -> Option<String> {
        let known = self.told.get(&(change.signal.to_string(), key.to_owned()));
        let from = change.from.as_ref().map(shown);
        let right = match of_type.mode {
            Mode::Occurrence | Mode::Window(_) => from.is_none() || from.as_ref() == known,
            Mode::State if known.is_some_and(|known| is_problem(of_type, known)) => from.as_ref() == known,
            Mode::State => from.is_none_or(|from| !is_problem(of_type, &from)),
        };
        (!right).then(|| format!("told last was {known:?}"))
    }

    fn limits(
        &mut self,
        of_type: &TypePlan,
        severity: &str,
        judgement: Option<&Judgement>,
        provenance: &Provenance,
        time_us: i64,
    ) -> Option<String> {
        let limits = of_type.flood?;
        let unlimited = judgement.is_some()
            || ["info", "warning", "error", "critical"].iter().position(|name| *name == severity)?
                >= usize::from(of_type.never_suppress);
        let source = provenance.last.as_ref().map(|last| last.source.to_string());
        let window = time_us.div_euclid(limits.per_us);
        let mut over = |source: Option<String>, max: Option<u32>| {
            let left = self.left.entry((of_type.name.clone(), source, window)).or_default();
            *left += 1;
            !unlimited && max.is_some_and(|max| *left > max)
        };
        let of_source = source.is_some() && over(source, limits.per_source);
        (over(None, limits.max) | of_source).then(|| "beyond its flood limit".into())
    }
}
