//! The task that brings events from the outbox to one sink.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::cursor::Cursor;
use crate::delivery::{Dead, Delivery, Next, Outcome};
use crate::metrics::{Reading, SinkMetrics};
use crate::policy::Policy;
use crate::sender::{Ended, Event, Mark, Sender, Sent};

/// Events that are read at once.
const READ_MAX: usize = 256;

/// Where events wait.
pub trait Outbox: Send + Sync + 'static {
    /// Ready when there is an event at `position`. May be dropped at any time.
    fn wait_for(&self, position: u64) -> impl Future<Output = ()> + Send;

    /// At most `max` events from `from` on, without a gap; fewer, or none, where there are no more yet.
    ///
    /// # Errors
    /// If they cannot be read; says why.
    fn read(&self, from: u64, max: usize) -> Result<Vec<Event>, String>;
}

/// Where it is kept what is settled.
pub trait Commit: Send + Sync + 'static {
    /// Keeps all of it or nothing, and returns when it is durable.
    fn commit(&self, settled: Settled) -> impl Future<Output = Result<(), String>> + Send;
}

/// What is to be kept together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// How far the sink is.
    pub cursor: Cursor,
    /// Where the sink itself stands, if it says.
    pub mark: Option<Mark>,
    /// Dead letters since the last commit.
    pub dead: Vec<DeadLetter>,
}

/// An event that is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The event.
    pub event: Arc<Event>,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last attempt did not do.
    pub reason: String,
}

/// How a courier works.
#[derive(Clone, Debug)]
pub struct CourierConfig {
    /// The bounds of delivery.
    pub policy: Policy,
    /// Where it goes on: the cursor that was committed last.
    pub cursor: Cursor,
    /// How waits are spread; another one for each sink.
    pub seed: u64,
    /// Bytes of events that are held; one event is held even if it has more.
    pub held_bytes_max: usize,
    /// How long what is under way may take when the courier is stopped.
    pub drain_timeout: Duration,
}

impl Default for CourierConfig {
    /// The default policy from the beginning of the outbox, 64 MiB, and 10 s to stop.
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            cursor: Cursor::default(),
            seed: 0,
            held_bytes_max: 64 * 1024 * 1024,
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Why a courier ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to.
    Stopped,
    /// Nobody reads the sink any more.
    Closed,
}

/// Why a courier cannot go on. What was accepted since its last commit is sent again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CourierError {
    /// The outbox cannot be read.
    #[error("sink {sink}: the outbox cannot be read: {error}")]
    Outbox {
        /// The name of the sink.
        sink: String,
        /// Why.
        error: String,
    },
    /// The outbox has lost events.
    #[error(
        "sink {sink}: expected event {expected} of the outbox, and {came} came: what is between them was removed before \
         this sink had it"
    )]
    Gap {
        /// The name of the sink.
        sink: String,
        /// What was to come.
        expected: u64,
        /// What came.
        came: u64,
    },
    /// It cannot be kept what is settled.
    #[error("sink {sink}: what was delivered cannot be noted: {error}")]
    Commit {
        /// The name of the sink.
        sink: String,
        /// Why.
        error: String,
    },
    /// The sink needs a person.
    #[error("sink {sink}: {error}")]
    Sink {
        /// The name of the sink.
        sink: String,
        /// What is wrong, and what to do.
        error: String,
    },
}

type Committing = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// The events of a call, each with its attempt, and what became of them.
type Called = (Vec<(u64, u32)>, Result<Sent, Ended>);

/// Brings events to one sink until it is stopped.
pub struct Courier<S, O, C> {
    config: CourierConfig,
    sender: Arc<S>,
    outbox: O,
    commit: Arc<C>,
    metrics: Arc<SinkMetrics>,
    delivery: Delivery,
    began: Instant,
    /// What is in the window, for the bytes.
    held: BTreeMap<u64, Arc<Event>>,
    held_bytes: usize,
    calls: JoinSet<Called>,
    mark: Option<Mark>,
    dead: Vec<DeadLetter>,
    /// The cursor and the mark that were handed to the last commit.
    handed: Option<(Cursor, Option<Mark>)>,
    committing: Option<Committing>,
    /// A dead letter is being committed: until it is, a later event of its key must not be sent.
    burying: bool,
}

