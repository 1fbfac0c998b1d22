//! How a snapshot is given to a run.

use std::sync::Arc;

use anyhow::{Context, Result};

use super::{Run, input_config};
use crate::journal::Given;
use crate::pipeline::ROUND_CHUNKS;
use crate::snapshots::{self, Snapshot};

impl Run<'_> {
    /// Makes the snapshots of the configuration known, each as an input of its own.
    pub(super) fn name_snapshots(&mut self) -> Result<()> {
        for snapshot in &self.config.snapshots {
            let path = path_of(snapshot);
            if self.paths.contains(&path) {
                continue;
            }
            let source = input_config(self.config, &snapshot.name)?.source.clone();
            let is_taken = self.names.contains(&snapshot.name);
            let own = || if is_taken { snapshot.path.display().to_string() } else { snapshot.name.clone() };
            self.add_snapshots(&snapshot.signal, snapshot.name.clone(), &source.unwrap_or_else(own), path)?;
        }
        Ok(())
    }

    /// An input of which there are snapshots only.
    pub(super) fn add_snapshots(&mut self, signal: &str, name: String, source: &str, path: String) -> Result<()> {
        let signal_type = self.config.signals.iter().position(|known| known.name == signal).with_context(|| {
            format!("there is no `[signal.\"{signal}\"]`, of which the log has snapshots: leave it in")
        })?;
        let decoder = self.decoder(&name, source, &path)?;
        let (signal, source) = (signal.to_owned(), source.to_owned());
        self.log(|| Given::SnapshotInput { signal, name, source, path });
        self.pipeline.add_snapshots(decoder, signal_type as u16);
        Ok(())
    }

    /// The digests of the snapshots that were taken last.
    pub(super) fn known_snapshots(&self) -> Vec<Option<String>> {
        (0..self.config.snapshots.len()).map(|index| self.known_snapshot(index).map(str::to_owned)).collect()
    }

    fn snapshot_input(&self, index: usize) -> Option<usize> {
        let path = path_of(self.config.snapshots.get(index)?);
        self.paths.iter().position(|known| *known == path)
    }

    fn known_snapshot(&self, index: usize) -> Option<&str> {
        self.pipeline.snapshot_digest(self.snapshot_input(index)?)
    }

    /// Reads every snapshot once that is another one than was taken last. One that cannot be read is left out,
    /// and said to be broken.
    pub(super) fn read_snapshots(&mut self) -> Result<()> {
        for (index, config) in self.config.snapshots.iter().enumerate() {
            match snapshots::read(config, index, self.known_snapshot(index)) {
                Ok(Some(snapshot)) => self.snapshot(snapshot)?,
                Ok(None) => {}
                Err(reason) => {
                    self.counted.refuse();
                    self.broken.push((config.path.display().to_string(), reason));
                }
            }
        }
        Ok(())
    }

    /// Takes in a snapshot, as a whole.
    pub(super) fn snapshot(&mut self, snapshot: Snapshot) -> Result<()> {
        let Snapshot { index, digest, age_us, chunks } = snapshot;
        let input = self.snapshot_input(index).context("a snapshot has an input")?;
        let name = self.names[input].clone();
        self.log(|| Given::SnapshotBegins(input as u32));
        self.pipeline.begin_snapshot(input);
        let mut chunks = chunks.into_iter().map(|chunk| (input, chunk)).peekable();
        while chunks.peek().is_some() {
            let round = chunks.by_ref().take(ROUND_CHUNKS).collect();
            self.round(round)?;
        }
        self.log(|| Given::Snapshot { input: input as u32, digest: digest.clone(), age_us });
        self.pipeline.end_snapshot(input, digest, age_us);
        self.counted.take();
        tracing::info!(name, age_us, "a snapshot was taken");
        self.round(Vec::new())
    }

    /// A version of a snapshot that was found while inputs are followed, and cannot be used.
    pub(super) fn refuse_snapshot(&mut self, reason: &str) {
        tracing::warn!("the snapshot is not compared: {reason}");
        self.counted.refuse();
    }

    /// What is counted of snapshots is told to whoever measures the host.
    pub(super) fn measure_snapshots(&self) {
        let counted = Arc::clone(&self.counted);
        self.rollouts.board().measure(move || counted.text());
    }
}

/// By what the input of a snapshot is known again.
fn path_of(snapshot: &crate::config::SnapshotConfig) -> String {
    format!("snapshot/{}/{}", snapshot.signal, snapshot.path.display())
}
