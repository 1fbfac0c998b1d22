//! `[signal.TYPE.flapping]`: which detector, and its marks.

use std::ops::Range;

use serde::Deserialize;
use stillhouse_core::flapping::damping::HALF_LIFE_MAX_US;
use stillhouse_core::plan::{DampingPlan, FlappingPlan, Weights};
use toml::Spanned;

use super::duration::Duration;
use super::{Refusal, listed, refuse};

/// `flapping`, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flapping {
    /// The detector: `nagios` (default), `icinga` or `damping`.
    #[serde(default)]
    pub by: By,
    /// Nagios: starts at this score, in percent. Icinga: starts above it (30).
    pub high: Option<f64>,
    /// Nagios, Icinga: stops at this score, in percent (Icinga: 25).
    pub low: Option<f64>,
    /// Nagios, Icinga: stops after this silence, for sources that speak only of changes.
    pub quiet: Option<Duration>,
    /// Damping: the values that are not given (`cisco`).
    pub preset: Option<Spanned<Preset>>,
    /// Damping: how long the figure of merit takes to halve.
    pub half_life: Option<Spanned<Duration>>,
    /// Damping: starts at this figure.
    pub cut: Option<Spanned<u32>>,
    /// Damping: stops below this figure.
    pub reuse: Option<Spanned<u32>>,
    /// Damping: stops so long after the last change at the latest; this bounds the figure.
    pub max_suppress: Option<Spanned<Duration>>,
    /// Damping: what a change into a problem state adds to the figure.
    pub down: Option<Spanned<u32>>,
    /// Damping: what a change into a healthy state adds.
    pub up: Option<Spanned<u32>>,
    /// Damping: what another value, or another state of the same condition, adds.
    pub change: Option<Spanned<u32>>,
}

/// `by`
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Weighted changes of the last 21 observations, as Nagios Core weighs them.
    #[default]
    Nagios,
    /// The same, as Icinga 2 weighs them.
    Icinga,
    /// A figure of merit that decays, as RFC 2439 damps routes.
    Damping,
}

/// `preset`: values in use for damping routes.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// As Cisco IOS ships: half-life 15m, cut 2000, reuse 750, at most 60m; down 1000, up 0, change 500.
    #[default]
    Cisco,
    /// As Junos ships: `cisco` with cut 3000 and up 1000.
    Juniper,
    /// The least cut that RFC 7196 recommends: `cisco` with cut 6000.
    Rfc7196,
    /// Its cut for those who want to withhold least: `cisco` with cut 12000.
    #[serde(rename = "rfc7196-calm")]
    Rfc7196Calm,
}

/// Weighted state change or damping: at most one of them.
pub type Detection = (Option<FlappingPlan>, Option<DampingPlan>);

/// Checks `flapping`.
///
/// # Errors
/// If it has keys of another detector, or marks at which flapping would never start or stop.
pub fn check(flapping: &Spanned<Flapping>) -> Result<Detection, Refusal> {
    let (file, table) = (flapping.get_ref(), flapping.span());
    let (name, weights) = match file.by {
        By::Nagios => ("nagios", Weights::Nagios),
        By::Icinga => ("icinga", Weights::Icinga),
        By::Damping => return Ok((None, Some(damping(file, &table)?))),
    };
    if let Some((key, span)) = damping_keys(file).find_map(|(key, span)| Some((key, span?))) {
        let message = format!("`{key}` is for `by = \"damping\"`; `by = \"{name}\"` has `high`, `low` and `quiet`");
        return Err(refuse(span, message));
    }
    let (high, low) = match (file.high, file.low, weights) {
        (Some(high), Some(low), _) => (high, low),
        (high, low, Weights::Icinga) => (high.unwrap_or(30.0), low.unwrap_or(25.0)),
        (high, _, Weights::Nagios) => {
            let missing = if high.is_none() { "high" } else { "low" };
            return Err(refuse(
                table,
                format!("missing field `{missing}`: a percentage, such as `high = 20, low = 5`"),
            ));
        }
    };
    if !(0.0..=100.0).contains(&high) || !(0.0..=100.0).contains(&low) {
        return Err(refuse(table, "`high` and `low` are percentages, from 0 to 100"));
    }
    if low > high {
        let message = format!(
            "`low` ({low}) is above `high` ({high}): flapping would stop before it starts; did you mean `high = {low}, low = {high}`?"
        );
        return Err(refuse(table, message));
    }
    if high == 0.0 {
        return Err(refuse(table, "`high` must be more than 0: at 0 everything flaps"));
    }
    let mpct = |percent: f64| (percent * 1000.0).round() as u32;
    let quiet_us = file.quiet.map(|quiet| quiet.0);
    Ok((Some(FlappingPlan { weights, high_mpct: mpct(high), low_mpct: mpct(low), quiet_us }), None))
}

