//! The sequencer: goes through the log once, row by row, and decides what depends on all sources:
//! the watermark, what is late, and what came twice.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, binary_heap::PeekMut};

use serde::{Deserialize, Serialize};

use crate::block::{NO_TIME, Row};
use crate::columns::outcome;
use crate::last_seen::LastSeen;
use crate::leap::Leaps;
use crate::plan::OrderPlan;

/// How many sources are told apart. Signals of further ones share the last.
pub const SOURCES_MAX: usize = 65_536;

/// Where a row goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To its entity, once the watermark has passed it.
    Admitted,
    /// Its mapper dropped it.
    Dropped,
    /// An equal id came before.
    Duplicate,
    /// The watermark had passed it.
    Late,
    /// A dead letter, in its place in event time.
    Dead,
    /// A dead letter that has no time, or whose time has passed.
    DeadNow,
    /// A dead letter whose time is not believed: it is too far ahead of all others.
    Leap,
}

/// What happened at a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// How often the watermark was moved on because too many signals were waiting.
    pub forced: u64,
    /// How often ids were forgotten before their window had passed.
    pub ids_forgotten: u64,
    /// How often an entity could not become a member of an incident because there were too many.
    pub untracked: u64,
    /// How many memos of suppressors were forgotten because there were too many.
    pub memos_forgotten: u64,
    /// How many changes of entities were forgotten before suppressors could count them.
    pub changes_forgotten: u64,
    /// How many late signals of types with corrections came too late for them too.
    pub uncorrected: u64,
    /// How many entities that differ from a snapshot had to wait for a later second.
    pub reconciled_later: u64,
    /// How many snapshots could not be read as a whole, so that who is not in them was left alone.
    pub partial_snapshots: u64,
    /// How much of what a version of a rule said could not be taken back when it was withdrawn.
    pub not_taken_back: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Source {
    newest_us: i64,
    /// The latest tick before its last signal.
    active_us: i64,
    state: SourceState,
    leaps: Leaps,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum SourceState {
    Active,
    Idle,
    Ended,
    /// It makes snapshots, and says nothing of how far event time has come.
    Apart,
}

/// What a sequencer knows, as a checkpoint has it.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Saved {
    sources: Vec<Source>,
    watermark_us: i64,
    newest_us: i64,
    snapshot_us: i64,
    tick_us: Option<i64>,
    ids: [Vec<(u64, i64)>; 2],
    ids_newest_us: [i64; 2],
    ids_began_us: i64,
    waiting_width_us: i64,
    waiting: BTreeMap<i64, u64>,
    bounds: Bounds,
}

/// Decides on each row in log order.
#[derive(Debug)]
pub struct Sequencer {
    plan: OrderPlan,
    sources: Vec<Source>,
    /// Active sources by their newest event time; entries may be behind the truth.
    slowest: BinaryHeap<Reverse<(i64, u32)>>,
    watermark_us: i64,
    newest_us: i64,
    /// Where the newest snapshot stands.
    snapshot_us: i64,
    tick_us: Option<i64>,
    ids: Ids,
    waiting: Waiting,
    bounds: Bounds,
}

impl Sequencer {
    /// A sequencer that has seen nothing.
    pub fn new(plan: OrderPlan) -> Self {
        let width_us = (plan.allowed_lateness_us / 64).max(1000);
        Self {
            sources: Vec::new(),
            slowest: BinaryHeap::new(),
            watermark_us: i64::MIN,
            newest_us: i64::MIN,
            snapshot_us: i64::MIN,
            tick_us: None,
            ids: Ids::default(),
            waiting: Waiting { width_us, buckets: BTreeMap::new(), last: (i64::MIN, 0), total: 0 },
            bounds: Bounds::default(),
            plan,
        }
    }

    /// What it knows, to be checkpointed.
    pub(crate) fn save(&mut self) -> Saved {
        self.waiting.store_last();
        Saved {
            sources: self.sources.clone(),
            watermark_us: self.watermark_us,
            newest_us: self.newest_us,
            snapshot_us: self.snapshot_us,
            tick_us: self.tick_us,
            ids: self.ids.halves.each_ref().map(LastSeen::sorted),
            ids_newest_us: self.ids.newest_us,
            ids_began_us: self.ids.began_us,
            waiting_width_us: self.waiting.width_us,
            waiting: self.waiting.buckets.clone(),
            bounds: self.bounds,
        }
    }

