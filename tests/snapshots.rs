//! Snapshots through the whole host: read once, or followed, over restarts and replays; broken, masked, refused.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use stillhouse::config::{Config, Overrides};
use stillhouse::durable::Recorded;
use stillhouse::input::Input;
use stillhouse::journal::Given;
use stillhouse::run::{Options, Watch};
use stillhouse_core::Entry;

use crate::cli::PATIENCE;
use crate::drive::{OPTIONS, drive, try_drive};
use crate::place::{CONTROL, Place};

const CONFIG: &str = "[order]\nallowed_lateness = \"0s\"\nidle_after = \"1h\"\n\
    [[input]]\nfiles = \"probes.json\"\nformat = \"json\"\ntype = \"probe\"\n\
    [[input]]\nformat = \"cloudevents\"\n\
    [signal.probe]\nmapper = \"status\"\n\
    [[snapshot]]\nsignal = \"probe\"\nfile = \"probes.json\"\ngrace = \"0s\"\n";

impl Place {
    /// Puts a file in the place of another, as whoever hands in a snapshot should.
    fn replace(&self, name: &str, text: &str) {
        self.write("new", text);
        std::fs::rename(self.path("new"), self.path(name)).expect("it can be renamed");
    }

    fn append(&self, name: &str, text: &str) {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(self.path(name));
        file.and_then(|mut file| file.write_all(text.as_bytes())).expect("it can be appended to");
    }

    fn follow(&self) -> Child {
        let mut command = self.command("run --follow -c x.toml -i in -o out --store s");
        command.stderr(Stdio::piped()).spawn().expect("it starts")
    }

