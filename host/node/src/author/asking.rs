//! Asks a rule about rows, one by one.

use std::collections::{BTreeMap, HashMap};

use stillhouse_core::columns::{Batch, Blobs, Observations, Verdicts};
use stillhouse_rules::{Answer, InstanceError, Kind, MapperInstance, Rule, SuppressorInstance};

use super::rows::{part, text_at};

/// Memos of more entities are not kept: the first that asks again begins anew.
const MEMOS_MAX: usize = 1_000_000;

/// The answer to a row, and what it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What the rule says.
    pub answer: Answer,
    /// The memo that it leaves; empty where it keeps none.
    pub memo: Vec<u8>,
    /// Units of fuel, for this row alone in its batch.
    pub fuel: u64,
}

/// A rule with its settings.
pub struct Asker {
    rule: Rule,
    instance: Instance,
}

enum Instance {
    Mapper(Box<MapperInstance>),
    Suppressor(Box<SuppressorInstance>, HashMap<String, Vec<u8>>),
}

impl Asker {
    /// Makes an instance.
    ///
    /// # Errors
    /// If the rule refuses the settings.
    pub fn new(rule: &Rule, settings: &BTreeMap<String, String>) -> Result<Self, InstanceError> {
        let instance = match rule.kind() {
            Kind::Mapper => Instance::Mapper(Box::new(rule.mapper(settings)?)),
            Kind::Suppressor => Instance::Suppressor(Box::new(rule.suppressor(settings)?), HashMap::new()),
        };
        Ok(Self { rule: rule.clone(), instance })
    }

    /// Asks about one row. A suppressor that keeps memos is given the one that it left the last time
    /// that the same `key` was asked about.
    pub fn ask(&mut self, batch: &Batch, row: usize) -> Answered {
        let one = part(batch, row..row + 1);
        let key = match self.rule.memo() {
            Some(_) => {
                let key = self.rule.fields().iter().position(|field| field.path == "key");
                key.and_then(|at| text_at(&one.columns[at], 0)).unwrap_or_default()
            }
            None => String::new(),
        };
        let memo = match &self.instance {
            Instance::Suppressor(_, memos) => memos.get(&key).cloned().unwrap_or_default(),
            Instance::Mapper(_) => Vec::new(),
        };
        let answered = self.ask_with(one, &memo);
        if let Instance::Suppressor(_, memos) = &mut self.instance
            && self.rule.memo().is_some()
            && (memos.len() < MEMOS_MAX || memos.contains_key(&key))
        {
            memos.insert(key, answered.memo.clone());
        }
        answered
    }

    /// Asks about the only row of `one`, whose entity has this memo.
    ///
    /// # Panics
    /// If there is not just one row.
    pub fn ask_with(&mut self, one: Batch, memo: &[u8]) -> Answered {
        assert_eq!(one.rows, 1);
        match &mut self.instance {
            Instance::Mapper(mapper) => {
                let mut out = Observations::default();
                mapper.map(one, &mut out);
                let answer = Answer::of_observation(&out, 0, self.rule.states());
                Answered { answer, memo: Vec::new(), fuel: mapper.last().fuel }
            }
            Instance::Suppressor(suppressor, _) => {
                let (mut out, mut memos) = (Verdicts::default(), Blobs::default());
                memos.push(memo);
                suppressor.judge(one, memos, &mut out);
                let answer = Answer::of_verdict(&out, 0);
                Answered { answer, memo: out.memo.get(0).to_vec(), fuel: suppressor.last().fuel }
            }
        }
    }

    /// Asks about a whole batch, gives it back, and tells the fuel that it took.
    pub fn ask_all(&mut self, batch: Batch) -> (Batch, u64) {
        match &mut self.instance {
            Instance::Mapper(mapper) => {
                let mut out = Observations::default();
                let batch = mapper.map(batch, &mut out);
                std::hint::black_box(&out);
                (batch, mapper.last().fuel)
            }
            Instance::Suppressor(suppressor, _) => {
                let mut out = Verdicts::default();
                let batch = suppressor.judge(batch, Blobs::default(), &mut out);
                std::hint::black_box(&out);
                (batch, suppressor.last().fuel)
            }
        }
    }

    /// The rule.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }
}

/// An answer in one word: what becomes of the row.
pub fn outcome(answer: &Answer) -> &'static str {
    match answer {
        Answer::Observed { .. } => "observed",
        Answer::Dropped { .. } => "dropped",
        Answer::Rejected { .. } => "rejected",
        Answer::Emit => "emit",
        Answer::Suppress { .. } => "suppress",
        Answer::Delay { .. } => "delay",
        Answer::Escalate { .. } => "escalate",
        Answer::Failed { .. } => "failed",
    }
}

/// The reason of an answer; empty where it has none.
pub fn reason(answer: &Answer) -> &str {
    match answer {
        Answer::Observed { .. } | Answer::Emit => "",
        Answer::Dropped { reason }
        | Answer::Rejected { reason }
        | Answer::Suppress { reason, .. }
        | Answer::Delay { reason, .. }
        | Answer::Escalate { reason, .. }
        | Answer::Failed { reason } => reason,
    }
}

/// The name of a severity.
pub fn severity_name(severity: u8) -> &'static str {
    ["info", "warning", "error", "critical"].get(severity as usize).copied().unwrap_or("?")
}
