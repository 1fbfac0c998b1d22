//! Events as lines of a file, each exactly once, whatever is killed when.
//!
//! After each batch the file is on disk and the sink says how long it is. That [`Mark`] is committed
//! together with the cursor; what is in the file beyond it belongs to events that are not settled, is
//! cut off at the next start, and is written again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{Ended, Event, Load, Sender, Sent, line_fault, lines};
use crate::delivery::Outcome;

/// So many bytes before the end are looked at to know a file again.
const TAIL_BYTES: u64 = 4096;

/// How far a file is written: what a restart goes on from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Its length.
    pub length_bytes: u64,
    /// CRC-32 of its last 4,096 bytes, or of all where there are less: another file in its place is not cut.
    pub tail_crc: u32,
}

/// Appends to one file, which is locked meanwhile.
pub struct FileSender {
    first: Mark,
    batch_max: usize,
    state: Arc<Mutex<State>>,
}

struct State {
    path: PathBuf,
    file: File,
    mark: Mark,
    /// A batch was begun: there may be more in the file than the mark says.
    begun: bool,
}

impl FileSender {
    /// Opens the file: at `mark`, cutting off what is beyond it; or, where there is none, at the end of
    /// what is there.
    ///
    /// # Errors
    /// If it cannot be opened, another process writes it, or it is not the file that `mark` tells of; says
    /// what to do.
    pub fn open(path: &Path, mark: Option<Mark>, batch_max: usize) -> Result<Self, String> {
        let refused = |message: String| format!("{}: {message}", path.display());
        let is_new = !path.exists();
        if let (true, Some(Mark { length_bytes: 1.., .. })) = (is_new, mark) {
            return Err(refused(format!("{}; put it back, or give the sink another name", Fault::Moved)));
        }
        if !is_new && !path.is_file() {
            return Err(refused("is no regular file, and cannot be cut after a crash".into()));
        }
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = opened.map_err(|error| refused(error.to_string()))?;
        file.try_lock().map_err(|_| refused("another process writes it; two sinks need two files".into()))?;
        if is_new {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| refused(error.to_string()))?;
        }
        let mark = resumed(&file, mark).map_err(|error| refused(format!("{error}; name another file, or mend it")))?;
        let state = State { path: path.to_owned(), file, mark, begun: false };
        Ok(Self { first: mark, batch_max, state: Arc::new(Mutex::new(state)) })
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("it was moved or removed while events were written to it")]
    Moved,
    #[error("it has {is} bytes, and {was} were written: somebody shortened it")]
    Shortened { is: u64, was: u64 },
    #[error("it has {is} bytes, and {was} were written: somebody else writes to it")]
    Longer { is: u64, was: u64 },
    #[error("its bytes before {0} are not those that were written: another file, or an edited one")]
    Another(u64),
    #[error("its last line has no end")]
    NoLineBreak,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Cuts off what is beyond the mark, if the file is the one that it tells of.
fn resumed(file: &File, mark: Option<Mark>) -> Result<Mark, Fault> {
    let is = file.metadata()?.len();
    let Some(mark) = mark else {
        let mut last = [b'\n'];
        if is > 0 {
            file.read_exact_at(&mut last, is - 1)?;
        }
        return if last == [b'\n'] { Ok(mark_at(file, is)?) } else { Err(Fault::NoLineBreak) };
    };
    let was = mark.length_bytes;
    if is < was {
        return Err(Fault::Shortened { is, was });
    }
    if mark_at(file, was)? != mark {
        return Err(Fault::Another(was));
    }
    if is > was {
        file.set_len(was)?;
        file.sync_all()?;
    }
    Ok(mark)
}

fn mark_at(file: &File, length_bytes: u64) -> io::Result<Mark> {
    let tail = length_bytes.min(TAIL_BYTES);
    let mut bytes = vec![0; tail as usize];
    file.read_exact_at(&mut bytes, length_bytes - tail)?;
    Ok(Mark { length_bytes, tail_crc: crc32fast::hash(&bytes) })
}

impl State {
    /// Whether the file is still what it was after the last batch.
    fn check(&mut self) -> Result<(), Fault> {
        let own = self.file.metadata()?;
        let there = std::fs::metadata(&self.path).map_err(|_| Fault::Moved)?;
        if (own.dev(), own.ino()) != (there.dev(), there.ino()) {
            return Err(Fault::Moved);
        }
        let (is, was) = (own.len(), self.mark.length_bytes);
        match is.cmp(&was) {
            std::cmp::Ordering::Less => Err(Fault::Shortened { is, was }),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater if self.begun => Ok(self.file.set_len(was)?),
            std::cmp::Ordering::Greater => Err(Fault::Longer { is, was }),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<Mark> {
        self.begun = true;
        let mut at_end = At { file: &self.file, offset: self.mark.length_bytes };
        let written = at_end.write_all(bytes).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // A full disk is given back what the half batch took; if not now, then before the next one.
            self.file.set_len(self.mark.length_bytes).ok();
            return Err(error);
        }
        mark_at(&self.file, self.mark.length_bytes + bytes.len() as u64)
    }
}

/// Writes from an offset on.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Write for At<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write_at(bytes, self.offset)?;
        self.offset += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sender for FileSender {
    fn load(&self) -> Load {
        Load { batch_max: self.batch_max, calls_max: 1, timed: false }
    }

    fn mark(&self) -> Option<Mark> {
        Some(self.first)
    }

    async fn send(&self, batch: Vec<Arc<Event>>) -> Result<Sent, Ended> {
        let mut state: OwnedMutexGuard<State> = self.state.clone().lock_owned().await;
        let faults: Vec<_> = batch.iter().map(|event| line_fault(event)).collect();
        let whole = batch.iter().zip(&faults).filter(|(_, fault)| fault.is_none()).map(|(event, _)| event);
        let bytes = lines(whole);
        let written = tokio::task::spawn_blocking(move || {
            let written = match state.check() {
                Err(Fault::Io(error)) => Ok(Err(error)),
                Err(fault) => Err(Ended::Broken(format!(
                    "{}: {fault}; stop, put it back as it was, and start again",
                    state.path.display()
                ))),
                Ok(()) => Ok(state.append(&bytes)),
            };
            (state, written)
        });
        let (mut state, written) = written.await.map_err(|error| Ended::Broken(format!("writing a file: {error}")))?;
        let outcome = match written? {
            Ok(mark) => {
                // Not before this: a call that is dropped has not been heard.
                (state.mark, state.begun) = (mark, false);
                Outcome::Accepted
            }
            Err(error) => Outcome::Failed(format!("{}: {error}", state.path.display())),
        };
        let outcomes = faults.into_iter().map(|fault| fault.unwrap_or_else(|| outcome.clone())).collect();
        Ok(Sent { outcomes, mark: Some(state.mark) })
    }
}
