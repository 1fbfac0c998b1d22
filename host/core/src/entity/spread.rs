//! The part of an entity that counts how many sources report its problem: a rising number of them
//! overrides suppression.

use super::{Candidate, Effects, Entity, Input, Kind, Observation};
use crate::plan::TypePlan;
use crate::rule::Condition;
use serde::{Deserialize, Serialize};

/// The most sources that can be asked for.
pub const SPREAD_MAX: usize = 32;

/// The sources that reported the pending state and the announced one, as far as they are counted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Spread {
    pending: Vec<u32>,
    announced: Vec<u32>,
}

/// Counts a source; whether `enough` have reported it now and had not before.
fn count(sources: &mut Vec<u32>, enough: u8, source: u32) -> bool {
    let new = sources.len() < usize::from(enough) && !sources.contains(&source);
    if new {
        sources.push(source);
    }
    new && sources.len() == usize::from(enough)
}

impl Entity {
    /// Nothing was reported of the pending state yet.
    pub(super) fn start_spread(&mut self) {
        if let Some(spread) = self.spread_mut() {
            spread.pending.clear();
        }
    }

    /// A source reports the pending state.
    pub(super) fn spread_pending(&mut self, plan: &TypePlan, source: u32) {
        let Some(enough) = plan.spread else { return };
        if self.pending.as_ref().is_some_and(|pending| plan.condition(pending.to.state) == Condition::Problem) {
            let spread = self.memory.get_or_insert_default().spread.get_or_insert_default();
            count(&mut spread.pending, enough, source);
        }
    }

    /// All sources of the evidence report the pending state.
    pub(super) fn spread_evidence(&mut self, plan: &TypePlan) {
        let Some(enough) = plan.spread else { return };
        let Some(memory) = &mut self.memory else { return };
        if let (Some(evidence), Some(spread)) = (&memory.evidence, &mut memory.spread) {
            for source in evidence.sources() {
                count(&mut spread.pending, enough, source);
            }
        }
    }

    /// The pending state is announced; how many sources have reported it.
    pub(super) fn announce_spread(&mut self) -> u32 {
        let Some(spread) = self.spread_mut() else { return 0 };
        std::mem::swap(&mut spread.announced, &mut spread.pending);
        spread.pending.clear();
        spread.announced.len() as u32
    }

    /// A source reports the announced state once more. Once there are enough, that is a candidate.
    pub(super) fn spread_announced(&mut self, plan: &TypePlan, seen: &Observation<'_>, out: &mut Effects) {
        let Some(enough) = plan.spread.filter(|_| plan.condition(seen.state) == Condition::Problem) else { return };
        let Some(spread) = self.spread_mut() else { return };
        if !count(&mut spread.announced, enough, seen.source) {
            return;
        }
        let Some(announced) = self.announced.clone() else { return };
        let mut input = Input::default();
        input.set(seen);
        out.candidates.push(Candidate {
            time_us: seen.time_us,
            by_timer: false,
            kind: Kind::Spread,
            signal_type: self.signal_type,
            key: self.key.clone(),
            from: Some(announced.clone()),
            to: announced,
            severity: seen.severity,
            inputs: 0,
            first: input.clone(),
            last: input,
            repeated: 0,
            blips: 0,
            score_mpct: None,
            window: None,
            missed: None,
            mapper: 0,
            on_trial: false,
            tried_judge: false,
            sources: u32::from(enough),
            signals: 0,
        });
    }

