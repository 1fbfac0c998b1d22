//! Exact vectors: what happens at each bound, and not one microsecond before.

use std::sync::Arc;

use stillhouse_core::Plan;
use stillhouse_core::columns::outcome;
use stillhouse_core::plan::{Against, DedupePlan, FlappingPlan, Mode, TypePlan, Weights};

use crate::plans::{DOWN, GONE, SLOW, UP, plan, type_plan};
use crate::stream::{Item, Run, Signal, Stream, WHOLE, run, signal, told};

fn one(change: impl FnOnce(&mut TypePlan)) -> Plan {
    let mut of_type = type_plan("probe");
    change(&mut of_type);
    plan(vec![of_type])
}

/// Signals of key `k`: the id is the place in the list.
fn seen(observations: &[(i64, u8)]) -> Vec<Signal> {
    let each = observations.iter().enumerate();
    each.map(|(at, &(time_us, state))| signal(time_us, &format!("e{at}"), "k", state, "")).collect()
}

fn check(plan: Plan, signals: Vec<Signal>, expected: &[&str]) -> Run {
    let run = run(&Arc::new(plan), &Stream::of(signals), WHOLE);
    assert_eq!(told(&run.events), expected);
    run
}

fn check_items(plan: Plan, sources: &[&str], items: Vec<Item>, expected: &[&str]) -> Run {
    let sources = sources.iter().map(|&name| name.into()).collect();
    let run = run(&Arc::new(plan), &Stream { sources, items, ended: false }, WHOLE);
    assert_eq!(told(&run.events), expected);
    run
}

/// A signal of source `source` about key `k`.
fn from(source: u32, time_us: i64, state: u8) -> Item {
    let id = format!("s{source}-{time_us}");
    Item::Signal(Signal { source, ..signal(time_us, &id, "k", state, "") })
}

#[test]
fn a_state_that_lasted_exactly_its_hold_down_counts() {
    let held = |plan: &mut TypePlan| (plan.hold_down_us, plan.hold_open_us) = (10, 1000);
    let announced = ["10 state.changed k up>down since 0 inputs 2"];
    let at_bound = check(one(held), seen(&[(-5, UP), (0, DOWN), (5, DOWN), (10, UP)]), &announced);
    assert_eq!((at_bound.ledger.emitted, at_bound.ledger.open), (2, 1));
    let before = check(one(held), seen(&[(-5, UP), (0, DOWN), (5, DOWN), (9, UP)]), &[]);
    assert_eq!((before.ledger.merged_blip, before.ledger.merged_repeated), (2, 2));
}

#[test]
fn a_problem_is_over_when_its_opposite_lasted_exactly_the_hold_open() {
    let held = |plan: &mut TypePlan| (plan.hold_down_us, plan.hold_open_us) = (0, 10);
    let down = "0 state.changed k ?>down since 0 inputs 1";
    check(one(held), seen(&[(0, DOWN), (20, UP), (29, DOWN)]), &[down]);
    let up = "30 state.changed k down>up since 20 inputs 1";
    let again = "30 state.changed k up>down since 30 inputs 1";
    check(one(held), seen(&[(0, DOWN), (20, UP), (30, DOWN)]), &[down, up, again]);
}

#[test]
fn one_problem_after_another_waits_for_the_hold_down() {
    let held = |plan: &mut TypePlan| (plan.hold_down_us, plan.hold_open_us) = (10, 0);
    let down = "10 state.changed k ?>down since 0 inputs 1";
    let slow = "30 state.changed k down>slow since 20 inputs 1";
    check(one(held), seen(&[(0, DOWN), (20, SLOW), (30, SLOW)]), &[down, slow]);
}

#[test]
fn the_same_state_with_another_value_is_another() {
    let signals = vec![
        signal(0, "e0", "k", UP, "a"),
        signal(1, "e1", "k", UP, "b"),
        signal(2, "e2", "k", UP, "b"),
        signal(3, "e3", "k", UP, "a"),
    ];
    let expected = ["1 state.changed k upa>upb since 1 inputs 1", "3 state.changed k upb>upa since 3 inputs 1"];
    check(one(|_| ()), signals, &expected);
}

