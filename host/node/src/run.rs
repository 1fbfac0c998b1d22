//! Runs a configuration over inputs.

mod going_on;
mod reading;
mod snapshot;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use stillhouse_core::table::Table;
use stillhouse_core::{Entry, Event};

use crate::config::{Config, InputConfig};
use crate::decode::framing::Chunk;
use crate::decode::record::Decoder;
use crate::durable::{Durable, Noted, Policy, Recorded};
use crate::input::Input;
use crate::journal::{Given, Mapper};
use crate::mask::{InputMask, Masks};
use crate::metric;
use crate::pipeline::Pipeline;
use crate::rollouts::{Ask, Board, Loading, Logged, Rollouts, Saved};
use crate::rules::{self, RuleSet};
use crate::sinks::Sinks;
use crate::snapshots::Counted;
use crate::summary::{Summary, Tally};
use crate::tables;

/// How to run; none of it changes what leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Into how many shards the entities are divided.
    pub shards: usize,
    /// How many threads decode and map.
    pub threads: usize,
    /// The most rows in one call of a mapper.
    pub batch_rows: usize,
    /// Read on when files grow, until stopped.
    pub follow: bool,
    /// The store, from which a run goes on where another stopped.
    pub store: Option<PathBuf>,
    /// When it commits and keeps its state.
    pub policy: Policy,
    /// The file that the output of the run is appended to, if it is one.
    pub output: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shards: 1,
            threads: 1,
            batch_rows: crate::map::BATCH_ROWS,
            follow: false,
            store: None,
            policy: Policy::default(),
            output: None,
        }
    }
}

/// What a run tells while it goes on.
pub trait Watch {
    /// `signals` were taken in, and `bytes` of the inputs were read.
    fn progress(&mut self, signals: u64, bytes: u64);

    /// The core is about to take these in.
    fn entries(&mut self, _: &[Entry]) {}

    /// Where the slots of rules can be seen while the run goes on.
    fn board(&mut self, _: &Arc<Board>) {}

    /// What is wanted of the versions of rules before the next chunks, of which `signals` is the first.
    fn asks(&mut self, _signals: u64) -> Vec<Ask> {
        Vec::new()
    }
}

/// No one watches.
pub struct Unwatched;

impl Watch for Unwatched {
    fn progress(&mut self, _: u64, _: u64) {}
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// Where the signals went, and what left.
    pub summary: Summary,
    /// Inputs that broke off: their name, and why.
    pub broken: Vec<(String, String)>,
    /// What became of the versions of rules.
    pub board: Arc<Board>,
    /// Sinks for which events still wait in the store, and how many.
    pub undelivered: Vec<(String, u64)>,
    /// Events that were made again at the start and are other ones than left before.
    pub differing: u64,
}

