//! A bad row fails alone, in any company, and says why.

use std::collections::BTreeMap;

use stillhouse_core::columns::{Batch, Column, Observations, TextColumn, Values, outcome};
use stillhouse_rules::{EngineConfig, FailureKind, Limits, MapperInstance, RuleEngine};

use crate::wat_rule::{
    BAD_OUTCOME, CHATTY, COSTLY, DROP, EMPTY_KEY, LOOP, MEMORY, NOT_UTF8, PANIC, RECURSE, TRAP, WRONG_LENGTH, WatRule,
};

fn mapper_with(limits: Limits) -> MapperInstance {
    let config = EngineConfig { limits, instances_max: 2, ..EngineConfig::default() };
    let rule = RuleEngine::new(config).unwrap().load(&WatRule::default().build()).unwrap();
    rule.mapper(&BTreeMap::new()).unwrap()
}

fn mapper() -> MapperInstance {
    mapper_with(Limits::default())
}

fn batch(subjects: &[&str]) -> Batch {
    let mut text = TextColumn::default();
    for subject in subjects {
        text.push(subject);
    }
    let column = Column { values: Values::Text(text), present: Vec::new() };
    Batch { rows: subjects.len() as u32, columns: vec![column] }
}

fn map(mapper: &mut MapperInstance, subjects: &[&str]) -> Observations {
    let mut out = Observations::default();
    let given = batch(subjects);
    let back = mapper.map(given.clone(), &mut out);
    assert_eq!(back, given);
    assert_eq!(out.outcome.len(), subjects.len());
    out
}

/// Outcome, state, key and reason of each row: all that may not depend on company.
fn rows(out: &Observations) -> Vec<(u8, u8, String, String)> {
    let row = |i: usize| {
        let observed = out.outcome[i] == outcome::OBSERVED;
        let key = if observed { out.key.get(i) } else { "" };
        let reason = if observed { "" } else { out.reason.get(i) };
        (out.outcome[i], out.state[i], key.to_owned(), reason.to_owned())
    };
    (0..out.outcome.len()).map(row).collect()
}

#[test]
fn a_good_batch_is_one_call() {
    let mut mapper = mapper();
    for _ in 0..3 {
        let out = map(&mut mapper, &["a", "x", DROP]);
        assert_eq!(out.outcome, [0, 0, 1]);
        assert_eq!((out.key.get(0), out.key.get(1)), ("a", "x"));
        assert_eq!(out.reason.get(2), "says nothing");
        assert!(out.value.is_empty());
        assert_eq!((mapper.last().calls, mapper.last().replaced), (1, 0));
        assert!(mapper.last().fuel > 0);
    }
    map(&mut mapper, &[]);
    assert_eq!(mapper.last().calls, 0);
}

#[test]
fn each_poison_is_found_and_named() {
    let expected = [
        (TRAP, FailureKind::Trap, "trap: wasm `unreachable` instruction executed"),
        (LOOP, FailureKind::OutOfFuel, "out of fuel: more than 40,000,000 units for 1 row"),
        (MEMORY, FailureKind::Memory, "memory: wanted 63 MiB, limit 16 MiB"),
        (RECURSE, FailureKind::StackOverflow, "stack overflow: limit 512 KiB"),
        (PANIC, FailureKind::Panic, "panicked at src/lib.rs:12:5: boom"),
        (BAD_OUTCOME, FailureKind::BadRow, "bad answer: outcome 9, expected 0 to 2"),
        (EMPTY_KEY, FailureKind::BadRow, "bad answer: the key is empty"),
        (WRONG_LENGTH, FailureKind::BadAnswer, "bad answer: `outcome` has 2 entries for 1 rows"),
        (NOT_UTF8, FailureKind::BadAnswer, "bad answer: `key`: not UTF-8"),
    ];
    let mut mapper = mapper();
    for (poison, kind, text) in expected {
        let mut subjects = vec!["a"; 100];
        subjects[37] = poison;
        let out = map(&mut mapper, &subjects);
        let failures = &mapper.last().failures;
        assert_eq!(failures.len(), 1, "{poison}: {failures:?}");
        assert_eq!(failures[0].row, 37);
        assert_eq!((failures[0].failure.kind, failures[0].failure.text.as_str()), (kind, text));
        assert_eq!(out.outcome[37], outcome::FAILED);
        assert_eq!(out.reason.get(37), text);
        assert_eq!(out.outcome.iter().filter(|&&o| o == 0).count(), 99);
        assert!(mapper.last().calls < 20, "{}", mapper.last().calls);
    }
}

