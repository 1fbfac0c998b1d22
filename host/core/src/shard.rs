//! A shard: the entities whose keys hash to it. Shards know nothing of each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::block::{Block, key_hash};
use crate::entity::{Because, Effects, Entity, Observation};
use crate::ledger::Ledger;
use crate::order::{OrderBuffer, Place, Released};
use crate::past::{Correction, Past};
use crate::plan::{Plan, TypePlan};
use crate::rule::RuleId;
use crate::saved::Parts;
use crate::slab::Slab;
use crate::timers::Timers;
use crate::trial::{Heard, Offer, Over, Pair, Twin, live};

/// How far event time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// All signals older than this have been given to the core.
    pub before_us: i64,
    /// Timers due at this time or before may fire.
    pub timers_us: i64,
    /// So may late signals that missed a watermark of this or before.
    pub late_us: i64,
}

impl Progress {
    /// To a watermark.
    pub fn to(watermark_us: i64) -> Self {
        Self { before_us: watermark_us, timers_us: watermark_us, late_us: watermark_us }
    }

    /// Through all that happens at a time, and nothing of the next.
    pub fn through(time_us: i64) -> Self {
        Self { before_us: time_us.saturating_add(1), timers_us: time_us, late_us: time_us }
    }
}

/// The entities whose keys hash to one shard.
#[derive(Debug, Default)]
pub struct Shard {
    order: OrderBuffer,
    entities: Slab,
    index: HashTable<u32>,
    timers: Timers,
    /// By entity: its last minutes, for types whose late signals are taken in.
    pasts: BTreeMap<u32, Past>,
    /// By entity: what it would be without the version of its mapper that is tried.
    twins: BTreeMap<u32, Twin>,
    /// Trials that are over, of which signals still wait.
    over: Vec<Over>,
    effects: Effects,
    changes: Option<Changes>,
}

/// What has changed since the last checkpoint.
#[derive(Debug, Default)]
struct Changes {
    /// A bit for each place of an entity.
    changed: Vec<u64>,
    gone: Vec<(u16, Box<str>)>,
}

impl Changes {
    fn note(&mut self, index: u32) {
        let word = index as usize / 64;
        if word >= self.changed.len() {
            self.changed.resize(word + 1, 0);
        }
        self.changed[word] |= 1 << (index % 64);
    }

    fn has(&self, index: u32) -> bool {
        self.changed.get(index as usize / 64).is_some_and(|word| word & 1 << (index % 64) != 0)
    }
}

/// The end of a trial, as the shards are told.
#[derive(Clone, Copy, Debug)]
pub struct Withdrawal<'a> {
    /// Index of the signal type.
    pub signal_type: u16,
    /// The version that stays in force.
    pub stable: u16,
    /// The version that is withdrawn.
    pub rule: &'a RuleId,
    /// The watermark.
    pub now_us: i64,
    /// The log position.
    pub position: u64,
}

impl Shard {
    /// Adds rows of a block, to be processed once the watermark has passed them.
    pub fn push(&mut self, block: &Arc<Block>, rows: &[u32]) {
        self.order.push(block, rows);
    }

    /// Adds a row of a block that has missed the watermark `late_at_us`.
    pub fn push_late(&mut self, block: &Arc<Block>, row: u32, late_at_us: i64) {
        self.order.push_late(block, row, late_at_us);
    }

    /// Adds a row of a block for what the other version of its mapper says of it.
    pub fn push_echo(&mut self, block: &Arc<Block>, row: u32) {
        self.order.push_echo(block, row);
    }

    /// Processes all that `progress` allows.
    pub fn advance(&mut self, plan: &Plan, progress: Progress) {
        let types = &plan.types;
        let mut order = std::mem::take(&mut self.order);
        order.release(progress.before_us, progress.late_us, |released| {
            let Released { block, row, late_at_us, echo, .. } = released;
            self.observe(types, released);
            if late_at_us.is_none() && !echo {
                self.effects.tally.add(&plan.derive.objectives, types, block, row);
            }
        });
        self.order = order;
        self.over.retain(|over| progress.before_us <= over.until_us);
        while let Some((_, index)) = self.timers.pop(progress.timers_us, |index| self.entities[index].armed_us) {
            let entity = &mut self.entities[index];
            entity.armed_us = i64::MAX;
            let plan = &types[entity.signal_type as usize];
            self.fire(plan, index, progress.timers_us);
            let entity = &self.entities[index];
            let key_hash = key_hash(entity.signal_type, entity.key.as_bytes());
            self.settle(types, index, key_hash, progress.timers_us);
        }
    }

