//! The gate: candidates of all entities, in total order, before they leave. Their suppressor judges
//! them; what is held back ends in an event of its own or leaves at its deadline.

use std::collections::{BTreeMap, BTreeSet};

use crate::columns::{Batch, Blobs, Column, TextColumn, Values, Verdicts, verdict};
use crate::derive::Derive;
use crate::entity::{Candidate, Input, Kind};
use crate::event::{
    Change, Counts, Data, Event, Judgement, Provenance, Source, StateView, Suppressed, Time, id_of, severity_name,
};
use crate::ledger::Ledger;
use crate::plan::{CLEAR, Plan};
use crate::rule::{Condition, Field, FieldKind, Judge};
use crate::table::Tables;

/// How many candidates may be held back at once. At the bound a candidate leaves instead, and says
/// so.
pub const HELD_MAX: usize = 100_000;

/// Signal type, record key, and whether it is about flapping: at most one candidate of each is held.
type Slot = (u16, Box<str>, bool);

#[derive(Clone, Debug)]
struct Held {
    candidate: Candidate,
    deadline_us: i64,
    reason: Box<str>,
    /// Judge it again at the deadline, instead of letting it leave.
    delayed: bool,
    judged: i64,
}

/// What one verdict says.
struct Answer<'a> {
    verdict: u8,
    until_us: i64,
    severity: u8,
    reason: &'a str,
}

/// When and in which round a verdict is carried out.
struct Now {
    time_us: i64,
    judged: i64,
    delayed_for: Option<Box<str>>,
}

/// Candidates that are held back.
#[derive(Debug, Default)]
pub struct Gate {
    held: BTreeMap<Slot, Held>,
    deadlines: BTreeSet<(i64, Slot)>,
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
}

impl Gate {
    /// Asks the suppressors about `candidates`: one batch for each signal type.
    pub fn judge(&self, candidates: &[Candidate], exit: &mut Exit<'_>) -> Vec<Verdicts> {
        let mut verdicts = Vec::new();
        for signal_type in 0..exit.plan.types.len() as u16 {
            let of_type: Vec<_> =
                candidates.iter().filter(|candidate| candidate.signal_type == signal_type).map(|c| (c, 0)).collect();
            verdicts.push(ask(&of_type, signal_type, exit));
        }
        verdicts
    }

    /// Lets a candidate leave, or holds it back, as row `row` of the verdicts on its type says.
    pub fn pass(&mut self, candidate: Candidate, verdicts: &Verdicts, row: usize, exit: &mut Exit<'_>) {
        self.fire(candidate.time_us, exit);
        let slot = (candidate.signal_type, candidate.key.clone(), candidate.kind != Kind::StateChanged);
        let mut candidate = candidate;
        if let Some(held) = self.take(&slot) {
            let back = match candidate.kind {
                // What is held is the end of the flapping before: nobody knows that it had ended.
                Kind::FlappingStarted => true,
                Kind::FlappingStopped => true,
                Kind::StateChanged => {
                    let known = held.candidate.from.as_ref().map(|from| from.fingerprint);
                    let of_type = &exit.plan.types[slot.0 as usize];
                    let condition = of_type.condition(candidate.to.state);
                    let from = held.candidate.from.as_ref().map(|from| of_type.condition(from.state));
                    let over = candidate.to.state == CLEAR || condition == Condition::Gone;
                    known == Some(candidate.to.fingerprint)
                        || from.is_none() && condition != Condition::Problem
                        || from != Some(Condition::Problem) && over
                }
            };
            candidate.from = held.candidate.from.clone();
            end(held, candidate.time_us, exit);
            if back {
                // Nobody was told of the state that ends here, so its end is no news either.
                exit.ledger.settle(|ledger| &mut ledger.suppressed, candidate.signals);
                return;
            }
        }
        let now = Now { time_us: candidate.time_us, judged: 0, delayed_for: None };
        self.apply(slot, candidate, &answer(verdicts, row), now, exit);
    }

    /// Lets leave, or judges again, what has its deadline at `to_us` or before.
    pub fn fire(&mut self, to_us: i64, exit: &mut Exit<'_>) {
        while self.deadlines.first().is_some_and(|&(deadline_us, _)| deadline_us <= to_us) {
            let Some((deadline_us, slot)) = self.deadlines.pop_first() else { break };
            let Some(held) = self.held.remove(&slot) else { continue };
            let held_back_us = deadline_us - held.candidate.time_us;
            let bound_us = held.candidate.time_us.saturating_add(exit.plan.types[slot.0 as usize].suppress_max_us);
            if held.delayed && deadline_us < bound_us {
                let now = Now { time_us: deadline_us, judged: held.judged + 1, delayed_for: Some(held.reason) };
                let verdicts = ask(&[(&held.candidate, now.judged)], slot.0, exit);
                self.apply(slot, held.candidate, &answer(&verdicts, 0), now, exit);
            } else {
                let outcome = if held.delayed { "delayed" } else { "released" };
                let judgement = Judgement { outcome, reason: held.reason, held_back_us };
                leave(held.candidate, deadline_us, Some(judgement), exit);
            }
        }
    }