#[test]
fn gone_is_news_only_after_a_problem() {
    let down = "0 state.changed k ?>down since 0 inputs 1";
    let gone = "1 state.changed k down>gone since 1 inputs 1";
    let run = check(one(|plan| plan.hold_open_us = 100), seen(&[(0, DOWN), (1, GONE), (2, UP)]), &[down, gone]);
    assert_eq!(run.core.entities(), 1);
    let silent = check(one(|_| ()), seen(&[(0, UP), (1, GONE)]), &[]);
    assert_eq!(silent.core.entities(), 0);
}

#[test]
fn a_problem_nobody_speaks_of_is_over_exactly_after_its_bound() {
    let cleared = |plan: &mut TypePlan| plan.clear_after_us[DOWN as usize] = Some(10);
    let down = "0 state.changed k ?>down since 0 inputs 1";
    let clear = "15 state.changed k down>clear since 5 inputs 0";
    let other = |time_us| signal(time_us, "other", "z", UP, "");
    let mut signals = seen(&[(0, DOWN), (5, DOWN)]);
    signals.push(other(14));
    check(one(cleared), signals.clone(), &[down]);
    signals[2] = other(15);
    check(one(cleared), signals, &[down, clear]);
    // Who is healthy after that says nothing new.
    check(one(cleared), seen(&[(0, DOWN), (5, DOWN), (15, UP)]), &[down, clear]);
}

#[test]
fn a_problem_is_not_over_before_it_was_announced() {
    let late_news = |plan: &mut TypePlan| {
        plan.hold_down_us = 60;
        plan.clear_after_us[DOWN as usize] = Some(30);
    };
    let down = "60 state.changed k ?>down since 0 inputs 1";
    let clear = "60 state.changed k down>clear since 0 inputs 0";
    let signals = vec![signal(0, "e0", "k", DOWN, ""), signal(70, "e1", "z", UP, "")];
    check(one(late_news), signals, &[down, clear]);
}

#[test]
fn the_end_of_a_long_problem_is_not_forgotten_at_once() {
    let forgets = |plan: &mut TypePlan| plan.forget_after_us = 50;
    let expected = [
        "0 state.changed k ?>down since 0 inputs 1",
        "100 state.changed k down>up since 100 inputs 1",
        "110 state.changed k up>down since 110 inputs 1",
    ];
    check(one(forgets), seen(&[(0, DOWN), (100, UP), (110, DOWN)]), &expected);
}

#[test]
fn who_is_healthy_and_silent_is_forgotten_exactly_after_its_bound() {
    let forgets = |plan: &mut TypePlan| plan.forget_after_us = 50;
    let known = "49 state.changed k up>down since 49 inputs 1";
    check(one(forgets), seen(&[(0, UP), (49, DOWN)]), &[known]);
    let unknown = "50 state.changed k ?>down since 50 inputs 1";
    check(one(forgets), seen(&[(0, UP), (50, DOWN)]), &[unknown]);
}

#[test]
fn the_end_fires_what_is_due_at_the_newest_time() {
    let held = |plan: &mut TypePlan| plan.hold_down_us = 10;
    let other = |time_us| signal(time_us, "other", "z", UP, "");
    let down = signal(0, "e0", "k", DOWN, "");
    let fired = "10 state.changed k ?>down since 0 inputs 1";
    check(one(held), vec![down.clone(), other(10)], &[fired]);
    let open = check(one(held), vec![down, other(9)], &[]);
    assert_eq!(open.ledger.open, 1);
}

/// The flap score in percent, as its source defines it: of the 20 newest changes.
fn nagios_score(states: &[u8]) -> f64 {
    let changes: Vec<bool> = states.windows(2).map(|pair| pair[0] != pair[1]).collect();
    let newest_first = changes.iter().rev().take(20).enumerate();
    let weight = |age: usize| 0.75 + (19 - age) as f64 * 0.5 / 19.0;
    newest_first.map(|(age, &changed)| if changed { weight(age) } else { 0.0 }).sum::<f64>() / 20.0 * 100.0
}

