//! Suppression, with a small native suppressor in place of a rule.

use std::sync::Arc;

use stillhouse_core::columns::{Batch, Blobs, Reasons, TextColumn, Values, Verdicts, verdict};
use stillhouse_core::event::Data;
use stillhouse_core::gate::HELD_MAX;
use stillhouse_core::plan::{FlappingPlan, TypePlan, Weights};
use stillhouse_core::rule::{Field, FieldKind, Judge, RuleId};

use crate::plans::{DOWN, GONE, SLOW, UP, plan, type_plan};
use crate::stream::{Division, Run, Signal, Stream, WHOLE, run_with, signal, told};

/// What a suppressor is told of a candidate.
pub struct Asked {
    pub key: String,
    pub kind: String,
    pub to: String,
    pub time_us: i64,
    pub severity: i64,
    pub judged: i64,
}

/// What it answers: the verdict, until when, and the severity.
pub type Answer = (u8, i64, u8);

pub const EMIT: Answer = (verdict::EMIT, 0, 0);

/// A suppressor that is a function.
pub struct Native<F> {
    answer: F,
    fields: Vec<Field>,
    rule: RuleId,
}

impl<F: Fn(&Asked) -> Answer> Native<F> {
    pub fn new(answer: F) -> Self {
        let field = |path: &str, kind| Field { path: path.into(), kind };
        let fields = vec![
            field("key", FieldKind::Text),
            field("kind", FieldKind::Text),
            field("to", FieldKind::Text),
            field("time", FieldKind::Int),
            field("severity", FieldKind::Int),
            field("judged", FieldKind::Int),
        ];
        Self { answer, fields, rule: RuleId { name: "calm".into(), version: "2.0.0".into(), digest: "c".into() } }
    }
}

impl<F: Fn(&Asked) -> Answer> Judge for Native<F> {
    fn fields(&self, _: u16) -> Option<&[Field]> {
        Some(&self.fields)
    }

    fn judge(&mut self, _: u16, candidates: Batch, _: Blobs) -> Verdicts {
        let text = |column: usize, row: usize| match &candidates.columns[column].values {
            Values::Text(texts) => texts.get(row).to_owned(),
            other => panic!("column {column} should be text: {other:?}"),
        };
        let int = |column: usize, row: usize| match &candidates.columns[column].values {
            Values::Ints(ints) => ints[row],
            other => panic!("column {column} should be integers: {other:?}"),
        };
        let mut entries = TextColumn::default();
        entries.push("because");
        let mut verdicts = Verdicts { reason: Reasons { codes: Vec::new(), entries }, ..Verdicts::default() };
        for row in 0..candidates.rows as usize {
            let (verdict, until_us, severity) = (self.answer)(&Asked {
                key: text(0, row),
                kind: text(1, row),
                to: text(2, row),
                time_us: int(3, row),
                severity: int(4, row),
                judged: int(5, row),
            });
            verdicts.verdict.push(verdict);
            verdicts.until_us.push(until_us);
            verdicts.severity.push(severity);
            verdicts.reason.codes.push(0);
        }
        verdicts
    }

    fn rule(&self, _: u16) -> Option<&RuleId> {
        Some(&self.rule)
    }
}

fn suppressing(plan: &mut TypePlan) {
    plan.suppress_max_us = 1_000;
}

/// Signals of key `k`, and one of key `z` at time 5,000 so that every deadline passes.
pub fn seen(observations: &[(i64, u8)]) -> Vec<Signal> {
    let each = observations.iter().enumerate();
    let mut signals: Vec<_> =
        each.map(|(at, &(time_us, state))| signal(time_us, &format!("e{at}"), "k", state, "")).collect();
    signals.push(signal(5_000, "last", "z", UP, ""));
    signals
}

/// Runs it divided in many ways, and expects the same of all.
pub fn check(
    change: impl FnOnce(&mut TypePlan),
    signals: Vec<Signal>,
    answer: impl Fn(&Asked) -> Answer + Copy,
    expected: &[&str],
) -> Run {
    let mut of_type = type_plan("probe");
    suppressing(&mut of_type);
    change(&mut of_type);
    let plan = Arc::new(plan(vec![of_type]));
    let stream = Stream::of(signals);
    let whole = run_with(&plan, &stream, WHOLE, &mut Native::new(answer));
    assert_eq!(told(&whole.events), expected);
    for (shards, block_rows, entries) in [(1, 1, 1), (2, 2, 1), (3, 1, 2), (8, 1, 1)] {
        let division = Division { shards, block_rows, entries };
        let divided = run_with(&plan, &stream, division, &mut Native::new(answer));
        assert_eq!(whole.bytes, divided.bytes, "{division:?}");
        assert_eq!(whole.ledger, divided.ledger, "{division:?}");
    }
    whole
}

