//! Versions of rules in a host that runs: swaps, trials, what is left of a bad version, and the log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use stillhouse::config::{Config, Overrides};
use stillhouse::input::Input;
use stillhouse::rollouts::{Ask, Reply};
use stillhouse::run::{Options, Outcome, Unwatched, Watch, run};
use stillhouse_rollout::{Command, What};

use crate::drive::{OPTIONS, replay, text};
use crate::turncoat::{slot, version};

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
    let file = probes(folder.path(), 120_000, 100);
    let plain = drive(&config, &file, &mut Unwatched, &OPTIONS);
    let log = folder.path().join("log");
    let options = Options { store: Some(log.clone()), ..OPTIONS };
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
        let replayed =
            replay(&config, &log, &mut bytes, &Options { shards, batch_rows: 7, ..OPTIONS }).expect("the log is sound");
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

/// What became of the versions, in order, and at which position.
fn history(ran: &Ran) -> Vec<(What, u64)> {
    let slots = ran.outcome.board.slots();
    slots[&slot()].history.iter().map(|record| (record.what, record.at.position)).collect()
}

fn first(history: &[(What, u64)], what: What) -> Option<u64> {
    history.iter().find(|(was, _)| *was == what).map(|(_, position)| *position)
}

/// Signals from where a version begins to be bad until it is given up: what is read in three rounds.
const UNTIL_GIVEN_UP_MAX: u64 = 3 * 2_600;

#[test]
fn each_version_gets_what_it_deserves() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), QUICK);
    let file = probes(folder.path(), 60_000, 100);
    let plain = drive(&config, &file, &mut Unwatched, &OPTIONS);
    let fine = drive(&config, &file, &mut Script::found(0, version("fine.1")), &OPTIONS);
    assert!(first(&history(&fine), What::Promoted).is_some(), "{:?}", history(&fine));
    for mode in ["trap", "slow", "never"] {
        // In shadow, and in the midst of the canary.
        for bad_from in [0, 12_000] {
            let bad = version(&format!("{mode}.{bad_from}"));
            let ran = drive(&config, &file, &mut Script::found(0, bad), &OPTIONS);
            let history = history(&ran);
            let given_up =
                first(&history, What::RolledBack).unwrap_or_else(|| panic!("{mode}.{bad_from}: {history:?}"));
            assert!(given_up < bad_from + UNTIL_GIVEN_UP_MAX, "{mode}.{bad_from}: {history:?}");
            assert_eq!(stands(&ran.events), stands(&plain.events), "{mode}.{bad_from}");
            assert!(bad_from == 0 || history.iter().any(|(what, _)| matches!(what, What::Share(_))), "{history:?}");
        }
    }
    let differs = drive(&config, &file, &mut Script::found(0, version("differ")), &OPTIONS);
    let of_differs = history(&differs);
    assert!(first(&of_differs, What::Held).is_some_and(|at| at < UNTIL_GIVEN_UP_MAX), "{of_differs:?}");
    assert!(first(&of_differs, What::Promoted).is_none() && first(&of_differs, What::RolledBack).is_none());
    let samples = differs.outcome.board.differs(&slot());
    assert!(
        samples.iter().any(|it| it.old.contains("is up") && it.new.contains("is down") && it.signal.contains("\"id\""))
    );
}

#[test]
fn what_was_said_before_a_version_turned_bad_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing is held against what differs, so that it goes on to say what it says, until it traps.
    let by_hand = format!("{QUICK}promote = \"by-hand\"\nbudget = {{ differing = \"100%\" }}\n");
    let config = config(folder.path(), &by_hand);
    let file = probes(folder.path(), 60_000, 100);
    let plain = drive(&config, &file, &mut Unwatched, &OPTIONS);
    let mut script = Script::found(0, version("differ"));
    script.command(50_000, Command::Rollback { retroactive: None });
    let ran = drive(&config, &file, &mut script, &OPTIONS);
    let corrected = ran.of("correction");
    assert!(!corrected.is_empty(), "{:?}", history(&ran));
    assert!(corrected.iter().all(|event| text(&event["data"]["withdrawn"]["name"]) == "turncoat"));
    assert_eq!(stands(&ran.events), stands(&plain.events));
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
    let config = config(folder.path(), &format!("{QUICK}promote = \"by-hand\"\n"));
    let file = probes(folder.path(), 60_000, 100);
    let plain = drive(&config, &file, &mut Unwatched, &OPTIONS);
    for mode in ["differ", "liar", "drop", "rename"] {
        let mut script = Script::found(0, version(mode));
        // A person lets it go on to all record keys, and thinks better of it.
        for at in [6_000, 10_000, 14_000, 18_000, 22_000, 26_000] {
            script.command(at, Command::Advance);
        }
        script.command(40_000, Command::Rollback { retroactive: None });
        let log = folder.path().join(mode);
        let options = Options { store: Some(log.clone()), ..OPTIONS };
        let ran = drive(&config, &file, &mut script, &options);
        assert!(!ran.of("correction").is_empty(), "{mode}: it had said something: {:?}", history(&ran));
        assert_eq!(stands(&ran.events), stands(&plain.events), "{mode}");
        let mut bytes = Vec::new();
        replay(&config, &log, &mut bytes, &OPTIONS).expect("the log is sound");
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
