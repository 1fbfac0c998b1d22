//! Puts signals in order of event time: a lane for those that come in order, a heap for the others.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use crate::block::{Block, Row};
use serde::{Deserialize, Serialize};

/// Where a signal stands among those of its entity: by event time; those of equal time by their
/// rank, then by identity, and only then by where they stood in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Event time.
    pub time_us: i64,
    /// See [`Row::rank`].
    pub rank: u64,
    /// See [`Row::id_hash`].
    pub id_hash: u64,
    /// Log position.
    pub position: u64,
}

impl Place {
    /// The place of a row of a block.
    pub fn of(row: &Row, position: u64) -> Self {
        Self { time_us: row.time_us, rank: row.rank, id_hash: row.id_hash, position }
    }
}

/// A signal that waits for the watermark. A late one stands at the watermark that it missed, before
/// the signals of that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    time_us: i64,
    in_time: bool,
    rank: u64,
    id_hash: u64,
    position: u64,
    echo: bool,
    block: u64,
    row: u32,
}

/// A signal that is released.
#[derive(Clone, Copy, Debug)]
pub struct Released<'a> {
    /// The block that it is in.
    pub block: &'a Block,
    /// Its row there.
    pub row: &'a Row,
    /// Its log position.
    pub position: u64,
    /// The watermark that it missed, if it is late.
    pub late_at_us: Option<i64>,
    /// Whether it is here for what the other version of its mapper says.
    pub echo: bool,
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
        let number = self.keep(block, rows.len());
        for &index in rows {
            let row = &block.rows[index as usize];
            let waiting = Waiting {
                time_us: row.time_us,
                in_time: true,
                rank: row.rank,
                id_hash: row.id_hash,
                position: block.position + u64::from(index),
                echo: false,
                block: number,
                row: index,
            };
            self.add(waiting);
        }
    }

    /// Adds a row of a block for what the other version of its mapper says.
    pub fn push_echo(&mut self, block: &Arc<Block>, index: u32) {
        let number = self.keep(block, 1);
        let row = &block.rows[index as usize];
        let position = block.position + u64::from(index);
        let (time_us, rank, id_hash) = (row.time_us, row.rank, row.id_hash);
        self.add(Waiting { time_us, in_time: true, rank, id_hash, position, echo: true, block: number, row: index });
    }

    fn add(&mut self, waiting: Waiting) {
        match self.lane.back() {
            Some(last) if *last > waiting => self.strays.push(Reverse(waiting)),
            _ => self.lane.push_back(waiting),
        }
    }

    /// Adds a row that has missed the watermark `late_at_us`.
    pub fn push_late(&mut self, block: &Arc<Block>, index: u32, late_at_us: i64) {
        let number = self.keep(block, 1);
        let position = block.position + u64::from(index);
        self.strays.push(Reverse(Waiting {
            time_us: late_at_us,
            in_time: false,
            rank: position,
            id_hash: 0,
            position,
            echo: false,
            block: number,
            row: index,
        }));
    }

    /// What waits: a block, a row of it, its log position, the watermark that it missed, and whether it
    /// is an echo. In no order.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (&Arc<Block>, u32, u64, Option<i64>, bool)> {
        let strays = self.strays.iter().map(|Reverse(stray)| stray);
        self.lane.iter().chain(strays).map(|waiting| {
            let (block, _) = &self.blocks[(waiting.block - self.first) as usize];
            let late_at_us = (!waiting.in_time).then_some(waiting.time_us);
            (block, waiting.row, waiting.position, late_at_us, waiting.echo)
        })
    }

    /// Adds a row that stood at another place of another block.
    pub(crate) fn push_saved(
        &mut self,
        block: &Arc<Block>,
        index: u32,
        position: u64,
        late_at_us: Option<i64>,
        echo: bool,
    ) {
        let number = self.keep(block, 1);
        let row = &block.rows[index as usize];
        let waiting = match late_at_us {
            None => {
                let (time_us, rank, id_hash) = (row.time_us, row.rank, row.id_hash);
                Waiting { time_us, in_time: true, rank, id_hash, position, echo, block: number, row: index }
            }
            Some(time_us) => {
                let (rank, id_hash) = (position, 0);
                Waiting { time_us, in_time: false, rank, id_hash, position, echo, block: number, row: index }
            }
        };
        self.add(waiting);
    }

    fn keep(&mut self, block: &Arc<Block>, rows: usize) -> u64 {
        self.blocks.push_back((Arc::clone(block), rows as u32));
        self.first + self.blocks.len() as u64 - 1
    }

    /// Gives every signal older than `before_us` to `each`, in order, and late ones that missed a watermark
    /// of `late_us` or before.
    pub fn release(&mut self, before_us: i64, late_us: i64, mut each: impl FnMut(Released<'_>)) {
        loop {
            let (lane, stray) = (self.lane.front(), self.strays.peek().map(|Reverse(stray)| stray));
            let from_lane = match (lane, stray) {
                (Some(lane), Some(stray)) => lane < stray,
                (lane, _) => lane.is_some(),
            };
            let Some(next) = (if from_lane { lane } else { stray }).copied() else { break };
            let is_due = if next.in_time { next.time_us < before_us } else { next.time_us <= late_us };
            if !is_due {
                break;
            }
            if from_lane {
                self.lane.pop_front();
            } else {
                self.strays.pop();
            }
            let (block, left) = &mut self.blocks[(next.block - self.first) as usize];
            let late_at_us = (!next.in_time).then_some(next.time_us);
            let row = &block.rows[next.row as usize];
            each(Released { block, row, position: next.position, late_at_us, echo: next.echo });
            *left -= 1;
        }
        while self.blocks.front().is_some_and(|(_, left)| *left == 0) {
            self.blocks.pop_front();
            self.first += 1;
        }
    }

    /// How many signals wait that are not late.
    pub fn open(&self) -> usize {
        let in_time = |waiting: &&Waiting| waiting.in_time && !waiting.echo;
        let strays = self.strays.iter().map(|Reverse(stray)| stray);
        self.lane.iter().filter(in_time).count() + strays.filter(in_time).count()
    }
}
