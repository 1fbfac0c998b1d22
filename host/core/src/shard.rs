//! A shard: the entities whose keys hash to it. Shards know nothing of each other.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::block::{Block, Row, key_hash};
use crate::entity::{Effects, Entity, Observation};
use crate::order::OrderBuffer;
use crate::plan::{Plan, TypePlan};

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
    entities: Vec<Entity>,
    free: Vec<u32>,
    index: HashTable<(u64, u32)>,
    /// One live entry for each entity that waits for something; entries that are no longer what
    /// the entity is armed for are skipped when they come up.
    timers: BinaryHeap<Reverse<(i64, u32)>>,
    effects: Effects,
}

impl Shard {
    /// Adds rows of a block, to be processed once the watermark has passed them.
    pub fn push(&mut self, block: &Arc<Block>, rows: &[u32]) {
        self.order.push(block, rows);
    }

    /// Processes all that `progress` allows.
    pub fn advance(&mut self, plan: &Plan, progress: Progress) {
        let types = &plan.types;
        let mut order = std::mem::take(&mut self.order);
        order.release(progress.before_us, |block, row| {
            self.effects.tally.add(&plan.derive.objectives, types, block, row);
            self.observe(types, block, row);
        });
        self.order = order;
        while let Some(&Reverse((due_us, index))) = self.timers.peek() {
            if due_us > progress.timers_us {
                break;
            }
            self.timers.pop();
            let entity = &mut self.entities[index as usize];
            if entity.armed_us != due_us {
                continue;
            }
            entity.armed_us = i64::MAX;
            let plan = &types[entity.signal_type as usize];
            entity.advance(plan, progress.timers_us, &mut self.effects);
            if entity.is_blank() {
                let key_hash = key_hash(entity.signal_type, entity.key.as_bytes());
                self.forget(key_hash, index);
            } else {
                self.arm(types, index);
            }
        }
    }

    fn observe(&mut self, types: &[TypePlan], block: &Block, row: &Row) {
        let index = self.entity(row, block.text(row.key));
        let entity = &mut self.entities[index as usize];
        let seen = Observation {
            time_us: row.time_us,
            state: row.state,
            value: block.text(row.value),
            fingerprint: row.fingerprint,
            severity: row.severity,
            id: block.text(row.id),
            source: row.source,
        };
        entity.observe(&types[row.signal_type as usize], &seen, &mut self.effects);
        if entity.is_blank() {
            return self.forget(row.key_hash, index);
        }
        self.arm(types, index);
    }

    fn entity(&mut self, row: &Row, key: &str) -> u32 {
        let entities = &self.entities;
        let same = |&(hash, index): &(u64, u32)| {
            let entity = &entities[index as usize];
            hash == row.key_hash && entity.signal_type == row.signal_type && *entity.key == *key
        };
        if let Some(&(_, index)) = self.index.find(row.key_hash, same) {
            return index;
        }
        let entity = Entity::new(row.signal_type, key);
        let index = match self.free.pop() {
            Some(index) => {
                self.entities[index as usize] = entity;
                index
            }
            None => {
                self.entities.push(entity);
                self.entities.len() as u32 - 1
            }
        };
        self.index.insert_unique(row.key_hash, (row.key_hash, index), |&(hash, _)| hash);
        index
    }

    fn forget(&mut self, key_hash: u64, index: u32) {
        if let Ok(entry) = self.index.find_entry(key_hash, |&(_, at)| at == index) {
            entry.remove();
        }
        self.entities[index as usize] = Entity::new(0, "");
        self.free.push(index);
    }

    /// Sees to it that the entity is looked at when its next timer is due.
    fn arm(&mut self, types: &[TypePlan], index: u32) {
        let entity = &mut self.entities[index as usize];
        let due_us = entity.due_us(&types[entity.signal_type as usize]).unwrap_or(i64::MAX);
        if due_us < entity.armed_us {
            entity.armed_us = due_us;
            self.timers.push(Reverse((due_us, index)));
        }
    }

    /// Takes out what the last [`Shard::advance`] made.
    pub fn take_effects(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }

    /// How many entities are known.
    pub fn entities(&self) -> usize {
        self.entities.len() - self.free.len()
    }

    /// Signals that are in no place of the ledger yet, counted one by one.
    pub fn open(&self) -> u64 {
        self.order.len() as u64 + self.entities.iter().map(Entity::open).sum::<u64>()
    }
}
