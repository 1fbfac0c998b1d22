//! Late signals that are taken in after all: what was said wrongly is corrected, and the sum of
//! events and corrections is what would have been said if they had come in time.

use std::sync::Arc;

use std::collections::BTreeMap;

use stillhouse_core::Plan;
use stillhouse_core::columns::outcome;
use stillhouse_core::event::{Data, Event};
use stillhouse_core::plan::{Mode, TypePlan};

use crate::chance::Chance;
use crate::generate::{any_plan, orderly_stream};
use crate::plans::{DOWN, UP, plan, type_plan};
use crate::properties::{for_seeds, hold};
use crate::stream::{Division, Item, Signal, Stream, WHOLE, run, signal, told};

const DIVISIONS: [Division; 3] = [
    Division { shards: 1, block_rows: 1, entries: 1 },
    Division { shards: 3, block_rows: 2, entries: 3 },
    Division { shards: 2, block_rows: 7, entries: 1 << 20 },
];

fn correcting(type_plan: TypePlan, correct_us: i64) -> TypePlan {
    TypePlan { correct_us: Some(correct_us), ..type_plan }
}

fn corrections(signals: &[Signal], of_type: TypePlan) -> Vec<String> {
    let plan = Arc::new(plan(vec![correcting(of_type, 1_000)]));
    let stream = Stream::of(signals.to_vec());
    let whole = run(&plan, &stream, WHOLE);
    for division in DIVISIONS {
        assert_eq!(run(&plan, &stream, division).bytes, whole.bytes, "{division:?}");
    }
    told(&whole.events).into_iter().filter(|line| !line.contains(" late ")).collect()
}

#[test]
fn a_problem_that_began_later_than_was_said_is_said_anew() {
    let held = TypePlan { hold_down_us: 10, ..type_plan("net") };
    let signals = [
        signal(0, "a", "k", UP, ""),
        signal(10, "b", "k", DOWN, ""),
        signal(20, "c", "k", DOWN, ""),
        signal(30, "d", "l", UP, ""),
        signal(15, "late", "k", UP, ""),
        signal(40, "e", "l", UP, ""),
    ];
    assert_eq!(
        corrections(&signals, held),
        [
            "20 state.changed k up>down since 10 inputs 1",
            "30 correction k revision 2 of state.changed: up>down since 20 inputs 1",
        ]
    );
}

#[test]
fn a_problem_that_did_not_last_is_retracted_and_one_that_was_missed_is_told() {
    let held = TypePlan { hold_down_us: 10, ..type_plan("net") };
    let signals = [
        signal(0, "a", "k", UP, ""),
        signal(10, "b", "k", DOWN, ""),
        signal(30, "c", "l", UP, ""),
        signal(12, "late", "k", UP, ""),
        signal(28, "later", "k", DOWN, ""),
        signal(33, "d", "l", UP, ""),
        signal(29, "latest", "k", UP, ""),
        signal(60, "e", "l", UP, ""),
        signal(40, "f", "k", DOWN, ""),
        signal(61, "g", "l", UP, ""),
    ];
    assert_eq!(
        corrections(&signals, held),
        [
            "20 state.changed k up>down since 10 inputs 1",
            "30 correction k revision 2 of state.changed: nothing",
            "60 correction k revision 1 of state.changed: up>down since 40 inputs 1",
        ]
    );
}

#[test]
fn a_change_that_was_missed_is_told_though_enough_sources_reported_the_state_then() {
    let by = |source, signal| Item::Signal(Signal { source, ..signal });
    let items = vec![
        by(0, signal(0, "a", "k", UP, "")),
        by(0, signal(10, "b", "k", DOWN, "")),
        by(1, signal(12, "c", "k", DOWN, "")),
        by(0, signal(30, "d", "l", UP, "")),
        by(1, signal(30, "e", "l", UP, "")),
        by(0, signal(11, "late", "k", UP, "")),
    ];
    let stream = Stream { sources: ["a", "b"].map(String::from).to_vec(), items, ended: true };
    let plan = plan(vec![correcting(TypePlan { spread: Some(2), ..type_plan("net") }, 1_000)]);
    let run = run(&Arc::new(plan), &stream, WHOLE);
    assert_eq!(
        told(&run.events),
        [
            "10 state.changed k up>down since 10 inputs 1",
            "11 late k late by 19",
            "30 correction k revision 1 of state.changed: down>up since 11 inputs 1",
            "30 correction k revision 1 of state.changed: up>down since 12 inputs 1",
        ]
    );
    assert_eq!((run.ledger.emitted, run.ledger.merged_repeated), (3, 3));
}

