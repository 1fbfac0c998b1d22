//! Which entity is to be looked at when. Most entities wait for something that is days away, to be
//! forgotten, and nearly all of these timers move on before they come: so what is far away is kept
//! in coarse buckets of four bytes an entity, and only what is near is sorted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// A bucket spans 2^30 microseconds, about 18 minutes.
const BUCKET_BITS: u32 = 30;

/// Timers of the entities of one shard. An entity is armed for one time; entries that are no longer
/// what it is armed for are skipped when they come up.
#[derive(Debug)]
pub struct Timers {
    near: BinaryHeap<Reverse<(i64, u32)>>,
    far: BTreeMap<i64, Vec<u32>>,
    /// What is due in this bucket or before is near.
    reached: i64,
}

impl Default for Timers {
    fn default() -> Self {
        Self { near: BinaryHeap::new(), far: BTreeMap::new(), reached: i64::MIN }
    }
}

impl Timers {
    /// The entity `index` is armed for `due_us`.
    pub fn push(&mut self, due_us: i64, index: u32) {
        let bucket = due_us >> BUCKET_BITS;
        if bucket <= self.reached {
            self.near.push(Reverse((due_us, index)));
        } else {
            self.far.entry(bucket).or_default().push(index);
        }
    }

    /// Takes out the next entity that is due at `to_us` or before; `armed_us` tells for when an
    /// entity is armed.
    pub fn pop(&mut self, to_us: i64, armed_us: impl Fn(u32) -> i64) -> Option<(i64, u32)> {
        let to = to_us >> BUCKET_BITS;
        self.reached = self.reached.max(to);
        while let Some(first) = self.far.first_entry().filter(|first| *first.key() <= to) {
            let bucket = *first.key();
            let due = first.remove().into_iter().map(|index| (armed_us(index), index));
            self.near.extend(due.filter(|(due_us, _)| due_us >> BUCKET_BITS == bucket).map(Reverse));
        }
        while let Some(&Reverse((due_us, index))) = self.near.peek().filter(|Reverse(next)| next.0 <= to_us) {
            self.near.pop();
            if armed_us(index) == due_us {
                return Some((due_us, index));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_and_far_come_in_order_and_stale_ones_never() {
        const FAR_US: i64 = 5 << BUCKET_BITS;
        let armed = [FAR_US + 2, 7, FAR_US + 1, i64::MAX];
        let mut timers = Timers::default();
        for (index, due_us) in [(0, FAR_US + 9), (0, FAR_US + 2), (1, 7), (2, FAR_US + 1), (3, 7)] {
            timers.push(due_us, index);
        }
        let mut popped = |to_us| std::iter::from_fn(|| timers.pop(to_us, |index| armed[index as usize])).next();
        assert_eq!(popped(6), None);
        assert_eq!(popped(7), Some((7, 1)));
        assert_eq!(popped(FAR_US), None);
        assert_eq!(popped(FAR_US + 9), Some((FAR_US + 1, 2)));
        assert_eq!(popped(FAR_US + 9), Some((FAR_US + 2, 0)));
    }
}
