//! The examples over public recordings of real trouble, against figures that were counted apart
//! from this project. `STILLHOUSE_DATA` names the folder of the recordings, which are not part of
//! the repository; without it these tests say that they are skipped, and on CI they fail.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde_json::Value;
use stillhouse::run::Options;

use crate::chance::Chance;
use crate::drive::{OPTIONS, Ran, drive, example, text};

const SECOND_US: i64 = 1_000_000;

/// The folder of the recordings.
///
/// # Panics
/// On CI, if it is not named.
pub fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("STILLHOUSE_DATA").map(PathBuf::from);
    if folder.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI runs the recordings: set STILLHOUSE_DATA to their folder");
        eprintln!("skipped: set STILLHOUSE_DATA to the folder of the recordings");
    }
    folder
}

/// The files of `folder` whose names end in `end`, sorted.
pub fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(end));
    files.sort();
    assert!(!files.is_empty(), "{}: no file ends in `{end}`", folder.display());
    files
}

/// Every example and what it is run over.
fn recordings(data: &Path) -> Vec<(&'static str, Vec<PathBuf>)> {
    vec![
        ("kubelet", vec![data.join("kubernetes-ocp-aws/kubelet_probe.log")]),
        ("kubernetes-events", vec![data.join("kubernetes-ocp-aws/events.jsonl.gz")]),
        ("router-syslog", files(&data.join("network-flaps/portflap"), ".log")),
        ("router-syslog", files(&data.join("network-flaps/bgpclear_no_traffic"), ".log")),
        ("etcd-leader", files(&data.join("leader-election/etcd-aws"), "")),
        ("blue-gene", vec![data.join("node-failures/bgl_2005-06_08.raw_fatal.log.gz")]),
        ("grid5000", vec![data.join("node-failures/grid5000_sites2359.csv.gz")]),
        ("web-probes", vec![data.join("probes-websites/web_sites_dev.avt.gz")]),
        ("labelled-log", vec![data.join("node-failures/BGL_2k.log")]),
        ("security-flood", vec![data.join("security-flood/OpenSSH_2k.log")]),
        ("wazuh", vec![data.join("security-flood/wazuh_insect.jsonl")]),
        ("zookeeper", vec![data.join("leader-election/Zookeeper_2k.log")]),
    ]
}

/// Runs an example, with replacements in its configuration.
pub fn distil(name: &str, replacements: &[(&str, &str)], files: &[PathBuf]) -> Ran {
    drive(&example(name, replacements), files, &OPTIONS)
}

/// The text of a file, `.gz` or not.
pub fn read(path: &Path) -> String {
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    let read = match path.extension().is_some_and(|extension| extension == "gz") {
        true => MultiGzDecoder::new(file).read_to_string(&mut text),
        false => { file }.read_to_string(&mut text),
    };
    read.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text
}

/// The changes of one signal type.
pub fn changes(ran: &Ran, signal: &str) -> Vec<Value> {
    ran.of_type("state.changed").into_iter().filter(|event| event["data"]["signal"] == signal).collect()
}

pub fn from(event: &Value) -> &str {
    text(&event["data"]["from"]["state"])
}

pub fn to(event: &Value) -> &str {
    text(&event["data"]["to"]["state"])
}

/// How many changes enter `state`.
pub fn entered(events: &[Value], state: &str) -> usize {
    events.iter().filter(|event| to(event) == state).count()
}

/// The last state of every entity.
pub fn last_states(events: &[Value]) -> BTreeMap<String, String> {
    events.iter().map(|event| (text(&event["subject"]).to_owned(), to(event).to_owned())).collect()
}

