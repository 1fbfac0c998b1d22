//! `[signal.TYPE.level]`: bounds on a number, fixed or relative to what is usual for its entity.

use std::ops::Range;

use serde::Deserialize;
use stillhouse_core::level::{Bound, Bounds, LevelPlan, UsualPlan};
use stillhouse_core::rule::{Condition, State};
use toml::Spanned;

use super::duration::Duration;
use super::schema::{Mode, Severity};
use super::{Refusal, did_you_mean, listed, refuse};

/// `level`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// More than this is high.
    pub over: Option<f64>,
    /// At this or less it is no longer high (`over`).
    pub clear: Option<f64>,
    /// Less than this is low.
    pub under: Option<f64>,
    /// At this or more it is no longer low (`under`).
    pub clear_under: Option<f64>,
    /// Bounds relative to what is usual for the entity, instead.
    pub relative: Option<Relative>,
    /// The time constant of smoothing before the value is compared (none).
    pub smooth: Option<Duration>,
    /// The mapper's state above (`high`).
    pub high: Option<Spanned<String>>,
    /// The mapper's state between the bounds (`normal`).
    pub normal: Option<Spanned<String>>,
    /// The mapper's state below (`low`).
    pub low: Option<Spanned<String>>,
    /// The severity of a problem, unless the mapper says more (warning).
    pub severity: Option<Severity>,
}

/// `relative`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relative {
    /// How long a value counts for what is usual (7d).
    pub history: Option<Duration>,
    /// How long an entity is observed before anything is unusual (a quarter of the history).
    pub learn: Option<Duration>,
    /// What lasts for so long is usual from then on (a quarter of the history).
    pub adapt: Option<Duration>,
    /// How far beyond the range of its history a value is unusual, in percent of its width (15).
    #[serde(default = "over")]
    pub over: f64,
    /// How far beyond it is usual again, in percent of its width (0).
    #[serde(default)]
    pub clear: f64,
    /// The least width of the range, in percent of its end that is further from 0 (1).
    #[serde(default = "floor")]
    pub floor: f64,
    /// What is looked for (both).
    #[serde(default)]
    pub sides: Sides,
}

fn over() -> f64 {
    15.0
}

fn floor() -> f64 {
    1.0
}

/// `sides`
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Sides {
    /// Too high and too low.
    #[default]
    Both,
    /// Too high only.
    High,
    /// Too low only.
    Low,
}

const HISTORY_US: i64 = 7 * 86_400_000_000;

/// Refuses what makes no sense, whatever the mapper.
pub(super) fn check(file: &Spanned<Level>, mode: Mode) -> Result<(), Refusal> {
    let (span, level) = (file.span(), file.get_ref());
    if mode != Mode::State {
        let message = format!(
            "`level` is about states that last; `mode = \"{}\"` has none: leave one of the two out",
            mode.name()
        );
        return Err(refuse(span, message));
    }
    if matches!(level.severity, Some(Severity::Never)) {
        return Err(refuse(span, "`severity`: expected `info`, `warning`, `error` or `critical`, got `never`"));
    }
    let fixed =
        [("over", level.over), ("clear", level.clear), ("under", level.under), ("clear_under", level.clear_under)];
    if let Some((key, Some(number))) = fixed.iter().find(|(_, number)| number.is_some_and(|number| !number.is_finite()))
    {
        return Err(refuse(span, format!("`{key}`: expected a number, got {number}")));
    }
    if let Some(relative) = &level.relative {
        if let Some((key, _)) = fixed.iter().find(|(_, number)| number.is_some()) {
            let message = format!(
                "`{key}` is a fixed bound and `relative` asks for bounds relative to what is usual: leave one of the \
                 two out; inside `relative`, `over` and `clear` are percentages"
            );
            return Err(refuse(span, message));
        }
        return check_relative(&span, relative);
    }
    check_fixed(&span, level)
}