    fn observe(&mut self, types: &[TypePlan], released: Released<'_>) {
        let Released { block, row, position, late_at_us, echo } = released;
        let ended = |over: &&Over| over.signal_type == row.signal_type && position < over.position;
        let over = self.over.iter().find(ended).filter(|_| row.tried.is_on());
        let offer = match Heard::of(block, row, echo, over) {
            Heard::Told(offer) => offer,
            Heard::ToldAfterAll(offer) => {
                self.effects.ledger.undrop();
                offer
            }
            Heard::Dropped => return self.effects.ledger.settle(|ledger| &mut ledger.dropped, 1),
            Heard::Elsewhere => return,
        };
        let plan = &types[row.signal_type as usize];
        // The other answer about the same entity has the same key.
        let (key, key_hash) = match block.echo(row).filter(|_| echo) {
            Some(other) => (other.key, other.key_hash),
            None => (row.key, row.key_hash),
        };
        let index = self.entity(row.signal_type, block.text(key), key_hash);
        if plan.correct_us.is_some() {
            let entity = &self.entities[index];
            self.pasts.entry(index).or_insert_with(|| Past::new(entity.clone()));
        }
        self.take(plan, index, Place::of(row, position), &offer, late_at_us);
        self.settle(types, index, key_hash, late_at_us.unwrap_or(row.time_us));
    }

    /// The entity of this key, if there is one.
    pub(crate) fn known(&self, signal_type: u16, key: &str, hash: u64) -> Option<&Entity> {
        self.find(signal_type, key, hash).map(|index| &self.entities[index])
    }

    fn find(&self, signal_type: u16, key: &str, hash: u64) -> Option<u32> {
        let same = |&index: &u32| {
            let entity = &self.entities[index];
            entity.signal_type == signal_type && *entity.key == *key
        };
        self.index.find(hash, same).copied()
    }

    /// An entity takes in what a snapshot says of it. While something of it is open it stays with the version
    /// that opened it; otherwise it is with `mapper`, which has read the snapshot.
    pub(crate) fn observe_snapshot(
        &mut self,
        types: &[TypePlan],
        (signal_type, key, hash): (u16, &str, u64),
        place: Place,
        seen: &Observation<'_>,
        mapper: u16,
    ) {
        let plan = &types[usize::from(signal_type)];
        let index = self.entity(signal_type, key, hash);
        let entity = &self.entities[index];
        if plan.correct_us.is_some() {
            self.pasts.entry(index).or_insert_with(|| Past::new(entity.clone()));
        }
        let version = if entity.is_open(plan) { entity.mapper } else { mapper };
        let versions = Pair { signal_type, stable: version, tried: version };
        self.take(plan, index, place, &Offer::alone(*seen, versions), None);
        // No objective counts it.
        self.effects.tally.state = None;
        self.entities[index].note_snapshot();
        self.settle(types, index, hash, place.time_us);
    }

