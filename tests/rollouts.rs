//! Versions of rules in a host that runs: swaps, trials, what is left of a bad version, and the log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use stillhouse::config::{Config, Overrides};
use stillhouse::input::Input;
use stillhouse::rollouts::{Ask, Reply};
use stillhouse::run::{Options, Outcome, Unwatched, Watch, replay, run};
use stillhouse_rollout::{Command, SlotId, SlotKind};

use crate::drive::{OPTIONS, root, text};

/// The file of a version that does this wrong; every text gives another version.
pub fn version(mode: &str) -> Arc<[u8]> {
    const WORD: &[u8] = b"turncoat-mode:";
    let path = root().join("target/test-rules/turncoat.wasm");
    let mut file =
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}: cargo xtask rules", path.display()));
    let at = file.windows(WORD.len()).position(|bytes| bytes == WORD).expect("it has a mode") + WORD.len();
    assert!(mode.len() <= 34, "{mode}");
    file[at..at + 34].fill(b'-');
    file[at..at + mode.len()].copy_from_slice(mode.as_bytes());
    file.into()
}

pub fn slot() -> SlotId {
    SlotId { signal: "probe".into(), kind: SlotKind::Mapper }
}

/// A configuration in `folder` whose rule is there too.
pub fn config(folder: &Path, rollout: &str) -> Config {
    std::fs::write(folder.join("turncoat.wasm"), version("fine")).unwrap();
    let toml = format!(
        "[rules]\nfolder = \".\"\n\
         [order]\nallowed_lateness = \"0s\"\n\
         [[input]]\nformat = \"json\"\ntype = \"probe\"\nid = \"id\"\ntime = {{ fields = [\"time\"] }}\n\
         [signal.probe]\nmapper = \"turncoat\"\nhold_down = \"2s\"\n\
         {rollout}"
    );
    let path = folder.join("stillhouse.toml");
    std::fs::write(&path, &toml).unwrap();
    Config::parse(&path, toml, &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// `signals` probes of `entities` entities, a hundred a second; each entity is down now and then.
pub fn probes(folder: &Path, signals: u64, entities: u64) -> PathBuf {
    let mut lines = String::new();
    for n in 0..signals {
        let entity = n % entities;
        let round = n / entities;
        let down = (round + entity * 7) % 20 < 4;
        let time = 1_767_225_600_000 + n * 10;
        let (second, milli) = (time / 1000, time % 1000);
        let at = jiff::Timestamp::from_second(second as i64).unwrap().strftime("%Y-%m-%dT%H:%M:%S").to_string();
        let state = if down { "down" } else { "up" };
        lines.push_str(&format!(
            "{{\"id\":\"s{n}\",\"time\":\"{at}.{milli:03}Z\",\"subject\":\"e{entity}\",\"key\":\"e{entity}\",\"state\":\"{state}\",\"n\":{}}}\n",
            n + 1_000
        ));
    }
    let path = folder.join("probes.jsonl");
    std::fs::write(&path, lines).unwrap();
    path
}

/// Asks at log positions.
#[derive(Default)]
pub struct Script {
    pub asks: BTreeMap<u64, Vec<Ask>>,
    /// Positions at which something could be asked.
    pub places: Vec<u64>,
}

impl Script {
    pub fn found(at: u64, bytes: Arc<[u8]>) -> Self {
        let mut script = Self::default();
        script.then(at, bytes);
        script
    }

    pub fn then(&mut self, at: u64, bytes: Arc<[u8]>) {
        self.asks.entry(at).or_default().push(Ask::Found { name: "turncoat".into(), bytes, signature: None });
    }

    pub fn command(&mut self, at: u64, command: Command) {
        let (by, why) = ("ada".into(), "a test".into());
        let ask = Ask::Command { slot: slot(), command, by, why, reply: Reply::nobody() };
        self.asks.entry(at).or_default().push(ask);
    }
}

impl Watch for Script {
    fn progress(&mut self, _: u64, _: u64) {}

    fn asks(&mut self, signals: u64) -> Vec<Ask> {
        self.places.push(signals);
        let later = self.asks.split_off(&(signals + 1));
        std::mem::replace(&mut self.asks, later).into_values().flatten().collect()
    }
}

pub struct Ran {
    pub events: Vec<Value>,
    pub bytes: Vec<u8>,
    pub outcome: Outcome,
}

impl Ran {
    pub fn of(&self, kind: &str) -> Vec<&Value> {
        let kind = format!("stillhouse.{kind}");
        self.events.iter().filter(|event| event["type"] == *kind).collect()
    }
}

pub fn drive(config: &Config, file: &Path, script: &mut dyn Watch, options: &Options) -> Ran {
    let mut bytes = Vec::new();
    let inputs = [Input::File(file.to_owned())];
    let outcome = run(config, &inputs, &mut bytes, options, script).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(outcome.summary.ledger.balances(), "{:?}", outcome.summary.ledger);
    crate::event_schema::check_lines(&bytes);
    ran(bytes, outcome)
}

fn ran(bytes: Vec<u8>, outcome: Outcome) -> Ran {
    let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let events = lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect();
    Ran { events, bytes, outcome }
}

/// What a consumer knows who has applied all corrections, whoever told it.
fn known(events: &[Value]) -> BTreeMap<String, String> {
    let mut known = BTreeMap::new();
    let tell = |event: &Value, data: &Value, kind: &Value| {
        let decided = (&data["since"], &data["held_us"]);
        format!("{kind} {} {:?} {} {}", event["subject"], decided, data["from"], data["to"])
    };
    for event in events {
        let data = &event["data"];
        match text(&event["type"]) {
            "stillhouse.state.changed" => {
                known.insert(text(&event["id"]).to_owned(), tell(event, data, &event["type"]));
            }
            "stillhouse.correction" => {
                if let Some(superseded) = data["supersedes"].as_str() {
                    known.remove(superseded).expect("it was told");
                }
                if data["event"].is_object() {
                    known.insert(text(&event["id"]).to_owned(), tell(event, &data["event"], &data["kind"]));
                }
            }
            _ => {}
        }
    }
    known
}

fn stands(events: &[Value]) -> BTreeSet<String> {
    known(events).into_values().collect()
}

const QUICK: &str = "[rollout]\nshadow_time = \"1s\"\nstep_time = \"1s\"\nmin_samples = 200\ndrain_max = \"10s\"\n";

#[test]
fn a_fine_version_comes_into_force_and_the_log_says_it_all_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), QUICK);
    let file = probes(folder.path(), 60_000, 100);
    let plain = drive(&config, &file, &mut Unwatched, &OPTIONS);
    let log = folder.path().join("log");
    let options = Options { log: Some(log.clone()), ..OPTIONS };
    let ran = drive(&config, &file, &mut Script::found(2_000, version("fine.2")), &options);
    assert_eq!(stands(&ran.events), stands(&plain.events), "it says the same");
    let digests: BTreeSet<&str> =
        ran.of("state.changed").iter().map(|event| text(&event["data"]["provenance"]["mapper"]["digest"])).collect();
    assert_eq!(digests.len(), 2);
    let last = ran.of("state.changed").last().map(|event| event["data"]["provenance"]["mapper"]["digest"].clone());
    let first = ran.of("state.changed")[0]["data"]["provenance"]["mapper"]["digest"].clone();
    assert_ne!(last, Some(first), "the new version is in force");
    for shards in [1, 3] {
        let mut bytes = Vec::new();
        let replayed = replay(&config, &log, &mut bytes, &Options { shards, batch_rows: 7, ..OPTIONS }, &mut Unwatched)
            .expect("the log is sound");
        assert!(bytes == ran.bytes, "a replay takes the same turns");
        assert_eq!(replayed.outcome.summary.ledger, ran.outcome.summary.ledger);
    }
    // Nothing that one version opened was closed by the other.
    let mut opened: BTreeMap<String, String> = BTreeMap::new();
    for event in ran.of("state.changed") {
        let key = text(&event["subject"]).to_owned();
        let by = text(&event["data"]["provenance"]["mapper"]["digest"]).to_owned();
        if event["data"]["to"]["state"] == "down" {
            opened.insert(key, by);
        } else if let Some(opener) = opened.remove(&key) {
            assert_eq!(opener, by, "{event}");
        }
    }
}

