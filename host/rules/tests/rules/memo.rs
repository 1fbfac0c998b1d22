//! What a suppressor remembers: handed over, taken back, bounded, and part of what is proved.

use std::collections::BTreeMap;

use stillhouse_core::columns::{Batch, Blobs, Column, TextColumn, Values, Verdicts, verdict};
use stillhouse_core::rule::{Carry, MemoPlan};
use stillhouse_rules::{Kind, Rule, SuppressorInstance};

use crate::engine;
use crate::wat_judge::{NO_COLUMN, SILENT, TOO_LONG, TRAP, WatJudge};

fn load(rule: &WatJudge) -> Rule {
    engine().load(&rule.build()).unwrap()
}

fn refused(rule: &WatJudge) -> String {
    engine().load(&rule.build()).unwrap_err().to_string()
}

pub fn batch(keys: &[&str]) -> Batch {
    let mut text = TextColumn::default();
    keys.iter().for_each(|key| text.push(key));
    Batch { rows: keys.len() as u32, columns: vec![Column { values: Values::Text(text), present: Vec::new() }] }
}

fn blobs(rows: &[&str]) -> Blobs {
    let mut blobs = Blobs::default();
    rows.iter().for_each(|row| blobs.push(row.as_bytes()));
    blobs
}

/// Verdict and memo of each row.
fn judge(judge: &mut SuppressorInstance, keys: &[&str], memos: Blobs) -> Vec<(u8, String)> {
    let mut out = Verdicts::default();
    let given = batch(keys);
    assert_eq!(judge.judge(given.clone(), memos, &mut out), given);
    assert_eq!(out.verdict.len(), keys.len());
    let memo = |row| String::from_utf8(out.memo.get(row).to_vec()).unwrap();
    (0..keys.len()).map(|row| (out.verdict[row], memo(row))).collect()
}

fn emitted(memo: &str) -> (u8, String) {
    (verdict::EMIT, memo.to_owned())
}

fn failed(memo: &str) -> (u8, String) {
    (verdict::FAILED, memo.to_owned())
}

#[test]
fn a_memo_is_handed_over_and_taken_back() {
    let rule = load(&WatJudge::default());
    assert_eq!(rule.kind(), Kind::Suppressor);
    assert_eq!(rule.memo(), Some(MemoPlan { version: 7, carry: Carry::Reset, bytes_max: 4 }));
    let mut instance = rule.suppressor(&BTreeMap::new()).unwrap();
    assert_eq!(judge(&mut instance, &["a", "b"], blobs(&["", "xyz"])), [emitted("a"), emitted("bxyz")]);
    // The oldest goes first.
    assert_eq!(judge(&mut instance, &["c"], blobs(&["bxyz"])), [emitted("cbxy")]);
    // Without rows all memos are empty.
    assert_eq!(judge(&mut instance, &["a", "b"], Blobs::default()), [emitted("a"), emitted("b")]);
    assert_eq!(instance.last().calls, 1);
}

#[test]
fn who_says_nothing_of_memos_leaves_them_as_they_are() {
    let mut instance = load(&WatJudge::default()).suppressor(&BTreeMap::new()).unwrap();
    assert_eq!(judge(&mut instance, &["a", SILENT], blobs(&["x", "y"])), [emitted("x"), emitted("y")]);
}

#[test]
fn a_rule_without_a_memo_is_given_none_and_may_answer_none() {
    let rule = load(&WatJudge { memo_bytes: 0, ..WatJudge::default() });
    assert_eq!(rule.memo(), None);
    let mut instance = rule.suppressor(&BTreeMap::new()).unwrap();
    assert_eq!(judge(&mut instance, &["a"], blobs(&["x"])), [emitted("")]);
}

