//! What is sent next, and what becomes of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::breaker::{Allows, Breaker, BreakerState};
use crate::cursor::Cursor;
use crate::policy::Policy;

/// The longest reason that is kept; the rest is cut off.
pub const REASON_CHARS_MAX: usize = 500;

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// This is to be sent; [`Delivery::done`] is to be told the outcome.
    Send {
        /// Which event.
        position: u64,
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// Its last attempt got no answer in time: this goes to the dead letters.
    Dead(Dead),
    /// Nothing before this time, unless an outcome or another event comes.
    WaitUntil(i64),
    /// Nothing until another event comes.
    Idle,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The sink has it.
    Accepted,
    /// The sink will never take it, and why.
    Refused(String),
    /// It did not work this time, and why.
    Failed(String),
    /// The sink asks to be left alone for a time.
    Later {
        /// What it said.
        reason: String,
        /// For how long; not longer than [`Policy::retry_max_us`] is waited.
        after_us: i64,
    },
    /// There was no answer in time.
    TimedOut,
}

/// An event that is given up. The sink may have it all the same, where its answer was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// Which event.
    pub position: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last attempt did not do.
    pub reason: String,
}

/// How a sink does. Counts are since the start of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether it is spoken to.
    pub breaker: BreakerState,
    /// Events that are known and not settled.
    pub waiting: usize,
    /// Of these, under way.
    pub in_flight: usize,
    /// Of these, waiting for their next attempt.
    pub retrying: usize,
    /// Events that were accepted.
    pub delivered: u64,
    /// Events that became dead letters.
    pub dead: u64,
    /// Attempts that failed or got no answer; refusals are not counted here.
    pub failures: u64,
    /// Attempts beyond the first of an event.
    pub retries: u64,
    /// How often the window became full.
    pub window_full: u64,
    /// Why the last attempt that did not do did not.
    pub last_error: Option<String>,
}

/// The delivery to one sink: pure, and time is a parameter, in µs of a clock that does not go back.
///
/// Of one record key, at most one event is under way, and none is sent before all earlier ones of its
/// key are settled. Other keys go on.
#[derive(Clone, Debug)]
pub struct Delivery {
    policy: Policy,
    seed: u64,
    cursor: Cursor,
    /// All positions before it were offered, or are settled.
    offered: u64,
    held: BTreeMap<u64, Held>,
    /// The events of a key that are held, in order. Only the first can be sent.
    keys: BTreeMap<Arc<str>, VecDeque<u64>>,
    ready: BTreeSet<u64>,
    /// By the time of the next attempt.
    resting: BTreeSet<(i64, u64)>,
    /// By the time at which the answer must be there.
    under_way: BTreeSet<(i64, u64)>,
    breaker: Breaker,
    counts: Counts,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    delivered: u64,
    dead: u64,
    failures: u64,
    retries: u64,
    window_full: u64,
    last_error: Option<String>,
}

/// An event that is not settled.
#[derive(Clone, Debug)]
struct Held {
    key: Arc<str>,
    /// How often it was sent.
    attempts: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// An earlier one of its key is not settled.
    Behind,
    Ready,
    Resting {
        due_us: i64,
    },
    UnderWay {
        deadline_us: i64,
    },
}

