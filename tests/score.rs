//! Scores on hand-made truth, where every number can be counted on fingers.

use stillhouse::demo::Files;
use stillhouse::demo::day::Day;
use stillhouse::demo::report::Paint;
use stillhouse::score::told::Told;
use stillhouse::score::truth::Truth;
use stillhouse::score::{Delay, Fate, Report, Score, picture, table};

use crate::cli;
use crate::drive::{OPTIONS, drive};

const MINUTE_US: i64 = 60_000_000;

/// A problem of `subject` that began and was told at these minutes.
fn told(subject: &str, since: i64, time: i64) -> Told {
    Told {
        time_us: time * MINUTE_US,
        since_us: since * MINUTE_US,
        kind: "stillhouse.state.changed".into(),
        signal: "net.link".into(),
        subject: subject.into(),
        state: "down".into(),
        severity: "warning".into(),
        inputs: 3,
        repeated: 7,
        ..Told::default()
    }
}

fn recovery(subject: &str, time: i64) -> Told {
    Told { state: "up".into(), severity: "info".into(), ..told(subject, time, time) }
}

/// A window in minutes of the first hour of 1970, with more fields.
fn window(subject: &str, from: i64, to: i64, more: &str) -> String {
    format!(
        "{{\"subject\":\"{subject}\",\"from\":\"1970-01-01T00:{from:02}:00Z\",\"to\":\"1970-01-01T00:{to:02}:00Z\"{more}}}\n"
    )
}

fn truths(lines: &str) -> Vec<Truth> {
    Truth::parse(lines, "truth").unwrap_or_else(|error| panic!("{error:#}"))
}

fn report(truths: &[Truth], events: &[Told]) -> Report {
    Report::new(truths, events, &Score::of(truths, events, 0), false, None)
}

#[test]
fn two_events_in_one_window_are_one_hit() {
    let truths = truths(&window("a", 10, 30, ""));
    let events = [told("a", 12, 13), recovery("a", 14), told("a", 20, 22), told("a", 31, 31), told("b", 12, 13)];
    let score = Score::of(&truths, &events, 0);
    assert_eq!(score.fates, [Fate::Hit(0), Fate::Unscored, Fate::Repeat(0), Fate::False, Fate::False]);
    let report = report(&truths, &events);
    let total = &report.total;
    assert_eq!((total.windows, total.hit, total.missed), (1, 1, 0));
    assert_eq!((total.repeated, total.wrong, total.unscored), (1, 2, 1));
    assert_eq!((total.recall, total.precision), (Some(1.0), Some(1.0 / 3.0)));
    // Told three minutes after the window began, not one after the state did.
    assert_eq!(total.delay.map(|delay| delay.max_us), Some(3 * MINUTE_US));
    // 5 events that count 3 + 7 signals each.
    assert_eq!((report.signals, report.signals_told, report.suppression), (50, false, Some(0.9)));
    assert_eq!(report.wrong.len(), 2);
}

#[test]
fn both_ends_of_a_window_belong_to_it() {
    let truths = truths(&window("a", 10, 20, ""));
    let fate = |since, slack_us| Score::of(&truths, &[told("a", since, 50)], slack_us).fates[0];
    assert_eq!([9, 10, 20, 21].map(|since| fate(since, 0)), [Fate::False, Fate::Hit(0), Fate::Hit(0), Fate::False]);
    assert_eq!([9, 21, 22].map(|since| fate(since, MINUTE_US)), [Fate::Hit(0), Fate::Hit(0), Fate::False]);
}

#[test]
fn one_event_hits_one_of_two_windows() {
    let truths = truths(&[window("a", 10, 20, ""), window("a", 15, 25, "")].concat());
    let score = Score::of(&truths, &[told("a", 16, 16), told("a", 17, 17), told("a", 18, 18)], 0);
    assert_eq!(score.fates, [Fate::Hit(0), Fate::Hit(1), Fate::Repeat(0)]);
}

