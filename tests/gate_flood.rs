//! Flood limits: of each type and each source so many candidates a window, and the rest quietly
//! later.

use stillhouse_core::Plan;
use stillhouse_core::columns::verdict;
use stillhouse_core::plan::{FloodPlan, TypePlan};

use crate::gate_fake::{Fake, Row, Said, check, emit, settled, suppress};
use crate::plans::{DOWN, UP, plan, type_plan};
use crate::stream::{Signal, Stream, signal};

/// At most so many of the type, and of each source, in each window of 100.
fn limited(max: Option<u32>, per_source: Option<u32>, change: impl FnOnce(&mut TypePlan)) -> Plan {
    let mut of_type = type_plan("probe");
    of_type.flood = Some(FloodPlan { max, per_source, per_us: 100 });
    change(&mut of_type);
    plan(vec![of_type])
}

fn fake() -> Fake<impl FnMut(&Row) -> Said> {
    Fake::new(&["key"], |_| emit())
}

fn down(time_us: i64, key: &str) -> Signal {
    signal(time_us, &format!("{key}{time_us}"), key, DOWN, "")
}

fn up(time_us: i64, key: &str) -> Signal {
    signal(time_us, &format!("{key}{time_us}"), key, UP, "")
}

#[test]
fn what_is_beyond_the_limit_leaves_in_the_next_windows_oldest_first() {
    let run = check(
        limited(Some(2), None, |_| ()),
        &Stream::of([
            down(10, "d"),
            down(11, "c"),
            down(12, "b"),
            down(13, "a"),
            down(14, "e"),
            down(140, "f"),
            up(500, "z"),
        ]),
        fake,
        &[
            "10 state.changed d ?>down since 10 inputs 1",
            "11 state.changed c ?>down since 11 inputs 1",
            "12 flood.started - 2 in 100 since 12",
            "100 state.changed b ?>down since 12 inputs 1 released after 88",
            "100 state.changed a ?>down since 13 inputs 1 released after 87",
            "200 state.changed e ?>down since 14 inputs 1 released after 186",
            "200 state.changed f ?>down since 140 inputs 1 released after 60",
            "200 flood.stopped - 2 in 100 since 12: 4 withheld, 0 ended, 0 signals of b a e f",
        ],
    );
    assert_eq!(settled(&run.ledger), (6, 0, 0));
    let released = serde_json::to_value(&run.events[3]).expect("JSON");
    assert_eq!(released["data"]["judgement"]["reason"], "flood: 2 of this type since 1970-01-01T00:00:00.000000Z");
}

#[test]
fn what_ends_while_it_is_beyond_the_limit_is_told_by_number_alone() {
    let run = check(
        limited(Some(1), None, |_| ()),
        &Stream::of([down(10, "a"), down(11, "b"), down(12, "c"), up(20, "b"), up(500, "z")]),
        fake,
        &[
            "10 state.changed a ?>down since 10 inputs 1",
            "11 flood.started - 1 in 100 since 11",
            "100 state.changed c ?>down since 12 inputs 1 released after 88",
            "100 flood.stopped - 1 in 100 since 11: 2 withheld, 1 ended, 1 signals of b c",
        ],
    );
    assert_eq!(settled(&run.ledger), (2, 2, 0), "the end of what nobody heard of is no news either");
}

#[test]
fn each_source_has_a_limit_of_its_own() {
    let from = |source, signal: Signal| Signal { source, ..signal };
    let mut stream = Stream::of([
        from(0, down(10, "a")),
        from(0, down(11, "b")),
        from(1, down(12, "c")),
        from(1, down(13, "d")),
        from(0, up(500, "y")),
        from(1, up(500, "z")),
    ]);
    stream.sources = vec!["one".into(), "two".into()];
    check(
        limited(Some(2), Some(1), |_| ()),
        &stream,
        fake,
        &[
            "10 state.changed a ?>down since 10 inputs 1",
            "11 flood.started - 1 from one in 100 since 11",
            "12 state.changed c ?>down since 12 inputs 1",
            "13 flood.started - 1 from two in 100 since 13",
            "100 state.changed b ?>down since 11 inputs 1 released after 89",
            "100 state.changed d ?>down since 13 inputs 1 released after 87",
            "100 flood.stopped - 1 from one in 100 since 11: 1 withheld, 0 ended, 0 signals of b",
            "100 flood.stopped - 1 from two in 100 since 13: 1 withheld, 0 ended, 0 signals of d",
        ],
    );
}

