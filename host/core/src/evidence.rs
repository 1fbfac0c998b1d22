//! Evidence for a problem: what was observed of it before it is believed, and what its signals
//! became.

use std::collections::VecDeque;

use crate::entity::{Input, Observation};
use crate::plan::ConfirmPlan;
use serde::{Deserialize, Serialize};

/// How many problem observations are remembered. At the bound the oldest leaves the evidence.
pub const EVIDENCE_MAX: usize = 64;

/// One observation of a problem.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Piece {
    /// Which observation of the entity it was.
    number: u64,
    severity: u8,
    /// Whether its signal is in no place of the ledger yet.
    open: bool,
    input: Input,
}

/// Observations of a problem, oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Evidence {
    pieces: VecDeque<Piece>,
    // What has left, kept so that the next observation allocates nothing.
    #[serde(skip)]
    spare: Vec<Piece>,
    open: u64,
    observed: u64,
    held: bool,
}

/// What an observation makes of the evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weighed {
    /// Whether there is enough evidence for a problem.
    pub holds: bool,
    /// Whether there was not enough at the observation before.
    pub begins: bool,
    /// Unconfirmed signals that left the evidence.
    pub left: u64,
    /// Unconfirmed signals that were said again by the same source.
    pub repeated: u64,
}

/// All that speaks for a problem which has just been confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support<'a> {
    /// The oldest observation.
    pub first: &'a Input,
    /// How many there are.
    pub inputs: u64,
    /// Those of them that are in no place of the ledger yet.
    pub signals: u64,
    /// Their greatest severity.
    pub severity: u8,
}

impl ConfirmPlan {
    fn count(self) -> usize {
        let (Self::Last { count, .. } | Self::Within { count, .. } | Self::Sources { count, .. }) = self;
        usize::from(count)
    }

    fn within_us(self) -> Option<i64> {
        match self {
            Self::Last { .. } => None,
            Self::Within { within_us, .. } | Self::Sources { within_us, .. } => Some(within_us),
        }
    }
}

impl Evidence {
    /// Takes in an observation that is a problem, or is not. What is too old for its time has no say.
    pub fn observe(&mut self, plan: ConfirmPlan, seen: &Observation<'_>, problem: bool) -> Weighed {
        self.observed += 1;
        let mut weighed = Weighed { left: self.expire(plan, seen.time_us), ..Weighed::default() };
        if problem {
            if matches!(plan, ConfirmPlan::Sources { .. })
                && let Some(at) = self.pieces.iter().position(|piece| piece.input.source == seen.source)
            {
                weighed.repeated = self.drop_at(at);
            }
            if self.pieces.len() == EVIDENCE_MAX {
                weighed.left += self.drop_at(0);
            }
            let mut piece = self.spare.pop().unwrap_or_default();
            piece.number = self.observed;
            piece.severity = seen.severity;
            piece.input.set(seen);
            self.pieces.push_back(piece);
        }
        weighed.holds = self.pieces.len() >= plan.count();
        let held = std::mem::replace(&mut self.held, weighed.holds);
        weighed.begins = weighed.holds && !held;
        if let Some(newest) = self.pieces.back_mut().filter(|_| problem && !weighed.holds) {
            newest.open = true;
            self.open += 1;
        }
        weighed
    }

    /// Lets go what is too old at `time_us`; how many unconfirmed signals left.
    pub fn expire(&mut self, plan: ConfirmPlan, time_us: i64) -> u64 {
        let mut left = 0;
        while let Some(oldest) = self.pieces.front() {
            let too_old = match plan {
                ConfirmPlan::Last { of, .. } => self.observed - oldest.number >= u64::from(of),
                ConfirmPlan::Within { within_us, .. } | ConfirmPlan::Sources { within_us, .. } => {
                    time_us.saturating_sub(oldest.input.time_us) > within_us
                }
            };
            if !too_old {
                break;
            }
            left += self.drop_at(0);
        }
        left
    }

    /// When the next unconfirmed signal is too old.
    pub fn due_us(&self, plan: ConfirmPlan) -> Option<i64> {
        let within_us = plan.within_us().filter(|_| self.open > 0)?;
        let oldest = self.pieces.iter().find(|piece| piece.open)?;
        oldest.input.time_us.checked_add(within_us)?.checked_add(1)
    }

