//! Suppression, with a small native suppressor in place of a rule.

use std::collections::BTreeMap;
use std::sync::Arc;

use stillhouse_core::columns::{Batch, Blobs, Reasons, TextColumn, Values, Verdicts, verdict};
use stillhouse_core::event::Data;
use stillhouse_core::gate::HELD_MAX;
use stillhouse_core::plan::{FlappingPlan, TypePlan};
use stillhouse_core::rule::{Field, FieldKind, Judge, RuleId};
use stillhouse_core::{Event, Plan};

use crate::chance::Chance;
use crate::generate::{any_plan, any_stream, orderly_stream};
use crate::plans::{DOWN, GONE, SLOW, UP, plan, type_plan};
use crate::properties::{between, for_seeds, hold};
use crate::stream::{Division, Run, Signal, Stream, WHOLE, run_with, signal, told};

/// What a suppressor is told of a candidate.
struct Asked {
    key: String,
    kind: String,
    to: String,
    time_us: i64,
    severity: i64,
    judged: i64,
}

/// What it answers: the verdict, until when, and the severity.
type Answer = (u8, i64, u8);

const EMIT: Answer = (verdict::EMIT, 0, 0);

/// A suppressor that is a function.
struct Native<F> {
    answer: F,
    fields: Vec<Field>,
    rule: RuleId,
}

