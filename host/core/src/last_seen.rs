//! When each of some hashes was seen last.
//!
//! A hash map inside, and nobody can go through it: what depends on an order is asked for in one that does not
//! depend on how it is stored.

use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;
use serde::{Deserialize, Serialize, Serializer};

/// When each of some hashes was seen last, in microseconds of event time. It is serialized in the order of the hashes,
/// so that equal ones are equal bytes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Vec<(u64, i64)>")]
pub struct LastSeen(HashMap<u64, i64, BuildHasherDefault<Already>>);

impl LastSeen {
    /// Notes when a hash was seen, and tells when it was before.
    pub fn see(&mut self, hash: u64, time_us: i64) -> Option<i64> {
        self.0.insert(hash, time_us)
    }

    /// When a hash was seen last.
    pub fn get(&self, hash: u64) -> Option<i64> {
        self.0.get(&hash).copied()
    }

    /// Forgets those of whose times `keep` says so.
    pub fn retain(&mut self, keep: impl Fn(i64) -> bool) {
        self.0.retain(|_, time_us| keep(*time_us));
    }

    /// Forgets the one that was not seen for longest; of several, the least hash.
    pub fn forget_oldest(&mut self) {
        if let Some((_, hash)) = self.0.iter().map(|(&hash, &time_us)| (time_us, hash)).min() {
            self.0.remove(&hash);
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// How many hashes are known.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them with their times, in their order.
    pub fn sorted(&self) -> Vec<(u64, i64)> {
        let mut pairs: Vec<(u64, i64)> = self.0.iter().map(|(&hash, &time_us)| (hash, time_us)).collect();
        pairs.sort_unstable();
        pairs
    }
}

impl From<Vec<(u64, i64)>> for LastSeen {
    fn from(pairs: Vec<(u64, i64)>) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl Serialize for LastSeen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.sorted().serialize(serializer)
    }
}

/// Takes a hash as it is.
#[derive(Default)]
struct Already(u64);

impl Hasher for Already {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxhash_rust::xxh3::xxh3_64(bytes);
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_in_another_order_is_the_same_bytes() {
        let pairs = [(9, 1), (u64::MAX, -4), (0, 1), (7, i64::MAX)];
        let (mut there, mut back) = (LastSeen::default(), LastSeen::default());
        pairs.iter().for_each(|&(hash, time_us)| assert_eq!(there.see(hash, time_us), None));
        pairs.iter().rev().for_each(|&(hash, time_us)| assert_eq!(back.see(hash, time_us), None));
        let bytes = postcard::to_allocvec(&there).unwrap();
        assert_eq!(bytes, postcard::to_allocvec(&back).unwrap());
        assert_eq!(postcard::from_bytes::<LastSeen>(&bytes).unwrap().sorted(), there.sorted());
        assert_eq!(there.see(9, 5), Some(1));
        there.forget_oldest();
        assert_eq!(there.sorted(), [(0, 1), (7, i64::MAX), (9, 5)]);
        back.forget_oldest();
        back.forget_oldest();
        assert_eq!(back.sorted(), [(7, i64::MAX), (9, 1)], "of two the least hash");
    }
}
