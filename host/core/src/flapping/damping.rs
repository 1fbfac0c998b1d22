//! Flap detection by damping, after RFC 2439 ("BGP Route Flap Damping"): every change adds a penalty
//! to a figure of merit, which halves with every half-life. An entity flaps from the moment its
//! figure reaches the cut until it has fallen below the reuse mark.
//!
//! The figure is a fixed-point number with 32 fractional bits, always rounded down. `2^-x` is made
//! without floats: the whole part of x is a shift, and its fraction, cut to 64 bits, is a product of
//! the constants `2^(-2^-i)` for its bits, each with 64 bits from an integer square root. The
//! factor is off by less than `2^-56`, so a figure below 65,536 is right to within `2^-31`, and it
//! never rises by waiting as long as the half-life is at most [`HALF_LIFE_MAX_US`].

use crate::plan::DampingPlan;
use serde::{Deserialize, Serialize};

/// The longest half-life, 400 days: two figures a microsecond apart are still in order.
pub const HALF_LIFE_MAX_US: i64 = 400 * 86_400_000_000;

/// Fractional bits of a figure of merit.
const FRACTION: u32 = 32;

/// `2^(-2^-i)` for i from 1, with 64 fractional bits.
static ROOTS: [u64; 64] = {
    let mut roots = [0; 64];
    let mut square = 1_u128 << 127;
    let mut i = 0;
    while i < 64 {
        roots[i] = square.isqrt() as u64;
        square = (roots[i] as u128) << 64;
        i += 1;
    }
    roots
};

/// A figure of merit and when it was that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merit {
    value: u64,
    at_us: i64,
}

impl Merit {
    /// Adds a penalty to what is left at `time_us`, up to the ceiling.
    pub fn add(&mut self, plan: &DampingPlan, penalty: u32, time_us: i64) {
        let value = self.left(plan, time_us).saturating_add(u64::from(penalty) << FRACTION);
        *self = Self { value: value.min(plan.ceiling()), at_us: time_us };
    }

    /// Whether an entity with this figure starts to flap.
    pub fn starts(self, plan: &DampingPlan) -> bool {
        self.value >= u64::from(plan.cut) << FRACTION
    }

    /// The first microsecond at which the figure is below the reuse mark.
    pub fn reuse_us(self, plan: &DampingPlan) -> i64 {
        let reuse = u64::from(plan.reuse) << FRACTION;
        // No figure lasts longer than its bits have halves.
        let (mut before, mut after) = (0, plan.half_life_us.saturating_mul(64));
        while before < after {
            let middle = before + (after - before) / 2;
            if decayed(self.value, middle, plan.half_life_us) < reuse {
                after = middle;
            } else {
                before = middle + 1;
            }
        }
        self.at_us.saturating_add(before)
    }

    /// The figure at `time_us` in thousandths of a percent of the cut, rounded down.
    pub fn score_mpct(self, plan: &DampingPlan, time_us: i64) -> u32 {
        let cut = u128::from(plan.cut.max(1)) << FRACTION;
        u32::try_from(u128::from(self.left(plan, time_us)) * 100_000 / cut).unwrap_or(u32::MAX)
    }

    fn left(self, plan: &DampingPlan, time_us: i64) -> u64 {
        decayed(self.value, time_us.saturating_sub(self.at_us), plan.half_life_us)
    }
}

impl DampingPlan {
    /// What no figure of merit exceeds, in units of `2^-32`: `reuse * 2^(max_suppress / half_life)`,
    /// so that no entity flaps for longer than `max_suppress` after its last change.
    pub fn ceiling(&self) -> u64 {
        let half_life_us = self.half_life_us.max(1);
        let halves = (self.max_suppress_us / half_life_us).saturating_add(1);
        // 2^x is the next power of two, left to decay for the rest.
        let above = u128::from(self.reuse) << FRACTION << halves.min(64);
        let rest_us = half_life_us - self.max_suppress_us % half_life_us;
        decayed(u64::try_from(above).unwrap_or(u64::MAX), rest_us, half_life_us)
    }
}

