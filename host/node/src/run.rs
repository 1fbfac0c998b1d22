//! Runs a configuration over inputs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rayon::iter::{IntoParallelRefMutIterator, ParallelIterator};
use stillhouse_core::Entry;
use stillhouse_core::table::Table;
use stillhouse_rules::schema::compatible;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::config::{Config, InputConfig};
use crate::control;
use crate::decode::framing::Chunk;
use crate::decode::record::Decoder;
use crate::input::{Input, Piece, Reading, open, tell_time};
use crate::journal::{Given, Journal, Mapper, Recorded};
use crate::mask::{InputMask, Masks};
use crate::pipeline::{Pipeline, ROUND_CHUNKS};
use crate::rollouts::{Ask, Board, Loading, Logged, Rollouts};
use crate::rules::watch::{self, Watching};
use crate::rules::{self, RuleSet};
use crate::summary::{Summary, Tally};
use crate::tables;

/// How to run; none of it changes what leaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Into how many shards the entities are divided.
    pub shards: usize,
    /// How many threads decode and map.
    pub threads: usize,
    /// The most rows in one call of a mapper.
    pub batch_rows: usize,
    /// Read on when files grow, until stopped.
    pub follow: bool,
    /// Where the log is written, so that the run can be replayed.
    pub log: Option<PathBuf>,
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
}

/// Reads `inputs` as `config` says and writes one event a line to `output`.
///
/// # Errors
/// If a rule is refused, an input cannot be opened, or the output cannot be written.
pub fn run(
    config: &Config,
    inputs: &[Input],
    output: &mut dyn Write,
    options: &Options,
    watch: &mut dyn Watch,
) -> Result<Outcome> {
    let loading = if options.follow { Loading::Beside } else { Loading::AtOnce };
    let mut run = Run::new(config, options, loading, output, watch)?;
    run.masks = Masks::new(config, |name| std::env::var(name).ok())?;
    let tables = tables::load(config, &run.fields)?;
    if let Some(path) = &options.log {
        run.journal = Some(Journal::create(path, &config.digest)?);
    }
    for mapper in std::mem::take(&mut run.mappers) {
        run.log(|| Given::Mapper(mapper))?;
    }
    for table in tables {
        run.table(table)?;
    }
    for input in inputs {
        let name = input.name();
        // Two files of one name are two sources.
        let same = inputs.iter().filter(|other| other.name() == name).count() > 1;
        let source = input_config(config, &name)?.source.clone();
        let source = source.unwrap_or_else(|| if same { input.path() } else { name.clone() });
        run.add_input(config, name, &source)?;
    }
    run.begin()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    if options.follow {
        run.follow(config, inputs, runtime.handle())?;
    } else {
        run.read_all(config, inputs, runtime.handle())?;
    }
    let outcome = run.finish()?;
    // Readers that still wait for a file or for standard input must not hold the program up.
    runtime.shutdown_background();
    Ok(outcome)
}

/// What is to be known of a log that was replayed.
#[derive(Debug)]
pub struct Replayed {
    /// What the run came to.
    pub outcome: Outcome,
    /// Whether the log was written with this configuration.
    pub same_config: bool,
    /// What is other about the mappers than when the log was written, for people.
    pub other_mappers: Vec<String>,
    /// Bytes of an entry that was torn at the end of the log.
    pub torn_bytes: u64,
}

