//! `[inhibit]`: children are quiet while their parent has a problem.

use serde::Deserialize;
use stillhouse_core::plan::InhibitPlan;
use toml::Spanned;

use crate::config::duration::Duration;
use crate::config::{Refusal, TableConfig, refuse, table};

/// `[inhibit]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inhibit {
    /// The table that says who is whose parent.
    pub table: Spanned<String>,
    /// Its column with the record key of the parent.
    pub column: Spanned<String>,
    /// How long after the recovery of the parent its children still wait (0s).
    #[serde(default)]
    pub grace: Duration,
    /// Whether every signal type takes part that does not say `inhibit = false` (yes), or only those
    /// that say `inhibit = true`.
    #[serde(default = "yes")]
    pub all: bool,
}

fn yes() -> bool {
    true
}

/// How parents are known.
pub(super) fn check(inhibit: &Inhibit, tables: &[TableConfig]) -> Result<InhibitPlan, Refusal> {
    for (name, text) in [("table", &inhibit.table), ("column", &inhibit.column)] {
        if text.get_ref().is_empty() {
            return Err(refuse(text.span(), format!("`{name}` is empty; it names the {name} that has the parents")));
        }
    }
    table::check_name(&inhibit.table, tables)?;
    Ok(InhibitPlan {
        table: inhibit.table.get_ref().as_str().into(),
        column: inhibit.column.get_ref().as_str().into(),
        grace_us: inhibit.grace.0,
    })
}

/// Whether a signal type takes part.
pub(super) fn takes_part(own: Option<&Spanned<bool>>, inhibit: Option<&Inhibit>) -> Result<bool, Refusal> {
    match (own, inhibit) {
        (Some(own), None) if *own.get_ref() => {
            let message = "`inhibit = true` without `[inhibit]`: add one with the `table` and `column` of the parents";
            Err(refuse(own.span(), message))
        }
        (own, inhibit) => Ok(own.map_or_else(|| inhibit.is_some_and(|inhibit| inhibit.all), |own| *own.get_ref())),
    }
}
