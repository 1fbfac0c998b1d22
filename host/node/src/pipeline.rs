//! The driver of the core: chunks in, events out, on all cores.
//!
//! Work goes in rounds. In each, the chunks of this round are decoded and mapped in parallel while
//! the core takes in the blocks of the round before. Which chunks are in a round depends on the
//! inputs alone, not on the number of threads, shards or rows in a batch.

mod snapshot;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use anyhow::Context;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, IntoParallelRefMutIterator, ParallelIterator};
use serde::{Deserialize, Serialize};
use stillhouse_core::block::NO_TIME;
use stillhouse_core::leap::Leaps;
use stillhouse_core::plan::TypePlan;
use stillhouse_core::rule::Judge;
use stillhouse_core::sequencer::Bounds;
use stillhouse_core::table::Table;
use stillhouse_core::{Block, Change, Checkpoint, Core, Entry, Event, Ledger, Plan, Row, Slice};
use stillhouse_rollout::Evidence;

use crate::decode::framing::Chunk;
use crate::decode::record::Decoder;
use crate::map::{Mapped, Sample, Worker};

/// How many chunks of one input are decoded in one round.
pub const ROUND_CHUNKS: usize = 32;

/// How many bytes of the newest signals are kept, so that a new version of a mapper can be asked about
/// them. At the bound the oldest are let go, all but one block. A version is not in force before it has
/// been asked about all of them, so more of them take longer: these some milliseconds.
const RECENT_BYTES_MAX: usize = 256 << 10;

/// What two versions of a mapper said of the signals of one block.
pub struct Compared {
    /// Index of the signal type.
    pub signal_type: u16,
    /// In numbers.
    pub evidence: Evidence,
    /// Some of what differs.
    pub samples: Vec<Sample>,
    /// The signals.
    pub block: Arc<Block>,
}

/// The newest signals, mapped: of which input, and the number of the first record of each block.
pub type Recent = VecDeque<(usize, u64, Arc<Block>)>;

/// Signals in, events out.
pub struct Pipeline<'a> {
    /// As the configuration begins with it.
    plan: Plan,
    shards: usize,
    core: Core,
    judge: Box<dyn Judge + Send + 'a>,
    /// `None`: one worker is enough, and works on the thread of whoever asks.
    pool: Option<rayon::ThreadPool>,
    /// One for each thread of the pool.
    workers: Vec<Mutex<Worker>>,
    inputs: Vec<InputState>,
    /// By input and name: one name in two inputs makes two that are waited for, each at its own pace.
    sources: BTreeMap<(usize, String), u32>,
    /// The tables in force.
    tables: BTreeMap<Box<str>, Arc<Table>>,
    leap_max_us: Option<i64>,
    position: u64,
    /// What the core has not taken in yet.
    waiting: Vec<Entry>,
    compared: Vec<Compared>,
    recent: Option<Recent>,
    recent_bytes: usize,
}

/// What a checkpoint holds of a pipeline, beside the state of the core.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Saved {
    inputs: Vec<SavedInput>,
    sources: Vec<(usize, String, u32)>,
    /// Digests of the tables in force.
    tables: Vec<String>,
    position: u64,
}

impl Saved {
    /// The names of all sources, by number.
    pub fn source_names(&self) -> Vec<String> {
        let mut named: Vec<(u32, &String)> = self.sources.iter().map(|(_, name, number)| (*number, name)).collect();
        named.sort_unstable();
        named.into_iter().map(|(_, name)| name.clone()).collect()
    }
}

#[derive(Debug, Deserialize, Serialize)]
struct SavedInput {
    newest_us: i64,
    leaps: Leaps,
    source: Option<u32>,
    named: Vec<u32>,
    ended: bool,
    snapshot: Option<OfSnapshots>,
}

/// What is known of an input of which there are snapshots only. It has ended for all who ask how far its
/// signals are.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct OfSnapshots {
    signal_type: u16,
    /// Of the last that was taken in as a whole.
    digest: Option<String>,
}