impl Delivery {
    /// Goes on at `cursor`. The seed decides how waits are spread: two sinks should not have the same.
    pub fn new(policy: Policy, cursor: Cursor, seed: u64) -> Self {
        Self {
            breaker: Breaker::new(policy.breaker_failures, policy.breaker_open_us),
            offered: cursor.next(),
            policy,
            seed,
            cursor,
            held: BTreeMap::new(),
            keys: BTreeMap::new(),
            ready: BTreeSet::new(),
            resting: BTreeSet::new(),
            under_way: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    /// How many more events it takes now.
    pub fn wants(&self) -> usize {
        self.policy.window_max.max(1) - self.held.len()
    }

    /// The position that is to be offered next: what is settled is passed over.
    pub fn expects(&self) -> u64 {
        self.cursor.unsettled_from(self.offered)
    }

    /// Takes an event; says whether it did. One that is settled or held already is not taken again. Nor
    /// is one while the window is full, or while another is [expected](Self::expects) before it: it is
    /// to be offered again.
    pub fn offer(&mut self, position: u64, key: &str) -> bool {
        if position != self.expects() || self.wants() == 0 {
            return false;
        }
        self.offered = position.saturating_add(1);
        let key: Arc<str> = self.keys.get_key_value(key).map_or_else(|| key.into(), |(key, _)| key.clone());
        let queue = self.keys.entry(key.clone()).or_default();
        queue.push_back(position);
        let first = queue.len() == 1;
        let stage = if first { Stage::Ready } else { Stage::Behind };
        if first {
            self.ready.insert(position);
        }
        self.held.insert(position, Held { key, attempts: 0, stage });
        self.counts.window_full += u64::from(self.wants() == 0);
        true
    }

    /// What is to be done now. To be asked again after each answer but `WaitUntil` and `Idle`.
    pub fn next(&mut self, now_us: i64) -> Next {
        while let Some(&(deadline_us, position)) = self.under_way.first()
            && deadline_us <= now_us
        {
            if let Some(dead) = self.failed(position, self.no_answer(), 0, now_us) {
                return Next::Dead(dead);
            }
        }
        while let Some(&(due_us, position)) = self.resting.first()
            && due_us <= now_us
        {
            self.resting.pop_first();
            self.ready.insert(position);
            self.held.entry(position).and_modify(|held| held.stage = Stage::Ready);
        }
        match self.choose(now_us) {
            Some(position) => self.send(position, now_us),
            None => self.wakes_us(now_us).map_or(Next::Idle, Next::WaitUntil),
        }
    }

    /// Takes the outcome of an attempt; what is answered goes to the dead letters. It is to be committed
    /// before anything else is sent: after a crash it would be tried again, and could be taken after later
    /// ones of its key.
    ///
    /// An outcome that comes too late, since the attempt timed out, is passed over. That the sink has the
    /// event is never too late, unless the event is a dead letter.
    pub fn done(&mut self, position: u64, attempt: u32, outcome: Outcome, now_us: i64) -> Option<Dead> {
        let held = self.held.get(&position)?;
        let was_sent = (1..=held.attempts).contains(&attempt);
        let is_under_way = attempt == held.attempts && matches!(held.stage, Stage::UnderWay { .. });
        match outcome {
            Outcome::Accepted if was_sent => {
                self.breaker.answered(position);
                self.settle(position);
                self.counts.delivered += 1;
                None
            }
            Outcome::Accepted => None,
            _ if !is_under_way => None,
            Outcome::Refused(reason) => {
                self.breaker.answered(position);
                self.counts.last_error = Some(bounded(&reason));
                self.bury(position, bounded(&reason))
            }
            Outcome::Failed(reason) => self.failed(position, reason, 0, now_us),
            Outcome::Later { reason, after_us } => self.failed(position, reason, after_us, now_us),
            Outcome::TimedOut => self.failed(position, self.no_answer(), 0, now_us),
        }
    }

    /// What is settled. With it, and with the dead letters that were handed out so far, it can go on after
    /// a restart: they belong into one commit.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// How the sink does.
    pub fn status(&self) -> Status {
        let Counts { delivered, dead, failures, retries, window_full, last_error } = self.counts.clone();
        Status {
            breaker: self.breaker.state(),
            waiting: self.held.len(),
            in_flight: self.under_way.len(),
            retrying: self.resting.len(),
            delivered,
            dead,
            failures,
            retries,
            window_full,
            last_error,
        }
    }

    fn choose(&self, now_us: i64) -> Option<u64> {
        if self.under_way.len() >= self.policy.in_flight_max.max(1) {
            return None;
        }
        let attempts = |position: &u64| self.held.get(position).map_or(0, |held| held.attempts);
        match self.breaker.allows(now_us) {
            Allows::All => self.ready.first().copied(),
            // The one that was tried least: else one bad event could keep a good sink away for ever.
            Allows::Probe => self.ready.iter().min_by_key(|position| (attempts(position), **position)).copied(),
            Allows::Nothing => None,
        }
    }

    fn send(&mut self, position: u64, now_us: i64) -> Next {
        let deadline_us = now_us.saturating_add(self.policy.timeout_us.max(1));
        self.ready.remove(&position);
        self.under_way.insert((deadline_us, position));
        self.breaker.sent(position);
        let mut attempt = 1;
        if let Some(held) = self.held.get_mut(&position) {
            held.attempts = held.attempts.saturating_add(1);
            held.stage = Stage::UnderWay { deadline_us };
            attempt = held.attempts;
        }
        self.counts.retries += u64::from(attempt > 1);
        Next::Send { position, attempt }
    }

    /// When something changes by itself: an answer is overdue, a wait is over, a probe may be sent.
    fn wakes_us(&self, now_us: i64) -> Option<i64> {
        let probe = self.breaker.open_until_us().filter(|until_us| *until_us > now_us && !self.held.is_empty());
        let first = |set: &BTreeSet<(i64, u64)>| set.first().map(|&(at_us, _)| at_us);
        [first(&self.under_way), first(&self.resting), probe].into_iter().flatten().min()
    }

    fn failed(&mut self, position: u64, reason: String, after_us: i64, now_us: i64) -> Option<Dead> {
        let reason = bounded(&reason);
        self.counts.failures += 1;
        self.counts.last_error = Some(reason.clone());
        self.breaker.failed(position, now_us);
        self.withdraw(position);
        let held = self.held.get_mut(&position)?;
        if self.policy.attempts_max.is_some_and(|max| held.attempts >= max) {
            return self.bury(position, reason);
        }
        let wait_us = self.policy.backoff_us(self.seed, position, held.attempts);
        let wait_us = wait_us.max(after_us.min(self.policy.retry_max_us));
        let due_us = now_us.saturating_add(wait_us);
        held.stage = Stage::Resting { due_us };
        self.resting.insert((due_us, position));
        None
    }

    fn bury(&mut self, position: u64, reason: String) -> Option<Dead> {
        let attempts = self.held.get(&position)?.attempts;
        self.settle(position);
        self.counts.dead += 1;
        Some(Dead { position, attempts, reason })
    }

    /// Takes an event out of where its stage says that it is.
    fn withdraw(&mut self, position: u64) {
        match self.held.get(&position).map(|held| held.stage) {
            Some(Stage::Ready) => drop(self.ready.remove(&position)),
            Some(Stage::Resting { due_us }) => drop(self.resting.remove(&(due_us, position))),
            Some(Stage::UnderWay { deadline_us }) => drop(self.under_way.remove(&(deadline_us, position))),
            Some(Stage::Behind) | None => {}
        }
    }

    /// The event is over with: the next one of its key is free.
    fn settle(&mut self, position: u64) {
        self.withdraw(position);
        self.cursor.settle(position);
        let Some(Held { key, .. }) = self.held.remove(&position) else { return };
        let Some(queue) = self.keys.get_mut(&key) else { return };
        queue.pop_front();
        match queue.front() {
            None => drop(self.keys.remove(&key)),
            Some(&first) => {
                self.held.entry(first).and_modify(|held| held.stage = Stage::Ready);
                self.ready.insert(first);
            }
        }
    }

    fn no_answer(&self) -> String {
        format!("no answer within {} ms", self.policy.timeout_us / 1000)
    }
}

fn bounded(reason: &str) -> String {
    reason.chars().take(REASON_CHARS_MAX).collect()
}
