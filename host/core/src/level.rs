//! Levels: a number decides the state of its entity, by bounds with hysteresis.
//!
//! Bounds are fixed, or relative to what is usual for the entity: the range of its own history.
//! Before it is compared, a value may be smoothed; so it counts for as much as it lasts. Only `+`,
//! `-`, `*`, `/` and comparisons of `f64` are used: the result is the same on every machine.
//!
//! Smoothing is simple exponential smoothing (R. G. Brown, 1956) for samples at irregular times, as
//! a low-pass filter of first order by backward differences: `s += (x - s) * dt / (smooth + dt)`.
//! The usual range is the channel between the greatest and the least smoothed value of a moving
//! window, a breakout from which is the signal (R. Donchian's channel rule): unlike a mean with
//! deviations it asks nothing of how values are distributed, and a peak that comes every day is
//! usual. While the entity is beyond the range, values are set aside, so that trouble does not become
//! usual; what lasts for `adapt_us` does.

use std::collections::VecDeque;

use crate::block::fingerprint;
use crate::entity::Observation;
use crate::plan::TypePlan;
use crate::rule::Condition;
use serde::{Deserialize, Serialize};

/// Into how many slices a history is divided: it is forgotten slice by slice.
pub const SLICES: usize = 64;

/// How numbers become states.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LevelPlan {
    /// Code of the state between the bounds.
    pub normal: u8,
    /// Code of the state above.
    pub high: u8,
    /// Code of the state below.
    pub low: u8,
    /// The severity of an observation above or below, unless the mapper says more.
    pub severity: u8,
    /// The time constant of smoothing; 0 for none.
    pub smooth_us: i64,
    /// Above and below what.
    pub bounds: Bounds,
}

/// Above and below what an entity is not normal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bounds {
    /// The same numbers for every entity and at all times.
    Fixed {
        /// Above.
        high: Option<Bound>,
        /// Below.
        low: Option<Bound>,
    },
    /// Relative to the usual range of the entity.
    Usual(UsualPlan),
}

/// A bound with hysteresis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// A value beyond this is no longer normal.
    pub enter: f64,
    /// A value that is not beyond this is normal again; what is between the two changes nothing.
    pub leave: f64,
}

/// What is usual for an entity: the range of its smoothed values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UsualPlan {
    /// How long a value counts. It is forgotten with its slice, a 64th of this.
    pub history_us: i64,
    /// How long an entity is observed before anything is unusual.
    pub learn_us: i64,
    /// What lasts for so long is usual from then on.
    pub adapt_us: i64,
    /// How far beyond the range is unusual, in parts of its width.
    pub over: f64,
    /// How far beyond the range is usual again, in parts of its width; not more than `over`.
    pub clear: f64,
    /// The least width of the range, in parts of its end that is further from 0.
    pub floor: f64,
    /// Whether too high is looked for.
    pub high: bool,
    /// Whether too low is looked for.
    pub low: bool,
}

/// On which side of its bounds an entity is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// Between them.
    #[default]
    Normal,
    /// Above.
    High,
    /// Below.
    Low,
}

/// What is remembered of the numbers of one entity: a few of them, or with bounds relative to the
/// usual at most twice [`SLICES`] slices.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Level {
    side: Side,
    smoothed: f64,
    last_us: Option<i64>,
    usual: Usual,
}

