//! How far a sink is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a sink has settled: all positions before one, and runs of positions beyond it.
///
/// An event is settled when it was accepted or is a dead letter. There are fewer runs than events that
/// are known and not settled, so [`Policy::window_max`](crate::Policy::window_max) bounds the runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Cursor {
    next: u64,
    /// From the first position of a run to the one after its last. Runs neither touch one another nor
    /// `next`.
    beyond: BTreeMap<u64, u64>,
}

/// A cursor as it is read back.
#[derive(Deserialize)]
#[serde(rename = "Cursor")]
struct Written {
    next: u64,
    beyond: BTreeMap<u64, u64>,
}

impl TryFrom<Written> for Cursor {
    type Error = String;

    fn try_from(Written { next, beyond }: Written) -> Result<Self, String> {
        let mut free = next;
        for (&first, &end) in &beyond {
            if first <= free || end <= first {
                return Err(format!(
                    "not a cursor: expected runs that are apart, each beyond {free}; there is one from {first} to {end}"
                ));
            }
            free = end;
        }
        Ok(Self { next, beyond })
    }
}

impl Cursor {
    /// A sink that wants nothing from before `position`.
    pub fn at(position: u64) -> Self {
        Self { next: position, beyond: BTreeMap::new() }
    }

    /// The first position that is not settled. What is before it is needed no more.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Whether a position is settled.
    pub fn is_settled(&self, position: u64) -> bool {
        self.unsettled_from(position) != position
    }

    /// The first position that is not settled, from `position` on.
    pub fn unsettled_from(&self, position: u64) -> u64 {
        if position < self.next {
            return self.next;
        }
        let run = self.beyond.range(..=position).next_back();
        run.map_or(position, |(_, &end)| end.max(position))
    }

    /// How many positions beyond the first unsettled one are settled.
    pub fn settled_beyond(&self) -> u64 {
        self.beyond.iter().map(|(first, end)| end - first).sum()
    }

    /// How many runs there are beyond the first unsettled position.
    pub fn runs(&self) -> usize {
        self.beyond.len()
    }

    /// Settles a position; nothing happens if it is.
    pub(crate) fn settle(&mut self, position: u64) {
        if self.is_settled(position) {
            return;
        }
        let mut end = position.saturating_add(1);
        if let Some(after) = self.beyond.remove(&end) {
            end = after;
        }
        if position == self.next {
            self.next = end;
            return;
        }
        let before = self.beyond.range(..position).next_back().filter(|&(_, &before)| before == position);
        let first = before.map_or(position, |(&first, _)| first);
        self.beyond.insert(first, end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(positions: &[u64]) -> Cursor {
        let mut cursor = Cursor::default();
        positions.iter().for_each(|position| cursor.settle(*position));
        cursor
    }

    #[test]
    fn runs_grow_together() {
        let cursor = settled(&[3, 5, 4, 9, 3]);
        assert_eq!((cursor.next(), cursor.runs(), cursor.settled_beyond()), (0, 2, 4));
        assert_eq!([0, 2, 3, 4, 6, 9].map(|position| cursor.unsettled_from(position)), [0, 2, 6, 6, 6, 10]);
        assert_eq!(settled(&[2, 1, 0]), Cursor::at(3));
        assert_eq!(settled(&[0, 2, 1]), Cursor::at(3));
        assert_eq!(settled(&[1, 2, 4, 0]), settled(&[0, 4, 2, 1]));
    }

    #[test]
    fn it_is_read_back_as_it_was_written() {
        for cursor in [settled(&[]), settled(&[0, 1, 5, 7, 8])] {
            let written = serde_json::to_string(&cursor).expect("written");
            assert_eq!(serde_json::from_str::<Cursor>(&written).expect("read"), cursor);
        }
        for (bad, named) in [
            (r#"{"next":5,"beyond":{"5":6}}"#, "each beyond 5"),
            (r#"{"next":5,"beyond":{"7":9,"9":10}}"#, "each beyond 9"),
            (r#"{"next":5,"beyond":{"8":7}}"#, "from 8 to 7"),
        ] {
            let error = serde_json::from_str::<Cursor>(bad).expect_err("refused").to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
