//! Inputs of which there are snapshots only: nobody waits for them, and their records are compared.

use std::sync::Arc;

use stillhouse_core::Entry;
use stillhouse_core::block::NO_TIME;
use stillhouse_core::leap::Leaps;

use super::{InputState, OfSnapshots, Pipeline};
use crate::decode::record::Decoder;
use crate::map::Mapped;

impl Pipeline<'_> {
    /// Adds an input of which there are snapshots of a signal type only.
    pub fn add_snapshots(&mut self, mut decoder: Decoder, signal_type: u16) {
        self.tables.values().for_each(|table| decoder.set_table(table));
        decoder.set_timeless(true);
        let source = match decoder.has_sources() {
            // They name their own.
            true => None,
            false => Some(self.source(self.inputs.len(), decoder.source_name(), Entry::SnapshotSource)),
        };
        self.inputs.push(InputState {
            decoder: Arc::new(decoder),
            newest_us: i64::MIN,
            leaps: Leaps::default(),
            source,
            named: Vec::new(),
            ended: true,
            snapshot: Some(OfSnapshots { signal_type, digest: None }),
        });
    }

    /// Whether there are snapshots of an input only.
    pub fn is_of_snapshots(&self, input: usize) -> bool {
        self.inputs.get(input).is_some_and(|input| input.snapshot.is_some())
    }

    /// The digest of the last snapshot of an input that was taken in as a whole.
    pub fn snapshot_digest(&self, input: usize) -> Option<&str> {
        self.inputs.get(input)?.snapshot.as_ref()?.digest.as_deref()
    }

    /// A snapshot begins; its chunks come with the next rounds.
    pub fn begin_snapshot(&mut self, input: usize) {
        if let Some(of) = &self.inputs[input].snapshot {
            self.waiting.push(Entry::SnapshotBegins(of.signal_type));
        }
    }

    /// All chunks of a snapshot have come.
    pub fn end_snapshot(&mut self, input: usize, digest: String, age_us: i64) {
        if let Some(of) = &mut self.inputs[input].snapshot {
            of.digest = Some(digest);
            self.waiting.push(Entry::Snapshot { signal_type: of.signal_type, age_us });
        }
    }

    /// Gives a mapped block of a snapshot its place in the log. What a version that is tried says of it is no
    /// evidence: the one in force answers.
    pub(super) fn enter_snapshot(&mut self, input: usize, signal_type: u16, mapped: Mapped) {
        let Mapped { mut block, sources, .. } = mapped;
        let numbers: Vec<u32> = sources.iter().map(|name| self.source(input, name, Entry::SnapshotSource)).collect();
        for row in &mut block.rows {
            row.source = numbers[row.source as usize];
            // That of the snapshot counts.
            row.time_us = NO_TIME;
        }
        block.position = self.position;
        self.position += block.rows.len() as u64;
        self.waiting.push(Entry::SnapshotRows { signal_type, block: Arc::new(block) });
    }
}
