//! An entity beside what an authoritative snapshot says of it.

use super::{Entity, Observation, Standing};
use crate::plan::{CLEAR, TypePlan};
use crate::rule::Condition;
use serde::{Deserialize, Serialize};

/// How what is known of an entity differs from a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Drift {
    /// It is known to be in another state.
    State,
    /// It is not known, and the snapshot has it in a problem state.
    Missing,
    /// It is known, and the snapshot does not have it.
    Orphan,
}

impl Drift {
    /// As events write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Missing => "missing",
            Self::Orphan => "orphan",
        }
    }
}

impl Entity {
    /// What it was announced to be.
    pub(crate) fn known(&self) -> Option<&Standing> {
        self.announced.as_ref()
    }

    /// Whether a signal of it is newer than this.
    pub(crate) fn is_newer_than(&self, time_us: i64) -> bool {
        !self.by_snapshot && self.seen_us > time_us && !self.is_blank()
    }

    /// Notes that its last observation was made by a snapshot, which the next may contradict at any time.
    pub(crate) fn note_snapshot(&mut self) {
        self.by_snapshot = true;
    }

    /// How it differs from what a snapshot says. Not while it flaps, since then nobody says what it is, nor
    /// where it may be becoming just that, nor where it would begin with a healthy state.
    pub(crate) fn drift(&self, plan: &TypePlan, seen: &Observation<'_>) -> Option<Drift> {
        if self.is_flapping() || self.is_becoming(seen.fingerprint) {
            return None;
        }
        let is_problem = plan.condition(seen.state) == Condition::Problem;
        match &self.announced {
            Some(known) if known.fingerprint == seen.fingerprint => None,
            Some(known) if known.state != CLEAR || is_problem => Some(Drift::State),
            None if is_problem => Some(Drift::Missing),
            Some(_) | None => None,
        }
    }

    /// Whether it would be in a snapshot if it still were: somebody was told of it or may be soon, and it is
    /// not about to end.
    pub(crate) fn is_orphan(&self, end_fingerprint: u64) -> bool {
        let is_told = self.announced.as_ref().is_some_and(|known| known.state != CLEAR);
        (is_told || self.is_pending() || self.is_flapping()) && !self.is_becoming(end_fingerprint)
    }

    fn is_becoming(&self, fingerprint: u64) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.active && pending.to.fingerprint == fingerprint)
    }
}
