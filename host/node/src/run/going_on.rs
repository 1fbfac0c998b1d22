//! How a run begins, goes on where another stopped, and keeps its state.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use stillhouse_core::table::Table;
use stillhouse_rollout::SlotKind;
use stillhouse_rules::Kind;

use super::{Options, Run, Watch, input_config};
use crate::config::Config;
use crate::decode::framing::Chunk;
use crate::decode::record::Decoder;
use crate::durable::{Durable, Kept, Recorded, State};
use crate::input::{Head, Input};
use crate::journal::Given;
use crate::pipeline::ROUND_CHUNKS;
use crate::rollouts::{Loading, Saved};
use crate::rules::RuleFiles;
use crate::tables;

impl Run<'_> {
    /// Notes the configuration from here on, and the tables.
    pub(super) fn start(&mut self, tables: Vec<Arc<Table>>) -> Result<()> {
        self.note_config();
        for table in tables {
            self.table(table);
        }
        self.pipeline.note_changes();
        self.pipeline.keep_recent();
        Ok(())
    }

    fn note_config(&mut self) {
        if let Some(durable) = &mut self.durable {
            durable.keep_file(&format!("config/{}", self.config.digest), &self.config.recorded());
            durable.given(&Given::Config(self.config.digest.clone()));
        }
        for mapper in std::mem::take(&mut self.mappers) {
            self.log(|| Given::Mapper(mapper));
        }
    }

    /// Goes on where another run stopped.
    ///
    /// # Errors
    /// If the store cannot be read, or its state does not fit the configuration.
    pub(super) fn go_on(&mut self, kept: Kept, recorded: &Recorded, tables: Vec<Arc<Table>>) -> Result<()> {
        if let Some(durable) = &mut self.durable {
            durable.go_on(&kept)?;
        }
        let from = kept.state.log;
        let is_same = kept.state.config == self.config.digest;
        self.restore(kept, recorded)?;
        self.replaying = true;
        for entry in recorded.log(from)? {
            self.given(entry?.1)?;
        }
        self.settle()?;
        self.replaying = false;
        if !is_same {
            self.note_config();
            let durable = &mut self.durable;
            let mut log = |logged: crate::rollouts::Logged<'_>| {
                super::log_rollout(durable, logged);
                Ok(())
            };
            self.rollouts.begin_anew(&self.rules, &mut self.pipeline, &mut log)?;
        }
        for table in tables {
            if self.pipeline.table(&table.name).is_none_or(|known| known.digest != table.digest) {
                self.table(table);
            }
        }
        Ok(())
    }

    /// Takes over the state of a checkpoint.
    ///
    /// # Errors
    /// If it cannot be read, or does not fit the configuration.
    pub(crate) fn restore(&mut self, kept: Kept, recorded: &Recorded) -> Result<()> {
        let core = kept.core(&recorded.store).collect::<Result<Vec<_>>>()?;
        self.take_over(kept.state, core, recorded)
    }

    /// As [`Run::restore`], from a state that was read.
    pub(crate) fn take_over(
        &mut self,
        state: State,
        core: Vec<stillhouse_core::Checkpoint>,
        recorded: &Recorded,
    ) -> Result<()> {
        self.is_new = false;
        let State { paths, pipeline, rollouts, .. } = state;
        let plans = self.rollouts.plans(&rollouts)?;
        let mut decoders = Vec::new();
        for (name, source) in &rollouts.inputs {
            let input = input_config(self.config, name)?;
            decoders.push(Decoder::new(input, name, &self.fields).named(source));
            self.masked.push(self.masks.input(input, name));
            self.names.push(name.clone());
        }
        self.paths = paths;
        let mut failed = None;
        let mut table = |digest: &str| {
            recorded.table(digest).unwrap_or_else(|error| {
                failed = Some(error);
                None
            })
        };
        let restored = self.pipeline.restore(pipeline, plans, decoders, core, &mut table);
        if let Some(error) = failed {
            return Err(error);
        }
        restored.context("the state of the store does not fit")?;
        self.pipeline.note_changes();
        self.pipeline.keep_recent();
        self.rollouts.restore(rollouts, &mut self.pipeline, &mut |digest| recorded.rule(digest))
    }

    /// Takes in the next entry of a log. Chunks are gathered into rounds; [`Run::settle`] ends the last.
    ///
    /// # Errors
    /// If it cannot be taken in.
    pub(crate) fn given(&mut self, given: Given) -> Result<()> {
        if let Given::Chunk { input, first, bytes, records, broken } = given {
            let span = |(start, len)| stillhouse_core::Span { start, len };
            let records = records.map(|records| records.into_iter().map(span).collect());
            let index = self.named(input)?;
            self.gathered.push((index, Chunk { bytes, records, first, broken, ..Chunk::default() }));
            return if self.gathered.len() >= ROUND_CHUNKS { self.settle() } else { Ok(()) };
        }
        self.settle()?;
        match given {
            Given::Chunk { .. } | Given::Config(_) | Given::Mapper(_) => Ok(()),
            Given::Input { name, source, path } => {
                self.has_tables()?;
                self.add_input(name, &source, path)
            }
            Given::SnapshotInput { signal, name, source, path } => {
                self.has_tables()?;
                self.add_snapshots(&signal, name, &source, path)
            }
            Given::SnapshotBegins(input) => {
                self.pipeline.begin_snapshot(self.named(input)?);
                Ok(())
            }
            Given::Snapshot { input, digest, age_us } => {
                self.pipeline.end_snapshot(self.named(input)?, digest, age_us);
                Ok(())
            }
            Given::Table { name, digest, columns, rows, last } => {
                let table = self.partial.get_or_insert_with(|| Table { name, digest, columns, ..Table::default() });
                table.rows.extend(rows);
                if last && let Some(table) = self.partial.take() {
                    tables::check_columns(self.config, &self.fields, &table)?;
                    self.table(Arc::new(table));
                }
                Ok(())
            }
            Given::Ended(input) => {
                self.end_input(input as usize, None);
                Ok(())
            }
            Given::Reopened(input) => {
                self.pipeline.reopen_input(input as usize);
                Ok(())
            }
            Given::Shed(_, records) => {
                self.tally.shed += records;
                Ok(())
            }
            Given::Tick(now_us) => {
                self.tick(now_us);
                Ok(())
            }
            Given::End => {
                let mut events = Vec::new();
                self.watch.entries(self.pipeline.waiting());
                self.pipeline.finish(&mut events);
                self.write(events)
            }
            Given::Rule { digest, bytes, last } => {
                self.file.extend(bytes);
                let file = if last { std::mem::take(&mut self.file) } else { return Ok(()) };
                if self.takes_turns { self.rollouts.load(&digest, file) } else { Ok(()) }
            }
            // Another configuration has its own rules, and takes no turns.
            Given::Rollout(event) if self.takes_turns => self.rollouts.replay(*event, &mut self.pipeline),
            Given::Rollout(_) => Ok(()),
        }
    }

    /// Whether the log holds what the mappers look into.
    fn has_tables(&self) -> Result<()> {
        match tables::missing(self.config, &self.fields, |name| self.pipeline.table(name).is_some()) {
            Some(table) => bail!("the log does not hold the table `{table}`; it was written without it"),
            None => Ok(()),
        }
    }

    /// An input that the log named.
    fn named(&self, input: u32) -> Result<usize> {
        let index = input as usize;
        if index >= self.paths.len() {
            bail!("an entry about an input that the log did not name");
        }
        Ok(index)
    }

    /// Takes in the chunks that were gathered.
    pub(crate) fn settle(&mut self) -> Result<()> {
        match std::mem::take(&mut self.gathered) {
            none if none.is_empty() => Ok(()),
            chunks => self.round(chunks),
        }
    }

    /// Takes in dead letters that somebody wants to be tried again, as signals of their inputs.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(super) fn take_again(&mut self) -> Result<()> {
        let Some(durable) = &mut self.durable else { return Ok(()) };
        for (key, line) in durable.take_again()? {
            let event: serde_json::Value = serde_json::from_slice(&line).context("a dead letter")?;
            let text = |name: &str| event["data"][name].as_str().unwrap_or_default();
            let (source, raw) = (text("source"), text("raw"));
            let by_source = self.rollouts.inputs().iter().position(|(_, known)| known == source);
            let Some(index) = by_source.or((!self.paths.is_empty()).then_some(0)) else { continue };
            if self.pipeline.is_of_snapshots(index) {
                tracing::warn!(key, "a record of a snapshot is not taken in again: the next snapshot has it");
                continue;
            }
            if raw.is_empty() || raw.len() >= stillhouse_core::event::RAW_BYTES_MAX {
                tracing::warn!(key, "the signal was cut and cannot be taken in again");
                continue;
            }
            let bytes = format!("{}\n", raw.replace('\n', " ")).into_bytes();
            let mut chunk = Chunk { bytes, first: 1, ..Chunk::default() };
            if let Some(durable) = &mut self.durable {
                durable.given(&Given::chunk(index, &mut chunk.clone()));
            }
            let mut events = Vec::new();
            self.pipeline.round(vec![(index, std::mem::take(&mut chunk))], &mut events);
            self.write(events)?;
        }
        Ok(())
    }

    /// Makes the inputs known that are read from now on, each by its path. Those of another run that are not
    /// read any more have ended.
    pub(super) fn name_inputs(&mut self, inputs: &[Input]) -> Result<()> {
        for input in inputs {
            let name = input.name();
            let path = input.path();
            if let Some(index) = self.paths.iter().position(|known| *known == path) {
                if self.pipeline.has_ended(index) {
                    self.log(|| Given::Reopened(index as u32));
                    self.pipeline.reopen_input(index);
                }
                continue;
            }
            // Two files of one name are two sources.
            let same = inputs.iter().filter(|other| other.name() == name).count() > 1 || self.names.contains(&name);
            let source = input_config(self.config, &name)?.source.clone();
            let source = source.unwrap_or_else(|| if same { path.clone() } else { name.clone() });
            self.add_input(name, &source, path)?;
        }
        for index in 0..self.paths.len() {
            let is_read = inputs.iter().any(|input| input.path() == self.paths[index]);
            if !is_read && !self.pipeline.has_ended(index) {
                self.end_input(index, None);
            }
        }
        Ok(())
    }

    pub(super) fn began(&mut self, index: usize, head: Head) {
        if let Some(durable) = &mut self.durable {
            durable.began(&self.paths[index], head);
        }
    }

    /// What it is given and what it makes is kept in this store from here on. One that is new gets the state.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub(crate) fn keep_in(&mut self, store: Option<Durable>) -> Result<()> {
        let is_new = store.as_ref().is_some_and(Durable::is_new);
        self.durable = store;
        if !is_new {
            return Ok(());
        }
        if !self.replaying {
            self.note_config();
        }
        let replaying = std::mem::take(&mut self.replaying);
        let kept = self.checkpoint();
        self.replaying = replaying;
        kept
    }

    /// The store in which it kept what it was given.
    pub(crate) fn kept_in(&mut self) -> Option<Durable> {
        self.durable.take()
    }

    /// Notes an entry of the log that it replays, where it keeps what it is given.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub(crate) fn note(&mut self, given: &Given) -> Result<()> {
        if self.durable.is_none() {
            return Ok(());
        }
        // Chunks are gathered into rounds, and what left before an entry must be noted before it.
        if !matches!(given, Given::Chunk { .. }) {
            self.settle()?;
        }
        let Some(durable) = &mut self.durable else { return Ok(()) };
        durable.given(given);
        Ok(())
    }

    /// The watermark.
    pub(crate) fn watermark_us(&self) -> i64 {
        self.pipeline.watermark_us()
    }

    /// Keeps the state of the run.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(super) fn checkpoint(&mut self) -> Result<()> {
        let Some(slice) = self.durable.as_ref().map(Durable::slice).filter(|_| !self.replaying) else { return Ok(()) };
        let (mut state, core) = self.save(slice)?;
        if let Some(durable) = &mut self.durable {
            (state.log, state.events) = durable.at();
            durable.checkpoint(&state, core, self.pipeline.needed_us())?;
        }
        Ok(())
    }

    /// The state of the run, once all that waits is taken in. Where it stands in the store is not known here.
    pub(crate) fn save(&mut self, slice: stillhouse_core::Slice) -> Result<(State, stillhouse_core::Checkpoint)> {
        self.settle()?;
        let mut events = Vec::new();
        self.watch.entries(self.pipeline.waiting());
        let (pipeline, core) = self.pipeline.save(slice, &mut events);
        self.write(events)?;
        let state = State {
            config: self.config.digest.clone(),
            log: 0,
            events: 0,
            watermark_us: self.pipeline.watermark_us(),
            is_whole: slice == stillhouse_core::Slice::All,
            paths: self.paths.clone(),
            pipeline,
            rollouts: self.rollouts.save(),
        };
        Ok((state, core))
    }
}

