//! The last minutes of an entity, kept so that a late signal can be taken in after all.
//!
//! An entity is a pure function of its observations. So a late one is put into its place among those
//! that are kept, the entity is run again from before them, and what it says now is laid beside what
//! it said then; the difference is corrected. The state that it has afterwards is the one it would
//! have had if the signal had come in time.

use std::collections::VecDeque;

use crate::entity::{Because, Candidate, Effects, Entity, Input, Kind, Observation};
use crate::ledger::Ledger;
use crate::order::Place;
use crate::plan::TypePlan;
use serde::{Deserialize, Serialize};

/// How many observations of one entity are kept. At the bound the oldest is let go, so that the past
/// of a busy entity is shorter than configured; what is too late for it is counted.
pub const KEPT_MAX: usize = 256;

/// What was said of an entity and should have been something else.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Correction {
    /// The watermark that the late signal missed, or at which the version was withdrawn: from then on
    /// this is known.
    pub time_us: i64,
    /// The log position of the late signal, or of the withdrawal.
    pub position: u64,
    /// Index of the signal type.
    pub signal_type: u16,
    /// The record key.
    pub key: Box<str>,
    /// Why.
    pub by: Because,
    /// What differs, in order.
    pub changes: Vec<Revised>,
}

/// A candidate that would have been another one. At least one of the two is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revised {
    /// What was said; `None` if something was missed.
    pub was: Option<Candidate>,
    /// What should have been said; `None` if it should not have been.
    pub is: Option<Candidate>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    place: Place,
    state: u8,
    severity: u8,
    source: u32,
    fingerprint: u64,
    value: Box<str>,
    id: Box<str>,
}

impl Kept {
    fn of(place: Place, seen: &Observation<'_>) -> Self {
        Self {
            place,
            state: seen.state,
            severity: seen.severity,
            source: seen.source,
            fingerprint: seen.fingerprint,
            value: seen.value.into(),
            id: seen.id.into(),
        }
    }

    fn observation(&self) -> Observation<'_> {
        Observation {
            time_us: self.place.time_us,
            state: self.state,
            value: &self.value,
            fingerprint: self.fingerprint,
            severity: self.severity,
            id: &self.id,
            source: self.source,
        }
    }
}

/// What an entity was before its last minutes, and all that came in them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Past {
    /// The entity before the first kept observation.
    base: Entity,
    /// The last observation that is in `base`.
    base_place: Option<Place>,
    kept: VecDeque<Kept>,
    /// When the last of its timers has fired: from then on it may have been forgotten.
    fired_us: i64,
    /// What the entity has said since `base`.
    said: VecDeque<Candidate>,
    /// What it has settled since `base`.
    #[serde(with = "crate::ledger::plain")]
    books: Ledger,
}

impl Past {
    /// The past of an entity of which nothing was observed yet.
    pub fn new(entity: Entity) -> Self {
        let (kept, said, books) = (VecDeque::new(), VecDeque::new(), Ledger::default());
        Self { base: entity, base_place: None, kept, fired_us: i64::MIN, said, books }
    }

    /// The past of an entity of which things were observed and said before `now_us`, the watermark, that
    /// can no longer be corrected.
    pub fn from_now_on(entity: Entity, now_us: i64) -> Self {
        let base_place = Some(Place { time_us: now_us, rank: 0, id_hash: 0, position: 0 });
        Self { base_place, ..Self::new(entity) }
    }

    /// The first event time at which no late signal can need it any more.
    pub fn kept_until_us(&self, plan: &TypePlan) -> i64 {
        let newest_us = self.kept.back().map(|kept| kept.place.time_us).or(self.base_place.map(|place| place.time_us));
        newest_us.unwrap_or(i64::MIN).max(self.fired_us).saturating_add(plan.correct_us.unwrap_or(0)).saturating_add(1)
    }

    /// The entity takes in the next observation.
    pub fn observe(
        &mut self,
        entity: &mut Entity,
        plan: &TypePlan,
        place: Place,
        seen: &Observation<'_>,
        out: &mut Effects,
    ) {
        let from_us = place.time_us.saturating_sub(plan.correct_us.unwrap_or(0));
        while self.kept.front().is_some_and(|kept| kept.place.time_us < from_us) || self.kept.len() >= KEPT_MAX {
            self.let_go(plan);
        }
        self.kept.push_back(Kept::of(place, seen));
        self.record(out, |out| entity.observe(plan, seen, out));
    }

    /// Timers of the entity fire that are due at `to_us` or before.
    pub fn advance(&mut self, entity: &mut Entity, plan: &TypePlan, to_us: i64, out: &mut Effects) {
        let fired_us = self.record(out, |out| fire(entity, plan, to_us, out));
        self.fired_us = fired_us.unwrap_or(self.fired_us);
    }