    /// A sequencer that knows what another has saved.
    pub(crate) fn restore(plan: OrderPlan, saved: Saved) -> Self {
        let mut sequencer = Self::new(plan);
        sequencer.sources = saved.sources;
        let active = sequencer.sources.iter().zip(0..).filter(|(source, _)| source.state == SourceState::Active);
        sequencer.slowest = active.map(|(source, index)| Reverse((source.newest_us, index))).collect();
        sequencer.watermark_us = saved.watermark_us;
        sequencer.newest_us = saved.newest_us;
        sequencer.snapshot_us = saved.snapshot_us;
        sequencer.tick_us = saved.tick_us;
        sequencer.ids =
            Ids { halves: saved.ids.map(LastSeen::from), newest_us: saved.ids_newest_us, began_us: saved.ids_began_us };
        // Another plan may count in other buckets; a signal is counted where its bucket began.
        let width_us = sequencer.waiting.width_us;
        for (bucket, count) in saved.waiting {
            let bucket = match saved.waiting_width_us == width_us {
                true => bucket,
                false => bucket.saturating_mul(saved.waiting_width_us).div_euclid(width_us),
            };
            sequencer.waiting.total = sequencer.waiting.total.saturating_add(count);
            let waiting = sequencer.waiting.buckets.entry(bucket).or_default();
            *waiting = waiting.saturating_add(count);
        }
        sequencer.bounds = saved.bounds;
        sequencer
    }

    /// Announces the next source. It holds the watermark back from now on if it is `awaited`, and
    /// else from its first signal on.
    pub fn add_source(&mut self, awaited: bool) {
        if self.sources.len() < SOURCES_MAX {
            let active_us = self.tick_us.unwrap_or(i64::MIN);
            let state = if awaited { SourceState::Active } else { SourceState::Idle };
            self.sources.push(Source { newest_us: i64::MIN, active_us, state, leaps: Leaps::default() });
            if awaited {
                self.slowest.push(Reverse((i64::MIN, self.sources.len() as u32 - 1)));
            }
        }
    }

    /// Announces the next source, of which there are snapshots only.
    pub fn add_source_apart(&mut self) {
        if self.sources.len() < SOURCES_MAX {
            let (newest_us, active_us, leaps) = (i64::MIN, i64::MIN, Leaps::default());
            self.sources.push(Source { newest_us, active_us, state: SourceState::Apart, leaps });
        }
    }

    /// Where a snapshot stands that comes now: behind all that is known; `None` where no event time is.
    pub fn stand(&mut self) -> Option<i64> {
        if self.newest_us == i64::MIN {
            return None;
        }
        self.snapshot_us = self.snapshot_us.max(self.known_us());
        Some(self.known_us())
    }

    /// How far event time has come: ticks move it on while all are silent.
    fn known_us(&self) -> i64 {
        self.newest_us.max(self.watermark_us.saturating_add(self.plan.allowed_lateness_us))
    }

    /// A source that will say no more does not hold the others back.
    pub fn end_source(&mut self, source: u32) {
        if let Some(source) = self.sources.get_mut(source as usize) {
            source.state = SourceState::Ended;
        }
        self.move_watermark();
    }

    /// Wall-clock time, as the log tells it: sources that are silent for too long no longer hold
    /// the others back. Where all are, event time goes on as fast as the ticks.
    pub fn tick(&mut self, now_us: i64) {
        let now_us = self.tick_us.map_or(now_us, |before_us| before_us.max(now_us));
        self.tick_us = Some(now_us);
        let Some(idle_after_us) = self.plan.idle_after_us else { return };
        for source in self.sources.iter_mut().filter(|source| source.state != SourceState::Apart) {
            if source.active_us == i64::MIN {
                source.active_us = now_us;
            }
            if source.state == SourceState::Active && now_us - source.active_us >= idle_after_us {
                source.state = SourceState::Idle;
            }
        }
        self.move_watermark();
        let all_idle = self.sources.iter().all(|source| source.state != SourceState::Active);
        if all_idle && self.newest_us != i64::MIN {
            let last_us = self.sources.iter().map(|source| source.active_us).max().unwrap_or(now_us);
            let event_now_us = self.newest_us.saturating_add(now_us - last_us);
            self.pass(event_now_us.saturating_sub(self.plan.allowed_lateness_us));
        }
    }

