//! Reads inputs: files, `.gz` as it is, standard input, and files that grow.
//!
//! Each input is read by a task of its own, which hands whole records on through a bounded channel:
//! a slow core slows the readers down.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use notify::Watcher;
use serde::{Deserialize, Serialize};
use stillhouse_core::table::Table;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use xxhash_rust::xxh3::xxh3_64;

use crate::decode::framing::{CHUNK_BYTES, Chunk, Framer, Framing, Place};

/// How many chunks of an input wait at most.
const CHUNKS_WAITING_MAX: usize = 16;

/// How often a file that grows is looked at even if nobody says that it has grown.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Where signals come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

impl Input {
    /// `-` is standard input.
    pub fn of(argument: &str) -> Self {
        if argument == "-" { Self::Stdin } else { Self::File(argument.into()) }
    }

    /// The name that configurations match and events show: of a file, the part after the last `/`.
    pub fn name(&self) -> String {
        match self {
            Self::Stdin => "-".into(),
            Self::File(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }

    /// The path as it was given.
    pub fn path(&self) -> String {
        match self {
            Self::Stdin => "-".into(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// Its size in bytes, if it is known.
    pub fn size_bytes(&self) -> Option<u64> {
        match self {
            Self::Stdin => None,
            Self::File(path) => std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|meta| meta.len()),
        }
    }

    /// Whether it is a file that can be followed, and so is told of when it was read to its end.
    pub fn is_regular(&self) -> bool {
        matches!(self, Self::File(path) if std::fs::metadata(path).is_ok_and(|meta| meta.is_file()))
    }

    fn is_gzip(&self) -> bool {
        matches!(self, Self::File(path) if path.extension().is_some_and(|extension| extension == "gz"))
    }
}

/// How much of the beginning of a file tells it from another.
const HEAD_BYTES: usize = 1024;

/// The beginning of a file, by which it is known again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    bytes: u32,
    hash: u64,
}

impl Head {
    fn of(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(HEAD_BYTES)];
        Self { bytes: bytes.len() as u32, hash: xxh3_64(bytes) }
    }

    /// Whether a file begins with it. It is read from its beginning, and left where it was.
    fn begins(self, file: &File) -> io::Result<bool> {
        let mut head = Vec::new();
        let mut file = file;
        io::Seek::rewind(&mut file)?;
        file.take(u64::from(self.bytes)).read_to_end(&mut head)?;
        io::Seek::rewind(&mut file)?;
        Ok(Self::of(&head) == self)
    }
}

/// Where an input is to be read on that can be asked again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// How far it was read.
    pub place: Place,
    /// Of which file.
    pub head: Head,
}

/// What a reader hands on.
#[derive(Debug)]
pub enum Piece {
    /// What an input begins with, before its first records.
    Began(usize, Head),
    /// Whole records of an input.
    Chunk(usize, Chunk),
    /// An input has ended; broken off if there is a reason.
    Ended(usize, Option<String>),
    /// Wall-clock time, in microseconds since 1970.
    Tick(i64),
    /// Something is committed.
    Commit,
    /// So many records of an input were let go.
    Shed(usize, u64),
    /// Signals that were posted.
    Posted(Box<crate::intake::Posted>),
    /// A new version of a table.
    Table(Arc<Table>),
    /// A new version of a table that cannot be used, and why.
    TableRefused(String),
    /// A file that is followed was read to its end for the first time.
    CaughtUp(usize),
    /// A new version of a snapshot.
    Snapshot(Box<crate::snapshots::Snapshot>),
    /// A new version of a snapshot that cannot be used, and why.
    SnapshotRefused(String),
    /// Something is wanted of the versions of rules.
    Rules(Box<crate::rollouts::Ask>),
    /// The user wants to stop.
    Stop,
}

/// How inputs are read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Files are read on when they grow.
    pub follow: bool,
    /// Bytes read so far, of files as they lie on disk.
    pub read_bytes: Arc<AtomicU64>,
    /// How far it was read in another run.
    pub from: Option<Position>,
    /// When its signals are let go rather than waited with; without it, never.
    pub shed: Option<Shed>,
}

/// How early the signals of an input that is followed are let go while the host is behind: the lower its
/// priority, the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shed {
    /// Once half of the room for what waits is taken.
    Low,
    /// Once three quarters are.
    Medium,
    /// Once all of it is.
    High,
}

impl Shed {
    /// Whether signals are let go when so much of the room is free.
    fn sheds(self, free: usize, room: usize) -> bool {
        match self {
            Self::Low => free * 2 <= room,
            Self::Medium => free * 4 <= room,
            Self::High => free == 0,
        }
    }
}