/// Reads `inputs` as `config` says and writes one event a line to `output`. With a store it goes on where
/// the last run on it stopped.
///
/// # Errors
/// If a rule is refused, an input cannot be opened, or the output or the store cannot be written.
pub fn run(
    config: &Config,
    inputs: &[Input],
    output: &mut (dyn Write + Send),
    options: &Options,
    watch: &mut dyn Watch,
) -> Result<Outcome> {
    let mut durable = match &options.store {
        Some(path) => Some(Durable::open(path, options.policy.clone(), options.output.as_deref())?),
        None => None,
    };
    let mut kept = None;
    if let Some(begun) = durable.take_if(|durable| !durable.is_new()) {
        let (begun, last) = going_on::caught_up(begun, config, options, watch)?;
        (durable, kept) = (Some(begun), Some(last));
    }
    let ordered = kept.as_ref().map(|kept| config.in_order_of(&kept.state.rollouts)).transpose()?;
    let config = ordered.as_ref().unwrap_or(config);
    let loading = if options.follow { Loading::Beside } else { Loading::AtOnce };
    let recorded = durable.as_ref().map(|durable| Recorded { store: Arc::clone(durable.store()) });
    let from = recorded.as_ref().zip(kept.as_ref()).map(|(recorded, kept)| (recorded, &kept.state.rollouts));
    let mut run = Run::new(config, from, options, loading, output, watch)?;
    run.masks = Masks::new(config, |name| std::env::var(name).ok())?;
    run.durable = durable;
    let tables = tables::load(config, &run.fields)?;
    match (kept, &recorded) {
        (Some(kept), Some(recorded)) => run.go_on(kept, recorded, tables)?,
        _ => run.start(tables)?,
    }
    run.name_inputs(inputs)?;
    run.name_snapshots()?;
    if run.is_new {
        run.begin()?;
    }
    run.take_again()?;
    run.checkpoint()?;
    run.commit()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let sinks = match &run.durable {
        Some(durable) => Some(Sinks::start(&config.sinks, durable, runtime.handle())?),
        None if !config.sinks.is_empty() => bail!("`[sink]` needs a store, where events wait: add --store FILE"),
        None => None,
    };
    let shed = Arc::clone(&run.shed);
    let help = "Records let go while the host was behind, as configured.";
    run.rollouts
        .board()
        .measure(move || metric::one("shed_records_total", help, "counter", shed.load(Ordering::Relaxed)));
    if let (Some(durable), Some(sinks)) = (&run.durable, &sinks) {
        measure(&run.rollouts.board(), durable, sinks);
    }
    // It scrubs as long as this is held.
    let scrubbing = match (&run.durable, options.policy.scrub_every.filter(|_| options.follow)) {
        (Some(durable), Some(every)) => Some(crate::scrub::in_background(Arc::clone(durable.store()), every)),
        _ => None,
    };
    if let Some(counts) = scrubbing.as_ref().map(Arc::downgrade) {
        run.rollouts.board().measure(move || counts.upgrade().map_or_else(String::new, |counts| counts.text()));
    }
    let ended = if options.follow {
        // Who is stopped goes on later, if there is a store.
        run.follow(inputs, runtime.handle())? || options.store.is_none()
    } else {
        run.read_all(inputs, runtime.handle())?;
        run.read_snapshots()?;
        true
    };
    let mut outcome = run.finish(ended)?;
    outcome.undelivered = sinks.map_or_else(Vec::new, |sinks| sinks.finish(!options.follow, runtime.handle()));
    // Readers that still wait for a file or for standard input must not hold the program up.
    runtime.shutdown_background();
    Ok(outcome)
}

/// What the store and the sinks count is told to whoever measures the host.
fn measure(board: &Board, durable: &Durable, sinks: &Sinks) {
    // Who measures must not keep the store open.
    let (store, committer) = (Arc::downgrade(durable.store()), Arc::downgrade(&durable.committer()));
    let metrics = sinks.metrics();
    board.measure(move || match (store.upgrade(), committer.upgrade()) {
        (Some(store), Some(committer)) => crate::durable::text(&store, &committer) + &Sinks::text(&metrics, &store),
        _ => String::new(),
    });
}

/// So many versions of each rule may have instances at once: in force, tried, last good, next.
const VERSIONS_ASKED: usize = 4;

fn log_rollout(durable: &mut Option<Durable>, logged: Logged<'_>) {
    let Some(durable) = durable else { return };
    match logged {
        Logged::File(digest, file) => {
            durable.keep_file(&format!("rule/{digest}"), file);
            Given::rule(digest, file).for_each(|part| durable.given(&part));
        }
        Logged::Event(event) => durable.given(&Given::Rollout(Box::new(event.clone()))),
    }
}

/// The `[[input]]` that reads a file of this name.
///
/// # Errors
/// If none does.
pub fn input_config<'a>(config: &'a Config, name: &str) -> Result<&'a InputConfig> {
    match config.inputs.iter().find(|input| input.files.matches(name)) {
        Some(input) => Ok(input),
        None => {
            let patterns: Vec<&str> = config.inputs.iter().map(|input| input.files.as_str()).collect();
            bail!(
                "{}: no `[[input]]` reads a file named `{name}`; their `files` are {}",
                config.path.display(),
                crate::config::listed(&patterns)
            )
        }
    }
}

