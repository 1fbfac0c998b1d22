//! One look at a file: what tells that it has changed, and its bytes if nobody changes them meanwhile.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read, Seek};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// A signature is far shorter, in bytes.
const SIGNATURE_BYTES_MAX: usize = 16 << 10;
/// How much is compared at a time, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// What differs when a file is another or was written: device, inode, mode, size, and the times of the
/// last write and the last change, the latter of which nobody can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp([i128; 6]);

/// What was found when a file was read.
#[derive(Debug)]
pub enum Contents {
    Bytes(Vec<u8>),
    /// It was changed while it was read.
    Moving,
    /// It cannot be used, and why.
    Unfit(String),
}

impl Stamp {
    fn of(facts: &Metadata) -> Self {
        let time = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self([
            facts.dev().into(),
            facts.ino().into(),
            facts.mode().into(),
            facts.len().into(),
            time(facts.mtime(), facts.mtime_nsec()),
            time(facts.ctime(), facts.ctime_nsec()),
        ])
    }

    /// Of what `path` leads to; `None` where that is nothing that can be seen.
    pub fn at(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|facts| Self::of(&facts))
    }
}

/// Reads at most `bytes_max` bytes, twice: where clocks are coarse, only the bytes themselves tell
/// that somebody wrote in between. Neither a pipe nor a device is waited for.
pub fn read(path: &Path, bytes_max: usize) -> Contents {
    match try_read(path, bytes_max) {
        Ok(contents) => contents,
        Err(error) if error.kind() == ErrorKind::NotFound && path.is_symlink() => {
            Contents::Unfit("it is a link to what is not there".to_owned())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Contents::Moving,
        Err(error) => Contents::Unfit(format!("it cannot be read: {error}")),
    }
}

fn try_read(path: &Path, bytes_max: usize) -> std::io::Result<Contents> {
    let unfit = |why: String| Ok(Contents::Unfit(why));
    // Asked by name first: to open a device may do something, and a socket cannot be opened.
    let facts = std::fs::metadata(path)?;
    if !facts.is_file() {
        return unfit(format!("it is {}, not a file", kind(&facts)));
    }
    let mut file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Ok(Contents::Moving);
    }
    if facts.len() > bytes_max as u64 {
        return unfit(format!("it has {} bytes, and {bytes_max} are allowed", facts.len()));
    }
    let mut bytes = Vec::with_capacity(facts.len() as usize + 1);
    (&mut file).take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    file.rewind()?;
    let same = bytes.len() as u64 == facts.len() && is_still(&file, &bytes)?;
    let stamp = Stamp::of(&facts);
    Ok(if same && Stamp::of(&file.metadata()?) == stamp && Stamp::at(path) == Some(stamp) {
        Contents::Bytes(bytes)
    } else {
        Contents::Moving
    })
}

fn is_still(mut file: &File, bytes: &[u8]) -> std::io::Result<bool> {
    let mut piece = vec![0; PIECE_BYTES.min(bytes.len() + 1)];
    let mut rest = bytes;
    loop {
        let n = file.read(&mut piece)?;
        if n == 0 {
            return Ok(rest.is_empty());
        }
        match rest.strip_prefix(&piece[..n]) {
            Some(after) => rest = after,
            None => return Ok(false),
        }
    }
}

fn kind(facts: &Metadata) -> &'static str {
    let kind = facts.file_type();
    match () {
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }
}

/// The signature beside a rule, without what surrounds it; `Ok(None)` where there is none.
pub fn signature(path: &Path) -> Result<Option<String>, Contents> {
    if std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return Ok(None);
    }
    let unfit = |why: &str| Err(Contents::Unfit(format!("its signature {}: {why}", path.display())));
    match read(path, SIGNATURE_BYTES_MAX) {
        Contents::Bytes(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(_) => unfit("it is not text"),
        },
        Contents::Moving => Err(Contents::Moving),
        Contents::Unfit(why) => unfit(&why),
    }
}
