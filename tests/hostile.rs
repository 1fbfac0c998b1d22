//! A bad rule harms nobody else: whatever it does on a row, that row is a dead letter that says
//! why, and all else comes out byte for byte as if the row had never come.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use stillhouse::config::{Config, Overrides};
use stillhouse::run::Options;

use crate::chance::Chance;
use crate::drive::{OPTIONS, Ran, drive, root, text};

/// Signals of a run, both types together.
const SIGNALS: usize = 2_000;
/// Every so many of them is poison.
const POISON_EVERY: usize = 650;

/// Where `cargo xtask rules` puts the rules of tests.
pub fn rules_folder() -> String {
    let folder = root().join("target/test-rules");
    assert!(folder.join("hostile.wasm").exists(), "{} is not filled: run `cargo xtask rules`", folder.display());
    folder.to_string_lossy().into_owned()
}

/// Two signal types: `bad` with these lines, and `good` with the rule that ships.
fn config(bad: &str) -> Config {
    let toml = format!(
        "[rules]\nfolder = '{}'\n[[input]]\nformat = \"cloudevents\"\n\
         [signal.good]\nmapper = \"status\"\nhold_down = \"3s\"\n[signal.bad]\nhold_down = \"3s\"\n{bad}\n",
        rules_folder()
    );
    Config::parse(Path::new("hostile.toml"), toml, &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// One CloudEvent for each signal; a healthy one in four of both types says so. `poison` tells what
/// the data of a poisoned `bad` signal is.
struct Line {
    text: String,
    id: String,
    is_poison: bool,
}

fn lines(poison: impl Fn(usize) -> String) -> Vec<Line> {
    let mut chance = Chance::new(11);
    let line = |at: usize| {
        let is_poison = at % POISON_EVERY == POISON_EVERY - 150;
        let entity = chance.below(20);
        let kind = if is_poison || chance.percent(50) { "bad" } else { "good" };
        let word = if chance.percent(60) { "up" } else { "down" };
        let data = match (is_poison, kind) {
            (true, _) => poison(at),
            (_, "bad") => format!(r#"{{"key":"shop/{entity}","do":"{word}","status":"{word}"}}"#),
            _ => format!(r#"{{"status":"{word}"}}"#),
        };
        let (minute, second) = (at / 60 % 60, at % 60);
        let text = format!(
            r#"{{"specversion":"1.0","id":"s{at}","source":"shop","type":"{kind}","subject":"desk/{entity}","time":"2026-03-01T{:02}:{minute:02}:{second:02}Z","data":{data}}}"#,
            at / 3600
        );
        Line { text, id: format!("s{at}"), is_poison }
    };
    (0..SIGNALS).map(line).collect()
}

fn run(config: &Config, lines: &[&Line], options: &Options) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("signals.jsonl");
    let mut all = String::new();
    lines.iter().for_each(|line| writeln!(all, "{}", line.text).expect("a string takes all"));
    std::fs::write(&path, all).expect("a file can be written");
    drive(config, &[path], options)
}

/// The lines that left, but for those of one type.
fn without<'a>(ran: &'a Ran, kind: &str) -> Vec<&'a [u8]> {
    let kind = format!("\"type\":\"stillhouse.{kind}\"");
    ran.lines().filter(|line| !String::from_utf8_lossy(line).contains(&kind)).collect()
}

/// Runs with and without the poison, and compares. `reason` is what each dead letter says.
fn poisoned(bad: &str, poison: impl Fn(usize) -> String, reason: &str) {
    let config = config(bad);
    let lines = lines(poison);
    let all: Vec<&Line> = lines.iter().collect();
    let sound: Vec<&Line> = lines.iter().filter(|line| !line.is_poison).collect();
    let expected = run(&config, &sound, &OPTIONS);
    assert_eq!(expected.outcome.summary.ledger.dead_lettered, 0);
    assert!(expected.lines().count() > 200, "{} events", expected.lines().count());
    let mut first: Option<Vec<u8>> = None;
    for (batch_rows, threads) in [(1024, 2), (100, 1)] {
        let ran = run(&config, &all, &Options { batch_rows, threads, ..OPTIONS });
        let dead = ran.of_type("dead-letter");
        let ids: Vec<&str> = dead.iter().map(|event| text(&event["data"]["id"])).collect();
        let poison: Vec<&str> = lines.iter().filter(|line| line.is_poison).map(|line| line.id.as_str()).collect();
        assert_eq!(ids, poison, "exactly the poison is dead: {reason}");
        assert!(poison.len() >= 2);
        for event in &dead {
            assert_eq!(event["data"]["signal"], "bad");
            assert_eq!(event["data"]["source"], "shop");
            assert!(event["data"]["mapper"]["digest"].is_string());
            let said = text(&event["data"]["reason"]);
            assert!(said.contains(reason), "said `{said}`, expected `{reason}`");
        }
        assert!(without(&ran, "dead-letter") == expected.lines().collect::<Vec<_>>(), "{reason}: others noticed");
        let (with, sound) = (ran.outcome.summary.ledger, expected.outcome.summary.ledger);
        assert!(with.balances());
        let dead = poison.len() as u64;
        assert_eq!(with.received, sound.received + dead);
        assert_eq!(with.dead_lettered, dead);
        assert_eq!((with.emitted, with.merged(), with.open), (sound.emitted, sound.merged(), sound.open));
        // How the batches fall does not show.
        assert!(*first.get_or_insert_with(|| ran.bytes.clone()) == ran.bytes, "{reason}: batches show");
    }
}

/// A row that tells the rule `hostile` what to do.
fn told(what: &str, reason: &str) {
    poisoned("mapper = \"hostile\"", |at| format!(r#"{{"key":"shop/{}","do":"{what}"}}"#, at % 20), reason);
}

#[test]
fn a_row_that_loops() {
    told("loop", "out of fuel: more than 40,000,000 units for 1 row");
}

#[test]
fn a_row_that_recurses() {
    told("recurse", "stack overflow: limit 512 KiB");
}

#[test]
fn a_row_that_takes_all_memory() {
    told("grow", "limit 16 MiB");
}

#[test]
fn a_row_that_panics() {
    told("panic", "asked to by `shop/");
}

#[test]
fn a_row_that_traps() {
    told("trap", "trap: wasm `unreachable` instruction executed");
}

#[test]
fn a_row_that_logs_without_end() {
    told("chatter", "out of fuel: more than 40,000,000 units for 1 row");
}

#[test]
fn a_row_with_a_reason_or_a_value_too_long() {
    told("long-reason", "a reason of 400 bytes, limit 256");
    told("long-value", "a value of 4,097 bytes, limit 4,096");
}

/// A row for which the whole answer of the rule `liar` is wrong.
fn tricked(trick: &str, reason: &str) {
    let bad = format!("mapper = \"liar\"\nmapper_settings = {{ trick = \"{trick}\" }}");
    poisoned(&bad, |_| r#"{"key":"any","do":"lie"}"#.to_owned(), &format!("bad answer: {reason}"));
}

#[test]
fn answers_of_the_wrong_length() {
    tricked("short", "`outcome` has 0 entries for 1 rows");
    tricked("long", "`state` has 2 entries for 1 rows");
    tricked("no-offsets", "`key`: 0 offsets for 1 rows");
}

#[test]
fn answers_that_are_no_text() {
    tricked("not-utf8", "`key`: not UTF-8");
    tricked("split-character", "`key`: not UTF-8");
}

#[test]
fn answers_with_wrong_offsets() {
    tricked("offset-out", "`key`: offsets from 0 to 4294967295 over 11 bytes");
    tricked("offset-falls", "`key`: offsets from 0 to 0 over 11 bytes");
}

#[test]
fn answers_with_unknown_codes() {
    tricked("state", "state code 2, but 2 states are declared");
    tricked("severity", "severity 4, expected 0 to 3");
    tricked("outcome", "outcome 3, expected 0 to 2");
    tricked("reason-code", "reason code 7, but there are 1 reasons");
}

#[test]
fn answers_out_of_their_bounds() {
    tricked("empty-key", "the key is empty");
    tricked("huge-key", "a key of 1,025 bytes, limit 1,024");
    tricked("reasons", "257 distinct reasons, limit 256");
}

#[test]
fn an_answer_that_is_too_large() {
    let bad = "mapper = \"liar\"\nmapper_settings = { trick = \"huge-answer\" }";
    poisoned(bad, |_| r#"{"key":"any","do":"lie"}"#.to_owned(), "`reason` has 3145728 entries for 1 rows");
}

#[test]
fn all_kinds_at_once() {
    let kinds = ["loop", "recurse", "grow", "panic", "trap"];
    poisoned("mapper = \"hostile\"", |at| format!(r#"{{"key":"k","do":"{}"}}"#, kinds[at / POISON_EVERY % 5]), "");
}

/// The events of one signal type without what a suppressor adds.
fn unjudged(ran: &Ran) -> Vec<Value> {
    let mut events = ran.events();
    for event in &mut events {
        let data = event["data"].as_object_mut().expect("an object");
        data.remove("judgement");
        data["provenance"]
            .as_object_mut()
            .expect("an object")
            .retain(|name, _| name != "suppressor" && name != "config");
    }
    events
}

#[test]
fn a_suppressor_that_fails_lets_everything_leave() {
    for (trick, reason) in [
        ("panic", "asked to by `shop/panic`"),
        ("loop", "out of fuel: more than 40,000,000 units for 1 row"),
        ("past", "bad answer: until -1, expected 0 or a time after 1970"),
        ("silent", "bad answer: verdict 1 without a reason"),
        ("memo-long", "bad answer: a memo of 9 bytes, limit 8"),
        ("memo-offsets", "bad answer: `memo`: offsets from 0 to 4294967295 over 8 bytes"),
        ("memo-rows", "bad answer: `memo`: 3 offsets for 1 rows"),
    ] {
        let judged = config("mapper = \"liar\"\nsuppressor = \"hostile-judge\"");
        let lines = lines(|at| {
            let word = if (at / POISON_EVERY).is_multiple_of(2) { "down" } else { "up" };
            format!(r#"{{"key":"shop/{trick}","do":"{word}"}}"#)
        });
        let all: Vec<&Line> = lines.iter().collect();
        let ran = run(&judged, &all, &OPTIONS);
        let plain = run(&config("mapper = \"liar\""), &all, &OPTIONS);
        assert_eq!(unjudged(&ran), unjudged(&plain), "{trick}: nothing is held back");
        let events = ran.events();
        let failed: Vec<&Value> = events.iter().filter(|event| event["subject"] == *format!("shop/{trick}")).collect();
        assert!(failed.len() >= 2, "{trick}: {} events", failed.len());
        for event in &events {
            let judgement = &event["data"]["judgement"];
            if event["subject"] == *format!("shop/{trick}") {
                assert_eq!(judgement["outcome"], "failed");
                assert!(text(&judgement["reason"]).contains(reason), "said {judgement}, expected `{reason}`");
            } else {
                assert!(judgement.is_null(), "{trick}: {event}");
            }
        }
        assert_eq!(ran.outcome.summary.ledger, plain.outcome.summary.ledger);
    }
}

#[test]
fn a_suppressor_that_fails_for_one_still_judges_the_others() {
    let judged = config("mapper = \"liar\"\nsuppressor = \"hostile-judge\"\nsuppress_max = \"1h\"");
    let lines = lines(|at| {
        let key = if (at / POISON_EVERY).is_multiple_of(2) { "panic" } else { "quiet" };
        format!(r#"{{"key":"shop/{key}","do":"down"}}"#)
    });
    let ran = run(&judged, &lines.iter().collect::<Vec<_>>(), &OPTIONS);
    let of = |key: &str| ran.events().into_iter().filter(|event| event["subject"] == *key).collect::<Vec<_>>();
    let (failed, quiet) = (of("shop/panic"), of("shop/quiet"));
    assert_eq!(failed[0]["data"]["judgement"]["outcome"], "failed");
    assert_eq!(quiet[0]["type"], "stillhouse.suppressed");
    assert_eq!(
        (&quiet[0]["data"]["outcome"], &quiet[0]["data"]["reason"]),
        (&"held".into(), &"asked to be quiet".into())
    );
}

#[test]
fn a_suppressor_is_handed_what_it_remembers() {
    let judged = config("mapper = \"liar\"\nsuppressor = \"hostile-judge\"");
    let lines = lines(|at| {
        let word = if (at / POISON_EVERY).is_multiple_of(2) { "down" } else { "up" };
        format!(r#"{{"key":"shop/count","do":"{word}"}}"#)
    });
    let ran = run(&judged, &lines.iter().collect::<Vec<_>>(), &OPTIONS);
    let counted: Vec<_> = ran.events().into_iter().filter(|event| event["subject"] == "shop/count").collect();
    let reasons: Vec<&str> = counted.iter().map(|event| text(&event["data"]["judgement"]["reason"])).collect();
    let expected: Vec<String> = (1..=reasons.len()).map(|count| format!("seen {count}")).collect();
    assert!(reasons.len() >= 2, "{counted:?}");
    assert_eq!(reasons, expected);
}