impl Level {
    /// What `seen` says by its number. `None` if it has none, or one that is not finite. The end of
    /// an entity is said by the mapper.
    pub fn read<'a>(&mut self, plan: &TypePlan, level: &LevelPlan, seen: &Observation<'a>) -> Option<Observation<'a>> {
        if plan.condition(seen.state) == Condition::Gone {
            return Some(*seen);
        }
        let value = seen.value.trim().parse().ok().filter(|value: &f64| value.is_finite())?;
        let state = match self.observe(level, seen.time_us, value) {
            Side::Normal => level.normal,
            Side::High => level.high,
            Side::Low => level.low,
        };
        let least = if plan.condition(state) == Condition::Problem { level.severity } else { 0 };
        Some(Observation { state, severity: seen.severity.max(least), fingerprint: fingerprint(state, b""), ..*seen })
    }

    /// Whether it has taken in a number.
    pub fn is_known(&self) -> bool {
        self.last_us.is_some()
    }

    /// Takes in the next value and tells on which side of its bounds the entity is now.
    pub fn observe(&mut self, plan: &LevelPlan, time_us: i64, value: f64) -> Side {
        self.smooth(plan.smooth_us, time_us, value);
        match plan.bounds {
            Bounds::Fixed { high, low } => self.side = side(self.side, self.smoothed, high, low),
            Bounds::Usual(usual) => {
                let (high, low) = self.usual.bounds(&usual, time_us);
                if self.side == Side::Normal {
                    self.usual.left_us = time_us;
                }
                self.side = side(self.side, self.smoothed, high, low);
                let adapted = time_us.saturating_sub(self.usual.left_us) >= usual.adapt_us;
                self.usual.learn(&usual, time_us, self.smoothed, self.side, adapted);
            }
        }
        self.side
    }

    fn smooth(&mut self, smooth_us: i64, time_us: i64, value: f64) {
        let before_us = self.last_us.replace(time_us);
        match before_us {
            Some(before_us) if smooth_us > 0 => {
                // Not negative, and exact far beyond any calendar.
                let passed_us = time_us.saturating_sub(before_us) as f64;
                self.smoothed += (value - self.smoothed) * (passed_us / (smooth_us as f64 + passed_us));
            }
            _ => self.smoothed = value,
        }
    }
}