    fn config(&self) -> Config {
        Config::load(&self.path("x.toml"), &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The drift that was said so far, in short.
    fn drift(&self) -> Vec<String> {
        drift(self.read("out").as_bytes())
    }

    /// What the log says of snapshots.
    fn logged(&self) -> Vec<&'static str> {
        let recorded = Recorded::open(&self.path("s")).expect("a store");
        let kind = |given: Given| match given {
            Given::SnapshotBegins(_) => Some("begins"),
            Given::Snapshot { .. } => Some("whole"),
            _ => None,
        };
        let log = recorded.log(0).expect("a log");
        log.filter_map(|entry| kind(entry.expect("an entry").1)).collect()
    }

    /// The log gives again what left.
    fn verify(&self) {
        self.ok("replay -q --store s --verify");
        assert_eq!(self.ok("replay -q --store s"), self.read("out"));
        let ledger = self.call("ledger --store s");
        assert!(ledger.status.success(), "{}", String::from_utf8_lossy(&ledger.stdout));
    }
}

/// `kind key` of each drift.
fn drift(lines: &[u8]) -> Vec<String> {
    let lines = lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let events = lines.map(|line| serde_json::from_slice(line).expect("an event is JSON"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |event: Value| {
        let is_drift = event["type"] == "stillhouse.drift";
        is_drift.then(|| format!("{} {}", text(&event["data"]["kind"]), text(&event["subject"])))
    };
    events.filter_map(of).collect()
}

fn signal(second: usize, key: &str, status: &str) -> String {
    let (minute, second) = (second / 60, second % 60);
    format!(
        r#"{{"specversion":"1.0","id":"{minute}-{second}-{key}","source":"s","type":"probe","subject":"{key}","time":"2026-01-01T00:{minute:02}:{second:02}Z","data":{{"status":"{status}"}}}}"#
    ) + "\n"
}

/// A snapshot in the layout of a list.
fn list(says: &[(&str, &str)]) -> String {
    let items = says.iter().map(|(key, status)| format!("{{\n \"subject\": \"{key}\",\n \"status\": \"{status}\"\n}}"));
    let items: Vec<String> = items.collect();
    format!("{{\n\"apiVersion\": \"v1\",\n\"items\": [{}],\n\"kind\": \"List\"\n}}\n", items.join(", "))
}

/// Ends a host as a user does; what it said on standard error.
fn stop(mut host: Child) -> String {
    let pid = rustix::process::Pid::from_child(&host);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    let mut said = String::new();
    host.stderr.take().expect("a pipe").read_to_string(&mut said).expect("UTF-8");
    assert!(host.wait().expect("it ends").success(), "{said}");
    said
}

/// Signals of the past, each a second later than the one before, until something is so.
struct Pulse(usize);

impl Pulse {
    fn until(&mut self, place: &Place, what: &str, mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < PATIENCE, "{what}: not in time; {:?}", place.drift());
            place.append("in", &signal(self.0, "z", "up"));
            self.0 += 1;
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

const SIGNALS: [(usize, &str, &str); 4] = [(1, "a", "down"), (2, "b", "up"), (3, "c", "down"), (59, "z", "up")];

fn signals() -> String {
    SIGNALS.iter().map(|&(second, key, status)| signal(second, key, status)).collect()
}

#[test]
fn it_is_read_once_after_the_inputs_of_a_batch() {
    let place = Place::new(CONFIG);
    place.write("in", &signals());
    place.write("probes.json", &list(&[("a", "up"), ("b", "up"), ("d", "down"), ("z", "up")]));
    let expected = ["state a", "orphan c", "missing d"];
    for options in [OPTIONS, Options { shards: 7, threads: 1, batch_rows: 1, ..OPTIONS }] {
        let ran = drive(&place.config(), &[place.path("in")], &options);
        assert_eq!(drift(&ran.bytes), expected);
        let ledger = ran.outcome.summary.ledger;
        assert_eq!((ledger.received, ledger.echoed, ledger.dead_lettered, ledger.open), (8, 1, 0, 0));
        assert_eq!(ran.outcome.summary.snapshots, (1, 0));
        assert!(ran.outcome.summary.to_string().contains("\nsnapshots: 1 compared, 0 refused\n"));
        let last = ran.events().into_iter().rfind(|event| event["subject"] == "c").expect("an event");
        assert_eq!(last["data"]["to"]["state"], "gone", "{last}");
    }
    place.ok("run -q -c x.toml -i in -o out --store s");
    assert_eq!(place.drift(), expected);
    // It is the same still, and is not compared again; another one is.
    place.ok("run -q -c x.toml -i in -o out --store s");
    assert_eq!((place.drift().len(), place.logged()), (3, vec!["begins", "whole"]));
    place.write("probes.json", "[]");
    place.ok("run -q -c x.toml -i in -o out --store s");
    assert_eq!(place.drift()[3..], ["orphan a", "orphan b", "orphan d", "orphan z"]);
    assert_eq!(place.logged(), ["begins", "whole", "begins", "whole"]);
    place.verify();
    let why = place.ok("explain --store s d");
    assert!(why.contains("probes.json failing") && why.contains("stillhouse.drift"), "{why}");
    assert!(!why.contains("1970"), "{why}");
}

#[test]
fn a_file_that_changes_while_it_is_followed_is_compared_over_kills() {
    let place = Place::new(CONFIG);
    place.write("in", &signals());
    place.write("probes.json", &list(&[("a", "down"), ("b", "up"), ("c", "down"), ("d", "down"), ("z", "up")]));
    let mut pulse = Pulse(60);
    let mut host = place.follow();
    pulse.until(&place, "the first snapshot", || place.drift() == ["missing d"]);
    place.replace("probes.json", &list(&[("a", "up"), ("b", "up"), ("c", "down"), ("d", "down"), ("z", "up")]));
    pulse.until(&place, "the second", || place.drift().len() == 2);
    host.kill().expect("it runs");
    host.wait().expect("it ends");
    // What was compared is known; what is new is found, also if it came meanwhile.
    let mut host = place.follow();
    let before = place.read("out").lines().count();
    place.append("in", &signal(pulse.0, "e", "down"));
    pulse.0 += 1;
    pulse.until(&place, "it goes on", || place.read("out").lines().count() > before);
    assert_eq!(place.drift(), ["missing d", "state a"]);
    host.kill().expect("it runs");
    host.wait().expect("it ends");
    assert_eq!(place.logged(), ["begins", "whole", "begins", "whole"]);
    place.replace("probes.json", &list(&[("a", "up"), ("b", "up"), ("e", "down"), ("z", "up")]));
    let host = place.follow();
    pulse.until(&place, "the third", || place.drift().len() == 4);
    let said = stop(host);
    assert!(said.contains("snapshots: 1 compared, 0 refused"), "{said}");
    assert_eq!(place.drift(), ["missing d", "state a", "orphan c", "orphan d"]);
    assert_eq!(place.logged().len(), 6);
    place.verify();
}

#[test]
fn what_was_said_before_it_came_is_heard_first() {
    let place = Place::new(CONFIG);
    let again = |at: usize| signal(2, "z", "up").replace("\"id\":\"0-2-z\"", &format!("\"id\":\"again-{at}\""));
    let between: String = (0..250_000).map(again).collect();
    place.write(
        "in",
        &(signal(1, "a", "down") + &between + &signal(3, "a", "up") + &signal(4, "b", "down") + &signal(59, "z", "up")),
    );
    place.write("probes.json", &list(&[("a", "up"), ("z", "up"), ("b", "up")]));
    let mut pulse = Pulse(60);
    let host = place.follow();
    pulse.until(&place, "it is compared", || !place.drift().is_empty());
    stop(host);
    assert_eq!(place.drift(), ["state b"], "not a, of which more is said");
}

#[test]
fn a_broken_version_is_refused_and_the_next_is_compared() {
    let place = Place::new(&format!("{CONFIG}{CONTROL}"));
    place.write("in", &signals());
    let whole = list(&[("a", "up"), ("b", "up"), ("c", "down"), ("z", "up")]);
    // Cut in the middle of its list: those that are missing are not gone.
    place.write("probes.json", &whole[..whole.len() / 2]);
    let mut pulse = Pulse(60);
    let host = place.follow();
    let counted = |outcome: &str, count: u64| {
        let line = format!("stillhouse_snapshots_total{{outcome=\"{outcome}\"}} {count}\n");
        place.metrics().is_some_and(|text| text.contains(&line))
    };
    pulse.until(&place, "it is refused", || counted("refused", 1));
    place.replace("probes.json", "");
    pulse.until(&place, "what is empty is refused", || counted("refused", 2));
    assert_eq!(place.drift(), [""; 0]);
    place.replace("probes.json", &whole);
    pulse.until(&place, "the next is taken", || counted("taken", 1) && !place.drift().is_empty());
    let said = stop(host);
    assert_eq!(place.drift(), ["state a"]);
    assert!(said.contains("probes.json: line ") && said.contains("not JSON as a whole"), "{said}");
    assert!(said.contains("is empty") && said.contains("snapshots: 1 compared, 2 refused"), "{said}");
    assert_eq!(place.logged(), ["begins", "whole"]);
    place.verify();
}

#[test]
fn a_batch_says_where_a_snapshot_is_broken_and_distils_the_rest() {
    let place = Place::new(CONFIG);
    place.write("in", &signals());
    let whole = list(&[("a", "up")]);
    for (text, said) in [
        (&whole[..whole.len() - 4], "probes.json: line 7, column 13: not JSON as a whole: "),
        ("{\"kind\": \"List\", \"items\": [}]}", "probes.json: line 1, column 28: not JSON as a whole: "),
        (" \n", "probes.json: is empty, expected the records of all entities; where there is nobody, expected `[]`"),
    ] {
        place.write("probes.json", text);
        let out = place.call("run -c x.toml -i in");
        let told = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(3), "{told}");
        assert!(told.contains(said) && told.contains("0 compared, 1 refused"), "expected `{said}`: {told}");
        assert_eq!((drift(&out.stdout), out.stdout.split(|&byte| byte == b'\n').count()), (vec![], 3));
    }
    std::fs::remove_file(place.path("probes.json")).expect("it is there");
    let out = place.call("run -c x.toml -i in");
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(3) && told.contains("probes.json: cannot be read"), "{told}");
}

#[test]
fn who_could_not_be_read_may_be_anybody() {
    let place = Place::new(CONFIG);
    place.write("in", &signals());
    let says = "[{\"subject\":\"a\",\"status\":\"up\"}, {\"subject\":\"b\",\"status\":\"dancing\"}, {\"stat\":1}, 7]";
    place.write("probes.json", says);
    let out = place.call("run -c x.toml -i in -o out --store s");
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success() && told.contains("of 1 snapshots not all was understood"), "{told}");
    assert_eq!(place.drift(), ["state a"], "nobody is an orphan");
    let dead = place.ok("dlq list --store s");
    assert_eq!(dead.lines().count(), 3, "{dead}");
    // The next snapshot has them; they are no signals.
    place.ok("dlq retry --store s -c x.toml source");
    place.ok("run -q -c x.toml -i in -o out --store s");
    let ledger: Value = serde_json::from_str(&place.ok("ledger --store s --json")).expect("JSON");
    assert_eq!((&ledger["received"], &ledger["dead_lettered"]), (&8.into(), &3.into()));
    place.verify();
}

#[test]
fn what_is_masked_is_nowhere_in_the_store() {
    let mask = "[[mask]]\nfiles = \"probes.json\"\nfields = [\"data.note\"]\n[[mask]]\nkind = \"email\"\n";
    let place = Place::new(&format!("{CONFIG}{mask}"));
    place.write("in", &signals());
    place.write(
        "probes.json",
        "[{\"subject\":\"a\",\"status\":\"up\",\"note\":\"hush\",\"by\":\"eve@example.org\"}, 7]",
    );
    place.ok("run -q -c x.toml -i in -o out --store s");
    assert_eq!(place.drift(), ["state a"]);
    let recorded = Recorded::open(&place.path("s")).expect("a store");
    let mut seen = 0;
    for entry in recorded.log(0).expect("a log") {
        let bytes = entry.expect("an entry").1.encode();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("hush") && !text.contains("eve@"), "{text}");
        seen += usize::from(text.contains("[email]"));
    }
    assert!(seen > 0, "the record is there");
    drop(recorded);
    assert!(!place.read("out").contains("hush"));
    place.verify();
}

