//! `[signal.TYPE.flood]`: how many events may leave at a time.

use serde::Deserialize;
use stillhouse_core::plan::FloodPlan;
use toml::Spanned;

use crate::config::duration::Duration;
use crate::config::{Refusal, refuse};

/// `[signal.TYPE.flood]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flood {
    /// How many of the type may leave in each window of event time.
    pub max: Option<Spanned<u32>>,
    /// How many of each source of the type.
    pub per_source: Option<Spanned<u32>>,
    /// How long a window is.
    pub per: Spanned<Duration>,
}

/// The limits of a type.
pub(super) fn check(flood: &Spanned<Flood>) -> Result<FloodPlan, Refusal> {
    let Flood { max, per_source, per } = flood.get_ref();
    if max.is_none() && per_source.is_none() {
        let message = "`flood` needs a limit: `max` for the signal type, `per_source` for each of its sources, or both";
        return Err(refuse(flood.span(), message));
    }
    for (name, limit) in [("max", max), ("per_source", per_source)] {
        if let Some(limit) = limit.as_ref().filter(|limit| *limit.get_ref() == 0) {
            let message = format!("`{name}` must be at least 1: at 0 nothing leaves before `suppress_max`");
            return Err(refuse(limit.span(), message));
        }
    }
    if per.get_ref().0 == 0 {
        return Err(refuse(per.span(), "`per` is the length of a window, such as `1m`; it must be more than 0"));
    }
    let limit = |limit: &Option<Spanned<u32>>| limit.as_ref().map(|limit| *limit.get_ref());
    Ok(FloodPlan { max: limit(max), per_source: limit(per_source), per_us: per.get_ref().0 })
}
