//! Windows: what falls together and what does not, to the microsecond; early results and how they
//! are superseded; where the signals end.

use std::sync::Arc;

use stillhouse_core::columns::{Batch, Blobs, Reasons, TextColumn, Values, Verdicts, verdict};
use stillhouse_core::event::{Data, Windowed};
use stillhouse_core::plan::{Against, DedupePlan, Mode, TypePlan};
use stillhouse_core::rule::{Field, FieldKind, Judge, RuleId};
use stillhouse_core::window::{Shape, WindowPlan};
use stillhouse_core::{Event, Plan};

use crate::plans::{DOWN, GONE, SLOW, UP, plan, type_plan};
use crate::stream::{Division, Run, Signal, Stream, WHOLE, run_with, signal, told};

const SESSION: Shape = Shape::Session { gap_us: 10, max_us: 1_000 };
const TUMBLING: Shape = Shape::Tumbling { size_us: 10 };
const SLIDING: Shape = Shape::Sliding { size_us: 10, every_us: 5, max_us: 1_000 };

/// News from `count` observations on, at its end.
fn from(shape: Shape, count: u64) -> WindowPlan {
    WindowPlan { shape, count, sources: 0, values: 0, early: false }
}

fn early(shape: Shape, count: u64) -> WindowPlan {
    WindowPlan { early: true, ..from(shape, count) }
}

fn windowed(window: WindowPlan) -> TypePlan {
    TypePlan { mode: Mode::Window(window), ..type_plan("login") }
}

/// Problems of key `k` at these times.
fn problems(times_us: &[i64]) -> Vec<Signal> {
    let each = times_us.iter().enumerate();
    each.map(|(at, &time_us)| signal(time_us, &format!("e{at}"), "k", DOWN, "")).collect()
}

/// Something else at that time, so that event time comes so far.
fn until(time_us: i64, mut signals: Vec<Signal>) -> Vec<Signal> {
    signals.push(signal(time_us, "last", "z", UP, ""));
    signals
}

/// Expects the same of many divisions.
fn check(of_type: TypePlan, signals: Vec<Signal>, expected: &[&str]) -> Run {
    check_judged(plan(vec![of_type]), &Stream::of(signals), &[], expected)
}

fn check_judged(plan: Plan, stream: &Stream, held: &'static [Held], expected: &[&str]) -> Run {
    let plan = Arc::new(plan);
    let judge = || Calm::new(held);
    let whole = run_with(&plan, stream, WHOLE, &mut judge());
    assert_eq!(told(&whole.events), expected);
    for (shards, block_rows, entries) in [(1, 1, 1), (2, 2, 1), (3, 1, 2), (8, 1, 1)] {
        let division = Division { shards, block_rows, entries };
        let divided = run_with(&plan, stream, division, &mut judge());
        assert_eq!(whole.bytes, divided.bytes, "{division:?}");
        assert_eq!(whole.ledger, divided.ledger, "{division:?}");
    }
    whole
}

fn window(event: &Event) -> &Windowed {
    match &event.data {
        Data::Window(windowed) => windowed,
        other => panic!("expected a window: {other:?}"),
    }
}

#[test]
fn a_session_ends_exactly_its_gap_after_its_last_observation() {
    let run = check(
        windowed(from(SESSION, 1)),
        until(28, problems(&[0, 9, 18])),
        &["28 window.closed k session [0,28) inputs 3 sources 1 values 0 revision 1"],
    );
    assert_eq!((run.ledger.emitted, run.ledger.open), (3, 0));
    let run = check(
        windowed(from(SESSION, 1)),
        until(27, problems(&[0, 9, 19])),
        &["19 window.closed k session [0,19) inputs 2 sources 1 values 0 revision 1"],
    );
    assert_eq!((run.ledger.emitted, run.ledger.open), (2, 1));
}

#[test]
fn a_session_is_no_longer_than_its_bound() {
    let bounded = Shape::Session { gap_us: 10, max_us: 15 };
    let run = check(
        windowed(from(bounded, 1)),
        until(40, problems(&[0, 8, 14, 15])),
        &[
            "15 window.closed k session [0,15) inputs 3 sources 1 values 0 revision 1",
            "25 window.closed k session [15,25) inputs 1 sources 1 values 0 revision 1",
        ],
    );
    assert_eq!(run.ledger.emitted, 4);
}