fn damping(file: &Flapping, table: &Range<usize>) -> Result<DampingPlan, Refusal> {
    let weighted = [("high", file.high.is_some()), ("low", file.low.is_some()), ("quiet", file.quiet.is_some())];
    if let Some((key, _)) = weighted.iter().find(|(_, given)| *given) {
        let keys = ["preset", "half_life", "cut", "reuse", "max_suppress", "down", "up", "change"];
        let message =
            format!("`{key}` is for `by = \"nagios\"` and `\"icinga\"`; `by = \"damping\"` has {}", listed(&keys));
        return Err(refuse(table.clone(), message));
    }
    let preset = preset(file.preset.as_ref().map(|preset| *preset.get_ref()).unwrap_or_default());
    let number = |given: &Option<Spanned<u32>>, default| given.as_ref().map_or(default, |number| *number.get_ref());
    let us =
        |given: &Option<Spanned<Duration>>, default| given.as_ref().map_or(default, |duration| duration.get_ref().0);
    let plan = DampingPlan {
        half_life_us: us(&file.half_life, preset.half_life_us),
        cut: number(&file.cut, preset.cut),
        reuse: number(&file.reuse, preset.reuse),
        max_suppress_us: us(&file.max_suppress, preset.max_suppress_us),
        down: number(&file.down, preset.down),
        up: number(&file.up, preset.up),
        change: number(&file.change, preset.change),
    };
    let given = |key: &str| damping_keys(file).find_map(|(name, span)| span.filter(|_| name == key));
    let at = |keys: &[&str]| keys.iter().find_map(|key| given(key)).unwrap_or_else(|| table.clone());
    if !(1..=HALF_LIFE_MAX_US).contains(&plan.half_life_us) {
        return Err(refuse(at(&["half_life"]), "`half_life` must be more than 0 and at most `400d`"));
    }
    if plan.reuse == 0 {
        return Err(refuse(at(&["reuse"]), "`reuse` must be at least 1: no figure of merit falls below 0"));
    }
    let DampingPlan { cut, reuse, .. } = plan;
    if reuse >= cut {
        let message = format!(
            "`reuse` ({reuse}) is not below `cut` ({cut}): flapping would stop before it starts; \
             the preset has `cut = {}, reuse = {}`",
            preset.cut, preset.reuse
        );
        return Err(refuse(at(&["reuse", "cut"]), message));
    }
    let ceiling = plan.ceiling();
    if u64::from(cut) << 32 > ceiling {
        let message = format!(
            "`cut` ({cut}) is above {}, the highest figure of merit that there can be \
             (`reuse` * 2^(`max_suppress` / `half_life`)): nothing would ever flap; \
             lower `cut`, or raise `max_suppress` or `reuse`",
            ceiling >> 32
        );
        return Err(refuse(at(&["cut", "max_suppress", "reuse", "half_life"]), message));
    }
    if plan.down == 0 && plan.up == 0 && plan.change == 0 {
        let message = "one of `down`, `up` and `change` must be more than 0: nothing would ever flap";
        return Err(refuse(at(&["down", "up", "change"]), message));
    }
    Ok(plan)
}

fn preset(preset: Preset) -> DampingPlan {
    const MINUTE_US: i64 = 60_000_000;
    let cisco = DampingPlan {
        half_life_us: 15 * MINUTE_US,
        cut: 2000,
        reuse: 750,
        max_suppress_us: 60 * MINUTE_US,
        down: 1000,
        up: 0,
        change: 500,
    };
    match preset {
        Preset::Cisco => cisco,
        Preset::Juniper => DampingPlan { cut: 3000, up: 1000, ..cisco },
        Preset::Rfc7196 => DampingPlan { cut: 6000, ..cisco },
        Preset::Rfc7196Calm => DampingPlan { cut: 12_000, ..cisco },
    }
}

/// The keys of damping, and where each is given.
fn damping_keys(file: &Flapping) -> impl Iterator<Item = (&'static str, Option<Range<usize>>)> {
    let number = |given: &Option<Spanned<u32>>| given.as_ref().map(Spanned::span);
    let duration = |given: &Option<Spanned<Duration>>| given.as_ref().map(Spanned::span);
    [
        ("preset", file.preset.as_ref().map(Spanned::span)),
        ("half_life", duration(&file.half_life)),
        ("cut", number(&file.cut)),
        ("reuse", number(&file.reuse)),
        ("max_suppress", duration(&file.max_suppress)),
        ("down", number(&file.down)),
        ("up", number(&file.up)),
        ("change", number(&file.change)),
    ]
    .into_iter()
}
