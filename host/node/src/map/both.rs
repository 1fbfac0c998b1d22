//! Two versions of a mapper on the same signals: which answer counts, and what differs.

use stillhouse_core::Block;
use stillhouse_core::columns::outcome;
use stillhouse_core::trial::Answer;
use stillhouse_rollout::{Counts, Difference, Evidence};

use super::{Lane, TypeMapper};

/// How many samples of what differs are taken of one type in one block.
pub const SAMPLES_MAX: usize = 8;

/// A signal that two versions answer differently; states are given by their codes.
#[derive(Clone, Debug)]
pub struct Sample {
    /// In what.
    pub difference: Difference,
    /// Which row of the block.
    pub row: u32,
    /// What the version in force says.
    pub old: Answer,
    /// What the tried one says.
    pub new: Answer,
}

/// On so many signals of one chunk a tried version may fail; about the rest of the chunk it is not asked,
/// and the version in force answers. So one that never answers holds nobody up for long.
pub(super) const PATIENCE: u32 = 8;

impl TypeMapper {
    /// As `flush`, where two versions are asked.
    pub(super) fn flush_both(&mut self, signal_type: u16, block: &mut Block) {
        let Some((mut tried, cohort)) = self.tried.take() else { return };
        let pair = self.pair(signal_type, &tried);
        if !block.pairs.contains(&pair) {
            block.pairs.push(pair);
        }
        let rows = self.rows.len();
        let failed = Answer { outcome: outcome::FAILED, ..Answer::default() };
        let (mut old, mut new) = (vec![failed; rows], vec![failed; rows]);
        ask(&mut self.stable, &mut self.evidence.stable);
        self.stable.answers(signal_type, block, |_, index, answer| old[index] = answer);
        if self.patience > 0 {
            tried.mapper.give_up_after(self.patience);
            ask(&mut tried, &mut self.evidence.candidate);
            tried.answers(signal_type, block, |_, index, answer| new[index] = answer);
        } else {
            tried.skip();
        }
        for (index, &row) in self.rows.iter().enumerate() {
            // By the order of the signals, so that batches do not show.
            let asked = self.patience > 0;
            let (old, new) = (&old[index], if asked { &new[index] } else { &failed });
            block.decide(row as usize, old, new, cohort, &pair);
            count(old, &mut self.evidence.stable);
            if !asked {
                continue;
            }
            count(new, &mut self.evidence.candidate);
            self.patience -= u32::from(new.outcome == outcome::FAILED);
            self.evidence.rows += 1;
            self.evidence.in_share += u64::from(block.rows[row as usize].tried.in_share());
            if let Some(difference) = compare(block, old, new, &mut self.evidence)
                && self.samples.len() < SAMPLES_MAX
            {
                self.samples.push(Sample { difference, row, old: *old, new: *new });
            }
        }
        self.rows.clear();
        self.tried = Some((tried, cohort));
    }
}

/// Asks a version and counts what that takes.
fn ask(lane: &mut Lane, counts: &mut Counts) {
    let began = crate::clock::moment();
    lane.ask();
    let (fuel, calls) = lane.mapper.spent();
    counts.time_ns += began.elapsed().as_nanos() as u64;
    counts.fuel += fuel;
    counts.calls += calls;
}

/// Counts what a version says.
fn count(answer: &Answer, counts: &mut Counts) {
    counts.rows += 1;
    counts.failed += u64::from(answer.outcome == outcome::FAILED);
    counts.rejected += u64::from(answer.outcome == outcome::REJECTED);
    counts.dropped += u64::from(answer.outcome == outcome::DROPPED);
}

/// In what two answers to one signal differ; where one failed, that is all that is said.
fn compare(block: &Block, old: &Answer, new: &Answer, evidence: &mut Evidence) -> Option<Difference> {
    let failed = |answer: &Answer| answer.outcome == outcome::FAILED;
    if failed(old) || failed(new) {
        evidence.failed_alone += u64::from(!failed(old));
        return None;
    }
    let observed = old.outcome == outcome::OBSERVED;
    let difference = if old.outcome != new.outcome {
        Difference::Outcome
    } else if !observed {
        return None;
    } else if old.state != new.state {
        Difference::State
    } else if old.severity != new.severity {
        Difference::Severity
    } else if block.text(old.key) != block.text(new.key) {
        Difference::Key
    } else if block.text(old.value) != block.text(new.value) {
        Difference::Value
    } else {
        return None;
    };
    evidence.differ(difference);
    Some(difference)
}
