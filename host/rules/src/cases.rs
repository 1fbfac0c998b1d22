//! A rule's own test cases, and its answers as values that can be compared.

use std::sync::Arc;

use stillhouse_core::columns::{Blobs, Observations, Verdicts, outcome, verdict};
use stillhouse_core::rule::State;

use crate::batch::{Given, batch_from_given, to_guest};
use crate::error::LoadError;
use crate::instance::{Caller, MapperWorld, NotStarted, SuppressorWorld, World};
use crate::limits::grouped;
use crate::load::{RuleInner, hex};

/// A test case that a rule brings along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// Settings that it is run with, sorted by name; none for a mapper.
    pub settings: Vec<(String, String)>,
    /// The fields of its signal or candidate.
    pub given: Vec<Given>,
    /// The memo of its entity; empty for none, and for a mapper.
    pub memo: Vec<u8>,
    /// What the rule must answer.
    pub expected: Answer,
    /// The memo that the rule must leave, if the case says.
    pub expected_memo: Option<Vec<u8>>,
}

/// The answer for one row: only what counts for its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A mapper: the signal is an observation.
    Observed {
        /// Name of the canonical state.
        state: String,
        /// 0 info to 3 critical.
        severity: u8,
        /// The record key.
        key: String,
        /// Empty where there is none.
        value: String,
    },
    /// A mapper: the signal says nothing.
    Dropped {
        /// Why.
        reason: String,
    },
    /// A mapper: the signal should say something and does not.
    Rejected {
        /// Why.
        reason: String,
    },
    /// A suppressor: it leaves.
    Emit,
    /// A suppressor: it is held back.
    Suppress {
        /// Microseconds since 1970, or 0.
        until_us: i64,
        /// Why.
        reason: String,
    },
    /// A suppressor: it is judged again.
    Delay {
        /// Microseconds since 1970, or 0.
        until_us: i64,
        /// Why.
        reason: String,
    },
    /// A suppressor: it leaves with this severity.
    Escalate {
        /// 0 info to 3 critical.
        severity: u8,
        /// Why.
        reason: String,
    },
    /// The rule failed.
    Failed {
        /// What happened.
        reason: String,
    },
}

/// All that a rule says of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub answer: Answer,
    /// The memo of the row's entity from now on; empty where there is none.
    pub memo: Vec<u8>,
}

impl Reply {
    /// Whether two replies mean the same; how a failure is worded does not count.
    pub fn agrees(&self, other: &Self) -> bool {
        let failed = |reply: &Self| matches!(reply.answer, Answer::Failed { .. });
        self.memo == other.memo && (self.answer == other.answer || failed(self) && failed(other))
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.answer)?;
        if !self.memo.is_empty() {
            write!(f, " and memo {}", hex(&self.memo))?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Observed { state, severity, key, value } => {
                write!(f, "observed state `{state}`, severity {severity}, key `{key}`")?;
                if !value.is_empty() {
                    write!(f, ", value `{value}`")?;
                }
                Ok(())
            }
            Self::Dropped { reason } => write!(f, "dropped: `{reason}`"),
            Self::Rejected { reason } => write!(f, "rejected: `{reason}`"),
            Self::Emit => write!(f, "emit"),
            Self::Suppress { until_us: 0, reason } => write!(f, "suppress: `{reason}`"),
            Self::Suppress { until_us, reason } => write!(f, "suppress until {until_us}: `{reason}`"),
            Self::Delay { until_us, reason } => write!(f, "delay until {until_us}: `{reason}`"),
            Self::Escalate { severity, reason } => write!(f, "escalate to {severity}: `{reason}`"),
            Self::Failed { reason } => write!(f, "failed: {reason}"),
        }
    }
}

/// How a test case went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseResult {
    /// The case.
    pub name: String,
    /// What it wants.
    pub expected: Answer,
    /// What the rule answered.
    pub got: Answer,
    /// The memo that it wants, if it says.
    pub expected_memo: Option<Vec<u8>>,
    /// The memo that the rule left; empty where it keeps none.
    pub got_memo: Vec<u8>,
}

impl CaseResult {
    /// Whether the rule answered as its case wants.
    pub fn passed(&self) -> bool {
        self.expected == self.got && self.expected_memo.as_ref().is_none_or(|memo| *memo == self.got_memo)
    }
}

impl std::fmt::Display for CaseResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, expected, got, expected_memo, got_memo } = self;
        match expected_memo {
            Some(memo) if expected == got => {
                write!(f, "`{name}`: expected memo `{}`, got memo `{}`", hex(memo), hex(got_memo))
            }
            _ => write!(f, "`{name}`: expected {expected}, got {got}"),
        }
    }
}

