//! How often entities changed in the last hour, for suppressors that ask.

use serde::{Deserialize, Serialize};

use std::collections::{BTreeMap, VecDeque};

const HOUR_US: i64 = 3_600_000_000;

/// The most that is said of one entity.
const SAID_MAX: u32 = 255;

/// How many changes are remembered. At the bound the oldest is forgotten, which is counted.
const REMEMBERED_MAX: usize = 1 << 20;

/// The changes of the last hour.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Changes {
    recent: VecDeque<(i64, u16, Box<str>)>,
    counts: BTreeMap<(u16, Box<str>), u32>,
    forgotten: u64,
}

impl Changes {
    /// An entity has a candidate; times never fall.
    pub(super) fn add(&mut self, time_us: i64, signal_type: u16, key: &str) {
        self.add_within(REMEMBERED_MAX, time_us, signal_type, key);
    }

    fn add_within(&mut self, max: usize, time_us: i64, signal_type: u16, key: &str) {
        self.forget_until(time_us.saturating_sub(HOUR_US));
        if self.recent.len() >= max {
            self.forget_oldest();
            self.forgotten += 1;
        }
        self.recent.push_back((time_us, signal_type, key.into()));
        *self.counts.entry((signal_type, key.into())).or_default() += 1;
    }

    /// How many there were of an entity in the hour that ends now.
    pub(super) fn count(&mut self, now_us: i64, signal_type: u16, key: &str) -> i64 {
        self.forget_until(now_us.saturating_sub(HOUR_US));
        let count = self.counts.get(&(signal_type, key.into())).copied().unwrap_or(0);
        i64::from(count.min(SAID_MAX))
    }

    /// How many were forgotten before their hour was over.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn forget_until(&mut self, time_us: i64) {
        while self.recent.front().is_some_and(|oldest| oldest.0 <= time_us) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((_, signal_type, key)) = self.recent.pop_front() else { return };
        let entity = (signal_type, key);
        if let Some(count) = self.counts.get_mut(&entity) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&entity);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_counts_and_no_more() {
        let mut changes = Changes::default();
        changes.add(0, 0, "a");
        changes.add(10, 0, "a");
        changes.add(10, 1, "a");
        assert_eq!(changes.count(HOUR_US - 1, 0, "a"), 2);
        assert_eq!(changes.count(HOUR_US, 0, "a"), 1);
        assert_eq!([changes.count(HOUR_US, 1, "a"), changes.count(HOUR_US, 0, "b")], [1, 0]);
        (0..300).for_each(|_| changes.add(2 * HOUR_US, 0, "a"));
        assert_eq!(changes.count(2 * HOUR_US, 0, "a"), 255);
        changes.forget_until(3 * HOUR_US);
        assert!(changes.recent.is_empty() && changes.counts.is_empty());
    }

    #[test]
    fn at_the_bound_the_oldest_is_forgotten() {
        let mut changes = Changes::default();
        ["a", "b", "b"].iter().zip(0..).for_each(|(key, time_us)| changes.add_within(2, time_us, 0, key));
        assert_eq!([changes.count(5, 0, "a"), changes.count(5, 0, "b")], [0, 2]);
        assert_eq!(changes.forgotten(), 1);
    }
}
