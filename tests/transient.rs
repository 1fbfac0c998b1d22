//! The rule `transient` on outages that it was not trained on: other nodes and sites than those of
//! the training, at a later time. Its README claims figures; here they are reached by the rule in
//! WebAssembly. What is held out is counted apart from the host and from the rule's own script.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use stillhouse_core::columns::{Batch, Blobs, Verdicts, verdict};
use stillhouse_rules::{EngineConfig, Given, RuleEngine, SuppressorInstance, batch_from_given};

use crate::drive::{OPTIONS, Ran, drive, example, root, text};
use crate::recordings::{data, read};

const README: &str = include_str!("../plugins/transient/README.md");
const SECOND_US: i64 = 1_000_000;
/// An outage is raised when it has lasted so long, and over after so long without one.
const RAISE_S: i64 = 600;
/// An outage that lasts so long in all is persistent.
const LASTS_S: i64 = 3600;

/// Entity and beginning in seconds since 1970, and whether it is persistent (said or in truth).
type Outages = BTreeMap<(String, i64), bool>;

struct Recording {
    example: &'static str,
    file: &'static str,
}

const RECORDINGS: [Recording; 2] = [
    Recording { example: "grid5000", file: "node-failures/grid5000_sites2359.csv.gz" },
    Recording { example: "web-probes", file: "probes-websites/web_sites_dev.avt.gz" },
];

/// When each entity was down, in the order of the recording.
fn spells(recording: &str) -> BTreeMap<&str, Vec<(i64, i64)>> {
    let mut spells: BTreeMap<&str, Vec<(i64, i64)>> = BTreeMap::new();
    let seconds = |text: &str| text.parse::<i64>().expect("seconds");
    for line in recording.lines() {
        if let [name, "down", start, stop] = line.split(',').collect::<Vec<_>>()[..] {
            spells.entry(name).or_default().push((seconds(start), seconds(stop)));
        } else if !line.contains(',') {
            let words: Vec<&str> = line.split_whitespace().collect();
            let edges: Vec<i64> = words[2..].iter().map(|edge| seconds(edge)).collect();
            // From the end of one session to the start of the next.
            let down = edges[1..].chunks_exact(2).map(|pair| (pair[0], pair[1]));
            spells.entry(words[0]).or_default().extend(down);
        }
    }
    spells
}

/// Outages of one entity.
fn outages(spells: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut outages: Vec<(i64, i64)> = Vec::new();
    for &(start, stop) in spells {
        match outages.last_mut() {
            Some(open) if start - open.1 < RAISE_S => open.1 = stop,
            _ if stop - start >= RAISE_S => outages.push((start, stop)),
            _ => {}
        }
    }
    outages
}

/// The part of a recording that was not trained on: the lines of every second entity, and the
/// outages to be judged by, which are those after the median of all.
fn held_out(recording: &str) -> (String, Outages) {
    let spells = spells(recording);
    let names: BTreeSet<&str> = spells.keys().copied().skip(1).step_by(2).collect();
    let all: Vec<(&str, (i64, i64))> =
        spells.iter().flat_map(|(name, spells)| outages(spells).into_iter().map(|outage| (*name, outage))).collect();
    let mut starts: Vec<i64> = all.iter().map(|(_, (start, _))| *start).collect();
    starts.sort_unstable();
    let cut = starts[starts.len() / 2];
    let truth = all.iter().filter(|(name, (start, _))| names.contains(name) && *start >= cut);
    let truth = truth.map(|(name, (start, stop))| (((*name).to_owned(), *start), stop - start >= LASTS_S)).collect();
    let of_names = |line: &&str| names.contains(line.split([',', ' ']).next().unwrap_or_default());
    (recording.lines().filter(of_names).map(|line| format!("{line}\n")).collect(), truth)
}

/// Right in all, right where it said persistent, and persistent ones that it found.
fn figures(truth: &Outages, said: &Outages) -> String {
    let share = |some: usize, all: usize| some as f64 / all as f64;
    let said = |outage: &(String, i64)| *said.get(outage).unwrap_or_else(|| panic!("nothing was said of {outage:?}"));
    let right = truth.iter().filter(|(outage, lasts)| said(outage) == **lasts).count();
    let hits = truth.iter().filter(|(outage, lasts)| said(outage) && **lasts).count();
    let called = truth.keys().filter(|outage| said(outage)).count();
    let lasting = truth.values().filter(|lasts| **lasts).count();
    format!("{:.3} | {:.3} | {:.3}", share(right, truth.len()), share(hits, called), share(hits, lasting))
}

