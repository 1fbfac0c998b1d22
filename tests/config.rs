//! A configuration that is refused says where, what was expected, what came, and what to do.

use std::path::Path;

use stillhouse::config::{Config, Overrides};
use stillhouse_core::plan::{FloodPlan, InhibitPlan, MaintenancePlan};
use stillhouse_core::rule::RuleId;

const INPUT: &str = "[[input]]\nformat = \"cloudevents\"\n";
const SIGNAL: &str = "[signal.\"a.b\"]\nmapper = \"status\"\n";

fn refusal(text: &str) -> String {
    match Config::parse(Path::new("x.toml"), text.to_owned(), &Overrides::default()) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error.to_string(),
    }
}

/// Refused at this line, with all of these words.
fn check(text: &str, line: usize, words: &[&str]) {
    let refusal = refusal(text);
    assert!(refusal.starts_with(&format!("x.toml:{line}:")), "expected line {line}: {refusal}\n{text}");
    words.iter().for_each(|word| assert!(refusal.contains(word), "no `{word}` in: {refusal}"));
}

fn with_signal(lines: &str, line: usize, words: &[&str]) {
    check(&format!("{INPUT}{SIGNAL}{lines}"), 4 + line, words);
}

fn with_input(lines: &str, line: usize, words: &[&str]) {
    check(&format!("{SIGNAL}[[input]]\n{lines}"), 3 + line, words);
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    with_signal("hold_dwn = \"5s\"\n", 1, &["unknown key `hold_dwn`", "did you mean `hold_down`?"]);
    with_signal("[signal.\"a.b\".flapping]\nhi = 3\n", 2, &["unknown key `hi`", "did you mean `high`?"]);
    check(&format!("[ordr]\n{INPUT}{SIGNAL}"), 1, &["unknown key `ordr`", "did you mean `order`?"]);
    with_input("format = \"jsno\"\n", 1, &["unknown value `jsno`", "did you mean `json`?"]);
    with_signal("mode = \"stat\"\n", 1, &["did you mean `state`?"]);
}

#[test]
fn values_of_the_wrong_form_are_refused() {
    with_signal("hold_down = \"5 fortnights\"\n", 1, &["expected a duration", "`5 fortnights`"]);
    with_signal("hold_down = 5\n", 1, &["expected a string"]);
    with_signal("[signal.\"a.b\".flapping]\nhigh = 120\nlow = 20\n", 1, &["from 0 to 100"]);
    with_input("format = \"cloudevents\"\nfiles = \"***\"\n", 2, &["not a pattern for file names"]);
    check(&format!("[order]\npending_max = 0\n{INPUT}{SIGNAL}"), 2, &["at least 1"]);
    check("[signal\n", 1, &[]);
    check("", 1, &["no signal type"]);
    check(SIGNAL, 1, &["no input"]);
}

#[test]
fn low_above_high_is_refused_with_the_two_exchanged() {
    let words = ["`low` (60) is above `high` (40)", "did you mean `high = 60, low = 40`?"];
    with_signal("[signal.\"a.b\".flapping]\nhigh = 40\nlow = 60\n", 1, &words);
}

#[test]
fn combinations_that_make_no_sense_are_refused() {
    for key in ["hold_down = \"1s\"", "hold_open = \"1s\"", "clear_after = \"1s\""] {
        let name = key.split(' ').next().unwrap();
        with_signal(&format!("mode = \"occurrence\"\n{key}\n"), 2, &[name, "`mode = \"occurrence\"`"]);
    }
    with_signal("dedupe = { window = \"5s\", against = \"any\" }\n", 1, &["use `against = \"last\"`"]);
    for zero in ["clear_after = \"0s\"", "clear_after = { failing = \"0s\" }", "forget_after = \"0s\""] {
        with_signal(&format!("{zero}\n"), 1, &["must be more than 0"]);
    }
    with_signal("suppress_max = \"1h\"\n", 1, &["`suppress_max` without a `suppressor`"]);
    with_signal("never_suppress = \"error\"\n", 1, &["a `flood` limit or `[inhibit]`", "nothing is held back"]);
    with_signal("suppressor_settings = { windows = \"x\" }\n", 1, &["without a `suppressor`"]);
}

