//! The core as a function: entries of the log in, distilled events out.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::block::{Block, NO_TIME, NO_TYPE, Row};
use crate::columns::outcome;
use crate::derive::Derive;
use crate::entity::Candidate;
use crate::event::{Data, DeadLetter, Event, Late, Time, id_of, raw_text};
use crate::gate::{Exit, Gate};
use crate::leap::LEAPS_AGREE;
use crate::ledger::Ledger;
use crate::past::Correction;
use crate::plan::{Plan, TypePlan};
use crate::reconcile::Reconcile;
use crate::rule::{Judge, RuleId, Turn};
use crate::sequencer::{Bounds, Route, Sequencer};
use crate::shard::{Progress, Shard, Withdrawal};
use crate::table::{Table, Tables};
use crate::trial::Over;

/// An entry of the log.
#[derive(Clone, Debug)]
pub enum Entry {
    /// The next source, which is waited for from now on; sources are numbered from 0 in the order of
    /// this entry and the next.
    Source(Box<str>),
    /// The next source, which is waited for from its first signal on.
    SourceUnheard(Box<str>),
    /// The next source, of which there are snapshots only.
    SnapshotSource(Box<str>),
    /// Signals, mapped.
    Signals(Arc<Block>),
    /// A snapshot of all entities of this signal type begins. What came of one that was not ended is let go:
    /// the host was stopped in the middle of it.
    SnapshotBegins(u16),
    /// Records of a snapshot, mapped. One that is large takes several entries; what its rows say of their time
    /// does not count.
    SnapshotRows {
        /// Index of the signal type.
        signal_type: u16,
        /// The records.
        block: Arc<Block>,
    },
    /// All rows of a snapshot have come, and it takes the place of the one before.
    Snapshot {
        /// Index of the signal type.
        signal_type: u16,
        /// How old it was when it was read.
        age_us: i64,
    },
    /// A table from now on, or a new version of it.
    Table(Arc<Table>),
    /// A source has ended.
    SourceEnded(u32),
    /// Wall-clock time, in microseconds since 1970.
    Tick(i64),
    /// The versions of a rule change. All that came before is done with what was in force before.
    Rules(Change),
    /// All inputs have been read up to this event time, so that who is silent is known without a
    /// clock.
    ReadTo(i64),
    /// The input has ended: what waits for order is processed; what is open stays open.
    End,
    /// The input goes on after all: what was processed at its end is past.
    GoesOn,
}

/// How the versions of a rule change.
#[derive(Clone, Debug)]
pub enum Change {
    /// Another version of a mapper may answer from now on, beside the one in force or in its place;
    /// rows say which did. The plan of its type: the states are those of before, and maybe more.
    Mapper {
        /// Index of the signal type.
        signal_type: u16,
        /// With all versions that have answered in [`TypePlan::mappers`].
        plan: Box<TypePlan>,
    },
    /// The trial of a mapper is over.
    MapperTried {
        /// Index of the signal type.
        signal_type: u16,
        /// The version that is in force from now on.
        stable: u16,
        /// The version that is withdrawn, if it is the tried one, and whether what it has changed is
        /// distilled again without it.
        withdrawn: Option<(RuleId, bool)>,
    },
    /// The versions of a suppressor change as the [`Judge`] is told.
    Suppressor {
        /// Index of the signal type.
        signal_type: u16,
        /// How.
        turn: Turn,
    },
}

/// Runs a function on every shard; the driver may do it on threads.
pub type RunShards<'a> = &'a dyn Fn(&mut [Shard], &(dyn Fn(&mut Shard) + Sync));

/// The core and all its state.
pub struct Core {
    pub(crate) plan: Arc<Plan>,
    pub(crate) sources: Vec<Box<str>>,
    pub(crate) sequencer: Sequencer,
    pub(crate) shards: Vec<Shard>,
    pub(crate) gate: Gate,
    pub(crate) derive: Derive,
    pub(crate) tables: Tables,
    pub(crate) ledger: Ledger,
    /// Events about single signals, waiting for their place in the total order.
    pub(crate) waiting: BTreeMap<Place, Event>,
    routed: Vec<Vec<u32>>,
    echoes: Vec<Vec<u32>>,
    /// Late signals that came too late to be taken in.
    pub(crate) uncorrected: u64,
    pub(crate) not_taken_back: u64,
    pub(crate) reconcile: Reconcile,
}

/// Where an event about a single signal stands: at a watermark, before the signals of that time
/// (late, dead letter without a usable time), or among the signals of its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place {
    time_us: i64,
    phase: u8,
    rank: u64,
    id_hash: u64,
    position: u64,
}

