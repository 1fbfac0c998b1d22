//! Where events go that are committed: the output of the run.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use stillhouse_store::{Batch, Map, Sequence, Storage, Store};

use super::recorded::Entry;

/// How often it is noted how far a file was written: what comes after is cut and written again by a
/// restart, so it costs nothing but that.
const NOTE_EVERY_US: u64 = 1_000_000;

const CURSOR: &[u8] = b"output";

/// How far the output was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    /// The next event.
    event: u64,
    /// The length of the file.
    bytes: u64,
}

/// What the output of a run is.
#[derive(Clone, Debug)]
pub enum Output {
    /// Something that cannot be taken back, such as a pipe.
    Stream,
    /// A file that the run appends to.
    File(PathBuf),
    /// Bytes that the run appends to.
    Storage(Arc<dyn Storage>),
}

/// Events on their way to the output.
pub struct Outlet {
    cursor: Cursor,
    output: Output,
    /// Lines that are in no batch yet that was handed over.
    open: Vec<u8>,
    open_events: u64,
    /// Lines by the ticket of their batch.
    sealed: VecDeque<(u64, Vec<u8>, u64)>,
    noted_us: i64,
    is_noted: bool,
    is_known: bool,
}

impl Outlet {
    /// Goes on where the store says that the output was written. A file is cut there. What the store has
    /// beyond is let out first.
    ///
    /// # Errors
    /// If the store or the file cannot be read.
    pub fn open(store: &Store, output: Output, now_us: i64) -> Result<Self> {
        let known: Option<Cursor> = match store.get(Map::Cursors, CURSOR)? {
            Some(bytes) => Some(postcard::from_bytes(&bytes).context("the cursor of the output is not understood")?),
            None => None,
        };
        let cursor = output.cut(known.unwrap_or_default())?;
        let mut lines = Vec::new();
        let from = cursor.event.max(store.first(Sequence::Events));
        for record in store.read(Sequence::Events, from)? {
            lines.extend_from_slice(Entry::decode(record?.bytes())?.line);
        }
        let events = store.next(Sequence::Events) - from;
        let sealed = if lines.is_empty() { VecDeque::new() } else { VecDeque::from([(0, lines, events)]) };
        Ok(Self {
            cursor,
            output,
            open: Vec::new(),
            open_events: 0,
            sealed,
            noted_us: now_us,
            is_noted: true,
            is_known: known.is_some(),
        })
    }

    /// Makes it known from the beginning: what it has not written is not to be removed.
    pub fn begin(&mut self, batch: &mut Batch) {
        if !std::mem::replace(&mut self.is_known, true) {
            self.put(batch);
        }
    }

    /// The next event.
    pub fn push(&mut self, line: &[u8]) {
        self.open.extend_from_slice(line);
        self.open_events += 1;
    }

    /// What was pushed so far is committed with this ticket.
    pub fn sealed(&mut self, ticket: u64) {
        if self.open_events > 0 {
            let events = std::mem::take(&mut self.open_events);
            self.sealed.push_back((ticket, std::mem::take(&mut self.open), events));
        }
    }

    /// Whether something waits to be committed.
    pub fn is_waiting(&self) -> bool {
        !self.sealed.is_empty()
    }

    /// Writes what is committed.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn let_out(&mut self, committed: u64, output: &mut dyn Write, now_us: i64, batch: &mut Batch) -> Result<()> {
        let mut wrote = false;
        while let Some((_, lines, events)) = self.sealed.pop_front_if(|(ticket, ..)| *ticket <= committed) {
            output.write_all(&lines).context("the output cannot be written")?;
            self.cursor.event += events;
            self.cursor.bytes += lines.len() as u64;
            wrote = true;
        }
        if !wrote {
            return Ok(());
        }
        output.flush().context("the output cannot be written")?;
        self.is_noted = false;
        // What was written to a pipe cannot be taken back.
        let is_due = matches!(self.output, Output::Stream) || now_us.abs_diff(self.noted_us) >= NOTE_EVERY_US;
        if is_due { self.settle(now_us, batch) } else { Ok(()) }
    }

    /// Notes how far the output was written, once that would survive a loss of power.
    ///
    /// # Errors
    /// If that cannot be promised.
    pub fn settle(&mut self, now_us: i64, batch: &mut Batch) -> Result<()> {
        if std::mem::replace(&mut self.is_noted, true) {
            return Ok(());
        }
        self.output.sync()?;
        self.noted_us = now_us;
        self.put(batch);
        Ok(())
    }

    fn put(&self, batch: &mut Batch) {
        batch.put(Map::Cursors, CURSOR, postcard::to_allocvec(&self.cursor).expect("a cursor is plain data"));
    }
}

impl Output {
    /// Cuts it where the store says that it was written. One that is shorter, or not there, is written from
    /// its end on with what the store says comes next: somebody has taken it away.
    fn cut(&self, cursor: Cursor) -> Result<Cursor> {
        let length = match self {
            Self::Stream => return Ok(cursor),
            Self::File(path) => match std::fs::metadata(path) {
                Ok(meta) => meta.len(),
                Err(_) => 0,
            },
            Self::Storage(storage) => storage.len()?,
        };
        if length > cursor.bytes {
            self.set_len(cursor.bytes).with_context(|| self.failed())?;
            return Ok(cursor);
        }
        Ok(Cursor { bytes: length, ..cursor })
    }

    fn set_len(&self, bytes: u64) -> std::io::Result<()> {
        match self {
            Self::Stream => Ok(()),
            Self::File(path) => File::options().write(true).open(path)?.set_len(bytes),
            Self::Storage(storage) => storage.set_len(bytes),
        }
    }

    /// Returns once what was written would survive a loss of power.
    fn sync(&self) -> Result<()> {
        let synced = match self {
            Self::Stream => Ok(()),
            Self::File(path) => File::open(path).and_then(|file| file.sync_data()),
            Self::Storage(storage) => storage.sync(),
        };
        synced.with_context(|| self.failed())
    }

    fn failed(&self) -> String {
        match self {
            Self::File(path) => format!("{}: cannot be written", path.display()),
            Self::Stream | Self::Storage(_) => "the output cannot be written".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_beyond_the_cursor_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        std::fs::write(&path, "one\ntwo\nth").unwrap();
        let cursor = Cursor { event: 2, bytes: 8 };
        assert_eq!(Output::File(path.clone()).cut(cursor).unwrap(), cursor);
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\n");
        let gone = Output::File(folder.path().join("gone"));
        assert_eq!(gone.cut(cursor).unwrap(), Cursor { event: 2, bytes: 0 });
    }
}
