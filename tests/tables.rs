//! Enrichment tables: what mappers look up, what is refused, and that a version is part of the log.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use stillhouse::config::{Config, Overrides};
use stillhouse::rules::{RuleSet, engine};
use stillhouse::run::Options;
use stillhouse::tables;

use crate::cli::{PATIENCE, stillhouse};
use crate::drive::{OPTIONS, drive, replay, text, try_drive};
use crate::hostile::rules_folder;

const NODES: &str = "node,service,rack\nn1,cart,7\n42,shop,\n";
const OWNERS: &str = "{\"who\":\"desk\",\"team\":\"blue\"}\n";
const TABLES: &str = "[table.nodes]\nfile = \"nodes.csv\"\nkey = \"node\"\n\
    [table.owners]\nfile = \"owners.jsonl\"\nkey = \"who\"\n";
const CLOUD_EVENTS: &str = "[[input]]\nformat = \"cloudevents\"\n";

/// A folder with the tables and a configuration that reads `input`.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write("nodes.csv", NODES);
        place.write("owners.jsonl", OWNERS);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn toml(&self, tables: &str, input: &str) -> String {
        let rules = rules_folder();
        format!(
            "[rules]\nfolder = '{rules}'\n[order]\nallowed_lateness = \"0s\"\n{tables}{input}[signal.t]\nmapper = \"enriched\"\n"
        )
    }

    fn config(&self, tables: &str, input: &str) -> Config {
        let path = self.path("stillhouse.toml");
        Config::parse(&path, self.toml(tables, input), &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn refusal(&self, tables: &str) -> String {
        let config = self.config(tables, CLOUD_EVENTS);
        let input = self.write("empty", "");
        format!("{:#}", try_drive(&config, &[input], &OPTIONS).unwrap_err())
    }
}

fn signal(id: usize, node: &str, status: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"s","type":"t","subject":"desk","time":"2026-01-01T{:02}:{:02}:{:02}Z","data":{{"status":"{status}","node":{node}}}}}"#,
        id / 3600,
        id / 60 % 60,
        id % 60
    ) + "\n"
}

fn replayed(config: &Config, log: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let options = Options { shards: 3, ..OPTIONS };
    let replayed = replay(config, log, &mut bytes, &options).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(replayed.same_config);
    bytes
}

