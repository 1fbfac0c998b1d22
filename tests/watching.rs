//! The watched folder of rules: whatever is done to it, each version that is told was whole, the last
//! one is right, and nothing that is not done yet is called an error.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
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

/// How long nothing more must be told for a sequence to be all: longer than a file is waited for.
const SILENCE: Duration = Duration::from_millis(2_600);

/// Version `n` of a rule, as far as a watcher looks into it; all are equally long.
fn version(n: u32) -> Vec<u8> {
    let text = format!(
        "(module (memory (export \"memory\") 2) (func (export \"f\") (result i32) i32.const 7)
            (data (i32.const 0) \"version {n:08}{}\"))",
        "x".repeat(60_000)
    );
    wat::parse_str(text).expect("it is sound")
}

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

/// A way of writing a file.
struct Way {
    name: &'static str,
    /// Makes what is there before, and says which folder is watched; version 0, if any, is told first.
    before: fn(&Path) -> PathBuf,
    /// Writes under the root.
    write: fn(&Path),
    /// All that is told.
    told: &'static str,
    /// Whether it also goes without notifications. Without them, a pause longer than the patience of
    /// the watcher is an end.
    polled: bool,
}

fn plain(root: &Path) -> PathBuf {
    let folder = root.join("rules");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.wasm"), version(0)).unwrap();
    folder
}

fn linked(root: &Path) -> PathBuf {
    let folder = root.join("rules");
    fs::create_dir(&folder).unwrap();
    fs::create_dir(root.join("elsewhere")).unwrap();
    fs::write(root.join("elsewhere/a-0.wasm"), version(0)).unwrap();
    symlink("../elsewhere/a-0.wasm", folder.join("a.wasm")).unwrap();
    folder
}

/// A config map as Kubernetes mounts it.
fn config_map(root: &Path) -> PathBuf {
    let folder = root.join("mount");
    fs::create_dir_all(folder.join("..2026_01/rules")).unwrap();
    fs::write(folder.join("..2026_01/a.wasm"), version(0)).unwrap();
    fs::write(folder.join("..2026_01/rules/a.wasm"), version(0)).unwrap();
    symlink("..2026_01", folder.join("..data")).unwrap();
    symlink("..data/a.wasm", folder.join("a.wasm")).unwrap();
    symlink("..data/rules", folder.join("rules")).unwrap();
    folder
}

fn swap_config_map(root: &Path) {
    let folder = root.join("mount");
    fs::create_dir_all(folder.join("..2026_02/rules")).unwrap();
    fs::write(folder.join("..2026_02/a.wasm"), version(1)).unwrap();
    fs::write(folder.join("..2026_02/rules/a.wasm"), version(1)).unwrap();
    symlink("..2026_02", folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    fs::remove_dir_all(folder.join("..2026_01")).unwrap();
}

fn linked_folder(root: &Path) -> PathBuf {
    for n in 0..2 {
        fs::create_dir(root.join(format!("rules-{n}"))).unwrap();
        fs::write(root.join(format!("rules-{n}/a.wasm")), version(n)).unwrap();
    }
    symlink("rules-0", root.join("rules")).unwrap();
    root.join("rules")
}

fn nothing(root: &Path) -> PathBuf {
    root.join("not/there/yet")
}

fn file(root: &Path) -> PathBuf {
    root.join("rules/a.wasm")
}

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Writes version 1 in `parts`, with a pause after each, through one handle.
fn in_parts(root: &Path, cuts: &[usize], pause_ms: u64) {
    let bytes = version(1);
    let mut to = File::create(file(root)).unwrap();
    let mut from = 0;
    for &cut in cuts.iter().chain([&bytes.len()]) {
        to.write_all(&bytes[from..cut]).unwrap();
        to.flush().unwrap();
        pause(pause_ms);
        from = cut;
    }
}

/// Where version 1 looks whole before it is: its data are missing.
fn boundary() -> usize {
    let bytes = version(1);
    let looks_whole = |cut: &usize| stillhouse_rules::whole(&bytes[..*cut]).is_ok();
    (0..bytes.len()).rev().find(looks_whole).expect("a module may end before its data")
}

const WAYS: &[Way] = &[
    Way {
        name: "rename_into_place",
        before: plain,
        write: |root| {
            fs::write(root.join("rules/.a.wasm.tmp"), version(1)).unwrap();
            fs::rename(root.join("rules/.a.wasm.tmp"), file(root)).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "rename_from_another_folder",
        before: plain,
        write: |root| {
            fs::write(root.join("new"), version(1)).unwrap();
            fs::rename(root.join("new"), file(root)).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "write_in_place",
        before: plain,
        write: |root| fs::write(file(root), version(1)).unwrap(),
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "overwrite_without_truncating",
        before: plain,
        write: |root| OpenOptions::new().write(true).open(file(root)).unwrap().write_all(&version(1)).unwrap(),
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "truncate_and_write_later",
        before: plain,
        write: |root| {
            let mut to = File::create(file(root)).unwrap();
            pause(500);
            to.write_all(&version(1)).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "write_with_seconds_between_the_parts",
        before: plain,
        write: |root| in_parts(root, &[0, 1_000, 30_000], 2_500),
        told: "a 0, a 1",
        polled: false,
    },
    Way {
        name: "write_slowly",
        before: plain,
        write: |root| in_parts(root, &[0, 4, 8, 20, 1_000, 50_000], 300),
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "pause_where_it_looks_whole",
        before: plain,
        write: |root| in_parts(root, &[boundary()], 700),
        told: "a 0, a 1",
        polled: false,
    },
    Way {
        name: "append_with_a_new_handle_each_time",
        before: plain,
        write: |root| {
            fs::write(file(root), "").unwrap();
            for part in version(1).chunks(10_000) {
                OpenOptions::new().append(true).open(file(root)).unwrap().write_all(part).unwrap();
                pause(150);
            }
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "delete_and_write_again",
        before: plain,
        write: |root| {
            fs::remove_file(file(root)).unwrap();
            pause(300);
            fs::write(file(root), version(1)).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "as_vim_does",
        before: plain,
        write: |root| {
            fs::write(root.join("rules/.a.wasm.swp"), "swap").unwrap();
            fs::write(root.join("rules/4913"), "").unwrap();
            fs::remove_file(root.join("rules/4913")).unwrap();
            fs::rename(file(root), root.join("rules/a.wasm~")).unwrap();
            fs::write(file(root), version(1)).unwrap();
            fs::remove_file(root.join("rules/a.wasm~")).unwrap();
            fs::remove_file(root.join("rules/.a.wasm.swp")).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "as_emacs_does",
        before: plain,
        write: |root| {
            symlink("someone@somewhere.1", root.join("rules/.#a.wasm")).unwrap();
            fs::write(root.join("rules/#a.wasm#"), "auto-saved").unwrap();
            fs::copy(file(root), root.join("rules/a.wasm~")).unwrap();
            fs::write(file(root), version(1)).unwrap();
            fs::remove_file(root.join("rules/#a.wasm#")).unwrap();
            fs::remove_file(root.join("rules/.#a.wasm")).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "hard_link",
        before: plain,
        write: |root| {
            fs::write(root.join("new"), version(1)).unwrap();
            fs::remove_file(file(root)).unwrap();
            fs::hard_link(root.join("new"), file(root)).unwrap();
            fs::remove_file(root.join("new")).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "link_instead_of_a_file",
        before: plain,
        write: |root| {
            fs::write(root.join("new"), version(1)).unwrap();
            fs::remove_file(file(root)).unwrap();
            symlink(root.join("new"), file(root)).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "the_file_that_a_link_leads_to",
        before: linked,
        write: |root| fs::write(root.join("elsewhere/a-0.wasm"), version(1)).unwrap(),
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "link_swapped",
        before: linked,
        write: |root| {
            fs::write(root.join("elsewhere/a-1.wasm"), version(1)).unwrap();
            symlink("../elsewhere/a-1.wasm", root.join("rules/.new")).unwrap();
            fs::rename(root.join("rules/.new"), file(root)).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way { name: "config_map", before: config_map, write: swap_config_map, told: "a 0, a 1", polled: true },
    Way {
        name: "folder_in_a_config_map",
        before: |root| config_map(root).join("rules"),
        write: swap_config_map,
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "folder_removed_and_made_again",
        before: plain,
        write: |root| {
            fs::remove_dir_all(root.join("rules")).unwrap();
            pause(200);
            fs::create_dir(root.join("rules")).unwrap();
            pause(200);
            fs::write(file(root), version(1)).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "folder_moved_away_and_another_moved_in",
        before: plain,
        write: |root| {
            fs::create_dir(root.join("new")).unwrap();
            fs::write(root.join("new/a.wasm"), version(1)).unwrap();
            fs::rename(root.join("rules"), root.join("old")).unwrap();
            fs::rename(root.join("new"), root.join("rules")).unwrap();
            // Nobody cares any more.
            fs::write(root.join("old/a.wasm"), version(2)).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "folder_link_swapped",
        before: linked_folder,
        write: |root| {
            symlink("rules-1", root.join("new")).unwrap();
            fs::rename(root.join("new"), root.join("rules")).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "folder_that_was_not_there",
        before: nothing,
        write: |root| {
            fs::create_dir(root.join("not")).unwrap();
            pause(100);
            fs::create_dir_all(root.join("not/there/yet")).unwrap();
            fs::write(root.join("not/there/yet/a.wasm"), version(1)).unwrap();
        },
        told: "a 1",
        polled: true,
    },
    Way {
        name: "permissions_come_later",
        before: plain,
        write: |root| {
            let mode = |mode| fs::set_permissions(file(root), fs::Permissions::from_mode(mode)).unwrap();
            mode(0o200);
            fs::write(file(root), version(1)).unwrap();
            mode(0o000);
            pause(300);
            mode(0o644);
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "touched_and_written_with_the_same_bytes",
        before: plain,
        write: |root| {
            let now = std::time::SystemTime::now();
            OpenOptions::new().append(true).open(file(root)).unwrap().set_modified(now).unwrap();
            pause(200);
            fs::write(file(root), version(0)).unwrap();
            pause(200);
            fs::write(root.join("rules/.new"), version(0)).unwrap();
            fs::rename(root.join("rules/.new"), file(root)).unwrap();
        },
        told: "a 0",
        polled: true,
    },
    Way {
        name: "there_and_back",
        before: plain,
        write: |root| {
            fs::write(file(root), version(1)).unwrap();
            pause(1_000);
            fs::write(file(root), version(0)).unwrap();
        },
        told: "a 0, a 1, a 0",
        polled: true,
    },
    Way {
        name: "for_a_moment_something_else",
        before: plain,
        write: |root| {
            fs::remove_file(file(root)).unwrap();
            fs::create_dir(file(root)).unwrap();
            pause(200);
            fs::remove_dir(file(root)).unwrap();
            symlink("nowhere", file(root)).unwrap();
            pause(200);
            fs::remove_file(file(root)).unwrap();
            fs::write(file(root), "not a rule").unwrap();
            pause(200);
            fs::write(file(root), version(1)).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
];

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