pub(crate) struct Run<'a> {
    config: &'a Config,
    /// Whether nothing was ever given to it.
    is_new: bool,
    /// Whether what it is given is in the log already.
    replaying: bool,
    /// Whether versions of rules change as the log says.
    takes_turns: bool,
    /// Chunks of the log that make a round.
    gathered: Vec<(usize, Chunk)>,
    /// A table, and a file, of which some entries have come.
    partial: Option<Table>,
    file: Vec<u8>,
    /// Snapshots, taken and refused.
    counted: Arc<Counted>,
    /// The path of each input.
    paths: Vec<String>,
    started: Instant,
    pipeline: Pipeline<'a>,
    rules: RuleSet,
    rollouts: Rollouts<'a>,
    fields: Vec<(String, Vec<stillhouse_core::rule::Field>)>,
    names: Vec<String>,
    mappers: Vec<Mapper>,
    masks: Masks,
    /// By input.
    masked: Vec<Option<InputMask>>,
    durable: Option<Durable>,
    output: &'a mut (dyn Write + Send),
    tally: Tally,
    broken: Vec<(String, String)>,
    lines: Vec<u8>,
    read_bytes: Arc<AtomicU64>,
    /// Records that this process has let go while it was behind.
    shed: Arc<AtomicU64>,
    /// When the chunks were read whose signals the core takes in with the next round.
    since: Vec<Instant>,
    watch: &'a mut dyn Watch,
}

impl<'a> Run<'a> {
    /// `from`: a store, and the versions of rules with which to go on.
    pub(crate) fn new(
        config: &'a Config,
        from: Option<(&Recorded, &Saved)>,
        options: &Options,
        loading: Loading,
        output: &'a mut (dyn Write + Send),
        watch: &'a mut dyn Watch,
    ) -> Result<Self> {
        let started = crate::clock::moment();
        let types = config.signals.len();
        let engine = rules::engine((options.threads + 2) * types * VERSIONS_ASKED + 32)
            .context("the rule engine cannot be started")?;
        let recorded = from.map(|(recorded, saved)| going_on::recorded_rules(config, recorded, saved)).transpose()?;
        let rules = RuleSet::load_with(config, &engine, &recorded.unwrap_or_default())?;
        let workers =
            (0..options.threads).map(|_| rules.worker(config, options.batch_rows)).collect::<Result<_, _>>()?;
        let judge = Box::new(rules.judge(config)?);
        let rollouts = Rollouts::new(config, &rules, engine, judge.bench(), loading)?;
        watch.board(&rollouts.board());
        Ok(Self {
            config,
            is_new: true,
            replaying: false,
            takes_turns: true,
            gathered: Vec::new(),
            partial: None,
            file: Vec::new(),
            counted: Arc::default(),
            paths: Vec::new(),
            started,
            pipeline: Pipeline::new(rules.plan(config)?, options.shards, judge, workers),
            rollouts,
            fields: rules.fields(config),
            names: Vec::new(),
            mappers: rules.mappers(config),
            masks: Masks::default(),
            masked: Vec::new(),
            durable: None,
            output,
            tally: Tally::default(),
            broken: Vec::new(),
            lines: Vec::new(),
            read_bytes: Arc::default(),
            shed: Arc::default(),
            since: Vec::new(),
            watch,
            rules,
        })
    }

    /// It is given a log, with the versions of rules that the log names, or with its own.
    pub(crate) fn replays(&mut self, takes_turns: bool) {
        (self.replaying, self.takes_turns) = (true, takes_turns);
    }

    /// What the log holds is masked once more.
    pub(crate) fn set_masks(&mut self, masks: Masks) {
        (self.masks, self.replaying) = (masks, false);
    }

    /// The signal types and the fields that are read of them.
    pub(crate) fn fields(&self) -> &[(String, Vec<stillhouse_core::rule::Field>)] {
        &self.fields
    }

    /// The mappers of the configuration.
    pub(crate) fn mappers(&self) -> &[Mapper] {
        &self.mappers
    }