const AT_TIMER: u8 = 0;
const AT_WATERMARK: u8 = 1;
const AT_SIGNAL: u8 = 2;

impl Core {
    /// A core that has seen nothing. `shards` changes nothing but how the work can be divided.
    ///
    /// # Panics
    /// If `shards` is 0.
    pub fn new(plan: Arc<Plan>, shards: usize) -> Self {
        assert!(shards > 0, "the core needs at least one shard");
        Self {
            sources: Vec::new(),
            sequencer: Sequencer::new(plan.order.clone()),
            shards: (0..shards).map(|_| Shard::default()).collect(),
            gate: Gate::default(),
            derive: Derive::default(),
            tables: Tables::default(),
            ledger: Ledger::default(),
            waiting: BTreeMap::new(),
            routed: vec![Vec::new(); shards],
            echoes: vec![Vec::new(); shards],
            uncorrected: 0,
            not_taken_back: 0,
            reconcile: Reconcile::default(),
            plan,
        }
    }

    /// Takes in entries and appends what leaves to `out`, on this thread.
    pub fn step(&mut self, entries: impl IntoIterator<Item = Entry>, judge: &mut dyn Judge, out: &mut Vec<Event>) {
        self.step_with(entries, judge, out, &|shards, run| shards.iter_mut().for_each(run));
    }

    /// As [`Core::step`], with the shards run by `run`. How the entries are divided into calls
    /// changes nothing in what leaves.
    pub fn step_with(
        &mut self,
        entries: impl IntoIterator<Item = Entry>,
        judge: &mut dyn Judge,
        out: &mut Vec<Event>,
        run: RunShards<'_>,
    ) {
        let mut ended = false;
        for entry in entries {
            if let Entry::Rules(change) = entry {
                self.pass(false, judge, out, run);
                self.change(change, judge, out);
                continue;
            }
            if let Entry::Snapshot { signal_type, age_us } = entry {
                // What is left of the one before ends here, and not earlier.
                self.pass(false, judge, out, run);
                self.stand(signal_type, age_us);
                continue;
            }
            match entry {
                Entry::Source(name) => {
                    self.sources.push(name);
                    self.sequencer.add_source(true);
                }
                Entry::SourceUnheard(name) => {
                    self.sources.push(name);
                    self.sequencer.add_source(false);
                }
                Entry::SnapshotSource(name) => {
                    self.sources.push(name);
                    self.sequencer.add_source_apart();
                }
                Entry::Signals(block) => self.sequence(&block),
                Entry::SnapshotBegins(signal_type) => self.begin_snapshot(signal_type),
                Entry::SnapshotRows { signal_type, block } => self.gather(signal_type, &block),
                Entry::Table(table) => self.tables.set(table, self.sequencer.watermark_us()),
                Entry::SourceEnded(source) => self.sequencer.end_source(source),
                Entry::Tick(now_us) => self.sequencer.tick(now_us),
                Entry::ReadTo(time_us) => self.sequencer.read_to(time_us),
                Entry::GoesOn => self.sequencer.go_on(),
                Entry::Rules(_) | Entry::Snapshot { .. } => {}
                Entry::End => ended = true,
            }
        }
        self.pass(ended, judge, out, run);
    }

    /// Does what the entries so far allow.
    fn pass(&mut self, ended: bool, judge: &mut dyn Judge, out: &mut Vec<Event>, run: RunShards<'_>) {
        let progress = self.progress(ended);
        while let Some((time_us, signal_type)) = self.reconcile.due(progress) {
            self.advance(Progress::through(time_us), judge, out, run);
            self.reconcile(signal_type, judge, out);
        }
        self.advance(progress, judge, out, run);
    }

    fn advance(&mut self, progress: Progress, judge: &mut dyn Judge, out: &mut Vec<Event>, run: RunShards<'_>) {
        let plan = Arc::clone(&self.plan);
        run(&mut self.shards, &|shard| shard.advance(&plan, progress));
        self.let_out(progress, judge, out);
    }