/// Distils a log again, as `config` says.
///
/// # Errors
/// As [`run`], and if the log cannot be read.
pub fn replay(
    config: &Config,
    log: &Path,
    output: &mut dyn Write,
    options: &Options,
    watch: &mut dyn Watch,
) -> Result<Replayed> {
    let mut run = Run::new(config, options, Loading::Recorded, output, watch)?;
    tables::check_names(config, &run.fields)?;
    let mut recorded = Recorded::open(log)?;
    let same_config = recorded.config_digest == config.digest;
    if !same_config {
        // What the log holds was masked as its own configuration said.
        run.masks = Masks::new(config, |name| std::env::var(name).ok())?;
    }
    let mut partial: Option<Table> = None;
    let mut other_mappers = Vec::new();
    let mut file = Vec::new();
    while let Some(given) = recorded.next().with_context(|| format!("{}: cannot be replayed further", log.display()))? {
        match given {
            Given::Config(_) => {}
            Given::Mapper(mapper) if same_config => drop(mapper),
            Given::Mapper(mapper) => other_mappers.extend(other(&mapper, &run.mappers)),
            Given::Input(name, source) => {
                if let Some(table) = tables::missing(config, &run.fields, |name| run.pipeline.table(name).is_some()) {
                    bail!("{}: the log does not hold the table `{table}`; it was written without it", log.display());
                }
                run.add_input(config, name, &source)?;
            }
            Given::Chunk { input, first, bytes, records, broken } => {
                let span = |(start, len)| stillhouse_core::Span { start, len };
                let records = records.map(|records| records.into_iter().map(span).collect());
                run.round(vec![(input as usize, Chunk { bytes, records, first, broken })])?;
            }
            Given::Table { name, digest, columns, rows, last } => {
                let table = partial.get_or_insert_with(|| Table { name, digest, columns, ..Table::default() });
                table.rows.extend(rows);
                if last && let Some(table) = partial.take() {
                    tables::check_columns(config, &run.fields, &table)?;
                    run.table(Arc::new(table))?;
                }
            }
            Given::Ended(input) => run.end_input(input as usize, None)?,
            Given::Tick(now_us) => run.tick(now_us)?,
            Given::Rule { digest, bytes, last } => {
                file.extend(bytes);
                let file = if last { std::mem::take(&mut file) } else { continue };
                if same_config {
                    run.rollouts.load(&digest, file)?;
                }
            }
            // Another configuration has its own rules, and takes no turns.
            Given::Rollout(event) if same_config => run.rollouts.replay(*event, &mut run.pipeline)?,
            Given::Rollout(_) => {}
        }
    }
    let torn_bytes = recorded.torn_bytes()?;
    Ok(Replayed { outcome: run.finish()?, same_config, other_mappers, torn_bytes })
}

/// What is other about a mapper of the log than about the one that is there now.
fn other(then: &Mapper, now: &[Mapper]) -> Option<String> {
    let now = now.iter().find(|now| now.signal == then.signal && now.digest != then.digest)?;
    let compatible = compatible((then.schema, &then.states()), (now.schema, &now.states()));
    let states = compatible.map_or_else(|reason| format!("; {reason}"), |()| String::new());
    Some(format!("another version of the mapper of `{}` reads the log{states}", then.signal))
}

/// So many versions of each rule may have instances at once: in force, tried, last good, next.
const VERSIONS_ASKED: usize = 4;

fn log_rollout(journal: &mut Option<Journal>, logged: Logged<'_>) -> Result<()> {
    let Some(journal) = journal else { return Ok(()) };
    let written = match logged {
        Logged::File(digest, file) => Given::rule(digest, file).try_for_each(|part| journal.write(&part)),
        Logged::Event(event) => journal.write(&Given::Rollout(Box::new(event.clone()))),
    };
    written.context("the log cannot be written")
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

struct Run<'a> {
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
    journal: Option<Journal>,
    output: &'a mut dyn Write,
    tally: Tally,
    broken: Vec<(String, String)>,
    lines: Vec<u8>,
    read_bytes: Arc<AtomicU64>,
    /// When the chunks were read whose signals the core takes in with the next round.
    since: Vec<Instant>,
    watch: &'a mut dyn Watch,
}

