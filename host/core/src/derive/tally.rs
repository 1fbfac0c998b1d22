//! Good and bad observations, counted where they are made. Counts are added up, so neither shards
//! nor calls can show in them.

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::objective::ObjectivePlan;
use crate::block::{Block, Row};
use crate::plan::TypePlan;
use crate::rule::Condition;

/// How many observations were good, and how many bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Of a healthy state.
    pub good: u64,
    /// Of a problem.
    pub bad: u64,
}

impl Count {
    /// Both.
    pub fn total(self) -> u64 {
        self.good + self.bad
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.good += other.good;
        self.bad += other.bad;
    }
}

/// The count of one objective, pane and part of a key ([`super::By::part`]).
#[derive(Debug)]
pub(crate) struct Tallied {
    pub objective: u16,
    pub pane: i64,
    pub part: Box<str>,
    pub count: Count,
    hash: u64,
}

/// What one shard counted since it was last asked.
#[derive(Debug, Default)]
pub struct Tally {
    /// Event time of the first observation.
    pub(crate) first_us: Option<i64>,
    pub(crate) tallied: Vec<Tallied>,
    /// The state that the entity took the last observation for; a level decides it anew.
    pub(crate) state: Option<u8>,
    index: HashTable<u32>,
}

impl Tally {
    /// Counts the last observation. A state that is neither healthy nor a problem is not counted.
    pub(crate) fn add(&mut self, objectives: &[ObjectivePlan], types: &[TypePlan], block: &Block, row: &Row) {
        self.first_us.get_or_insert(row.time_us);
        let Some(state) = self.state.take() else { return };
        for (objective, plan) in objectives.iter().enumerate().filter(|(_, plan)| plan.signal_type == row.signal_type) {
            let count = match types[row.signal_type as usize].condition(state) {
                Condition::Healthy => Count { good: 1, bad: 0 },
                Condition::Problem => Count { good: 0, bad: 1 },
                Condition::Gone => continue,
            };
            let pane = row.time_us.div_euclid(plan.every_us);
            self.at(objective as u16, pane, plan.by.part(block.text(row.key))).add(count);
        }
    }

    fn at(&mut self, objective: u16, pane: i64, part: &str) -> &mut Count {
        let hash = xxh3_64_with_seed(part.as_bytes(), (pane as u64) ^ (u64::from(objective) << 48));
        let tallied = &self.tallied;
        let same = |&at: &u32| {
            let known = &tallied[at as usize];
            (known.objective, known.pane, &*known.part) == (objective, pane, part)
        };
        let at = match self.index.find(hash, same) {
            Some(&at) => at,
            None => {
                let at = self.tallied.len() as u32;
                self.tallied.push(Tallied { objective, pane, part: part.into(), count: Count::default(), hash });
                let tallied = &self.tallied;
                self.index.insert_unique(hash, at, |&at| tallied[at as usize].hash);
                at
            }
        };
        &mut self.tallied[at as usize].count
    }
}
