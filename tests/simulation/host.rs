//! A host: what `Run` does with its store and its pipeline, with rules that are functions.

use std::sync::Arc;

use anyhow::{Context, Result};
use stillhouse::decode::framing::Chunk;
use stillhouse::decode::record::Decoder;
use stillhouse::durable::{Durable, Kept, Noted, Recorded, State};
use stillhouse::journal::Given;
use stillhouse::map::Worker;
use stillhouse::pipeline::{Pipeline, ROUND_CHUNKS};
use stillhouse::rollouts::{Saved, SavedType};
use stillhouse_core::rule::NoJudge;
use stillhouse_core::table::Table;
use stillhouse_core::{Checkpoint, Event, Plan, Slice, Span};
use stillhouse_rollout::{Registry, SlotId};

use super::rules::{self, Native};
use super::world::{World, config};

/// How a host divides its work; nothing of it may show.
#[derive(Clone, Copy, Debug)]
pub struct Division {
    pub shards: usize,
    pub batch_rows: usize,
}

pub struct Host<'w> {
    pub world: &'w World,
    /// Which configuration is in force.
    pub config: usize,
    /// Its plan, with all versions of mappers that have answered.
    pub plan: Plan,
    pub pipeline: Pipeline<'static>,
    pub registry: Registry,
    /// Name and source of each input, and its path.
    inputs: Vec<(String, String)>,
    pub paths: Vec<String>,
    gathered: Vec<(usize, Chunk)>,
    partial: Option<Table>,
    /// Nothing is kept without.
    pub durable: Option<Durable>,
    /// Whether what it is given is in the log already.
    pub replaying: bool,
    /// What left, if nothing is kept.
    pub lines: Vec<u8>,
}

/// Finds a table by its digest.
pub type Tables<'t> = &'t mut dyn FnMut(&str) -> Option<Arc<Table>>;

fn types_of(plan: &Plan) -> Vec<(String, Vec<stillhouse_core::rule::Field>)> {
    plan.types.iter().map(|of_type| (of_type.name.clone(), rules::fields())).collect()
}

impl<'w> Host<'w> {
    /// A host to which nothing was given yet.
    pub fn new(world: &'w World, config: usize, division: Division) -> Self {
        let plan = world.plans[config].clone();
        let mappers = plan.types.iter().map(|_| (Box::new(Native::new(0, world.seed)) as _, rules::fields()));
        let worker = Worker::new(mappers.collect(), division.batch_rows);
        let judge = match world.judge {
            Some(erratic) => Box::new(erratic.judge()) as Box<dyn stillhouse_core::rule::Judge + Send>,
            None => Box::new(NoJudge),
        };
        let mut pipeline = Pipeline::new(plan.clone(), division.shards, judge, vec![worker]);
        pipeline.note_changes();
        pipeline.keep_recent();
        Self {
            world,
            config,
            plan,
            pipeline,
            registry: Registry::new(
                world.plans[0]
                    .types
                    .iter()
                    .map(|of_type| (SlotId::mapper(&of_type.name), world.policy.clone()))
                    .collect(),
            ),
            inputs: Vec::new(),
            paths: Vec::new(),
            gathered: Vec::new(),
            partial: None,
            durable: None,
            replaying: false,
            lines: Vec::new(),
        }
    }

    /// The position of the next entry of the log, and of the next event.
    pub fn at(&self) -> (u64, u64) {
        self.durable.as_ref().map_or((0, 0), Durable::at)
    }

    /// Notes the configuration from here on.
    pub fn note_config(&mut self) {
        let digest = self.plan.config_digest.clone();
        self.log(|| Given::Config(digest));
    }

    /// Writes to the log what the core is about to be given.
    pub fn log(&mut self, given: impl FnOnce() -> Given) {
        if let Some(durable) = self.durable.as_mut().filter(|_| !self.replaying) {
            let given = given();
            self.world.tell(|| format!("{}: {given:?}", durable.at().0));
            durable.given(&given);
        }
    }

    pub fn add_input(&mut self, path: &str) {
        let name = path.to_owned();
        self.log(|| Given::Input { name: name.clone(), source: name.clone(), path: name.clone() });
        let decoder = Decoder::new(&config().inputs[0], path, &types_of(&self.plan)).named(path);
        self.pipeline.add_input(Arc::new(decoder));
        self.inputs.push((name.clone(), name.clone()));
        self.paths.push(name);
    }