#[test]
fn the_evidence_for_a_problem_is_one_of_its_ways() {
    let confirm = |table: &str, words: &[&str]| with_signal(&format!("confirm = {{ {table} }}\n"), 1, words);
    confirm("", &["`confirm` is one of `count = 3, of = 5`", "got nothing"]);
    confirm("count = 3", &["`retries = 2`", "got `count`"]);
    confirm("count = 3, of = 5, within = \"1m\"", &["got `count`, `of`, `within`"]);
    confirm("count = 5, of = 3", &["`count` (5) is above `of` (3)", "did you mean `count = 3, of = 5`?"]);
    confirm("count = 0, of = 3", &["`count` is a number from 1 to 64"]);
    confirm("count = 3, of = 65", &["`of` is a number from 1 to 64"]);
    confirm("sources = 65, within = \"1m\"", &["`sources` is a number from 1 to 64"]);
    confirm("retries = 64", &["`retries` is a number from 0 to 63"]);
    confirm("retry = 2", &["unknown key `retry`", "did you mean `retries`?"]);
    with_signal("mode = \"occurrence\"\nconfirm = { retries = 1 }\n", 2, &["`confirm`", "`mode = \"occurrence\"`"]);
}

#[test]
fn silence_must_be_noticed_before_anything_else_comes_of_it() {
    let silent = "silent_after = \"5m\"\n";
    with_signal(&format!("{silent}clear_after = \"1h\"\n"), 2, &["`clear_after` and `silent_after`", "leave one"]);
    with_signal(&format!("{silent}forget_after = \"5m\"\n"), 1, &["less than `forget_after`"]);
    with_signal("silent_after = \"30d\"\n", 1, &["less than `forget_after`"]);
    with_signal("silent_after = \"0s\"\n", 1, &["`silent_after` must be more than 0"]);
    with_signal(&format!("{silent}flapping = {{ high = 50, low = 25 }}\n"), 1, &["needs `quiet` in `flapping`"]);
    with_signal(&format!("mode = \"occurrence\"\n{silent}"), 2, &["`silent_after`", "`mode = \"occurrence\"`"]);
}

#[test]
fn a_spread_is_a_number_of_sources() {
    for spread in ["1", "33"] {
        with_signal(&format!("spread = {spread}\n"), 1, &["`spread` is a number of sources, from 2 to 32"]);
    }
    with_signal("mode = \"occurrence\"\nspread = 3\n", 2, &["`spread`", "`mode = \"occurrence\"`"]);
}

#[test]
fn what_cannot_be_corrected_is_refused() {
    with_signal("correct = \"0s\"\n", 1, &["`correct` must be more than 0"]);
    let early = "correct = \"5m\"\nmode = \"window\"\n[signal.\"a.b\".window]\ngap = \"5m\"\nearly = true\n";
    with_signal(early, 1, &["`correct`", "`early = true`"]);
}

#[test]
fn windows_are_refused_where_they_make_no_sense() {
    let window = |lines: &str| format!("mode = \"window\"\n[signal.\"a.b\".window]\n{lines}");
    let with_window = |lines: &str, line: usize, words: &[&str]| with_signal(&window(lines), 2 + line, words);
    with_signal("mode = \"windows\"\n", 1, &["did you mean `window`?"]);
    with_signal("mode = \"window\"\n", 0, &["needs a window", "`[signal.\"TYPE\".window]`"]);
    let without_mode = ["needs `mode = \"window\"`", "here it is `mode = \"state\"`"];
    with_signal("[signal.\"a.b\".window]\ngap = \"5m\"\n", 1, &without_mode);
    with_signal("mode = \"window\"\nhold_down = \"1s\"\nwindow = { gap = \"5m\" }\n", 2, &["`hold_down`"]);
    with_window("gpa = \"5m\"\n", 1, &["unknown key `gpa`", "did you mean `gap`?"]);
    with_window("every = \"5m\"\n", 0, &["needs `gap` (session), `size` (tumbling), or `size` and `every` (sliding)"]);
    with_window("gap = \"5m\"\nsize = \"5m\"\n", 0, &["leave one of the two out"]);
    for key in ["gap", "size", "every", "max"] {
        with_window(&format!("{key} = \"0s\"\n"), 1, &[&format!("`{key}` must be more than 0")]);
        with_window(&format!("{key} = \"367d\"\n"), 1, &[&format!("`{key}` must be at most 366d")]);
    }
    with_window("size = \"60s\"\nevery = \"7s\"\n", 2, &["`size` is 8.57", "times `every`", "a whole number"]);
    with_window("size = \"5s\"\nevery = \"10s\"\n", 2, &["`size` is 0.5 times `every`"]);
    with_window("size = \"1h\"\nevery = \"1s\"\n", 2, &["`size` is 3600 times `every`", "at most 1000"]);
    with_window("size = \"1h\"\nmax = \"1d\"\n", 2, &["`max` is for sessions and sliding windows"]);
    with_window("gap = \"5m\"\nmax = \"1m\"\n", 2, &["`max`", "shorter than `gap`"]);
    with_window("size = \"2d\"\nevery = \"1d\"\n", 0, &["`max` (1d unless given) is shorter than `size`"]);
    with_window("gap = \"5m\"\ncount = 0\n", 2, &["`count` must be at least 1"]);
    with_window("gap = \"5m\"\nsources = 65\n", 2, &["`sources` must be from 1 to 64, got 65"]);
    with_window("gap = \"5m\"\nvalues = 0\n", 2, &["`values` must be from 1 to 64, got 0"]);
    for lines in ["gap = \"5m\"\n", "size = \"1h\"\ncount = 3\nearly = true\n", "size = \"1h\"\nevery = \"5m\"\n"] {
        let text = format!("{INPUT}{SIGNAL}{}", window(lines));
        assert!(Config::parse(Path::new("x.toml"), text, &Overrides::default()).is_ok(), "{lines}");
    }
}