    fn spread_mut(&mut self) -> Option<&mut Spread> {
        self.memory.as_mut()?.spread.as_deref_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::fingerprint;
    use crate::plan::ConfirmPlan;
    use crate::rule::{RuleId, State};

    const UP: u8 = 0;
    const DOWN: u8 = 1;
    const SLOW: u8 = 2;

    /// Three sources are enough.
    fn plan() -> TypePlan {
        let state = |name: &str, condition| State { name: name.into(), condition };
        let problem = Condition::Problem;
        let states = vec![state("up", Condition::Healthy), state("down", problem), state("slow", problem)];
        let mapper = RuleId { name: "m".into(), version: "1.0.0".into(), digest: "d".into() };
        TypePlan { spread: Some(3), ..TypePlan::new("t", states, mapper) }
    }

    /// Kind and sources of each candidate, with its time.
    fn told(plan: &TypePlan, observed: &[(i64, u32, u8)]) -> Vec<(i64, Kind, u32)> {
        let (mut entity, mut out) = (Entity::new(0, "k"), Effects::default());
        for &(time_us, source, state) in observed {
            let fingerprint = fingerprint(state, b"");
            let seen = Observation { time_us, state, value: "", fingerprint, severity: 0, id: "e", source };
            entity.observe(plan, &seen, &mut out);
        }
        out.candidates.iter().map(|candidate| (candidate.time_us, candidate.kind, candidate.sources)).collect()
    }

    #[test]
    fn the_source_that_makes_them_enough_is_a_candidate_once() {
        let observed = [(0, 1, DOWN), (1, 1, DOWN), (2, 2, DOWN), (3, 3, DOWN), (4, 4, DOWN), (5, 3, DOWN)];
        assert_eq!(told(&plan(), &observed), [(0, Kind::StateChanged, 1), (3, Kind::Spread, 3)]);
    }

    #[test]
    fn a_problem_that_enough_report_before_it_is_told_is_no_other_candidate() {
        let held = TypePlan { hold_down_us: 10, ..plan() };
        let observed = [(0, 1, DOWN), (1, 2, DOWN), (2, 3, DOWN), (3, 4, DOWN), (10, 5, DOWN), (11, 6, DOWN)];
        assert_eq!(told(&held, &observed), [(10, Kind::StateChanged, 3)]);
        let some = [(0, 1, DOWN), (1, 2, DOWN), (11, 2, DOWN), (12, 3, DOWN)];
        assert_eq!(told(&held, &some), [(10, Kind::StateChanged, 2), (12, Kind::Spread, 3)]);
    }

    #[test]
    fn every_state_is_counted_for_itself() {
        let held = TypePlan { hold_open_us: 10, hold_down_us: 5, ..plan() };
        // What is pending meanwhile, healthy or another problem, changes nothing for what was announced.
        let observed = [
            (0, 1, DOWN),
            (6, 2, DOWN),
            (7, 3, UP),
            (8, 4, SLOW),
            (9, 5, SLOW),
            (10, 3, DOWN),
            (20, 1, SLOW),
            (30, 2, SLOW),
        ];
        let expected = [(5, Kind::StateChanged, 1), (10, Kind::Spread, 3), (25, Kind::StateChanged, 1)];
        assert_eq!(told(&held, &observed), expected);
    }

    #[test]
    fn health_is_not_counted() {
        let observed = [(0, 1, DOWN), (1, 1, UP), (2, 2, UP), (3, 3, UP), (4, 4, UP)];
        assert_eq!(told(&plan(), &observed), [(0, Kind::StateChanged, 1), (1, Kind::StateChanged, 0)]);
        let uncounted = TypePlan { spread: None, ..plan() };
        assert_eq!(told(&uncounted, &[(0, 1, DOWN), (1, 2, DOWN)]), [(0, Kind::StateChanged, 0)]);
    }

    #[test]
    fn who_gave_the_evidence_has_reported_it() {
        let confirm = Some(ConfirmPlan::Last { count: 2, of: 2 });
        let confirmed = TypePlan { confirm, ..plan() };
        let observed = [(0, 1, DOWN), (1, 2, DOWN), (2, 3, DOWN)];
        assert_eq!(told(&confirmed, &observed), [(1, Kind::StateChanged, 2), (2, Kind::Spread, 3)]);
    }

    #[test]
    fn silence_is_reported_by_nobody() {
        let silent = TypePlan { silent_after_us: Some(10), ..plan() };
        let observed = [(0, 1, DOWN), (1, 2, DOWN), (20, 3, DOWN)];
        let expected = [(0, Kind::StateChanged, 1), (11, Kind::StateChanged, 0), (20, Kind::StateChanged, 1)];
        assert_eq!(told(&silent, &observed), expected);
    }
}