    /// Does what the verdict says.
    fn apply(&mut self, slot: Slot, mut candidate: Candidate, answer: &Answer<'_>, now: Now, exit: &mut Exit<'_>) {
        let plan = &exit.plan.types[slot.0 as usize];
        let held_back_us = now.time_us - candidate.time_us;
        let said = |outcome, reason: &str| Some(Judgement { outcome, reason: reason.into(), held_back_us });
        let holds = matches!(answer.verdict, verdict::SUPPRESS | verdict::DELAY);
        let judgement = match answer.verdict {
            verdict::ESCALATE => {
                candidate.severity = candidate.severity.max(answer.severity);
                said("escalated", answer.reason)
            }
            verdict::FAILED => said("failed", answer.reason),
            _ if holds && candidate.severity >= plan.never_suppress => said("overridden", answer.reason),
            _ if holds && self.held.len() >= HELD_MAX => said("overridden", "too many candidates are held back"),
            _ if holds => {
                let bound_us = candidate.time_us.saturating_add(plan.suppress_max_us);
                let deadline_us = if answer.until_us == 0 { bound_us } else { answer.until_us.min(bound_us) };
                if deadline_us > now.time_us {
                    let delayed = answer.verdict == verdict::DELAY;
                    let held =
                        Held { candidate, deadline_us, reason: answer.reason.into(), delayed, judged: now.judged };
                    return self.hold(slot, held, now.time_us, exit);
                }
                said("released", answer.reason)
            }
            _ => now.delayed_for.as_deref().and_then(|reason| said("delayed", reason)),
        };
        leave(candidate, now.time_us, judgement, exit);
    }

    fn hold(&mut self, slot: Slot, held: Held, now_us: i64, exit: &mut Exit<'_>) {
        if !held.delayed {
            let event = suppressed(&held, "held", now_us, None, exit);
            exit.emit(now_us, event);
        }
        self.deadlines.insert((held.deadline_us, slot.clone()));
        self.held.insert(slot, held);
    }

    fn take(&mut self, slot: &Slot) -> Option<Held> {
        let held = self.held.remove(slot)?;
        self.deadlines.remove(&(held.deadline_us, slot.clone()));
        Some(held)
    }

    /// Signals that are held back.
    pub fn open(&self) -> u64 {
        self.held.values().map(|held| held.candidate.signals).sum()
    }
}

/// The state of what was held back ended before its deadline.
fn end(held: Held, time_us: i64, exit: &mut Exit<'_>) {
    exit.ledger.settle(|ledger| &mut ledger.suppressed, held.candidate.signals);
    let event = suppressed(&held, "ended", time_us, Some(time_us - held.candidate.time_us), exit);
    exit.emit(time_us, event);
}

fn leave(candidate: Candidate, time_us: i64, judgement: Option<Judgement>, exit: &mut Exit<'_>) {
    exit.ledger.settle(|ledger| &mut ledger.emitted, candidate.signals);
    let kind = kind_name(candidate.kind);
    let id = id_of(&[kind.as_bytes(), &identity(&candidate), &time_us.to_le_bytes()]);
    let data = Data::Change(Box::new(change(&candidate, judgement, exit)));
    exit.emit(time_us, Event::new(kind, id, Some(candidate.key), Some(Time(time_us)), data));
}

fn suppressed(held: &Held, outcome: &'static str, time_us: i64, held_back_us: Option<i64>, exit: &Exit<'_>) -> Event {
    let kind = kind_name(held.candidate.kind);
    let id = id_of(&[outcome.as_bytes(), kind.as_bytes(), &identity(&held.candidate), &time_us.to_le_bytes()]);
    let data = Suppressed {
        outcome,
        reason: held.reason.clone(),
        deadline: Time(held.deadline_us),
        held_back_us,
        kind,
        candidate: change(&held.candidate, None, exit),
    };
    let data = Data::Suppressed(Box::new(data));
    Event::new("stillhouse.suppressed", id, Some(held.candidate.key.clone()), Some(Time(time_us)), data)
}

/// What makes a candidate this one and no other.
fn identity(candidate: &Candidate) -> Vec<u8> {
    let from = candidate.from.as_ref().map_or(0, |from| from.fingerprint);
    let mut bytes = Vec::with_capacity(candidate.key.len() + candidate.last.id.len() + 34);
    bytes.extend_from_slice(&candidate.signal_type.to_le_bytes());
    bytes.extend_from_slice(&from.to_le_bytes());
    bytes.extend_from_slice(&candidate.to.fingerprint.to_le_bytes());
    bytes.extend_from_slice(&candidate.to.since_us.to_le_bytes());
    bytes.extend_from_slice(&(candidate.key.len() as u64).to_le_bytes());
    bytes.extend_from_slice(candidate.key.as_bytes());
    bytes.extend_from_slice(candidate.last.id.as_bytes());
    bytes
}