struct InputState {
    decoder: Arc<Decoder>,
    newest_us: i64,
    leaps: Leaps,
    /// The source that stands for the input until it has named its own.
    source: Option<u32>,
    /// The sources that its signals named.
    named: Vec<u32>,
    ended: bool,
    snapshot: Option<OfSnapshots>,
}

impl<'a> Pipeline<'a> {
    /// A pipeline with one worker for each thread.
    ///
    /// # Panics
    /// If there is no worker, or threads cannot be started.
    pub fn new(plan: Plan, shards: usize, judge: Box<dyn Judge + Send + 'a>, workers: Vec<Worker>) -> Self {
        assert!(!workers.is_empty(), "a pipeline needs a worker");
        let threads =
            rayon::ThreadPoolBuilder::new().num_threads(workers.len()).thread_name(|index| format!("worker-{index}"));
        let pool = (workers.len() > 1).then(|| threads.build().expect("threads can be started"));
        Self {
            leap_max_us: plan.order.leap_max_us,
            plan: plan.clone(),
            shards,
            core: Core::new(Arc::new(plan), shards),
            judge,
            pool,
            workers: workers.into_iter().map(Mutex::new).collect(),
            inputs: Vec::new(),
            sources: BTreeMap::new(),
            tables: BTreeMap::new(),
            position: 0,
            waiting: Vec::new(),
            compared: Vec::new(),
            recent: None,
            recent_bytes: 0,
        }
    }

    /// The state of the core and of what stands before it, once all that waits is taken in.
    pub fn save(&mut self, slice: Slice, out: &mut Vec<Event>) -> (Saved, Checkpoint) {
        if self.is_waiting() {
            self.round(Vec::new(), out);
        }
        let of = |input: &InputState| SavedInput {
            newest_us: input.newest_us,
            leaps: input.leaps,
            source: input.source,
            named: input.named.clone(),
            ended: input.ended,
            snapshot: input.snapshot.clone(),
        };
        let saved = Saved {
            inputs: self.inputs.iter().map(of).collect(),
            sources: self.sources.iter().map(|((input, name), number)| (*input, name.clone(), *number)).collect(),
            tables: self.tables.values().map(|table| table.digest.to_string()).collect(),
            position: self.position,
        };
        (saved, self.core.save(slice))
    }

    /// Notes from now on what [`Slice::Changed`] needs.
    pub fn note_changes(&mut self) {
        self.core.note_changes();
    }

    /// Goes on where another pipeline was saved. `decoders` are those of its inputs, `types` the plans of
    /// the signal types as they were then.
    ///
    /// # Errors
    /// If the state does not fit the plan, or a table is missing.
    pub fn restore(
        &mut self,
        saved: Saved,
        types: Vec<TypePlan>,
        decoders: Vec<Decoder>,
        checkpoints: impl IntoIterator<Item = Checkpoint>,
        tables: &mut dyn FnMut(&str) -> Option<Arc<Table>>,
    ) -> anyhow::Result<()> {
        let mut plan = self.plan.clone();
        plan.types = types;
        self.core = Core::restore(Arc::new(plan), self.shards, checkpoints, tables)?;
        for digest in saved.tables {
            let table = tables(&digest).with_context(|| format!("the table of digest {digest} is not there"))?;
            self.tables.insert(table.name.clone(), table);
        }
        for (mut decoder, input) in decoders.into_iter().zip(saved.inputs) {
            self.tables.values().for_each(|table| decoder.set_table(table));
            let SavedInput { newest_us, leaps, source, named, ended, snapshot } = input;
            decoder.set_timeless(snapshot.is_some());
            let decoder = Arc::new(decoder);
            self.inputs.push(InputState { decoder, newest_us, leaps, source, named, ended, snapshot });
        }
        self.sources = saved.sources.into_iter().map(|(input, name, number)| ((input, name), number)).collect();
        self.position = saved.position;
        self.waiting.clear();
        Ok(())
    }