fn check_fixed(span: &Range<usize>, level: &Level) -> Result<(), Refusal> {
    let refused = |message: String| Err(refuse(span.clone(), message));
    match (level.over, level.clear) {
        (None, Some(_)) => return refused("`clear` without `over`".into()),
        (Some(over), Some(clear)) if clear > over => {
            return refused(format!("`clear` ({clear}) is above `over` ({over}): what is high would be normal"));
        }
        _ => {}
    }
    match (level.under, level.clear_under) {
        (None, Some(_)) => return refused("`clear_under` without `under`".into()),
        (Some(under), Some(clear)) if clear < under => {
            return refused(format!("`clear_under` ({clear}) is below `under` ({under}): what is low would be normal"));
        }
        _ => {}
    }
    match (level.over, level.under) {
        (None, None) => {
            let message = "no bounds: add `over = ..`, `under = ..`, or `relative = {}` for bounds relative to what is \
                           usual for each entity";
            refused(message.into())
        }
        (Some(over), Some(under)) => {
            let (clear, clear_under) = (level.clear.unwrap_or(over), level.clear_under.unwrap_or(under));
            if under >= over || clear_under > over || clear < under {
                return refused(format!(
                    "`under` ({under}, clear {clear_under}) and `over` ({over}, clear {clear}) overlap: nothing would \
                     be normal"
                ));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn check_relative(span: &Range<usize>, relative: &Relative) -> Result<(), Refusal> {
    let refused = |message: String| Err(refuse(span.clone(), message));
    let percentages = [("over", relative.over), ("clear", relative.clear), ("floor", relative.floor)];
    if let Some((key, number)) = percentages.iter().find(|(_, number)| !(0.0..=1e6).contains(number)) {
        return refused(format!("`{key}`: expected a percentage from 0 to 1000000, got {number}"));
    }
    if relative.clear > relative.over {
        return refused(format!(
            "`clear` ({}) is above `over` ({}): what is unusual would be usual",
            relative.clear, relative.over
        ));
    }
    let (history_us, learn_us, adapt_us) = times_us(relative);
    for (key, us) in [("history", history_us), ("learn", learn_us), ("adapt", adapt_us)] {
        if us == 0 {
            return refused(format!("`{key}` must be more than 0"));
        }
        if us > history_us {
            return refused(format!("`{key}` is longer than `history`: it would be forgotten before it is known"));
        }
    }
    Ok(())
}

fn times_us(relative: &Relative) -> (i64, i64, i64) {
    let history_us = relative.history.map_or(HISTORY_US, |history| history.0);
    let or_quarter = |given: Option<Duration>| given.map_or(history_us / 4, |given| given.0);
    (history_us, or_quarter(relative.learn), or_quarter(relative.adapt))
}

/// The plan, now that the states of the mapper are known.
pub(super) fn plan(file: &Spanned<Level>, mapper: &str, states: &[State]) -> Result<LevelPlan, Refusal> {
    let level = file.get_ref();
    let bound = |enter: Option<f64>, leave: Option<f64>| {
        let bound = |enter| Bound { enter, leave: leave.unwrap_or(enter) };
        enter.map(bound)
    };
    let bounds = match &level.relative {
        None => Bounds::Fixed { high: bound(level.over, level.clear), low: bound(level.under, level.clear_under) },
        Some(relative) => {
            let (history_us, learn_us, adapt_us) = times_us(relative);
            Bounds::Usual(UsualPlan {
                history_us,
                learn_us,
                adapt_us,
                over: relative.over / 100.0,
                clear: relative.clear / 100.0,
                floor: relative.floor / 100.0,
                high: relative.sides != Sides::Low,
                low: relative.sides != Sides::High,
            })
        }
    };
    let (uses_high, uses_low) = match &bounds {
        Bounds::Fixed { high, low } => (high.is_some(), low.is_some()),
        Bounds::Usual(usual) => (usual.high, usual.low),
    };
    let code = |key: &str, named: &Option<Spanned<String>>| {
        let name = named.as_ref().map_or(key, |name| name.get_ref());
        let found = states.iter().position(|state| state.name == name && state.condition != Condition::Gone);
        found.map(|code| code as u8).ok_or_else(|| {
            let known = states.iter().filter(|state| state.condition != Condition::Gone);
            let known: Vec<&str> = known.map(|state| state.name.as_str()).collect();
            let message = format!(
                "`level` needs a state for `{key}`, and `{name}` is none of mapper `{mapper}`; it has {}{}; name one \
                 with `{key} = \"..\"`",
                listed(&known),
                did_you_mean(name, &known)
            );
            refuse(named.as_ref().map_or_else(|| file.span(), Spanned::span), message)
        })
    };
    let normal = code("normal", &level.normal)?;
    Ok(LevelPlan {
        normal,
        high: if uses_high { code("high", &level.high)? } else { normal },
        low: if uses_low { code("low", &level.low)? } else { normal },
        severity: level.severity.map_or(1, |severity| severity as u8),
        smooth_us: level.smooth.map_or(0, |smooth| smooth.0),
        bounds,
    })
}