    /// An entity takes in what the version says that it listens to, and its twin what the version in
    /// force says.
    fn take(&mut self, plan: &TypePlan, index: u32, place: Place, offer: &Offer<'_>, late_at_us: Option<i64>) {
        let Pair { stable, tried, .. } = offer.versions;
        if stable != tried || stable != self.entities[index].mapper {
            // What is due by now is over, so that it neither keeps the entity with its version nor is
            // said in the name of the next.
            self.fire(plan, index, late_at_us.unwrap_or(place.time_us));
            self.entities[index].forget_if_blank();
        }
        let from = Mark::of(&self.effects);
        let entity = &mut self.entities[index];
        let listens_to_tried = offer.listens_to_tried(entity, plan);
        // An echo is for who has something open, or for a twin.
        let seen = if listens_to_tried { offer.tried } else { offer.stable };
        let seen = seen.filter(|_| offer.counts || entity.is_open(plan));
        let past = self.pasts.get_mut(&index);
        let as_in_force = !listens_to_tried && seen.is_some() == offer.stable.is_some();
        // A signal that is only counted here would be dropped.
        if offer.differs && (!as_in_force || seen.is_none() && offer.counts) {
            self.twins.entry(index).or_insert_with(|| Twin::of(entity, past.as_deref()));
        }
        if let Some(seen) = &seen {
            entity.mapper = offer.version(listens_to_tried);
            live(entity, past, plan, place, seen, late_at_us, &mut self.effects);
        }
        let ledger = &mut self.effects.ledger;
        match (seen.is_some(), offer.counts, late_at_us) {
            (true, false, _) => ledger.echo(),
            // What its entity opened stays with the version that opened it, and this is another's.
            (false, true, None) => ledger.settle(|ledger| &mut ledger.merged_repeated, 1),
            _ => {}
        }
        if let Some(twin) = self.twins.get_mut(&index) {
            twin.hear(plan, place, offer, seen.is_some(), late_at_us);
        }
        self.sign(index, &from);
    }

    /// The timers of an entity fire that are due at `to_us` or before.
    fn fire(&mut self, plan: &TypePlan, index: u32, to_us: i64) {
        let from = Mark::of(&self.effects);
        let entity = &mut self.entities[index];
        match self.pasts.get_mut(&index) {
            Some(past) => past.advance(entity, plan, to_us, &mut self.effects),
            None => entity.advance(plan, to_us, &mut self.effects),
        }
        if let Some(twin) = self.twins.get_mut(&index) {
            twin.advance(plan, to_us);
        }
        self.sign(index, &from);
    }

    /// Notes for the twin what its entity has just said, and says for all of it which version the entity
    /// listened to.
    fn sign(&mut self, index: u32, from: &Mark) {
        let mapper = self.entities[index].mapper;
        let candidates = &mut self.effects.candidates[from.candidates..];
        let corrections = &mut self.effects.corrections[from.corrections..];
        let twin = self.twins.get_mut(&index);
        let on_trial = twin.is_some();
        if let Some(twin) = twin {
            let mut books = self.effects.ledger;
            books.subtract(&from.books);
            twin.note_other(candidates, corrections, books);
        }
        let corrected = corrections.iter_mut().flat_map(|correction| &mut correction.changes);
        for candidate in candidates.iter_mut().chain(corrected.filter_map(|change| change.is.as_mut())) {
            candidate.mapper = mapper;
            candidate.on_trial = on_trial;
        }
    }

    /// The tried version is withdrawn: where the version in force would have said something else, the
    /// entity becomes what it would be, and what was said is corrected. `retroactive` off: it goes on as
    /// it is.
    pub fn withdraw(&mut self, plan: &Plan, withdrawal: &Withdrawal<'_>, retroactive: bool) {
        let of_type: Vec<u32> = self.twins_of(withdrawal.signal_type);
        for index in of_type {
            let Some(twin) = self.twins.remove(&index).filter(|_| retroactive) else {
                self.let_alone(&plan.types, index, withdrawal.now_us);
                continue;
            };
            self.effects.not_taken_back += twin.let_go;
            let entity = &mut self.entities[index];
            let mut past = self.pasts.remove(&index);
            let mut changes = twin.take_over(entity, &mut past, &mut self.effects);
            entity.mapper = withdrawal.stable;
            let (signal_type, key) = (entity.signal_type, entity.key.clone());
            if let Some(past) = past {
                self.pasts.insert(index, past);
            }
            changes.iter_mut().filter_map(|change| change.is.as_mut()).for_each(|is| is.mapper = withdrawal.stable);
            if !changes.is_empty() {
                let by = Because::Withdrawn(Box::new(withdrawal.rule.clone()));
                let (time_us, position) = (withdrawal.now_us, withdrawal.position);
                let correction = Correction { time_us, position, signal_type, key: key.clone(), by, changes };
                self.effects.corrections.push(correction);
            }
            // What is due of it by now fires at once, and its timers are looked at anew.
            self.entities[index].armed_us = i64::MAX;
            self.settle(&plan.types, index, key_hash(signal_type, key.as_bytes()), withdrawal.now_us);
        }
    }