    /// A hash of the state of the core, once all that waits is taken in.
    pub fn state_hash(&mut self, out: &mut Vec<Event>) -> u128 {
        if self.is_waiting() {
            self.round(Vec::new(), out);
        }
        self.core.state_hash()
    }

    /// When that began which is open at the outside; `None` if nothing is.
    pub fn needed_us(&self) -> Option<i64> {
        self.core.needed_us()
    }

    /// Whether an input has ended.
    pub fn has_ended(&self, input: usize) -> bool {
        self.inputs.get(input).is_some_and(|input| input.ended)
    }

    /// An input that had ended goes on: it holds the watermark back from its next signal on.
    pub fn reopen_input(&mut self, input: usize) {
        self.inputs[input].ended = false;
        self.waiting.push(Entry::GoesOn);
    }

    /// Adds an input. It holds the watermark back until it ends, or until its signals have named
    /// their own sources.
    pub fn add_input(&mut self, mut decoder: Arc<Decoder>) {
        if !self.tables.is_empty() {
            let decoder = Arc::make_mut(&mut decoder);
            self.tables.values().for_each(|table| decoder.set_table(table));
        }
        let name = match decoder.has_sources() {
            true => format!("input {}", decoder.source_name()),
            false => decoder.source_name().to_owned(),
        };
        let source = Some(self.source(self.inputs.len(), &name, Entry::Source));
        let (newest_us, leaps) = (i64::MIN, Leaps::default());
        let (named, ended, snapshot) = (Vec::new(), false, None);
        self.inputs.push(InputState { decoder, newest_us, leaps, source, named, ended, snapshot });
    }

    /// A table, or a new version of one: it counts for the chunks of the next rounds.
    pub fn set_table(&mut self, table: Arc<Table>) {
        self.inputs.iter_mut().for_each(|input| Arc::make_mut(&mut input.decoder).set_table(&table));
        self.tables.insert(table.name.clone(), Arc::clone(&table));
        self.waiting.push(Entry::Table(table));
    }

    /// The table of this name that is in force.
    pub fn table(&self, name: &str) -> Option<&Arc<Table>> {
        self.tables.get(name)
    }

    /// The number of a source; a new one is announced to the core.
    fn source(&mut self, input: usize, name: &str, announced: fn(Box<str>) -> Entry) -> u32 {
        let key = (input, name.to_owned());
        if let Some(&number) = self.sources.get(&key) {
            return number;
        }
        let number = self.sources.len() as u32;
        self.sources.insert(key, number);
        self.waiting.push(announced(name.into()));
        number
    }

    /// The input that is furthest behind in event time and has not ended.
    pub fn slowest(&self) -> Option<usize> {
        let open = self.inputs.iter().enumerate().filter(|(_, input)| !input.ended);
        open.min_by_key(|(_, input)| input.newest_us).map(|(index, _)| index)
    }

    /// Does `work` for each item on the threads that decode, and adds up what it tells.
    pub fn sum_over<T: Send>(&self, items: &mut [T], work: impl Fn(&mut T) -> u64 + Send + Sync) -> u64 {
        match &self.pool {
            Some(pool) => pool.install(|| items.par_iter_mut().map(work).sum()),
            None => items.iter_mut().map(work).sum(),
        }
    }

    /// Decodes and maps `chunks` while the core takes in what waits, and appends what leaves.
    pub fn round(&mut self, chunks: Vec<(usize, Chunk)>, out: &mut Vec<Event>) {
        self.round_beside(chunks, &|_, _| (), |events| out.extend(events));
    }