impl<F: Fn(&Asked) -> Answer> Native<F> {
    fn new(answer: F) -> Self {
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
fn seen(observations: &[(i64, u8)]) -> Vec<Signal> {
    let each = observations.iter().enumerate();
    let mut signals: Vec<_> =
        each.map(|(at, &(time_us, state))| signal(time_us, &format!("e{at}"), "k", state, "")).collect();
    signals.push(signal(5_000, "last", "z", UP, ""));
    signals
}

/// Runs it divided in many ways, and expects the same of all.
fn check(
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
        |plan| plan.flapping = Some(FlappingPlan { high_mpct: 6_250, low_mpct: 0, quiet_us: Some(10) }),
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
        |plan| plan.flapping = Some(FlappingPlan { high_mpct: 6_250, low_mpct: 0, quiet_us: Some(10) }),
        seen(&[(0, UP), (1, DOWN), (12, UP)]),
        |asked| if asked.kind == "flapping.stopped" { (verdict::SUPPRESS, 0, 0) } else { EMIT },
        &[
            "1 flapping.started k up>down since 1 inputs 1",
            "11 suppressed k held deadline 1011: up>down since 1 inputs 1",
            "11 state.changed k up>down since 1 inputs 1",
            "12 suppressed k ended after 1 deadline 1011: up>down since 1 inputs 1",
            "22 suppressed k held deadline 1022: down>up since 12 inputs 1",
            "22 state.changed k down>up since 12 inputs 1",
            "1022 flapping.stopped k down>up since 12 inputs 1 released after 1000",
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

/// A suppressor that answers anything, but always the same for the same candidate.
fn erratic(seed: u64) -> impl Fn(&Asked) -> Answer + Copy {
    move |asked: &Asked| {
        let text = format!("{} {} {} {} {}", asked.key, asked.kind, asked.to, asked.time_us, asked.judged);
        let hash = text.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        let mut chance = Chance::new(hash);
        let verdicts =
            [verdict::EMIT, verdict::SUPPRESS, verdict::SUPPRESS, verdict::DELAY, verdict::ESCALATE, verdict::FAILED];
        let until_us = asked.time_us + chance.between(-5, 80);
        (chance.pick(&verdicts), chance.pick(&[0, until_us, until_us]), chance.between(0, 3) as u8)
    }
}

fn erratic_plan(chance: &mut Chance) -> Plan {
    let mut plan = any_plan(chance);
    for of_type in &mut plan.types {
        of_type.suppress_max_us = chance.pick(&[0, 1, 20, 60]);
        of_type.never_suppress = chance.pick(&[1, 3, 4]);
    }
    plan
}

#[test]
fn division_does_not_show_with_a_suppressor() {
    for_seeds("division_does_not_show_with_a_suppressor", |chance| {
        let plan = erratic_plan(chance);
        let stream = any_stream(chance, &plan);
        let answer = erratic(chance.between(0, 1 << 40) as u64);
        hold(plan, stream, &|plan, stream| {
            let whole = run_with(plan, stream, WHOLE, &mut Native::new(answer));
            let divisions = [(1, 1, 1), (2, 7, 1), (3, 1024, 1), (8, 1, 3), (3, 7, 100)];
            divisions.into_iter().find_map(|(shards, block_rows, entries)| {
                let division = Division { shards, block_rows, entries };
                let divided = run_with(plan, stream, division, &mut Native::new(answer));
                between(&format!("{division:?}"), &whole, &divided)
            })
        });
    });
}

#[test]
fn each_suppression_ends_once_and_in_time() {
    for_seeds("each_suppression_ends_once_and_in_time", |chance| {
        let plan = erratic_plan(chance);
        let stream = any_stream(chance, &plan);
        let answer = erratic(chance.between(0, 1 << 40) as u64);
        hold(plan, stream, &|plan, stream| {
            let run = run_with(plan, stream, WHOLE, &mut Native::new(answer));
            told_wrongly(plan, &run.events)
        });
    });
}

#[test]
fn each_event_has_an_id_of_its_own() {
    for_seeds("each_event_has_an_id_of_its_own", |chance| {
        let plan = erratic_plan(chance);
        let stream = orderly_stream(chance, &plan);
        let answer = erratic(chance.between(0, 1 << 40) as u64);
        hold(plan, stream, &|plan, stream| {
            let run = run_with(plan, stream, WHOLE, &mut Native::new(answer));
            let mut ids: BTreeMap<&str, &Event> = BTreeMap::new();
            run.events.iter().find_map(|event| {
                let before = ids.insert(&event.id, event)?;
                Some(format!("one id for two:\n{before:?}\n{event:?}"))
            })
        });
    });
}

/// Looks for a suppression that is doubled, lost, too long, or told out of order.
fn told_wrongly(plan: &Plan, events: &[Event]) -> Option<String> {
    let mut held: BTreeMap<(String, String, bool), i64> = BTreeMap::new();
    let mut newest_us = i64::MIN;
    for event in events {
        let time_us = event.time.map_or(i64::MIN, |time| time.0);
        let key = event.subject.as_deref().unwrap_or_default().to_owned();
        let slot = |signal: &str, kind: &str| (signal.to_owned(), key.clone(), kind != "stillhouse.state.changed");
        match &event.data {
            Data::Suppressed(said) => {
                let slot = slot(&said.candidate.signal, said.kind);
                let known = held.remove(&slot);
                match said.outcome {
                    "held" if known.is_none() => _ = held.insert(slot, said.deadline.0),
                    "ended" if known.is_none_or(|deadline_us| time_us <= deadline_us) => {}
                    other => return Some(format!("{other} with {known:?}: {event:?}")),
                }
                let made_us = said.candidate.since.0 + said.candidate.held_us;
                let of_type = plan.types.iter().find(|plan| plan.name == *said.candidate.signal)?;
                if said.deadline.0 - made_us > of_type.suppress_max_us {
                    return Some(format!("held back for too long: {event:?}"));
                }
            }
            Data::Change(change) => {
                let released = change.judgement.as_ref().is_some_and(|said| said.outcome == "released");
                let known = held.remove(&slot(&change.signal, event.kind));
                if known.is_some_and(|deadline_us| !released || deadline_us != time_us) {
                    return Some(format!("left while another is held: {event:?}"));
                }
            }
            Data::Late(_) | Data::DeadLetter(_) | Data::Derived(_) => continue,
        }
        if time_us < newest_us {
            return Some(format!("before {newest_us}: {event:?}"));
        }
        newest_us = time_us;
    }
    let overdue = held.iter().find(|(_, deadline_us)| **deadline_us < newest_us);
    overdue.map(|slot| format!("never ended: {slot:?}"))
}
