//! Rules swapped under a steady stream: nothing is lost or doubled, each signal is answered by the
//! version of its place in the log, and who waits does not notice.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use stillhouse::config::{Config, Overrides};
use stillhouse::durable::Recorded;
use stillhouse::input::Input;
use stillhouse::replay::{Range, replay};
use stillhouse::rollouts::Board;
use stillhouse::run::{Options, Unwatched, Watch, run};
use stillhouse_rollout::Decision;

use crate::turncoat::{slot, version};

/// What a run under swaps came to.
pub struct Report {
    pub signals: u64,
    pub swaps: usize,
    /// From the rename of a file to the log position from which it answers.
    pub to_serve: Vec<Duration>,
    /// From a signal's being written to its event's being written.
    pub latency: Vec<Duration>,
    /// Resident memory after a quarter of the run and at its end, in bytes.
    pub resident_bytes: (u64, u64),
}

/// Signals of each write.
const BURST: u64 = 5;
const EVERY: Duration = Duration::from_millis(2);

struct Looker(Arc<Mutex<Option<Arc<Board>>>>);

impl Watch for Looker {
    fn progress(&mut self, _: u64, _: u64) {}

    fn board(&mut self, board: &Arc<Board>) {
        *self.0.lock().unwrap() = Some(Arc::clone(board));
    }
}

