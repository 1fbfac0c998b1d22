//! What is counted of posts, as Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

/// Counters since the start; by status, of which there are few.
#[derive(Debug, Default)]
pub struct IntakeMetrics(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    posts: BTreeMap<u16, u64>,
    records: u64,
}

impl IntakeMetrics {
    pub(super) fn answered(&self, status: u16) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).posts.entry(status).or_default() += 1;
    }

    pub(super) fn accepted(&self, records: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).records += records as u64;
    }

    /// As Prometheus text.
    pub fn text(&self) -> String {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::from(
            "# HELP stillhouse_intake_posts_total Posts of signals by the status that was answered.\n\
             # TYPE stillhouse_intake_posts_total counter\n",
        );
        for (status, count) in &counts.posts {
            let _ = writeln!(out, "stillhouse_intake_posts_total{{status=\"{status}\"}} {count}");
        }
        let _ = write!(
            out,
            "# HELP stillhouse_intake_records_total Posted signals that were committed.\n\
             # TYPE stillhouse_intake_records_total counter\n\
             stillhouse_intake_records_total {}\n",
            counts.records
        );
        out
    }
}