#[test]
fn flapping_starts_and_stops_where_nagios_says() {
    let mut states = vec![UP, DOWN, UP, DOWN, UP, DOWN, UP, DOWN];
    states.extend([DOWN; 30]);
    let start = (1..=states.len()).find(|&count| nagios_score(&states[..count]) >= 20.0).expect("it flaps");
    let stop = (start..=states.len()).find(|&count| nagios_score(&states[..count]) <= 5.0).expect("it stops");
    let (start_us, stop_us) = (10 * (start as i64 - 1), 10 * (stop as i64 - 1));
    assert_eq!((start_us, stop_us), (40, 260), "four changes weigh 24.2 %, the last one 3.75 % after 20 calm ones");
    let flaps = |plan: &mut TypePlan| {
        plan.hold_down_us = 15;
        plan.flapping =
            Some(FlappingPlan { weights: Weights::Nagios, high_mpct: 20_000, low_mpct: 5_000, quiet_us: None });
    };
    let signals: Vec<_> = states.iter().enumerate().map(|(at, &state)| (10 * at as i64, state)).collect();
    let flapping = stop - start + 1;
    let expected = [
        "40 flapping.started k up>up since 40 inputs 1".into(),
        format!("{stop_us} flapping.stopped k up>down since 40 inputs {flapping}"),
        format!("{stop_us} state.changed k up>down since 70 inputs {}", stop - 7),
    ];
    let run = check(one(flaps), seen(&signals), &expected.each_ref().map(String::as_str));
    assert!(run.ledger.balances());
}

#[test]
fn the_bounds_of_flapping_are_inclusive() {
    // One change weighs exactly 6.25 %.
    let flaps = |high_mpct, low_mpct| {
        one(|plan| plan.flapping = Some(FlappingPlan { weights: Weights::Nagios, high_mpct, low_mpct, quiet_us: None }))
    };
    let signals = || seen(&[(0, UP), (1, DOWN)]);
    check(flaps(6_250, 0), signals(), &["1 flapping.started k up>down since 1 inputs 1"]);
    check(flaps(6_251, 0), signals(), &["1 state.changed k up>down since 1 inputs 1"]);
    // The change is the oldest of twenty: exactly 3.75 %.
    let calm = |count: i64| seen(&(0..count).map(|at| (at, if at == 0 { UP } else { DOWN })).collect::<Vec<_>>());
    let stopped = |run: &Run| run.events.iter().any(|event| event.kind == "stillhouse.flapping.stopped");
    let run_of = |low_mpct, count| run(&Arc::new(flaps(6_250, low_mpct)), &Stream::of(calm(count)), WHOLE);
    assert!(!stopped(&run_of(3_749, 21)));
    assert!(stopped(&run_of(3_750, 21)));
    assert!(!stopped(&run_of(3_750, 20)));
    assert!(stopped(&run_of(0, 22)));
}

#[test]
fn silence_ends_flapping_and_clears_the_history() {
    let flaps = |plan: &mut TypePlan| {
        plan.flapping =
            Some(FlappingPlan { weights: Weights::Nagios, high_mpct: 6_250, low_mpct: 0, quiet_us: Some(10) });
    };
    let expected = [
        "1 flapping.started k up>down since 1 inputs 1",
        "11 flapping.stopped k up>down since 1 inputs 1",
        "11 state.changed k up>down since 1 inputs 1",
        // The one change before was forgotten: 12.37 % with it, 6.25 % without.
        "12 flapping.started k down>up since 12 inputs 1",
    ];
    let run = check(one(flaps), seen(&[(0, UP), (1, DOWN), (12, UP)]), &expected);
    let last = serde_json::from_str::<serde_json::Value>(run.bytes.lines().last().expect("four lines"));
    assert_eq!(last.expect("JSON")["data"]["flap_score"], 6.25);
    let still = ["1 flapping.started k up>down since 1 inputs 1"];
    check(one(flaps), seen(&[(0, UP), (1, DOWN), (10, UP)]), &still);
}

