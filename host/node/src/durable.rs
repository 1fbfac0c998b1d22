//! What a run keeps in its store: what it was given, what left, how far its inputs were read, and from
//! time to time its state, so that it can go on where it stopped.
//!
//! What a round was given and what left with it are committed together, a little later, by a thread of
//! its own. What leaves is told to nobody before that. A restart goes on from the newest checkpoint with what
//! the log was given after it; the events that this makes and the store already has are not kept twice.

mod ahead;
mod checkpoint;
mod outlet;
mod paged;
mod recorded;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use stillhouse_core::table::Table;
use stillhouse_store::{Batch, CommitOptions, Committer, Map, Packed, Sequence, Store};
use tokio::sync::mpsc::Sender;
use tokio::sync::{oneshot, watch};

pub use checkpoint::{Kept, State};
pub use outlet::{Outlet, Output};
pub use paged::Paged;
pub use recorded::{Entry, Recorded};

use crate::clock::Clock;
use crate::decode::framing::{Chunk, Place};
use crate::input::{Piece, Position};
use crate::journal::Given;
use crate::metric;
use crate::sinks::{Dead, dead_key};

/// A file is kept in values of so many bytes.
const PART_BYTES: usize = 8 << 20;

/// When a run commits and keeps its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The longest that something waits to be committed.
    pub commit_delay: Duration,
    /// A checkpoint is made after so many bytes of the log, or after as many as the last one had if that is
    /// more, so that their cost is bounded.
    pub checkpoint_bytes: u64,
    /// How often the newest range of the log is distilled again and compared.
    pub scrub_every: Option<Duration>,
    /// Of what is no longer needed, so much is kept in time; `None` for no bound.
    pub keep_us: Option<i64>,
    /// Of what is no longer needed, so much is kept in bytes; `None` for no bound.
    pub keep_bytes: Option<u64>,
}

impl Policy {
    /// Unless configured.
    pub const DEFAULT: Self = Self {
        commit_delay: Duration::from_millis(20),
        checkpoint_bytes: 128 << 20,
        scrub_every: None,
        keep_us: None,
        keep_bytes: None,
    };
}

impl Default for Policy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What waits to be committed, in bytes; at the bound the sources wait.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// A commit is begun once so much waits, whatever the delay.
const COMMIT_BYTES: usize = 8 << 20;

/// So many dead letters of the source side are kept; at the bound the oldest is forgotten, which is counted.
pub const DEAD_MAX: usize = 10_000;

/// What a dead letter has near its beginning.
const DEAD_LETTER: &[u8] = b"\"type\":\"stillhouse.dead-letter\"";
const DEAD_LETTER_WITHIN: usize = 160;

/// The dead letters of the source side that a store has, oldest first.
fn buried(store: &Store) -> Result<VecDeque<u64>> {
    let mut buried = VecDeque::new();
    for pair in store.scan(Map::Dead, b"source/", Some(b"source0"))? {
        let (key, _) = pair?;
        let position = std::str::from_utf8(&key).ok().and_then(|key| key.strip_prefix("source/")?.parse().ok());
        buried.push_back(position.context("the key of a dead letter is not understood")?);
    }
    Ok(buried)
}

/// Whoever waits for a commit.
type Answer = oneshot::Sender<Result<(), String>>;

/// What the store and its committer count, as Prometheus reads it.
pub fn text(store: &Store, committer: &Committer) -> String {
    let counts = committer.counts();
    let failing = matches!(committer.health(), stillhouse_store::Health::Failing { .. });
    let of = |name: &str, kind: &str, what: &str, value: u64| metric::one(&format!("store_{name}"), what, kind, value);
    [
        of("log_entries", "gauge", "The position behind the newest entry of the log.", store.next(Sequence::Log)),
        of("events", "gauge", "The position behind the newest event.", store.next(Sequence::Events)),
        of("commits_total", "counter", "Transactions.", counts.commits),
        of("commit_failures_total", "counter", "Attempts to commit that failed.", counts.failures),
        of("failing", "gauge", "Whether the last attempt to commit failed.", u64::from(failing)),
        of("committed_bytes_total", "counter", "Bytes that were committed, uncompressed.", counts.bytes),
        of("waiting_bytes", "gauge", "Bytes that wait to be committed.", counts.waiting_bytes),
        of("back_pressure_total", "counter", "How often the sources had to wait for the store.", counts.waits),
        of("back_pressure_us_total", "counter", "For how long, in microseconds.", counts.waited_us),
    ]
    .concat()
}

