//! Snapshots: each kind of drift exactly, what holds it up, and a naive model of all of it.

use std::sync::Arc;

use stillhouse_core::columns::outcome;
use stillhouse_core::level::{Bound, Bounds, LevelPlan};
use stillhouse_core::plan::{ConfirmPlan, FlappingPlan, Mode, TypePlan, Weights};
use stillhouse_core::rule::NoJudge;
use stillhouse_core::{Core, Entry, Plan};

use crate::chance::Chance;
use crate::generate::{any_plan, any_stream};
use crate::plans::{DOWN, GONE, SLOW, UP, plan, type_plan};
use crate::properties::{divided, for_seeds, hold};
use crate::stream::{Item, Run, Signal, Snapshot, Stream, WHOLE, check_divided, run, signal, told};

pub const SECOND_US: i64 = 1_000_000;

/// A plan of one signal type, `pod`.
pub fn one(change: impl FnOnce(&mut TypePlan)) -> Plan {
    let mut of_type = type_plan("pod");
    of_type.reconcile.grace_us = 0;
    change(&mut of_type);
    plan(vec![of_type])
}

fn at(time_us: i64, key: &str, state: u8) -> Item {
    Item::Signal(signal(time_us, &format!("{key}-{time_us}"), key, state, ""))
}

fn row(key: &str, state: u8) -> Signal {
    signal(0, &format!("row-{key}"), key, state, "")
}

fn snapshot_aged(age_us: i64, rows: &[(&str, u8)]) -> Item {
    let rows = rows.iter().map(|&(key, state)| row(key, state)).collect();
    Item::Snapshot(Snapshot { signal_type: 0, age_us, rows, ends: true })
}

fn snapshot(rows: &[(&str, u8)]) -> Item {
    snapshot_aged(0, rows)
}

fn check(plan: Plan, items: Vec<Item>, expected: &[&str]) -> Run {
    check_divided(plan, &Stream { sources: vec!["a".into()], items, ended: true }, expected)
}

/// What is said, whatever it is.
fn check_any(plan: Plan, items: Vec<Item>) -> Vec<String> {
    told(&run(&Arc::new(plan), &Stream { sources: vec!["a".into()], items, ended: true }, WHOLE).events)
}

#[test]
fn each_kind_of_drift_is_told_and_becomes_an_observation() {
    let known = [at(0, "k", DOWN), at(1, "l", UP), at(2, "n", DOWN), at(5, "z", UP)];
    let items = known.into_iter().chain([snapshot(&[("k", UP), ("m", DOWN), ("z", UP)])]).collect();
    let expected = [
        "0 state.changed k ?>down since 0 inputs 1",
        "2 state.changed n ?>down since 2 inputs 1",
        "5 drift k state: down since 0, snapshot of 5 up",
        "5 drift l orphan: up since 1, snapshot of 5 ?",
        "5 drift m missing: ?, snapshot of 5 down",
        "5 drift n orphan: down since 2, snapshot of 5 ?",
        "5 state.changed k down>up since 5 inputs 1",
        "5 state.changed m ?>down since 5 inputs 1",
        "5 state.changed n down>gone since 5 inputs 1",
    ];
    let run = check(one(|_| ()), items, &expected);
    // Two orphans are observed though no signal says so; who is healthy ends without a word.
    let ledger = run.ledger;
    assert_eq!((ledger.received, ledger.echoed, ledger.emitted, ledger.merged_repeated), (7, 2, 5, 4));
    assert_eq!(run.core.entities(), 3);
    let drift: serde_json::Value = serde_json::from_str(run.bytes.lines().nth(2).expect("a line")).expect("JSON");
    assert_eq!(drift["data"]["record"]["id"], "row-k");
    assert_eq!(drift["data"]["known"]["state"], "down");
}

#[test]
fn what_is_known_is_no_drift_and_is_heard_again() {
    let cleared = |plan: &mut TypePlan| plan.clear_after_us[DOWN as usize] = Some(10);
    let down = "0 state.changed k ?>down since 0 inputs 1";
    let items = |rows: &[(&str, u8)]| vec![at(0, "k", DOWN), at(8, "z", UP), snapshot(rows), at(17, "z", UP)];
    // The snapshot speaks of the problem, so its time begins anew.
    let run = check(one(cleared), items(&[("k", DOWN), ("z", UP)]), &[down]);
    assert_eq!(run.ledger.merged_repeated, 4);
    let mut ended = items(&[("k", DOWN), ("z", UP)]);
    ended.push(at(18, "z", UP));
    check(one(cleared), ended, &[down, "18 state.changed k down>clear since 8 inputs 0"]);
}

