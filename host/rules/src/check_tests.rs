//! Answers that are not sound, by hand.

use stillhouse_core::rule::Carry;

use super::*;

fn raw(rows: usize) -> mapper_rule::Observations {
    let key = columns::Text { offsets: (0..=rows as u32).collect(), data: vec![b'k'; rows] };
    let none = || columns::Text { offsets: Vec::new(), data: Vec::new() };
    mapper_rule::Observations {
        outcome: vec![0; rows],
        state: vec![1; rows],
        severity: vec![2; rows],
        key,
        value: none(),
        reason: columns::Dict { codes: Vec::new(), entries: none() },
    }
}

fn checked(raw: mapper_rule::Observations, rows: usize) -> (Result<Observations, Failure>, Vec<RowFailure>) {
    let mut failures = Vec::new();
    (observations(raw, rows, 2, &Limits::default(), &mut failures), failures)
}

fn refused(change: impl FnOnce(&mut mapper_rule::Observations)) -> String {
    let mut answer = raw(3);
    change(&mut answer);
    checked(answer, 3).0.unwrap_err().text
}

fn failed_row(change: impl FnOnce(&mut mapper_rule::Observations)) -> String {
    let mut answer = raw(3);
    change(&mut answer);
    let (out, failures) = checked(answer, 3);
    let out = out.unwrap();
    assert_eq!(out.outcome, [0, outcome::FAILED, 0]);
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].row, 1);
    assert_eq!(out.reason.get(1), failures[0].failure.text);
    assert_eq!(out.reason.get(0), "");
    failures[0].failure.text.clone()
}

#[test]
fn a_sound_answer_passes() {
    let (out, failures) = checked(raw(3), 3);
    assert_eq!(out.unwrap().state, [1, 1, 1]);
    assert!(failures.is_empty());
    assert!(checked(raw(0), 0).0.is_ok());
}

#[test]
fn what_is_wrong_as_a_whole_is_refused() {
    assert_eq!(refused(|a| a.state.push(0)), "bad answer: `state` has 4 entries for 3 rows");
    assert_eq!(refused(|a| a.key.offsets.truncate(3)), "bad answer: `key`: 3 offsets for 3 rows");
    assert_eq!(refused(|a| a.key.offsets[1] = 9), "bad answer: `key`: an offset falls");
    assert_eq!(refused(|a| a.key.offsets[3] = 9), "bad answer: `key`: offsets from 0 to 9 over 3 bytes");
    assert_eq!(refused(|a| a.key.data[1] = 0xFF), "bad answer: `key`: not UTF-8");
    assert_eq!(refused(|a| a.key.data = "aé".into()), "bad answer: `key`: an offset splits a character");
    assert_eq!(refused(|a| a.value.data.push(1)), "bad answer: `value`: 0 offsets for 3 rows");
    assert_eq!(refused(|a| a.reason.codes.push(1)), "bad answer: `reason` has 1 entries for 3 rows");
}

#[test]
fn what_is_wrong_in_a_row_fails_that_row() {
    assert_eq!(failed_row(|a| a.outcome[1] = 3), "bad answer: outcome 3, expected 0 to 2");
    assert_eq!(failed_row(|a| a.state[1] = 2), "bad answer: state code 2, but 2 states are declared");
    assert_eq!(failed_row(|a| a.severity[1] = 4), "bad answer: severity 4, expected 0 to 3");
    let empty = |a: &mut mapper_rule::Observations| {
        a.key = columns::Text { offsets: vec![0, 1, 1, 2], data: vec![b'k'; 2] };
    };
    assert_eq!(failed_row(empty), "bad answer: the key is empty");
    let long = |a: &mut mapper_rule::Observations| {
        a.key = columns::Text { offsets: vec![0, 1, 1026, 1027], data: vec![b'k'; 1027] };
    };
    assert_eq!(failed_row(long), "bad answer: a key of 1,025 bytes, limit 1,024");
    let reason = |a: &mut mapper_rule::Observations| {
        a.outcome[1] = 1;
        a.reason.codes = vec![7, 5, 0];
        a.reason.entries = columns::Text { offsets: vec![0, 0], data: Vec::new() };
    };
    assert_eq!(failed_row(reason), "bad answer: reason code 5, but there are 1 reasons");
}

#[test]
fn suppressing_needs_a_reason() {
    let none = || columns::Text { offsets: Vec::new(), data: Vec::new() };
    let raw = suppressor_rule::Verdicts {
        verdict: vec![0, 1, 3],
        until: vec![5, 5, 5],
        severity: vec![3, 3, 3],
        reason: columns::Dict {
            codes: vec![0, 1, 0],
            entries: columns::Text { offsets: vec![0, 0, 1], data: vec![b'r'] },
        },
        memo: no_memos(),
    };
    let mut failures = Vec::new();
    let out = verdicts(raw.clone(), 3, &no_memos(), None, &Limits::default(), &mut failures).unwrap();
    assert_eq!(out.verdict, [0, 1, verdict::FAILED]);
    assert_eq!(out.until_us, [0, 5, 0]);
    assert_eq!(out.severity, [0, 0, 0]);
    assert_eq!(out.reason.get(2), "bad answer: verdict 3 without a reason");
    let bare = suppressor_rule::Verdicts { reason: columns::Dict { codes: Vec::new(), entries: none() }, ..raw };
    failures.clear();
    let out = verdicts(bare, 3, &no_memos(), None, &Limits::default(), &mut failures).unwrap();
    assert_eq!(out.verdict, [0, verdict::FAILED, verdict::FAILED]);
}