#[test]
fn kubelet_pods_that_are_not_ready() {
    let Some(data) = data() else { return };
    let files = [data.join("kubernetes-ocp-aws/kubelet_probe.log")];
    let removed = "openshift-console/console-84b5f647b9-9k5dp";
    // (hold-down, spells that become ready at last, spells that are told of)
    for (hold_down, ended, told) in [("0s", 76, 77), ("30s", 25, 26), ("60s", 9, 10), ("300s", 1, 1)] {
        let hold = format!("hold_down = \"{hold_down}\"");
        let ran = distil("kubelet", &[("hold_down = \"30s\"", &hold)], &files);
        let events = changes(&ran, "kubelet.pod");
        let ready = events.iter().filter(|event| (from(event), to(event)) == ("not-ready", "ready")).count();
        assert_eq!(ready, ended, "{hold_down}");
        assert_eq!(entered(&events, "not-ready"), told, "{hold_down}");
        assert!(last_states(&events).values().all(|state| state == "ready" || state == "removed"), "{hold_down}");
        assert_eq!(ran.outcome.summary.ledger.open, 0, "{hold_down}");
        // Static pods show the removal of their mirror: it ends nothing.
        let gone: Vec<_> = events.iter().filter(|event| to(event) == "removed").collect();
        assert_eq!(gone.len(), told - ended, "{hold_down}");
        for event in gone {
            assert_eq!(text(&event["subject"]), removed);
            assert_eq!(event["data"]["lasted_us"].as_i64().expect("it lasted") / SECOND_US, 62);
        }
        if hold_down == "0s" {
            let lasted = |seconds: i64| {
                let spells = events.iter().filter(|event| (from(event), to(event)) == ("not-ready", "ready"));
                spells.filter(|event| event["data"]["lasted_us"].as_i64() >= Some(seconds * SECOND_US)).count()
            };
            assert_eq!([lasted(30), lasted(60), lasted(300)], [25, 9, 1]);
        }
    }
}

/// `08:54:59.131` of the first of September 2017 in Pacific daylight time, as events write it.
fn pacific(clock: &str) -> String {
    let (hour, rest) = clock.split_once(':').expect("a clock");
    format!("2017-09-01T{:02}:{rest}000Z", hour.parse::<u32>().expect("an hour") + 7)
}

#[test]
fn links_that_stay_down_and_a_port_that_flaps() {
    let Some(data) = data() else { return };
    let files = files(&data.join("network-flaps/portflap"), ".log");
    let truth: Value = serde_json::from_str(&read(&data.join("network-flaps/truth_portflap.json"))).expect("JSON");
    let ran = distil("router-syslog", &[], &files);
    let events = changes(&ran, "net.link");

    // Down and up of each spell; what somebody switched off is another state.
    let mut spells = Vec::new();
    for (index, down) in events.iter().enumerate().filter(|(_, event)| to(event) == "down") {
        let subject = text(&down["subject"]);
        let up = events[index..].iter().find(|event| event["subject"] == subject && from(event) == "down");
        let up = up.unwrap_or_else(|| panic!("{subject} stays down"));
        assert_eq!(to(up), "up");
        let since = |event: &Value| text(&event["data"]["since"]).to_owned();
        spells.push((subject.to_owned(), since(down), since(up)));
    }
    let listed = truth["sustained_link_down_ge_10s"].as_array().expect("a list");
    let mut expected: Vec<_> = listed
        .iter()
        .map(|spell| {
            let [device, interface, down, up, _] = spell.as_array().expect("a spell").as_slice() else { panic!() };
            let subject = format!("{}/{}", text(device), text(interface));
            // The list counts from the first change of the storm; an entity that flaps is in no
            // state, so here the spell begins with the last change of it.
            let storm = (text(device), text(down)) == ("leaf3", "08:59:04.852");
            (subject, pacific(if storm { "09:01:00.632" } else { text(down) }), pacific(text(up)))
        })
        .collect();
    spells.sort();
    expected.sort();
    assert_eq!(spells.len(), 11);
    assert_eq!(spells, expected);
    assert!(last_states(&events).values().all(|state| state == "up"));

    let (started, stopped) = (ran.of_type("flapping.started"), ran.of_type("flapping.stopped"));
    assert_eq!((started.len(), stopped.len()), (1, 1));
    for event in started.iter().chain(&stopped) {
        assert_eq!(event["subject"], "leaf3/HundredGigE0/0/0/30");
    }
    // From within the storm of 08:59:04 to 09:01:00, to its `quiet` of a minute after it.
    let time = text(&started[0]["time"]);
    assert!((pacific("08:59:04.852").as_str()..pacific("08:59:10.000").as_str()).contains(&time), "{time}");
    assert_eq!(text(&stopped[0]["time"]), pacific("09:02:00.632"));
    assert_eq!(ran.outcome.summary.ledger.open, 0);
}