#[test]
fn what_an_entity_is_becoming_is_no_drift_and_its_hold_goes_on() {
    let held = |plan: &mut TypePlan| plan.hold_down_us = 10;
    let items =
        vec![at(0, "k", UP), at(5, "k", DOWN), at(8, "z", UP), snapshot(&[("k", DOWN), ("z", UP)]), at(15, "z", UP)];
    check(one(held), items, &["15 state.changed k up>down since 5 inputs 2"]);
    // What the snapshot takes back does not last.
    let items =
        vec![at(0, "k", UP), at(5, "k", DOWN), at(8, "z", UP), snapshot(&[("k", UP), ("z", UP)]), at(15, "z", UP)];
    let run = check(one(held), items, &[]);
    assert_eq!(run.ledger.merged_blip, 1);
}

#[test]
fn of_an_entity_that_flaps_nobody_says_that_it_drifts() {
    let flaps = |plan: &mut TypePlan| {
        let (high_mpct, low_mpct) = (6_250, 0);
        plan.flapping = Some(FlappingPlan { weights: Weights::Nagios, high_mpct, low_mpct, quiet_us: None });
    };
    for says in [UP, DOWN, SLOW] {
        let rows = [("k", says), ("z", UP)];
        let items = vec![at(0, "k", UP), at(1, "k", DOWN), at(2, "z", UP), snapshot(&rows), at(3, "z", UP)];
        check(one(flaps), items, &["1 flapping.started k up>down since 1 inputs 1"]);
    }
    // Unless it is no more.
    let items = vec![at(0, "k", UP), at(1, "k", DOWN), at(2, "z", UP), snapshot(&[("z", UP)])];
    let run = check_any(one(flaps), items);
    assert!(run.iter().any(|line| line == "2 drift k orphan: up since 0, snapshot of 2 ?"), "{run:?}");
}

#[test]
fn what_a_snapshot_says_waits_for_its_hold() {
    let held = |plan: &mut TypePlan| (plan.hold_down_us, plan.hold_open_us) = (10, 20);
    let items = vec![at(0, "k", UP), snapshot(&[("k", DOWN)]), at(9, "z", UP), at(10, "z", UP)];
    let expected = ["0 drift k state: up since 0, snapshot of 0 down", "10 state.changed k up>down since 0 inputs 1"];
    let run = check(one(held), items, &expected);
    assert_eq!(run.ledger.emitted, 1);
}

#[test]
fn without_a_state_that_is_the_end_an_orphan_is_clear_after_its_hold_and_told_once() {
    let endless = |plan: &mut TypePlan| {
        plan.states.truncate(usize::from(GONE));
        plan.clear_after_us.truncate(usize::from(GONE));
        plan.hold_open_us = 10;
    };
    let down = "0 state.changed k ?>down since 0 inputs 1";
    let drift = "1 drift k orphan: down since 0, snapshot of 1 ?";
    let again = |time_us| vec![at(time_us, "z", UP), snapshot(&[("z", UP)])];
    let mut items = vec![at(0, "k", DOWN)];
    items.extend([1, 5, 11, 20].into_iter().flat_map(again));
    let run = check(one(endless), items, &[down, drift, "11 state.changed k down>clear since 1 inputs 1"]);
    assert_eq!(run.ledger.echoed, 1);
}

