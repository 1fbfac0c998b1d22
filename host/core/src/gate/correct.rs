//! What was told of entities whose late signals are taken in, and what is said when it was wrong.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use xxhash_rust::xxh3::Xxh3Default;

use super::leave::{data, kind_name, source};
use super::{Exit, Gate, Try, slot_of};
use crate::entity::{Candidate, Input, Kind, Standing};
use crate::event::{Correction as Corrected, Data, Event, Time, id_of};
use crate::past::Correction;
use crate::plan::TypePlan;

/// Signal type and record key.
type Owner = (u16, Box<str>);

/// An event, and how often what it says was said anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Revision {
    /// Its id; `None` where nothing was said before.
    pub id: Option<String>,
    /// From 1; 0 where nothing was said before.
    pub number: u32,
}

impl Revision {
    /// Before anything was said.
    pub(super) const NONE: Self = Self { id: None, number: 0 };
}

/// What became of a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It left.
    Left(Revision),
    /// It is held back.
    Held,
    /// It ended unheard.
    Ended,
}

/// What became of the candidates that a late signal may still change.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// When each was made, its mark, and its fate.
    of: BTreeMap<Owner, VecDeque<(i64, u64, Fate)>>,
    /// When the oldest of an owner can be forgotten.
    until: BTreeSet<(i64, Owner)>,
}

impl Told {
    /// Notes what became of a candidate.
    pub(super) fn note(&mut self, candidate: &Candidate, plan: &TypePlan, fate: Fate) {
        let Some(correct_us) = plan.correct_us else { return };
        let owner = (candidate.signal_type, candidate.key.clone());
        let mark = mark(candidate);
        let fates = self.of.entry(owner.clone()).or_default();
        if fates.is_empty() {
            self.until.insert((candidate.time_us.saturating_add(correct_us), owner));
        }
        match fates.iter_mut().find(|(_, known, _)| *known == mark) {
            Some(known) => known.2 = fate,
            None => fates.push_back((candidate.time_us, mark, fate)),
        }
    }

    fn take(&mut self, candidate: &Candidate) -> Option<Fate> {
        let fates = self.of.get_mut(&(candidate.signal_type, candidate.key.clone()))?;
        let mark = mark(candidate);
        let at = fates.iter().position(|(_, known, _)| *known == mark)?;
        fates.remove(at).map(|(_, _, fate)| fate)
    }

    /// Forgets what no late signal can change any more.
    pub(super) fn forget(&mut self, now_us: i64, types: &[TypePlan]) {
        while self.until.first().is_some_and(|(until_us, _)| *until_us < now_us) {
            let Some((_, owner)) = self.until.pop_first() else { break };
            let correct_us = types[owner.0 as usize].correct_us.unwrap_or(0);
            let Some(fates) = self.of.get_mut(&owner) else { continue };
            fates.retain(|(time_us, _, _)| time_us.saturating_add(correct_us) >= now_us);
            match fates.iter().map(|(time_us, _, _)| *time_us).min() {
                Some(oldest_us) => drop(self.until.insert((oldest_us.saturating_add(correct_us), owner))),
                None => drop(self.of.remove(&owner)),
            }
        }
    }
}

/// What tells a candidate from the others of its entity, whatever the gate makes of it.
fn mark(candidate: &Candidate) -> u64 {
    let mut hash = Xxh3Default::new();
    hash.update(kind_name(candidate.kind).as_bytes());
    // What an event about flapping says of the state depends on what was told of it.
    if candidate.kind == Kind::StateChanged {
        hash.update(&candidate.to.fingerprint.to_le_bytes());
    }
    hash.update(&candidate.to.since_us.to_le_bytes());
    hash.update(&candidate.time_us.to_le_bytes());
    hash.update(candidate.last.id.as_bytes());
    hash.update(&candidate.last.source.to_le_bytes());
    hash.digest()
}

/// Whether a consumer must know of the difference. How many signals repeated what was known is none.
fn differs(was: &Candidate, is: &Candidate) -> bool {
    // With a level, states of one fingerprint differ in the number that is shown.
    let standing = |standing: &Standing| (standing.fingerprint, standing.value.clone());
    let from = |candidate: &Candidate| candidate.from.as_ref().map(standing);
    let shown = |candidate: &Candidate| {
        (candidate.kind, candidate.time_us, standing(&candidate.to), candidate.to.since_us, candidate.severity)
    };
    // Of a window the count is what it says.
    let windows = was.window.is_some() && (was.inputs != is.inputs || was.window != is.window);
    shown(was) != shown(is) || from(was) != from(is) || windows
}

