//! What waits to be committed, and what became of what was: decisions without threads.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{CommitCounts, CommitError, CommitOptions, Health};
use crate::{Batch, BatchError, Sequence};

#[derive(Debug)]
pub struct Queue {
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    taken: Option<Taken>,
    /// Where each sequence will end once all that waits is committed.
    next: [u64; 2],
    pub submitted: u64,
    pub committed: u64,
    /// All up to this ticket is to be committed without delay.
    pub hurry_to: u64,
    pub is_stopping: bool,
    pub is_stopped: bool,
    pub counts: CommitCounts,
    last_took: Duration,
    failing: Option<Failing>,
}

#[derive(Debug)]
struct Waiting {
    batch: Batch,
    bytes: usize,
    came: Instant,
}

/// What is known of what is under way.
#[derive(Clone, Copy, Debug)]
struct Taken {
    batches: u64,
    bytes: usize,
    begun: Instant,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    attempts: u32,
    error: String,
}

impl Queue {
    pub fn new(next: [u64; 2]) -> Self {
        Self {
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            taken: None,
            next,
            submitted: 0,
            committed: 0,
            hurry_to: 0,
            is_stopping: false,
            is_stopped: false,
            counts: CommitCounts::default(),
            last_took: Duration::ZERO,
            failing: None,
        }
    }

    /// The bytes that wait or are under way.
    pub fn bytes(&self) -> usize {
        self.waiting_bytes + self.taken.map_or(0, |taken| taken.bytes)
    }

    pub fn has_room(&self, bytes: usize, bytes_max: usize) -> bool {
        self.bytes() == 0 || self.bytes().saturating_add(bytes) <= bytes_max
    }

    pub fn push(&mut self, batch: Batch) -> Result<u64, CommitError> {
        if self.is_stopping {
            return Err(CommitError::Stopped);
        }
        if let Some(fault) = batch.fault() {
            return Err(fault.clone().into());
        }
        for sequence in Sequence::ALL {
            let expected = self.next[sequence as usize];
            if let Some(came) = batch.appended(sequence).map(|run| run.start).filter(|came| *came != expected) {
                return Err(BatchError::OutOfOrder { sequence, expected, came }.into());
            }
        }
        for sequence in Sequence::ALL {
            if let Some(run) = batch.appended(sequence) {
                self.next[sequence as usize] = run.end;
            }
        }
        // Also an empty batch takes a little.
        let bytes = batch.raw_bytes().max(1);
        self.waiting.push_back(Waiting { batch, bytes, came: Instant::now() });
        self.waiting_bytes += bytes;
        self.submitted += 1;
        Ok(self.submitted)
    }

    /// How long to wait for more before what waits is committed; `None` if nothing waits.
    pub fn due_in(&self, options: &CommitOptions, now: Instant) -> Option<Duration> {
        let oldest = self.waiting.front()?;
        let is_due = self.waiting_bytes >= options.bytes_max || self.committed < self.hurry_to || self.is_stopping;
        let waits = now.saturating_duration_since(oldest.came);
        Some(if is_due { Duration::ZERO } else { options.delay_max.saturating_sub(waits) })
    }

    /// Takes the oldest batches, up to the one that reaches `bytes_max`.
    pub fn take(&mut self, bytes_max: usize, now: Instant) -> Batch {
        let mut info = Taken { batches: 0, bytes: 0, begun: now };
        let mut batch = Batch::default();
        while info.bytes < bytes_max
            && let Some(waiting) = self.waiting.pop_front()
        {
            info.batches += 1;
            info.bytes += waiting.bytes;
            batch.merge(waiting.batch);
        }
        self.waiting_bytes -= info.bytes;
        self.taken = Some(info);
        batch
    }

    /// What was taken is committed.
    pub fn commit(&mut self, now: Instant) {
        let Some(taken) = self.taken.take() else { return };
        self.committed += taken.batches;
        self.counts.commits += 1;
        self.counts.batches += taken.batches;
        self.counts.bytes += taken.bytes as u64;
        self.last_took = now.saturating_duration_since(taken.begun);
        self.failing = None;
    }

    /// An attempt to commit what was taken failed.
    pub fn fail(&mut self, error: String, now: Instant) {
        self.counts.failures += 1;
        let failing = self.failing.get_or_insert(Failing { since: now, attempts: 0, error: String::new() });
        failing.attempts += 1;
        failing.error = error;
    }

    pub fn health(&self, slow_after: Duration, now: Instant) -> Health {
        if let Some(Failing { since, attempts, error }) = &self.failing {
            let lasts = now.saturating_duration_since(*since);
            return Health::Failing { lasts, attempts: *attempts, error: error.clone() };
        }
        let under_way = self.taken.map_or(Duration::ZERO, |taken| now.saturating_duration_since(taken.begun));
        let took = under_way.max(self.last_took);
        if took > slow_after { Health::Slow { took } } else { Health::Fine }
    }

    /// What was submitted and will not be committed.
    pub fn left(&self) -> Result<(), CommitError> {
        match self.submitted - self.committed {
            0 => Ok(()),
            batches => Err(CommitError::Uncommitted {
                batches,
                bytes: self.bytes() as u64,
                error: self.failing.as_ref().map_or("no reason", |failing| failing.error.as_str()).to_owned(),
            }),
        }
    }
}
