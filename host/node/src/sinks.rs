//! Brings what left from the store to the sinks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use stillhouse_delivery::courier::{Commit, Courier, CourierConfig, Outbox, Settled};
use stillhouse_delivery::metrics::SinkMetrics;
use stillhouse_delivery::sender::file::FileSender;
use stillhouse_delivery::sender::http::HttpSender;
use stillhouse_delivery::sender::{Event, Mark, Sender};
use stillhouse_delivery::{Cursor, metrics};
use stillhouse_store::{Batch, Committer, Map, Sequence, Store};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::config::{SinkConfig, SinkTo};
use crate::durable::{Durable, Entry};

/// How long a run that has ended waits for a sink that takes nothing.
const PATIENCE: Duration = Duration::from_secs(15);

/// An event that a sink did not take, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dead {
    /// How often it was tried; 0: a signal that could not be read or mapped.
    pub attempts: u32,
    /// Why it was given up.
    pub reason: String,
    /// When, in wall-clock time.
    pub at_us: i64,
    /// The event.
    #[serde(with = "serde_bytes")]
    pub line: Vec<u8>,
    /// Whether the next run takes it in again.
    pub again: bool,
}

/// The key of a dead letter: of a sink, or of the source side.
pub fn dead_key(sink: Option<&str>, position: u64) -> String {
    match sink {
        Some(sink) => format!("sink/{sink}/{position:020}"),
        None => format!("source/{position:020}"),
    }
}

/// The cursor of a sink.
pub fn cursor_key(sink: &str) -> String {
    format!("sink/{sink}")
}

/// Events of the store, once they are committed.
struct Committed {
    store: Arc<Store>,
    told: watch::Receiver<u64>,
}

