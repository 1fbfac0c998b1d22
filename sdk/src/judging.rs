//! The suppressor side of the contract: candidates in, verdicts out.

use crate::answer::{Verdict, escalate};
use crate::bindings::suppressor::exports::stillhouse::rules::suppressor_rule::{Manifest, Verdicts};
use crate::cases::JudgeCase;
use crate::columns::Batch;
use crate::mapping::{Reasons, identity};
use crate::signal::{Settings, Signal};

/// What `suppressor!` makes of a rule; natively it can be called without a host.
pub trait SuppressorRule {
    /// What the user may set.
    type Settings: Settings;

    /// The rule's declaration.
    fn manifest() -> Manifest;

    /// Judges each row of `batch`.
    fn judge(settings: &Self::Settings, batch: &Batch) -> Verdicts;
}

/// Puts a declaration together. Called by `suppressor!`.
#[doc(hidden)]
pub fn manifest<'b, S: Signal<'b>>(name: &str, version: &str, cases: Vec<JudgeCase>) -> Manifest {
    Manifest { identity: identity::<S>(name, version), cases: cases.into_iter().map(|case| case.0).collect() }
}

/// Reads the rows of `batch`, asks `rule` for each, and writes the verdicts as columns. A candidate
/// that lacks a field that the rule requires leaves as it is, and says so.
pub fn judge_rows<'b, S: Signal<'b>>(batch: &'b Batch, rule: impl Fn(S) -> Verdict) -> Verdicts {
    let rows = batch.rows as usize;
    let readers = S::readers(batch);
    let mut reasons = Reasons::default();
    let mut out = Verdicts {
        verdict: Vec::with_capacity(rows),
        until: Vec::with_capacity(rows),
        severity: Vec::with_capacity(rows),
        reason: Reasons::default().finish(),
    };
    for row in 0..rows {
        let answer = match S::read(&readers, row) {
            Ok(candidate) => rule(candidate),
            Err(path) => Verdict { verdict: 0, ..escalate(format!("missing {path}"), crate::answer::Severity::Info) },
        };
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