    pub fn table(&mut self, table: &Arc<Table>) {
        if self.pipeline.table(&table.name).is_some_and(|known| known.digest == table.digest) {
            return;
        }
        if let Some(durable) = self.durable.as_mut().filter(|_| !self.replaying) {
            durable.keep_table(table);
            Given::table(table).for_each(|part| durable.given(&part));
        }
        self.pipeline.set_table(Arc::clone(table));
    }

    pub fn end_input(&mut self, input: usize) {
        self.log(|| Given::Ended(input as u32));
        self.pipeline.end_input(input);
    }

    pub fn reopen_input(&mut self, input: usize) {
        self.log(|| Given::Reopened(input as u32));
        self.pipeline.reopen_input(input);
    }

    pub fn tick(&mut self, now_us: i64) {
        self.log(|| Given::Tick(now_us));
        self.pipeline.tick(now_us);
    }

    pub fn end(&mut self) -> Result<()> {
        self.log(|| Given::End);
        let mut events = Vec::new();
        self.pipeline.finish(&mut events);
        self.write(&events)
    }

    pub fn round(&mut self, chunks: Vec<(usize, Chunk)>) -> Result<()> {
        if let Some(durable) = self.durable.as_ref().filter(|_| !self.replaying) {
            for (at, (input, chunk)) in (durable.at().0..).zip(&chunks) {
                let text = String::from_utf8_lossy(&chunk.bytes);
                self.world.tell(|| format!("{at}: of input {input}, from record {}:\n{text}", chunk.first));
            }
        }
        let (mut events, noted_chunks) = (Vec::new(), if self.replaying { 0 } else { chunks.len() });
        let noted = self.pipeline.round_beside(chunks, &Noted::of, |left| events = left);
        self.write_with(&events, noted_chunks)?;
        if let Some(durable) = self.durable.as_mut().filter(|_| !self.replaying) {
            noted.into_iter().for_each(|noted| durable.chunk(&self.paths[noted.input], noted));
        }
        self.check_books();
        Ok(())
    }

    /// The books balance after every step.
    fn check_books(&self) {
        let ledger = self.pipeline.ledger();
        assert!(ledger.balances(), "the books do not balance: {ledger:?}, placed {}", ledger.placed());
        assert_eq!(self.pipeline.count_open(), ledger.open, "open signals, counted and in the books: {ledger:?}");
    }

    fn write(&mut self, events: &[Event]) -> Result<()> {
        self.write_with(events, 0)
    }

    /// Notes what left with so many chunks, which are noted afterwards.
    fn write_with(&mut self, events: &[Event], chunks: usize) -> Result<()> {
        let mut lines = Vec::new();
        events.iter().for_each(|event| event.write_line(&mut lines));
        match &mut self.durable {
            Some(durable) => durable.events(&lines, chunks),
            None => {
                self.lines.extend(lines);
                Ok(())
            }
        }
    }

    /// Takes in the next entry of a log.
    pub fn given(&mut self, given: Given) -> Result<()> {
        if let Given::Chunk { input, first, bytes, records, broken } = given {
            let span = |(start, len)| Span { start, len };
            let records = records.map(|records| records.into_iter().map(span).collect());
            self.gathered.push((input as usize, Chunk { bytes, records, first, broken, ..Chunk::default() }));
            return if self.gathered.len() >= ROUND_CHUNKS { self.settle() } else { Ok(()) };
        }
        self.settle()?;
        match given {
            Given::Chunk { .. } | Given::Config(_) | Given::Mapper(_) | Given::Rule { .. } => {}
            Given::Input { path, .. } => self.add_input(&path),
            Given::Table { name, digest, columns, rows, last } => {
                let table = self.partial.get_or_insert_with(|| Table { name, digest, columns, ..Table::default() });
                table.rows.extend(rows);
                if let Some(table) = self.partial.take_if(|_| last) {
                    self.table(&Arc::new(table));
                }
            }
            Given::Ended(input) => self.end_input(input as usize),
            Given::Reopened(input) => self.reopen_input(input as usize),
            Given::Tick(now_us) => self.tick(now_us),
            Given::End => self.end()?,
            // No input of the simulation may let signals go.
            Given::Shed(..) => {}
            // Nor are there snapshots.
            Given::SnapshotInput { .. } | Given::SnapshotBegins(_) | Given::Snapshot { .. } => {}
            Given::Rollout(event) => {
                self.pipeline.take_compared();
                self.tell(*event);
            }
        }
        Ok(())
    }

