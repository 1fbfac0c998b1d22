//! Children are quiet while the outside knows that their parent has a problem.

use stillhouse_core::plan::{FlappingPlan, TypePlan};

use crate::gate_fake::{Fake, Row, Said, check, emit, family, parents, settled};
use crate::plans::{DOWN, GONE, SLOW, UP, type_plan};
use crate::stream::{Item, Signal, Stream, signal};

fn probe(change: impl FnOnce(&mut TypePlan)) -> TypePlan {
    let mut of_type = TypePlan { suppress_max_us: 1_000, ..type_plan("probe") };
    change(&mut of_type);
    of_type
}

fn fake() -> Fake<impl FnMut(&Row) -> Said> {
    Fake::new(&["key"], |_| emit())
}

/// `a` and `b` are children of `p`, `g` of `a`.
fn seen(observations: &[(i64, &str, u8)]) -> Stream {
    let each = observations.iter().map(|&(time_us, key, state)| of(time_us, key, state));
    let mut stream = Stream::of(each.chain([of(9_000, "z", UP)]));
    stream.items.insert(0, Item::Table(parents(&[("a", "p"), ("b", "p"), ("g", "a")])));
    stream
}

fn of(time_us: i64, key: &str, state: u8) -> Signal {
    signal(time_us, &format!("{key}{time_us}"), key, state, "")
}

#[test]
fn children_are_held_back_while_their_parent_has_a_problem() {
    let run = check(
        family(vec![probe(|_| ())], 0),
        &seen(&[(10, "p", DOWN), (20, "a", DOWN), (30, "b", SLOW), (40, "b", UP), (50, "p", UP)]),
        fake,
        &[
            "10 state.changed p ?>down since 10 inputs 1",
            "20 suppressed a held deadline 1020: ?>down since 20 inputs 1",
            "30 suppressed b held deadline 1030: ?>slow since 30 inputs 1",
            "40 suppressed b ended after 10 deadline 1030: ?>slow since 30 inputs 1",
            "50 state.changed p down>up since 50 inputs 1",
            "50 state.changed a ?>down since 20 inputs 1 released after 30",
        ],
    );
    assert_eq!(settled(&run.ledger), (3, 2, 0));
    let held = serde_json::to_value(&run.events[1]).expect("JSON");
    assert_eq!((&held["data"]["reason"], &held["data"]["rule"]), (&"inhibited: p is down".into(), &"host".into()));
    let left = serde_json::to_value(&run.events[5]).expect("JSON");
    assert_eq!(left["data"]["judgement"]["reason"], "inhibited: p is down");
}

#[test]
fn a_grandparent_inhibits_as_well_and_the_nearest_one_counts() {
    check(
        family(vec![probe(|_| ())], 0),
        &seen(&[(10, "p", DOWN), (20, "a", DOWN), (30, "g", DOWN), (50, "p", GONE), (60, "a", UP)]),
        fake,
        &[
            "10 state.changed p ?>down since 10 inputs 1",
            "20 suppressed a held deadline 1020: ?>down since 20 inputs 1",
            "30 suppressed g held deadline 1030: ?>down since 30 inputs 1",
            "50 state.changed p down>gone since 50 inputs 1",
            "50 state.changed a ?>down since 20 inputs 1 released after 30",
            "60 state.changed a down>up since 60 inputs 1",
            "60 state.changed g ?>down since 30 inputs 1 released after 30",
        ],
    );
}

#[test]
fn the_grace_begins_anew_with_each_recovery_of_the_parent() {
    check(
        family(vec![probe(|_| ())], 20),
        &seen(&[
            (10, "p", DOWN),
            (20, "a", DOWN),
            (25, "b", DOWN),
            (50, "p", UP),
            (60, "p", DOWN),
            (65, "p", UP),
            (80, "b", UP),
        ]),
        fake,
        &[
            "10 state.changed p ?>down since 10 inputs 1",
            "20 suppressed a held deadline 1020: ?>down since 20 inputs 1",
            "25 suppressed b held deadline 1025: ?>down since 25 inputs 1",
            "50 state.changed p down>up since 50 inputs 1",
            "60 state.changed p up>down since 60 inputs 1",
            "65 state.changed p down>up since 65 inputs 1",
            "80 suppressed b ended after 55 deadline 1025: ?>down since 25 inputs 1",
            "85 state.changed a ?>down since 20 inputs 1 released after 65",
        ],
    );
}

