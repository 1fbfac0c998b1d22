//! Where events go that are committed: the output of the run.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use stillhouse_store::{Batch, Map, Sequence, Store};

use super::recorded::Entry;

/// How often it is noted how far a file was written: what comes after is cut and written again by a
/// restart, so it costs nothing but that.
const NOTE_EVERY: Duration = Duration::from_secs(1);

const CURSOR: &[u8] = b"output";

/// How far the output was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    /// The next event.
    event: u64,
    /// The length of the file.
    bytes: u64,
}

/// Events on their way to the output.
pub struct Outlet {
    cursor: Cursor,
    file: Option<PathBuf>,
    /// Lines that are in no batch yet that was handed over.
    open: Vec<u8>,
    open_events: u64,
    /// Lines by the ticket of their batch.
    sealed: VecDeque<(u64, Vec<u8>, u64)>,
    noted: Instant,
    is_noted: bool,
}

impl Outlet {
    /// Goes on where the store says that the output was written. A file is cut there. What the store has
    /// beyond is let out first.
    ///
    /// # Errors
    /// If the store or the file cannot be read.
    pub fn open(store: &Store, output: Option<&Path>) -> Result<Self> {
        let cursor: Option<Cursor> = match store.get(Map::Cursors, CURSOR)? {
            Some(bytes) => Some(postcard::from_bytes(&bytes).context("the cursor of the output is not understood")?),
            None => None,
        };
        let mut cursor = cursor.unwrap_or_default();
        if let Some(path) = output {
            cursor = cut(path, cursor)?;
        }
        let mut lines = Vec::new();
        let from = cursor.event.max(store.first(Sequence::Events));
        for record in store.read(Sequence::Events, from)? {
            lines.extend_from_slice(Entry::decode(record?.bytes())?.line);
        }
        let events = store.next(Sequence::Events) - from;
        let sealed = if lines.is_empty() { VecDeque::new() } else { VecDeque::from([(0, lines, events)]) };
        Ok(Self {
            cursor,
            file: output.map(Path::to_owned),
            open: Vec::new(),
            open_events: 0,
            sealed,
            noted: crate::clock::moment(),
            is_noted: true,
        })
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
    pub fn let_out(&mut self, committed: u64, output: &mut dyn Write, batch: &mut Batch) -> Result<()> {
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
        if self.file.is_none() || self.noted.elapsed() >= NOTE_EVERY { self.settle(batch) } else { Ok(()) }
    }

    /// Notes how far the output was written, once that would survive a loss of power.
    ///
    /// # Errors
    /// If that cannot be promised.
    pub fn settle(&mut self, batch: &mut Batch) -> Result<()> {
        if std::mem::replace(&mut self.is_noted, true) {
            return Ok(());
        }
        if let Some(path) = &self.file {
            let synced = File::open(path).and_then(|file| file.sync_data());
            synced.with_context(|| format!("{}: cannot be written", path.display()))?;
        }
        self.noted = crate::clock::moment();
        batch.put(Map::Cursors, CURSOR, postcard::to_allocvec(&self.cursor).expect("a cursor is plain data"));
        Ok(())
    }
}

/// Cuts a file where the store says that it was written. One that is shorter, or not there, is written from
/// its end on with what the store says comes next: somebody has taken it away.
fn cut(path: &Path, cursor: Cursor) -> Result<Cursor> {
    let failed = || format!("{}: cannot be written", path.display());
    let length = match std::fs::metadata(path) {
        Ok(meta) if !meta.is_file() => return Ok(cursor),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    if length > cursor.bytes {
        let file = File::options().write(true).open(path).with_context(failed)?;
        file.set_len(cursor.bytes).with_context(failed)?;
        return Ok(cursor);
    }
    Ok(Cursor { bytes: length, ..cursor })
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
        assert_eq!(cut(&path, cursor).unwrap(), cursor);
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\n");
        assert_eq!(cut(&folder.path().join("gone"), cursor).unwrap(), Cursor { event: 2, bytes: 0 });
    }
}