#[test]
fn an_equal_fingerprint_extends_the_window_up_to_its_bound() {
    for against in [Against::Any, Against::Last] {
        let occurs = |plan: &mut TypePlan| {
            plan.mode = Mode::Occurrence;
            plan.dedupe = Some(DedupePlan { window_us: 10, against });
        };
        let expected = ["0 state.changed k ?>down since 0 inputs 1", "31 state.changed k down>down since 31 inputs 1"];
        let run = check(one(occurs), seen(&[(0, DOWN), (10, DOWN), (20, DOWN), (31, DOWN)]), &expected);
        assert_eq!(run.ledger.merged_fingerprint, 2);
    }
}

#[test]
fn another_fingerprint_ends_the_window_against_the_last() {
    let merged = |against| {
        let occurs = |plan: &mut TypePlan| {
            plan.mode = Mode::Occurrence;
            plan.dedupe = Some(DedupePlan { window_us: 10, against });
        };
        let stream = Stream::of(seen(&[(0, DOWN), (1, SLOW), (2, DOWN)]));
        run(&Arc::new(one(occurs)), &stream, WHOLE).ledger.merged_fingerprint
    };
    assert_eq!((merged(Against::Any), merged(Against::Last)), (1, 0));
}

#[test]
fn late_is_what_is_older_than_the_watermark() {
    let mut plan = one(|_| ());
    plan.order.allowed_lateness_us = 5;
    let run = check(plan, seen(&[(100, UP), (95, UP), (94, UP)]), &["94 late k e2 by 1"]);
    assert_eq!(run.ledger.late, 1);
    assert_eq!(run.core.watermark_us(), 95);
}

#[test]
fn ids_are_equal_within_their_window_and_their_source() {
    let mut plan = one(|plan| plan.mode = Mode::Occurrence);
    plan.order.id_window_us = 10;
    let with_id =
        |source, time_us, has_id| Item::Signal(Signal { source, has_id, ..signal(time_us, "e", "k", DOWN, "") });
    let items = vec![with_id(0, 0, true), with_id(0, 10, true), with_id(0, 21, true), with_id(1, 21, true)];
    let plan = Arc::new(plan);
    let two = vec!["a".into(), "b".into()];
    let merged = |items| run(&plan, &Stream { sources: two.clone(), items, ended: true }, WHOLE).ledger.merged_id;
    assert_eq!(merged(items), 1);
    assert_eq!(merged(vec![with_id(0, 0, false), with_id(0, 0, false)]), 0);
}

#[test]
fn ids_are_remembered_by_event_time() {
    // Source b is behind; the same signal of it comes twice, and nothing of that time has been let out.
    let mut plan = one(|plan| plan.mode = Mode::Occurrence);
    plan.order.id_window_us = 10;
    let mut items = vec![from(1, 0, DOWN)];
    items.extend([20, 40, 60].map(|time_us| from(0, time_us, UP)));
    items.push(from(1, 0, DOWN));
    let sources = vec!["a".into(), "b".into()];
    let run = run(&Arc::new(plan), &Stream { sources, items, ended: true }, WHOLE);
    assert_eq!(run.ledger.merged_id, 1);
}

#[test]
fn at_the_bound_of_ids_the_older_half_is_forgotten_and_counted() {
    let mut plan = one(|plan| plan.mode = Mode::Occurrence);
    plan.order.ids_max = 4;
    let ids = ["a", "b", "c", "d", "d", "a"];
    let signals = ids.iter().map(|id| signal(0, id, "k", DOWN, ""));
    let run = run(&Arc::new(plan), &Stream::of(signals), WHOLE);
    assert_eq!(run.ledger.merged_id, 1, "d is known, a was forgotten");
    assert_eq!(run.core.bounds().ids_forgotten, 1);
}

#[test]
fn at_the_bound_of_waiting_signals_the_watermark_moves_on() {
    let mut plan = one(|plan| plan.mode = Mode::Occurrence);
    plan.order.pending_max = 3;
    // Source b says nothing and holds the watermark back. Waiting is counted by milliseconds.
    let mut items: Vec<Item> = [0, 1_500, 2_500].map(|time_us| from(0, time_us, DOWN)).into();
    let waiting = check_items(plan.clone(), &["a", "b"], items.clone(), &[]);
    assert_eq!((waiting.core.bounds().forced, waiting.ledger.open), (0, 3));
    items.push(from(0, 3_500, DOWN));
    items.push(from(0, 999, DOWN));
    let expected = ["0 state.changed k ?>down since 0 inputs 1", "999 late k s0-999 by 1"];
    let forced = check_items(plan, &["a", "b"], items, &expected);
    assert_eq!((forced.core.bounds().forced, forced.core.watermark_us()), (1, 1_000));
    assert_eq!(forced.ledger.open, 3);
}

