//! What both versions answered on the same signals.

use serde::{Deserialize, Serialize};

/// In what two answers to a row differ. A row counts once, for the first of these that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Difference {
    /// Observed by one, dropped or rejected by the other.
    Outcome,
    /// Another state.
    State,
    /// Another severity.
    Severity,
    /// Another record key.
    Key,
    /// Another value or fingerprint.
    Value,
    /// Another verdict of a suppressor.
    Verdict,
    /// The same verdict with another deadline.
    Deadline,
    /// The same verdict with another memo.
    Memo,
}

impl Difference {
    /// All of them, in order: `ALL[at] as usize == at`.
    pub const ALL: [Self; 8] =
        [Self::Outcome, Self::State, Self::Severity, Self::Key, Self::Value, Self::Verdict, Self::Deadline, Self::Memo];

    /// Its name, as people read and write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Outcome => "outcome",
            Self::State => "state",
            Self::Severity => "severity",
            Self::Key => "key",
            Self::Value => "value",
            Self::Verdict => "verdict",
            Self::Deadline => "deadline",
            Self::Memo => "memo",
        }
    }
}

/// What one version did with the rows that it was asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Rows that it was asked about.
    pub rows: u64,
    /// Rows without an answer: a trap, a limit, an answer that is none.
    pub failed: u64,
    /// Rows that a mapper called bad.
    pub rejected: u64,
    /// Rows that a mapper dropped.
    pub dropped: u64,
    /// Rows that a suppressor suppressed or delayed.
    pub held_back: u64,
    /// Fuel for all of them.
    pub fuel: u64,
    /// Calls for all of them.
    pub calls: u64,
    /// Time for all of them, in nanoseconds.
    pub time_ns: u64,
}

/// What both versions answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Rows that both were asked about.
    pub rows: u64,
    /// Those of them whose record key is in the candidate's share.
    pub in_share: u64,
    /// Those of them on which the candidate failed and the version in force did not. Where either
    /// failed, nothing is said about differences.
    pub failed_alone: u64,
    /// The version in force.
    pub stable: Counts,
    /// The version that is tried.
    pub candidate: Counts,
    /// Rows that were answered differently, by [`Difference`]; each row counts once.
    pub differing: [u64; Difference::ALL.len()],
}

impl Counts {
    /// Adds what another saw; stays at the bound of the numbers.
    pub fn add(&mut self, other: &Self) {
        let Self { rows, failed, rejected, dropped, held_back, fuel, calls, time_ns } = other;
        for (sum, more) in [
            (&mut self.rows, rows),
            (&mut self.failed, failed),
            (&mut self.rejected, rejected),
            (&mut self.dropped, dropped),
            (&mut self.held_back, held_back),
            (&mut self.fuel, fuel),
            (&mut self.calls, calls),
            (&mut self.time_ns, time_ns),
        ] {
            *sum = sum.saturating_add(*more);
        }
    }
}

impl Evidence {
    /// Adds what another saw; stays at the bound of the numbers.
    pub fn add(&mut self, other: &Self) {
        self.rows = self.rows.saturating_add(other.rows);
        self.in_share = self.in_share.saturating_add(other.in_share);
        self.failed_alone = self.failed_alone.saturating_add(other.failed_alone);
        self.stable.add(&other.stable);
        self.candidate.add(&other.candidate);
        for (sum, more) in self.differing.iter_mut().zip(other.differing) {
            *sum = sum.saturating_add(more);
        }
    }

    /// Counts a row that was answered differently.
    pub fn differ(&mut self, difference: Difference) {
        self.differing[difference as usize] += 1;
    }

    /// Rows that were answered differently in this way.
    pub fn differing(&self, difference: Difference) -> u64 {
        self.differing[difference as usize]
    }
}