/// Ends a run, as a crash does, once so many blocks of a snapshot have come.
struct Crash {
    blocks: usize,
}

impl Watch for Crash {
    fn progress(&mut self, _: u64, _: u64) {
        assert!(self.blocks > 0, "this ends the run, as it should");
    }

    fn entries(&mut self, entries: &[Entry]) {
        let rows = entries.iter().filter(|entry| matches!(entry, Entry::SnapshotRows { .. })).count();
        self.blocks = self.blocks.saturating_sub(rows);
    }
}

#[test]
fn a_run_that_ends_in_the_middle_of_a_snapshot_reads_it_anew() {
    let place = Place::new(CONFIG);
    place.write("in", &signals());
    let filler = "x".repeat(1000);
    let all: Vec<String> =
        (0..30_000).map(|at| format!("{{\"subject\":\"p{at}\",\"status\":\"up\",\"filler\":\"{filler}\"}}")).collect();
    place.write("probes.json", &format!("[{}]", all.join(",\n")));
    let config = place.config();
    let input = [Input::File(place.path("in"))];
    let options = Options { store: Some(place.path("s")), output: Some(place.path("out")), ..OPTIONS };
    let run = |watch: &mut dyn Watch| {
        let run = || stillhouse::run::run(&config, &input, &mut appending(&place.path("out")), &options, watch);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
    };
    assert!(run(&mut Crash { blocks: 80 }).is_err(), "it breaks off");
    assert_eq!(place.logged(), ["begins"], "the store has a part of it");
    // Those of the first that are not in the next are not taken to be there.
    place.replace("probes.json", &format!("[{}]", all[10_000..].join(",\n")));
    let outcome = run(&mut stillhouse::run::Unwatched).expect("it does not break off").expect("it runs");
    assert_eq!(place.logged(), ["begins", "begins", "whole"]);
    let ledger = outcome.summary.ledger;
    assert!(ledger.balances() && ledger.open == 0 && ledger.received > 30_000, "{ledger:?}");
    assert_eq!(place.drift(), ["orphan a", "orphan b", "orphan c", "orphan z"]);
    assert_eq!(outcome.summary.entities, 20_000);
    place.verify();
}

