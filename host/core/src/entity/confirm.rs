//! The part of an entity that weighs evidence: a problem goes on to the hold only once it is
//! confirmed, and so does health only once the evidence for a problem is gone.

use super::{Effects, Entity, Observation};
use crate::evidence::Evidence;
use crate::plan::TypePlan;
use crate::rule::Condition;

/// What becomes of an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirmed {
    /// It is not believed, and stops here.
    No,
    /// It goes on.
    Yes,
    /// It goes on, and all evidence speaks for it.
    First,
}

impl Entity {
    /// Weighs an observation that is not the end of the entity.
    pub(super) fn confirm(&mut self, plan: &TypePlan, seen: &Observation<'_>, out: &mut Effects) -> Confirmed {
        let Some(confirm) = plan.confirm else { return Confirmed::Yes };
        let problem = plan.condition(seen.state) == Condition::Problem;
        let evidence = self.memory.get_or_insert_default().evidence.get_or_insert_default();
        let weighed = evidence.observe(confirm, seen, problem);
        self.let_go(weighed.left, out);
        self.repeated += weighed.repeated as u32;
        out.ledger.settle(|ledger| &mut ledger.merged_repeated, weighed.repeated);
        match (problem, weighed.holds) {
            (true, true) if weighed.begins => Confirmed::First,
            (true, true) | (false, false) => Confirmed::Yes,
            // Its signal waits in the evidence.
            (true, false) => Confirmed::No,
            (false, true) => {
                self.repeat(1, out);
                Confirmed::No
            }
        }
    }

    /// When the next unconfirmed signal leaves the evidence by itself.
    pub(super) fn evidence_due_us(&self, plan: &TypePlan) -> Option<i64> {
        self.evidence()?.due_us(plan.confirm?)
    }

    pub(super) fn expire_evidence(&mut self, plan: &TypePlan, to_us: i64, out: &mut Effects) {
        if let (Some(evidence), Some(confirm)) = (self.evidence_mut(), plan.confirm) {
            let left = evidence.expire(confirm, to_us);
            self.let_go(left, out);
        }
    }

    pub(super) fn clear_evidence(&mut self, out: &mut Effects) {
        let left = self.evidence_mut().map_or(0, Evidence::clear);
        self.let_go(left, out);
    }

    /// The evidence speaks for the pending state as well: it began with the oldest of it.
    pub(super) fn support(&mut self, plan: &TypePlan, now_us: i64) {
        let Some(pending) = self.pending.as_mut() else { return };
        let evidence = self.memory.as_mut().and_then(|memory| memory.evidence.as_mut());
        let Some(support) = evidence.and_then(|evidence| evidence.support()) else { return };
        let hold_us = plan.hold_us(self.announced.as_ref().map(|announced| announced.state), pending.to.state);
        pending.to.since_us = support.first.time_us;
        pending.due_us = support.first.time_us.saturating_add(hold_us).max(now_us);
        pending.severity = support.severity;
        pending.inputs = support.inputs;
        pending.signals += support.signals;
        pending.first.copy(support.first);
        self.spread_evidence(plan);
    }

    pub(super) fn evidence(&self) -> Option<&Evidence> {
        self.memory.as_ref()?.evidence.as_deref()
    }

    fn evidence_mut(&mut self) -> Option<&mut Evidence> {
        self.memory.as_mut()?.evidence.as_deref_mut()
    }

    /// Settles problems that were never confirmed.
    fn let_go(&mut self, signals: u64, out: &mut Effects) {
        self.blips += signals as u32;
        out.ledger.settle(|ledger| &mut ledger.merged_blip, signals);
    }
}