impl Outbox for Committed {
    async fn wait_for(&self, position: u64) {
        let mut told = self.told.clone();
        while self.store.next(Sequence::Events) <= position {
            if told.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn read(&self, from: u64, max: usize) -> Result<Vec<Event>, String> {
        let mut events = Vec::new();
        for record in self.store.read(Sequence::Events, from).map_err(|error| error.to_string())?.take(max) {
            let record = record.map_err(|error| error.to_string())?;
            let entry = Entry::decode(record.bytes()).map_err(|error| error.to_string())?;
            events.push(event(record.position, entry.line)?);
        }
        Ok(events)
    }
}

/// A line as an event to be sent.
///
/// # Errors
/// If it is no event.
pub fn event(position: u64, line: &[u8]) -> Result<Event, String> {
    #[derive(Deserialize)]
    struct Known<'a> {
        #[serde(borrow)]
        id: std::borrow::Cow<'a, str>,
        #[serde(borrow)]
        subject: Option<std::borrow::Cow<'a, str>>,
    }
    let line = line.trim_ascii_end();
    let known: Known<'_> = serde_json::from_slice(line).map_err(|error| format!("event {position}: {error}"))?;
    let id = known.id.into_owned();
    let key = known.subject.map_or_else(|| id.clone(), std::borrow::Cow::into_owned);
    Ok(Event { position, key, id, bytes: line.to_vec().into(), since_us: crate::clock::now_us() })
}

/// Keeps what a sink has settled.
struct Settle {
    sink: String,
    committer: Arc<Committer>,
}

impl Commit for Settle {
    async fn commit(&self, settled: Settled) -> Result<(), String> {
        let mut batch = Batch::default();
        let cursor = (&settled.cursor, &settled.mark);
        let cursor = postcard::to_allocvec(&cursor).map_err(|error| error.to_string())?;
        batch.put(Map::Cursors, cursor_key(&self.sink).as_bytes(), cursor);
        for letter in settled.dead {
            let dead = Dead {
                attempts: letter.attempts,
                reason: letter.reason,
                at_us: crate::clock::now_us(),
                line: letter.event.bytes.to_vec(),
                again: false,
            };
            let value = postcard::to_allocvec(&dead).map_err(|error| error.to_string())?;
            batch.put(Map::Dead, dead_key(Some(&self.sink), letter.event.position).as_bytes(), value);
        }
        let committer = Arc::clone(&self.committer);
        let committed = tokio::task::spawn_blocking(move || {
            let ticket = committer.submit(batch)?;
            committer.wait(ticket)
        });
        match committed.await {
            Ok(committed) => committed.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The sinks of a run.
pub struct Sinks {
    store: Arc<Store>,
    metrics: Vec<Arc<SinkMetrics>>,
    stops: Vec<oneshot::Sender<()>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Sinks {
    /// Starts to deliver to all sinks of a configuration, each from where it stands.
    ///
    /// # Errors
    /// If a sink cannot be used.
    pub fn start(sinks: &[SinkConfig], durable: &Durable, runtime: &tokio::runtime::Handle) -> Result<Self> {
        let store = Arc::clone(durable.store());
        let mut started = Self { store, metrics: Vec::new(), stops: Vec::new(), tasks: Vec::new() };
        for sink in sinks {
            let key = cursor_key(&sink.name);
            let known = started.store.get(Map::Cursors, key.as_bytes())?;
            let (cursor, mark): (Cursor, Option<Mark>) = match known {
                Some(known) => postcard::from_bytes(&known).context("the cursor of a sink is not understood")?,
                // One that is new is told what is new.
                None => (Cursor::at(durable.known()), None),
            };
            let refused = |error: String| anyhow::anyhow!("[sink.{}]: {error}", sink.name);
            // Connections belong to the runtime.
            let _inside = runtime.enter();
            match &sink.to {
                SinkTo::Http(http) => {
                    started.deliver(sink, cursor, HttpSender::new(http).map_err(refused)?, durable, runtime);
                }
                SinkTo::File(path) => {
                    let sender = FileSender::open(path, mark, 256).map_err(refused)?;
                    started.deliver(sink, cursor, sender, durable, runtime);
                }
            }
        }
        Ok(started)
    }

    fn deliver(
        &mut self,
        sink: &SinkConfig,
        cursor: Cursor,
        sender: impl Sender,
        durable: &Durable,
        runtime: &tokio::runtime::Handle,
    ) {
        let seed = stillhouse_core::block::id_hash("sink", &sink.name);
        let config = CourierConfig { policy: sink.policy.clone(), cursor, seed, ..CourierConfig::default() };
        let outbox = Committed { store: Arc::clone(&self.store), told: durable.told() };
        let commit = Settle { sink: sink.name.clone(), committer: durable.committer() };
        let metrics = SinkMetrics::new(&sink.name);
        let courier = Courier::new(config, sender, outbox, commit, Arc::clone(&metrics));
        let (stop, stopped) = oneshot::channel::<()>();
        self.metrics.push(metrics);
        self.stops.push(stop);
        let name = sink.name.clone();
        self.tasks.push(runtime.spawn(async move {
            match courier.run(async move { drop(stopped.await) }).await {
                Ok(end) => tracing::debug!(sink = name, ?end, "the sink is done"),
                Err(error) => tracing::error!("{error}; its events wait in the store"),
            }
        }));
    }

    /// How the sinks stand, for whoever measures.
    pub fn text(metrics: &[Arc<SinkMetrics>], store: &Store) -> String {
        metrics::text(metrics, store.next(Sequence::Events), crate::clock::now_us())
    }

    /// The metrics of each.
    pub fn metrics(&self) -> Vec<Arc<SinkMetrics>> {
        self.metrics.clone()
    }

    /// Waits until all events are settled, but not for a sink that takes nothing for a while, and stops. Tells
    /// which sinks still have events waiting for them, and how many.
    pub fn finish(mut self, all: bool, runtime: &tokio::runtime::Handle) -> Vec<(String, u64)> {
        let end = self.store.next(Sequence::Events);
        let behind = |metrics: &SinkMetrics| {
            metrics.reading().map_or(end, |reading| end.saturating_sub(reading.next + reading.settled_beyond))
        };
        let waiting = |sinks: &Self| sinks.metrics.iter().map(|metrics| behind(metrics)).sum::<u64>();
        let (mut last, mut since) = (waiting(&self), Instant::now());
        while all && last > 0 && since.elapsed() < PATIENCE && self.tasks.iter().any(|task| !task.is_finished()) {
            std::thread::sleep(Duration::from_millis(5));
            let now = waiting(&self);
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        for stop in self.stops.drain(..) {
            // One that has gone needs no telling.
            let _ = stop.send(());
        }
        for task in self.tasks.drain(..) {
            drop(runtime.block_on(task));
        }
        let named = self.metrics.iter().map(|metrics| (metrics.sink().to_owned(), behind(metrics)));
        named.filter(|(_, behind)| *behind > 0).collect()
    }
}