#[test]
fn a_suppressed_problem_that_stands_leaves_at_its_deadline() {
    let run = check(
        |_| (),
        seen(&[(0, UP), (10, DOWN), (40, DOWN)]),
        |asked| if asked.to == "down" { (verdict::SUPPRESS, 50, 0) } else { EMIT },
        &[
            "10 suppressed k held deadline 50: up>down since 10 inputs 1",
            "50 state.changed k up>down since 10 inputs 1 released after 40",
        ],
    );
    assert_eq!((run.ledger.emitted, run.ledger.suppressed), (1, 0));
    let Data::Suppressed(held) = &run.events[0].data else { panic!("the first is a suppression") };
    assert_eq!((&*held.reason, held.kind), ("because", "stillhouse.state.changed"));
    let rule = &serde_json::to_value(&run.events[0]).expect("JSON")["data"]["candidate"]["provenance"]["suppressor"];
    assert_eq!((&rule["name"], &rule["digest"]), (&"calm".into(), &"c".into()));
}

#[test]
fn a_suppressed_problem_that_ends_is_told_to_nobody() {
    let run = check(
        |_| (),
        seen(&[(0, UP), (10, DOWN), (30, UP)]),
        |asked| if asked.to == "down" { (verdict::SUPPRESS, 50, 0) } else { EMIT },
        &[
            "10 suppressed k held deadline 50: up>down since 10 inputs 1",
            "30 suppressed k ended after 20 deadline 50: up>down since 10 inputs 1",
        ],
    );
    assert_eq!((run.ledger.emitted, run.ledger.suppressed), (0, 2));
}

#[test]
fn at_its_deadline_a_problem_leaves_before_its_end_of_the_same_time() {
    check(
        |_| (),
        seen(&[(0, UP), (10, DOWN), (50, UP)]),
        |asked| if asked.to == "down" { (verdict::SUPPRESS, 50, 0) } else { EMIT },
        &[
            "10 suppressed k held deadline 50: up>down since 10 inputs 1",
            "50 state.changed k up>down since 10 inputs 1 released after 40",
            "50 state.changed k down>up since 50 inputs 1",
        ],
    );
}

#[test]
fn another_problem_takes_the_place_of_the_suppressed_one() {
    let run = check(
        |_| (),
        seen(&[(0, UP), (10, DOWN), (30, SLOW)]),
        |asked| if asked.to == "down" { (verdict::SUPPRESS, 50, 0) } else { EMIT },
        &[
            "10 suppressed k held deadline 50: up>down since 10 inputs 1",
            "30 suppressed k ended after 20 deadline 50: up>down since 10 inputs 1",
            "30 state.changed k up>slow since 30 inputs 1",
        ],
    );
    assert_eq!((run.ledger.emitted, run.ledger.suppressed), (1, 1));
}

#[test]
fn the_first_problem_of_an_unknown_entity_ends_unheard_as_well() {
    check(
        |_| (),
        seen(&[(10, DOWN), (30, UP)]),
        |asked| if asked.to == "down" { (verdict::SUPPRESS, 50, 0) } else { EMIT },
        &[
            "10 suppressed k held deadline 50: ?>down since 10 inputs 1",
            "30 suppressed k ended after 20 deadline 50: ?>down since 10 inputs 1",
        ],
    );
}

#[test]
fn a_suppressed_problem_that_is_cleared_is_told_to_nobody() {
    check(
        |plan| plan.clear_after_us[DOWN as usize] = Some(20),
        seen(&[(0, UP), (10, DOWN)]),
        |asked| if asked.to == "down" { (verdict::SUPPRESS, 50, 0) } else { EMIT },
        &[
            "10 suppressed k held deadline 50: up>down since 10 inputs 1",
            "30 suppressed k ended after 20 deadline 50: up>down since 10 inputs 1",
        ],
    );
}

#[test]
fn a_suppressed_problem_whose_entity_is_gone_is_told_to_nobody() {
    check(
        |_| (),
        seen(&[(0, UP), (10, DOWN), (30, GONE)]),
        |asked| if asked.to == "down" { (verdict::SUPPRESS, 50, 0) } else { EMIT },
        &[
            "10 suppressed k held deadline 50: up>down since 10 inputs 1",
            "30 suppressed k ended after 20 deadline 50: up>down since 10 inputs 1",
        ],
    );
}

#[test]
fn a_delayed_candidate_is_judged_again() {
    let twice = |asked: &Asked| match asked.judged {
        0 => (verdict::DELAY, 20, 0),
        1 => (verdict::DELAY, 35, 0),
        _ => EMIT,
    };
    let delayed = "35 state.changed k up>down since 10 inputs 1 delayed after 25";
    check(|_| (), seen(&[(0, UP), (10, DOWN)]), twice, &[delayed]);
    let suppressed_then = |asked: &Asked| match asked.judged {
        0 => (verdict::DELAY, 20, 0),
        _ => (verdict::SUPPRESS, 40, 0),
    };
    check(
        |_| (),
        seen(&[(0, UP), (10, DOWN)]),
        suppressed_then,
        &[
            "20 suppressed k held deadline 40: up>down since 10 inputs 1",
            "40 state.changed k up>down since 10 inputs 1 released after 30",
        ],
    );
}

#[test]
fn a_delay_that_never_ends_ends_at_the_bound() {
    check(
        |plan| plan.suppress_max_us = 25,
        seen(&[(0, UP), (10, DOWN)]),
        |asked| (verdict::DELAY, asked.time_us + 10 * (asked.judged + 1), 0),
        &["35 state.changed k up>down since 10 inputs 1 delayed after 25"],
    );
}

