//! The audit trail: who did what, when, of which digest and why, so that an edit shows.
//!
//! A file of JSON lines that only grows. Each record carries the hash of the one before it and, as
//! its last field, its own: SHA-256 of the line up to there. So a record that is changed, removed,
//! inserted or moved breaks the chain. Who may write the file can write all of it again from some
//! record on, or cut its end off: then the chain holds, but its head is another. The head is in the
//! status and printed by every verification; keep it elsewhere, and `--head` finds that too.

mod chain;
mod record;

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use chain::{Fault, FaultKind, Verified, verify};
pub use record::{Entry, Outcome, Record};

/// The longest record, in bytes. Texts in it are cut to fit.
pub const RECORD_BYTES_MAX: usize = 16 * 1024;

/// How much of the end of the file is verified when it is opened, in bytes, and how many of the newest
/// records are kept in memory.
const TAIL_BYTES: u64 = 1024 * 1024;
/// How many of the newest records are kept in memory.
pub const NEWEST_MAX: usize = 1000;

/// What the first record gives as the hash of the one before it.
pub const NO_RECORD: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The audit file, open for this process alone.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    size_bytes: u64,
    head: Head,
    newest: VecDeque<Entry>,
    /// Why nothing more is written.
    broken: Option<String>,
}

/// The end of the chain.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Head {
    /// How many records there are; the sequence of the last.
    pub records: u64,
    /// The hash of the last record.
    pub hash: String,
}

/// What was found when the file was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Bytes of a last record that a crash left unfinished. They were cut off, and a record says so:
    /// nothing that was answered is lost, since a record is on disk before the answer is sent.
    pub torn_bytes: u64,
}

/// What is wrong with an audit file.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// It cannot be opened, read or written.
    #[error("{}: the audit file cannot be {what}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `opened`, `read`, `written`.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
    /// Another process has it.
    #[error("{}: the audit file is in use by another process; two hosts need two files", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The chain does not hold.
    #[error(
        "{}:{}: the audit trail is broken: {fault}; look into it with `stillhouse audit verify`, then move \
         the file away to begin another", path.display(), fault.line
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// The first line that is wrong, and how.
        fault: Fault,
    },
    /// A record could not be written before, and none is since.
    #[error("{}: no audit record is written since one failed: {why}; start the host again when it is mended", path.display())]
    Stopped {
        /// The file.
        path: PathBuf,
        /// What happened then.
        why: String,
    },
}

impl Audit {
    /// Opens the file or makes it, and verifies its end. `now` is for the record that tells of a torn one.
    ///
    /// # Errors
    /// If the file cannot be used, another process has it, or the chain does not hold.
    pub fn open(path: &Path, now: Timestamp) -> Result<(Self, Opened), AuditError> {
        let failed = |what| move |error| AuditError::Io { path: path.to_owned(), what, error };
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(failed("opened"))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => AuditError::InUse { path: path.to_owned() },
            TryLockError::Error(error) => failed("locked")(error),
        })?;
        sync_folder(path).map_err(failed("opened"))?;
        let mut size_bytes = file.metadata().map_err(failed("read"))?.len();
        let tail = read_tail(&mut file, size_bytes).map_err(failed("read"))?;
        let torn_bytes = tail.len() - tail.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let whole = &tail[..tail.len() - torn_bytes];
        let checked = chain::verify_tail(whole, tail.len() as u64 == size_bytes);
        let (head, newest) = checked.map_err(|fault| {
            // The whole file is read once more only to say the line.
            let first =
                file.seek(SeekFrom::Start(0)).and_then(|_| verify(&mut io::BufReader::new(&file), None, &mut |_| {}));
            let fault = first.ok().and_then(|verified| verified.fault).unwrap_or(fault);
            AuditError::Broken { path: path.to_owned(), fault }
        })?;
        if torn_bytes > 0 {
            size_bytes -= torn_bytes as u64;
            file.set_len(size_bytes).and_then(|()| file.sync_all()).map_err(failed("written"))?;
        }
        let inner = Inner { file, size_bytes, head, newest, broken: None };
        let audit = Self { path: path.to_owned(), inner: Mutex::new(inner) };
        if torn_bytes > 0 {
            let why = format!("{torn_bytes} bytes of a last record that was never finished were cut off");
            audit.append(Record::of_host(now, "mend the audit trail", &why))?;
        }
        Ok((audit, Opened { torn_bytes: torn_bytes as u64 }))
    }

    /// Writes a record; it is on disk when this returns. Says its sequence. Blocks for the disk.
    ///
    /// # Errors
    /// If it cannot be written. When it is not known how much of it is on disk, nothing more is
    /// written until the file is opened again.
    pub fn append(&self, record: Record) -> Result<u64, AuditError> {
        let mut inner = self.lock();
        if let Some(why) = &inner.broken {
            return Err(AuditError::Stopped { path: self.path.clone(), why: why.clone() });
        }
        let (entry, line) = Entry::seal(record.fitted(), inner.head.records + 1, &inner.head.hash);
        let sequence = entry.sequence;
        if let Err(error) = inner.file.write_all(line.as_bytes()).and_then(|()| inner.file.sync_data()) {
            // What was written of it is taken back. After a sync that failed, what is on disk is
            // anybody's guess: trying again could succeed without the data.
            let _ = inner.file.set_len(inner.size_bytes);
            inner.broken = Some(error.to_string());
            return Err(AuditError::Io { path: self.path.clone(), what: "written", error });
        }
        inner.size_bytes += line.len() as u64;
        inner.head = Head { records: sequence, hash: entry.hash.clone() };
        inner.newest.push_back(entry);
        if inner.newest.len() > NEWEST_MAX {
            inner.newest.pop_front();
        }
        Ok(sequence)
    }

    /// The end of the chain.
    pub fn head(&self) -> Head {
        self.lock().head.clone()
    }

    /// The newest records, oldest first, at most [`NEWEST_MAX`]; the file has all.
    pub fn newest(&self, limit: usize) -> Vec<Entry> {
        let inner = self.lock();
        inner.newest.iter().skip(inner.newest.len().saturating_sub(limit)).cloned().collect()
    }

    /// Why nothing more is written, if that is so.
    pub fn broken(&self) -> Option<String> {
        self.lock().broken.clone()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic between two statements of `append` leaves at worst a record that is on disk and not
        // in memory; the next one then breaks the chain visibly.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last bytes of the file, from the beginning of a line on.
fn read_tail(file: &mut File, size_bytes: u64) -> io::Result<Vec<u8>> {
    let from = size_bytes.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(size_bytes - from).read_to_end(&mut tail)?;
    if from > 0 {
        let line = tail.iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        tail.drain(..line);
    }
    Ok(tail)
}

/// A new file is there after a power cut only if its folder was synced.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