    /// All evidence, for the problem that it confirms: its signals are settled with that.
    pub fn support(&mut self) -> Option<Support<'_>> {
        let signals = std::mem::take(&mut self.open);
        self.pieces.iter_mut().for_each(|piece| piece.open = false);
        let severity = self.pieces.iter().map(|piece| piece.severity).max()?;
        Some(Support { first: &self.pieces.front()?.input, inputs: self.pieces.len() as u64, signals, severity })
    }

    /// The sources that speak for the problem; one that spoke twice comes twice.
    pub fn sources(&self) -> impl Iterator<Item = u32> {
        self.pieces.iter().map(|piece| piece.input.source)
    }

    /// Forgets all; how many unconfirmed signals left.
    pub fn clear(&mut self) -> u64 {
        self.held = false;
        self.spare.extend(self.pieces.drain(..));
        std::mem::take(&mut self.open)
    }

    /// Signals that are in no place of the ledger yet.
    pub fn open(&self) -> u64 {
        self.open
    }

    /// Whether nothing speaks for a problem.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// How many unconfirmed signals left: 1 or 0.
    fn drop_at(&mut self, at: usize) -> u64 {
        let Some(mut piece) = self.pieces.remove(at) else { return 0 };
        let left = u64::from(std::mem::take(&mut piece.open));
        self.open -= left;
        self.spare.push(piece);
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(time_us: i64, source: u32) -> Observation<'static> {
        Observation { time_us, state: 1, value: "", fingerprint: 1, severity: 0, id: "e", source }
    }

    /// What holds after each observation: time, source, and whether it is a problem.
    fn holds(plan: ConfirmPlan, observed: &[(i64, u32, bool)]) -> Vec<bool> {
        let mut evidence = Evidence::default();
        let each = observed.iter();
        each.map(|&(time_us, source, problem)| evidence.observe(plan, &seen(time_us, source), problem).holds).collect()
    }

    #[test]
    fn so_many_of_the_last() {
        let plan = ConfirmPlan::Last { count: 2, of: 3 };
        let observed = [true, false, true, false, false, true, true, true].map(|problem| (0, 0, problem));
        assert_eq!(holds(plan, &observed), [false, false, true, false, false, false, true, true]);
    }

    #[test]
    fn so_many_within_a_time_its_ends_included() {
        let plan = ConfirmPlan::Within { count: 2, within_us: 10 };
        let observed = [(0, true), (10, true), (20, true), (31, true), (31, true), (41, false), (42, false)];
        let observed = observed.map(|(time_us, problem)| (time_us, 0, problem));
        assert_eq!(holds(plan, &observed), [false, true, true, false, true, true, false]);
    }

    #[test]
    fn so_many_sources_within_a_time() {
        let plan = ConfirmPlan::Sources { count: 2, within_us: 10 };
        // The newest of each source counts.
        let observed = [(0, 1), (0, 1), (8, 1), (10, 2), (18, 3), (30, 2), (30, 2), (40, 1)];
        let observed = observed.map(|(time_us, source)| (time_us, source, true));
        assert_eq!(holds(plan, &observed), [false, false, false, true, true, false, false, true]);
    }

    #[test]
    fn every_unconfirmed_signal_leaves_once() {
        let plan = ConfirmPlan::Within { count: 3, within_us: 10 };
        let mut evidence = Evidence::default();
        for time_us in [0, 4] {
            evidence.observe(plan, &seen(time_us, 0), true);
        }
        assert_eq!((evidence.open(), evidence.due_us(plan)), (2, Some(11)));
        assert_eq!((evidence.expire(plan, 10), evidence.expire(plan, 11), evidence.open()), (0, 1, 1));
        let weighed = evidence.observe(plan, &seen(12, 0), true);
        assert_eq!(weighed, Weighed::default());
        let weighed = evidence.observe(plan, &seen(13, 0), true);
        assert_eq!(weighed, Weighed { holds: true, begins: true, ..Weighed::default() });
        let support = evidence.support().expect("three pieces");
        assert_eq!((support.first.time_us, support.inputs, support.signals), (4, 3, 2));
        assert_eq!((evidence.open(), evidence.due_us(plan), evidence.clear()), (0, None, 0));
    }

    #[test]
    fn a_source_that_says_it_again_is_heard_once() {
        let plan = ConfirmPlan::Sources { count: 3, within_us: 10 };
        let mut evidence = Evidence::default();
        evidence.observe(plan, &seen(0, 1), true);
        assert_eq!(evidence.observe(plan, &seen(5, 1), true), Weighed { repeated: 1, ..Weighed::default() });
        assert_eq!((evidence.open(), evidence.due_us(plan)), (1, Some(16)));
    }

    #[test]
    fn at_the_bound_the_oldest_leaves() {
        let plan = ConfirmPlan::Sources { count: 64, within_us: i64::MAX };
        let mut evidence = Evidence::default();
        for source in 0..63 {
            assert!(!evidence.observe(plan, &seen(0, source), true).holds);
        }
        assert_eq!(evidence.observe(plan, &seen(0, 62), true).repeated, 1);
        assert!(evidence.observe(plan, &seen(0, 63), true).begins);
        let plan = ConfirmPlan::Last { count: 65, of: 255 };
        let mut evidence = Evidence::default();
        let left: u64 = (0..70).map(|_| evidence.observe(plan, &seen(0, 0), true).left).sum();
        assert_eq!((left, evidence.open()), (6, EVIDENCE_MAX as u64));
    }

    #[test]
    fn what_is_warm_allocates_nothing() {
        let plan = ConfirmPlan::Last { count: 3, of: 5 };
        let mut evidence = Evidence::default();
        let buffers = |evidence: &Evidence| {
            let pieces = evidence.pieces.iter().chain(&evidence.spare);
            let mut buffers: Vec<_> = pieces.map(|piece| piece.input.id.as_ptr()).collect();
            buffers.sort_unstable();
            (buffers, evidence.pieces.capacity(), evidence.spare.capacity())
        };
        let round = |evidence: &mut Evidence| {
            for problem in [true, true, true, true, true, false, false, false, false, false] {
                evidence.observe(plan, &seen(0, 0), problem);
            }
        };
        round(&mut evidence);
        round(&mut evidence);
        let warm = buffers(&evidence);
        (0..5).for_each(|_| round(&mut evidence));
        assert_eq!(buffers(&evidence), warm);
    }
}
