//! What the server counts of itself.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use crate::audit::Head;
use crate::operation::Operation;

/// Counters by operation and status, of which there are few.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(Option<Operation>, u16), u64>>,
}

impl Metrics {
    /// Counts an answer; no operation for a path or method that there is not.
    pub fn answered(&self, operation: Option<Operation>, status: u16) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry((operation, status)).or_default() += 1;
    }

    /// As Prometheus text.
    pub fn text(&self, audit: &Head, audit_broken: bool) -> String {
        let mut out = String::from(
            "# HELP stillhouse_control_requests_total Answers of the control API.\n\
             # TYPE stillhouse_control_requests_total counter\n",
        );
        for ((operation, status), count) in &*self.requests.lock().unwrap_or_else(PoisonError::into_inner) {
            let operation = operation.map_or("none", Operation::name);
            let _ = writeln!(
                out,
                "stillhouse_control_requests_total{{operation=\"{operation}\",status=\"{status}\"}} {count}"
            );
        }
        let _ = write!(
            out,
            "# HELP stillhouse_control_audit_records_total Records of the audit trail.\n\
             # TYPE stillhouse_control_audit_records_total counter\n\
             stillhouse_control_audit_records_total {}\n\
             # HELP stillhouse_control_audit_broken Whether the audit trail cannot be written; no change is taken then.\n\
             # TYPE stillhouse_control_audit_broken gauge\n\
             stillhouse_control_audit_broken {}\n",
            audit.records,
            u8::from(audit_broken)
        );
        out
    }
}
