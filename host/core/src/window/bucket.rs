//! What is counted of observations that fall together.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::DISTINCT_MAX;
use crate::entity::{Input, Observation};

/// What is counted of observations that fall together.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Bucket {
    pub inputs: u64,
    pub sources: Distinct,
    pub values: Distinct,
    /// The greatest.
    pub severity: u8,
    /// Of the last observation.
    pub state: u8,
    pub first: Input,
    pub last: Input,
}

impl Bucket {
    /// Whether it is from a new source or with a new value. Without a value it has none.
    pub fn add(&mut self, seen: &Observation<'_>) -> bool {
        if self.inputs == 0 {
            self.first.set(seen);
        }
        self.inputs += 1;
        self.severity = self.severity.max(seen.severity);
        self.state = seen.state;
        self.last.set(seen);
        let new_source = self.sources.add(u64::from(seen.source));
        let new_value = !seen.value.is_empty() && self.values.add(xxh3_64(seen.value.as_bytes()));
        new_source || new_value
    }

    /// Adds what came after it.
    pub fn absorb(&mut self, later: &Self) {
        if self.inputs == 0 {
            self.first.clone_from(&later.first);
        }
        self.inputs += later.inputs;
        self.sources.absorb(&later.sources);
        self.values.absorb(&later.values);
        self.severity = self.severity.max(later.severity);
        self.state = later.state;
        self.last.clone_from(&later.last);
    }
}

/// Distinct marks, of which [`DISTINCT_MAX`] are told apart.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Distinct {
    // So few that a search from the start is the fastest.
    marks: Vec<u64>,
    has_more: bool,
}

impl Distinct {
    /// Whether the mark is new and could be kept.
    pub fn add(&mut self, mark: u64) -> bool {
        if self.marks.contains(&mark) {
            return false;
        }
        if self.marks.len() == DISTINCT_MAX {
            self.has_more = true;
            return false;
        }
        self.marks.push(mark);
        true
    }

    pub fn absorb(&mut self, other: &Self) {
        other.marks.iter().for_each(|&mark| _ = self.add(mark));
        self.has_more |= other.has_more;
    }

    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether there were more than were kept.
    pub fn has_more(&self) -> bool {
        self.has_more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(marks: std::ops::Range<u64>) -> Distinct {
        let mut distinct = Distinct::default();
        marks.for_each(|mark| _ = distinct.add(mark));
        distinct
    }

    #[test]
    fn at_the_bound_a_count_is_a_least() {
        let full = DISTINCT_MAX as u64;
        for (distinct, has_more) in [(marks(0..full), false), (marks(0..full + 1), true)] {
            assert_eq!((distinct.len(), distinct.has_more()), (DISTINCT_MAX, has_more));
        }
        let (mut one, other) = (marks(0..40), marks(30..64));
        one.absorb(&other);
        assert_eq!((one.len(), one.has_more()), (64, false));
        one.absorb(&marks(64..65));
        assert_eq!((one.len(), one.has_more()), (64, true));
        let mut empty = Distinct::default();
        empty.absorb(&one);
        assert!(empty.has_more());
    }
}