#[test]
fn an_input_says_all_that_its_format_needs() {
    with_input("format = \"text\"\n", 1, &["`[[input.pattern]]`"]);
    with_input("format = \"json\"\n", 1, &["json needs a `type`"]);
    with_input("format = \"cloudevents\"\ntype = \"a.b\"\n", 2, &["`type` is for `format = \"json\"` only"]);
    with_input("format = \"json\"\ntype = \"a.c\"\n", 2, &["no `[signal.\"a.c\"]`", "did you mean `a.b`?"]);
    let pattern = "format = \"text\"\n[[input.pattern]]\ntype = \"a.b\"\n";
    with_input(&format!("{pattern}regex = '(?P<when>.)'\n"), 4, &["no group gives the event time", "`when`"]);
    with_input(&format!("{pattern}regex = '(?P<time>'\n"), 4, &["not a regular expression"]);
}

#[test]
fn event_time_has_all_that_its_format_needs() {
    let time = |rest: &str| format!("format = \"json\"\ntype = \"a.b\"\ntime = {{ {rest} }}\n");
    with_input(&time("format = \"%b %d %H:%M\""), 3, &["no year", "--year"]);
    with_input(&time("format = \"rfc3338\""), 3, &["did you mean `rfc3339`?"]);
    with_input(&time("format = \"%Y %H\", zone = \"Mars/Olympus\""), 3, &["`Mars/Olympus`", "Europe/Berlin"]);
    with_input("format = \"cloudevents\"\ntime = { fields = [\"t\"] }\n", 2, &["leave `fields` out"]);
    let year = Overrides { year: Some(2020) };
    let text = format!("{SIGNAL}[[input]]\n{}", time("format = \"%b %d %H:%M\""));
    let other =
        |overrides: &Overrides| Config::parse(Path::new("x.toml"), text.clone(), overrides).map(|config| config.digest);
    let with_year = other(&year).expect("--year gives the year");
    assert_ne!(with_year, other(&Overrides { year: Some(2021) }).unwrap(), "what is overridden is in the digest");
}

#[test]
fn limits_against_floods_are_whole() {
    let flood = |lines: &str| format!("[signal.\"a.b\".flood]\n{lines}");
    with_signal(&flood("per = \"1m\"\n"), 1, &["`flood` needs a limit", "`max`", "`per_source`"]);
    with_signal(&flood("max = 5\n"), 1, &["missing field `per`"]);
    with_signal(&flood("max = 0\nper = \"1m\"\n"), 2, &["`max` must be at least 1"]);
    with_signal(&flood("per_source = 0\nper = \"1m\"\n"), 2, &["`per_source` must be at least 1"]);
    with_signal(&flood("max = 5\nper = \"0s\"\n"), 3, &["length of a window", "more than 0"]);
    with_signal(&flood("max = 5\nper_sorce = 3\n"), 3, &["did you mean `per_source`?"]);
}