impl<S: Sender, O: Outbox, C: Commit> Courier<S, O, C> {
    /// A courier that has done nothing yet. The metrics have the name of the sink. At least one batch may be
    /// under way, whatever the policy says.
    pub fn new(mut config: CourierConfig, sender: S, outbox: O, commit: C, metrics: Arc<SinkMetrics>) -> Self {
        config.policy.in_flight_max = config.policy.in_flight_max.max(sender.load().batch_max);
        let delivery = Delivery::new(config.policy.clone(), config.cursor.clone(), config.seed);
        let mark = sender.mark();
        // Where a sink stands before its first event has to be known, or its first batch could not be cut.
        let handed = mark.is_none().then(|| (config.cursor.clone(), None));
        Self {
            config,
            sender: Arc::new(sender),
            outbox,
            commit: Arc::new(commit),
            metrics,
            delivery,
            began: Instant::now(),
            held: BTreeMap::new(),
            held_bytes: 0,
            calls: JoinSet::new(),
            mark,
            dead: Vec::new(),
            handed,
            committing: None,
            burying: false,
        }
    }

    /// Delivers until `stop` is ready, and then waits for what is under way.
    ///
    /// # Errors
    /// If the outbox, the commit or the sink fails in a way that another attempt does not mend.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) -> Result<End, CourierError> {
        let mut stop = pin!(stop);
        self.begin_commit();
        self.finish_commit().await?;
        let end = loop {
            self.read()?;
            let wakes = self.launch();
            self.begin_commit();
            self.measure();
            let wants = self.takes_more();
            let expects = self.delivery.expects();
            tokio::select! {
                biased;
                () = &mut stop => break Ok(End::Stopped),
                committed = pending(&mut self.committing) => self.committed(committed)?,
                Some(called) = self.calls.join_next() => if let Err(ended) = self.settle_all(called) {
                    break self.ended(ended);
                },
                () = self.outbox.wait_for(expects), if wants => {}
                () = tokio::time::sleep_until(wakes.unwrap_or_else(Instant::now)), if wakes.is_some() => {}
            }
        };
        let ended = self.drain().await;
        self.calls.shutdown().await;
        // What did arrive is noted, however it ends.
        self.finish_commit().await?;
        self.begin_commit();
        self.finish_commit().await?;
        self.measure();
        end.and_then(|end| ended.map(|()| end))
    }

    fn takes_more(&self) -> bool {
        self.delivery.wants() > 0 && (self.held_bytes < self.config.held_bytes_max || self.held.is_empty())
    }

    /// Fills the window.
    fn read(&mut self) -> Result<(), CourierError> {
        while self.takes_more() {
            let expected = self.delivery.expects();
            let read = self.outbox.read(expected, self.delivery.wants().min(READ_MAX));
            let events = read.map_err(|error| CourierError::Outbox { sink: self.sink(), error })?;
            if events.is_empty() {
                return Ok(());
            }
            for event in events {
                let (expected, came) = (self.delivery.expects(), event.position);
                // Some of what was read may be settled.
                if came < expected {
                    continue;
                }
                if came > expected {
                    return Err(CourierError::Gap { sink: self.sink(), expected, came });
                }
                if !self.takes_more() {
                    return Ok(());
                }
                self.delivery.offer(came, &event.key);
                self.held_bytes += event.bytes.len();
                self.held.insert(came, Arc::new(event));
            }
        }
        Ok(())
    }

    /// Makes the calls that can be made now. Answers when to look again.
    fn launch(&mut self) -> Option<Instant> {
        let load = self.sender.load();
        // A later one of its key waits until a dead letter is kept: after a crash it would come first.
        while self.calls.len() < load.calls_max.max(1) && !self.burying && self.dead.is_empty() {
            let mut batch = Vec::new();
            let mut wakes = None;
            while batch.len() < load.batch_max.max(1) {
                match self.delivery.next(self.now_us()) {
                    Next::Send { position, attempt } => batch.push((position, attempt)),
                    Next::Dead(dead) => {
                        self.bury(dead);
                        break;
                    }
                    Next::WaitUntil(at_us) => {
                        wakes = Some(self.began + Duration::from_micros(at_us.max(0).unsigned_abs()));
                        break;
                    }
                    Next::Idle => break,
                }
            }
            if batch.is_empty() {
                return wakes;
            }
            self.call(batch, load.timed);
        }
        None
    }

    fn call(&mut self, batch: Vec<(u64, u32)>, timed: bool) {
        let events: Vec<_> = batch.iter().filter_map(|(position, _)| self.held.get(position).cloned()).collect();
        let sender = self.sender.clone();
        let patience = Duration::from_micros(self.config.policy.timeout_us.max(1).unsigned_abs());
        self.calls.spawn(async move {
            if !timed {
                return (batch, sender.send(events).await);
            }
            let sent = tokio::time::timeout(patience, sender.send(events)).await;
            let late = || Ok(Sent { outcomes: vec![Outcome::TimedOut; batch.len()], mark: None });
            let sent = sent.unwrap_or_else(|_| late());
            (batch, sent)
        });
    }

    fn settle_all(&mut self, called: Result<Called, JoinError>) -> Result<(), Ended> {
        let (batch, sent) = called.map_err(|error| Ended::Broken(format!("the sender failed: {error}")))?;
        let Sent { outcomes, mark } = sent?;
        self.mark = mark.or(self.mark);
        let now_us = self.now_us();
        for ((position, attempt), outcome) in batch.into_iter().zip(outcomes) {
            if let Some(dead) = self.delivery.done(position, attempt, outcome, now_us) {
                self.bury(dead);
            } else if self.delivery.cursor().is_settled(position) {
                self.let_go(position);
            }
        }
        Ok(())
    }

    fn let_go(&mut self, position: u64) -> Option<Arc<Event>> {
        let event = self.held.remove(&position)?;
        self.held_bytes -= event.bytes.len();
        Some(event)
    }

    fn bury(&mut self, Dead { position, attempts, reason }: Dead) {
        let Some(event) = self.let_go(position) else { return };
        tracing::warn!(sink = self.metrics.sink(), id = event.id, attempts, reason, "an event is a dead letter");
        self.dead.push(DeadLetter { event, attempts, reason });
    }

    /// Hands over what is settled and was not yet, unless that is under way.
    fn begin_commit(&mut self) {
        if self.committing.is_some() {
            return;
        }
        let now = (self.delivery.cursor(), self.mark);
        if self.dead.is_empty() && self.handed.as_ref().is_some_and(|(cursor, mark)| (cursor, *mark) == now) {
            return;
        }
        let (cursor, mark) = (now.0.clone(), now.1);
        self.burying = !self.dead.is_empty();
        self.handed = Some((cursor.clone(), mark));
        let settled = Settled { cursor, mark, dead: std::mem::take(&mut self.dead) };
        let commit = self.commit.clone();
        self.committing = Some(Box::pin(async move { commit.commit(settled).await }));
    }

    fn committed(&mut self, result: Result<(), String>) -> Result<(), CourierError> {
        self.burying = false;
        result.map_err(|error| CourierError::Commit { sink: self.sink(), error })
    }

    async fn finish_commit(&mut self) -> Result<(), CourierError> {
        if self.committing.is_none() {
            return Ok(());
        }
        let result = pending(&mut self.committing).await;
        self.committed(result)
    }

    /// Waits for what is under way, up to the bound.
    async fn drain(&mut self) -> Result<(), CourierError> {
        let until = Instant::now() + self.config.drain_timeout;
        while let Ok(Some(called)) = tokio::time::timeout_at(until, self.calls.join_next()).await {
            if let Err(ended) = self.settle_all(called) {
                self.ended(ended)?;
            }
        }
        if !self.calls.is_empty() {
            let calls = self.calls.len();
            tracing::warn!(
                sink = self.metrics.sink(),
                calls,
                "stopped while calls were under way; they are made again"
            );
        }
        Ok(())
    }

    fn ended(&self, ended: Ended) -> Result<End, CourierError> {
        match ended {
            Ended::Closed => Ok(End::Closed),
            Ended::Broken(error) => Err(CourierError::Sink { sink: self.sink(), error }),
        }
    }

    fn measure(&self) {
        let cursor = self.delivery.cursor();
        self.metrics.set(Reading {
            status: self.delivery.status(),
            next: cursor.next(),
            settled_beyond: cursor.settled_beyond(),
            oldest_since_us: self.held.values().next().map(|event| event.since_us),
        });
    }

    /// Since it began: a clock that is set does not hurry or hold up an attempt.
    fn now_us(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    fn sink(&self) -> String {
        self.metrics.sink().to_owned()
    }
}

/// The outcome of the commit that is under way; never ready while there is none.
async fn pending(committing: &mut Option<Committing>) -> Result<(), String> {
    let Some(future) = committing.as_mut() else { return std::future::pending().await };
    let result = future.await;
    *committing = None;
    result
}