#[test]
fn at_most_so_many_are_corrected_in_a_second_and_the_rest_is_counted() {
    let slow = |plan: &mut TypePlan| plan.reconcile.rate = 2;
    let keys = ["a", "b", "c", "d", "e"];
    let mut items: Vec<Item> = keys.into_iter().map(|key| at(0, key, UP)).collect();
    items.extend([at(7, "z", UP), snapshot(&[("z", UP)]), at(7 + 2 * SECOND_US - 1, "z", UP)]);
    let drift = |time_us: i64, key: &str| format!("{time_us} drift {key} orphan: up since 0, snapshot of 7 ?");
    let (second, third) = (7 + SECOND_US, 7 + 2 * SECOND_US);
    let early = [drift(7, "a"), drift(7, "b"), drift(second, "c"), drift(second, "d")];
    let run = check(one(slow), items.clone(), &early.each_ref().map(String::as_str));
    assert_eq!(run.core.bounds().reconciled_later, 3);
    items.push(at(third, "z", UP));
    let all = [early.as_slice(), &[drift(third, "e")]].concat();
    let run = check(one(slow), items, &all.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(run.core.entities(), 1);
}

#[test]
fn who_waits_for_its_second_is_looked_at_anew() {
    let slow = |plan: &mut TypePlan| plan.reconcile.rate = 1;
    let later = SECOND_US / 2;
    let items = vec![
        at(0, "a", DOWN),
        at(0, "b", DOWN),
        at(0, "c", UP),
        snapshot(&[("a", UP), ("b", UP), ("c", DOWN)]),
        // Newer than the snapshot: b is up, and c is not down.
        at(later, "b", UP),
        at(later, "c", UP),
        at(3 * SECOND_US, "z", UP),
    ];
    let expected = [
        "0 state.changed a ?>down since 0 inputs 1",
        "0 state.changed b ?>down since 0 inputs 1",
        "0 drift a state: down since 0, snapshot of 0 up",
        "0 state.changed a down>up since 0 inputs 1",
        "500000 state.changed b down>up since 500000 inputs 1",
    ];
    let run = check(one(slow), items, &expected);
    assert_eq!((run.ledger.merged_repeated, run.ledger.open), (5, 0));
}

#[test]
fn a_newer_snapshot_takes_the_place_of_what_is_left() {
    let slow = |plan: &mut TypePlan| plan.reconcile.rate = 1;
    let items = vec![
        at(0, "a", UP),
        at(0, "b", UP),
        at(0, "c", UP),
        snapshot(&[("a", DOWN), ("b", DOWN), ("c", DOWN)]),
        at(SECOND_US + 1, "z", UP),
        snapshot(&[("a", DOWN), ("b", UP), ("c", SLOW), ("z", UP)]),
        at(9 * SECOND_US, "z", UP),
    ];
    let expected = [
        "0 drift a state: up since 0, snapshot of 0 down",
        "0 state.changed a up>down since 0 inputs 1",
        "1000000 drift b state: up since 0, snapshot of 0 down",
        "1000000 state.changed b up>down since 1000000 inputs 1",
        "1000001 drift b state: down since 1000000, snapshot of 1000001 up",
        "1000001 state.changed b down>up since 1000001 inputs 1",
        "2000001 drift c state: up since 0, snapshot of 1000001 slow",
        "2000001 state.changed c up>slow since 2000001 inputs 1",
    ];
    let run = check(one(slow), items, &expected);
    assert_eq!((run.ledger.received, run.ledger.emitted, run.ledger.merged_repeated), (12, 4, 8));
}

#[test]
fn a_signal_that_is_newer_than_the_snapshot_may_be_is_right() {
    let grace = |plan: &mut TypePlan| plan.reconcile.grace_us = 10;
    let items = |seen_us, age_us| vec![at(seen_us, "k", UP), at(20, "z", UP), snapshot_aged(age_us, &[("z", UP)])];
    check(one(grace), items(11, 0), &[]);
    check(one(grace), items(10, 0), &["20 drift k orphan: up since 10, snapshot of 20 ?"]);
    check(one(grace), items(6, 5), &[]);
    check(one(grace), items(5, 5), &["20 drift k orphan: up since 5, snapshot of 20 ?"]);
    // What a snapshot said itself may be contradicted by the next one at once.
    let items = vec![
        at(0, "z", UP),
        at(20, "z", UP),
        snapshot(&[("k", DOWN), ("z", UP)]),
        at(21, "z", UP),
        snapshot(&[("z", UP)]),
    ];
    let expected = [
        "20 drift k missing: ?, snapshot of 20 down",
        "20 state.changed k ?>down since 20 inputs 1",
        "21 drift k orphan: down since 20, snapshot of 21 ?",
        "21 state.changed k down>gone since 21 inputs 1",
    ];
    check(one(grace), items, &expected);
}

#[test]
fn a_snapshot_that_cannot_be_read_as_a_whole_does_not_tell_who_is_no_more() {
    for unusable in [outcome::REJECTED, outcome::FAILED] {
        let broken = Signal { outcome: unusable, ..row("l", UP) };
        let other_type = Signal { signal_type: 1, ..row("m", UP) };
        for (bad, id) in [(broken, "row-l"), (other_type, "row-m")] {
            let mut plan = one(|_| ());
            plan.types.push(type_plan("other"));
            let of = Snapshot { signal_type: 0, age_us: 0, rows: vec![row("k", UP), bad], ends: true };
            let items = vec![at(0, "k", DOWN), at(1, "n", DOWN), Item::Snapshot(of)];
            let dead = format!("never dead-letter - {id}");
            let expected = [
                "0 state.changed k ?>down since 0 inputs 1",
                "1 state.changed n ?>down since 1 inputs 1",
                &*dead,
                "1 drift k state: down since 0, snapshot of 1 up",
                "1 state.changed k down>up since 1 inputs 1",
            ];
            let stream = Stream { sources: vec!["a".into()], items, ended: true };
            let run = run(&Arc::new(plan), &stream, WHOLE);
            let mut told = told(&run.events);
            // The dead letter stands at the watermark at which it came.
            told.sort_by_key(|line| expected.iter().position(|known| known == line));
            assert_eq!(told, expected);
            assert_eq!((run.ledger.dead_lettered, run.core.bounds().partial_snapshots), (1, 1));
        }
    }
}

#[test]
fn of_a_snapshot_that_does_not_end_nothing_counts() {
    let unfinished = |rows: &[(&str, u8)]| {
        let rows = rows.iter().map(|&(key, state)| row(key, state)).collect();
        Item::Snapshot(Snapshot { signal_type: 0, age_us: 0, rows, ends: false })
    };
    let known = || vec![at(0, "k", UP), at(0, "m", UP)];
    let mut items = known();
    items.extend([unfinished(&[("k", DOWN)]), at(9, "z", UP)]);
    // What may still come waits.
    let run = check(one(|_| ()), items, &[]);
    assert_eq!((run.ledger.open, run.ledger.merged_repeated), (1, 3));
    // Neither who it names nor what could not be read of it is in the next one, which says who is no more.
    let broken = Signal { outcome: outcome::REJECTED, ..row("l", UP) };
    let half = Snapshot { signal_type: 0, age_us: 0, rows: vec![row("k", DOWN), row("m", UP), broken], ends: false };
    let mut items = known();
    items.extend([Item::Snapshot(half), snapshot(&[("k", UP)])]);
    let dead = "never dead-letter - row-l";
    let run = check(one(|_| ()), items, &[dead, "0 drift m orphan: up since 0, snapshot of 0 ?"]);
    let ledger = run.ledger;
    assert_eq!((ledger.echoed, run.core.entities()), (1, 1));
    assert_eq!((ledger.received, ledger.dead_lettered, ledger.merged_repeated, ledger.open), (6, 1, 6, 0));
    assert_eq!(run.core.bounds().partial_snapshots, 0);
}

#[test]
fn what_a_mapper_drops_speaks_of_nobody_and_of_two_rows_the_last_counts() {
    let rows = vec![row("k", DOWN), Signal { outcome: outcome::DROPPED, ..row("n", UP) }, row("k", UP)];
    let of = Snapshot { signal_type: 0, age_us: 0, rows, ends: true };
    let items = vec![at(0, "k", UP), at(1, "n", UP), Item::Snapshot(of)];
    let run = check(one(|_| ()), items, &["1 drift n orphan: up since 1, snapshot of 1 ?"]);
    assert_eq!((run.ledger.dropped, run.ledger.merged_repeated), (1, 5));
}

#[test]
fn a_snapshot_before_the_first_signal_waits_for_it() {
    let none = check(one(|_| ()), vec![snapshot(&[("k", DOWN)])], &[]);
    assert_eq!((none.ledger.received, none.ledger.open), (1, 1));
    let items = vec![snapshot(&[("k", DOWN), ("z", UP)]), at(7, "z", UP), at(9, "z", UP)];
    let expected = ["7 drift k missing: ?, snapshot of 7 down", "7 state.changed k ?>down since 7 inputs 1"];
    check(one(|_| ()), items, &expected);
}

#[test]
fn signals_of_its_time_or_before_count_even_if_they_come_later() {
    let mut plan = one(|_| ());
    plan.order.allowed_lateness_us = 10;
    let items = vec![
        at(0, "k", UP),
        at(20, "z", UP),
        snapshot(&[("k", DOWN), ("z", UP)]),
        at(20, "k", DOWN),
        at(15, "k", SLOW),
    ];
    let expected = ["15 state.changed k up>slow since 15 inputs 1", "20 state.changed k slow>down since 20 inputs 1"];
    check(plan, items, &expected);
}

#[test]
fn what_a_snapshot_says_is_evidence() {
    let confirmed = |plan: &mut TypePlan| plan.confirm = Some(ConfirmPlan::Last { count: 2, of: 3 });
    let items = vec![at(0, "k", UP), at(1, "k", DOWN), at(2, "z", UP), snapshot(&[("k", DOWN), ("z", UP)])];
    let expected = ["2 drift k state: up since 0, snapshot of 2 down", "2 state.changed k up>down since 1 inputs 2"];
    check(one(confirmed), items, &expected);
}

#[test]
fn only_states_that_last_are_compared() {
    let bounds = Bounds::Fixed { high: Some(Bound { enter: 20.0, leave: 20.0 }), low: None };
    let level = LevelPlan { normal: UP, high: DOWN, low: DOWN, severity: 2, smooth_us: 0, bounds };
    let occurrence = one(|plan| plan.mode = Mode::Occurrence);
    let levelled = one(|plan| plan.level = Some(level));
    for plan in [occurrence, levelled] {
        let stream = Stream { sources: vec!["a".into()], items: vec![snapshot(&[("k", DOWN)])], ended: true };
        let run = run(&Arc::new(plan), &stream, WHOLE);
        assert_eq!((run.events.len(), run.ledger.merged_repeated), (0, 1));
    }
}

#[test]
fn a_source_of_snapshots_holds_nobody_up_and_does_not_slow_event_time() {
    let mut of_plan = one(|plan| plan.hold_down_us = 500);
    of_plan.order.idle_after_us = Some(1_000);
    let told_with = |apart: bool| {
        let stream = Stream { sources: vec!["a".into()], items: vec![at(200, "k", DOWN)], ended: false };
        let mut entries = stream.entries(1);
        entries.insert(1, Entry::Tick(600));
        if apart {
            entries.extend([Entry::Tick(1_500), Entry::SnapshotSource("pods.json".into())]);
        }
        entries.extend([1_599, 1_600].map(Entry::Tick));
        let mut core = Core::new(Arc::new(of_plan.clone()), 1);
        let mut events = Vec::new();
        core.step(entries, &mut NoJudge, &mut events);
        told(&events)
    };
    assert_eq!(told_with(true), ["700 state.changed k ?>down since 200 inputs 1"]);
    assert_eq!(told_with(true), told_with(false));
}

/// A plan, and a stream with snapshots in it; both as wild as they may be.
pub fn any_with_snapshots(chance: &mut Chance) -> (Plan, Stream) {
    let mut plan = any_plan(chance);
    for of_type in &mut plan.types {
        of_type.reconcile.rate = chance.pick(&[1, 2, 1000]);
        of_type.reconcile.grace_us = chance.pick(&[0, 0, 10, 100]);
        if chance.percent(20) && of_type.mode == Mode::State {
            of_type.correct_us = Some(1 << 40);
        }
    }
    let mut stream = any_stream(chance, &plan);
    let stretch = chance.pick(&[1, 1, 10_000, 100_000]);
    for item in &mut stream.items {
        if let Item::Signal(signal) = item {
            signal.time_us *= stretch;
        }
    }
    for number in 0..chance.between(1, 4) {
        let place = chance.below(stream.items.len() + 1);
        let snapshot = any_snapshot(chance, plan.types.len(), number);
        stream.items.insert(place, Item::Snapshot(snapshot));
    }
    (plan, stream)
}

/// A snapshot of some of a few keys.
pub fn any_snapshot(chance: &mut Chance, types: usize, number: i64) -> Snapshot {
    let signal_type = chance.below(types) as u16;
    let mut rows = Vec::new();
    for key in ["k", "l", "m", "n", "k"] {
        if chance.percent(50) {
            let state = chance.pick(&[UP, UP, UP, DOWN, DOWN, SLOW, GONE]);
            let mut row = Signal { signal_type, state, ..row(key, UP) };
            row.id = format!("row-{number}-{}", rows.len());
            row.value = chance.pick(&["", "", "", "v"]).into();
            if chance.percent(5) {
                row.outcome = chance.pick(&[outcome::DROPPED, outcome::REJECTED]);
            }
            rows.push(row);
        }
    }
    Snapshot { signal_type, age_us: chance.pick(&[0, 0, 0, 5]), rows, ends: chance.percent(85) }
}

#[test]
fn division_does_not_show_with_snapshots() {
    for_seeds("division_does_not_show_with_snapshots", |chance| {
        let (plan, stream) = any_with_snapshots(chance);
        hold(plan, stream, &divided);
    });
}
