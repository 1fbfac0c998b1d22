//! What was told of entities whose late signals are taken in, and what is said when it was wrong.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

use super::leave::{data, kind_name, source};
use super::{Exit, Gate, Try, slot_of};
use crate::entity::{Because, Candidate, Kind, Standing};
use crate::event::{Correction as Corrected, Data, Event, Time, id_of};
use crate::past::Correction;
use crate::plan::TypePlan;

/// Signal type and record key.
type Owner = (u16, Box<str>);

/// An event, and how often what it says was said anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Fate {
    /// It left.
    Left(Revision),
    /// It is held back.
    Held,
    /// It ended unheard.
    Ended,
}

/// What became of the candidates that a late signal may still change.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Told {
    /// Until when each may be corrected, its mark, and its fate.
    of: BTreeMap<Owner, VecDeque<(i64, u64, Fate)>>,
    /// When the oldest of an owner can be forgotten.
    until: BTreeSet<(i64, Owner)>,
}

impl Told {
    /// Notes what became of a candidate.
    pub(super) fn note(&mut self, candidate: &Candidate, plan: &TypePlan, fate: Fate) {
        match plan.correct_us.filter(|_| !candidate.on_trial) {
            Some(correct_us) => self.put(candidate, candidate.time_us.saturating_add(correct_us), fate),
            None if candidate.on_trial => self.put(candidate, i64::MAX, fate),
            None => {}
        }
    }

    /// As [`Told::note`], for what may have to be taken back when a tried suppressor is withdrawn.
    pub(super) fn note_on_trial(&mut self, candidate: &Candidate, fate: Fate) {
        self.put(candidate, i64::MAX, fate);
    }

    fn put(&mut self, candidate: &Candidate, until_us: i64, fate: Fate) {
        let owner = (candidate.signal_type, candidate.key.clone());
        let mark = mark(candidate);
        let fates = self.of.entry(owner.clone()).or_default();
        if fates.is_empty() {
            self.until.insert((until_us, owner));
        }
        match fates.iter_mut().find(|(_, known, _)| *known == mark) {
            Some(known) => known.2 = fate,
            None => fates.push_back((until_us, mark, fate)),
        }
    }

    pub(super) fn take(&mut self, candidate: &Candidate) -> Option<Fate> {
        let fates = self.of.get_mut(&(candidate.signal_type, candidate.key.clone()))?;
        let mark = mark(candidate);
        let at = fates.iter().position(|(_, known, _)| *known == mark)?;
        fates.remove(at).map(|(_, _, fate)| fate)
    }

    /// Forgets what no late signal can change any more.
    pub(super) fn forget(&mut self, now_us: i64) {
        while self.until.first().is_some_and(|(until_us, _)| *until_us < now_us) {
            let Some((_, owner)) = self.until.pop_first() else { break };
            let Some(fates) = self.of.get_mut(&owner) else { continue };
            fates.retain(|(until_us, _, _)| *until_us >= now_us);
            match fates.iter().map(|(until_us, _, _)| *until_us).min() {
                Some(until_us) => drop(self.until.insert((until_us, owner))),
                None => drop(self.of.remove(&owner)),
            }
        }
    }

    /// The trial of a mapper is over: what was told in it can be corrected by late signals only, and
    /// those have come.
    pub(super) fn end_trial(&mut self, signal_type: u16) {
        self.until.retain(|(until_us, owner)| *until_us != i64::MAX || owner.0 != signal_type);
        self.of.retain(|owner, fates| {
            if owner.0 == signal_type {
                fates.retain(|(until_us, _, _)| *until_us != i64::MAX);
            }
            !fates.is_empty()
        });
        let left = self.of.iter().filter(|(owner, _)| owner.0 == signal_type);
        let left = left.filter_map(|(owner, fates)| Some((fates.iter().map(|fate| fate.0).min()?, owner.clone())));
        self.until.extend(left.collect::<Vec<_>>());
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

/// Why something is corrected, and when that became known.
pub(super) struct Why<'a> {
    pub by: &'a Because,
    pub now_us: i64,
}

impl Gate {
    /// Corrects what was said, and says what was missed.
    pub fn correct(&mut self, correction: Correction, exit: &mut Exit<'_>) {
        let why = Why { by: &correction.by, now_us: correction.time_us };
        self.fire(why.now_us, exit);
        for change in correction.changes {
            match (change.was, change.is) {
                (Some(was), is) => self.revise(&was, is, &why, exit),
                (None, Some(is)) => self.miss(is, &why, exit),
                (None, None) => {}
            }
        }
    }

