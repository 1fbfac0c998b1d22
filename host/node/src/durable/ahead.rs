//! Entries of a log that are read and decoded while those before them are taken in.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

use super::Recorded;
use crate::journal::Given;

/// So many entries are read ahead. The largest are chunks of inputs.
const AHEAD_MAX: usize = 16;

/// The entries of a log, in order, from a thread of its own, which ends with this.
pub struct Ahead {
    entries: Option<Receiver<Result<(u64, Given)>>>,
    reader: Option<JoinHandle<()>>,
}

impl Recorded {
    /// As [`Recorded::log`], read ahead.
    ///
    /// # Errors
    /// If the store cannot be read, or there can be no thread.
    pub fn log_ahead(&self, from: u64) -> Result<Ahead> {
        let mut log = self.log(from)?;
        let (to, entries) = sync_channel(AHEAD_MAX);
        let read = move || while log.next().is_some_and(|entry| to.send(entry).is_ok()) {};
        let reader = std::thread::Builder::new().name("log".into()).spawn(read).context("no thread to read the log")?;
        Ok(Ahead { entries: Some(entries), reader: Some(reader) })
    }
}

impl Iterator for Ahead {
    type Item = Result<(u64, Given)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.entries.as_ref()?.recv().ok()
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        // Nobody listens any more, so that it ends; until then it holds the store.
        drop(self.entries.take());
        drop(self.reader.take().map(JoinHandle::join));
    }
}