#[test]
fn the_answer_for_a_row_does_not_depend_on_its_company() {
    let letters =
        ["a", TRAP, "x", MEMORY, DROP, PANIC, "y", BAD_OUTCOME, EMPTY_KEY, WRONG_LENGTH, NOT_UTF8, RECURSE, ""];
    let mut mapper = mapper();
    let alone: Vec<_> = letters.iter().map(|l| rows(&map(&mut mapper, &[l])).remove(0)).collect();
    let mut seed = 7u64;
    for _ in 0..100 {
        let pick = |seed: &mut u64| {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (*seed >> 33) as usize
        };
        let n = pick(&mut seed) % 40;
        // Mostly good rows, so that there is something to cut.
        let picked: Vec<usize> = (0..n)
            .map(|_| if pick(&mut seed).is_multiple_of(3) { pick(&mut seed) % letters.len() } else { 0 })
            .collect();
        let subjects: Vec<&str> = picked.iter().map(|&i| letters[i]).collect();
        let together = rows(&map(&mut mapper, &subjects));
        for (row, &i) in picked.iter().enumerate() {
            assert_eq!(together[row], alone[i], "{subjects:?} row {row}");
        }
    }
}

#[test]
fn a_batch_that_is_only_too_much_work_fails_no_row() {
    let mut mapper = mapper();
    let subjects = vec![COSTLY; 64];
    let out = map(&mut mapper, &subjects);
    assert!(out.outcome.iter().all(|&o| o == 0));
    assert_eq!(mapper.last().failures, []);
    let first = mapper.last().calls;
    let out = map(&mut mapper, &subjects);
    assert!(out.outcome.iter().all(|&o| o == 0));
    // It has learnt how much is too much.
    assert_eq!(mapper.last().replaced, 0);
    assert!(mapper.last().calls < first, "{} {first}", mapper.last().calls);
}

#[test]
fn a_batch_full_of_poison_costs_about_a_call_a_row() {
    let mut mapper = mapper();
    let out = map(&mut mapper, &[TRAP; 512]);
    assert!(out.outcome.iter().all(|&o| o == outcome::FAILED));
    assert_eq!(mapper.last().failures.len(), 512);
    assert!(mapper.last().calls < 600, "{}", mapper.last().calls);
    assert_eq!(out.reason.entries.len(), 1);
}

#[test]
fn time_is_only_the_backstop() {
    let limits = Limits { fuel_per_call: u64::MAX / 4, deadline_ms: 20, ..Limits::default() };
    let mut mapper = mapper_with(limits);
    let out = map(&mut mapper, &["a", LOOP]);
    assert_eq!(out.outcome, [0, outcome::FAILED]);
    assert_eq!(out.reason.get(1), "deadline 80 ms");
    assert_eq!(mapper.last().failures[0].failure.kind, FailureKind::Deadline);
}

#[test]
fn fuel_bounds_a_call_without_deadlines() {
    let config = EngineConfig { instances_max: 2, deadlines: false, ..EngineConfig::default() };
    let rule = RuleEngine::new(config).unwrap().load(&WatRule::default().build()).unwrap();
    let mut mapper = rule.mapper(&BTreeMap::new()).unwrap();
    let out = map(&mut mapper, &["a", LOOP]);
    assert_eq!(out.outcome, [0, outcome::FAILED]);
    assert_eq!(mapper.last().failures[0].failure.kind, FailureKind::OutOfFuel);
}

#[test]
fn logging_is_cut_and_counted_and_costs_fuel() {
    let mut mapper = mapper();
    let out = map(&mut mapper, &[CHATTY]);
    assert_eq!(out.outcome, [0]);
    assert_eq!(mapper.last().log_lines_cut, 100 - Limits::default().log_lines_max);
    assert!(mapper.last().fuel > 100_000);
}

#[test]
fn a_dictionary_column_is_split_too() {
    let mut mapper = mapper();
    let mut entries = TextColumn::default();
    entries.push("a");
    let values = Values::Dict { codes: vec![0, 0], entries };
    let given = Batch { rows: 2, columns: vec![Column { values, present: Vec::new() }] };
    let mut out = Observations::default();
    // The rule by hand reads only `text`, and traps for each row.
    mapper.map(given, &mut out);
    assert_eq!(out.outcome, [outcome::FAILED; 2]);
}

#[test]
#[should_panic(expected = "one column for each declared field")]
fn a_batch_of_another_shape_is_the_hosts_mistake() {
    mapper().map(Batch { rows: 1, columns: Vec::new() }, &mut Observations::default());
}
