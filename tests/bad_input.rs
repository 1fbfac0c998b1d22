//! Whatever an input holds: each record is a signal or a dead letter that says what is wrong, or
//! the input breaks off with a reason. Never a panic, and nothing is lost in silence.

use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use stillhouse::config::{Config, Overrides};

use crate::drive::{OPTIONS, Ran, text, try_drive};

const CLOUD_EVENTS: &str = "[[input]]\nformat = \"cloudevents\"\n";
const UNIX_JSON: &str = "[[input]]\nformat = \"json\"\ntype = \"good\"\nsubject = \"key\"\ntime = { fields = [\"t\"], format = \"unix\" }\n";
const TEXT: &str = "[[input]]\nformat = \"text\"\ntime = { fields = [\"time\"] }\n[[input.pattern]]\ntype = \"good\"\n\
    regex = '^(?P<time>\\S+) (?P<status>\\w+)$'\n";

/// Runs one input of this name and content.
fn run(input: &str, name: &str, bytes: &[u8]) -> anyhow::Result<Ran> {
    let toml = format!("[order]\nallowed_lateness = \"1h\"\n{input}[signal.good]\nmapper = \"status\"\n");
    let config = Config::parse(Path::new("bad-input.toml"), toml, &Overrides::default());
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("a file can be written");
    try_drive(&config, &[path], &OPTIONS)
}

/// As [`run`], of an input that reads to its end and holds so many records.
fn run_whole(input: &str, bytes: &[u8], records: u64) -> Ran {
    let ran = run(input, "input", bytes).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(ran.outcome.broken, []);
    assert_eq!(ran.outcome.summary.ledger.received, records, "{:?}", ran.dead_reasons());
    ran
}

fn good(id: &str, status: &str, second: u32) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"shop","type":"good","subject":"cart","time":"2026-03-01T00:00:{second:02}Z","data":{{"status":"{status}"}}}}"#
    )
}

/// The good event without one of its attributes.
fn lacking(attribute: &str) -> String {
    let mut event: serde_json::Value = serde_json::from_str(&good("b", "up", 30)).expect("it is JSON");
    event.as_object_mut().expect("an object").remove(attribute).expect("it has one");
    event.to_string()
}

fn with_time(time: &str) -> String {
    good("b", "up", 30).replace("\"2026-03-01T00:00:30Z\"", time)
}

#[test]
fn bad_records_among_good_ones() {
    let not_utf8 = good("b", "up", 30).replace("up", "u\u{1}p").into_bytes();
    let not_utf8: Vec<u8> = not_utf8.iter().map(|&byte| if byte == 1 { 0xff } else { byte }).collect();
    let bad: Vec<(Vec<u8>, &str)> = vec![
        ("this is not JSON".into(), "not a JSON object: "),
        (good("b", "up", 30)[..60].into(), "not a JSON object: "),
        (format!("{} and more", good("b", "up", 30)).into(), "not a JSON object: "),
        ("[1, 2]".into(), "not a JSON object: "),
        ("42".into(), "not a JSON object: "),
        ("null".into(), "not a JSON object: "),
        ("}".into(), "not a JSON object: "),
        (lacking("time").into(), "no event time: none of `time` is there"),
        (lacking("id").into(), "not a CloudEvent: no `id`"),
        (lacking("source").into(), "not a CloudEvent: no `source`"),
        (lacking("type").into(), "not a CloudEvent: no `type`"),
        (lacking("subject").into(), "missing subject"),
        (lacking("data").into(), "missing data.status"),
        (with_time("\"yesterday\"").into(), "event time: expected RFC 3339, got `yesterday`"),
        (with_time("\"2026-03-01T00:00:30\"").into(), "event time: expected RFC 3339, got `2026-03-01T00:00:30`"),
        (with_time("\"2026-02-30T00:00:30Z\"").into(), "event time: expected RFC 3339, got `2026-02-30T00:00:30Z`"),
        (with_time("\"0000-00-00T00:00:00Z\"").into(), "event time: expected RFC 3339"),
        (with_time("\"10000-01-01T00:00:00Z\"").into(), "event time: expected RFC 3339"),
        (with_time("1772323200").into(), "event time: expected a text"),
        (with_time("{}").into(), "no event time: none of `time` is there"),
        (good("b", "up", 30).replace("\"good\"", "\"god\"").into(), "unknown signal type `god`; configured: `good`"),
        (good("b", "sideways", 30).into(), "data.status is none of the words in the settings"),
        (not_utf8, "not UTF-8"),
        (b"\xff\xfe\xfd".into(), "not UTF-8"),
        (good("b", "u\0p", 30).into(), "not a JSON object: "),
        (vec![0; 100], "not a JSON object: "),
    ];
    let mut bytes = Vec::new();
    writeln!(bytes, "{}", good("g0", "up", 0)).expect("memory");
    for (at, (record, _)) in bad.iter().enumerate() {
        bytes.extend_from_slice(record);
        let status = if at % 2 == 0 { "down" } else { "up" };
        write!(bytes, "\n{}\n", good(&format!("g{}", at + 1), status, at as u32 + 1)).expect("memory");
    }
    let ran = run_whole(CLOUD_EVENTS, &bytes, 2 * bad.len() as u64 + 1);
    let dead = ran.of_type("dead-letter");
    for (at, (record, reason)) in bad.iter().enumerate() {
        let line = (2 * at + 2).to_string();
        let raw = String::from_utf8_lossy(record);
        let letter = dead.iter().find(|event| {
            let id = text(&event["data"]["id"]);
            id == line || id == "b" && raw.starts_with(text(&event["data"]["raw"]))
        });
        let letter = letter.unwrap_or_else(|| panic!("line {line} is no dead letter: {raw:.200}"));
        let said = text(&letter["data"]["reason"]);
        assert!(said.contains(reason), "line {line}: said `{said}`, expected `{reason}`");
        assert!(text(&letter["data"]["raw"]).len() <= 4096);
    }
    assert_eq!(dead.len(), bad.len());
    // The good ones change at each step, as if the bad ones were not there.
    let changes = ran.of_type("state.changed");
    assert_eq!(changes.len(), bad.len());
}