#[test]
fn inhibition_says_where_the_parents_are() {
    let all = |lines: &str| format!("{INPUT}{SIGNAL}{lines}");
    check(&all("inhibit = true\n"), 5, &["`inhibit = true` without `[inhibit]`", "`table` and `column`"]);
    check(&all("[inhibit]\ntable = \"topology\"\n"), 5, &["missing field `column`"]);
    check(&all("[inhibit]\ntable = \"\"\ncolumn = \"c\"\n"), 6, &["`table` is empty"]);
    check(&all("[inhibit]\ntable = \"t\"\ncolumn = \"c\"\n"), 6, &["no `[table.t]`", "there is none"]);
    check(&all("[inhibit]\ntable = \"t\"\ncolumn = \"c\"\ngrace = 5\n"), 8, &["expected a string"]);
}

#[test]
fn maintenance_has_a_beginning_and_an_end() {
    let work = |keys: &str, from: &str, to: &str| {
        format!("{INPUT}{SIGNAL}[[maintenance]]\nkeys = \"{keys}\"\nfrom = \"{from}\"\nto = \"{to}\"\n")
    };
    let (two, four) = ("2026-03-01T02:00:00Z", "2026-03-01T04:00:00Z");
    check(&work("", two, four), 6, &["`keys` is empty", "`db-*`"]);
    check(&work("*", "tonight", four), 7, &["`from` is a time", "got `tonight`", two]);
    check(&work("*", "2026-03-01T02:00", four), 7, &["`from` is a time with its offset"]);
    check(&work("*", four, two), 8, &["is not after `from`"]);
    check(&work("*", two, two), 8, &["is not after `from`"]);
}

#[test]
fn what_the_gate_is_told_is_what_the_file_says() {
    let text = format!(
        "{INPUT}{SIGNAL}inhibit = false\n[signal.\"a.c\"]\nmapper = \"status\"\nsuppress_max = \"1h\"\n\
         [signal.\"a.c\".flood]\nmax = 5\nper_source = 2\nper = \"1m\"\n\
         [inhibit]\ntable = \"topology\"\ncolumn = \"node\"\ngrace = \"30s\"\n\
         [table.topology]\nfile = \"topology.csv\"\nkey = \"key\"\n\
         [[maintenance]]\nkeys = \"db-*\"\nfrom = \"1970-01-01T00:00:01Z\"\nto = \"1970-01-01T01:00:02+01:00\"\n"
    );
    let parse = |text: String| Config::parse(Path::new("x.toml"), text, &Overrides::default()).expect("accepted");
    let takes_part = |config: &Config| {
        let mapper = RuleId { name: "status".into(), version: "1.0.0".into(), digest: "d".into() };
        let plans = config.signals.iter().map(|signal| signal.plan(&mapper, &[]).expect("a plan"));
        plans.map(|plan| (plan.inhibit, plan.flood)).collect::<Vec<_>>()
    };
    let config = parse(text.clone());
    let flood = FloodPlan { max: Some(5), per_source: Some(2), per_us: 60_000_000 };
    assert_eq!(takes_part(&config), [(false, None), (true, Some(flood))]);
    let inhibit = InhibitPlan { table: "topology".into(), column: "node".into(), grace_us: 30_000_000 };
    assert_eq!(config.inhibit, Some(inhibit));
    let work = MaintenancePlan { keys: "db-*".into(), from_us: 1_000_000, to_us: 2_000_000 };
    assert_eq!(config.maintenance, [work]);
    let named = text.replace("inhibit = false", "inhibit = true").replace("[inhibit]", "[inhibit]\nall = false");
    assert_eq!(takes_part(&parse(named)), [(true, None), (false, Some(flood))]);
}

#[test]
fn keys_that_are_none_are_refused() {
    let trust = |keys: &str, words: &[&str]| check(&format!("[rules]\ntrust = {keys}\n{INPUT}{SIGNAL}"), 2, words);
    trust("[]", &["names no key", "leave `trust` out"]);
    trust("[\"team.pub\"]", &["expected `ed25519:` and 64 hexadecimal digits", "`KEY.pub`"]);
    trust("[\"ed25519:3f\"]", &["some are missing"]);
    trust(&format!("[\"{}\"]", "a".repeat(64)), &["did you mean to put `ed25519:` before it?"]);
    let secret = format!("ed25519-secret:{}", "5".repeat(64));
    trust(&format!("[\"{secret}\"]"), &["this is a private key", "make a new one"]);
    assert!(!refusal(&format!("[rules]\ntrust = [\"{secret}\"]\n{INPUT}{SIGNAL}")).contains("555"));
    let key = "\"ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\"";
    trust(&format!("[{key}, {key}]"), &["named twice"]);
    check(&format!("[rules]\ntrsut = [{key}]\n{INPUT}{SIGNAL}"), 2, &["did you mean `trust`?"]);
}