#[test]
fn an_idle_source_no_longer_holds_the_others_back() {
    let mut plan = one(|plan| plan.mode = Mode::Occurrence);
    plan.order.idle_after_us = Some(1_000);
    let mut items = vec![Item::Tick(0), from(0, 100, DOWN), Item::Tick(600), from(0, 200, SLOW), Item::Tick(999)];
    let held = check_items(plan.clone(), &["a", "b"], items.clone(), &[]);
    assert_eq!(held.core.watermark_us(), i64::MIN);
    items.push(Item::Tick(1_000));
    let first = "100 state.changed k ?>down since 100 inputs 1";
    let idle = check_items(plan.clone(), &["a", "b"], items.clone(), &[first]);
    assert_eq!(idle.core.watermark_us(), 200);
    // Once it speaks again it is waited for again; the watermark does not fall.
    items.extend([from(1, 150, DOWN), from(0, 300, DOWN), from(1, 210, DOWN), from(1, 250, SLOW)]);
    let run = check_items(
        plan,
        &["a", "b"],
        items,
        &[
            first,
            "150 late k s1-150 by 50",
            "200 state.changed k down>slow since 200 inputs 1",
            "210 state.changed k slow>down since 210 inputs 1",
        ],
    );
    assert_eq!(run.core.watermark_us(), 250);
}

#[test]
fn where_all_sources_are_idle_ticks_move_event_time() {
    let mut plan = one(|plan| plan.hold_down_us = 500);
    plan.order.idle_after_us = Some(1_000);
    let mut items = vec![Item::Tick(600), from(0, 200, DOWN), Item::Tick(1_599)];
    check_items(plan.clone(), &["a"], items.clone(), &[]);
    items.push(Item::Tick(1_600));
    check_items(plan, &["a"], items, &["700 state.changed k ?>down since 200 inputs 1"]);
}

#[test]
fn an_ended_source_no_longer_holds_the_others_back() {
    let plan = one(|plan| plan.mode = Mode::Occurrence);
    let mut items = vec![from(0, 10, DOWN), from(0, 20, SLOW)];
    check_items(plan.clone(), &["a", "b"], items.clone(), &[]);
    items.push(Item::SourceEnded(1));
    check_items(plan, &["a", "b"], items, &["10 state.changed k ?>down since 10 inputs 1"]);
}

#[test]
fn what_is_not_observed_moves_the_watermark_all_the_same() {
    for (outcome, counted) in [(outcome::DROPPED, 0), (outcome::REJECTED, 1), (outcome::FAILED, 1)] {
        let other = |signal: Signal| Signal { outcome, ..signal };
        let items = vec![from(0, 10, UP), Item::Signal(other(signal(50, "x", "k", UP, "")))];
        let run = run(&Arc::new(one(|_| ())), &Stream { sources: vec!["a".into()], items, ended: false }, WHOLE);
        assert_eq!(run.core.watermark_us(), 50);
        assert_eq!((run.ledger.dead_lettered, run.ledger.dropped), (counted, 1 - counted));
        assert_eq!((run.ledger.merged_repeated, run.ledger.open), (1, 0));
    }
}

#[test]
fn signals_of_two_sources_with_one_id_make_two_events() {
    let of_type = TypePlan { mode: Mode::Occurrence, ..type_plan("net") };
    let other = Signal { source: 1, ..signal(10, "7", "k", DOWN, "") };
    let mut stream = Stream::of([signal(10, "7", "k", DOWN, ""), other]);
    stream.sources.push("b".into());
    let events = run(&Arc::new(plan(vec![of_type])), &stream, WHOLE).events;
    let ids: std::collections::BTreeSet<_> = events.iter().map(|event| &event.id).collect();
    assert_eq!((events.len(), ids.len()), (2, 2));
}
