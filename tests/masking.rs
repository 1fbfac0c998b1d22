//! Masks: a secret is nowhere in what is written, whatever becomes of the signal that has it.

use std::path::{Path, PathBuf};

use stillhouse::config::{Config, Overrides};
use stillhouse::decode::framing::{Chunk, Framer, Framing, RECORD_BYTES_MAX};
use stillhouse::mask::{Masks, WITHHELD};
use stillhouse::run::Options;
use stillhouse_store::{Map, Sequence, Store};

use crate::cli::stillhouse;
use crate::drive::{OPTIONS, Ran, drive, text};

/// What must be nowhere.
const SECRETS: [&str; 8] = [
    "alice@example.com",
    "alice\\u0040example.com",
    "10.11.12.13",
    "2001:db8::7",
    "hunter2secret",
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9",
    "4111222233334444",
    "Zaphod",
];

const MASKS: &str = "[[mask]]\nkind = \"email\"\n[[mask]]\nkind = \"address\"\n[[mask]]\nkind = \"token\"\n\
    [[mask]]\npattern = 'card-(?P<secret>\\d+)'\nwith = \"0\"\n";

const NOTE: &str = "jwt eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.c2ln card-4111222233334444";

const SIGNAL: &str = "[signal.t]\nmapper = \"status\"\n";

