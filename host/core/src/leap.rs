//! Leaps in event time: whether a signal that is far ahead of all others is believed.

use serde::{Deserialize, Serialize};

/// So many signals of one source in a row must agree before a leap is believed.
pub const LEAPS_AGREE: u8 = 3;

/// What a source said lately that was too far ahead.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Leaps {
    count: u8,
    time_us: i64,
    id_hash: u64,
}

impl Leaps {
    /// Whether a signal at `time_us` is a leap: more than `max_us` ahead of `known_us`, the newest
    /// event time so far, and not borne out by those before it. Leaps agree that are at most `max_us`
    /// apart, each with an id of its own; any other signal begins the count anew.
    pub fn is_leap(&mut self, time_us: i64, id_hash: u64, known_us: i64, max_us: i64) -> bool {
        if time_us <= known_us.saturating_add(max_us) {
            self.count = 0;
            return false;
        }
        let near = self.count > 0 && time_us.abs_diff(self.time_us) <= max_us.unsigned_abs();
        let again = near && id_hash == self.id_hash;
        self.count = if near { self.count + u8::from(!again) } else { 1 };
        (self.time_us, self.id_hash) = (time_us, id_hash);
        if self.count < LEAPS_AGREE {
            return true;
        }
        self.count = 0;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_that_agree_are_believed() {
        let leaps = |signals: &[(i64, u64)]| {
            let mut leaps = Leaps::default();
            signals.iter().map(|&(time_us, id)| leaps.is_leap(time_us, id, 100, 10)).collect::<Vec<_>>()
        };
        assert_eq!(leaps(&[(110, 1), (111, 2), (90, 3)]), [false, true, false]);
        assert_eq!(leaps(&[(500, 1), (505, 2), (495, 3)]), [true, true, false]);
        assert_eq!(leaps(&[(500, 1), (500, 1), (500, 1), (500, 2)]), [true; 4], "one that is repeated is one");
        assert_eq!(leaps(&[(500, 1), (500, 2), (90, 3), (500, 4), (500, 5)]), [true, true, false, true, true]);
        assert_eq!(leaps(&[(500, 1), (600, 2), (700, 3), (700, 4), (700, 5)]), [true, true, true, true, false]);
    }
}