#[test]
fn what_is_later_than_the_past_reaches_is_late_for_good() {
    let signals = [signal(0, "a", "k", UP, ""), signal(2_000, "b", "k", UP, ""), signal(999, "late", "k", DOWN, "")];
    let plan = Arc::new(plan(vec![correcting(type_plan("net"), 1_000)]));
    let ran = run(&plan, &Stream::of(signals), WHOLE);
    assert_eq!(told(&ran.events), ["999 late k late by 1001"]);
    assert_eq!((ran.ledger.late, ran.core.bounds().uncorrected), (1, 1));
}

/// What a consumer knows who has applied all corrections: kind, key, type, when it was decided,
/// from, to, since and severity of every event that stands.
pub fn known(events: &[Event]) -> Vec<String> {
    let mut standing: BTreeMap<String, String> = BTreeMap::new();
    let tell = |kind: &str, key: Option<&str>, data: &Data| match data {
        Data::Change(change) => {
            let decided_us = change.since.0 + change.held_us;
            let (from, to) = (&change.from, &change.to);
            let (signal, since_us, severity) = (&change.signal, change.since.0, change.severity);
            format!("{decided_us:05} {kind} {key:?} {signal} {from:?} {to:?} {since_us} {severity}")
        }
        Data::Window(window) => {
            let (signal, window, counts, severity) = (&window.signal, &window.window, &window.counts, window.severity);
            format!("{kind} {key:?} {signal} {window:?} {counts:?} {severity}")
        }
        other => panic!("no result: {other:?}"),
    };
    for event in events {
        let key = event.subject.as_deref();
        match &event.data {
            data @ (Data::Change(_) | Data::Window(_)) => {
                standing.insert(event.id.clone(), tell(event.kind, key, data));
            }
            Data::Correction(correction) => {
                if let Some(superseded) = &correction.supersedes {
                    assert!(standing.remove(&**superseded).is_some(), "nothing to supersede: {correction:?}");
                }
                if let Some(data) = correction.event.as_deref() {
                    standing.insert(event.id.clone(), tell(correction.kind, key, data));
                }
            }
            _ => {}
        }
    }
    let mut known: Vec<String> = standing.into_values().collect();
    known.sort();
    known
}

/// Lets some signals come later than they should.
fn withhold(chance: &mut Chance, stream: &Stream) -> Stream {
    let mut late = stream.clone();
    for _ in 0..chance.between(1, 8) {
        let from = chance.below(late.items.len());
        let to = (from + chance.pick(&[1, 2, 5, 20, 80])).min(late.items.len() - 1);
        if matches!(&late.items[from], Item::Signal(signal) if signal.outcome == outcome::OBSERVED) {
            let item = late.items.remove(from);
            late.items.insert(to, item);
        }
    }
    late
}

fn any_correcting(chance: &mut Chance) -> Plan {
    let mut plan = any_plan(chance);
    plan.types = plan.types.into_iter().map(|of_type| correcting(of_type, 1_000_000)).collect();
    for of_type in &mut plan.types {
        // An early result and a correction would both supersede.
        if let Mode::Window(window) = &mut of_type.mode {
            window.early = false;
        }
    }
    plan
}

#[test]
fn with_corrections_late_signals_change_nothing() {
    for_seeds("with_corrections", |chance| {
        let plan = any_correcting(chance);
        let stream = orderly_stream(chance, &plan);
        let late = withhold(chance, &stream);
        // Only the late stream is shrunk: in time it is the same signals in order.
        hold(plan, late, &|plan, late| {
            let mut in_time = late.clone();
            let time_us = |item: &Item| match item {
                Item::Signal(signal) => (signal.time_us, signal.rank),
                _ => (i64::MAX, u64::MAX),
            };
            in_time.items.sort_by_key(time_us);
            let (in_time, late) = (run(plan, &in_time, WHOLE), run(plan, late, WHOLE));
            let (should, does) = (known(&in_time.events), known(&late.events));
            if should != does {
                return Some(format!("should be known:\n{should:#?}\nis known:\n{does:#?}\n{}", late.bytes));
            }
            (in_time.ledger != late.ledger).then(|| format!("{:?}\n{:?}", in_time.ledger, late.ledger))
        });
    });
}

#[test]
fn corrections_are_the_same_for_any_division() {
    for_seeds("corrections_are_the_same", |chance| {
        let plan = any_correcting(chance);
        let stream = orderly_stream(chance, &plan);
        let late = withhold(chance, &stream);
        hold(plan, late, &|plan, late| {
            let whole = run(plan, late, WHOLE);
            let differs = |division: &&Division| run(plan, late, **division).bytes != whole.bytes;
            DIVISIONS.iter().find(differs).map(|division| format!("{division:?} differs from\n{}", whole.bytes))
        });
    });
}