    /// A trial is over: nobody asks what would be without it any more. `now_us`: the watermark.
    pub fn end_trial(&mut self, types: &[TypePlan], over: Over, now_us: i64) {
        for index in self.twins_of(over.signal_type) {
            self.twins.remove(&index);
            self.let_alone(types, index, now_us);
        }
        self.over.push(over);
    }

    /// An entity has no twin any more: it need not be known because of it.
    fn let_alone(&mut self, types: &[TypePlan], index: u32, now_us: i64) {
        let entity = &self.entities[index];
        let hash = key_hash(entity.signal_type, entity.key.as_bytes());
        self.settle(types, index, hash, now_us);
    }

    fn twins_of(&self, signal_type: u16) -> Vec<u32> {
        let of_type = |index: &u32| self.entities[*index].signal_type == signal_type;
        self.twins.keys().copied().filter(of_type).collect()
    }

    /// How many entities have something open under a version of their mapper, of all.
    pub fn open_under(&self, plan: &Plan, signal_type: u16, mapper: u16) -> u64 {
        let of_type = &plan.types[signal_type as usize];
        let under =
            |entity: &&Entity| entity.signal_type == signal_type && entity.mapper == mapper && entity.is_open(of_type);
        self.entities.iter().filter(under).count() as u64
    }

    /// How many entities have a twin.
    pub fn twins(&self) -> usize {
        self.twins.len()
    }

    /// Forgets the entity if nothing is known of it, and sees to its timer if something is.
    fn settle(&mut self, types: &[TypePlan], index: u32, key_hash: u64, now_us: i64) {
        self.note_change(index);
        let entity = &self.entities[index];
        let plan = &types[entity.signal_type as usize];
        if self.twins.contains_key(&index) {
            self.entities[index].forget_if_blank();
            return self.arm(types, index);
        }
        if !entity.is_blank() {
            return self.arm(types, index);
        }
        match self.pasts.get(&index).map(|past| past.kept_until_us(plan)).filter(|&until_us| until_us > now_us) {
            Some(until_us) => {
                self.entities[index].forget_if_blank();
                self.arm_at(index, until_us);
            }
            None => self.forget(key_hash, index),
        }
    }

    fn entity(&mut self, signal_type: u16, key: &str, hash: u64) -> u32 {
        if let Some(index) = self.find(signal_type, key, hash) {
            return index;
        }
        let index = self.entities.insert(Entity::new(signal_type, key));
        let entities = &self.entities;
        let hash_of = |&index: &u32| key_hash(entities[index].signal_type, entities[index].key.as_bytes());
        self.index.insert_unique(hash, index, hash_of);
        index
    }

    fn forget(&mut self, key_hash: u64, index: u32) {
        if let Ok(entry) = self.index.find_entry(key_hash, |&at| at == index) {
            entry.remove();
        }
        if let Some(changes) = &mut self.changes {
            let entity = &mut self.entities[index];
            changes.gone.push((entity.signal_type, std::mem::take(&mut entity.key)));
        }
        self.entities.remove(index);
        self.pasts.remove(&index);
    }

    fn note_change(&mut self, index: u32) {
        if let Some(changes) = &mut self.changes {
            changes.note(index);
        }
    }

    /// From now on it is noted which entities change.
    pub(crate) fn note_changes(&mut self) {
        self.changes.get_or_insert_default();
    }

    /// Saves the entities that have changed since the last time, and those that `also` wants.
    pub(crate) fn save(&mut self, also: impl Fn(u64) -> bool, parts: &mut Parts) {
        let changes = self.changes.as_mut().map(std::mem::take).unwrap_or_default();
        changes.gone.iter().for_each(|(signal_type, key)| parts.gone(*signal_type, key));
        for (index, entity) in self.entities.known() {
            if changes.has(index) || also(key_hash(entity.signal_type, entity.key.as_bytes())) {
                parts.entity(entity, self.pasts.get(&index), self.twins.get(&index));
            }
        }
    }