#[test]
fn what_a_truth_names_must_be_so() {
    let event = told("a", 12, 15);
    let fate = |more: &str| Score::of(&truths(&window("a", 10, 20, more)), std::slice::from_ref(&event), 0).fates[0];
    for (right, wrong) in [
        (",\"state\":\"down\"", ",\"state\":\"slow\""),
        (",\"signal\":\"net.link\"", ",\"signal\":\"net.bgp\""),
        (",\"kind\":\"stillhouse.state.changed\"", ",\"kind\":\"stillhouse.flapping.started\""),
        (",\"severity\":\"warning\"", ",\"severity\":\"error\""),
        (",\"told_by\":\"1970-01-01T00:15:00Z\"", ",\"told_by\":\"1970-01-01T00:14:59Z\""),
        (",\"name\":\"cable\"", ",\"value\":\"x\""),
    ] {
        assert_eq!((fate(right), fate(wrong)), (Fate::Hit(0), Fate::False), "{right} {wrong}");
    }
    // Where recoveries are labelled, too, they are compared.
    let both = truths(&[window("a", 10, 20, ""), window("a", 30, 40, ",\"state\":\"up\"")].concat());
    let score = Score::of(&both, &[told("a", 12, 12), recovery("a", 32), recovery("b", 50)], 0);
    assert_eq!(score.fates, [Fate::Hit(0), Fate::Hit(1), Fate::False]);
}

#[test]
fn rows_by_type_and_by_subject() {
    let truths = truths(&[window("a", 10, 20, ""), window("b", 30, 40, ",\"signal\":\"net.bgp\"")].concat());
    let events = [told("a", 10, 11), told("c", 10, 11)];
    let score = Score::of(&truths, &events, 0);
    let rows = |by_subject| -> Vec<(String, u64, u64, u64)> {
        let report = Report::new(&truths, &events, &score, by_subject, Some(1000));
        assert_eq!(report.suppression, Some(0.998));
        let name = |row: &stillhouse::score::Row| row.subject.as_ref().unwrap_or(&row.signal).to_string();
        report.rows.iter().map(|row| (name(row), row.hit, row.missed, row.wrong)).collect()
    };
    assert_eq!(rows(false), [("net.bgp".into(), 0, 1, 0), ("net.link".into(), 1, 0, 1)]);
    assert_eq!(rows(true), [("b".into(), 0, 1, 0), ("a".into(), 1, 0, 0), ("c".into(), 0, 0, 1)]);
}

#[test]
fn an_event_that_corrects_another_is_no_second_alarm() {
    let truths = truths(&window("a", 10, 20, ""));
    let window = |kind: &str, corrects| Told { kind: kind.into(), corrects, ..told("a", 40, 45) };
    let events = [window("stillhouse.window.opened", false), window("stillhouse.window.closed", true)];
    assert_eq!(Score::of(&truths, &events, 0).fates, [Fate::False, Fate::Unscored]);
}

#[test]
fn percentiles_are_by_nearest_rank() {
    let of = |delays: &[i64]| Delay::of(delays.to_vec()).map(|delay| (delay.median_us, delay.p90_us, delay.max_us));
    assert_eq!(of(&[]), None);
    assert_eq!(of(&[5]), Some((5, 5, 5)));
    assert_eq!(of(&[10, 9, 8, 7, 6, 5, 4, 3, 2, 1]), Some((5, 9, 10)));
    assert_eq!(of(&[1, -2, 3]), Some((1, 3, 3)));
}