#[test]
fn an_escalated_candidate_leaves_with_the_greater_severity() {
    let run = check(
        |_| (),
        seen(&[(0, UP), (10, DOWN)]),
        |asked| if asked.severity == 0 { (verdict::ESCALATE, 0, 2) } else { EMIT },
        &["10 state.changed k up>down since 10 inputs 1 escalated after 0"],
    );
    let Data::Change(change) = &run.events[0].data else { panic!("a change") };
    assert_eq!(change.severity, "error");
}

#[test]
fn a_failed_rule_lets_the_candidate_leave_and_says_so() {
    check(
        |_| (),
        seen(&[(0, UP), (10, DOWN)]),
        |_| (verdict::FAILED, 0, 0),
        &["10 state.changed k up>down since 10 inputs 1 failed after 0"],
    );
}

#[test]
fn high_severity_overrides_suppression() {
    for (never_suppress, expected) in [
        (2, "10 state.changed k ?>down since 10 inputs 1 overridden after 0"),
        (3, "10 suppressed k held deadline 50: ?>down since 10 inputs 1"),
    ] {
        let mut of_type = type_plan("probe");
        of_type.never_suppress = never_suppress;
        let stream = Stream::of([Signal { severity: 2, ..signal(10, "e0", "k", DOWN, "") }]);
        let mut judge = Native::new(|_: &Asked| (verdict::SUPPRESS, 50, 0));
        let run = run_with(&Arc::new(plan(vec![of_type])), &stream, WHOLE, &mut judge);
        assert_eq!(told(&run.events), [expected]);
        assert_eq!(run.ledger.open, u64::from(never_suppress - 2));
    }
}

#[test]
fn nothing_is_held_back_for_longer_than_the_bound() {
    for until_us in [0, 1_000_000, i64::MAX] {
        check(
            |plan| plan.suppress_max_us = 15,
            seen(&[(0, UP), (10, DOWN)]),
            move |_| (verdict::SUPPRESS, until_us, 0),
            &[
                "10 suppressed k held deadline 25: up>down since 10 inputs 1",
                "25 state.changed k up>down since 10 inputs 1 released after 15",
            ],
        );
    }
}

#[test]
fn a_deadline_that_has_passed_holds_nothing_back() {
    check(
        |_| (),
        seen(&[(0, UP), (10, DOWN)]),
        |_| (verdict::SUPPRESS, 10, 0),
        &["10 state.changed k up>down since 10 inputs 1 released after 0"],
    );
}

#[test]
fn suppressed_flapping_ends_unheard() {
    let run = check(
        |plan| {
            plan.flapping =
                Some(FlappingPlan { weights: Weights::Nagios, high_mpct: 6_250, low_mpct: 0, quiet_us: Some(10) })
        },
        seen(&[(0, UP), (1, DOWN), (2, UP)]),
        |asked| if asked.kind == "flapping.started" && asked.key == "k" { (verdict::SUPPRESS, 0, 0) } else { EMIT },
        &[
            "1 suppressed k held deadline 1001: up>down since 1 inputs 1",
            "12 suppressed k ended after 11 deadline 1001: up>down since 1 inputs 1",
        ],
    );
    assert_eq!(run.ledger.suppressed, 2);
}

#[test]
fn flapping_whose_end_was_told_to_nobody_does_not_start_again() {
    check(
        |plan| {
            plan.flapping =
                Some(FlappingPlan { weights: Weights::Nagios, high_mpct: 6_250, low_mpct: 0, quiet_us: Some(10) })
        },
        seen(&[(0, UP), (1, DOWN), (12, UP)]),
        |asked| if asked.kind == "flapping.stopped" { (verdict::SUPPRESS, 0, 0) } else { EMIT },
        &[
            "1 flapping.started k up>down since 1 inputs 1",
            "11 suppressed k held deadline 1011: up>down since 1 inputs 1",
            "11 state.changed k up>down since 1 inputs 1",
            "12 suppressed k ended after 1 deadline 1011: down>down since 1 inputs 1",
            "22 suppressed k held deadline 1022: down>up since 12 inputs 1",
            "22 state.changed k down>up since 12 inputs 1",
            "1022 flapping.stopped k up>up since 12 inputs 1 released after 1000",
        ],
    );
}

#[test]
fn at_the_bound_of_what_is_held_back_candidates_leave() {
    let keys = 0..=HELD_MAX;
    let stream = Stream::of(keys.map(|key| signal(0, &format!("e{key:06}"), &format!("k{key:06}"), DOWN, "")));
    let mut judge = Native::new(|_: &Asked| (verdict::SUPPRESS, 0, 0));
    let run = run_with(&Arc::new(plan(vec![type_plan("probe")])), &stream, WHOLE, &mut judge);
    let lines = told(&run.events[HELD_MAX..]);
    assert_eq!(lines, [format!("0 state.changed k{HELD_MAX:06} ?>down since 0 inputs 1 overridden after 0")]);
    assert_eq!(run.ledger.open, HELD_MAX as u64);
}
