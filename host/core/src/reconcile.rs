//! Reconciliation: what is known is compared with an authoritative snapshot, which says how all entities of
//! one signal type are at one time.
//!
//! A snapshot stands at the newest event time that is known when it comes, behind the signals of that time,
//! and is compared once the watermark has passed it. What it says that is known becomes an observation
//! there. What differs is told as drift, and then becomes an observation too, so that holds, gate and books
//! are those of a signal; an entity that is not in it is observed to be no more. Entities are taken in the order
//! of their keys, and of those that differ at most [`ReconcilePlan::rate`] in a second of event time: the
//! others follow, each looked at anew, unless a newer snapshot takes the place of what is left.
//!
//! A signal that is newer than the snapshot is right: its entity is left alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::block::{Block, Row, fingerprint, key_hash};
use crate::columns::outcome;
use crate::entity::{Drift, Entity, Input, Observation};
use crate::event::{self, Data, Event, StateView, Time, id_of};
use crate::gate::source_of;
use crate::order::Place;
use crate::plan::{Mode, TypePlan};
use crate::rule::{Condition, Judge};
use crate::shard::Progress;
use crate::step::Core;

/// How many entities a snapshot may have. What is beyond is a dead letter, and the snapshot then does not tell
/// who is no more.
pub const ROWS_MAX: usize = 1_000_000;

/// How a signal type is compared with its snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReconcilePlan {
    /// How many entities that differ are told and corrected in a second of event time; at least 1.
    pub rate: u32,
    /// An entity of which a signal is so new when the snapshot comes is left alone: the snapshot may have been
    /// taken before it.
    pub grace_us: i64,
}

impl Default for ReconcilePlan {
    fn default() -> Self {
        Self { rate: 1000, grace_us: 10_000_000 }
    }
}

impl TypePlan {
    /// Whether it can be compared with a snapshot: states that last, as their mapper names them.
    pub fn is_comparable(&self) -> bool {
        self.mode == Mode::State && self.level.is_none()
    }
}

const SECOND_US: i64 = 1_000_000;

/// The snapshots that are not done with.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Reconcile {
    /// By signal type: what has come of one so far.
    coming: BTreeMap<u16, Snapshot>,
    /// By signal type: the newest that has come, or what is left of it.
    standing: BTreeMap<u16, Snapshot>,
    /// Entities that differed and had to wait for a later second.
    pub deferred: u64,
    /// Snapshots of which not all could be read.
    pub partial: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Snapshot {
    /// Where it stands; `None` while no event time is known.
    time_us: Option<i64>,
    /// How old it was when it came.
    age_us: i64,
    /// When it, or what is left of it, is looked at next.
    next_us: i64,
    is_compared: bool,
    /// Not all records could be read.
    is_partial: bool,
    /// What it says, by record key; `None`: it does not have that entity.
    says: BTreeMap<Box<str>, Option<Reading>>,
}

/// What a snapshot says of one entity.
#[derive(Debug, Serialize, Deserialize)]
struct Reading {
    state: u8,
    severity: u8,
    mapper: u16,
    source: u32,
    value: Box<str>,
    id: Box<str>,
    id_hash: u64,
    position: u64,
}

impl Reading {
    fn of(block: &Block, row: &Row, position: u64) -> Self {
        Self {
            state: row.state,
            severity: row.severity,
            mapper: row.mapper,
            source: row.source,
            value: block.text(row.value).into(),
            id: block.text(row.id).into(),
            id_hash: row.id_hash,
            position,
        }
    }

    fn observation(&self, time_us: i64) -> Observation<'_> {
        Observation {
            time_us,
            state: self.state,
            value: &self.value,
            fingerprint: fingerprint(self.state, self.value.as_bytes()),
            severity: self.severity,
            id: &self.id,
            source: self.source,
        }
    }

    /// Behind all signals of that time.
    fn place(&self, time_us: i64) -> Place {
        Place { time_us, rank: u64::MAX, id_hash: self.id_hash, position: self.position }
    }
}