    fn change(&mut self, change: Change, judge: &mut dyn Judge, out: &mut Vec<Event>) {
        match change {
            Change::Mapper { signal_type, plan } => {
                Arc::make_mut(&mut self.plan).types[usize::from(signal_type)] = *plan;
            }
            Change::MapperTried { signal_type, stable, withdrawn } => {
                let position = self.ledger.received;
                let over = Over {
                    signal_type,
                    position,
                    until_us: self.sequencer.newest_us(),
                    withdrawn: withdrawn.is_some(),
                };
                if let Some((rule, retroactive)) = &withdrawn {
                    let now_us = self.sequencer.watermark_us();
                    let withdrawal = Withdrawal { signal_type, stable, rule, now_us, position };
                    self.shards.iter_mut().for_each(|shard| shard.withdraw(&self.plan, &withdrawal, *retroactive));
                    self.let_out(self.progress(false), judge, out);
                }
                let (types, now_us) = (&self.plan.types, self.sequencer.watermark_us());
                self.shards.iter_mut().for_each(|shard| shard.end_trial(types, over, now_us));
                self.gate.end_trial(signal_type);
            }
            Change::Suppressor { signal_type, turn } => {
                judge.turn(signal_type, &turn);
                let now_us = self.sequencer.watermark_us();
                let (gate, _, mut exit) = self.exit(judge, out);
                gate.turned(signal_type, &turn, now_us, &mut exit);
            }
        }
    }

    fn progress(&self, ended: bool) -> Progress {
        let watermark_us = self.sequencer.watermark_us();
        let newest_us = self.sequencer.newest_us();
        if ended && newest_us != i64::MIN && newest_us >= watermark_us {
            // What the newest signal says is known; what would come after it is not.
            Progress::through(newest_us)
        } else {
            Progress::to(watermark_us)
        }
    }

    /// Goes through a block in log order and gives each row to where it belongs.
    fn sequence(&mut self, block: &Arc<Block>) {
        let shards = self.shards.len() as u64;
        let mut waits_for_time = self.reconcile.waits_for_time();
        for (index, row) in block.rows.iter().enumerate() {
            self.ledger.received += 1;
            let watermark_us = self.sequencer.watermark_us();
            let passed = row.time_us < watermark_us;
            let position = block.position + index as u64;
            let at_watermark =
                Place { time_us: watermark_us, phase: AT_WATERMARK, rank: position, id_hash: 0, position };
            let route = self.sequencer.route(row);
            if waits_for_time && let Some(time_us) = self.sequencer.stand() {
                self.reconcile.begin_at(time_us);
                waits_for_time = false;
            }
            match route {
                Route::Admitted => {
                    self.ledger.open += 1;
                    self.routed[(row.key_hash % shards) as usize].push(index as u32);
                    self.echo(block, index, row);
                }
                Route::Dropped => {
                    self.ledger.dropped += 1;
                    if !passed {
                        self.echo(block, index, row);
                    }
                }
                Route::Duplicate => self.ledger.merged_id += 1,
                Route::Late => {
                    self.ledger.late += 1;
                    let event = self.late(block, row, watermark_us);
                    self.waiting.insert(at_watermark, event);
                    if self.plan.types[row.signal_type as usize].correct_us.is_some() {
                        let shard = (row.key_hash % shards) as usize;
                        self.shards[shard].push_late(block, index as u32, watermark_us);
                    }
                }
                Route::DeadNow => {
                    self.ledger.dead_lettered += 1;
                    let event = self.dead_letter(block, row, block.text(row.reason));
                    self.waiting.insert(at_watermark, event);
                }
                Route::Leap => {
                    self.ledger.dead_lettered += 1;
                    let observed = row.outcome == outcome::OBSERVED;
                    let leap = leap_reason(&self.plan);
                    let event = self.dead_letter(block, row, if observed { &leap } else { block.text(row.reason) });
                    self.waiting.insert(at_watermark, event);
                }
                Route::Dead => {
                    self.ledger.dead_lettered += 1;
                    let event = self.dead_letter(block, row, block.text(row.reason));
                    let (time_us, rank, id_hash) = (row.time_us, row.rank, row.id_hash);
                    self.waiting.insert(Place { time_us, phase: AT_SIGNAL, rank, id_hash, position }, event);
                }
            }
        }
        for (shard, rows) in self.shards.iter_mut().zip(&mut self.routed) {
            shard.push(block, rows);
            rows.clear();
        }
        for (shard, rows) in self.shards.iter_mut().zip(&mut self.echoes) {
            rows.drain(..).for_each(|row| shard.push_echo(block, row));
        }
    }

    /// Gives a row also to the entity that the other version of its mapper makes of it.
    fn echo(&mut self, block: &Arc<Block>, index: usize, row: &Row) {
        if let Some(other) = block.echo(row) {
            let shard = (other.key_hash % self.shards.len() as u64) as usize;
            self.echoes[shard].push(index as u32);
        }
    }

