//! Sliding windows, in panes: an observation is counted once, in its pane, and a window is the panes
//! that it covers (Li et al., "No pane, no gain", 2005).

use std::collections::VecDeque;

use super::bucket::{Bucket, Distinct};
use super::{Owner, WindowPlan, floor_us};
use crate::entity::{Effects, Observation};
use serde::{Deserialize, Serialize};

/// The panes that some window to come still covers, and the run of windows that satisfy the condition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sliding {
    size_us: i64,
    every_us: i64,
    max_us: i64,
    /// Only panes with observations, oldest first.
    panes: VecDeque<Pane>,
    /// Observations in all panes.
    inputs: u64,
    run: Option<Run>,
    told_early: bool,
    due_us: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pane {
    start_us: i64,
    /// Its signals that no run has taken.
    open: u64,
    bucket: Bucket,
}

/// Windows in a row that satisfy the condition: one result.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Run {
    /// Of its first window.
    start_us: i64,
    /// The pane end at which it ends at the latest, so that it spans no more than allowed.
    bound_us: i64,
    /// Up to where panes are in `bucket`.
    counted_us: i64,
    signals: u64,
    bucket: Bucket,
}

impl Sliding {
    /// Windows of `size_us` that end at each multiple of `every_us`; a result spans `max_us` at most.
    pub fn new(size_us: i64, every_us: i64, max_us: i64) -> Self {
        let panes = VecDeque::new();
        Self { size_us, every_us, max_us, panes, inputs: 0, run: None, told_early: false, due_us: i64::MAX }
    }

    pub fn observe(&mut self, owner: Owner<'_>, seen: &Observation<'_>, out: &mut Effects) {
        let start_us = floor_us(seen.time_us, self.every_us);
        let end_us = start_us.saturating_add(self.every_us);
        if self.panes.back().is_none_or(|pane| pane.start_us != start_us) {
            self.panes.push_back(Pane { start_us, open: 0, bucket: Bucket::default() });
            // Every other timer is due at a pane end too, and this one is the next.
            self.due_us = end_us;
        }
        let Some(pane) = self.panes.back_mut() else { return };
        pane.open += 1;
        let is_new = pane.bucket.add(seen);
        self.inputs += 1;
        // What was not met before is met only by what is new, or by the observation that was missing.
        let may_be_met = is_new || self.inputs == owner.plan.count;
        if owner.plan.early && !self.told_early && may_be_met && self.is_met(owner.plan) {
            // Until its pane ends nothing leaves the window, so its result is certain.
            self.told_early = true;
            let mut bucket = Bucket::default();
            self.panes.iter().for_each(|pane| bucket.absorb(&pane.bucket));
            out.candidates.push(owner.opened(seen.time_us, end_us.saturating_sub(self.size_us), &bucket));
        }
    }

    /// Looks at the window that ends when its timer is due, at the end of a pane.
    pub fn look(&mut self, owner: Owner<'_>, out: &mut Effects) {
        let at_us = self.due_us;
        if self.is_met(owner.plan) {
            let run = self.take_in(at_us);
            if run.bound_us <= at_us {
                self.close(owner, at_us, at_us, out);
                self.panes.clear();
                self.inputs = 0;
            }
        } else {
            self.close(owner, at_us, at_us.saturating_sub(self.every_us), out);
        }
        let thinned = self.thin(at_us, out);
        // The next window may differ from this one where a pane has left it; else it is the same until
        // the oldest pane leaves.
        let oldest_us = self.panes.front().map(|pane| pane.start_us.saturating_add(self.size_us));
        self.due_us = match &self.run {
            Some(_) if thinned => at_us.saturating_add(self.every_us),
            Some(run) => oldest_us.unwrap_or(i64::MAX).min(run.bound_us),
            None => oldest_us.unwrap_or(i64::MAX),
        };
    }

    /// Adds the panes of the window that ends at `at_us` to the run, which it begins if there is none.
    fn take_in(&mut self, at_us: i64) -> &Run {
        let run = self.run.get_or_insert_with(|| {
            let start_us = at_us.saturating_sub(self.size_us);
            let bound_us = floor_us(start_us.saturating_add(self.max_us), self.every_us);
            Run { start_us, bound_us, counted_us: start_us, signals: 0, bucket: Bucket::default() }
        });
        for pane in self.panes.iter_mut().filter(|pane| pane.start_us >= run.counted_us) {
            run.bucket.absorb(&pane.bucket);
            run.signals += std::mem::take(&mut pane.open);
        }
        run.counted_us = at_us;
        run
    }

    fn close(&mut self, owner: Owner<'_>, time_us: i64, end_us: i64, out: &mut Effects) {
        if let Some(run) = self.run.take() {
            let told_early = std::mem::take(&mut self.told_early);
            out.candidates.push(owner.closed(time_us, (run.start_us, end_us), told_early, &run.bucket, run.signals));
        }
    }

    /// Drops the panes whose last window ends at `at_us`. Whether there were any.
    fn thin(&mut self, at_us: i64, out: &mut Effects) -> bool {
        let before = self.panes.len();
        while let Some(pane) = self.panes.pop_front_if(|pane| pane.start_us.saturating_add(self.size_us) <= at_us) {
            self.inputs -= pane.bucket.inputs;
            out.ledger.settle(|ledger| &mut ledger.merged_blip, pane.open);
        }
        self.panes.len() < before
    }

    /// Whether the panes together satisfy the condition. They are those of one window: what is older
    /// was dropped when its last window ended.
    fn is_met(&self, plan: &WindowPlan) -> bool {
        self.inputs >= plan.count
            && self.has(plan.sources, |bucket| &bucket.sources)
            && self.has(plan.values, |bucket| &bucket.values)
    }

    fn has(&self, count: usize, of: fn(&Bucket) -> &Distinct) -> bool {
        let mut all = Distinct::default();
        let enough = |pane: &Pane| {
            all.absorb(of(&pane.bucket));
            all.len() >= count
        };
        count == 0 || self.panes.iter().any(enough)
    }

    pub fn due_us(&self) -> i64 {
        self.due_us
    }

    /// Whether nothing is left to look at.
    pub fn is_over(&self) -> bool {
        self.panes.is_empty() && self.run.is_none()
    }

    pub fn open(&self) -> u64 {
        let panes: u64 = self.panes.iter().map(|pane| pane.open).sum();
        panes + self.run.as_ref().map_or(0, |run| run.signals)
    }
}