/// Opens an input and reads it on a thread of the runtime. `None` as `to` makes a channel of its own.
///
/// # Errors
/// If it cannot be opened, or cannot be followed.
pub fn open(
    index: usize,
    input: &Input,
    framing: Framing,
    reading: &Reading,
    runtime: &tokio::runtime::Handle,
    to: Option<Sender<Piece>>,
) -> io::Result<Option<Receiver<Piece>>> {
    let (to, from) = match to {
        Some(to) => (to, None),
        None => {
            let (to, from) = channel(CHUNKS_WAITING_MAX);
            (to, Some(from))
        }
    };
    if reading.follow && input.is_gzip() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a .gz file cannot be followed; leave --follow out"));
    }
    let counted = Arc::clone(&reading.read_bytes);
    let source: Box<dyn Read + Send> = match input {
        Input::Stdin => Box::new(io::stdin()),
        Input::File(path) => {
            let file = File::open(path)?;
            if file.metadata()?.is_dir() {
                return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a folder, expected a file"));
            }
            if !file.metadata()?.is_file() {
                // A named pipe is read as standard input is.
                let source = Counting { file, counted };
                runtime.spawn_blocking(move || read(index, source, framing, true, &to));
                return Ok(from);
            }
            if reading.follow {
                let (path, at, shed) = (path.clone(), reading.from, reading.shed);
                let to = Behind { to, shed, let_go: 0 };
                runtime.spawn_blocking(move || follow(index, &path, file, framing, at, &counted, to));
                return Ok(from);
            }
            let file = Counting { file, counted };
            if input.is_gzip() { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) }
        }
    };
    let eager = *input == Input::Stdin;
    let at = reading.from.filter(|_| !eager);
    runtime.spawn_blocking(move || match at {
        Some(at) => read_on(index, source, framing, at, &to),
        None => read(index, source, framing, eager, &to),
    });
    Ok(from)
}

/// Reads on where another run has been, if it is the same file.
fn read_on(index: usize, mut source: Box<dyn Read + Send>, framing: Framing, at: Position, to: &Sender<Piece>) {
    let mut head = Vec::new();
    let looked = source.by_ref().take(u64::from(at.head.bytes)).read_to_end(&mut head);
    let is_same = looked.is_ok() && Head::of(&head) == at.head;
    let mut source = io::Read::chain(io::Cursor::new(head), source);
    if !is_same {
        tracing::warn!(index, "the input is another one than was read before: it is read from its beginning");
        return read(index, source, framing, false, to);
    }
    let (framer, from) = Framer::resume(framing, at.place);
    // What cannot be sought is read and let go.
    match io::copy(&mut source.by_ref().take(from), &mut io::sink()) {
        Ok(_) => read_with(index, source, framer, false, false, to),
        Err(error) => drop(to.blocking_send(Piece::Ended(index, Some(format!("the input broke off: {error}"))))),
    }
}

/// Sends wall-clock time every second, and the wish to stop.
pub async fn tell_time(to: Sender<Piece>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let mut ended = std::pin::pin!(wait_for_the_end());
    loop {
        let piece = tokio::select! {
            _ = ticks.tick() => Piece::Tick(crate::clock::now_us()),
            () = &mut ended => Piece::Stop,
        };
        let stop = matches!(piece, Piece::Stop);
        if to.send(piece).await.is_err() || stop {
            return;
        }
    }
}

/// Returns when the user or the system asks the program to stop.
async fn wait_for_the_end() {
    #[cfg(unix)]
    if let Ok(mut terminated) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        }
        return;
    }
    // Where neither can be waited for, the program ends as any other does.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