    /// As [`Pipeline::round`]. What `beside` makes of each chunk, on the thread that decodes it and has it at hand,
    /// is given back in the order of the chunks. `left` gets what leaves, while chunks are still decoded.
    pub fn round_beside<T: Send>(
        &mut self,
        chunks: Vec<(usize, Chunk)>,
        beside: &(impl Fn(usize, &Chunk) -> T + Sync),
        left: impl FnOnce(Vec<Event>) + Send,
    ) -> Vec<T> {
        let waiting = std::mem::take(&mut self.waiting);
        let (inputs, workers) = (&self.inputs, &self.workers);
        let map = |(input, chunk): (usize, Chunk)| {
            let index = rayon::current_thread_index().unwrap_or(0);
            // A thread uses its own worker only, so this neither waits nor is poisoned by another.
            let mut worker = workers[index].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let first = chunk.first;
            let made = beside(input, &chunk);
            (made, input, first, worker.map(&inputs[input].decoder, chunk))
        };
        let (core, judge) = (&mut self.core, &mut *self.judge);
        let mapped: Vec<(T, usize, u64, Mapped)> = match &self.pool {
            None => {
                let mut events = Vec::new();
                core.step(waiting, judge, &mut events);
                left(events);
                chunks.into_iter().map(map).collect()
            }
            Some(pool) => pool.install(|| {
                let step = || {
                    let mut events = Vec::new();
                    core.step_with(waiting, judge, &mut events, &|shards, run| shards.par_iter_mut().for_each(run));
                    left(events);
                };
                // Each chunk on its own, so that no thread has several left when the others are done.
                rayon::join(|| chunks.into_par_iter().with_max_len(1).map(map).collect(), step).0
            }),
        };
        let enter = |(made, input, first, mapped)| {
            self.enter(input, first, mapped);
            made
        };
        mapped.into_iter().map(enter).collect()
    }

    /// Gives a mapped block its place in the log.
    fn enter(&mut self, input: usize, first_record: u64, mapped: Mapped) {
        if let Some(of) = &self.inputs[input].snapshot {
            let signal_type = of.signal_type;
            return self.enter_snapshot(input, signal_type, mapped);
        }
        let Mapped { mut block, sources, compared } = mapped;
        // The first source that is heard takes over from the input, which stood in for it; it must
        // hold the watermark before the input lets go. The others hold it from their first signal
        // on. So where a chunk ends changes nothing.
        let takes_over = self.inputs[input].decoder.has_sources() && self.inputs[input].source.is_some();
        let first = block.rows.iter().find(|row| row.time_us != NO_TIME).map(|row| row.source as usize);
        let first = first.filter(|_| takes_over);
        let mut numbers = Vec::with_capacity(sources.len());
        for (index, name) in sources.iter().enumerate() {
            let announced = if first == Some(index) { Entry::Source } else { Entry::SourceUnheard };
            numbers.push(self.source(input, name, announced));
        }
        let mut known_us = self.inputs.iter().map(|input| input.newest_us).max().unwrap_or(i64::MIN);
        let leap_max_us = self.leap_max_us;
        let state = &mut self.inputs[input];
        // What the core will not believe must not decide which input is read next.
        let mut is_believed = |row: &Row, known_us| {
            leap_max_us
                .filter(|_| known_us != i64::MIN)
                .is_none_or(|max_us| !state.leaps.is_leap(row.time_us, row.id_hash, known_us, max_us))
        };
        for row in &mut block.rows {
            row.source = numbers[row.source as usize];
            if row.time_us != NO_TIME && is_believed(row, known_us) {
                state.newest_us = state.newest_us.max(row.time_us);
                known_us = known_us.max(row.time_us);
            }
        }
        state.named.extend(numbers);
        state.named.sort_unstable();
        state.named.dedup();
        block.position = self.position;
        self.position += block.rows.len() as u64;
        let stand_in = if first.is_some() { state.source.take() } else { None };
        self.waiting.extend(stand_in.map(Entry::SourceEnded));
        let block = Arc::new(block);
        self.keep(input, first_record, &block);
        let of_block =
            |(signal_type, evidence, samples)| Compared { signal_type, evidence, samples, block: Arc::clone(&block) };
        self.compared.extend(compared.into_iter().map(of_block));
        self.waiting.push(Entry::Signals(block));
        let read_to_us = self.inputs.iter().filter(|input| !input.ended).map(|input| input.newest_us).min();
        self.waiting.extend(read_to_us.filter(|&time_us| time_us != i64::MIN).map(Entry::ReadTo));
    }

