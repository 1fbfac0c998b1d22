//! Deduplication by fingerprint within a window that an equal signal extends.

use serde::{Deserialize, Serialize};

use crate::last_seen::LastSeen;
use crate::plan::{Against, DedupePlan};

/// How many fingerprints one record key may have in its window. At the bound the oldest is
/// forgotten, so that an equal signal is let through rather than lost.
pub const FINGERPRINTS_MAX: usize = 1024;

/// The fingerprints of one entity and when each was seen last.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    last: Option<(u64, i64)>,
    any: Option<Box<LastSeen>>,
}

impl Seen {
    /// Whether `fingerprint` at `time_us` is a duplicate. It is remembered either way.
    pub fn is_duplicate(&mut self, plan: DedupePlan, fingerprint: u64, time_us: i64) -> bool {
        let recent = |seen_us: i64| time_us.saturating_sub(seen_us) <= plan.window_us;
        match plan.against {
            Against::Last => {
                let before = self.last.replace((fingerprint, time_us));
                before.is_some_and(|(last, seen_us)| last == fingerprint && recent(seen_us))
            }
            Against::Any => {
                let any = self.any.get_or_insert_default();
                if any.len() >= FINGERPRINTS_MAX && any.get(fingerprint).is_none() {
                    any.retain(recent);
                    if any.len() >= FINGERPRINTS_MAX {
                        any.forget_oldest();
                    }
                }
                any.see(fingerprint, time_us).is_some_and(recent)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_equal_signal_extends_the_window() {
        for against in [Against::Any, Against::Last] {
            let plan = DedupePlan { window_us: 10, against };
            let mut seen = Seen::default();
            let answers = [0, 10, 20, 31, 41].map(|time_us| seen.is_duplicate(plan, 1, time_us));
            assert_eq!(answers, [false, true, true, false, true]);
        }
    }

    #[test]
    fn another_fingerprint_in_between_ends_the_window_against_the_last_only() {
        let answers = |against| {
            let plan = DedupePlan { window_us: 10, against };
            let mut seen = Seen::default();
            [(1, 0), (2, 1), (1, 2), (2, 3)].map(|(print, time_us)| seen.is_duplicate(plan, print, time_us))
        };
        assert_eq!(answers(Against::Any), [false, false, true, true]);
        assert_eq!(answers(Against::Last), [false, false, false, false]);
    }

    #[test]
    fn at_the_bound_the_oldest_is_forgotten() {
        let plan = DedupePlan { window_us: i64::MAX, against: Against::Any };
        let mut seen = Seen::default();
        for print in 0..=FINGERPRINTS_MAX as u64 {
            assert!(!seen.is_duplicate(plan, print, print as i64));
        }
        assert!(seen.is_duplicate(plan, 1, 5000));
        assert!(!seen.is_duplicate(plan, 0, 5000));
    }
}
