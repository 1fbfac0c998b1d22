//! Mappers that are functions of the row: one that reads what the signals say, and versions of it that say
//! something else of some signals, fail on them, or refuse them.

use stillhouse::map::Map;
use stillhouse_core::columns::{Batch, Column, Observations, Values, outcome};
use stillhouse_core::rule::{Field, FieldKind, RuleId};
use stillhouse_rollout::Version;

use crate::chance::Chance;
use crate::plans::{DOWN, UP};

/// What a mapper reads of a signal: outcome, key, state, value, severity.
const PATHS: [&str; 5] = ["data.o", "data.k", "data.s", "data.v", "data.e"];

/// How many versions there are, with the one that a run begins with.
pub const VERSIONS: usize = 4;

/// A version of a mapper; number 0 says what the signals say.
pub struct Native {
    number: usize,
    seed: u64,
}

impl Native {
    /// A version of the mapper of a run; the seed decides what the versions say otherwise.
    pub fn new(number: usize, seed: u64) -> Self {
        Self { number, seed }
    }

    fn answer(&self, row: &[&str; 5]) -> Answer {
        let [said, key, state, value, severity] = *row;
        let code = |text: &str| text.parse::<u8>().ok();
        let mut answer = match (code(said), code(state), code(severity)) {
            (Some(outcome), Some(state), Some(severity)) if state < 4 && severity < 4 && !key.is_empty() => {
                Answer { outcome: outcome.min(3), key: key.into(), state, severity, value: value.into() }
            }
            _ => Answer { outcome: outcome::REJECTED, ..Answer::default() },
        };
        if self.number == 0 || answer.outcome == outcome::REJECTED {
            return answer;
        }
        let hash = row
            .concat()
            .bytes()
            .fold(self.seed ^ self.number as u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        let mut chance = Chance::new(hash);
        if chance.percent(60) {
            return answer;
        }
        match chance.below(6) {
            0 => answer.state = if answer.state == DOWN { UP } else { DOWN },
            1 => answer.severity = 3 - answer.severity,
            2 => answer.value.push('x'),
            3 => answer.outcome = chance.pick(&[outcome::OBSERVED, outcome::DROPPED]),
            4 => answer.key.push('\''),
            _ => answer.outcome = chance.pick(&[outcome::FAILED, outcome::REJECTED]),
        }
        answer
    }
}

#[derive(Default)]
struct Answer {
    outcome: u8,
    key: String,
    state: u8,
    severity: u8,
    value: String,
}

impl Map for Native {
    fn map(&mut self, batch: Batch, out: &mut Observations) -> Batch {
        *out = Observations::default();
        for row in 0..batch.rows as usize {
            let mut texts = [""; 5];
            texts.iter_mut().zip(&batch.columns).for_each(|(text, column)| *text = text_of(column, row));
            let answer = self.answer(&texts);
            out.outcome.push(answer.outcome);
            out.state.push(answer.state);
            out.severity.push(answer.severity);
            out.key.push(&answer.key);
            out.value.push(&answer.value);
            out.reason.codes.push(0);
        }
        out.reason.entries.push("made up");
        batch
    }
}

fn text_of(column: &Column, row: usize) -> &str {
    match &column.values {
        _ if column.present.get(row) == Some(&0) => "",
        Values::Text(texts) => texts.get(row),
        Values::Dict { codes, entries } => entries.get(codes[row] as usize),
        other => panic!("the fields are text: {other:?}"),
    }
}

/// The fields that all versions read.
pub fn fields() -> Vec<Field> {
    PATHS.iter().map(|path| Field { path: (*path).into(), kind: FieldKind::Text }).collect()
}

/// How provenance names a version.
pub fn rule_id(number: usize) -> RuleId {
    RuleId { name: "native".into(), version: format!("{number}.0.0"), digest: format!("v{number}") }
}

/// How the registry names a version.
pub fn version(number: usize) -> Version {
    let RuleId { name, version, digest } = rule_id(number);
    Version { name, version, digest }
}

/// The number of a version by its digest.
pub fn number_of(digest: &str) -> usize {
    digest.trim_start_matches('v').parse().expect("a digest of these tests")
}