#[test]
fn bad_versions_are_found_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), QUICK);
    let file = probes(folder.path(), 60_000, 100);
    let plain = drive(&config, &file, &mut Unwatched, &OPTIONS);
    let (plain, ledger) = (stands(&plain.events), plain.outcome.summary.ledger);
    for mode in ["trap", "slow", "never", "differ", "liar", "drop", "rename"] {
        let ran = drive(&config, &file, &mut Script::found(2_000, version(mode)), &OPTIONS);
        assert_eq!(stands(&ran.events), plain, "{mode}: what stands in the end");
        assert_eq!(ran.of("dead-letter").len(), 0, "{mode}");
        assert_eq!(ran.outcome.summary.ledger, ledger, "{mode}");
    }
}

#[test]
fn what_is_advanced_by_hand_and_withdrawn_is_undone() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), QUICK);
    let file = probes(folder.path(), 60_000, 100);
    let plain = drive(&config, &file, &mut Unwatched, &OPTIONS);
    for mode in ["differ", "liar", "drop", "rename"] {
        let mut script = Script::found(2_000, version(mode));
        // A person lets it go on to all record keys, and thinks better of it.
        for at in [8_000, 12_000, 16_000, 20_000, 24_000, 28_000, 32_000] {
            script.command(at, Command::Advance);
        }
        script.command(40_000, Command::Rollback { retroactive: None });
        let log = folder.path().join(mode);
        let options = Options { log: Some(log.clone()), ..OPTIONS };
        let ran = drive(&config, &file, &mut script, &options);
        assert!(!ran.of("correction").is_empty(), "{mode}: it had said something");
        assert_eq!(stands(&ran.events), stands(&plain.events), "{mode}");
        let mut bytes = Vec::new();
        replay(&config, &log, &mut bytes, &OPTIONS, &mut Unwatched).expect("the log is sound");
        assert!(bytes == ran.bytes, "{mode}: a replay says the same");
    }
}

#[test]
fn swaps_lose_and_double_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "[rollout]\nstrategy = \"swap\"\n");
    let file = probes(folder.path(), 40_000, 100);
    let plain = drive(&config, &file, &mut Unwatched, &OPTIONS);
    let mut script = Script::default();
    for number in 0..20 {
        script.then(number * 2_000 + 500, version(&format!("fine.{}", number % 5)));
    }
    let ran = drive(&config, &file, &mut script, &OPTIONS);
    assert_eq!(stands(&ran.events), stands(&plain.events));
    assert_eq!(ran.outcome.summary.ledger, plain.outcome.summary.ledger);
    let ids = |ran: &Ran| ran.events.iter().map(|event| text(&event["id"]).to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(&ran), ids(&plain), "each once, in the same order");
}