/// Notes when each event left.
#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
    left: Vec<(usize, Instant)>,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        self.left.push((self.bytes.len(), Instant::now()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn configured(folder: &Path) -> Config {
    std::fs::create_dir(folder.join("rules")).unwrap();
    std::fs::write(folder.join("rules/turncoat.wasm"), version("fine.0")).unwrap();
    let toml = "[rules]\nfolder = \"rules\"\n[order]\nallowed_lateness = \"0s\"\n\
        [[input]]\nformat = \"json\"\ntype = \"probe\"\nid = \"id\"\ntime = { fields = [\"time\"] }\n\
        [signal.probe]\nmapper = \"turncoat\"\nmode = \"occurrence\"\n\
        [rollout]\nstrategy = \"swap\"\n";
    let path = folder.join("stillhouse.toml");
    Config::parse(&path, toml.into(), &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// The signal of this number.
pub fn signal(n: u64) -> String {
    let milli = 1_767_225_600_000 + n;
    let at = jiff::Timestamp::from_millisecond(milli as i64).unwrap();
    // Half are up, and a liar says that they are down.
    let state = if n.is_multiple_of(2) { "up" } else { "down" };
    format!("{{\"id\":\"s{n}\",\"time\":\"{at}\",\"key\":\"e{}\",\"state\":\"{state}\",\"n\":{}}}\n", n % 50, n + 1_000)
}

/// Swaps a rule so often under a steady stream, and checks all that can be checked. Without swaps, the
/// stream is of `signals`.
pub fn swap(swaps: usize, signals: u64) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path());
    let pipe = folder.path().join("signals.jsonl");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let log = folder.path().join("log");
    let options = Options {
        shards: 2,
        threads: 2,
        batch_rows: 1024,
        follow: true,
        store: Some(log.clone()),
        ..Options::default()
    };
    let board = Arc::new(Mutex::new(None));
    let mut out = Out::default();
    let turns: Arc<Mutex<Vec<(u64, String, Instant)>>> = Arc::default();
    let done = AtomicBool::new(false);
    let (written, swapped, resident) = std::thread::scope(|scope| {
        let stream = scope.spawn(|| stream(&pipe, signals, &done));
        let swapper = scope.spawn(|| {
            let board: Arc<Board> = loop {
                if let Some(board) = board.lock().unwrap().clone() {
                    break board;
                }
                std::thread::sleep(Duration::from_millis(1));
            };
            let turns = Arc::clone(&turns);
            board.listen(Box::new(move |told| {
                if let Decision::Swap { version, .. } = &told.decision {
                    turns.lock().unwrap().push((told.at.position, version.digest.clone(), Instant::now()));
                }
            }));
            let swapped = exchange(&folder.path().join("rules"), &board, swaps);
            done.store(true, Ordering::Release);
            swapped
        });
        let mut looker = Looker(Arc::clone(&board));
        let inputs = [Input::File(pipe.clone())];
        let outcome =
            run(&config, &inputs, &mut out, &options, &mut looker).unwrap_or_else(|error| panic!("{error:#}"));
        let written = stream.join().expect("it writes");
        let (ledger, signals) = (outcome.summary.ledger, written.len() as u64);
        assert!(ledger.balances(), "{ledger:?}");
        assert_eq!((ledger.received, ledger.emitted, ledger.open), (signals, signals, 0), "none lost, none doubled");
        let (swapped, resident) = swapper.join().expect("it swaps");
        (written, swapped, resident)
    });
    let signals = written.len() as u64;
    let turns = turns.lock().unwrap();
    check_events(&out.bytes, &turns, signals);
    let mut again = Vec::new();
    let recorded = Recorded::open(&log).expect("it was written");
    let options = Options { shards: 3, store: None, follow: false, ..options };
    replay(None, &recorded, Range::default(), &mut again, &options, &mut Unwatched).expect("the log is sound");
    let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect::<Vec<_>>();
    let differs = lines(&again).into_iter().zip(lines(&out.bytes)).find(|(again, before)| again != before);
    assert!(
        again == out.bytes,
        "the log says it all again: {differs:#?}, {} and {} bytes",
        again.len(),
        out.bytes.len()
    );
    Report {
        signals,
        swaps: turns.len(),
        to_serve: served(&swapped, &turns),
        latency: latencies(&out, &written),
        resident_bytes: resident,
    }
}

/// Writes the signals at a steady pace; tells when each was written.
fn stream(pipe: &Path, signals: u64, done: &AtomicBool) -> Vec<Instant> {
    let mut to = std::fs::OpenOptions::new().write(true).open(pipe).expect("somebody reads");
    let mut written = Vec::new();
    let began = Instant::now();
    for from in (0..).step_by(BURST as usize).take_while(|from| *from < signals || !done.load(Ordering::Acquire)) {
        let due = began + EVERY * (from / BURST) as u32;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let burst: String = (from..from + BURST).map(signal).collect();
        let now = Instant::now();
        written.extend((from..from + BURST).map(|_| now));
        to.write_all(burst.as_bytes()).expect("the pipe takes it");
    }
    written
}

/// Puts version after version into the folder, each once the one before is in force.
fn exchange(rules: &Path, board: &Board, swaps: usize) -> (Vec<(String, Instant)>, (u64, u64)) {
    let mut swapped = Vec::new();
    let mut resident = (0, 0);
    for number in 0..swaps {
        // Every other one is a liar, so that it shows which version answered.
        let mode = if number % 2 == 0 { format!("liar.0{}", number % 7) } else { format!("fine.{}", number % 7) };
        let file = version(&mode);
        let digest = crate::turncoat::digest(&file);
        let hidden = rules.join(".next");
        std::fs::write(&hidden, &file).unwrap();
        swapped.push((digest.clone(), Instant::now()));
        std::fs::rename(&hidden, rules.join("turncoat.wasm")).unwrap();
        let patience = Instant::now();
        let served = || board.slots().get(&slot()).and_then(|slot| slot.stable.clone());
        while served().is_none_or(|stable| stable.digest != digest) {
            assert!(patience.elapsed() < Duration::from_secs(60), "version {number} ({mode}) is not served");
            std::thread::sleep(Duration::from_micros(500));
        }
        if number == swaps / 4 {
            resident.0 = resident_bytes();
        }
    }
    resident.1 = resident_bytes();
    (swapped, resident)
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Each signal has one event, of the version that was in force at its place in the log.
fn check_events(bytes: &[u8], turns: &[(u64, String, Instant)], signals: u64) {
    let first = crate::turncoat::digest(&version("fine.0"));
    let liars: BTreeMap<String, bool> = (0..7)
        .flat_map(|number| [(format!("liar.0{number}"), true), (format!("fine.{number}"), false)])
        .map(|(mode, lies)| (crate::turncoat::digest(&version(&mode)), lies))
        .collect();
    let mut seen = 0;
    for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let event: Value = serde_json::from_slice(line).expect("JSON");
        let provenance = &event["data"]["provenance"];
        let id = provenance["last"]["id"].as_str().expect("an id");
        let n: u64 = id.trim_start_matches('s').parse().expect("a number");
        assert_eq!(n, seen, "in order, each once");
        seen += 1;
        let turn = turns.partition_point(|(position, _, _)| *position <= n).checked_sub(1);
        let expected = turn.map_or(&first, |turn| &turns[turn].1);
        assert_eq!(provenance["mapper"]["digest"].as_str(), Some(expected.as_str()), "signal {n}");
        let up = n.is_multiple_of(2) != liars[expected];
        assert_eq!(event["data"]["to"]["state"], if up { "up" } else { "down" }, "signal {n} by {expected}");
    }
    assert_eq!(seen, signals);
}

fn served(swapped: &[(String, Instant)], turns: &[(u64, String, Instant)]) -> Vec<Duration> {
    let mut turns = turns.iter();
    let mut took = Vec::new();
    for (digest, at) in swapped {
        if let Some((_, _, served)) = turns.by_ref().find(|(_, turned, _)| turned == digest) {
            took.push(*served - *at);
        }
    }
    took
}

fn latencies(out: &Out, written: &[Instant]) -> Vec<Duration> {
    let ends = out.bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let left = |end: usize| out.left[out.left.partition_point(|(until, _)| *until < end)].1;
    ends.zip(written).map(|(end, written)| left(end).saturating_duration_since(*written)).collect()
}

/// The value that a share of all does not exceed.
pub fn quantile(of: &[Duration], share: f64) -> Duration {
    let mut sorted = of.to_vec();
    sorted.sort();
    sorted
        .get(((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

#[test]
fn swaps_under_a_stream_lose_and_double_nothing() {
    let report = swap(30, 6_000);
    assert_eq!(report.swaps, 30);
    let (before, after) = report.resident_bytes;
    println!(
        "{} swaps under {} signals: to serve 50 % {:?}; latency 50 % {:?}, 99.9 % {:?}; {before} to {after} bytes",
        report.swaps,
        report.signals,
        quantile(&report.to_serve, 0.5),
        quantile(&report.latency, 0.5),
        quantile(&report.latency, 0.999)
    );
}