fn appending(path: &Path) -> std::fs::File {
    std::fs::OpenOptions::new().append(true).create(true).open(path).expect("it can be opened")
}

#[test]
fn a_text_can_be_a_snapshot_and_its_lines_need_no_time() {
    let text = CONFIG.replace(
        "format = \"json\"\ntype = \"probe\"\n",
        "format = \"text\"\nunmatched = \"drop\"\n[[input.pattern]]\ntype = \"probe\"\nregex = '^(?P<subject>\\S+) is (?P<status>\\w+)(?P<time>!)?$'\n",
    );
    let place = Place::new(&text);
    place.write("in", &signals());
    place.write("probes.json", "all of them:\na is up\nb is up\nc is down\nz is up\n");
    let ran = try_drive(&place.config(), &[place.path("in")], &OPTIONS).expect("it runs");
    assert_eq!(drift(&ran.bytes), ["state a"]);
    assert_eq!((ran.outcome.summary.ledger.dropped, ran.outcome.summary.ledger.dead_lettered), (1, 0));
}

#[test]
fn a_snapshot_that_makes_no_sense_is_refused_with_its_place() {
    let refused = |text: &str, said: &str| {
        let error = Config::parse("x.toml".as_ref(), text.to_owned(), &Overrides::default()).unwrap_err().to_string();
        assert!(error.starts_with("x.toml:") && error.contains(said), "expected `{said}`: {error}");
    };
    refused(&CONFIG.replace("signal = \"probe\"", "signal = \"prope\""), "did you mean `probe`?");
    refused(&format!("{CONFIG}[[snapshot]]\nsignal = \"probe\"\nfile = \"y\"\n"), "`probe` has a snapshot already");
    refused(
        &CONFIG
            .replace("[[input]]\nformat", "[[input]]\nfiles = \"*.log\"\nformat")
            .replace("files = \"probes.json\"", "files = \"p\""),
        "no `[[input]]` reads a file named `probes.json`",
    );
    refused(
        &CONFIG
            .replace("type = \"probe\"", "type = \"other\"")
            .replace("[signal.probe]", "[signal.other]\nmapper = \"status\"\n[signal.probe]"),
        "it gives no signals of `probe`",
    );
    refused(
        &CONFIG.replace("mapper = \"status\"\n", "mapper = \"status\"\nmode = \"occurrence\"\n"),
        "has `mode = \"occurrence\"`",
    );
    refused(&format!("{CONFIG}rate = 0\n"), "`rate` must be at least 1");
    refused(&CONFIG.replace("file = \"probes.json\"", "file = \"probes.json.gz\""), "not compressed");
    refused(&CONFIG.replace("file = \"probes.json\"", "file = \"\""), "expected a file");
}