#[test]
fn an_observation_at_the_end_of_a_tumbling_window_is_in_the_next() {
    check(
        windowed(from(TUMBLING, 1)),
        until(20, problems(&[-1, 0, 9, 10])),
        &[
            "0 window.closed k tumbling [-10,0) inputs 1 sources 1 values 0 revision 1",
            "10 window.closed k tumbling [0,10) inputs 2 sources 1 values 0 revision 1",
            "20 window.closed k tumbling [10,20) inputs 1 sources 1 values 0 revision 1",
        ],
    );
}

#[test]
fn sliding_windows_in_a_row_are_one_result() {
    // The windows that end at 10 and 15 hold three, those before and after fewer.
    let run = check(
        windowed(from(SLIDING, 3)),
        until(25, problems(&[1, 6, 8, 11])),
        &["20 window.closed k sliding [0,15) inputs 4 sources 1 values 0 revision 1"],
    );
    assert_eq!((run.ledger.emitted, run.ledger.merged_blip), (4, 0));
    // At 10 it is in the window that ends at 15, which then holds two.
    check(
        windowed(from(SLIDING, 3)),
        until(25, problems(&[1, 6, 9])),
        &["15 window.closed k sliding [0,10) inputs 3 sources 1 values 0 revision 1"],
    );
    check(windowed(from(SLIDING, 3)), until(25, problems(&[1, 6, 10])), &[]);
}

#[test]
fn a_signal_counts_as_told_if_any_window_with_it_was() {
    let told = "15 window.closed k sliding [-5,10) inputs 4 sources 1 values 0 revision 1";
    // That at 12 is in no window of three; its last one ends at 20.
    let signals = problems(&[1, 2, 3, 7, 12]);
    let run = check(windowed(from(SLIDING, 3)), until(19, signals.clone()), &[told]);
    assert_eq!((run.ledger.emitted, run.ledger.merged_blip, run.ledger.open), (4, 0, 1));
    let run = check(windowed(from(SLIDING, 3)), until(20, signals), &[told]);
    assert_eq!((run.ledger.emitted, run.ledger.merged_blip, run.ledger.open), (4, 1, 0));
}

#[test]
fn a_run_of_sliding_windows_is_no_longer_than_its_bound() {
    let bounded = Shape::Sliding { size_us: 10, every_us: 5, max_us: 17 };
    // It spans 15 at most, in whole panes; that at 14 is counted once.
    let run = check(
        windowed(from(bounded, 1)),
        until(40, problems(&[1, 6, 9, 14])),
        &[
            "10 window.closed k sliding [-5,10) inputs 3 sources 1 values 0 revision 1",
            "20 window.closed k sliding [5,20) inputs 1 sources 1 values 0 revision 1",
        ],
    );
    assert_eq!((run.ledger.emitted, run.ledger.open), (4, 0));
}

#[test]
fn what_never_satisfies_the_condition_is_no_news() {
    for shape in [SESSION, TUMBLING, SLIDING] {
        let run = check(windowed(early(shape, 3)), until(100, problems(&[0, 4, 50])), &[]);
        assert_eq!((run.ledger.merged_blip, run.ledger.open), (3, 0), "{shape:?}");
        assert_eq!(run.core.entities(), 0, "nothing is kept of a window that is over");
    }
}

#[test]
fn an_early_result_is_superseded_at_the_end() {
    let run = check(
        windowed(early(SESSION, 2)),
        until(20, problems(&[0, 4, 8])),
        &[
            "4 window.opened k session [0,..) inputs 2 sources 1 values 0 revision 1",
            "18 window.closed k session [0,18) inputs 3 sources 1 values 0 revision 2",
        ],
    );
    assert_eq!(window(&run.events[0]).supersedes, None);
    assert_eq!(window(&run.events[1]).supersedes.as_deref(), Some(&*run.events[0].id));
    assert_eq!(run.ledger.emitted, 3);
    check(
        windowed(early(TUMBLING, 2)),
        until(20, problems(&[0, 4, 8, 10])),
        &[
            "4 window.opened k tumbling [0,..) inputs 2 sources 1 values 0 revision 1",
            "10 window.closed k tumbling [0,10) inputs 3 sources 1 values 0 revision 2",
        ],
    );
    // Once for the run, and once again for the next.
    check(
        windowed(early(SLIDING, 2)),
        until(60, problems(&[1, 6, 8, 12, 41, 42])),
        &[
            "6 window.opened k sliding [0,..) inputs 2 sources 1 values 0 revision 1",
            "20 window.closed k sliding [0,15) inputs 4 sources 1 values 0 revision 2",
            "42 window.opened k sliding [35,..) inputs 2 sources 1 values 0 revision 1",
            "55 window.closed k sliding [35,50) inputs 2 sources 1 values 0 revision 2",
        ],
    );
}

