//! What suppressors are told, in which order they are asked, and what they remember.

use std::cell::RefCell;
use std::sync::Arc;

use stillhouse_core::Plan;
use stillhouse_core::columns::verdict;
use stillhouse_core::plan::{FlappingPlan, MaintenancePlan};
use stillhouse_core::rule::{Carry, MemoPlan};

use crate::gate_fake::{Fake, Row, Said, check, emit, family, parents, suppress};
use crate::plans::{DOWN, GONE, UP, plan, type_plan};
use crate::stream::{Item, Stream, WHOLE, run_with, signal, told};

/// `a`, `b` and `c` are children of `p`.
fn seen(observations: &[(i64, &str, u8)]) -> Stream {
    let each = observations.iter();
    let each = each.map(|&(time_us, key, state)| signal(time_us, &format!("{key}{time_us}"), key, state, ""));
    let mut stream = Stream::of(each.chain([signal(9_000, "last", "z", UP, "")]));
    stream.items.insert(0, Item::Table(parents(&[("a", "p"), ("b", "p"), ("c", "p")])));
    stream
}

/// What a suppressor of these fields is told, row by row, and how many rows each batch had.
fn context(plan: Plan, stream: &Stream, paths: &[&str]) -> (Vec<String>, Vec<u32>) {
    let rows = RefCell::new(Vec::new());
    let mut fake = Fake::new(paths, |row: &Row| {
        rows.borrow_mut().push(row.fields.join(" "));
        emit()
    });
    run_with(&Arc::new(plan), stream, WHOLE, &mut fake);
    let batches = fake.batches;
    (rows.into_inner(), batches)
}

#[test]
fn plain_fields_are_judged_in_one_batch() {
    let mut of_type = type_plan("probe");
    of_type.flapping = Some(FlappingPlan {
        weights: stillhouse_core::plan::Weights::Nagios,
        high_mpct: 90_000,
        low_mpct: 0,
        quiet_us: None,
    });
    let of = |keys: &str, from_us, to_us| MaintenancePlan { keys: keys.into(), from_us, to_us };
    let plan = Plan { maintenance: vec![of("a*", 30, 40), of("*", 20, 35)], ..family(vec![of_type], 0) };
    let stream = seen(&[(5, "a", UP), (10, "a", DOWN), (30, "a", UP), (36, "x", DOWN)]);
    let paths = ["key", "to", "parent", "state_us", "sources", "flap_score", "maintenance", "maintenance_until"];
    let (rows, batches) = context(plan, &stream, &paths);
    assert_eq!(rows, ["a down p 5 0 6.25 0 -", "a up p 20 0 12.368 1 40", "x down - - 0 0 0 -"]);
    assert_eq!(batches, [3]);
}

#[test]
fn without_flapping_and_parents_their_fields_are_absent() {
    let (rows, _) = context(plan(vec![type_plan("probe")]), &seen(&[(10, "a", DOWN)]), &["flap_score", "parent"]);
    assert_eq!(rows, ["- -"]);
}

#[test]
fn live_fields_are_judged_one_by_one() {
    let plan = family(vec![type_plan("probe")], 0);
    let stream =
        seen(&[(10, "a", DOWN), (20, "b", DOWN), (25, "b", UP), (30, "p", DOWN), (40, "p", UP), (50, "c", DOWN)]);
    let (rows, batches) = context(plan, &stream, &["key", "to", "changes", "parent_open", "siblings_open"]);
    assert_eq!(
        rows,
        ["a down 1 0 0", "b down 1 0 1", "b up 2 0 1", "p down 1 0 0", "p up 2 0 0", "c down 1 0 1"],
        "the last hour, the problems told of the parent, the other children with a problem"
    );
    assert_eq!(batches, [1; 6]);
}

#[test]
fn what_is_held_back_is_open_among_siblings_and_unknown_of_parents() {
    let plan = family(vec![type_plan("probe")], 0);
    let stream = seen(&[(10, "p", DOWN), (20, "a", DOWN), (30, "b", DOWN)]);
    check(
        plan,
        &stream,
        || {
            Fake::new(&["key", "parent_open", "siblings_open"], |row: &Row| match row.fields.join(" ").as_str() {
                "p 0 0" => suppress(1_000),
                "a 0 0" => suppress(100),
                "b 0 1" => emit(),
                other => panic!("not expected: {other}"),
            })
        },
        &[
            "10 suppressed p held deadline 1000: ?>down since 10 inputs 1",
            "20 suppressed a held deadline 100: ?>down since 20 inputs 1",
            "30 state.changed b ?>down since 30 inputs 1",
            "100 state.changed a ?>down since 20 inputs 1 released after 80",
            "1000 state.changed p ?>down since 10 inputs 1 released after 990",
        ],
    );
}