struct Format {
    input: &'static str,
    fields: &'static str,
    record: fn(usize) -> String,
    /// Around and between the records.
    layout: [&'static str; 3],
}

fn time(second: usize) -> String {
    format!("2026-01-01T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

fn status(at: usize) -> &'static str {
    if at.is_multiple_of(2) { "up" } else { "down" }
}

fn data(at: usize) -> String {
    let mail = if at.is_multiple_of(3) { "alice@example.com" } else { "alice\\u0040example.com" };
    format!(
        r#""status":"{}","detail":"from 10.11.12.13 or 2001:db8::7","{mail}":1,"password":"hunter2secret","text":"{NOTE} \"{mail}\" password=hunter2secret","user":{{"name":"Zaphod"}},"all":[[{{"user":{{"name":["Zaphod"]}}}}]],"n":[4111222233334444,1.5,null,true]"#,
        status(at)
    )
}

fn json(at: usize) -> String {
    format!(r#"{{"time":"{}","subject":"alice@example.com/{}",{}}}"#, time(at), at % 5, data(at))
}

fn pretty(at: usize) -> String {
    json(at).replace("\",\"", "\",\n  \"").replace('{', "{\n")
}

fn cloud_event(at: usize) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{at}","source":"10.11.12.13","type":"t","subject":"alice@example.com/{}","time":"{}","data_base64":"Zaphod","data":{{{}}}}}"#,
        at % 5,
        time(at),
        data(at)
    )
}

fn line(at: usize) -> String {
    format!(
        "{} alice@example.com/{} {} user=Zaphod from 10.11.12.13 or [2001:db8::7]:80 password: hunter2secret {NOTE}",
        time(at),
        at % 5,
        status(at)
    )
}

const TEXT: &str = "[[input]]\nformat = \"text\"\n[[input.pattern]]\ntype = \"t\"\n\
    regex = '^(?P<time>\\S+) (?P<subject>\\S+) (?P<status>\\S+) user=(?P<user>\\S+) from (?P<detail>\\S+)'\n";
const JSON: &str = "[[input]]\nformat = \"json\"\ntype = \"t\"\n";
const NAMES: &str = "[[mask]]\nfields = [\"data.user.name\", \"data.all.user.name\", \"data.n\"]\n";

fn formats() -> [Format; 6] {
    let lines = ["", "\n", "\n"];
    let of = |input, fields, record, layout| Format { input, fields, record, layout };
    [
        of(TEXT, "[[mask]]\nfields = [\"user\"]\n", line, lines),
        of(JSON, NAMES, json, lines),
        of(JSON, NAMES, pretty, lines),
        of(JSON, NAMES, json, ["[", ",\n", "]"]),
        // What stands beside the items is no part of any record.
        of(
            JSON,
            NAMES,
            json,
            ["{\"kind\":\"List\",\"by\":\"alice@example.com\",\"items\":[", ",", "],\"of\":\"Zaphod\"}"],
        ),
        of("[[input]]\nformat = \"cloudevents\"\n", NAMES, cloud_event, lines),
    ]
}

/// Signals that end in every place: events, late ones, and dead letters of every kind.
fn input(format: &Format) -> Vec<u8> {
    let [begin, between, end] = format.layout;
    let mut bytes = begin.as_bytes().to_vec();
    let mut add = |record: &[u8]| {
        if bytes.len() > begin.len() {
            bytes.extend_from_slice(between.as_bytes());
        }
        bytes.extend_from_slice(record);
    };
    let record = format.record;
    for at in 100..1_500 {
        add(record(at).as_bytes());
        let broken = record(at);
        match at % 100 {
            0 => add(record(at - 90).as_bytes()),
            1 => add(broken.replace("down", "10.11.12.13").as_bytes()),
            2 => add(broken.replace("2026-01", "alice@example.com").as_bytes()),
            3 => add(&[broken.as_bytes(), b" 10.11.12.13\xff alice@example.com"].concat()),
            4 => add(broken.replace("\"t\"", "\"10.11.12.13\"").replace(" user=", " 10.11.12.13=").as_bytes()),
            _ => {}
        }
    }
    // What never ends comes last: it may take what follows with it.
    if begin.is_empty() {
        let broken = record(1_500);
        add(&broken.as_bytes()[..broken.len() - 3]);
        add(format!("{} {}", record(1_501), "alice@example.com hunter2secret ".repeat(RECORD_BYTES_MAX / 30))
            .as_bytes());
        add(record(1_502).as_bytes());
    }
    bytes.extend_from_slice(end.as_bytes());
    bytes
}

fn config(toml: &str) -> Config {
    Config::parse(Path::new("x.toml"), toml.to_owned(), &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs it, and gives back all that was written.
fn written(folder: &Path, toml: &str, input: &[u8]) -> (Ran, Vec<u8>) {
    let (file, log): (PathBuf, PathBuf) = (folder.join("input"), folder.join("log"));
    std::fs::write(&file, input).unwrap();
    let _ = std::fs::remove_file(&log);
    let ran = drive(&config(toml), &[file], &Options { store: Some(log.clone()), ..OPTIONS });
    let mut all = kept(&log);
    all.extend_from_slice(&ran.bytes);
    all.extend_from_slice(ran.outcome.summary.to_string().as_bytes());
    (ran, all)
}

/// All that a store holds, as it was before it was compressed.
fn kept(store: &Path) -> Vec<u8> {
    let store = Store::open_to_read(store).unwrap();
    let mut all = Vec::new();
    for sequence in Sequence::ALL {
        store.read(sequence, 0).unwrap().for_each(|record| all.extend_from_slice(record.unwrap().bytes()));
    }
    for map in Map::ALL {
        store.scan(map, &[], None).unwrap().for_each(|pair| all.extend(pair.unwrap().1));
    }
    all
}

fn found(all: &[u8]) -> Vec<&'static str> {
    let all = String::from_utf8_lossy(all);
    SECRETS.into_iter().filter(|secret| all.contains(secret)).collect()
}

#[test]
fn no_secret_is_written_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    for (at, format) in formats().iter().enumerate() {
        let input = input(format);
        let open = format!("[order]\nallowed_lateness = \"0s\"\n{}{SIGNAL}", format.input);
        let (before, all) = written(folder.path(), &open, &input);
        let missed = SECRETS.len() - found(&all).len();
        assert!(missed <= 1, "format {at} shows its secrets without masks: {:?}", found(&all));
        let (after, all) = written(folder.path(), &format!("{open}{MASKS}{}", format.fields), &input);
        assert_eq!(found(&all), [""; 0], "format {at}");
        let places = |ran: &Ran| {
            let ledger = ran.outcome.summary.ledger;
            (ledger.received, ledger.emitted, ledger.late, ledger.dead_lettered, ledger.merged())
        };
        assert_eq!(places(&after), places(&before), "format {at}: every signal is in the place where it was");
        assert!(after.outcome.summary.ledger.late > 0 && after.outcome.summary.ledger.dead_lettered > 30);
        assert!(after.outcome.summary.tally.withheld > 0);
        let changed = after.of_type("state.changed");
        assert!(changed.iter().any(|event| text(&event["subject"]) == "[email]/1"), "{changed:?}");
        // By kind alone, what cannot be read is masked as the text that it is.
        let (by_kind, all) = written(folder.path(), &format!("{open}{MASKS}"), &input);
        let left = found(&all);
        assert!(left.iter().all(|secret| ["Zaphod", "4111222233334444"].contains(secret)), "format {at}: {left:?}");
        assert!(by_kind.outcome.summary.tally.withheld <= after.outcome.summary.tally.withheld);
    }
}

fn masked(toml: &str, records: &[u8], piece: usize) -> (Vec<u8>, u64) {
    let config = config(toml);
    let salt = |name: &str| (name == "SALT").then(|| "0123456789abcdef".to_owned());
    let mask = Masks::new(&config, salt).unwrap().input(&config.inputs[0], "input").unwrap();
    let framing = if toml.contains("text") { Framing::Lines } else { Framing::Json };
    let (mut framer, mut bytes, mut withheld) = (Framer::new(framing), Vec::new(), 0);
    let mut take = |mut chunk: Chunk| {
        withheld += mask.chunk(&mut chunk);
        bytes.extend_from_slice(&chunk.bytes);
    };
    for part in records.chunks(piece) {
        framer.buffer().extend_from_slice(part);
        framer.chunk(true, false).into_iter().for_each(&mut take);
    }
    framer.chunk(true, true).into_iter().for_each(&mut take);
    (bytes, withheld)
}

fn check(toml: &str, record: &str, expected: &str, withheld: u64) {
    for piece in [1, 7, 1 << 20] {
        let (bytes, count) = masked(toml, record.as_bytes(), piece);
        assert_eq!((String::from_utf8_lossy(&bytes).trim_end(), count), (expected, withheld), "in pieces of {piece}");
    }
}

#[test]
fn what_is_masked_stays_json() {
    let with = |masks: &str| format!("{JSON}{SIGNAL}{masks}");
    let email = with("[[mask]]\nkind = \"email\"\nwith = 'a \"mail\"'\n");
    check(
        &email,
        r#"{ "a\n": "to \u0061@b.c, \u00e9", "n": [1, 2.5, -3, 1e3, true, null, {}] , "d@e.f":{}}"#,
        r#"{"a\n":"to a \"mail\", é","n":[1,2.5,-3,1000.0,true,null,{}],"a \"mail\"":{}}"#,
        0,
    );
    check(&email, r#"{"a":"x@y.z""#, "{\"a\":\"a \"mail\"\"", 0);
    check(&email, r#"{"a":"x\u0040y.z""#, WITHHELD, 1);
    let fields = with("[[mask]]\nfields = [\"data.user\", \"data.list.name\"]\n");
    check(
        &fields,
        r#"{"user":{"name":"x"},"list":[{"name":1},{"name":null}],"name":"y"}"#,
        r#"{"user":"[masked]","list":[{"name":"[masked]"},{"name":null}],"name":"y"}"#,
        0,
    );
    check(
        &fields,
        r#"{"data":{"user":"x"},"data.user":true}"#,
        r#"{"data":{"user":"[masked]"},"data.user":"[masked]"}"#,
        0,
    );
    check(&fields, r#"{"user":"x""#, WITHHELD, 1);
    check(&fields, "[\"user\"]", WITHHELD, 1);
}

#[test]
fn pseudonyms_are_stable_and_distinct_and_need_a_salt() {
    let hash = "hash = true\nsalt_env = \"SALT\"\n";
    let by_kind = format!("{JSON}{SIGNAL}[[mask]]\nkind = \"email\"\n{hash}");
    let (bytes, _) = masked(&by_kind, br#"{"a":"x@y.z","b":"x@y.z and q@y.z"}"#, 64);
    let bytes = String::from_utf8(bytes).unwrap();
    let names: Vec<&str> = bytes.split('[').skip(1).filter_map(|rest| rest.split(']').next()).collect();
    assert_eq!(names.len(), 3, "{bytes}");
    assert!(names[0] == names[1] && names[0] != names[2], "{bytes}");
    // SHA-256 of salt and value, from `printf 0123456789abcdefx@y.z | sha256sum`.
    assert_eq!(names[0], "email:ff60e4ac3a7a14a9");
    let plain = format!("{TEXT}{SIGNAL}[[mask]]\nfields = [\"user\"]\nwith = \"user\"\n{hash}");
    let (line, _) = masked(&plain, line(1).as_bytes(), 64);
    assert!(String::from_utf8(line).unwrap().contains(" user=user_"));
    let refused = Masks::new(&config(&by_kind), |_| Some("short".into())).unwrap_err().to_string();
    assert!(refused.starts_with("x.toml:9:12: ") && refused.contains("`SALT`, which has 5"), "{refused}");
}

#[test]
fn the_salt_is_taken_from_the_environment_and_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let toml = format!("{JSON}{SIGNAL}[[mask]]\nkind = \"email\"\nhash = true\nsalt_env = \"STILLHOUSE_TEST_SALT\"\n");
    std::fs::write(path("x.toml"), toml).unwrap();
    std::fs::write(path("in"), [json(1), json(2), json(3)].join("\n")).unwrap();
    let run = |salt: Option<&str>, log: &str| {
        let mut command = stillhouse();
        command.current_dir(folder.path()).args(["run", "-q", "-c", "x.toml", "-i", "in", "--store", log]);
        command.env_remove("STILLHOUSE_TEST_SALT").envs(salt.map(|salt| ("STILLHOUSE_TEST_SALT", salt)));
        command.output().unwrap()
    };
    let without = run(None, "a");
    assert_eq!(without.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&without.stderr).contains("`STILLHOUSE_TEST_SALT`, which is not set"));
    let salted = run(Some("a long and secret salt"), "b");
    assert!(salted.status.success());
    let log = kept(&path("b"));
    for bytes in [&log, &salted.stdout] {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("secret salt") && !text.contains("alice") && text.contains("[email:"), "{text}");
    }
    let replayed =
        stillhouse().current_dir(folder.path()).args(["replay", "-c", "x.toml", "--store", "b"]).output().unwrap();
    assert_eq!(replayed.stdout, salted.stdout, "to replay needs no salt");
    assert_ne!(run(Some("another long and secret salt"), "c").stdout, salted.stdout);
}

#[test]
fn masks_that_make_no_sense_are_refused() {
    let refused = |input: &str, mask: &str, line: usize, words: &[&str]| {
        let toml = format!("{input}{SIGNAL}[[mask]]\n{mask}");
        let refusal = Config::parse(Path::new("x.toml"), toml, &Overrides::default()).unwrap_err().to_string();
        let line = input.lines().count() + 2 + line;
        assert!(refusal.starts_with(&format!("x.toml:{line}:")), "line {line}: {refusal}");
        words.iter().for_each(|word| assert!(refusal.contains(word), "no `{word}` in: {refusal}"));
    };
    refused(JSON, "files = \"*\"\n", 1, &["`fields`, `pattern` or `kind`"]);
    refused(JSON, "kind = \"emial\"\n", 2, &["did you mean `email`?"]);
    refused(JSON, "pattern = '('\n", 2, &["not a regular expression"]);
    refused(JSON, "kind = \"email\"\nwith = \"a\\nb\"\n", 3, &["one line"]);
    refused(JSON, "kind = \"email\"\nhash = true\n", 1, &["`salt_env`"]);
    refused(JSON, "kind = \"email\"\nsalt_env = \"A\"\n", 3, &["without `hash = true`"]);
    refused(JSON, "fields = []\n", 2, &["at least one"]);
    let words = TEXT.replace("user=(?P<user>\\S+)", "user=(?P<user>\\w+)");
    refused(&words, "fields = [\"user\"]\n", 1, &["`[masked]` would not be read", "the group `user` takes"]);
    refused(&words, "fields = [\"user\"]\nwith = \"a b\"\n", 3, &["`a b` would not be read"]);
    refused(TEXT, "fields = [\"usr\"]\n", 2, &["no pattern has a group `usr`", "did you mean `user`?"]);
}

#[test]
fn a_mask_is_for_the_inputs_that_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let toml = format!("{TEXT}{SIGNAL}[[mask]]\nfiles = \"other*\"\nkind = \"email\"\n");
    let (_, all) = written(folder.path(), &toml, line(1).as_bytes());
    assert!(found(&all).contains(&"alice@example.com"));
    let (_, all) = written(folder.path(), &toml.replace("other*", "in*"), line(1).as_bytes());
    assert!(!found(&all).contains(&"alice@example.com"));
}