    /// Takes in the chunks that were gathered.
    pub fn settle(&mut self) -> Result<()> {
        match std::mem::take(&mut self.gathered) {
            none if none.is_empty() => Ok(()),
            chunks => self.round(chunks),
        }
    }

    /// Keeps the state, and tells its hash.
    pub fn checkpoint(&mut self) -> Result<Option<u128>> {
        let Some(slice) = self.durable.as_ref().map(Durable::slice).filter(|_| !self.replaying) else {
            return Ok(None);
        };
        let (mut state, core) = self.save(slice)?;
        let hash = self.pipeline.state_hash(&mut Vec::new());
        if let Some(durable) = &mut self.durable {
            (state.log, state.events) = durable.at();
            durable.checkpoint(&state, core, self.pipeline.needed_us())?;
        }
        Ok(Some(hash))
    }

    /// The state, once all that waits is taken in.
    pub fn save(&mut self, slice: Slice) -> Result<(State, Checkpoint)> {
        self.settle()?;
        let mut events = Vec::new();
        let (pipeline, core) = self.pipeline.save(slice, &mut events);
        self.write(&events)?;
        self.check_books();
        let of = |of_type: &stillhouse_core::plan::TypePlan| SavedType {
            signal: of_type.name.clone(),
            mappers: of_type.mappers.clone(),
            states: of_type.states.clone(),
        };
        let mut rollouts = Saved::default();
        rollouts.slots = self.registry.slots().map(|(id, slot)| (id.clone(), slot.clone())).collect();
        rollouts.types = self.plan.types.iter().map(of).collect();
        rollouts.inputs.clone_from(&self.inputs);
        let state = State {
            config: self.plan.config_digest.clone(),
            log: 0,
            events: 0,
            watermark_us: self.pipeline.watermark_us(),
            is_whole: slice == Slice::All,
            paths: self.paths.clone(),
            pipeline,
            rollouts,
        };
        Ok((state, core))
    }

    /// Takes over a state.
    pub fn take_over(&mut self, state: State, core: Vec<Checkpoint>, tables: Tables<'_>) -> Result<()> {
        let State { paths, pipeline, rollouts, .. } = state;
        for (of_type, then) in self.plan.types.iter_mut().zip(&rollouts.types) {
            of_type.mappers.clone_from(&then.mappers);
        }
        let types = types_of(&self.plan);
        let decoder = |(name, source): &(String, String)| Decoder::new(&config().inputs[0], name, &types).named(source);
        let decoders = rollouts.inputs.iter().map(decoder).collect();
        let restored = self.pipeline.restore(pipeline, self.plan.types.clone(), decoders, core, tables);
        restored.context("the state does not fit")?;
        self.pipeline.note_changes();
        self.pipeline.keep_recent();
        (self.paths, self.inputs) = (paths, rollouts.inputs);
        self.go_on_with(rollouts.slots);
        Ok(())
    }
}

/// A host with the state of a checkpoint.
pub fn restored<'w>(
    world: &'w World,
    kept: Kept,
    recorded: &Recorded,
    config: usize,
    division: Division,
) -> Result<Host<'w>> {
    let mut host = Host::new(world, config, division);
    let core = kept.core(&recorded.store).collect::<Result<Vec<_>>>()?;
    host.take_over(kept.state, core, &mut |digest| recorded.table(digest).expect("it can be read"))?;
    Ok(host)
}

/// The same host with another configuration.
pub fn reconfigured<'w>(mut host: Host<'w>, config: usize, division: Division) -> Result<Host<'w>> {
    let tables: Vec<_> = host.pipeline.tables().cloned().collect();
    let (state, core) = host.save(Slice::All)?;
    let mut other = Host::new(host.world, config, division);
    other.take_over(state, vec![core], &mut |digest| {
        host.world.table(digest).or_else(|| tables.iter().find(|table| *table.digest == *digest).cloned())
    })?;
    other.lines = host.lines;
    Ok(other)
}

/// Which configuration has a digest.
pub fn config_of(digest: &str) -> usize {
    digest.trim_start_matches("config-").parse().expect("a digest of these tests")
}