#[test]
fn a_line_of_a_hundred_megabytes() {
    let mut bytes = good("a", "up", 0).into_bytes();
    bytes.push(b'\n');
    bytes.resize(bytes.len() + 100_000_000, b'x');
    write!(bytes, "\n{}\n{}", good("b", "down", 1), good("c", "up", 2)).expect("memory");
    let ran = run_whole(CLOUD_EVENTS, &bytes, 4);
    let dead = ran.of_type("dead-letter");
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0]["data"]["reason"], "a record of more than 8 MiB; the rest of it was passed over");
    assert_eq!((text(&dead[0]["data"]["id"]), text(&dead[0]["data"]["raw"]).len()), ("2", 4096));
    assert_eq!(ran.of_type("state.changed").len(), 2);
    // The same as the only line, as text, and as a document that never ends.
    let long = vec![b'x'; 100_000_000];
    assert_eq!(run_whole(CLOUD_EVENTS, &long, 1).dead_reasons().len(), 1);
    assert_eq!(run_whole(TEXT, &long, 1).dead_reasons().len(), 1);
    let mut open = b"{\n\"a\": [".to_vec();
    open.resize(20_000_000, b' ');
    assert_eq!(run_whole(CLOUD_EVENTS, &open, 1).dead_reasons().len(), 1);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// Events that do not compress well, so that half a file holds some of them.
fn many() -> String {
    let event = |at: u32| {
        let id = format!("{:x}-{:x}", at.wrapping_mul(0x9e37_79b9), at.wrapping_mul(0x85eb_ca6b));
        good(&id, if at.is_multiple_of(2) { "up" } else { "down" }, at / 100 % 60) + "\n"
    };
    (0..5_000).map(event).collect()
}

#[test]
fn a_truncated_gzip() {
    let whole = gzip(many().as_bytes());
    let ran = run(CLOUD_EVENTS, "half.gz", &whole[..whole.len() / 2]).expect("what came before is distilled");
    let [(name, reason)] = ran.outcome.broken.as_slice() else { panic!("{:?}", ran.outcome.broken) };
    assert_eq!(name, "half.gz");
    assert!(reason.starts_with("the input broke off: "), "{reason}");
    let ledger = ran.outcome.summary.ledger;
    assert!((1_000..4_999).contains(&ledger.received), "{ledger:?}");
    // The break, and the record that it cut in two.
    let reasons = ran.dead_reasons();
    assert_eq!(reasons.iter().filter(|said| said.starts_with("the input broke off: ")).count(), 1);
    assert!(reasons.len() <= 2, "{reasons:?}");
    assert!(ran.of_type("state.changed").len() > 100);
}

#[test]
fn two_gzips_in_one_file_are_read() {
    let mut bytes = gzip((good("a", "up", 0) + "\n").as_bytes());
    bytes.extend(gzip(good("b", "down", 1).as_bytes()));
    let ran = run(CLOUD_EVENTS, "two.gz", &bytes).expect("it runs");
    assert_eq!((ran.outcome.summary.ledger.received, ran.outcome.broken), (2, vec![]));
}

#[test]
fn a_gzip_that_is_none() {
    for bytes in [b"plain text, no gzip".as_slice(), b"\x1f\x8b", b"\x1f\x8b\x08\0\0\0\0\0\0\x03 nonsense in it"] {
        let ran = run(CLOUD_EVENTS, "none.gz", bytes).expect("it runs");
        assert_eq!(ran.outcome.broken.len(), 1);
        assert!(ran.dead_reasons().iter().any(|said| said.starts_with("the input broke off: ")));
    }
}