    /// Gives every entity to `each`, with its past and its twin.
    pub(crate) fn each(&self, mut each: impl FnMut(&Entity, Option<&Past>, Option<&Twin>)) {
        self.entities.known().for_each(|(index, entity)| each(entity, self.pasts.get(&index), self.twins.get(&index)));
    }

    /// Takes over an entity that was saved, unless a newer state of it is there.
    pub(crate) fn put(&mut self, entity: Entity, hash: u64, past: Option<Past>, twin: Option<Twin>) {
        let known = self.entities.len();
        let index = self.entity(entity.signal_type, &entity.key, hash);
        if self.entities.len() == known {
            return;
        }
        self.entities[index] = entity;
        self.pasts.extend(past.map(|past| (index, past)));
        self.twins.extend(twin.map(|twin| (index, twin)));
    }

    /// What its entities have said so far was said by another plan, which cannot be asked again for a late
    /// signal: it can no longer be corrected. `now_us`: the watermark.
    pub(crate) fn let_pasts_be(&mut self, types: &[TypePlan], now_us: i64) {
        self.note_changes();
        let known: Vec<u32> = self.entities.known().map(|(index, _)| index).collect();
        for index in known {
            let entity = &self.entities[index];
            let can_be_corrected = types[usize::from(entity.signal_type)].correct_us.is_some();
            if !can_be_corrected && !self.pasts.contains_key(&index) {
                continue;
            }
            self.pasts.insert(index, Past::from_now_on(entity.clone(), now_us));
            if let Some(twin) = self.twins.get_mut(&index) {
                twin.let_past_be(now_us);
            }
            self.note_change(index);
        }
    }

    /// Arms all timers of entities that were saved.
    pub(crate) fn arm_all(&mut self, types: &[TypePlan]) {
        let known: Vec<u32> = self.entities.known().map(|(index, _)| index).collect();
        for index in known {
            self.arm(types, index);
            let plan = &types[self.entities[index].signal_type as usize];
            if let (true, Some(past)) = (self.entities[index].is_blank(), self.pasts.get(&index)) {
                let until_us = past.kept_until_us(plan);
                self.arm_at(index, until_us);
            }
        }
    }

    /// What waits for the watermark; see [`OrderBuffer::waiting`].
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (&Arc<Block>, u32, u64, Option<i64>, bool)> {
        self.order.waiting()
    }

    /// Adds a row that was saved; see [`OrderBuffer::push_saved`].
    pub(crate) fn push_saved(
        &mut self,
        block: &Arc<Block>,
        index: u32,
        position: u64,
        late_at_us: Option<i64>,
        echo: bool,
    ) {
        self.order.push_saved(block, index, position, late_at_us, echo);
    }

    /// Trials that are over, of which signals may still wait.
    pub(crate) fn over(&self) -> &[Over] {
        &self.over
    }

    /// Sees to it that the entity is looked at when its next timer is due.
    fn arm(&mut self, types: &[TypePlan], index: u32) {
        let entity = &self.entities[index];
        let plan = &types[entity.signal_type as usize];
        let twin_due_us = self.twins.get(&index).and_then(|twin| twin.entity.due_us(plan));
        let due_us = entity.due_us(plan).into_iter().chain(twin_due_us).min();
        self.arm_at(index, due_us.unwrap_or(i64::MAX));
    }

    fn arm_at(&mut self, index: u32, due_us: i64) {
        let entity = &mut self.entities[index];
        if due_us < entity.armed_us {
            entity.armed_us = due_us;
            self.timers.push(due_us, index);
        }
    }

    /// Takes out what the last [`Shard::advance`] made.
    pub fn take_effects(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }

    /// How many entities are known.
    pub fn entities(&self) -> usize {
        self.entities.len()
    }

    /// Signals that are in no place of the ledger yet, counted one by one.
    pub fn open(&self) -> u64 {
        self.order.open() as u64 + self.entities.iter().map(Entity::open).sum::<u64>()
    }
}

/// How far the effects had come.
struct Mark {
    candidates: usize,
    corrections: usize,
    books: Ledger,
}

impl Mark {
    fn of(effects: &Effects) -> Self {
        let (candidates, corrections) = (effects.candidates.len(), effects.corrections.len());
        Self { candidates, corrections, books: effects.ledger }
    }
}