#[test]
fn tables_and_pictures_show_it() {
    let truths = truths(&[window("a", 10, 20, ""), window("<b>", 30, 40, ",\"name\":\"cable\"")].concat());
    let events = [told("a", 12, 15), told("a", 50, 51)];
    let score = Score::of(&truths, &events, 0);
    let text = table::text(&Report::new(&truths, &events, &score, true, None), Paint(false));
    for part in ["100.0 %", "missed: <b> from 1970-01-01T00:30:00", "(cable)", "false: a down since", "2 events: 1 hit"]
    {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    assert!(!text.contains('\x1b'));
    let svg = picture::svg(&truths, &events, &score).expect("a picture");
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    assert!(svg.contains("1 of 2 windows hit, 1 false") && svg.contains("&lt;b&gt;"), "{svg}");
}

#[test]
fn the_truth_of_the_demo_is_a_truth() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = Files::of(folder.path());
    files.write(&Day::new(1)).expect("the folder can be written");
    let config = stillhouse::config::Config::load(&files.configuration, &Default::default()).expect("a configuration");
    let ran = drive(&config, std::slice::from_ref(&files.signals), &OPTIONS);
    std::fs::write(&files.events, &ran.bytes).expect("it can be written");
    let truths = Truth::load(&files.truth).unwrap_or_else(|error| panic!("{error:#}"));
    let events = Told::load(&files.events).unwrap_or_else(|error| panic!("{error:#}"));
    let report = report(&truths, &events);
    assert_eq!(report.total.hit, truths.len() as u64, "{:?}", report.missed);
    assert_eq!((report.total.wrong, report.total.repeated, report.total.unscored), (0, 0, 0), "{:?}", report.wrong);
}

#[test]
fn errors_name_the_line_and_what_was_expected() {
    let refused = |lines: &str| Truth::parse(lines, "labels").unwrap_err().to_string();
    let good = window("a", 10, 20, "");
    let at_2 = |line: &str| refused(&format!("{good}{line}\n"));
    for (line, words) in [
        ("{", vec!["labels:2:", "not a truth", "\"from\""]),
        ("{\"subject\":\"a\"}", vec!["labels:2:", "missing field `from`"]),
        ("{\"from\":\"noon\",\"to\":\"noon\"}", vec!["labels:2:", "`2026-03-02T10:00:00Z`, got `noon`"]),
        ("{\"form\":\"x\"}", vec!["labels:2:", "unknown field `form`"]),
        (&window("a", 20, 10, ""), vec!["labels:2", "`to` (1970-01-01T00:10:00", "is before `from`"]),
    ] {
        let refusal = at_2(line);
        words.iter().for_each(|word| assert!(refusal.contains(word), "no `{word}` in: {refusal}"));
    }
}

#[test]
fn the_command_compares_and_its_exit_code_tells() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (truth, events, svg) = (path("truth.jsonl"), path("events.jsonl"), path("score.svg"));
    std::fs::write(&truth, window("a", 10, 20, "")).expect("a file");
    let event = "{\"type\":\"stillhouse.state.changed\",\"subject\":\"a\",\"time\":\"1970-01-01T00:12:00Z\",\"data\":{\
                 \"signal\":\"s\",\"to\":{\"state\":\"down\"},\"since\":\"1970-01-01T00:11:00Z\",\"severity\":\"error\"}}\n";
    let late = "{\"type\":\"stillhouse.late\",\"data\":{\"signal\":\"s\"}}\n";
    std::fs::write(&events, [event, late].concat()).expect("a file");
    let all = ["score", "--truth", &truth, "--events", &events, "--strict", "--svg", &svg, "--json"];
    let ran = cli::run(&all);
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let score: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    assert_eq!((&score["total"]["recall"], &score["total"]["false"]), (&1.0.into(), &0.into()));
    assert!(std::fs::read_to_string(&svg).expect("a picture").contains("1 of 1 windows hit"));

    std::fs::write(&events, [event, &event.replace("00:11", "00:40")].concat()).expect("a file");
    assert_eq!(cli::run(&all).status.code(), Some(1), "something is false");
    std::fs::write(&events, format!("{event}{{}}\n")).expect("a file");
    let ran = cli::run(&all);
    let error = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1));
    assert!(error.contains("events.jsonl:2: not a distilled event: no `type`"), "{error}");
}
