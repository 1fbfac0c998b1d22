//! The watched folder of rules: whatever is done to it, each version that is told was whole, the last
//! one is right, and nothing that is not done yet is called an error.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use stillhouse::config::hex;
use stillhouse::rules::watch::{Change, Watching, watch};

use crate::cli::PATIENCE;
use crate::watching_ways::{WAYS, Way, file, pause, plain, version};

/// How long nothing more must be told for a sequence to be all: longer than a file is waited for.
const SILENCE: Duration = Duration::from_millis(2_600);

/// A folder that is being watched.
struct Watch {
    changes: Receiver<Change>,
    listened: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    fn start(folder: &Path, how: Watching, known: BTreeMap<String, String>) -> Self {
        let (to, changes) = channel();
        let listened = Arc::new(AtomicBool::new(true));
        let (folder, listens) = (folder.to_owned(), Arc::clone(&listened));
        let run = move || {
            watch(&folder, known, &how, || listens.load(Ordering::Acquire), |change| to.send(change).is_ok());
        };
        Self { changes, listened, thread: Some(std::thread::spawn(run)) }
    }

    fn of(folder: &Path) -> Self {
        Self::start(folder, Watching::default(), BTreeMap::new())
    }

    /// The next change; panics where none comes.
    fn next(&self) -> Change {
        self.changes.recv_timeout(PATIENCE).expect("something is told")
    }

    /// What is told up to `last` and in the silence after it.
    fn until(&self, last: impl Fn(&Change) -> bool) -> Vec<Change> {
        let mut told = Vec::new();
        while !told.last().is_some_and(&last) {
            let waited = self.changes.recv_timeout(PATIENCE);
            told.push(waited.unwrap_or_else(|_| panic!("the last version is not told, but {}", shown(&told))));
        }
        self.silence(&mut told);
        told
    }