#[test]
fn nothing_is_beyond_the_limit_for_longer_than_the_bound() {
    check(
        limited(Some(1), None, |plan| plan.suppress_max_us = 50),
        &Stream::of([down(10, "a"), down(11, "b"), up(500, "z")]),
        fake,
        &[
            "10 state.changed a ?>down since 10 inputs 1",
            "11 flood.started - 1 in 100 since 11",
            "61 state.changed b ?>down since 11 inputs 1 released after 50",
            "100 flood.stopped - 1 in 100 since 11: 1 withheld, 0 ended, 0 signals of b",
        ],
    );
}

#[test]
fn high_severity_is_not_limited_but_counts() {
    let critical = |signal: Signal| Signal { severity: 3, ..signal };
    check(
        limited(Some(1), None, |_| ()),
        &Stream::of([critical(down(10, "a")), critical(down(11, "b")), down(12, "c"), up(90, "z")]),
        fake,
        &[
            "10 state.changed a ?>down since 10 inputs 1",
            "11 state.changed b ?>down since 11 inputs 1",
            "12 flood.started - 1 in 100 since 12",
        ],
    );
}

#[test]
fn the_suppressor_judges_what_the_limit_lets_go() {
    let run = check(
        limited(Some(1), None, |_| ()),
        &Stream::of([down(10, "a"), down(11, "b"), down(12, "c"), up(500, "z")]),
        || {
            Fake::new(&["key"], |row: &Row| match row.fields[0].as_str() {
                "b" => suppress(150),
                _ => emit(),
            })
        },
        &[
            "10 state.changed a ?>down since 10 inputs 1",
            "11 flood.started - 1 in 100 since 11",
            "100 suppressed b held deadline 150: ?>down since 11 inputs 1",
            "100 state.changed c ?>down since 12 inputs 1 released after 88",
            "100 flood.stopped - 1 in 100 since 11: 2 withheld, 0 ended, 0 signals of b c",
            "150 state.changed b ?>down since 11 inputs 1 released after 139",
        ],
    );
    let held = serde_json::to_value(&run.events[2]).expect("JSON");
    assert_eq!(held["data"]["rule"]["name"], "calm", "{held}");
}

#[test]
fn what_the_suppressor_holds_takes_no_place() {
    check(
        limited(Some(1), None, |_| ()),
        &Stream::of([down(10, "a"), down(11, "b"), up(500, "z")]),
        || Fake::new(&["key"], |row: &Row| if row.fields[0] == "a" { suppress(50) } else { emit() }),
        &[
            "10 suppressed a held deadline 50: ?>down since 10 inputs 1",
            "11 state.changed b ?>down since 11 inputs 1",
            // A deadline that was promised is kept.
            "50 state.changed a ?>down since 10 inputs 1 released after 40",
        ],
    );
}

#[test]
fn at_most_ten_keys_are_named() {
    let keys: Vec<String> = (0..13).map(|key| format!("k{key:02}")).collect();
    let stream = Stream::of(keys.iter().map(|key| down(10, key)).chain([up(5_000, "z")]));
    let run = check_last(limited(Some(1), None, |_| ()), &stream);
    assert_eq!(
        run,
        "1200 flood.stopped - 1 in 100 since 10: 12 withheld, 0 ended, 0 signals of \
         k01 k02 k03 k04 k05 k06 k07 k08 k09 k10"
    );
}

fn check_last(plan: Plan, stream: &Stream) -> String {
    let run = crate::stream::run_with(&std::sync::Arc::new(plan), stream, crate::stream::WHOLE, &mut fake());
    crate::stream::told(&run.events).pop().expect("the flood ends")
}

#[test]
fn a_verdict_is_asked_for_again_when_a_candidate_goes_on() {
    // What was said in the window of the flood does not count: `until` has passed by then.
    check(
        limited(Some(1), None, |_| ()),
        &Stream::of([down(10, "a"), down(11, "b"), up(500, "z")]),
        || {
            let mut asked = 0;
            Fake::new(&["key", "changes"], move |_| {
                asked += 1;
                if asked == 2 { Said(verdict::ESCALATE, 0, 2, Vec::new()) } else { emit() }
            })
        },
        &[
            "10 state.changed a ?>down since 10 inputs 1",
            "11 flood.started - 1 in 100 since 11",
            "100 state.changed b ?>down since 11 inputs 1 escalated after 89",
            "100 flood.stopped - 1 in 100 since 11: 1 withheld, 0 ended, 0 signals of b",
        ],
    );
}