fn no_memos() -> columns::Blobs {
    columns::Blobs { offsets: Vec::new(), data: Vec::new() }
}

/// Checks what is remembered of three rows that were remembered as `a`, nothing and `c`.
fn remembered(memo: columns::Blobs, plan: Option<&MemoPlan>) -> (Result<Verdicts, Failure>, Vec<RowFailure>) {
    let before = columns::Blobs { offsets: vec![0, 1, 1, 2], data: b"ac".to_vec() };
    let none = columns::Text { offsets: Vec::new(), data: Vec::new() };
    let reason = columns::Dict { codes: Vec::new(), entries: none };
    let raw = suppressor_rule::Verdicts { verdict: vec![0; 3], until: vec![0; 3], severity: vec![0; 3], reason, memo };
    let mut failures = Vec::new();
    (verdicts(raw, 3, &before, plan, &Limits::default(), &mut failures), failures)
}

const MEMO: MemoPlan = MemoPlan { version: 1, carry: Carry::Reset, bytes_max: 2 };

#[test]
fn memos_are_taken_row_by_row() {
    let memos = |verdicts: &Verdicts| (0..3).map(|row| verdicts.memo.get(row).to_vec()).collect::<Vec<_>>();
    let all = |rows: [&[u8]; 3]| rows.map(<[u8]>::to_vec).to_vec();
    let (out, failures) = remembered(columns::Blobs { offsets: vec![0, 0, 2, 3], data: vec![1, 0xFF, 3] }, Some(&MEMO));
    assert_eq!((memos(&out.unwrap()), failures.len()), (all([b"", b"\x01\xff", b"\x03"]), 0));
    // Nothing said: they stay.
    let (out, _) = remembered(no_memos(), Some(&MEMO));
    assert_eq!(memos(&out.unwrap()), all([b"a", b"", b"c"]));
    let (out, _) = remembered(no_memos(), None);
    assert_eq!(out.unwrap().memo, Blobs::default());
    // One that is too long fails its row, and is not taken.
    let (out, failures) =
        remembered(columns::Blobs { offsets: vec![0, 3, 4, 5], data: b"xyzbd".to_vec() }, Some(&MEMO));
    let out = out.unwrap();
    assert_eq!((out.verdict.as_slice(), failures[0].row), ([verdict::FAILED, 0, 0].as_slice(), 0));
    assert_eq!(failures[0].failure.text, "bad answer: a memo of 3 bytes, limit 2");
    assert_eq!(memos(&out), all([b"a", b"b", b"d"]));
}

#[test]
fn memos_that_are_no_column_are_refused() {
    let refused = |offsets: &[u32], data: &[u8], plan| {
        let memo = columns::Blobs { offsets: offsets.to_vec(), data: data.to_vec() };
        remembered(memo, plan).0.unwrap_err().text
    };
    assert_eq!(refused(&[0, 1, 2], b"ab", Some(&MEMO)), "bad answer: `memo`: 3 offsets for 3 rows");
    assert_eq!(refused(&[0, 2, 1, 2], b"ab", Some(&MEMO)), "bad answer: `memo`: an offset falls");
    assert_eq!(refused(&[0, 1, 2, 9], b"ab", Some(&MEMO)), "bad answer: `memo`: offsets from 0 to 9 over 2 bytes");
    assert_eq!(refused(&[], b"ab", Some(&MEMO)), "bad answer: `memo`: 0 offsets for 3 rows");
    assert_eq!(refused(&[0, 0, 0, 0], b"", None), "bad answer: `memo` has rows, but the rule declares none");
}

#[test]
fn parts_append_to_what_the_whole_would_be() {
    let mut value = TextColumn::default();
    append_text(&mut value, 0, &TextColumn::default(), 2);
    assert!(value.is_empty());
    let part = TextColumn { offsets: vec![0, 1], data: b"a".to_vec() };
    append_text(&mut value, 2, &part, 1);
    append_text(&mut value, 3, &TextColumn::default(), 1);
    append_text(&mut value, 4, &part, 1);
    assert_eq!(value.offsets, [0, 0, 0, 1, 1, 2]);

    let mut reasons = Reasons::default();
    append_reasons(&mut reasons, 0, &Reasons::default(), 1);
    let part = Reasons { codes: vec![0], entries: part };
    append_reasons(&mut reasons, 1, &part, 1);
    append_reasons(&mut reasons, 2, &Reasons::default(), 1);
    append_reasons(&mut reasons, 3, &part, 1);
    let all: Vec<_> = (0..4).map(|row| reasons.get(row)).collect();
    assert_eq!(all, ["", "a", "", "a"]);
}
