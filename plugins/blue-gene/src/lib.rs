//! Failures of a supercomputer, from the event log of Blue Gene/L.
//!
//! The log says that something failed, never that it works again: bind this rule to
//! `mode = "occurrence"`, where each observation is an event unless deduplication merges it. The
//! message is the fingerprint. What counts as one entity is the setting `location`:
//!
//! - `full` (default): the location as it stands, down to the chip;
//! - `card`: what stands before the `:`, the node card;
//! - `any`: the whole machine is one.

use stillhouse_sdk::prelude::*;

#[derive(Signal)]
struct Entry<'a> {
    /// Where: `R01-M0-N4-C:J08-U11` is rack, midplane, node card, compute card, chip.
    location: &'a str,
    /// `INFO`, `WARNING`, `SEVERE`, `ERROR`, `FATAL` or `FAILURE`.
    severity: &'a str,
    /// What.
    message: &'a str,
}

#[derive(States, Clone, Copy)]
enum Hardware {
    #[problem]
    Failing,
}

/// How much of a location makes the key.
pub enum Location {
    /// One key for all.
    Any,
    /// The part before the colon.
    Card,
    /// The whole location.
    Full,
}

impl Settings for Location {
    fn read(settings: &[(String, String)]) -> Result<Self, String> {
        let mut location = Location::Full;
        for (name, value) in settings {
            location = match (name.as_str(), value.as_str()) {
                ("location", "any") => Location::Any,
                ("location", "card") => Location::Card,
                ("location", "full") => Location::Full,
                ("location", other) => {
                    return Err(format!("setting `location`: expected any, card or full, got `{other}`"));
                }
                _ => return Err(format!("unknown setting `{name}`: this rule has `location`")),
            };
        }
        Ok(location)
    }
}

fn map<'a>(entry: Entry<'a>, location: &Location) -> Mapped<'a, Hardware> {
    let severity = match entry.severity {
        "FATAL" => Severity::Error,
        "FAILURE" => Severity::Critical,
        _ => return dropped("less than a failure"),
    };
    let key = match location {
        Location::Any => "any",
        Location::Card => entry.location.split(':').next().unwrap_or(entry.location),
        Location::Full => entry.location,
    };
    observe(Hardware::Failing, key).severity(severity).value(entry.message)
}

fn cases() -> Vec<Case> {
    let of = |severity| {
        [("data.location", "R90-M1-N3-C:J05-U01"), ("data.severity", severity), ("data.message", "fan tray removed")]
    };
    vec![
        case("a fatal entry", &of("FATAL"))
            .observes("failing", "R90-M1-N3-C:J05-U01")
            .value("fan tray removed")
            .severity(Severity::Error),
        case("a failure", &of("FAILURE"))
            .observes("failing", "R90-M1-N3-C:J05-U01")
            .value("fan tray removed")
            .severity(Severity::Critical),
        case("an entry for the record", &of("INFO")).drops("less than a failure"),
        case("an error that the machine survives", &of("ERROR")).drops("less than a failure"),
        case("no location", &[("data.severity", "FATAL"), ("data.message", "fan tray removed")])
            .rejects("missing data.location"),
    ]
}

mapper! {
    name: "blue-gene",
    version: env!("CARGO_PKG_VERSION"),
    schema: 1,
    states: Hardware,
    settings: Location,
    map: map,
    cases: cases,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The record key of a fatal entry under the setting `location`.
    fn key(location: &str, at: &str) -> String {
        let settings = Location::read(&[("location".into(), location.into())]).expect("a known location");
        match map(Entry { location: at, severity: "FATAL", message: "fan tray removed" }, &settings) {
            Mapped::Observed { key, .. } => format!("{key:?}"),
            Mapped::Dropped(reason) | Mapped::Rejected(reason) => panic!("not observed: {reason}"),
        }
    }

    #[test]
    fn the_setting_decides_the_key() {
        assert!(key("any", "R90-M1-N3-C:J05-U01").contains("\"any\""));
        assert!(key("card", "R90-M1-N3-C:J05-U01").contains("\"R90-M1-N3-C\""));
        assert!(key("card", "R90-M1-N3").contains("\"R90-M1-N3\""));
        assert!(key("full", "R90-M1-N3-C:J05-U01").contains("\"R90-M1-N3-C:J05-U01\""));
    }

    #[test]
    fn wrong_settings_are_refused() {
        let refused = |name: &str, value: &str| Location::read(&[(name.into(), value.into())]).err();
        assert_eq!(
            refused("location", "rack").as_deref(),
            Some("setting `location`: expected any, card or full, got `rack`")
        );
        assert_eq!(refused("place", "any").as_deref(), Some("unknown setting `place`: this rule has `location`"));
    }
}