    fn silence(&self, told: &mut Vec<Change>) {
        while let Ok(change) = self.changes.recv_timeout(SILENCE) {
            told.push(change);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.listened.store(false, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the watcher does not panic");
        }
    }
}

/// Changes as a test compares them: the version, or what was said.
fn shown(changes: &[Change]) -> String {
    let one = |change: &Change| match change {
        Change::Found { name, digest, bytes, .. } => {
            assert_eq!(*digest, hex(&Sha256::digest(bytes)), "the digest is that of the bytes");
            let at = bytes.windows(8).position(|window| window == b"version ");
            let number = at.map_or("?".into(), |at| String::from_utf8_lossy(&bytes[at + 8..at + 16]));
            let number = number.trim_start_matches('0');
            let number = if number.is_empty() { "0" } else { number };
            let whole = number.parse().is_ok_and(|n| **bytes == *version(n));
            format!("{name} {}", if whole { number } else { "that nobody wrote" })
        }
        Change::Gone { name, .. } => format!("{name} gone"),
        Change::Refused { name, why, .. } => format!("{name} refused: {why}"),
    };
    changes.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Does it one way; says what was told if that is wrong.
fn try_way(way: &Way, notifications: bool) -> Result<(), String> {
    let root = tempfile::tempdir().unwrap();
    let folder = (way.before)(root.path());
    let there = folder.join("a.wasm").exists();
    let watch = Watch::start(&folder, Watching { notifications, ..Watching::default() }, BTreeMap::new());
    let mut told = Vec::new();
    if there {
        told.push(watch.next());
    }
    (way.write)(root.path());
    watch.silence(&mut told);
    let shown = shown(&told);
    let how = if notifications { "told of changes" } else { "looking now and then" };
    if shown == way.told {
        Ok(())
    } else {
        Err(format!("{}, {how}: expected `{}`, told `{shown}`", way.name, way.told))
    }
}

#[test]
fn a_file_may_be_written_in_any_way() {
    assert!(WAYS.len() >= 20);
    let all = WAYS.iter().flat_map(|way| [(way, true), (way, false)]).filter(|(way, told)| *told || way.polled);
    // They wait more than they work.
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let tried: Vec<_> = all.map(|(way, told)| scope.spawn(move || try_way(way, told))).collect();
        tried.into_iter().filter_map(|one| one.join().expect("it can be written so").err()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn of_a_thousand_writes_the_last_is_told() {
    for notifications in [true, false] {
        let root = tempfile::tempdir().unwrap();
        let folder = plain(root.path());
        let watch = Watch::start(&folder, Watching { notifications, ..Watching::default() }, BTreeMap::new());
        assert_eq!(shown(&[watch.next()]), "a 0");
        for n in 1..=1_000 {
            fs::write(file(root.path()), version(n)).unwrap();
        }
        let last = hex(&Sha256::digest(version(1_000)));
        let told = watch.until(|change| matches!(change, Change::Found { digest, .. } if *digest == last));
        let told = shown(&told);
        assert!(told.ends_with("a 1000"), "{told}");
        assert!(!told.contains("nobody") && !told.contains("refused") && !told.contains("gone"), "{told}");
    }
}

#[test]
fn what_is_gone_is_told_once() {
    let root = tempfile::tempdir().unwrap();
    let folder = plain(root.path());
    fs::write(folder.join("b.wasm"), version(2)).unwrap();
    // What the listener has is not told again, and what has gone meanwhile is.
    let known = [("a", 0), ("c", 3)].map(|(name, n)| (name.to_owned(), hex(&Sha256::digest(version(n)))));
    let watch = Watch::start(&folder, Watching::default(), known.into());
    assert_eq!(shown(&[watch.next(), watch.next()]), "b 2, c gone");
    fs::remove_file(file(root.path())).unwrap();
    assert_eq!(shown(&[watch.next()]), "a gone");
    // The same version again is news.
    fs::write(file(root.path()), version(0)).unwrap();
    assert_eq!(shown(&[watch.next()]), "a 0");
    fs::remove_dir_all(&folder).unwrap();
    let mut told = vec![watch.next(), watch.next()];
    watch.silence(&mut told);
    assert_eq!(shown(&told), "a gone, b gone");
}

#[test]
fn what_cannot_be_a_rule_is_refused_after_a_while() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("rules");
    fs::create_dir(&folder).unwrap();
    let at = |name: &str| folder.join(format!("{name}.wasm"));
    fs::write(at("cut"), &version(1)[..1_000]).unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::create_dir(at("folder")).unwrap();
    let large = File::create(at("large")).unwrap();
    large.set_len(1 << 40).unwrap();
    symlink("nowhere", at("link")).unwrap();
    symlink("loop.wasm", at("loop")).unwrap();
    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    fs::write(at("text"), "hello").unwrap();
    for ignored in [".hidden.wasm", "rule.wat", "wasm", ".wasm", "a.wasm~"] {
        fs::write(folder.join(ignored), "hello").unwrap();
    }
    let started = Instant::now();
    let watch = Watch::of(&folder);
    let told: Vec<Change> = (0..8).map(|_| watch.next()).collect();
    assert!(started.elapsed() >= Watching::default().refused_after, "{:?}", started.elapsed());
    let mut told: Vec<String> = told.iter().map(|change| shown(std::slice::from_ref(change))).collect();
    told.sort();
    let expected = [
        "cut refused: it is cut short, or still being written",
        "empty refused: it is empty",
        "folder refused: it is a folder, not a file",
        "large refused: it has 1099511627776 bytes, and 33554432 are allowed",
        "link refused: it is a link to what is not there",
        "loop refused: it cannot be read: Too many levels of symbolic links (os error 40)",
        "pipe refused: it is a pipe, not a file",
        "text refused: it is not WebAssembly: it does not begin with the bytes `\\0asm`",
    ];
    assert_eq!(told, expected);
    // Said once, however often it is touched; and what becomes a rule is told.
    fs::write(at("text"), "hello").unwrap();
    fs::write(at("cut"), version(1)).unwrap();
    let mut told = Vec::new();
    watch.silence(&mut told);
    assert_eq!(shown(&told), "cut 1");
    // What was good comes back as news.
    fs::write(at("cut"), "no longer").unwrap();
    assert!(shown(&[watch.next()]).starts_with("cut refused: it is not WebAssembly"));
    fs::write(at("cut"), version(1)).unwrap();
    assert_eq!(shown(&[watch.next()]), "cut 1");
}

#[test]
fn a_rule_and_its_signature_are_told_together() {
    let root = tempfile::tempdir().unwrap();
    let folder = plain(root.path());
    let signature = folder.join("a.wasm.sig");
    let watch = Watch::start(&folder, Watching { signed: true, ..Watching::default() }, BTreeMap::new());
    let with = |change: Change| match &change {
        Change::Found { signature, .. } => (shown(std::slice::from_ref(&change)), signature.clone()),
        other => panic!("{other:?}"),
    };
    let signed = |n: u32, by: &str| (format!("a {n}"), Some(by.to_owned()));
    // The signature comes second, and first.
    fs::write(&signature, "of 0\n").unwrap();
    assert_eq!(with(watch.next()), signed(0, "of 0"));
    fs::write(file(root.path()), version(1)).unwrap();
    pause(300);
    fs::write(&signature, "of 1").unwrap();
    assert_eq!(with(watch.next()), signed(1, "of 1"));
    fs::write(&signature, "of 2").unwrap();
    pause(300);
    fs::write(file(root.path()), version(2)).unwrap();
    assert_eq!(with(watch.next()), signed(2, "of 2"));
    // Alone it is told after a while; and so is its end.
    fs::write(&signature, "of 2 by another").unwrap();
    assert_eq!(with(watch.next()), signed(2, "of 2 by another"));
    fs::remove_file(&signature).unwrap();
    assert_eq!(with(watch.next()), ("a 2".to_owned(), None));
    fs::write(&signature, b"\xff").unwrap();
    let refused = shown(&[watch.next()]);
    assert_eq!(refused, format!("a refused: its signature {}: it is not text", signature.display()));
    let mut told = Vec::new();
    watch.silence(&mut told);
    assert_eq!(told, []);
}

#[test]
fn only_so_many_rules_are_looked_at() {
    let root = tempfile::tempdir().unwrap();
    for (n, name) in ["c", "b", "a"].iter().enumerate() {
        fs::write(root.path().join(format!("{name}.wasm")), version(n as u32)).unwrap();
    }
    let watch = Watch::start(root.path(), Watching { files_max: 2, ..Watching::default() }, BTreeMap::new());
    let mut told = Vec::new();
    watch.silence(&mut told);
    assert_eq!(shown(&told), "a 2, b 1");
}

#[test]
fn a_listener_that_is_gone_ends_it() {
    let root = tempfile::tempdir().unwrap();
    let folder = plain(root.path());
    let mut told = 0;
    // It returns, though more would come.
    fs::write(folder.join("b.wasm"), version(1)).unwrap();
    watch(
        &folder,
        BTreeMap::new(),
        &Watching::default(),
        || true,
        |_| {
            told += 1;
            false
        },
    );
    assert_eq!(told, 1);
}

#[test]
fn a_rename_is_told_at_once() {
    let root = tempfile::tempdir().unwrap();
    let folder = plain(root.path());
    let watch = Watch::of(&folder);
    watch.next();
    let mut took: Vec<Duration> = Vec::new();
    for n in 1..=50 {
        fs::write(folder.join(".new"), version(n)).unwrap();
        let started = Instant::now();
        fs::rename(folder.join(".new"), file(root.path())).unwrap();
        assert_eq!(shown(&[watch.next()]), format!("a {n}"));
        took.push(started.elapsed());
    }
    took.sort();
    println!("from a rename to the version told, of 50: median {:?}, most {:?}", took[25], took[49]);
    // A settled file would take this long; half of them is far from any luck.
    assert!(took[25] < Watching::default().settled_after, "{took:?}");
}