/// `value * 2^(-elapsed / half-life)`, rounded down.
fn decayed(value: u64, elapsed_us: i64, half_life_us: i64) -> u64 {
    let (elapsed_us, half_life_us) = (elapsed_us.max(0) as u128, half_life_us.max(1) as u128);
    let halves = elapsed_us / half_life_us;
    if halves >= 64 {
        return 0;
    }
    let mut fraction = ((elapsed_us % half_life_us) << 64) / half_life_us;
    let mut factor = 1_u128 << 64;
    for root in ROOTS {
        fraction <<= 1;
        if fraction >> 64 & 1 == 1 {
            factor = (factor * u128::from(root)) >> 64;
        }
    }
    ((u128::from(value) * factor) >> 64 >> halves) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_US: i64 = 60_000_000;

    /// The values that Cisco IOS ships.
    fn cisco() -> DampingPlan {
        DampingPlan {
            half_life_us: 15 * MINUTE_US,
            cut: 2000,
            reuse: 750,
            max_suppress_us: 60 * MINUTE_US,
            down: 1000,
            up: 0,
            change: 500,
        }
    }

    fn figure(whole: u32) -> Merit {
        Merit { value: u64::from(whole) << FRACTION, at_us: 0 }
    }

    /// The figure in thousandths, rounded down.
    fn thousandths(merit: Merit) -> u64 {
        ((u128::from(merit.value) * 1000) >> FRACTION) as u64
    }

    #[test]
    fn the_roots_are_powers_of_two() {
        // 2^64 / sqrt(2) and 2^64 / sqrt(sqrt(2)), to the last bit.
        assert_eq!(ROOTS[..2], [13_043_817_825_332_782_212, 15_511_800_964_685_064_948]);
        for pair in ROOTS.windows(2) {
            let [square, root] = [pair[0], pair[1]].map(u128::from);
            assert!(root * root <= square << 64 && (root + 1) * (root + 1) > square << 64);
        }
    }

    #[test]
    fn withdrawals_every_ten_minutes_are_suppressed_at_the_third() {
        // 1000; 1000 * 2^(-2/3) + 1000; and again: 2^(-2/3) = 0.629960524947..
        let (plan, mut merit) = (cisco(), Merit::default());
        let mut after = |minute| {
            merit.add(&plan, plan.down, minute * MINUTE_US);
            (thousandths(merit), merit.starts(&plan))
        };
        assert_eq!(after(0), (1_000_000, false));
        assert_eq!(after(10), (1_629_960, false));
        assert_eq!(after(20), (2_026_810, true));
    }

    #[test]
    fn withdrawals_every_fifteen_minutes_are_never_suppressed() {
        let (plan, mut merit) = (cisco(), Merit::default());
        for round in 0..10_000 {
            merit.add(&plan, plan.down, round * 15 * MINUTE_US);
            assert!(!merit.starts(&plan), "round {round}");
        }
        assert_eq!(thousandths(merit), 1_999_999);
    }

    #[test]
    fn a_figure_is_reused_when_it_has_fallen_below_the_mark() {
        // 15 minutes * log2(figure / 750): 21.2256.., 30, 45 and 60 minutes.
        assert_eq!(figure(2000).reuse_us(&cisco()), 1_273_533_750);
        for (whole, minutes) in [(3000, 30), (6000, 45), (12_000, 60)] {
            // After exactly so long it is 750, and below it a microsecond later.
            assert_eq!(figure(whole).reuse_us(&cisco()), minutes * MINUTE_US + 1);
            assert_eq!(figure(whole).left(&cisco(), minutes * MINUTE_US), 750 << FRACTION);
        }
        let late = Merit { at_us: 7, ..figure(3000) };
        assert_eq!(late.reuse_us(&cisco()), 30 * MINUTE_US + 8);
    }

    #[test]
    fn the_reuse_is_the_first_microsecond_that_is_below() {
        for (whole, half_life_us) in [(2000, 1), (2000, 7), (5000, 1_000_003), (751, 86_400_000_000)] {
            let plan = DampingPlan { half_life_us, ..cisco() };
            let at_us = figure(whole).reuse_us(&plan);
            assert!(figure(whole).left(&plan, at_us) < 750 << FRACTION);
            assert!(figure(whole).left(&plan, at_us - 1) >= 750 << FRACTION);
        }
    }

    #[test]
    fn no_figure_exceeds_the_ceiling() {
        let plan = cisco();
        assert_eq!(plan.ceiling(), 12_000 << FRACTION);
        let mut merit = Merit::default();
        for second in 0..100 {
            merit.add(&plan, plan.down, second * 1_000_000);
        }
        assert_eq!(merit.value, 12_000 << FRACTION);
        assert_eq!(merit.reuse_us(&plan), 99_000_000 + 60 * MINUTE_US + 1);
        // 750 * 2^(1/2) = 1060.66..
        let odd = DampingPlan { max_suppress_us: 15 * MINUTE_US / 2, ..plan };
        assert_eq!(odd.ceiling() >> FRACTION, 1060);
        let none = DampingPlan { max_suppress_us: 0, ..plan };
        assert_eq!(none.ceiling(), 750 << FRACTION);
        // What no figure can hold is as much as one can.
        let endless = DampingPlan { max_suppress_us: i64::MAX, half_life_us: 1, ..plan };
        assert!(endless.ceiling() >= u64::MAX >> 1);
    }

    #[test]
    fn the_score_is_in_percent_of_the_cut() {
        assert_eq!(figure(2000).score_mpct(&cisco(), 0), 100_000);
        assert_eq!(figure(2000).score_mpct(&cisco(), 15 * MINUTE_US), 50_000);
        assert_eq!(figure(2000).score_mpct(&cisco(), i64::MAX), 0);
        assert_eq!(figure(12_000).score_mpct(&cisco(), 0), 600_000);
    }

    #[test]
    fn decay_never_rises_and_is_right_to_within_its_precision() {
        for half_life_us in [1, 3, 1_000, 900_000_000, HALF_LIFE_MAX_US] {
            for start_us in [0, half_life_us / 3, half_life_us - 20, 2 * half_life_us - 20] {
                let left = |us: i64| decayed(u64::MAX, us.max(0), half_life_us);
                assert!((start_us..start_us + 40).all(|us| left(us) >= left(us + 1)), "{half_life_us} {start_us}");
            }
        }
        // Against floats, which are right to 53 bits.
        for (elapsed_us, half_life_us) in [(1, 3), (2, 3), (999, 1000), (12_345, 1_000_007), (7, 2)] {
            let exact = 12_000.0 * (-(elapsed_us as f64) / half_life_us as f64).exp2();
            let left = decayed(12_000 << FRACTION, elapsed_us, half_life_us) as f64 / (1_u64 << FRACTION) as f64;
            assert!((left - exact).abs() < 1e-9, "{elapsed_us} / {half_life_us}: {left} {exact}");
        }
    }
}