#[test]
fn a_delayed_candidate_is_judged_by_what_is_true_then() {
    let of = MaintenancePlan { keys: "*".into(), from_us: 0, to_us: 50 };
    check(
        Plan { maintenance: vec![of], ..plan(vec![type_plan("probe")]) },
        &seen(&[(10, "a", DOWN)]),
        || {
            Fake::new(&["maintenance_until"], |row: &Row| match row.fields[0].parse() {
                Ok(until_us) => Said(verdict::DELAY, until_us, 0, Vec::new()),
                Err(_) => emit(),
            })
        },
        &["50 state.changed a ?>down since 10 inputs 1 delayed after 40"],
    );
}

/// A suppressor that lets the first and every third problem of an entity leave, by its memo.
fn third(bytes_max: u32) -> Fake<impl FnMut(&Row) -> Said> {
    let mut fake = Fake::new(&["key", "to"], |row: &Row| {
        let seen = row.memo.first().copied().unwrap_or(0);
        match row.fields[1].as_str() {
            "down" if seen % 3 == 0 => Said(verdict::EMIT, 0, 0, vec![seen + 1]),
            "down" => Said(verdict::SUPPRESS, 0, 0, vec![seen + 1]),
            _ => Said(verdict::EMIT, 0, 0, row.memo.clone()),
        }
    });
    fake.memo = Some(MemoPlan { version: 1, carry: Carry::Keep, bytes_max });
    fake
}

#[test]
fn a_suppressor_remembers_each_entity_by_its_memo() {
    let stream =
        seen(&[(10, "a", DOWN), (20, "a", UP), (25, "b", DOWN), (30, "a", DOWN), (40, "a", UP), (50, "a", DOWN)]);
    check(
        plan(vec![type_plan("probe")]),
        &stream,
        || third(1),
        &[
            "10 state.changed a ?>down since 10 inputs 1",
            "20 state.changed a down>up since 20 inputs 1",
            "25 state.changed b ?>down since 25 inputs 1",
            "30 suppressed a held deadline 1000000030: up>down since 30 inputs 1",
            "40 suppressed a ended after 10 deadline 1000000030: up>down since 30 inputs 1",
            "50 suppressed a held deadline 1000000050: up>down since 50 inputs 1",
        ],
    );
}

#[test]
fn the_memo_of_an_entity_that_is_gone_is_forgotten() {
    let stream = seen(&[(10, "a", DOWN), (20, "a", GONE), (30, "a", DOWN)]);
    let expected = [
        "10 state.changed a ?>down since 10 inputs 1",
        "20 state.changed a down>gone since 20 inputs 1",
        "30 state.changed a ?>down since 30 inputs 1",
    ];
    check(plan(vec![type_plan("probe")]), &stream, || third(1), &expected);
}

#[test]
fn a_memo_that_is_too_long_is_a_failed_verdict() {
    let run = check(
        plan(vec![type_plan("probe")]),
        &seen(&[(10, "a", DOWN)]),
        || third(0),
        &["10 state.changed a ?>down since 10 inputs 1 failed after 0"],
    );
    let event = serde_json::to_value(&run.events[0]).expect("JSON");
    let reason = "its memo has 1 bytes, and it declares at most 0";
    assert_eq!(event["data"]["judgement"]["reason"], reason);
}

#[test]
fn another_version_of_the_memo_counts_from_the_step_that_brings_it() {
    let stream = seen(&[(10, "a", DOWN), (20, "a", UP), (30, "a", DOWN), (40, "a", UP)]);
    for (carry, last) in [(Carry::Keep, "30 suppressed a held deadline"), (Carry::Reset, "30 state.changed a up>down")]
    {
        let mut core = stillhouse_core::Core::new(Arc::new(plan(vec![type_plan("probe")])), 1);
        let entries = stream.entries(1);
        let mut judge = third(1);
        let mut events = Vec::new();
        core.step(entries[..5].iter().cloned(), &mut judge, &mut events);
        judge.memo = Some(MemoPlan { version: 2, carry, bytes_max: 1 });
        core.step(entries[5..].iter().cloned(), &mut judge, &mut events);
        let lines = told(&events);
        assert!(lines[2].starts_with(last), "{carry:?}: {lines:?}");
    }
}