    /// Lets out, in total order, what can no longer be preceded by anything.
    pub(crate) fn let_out(&mut self, progress: Progress, judge: &mut dyn Judge, out: &mut Vec<Event>) {
        let (mut candidates, mut corrections, mut tallies) = (Vec::new(), Vec::new(), Vec::new());
        for shard in &mut self.shards {
            let effects = shard.take_effects();
            self.ledger.add(&effects.ledger);
            self.uncorrected += effects.uncorrected;
            self.not_taken_back += effects.not_taken_back;
            candidates.extend(effects.candidates);
            corrections.extend(effects.corrections);
            tallies.push(effects.tally);
        }
        self.derive.count(tallies);
        // Stable: what one entity does at one time stays in its order, and one entity is in one shard.
        candidates.sort_by(|a, b| order_of(a).cmp(&order_of(b)));
        let place = |it: &Correction| (it.time_us, it.position, it.signal_type);
        corrections.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.key.cmp(&b.key)));
        let mut corrections = corrections.into_iter().peekable();
        let (gate, waiting, mut exit) = self.exit(judge, out);
        let mut batched = gate.judge(&candidates, &mut exit);
        for candidate in candidates {
            let place = (candidate.time_us, phase_of(&candidate), 0);
            correct(&mut corrections, place, waiting, gate, &mut exit);
            release(waiting, place, gate, &mut exit);
            gate.pass(candidate, &mut batched, &mut exit);
        }
        let is_late_due = progress.late_us >= progress.before_us;
        let end = (progress.before_us, if is_late_due { AT_SIGNAL } else { AT_TIMER }, 0);
        correct(&mut corrections, end, waiting, gate, &mut exit);
        release(waiting, end, gate, &mut exit);
        gate.fire(progress.timers_us, &mut exit);
        exit.derive.fire(progress.timers_us, exit.plan, exit.tables, exit.out);
        // Derived events ask for the tables before their own time.
        self.tables.forget(progress.timers_us.saturating_sub(1));
    }

    /// The gate, the events that wait for their place, and what is needed at hand to let events leave.
    pub(crate) fn exit<'a>(
        &'a mut self,
        judge: &'a mut dyn Judge,
        out: &'a mut Vec<Event>,
    ) -> (&'a mut Gate, &'a mut BTreeMap<Place, Event>, Exit<'a>) {
        let exit = Exit {
            plan: &self.plan,
            sources: &self.sources,
            tables: &self.tables,
            judge,
            ledger: &mut self.ledger,
            derive: &mut self.derive,
            out,
        };
        (&mut self.gate, &mut self.waiting, exit)
    }

    /// A record of a snapshot that cannot be used waits for its place at the watermark.
    pub(crate) fn let_wait(&mut self, block: &Block, row: &Row, position: u64, reason: &str) {
        let row = Row { time_us: NO_TIME, ..*row };
        let mut event = self.dead_letter(block, &row, reason);
        let (source, id) = self.identity(block, &row);
        // The same record may come with every snapshot.
        event.id = id_of(&[b"dead-letter", source.as_bytes(), id.as_bytes(), b"snapshot", &position.to_le_bytes()]);
        let time_us = self.sequencer.watermark_us();
        self.waiting.insert(Place { time_us, phase: AT_WATERMARK, rank: position, id_hash: 0, position }, event);
    }

    fn late(&self, block: &Block, row: &Row, watermark_us: i64) -> Event {
        let (source, id) = self.identity(block, row);
        let data = Late {
            signal: self.plan.types[row.signal_type as usize].name.as_str().into(),
            source: source.into(),
            id: id.into(),
            watermark: Time(watermark_us),
            late_us: watermark_us - row.time_us,
            raw: raw_text(&block.raw(row.raw)),
        };
        let event_id = id_of(&[b"late", source.as_bytes(), id.as_bytes(), &row.time_us.to_le_bytes()]);
        let subject = Some(block.text(row.key).into());
        Event::new("stillhouse.late", event_id, subject, Some(Time(row.time_us)), Data::Late(Box::new(data)))
    }

    fn dead_letter(&self, block: &Block, row: &Row, reason: &str) -> Event {
        let (source, id) = self.identity(block, row);
        let plan = self.plan.types.get(row.signal_type as usize).filter(|_| row.signal_type != NO_TYPE);
        let mapped = row.outcome == outcome::REJECTED || row.outcome == outcome::FAILED && row.time_us != NO_TIME;
        let data = DeadLetter {
            signal: plan.map(|plan| plan.name.as_str().into()),
            source: source.into(),
            id: id.into(),
            reason: reason.into(),
            mapper: plan.filter(|_| mapped).map(|plan| plan.mapper(row.mapper).into()),
            raw: raw_text(&block.raw(row.raw)),
        };
        let time = (row.time_us != NO_TIME).then_some(Time(row.time_us));
        let event_id = id_of(&[b"dead-letter", source.as_bytes(), id.as_bytes(), &row.time_us.to_le_bytes()]);
        Event::new("stillhouse.dead-letter", event_id, None, time, Data::DeadLetter(Box::new(data)))
    }

    fn identity<'a>(&'a self, block: &'a Block, row: &Row) -> (&'a str, &'a str) {
        (self.sources.get(row.source as usize).map_or("", |name| name), block.text(row.id))
    }

    /// The books. They balance after every step.
    pub fn ledger(&self) -> Ledger {
        self.ledger
    }

    /// Signals that are in no final place, counted one by one where they are: what
    /// [`Ledger::open`] must be. Slow; for tests.
    pub fn count_open(&self) -> u64 {
        self.shards.iter().map(Shard::open).sum::<u64>() + self.gate.open() + self.reconcile.open()
    }

    /// How many entities have something open under a version of their mapper.
    pub fn open_under(&self, signal_type: u16, mapper: u16) -> u64 {
        self.shards.iter().map(|shard| shard.open_under(&self.plan, signal_type, mapper)).sum()
    }

    /// How many entities would be other ones without the versions that are tried.
    pub fn twins(&self) -> usize {
        self.shards.iter().map(Shard::twins).sum()
    }

    /// When the oldest incident began that is open; `None` if none is.
    pub fn needed_us(&self) -> Option<i64> {
        self.derive.needed_us()
    }

    /// How many entities are known.
    pub fn entities(&self) -> usize {
        self.shards.iter().map(Shard::entities).sum()
    }

    /// No signal older than this is waited for any more; `i64::MIN` before the first.
    pub fn watermark_us(&self) -> i64 {
        self.sequencer.watermark_us()
    }

    /// What happened at a bound so far.
    pub fn bounds(&self) -> Bounds {
        let (memos_forgotten, changes_forgotten) = self.gate.forgotten();
        let (untracked, uncorrected) = (self.derive.untracked(), self.uncorrected);
        let not_taken_back = self.not_taken_back + self.gate.not_taken_back();
        let bounds = self.sequencer.bounds();
        let (reconciled_later, partial_snapshots) = (self.reconcile.deferred, self.reconcile.partial);
        Bounds {
            memos_forgotten,
            changes_forgotten,
            untracked,
            uncorrected,
            not_taken_back,
            reconciled_later,
            partial_snapshots,
            ..bounds
        }
    }
}