#[test]
fn a_window_shows_what_it_stands_for() {
    let mut signals = problems(&[0, 4]);
    (signals[0].severity, signals[1].value) = (2, "root".into());
    let run = check(
        windowed(early(SESSION, 2)),
        until(20, signals),
        &[
            "4 window.opened k session [0,..) inputs 2 sources 1 values 1 revision 1",
            "14 window.closed k session [0,14) inputs 2 sources 1 values 1 revision 2",
        ],
    );
    let event = serde_json::to_value(&run.events[1]).expect("JSON");
    let source = |id: &str, time: &str| serde_json::json!({ "source": "a", "id": id, "time": time });
    let expected = serde_json::json!({
        "signal": "login",
        "window": {
            "kind": "session",
            "start": "1970-01-01T00:00:00.000000Z",
            "end": "1970-01-01T00:00:00.000014Z",
        },
        "counts": { "inputs": 2, "sources": 1, "values": 1 },
        "severity": "error",
        "revision": 2,
        "supersedes": &run.events[0].id,
        "provenance": {
            "first": source("e0", "1970-01-01T00:00:00.000000Z"),
            "last": source("e1", "1970-01-01T00:00:00.000004Z"),
            "inputs": 2,
            "mapper": { "name": "probe", "version": "1.0.0", "digest": "d" },
            "suppressor": { "name": "calm", "version": "2.0.0", "digest": "c" },
            "config": "config",
        },
    });
    assert_eq!(event["data"], expected);
    assert_eq!((&event["type"], &event["subject"]), (&"stillhouse.window.closed".into(), &"k".into()));
}

#[test]
fn at_the_end_of_the_input_what_is_open_stays_open() {
    for (shape, start_us) in [(SESSION, 0), (TUMBLING, 0), (SLIDING, -5)] {
        let opened = format!("0 window.opened k {} [{start_us},..) inputs 1 sources 1 values 0 revision 1", {
            match shape {
                Shape::Session { .. } => "session",
                Shape::Tumbling { .. } => "tumbling",
                Shape::Sliding { .. } => "sliding",
            }
        });
        let run = check(windowed(early(shape, 1)), problems(&[0, 4]), &[&opened]);
        assert_eq!((run.ledger.emitted, run.ledger.open), (0, 2), "{shape:?}");
    }
}

#[test]
fn distinct_sources_and_values_are_conditions_of_their_own() {
    let three_sources = |shape| WindowPlan { sources: 3, ..early(shape, 1) };
    let three_values = |shape| WindowPlan { values: 3, ..early(shape, 1) };
    for (name, shape, end) in [
        ("session", SESSION, "16 window.closed k session [0,16)"),
        ("tumbling", TUMBLING, "10 window.closed k tumbling [0,10)"),
    ] {
        let mut signals = problems(&[0, 2, 4, 6]);
        signals[2].source = 1;
        signals[3].source = 2;
        let stream = Stream { sources: vec!["a".into(), "b".into(), "c".into()], ..Stream::of(until(40, signals)) };
        let stream = Stream { items: with_all_at(40, stream.items), ..stream };
        let opened = format!("6 window.opened k {name} [0,..) inputs 4 sources 3 values 0 revision 1");
        let closed = format!("{end} inputs 4 sources 3 values 0 revision 2");
        check_judged(plan(vec![windowed(three_sources(shape))]), &stream, &[], &[&opened, &closed]);
        let mut signals = problems(&[0, 2, 4, 6]);
        for (signal, value) in signals.iter_mut().zip(["root", "", "admin", "guest"]) {
            signal.value = value.into();
        }
        let opened = format!("6 window.opened k {name} [0,..) inputs 4 sources 1 values 3 revision 1");
        let closed = format!("{end} inputs 4 sources 1 values 3 revision 2");
        check(windowed(three_values(shape)), until(40, signals), &[&opened, &closed]);
    }
    // In three panes: no pane has three values, the window that ends at 10 has.
    let mut signals = problems(&[1, 2, 7, 12]);
    for (signal, value) in signals.iter_mut().zip(["root", "admin", "guest", "root"]) {
        signal.value = value.into();
    }
    check(
        windowed(three_values(SLIDING)),
        until(30, signals),
        &[
            "7 window.opened k sliding [0,..) inputs 3 sources 1 values 3 revision 1",
            "15 window.closed k sliding [0,10) inputs 3 sources 1 values 3 revision 2",
        ],
    );
}