    /// A hash of the state.
    pub(crate) fn state_hash(&mut self) -> Result<u128> {
        self.settle()?;
        let mut events = Vec::new();
        self.watch.entries(self.pipeline.waiting());
        let hash = self.pipeline.state_hash(&mut events);
        self.write(events)?;
        Ok(hash)
    }

    /// The rules of the configuration are in force, whatever was before.
    pub(crate) fn begin_with_its_rules(&mut self) -> Result<()> {
        self.rollouts.begin_anew(&self.rules, &mut self.pipeline, &mut |_| Ok(()))
    }

    /// The registry learns what the configuration begins with.
    fn begin(&mut self) -> Result<()> {
        let durable = &mut self.durable;
        let mut log = |logged: Logged<'_>| {
            log_rollout(durable, logged);
            Ok(())
        };
        self.rollouts.begin(&self.rules, &mut self.pipeline, &mut log)
    }

    /// Takes in what is wanted of the versions of rules, and what was seen of those that are tried.
    fn versions(&mut self, mut asked: Vec<Ask>) -> Result<()> {
        asked.extend(self.watch.asks(self.pipeline.signals()));
        let durable = &mut self.durable;
        let mut log = |logged: Logged<'_>| {
            log_rollout(durable, logged);
            Ok(())
        };
        self.rollouts.watch(&mut self.pipeline, &mut log)?;
        self.rollouts.ask(asked, &mut self.pipeline, &mut log)
    }

    /// Writes to the log what the core is about to be given.
    fn log(&mut self, given: impl FnOnce() -> Given) {
        if let Some(durable) = self.durable.as_mut().filter(|_| !self.replaying) {
            durable.given(&given());
        }
    }

    fn add_input(&mut self, name: String, source: &str, path: String) -> Result<()> {
        let decoder = self.decoder(&name, source, &path)?;
        self.log(|| Given::Input { name, source: source.to_owned(), path });
        self.pipeline.add_input(Arc::new(decoder));
        Ok(())
    }

    /// What reads the next input, which is known from now on.
    fn decoder(&mut self, name: &str, source: &str, path: &str) -> Result<Decoder> {
        let input = input_config(self.config, name)?;
        self.masked.push(self.masks.input(input, name));
        self.rollouts.add_input(name, source);
        self.names.push(name.to_owned());
        self.paths.push(path.to_owned());
        Ok(Decoder::new(input, name, &self.fields).named(source))
    }

    fn table(&mut self, table: Arc<Table>) {
        if let Some(durable) = self.durable.as_mut().filter(|_| !self.replaying) {
            durable.keep_table(&table);
            Given::table(&table).for_each(|part| durable.given(&part));
        }
        self.pipeline.set_table(table);
    }

    /// A new version of a table that was found while inputs are followed.
    fn new_table(&mut self, table: Arc<Table>) {
        if self.pipeline.table(&table.name).is_some_and(|known| known.digest == table.digest) {
            return;
        }
        match tables::check_columns(self.config, &self.fields, &table) {
            Ok(()) => {
                tracing::info!(table = %table.name, rows = table.rows.len(), "a new version of the table");
                self.tally.tables.0 += 1;
                self.table(table);
            }
            Err(error) => self.refuse_table(&error.to_string()),
        }
    }

    fn refuse_table(&mut self, reason: &str) {
        tracing::warn!("the version before stays in force: {reason}");
        self.tally.tables.1 += 1;
    }

    fn end_input(&mut self, index: usize, broken: Option<String>) {
        self.log(|| Given::Ended(index as u32));
        self.pipeline.end_input(index);
        self.broken.extend(broken.map(|reason| (self.names[index].clone(), reason)));
    }

    fn tick(&mut self, now_us: i64) {
        self.log(|| Given::Tick(now_us));
        self.pipeline.tick(now_us);
    }

    /// Ends the run, and tells what it came to. `ended`: what waits for order is processed, since nothing
    /// comes any more; otherwise it waits for the next run.
    pub(crate) fn finish(mut self, ended: bool) -> Result<Outcome> {
        let mut events = Vec::new();
        self.watch.entries(self.pipeline.waiting());
        if ended {
            self.log(|| Given::End);
            self.pipeline.finish(&mut events);
        } else {
            self.pipeline.round(Vec::new(), &mut events);
        }
        self.write(events)?;
        self.checkpoint()?;
        if let Some(durable) = &mut self.durable {
            durable.finish(self.output)?;
            self.tally.dead_forgotten = durable.dead_forgotten();
        }
        self.output.flush().context("the output cannot be written")?;
        let summary = Summary {
            ledger: self.pipeline.ledger(),
            snapshots: self.counted.counts(),
            tally: self.tally,
            bounds: self.pipeline.bounds(),
            entities: self.pipeline.entities(),
            took: self.started.elapsed(),
        };
        let differing = self.durable.as_ref().map_or(0, Durable::differing);
        Ok(Outcome { summary, broken: self.broken, board: self.rollouts.board(), undelivered: Vec::new(), differing })
    }

    /// Masks chunks before anything else is done with them.
    fn mask(&mut self, chunks: &mut [(usize, Chunk)]) {
        if self.masked.iter().all(Option::is_none) {
            return;
        }
        let masked = &self.masked;
        let mask = |(input, chunk): &mut (usize, Chunk)| masked[*input].as_ref().map_or(0, |mask| mask.chunk(chunk));
        self.tally.withheld += self.pipeline.sum_over(chunks, mask);
    }

    pub(crate) fn round(&mut self, mut chunks: Vec<(usize, Chunk)>) -> Result<()> {
        if !self.replaying {
            self.mask(&mut chunks);
        }
        let read = crate::clock::moment();
        let since = std::mem::replace(&mut self.since, vec![read; chunks.len()]);
        self.watch.entries(self.pipeline.waiting());
        let keeps = self.durable.is_some() && !self.replaying;
        let noted = |input, chunk: &Chunk| keeps.then(|| Noted::of(input, chunk));
        let noted_chunks = if keeps { chunks.len() } else { 0 };
        let mut told = Ok(());
        let Self { pipeline, tally, lines, durable, output, .. } = self;
        let tell = |events: Vec<Event>| {
            render(&events, tally, lines);
            told = match durable {
                Some(durable) => durable.events(lines, noted_chunks),
                None => write_out(*output, lines),
            };
        };
        let noted = pipeline.round_beside(chunks, &noted, tell);
        told?;
        if let Some(durable) = &mut self.durable {
            noted.into_iter().flatten().for_each(|noted| durable.chunk(&self.paths[noted.input], noted));
        }
        self.rollouts.board().balance(self.pipeline.ledger());
        since.into_iter().for_each(|read| self.tally.latency(read.elapsed()));
        if self.durable.as_ref().is_some_and(Durable::is_due) {
            self.checkpoint()?;
        }
        if self.durable.as_ref().is_some_and(Durable::is_full) {
            self.commit()?;
        }
        self.watch.progress(self.pipeline.signals(), self.read_bytes.load(Ordering::Relaxed));
        Ok(())
    }

    fn write(&mut self, events: Vec<Event>) -> Result<()> {
        render(&events, &mut self.tally, &mut self.lines);
        match &mut self.durable {
            Some(durable) => durable.events(&self.lines, 0),
            None => write_out(self.output, &self.lines),
        }
    }

    /// Hands over what is to be committed, and lets out what is.
    fn commit(&mut self) -> Result<()> {
        let Some(durable) = &mut self.durable else { return Ok(()) };
        durable.commit()?;
        durable.let_out(self.output)
    }
}

/// Writes events that wait for no store.
fn write_out(output: &mut dyn Write, lines: &[u8]) -> Result<()> {
    output.write_all(lines).context("the output cannot be written")?;
    match lines.is_empty() {
        true => Ok(()),
        false => output.flush().context("the output cannot be written"),
    }
}

/// Counts events, and makes lines of them.
fn render(events: &[Event], tally: &mut Tally, lines: &mut Vec<u8>) {
    lines.clear();
    for event in events {
        tally.event(event);
        event.write_line(lines);
    }
}