fn side(before: Side, value: f64, high: Option<Bound>, low: Option<Bound>) -> Side {
    if high.is_some_and(|bound| value > bound.enter) {
        Side::High
    } else if low.is_some_and(|bound| value < bound.enter) {
        Side::Low
    } else {
        let stays = match before {
            Side::Normal => true,
            Side::High => high.is_some_and(|bound| value > bound.leave),
            Side::Low => low.is_some_and(|bound| value < bound.leave),
        };
        if stays { before } else { Side::Normal }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Usual {
    /// Since when it is learned what is usual.
    since_us: Option<i64>,
    /// When the entity was last seen to be normal, or left that.
    left_us: i64,
    known: Range,
    /// What may become usual.
    aside: Range,
}

impl Usual {
    /// The bounds at `time_us`; none while it is being learned what is usual.
    fn bounds(&mut self, plan: &UsualPlan, time_us: i64) -> (Option<Bound>, Option<Bound>) {
        self.known.forget(slice_at(plan, time_us));
        let since_us = self.since_us.filter(|_| !self.known.slices.is_empty());
        // After a silence that is longer than the history, all is learned anew.
        let since_us = *self.since_us.insert(since_us.unwrap_or(time_us));
        if time_us.saturating_sub(since_us) < plan.learn_us || self.known.slices.is_empty() {
            return (None, None);
        }
        let (least, greatest) = (self.known.least, self.known.greatest);
        let width = (greatest - least).max(plan.floor * greatest.abs().max(least.abs()));
        let high = Bound { enter: greatest + plan.over * width, leave: greatest + plan.clear * width };
        let low = Bound { enter: least - plan.over * width, leave: least - plan.clear * width };
        (plan.high.then_some(high), plan.low.then_some(low))
    }

    fn learn(&mut self, plan: &UsualPlan, time_us: i64, value: f64, side: Side, adapted: bool) {
        let slice = slice_at(plan, time_us);
        if side == Side::Normal {
            self.aside = Range::default();
            self.known.add(Slice { at: slice, least: value, greatest: value });
            return;
        }
        self.aside.forget(slice);
        self.aside.add(Slice { at: slice, least: value, greatest: value });
        if adapted {
            // Nothing was learned since it left, so these slices follow those that are known.
            std::mem::take(&mut self.aside).slices.into_iter().for_each(|slice| self.known.add(slice));
        }
    }
}

fn slice_at(plan: &UsualPlan, time_us: i64) -> i64 {
    time_us.div_euclid((plan.history_us / SLICES as i64).max(1))
}

/// The range of the values of a moving window.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Range {
    /// Oldest first.
    slices: VecDeque<Slice>,
    least: f64,
    greatest: f64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Slice {
    at: i64,
    least: f64,
    greatest: f64,
}

impl Range {
    /// Forgets what is older than the [`SLICES`] slices up to `now`.
    fn forget(&mut self, now: i64) {
        let before = self.slices.len();
        while self.slices.front().is_some_and(|slice| slice.at <= now - SLICES as i64) {
            self.slices.pop_front();
        }
        if let Some(&first) = self.slices.front().filter(|_| self.slices.len() < before) {
            (self.least, self.greatest) = (first.least, first.greatest);
            for slice in &self.slices {
                self.least = self.least.min(slice.least);
                self.greatest = self.greatest.max(slice.greatest);
            }
        }
    }

    /// Adds what is not older than what is there.
    fn add(&mut self, slice: Slice) {
        if self.slices.is_empty() {
            (self.least, self.greatest) = (slice.least, slice.greatest);
        }
        self.least = self.least.min(slice.least);
        self.greatest = self.greatest.max(slice.greatest);
        match self.slices.back_mut().filter(|last| last.at == slice.at) {
            Some(last) => {
                last.least = last.least.min(slice.least);
                last.greatest = last.greatest.max(slice.greatest);
            }
            None => self.slices.push_back(slice),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXED: LevelPlan = LevelPlan {
        normal: 0,
        high: 1,
        low: 2,
        severity: 1,
        smooth_us: 0,
        bounds: Bounds::Fixed {
            high: Some(Bound { enter: 90.0, leave: 80.0 }),
            low: Some(Bound { enter: 10.0, leave: 20.0 }),
        },
    };

    const USUAL: UsualPlan = UsualPlan {
        history_us: 6400,
        learn_us: 200,
        adapt_us: 1000,
        over: 0.5,
        clear: 0.0,
        floor: 0.0,
        high: true,
        low: true,
    };

    fn relative(usual: UsualPlan) -> LevelPlan {
        LevelPlan { bounds: Bounds::Usual(usual), ..FIXED }
    }

    fn sides(plan: &LevelPlan, values: &[(i64, f64)]) -> String {
        let mut level = Level::default();
        let mut letter = |&(time_us, value): &(i64, f64)| match level.observe(plan, time_us, value) {
            Side::Normal => '-',
            Side::High => 'H',
            Side::Low => 'L',
        };
        values.iter().map(&mut letter).collect()
    }

    fn every(step_us: i64, values: &[f64]) -> Vec<(i64, f64)> {
        values.iter().enumerate().map(|(at, &value)| (at as i64 * step_us, value)).collect()
    }

    #[test]
    fn between_enter_and_leave_nothing_changes() {
        let values = [50.0, 90.0, 90.1, 85.0, 80.1, 80.0, 85.0, 10.0, 9.9, 15.0, 19.9, 20.0, 95.0, 5.0, 85.0];
        assert_eq!(sides(&FIXED, &every(1, &values)), "--HHH---LLL-HL-");
    }

    #[test]
    fn one_bound_for_both_has_no_gap() {
        let bounds = Bounds::Fixed { high: Some(Bound { enter: 1.0, leave: 1.0 }), low: None };
        assert_eq!(sides(&LevelPlan { bounds, ..FIXED }, &every(1, &[1.0, 1.5, 1.0, -9.0])), "-H--");
    }

    #[test]
    fn smoothing_gives_a_value_the_weight_of_its_time() {
        let plan = LevelPlan { smooth_us: 100, ..FIXED };
        // Each step of 100 us goes half of the way to 100: 50, 75, 87.5, 93.75, and back.
        let values = [0.0, 100.0, 100.0, 100.0, 100.0, 0.0, 0.0];
        assert_eq!(sides(&plan, &every(100, &values)), "L---H--");
        // A value of no time has no weight; one after a long time has all.
        assert_eq!(sides(&plan, &[(0, 50.0), (0, 1000.0), (1_000_000, 95.0)]), "--H");
    }

    #[test]
    fn nothing_is_unusual_while_it_is_learned() {
        let plan = relative(USUAL);
        assert_eq!(sides(&plan, &every(66, &[0.0, 10.0, 99.0, -99.0])), "----");
        assert_eq!(sides(&plan, &every(100, &[0.0, 10.0, 15.0, -7.5])), "----");
        assert_eq!(sides(&plan, &every(100, &[0.0, 10.0, 5.0, 15.0])), "----");
        assert_eq!(sides(&plan, &every(100, &[0.0, 10.0, 5.0, 15.1])), "---H");
        assert_eq!(sides(&plan, &every(100, &[0.0, 10.0, 5.0, -5.1])), "---L");
    }

    #[test]
    fn trouble_does_not_become_usual_until_it_has_lasted() {
        let plan = relative(USUAL);
        let mut values = vec![0.0, 10.0, 5.0];
        values.extend([20.0; 9]);
        assert_eq!(sides(&plan, &every(100, &[values.as_slice(), &[10.0, 20.0]].concat())), "---HHHHHHHHH-H");
        // The tenth step after the first is the 1000 us; the one after it finds it usual.
        values.extend([20.0, 20.0, 20.0, 10.0, 20.0]);
        assert_eq!(sides(&plan, &every(100, &values)), "---HHHHHHHHHHH---");
    }

    #[test]
    fn what_is_older_than_the_history_is_forgotten() {
        let plan = relative(USUAL);
        let quiet: Vec<f64> = (0..64).map(|at| f64::from(at % 2)).collect();
        let values = [&[0.0, 100.0], quiet.as_slice()].concat();
        // The slice of 100 us with the peak is at 1; at 64 it still counts, at 65 it does not.
        let with = |at: usize| {
            let mut values = values[..at].to_vec();
            values.push(50.0);
            sides(&plan, &every(100, &values)).pop()
        };
        assert_eq!((with(64), with(65)), (Some('-'), Some('H')));
    }

    #[test]
    fn after_a_long_silence_all_is_learned_anew() {
        let plan = relative(USUAL);
        let values = [(0, 0.0), (100, 10.0), (200, 5.0), (10_000, 99.0), (10_100, 0.0), (10_200, 200.0)];
        assert_eq!(sides(&plan, &values), "-----H");
        assert_eq!(sides(&plan, &values[..5]), "-----");
    }

    #[test]
    fn a_range_without_width_has_the_floor() {
        let plan = relative(UsualPlan { floor: 0.1, ..USUAL });
        let after = |value| sides(&plan, &every(100, &[-100.0, -100.0, -100.0, value])).pop();
        assert_eq!((after(-95.0), after(-94.9), after(-105.1)), (Some('-'), Some('H'), Some('L')));
    }

    #[test]
    fn memory_is_bounded() {
        let plan = relative(UsualPlan { adapt_us: 1_000_000, ..USUAL });
        let mut level = Level::default();
        let mut most = (0, 0);
        for at in 0..10_000_i64 {
            level.observe(&plan, at * 50, if at < 1000 { 1.0 } else { at as f64 });
            most.0 = most.0.max(level.usual.known.slices.len());
            most.1 = most.1.max(level.usual.aside.slices.len());
        }
        // With the 64th slice aside, the last that was known is forgotten, and all is learned anew.
        assert_eq!(most, (SLICES, SLICES - 1));
    }
}
