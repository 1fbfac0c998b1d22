//! The suppressor side of the contract: candidates in, verdicts out.

use crate::answer::{Verdict, escalate};
use crate::bindings::suppressor::exports::stillhouse::rules::suppressor_rule::{Manifest, Memo as Declared, Verdicts};
use crate::cases::JudgeCase;
use crate::columns::{Batch, Blobs};
use crate::mapping::{Reasons, identity};
use crate::memo::Memo;
use crate::signal::{Settings, Signal};

/// What `suppressor!` makes of a rule; natively it can be called without a host.
pub trait SuppressorRule {
    /// What the user may set.
    type Settings: Settings;

    /// The rule's declaration.
    fn manifest() -> Manifest;

    /// Judges each row of `batch`; `memos` has a memo for each, and no rows where the rule keeps none.
    fn judge(settings: &Self::Settings, batch: &Batch, memos: &Blobs) -> Verdicts;
}

/// Puts a declaration together. Called by `suppressor!`.
#[doc(hidden)]
pub fn manifest<'b, S: Signal<'b>, M: Memo>(name: &str, version: &str, cases: Vec<JudgeCase>) -> Manifest {
    let memo = Declared { version: M::VERSION, bytes_max: M::BYTES_MAX, carry: M::CARRY };
    Manifest {
        identity: identity::<S>(name, version),
        memo: (M::BYTES_MAX > 0).then_some(memo),
        cases: cases.into_iter().map(|case| case.0).collect(),
    }
}

/// Reads the rows of `batch`, asks `rule` for each, and writes the verdicts as columns. A candidate
/// that lacks a field that the rule requires leaves as it is, and says so; its memo stays.
pub fn judge_rows<'b, S: Signal<'b>, M: Memo>(
    batch: &'b Batch,
    memos: &Blobs,
    rule: impl Fn(S, &mut M) -> Verdict,
) -> Verdicts {
    let rows = batch.rows as usize;
    let readers = S::readers(batch);
    let mut reasons = Reasons::default();
    let mut out = Verdicts {
        verdict: Vec::with_capacity(rows),
        until: Vec::with_capacity(rows),
        severity: Vec::with_capacity(rows),
        reason: Reasons::default().finish(),
        memo: Blobs { offsets: Vec::new(), data: Vec::new() },
    };
    if M::BYTES_MAX > 0 {
        out.memo.offsets.push(0);
    }
    for row in 0..rows {
        let before = memo_of(memos, row);
        let answer = match S::read(&readers, row) {
            Ok(candidate) => {
                let mut memo = M::read(before).unwrap_or_default();
                let answer = rule(candidate, &mut memo);
                memo.write(&mut out.memo.data);
                answer
            }
            Err(path) => {
                out.memo.data.extend_from_slice(before);
                Verdict { verdict: 0, ..escalate(format!("missing {path}"), crate::answer::Severity::Info) }
            }
        };
        if M::BYTES_MAX > 0 {
            out.memo.offsets.push(out.memo.data.len() as u32);
        }
        if !answer.reason.is_empty() {
            reasons.set(row, rows, &answer.reason);
        }
        out.verdict.push(answer.verdict);
        out.until.push(answer.until_us);
        out.severity.push(answer.severity);
    }
    out.reason = reasons.finish();
    out
}

/// The memo of a row; empty where there is none.
fn memo_of(memos: &Blobs, row: usize) -> &[u8] {
    match memos.offsets.get(row..row + 2) {
        Some(&[start, end]) => memos.data.get(start as usize..end as usize).unwrap_or_default(),
        _ => &[],
    }
}