#[test]
fn a_mapper_finds_the_row_of_any_field_in_every_format() {
    let place = Place::new();
    let events = [signal(1, "\"n1\"", "down"), signal(2, "42", "down"), signal(3, "\"n9\"", "down")].concat();
    let cloud_events = (CLOUD_EVENTS, place.write("events", &events));
    let json = "[[input]]\nformat = \"json\"\ntype = \"t\"\nsubject = \"who\"\n";
    let object = |second: u32, node: &str| {
        format!(r#"{{"time":"2026-01-01T00:00:{second:02}Z","who":"desk","status":"down","node":{node}}}"#)
    };
    let objects = [object(1, "\"n1\""), object(2, "42"), object(3, "\"n9\"")].join("\n");
    let json = (json, place.write("objects", &objects));
    let lines = "[[input]]\nformat = \"text\"\n[[input.pattern]]\ntype = \"t\"\n\
        regex = '^(?P<time>\\S+) (?P<subject>\\S+) (?P<status>\\S+) (?P<node>\\S+)$'\n";
    let line = |second: u32, node: &str| format!("2026-01-01T00:00:{second:02}Z desk down {node}\n");
    let lines = (lines, place.write("lines", &[line(1, "n1"), line(2, "42"), line(3, "n9")].concat()));
    for (input, file) in [cloud_events, json, lines] {
        let ran = drive(&place.config(TABLES, input), &[file], &OPTIONS);
        let changed = ran.of_type("state.changed");
        let told: Vec<_> =
            changed.iter().map(|event| (text(&event["subject"]), text(&event["data"]["to"]["value"]))).collect();
        assert_eq!(told, [("cart/blue", "7"), ("shop/blue", "")], "{input}");
        assert_eq!(ran.dead_reasons(), ["the node is in no service"], "{input}");
    }
}

#[test]
fn a_log_holds_the_tables_it_was_made_with() {
    let place = Place::new();
    // More than goes into one entry of the log.
    let mut nodes = NODES.to_owned();
    (0..100_000).for_each(|node| writeln!(nodes, "m{node},service of {node},{node}").unwrap());
    place.write("nodes.csv", &nodes);
    let signals: String = (0..2_000).map(|id| signal(id, &format!("\"m{}\"", id * 50), "down")).collect();
    let config = place.config(TABLES, CLOUD_EVENTS);
    let log = place.path("log");
    let ran = drive(&config, &[place.write("in", &signals)], &Options { store: Some(log.clone()), ..OPTIONS });
    assert_eq!(ran.of_type("state.changed").len(), 2_000);
    place.write("nodes.csv", "node,service,rack\nn1,another,1\n");
    assert_eq!(replayed(&config, &log), ran.bytes, "the file has changed");
    let without = place.path("without");
    let plain = place.toml("", CLOUD_EVENTS).replace("\"enriched\"", "\"status\"");
    let plain = Config::parse(Path::new("x.toml"), plain, &Overrides::default()).unwrap();
    drive(&plain, &[place.path("in")], &Options { store: Some(without.clone()), ..OPTIONS });
    let refused = replay(&config, &without, &mut Vec::new(), &OPTIONS).unwrap_err();
    assert!(format!("{refused:#}").contains("does not hold the table `nodes`"), "{refused:#}");
    std::fs::remove_file(place.path("nodes.csv")).unwrap();
    std::fs::remove_file(place.path("owners.jsonl")).unwrap();
    assert_eq!(replayed(&config, &log), ran.bytes, "the file is gone");
}

#[test]
fn what_a_mapper_asks_for_must_be_there() {
    let place = Place::new();
    let refused = |tables: &str, words: &[&str]| {
        let refusal = place.refusal(tables);
        words.iter().for_each(|word| assert!(refusal.contains(word), "no `{word}` in: {refusal}"));
    };
    let mapper_at = |tables: &str| format!("stillhouse.toml:{}:10: ", 4 + tables.lines().count() + 2 + 2);
    let renamed = TABLES.replace("table.nodes", "table.node");
    refused(&renamed, &[&mapper_at(&renamed), "`service` of the table `nodes`", "did you mean `node`?"]);
    refused("", &[&mapper_at(""), "`[table.nodes]`", "there is none"]);
    let parents = |column: &str| format!("{TABLES}[inhibit]\ntable = \"nodes\"\ncolumn = \"{column}\"\n");
    refused(&parents("racks"), &["stillhouse.toml:6:8: ", "`[inhibit]` needs the column `racks`", "mean `rack`?"]);
    place.write("nodes.csv", "node,servic,rack\nn1,a,1\n");
    refused(TABLES, &[&mapper_at(TABLES), "the column `service` of the table `nodes`", "did you mean `servic`?"]);
    place.write("nodes.csv", "node,service,rack\nn1,cart,7\nn1,shop,8\n");
    refused(TABLES, &["stillhouse.toml:6:8: ", "nodes.csv:3: the key `n1` is there twice"]);
    std::fs::remove_file(place.path("nodes.csv")).unwrap();
    refused(TABLES, &["stillhouse.toml:6:8: ", "nodes.csv: cannot be read"]);
    let parse = |tables: &str| {
        let toml = place.toml(tables, CLOUD_EVENTS);
        Config::parse(Path::new("x.toml"), toml, &Overrides::default()).unwrap_err().to_string()
    };
    assert!(parse(&TABLES.replace("nodes.csv", "nodes.xls")).contains("x.toml:6:8: expected a file named `*.csv`"));
    assert!(parse(&TABLES.replace("[table.nodes]", "[table.'no des']")).contains("x.toml:5:8: table `no des`"));
    assert!(parse(&TABLES.replace("\"node\"", "\"\"")).contains("`key`"));
}

#[test]
fn a_table_that_is_checked_says_what_it_has() {
    let place = Place::new();
    let config = place.config(TABLES, CLOUD_EVENTS);
    let rules = RuleSet::load(&config, &engine(8).unwrap()).unwrap();
    let tables = tables::load(&config, &rules.fields(&config)).unwrap();
    assert_eq!(tables.iter().map(|table| &*table.name).collect::<Vec<_>>(), ["nodes", "owners"]);
    assert_eq!(tables[0].columns.iter().map(|column| &**column).collect::<Vec<_>>(), ["service", "rack"]);
}

/// The lines of a pipe, as they come.
fn lines(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (to, from) = channel();
    std::thread::spawn(move || {
        BufReader::new(pipe).lines().map_while(Result::ok).try_for_each(|line| to.send(line)).ok();
    });
    from
}

#[test]
fn a_table_that_changes_while_inputs_are_followed_becomes_part_of_the_log() {
    let place = Place::new();
    let config = place.write("stillhouse.toml", &place.toml(TABLES, CLOUD_EVENTS));
    let (log, nodes) = (place.path("log"), place.path("nodes.csv"));
    let mut child = stillhouse()
        .args(["run", "--follow", "-c"])
        .arg(&config)
        .arg("--store")
        .arg(&log)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let (events, said) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
    let (mut written, mut heard, mut id) = (String::new(), String::new(), 0);
    // Signals go on until what is waited for is there.
    let mut send_until = |done: &dyn Fn(&str, &str) -> bool| {
        let began = Instant::now();
        while !done(&written, &heard) {
            assert!(began.elapsed() < PATIENCE, "{written}\n{heard}");
            id += 1;
            let status = if id % 2 == 0 { "up" } else { "down" };
            stdin.write_all(signal(id, "\"n1\"", status).as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            events.try_iter().for_each(|line| written += &(line + "\n"));
            said.try_iter().for_each(|line| heard += &(line + "\n"));
        }
    };
    send_until(&|written, _| written.contains("\"cart/blue\""));
    std::fs::write(&nodes, "node,service,rack\nn1,bad").unwrap();
    send_until(&|_, heard| heard.contains("the version before stays in force") && heard.contains("nodes.csv:2"));
    std::fs::write(&nodes, "node,rack\nn1,1").unwrap();
    send_until(&|_, heard| heard.contains("the column `service` of the table `nodes`"));
    let next = place.write("next", "node,service,rack\nn1,bank,7\n");
    std::fs::rename(next, &nodes).unwrap();
    send_until(&|written, _| written.contains("\"bank/blue\""));
    std::fs::write(&nodes, "node,service,rack\nn1,shop,7\n").unwrap();
    send_until(&|written, _| written.contains("\"shop/blue\""));
    drop(stdin);
    assert!(child.wait().unwrap().success());
    events.iter().for_each(|line| written += &(line + "\n"));
    said.iter().for_each(|line| heard += &(line + "\n"));
    assert!(heard.contains("new versions of tables: 2 taken, 2 refused"), "{heard}");
    let subjects: BTreeSet<&str> =
        written.lines().filter_map(|line| line.split("\"subject\":").nth(1)?.split('"').nth(1)).collect();
    assert_eq!(subjects.into_iter().collect::<Vec<_>>(), ["bank/blue", "cart/blue", "shop/blue"]);
    std::fs::remove_file(nodes).unwrap();
    let config = Config::load(&config, &Overrides::default()).unwrap();
    assert_eq!(String::from_utf8(replayed(&config, &log)).unwrap(), written);
}