#[test]
fn nothing_at_all() {
    for input in [CLOUD_EVENTS, UNIX_JSON, TEXT] {
        for bytes in [b"".as_slice(), b"\n", b"\r\n\r\n", b"   \n\t\n"] {
            let ran = run_whole(input, bytes, 0);
            assert!(ran.bytes.is_empty());
        }
        let ran = run(input, "empty.gz", &gzip(b"")).expect("it runs");
        assert_eq!((ran.outcome.summary.ledger.received, ran.outcome.broken), (0, vec![]));
    }
}

#[test]
fn an_input_that_is_no_file() {
    let config = format!("{CLOUD_EVENTS}[signal.good]\nmapper = \"status\"\n");
    let config = Config::parse(Path::new("a.toml"), config, &Overrides::default()).expect("it is sound");
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |path: &Path| format!("{:#}", try_drive(&config, &[path.to_owned()], &OPTIONS).expect_err("refused"));
    let missing = folder.path().join("missing.json");
    assert!(refused(&missing).starts_with(&format!("{}: cannot be opened: ", missing.display())));
    let said = refused(folder.path());
    assert!(said.ends_with("is a folder, expected a file"), "{said}");
}

#[test]
fn line_ends_and_marks_of_other_systems() {
    let lines = [good("a", "up", 0), good("b", "down", 1), good("c", "up", 2)];
    let plain = run_whole(CLOUD_EVENTS, lines.join("\n").as_bytes(), 3);
    assert_eq!(plain.events().len(), 2);
    for other in
        [lines.join("\r\n"), format!("\u{feff}{}", lines.join("\n")), lines.join("\n\n\n") + "\n\n", lines.concat()]
    {
        assert!(run_whole(CLOUD_EVENTS, other.as_bytes(), 3).bytes == plain.bytes, "{other:.60}");
    }
}

#[test]
fn text_of_other_systems() {
    // A line of text alone names no entity, so the rule refuses it: that it is read is what counts.
    let lines = "2026-03-01T00:00:00Z up\r\n2026-03-01T00:00:01Z down\r\nnonsense\r\n\0\0\0\r\n";
    let ran = run_whole(TEXT, lines.as_bytes(), 4);
    let none = "no pattern matches this line";
    assert_eq!(ran.dead_reasons(), [none, none, "missing subject", "missing subject"]);
    let ran = run_whole(TEXT, b"2026-03-01T00:00:00Z up\n\xff\xfe\n", 2);
    assert_eq!(ran.dead_reasons(), ["not UTF-8", "missing subject"]);
}

#[test]
fn text_with_a_mark_of_its_byte_order() {
    let ran = run_whole(TEXT, "\u{feff}2026-03-01T00:00:00Z up\n".as_bytes(), 1);
    assert_eq!(ran.dead_reasons(), ["missing subject"]);
}

#[test]
fn times_at_the_end_of_time() {
    for time in ["0001-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "9999-12-30T00:00:00Z", "9999-12-31T23:59:59.999999Z"]
    {
        let mut bytes = good("a", "up", 0);
        for (id, status) in [("b", "down"), ("c", "up")] {
            bytes += &format!("\n{}", good(id, status, 30).replace("2026-03-01T00:00:30Z", time));
        }
        bytes += &format!("\n{}", good("d", "down", 40));
        let ran = run_whole(CLOUD_EVENTS, bytes.as_bytes(), 4);
        for event in ran.events() {
            assert_eq!(event["specversion"], "1.0");
        }
    }
}

#[test]
fn numbers_that_are_no_times() {
    let huge = "1".repeat(400);
    let refused = [
        "1e400",
        "-1e30",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551615",
        "99999999999999999999999",
        huge.as_str(),
        "\"99999999999999999999999\"",
        "\"NaN\"",
        "\"1e5\"",
        "\"\"",
        "true",
        "{\"t\":1}",
        "[1]",
        "null",
    ];
    let record = |time: &str| format!("{{\"t\":{time},\"key\":\"cart\",\"status\":\"up\"}}\n");
    let bytes: String = std::iter::once(record("1772323200")).chain(refused.map(record)).collect();
    let ran = run_whole(UNIX_JSON, bytes.as_bytes(), refused.len() as u64 + 1);
    let reasons = ran.dead_reasons();
    let of_time = |said: &&String| said.contains("event time") || said.starts_with("not a JSON object: ");
    assert_eq!(reasons.iter().filter(of_time).count(), refused.len(), "{reasons:#?}");
}

#[test]
fn times_as_far_as_numbers_go() {
    let record = |time: &str, at: usize| {
        let status = if at.is_multiple_of(2) { "up" } else { "down" };
        format!("{{\"t\":{time},\"key\":\"cart\",\"data\":{{\"status\":\"{status}\"}}}}\n")
    };
    for order in
        [["9223372036854", "-9223372036854", "0", "1772323200.25"], ["-1", "-9223372036854", "0.5", "9223372036854"]]
    {
        let bytes: String = order.iter().enumerate().map(|(at, time)| record(time, at)).collect();
        let ran = run_whole(UNIX_JSON, bytes.as_bytes(), 4);
        ran.events().iter().for_each(|event| assert_eq!(event["specversion"], "1.0"));
    }
}
