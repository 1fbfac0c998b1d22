//! Flap detection by weighted state change, after Nagios Core ("Detection and Handling of State
//! Flapping"): of the last 21 observations, the 20 possible changes are weighted from 0.75 for the
//! oldest to 1.25 for the newest, and their sum is given in percent of 20.

/// How many changes are looked at.
pub const CHANGES: u32 = 20;

/// The weights times 76, so that they are whole: `w(x) = 0.75 + (x - 1) * 0.5 / 19` for x from 1
/// (oldest) to 20 (newest) becomes `57 + 2 * (x - 1)`.
const SCALE: u32 = 76;

/// The greatest possible sum of scaled weights.
const TOTAL: u32 = CHANGES * SCALE;

/// The last 20 comparisons: bit 0 is the newest, 1 means changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History(u32);

/// Sums of scaled weights by ten bits of history: the newer half, then the older half.
const SUMS: [[u16; 1024]; 2] = {
    let mut sums = [[0; 1024]; 2];
    let mut half = 0;
    while half < 2 {
        let mut bits = 0;
        while bits < 1024 {
            let mut bit = 0;
            while bit < 10 {
                if bits >> bit & 1 == 1 {
                    let x = 20 - (half as u16 * 10 + bit);
                    sums[half][bits] += 57 + 2 * (x - 1);
                }
                bit += 1;
            }
            bits += 1;
        }
        half += 1;
    }
    sums
};

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
    pub fn score_mpct(self) -> u32 {
        let newer = SUMS[0][(self.0 & 1023) as usize];
        let older = SUMS[1][(self.0 >> 10) as usize];
        (u32::from(newer) + u32::from(older)) * 100_000 / TOTAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(changes: impl IntoIterator<Item = bool>) -> u32 {
        let mut history = History::default();
        changes.into_iter().for_each(|changed| history.push(changed));
        history.score_mpct()
    }

    #[test]
    fn the_weights_are_those_of_the_source() {
        assert_eq!(after([]), 0);
        assert_eq!(after([true; 20]), 100_000);
        // One change: newest 1.25 / 20 = 6.25 %, oldest 0.75 / 20 = 3.75 %.
        assert_eq!(after([true]), 6_250);
        assert_eq!(after(std::iter::once(true).chain([false; 19])), 3_750);
        assert_eq!(after(std::iter::once(true).chain([false; 20])), 0);
        // The worked example of the source: changes at 4, 5, 9, 12, 16, 19 and 20 (0 to 20, of 21 states),
        // 7 of 20 unweighted (35 %), weighted about 38 %.
        let example = (1..=20).map(|x| [4, 5, 9, 12, 16, 19, 20].contains(&x));
        let exact: f64 = [4, 5, 9, 12, 16, 19, 20].iter().map(|&x| 0.75 + (f64::from(x) - 1.0) * 0.5 / 19.0).sum();
        assert_eq!(after(example), (exact / 20.0 * 100_000.0) as u32);
    }
}