fn phase_of(candidate: &Candidate) -> u8 {
    if candidate.by_timer { AT_TIMER } else { AT_SIGNAL }
}

fn order_of(candidate: &Candidate) -> (i64, u8, &str, u16) {
    (candidate.time_us, phase_of(candidate), &candidate.key, candidate.signal_type)
}

/// Corrects what comes before `place`, each after the event about its late signal.
fn correct(
    corrections: &mut Peekable<impl Iterator<Item = Correction>>,
    place: (i64, u8, u64),
    waiting: &mut BTreeMap<Place, Event>,
    gate: &mut Gate,
    exit: &mut Exit<'_>,
) {
    let is_before = |correction: &Correction| (correction.time_us, AT_WATERMARK, correction.position) < place;
    while let Some(correction) = corrections.next_if(is_before) {
        release(waiting, (correction.time_us, AT_WATERMARK, correction.position + 1), gate, exit);
        gate.correct(correction, exit);
    }
}

/// Lets out the events about single signals that come before `place`.
fn release(waiting: &mut BTreeMap<Place, Event>, place: (i64, u8, u64), gate: &mut Gate, exit: &mut Exit<'_>) {
    while let Some(first) = waiting.first_entry() {
        let at = first.key();
        if (at.time_us, at.phase, at.rank) >= place {
            break;
        }
        let time_us = at.time_us;
        gate.fire(time_us, exit);
        exit.emit(time_us, first.remove());
    }
}

/// Why a leap is a dead letter. It does not say how far it leapt, so that equal reasons can be counted.
fn leap_reason(plan: &Plan) -> String {
    let max_s = plan.order.leap_max_us.unwrap_or_default() / 1_000_000;
    format!(
        "event time: more than {max_s} s ahead of all other signals (`leap_max`); believed once {LEAPS_AGREE} in a row agree"
    )
}