impl<'a> Run<'a> {
    fn new(
        config: &'a Config,
        options: &Options,
        loading: Loading,
        output: &'a mut dyn Write,
        watch: &'a mut dyn Watch,
    ) -> Result<Self> {
        let started = crate::clock::moment();
        let types = config.signals.len();
        let engine = rules::engine((options.threads + 2) * types * VERSIONS_ASKED + 32)
            .context("the rule engine cannot be started")?;
        let rules = RuleSet::load(config, &engine)?;
        let workers =
            (0..options.threads).map(|_| rules.worker(config, options.batch_rows)).collect::<Result<_, _>>()?;
        let judge = Box::new(rules.judge(config)?);
        let rollouts = Rollouts::new(config, &rules, engine, judge.bench(), loading)?;
        watch.board(&rollouts.board());
        Ok(Self {
            started,
            pipeline: Pipeline::new(rules.plan(config)?, options.shards, judge, workers),
            rollouts,
            fields: rules.fields(config),
            names: Vec::new(),
            mappers: rules.mappers(config),
            masks: Masks::default(),
            masked: Vec::new(),
            journal: None,
            output,
            tally: Tally::default(),
            broken: Vec::new(),
            lines: Vec::new(),
            read_bytes: Arc::new(AtomicU64::new(0)),
            since: Vec::new(),
            watch,
            rules,
        })
    }

    /// The registry learns what the configuration begins with.
    fn begin(&mut self) -> Result<()> {
        self.pipeline.keep_recent();
        let journal = &mut self.journal;
        self.rollouts.begin(&self.rules, &mut self.pipeline, &mut |logged| log_rollout(journal, logged))
    }

    /// Takes in what is wanted of the versions of rules, and what was seen of those that are tried.
    fn versions(&mut self, mut asked: Vec<Ask>) -> Result<()> {
        asked.extend(self.watch.asks(self.pipeline.signals()));
        let journal = &mut self.journal;
        let mut log = |logged: Logged<'_>| log_rollout(journal, logged);
        self.rollouts.watch(&mut self.pipeline, &mut log)?;
        self.rollouts.ask(asked, &mut self.pipeline, &mut log)
    }

    /// Writes to the log what the core is about to be given.
    fn log(&mut self, given: impl FnOnce() -> Given) -> Result<()> {
        match &mut self.journal {
            Some(journal) => journal.write(&given()).context("the log cannot be written"),
            None => Ok(()),
        }
    }

    fn add_input(&mut self, config: &Config, name: String, source: &str) -> Result<()> {
        let input = input_config(config, &name)?;
        let decoder = Decoder::new(input, &name, &self.fields).named(source);
        self.masked.push(self.masks.input(input, &name));
        self.log(|| Given::Input(name.clone(), source.to_owned()))?;
        self.rollouts.add_input(&name, source);
        self.pipeline.add_input(Arc::new(decoder));
        self.names.push(name);
        Ok(())
    }

    fn table(&mut self, table: Arc<Table>) -> Result<()> {
        if let Some(journal) = &mut self.journal {
            Given::table(&table).try_for_each(|part| journal.write(&part)).context("the log cannot be written")?;
        }
        self.pipeline.set_table(table);
        Ok(())
    }

    /// A new version of a table that was found while inputs are followed.
    fn new_table(&mut self, config: &Config, table: Arc<Table>) -> Result<()> {
        if self.pipeline.table(&table.name).is_some_and(|known| known.digest == table.digest) {
            return Ok(());
        }
        match tables::check_columns(config, &self.fields, &table) {
            Ok(()) => {
                tracing::info!(table = %table.name, rows = table.rows.len(), "a new version of the table");
                self.tally.tables.0 += 1;
                self.table(table)
            }
            Err(error) => {
                self.refuse_table(&error.to_string());
                Ok(())
            }
        }
    }

    fn refuse_table(&mut self, reason: &str) {
        tracing::warn!("the version before stays in force: {reason}");
        self.tally.tables.1 += 1;
    }

    fn end_input(&mut self, index: usize, broken: Option<String>) -> Result<()> {
        self.log(|| Given::Ended(index as u32))?;
        self.pipeline.end_input(index);
        self.broken.extend(broken.map(|reason| (self.names[index].clone(), reason)));
        Ok(())
    }

    fn tick(&mut self, now_us: i64) -> Result<()> {
        self.log(|| Given::Tick(now_us))?;
        self.pipeline.tick(now_us);
        Ok(())
    }