impl Snapshot {
    /// Who was observed after this is left alone.
    fn speaks_until_us(&self, plan: ReconcilePlan) -> i64 {
        self.time_us.unwrap_or(i64::MIN).saturating_sub(self.age_us).saturating_sub(plan.grace_us)
    }

    fn open(&self) -> u64 {
        self.says.values().flatten().count() as u64
    }
}

impl Reconcile {
    /// Signals that are in no place of the ledger yet.
    pub fn open(&self) -> u64 {
        self.coming.values().chain(self.standing.values()).map(Snapshot::open).sum()
    }

    /// When the next is looked at, and of which signal type, if `progress` allows.
    pub fn due(&self, progress: Progress) -> Option<(i64, u16)> {
        let timed = self.standing.iter().filter(|(_, snapshot)| snapshot.time_us.is_some());
        let next = timed.map(|(&signal_type, snapshot)| (snapshot.next_us, signal_type)).min();
        next.filter(|&(time_us, _)| time_us < progress.before_us && time_us <= progress.timers_us)
    }

    /// Whether one waits for the first event time.
    pub fn waits_for_time(&self) -> bool {
        self.standing.values().any(|snapshot| snapshot.time_us.is_none())
    }

    /// Those that wait for it stand here.
    pub fn begin_at(&mut self, time_us: i64) {
        for snapshot in self.standing.values_mut().filter(|snapshot| snapshot.time_us.is_none()) {
            (snapshot.time_us, snapshot.next_us) = (Some(time_us), time_us);
        }
    }
}

/// What becomes of what a snapshot says.
enum Step {
    /// It is an observation, and differs from what was known.
    Observe(Option<Drift>),
    /// It says nothing that counts.
    Pass,
}

impl Core {
    /// A snapshot begins; of one that began before and did not end nothing counts.
    pub(crate) fn begin_snapshot(&mut self, signal_type: u16) {
        if let Some(unfinished) = self.reconcile.coming.insert(signal_type, Snapshot::default()) {
            self.ledger.settle(|ledger| &mut ledger.merged_repeated, unfinished.open());
        }
    }

    /// Takes in rows of a snapshot.
    pub(crate) fn gather(&mut self, signal_type: u16, block: &Block) {
        let is_comparable = self.plan.types[usize::from(signal_type)].is_comparable();
        let mut snapshot = self.reconcile.coming.remove(&signal_type).unwrap_or_default();
        for (position, row) in (block.position..).zip(&block.rows) {
            self.ledger.received += 1;
            let row = block.in_force(row);
            let reason = match row.outcome {
                outcome::DROPPED => {
                    self.ledger.dropped += 1;
                    continue;
                }
                outcome::OBSERVED if !is_comparable => {
                    self.ledger.merged_repeated += 1;
                    continue;
                }
                outcome::OBSERVED if row.signal_type != signal_type => "not of the signal type of its snapshot",
                outcome::OBSERVED if snapshot.says.len() >= ROWS_MAX => "a snapshot has at most 1,000,000 entities",
                outcome::OBSERVED => {
                    self.ledger.open += 1;
                    let reading = Reading::of(block, &row, position);
                    if snapshot.says.insert(block.text(row.key).into(), Some(reading)).is_some() {
                        // Of two rows about one entity the last counts.
                        self.ledger.settle(|ledger| &mut ledger.merged_repeated, 1);
                    }
                    continue;
                }
                _ => block.text(row.reason),
            };
            self.ledger.dead_lettered += 1;
            snapshot.is_partial = true;
            self.let_wait(block, &row, position, reason);
        }
        self.reconcile.coming.insert(signal_type, snapshot);
    }