    /// All inputs have been read up to this event time: sources that have said nothing for too long
    /// before it no longer hold the others back.
    pub fn read_to(&mut self, time_us: i64) {
        let Some(idle_after_us) = self.plan.idle_after_us else { return };
        for source in &mut self.sources {
            let silent = source.newest_us != i64::MIN && time_us.saturating_sub(source.newest_us) >= idle_after_us;
            if silent && source.state == SourceState::Active {
                source.state = SourceState::Idle;
            }
        }
        self.move_watermark();
    }

    /// Decides on the next row of the log.
    pub fn route(&mut self, row: &Row) -> Route {
        if self.is_leap(row) {
            // Nothing is learned from it: neither a time, nor that its id was there.
            return if row.outcome == outcome::DROPPED { Route::Dropped } else { Route::Leap };
        }
        let route = self.decide(row);
        if row.time_us != NO_TIME {
            self.see(row);
        }
        if matches!(route, Route::Admitted | Route::Dead) && row.time_us >= self.watermark_us {
            self.waiting.add(row.time_us);
            if self.waiting.total > self.plan.pending_max {
                self.bounds.forced += 1;
                let oldest_end_us = self.waiting.oldest_end_us();
                self.pass(oldest_end_us);
            }
        }
        route
    }

    /// Whether a row is too far ahead of all others to be believed.
    fn is_leap(&mut self, row: &Row) -> bool {
        let Some(max_us) = self.plan.leap_max_us else { return false };
        if row.time_us == NO_TIME || self.newest_us == i64::MIN {
            return false;
        }
        let known_us = self.known_us();
        let index = (row.source as usize).min(self.sources.len().saturating_sub(1));
        let source = self.sources.get_mut(index);
        source.is_some_and(|source| source.leaps.is_leap(row.time_us, row.id_hash, known_us, max_us))
    }

    fn decide(&mut self, row: &Row) -> Route {
        let passed = row.time_us < self.watermark_us;
        match row.outcome {
            outcome::DROPPED => Route::Dropped,
            outcome::OBSERVED => {
                if row.has_id && self.ids.is_duplicate(&self.plan, row, self.watermark_us, &mut self.bounds) {
                    Route::Duplicate
                } else if passed {
                    Route::Late
                } else {
                    Route::Admitted
                }
            }
            _ if passed || row.time_us == NO_TIME => Route::DeadNow,
            _ => Route::Dead,
        }
    }

    fn see(&mut self, row: &Row) {
        let tick_us = self.tick_us.unwrap_or(i64::MIN);
        let index = (row.source as usize).min(self.sources.len().saturating_sub(1));
        let Some(source) = self.sources.get_mut(index) else { return };
        source.active_us = tick_us;
        if source.state != SourceState::Active {
            source.state = SourceState::Active;
            self.slowest.push(Reverse((source.newest_us, index as u32)));
        }
        if row.time_us > source.newest_us {
            source.newest_us = row.time_us;
            self.newest_us = self.newest_us.max(row.time_us);
            if self.slowest.peek().is_none_or(|&Reverse((_, slowest))| slowest as usize == index) {
                self.move_watermark();
            }
        }
    }

    /// The slowest active source rules.
    fn move_watermark(&mut self) {
        let mut slowest_us = None;
        while let Some(mut slowest) = self.slowest.peek_mut() {
            let Reverse((newest_us, index)) = *slowest;
            let source = &self.sources[index as usize];
            if source.state != SourceState::Active {
                PeekMut::pop(slowest);
            } else if source.newest_us != newest_us {
                *slowest = Reverse((source.newest_us, index));
            } else {
                slowest_us = Some(newest_us).filter(|&newest_us| newest_us != i64::MIN);
                break;
            }
        }
        if let Some(slowest_us) = slowest_us {
            self.pass(slowest_us.saturating_sub(self.plan.allowed_lateness_us));
        }
    }