/// A kind of rule whose answers can be read row by row.
pub(crate) trait Readable: World {
    fn read(out: &Self::Out, row: usize, states: &[State]) -> Reply;
}

impl Answer {
    /// What a mapper with these states answered for `row`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn of_observation(out: &Observations, row: usize, states: &[State]) -> Self {
        let reason = out.reason.get(row).to_owned();
        match out.outcome[row] {
            outcome::OBSERVED => Self::Observed {
                state: states[out.state[row] as usize].name.clone(),
                severity: out.severity[row],
                key: out.key.get(row).to_owned(),
                value: if out.value.is_empty() { String::new() } else { out.value.get(row).to_owned() },
            },
            outcome::DROPPED => Self::Dropped { reason },
            outcome::REJECTED => Self::Rejected { reason },
            _ => Self::Failed { reason },
        }
    }

    /// What a suppressor answered for `row`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn of_verdict(out: &Verdicts, row: usize) -> Self {
        let reason = out.reason.get(row).to_owned();
        let until_us = out.until_us[row];
        match out.verdict[row] {
            verdict::EMIT => Self::Emit,
            verdict::SUPPRESS => Self::Suppress { until_us, reason },
            verdict::DELAY => Self::Delay { until_us, reason },
            verdict::ESCALATE => Self::Escalate { severity: out.severity[row], reason },
            _ => Self::Failed { reason },
        }
    }
}

impl Readable for MapperWorld {
    fn read(out: &Observations, row: usize, states: &[State]) -> Reply {
        Reply { answer: Answer::of_observation(out, row, states), memo: Vec::new() }
    }
}

impl Readable for SuppressorWorld {
    fn read(out: &Verdicts, row: usize, _: &[State]) -> Reply {
        Reply { answer: Answer::of_verdict(out, row), memo: out.memo.get(row).to_vec() }
    }
}

/// Sorted by name.
type Settings = [(String, String)];

/// A fresh caller outside the pool's permits, for loading.
pub(crate) fn caller<W: World>(
    rule: &Arc<RuleInner>,
    pre: &W::Pre,
    settings: &Settings,
) -> Result<Caller<W>, LoadError> {
    Caller::new(Arc::clone(rule), pre.clone(), settings.to_vec(), None).map_err(|not| match not {
        NotStarted::Fails(stage, failure) => LoadError::Fails { stage, failure },
        NotStarted::Refused(why) => LoadError::Manifest(format!("its cases' own settings are refused: {why}")),
    })
}

/// A row to ask about.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub given: &'a [Given],
    /// Empty for a rule that keeps none.
    pub memo: &'a [u8],
}

/// Asks `caller` about rows in one batch.
pub(crate) fn ask<W: Readable>(
    caller: &mut Caller<W>,
    rule: &RuleInner,
    rows: &[Asked<'_>],
) -> Result<Vec<Reply>, LoadError> {
    let given: Vec<&[Given]> = rows.iter().map(|row| row.given).collect();
    let batch =
        batch_from_given(&rule.fields, &given).map_err(|(row, why)| LoadError::Manifest(format!("row {row} {why}")))?;
    let mut memos = Blobs::default();
    rows.iter().for_each(|row| memos.push(row.memo));
    let out = caller.answer(&W::input(to_guest(batch), memos, rule));
    Ok((0..rows.len()).map(|row| W::read(&out, row, &rule.states)).collect())
}

/// Runs all cases, one by one.
///
/// # Errors
/// Where they use too much fuel together, or an instance cannot start. A case
/// that does not pass is no error here.
pub(crate) fn run<W: Readable>(rule: &Arc<RuleInner>, pre: &W::Pre) -> Result<Vec<CaseResult>, LoadError> {
    let limit = rule.engine.limits().fuel_to_prove;
    let mut spent = 0;
    let mut results = Vec::with_capacity(rule.cases.len());
    let mut last: Option<(&Settings, Caller<W>)> = None;
    for case in &rule.cases {
        let caller = match &mut last {
            Some((settings, caller)) if **settings == *case.settings => caller,
            _ => &mut last.insert((&case.settings, caller(rule, pre, &case.settings)?)).1,
        };
        let mut replies = ask(caller, rule, &[Asked { given: &case.given, memo: &case.memo }])?;
        spent += caller.stats.fuel;
        if spent > limit {
            return Err(LoadError::TooLarge {
                what: "its test cases use",
                got: format!("more than {} units of fuel", grouped(limit)),
                limit: grouped(limit),
                setting: "fuel_to_prove",
            });
        }
        let Reply { answer, memo } = replies.remove(0);
        results.push(CaseResult {
            name: case.name.clone(),
            expected: case.expected.clone(),
            got: answer,
            expected_memo: case.expected_memo.clone(),
            got_memo: memo,
        });
    }
    Ok(results)
}