/// Compares what was said of each recording with the table of the README.
fn check(judge: impl Fn(&Recording, &Path) -> Outages) {
    let Some(data) = data() else { return };
    for recording in &RECORDINGS {
        let (lines, truth) = held_out(&read(&data.join(recording.file)));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("held-out.txt");
        std::fs::write(&path, lines).expect("a file can be written");
        assert!(truth.len() > 1000);
        let row = format!("| {} | this rule | {} |", recording.example, figures(&truth, &judge(recording, &path)));
        assert!(README.contains(&row), "the README claims something else than\n{row}");
        let always = truth.keys().map(|outage| (outage.clone(), true)).collect();
        let row = format!("| {} | always persistent | {} |", recording.example, figures(&truth, &always));
        assert!(README.contains(&row), "the README claims something else than\n{row}");
    }
}

fn time_us(value: &Value) -> i64 {
    text(value).parse::<jiff::Timestamp>().expect("a time").as_microsecond()
}

/// The changes of state that leave without a suppressor: what a suppressor would be asked about.
fn plain_changes(recording: &Recording, path: &Path) -> Vec<Value> {
    drive(&example(recording.example, &[]), &[path.to_owned()], &OPTIONS).of_type("state.changed")
}

/// A change as the rule is told of it.
fn candidate(rule: &SuppressorInstance, event: &Value) -> Batch {
    let (time, since) = (time_us(&event["time"]), time_us(&event["data"]["since"]));
    let mut given: Vec<(&str, String)> = vec![
        ("kind", "state.changed".to_owned()),
        ("healthy", (event["data"]["to"]["state"] == "up").to_string()),
        ("time", time.to_string()),
        ("since", since.to_string()),
        ("judged", "0".to_owned()),
    ];
    if let Some(lasted_us) = event["data"]["lasted_us"].as_i64() {
        given.push(("state_us", (time - since + lasted_us).to_string()));
    }
    let given: Vec<Given> = given.into_iter().map(|(path, value)| Given { path: path.to_owned(), value }).collect();
    batch_from_given(rule.rule().fields(), &[&given]).expect("fields of the rule")
}

#[test]
fn the_rule_is_as_good_as_it_claims() {
    let engine = RuleEngine::new(EngineConfig::default()).expect("an engine");
    let rule = engine.load_file(root().join("target/rules/transient.wasm")).expect("run `cargo xtask rules`");
    assert!(rule.memo().expect("it remembers").bytes_max <= 64);
    check(|recording, path| {
        let mut instance = rule.suppressor(&BTreeMap::new()).expect("no settings");
        let mut memos: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut until: BTreeMap<String, i64> = BTreeMap::new();
        let mut said = Outages::new();
        for event in plain_changes(recording, path) {
            let key = text(&event["subject"]).to_owned();
            let is_up = event["data"]["to"]["state"] == "up";
            // The end of what is held back is told to nobody, not to the rule either.
            if is_up && until.remove(&key).is_some_and(|until_us| time_us(&event["time"]) < until_us) {
                continue;
            }
            let mut memo = Blobs::default();
            memo.push(memos.get(&key).map_or(&[], Vec::as_slice));
            let mut verdicts = Verdicts::default();
            instance.judge(candidate(&instance, &event), memo, &mut verdicts);
            memos.insert(key.clone(), verdicts.memo.get(0).to_vec());
            let delays = verdicts.verdict[0] == verdict::DELAY;
            assert!(delays || verdicts.verdict[0] == verdict::EMIT, "{verdicts:?}");
            if delays {
                until.insert(key.clone(), verdicts.until_us[0]);
            }
            if !is_up {
                said.insert((key, time_us(&event["data"]["since"]) / SECOND_US), !delays);
            }
        }
        said
    });
}

/// What the program said of each outage when it was raised: one that left at once is persistent.
fn said(ran: &Ran) -> Outages {
    let mut said = Outages::new();
    for event in ran.events() {
        let (change, persistent) = match text(&event["type"]) {
            "stillhouse.state.changed" => (&event["data"], event["data"]["judgement"].is_null()),
            "stillhouse.suppressed" => (&event["data"]["candidate"], false),
            _ => continue,
        };
        if change["to"]["state"] == "down" {
            let outage = (text(&event["subject"]).to_owned(), time_us(&change["since"]) / SECOND_US);
            said.insert(outage, persistent);
        }
    }
    said
}

#[test]
fn the_whole_host_is_as_good_as_the_rule() {
    check(|recording, path| {
        let suppressor = "mapper = \"interval\"\nsuppressor = \"transient\"";
        let config = example(recording.example, &[("mapper = \"interval\"", suppressor)]);
        said(&drive(&config, &[path.to_owned()], &OPTIONS))
    });
}