#[test]
fn nothing_is_inhibited_for_longer_than_the_bound() {
    check(
        family(vec![probe(|plan| plan.suppress_max_us = 100)], 0),
        &seen(&[(10, "p", DOWN), (20, "a", DOWN)]),
        fake,
        &[
            "10 state.changed p ?>down since 10 inputs 1",
            "20 suppressed a held deadline 120: ?>down since 20 inputs 1",
            "120 state.changed a ?>down since 20 inputs 1 released after 100",
        ],
    );
}

#[test]
fn a_parent_that_flaps_inhibits_and_one_that_nobody_was_told_of_does_not() {
    let flapping = |plan: &mut TypePlan| {
        plan.flapping = Some(FlappingPlan {
            weights: stillhouse_core::plan::Weights::Nagios,
            high_mpct: 6_250,
            low_mpct: 0,
            quiet_us: Some(15),
        });
    };
    let run = check(
        family(vec![probe(flapping)], 0),
        &seen(&[(9, "a", UP), (9, "p", UP), (10, "p", DOWN), (20, "a", DOWN), (22, "p", UP)]),
        fake,
        &[
            "10 flapping.started p up>down since 10 inputs 1",
            "20 suppressed a held deadline 1020: up>down since 20 inputs 1",
            "35 suppressed a ended after 15 deadline 1020: up>down since 20 inputs 1",
            "35 suppressed a held deadline 1035: up>down since 20 inputs 1",
            "37 flapping.stopped p up>up since 10 inputs 2",
            "37 state.changed a up>down since 20 inputs 1 released after 2",
        ],
    );
    let held = serde_json::to_value(&run.events[1]).expect("JSON");
    assert_eq!(held["data"]["reason"], "inhibited: p is flapping");
    // The parent is down, but that is held back: its child speaks.
    check(
        family(vec![probe(|_| ())], 0),
        &seen(&[(10, "p", DOWN), (20, "a", DOWN)]),
        || Fake::new(&["key"], |row: &Row| if row.fields[0] == "p" { crate::gate_fake::suppress(30) } else { emit() }),
        &[
            "10 suppressed p held deadline 30: ?>down since 10 inputs 1",
            "20 state.changed a ?>down since 20 inputs 1",
            "30 state.changed p ?>down since 10 inputs 1 released after 20",
        ],
    );
}

#[test]
fn a_type_that_takes_no_part_neither_inhibits_nor_is_inhibited() {
    let apart = TypePlan { inhibit: false, ..probe(|_| ()) };
    let other = TypePlan { name: "other".into(), ..apart };
    let of_other = |mut stream: Stream, at: usize| {
        if let Item::Signal(signal) = &mut stream.items[at] {
            signal.signal_type = 1;
        }
        stream
    };
    let both = || family(vec![probe(|_| ()), other.clone()], 0);
    let expected = ["10 state.changed p ?>down since 10 inputs 1", "20 state.changed a ?>down since 20 inputs 1"];
    let stream = || seen(&[(10, "p", DOWN), (20, "a", DOWN)]);
    check(both(), &of_other(stream(), 1), fake, &expected);
    check(both(), &of_other(stream(), 2), fake, &expected);
}

#[test]
fn high_severity_leaves_all_the_same_and_says_why_it_might_not_have() {
    let mut stream = seen(&[(10, "p", DOWN), (20, "a", DOWN)]);
    if let Item::Signal(signal) = &mut stream.items[2] {
        signal.severity = 3;
    }
    check(
        family(vec![probe(|_| ())], 0),
        &stream,
        fake,
        &[
            "10 state.changed p ?>down since 10 inputs 1",
            "20 state.changed a ?>down since 20 inputs 1 overridden after 0",
        ],
    );
}

