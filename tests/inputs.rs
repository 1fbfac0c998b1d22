//! Several inputs, and pipes that pause: how the bytes come changes nothing in what leaves.

use std::path::{Path, PathBuf};

use stillhouse::config::{Config, Overrides};
use stillhouse::decode::framing::{Framer, Framing};
use stillhouse::decode::record::Decoder;
use stillhouse::pipeline::Pipeline;
use stillhouse::rules::{RuleSet, engine};

use crate::drive::{OPTIONS, drive, text};

const CLOUD_EVENTS: &str = "[order]\nallowed_lateness = \"5s\"\n[[input]]\nformat = \"cloudevents\"\n\
    [signal.t]\nmapper = \"status\"\nhold_down = \"2s\"\n";

const LINES: &str = "[[input]]\nformat = \"text\"\ntime = { format = \"%Y-%m-%dT%H:%M:%S\" }\n[[input.pattern]]\n\
    type = \"t\"\nregex = '^(?P<time>\\S+) (?P<subject>\\S+) (?P<status>\\S+)$'\n\
    [signal.t]\nmapper = \"status\"\n";

fn config(text: &str) -> Config {
    Config::parse(Path::new("x.toml"), text.to_owned(), &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn time(second: u32) -> String {
    format!("2026-01-{:02}T{:02}:{:02}:{:02}", 1 + second / 86_400, second / 3_600 % 24, second / 60 % 60, second % 60)
}

fn signal(source: &str, id: u32, second: u32, key: &str, up: bool) -> String {
    let (time, status) = (time(second), if up { "up" } else { "down" });
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"{source}","type":"t","subject":"{key}","time":"{time}Z","data":{{"status":"{status}","pad":"{:400}"}}}}"#,
        ""
    ) + "\n"
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_rotated_file_is_read_after_the_one_before_it_in_any_order() {
    let folder = tempfile::tempdir().unwrap();
    let lines: Vec<String> =
        (0..12_000).map(|id| signal("/a", id, id, &format!("k{}", id % 7), id / 50 % 2 == 0)).collect();
    let (first, second) = lines.split_at(6_000);
    let first = written(folder.path(), "r1.jsonl", &first.concat());
    let second = written(folder.path(), "r2.jsonl", &second.concat());
    let whole = written(folder.path(), "r.jsonl", &lines.concat());
    let config = config(CLOUD_EVENTS);
    let expected = drive(&config, &[whole], &OPTIONS);
    assert_eq!(expected.outcome.summary.ledger.late, 0);
    for files in [[first.clone(), second.clone()], [second, first]] {
        assert_eq!(drive(&config, &files, &OPTIONS).bytes, expected.bytes);
    }
}

#[test]
fn two_files_of_one_name_are_two_sources() {
    let folder = tempfile::tempdir().unwrap();
    let file = |node: &str| {
        let line = |second: u32| {
            format!("{} {node} {}\n", time(second * 10), if second.is_multiple_of(2) { "up" } else { "down" })
        };
        let text: String = (0..40).map(line).collect();
        written(folder.path(), &format!("{node}/syslog"), &(text + "rubbish\n"))
    };
    let files = [file("n1"), file("n2")];
    let ran = drive(&config(LINES), &files, &OPTIONS);
    assert_eq!(ran.outcome.summary.ledger.late, 0);
    let dead = ran.of_type("dead-letter");
    assert_eq!(dead.len(), 2);
    assert_ne!(text(&dead[0]["id"]), text(&dead[1]["id"]), "each event has an id of its own");
    // What a pattern takes from the file name stays that, even where it is the whole name.
    let by_file = LINES.replacen("format = \"text\"", "format = \"text\"\nfile_fields = '^(?P<subject>.*)$'", 1);
    let by_file =
        by_file.replace("(?P<subject>\\S+) (?P<status>", "(\\S+) (?P<status>").replace("\"status\"", "\"interval\"");
    let by_file = by_file.replace("P<subject>", "P<entity>").replace("P<status>", "P<state>");
    let ran = drive(&config(&by_file), &files, &OPTIONS);
    let keys: Vec<_> = ran.of_type("state.changed").iter().map(|event| text(&event["subject"]).to_owned()).collect();
    assert!(!keys.is_empty() && keys.iter().all(|key| key == "syslog"), "{keys:?}");
}

/// A pipe that pauses cuts chunks where it likes.
#[test]
fn where_chunks_end_changes_nothing() {
    let of = |source: &str| -> String { (0..20).map(|id| signal(source, id, id * 10, source, id % 2 == 0)).collect() };
    let stream = of("/a") + &of("/b") + "rubbish\n" + &of("/c");
    let config = config(CLOUD_EVENTS);
    let rules = RuleSet::load(&config, &engine(16).unwrap()).unwrap();
    let distilled = |cuts: &[usize]| {
        let worker = rules.worker(&config, 7).unwrap();
        let judge = Box::new(rules.judge(&config).unwrap());
        let mut pipeline = Pipeline::new(rules.plan(&config).unwrap(), 1, judge, vec![worker]);
        pipeline.add_input(Decoder::new(&config.inputs[0], "-", &rules.fields(&config)).into());
        let mut framer = Framer::new(Framing::Json);
        let (mut events, mut start) = (Vec::new(), 0);
        for &cut in cuts.iter().chain([&stream.len()]) {
            framer.buffer().extend_from_slice(&stream.as_bytes()[start..cut]);
            start = cut;
            let chunk = framer.chunk(true, cut == stream.len());
            pipeline.round(chunk.into_iter().map(|chunk| (0, chunk)).collect(), &mut events);
        }
        pipeline.end_input(0);
        pipeline.finish(&mut events);
        assert!(pipeline.ledger().balances());
        let mut bytes = Vec::new();
        events.iter().for_each(|event| event.write_line(&mut bytes));
        bytes
    };
    let whole = distilled(&[]);
    let line = stream.len() / 61;
    for cuts in [vec![line * 20], vec![line * 20, line * 41], (1..60).map(|number| number * line).collect()] {
        assert!(distilled(&cuts) == whole, "{cuts:?}");
    }
}