/// A late signal, and when it became known.
pub(super) struct Late<'a> {
    pub by: &'a Input,
    pub now_us: i64,
}

impl Gate {
    /// Corrects what was said, and says what was missed.
    pub fn correct(&mut self, correction: Correction, exit: &mut Exit<'_>) {
        let late = Late { by: &correction.by, now_us: correction.time_us };
        self.fire(late.now_us, exit);
        for change in correction.changes {
            match (change.was, change.is) {
                (Some(was), is) => self.revise(&was, is, &late, exit),
                (None, Some(is)) => self.miss(is, &late, exit),
                (None, None) => {}
            }
        }
    }

    /// What was said, held back or ended unheard should have been something else, or nothing.
    fn revise(&mut self, was: &Candidate, is: Option<Candidate>, late: &Late<'_>, exit: &mut Exit<'_>) {
        let plan = &exit.plan.types[was.signal_type as usize];
        match (self.told.take(was), is) {
            (Some(Fate::Held), is) => self.replace(was, is, late, exit),
            (Some(Fate::Ended), is) => {
                exit.ledger.settle(|ledger| &mut ledger.suppressed, was.signals.wrapping_neg());
                if let Some(is) = is {
                    exit.ledger.settle(|ledger| &mut ledger.suppressed, is.signals);
                    self.told.note(&is, plan, Fate::Ended);
                }
            }
            (fate, is) => {
                exit.ledger.settle(|ledger| &mut ledger.emitted, was.signals.wrapping_neg());
                let told = if let Some(Fate::Left(told)) = fate { told } else { Revision::NONE };
                match is {
                    Some(is) if !differs(was, &is) => {
                        exit.ledger.settle(|ledger| &mut ledger.emitted, is.signals);
                        self.told.note(&is, plan, Fate::Left(told));
                    }
                    Some(is) => {
                        let said = data(&is, None, exit);
                        self.say(&is, Some(said), told, late, exit);
                    }
                    None => self.say(was, None, told, late, exit),
                }
            }
        }
    }

    /// What is held back should have been something else, or nothing.
    fn replace(&mut self, was: &Candidate, is: Option<Candidate>, late: &Late<'_>, exit: &mut Exit<'_>) {
        let slot = slot_of(was);
        let Some(mut held) = self.take(&slot) else { return };
        match is {
            Some(is) => {
                held.candidate = Candidate { from: held.candidate.from.take(), ..is };
                self.hold(slot, held, late.now_us, exit);
            }
            None => {
                // Its signals are in the books with what took its place.
                held.candidate.signals = 0;
                self.end(held, late.now_us, exit);
            }
        }
    }

    /// What was missed is judged like what comes in time, unless something newer is held back.
    fn miss(&mut self, is: Candidate, late: &Late<'_>, exit: &mut Exit<'_>) {
        let slot = slot_of(&is);
        if self.held.contains_key(&slot) {
            let said = data(&is, None, exit);
            return self.say(&is, Some(said), Revision::NONE, late, exit);
        }
        let now_us = late.now_us;
        let missed = Candidate { missed: Some(Box::new(late.by.clone())), ..is };
        let first = Try { now_us, table_us: now_us, judged: 0, answer: None, before: None, told: false };
        self.enter(slot, missed, first, exit);
    }

    /// Lets a correction leave: `said` is what stands in place of what was told; `None` if nothing
    /// does.
    pub(super) fn say(
        &mut self,
        candidate: &Candidate,
        said: Option<Data>,
        told: Revision,
        late: &Late<'_>,
        exit: &mut Exit<'_>,
    ) {
        let plan = &exit.plan.types[candidate.signal_type as usize];
        let superseded = told.id.as_deref().unwrap_or("");
        let id = id_of(&[
            b"correction",
            superseded.as_bytes(),
            &mark(candidate).to_le_bytes(),
            candidate.key.as_bytes(),
            &late.now_us.to_le_bytes(),
            late.by.id.as_bytes(),
        ]);
        let revision = told.number + 1;
        if said.is_some() {
            exit.ledger.settle(|ledger| &mut ledger.emitted, candidate.signals);
            self.told.note(candidate, plan, Fate::Left(Revision { id: Some(id.clone()), number: revision }));
        }
        let data = Corrected {
            signal: (&*plan.name).into(),
            revision,
            supersedes: told.id.map(Into::into),
            kind: kind_name(candidate.kind),
            late: source(late.by, exit),
            event: said.map(Box::new),
        };
        let (key, data) = (Some(candidate.key.clone()), Data::Correction(Box::new(data)));
        exit.emit(late.now_us, Event::new("stillhouse.correction", id, key, Some(Time(late.now_us)), data));
    }
}