/// The other sources come as far as the first.
fn with_all_at(time_us: i64, mut items: Vec<crate::stream::Item>) -> Vec<crate::stream::Item> {
    for source in 1..3 {
        let last = Signal { source, ..signal(time_us, &format!("last{source}"), "z", UP, "") };
        items.push(crate::stream::Item::Signal(last));
    }
    items
}

#[test]
fn beyond_the_bound_counts_of_distinct_values_are_a_least() {
    let signals: Vec<_> = (0..65).map(|at| signal(0, &format!("e{at:02}"), "k", DOWN, &format!("user{at}"))).collect();
    check(
        windowed(from(SESSION, 1)),
        until(10, signals[..64].to_vec()),
        &["10 window.closed k session [0,10) inputs 64 sources 1 values 64 revision 1"],
    );
    let run = check(
        windowed(from(SESSION, 1)),
        until(10, signals),
        &["10 window.closed k session [0,10) inputs 65 sources 1 values 64+ revision 1"],
    );
    assert!(run.bytes.contains(r#""counts":{"inputs":65,"sources":1,"values":64,"at_least":true}"#));
}

#[test]
fn only_problems_count_and_the_rest_moves_time() {
    let state = |time_us, id: &str, state| signal(time_us, id, "k", state, "");
    let signals = vec![state(0, "e0", DOWN), state(5, "e1", UP), state(6, "e2", SLOW), state(16, "e3", GONE)];
    let run = check(
        windowed(from(SESSION, 2)),
        signals,
        &["16 window.closed k session [0,16) inputs 2 sources 1 values 0 revision 1"],
    );
    assert_eq!((run.ledger.emitted, run.ledger.merged_repeated), (2, 2));
    assert_eq!(run.core.entities(), 0);
}

#[test]
fn a_duplicate_does_not_prolong_a_session() {
    let dedupe = Some(DedupePlan { window_us: 8, against: Against::Any });
    let of_type = TypePlan { dedupe, forget_after_us: 50, ..windowed(from(SESSION, 1)) };
    let closed = "10 window.closed k session [0,10) inputs 1 sources 1 values 0 revision 1";
    let run = check(of_type.clone(), until(57, problems(&[0, 4, 8])), &[closed]);
    assert_eq!((run.ledger.emitted, run.ledger.merged_fingerprint), (1, 2));
    assert_eq!(run.core.entities(), 2, "its fingerprints are remembered");
    let run = check(of_type, until(58, problems(&[0, 4, 8])), &[closed]);
    assert_eq!(run.core.entities(), 1, "and forgotten");
}

#[test]
fn signals_out_of_order_within_the_lateness_are_one_session() {
    let plan_of = |lateness_us| {
        let mut plan = plan(vec![windowed(from(SESSION, 1))]);
        plan.order.allowed_lateness_us = lateness_us;
        plan
    };
    let stream = Stream::of(until(60, problems(&[0, 18, 9])));
    check_judged(
        plan_of(9),
        &stream,
        &[],
        &["28 window.closed k session [0,28) inputs 3 sources 1 values 0 revision 1"],
    );
    let run = check_judged(
        plan_of(8),
        &stream,
        &[],
        &[
            "10 window.closed k session [0,10) inputs 1 sources 1 values 0 revision 1",
            "9 late k e2 by 1",
            "28 window.closed k session [18,28) inputs 1 sources 1 values 0 revision 1",
        ],
    );
    assert_eq!(run.ledger.late, 1);
}

/// A kind of event that is held back, and until when.
type Held = (&'static str, i64);

/// A suppressor that holds back certain kinds of events.
struct Calm {
    held: &'static [Held],
    fields: [Field; 1],
    rule: RuleId,
}

impl Calm {
    fn new(held: &'static [Held]) -> Self {
        let fields = [Field { path: "kind".into(), kind: FieldKind::Text }];
        Self { held, fields, rule: RuleId { name: "calm".into(), version: "2.0.0".into(), digest: "c".into() } }
    }
}

impl Judge for Calm {
    fn fields(&self, _: u16) -> Option<&[Field]> {
        Some(&self.fields)
    }

    fn judge(&mut self, _: u16, candidates: Batch, _: Blobs) -> Verdicts {
        let Values::Text(kinds) = &candidates.columns[0].values else { panic!("kinds are text") };
        let mut entries = TextColumn::default();
        entries.push("because");
        let mut verdicts = Verdicts { reason: Reasons { codes: Vec::new(), entries }, ..Verdicts::default() };
        for row in 0..candidates.rows as usize {
            let held = self.held.iter().find(|(kind, _)| *kind == kinds.get(row));
            verdicts.verdict.push(held.map_or(verdict::EMIT, |_| verdict::SUPPRESS));
            verdicts.until_us.push(held.map_or(0, |(_, until_us)| *until_us));
            verdicts.severity.push(0);
            verdicts.reason.codes.push(0);
        }
        verdicts
    }

    fn rule(&self, _: u16) -> Option<&RuleId> {
        Some(&self.rule)
    }
}

fn check_held(held: &'static [Held], times_us: &[i64], expected: &[&str]) -> Run {
    let stream = Stream::of(until(60, problems(times_us)));
    check_judged(plan(vec![windowed(early(SESSION, 1))]), &stream, held, expected)
}

#[test]
fn where_the_early_result_was_held_back_the_final_one_is_the_first_word() {
    let run = check_held(
        &[("window.opened", 50)],
        &[0, 4],
        &[
            "0 suppressed k held deadline 50: session [0,..) inputs 1 sources 1 values 0 revision 1",
            "14 suppressed k ended after 14 deadline 50: session [0,..) inputs 1 sources 1 values 0 revision 1",
            "14 window.closed k session [0,14) inputs 2 sources 1 values 0 revision 1",
        ],
    );
    assert_eq!(window(&run.events[2]).supersedes, None);
    assert_eq!((run.ledger.emitted, run.ledger.suppressed), (2, 0));
}

#[test]
fn an_early_result_that_leaves_at_its_deadline_is_superseded_all_the_same() {
    let run = check_held(
        &[("window.opened", 12)],
        &[0, 4],
        &[
            "0 suppressed k held deadline 12: session [0,..) inputs 1 sources 1 values 0 revision 1",
            "12 window.opened k session [0,..) inputs 1 sources 1 values 0 revision 1 released after 12",
            "14 window.closed k session [0,14) inputs 2 sources 1 values 0 revision 2",
        ],
    );
    assert_eq!(window(&run.events[2]).supersedes.as_deref(), Some(&*run.events[1].id));
}

#[test]
fn a_result_that_is_held_back_gives_way_to_the_next_window() {
    let run = check_held(
        &[("window.closed", 59)],
        &[0, 20],
        &[
            "0 window.opened k session [0,..) inputs 1 sources 1 values 0 revision 1",
            "10 suppressed k held deadline 59: session [0,10) inputs 1 sources 1 values 0 revision 2",
            "20 suppressed k ended after 10 deadline 59: session [0,10) inputs 1 sources 1 values 0 revision 2",
            "20 window.opened k session [20,..) inputs 1 sources 1 values 0 revision 1",
            "30 suppressed k held deadline 59: session [20,30) inputs 1 sources 1 values 0 revision 2",
            "59 window.closed k session [20,30) inputs 1 sources 1 values 0 revision 2 released after 29",
        ],
    );
    assert_eq!((run.ledger.emitted, run.ledger.suppressed), (1, 1));
}
