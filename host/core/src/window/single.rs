//! Sessions and tumbling windows: an observation is in one window.

use super::Owner;
use super::bucket::Bucket;
use crate::entity::{Effects, Observation};
use serde::{Deserialize, Serialize};

/// The window that is open.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Single {
    start_us: i64,
    end_us: i64,
    /// When it ends at the latest.
    bound_us: i64,
    /// The silence that ends it before.
    gap_us: i64,
    told_early: bool,
    bucket: Bucket,
}

impl Single {
    /// A window from `start_us` on, of at most `max_us`. Its first observation is still to come.
    pub fn new(start_us: i64, max_us: i64, gap_us: i64) -> Self {
        let bound_us = start_us.saturating_add(max_us);
        Self { start_us, end_us: bound_us, bound_us, gap_us, told_early: false, bucket: Bucket::default() }
    }

    pub fn observe(&mut self, owner: Owner<'_>, seen: &Observation<'_>, out: &mut Effects) {
        self.end_us = seen.time_us.saturating_add(self.gap_us).min(self.bound_us);
        self.bucket.add(seen);
        if owner.plan.early && !self.told_early && owner.plan.is_met(&self.bucket) {
            self.told_early = true;
            out.candidates.push(owner.opened(seen.time_us, self.start_us, &self.bucket));
        }
    }

    pub fn close(&mut self, owner: Owner<'_>, out: &mut Effects) {
        let signals = self.open();
        if owner.plan.is_met(&self.bucket) {
            let span_us = (self.start_us, self.end_us);
            out.candidates.push(owner.closed(self.end_us, span_us, self.told_early, &self.bucket, signals));
        } else {
            out.ledger.settle(|ledger| &mut ledger.merged_blip, signals);
        }
    }

    pub fn end_us(&self) -> i64 {
        self.end_us
    }

    pub fn open(&self) -> u64 {
        self.bucket.inputs
    }
}