    /// A snapshot has come as a whole: it takes the place of what is left of the one before.
    pub(crate) fn stand(&mut self, signal_type: u16, age_us: i64) {
        let Some(mut snapshot) = self.reconcile.coming.remove(&signal_type) else { return };
        if !self.plan.types[usize::from(signal_type)].is_comparable() {
            return;
        }
        self.reconcile.partial += u64::from(snapshot.is_partial);
        snapshot.age_us = age_us.max(0);
        snapshot.time_us = self.sequencer.stand();
        snapshot.next_us = snapshot.time_us.unwrap_or_default();
        if let Some(before) = self.reconcile.standing.insert(signal_type, snapshot) {
            self.ledger.settle(|ledger| &mut ledger.merged_repeated, before.open());
        }
    }

    /// Looks at a snapshot, or at what is left of it, at its next time; all before that is done.
    pub(crate) fn reconcile(&mut self, signal_type: u16, judge: &mut dyn Judge, out: &mut Vec<Event>) {
        let Some(mut snapshot) = self.reconcile.standing.remove(&signal_type) else { return };
        let plan = Arc::clone(&self.plan);
        let of_type = &plan.types[usize::from(signal_type)];
        let time_us = snapshot.next_us;
        if !std::mem::replace(&mut snapshot.is_compared, true) {
            self.compare(signal_type, of_type, &mut snapshot);
            let over = snapshot.says.len().saturating_sub(of_type.reconcile.rate as usize);
            self.reconcile.deferred += over as u64;
        }
        let speaks_until_us = snapshot.speaks_until_us(of_type.reconcile);
        let mut drifts = Vec::new();
        for _ in 0..of_type.reconcile.rate.max(1) {
            let Some((key, reading)) = snapshot.says.pop_first() else { break };
            let known = self.known(signal_type, &key);
            let step = step_of(of_type, known, reading.as_ref(), time_us, speaks_until_us);
            if let Step::Observe(Some(drift)) = step {
                drifts.push(self.drift(drift, signal_type, &key, reading.as_ref(), &snapshot));
            }
            self.take(signal_type, &key, reading.as_ref(), &step, time_us);
        }
        let (_, _, mut exit) = self.exit(judge, out);
        for drift in drifts {
            exit.emit(time_us, drift);
        }
        self.let_out(Progress::through(time_us), judge, out);
        if !snapshot.says.is_empty() {
            snapshot.next_us = time_us.saturating_add(SECOND_US);
            self.reconcile.standing.insert(signal_type, snapshot);
        }
    }

    /// Leaves what differs in the snapshot, and who is not in it; the others are observed at once.
    fn compare(&mut self, signal_type: u16, plan: &TypePlan, snapshot: &mut Snapshot) {
        let time_us = snapshot.next_us;
        let speaks_until_us = snapshot.speaks_until_us(plan.reconcile);
        let mut orphans = Vec::new();
        // Who could not be read may be anybody.
        if !snapshot.is_partial {
            let says = &snapshot.says;
            for shard in &self.shards {
                shard.each(|entity, _, _| {
                    let is_missing = entity.signal_type == signal_type && !says.contains_key(&entity.key);
                    let is_orphan =
                        || matches!(step_of(plan, Some(entity), None, time_us, speaks_until_us), Step::Observe(_));
                    if is_missing && is_orphan() {
                        orphans.push((entity.key.clone(), None));
                    }
                });
            }
        }
        for (key, reading) in std::mem::take(&mut snapshot.says) {
            let known = self.known(signal_type, &key);
            let step = step_of(plan, known, reading.as_ref(), time_us, speaks_until_us);
            match step {
                Step::Observe(Some(_)) => drop(snapshot.says.insert(key, reading)),
                _ => self.take(signal_type, &key, reading.as_ref(), &step, time_us),
            }
        }
        snapshot.says.extend(orphans);
    }

    fn known(&self, signal_type: u16, key: &str) -> Option<&Entity> {
        let hash = key_hash(signal_type, key.as_bytes());
        self.shards[(hash % self.shards.len() as u64) as usize].known(signal_type, key, hash)
    }

