//! Flap detection by weighted state change: of the last 21 observations, each of the 20 possible
//! changes has a weight that grows with how new it is, and their sum is given in percent of 20.
//!
//! - [`Weights::Nagios`], after Nagios Core ("Detection and Handling of State Flapping"): from 0.75
//!   for the oldest to 1.25 for the newest; flapping starts at `high` or more.
//! - [`Weights::Icinga`], after Icinga 2 ("Check Flapping" and its `Checkable`): `0.8 + 0.02 * i` for
//!   the i-th oldest, i from 0; flapping starts above `high`.
//!
//! Either way it goes on while the score is above `low`. All of it is exact in whole numbers.
//! [`damping`] is the other way to detect flapping.

pub mod damping;

use crate::plan::{FlappingPlan, Weights};
use serde::{Deserialize, Serialize};

/// How many changes are looked at.
pub const CHANGES: u32 = 20;

/// The last 20 comparisons: bit 0 is the newest, 1 means changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History(u32);

/// Weights times `scale`, so that they are whole, summed by ten bits of history: the newer half,
/// then the older half.
struct Sums {
    scale: u32,
    halves: [[u16; 1024]; 2],
}

/// `0.75 + x * 0.5 / 19` for x from 0 (oldest) to 19, times 76.
static NAGIOS: Sums = sums(76, 57, 2);

/// `0.8 + 0.02 * x` for x from 0 (oldest) to 19, times 50.
static ICINGA: Sums = sums(50, 40, 1);

const fn sums(scale: u32, oldest: u16, step: u16) -> Sums {
    let mut halves = [[0; 1024]; 2];
    let mut half = 0;
    while half < 2 {
        let mut bits = 0;
        while bits < 1024 {
            let mut bit = 0;
            while bit < 10 {
                if bits >> bit & 1 == 1 {
                    let x = 19 - (half as u16 * 10 + bit);
                    halves[half][bits] += oldest + step * x;
                }
                bit += 1;
            }
            bits += 1;
        }
        half += 1;
    }
    Sums { scale, halves }
}

impl History {
    /// Adds the newest comparison and forgets the oldest.
    pub fn push(&mut self, changed: bool) {
        self.0 = (self.0 << 1 | u32::from(changed)) & ((1 << CHANGES) - 1);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0 = 0;
    }

    /// The score in thousandths of a percent, rounded down: 0 to 100,000.
    pub fn score_mpct(self, weights: Weights) -> u32 {
        let sums = match weights {
            Weights::Nagios => &NAGIOS,
            Weights::Icinga => &ICINGA,
        };
        let newer = sums.halves[0][(self.0 & 1023) as usize];
        let older = sums.halves[1][(self.0 >> 10) as usize];
        (u32::from(newer) + u32::from(older)) * 100_000 / (CHANGES * sums.scale)
    }
}

impl FlappingPlan {
    /// Whether flapping starts at this score.
    pub fn starts(&self, score_mpct: u32) -> bool {
        match self.weights {
            Weights::Nagios => score_mpct >= self.high_mpct,
            Weights::Icinga => score_mpct > self.high_mpct,
        }
    }

    /// Whether flapping stops at this score.
    pub fn stops(&self, score_mpct: u32) -> bool {
        score_mpct <= self.low_mpct
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(weights: Weights, changes: impl IntoIterator<Item = bool>) -> u32 {
        let mut history = History::default();
        changes.into_iter().for_each(|changed| history.push(changed));
        history.score_mpct(weights)
    }

    /// Changes at these places of 20, the oldest at 1.
    fn at(places: &[u32]) -> impl Iterator<Item = bool> {
        (1..=20).map(|x| places.contains(&x))
    }

    #[test]
    fn the_weights_of_nagios_are_those_of_the_source() {
        let after = |changes: Vec<bool>| after(Weights::Nagios, changes);
        assert_eq!(after(vec![]), 0);
        assert_eq!(after(vec![true; 20]), 100_000);
        // One change: newest 1.25 / 20 = 6.25 %, oldest 0.75 / 20 = 3.75 %.
        assert_eq!(after(vec![true]), 6_250);
        assert_eq!(after(at(&[1]).collect()), 3_750);
        assert_eq!(after(at(&[1]).chain([false]).collect()), 0);
        // The worked example of the source: changes at 4, 5, 9, 12, 16, 19 and 20 (0 to 20, of 21 states),
        // 7 of 20 unweighted (35 %), weighted about 38 %.
        let places = [4, 5, 9, 12, 16, 19, 20];
        let exact: f64 = places.iter().map(|&x| 0.75 + (f64::from(x) - 1.0) * 0.5 / 19.0).sum();
        assert_eq!(after(at(&places).collect()), (exact / 20.0 * 100_000.0) as u32);
    }

    #[test]
    fn the_weights_of_icinga_are_those_of_the_source() {
        let after = |changes: Vec<bool>| after(Weights::Icinga, changes);
        assert_eq!(after(vec![]), 0);
        // The newest weighs 0.8 + 0.02 * 19 = 1.18 of 20: 5.9 %; the oldest 0.8 of 20: 4 %.
        assert_eq!(after(vec![true]), 5_900);
        assert_eq!(after(at(&[1]).collect()), 4_000);
        assert_eq!(after(at(&[1]).chain([false]).collect()), 0);
        // All: 20 * 0.8 + 0.02 * (0 + .. + 19) = 19.8 of 20.
        assert_eq!(after(vec![true; 20]), 99_000);
        // The newest 1, 2, .. changes: 1.18 + 1.16 + .. of 20.
        let newest = [1, 2, 3, 4, 5, 6].map(|count| after(vec![true; count]));
        assert_eq!(newest, [5_900, 11_700, 17_400, 23_000, 28_500, 33_900]);
        // Every second one, from the newest on: 1.18 + 1.14 + .. + 0.82 = 10.
        assert_eq!(after((0..20).map(|x| x % 2 == 1).collect()), 50_000);
        // Places 3, 7 and 19 from the oldest (0): 0.86 + 0.94 + 1.18 = 2.98 of 20.
        assert_eq!(after(at(&[4, 8, 20]).collect()), 14_900);
    }

    #[test]
    fn every_history_scores_what_its_rational_weights_add_up_to() {
        // Sums of hundredths and of nineteenths of quarters, apart from the tables.
        for bits in (0..1 << CHANGES).step_by(37) {
            let ages = || (0..CHANGES).filter(|age| bits >> age & 1 == 1);
            let hundredths: u32 = ages().map(|age| 80 + 2 * (19 - age)).sum();
            let seventy_sixths: u32 = ages().map(|age| 57 + 2 * (19 - age)).sum();
            let history = History(bits);
            assert_eq!(history.score_mpct(Weights::Icinga), hundredths * 50, "{bits:020b}");
            assert_eq!(history.score_mpct(Weights::Nagios), seventy_sixths * 100_000 / 1_520, "{bits:020b}");
        }
    }

    #[test]
    fn nagios_starts_at_its_mark_and_icinga_above_it() {
        let plan = |weights| FlappingPlan { weights, high_mpct: 30_000, low_mpct: 25_000, quiet_us: None };
        let starts = |weights| [29_999, 30_000, 30_001].map(|score_mpct| plan(weights).starts(score_mpct));
        assert_eq!(starts(Weights::Nagios), [false, true, true]);
        assert_eq!(starts(Weights::Icinga), [false, false, true]);
        for weights in [Weights::Nagios, Weights::Icinga] {
            assert_eq!([25_000, 25_001].map(|score_mpct| plan(weights).stops(score_mpct)), [true, false]);
        }
    }
}
