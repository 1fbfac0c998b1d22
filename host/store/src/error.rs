//! Why a store cannot be opened, read or written, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::{BatchError, FORMAT, Map, Sequence};

/// Why a store cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no file.
    #[error("there is no store at {}; check the path, or run with it once, which makes one", path.display())]
    Missing {
        /// Where one was looked for.
        path: PathBuf,
    },
    /// Another process has it open, or the same one a second time.
    #[error("the store {} is in use by another process; stop that first, or use a copy of the file", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file holds something else.
    #[error("{} is no store: {what}; name another file, or move this one away so that a store can be made", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: String,
    },
    /// It was written in another format.
    #[error("the store {} has format {came}, and this version reads format {FORMAT}; {}", path.display(), newer(*came))]
    Format {
        /// The file.
        path: PathBuf,
        /// The format that it has.
        came: u64,
    },
    /// There is no room.
    #[error("no room to write the store {}: {source}; make room on that disk, or keep less", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It may not be written.
    #[error(
        "the store {} cannot be written: {source}; \
         give this user the right to write it, or mount its disk for writing",
        path.display()
    )]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It could not be read or written for another reason.
    #[error("the store {} cannot be {doing}: {source}; {}", path.display(), remedy(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried: `opened`, `read`, `written`.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot be compacted while it is read.
    #[error("the store {} is still being read; end that, then try again", path.display())]
    BeingRead {
        /// The file.
        path: PathBuf,
    },
    /// An earlier error closed the database under a reader.
    #[error("the store {} was opened anew after an error; read again", path.display())]
    Reopened {
        /// The file.
        path: PathBuf,
    },
    /// A block of a sequence is damaged. The others can still be read.
    #[error(
        "the store {} is damaged: {what} at position {position} of the {}; what follows from {next} on can be read",
        path.display(), sequence.name()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not check.
        what: String,
        /// Whose block.
        sequence: Sequence,
        /// The first position that cannot be read.
        position: u64,
        /// Where the next block begins.
        next: u64,
    },
    /// A value of a map is damaged. The others can still be read.
    #[error("the store {} is damaged: the value of {} in {} {what}", path.display(), key.escape_ascii(), map.name())]
    DamagedValue {
        /// The file.
        path: PathBuf,
        /// Whose value.
        map: Map,
        /// Its key.
        key: Vec<u8>,
        /// What does not check.
        what: String,
    },
    /// The database itself is damaged.
    #[error(
        "the store {} is damaged: {what}; `stillhouse store check` tells what can still be read", path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// What does not check.
        what: String,
    },
    /// What is asked for was removed by retention.
    #[error("position {position} of the {} is no longer kept; the oldest is {first}", sequence.name())]
    Trimmed {
        /// The sequence.
        sequence: Sequence,
        /// What was asked for.
        position: u64,
        /// The oldest that is kept.
        first: u64,
    },
    /// The batch cannot be written, now or later.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

fn newer(came: u64) -> &'static str {
    if came > FORMAT { "use a newer version of the program" } else { "use the version that wrote it to export it" }
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => "give this user the right to read it",
        _ => "look at that disk and what the system logs of it",
    }
}

impl StoreError {
    /// What an error of the storage means for the store at `path`.
    pub(crate) fn from_io(path: &Path, doing: &'static str, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { path },
            io::ErrorKind::ResourceBusy => Self::InUse { path },
            io::ErrorKind::IsADirectory => Self::NotAStore { path, what: "it is a folder".to_owned() },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full { path, source }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem if doing != "read" => {
                Self::ReadOnly { path, source }
            }
            _ => Self::Io { path, doing, source },
        }
    }

    /// What an error of the database means for the store at `path`.
    pub(crate) fn from_redb(path: &Path, doing: &'static str, error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::Io(source) => Self::from_io(path, doing, source),
            redb::Error::DatabaseAlreadyOpen => Self::InUse { path: path.to_owned() },
            redb::Error::TransactionInProgress => Self::BeingRead { path: path.to_owned() },
            redb::Error::PreviousIo | redb::Error::DatabaseClosed => Self::Reopened { path: path.to_owned() },
            redb::Error::Corrupted(what) => Self::Broken { path: path.to_owned(), what },
            other => Self::Broken { path: path.to_owned(), what: other.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_the_system_says_what_to_do() {
        let text = |doing, kind: io::ErrorKind| {
            StoreError::from_io(Path::new("/data/store"), doing, io::Error::new(kind, "WHY")).to_string()
        };
        for (doing, kind, words) in [
            ("opened", io::ErrorKind::PermissionDenied, "the store /data/store cannot be written: WHY; give this user"),
            (
                "written",
                io::ErrorKind::ReadOnlyFilesystem,
                "cannot be written: WHY; give this user the right to write it",
            ),
            ("read", io::ErrorKind::PermissionDenied, "cannot be read: WHY; give this user the right to read it"),
            (
                "written",
                io::ErrorKind::StorageFull,
                "no room to write the store /data/store: WHY; make room on that disk",
            ),
            ("written", io::ErrorKind::QuotaExceeded, "no room to write"),
            ("written", io::ErrorKind::Other, "cannot be written: WHY; look at that disk"),
            ("opened", io::ErrorKind::NotFound, "there is no store at /data/store; check the path"),
            ("opened", io::ErrorKind::ResourceBusy, "the store /data/store is in use by another process; stop that"),
            ("opened", io::ErrorKind::IsADirectory, "/data/store is no store: it is a folder; name another file"),
        ] {
            assert!(text(doing, kind).contains(words), "{}", text(doing, kind));
        }
    }
}
