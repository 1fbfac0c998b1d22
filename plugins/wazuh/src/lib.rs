//! Alerts of Wazuh and OSSEC: one entity for each rule and source address.
//!
//! An alert says that something was seen, never that it is over: bind this rule to a window, or to
//! `mode = "occurrence"` with `dedupe`. The address is `data.srcip`, as decoders of logs write it, or
//! `data.src_ip`, as network sensors (Suricata) do; an alert without one is about its rule alone.
//!
//! The level of the rule (0 to 16) sets the severity as the Wazuh dashboard groups it: under 7 info,
//! from 7 warning, from 12 error, from 15 critical. Setting `level_min` (default 0) drops what is
//! lower.

use stillhouse_sdk::prelude::*;

#[derive(Signal)]
struct Alert<'a> {
    /// Which rule fired.
    #[field("data.rule.id")]
    rule: &'a str,
    /// How much its author thinks of it.
    #[field("data.rule.level")]
    level: i64,
    /// Where it came from.
    #[field("data.data.srcip")]
    source: Option<&'a str>,
    /// The same, in the words of a network sensor.
    #[field("data.data.src_ip")]
    sensor_source: Option<&'a str>,
}

#[derive(States, Clone, Copy)]
enum Alarm {
    #[problem]
    Alert,
}

/// Lower levels are dropped.
pub struct LevelMin(i64);

/// Of the ruleset: 0 is ignored, 16 is reserved.
const LEVEL_MAX: i64 = 16;

impl Settings for LevelMin {
    fn read(settings: &[(String, String)]) -> Result<Self, String> {
        let mut level_min = 0;
        for (name, value) in settings {
            if name != "level_min" {
                return Err(format!("unknown setting `{name}`: this rule has `level_min`"));
            }
            let level = value.trim().parse().ok().filter(|level| (0..=LEVEL_MAX).contains(level));
            level_min = level.ok_or_else(|| {
                format!("setting `level_min`: expected a whole number from 0 to {LEVEL_MAX}, got `{value}`")
            })?;
        }
        Ok(LevelMin(level_min))
    }
}

fn map<'a>(alert: Alert<'a>, level_min: &LevelMin) -> Mapped<'a, Alarm> {
    if alert.level < level_min.0 {
        return dropped("below level_min");
    }
    let severity = match alert.level {
        ..7 => Severity::Info,
        7..12 => Severity::Warning,
        12..15 => Severity::Error,
        15.. => Severity::Critical,
    };
    let source = alert.source.or(alert.sensor_source).filter(|source| !source.is_empty());
    match source {
        Some(source) => observe(Alarm::Alert, [alert.rule, source]),
        None => observe(Alarm::Alert, alert.rule),
    }
    .severity(severity)
}

fn cases() -> Vec<Case> {
    let of = |level| [("data.rule.id", "5763"), ("data.rule.level", level), ("data.data.srcip", "203.0.113.7")];
    let alert = |name: &str, level| case(name, &of(level)).observes("alert", "5763/203.0.113.7");
    let sensor = [("data.rule.id", "86601"), ("data.rule.level", "3"), ("data.data.src_ip", "203.0.113.7")];
    vec![
        alert("the lowest", "0").severity(Severity::Info),
        alert("just under a warning", "6").severity(Severity::Info),
        alert("a warning", "7").severity(Severity::Warning),
        alert("just under an error", "11").severity(Severity::Warning),
        alert("an error", "12").severity(Severity::Error),
        alert("critical", "15").severity(Severity::Critical),
        case("an alert of a network sensor", &sensor).observes("alert", "86601/203.0.113.7").severity(Severity::Info),
        case("an alert without an address", &[("data.rule.id", "52507"), ("data.rule.level", "3")])
            .observes("alert", "52507")
            .severity(Severity::Info),
        case("an empty address", &[("data.rule.id", "2501"), ("data.rule.level", "5"), ("data.data.srcip", "")])
            .observes("alert", "2501")
            .severity(Severity::Info),
        case("no rule", &[("data.rule.level", "5")]).rejects("missing data.rule.id"),
        case("no level", &[("data.rule.id", "5763")]).rejects("missing data.rule.level"),
    ]
}

mapper! {
    name: "wazuh",
    version: env!("CARGO_PKG_VERSION"),
    schema: 1,
    states: Alarm,
    settings: LevelMin,
    map: map,
    cases: cases,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<LevelMin, String> {
        LevelMin::read(&[(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn low_levels_can_be_dropped() {
        let settings = read("level_min", "7").expect("a level");
        let alert = |level| Alert { rule: "5763", level, source: None, sensor_source: None };
        assert!(matches!(map(alert(6), &settings), Mapped::Dropped(_)));
        assert!(matches!(map(alert(7), &settings), Mapped::Observed { .. }));
    }

    #[test]
    fn wrong_settings_are_refused() {
        let refused = |name, value| read(name, value).err().expect("refused");
        assert_eq!(
            refused("level_min", "high"),
            "setting `level_min`: expected a whole number from 0 to 16, got `high`"
        );
        assert_eq!(refused("level_min", "17"), "setting `level_min`: expected a whole number from 0 to 16, got `17`");
        assert_eq!(refused("level", "7"), "unknown setting `level`: this rule has `level_min`");
    }
}