    /// Ends the log, and tells what the run came to.
    fn finish(mut self) -> Result<Outcome> {
        let mut events = Vec::new();
        self.watch.entries(self.pipeline.waiting());
        self.pipeline.finish(&mut events);
        self.write(events)?;
        self.output.flush().context("the output cannot be written")?;
        if let Some(journal) = &mut self.journal {
            journal.sync().context("the log cannot be written")?;
        }
        let summary = Summary {
            ledger: self.pipeline.ledger(),
            tally: self.tally,
            bounds: self.pipeline.bounds(),
            entities: self.pipeline.entities(),
            took: self.started.elapsed(),
        };
        Ok(Outcome { summary, broken: self.broken, board: self.rollouts.board() })
    }

    /// Reads whatever input is furthest behind, until all have ended.
    fn read_all(&mut self, config: &Config, inputs: &[Input], runtime: &tokio::runtime::Handle) -> Result<()> {
        let mut from: Vec<Option<Receiver<Piece>>> = inputs.iter().map(|_| None).collect();
        while let Some(slowest) = self.pipeline.slowest() {
            self.versions(Vec::new())?;
            let from = match &mut from[slowest] {
                Some(from) => from,
                closed => closed.insert(
                    self.open(config, slowest, &inputs[slowest], runtime, None, false)?
                        .context("a channel of its own")?,
                ),
            };
            let mut chunks = Vec::new();
            let (mut ended, mut broken) = (false, None);
            // A version that is tried is watched more closely.
            let most = if self.rollouts.is_trying() { 1 } else { ROUND_CHUNKS };
            while chunks.len() < most {
                match from.blocking_recv() {
                    Some(Piece::Chunk(index, chunk)) => chunks.push((index, chunk)),
                    Some(Piece::Ended(_, reason)) => {
                        ended = true;
                        broken = reason;
                        break;
                    }
                    Some(Piece::Tick(_) | Piece::Table(_) | Piece::TableRefused(_) | Piece::Rules(_) | Piece::Stop) => {
                    }
                    None => {
                        ended = true;
                        break;
                    }
                }
                // What comes from a pipe is not held back to fill a round.
                if inputs[slowest] == Input::Stdin && from.is_empty() {
                    break;
                }
            }
            self.round(chunks)?;
            if ended {
                self.end_input(slowest, broken)?;
            }
            if inputs[slowest] == Input::Stdin && from.is_empty() {
                self.round(Vec::new())?;
            }
        }
        Ok(())
    }

    /// Takes pieces as they come, until the user stops or every input has ended.
    fn follow(&mut self, config: &Config, inputs: &[Input], runtime: &tokio::runtime::Handle) -> Result<()> {
        let (to, mut from) = channel(64);
        for (index, input) in inputs.iter().enumerate() {
            self.open(config, index, input, runtime, Some(to.clone()), true)?;
        }
        let given = config.tables.iter().filter_map(|table| self.pipeline.table(&table.name).cloned()).collect();
        if !config.tables.is_empty() {
            let (watched, given, to): (_, Vec<_>, _) = (config.tables.clone(), given, to.clone());
            runtime.spawn_blocking(move || tables::watch::watch(&watched, &given, &to));
        }
        self.watch_rules(config, &to, runtime);
        let serving = control::serve(config, self.rollouts.board(), &to, runtime)?;
        runtime.spawn(tell_time(to));
        let mut open = inputs.len();
        while open > 0 {
            let Some(first) = from.blocking_recv() else { break };
            let mut pieces = vec![first];
            while pieces.len() < ROUND_CHUNKS
                && let Ok(piece) = from.try_recv()
            {
                pieces.push(piece);
            }
            for piece in pieces {
                match piece {
                    Piece::Chunk(index, chunk) => {
                        self.versions(Vec::new())?;
                        self.round(vec![(index, chunk)])?;
                    }
                    Piece::Ended(index, reason) => {
                        open -= 1;
                        self.end_input(index, reason)?;
                    }
                    Piece::Tick(now_us) => self.tick(now_us)?,
                    Piece::Table(table) => self.new_table(config, table)?,
                    Piece::TableRefused(reason) => self.refuse_table(&reason),
                    Piece::Rules(ask) => self.versions(vec![*ask])?,
                    Piece::Stop => open = 0,
                }
            }
            if self.pipeline.is_waiting() {
                self.round(Vec::new())?;
            }
        }
        if let Some(serving) = serving {
            drop(from);
            serving.stop(runtime);
        }
        Ok(())
    }