    /// An entity takes in what a snapshot says of it.
    fn take(&mut self, signal_type: u16, key: &str, reading: Option<&Reading>, step: &Step, time_us: i64) {
        if let Step::Pass = step {
            let signals = u64::from(reading.is_some());
            return self.ledger.settle(|ledger| &mut ledger.merged_repeated, signals);
        }
        let hash = key_hash(signal_type, key.as_bytes());
        let shard = (hash % self.shards.len() as u64) as usize;
        let types = &self.plan.types;
        let end = end_of(&types[usize::from(signal_type)], time_us);
        let (seen, place, mapper) = match reading {
            Some(reading) => (reading.observation(time_us), reading.place(time_us), reading.mapper),
            None => {
                self.ledger.echo();
                (end, Place { time_us, rank: u64::MAX, id_hash: 0, position: 0 }, 0)
            }
        };
        self.shards[shard].observe_snapshot(types, (signal_type, key, hash), place, &seen, mapper);
    }

    fn drift(
        &self,
        drift: Drift,
        signal_type: u16,
        key: &str,
        reading: Option<&Reading>,
        snapshot: &Snapshot,
    ) -> Event {
        let plan = &self.plan.types[usize::from(signal_type)];
        let time_us = snapshot.next_us;
        let view = |state: u8, value: Option<Box<str>>| StateView {
            state: plan.state_name(state).into(),
            value,
            condition: plan.condition(state),
        };
        let known = self.known(signal_type, key);
        let standing = known.and_then(Entity::known);
        let input =
            reading.map(|reading| Input { source: reading.source, time_us, id: reading.id.as_ref().to_owned() });
        let mapper = reading.map(|reading| reading.mapper).or(known.map(|known| known.mapper)).unwrap_or_default();
        let data = event::Drift {
            signal: plan.name.as_str().into(),
            kind: drift.name(),
            known: standing.map(|known| view(known.state, known.value.clone())),
            since: standing.map(|known| Time(known.since_us)),
            snapshot: reading
                .map(|reading| view(reading.state, Some(reading.value.clone()).filter(|it| !it.is_empty()))),
            taken: Time(snapshot.time_us.unwrap_or(time_us)),
            record: input.and_then(|input| source_of(&input, &self.sources)),
            mapper: plan.mapper(mapper).into(),
            config: self.plan.config_digest.as_str().into(),
        };
        let parts: [&[u8]; 4] = [b"drift", &signal_type.to_le_bytes(), key.as_bytes(), &time_us.to_le_bytes()];
        Event::new(
            "stillhouse.drift",
            id_of(&parts),
            Some(key.into()),
            Some(Time(time_us)),
            Data::Drift(Box::new(data)),
        )
    }
}

/// What an entity is observed to be that is not in a snapshot: gone, or clear where its mapper has no such state.
fn end_of(plan: &TypePlan, time_us: i64) -> Observation<'static> {
    let state = plan.end_state();
    let fingerprint = fingerprint(state, b"");
    Observation { time_us, state, value: "", fingerprint, severity: 0, id: "", source: u32::MAX }
}

fn step_of(
    plan: &TypePlan,
    known: Option<&Entity>,
    reading: Option<&Reading>,
    time_us: i64,
    speaks_until_us: i64,
) -> Step {
    let known = known.filter(|entity| !entity.is_blank());
    if known.is_some_and(|entity| entity.is_newer_than(speaks_until_us)) {
        return Step::Pass;
    }
    let seen = reading.map(|reading| reading.observation(time_us));
    match (known, seen) {
        (Some(entity), Some(seen)) => Step::Observe(entity.drift(plan, &seen)),
        (Some(entity), None) if entity.is_orphan(end_of(plan, time_us).fingerprint) => {
            Step::Observe(Some(Drift::Orphan))
        }
        (None, Some(seen)) => match plan.condition(seen.state) {
            Condition::Problem => Step::Observe(Some(Drift::Missing)),
            Condition::Healthy => Step::Observe(None),
            Condition::Gone => Step::Pass,
        },
        (_, None) => Step::Pass,
    }
}
