//! A clock that leaps: one signal far in the future must not close the time of all others, and a real
//! jump must not be held off for long.

use std::path::Path;
use std::sync::Arc;

use stillhouse::config::{Config, Overrides};
use stillhouse_core::Plan;
use stillhouse_core::plan::TypePlan;
use stillhouse_core::rule::{Condition, RuleId, State};

use crate::drive::{OPTIONS, drive};
use crate::stream::{Division, Item, Run, Signal, Stream, WHOLE, run, signal};

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;

fn plan(leap_max_us: Option<i64>) -> Arc<Plan> {
    let state = |name: &str, condition| State { name: name.into(), condition };
    let states = vec![state("up", Condition::Healthy), state("down", Condition::Problem)];
    let rule = RuleId { name: "m".into(), version: "1.0.0".into(), digest: String::new() };
    let mut plan = Plan { types: vec![TypePlan::new("probe", states, rule)], ..Plan::default() };
    plan.order.leap_max_us = leap_max_us;
    Arc::new(plan)
}

/// A minute of signals, one a second, with others put in after some of them.
fn minute(others: &[(i64, Signal)]) -> Stream {
    let regular = (0..60).flat_map(|second| {
        let own = signal(second * SECOND, &format!("r{second}"), "a", (second / 10 % 2) as u8, "");
        let others = others.iter().filter(move |(after, _)| *after == second).map(|(_, other)| other.clone());
        std::iter::once(own).chain(others)
    });
    Stream::of(regular)
}

fn ran(leap_max_us: Option<i64>, stream: &Stream) -> Run {
    let whole = run(&plan(leap_max_us), stream, WHOLE);
    for (shards, block_rows, entries) in [(1, 1, 1), (3, 7, 2), (8, 1024, 1)] {
        let other = run(&plan(leap_max_us), stream, Division { shards, block_rows, entries });
        assert_eq!((other.bytes, other.ledger), (whole.bytes.clone(), whole.ledger));
    }
    whole
}

fn told(run: &Run, kind: &str) -> usize {
    run.events.iter().filter(|event| event.kind == format!("stillhouse.{kind}")).count()
}

#[test]
fn one_signal_from_the_future_harms_no_other() {
    let leap = (30, signal(30 * 24 * HOUR, "x", "b", 1, ""));
    let stream = minute(&[leap]);
    let without = ran(None, &stream).ledger;
    assert_eq!((without.late, without.dead_lettered), (29, 0), "it closes the time of its source");
    let with = ran(Some(HOUR), &stream);
    assert_eq!((with.ledger.late, with.ledger.dead_lettered), (0, 1));
    assert_eq!(told(&with, "state.changed"), told(&ran(Some(HOUR), &minute(&[])), "state.changed"));
    assert!(with.bytes.contains("more than 3600 s ahead of all other signals (`leap_max`)"), "{}", with.bytes);
    // At the bound it is believed.
    let at_bound = minute(&[(30, signal(30 * SECOND + HOUR, "x", "b", 1, ""))]);
    assert_eq!(ran(Some(HOUR), &at_bound).ledger.dead_lettered, 0);
}

#[test]
fn a_real_jump_is_believed_at_its_third_signal() {
    let jump = |at: i64, id: &str| (59, signal(100 * HOUR + at * SECOND, id, "b", (at % 2) as u8, ""));
    let stream = minute(&[jump(0, "x"), jump(1, "y"), jump(2, "z"), jump(3, "w")]);
    let with = ran(Some(HOUR), &stream);
    assert_eq!((with.ledger.late, with.ledger.dead_lettered), (0, 2));
    let repeated = minute(&[jump(0, "x"), jump(0, "x"), jump(0, "x"), jump(0, "x")]);
    assert_eq!(ran(Some(HOUR), &repeated).ledger.dead_lettered, 4, "one that is sent again is no witness");
    let scattered = minute(&[10, 20, 30].map(|at| (at, signal(at * 30 * HOUR, &format!("x{at}"), "b", 1, ""))));
    assert_eq!(ran(Some(HOUR), &scattered).ledger.dead_lettered, 3, "what does not agree is no witness either");
}

#[test]
fn an_id_that_leapt_may_come_again_with_its_right_time() {
    let wrong = (30, signal(100 * HOUR, "x", "b", 1, ""));
    let right = (31, signal(31 * SECOND, "x", "b", 1, ""));
    let ledger = ran(Some(HOUR), &minute(&[wrong, right])).ledger;
    assert_eq!((ledger.dead_lettered, ledger.merged_id), (1, 0));
}

#[test]
fn sources_that_are_far_apart_are_told_by_all_that_is_known() {
    let mut stream = minute(&[]);
    stream.sources.push("late starter".into());
    // The other source begins behind the first one, and then jumps ahead.
    let other = |time_us, id: &str| Item::Signal(Signal { source: 1, ..signal(time_us, id, "b", 1, "") });
    stream.items.push(other(SECOND, "x"));
    (1..5).for_each(|at| stream.items.push(other(50 * HOUR + at * SECOND, &format!("y{at}"))));
    let ledger = ran(Some(HOUR), &stream).ledger;
    assert_eq!((ledger.dead_lettered, ledger.late), (2, 0));
}

#[test]
fn time_that_passes_in_silence_is_no_leap() {
    let mut stream = minute(&[]);
    stream.ended = false;
    let mut plan = (*plan(Some(HOUR))).clone();
    plan.order.idle_after_us = Some(60 * SECOND);
    stream.items.extend([Item::Tick(0), Item::Tick(60 * SECOND), Item::Tick(8 * HOUR)]);
    stream.items.push(Item::Signal(signal(8 * HOUR, "x", "b", 1, "")));
    assert_eq!(run(&Arc::new(plan), &stream, WHOLE).ledger.dead_lettered, 0);
}

#[test]
fn an_input_with_a_leap_is_not_read_last() {
    let folder = tempfile::tempdir().unwrap();
    let event = |source: &str, second: usize, id: String| {
        let time = format!("2026-01-01T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60);
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"{source}","type":"t","subject":"{source}","time":"{time}","data":{{"status":"up","pad":"{:1000}"}}}}"#,
            ""
        ) + "\n"
    };
    let lines = |source: &str| (0..20_000).map(|at| event(source, at, at.to_string())).collect::<Vec<_>>();
    let (mut one, other) = (lines("one"), lines("other"));
    one.insert(10, event("one", 0, "x".into()).replace("2026-01-01", "2027-01-01"));
    let files = [("one", one), ("other", other)].map(|(name, lines)| {
        std::fs::write(folder.path().join(name), lines.concat()).unwrap();
        folder.path().join(name)
    });
    let text = "[order]\nleap_max = \"1h\"\npending_max = 15000\n[[input]]\nformat = \"cloudevents\"\n[signal.t]\nmapper = \"status\"\n";
    let config = Config::parse(Path::new("x.toml"), text.into(), &Overrides::default()).unwrap();
    let summary = drive(&config, &files, &OPTIONS).outcome.summary;
    assert_eq!((summary.ledger.dead_lettered, summary.ledger.late, summary.bounds.forced), (1, 0, 0));
}