#[test]
fn a_delay_lets_the_parent_speak_first() {
    check(
        family(vec![probe(|_| ())], 0),
        &seen(&[(10, "a", DOWN), (15, "p", DOWN), (50, "p", UP)]),
        || {
            Fake::new(&["key", "judged"], |row: &Row| match (row.fields[0].as_str(), row.fields[1].as_str()) {
                ("a", "0") => Said(stillhouse_core::columns::verdict::DELAY, 30, 0, Vec::new()),
                _ => emit(),
            })
        },
        &[
            "15 state.changed p ?>down since 15 inputs 1",
            "30 suppressed a held deadline 1010: ?>down since 10 inputs 1",
            "50 state.changed p down>up since 50 inputs 1",
            "50 state.changed a ?>down since 10 inputs 1 released after 40",
        ],
    );
}

#[test]
fn the_table_of_the_time_counts() {
    // The watermark is 20 when `a` gets another parent: what is decided from then on sees it.
    let mut stream = seen(&[(10, "p", DOWN), (20, "a", DOWN), (30, "b", DOWN)]);
    stream.items.insert(3, Item::Table(parents(&[("b", "p")])));
    check(
        family(vec![probe(|_| ())], 0),
        &stream,
        fake,
        &[
            "10 state.changed p ?>down since 10 inputs 1",
            "20 state.changed a ?>down since 20 inputs 1",
            "30 suppressed b held deadline 1030: ?>down since 30 inputs 1",
            "1030 state.changed b ?>down since 30 inputs 1 released after 1000",
        ],
    );
    // By a timer of that very time it was decided before.
    let mut stream = seen(&[(10, "p", DOWN), (10, "q", DOWN), (15, "p", DOWN)]);
    stream.items.insert(4, Item::Table(parents(&[("q", "p")])));
    check(
        family(vec![probe(|plan| plan.hold_down_us = 5)], 0),
        &stream,
        fake,
        &["15 state.changed p ?>down since 10 inputs 1", "15 state.changed q ?>down since 10 inputs 1"],
    );
}

#[test]
fn what_a_signal_sets_free_sees_the_table_of_its_time() {
    // `p` recovers at 30, when `a` has no ancestors any more: `q`, which is down, does not hold it.
    let mut stream = seen(&[(4, "p", DOWN), (5, "q", DOWN), (20, "a", DOWN), (30, "x", UP), (30, "p", UP)]);
    stream.items[0] = Item::Table(parents(&[("a", "p"), ("p", "q")]));
    stream.items.insert(5, Item::Table(parents(&[])));
    check(
        family(vec![probe(|_| ())], 0),
        &stream,
        fake,
        &[
            "4 state.changed p ?>down since 4 inputs 1",
            "5 state.changed q ?>down since 5 inputs 1",
            "20 suppressed a held deadline 1020: ?>down since 20 inputs 1",
            "30 state.changed p down>up since 30 inputs 1",
            "30 state.changed a ?>down since 20 inputs 1 released after 10",
        ],
    );
}

#[test]
fn parents_in_a_circle_hold_each_other_back_only_by_what_was_told() {
    let mut stream = seen(&[(10, "a", DOWN), (20, "p", DOWN), (30, "a", UP)]);
    stream.items[0] = Item::Table(parents(&[("a", "p"), ("p", "a"), ("z", "z")]));
    check(
        family(vec![probe(|_| ())], 0),
        &stream,
        fake,
        &[
            "10 state.changed a ?>down since 10 inputs 1",
            "20 suppressed p held deadline 1020: ?>down since 20 inputs 1",
            "30 state.changed a down>up since 30 inputs 1",
            "30 state.changed p ?>down since 20 inputs 1 released after 10",
        ],
    );
}
