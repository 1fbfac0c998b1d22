//! The oracle of levels with fixed bounds: what a number says of an entity.

use stillhouse_core::level::{Bounds, LevelPlan, Side};
use stillhouse_core::plan::TypePlan;
use stillhouse_core::rule::Condition;

use crate::stream::Signal;

/// On which side an entity is that was on `before`, by `signal`; `None` if that is no number.
pub fn side(plan: &LevelPlan, before: Side, signal: &Signal) -> Option<Side> {
    let value = signal.value.trim().parse::<f64>().ok().filter(|value| value.is_finite())?;
    let Bounds::Fixed { high, low } = &plan.bounds else { panic!("the model knows no history") };
    let is_high = high.is_some_and(|high| value > high.enter || before == Side::High && value > high.leave);
    let is_low = low.is_some_and(|low| value < low.enter || before == Side::Low && value < low.leave);
    Some(match (is_high, is_low) {
        (true, _) => Side::High,
        (_, true) => Side::Low,
        _ => Side::Normal,
    })
}

/// What the signal says once its side is known.
pub fn on(plan: &TypePlan, level: &LevelPlan, side: Side, signal: &Signal) -> Signal {
    let state = match side {
        Side::Normal => level.normal,
        Side::High => level.high,
        Side::Low => level.low,
    };
    let is_problem = plan.condition(state) == Condition::Problem;
    let severity = if is_problem { signal.severity.max(level.severity) } else { signal.severity };
    Signal { state, severity, ..signal.clone() }
}