struct Counting {
    file: File,
    counted: Arc<AtomicU64>,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.counted.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

/// Reads to the end. An `eager` reader hands on what it has whenever no more is there at once.
fn read(index: usize, source: impl Read, framing: Framing, eager: bool, to: &Sender<Piece>) {
    read_with(index, source, Framer::new(framing), true, eager, to);
}

/// Reads to the end. Of an input that `begins` it is told first what it begins with.
fn read_with(
    index: usize,
    mut source: impl Read,
    mut framer: Framer,
    mut begins: bool,
    eager: bool,
    to: &Sender<Piece>,
) {
    let broken = loop {
        match fill(&mut source, framer.buffer()) {
            Ok(0) => break None,
            Ok(length) => {
                if std::mem::take(&mut begins)
                    && to.blocking_send(Piece::Began(index, Head::of(framer.buffer()))).is_err()
                {
                    return;
                }
                let all = eager && length < CHUNK_BYTES;
                if let Some(chunk) = framer.chunk(all, false)
                    && to.blocking_send(Piece::Chunk(index, chunk)).is_err()
                {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Some(format!("the input broke off: {error}")),
        }
    };
    if let Some(reason) = &broken {
        framer.break_off(reason.clone());
    }
    if let Some(chunk) = framer.chunk(true, true)
        && to.blocking_send(Piece::Chunk(index, chunk)).is_err()
    {
        return;
    }
    // Nobody listens any more if this fails, and then nothing is lost either.
    let _ = to.blocking_send(Piece::Ended(index, broken));
}

/// Reads once, as much as is there but no more than a chunk.
fn fill(source: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let before = buffer.len();
    buffer.resize(before + CHUNK_BYTES, 0);
    let read = source.read(&mut buffer[before..]);
    buffer.truncate(before + read.as_ref().copied().unwrap_or(0));
    read
}

/// Where the chunks of a file that grows go; it may let some go.
struct Behind {
    to: Sender<Piece>,
    shed: Option<Shed>,
    let_go: u64,
}

impl Behind {
    /// Hands a chunk on, or lets it go while the host is behind. Tells whether anybody listens.
    fn chunk(&mut self, index: usize, chunk: Chunk) -> bool {
        let (free, room) = (self.to.capacity(), self.to.max_capacity());
        if self.shed.is_some_and(|shed| shed.sheds(free, room)) {
            self.let_go += chunk.next.record.saturating_sub(chunk.first);
            return !self.to.is_closed();
        }
        let let_go = std::mem::take(&mut self.let_go);
        let told = let_go == 0 || self.to.blocking_send(Piece::Shed(index, let_go)).is_ok();
        told && self.to.blocking_send(Piece::Chunk(index, chunk)).is_ok()
    }
}

/// Reads a file and goes on when it grows. A file that was cut or replaced is read from its start.
fn follow(
    index: usize,
    path: &Path,
    mut file: File,
    framing: Framing,
    from: Option<Position>,
    counted: &AtomicU64,
    mut to: Behind,
) {
    let (changed, changes) = std::sync::mpsc::channel();
    // Without notifications the file is looked at again and again, which only is slower.
    let mut watcher = notify::recommended_watcher(move |event| drop(changed.send(event))).ok();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Some(Err(error)) = watcher.as_mut().map(|watcher| watcher.watch(folder, notify::RecursiveMode::NonRecursive))
    {
        tracing::warn!(folder = %folder.display(), %error, "no notifications: the file is looked at twice a second");
    }
    let mut framer = Framer::new(framing);
    let mut at = 0_u64;
    if let Some(from) = from {
        let (resumed, offset) = Framer::resume(framing, from.place);
        let length = file.metadata().map_or(0, |meta| meta.len());
        framer = resumed;
        if from.head.begins(&file).unwrap_or(false) && length >= offset {
            at = offset;
            // Where it cannot be sought, the next read says why.
            let _ = io::Seek::seek(&mut file, io::SeekFrom::Start(offset));
        } else {
            framer.begin_again(framing);
        }
    }
    let mut is_new = from.is_none() || at == 0;
    let mut is_behind = true;
    loop {
        match fill(&mut file, framer.buffer()) {
            Ok(0) => {
                let caught_up = std::mem::take(&mut is_behind);
                if to.to.is_closed() || caught_up && to.to.blocking_send(Piece::CaughtUp(index)).is_err() {
                    return;
                }
                // Either somebody says that something changed, or it is time to look.
                let _ = changes.recv_timeout(LOOK_AGAIN);
                if let Some(opened) = replaced(path, &file, at) {
                    file = opened;
                    at = 0;
                    // What was not ended is a record all the same.
                    if let Some(chunk) = framer.chunk(true, true)
                        && !to.chunk(index, chunk)
                    {
                        return;
                    }
                    framer.begin_again(framing);
                    is_new = true;
                }
            }
            Ok(length) => {
                at += length as u64;
                counted.fetch_add(length as u64, Ordering::Relaxed);
                if std::mem::take(&mut is_new) {
                    let head = Head::of(framer.buffer());
                    if to.to.blocking_send(Piece::Began(index, head)).is_err() {
                        return;
                    }
                }
                if let Some(chunk) = framer.chunk(length < CHUNK_BYTES, false)
                    && !to.chunk(index, chunk)
                {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let _ = to.to.blocking_send(Piece::Ended(index, Some(format!("the input broke off: {error}"))));
                return;
            }
        }
    }
}

/// The file that is at `path` now, if it is another one or shorter than what was read of it.
fn replaced(path: &Path, file: &File, at: u64) -> Option<File> {
    let there = std::fs::metadata(path).ok()?;
    let same = file.metadata().ok().is_some_and(|open| is_same(&open, &there));
    if same && there.len() >= at { None } else { File::open(path).ok() }
}

#[cfg(unix)]
fn is_same(a: &std::fs::Metadata, b: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn is_same(_: &std::fs::Metadata, _: &std::fs::Metadata) -> bool {
    true
}
