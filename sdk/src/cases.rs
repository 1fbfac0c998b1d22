//! The cases of a rule: run natively by `cargo test`, and in WebAssembly by the host that loads it.

use crate::answer::Severity;
use crate::bindings::mapper::exports::stillhouse::rules::mapper_rule as wit_mapper;
use crate::bindings::suppressor::exports::stillhouse::rules::suppressor_rule as wit_suppressor;
use crate::declaration::Given;
use crate::memo::Memo;

/// A case of a mapper. Without an expectation it expects the signal to be dropped without a reason.
#[derive(Clone, Debug)]
pub struct Case(pub(crate) wit_mapper::MapperCase);

/// A case: a name, and the fields of the signal as path and text. The text is read as the field's
/// kind says; what is not given is absent.
pub fn case(name: &str, given: &[(&str, &str)]) -> Case {
    Case(wit_mapper::MapperCase {
        name: name.to_owned(),
        given: given_of(given),
        expected: wit_mapper::Expected {
            outcome: 1,
            state: String::new(),
            severity: 0,
            key: String::new(),
            value: String::new(),
            reason: String::new(),
        },
    })
}

fn given_of(given: &[(&str, &str)]) -> Vec<Given> {
    given.iter().map(|(path, value)| Given { path: (*path).to_owned(), value: (*value).to_owned() }).collect()
}

impl Case {
    /// Expects an observation. The severity is that of [`crate::answer::observe`] unless set.
    pub fn observes(mut self, state: &str, key: &str) -> Self {
        self.0.expected.outcome = 0;
        self.0.expected.state = state.to_owned();
        self.0.expected.key = key.to_owned();
        // Filled in by the macro, which knows the condition of the state.
        self.0.expected.severity = u8::MAX;
        self
    }

    /// Expects this severity.
    pub fn severity(mut self, severity: Severity) -> Self {
        self.0.expected.severity = severity as u8;
        self
    }

    /// Expects this value.
    pub fn value(mut self, value: &str) -> Self {
        self.0.expected.value = value.to_owned();
        self
    }

    /// Expects the signal to be dropped for this reason.
    pub fn drops(mut self, reason: &str) -> Self {
        self.0.expected.outcome = 1;
        self.0.expected.reason = reason.to_owned();
        self
    }

    /// Expects the signal to be rejected for this reason.
    pub fn rejects(mut self, reason: &str) -> Self {
        self.0.expected.outcome = 2;
        self.0.expected.reason = reason.to_owned();
        self
    }
}

/// A case of a suppressor. Without an expectation it expects the candidate to be emitted.
#[derive(Clone, Debug)]
pub struct JudgeCase(pub(crate) wit_suppressor::SuppressorCase);

/// A case: a name, the settings to run with, and the fields of the candidate.
pub fn judge_case(name: &str, settings: &[(&str, &str)], given: &[(&str, &str)]) -> JudgeCase {
    JudgeCase(wit_suppressor::SuppressorCase {
        name: name.to_owned(),
        settings: settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        given: given_of(given),
        memo: Vec::new(),
        expected: wit_suppressor::Expected { verdict: 0, until: 0, severity: 0, reason: String::new(), memo: None },
    })
}

impl JudgeCase {
    /// Gives the memo of the candidate's entity; without this it is empty.
    pub fn memo(mut self, memo: &impl Memo) -> Self {
        self.0.memo = bytes_of(memo);
        self
    }

    /// Expects this memo to be left.
    pub fn leaves(mut self, memo: &impl Memo) -> Self {
        self.0.expected.memo = Some(bytes_of(memo));
        self
    }

    /// Expects the candidate to be emitted.
    pub fn emits(self) -> Self {
        self.verdict(0, "", 0, 0)
    }

    /// Expects it to be suppressed until `until_us` (0: as long as the host allows).
    pub fn suppresses(self, reason: &str, until_us: i64) -> Self {
        self.verdict(1, reason, until_us, 0)
    }

    /// Expects it to be judged again at `until_us`.
    pub fn delays(self, reason: &str, until_us: i64) -> Self {
        self.verdict(2, reason, until_us, 0)
    }

    /// Expects it to be emitted with another severity.
    pub fn escalates(self, reason: &str, severity: Severity) -> Self {
        self.verdict(3, reason, 0, severity as u8)
    }

    fn verdict(mut self, verdict: u8, reason: &str, until: i64, severity: u8) -> Self {
        let memo = self.0.expected.memo.take();
        self.0.expected = wit_suppressor::Expected { verdict, until, severity, reason: reason.to_owned(), memo };
        self
    }
}

fn bytes_of(memo: &impl Memo) -> Vec<u8> {
    let mut bytes = Vec::new();
    memo.write(&mut bytes);
    bytes
}
