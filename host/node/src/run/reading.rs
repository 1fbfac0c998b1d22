//! Where the pieces of a run come from: files that are read, or followed, posts, the clock, new versions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{Run, input_config};
use crate::control;
use crate::decode::framing::{Chunk, Place};
use crate::input::{Input, Piece, Reading, open, tell_time};
use crate::journal::Given;
use crate::pipeline::ROUND_CHUNKS;
use crate::rollouts::Ask;
use crate::rules::watch::{self, Watching};
use crate::snapshots;
use crate::tables;

impl Run<'_> {
    /// Reads whatever input is furthest behind, until all have ended.
    pub(super) fn read_all(&mut self, inputs: &[Input], runtime: &tokio::runtime::Handle) -> Result<()> {
        let mut from: Vec<Option<Receiver<Piece>>> = self.paths.iter().map(|_| None).collect();
        let by_index: Vec<Option<&Input>> =
            self.paths.iter().map(|path| inputs.iter().find(|input| input.path() == *path)).collect();
        while let Some(slowest) = self.pipeline.slowest() {
            self.versions(Vec::new())?;
            let input = by_index[slowest].context("an input that is read is given")?;
            let from = match &mut from[slowest] {
                Some(from) => from,
                closed => {
                    closed.insert(self.open(slowest, input, runtime, None, false)?.context("a channel of its own")?)
                }
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
                    Some(Piece::Began(index, head)) => self.began(index, head),
                    Some(
                        Piece::Commit
                        | Piece::Shed(..)
                        | Piece::Posted(_)
                        | Piece::Tick(_)
                        | Piece::Table(_)
                        | Piece::TableRefused(_)
                        | Piece::CaughtUp(_)
                        | Piece::Snapshot(_)
                        | Piece::SnapshotRefused(_)
                        | Piece::Rules(_)
                        | Piece::Stop,
                    ) => {}
                    None => {
                        ended = true;
                        break;
                    }
                }
                // What comes from a pipe is not held back to fill a round.
                if *input == Input::Stdin && from.is_empty() {
                    break;
                }
            }
            self.round(chunks)?;
            if ended {
                self.end_input(slowest, broken);
            }
            if *input == Input::Stdin && from.is_empty() {
                self.round(Vec::new())?;
            }
        }
        Ok(())
    }

    /// Takes in signals that were posted; they are answered when they are committed.
    fn posted(&mut self, posted: crate::intake::Posted) -> Result<()> {
        let crate::intake::Posted { source, lines, committed } = posted;
        if self.durable.is_none() {
            drop(committed.send(Err("signals can be posted to a host with a store only".into())));
            return Ok(());
        }
        let path = format!("post/{source}");
        let index = match self.paths.iter().position(|known| *known == path) {
            Some(index) => index,
            None => {
                let named = input_config(self.config, &source)?.source.clone();
                self.add_input(source.clone(), &named.unwrap_or_else(|| source.clone()), path)?;
                self.paths.len() - 1
            }
        };
        let known = self.durable.as_ref().and_then(|durable| durable.position(&self.paths[index]));
        let first = known.map_or(1, |known| known.place.record.max(1));
        let next = Place { record: first + memchr::memchr_iter(b'\n', &lines).count() as u64, ..Place::default() };
        self.round(vec![(index, Chunk { bytes: lines, first, next, ..Chunk::default() })])?;
        if let Some(durable) = &mut self.durable {
            durable.answer(committed);
        }
        Ok(())
    }

    /// Takes pieces as they come, until the user stops or every input has ended; tells whether all have.
    pub(super) fn follow(&mut self, inputs: &[Input], runtime: &tokio::runtime::Handle) -> Result<bool> {
        let (to, mut from) = channel(64);
        // What a snapshot is compared with is what was said until it came.
        let (mut behind, mut snapshots_held) = (BTreeSet::new(), BTreeMap::new());
        for input in inputs {
            let index = self.paths.iter().position(|path| *path == input.path()).context("an input has a path")?;
            if input.is_regular() {
                behind.insert(index);
            }
            self.open(index, input, runtime, Some(to.clone()), true)?;
        }
        let config = self.config;
        let given = config.tables.iter().filter_map(|table| self.pipeline.table(&table.name).cloned()).collect();
        if !config.tables.is_empty() {
            let (watched, given, to): (_, Vec<_>, _) = (config.tables.clone(), given, to.clone());
            runtime.spawn_blocking(move || tables::watch::watch(&watched, &given, &to));
        }
        if !config.snapshots.is_empty() {
            let (watched, known, to) = (config.snapshots.clone(), self.known_snapshots(), to.clone());
            runtime.spawn_blocking(move || snapshots::watch::watch(&watched, known, &to));
            self.measure_snapshots();
        }
        self.watch_rules(&to, runtime);
        let intaking = match &config.intake {
            Some(intake) => Some(crate::intake::serve(intake, config, &to, runtime)?),
            None => None,
        };
        let serving = control::serve(config, self.rollouts.board(), &to, runtime)?;
        if let Some(durable) = &self.durable {
            durable.wake_with(to.clone());
        }
        runtime.spawn(tell_time(to));
        // Posts have no end.
        let mut open = inputs.len() + usize::from(intaking.is_some());
        let mut stopped = false;
        while open > 0 && !stopped {
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
                    Piece::Began(index, head) => self.began(index, head),
                    Piece::Ended(index, reason) => {
                        open -= 1;
                        behind.remove(&index);
                        self.end_input(index, reason);
                    }
                    Piece::Tick(now_us) => self.tick(now_us),
                    Piece::Commit => {}
                    Piece::Shed(index, records) => {
                        self.log(|| Given::Shed(index as u32, records));
                        self.tally.shed += records;
                        self.shed.fetch_add(records, Ordering::Relaxed);
                    }
                    Piece::Posted(posted) => self.posted(*posted)?,
                    Piece::Table(table) => self.new_table(table),
                    Piece::TableRefused(reason) => self.refuse_table(&reason),
                    Piece::CaughtUp(index) => drop(behind.remove(&index)),
                    Piece::Snapshot(snapshot) => drop(snapshots_held.insert(snapshot.index, *snapshot)),
                    Piece::SnapshotRefused(reason) => self.refuse_snapshot(&reason),
                    Piece::Rules(ask) => self.versions(vec![*ask])?,
                    Piece::Stop => stopped = true,
                }
            }
            if behind.is_empty() {
                while let Some((_, snapshot)) = snapshots_held.pop_first() {
                    self.snapshot(snapshot)?;
                }
            }
            if self.pipeline.is_waiting() {
                self.round(Vec::new())?;
            }
            self.commit()?;
        }
        drop(from);
        self.commit()?;
        if let Some(intaking) = intaking {
            intaking.stop(runtime);
        }
        if let Some(serving) = serving {
            serving.stop(runtime);
        }
        Ok(!stopped)
    }

    /// Watches the folder of rules, and is woken when a version has been checked.
    fn watch_rules(&mut self, to: &Sender<Piece>, runtime: &tokio::runtime::Handle) {
        let wake = to.clone();
        // Who cannot be woken is awake.
        self.rollouts.wake_with(Arc::new(move || drop(wake.try_send(Piece::Rules(Box::new(Ask::Wake))))));
        let config = self.config;
        let Some(folder) = config.rules_folder.clone() else { return };
        let known = self.rollouts.in_force();
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
        index: usize,
        input: &Input,
        runtime: &tokio::runtime::Handle,
        to: Option<Sender<Piece>>,
        follow: bool,
    ) -> Result<Option<Receiver<Piece>>> {
        let from = self.durable.as_ref().and_then(|durable| durable.position(&input.path()));
        let shed = input_config(self.config, &input.name())?.shed;
        let reading = Reading { follow, read_bytes: Arc::clone(&self.read_bytes), from, shed };
        let framing = match input_config(self.config, &input.name())?.format {
            crate::config::schema::Format::Text => crate::decode::framing::Framing::Lines,
            _ => crate::decode::framing::Framing::Json,
        };
        open(index, input, framing, &reading, runtime, to).with_context(|| match input {
            Input::File(path) => format!("{}: cannot be opened", path.display()),
            Input::Stdin => "standard input cannot be read".into(),
        })
    }
}
