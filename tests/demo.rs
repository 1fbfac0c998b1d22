//! The demo: on every day that a seed makes, what is known to be true comes out and nothing else.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use stillhouse::config::{Config, Overrides};
use stillhouse::demo::Files;
use stillhouse::demo::day::{Day, Topic};
use stillhouse::demo::report::{Paint, Report};
use stillhouse::demo::truth::Score;
use stillhouse::run::Options;

use crate::drive::{OPTIONS, Ran, drive, text};

const KINDS: [&str; 6] = ["state.changed", "flapping.started", "flapping.stopped", "suppressed", "late", "dead-letter"];

/// Writes the files of a day into `folder` and runs them.
fn distil(day: &Day, folder: &Path, options: &Options) -> Ran {
    let files = Files::of(folder);
    files.write(day).expect("the folder can be written");
    let config = Config::load(&files.configuration, &Overrides::default()).unwrap_or_else(|error| panic!("{error}"));
    drive(&config, &[files.signals], options)
}

/// The seeds that are looked at.
fn days() -> impl Iterator<Item = (u64, Day)> {
    (1..=5).map(|seed| (seed, Day::new(seed)))
}

#[test]
fn nothing_is_missed_and_nothing_is_false() {
    let folder = tempfile::tempdir().expect("a folder");
    for (seed, day) in days() {
        let ran = distil(&day, folder.path(), &OPTIONS);
        let events = ran.events();
        let score = Score::of(&day.truths, &events);
        assert!(score.is_perfect(), "seed {seed}: missed {:#?}, false {:#?}", score.missed, score.wrong);
        assert_eq!(score.total().found, day.truths.len() as u64, "seed {seed}");
        assert_eq!((score.late, score.dead), (day.late, day.malformed), "seed {seed}: late, dead letters");
        assert!(day.late > 50, "seed {seed}: {} late", day.late);
        let kinds: BTreeSet<&str> = events.iter().map(|event| text(&event["type"])).collect();
        let expected: BTreeSet<String> = KINDS.iter().map(|kind| format!("stillhouse.{kind}")).collect();
        assert!(kinds.iter().copied().eq(expected.iter().map(String::as_str)), "seed {seed}: {kinds:?}");
        let ledger = ran.outcome.summary.ledger;
        assert_eq!(ledger.received, day.signals.len() as u64, "seed {seed}");
        assert!(ledger.merged_id > 200 && ledger.dropped > 50 && ledger.suppressed > 50, "seed {seed}: {ledger:?}");
        // Every kind of trouble is there.
        for topic in Topic::ALL {
            let (raw, row) = (day.raw()[&topic], score.row(topic));
            assert!(row.found >= 2, "seed {seed}: {}", topic.name());
            assert!(raw.changes > 50 * row.distilled, "seed {seed}: {} {raw:?} {row:?}", topic.name());
        }
        let judged = |outcome: &str| events.iter().filter(|e| e["data"]["judgement"]["outcome"] == outcome).count();
        assert_eq!(judged("released"), 1, "seed {seed}: still failing when the window ends");
        assert_eq!(score.held, 9, "seed {seed}: pods of a deploy, one of which is critical");
    }
}

#[test]
fn the_same_bytes_again_and_in_any_split() {
    let folder = tempfile::tempdir().expect("a folder");
    let once = distil(&Day::new(1), folder.path(), &OPTIONS);
    let signals = std::fs::read(Files::of(folder.path()).signals).expect("signals");
    let split = Options { shards: 7, threads: 1, batch_rows: 100, ..OPTIONS };
    let again = distil(&Day::new(1), folder.path(), &split);
    assert!(signals == std::fs::read(Files::of(folder.path()).signals).expect("signals"), "the day differs");
    assert!(once.bytes == again.bytes, "the events differ");
    let mut other = Vec::new();
    Day::new(2).write(&mut other).expect("memory");
    assert!(signals != other, "another seed makes another day");
}

#[test]
fn the_score_can_fail() {
    let folder = tempfile::tempdir().expect("a folder");
    let day = Day::new(3);
    let events = distil(&day, folder.path(), &OPTIONS).events();
    let decisions: Vec<usize> =
        (0..events.len()).filter(|&at| matches!(text(&events[at]["type"]), "stillhouse.state.changed")).collect();
    let counts = |events: &[Value]| {
        let score = Score::of(&day.truths, events);
        (score.missed.len(), score.wrong.len(), score.total().missed, score.total().wrong)
    };
    assert_eq!(counts(&events), (0, 0, 0, 0));
    for &at in &decisions {
        let mut fewer = events.clone();
        let dropped = fewer.remove(at);
        assert_eq!(counts(&fewer), (1, 0, 1, 0), "without {dropped}");
        let mut more = events.clone();
        more.push(dropped);
        assert_eq!(counts(&more), (0, 1, 0, 1), "told twice");
    }
    // An event that says something else is both.
    for (pointer, other) in [
        ("/subject", "cart/pod-99"),
        ("/data/to/state", "gone"),
        ("/data/since", "2026-03-02T08:00:00Z"),
        ("/time", "2026-03-02T12:00:00Z"),
        ("/data/signal", "demo.link"),
    ] {
        let mut changed = events.clone();
        *changed[decisions[0]].pointer_mut(pointer).expect("every change has it") = other.into();
        assert_eq!(counts(&changed), (1, 1, 1, 1), "{pointer}");
    }
}

#[test]
fn the_report_fits_a_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    for (seed, day) in days() {
        let ran = distil(&day, folder.path(), &OPTIONS);
        let events = ran.events();
        let score = Score::of(&day.truths, &events);
        let summary = &ran.outcome.summary;
        let files = Files::of("stillhouse-demo".as_ref());
        let report =
            Report { seed, day: &day, events: &events, score: &score, summary, files: &files, overwritten: true };
        let plain = report.text(Paint(false));
        assert!(plain.lines().count() <= 64, "seed {seed}: {} lines", plain.lines().count());
        for line in plain.lines() {
            assert!(line.chars().count() <= 80, "seed {seed}: {} columns: {line}", line.chars().count());
        }
        assert!(!plain.contains('\x1b'));
        assert!(report.text(Paint(true)).contains('\x1b'));
    }
}

#[test]
fn files_of_others_are_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = Files::of(folder.path());
    assert!(!files.are_there().expect("nothing is there"));
    std::fs::write(&files.configuration, "# mine\n").expect("written");
    let refused = files.are_there().expect_err("not ours").to_string();
    assert!(refused.ends_with("was not made by a demo; name another folder with --output"), "{refused}");
    std::fs::remove_file(&files.configuration).expect("removed");
    files.write(&Day::new(1)).expect("written");
    assert!(files.are_there().expect("ours"));
}
