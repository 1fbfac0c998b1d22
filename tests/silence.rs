//! Entities that should have been observed and were not.

use stillhouse_core::Plan;
use stillhouse_core::plan::{Against, ConfirmPlan, DampingPlan, DedupePlan, FlappingPlan, TypePlan, Weights};

use crate::plans::{DOWN, GONE, UP, plan, type_plan};
use crate::stream::{Run, Signal, Stream, check_divided, signal};

/// Silent after 30.
fn one(change: impl FnOnce(&mut TypePlan)) -> Plan {
    let mut of_type = type_plan("probe");
    of_type.silent_after_us = Some(30);
    change(&mut of_type);
    plan(vec![of_type])
}

/// Observations of key `k`; one of key `z` says that time has come to `end_us`.
fn check(change: impl FnOnce(&mut TypePlan), observed: &[(i64, u8)], end_us: i64, expected: &[&str]) -> Run {
    let each = observed.iter().enumerate();
    let mut signals: Vec<Signal> =
        each.map(|(at, &(time_us, state))| signal(time_us, &format!("e{at}"), "k", state, "")).collect();
    signals.push(signal(end_us, "end", "z", UP, ""));
    check_divided(one(change), &Stream::of(signals), expected)
}

#[test]
fn silence_is_told_of_exactly_after_its_bound() {
    let silent = "35 state.changed k up>silent since 5 inputs 0";
    check(|_| (), &[(0, UP), (5, UP)], 34, &[]);
    let run = check(|_| (), &[(0, UP), (5, UP)], 35, &[silent]);
    let event: serde_json::Value = serde_json::from_str(run.bytes.trim_end()).expect("one event");
    assert_eq!(event["data"]["severity"], "warning");
    assert!(event["data"]["provenance"]["first"].is_null());
}

#[test]
fn what_is_observed_at_the_bound_comes_after_it() {
    let expected = ["30 state.changed k up>silent since 0 inputs 0", "30 state.changed k silent>up since 30 inputs 1"];
    check(|_| (), &[(0, UP), (30, UP)], 40, &expected);
    check(|_| (), &[(0, UP), (29, UP)], 40, &[]);
}

#[test]
fn a_problem_falls_silent_as_well_and_is_still_one_afterwards() {
    let expected = [
        "5 state.changed k ?>down since 0 inputs 1",
        "30 state.changed k down>silent since 0 inputs 0",
        "45 state.changed k silent>down since 40 inputs 1",
        "70 state.changed k down>silent since 40 inputs 0",
    ];
    check(|plan| plan.hold_down_us = 5, &[(0, DOWN), (40, DOWN)], 80, &expected);
}

#[test]
fn health_after_silence_needs_its_hold_open() {
    let expected = ["30 state.changed k up>silent since 0 inputs 0", "50 state.changed k silent>up since 40 inputs 2"];
    check(|plan| plan.hold_open_us = 10, &[(0, UP), (40, UP), (45, UP)], 60, &expected);
}

#[test]
fn who_was_silent_and_is_gone_is_news() {
    let expected =
        ["30 state.changed k up>silent since 0 inputs 0", "40 state.changed k silent>gone since 40 inputs 1"];
    let run = check(|_| (), &[(0, UP), (40, GONE)], 100, &expected);
    assert_eq!(run.core.entities(), 1);
}

#[test]
fn a_silent_entity_is_forgotten_after_its_bound() {
    let silent = "30 state.changed k up>silent since 0 inputs 0";
    let forgets = |plan: &mut TypePlan| plan.forget_after_us = 50;
    let known = [silent, "49 state.changed k silent>down since 49 inputs 1"];
    check(forgets, &[(0, UP), (49, DOWN)], 60, &known);
    // Whoever knows of the silence learns that nobody waits any longer.
    let clear = "50 state.changed k silent>clear since 0 inputs 0";
    let unknown = [silent, clear, "50 state.changed k ?>down since 50 inputs 1"];
    check(forgets, &[(0, UP), (50, DOWN)], 60, &unknown);
    let run = check(forgets, &[(0, UP)], 60, &[silent, clear]);
    assert_eq!((run.core.entities(), run.ledger.open), (1, 0));
}

#[test]
fn a_duplicate_is_an_observation_all_the_same() {
    let merged = |plan: &mut TypePlan| plan.dedupe = Some(DedupePlan { window_us: 25, against: Against::Last });
    check(merged, &[(0, UP), (20, UP)], 49, &[]);
    check(merged, &[(0, UP), (20, UP)], 50, &["50 state.changed k up>silent since 20 inputs 0"]);
}

#[test]
fn so_is_a_problem_that_is_not_believed() {
    let twice = |plan: &mut TypePlan| plan.confirm = Some(ConfirmPlan::Last { count: 2, of: 2 });
    let run = check(twice, &[(0, UP), (20, DOWN)], 50, &["50 state.changed k up>silent since 20 inputs 0"]);
    assert_eq!(run.ledger.open, 1);
    // Of an entity that nothing is known of, nothing is missed.
    check(twice, &[(0, DOWN)], 50, &[]);
}

#[test]
fn what_is_pending_is_told_first() {
    let expected = ["65 state.changed k up>down since 5 inputs 1", "65 state.changed k down>silent since 5 inputs 0"];
    check(|plan| plan.hold_down_us = 60, &[(0, UP), (5, DOWN)], 80, &expected);
}

#[test]
fn flapping_that_falls_silent_ends_first() {
    let flaps = |plan: &mut TypePlan| {
        let weights = Weights::Nagios;
        plan.flapping = Some(FlappingPlan { weights, high_mpct: 6_250, low_mpct: 0, quiet_us: Some(40) });
    };
    let expected = [
        "1 flapping.started k up>down since 1 inputs 1",
        "41 flapping.stopped k up>down since 1 inputs 1",
        "41 state.changed k up>down since 1 inputs 1",
        "41 state.changed k down>silent since 1 inputs 0",
    ];
    check(flaps, &[(0, UP), (1, DOWN)], 50, &expected);
    let damped = |plan: &mut TypePlan| {
        plan.damping = Some(DampingPlan {
            half_life_us: 10,
            cut: 1000,
            reuse: 750,
            max_suppress_us: 40,
            down: 1000,
            up: 0,
            change: 0,
        });
    };
    let expected = [
        "1 flapping.started k up>down since 1 inputs 1",
        "6 flapping.stopped k up>down since 1 inputs 1",
        "6 state.changed k up>down since 1 inputs 1",
        "31 state.changed k down>silent since 1 inputs 0",
    ];
    check(damped, &[(0, UP), (1, DOWN)], 50, &expected);
}
