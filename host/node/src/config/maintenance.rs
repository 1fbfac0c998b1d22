//! `[[maintenance]]`: times of planned work, of which suppressors are told.

use serde::Deserialize;
use stillhouse_core::plan::MaintenancePlan;
use toml::Spanned;

use crate::config::{Refusal, refuse};

/// `[[maintenance]]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// The record keys; `*` stands for any text.
    pub keys: Spanned<String>,
    /// Its first moment, in RFC 3339.
    pub from: Spanned<String>,
    /// The first moment after it, in RFC 3339.
    pub to: Spanned<String>,
}

/// One time of maintenance.
pub(super) fn check(maintenance: &Maintenance) -> Result<MaintenancePlan, Refusal> {
    let Maintenance { keys, from, to } = maintenance;
    if keys.get_ref().is_empty() {
        return Err(refuse(keys.span(), "`keys` is empty: expected a pattern of record keys such as `db-*`, or `*`"));
    }
    let (from_us, to_us) = (time_us("from", from)?, time_us("to", to)?);
    if to_us <= from_us {
        let message = format!("`to` ({}) is not after `from` ({})", to.get_ref(), from.get_ref());
        return Err(refuse(to.span(), message));
    }
    Ok(MaintenancePlan { keys: keys.get_ref().as_str().into(), from_us, to_us })
}

fn time_us(name: &str, text: &Spanned<String>) -> Result<i64, Refusal> {
    let time = text.get_ref().parse::<jiff::Timestamp>();
    time.map(|time| time.as_microsecond()).map_err(|error| {
        let message = format!(
            "`{name}` is a time with its offset such as `2026-03-01T02:00:00Z`, got `{}`: {error}",
            text.get_ref()
        );
        refuse(text.span(), message)
    })
}
