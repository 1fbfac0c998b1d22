//! Puts signals in order of event time: a lane for those that come in order, a heap for the others.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use crate::block::{Block, Row};

/// A signal that waits for the watermark. Ordered by event time; signals of equal time by their
/// rank, then by identity, and only then by where they stood in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    time_us: i64,
    rank: u64,
    id_hash: u64,
    position: u64,
    block: u64,
    row: u32,
}

/// The signals of one shard that wait for the watermark.
#[derive(Debug, Default)]
pub struct OrderBuffer {
    /// Sorted. Input is mostly in order, and then a signal costs no comparison of a heap.
    lane: VecDeque<Waiting>,
    strays: BinaryHeap<Reverse<Waiting>>,
    /// The blocks that signals wait in, and how many wait in each. The first has number `first`.
    blocks: VecDeque<(Arc<Block>, u32)>,
    first: u64,
}

impl OrderBuffer {
    /// Adds the given rows of a block.
    pub fn push(&mut self, block: &Arc<Block>, rows: &[u32]) {
        if rows.is_empty() {
            return;
        }
        let number = self.first + self.blocks.len() as u64;
        self.blocks.push_back((Arc::clone(block), rows.len() as u32));
        for &index in rows {
            let row = &block.rows[index as usize];
            let waiting = Waiting {
                time_us: row.time_us,
                rank: row.rank,
                id_hash: row.id_hash,
                position: block.position + u64::from(index),
                block: number,
                row: index,
            };
            match self.lane.back() {
                Some(last) if *last > waiting => self.strays.push(Reverse(waiting)),
                _ => self.lane.push_back(waiting),
            }
        }
    }

    /// Gives every signal older than `before_us` to `each`, in order.
    pub fn release(&mut self, before_us: i64, mut each: impl FnMut(&Block, &Row)) {
        loop {
            let (lane, stray) = (self.lane.front(), self.strays.peek().map(|Reverse(stray)| stray));
            let from_lane = match (lane, stray) {
                (Some(lane), Some(stray)) => lane < stray,
                (lane, _) => lane.is_some(),
            };
            let Some(next) = (if from_lane { lane } else { stray }).copied() else { break };
            if next.time_us >= before_us {
                break;
            }
            if from_lane {
                self.lane.pop_front();
            } else {
                self.strays.pop();
            }
            let (block, left) = &mut self.blocks[(next.block - self.first) as usize];
            each(block, &block.rows[next.row as usize]);
            *left -= 1;
        }
        while self.blocks.front().is_some_and(|(_, left)| *left == 0) {
            self.blocks.pop_front();
            self.first += 1;
        }
    }

    /// How many signals wait.
    pub fn len(&self) -> usize {
        self.lane.len() + self.strays.len()
    }

    /// Whether no signal waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
