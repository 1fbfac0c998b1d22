//! A shard: the entities whose keys hash to it. Shards know nothing of each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::block::{Block, Row, key_hash};
use crate::entity::{Effects, Entity, Observation};
use crate::order::{OrderBuffer, Place, Released};
use crate::past::Past;
use crate::plan::{Plan, TypePlan};
use crate::slab::Slab;
use crate::timers::Timers;

/// How far event time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// All signals older than this have been given to the core.
    pub before_us: i64,
    /// Timers due at this time or before may fire.
    pub timers_us: i64,
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
    effects: Effects,
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

    /// Processes all that `progress` allows.
    pub fn advance(&mut self, plan: &Plan, progress: Progress) {
        let types = &plan.types;
        let mut order = std::mem::take(&mut self.order);
        order.release(progress.before_us, |released| {
            let Released { block, row, late_at_us, .. } = released;
            self.observe(types, released);
            if late_at_us.is_none() {
                self.effects.tally.add(&plan.derive.objectives, types, block, row);
            }
        });
        self.order = order;
        while let Some((_, index)) = self.timers.pop(progress.timers_us, |index| self.entities[index].armed_us) {
            let entity = &mut self.entities[index];
            entity.armed_us = i64::MAX;
            let plan = &types[entity.signal_type as usize];
            match self.pasts.get_mut(&index) {
                Some(past) => past.advance(entity, plan, progress.timers_us, &mut self.effects),
                None => entity.advance(plan, progress.timers_us, &mut self.effects),
            }
            let key_hash = key_hash(entity.signal_type, entity.key.as_bytes());
            self.settle(types, index, key_hash, progress.timers_us);
        }
    }

    fn observe(&mut self, types: &[TypePlan], released: Released<'_>) {
        let Released { block, row, position, late_at_us } = released;
        let plan = &types[row.signal_type as usize];
        let index = self.entity(row, block.text(row.key));
        let entity = &mut self.entities[index];
        let seen = Observation {
            time_us: row.time_us,
            state: row.state,
            value: block.text(row.value),
            fingerprint: row.fingerprint,
            severity: row.severity,
            id: block.text(row.id),
            source: row.source,
        };
        match plan.correct_us {
            None => entity.observe(plan, &seen, &mut self.effects),
            Some(_) => {
                let past = self.pasts.entry(index).or_insert_with(|| Past::new(entity.clone()));
                let place = Place::of(row, position);
                match late_at_us {
                    None => past.observe(entity, plan, place, &seen, &mut self.effects),
                    Some(late_at_us) => past.correct(entity, plan, place, &seen, late_at_us, &mut self.effects),
                }
            }
        }
        self.settle(types, index, row.key_hash, late_at_us.unwrap_or(row.time_us));
    }

    /// Forgets the entity if nothing is known of it, and sees to its timer if something is.
    fn settle(&mut self, types: &[TypePlan], index: u32, key_hash: u64, now_us: i64) {
        let entity = &self.entities[index];
        let plan = &types[entity.signal_type as usize];
        if !entity.is_blank() {
            return self.arm(types, index);
        }
        match self.pasts.get(&index).map(|past| past.kept_until_us(plan)).filter(|&until_us| until_us > now_us) {
            Some(until_us) => self.arm_at(index, until_us),
            None => self.forget(key_hash, index),
        }
    }

    fn entity(&mut self, row: &Row, key: &str) -> u32 {
        let entities = &self.entities;
        let same = |&index: &u32| {
            let entity = &entities[index];
            entity.signal_type == row.signal_type && *entity.key == *key
        };
        if let Some(&index) = self.index.find(row.key_hash, same) {
            return index;
        }
        let index = self.entities.insert(Entity::new(row.signal_type, key));
        let entities = &self.entities;
        let hash_of = |&index: &u32| key_hash(entities[index].signal_type, entities[index].key.as_bytes());
        self.index.insert_unique(row.key_hash, index, hash_of);
        index
    }

    fn forget(&mut self, key_hash: u64, index: u32) {
        if let Ok(entry) = self.index.find_entry(key_hash, |&at| at == index) {
            entry.remove();
        }
        self.entities.remove(index);
        self.pasts.remove(&index);
    }

    /// Sees to it that the entity is looked at when its next timer is due.
    fn arm(&mut self, types: &[TypePlan], index: u32) {
        let entity = &self.entities[index];
        let due_us = entity.due_us(&types[entity.signal_type as usize]).unwrap_or(i64::MAX);
        self.arm_at(index, due_us);
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