    fn keep(&mut self, input: usize, first_record: u64, block: &Arc<Block>) {
        let Some(recent) = &mut self.recent else { return };
        recent.push_back((input, first_record, Arc::clone(block)));
        self.recent_bytes += block.raw.len();
        while self.recent_bytes > RECENT_BYTES_MAX
            && recent.len() > 1
            && let Some((_, _, oldest)) = recent.pop_front()
        {
            self.recent_bytes -= oldest.raw.len();
        }
    }

    /// Keeps the newest signals from now on.
    pub fn keep_recent(&mut self) {
        self.recent.get_or_insert_default();
    }

    /// The newest signals, as far as they are kept.
    pub fn recent(&self) -> Recent {
        self.recent.clone().unwrap_or_default()
    }

    /// Takes what two versions of mappers said since the last time.
    pub fn take_compared(&mut self) -> Vec<Compared> {
        std::mem::take(&mut self.compared)
    }

    /// The versions of a rule change, for all chunks of the next rounds.
    pub fn change(&mut self, change: Change) {
        self.waiting.push(Entry::Rules(change));
    }

    /// The suppressors, where what the core knows of them does not change.
    pub fn judge(&mut self) -> &mut dyn Judge {
        &mut *self.judge
    }

    /// The workers, one for each thread.
    pub fn workers(&mut self) -> impl Iterator<Item = &mut Worker> {
        self.workers.iter_mut().map(|worker| worker.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Another decoder reads an input from now on.
    pub fn set_decoder(&mut self, input: usize, mut decoder: Decoder) {
        self.tables.values().for_each(|table| decoder.set_table(table));
        decoder.set_timeless(self.inputs[input].snapshot.is_some());
        self.inputs[input].decoder = Arc::new(decoder);
    }

    /// How many entities have something open under a version of their mapper, of what the core has
    /// taken in.
    pub fn open_under(&self, signal_type: u16, mapper: u16) -> u64 {
        self.core.open_under(signal_type, mapper)
    }

    /// The watermark, of what the core has taken in; `i64::MIN` before the first.
    pub fn watermark_us(&self) -> i64 {
        self.core.watermark_us()
    }

    /// All tables in force.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.values()
    }

    /// An input has ended: its sources no longer hold the others back.
    pub fn end_input(&mut self, input: usize) {
        let state = &mut self.inputs[input];
        state.ended = true;
        let mut ended: Vec<u32> = state.source.take().into_iter().chain(std::mem::take(&mut state.named)).collect();
        ended.sort_unstable();
        ended.dedup();
        self.waiting.extend(ended.into_iter().map(Entry::SourceEnded));
    }

    /// Logs wall-clock time.
    pub fn tick(&mut self, now_us: i64) {
        self.waiting.push(Entry::Tick(now_us));
    }

    /// Ends the log: what waits for order is processed.
    pub fn finish(&mut self, out: &mut Vec<Event>) {
        self.waiting.push(Entry::End);
        self.round(Vec::new(), out);
    }

    /// What the core takes in with the next round.
    pub fn waiting(&self) -> &[Entry] {
        &self.waiting
    }

    /// Whether something waits for the next round.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Signals that were decoded so far.
    pub fn signals(&self) -> u64 {
        self.position
    }

    /// The books.
    pub fn ledger(&self) -> Ledger {
        self.core.ledger()
    }

    /// What [`Ledger::open`] must be, counted one by one.
    pub fn count_open(&self) -> u64 {
        self.core.count_open()
    }

    /// What happened at a bound.
    pub fn bounds(&self) -> Bounds {
        self.core.bounds()
    }

    /// How many entities are known.
    pub fn entities(&self) -> usize {
        self.core.entities()
    }
}