    /// Takes in an observation that has missed the watermark `late_at_us`, if it is not too late for
    /// that too.
    pub fn correct(
        &mut self,
        entity: &mut Entity,
        plan: &TypePlan,
        place: Place,
        seen: &Observation<'_>,
        late_at_us: i64,
        out: &mut Effects,
    ) {
        self.advance(entity, plan, late_at_us, out);
        let too_late = late_at_us.saturating_sub(place.time_us) > plan.correct_us.unwrap_or(0);
        if too_late || self.base_place.is_some_and(|base| place < base) {
            out.uncorrected += 1;
            return;
        }
        let at = self.kept.partition_point(|kept| kept.place < place);
        self.kept.insert(at, Kept::of(place, seen));
        let mut again = Effects::default();
        let mut fresh = self.base.clone();
        for kept in &self.kept {
            fresh.observe(plan, &kept.observation(), &mut again);
            // As its shard does after each.
            fresh.forget_if_blank();
        }
        self.fired_us = fire(&mut fresh, plan, late_at_us, &mut again).unwrap_or(i64::MIN);
        // Who listens to which version is not of the past.
        (fresh.armed_us, fresh.mapper) = (entity.armed_us, entity.mapper);
        *entity = fresh;
        // The signal is no longer lost: what its entity makes of it is its place in the books.
        out.ledger.late = out.ledger.late.wrapping_sub(1);
        out.ledger.open = out.ledger.open.wrapping_add(1);
        out.ledger.add(&again.ledger);
        out.ledger.subtract(&self.books);
        self.books = again.ledger;
        let was = std::mem::replace(&mut self.said, again.candidates.into());
        let changes = compare(was.into(), self.said.iter().cloned().collect());
        if !changes.is_empty() {
            out.corrections.push(Correction {
                time_us: late_at_us,
                position: place.position,
                signal_type: entity.signal_type,
                key: entity.key.clone(),
                by: Because::Late(Input { source: seen.source, time_us: seen.time_us, id: seen.id.into() }),
                changes,
            });
        }
        while self.kept.len() > KEPT_MAX {
            self.let_go(plan);
        }
    }

    fn record<T>(&mut self, out: &mut Effects, run: impl FnOnce(&mut Effects) -> T) -> T {
        let (said, books) = (out.candidates.len(), out.ledger);
        let ran = run(out);
        self.said.extend(out.candidates[said..].iter().cloned());
        self.books.add(&out.ledger);
        self.books.subtract(&books);
        ran
    }

    /// The oldest kept observation becomes part of what can no longer be changed.
    fn let_go(&mut self, plan: &TypePlan) {
        let Some(kept) = self.kept.pop_front() else { return };
        let mut then = Effects::default();
        self.base.observe(plan, &kept.observation(), &mut then);
        self.base.forget_if_blank();
        self.base_place = Some(kept.place);
        self.said.drain(..then.candidates.len().min(self.said.len()));
        self.books.subtract(&then.ledger);
    }
}

/// Fires the timers that are due at `to_us` or before, and tells when the last of them was due.
fn fire(entity: &mut Entity, plan: &TypePlan, to_us: i64, out: &mut Effects) -> Option<i64> {
    let mut fired_us = None;
    while let Some(due_us) = entity.due_us(plan).filter(|&due_us| due_us <= to_us) {
        entity.advance(plan, due_us, out);
        fired_us = Some(due_us);
    }
    fired_us
}

/// Pairs what was said with what should have been, and keeps what differs. Candidates of one kind
/// about one state since one time are the same; what lies between two such is paired in order.
pub(crate) fn compare(was: Vec<Candidate>, is: Vec<Candidate>) -> Vec<Revised> {
    let mut changes = Vec::new();
    // That many sources report a state is no event of its own, and must not be paired with one.
    let is_event = |candidate: &Candidate| candidate.kind != Kind::Spread;
    let (was, is) = (was.into_iter().filter(is_event), is.into_iter().filter(is_event));
    let (mut was, mut is) = (was.peekable(), is.peekable());
    while was.peek().is_some() && was.peek() == is.peek() {
        was.next();
        is.next();
    }
    let (was, is): (Vec<_>, Vec<_>) = (was.collect(), is.collect());
    let anchors = anchors(&was, &is);
    let (mut was, mut is) = (was.into_iter().enumerate().peekable(), is.into_iter().enumerate().peekable());
    for (was_at, is_at) in anchors.into_iter().chain([(usize::MAX, usize::MAX)]) {
        loop {
            let before = was.next_if(|&(at, _)| at < was_at).map(|(_, candidate)| candidate);
            let after = is.next_if(|&(at, _)| at < is_at).map(|(_, candidate)| candidate);
            if before.is_none() && after.is_none() {
                break;
            }
            changes.push(Revised { was: before, is: after });
        }
        let (before, after) = (was.next().map(|(_, candidate)| candidate), is.next().map(|(_, candidate)| candidate));
        if before != after {
            changes.push(Revised { was: before, is: after });
        }
    }
    changes
}

/// A longest common subsequence of what was said and what should have been.
fn anchors(was: &[Candidate], is: &[Candidate]) -> Vec<(usize, usize)> {
    let same = |a: &Candidate, b: &Candidate| {
        a.kind == b.kind && a.to.fingerprint == b.to.fingerprint && a.to.since_us == b.to.since_us
    };
    let mut longest = vec![vec![0_u32; is.len() + 1]; was.len() + 1];
    for (row, a) in was.iter().enumerate().rev() {
        for (column, b) in is.iter().enumerate().rev() {
            longest[row][column] = match same(a, b) {
                true => longest[row + 1][column + 1] + 1,
                false => longest[row + 1][column].max(longest[row][column + 1]),
            };
        }
    }
    let (mut row, mut column) = (0, 0);
    let mut anchors = Vec::new();
    while row < was.len() && column < is.len() {
        if same(&was[row], &is[column]) {
            anchors.push((row, column));
            (row, column) = (row + 1, column + 1);
        } else if longest[row + 1][column] >= longest[row][column + 1] {
            row += 1;
        } else {
            column += 1;
        }
    }
    anchors
}