    /// Watches the folder of rules, and is woken when a version has been checked.
    fn watch_rules(&mut self, config: &Config, to: &Sender<Piece>, runtime: &tokio::runtime::Handle) {
        let wake = to.clone();
        // Who cannot be woken is awake.
        self.rollouts.wake_with(Arc::new(move || drop(wake.try_send(Piece::Rules(Box::new(Ask::Wake))))));
        let Some(folder) = config.rules_folder.clone() else { return };
        let known = self.rules.named(config).map(|(rule, named)| (named.name.clone(), rule.id().digest.clone()));
        let known = known.collect();
        let how = Watching { signed: !config.trust.is_empty(), ..Watching::default() };
        let to = to.clone();
        runtime.spawn_blocking(move || {
            let tell = |change| match Ask::of(change) {
                Some(ask) => to.blocking_send(Piece::Rules(Box::new(ask))).is_ok(),
                None => true,
            };
            watch::watch(&folder, known, &how, || !to.is_closed(), tell);
        });
    }

    fn open(
        &self,
        config: &Config,
        index: usize,
        input: &Input,
        runtime: &tokio::runtime::Handle,
        to: Option<Sender<Piece>>,
        follow: bool,
    ) -> Result<Option<Receiver<Piece>>> {
        let reading = Reading { follow, read_bytes: Arc::clone(&self.read_bytes) };
        let framing = match input_config(config, &input.name())?.format {
            crate::config::schema::Format::Text => crate::decode::framing::Framing::Lines,
            _ => crate::decode::framing::Framing::Json,
        };
        open(index, input, framing, &reading, runtime, to).with_context(|| match input {
            Input::File(path) => format!("{}: cannot be opened", path.display()),
            Input::Stdin => "standard input cannot be read".into(),
        })
    }

    /// Masks chunks before anything else is done with them.
    fn mask(&mut self, chunks: &mut [(usize, Chunk)]) {
        if self.masked.iter().all(Option::is_none) {
            return;
        }
        let masked = &self.masked;
        let mask = |(input, chunk): &mut (usize, Chunk)| masked[*input].as_ref().map_or(0, |mask| mask.chunk(chunk));
        self.tally.withheld += self.pipeline.on_workers(|| chunks.par_iter_mut().map(mask).sum::<u64>());
    }

    fn round(&mut self, mut chunks: Vec<(usize, Chunk)>) -> Result<()> {
        self.mask(&mut chunks);
        for (input, chunk) in &chunks {
            self.log(|| Given::chunk(*input, chunk))?;
        }
        let read = crate::clock::moment();
        let since = std::mem::replace(&mut self.since, vec![read; chunks.len()]);
        let mut events = Vec::new();
        self.watch.entries(self.pipeline.waiting());
        self.pipeline.round(chunks, &mut events);
        self.rollouts.board().balance(self.pipeline.ledger());
        self.write(events)?;
        since.into_iter().for_each(|read| self.tally.latency(read.elapsed()));
        self.watch.progress(self.pipeline.signals(), self.read_bytes.load(Ordering::Relaxed));
        Ok(())
    }

    fn write(&mut self, events: Vec<stillhouse_core::Event>) -> Result<()> {
        self.lines.clear();
        for event in &events {
            self.tally.event(event);
            event.write_line(&mut self.lines);
        }
        self.output.write_all(&self.lines).context("the output cannot be written")?;
        if !events.is_empty() {
            self.output.flush().context("the output cannot be written")?;
        }
        Ok(())
    }
}