#[test]
fn bgp_sessions() {
    let Some(data) = data() else { return };
    // (folder, sessions, changes, spells in which a session was down, of these by its own admin)
    for (folder, sessions, all, spells, own) in
        [("portflap", 616, 3_000, 1_500, 4), ("bgpclear_no_traffic", 522, 3_422, 1_711, 0)]
    {
        let files = files(&data.join("network-flaps").join(folder), ".log");
        let ran = distil("router-syslog", &[("hold_down = \"60s\"", "hold_down = \"0s\"")], &files);
        let events = changes(&ran, "net.bgp");
        assert_eq!(events.len(), all, "{folder}");
        let down = (entered(&events, "down"), entered(&events, "admin-down"));
        assert_eq!((down, entered(&events, "up")), ((spells - own, own), spells), "{folder}");
        let last = last_states(&events);
        assert_eq!(last.len(), sessions, "{folder}");
        assert!(last.values().all(|state| state == "up"), "{folder}");
        assert_eq!(ran.outcome.summary.ledger.open, 0, "{folder}");

        // leaf4 keeps its clock in UTC and writes 16:08:42, the others 09:08:42: one moment.
        if folder == "portflap" {
            let first = |device: &str| {
                let event = events.iter().find(|event| text(&event["subject"]).starts_with(device)).expect("it resets");
                (to(event), text(&event["data"]["since"]))
            };
            assert_eq!(first("leaf4"), ("down", "2017-09-01T16:08:42.033000Z"));
            assert_eq!(first("leaf5"), ("down", "2017-09-01T16:08:42.033000Z"));
        }
    }
}

#[test]
fn blue_gene_failures_once_each() {
    let Some(data) = data() else { return };
    let folder = data.join("node-failures");
    let raw = folder.join("bgl_2005-06_08.raw_fatal.log.gz");
    let text_of = read(&raw);
    let lines: Vec<&str> = text_of.lines().collect();
    assert_eq!(lines.len(), 26_314);
    let cut = |line: &str| line.splitn(3, ' ').take(2).map(String::from).collect::<Vec<_>>().join(" ");
    // (one entity, against the last pattern, the reference, against any pattern)
    for (location, last, reference, any) in
        [("any", 276, "any", 259), ("card", 11_452, "midplane_node", 11_442), ("full", 26_069, "full_location", 26_063)]
    {
        let entity = format!("location = \"{location}\"");
        let entity = ("location = \"full\"", entity.as_str());
        let ran = distil("blue-gene", &[entity], std::slice::from_ref(&raw));
        let events = changes(&ran, "bluegene.ras");
        let survived: Vec<String> = events
            .iter()
            .map(|event| {
                let number: usize = text(&event["data"]["provenance"]["first"]["id"]).parse().expect("a line number");
                cut(lines[number - 1])
            })
            .collect();
        assert_eq!(survived.len(), last, "{location}");
        let reference = read(&folder.join(format!("bgl_2005-06_08.ref_dedup_{reference}.log.gz")));
        let reference: Vec<String> = reference.lines().map(cut).collect();
        let differs = survived.iter().zip(&reference).position(|(ours, theirs)| ours != theirs);
        assert_eq!((differs, survived.len()), (None, reference.len()), "{location}");

        let against = ("against = \"last\"", "against = \"any\"");
        let ran = distil("blue-gene", &[entity, against], std::slice::from_ref(&raw));
        assert_eq!(changes(&ran, "bluegene.ras").len(), any, "{location}");
    }
}

/// How many outages are told of for each pair of hold-down and hold-open.
fn outages(name: &str, signal: &str, files: &[PathBuf], expected: &[(&str, &str, usize)]) {
    for (down, open, count) in expected {
        let replacements = [
            ("hold_down = \"10m\"", format!("hold_down = \"{down}\"")),
            ("hold_open = \"10m\"", format!("hold_open = \"{open}\"")),
        ];
        let replacements: Vec<_> = replacements.iter().map(|(old, new)| (*old, new.as_str())).collect();
        let events = changes(&distil(name, &replacements, files), signal);
        assert_eq!(entered(&events, "down"), *count, "{name}: {down} down, {open} up");
    }
}