    /// What was said, held back or ended unheard should have been something else, or nothing.
    fn revise(&mut self, was: &Candidate, is: Option<Candidate>, why: &Why<'_>, exit: &mut Exit<'_>) {
        let plan = &exit.plan.types[was.signal_type as usize];
        match (self.told.take(was), is) {
            (Some(Fate::Held), is) => self.replace(was, is, why, exit),
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
                        self.say(&is, Some(said), told, why, exit);
                    }
                    None => self.say(was, None, told, why, exit),
                }
            }
        }
    }

    /// What is held back should have been something else, or nothing.
    fn replace(&mut self, was: &Candidate, is: Option<Candidate>, why: &Why<'_>, exit: &mut Exit<'_>) {
        let slot = slot_of(was);
        let Some(mut held) = self.take(&slot) else { return };
        match is {
            Some(is) => {
                held.candidate = Candidate { from: held.candidate.from.take(), ..is };
                self.hold(slot, held, why.now_us, exit);
            }
            None => {
                // Its signals are in the books with what took its place.
                held.candidate.signals = 0;
                self.end(held, why.now_us, exit);
            }
        }
    }

    /// What was missed is judged like what comes in time, unless something newer is held back.
    fn miss(&mut self, is: Candidate, why: &Why<'_>, exit: &mut Exit<'_>) {
        let slot = slot_of(&is);
        if self.held.contains_key(&slot) {
            let said = data(&is, None, exit);
            return self.say(&is, Some(said), Revision::NONE, why, exit);
        }
        let now_us = why.now_us;
        let missed = Candidate { missed: Some(Box::new(why.by.clone())), ..is };
        // A table of this watermark may be known already, or not yet, when this is looked at.
        let table_us = now_us.saturating_sub(1);
        let first = Try { now_us, table_us, judged: 0, answers: Default::default(), before: None, told: false };
        self.enter(slot, missed, first, exit);
    }

    /// Lets a correction leave: `said` is what stands in place of what was told; `None` if nothing
    /// does.
    pub(super) fn say(
        &mut self,
        candidate: &Candidate,
        said: Option<Data>,
        told: Revision,
        why: &Why<'_>,
        exit: &mut Exit<'_>,
    ) {
        let plan = &exit.plan.types[candidate.signal_type as usize];
        let superseded = told.id.as_deref().unwrap_or("");
        let id = id_of(&[
            b"correction",
            superseded.as_bytes(),
            &mark(candidate).to_le_bytes(),
            candidate.key.as_bytes(),
            &why.now_us.to_le_bytes(),
            match why.by {
                Because::Late(by) => by.id.as_bytes(),
                Because::Withdrawn(rule) => rule.digest.as_bytes(),
            },
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
            late: match why.by {
                Because::Late(by) => source(by, exit),
                Because::Withdrawn(_) => None,
            },
            withdrawn: match why.by {
                Because::Late(_) => None,
                Because::Withdrawn(rule) => Some((&**rule).into()),
            },
            event: said.map(Box::new),
        };
        let (key, data) = (Some(candidate.key.clone()), Data::Correction(Box::new(data)));
        exit.emit(why.now_us, Event::new("stillhouse.correction", id, key, Some(Time(why.now_us)), data));
    }
}