/// The checkpoint from which a run with this configuration goes on. What the log has after it was given to the
/// configuration of then; where that is another one, it takes the rest in first, and keeps its state.
///
/// # Errors
/// If the store has no checkpoint, or cannot be read or written.
pub(super) fn caught_up(
    durable: Durable,
    config: &Config,
    options: &Options,
    watch: &mut dyn Watch,
) -> Result<(Durable, Kept)> {
    let kept = last_checkpoint(&durable)?;
    let (log, _) = durable.at();
    if kept.state.config == config.digest || kept.state.log == log {
        return Ok((durable, kept));
    }
    let recorded = Recorded { store: Arc::clone(durable.store()) };
    let then = recorded.config(&kept.state.config).and_then(|config| config.in_order_of(&kept.state.rollouts));
    let then = then.context("the end of the log was written with another configuration, which takes it in first")?;
    let versions = kept.state.rollouts.clone();
    let mut nowhere = std::io::sink();
    let mut run = Run::new(&then, Some((&recorded, &versions)), options, Loading::Recorded, &mut nowhere, watch)?;
    run.durable = Some(durable);
    run.go_on(kept, &recorded, Vec::new())?;
    run.checkpoint()?;
    let mut durable = run.durable.take().context("it was just given")?;
    durable.commit()?;
    durable.committer().flush()?;
    let kept = last_checkpoint(&durable)?;
    Ok((durable, kept))
}

fn last_checkpoint(durable: &Durable) -> Result<Kept> {
    let (log, _) = durable.at();
    Kept::newest(durable.store(), log)?
        .context("the store has no checkpoint to go on from; `stillhouse store check` says more")
}

/// The files of the versions that were in force, where the configuration names the same rules still.
pub(super) fn recorded_rules(config: &Config, recorded: &Recorded, saved: &Saved) -> Result<RuleFiles> {
    let mut files = RuleFiles::new();
    for (id, slot) in &saved.slots {
        let Some(index) = config.signals.iter().position(|signal| signal.name == id.signal) else { continue };
        let (named, kind) = match id.kind {
            SlotKind::Mapper => (Some(&config.signals[index].mapper), Kind::Mapper),
            SlotKind::Suppressor => (config.signals[index].suppressor.as_ref(), Kind::Suppressor),
        };
        let Some(stable) = slot.stable.as_ref().filter(|stable| named.is_some_and(|it| it.is_called(&stable.name)))
        else {
            continue;
        };
        files.extend(recorded.rule(&stable.digest)?.map(|file| ((index, kind), file)));
    }
    Ok(files)
}