#[test]
fn grid5000_outages() {
    let Some(data) = data() else { return };
    let files = [data.join("node-failures/grid5000_sites2359.csv.gz")];
    let expected = [("0s", "0s", 28_739), ("600s", "600s", 6_725), ("1800s", "600s", 5_182), ("3600s", "3600s", 4_201)];
    outages("grid5000", "node.interval", &files, &expected);
}

#[test]
fn web_site_outages() {
    let Some(data) = data() else { return };
    let files = [data.join("probes-websites/web_sites_dev.avt.gz")];
    let expected = [("0s", "0s", 23_234), ("600s", "600s", 11_278), ("1800s", "600s", 4_834), ("3600s", "3600s", 795)];
    outages("web-probes", "site.interval", &files, &expected);
}

#[test]
fn etcd_changes_its_leader_once() {
    let Some(data) = data() else { return };
    let ran = distil("etcd-leader", &[], &files(&data.join("leader-election/etcd-aws"), ""));
    let events = ran.events();
    let [event] = events.as_slice() else { panic!("expected one event, got {}", events.len()) };
    let change = &event["data"];
    assert_eq!(event["type"], "stillhouse.state.changed");
    assert_eq!(event["subject"], "etcd");
    assert_eq!((from(event), to(event)), ("led", "led"));
    assert_eq!(change["from"]["value"], "30c29f1b390a6a04");
    assert_eq!(change["to"]["value"], "bb9c7099bd31ffff");
    assert!(text(&change["since"]).starts_with("2021-08-03T09:27:17.22"), "{}", change["since"]);
    assert_eq!(ran.outcome.summary.ledger.open, 0);
}

#[test]
fn shards_batches_and_threads_change_nothing() {
    let Some(data) = data() else { return };
    for (name, files) in recordings(&data) {
        let config = example(name, &[]);
        let of = |shards, threads, batch_rows| {
            drive(&config, &files, &Options { shards, threads, batch_rows, ..OPTIONS }).bytes
        };
        let expected = of(1, 1, 1024);
        assert!(!expected.is_empty(), "{name}");
        for (shards, threads, batch_rows) in [(2, 2, 1024), (3, 2, 7), (8, 1, 1), (8, 3, 1024)] {
            let same = of(shards, threads, batch_rows) == expected;
            assert!(same, "{name}: {shards} shards, {threads} threads, {batch_rows} rows in a batch");
        }
    }
}

/// The events without what comes from the lines of their signals: an event's id is made of theirs.
fn unplaced(ran: &Ran) -> Vec<Value> {
    let mut events = ran.events();
    for event in &mut events {
        event["id"] = Value::Null;
        for end in ["first", "last"] {
            if let Some(id) = event["data"]["provenance"][end].get_mut("id") {
                *id = Value::Null;
            }
        }
    }
    events
}

#[test]
fn kubernetes_events_in_any_order_are_the_same() {
    let Some(data) = data() else { return };
    let text = read(&data.join("kubernetes-ocp-aws/events.jsonl.gz"));
    let mut lines: Vec<&str> = text.lines().collect();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.jsonl");
    let with_id = [("sequence = ", "id = \"metadata.uid\"\nsequence = ")];
    let run = |replacements: &[(&str, &str)], lines: &[&str]| {
        std::fs::write(&path, lines.join("\n")).expect("a file can be written");
        distil("kubernetes-events", replacements, std::slice::from_ref(&path))
    };
    let (by_line, by_id) = (run(&[], &lines), run(&with_id, &lines));
    assert!(by_line.events().len() > 400);
    for seed in 0..5 {
        let mut chance = Chance::new(seed);
        for end in (2..=lines.len()).rev() {
            lines.swap(end - 1, chance.below(end));
        }
        assert!(run(&with_id, &lines).bytes == by_id.bytes, "seed {seed}: with ids of their own");
        assert!(unplaced(&run(&[], &lines)) == unplaced(&by_line), "seed {seed}: named by their lines");
    }
}