/// A chunk as the log has it: made on the thread that decodes it.
pub struct Noted {
    /// Of which input.
    pub input: usize,
    record: Packed,
    next: Place,
}

impl Noted {
    /// What is to be noted of a chunk.
    pub fn of(input: usize, chunk: &Chunk) -> Self {
        let [head, bytes, tail] = Given::chunk_parts(input, chunk);
        Self { input, record: Packed::of(&[&head, &bytes, &tail]), next: chunk.next }
    }
}

/// The store of a run, as it is written.
pub struct Durable {
    store: Arc<Store>,
    committer: Arc<Committer>,
    told: watch::Receiver<u64>,
    policy: Policy,
    batch: Batch,
    /// The position of the next entry of the log.
    log: u64,
    /// The position of the next event.
    events: u64,
    /// Events that the store had when the run began; those before are made again and not kept twice.
    known: u64,
    /// Events that were made again and are other ones than the store has.
    differing: u64,
    /// The events that the store has and that are made again, from the newest checkpoint on.
    again: Option<Paged>,
    /// The number of the next checkpoint.
    checkpoint: u64,
    since_checkpoint_bytes: u64,
    last_checkpoint_bytes: u64,
    positions: BTreeMap<String, Position>,
    outlet: Outlet,
    wake: Arc<OnceLock<Sender<Piece>>>,
    /// Who is to be answered once what was noted is committed.
    answers: Vec<Answer>,
    /// Dead letters of the source side that are kept, oldest first.
    buried: VecDeque<u64>,
    dead_forgotten: u64,
    waiting: VecDeque<(u64, Vec<Answer>)>,
    clock: Clock,
}