#[test]
fn a_bad_memo_fails_its_row_and_no_other() {
    let mut instance = load(&WatJudge::default()).suppressor(&BTreeMap::new()).unwrap();
    let expected = [
        (TOO_LONG, "bad answer: a memo of 10 bytes, limit 4"),
        (NO_COLUMN, "bad answer: `memo`: offsets from 0 to 100000 over 2 bytes"),
        (TRAP, "trap: wasm `unreachable` instruction executed"),
    ];
    for (bad, text) in expected {
        let mut keys = vec!["a"; 20];
        keys[13] = bad;
        let judged = judge(&mut instance, &keys, blobs(&["m"; 20]));
        for (row, judged) in judged.iter().enumerate() {
            // What was remembered stays where the rule fails.
            assert_eq!(*judged, if row == 13 { failed("m") } else { emitted("am") }, "{bad} row {row}");
        }
        let failures = &instance.last().failures;
        assert_eq!((failures.len(), failures[0].row, failures[0].failure.text.as_str()), (1, 13, text));
    }
}

#[test]
fn the_memo_of_a_row_does_not_depend_on_its_company() {
    let mut instance = load(&WatJudge::default()).suppressor(&BTreeMap::new()).unwrap();
    let rows = [("a", "x"), (TRAP, "y"), ("b", ""), (TOO_LONG, "zz"), ("c", "1234"), (NO_COLUMN, "q"), ("", "w")];
    let mut one = |(key, memo)| judge(&mut instance, &[key], blobs(&[memo])).remove(0);
    let alone = rows.map(&mut one);
    assert_eq!(alone[0], emitted("ax"));
    for shift in 0..rows.len() {
        let shifted: Vec<usize> = (0..3 * rows.len()).map(|at| (at * (shift + 1) + shift) % rows.len()).collect();
        let keys: Vec<&str> = shifted.iter().map(|&at| rows[at].0).collect();
        let memos: Vec<&str> = shifted.iter().map(|&at| rows[at].1).collect();
        let together = judge(&mut instance, &keys, blobs(&memos));
        for (row, &at) in shifted.iter().enumerate() {
            assert_eq!(together[row], alone[at], "{keys:?} row {row}");
        }
    }
}

#[test]
fn cases_give_and_expect_memos() {
    let rule = load(&WatJudge { case: Some(("xy", "axy")), ..WatJudge::default() });
    assert_eq!(
        (rule.cases()[0].memo.as_slice(), rule.case_results()[0].got_memo.as_slice()),
        (&b"xy"[..], &b"axy"[..])
    );
    assert_eq!(
        refused(&WatJudge { case: Some(("xy", "ax")), ..WatJudge::default() }),
        "1 of its 1 test cases fail; the first is `the one case`: expected memo `6178`, got memo `617879`"
    );
    assert_eq!(
        refused(&WatJudge { case: Some(("xy", "")), memo_bytes: 0, ..WatJudge::default() }),
        "manifest: case `the one case`: has a memo, but the rule declares none"
    );
}

#[test]
fn the_bound_on_memos_is_bounded() {
    let said = refused(&WatJudge { memo_bytes: 4097, ..WatJudge::default() });
    assert_eq!(said, "manifest: a memo of 4097 bytes, expected 1 to 4,096");
}

#[test]
fn a_memo_that_depends_on_more_than_the_row_is_not_pure() {
    // The row with every field has the key `probe`; the case has the key `a`.
    let said = refused(&WatJudge { impure: 'p', ..WatJudge::default() });
    assert!(
        said.starts_with(
            "not pure: a row with every field is answered with emit and memo 00 in one batch with the others, but with \
             emit and memo 01 in the same batch again"
        ),
        "{said}"
    );
}

#[test]
#[should_panic(expected = "there is a memo for each row of the batch, or none at all")]
fn memos_of_another_shape_are_the_hosts_mistake() {
    let mut instance = load(&WatJudge::default()).suppressor(&BTreeMap::new()).unwrap();
    judge(&mut instance, &["a", "b"], blobs(&["x"]));
}