    /// All that came was let out, and more comes.
    pub fn go_on(&mut self) {
        if self.newest_us() != i64::MIN {
            self.pass(self.newest_us().saturating_add(1));
        }
    }

    fn pass(&mut self, to_us: i64) {
        if to_us > self.watermark_us {
            self.watermark_us = to_us;
            self.waiting.release(to_us);
        }
    }

    /// No signal older than this is waited for any more.
    pub fn watermark_us(&self) -> i64 {
        self.watermark_us
    }

    /// The newest event time of all sources and snapshots; `i64::MIN` before the first.
    pub fn newest_us(&self) -> i64 {
        self.newest_us.max(self.snapshot_us)
    }

    /// What happened at a bound so far.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }
}

/// The ids that an equal one may still follow: those for which the watermark has not passed the
/// end of their window. Kept in two halves; the older one is forgotten as a whole.
#[derive(Debug)]
struct Ids {
    halves: [LastSeen; 2],
    /// The newest time in each half.
    newest_us: [i64; 2],
    /// The watermark when the newer half was begun.
    began_us: i64,
}

impl Default for Ids {
    fn default() -> Self {
        Self { halves: Default::default(), newest_us: [i64::MIN; 2], began_us: i64::MIN }
    }
}

impl Ids {
    fn is_duplicate(&mut self, plan: &OrderPlan, row: &Row, watermark_us: i64, bounds: &mut Bounds) -> bool {
        self.turn(plan, watermark_us, bounds);
        let window_us = plan.id_window_us;
        let near = |seen_us: i64| {
            row.time_us.abs_diff(seen_us) <= window_us as u64 && seen_us.saturating_add(window_us) >= watermark_us
        };
        self.newest_us[0] = self.newest_us[0].max(row.time_us);
        let [newer, older] = &mut self.halves;
        match newer.see(row.id_hash, row.time_us) {
            Some(seen_us) => near(seen_us),
            None => older.get(row.id_hash).is_some_and(near),
        }
    }

    /// Begins a new half when the older one is no longer needed, or when there is no more room.
    fn turn(&mut self, plan: &OrderPlan, watermark_us: i64, bounds: &mut Bounds) {
        let full = self.halves[0].len() >= plan.ids_max / 2;
        let window_us = plan.id_window_us;
        let needed = self.newest_us[1].saturating_add(window_us) >= watermark_us && !self.halves[1].is_empty();
        let old = watermark_us.saturating_sub(self.began_us) > window_us;
        if full || (old && !needed) {
            bounds.ids_forgotten += u64::from(full && needed);
            self.halves.swap(0, 1);
            self.halves[0].clear();
            self.newest_us = [i64::MIN, self.newest_us[0]];
            self.began_us = watermark_us;
        }
    }
}

/// How many signals wait for the watermark, counted in buckets of time so that the count depends on
/// neither shards nor batches. A bucket counts until the watermark has passed all of it.
#[derive(Debug)]
struct Waiting {
    width_us: i64,
    buckets: BTreeMap<i64, u64>,
    /// The bucket that was counted last, kept apart from the others.
    last: (i64, u64),
    total: u64,
}

impl Waiting {
    fn add(&mut self, time_us: i64) {
        let bucket = time_us.div_euclid(self.width_us);
        if bucket != self.last.0 {
            self.store_last();
            self.last = (bucket, 0);
        }
        self.last.1 += 1;
        self.total += 1;
    }

    fn store_last(&mut self) {
        if self.last.1 > 0 {
            *self.buckets.entry(self.last.0).or_default() += self.last.1;
            self.last.1 = 0;
        }
    }

    fn release(&mut self, before_us: i64) {
        let bucket = before_us.div_euclid(self.width_us);
        if self.last.0 < bucket {
            self.total -= self.last.1;
            self.last.1 = 0;
        }
        while let Some(oldest) = self.buckets.first_entry() {
            if *oldest.key() >= bucket {
                break;
            }
            self.total -= oldest.remove();
        }
    }

    fn oldest_end_us(&mut self) -> i64 {
        self.store_last();
        let oldest = self.buckets.first_key_value().map_or(self.last.0, |(&bucket, _)| bucket);
        oldest.saturating_add(1).saturating_mul(self.width_us)
    }
}
