//! Deduplication by fingerprint within a window that an equal signal extends.

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::plan::{Against, DedupePlan};

/// How many fingerprints one record key may have in its window. At the bound the oldest is
/// forgotten, so that an equal signal is let through rather than lost.
pub const FINGERPRINTS_MAX: usize = 1024;

type Prints = HashMap<u64, i64, std::hash::BuildHasherDefault<xxhash_rust::xxh3::Xxh3Default>>;

/// The fingerprints of one entity and when each was seen last.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    last: Option<(u64, i64)>,
    // Looked up and pruned only: nothing depends on its order.
    #[serde(with = "sorted")]
    any: Option<Box<Prints>>,
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
                if any.len() >= FINGERPRINTS_MAX && !any.contains_key(&fingerprint) {
                    any.retain(|_, &mut seen_us| recent(seen_us));
                    if any.len() >= FINGERPRINTS_MAX
                        && let Some(oldest) = any.iter().map(|(&print, &seen_us)| (seen_us, print)).min()
                    {
                        any.remove(&oldest.1);
                    }
                }
                any.insert(fingerprint, time_us).is_some_and(recent)
            }
        }
    }
}

/// In order, so that equal states are equal bytes.
mod sorted {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Prints;

    pub fn serialize<S: Serializer>(prints: &Option<Box<Prints>>, serializer: S) -> Result<S::Ok, S::Error> {
        let sorted = prints.as_ref().map(|prints| {
            let mut pairs: Vec<(u64, i64)> = prints.iter().map(|(&print, &seen_us)| (print, seen_us)).collect();
            pairs.sort_unstable();
            pairs
        });
        sorted.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<Prints>>, D::Error> {
        let pairs = Option::<Vec<(u64, i64)>>::deserialize(deserializer)?;
        Ok(pairs.map(|pairs| Box::new(pairs.into_iter().collect())))
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