impl Durable {
    /// Opens the store of a run.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path, policy: Policy, output: Option<&Path>) -> Result<Self> {
        let store = Arc::new(Store::open(path)?);
        let options = CommitOptions {
            delay_max: policy.commit_delay,
            bytes_max: COMMIT_BYTES,
            queue_bytes_max: QUEUE_BYTES_MAX,
            ..CommitOptions::default()
        };
        let wake: Arc<OnceLock<Sender<Piece>>> = Arc::default();
        let to_wake = Arc::clone(&wake);
        let (tell, told) = watch::channel(0);
        let committer = Committer::start(Arc::clone(&store), options, move |ticket| {
            tell.send_replace(ticket);
            // Who cannot be woken is awake.
            drop(to_wake.get().map(|to| to.try_send(Piece::Commit)));
        })?;
        // What is there and is no file, such as /dev/null, cannot be taken back either.
        let is_file = |path: &&Path| std::fs::metadata(path).map_or(true, |meta| meta.is_file());
        let output = output.filter(is_file).map_or(Output::Stream, |path| Output::File(path.to_owned()));
        let durable = Self::on(store, committer, policy, output, Arc::new(crate::clock::now_us))?;
        Ok(Self { wake, told, ..durable })
    }

    /// As [`Durable::open`], on a store that is open, with its committer and a clock.
    ///
    /// # Errors
    /// If the store or the output cannot be read.
    pub fn on(store: Arc<Store>, committer: Committer, policy: Policy, output: Output, clock: Clock) -> Result<Self> {
        let positions = store.scan(Map::Positions, &[], None)?.map(|pair| {
            let (path, position) = pair?;
            let position = postcard::from_bytes(&position).context("a position is not understood")?;
            Ok((String::from_utf8_lossy(&path).into_owned(), position))
        });
        let mut outlet = Outlet::open(&store, output, clock())?;
        let mut batch = Batch::default();
        outlet.begin(&mut batch);
        Ok(Self {
            log: store.next(Sequence::Log),
            events: store.next(Sequence::Events),
            known: store.next(Sequence::Events),
            differing: 0,
            again: None,
            checkpoint: 0,
            since_checkpoint_bytes: 0,
            last_checkpoint_bytes: 0,
            positions: positions.collect::<Result<_>>()?,
            outlet,
            wake: Arc::default(),
            answers: Vec::new(),
            buried: buried(&store)?,
            dead_forgotten: 0,
            waiting: VecDeque::new(),
            clock,
            batch,
            committer: Arc::new(committer),
            told: watch::channel(0).1,
            policy,
            store,
        })
    }

    /// Whether nothing was ever written to it.
    pub fn is_new(&self) -> bool {
        self.log == 0
    }

    /// What is in it.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// How far an input was read, by its path.
    pub fn position(&self, input: &str) -> Option<Position> {
        self.positions.get(input).copied()
    }

    /// Notes what the core is about to be given.
    pub fn given(&mut self, given: &Given) {
        let record = given.encode();
        self.since_checkpoint_bytes += record.len() as u64;
        self.batch.append(Sequence::Log, self.log, (self.clock)(), &record);
        self.log += 1;
    }

    /// Notes a chunk that is taken in, before what left with its round, and how far its input is read then.
    pub fn chunk(&mut self, path: &str, noted: Noted) {
        self.since_checkpoint_bytes += noted.record.raw_bytes() as u64;
        self.batch.append_packed(Sequence::Log, self.log, (self.clock)(), noted.record);
        self.log += 1;
        let position = self.positions.entry(path.to_owned()).or_default();
        position.place = noted.next;
        let value = postcard::to_allocvec(position).expect("a position is plain data");
        self.batch.put(Map::Positions, path.as_bytes(), value);
    }

    /// Notes by what an input is known again.
    pub fn began(&mut self, path: &str, head: crate::input::Head) {
        self.positions.entry(path.to_owned()).or_default().head = head;
    }

    /// Keeps a file that a replay needs.
    pub fn keep_file(&mut self, key: &str, bytes: &[u8]) {
        for (part, bytes) in bytes.chunks(PART_BYTES).enumerate() {
            self.batch.put(Map::Files, format!("{key}/{part:08}").as_bytes(), bytes.to_vec());
        }
    }

    /// Keeps all files of another store.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn keep_files(&mut self, of: &Store) -> Result<()> {
        for pair in of.scan(Map::Files, &[], None)? {
            let (key, bytes) = pair?;
            self.batch.put(Map::Files, &key, bytes);
            if self.is_full() {
                self.commit()?;
            }
        }
        Ok(())
    }

    /// Keeps a table that a restart needs.
    pub fn keep_table(&mut self, table: &Table) {
        let bytes = postcard::to_allocvec(table).expect("a table is plain data");
        self.keep_file(&format!("table/{}", table.digest), &bytes);
    }

    /// Notes what left, one event a line. `chunks`: so many left with it and are noted afterwards.
    ///
    /// # Errors
    /// If an event is made again and is another one than the store has.
    pub fn events(&mut self, lines: &[u8], chunks: usize) -> Result<()> {
        let (log, now_us) = (self.log + chunks as u64, (self.clock)());
        lines.split_inclusive(|&byte| byte == b'\n').try_for_each(|line| self.event(line, log, now_us))
    }

    fn event(&mut self, line: &[u8], log: u64, now_us: i64) -> Result<()> {
        let position = self.events;
        self.events += 1;
        if position < self.known {
            return self.compare(position, line);
        }
        let begins = &line[..line.len().min(DEAD_LETTER_WITHIN + DEAD_LETTER.len())];
        if memchr::memmem::find(begins, DEAD_LETTER).is_some() {
            self.bury(position, line, now_us);
        }
        let record = Entry { log, line }.encode();
        self.batch.append(Sequence::Events, position, now_us, &record);
        self.outlet.push(line);
        Ok(())
    }

    /// A signal that could not be read or mapped is kept, so that it can be given again.
    fn bury(&mut self, position: u64, line: &[u8], at_us: i64) {
        let dead = Dead { attempts: 0, reason: String::new(), at_us, line: line.to_vec(), again: false };
        let value = postcard::to_allocvec(&dead).expect("a dead letter is plain data");
        self.batch.put(Map::Dead, dead_key(None, position).as_bytes(), value);
        self.buried.push_back(position);
        while self.buried.len() > DEAD_MAX {
            if let Some(oldest) = self.buried.pop_front() {
                self.batch.delete(Map::Dead, dead_key(None, oldest).as_bytes());
                self.dead_forgotten += 1;
            }
        }
    }

    /// Takes out the dead letters of the source side that are to be taken in again: their names, and the events
    /// about them.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn take_again(&mut self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut again = Vec::new();
        for pair in self.store.scan(Map::Dead, b"source/", Some(b"source0"))? {
            let (key, value) = pair?;
            let dead: Dead = postcard::from_bytes(&value).context("a dead letter is not understood")?;
            if dead.again {
                self.batch.delete(Map::Dead, &key);
                again.push((String::from_utf8_lossy(&key).into_owned(), dead.line));
            }
        }
        Ok(again)
    }

    /// Dead letters that were forgotten because there were too many.
    pub fn dead_forgotten(&self) -> u64 {
        self.dead_forgotten
    }

    /// An event that was made again must be the one that the store has.
    fn compare(&mut self, position: u64, line: &[u8]) -> Result<()> {
        let known = match self.again.as_mut().and_then(Iterator::next) {
            Some(known) => known?,
            None => bail!("the event at position {position} is not in the store any more"),
        };
        let known = Entry::decode(known.bytes())?;
        if known.line != line {
            self.differing += 1;
            tracing::error!(
                position,
                was = %String::from_utf8_lossy(known.line),
                is = %String::from_utf8_lossy(line),
                "an event that was made again is another one; the one that left stands"
            );
        }
        Ok(())
    }

    /// Events that were made again at the start and are other ones than left before.
    pub fn differing(&self) -> u64 {
        self.differing
    }

    /// Hands what was noted to the committer. It waits while too much is waiting there.
    ///
    /// # Errors
    /// If the store would not take it, now or later.
    pub fn commit(&mut self) -> Result<()> {
        if !self.batch.is_empty() {
            let ticket = self.committer.submit(std::mem::take(&mut self.batch))?;
            self.outlet.sealed(ticket);
            if !self.answers.is_empty() {
                self.waiting.push_back((ticket, std::mem::take(&mut self.answers)));
            }
        }
        Ok(())
    }

    /// Lets out what is committed.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn let_out(&mut self, output: &mut dyn std::io::Write) -> Result<()> {
        let committed = self.committer.committed();
        while let Some((_, answers)) = self.waiting.pop_front_if(|(ticket, _)| *ticket <= committed) {
            // Who has gone away asks again.
            answers.into_iter().for_each(|answer| drop(answer.send(Ok(()))));
        }
        self.outlet.let_out(committed, output, (self.clock)(), &mut self.batch)
    }

    /// Returns once all that was noted is committed and let out.
    ///
    /// # Errors
    /// If it cannot be committed or written.
    pub fn finish(&mut self, output: &mut dyn std::io::Write) -> Result<()> {
        self.commit()?;
        self.committer.flush()?;
        self.let_out(output)?;
        self.outlet.settle((self.clock)(), &mut self.batch)?;
        self.commit()?;
        Ok(self.committer.flush()?)
    }

    /// Whether so much was noted that it is to be handed over.
    pub fn is_full(&self) -> bool {
        self.batch.raw_bytes() >= COMMIT_BYTES / 4
    }

    /// Whoever takes pieces is woken when something is committed.
    pub fn wake_with(&self, to: Sender<Piece>) {
        drop(self.wake.set(to));
    }

    /// The committer, for those who commit beside the run.
    pub fn committer(&self) -> Arc<Committer> {
        Arc::clone(&self.committer)
    }

    /// Changes whenever something is committed.
    pub fn told(&self) -> watch::Receiver<u64> {
        self.told.clone()
    }

    /// Events that the store had when the run began.
    pub fn known(&self) -> u64 {
        self.known
    }

    /// Whoever waits is answered once all that was noted so far is committed.
    pub fn answer(&mut self, committed: Answer) {
        self.answers.push(committed);
    }
}