fn change(candidate: &Candidate, judgement: Option<Judgement>, exit: &Exit<'_>) -> Change {
    let plan = &exit.plan.types[candidate.signal_type as usize];
    let view = |standing: &crate::entity::Standing| StateView {
        state: plan.state_name(standing.state).into(),
        value: standing.value.clone(),
        condition: plan.condition(standing.state),
    };
    let source = |input: &Input| {
        exit.sources.get(input.source as usize).map(|name| Source {
            source: name.clone(),
            id: input.id.as_str().into(),
            time: Time(input.time_us),
        })
    };
    let lasted_us = match (candidate.kind, &candidate.from) {
        (Kind::StateChanged, Some(from)) => Some(candidate.to.since_us - from.since_us),
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
        provenance: Provenance {
            first: source(&candidate.first),
            last: source(&candidate.last),
            inputs: candidate.inputs,
            mapper: (&plan.mapper).into(),
            suppressor: exit.judge.rule(candidate.signal_type).map(Into::into),
            config: exit.plan.config_digest.as_str().into(),
        },
    }
}

/// The CloudEvents type of what happened.
fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::StateChanged => "stillhouse.state.changed",
        Kind::FlappingStarted => "stillhouse.flapping.started",
        Kind::FlappingStopped => "stillhouse.flapping.stopped",
    }
}

fn answer(verdicts: &Verdicts, row: usize) -> Answer<'_> {
    Answer {
        verdict: verdicts.verdict.get(row).copied().unwrap_or(verdict::EMIT),
        until_us: verdicts.until_us.get(row).copied().unwrap_or(0),
        severity: verdicts.severity.get(row).copied().unwrap_or(0),
        reason: verdicts.reason.get(row),
    }
}

/// Asks the suppressor of a type; each candidate comes with how often it was judged before.
fn ask(candidates: &[(&Candidate, i64)], signal_type: u16, exit: &mut Exit<'_>) -> Verdicts {
    if candidates.is_empty() {
        return Verdicts::default();
    }
    let Some(fields) = exit.judge.fields(signal_type) else { return Verdicts::default() };
    let plan = &exit.plan.types[signal_type as usize];
    let columns = fields.iter().map(|field| column(field, candidates, plan)).collect();
    exit.judge.judge(signal_type, Batch { rows: candidates.len() as u32, columns }, Blobs::default())
}

fn column(field: &Field, candidates: &[(&Candidate, i64)], plan: &crate::plan::TypePlan) -> Column {
    let from_name =
        |candidate: &Candidate| candidate.from.as_ref().map_or("", |from| plan.state_name(from.state)).to_owned();
    let text = |of: &dyn Fn(&Candidate) -> String| {
        let mut column = TextColumn::default();
        candidates.iter().for_each(|(candidate, _)| column.push(&of(candidate)));
        Values::Text(column)
    };
    let int = |of: &dyn Fn(&Candidate, i64) -> i64| {
        Values::Ints(candidates.iter().map(|(candidate, judged)| of(candidate, *judged)).collect())
    };
    let values = match field.path.as_str() {
        "type" => text(&|_| plan.name.clone()),
        "key" => text(&|candidate| candidate.key.to_string()),
        "kind" => text(&|candidate| kind_name(candidate.kind).trim_start_matches("stillhouse.").to_owned()),
        "from" => text(&from_name),
        "to" => text(&|candidate| plan.state_name(candidate.to.state).to_owned()),
        "value" => text(&|candidate| candidate.to.value.as_deref().unwrap_or("").to_owned()),
        "time" => int(&|candidate, _| candidate.time_us),
        "since" => int(&|candidate, _| candidate.to.since_us),
        "held_us" => int(&|candidate, _| candidate.time_us - candidate.to.since_us),
        "inputs" => int(&|candidate, _| candidate.inputs as i64),
        "severity" => int(&|candidate, _| i64::from(candidate.severity)),
        "judged" => int(&|_, judged| judged),
        "healthy" => {
            // That an entity flaps is a problem, whichever state it is seen in.
            let healthy = |candidate: &Candidate| {
                candidate.kind != Kind::FlappingStarted && plan.condition(candidate.to.state) != Condition::Problem
            };
            Values::Bools(candidates.iter().map(|(candidate, _)| u8::from(healthy(candidate))).collect())
        }
        // The host refuses a rule that asks for another field when it loads it.
        _ => absent(field.kind, candidates.len()),
    };
    let known = field_kind(&field.path).is_some();
    Column { values, present: if known { Vec::new() } else { vec![0; candidates.len()] } }
}

/// The kind of a field of a candidate, or `None` if there is no such field.
pub fn field_kind(path: &str) -> Option<FieldKind> {
    match path {
        "type" | "key" | "kind" | "from" | "to" | "value" => Some(FieldKind::Text),
        "time" | "since" | "held_us" | "inputs" | "severity" | "judged" => Some(FieldKind::Int),
        "healthy" => Some(FieldKind::Bool),
        _ => None,
    }
}

fn absent(kind: FieldKind, rows: usize) -> Values {
    match kind {
        FieldKind::Text => Values::Text(TextColumn { offsets: vec![0; rows + 1], data: Vec::new() }),
        FieldKind::Int => Values::Ints(vec![0; rows]),
        FieldKind::Float => Values::Floats(vec![0.0; rows]),
        FieldKind::Bool => Values::Bools(vec![0; rows]),
    }
}
