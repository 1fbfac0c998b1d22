//! A number that is too high: load, latency, replication lag, queue length.
//!
//! The subject is what is measured, `data.value` the number. At or over the setting `over` it is
//! `high`; at or under `clear` it is `normal`; between the two nothing changes, so that a value
//! that trembles at one bound does not change its state. Without settings: 90 and 80. With `over`
//! alone there is one bound for both.

use stillhouse_sdk::prelude::*;

#[derive(Signal)]
struct Measurement<'a> {
    /// What is measured.
    #[field("subject")]
    subject: &'a str,
    /// How much.
    value: f64,
}

#[derive(States, Clone, Copy)]
enum Level {
    #[healthy]
    Normal,
    #[problem]
    High,
}

/// The two bounds, `clear <= over`.
#[derive(Debug, PartialEq)]
pub struct Bounds {
    over: f64,
    clear: f64,
}

impl Settings for Bounds {
    fn read(settings: &[(String, String)]) -> Result<Self, String> {
        let (mut over, mut clear) = (None, None);
        for (name, value) in settings {
            let bound = match name.as_str() {
                "over" => &mut over,
                "clear" => &mut clear,
                _ => return Err(format!("unknown setting `{name}`: this rule has `over` and `clear`")),
            };
            let number = value.trim().parse().ok().filter(|number: &f64| number.is_finite());
            *bound = Some(number.ok_or_else(|| format!("setting `{name}`: expected a number, got `{value}`"))?);
        }
        let (over, clear) = match (over, clear) {
            (None, clear) => (90.0, clear.unwrap_or(80.0)),
            (Some(over), clear) => (over, clear.unwrap_or(over)),
        };
        if clear > over {
            return Err(format!("setting `clear`: expected at most `over`, which is {over}, got {clear}"));
        }
        Ok(Bounds { over, clear })
    }
}

fn map<'a>(measurement: Measurement<'a>, bounds: &Bounds) -> Mapped<'a, Level> {
    if measurement.value >= bounds.over {
        observe(Level::High, measurement.subject)
    } else if measurement.value <= bounds.clear {
        observe(Level::Normal, measurement.subject)
    } else {
        dropped("between the bounds")
    }
}

fn cases() -> Vec<Case> {
    let of = |value| [("subject", "db-7/disk"), ("data.value", value)];
    vec![
        case("over the bound", &of("97.5")).observes("high", "db-7/disk"),
        case("at the upper bound", &of("90")).observes("high", "db-7/disk"),
        case("between the bounds", &of("85")).drops("between the bounds"),
        case("at the lower bound", &of("80")).observes("normal", "db-7/disk"),
        case("under the bound", &of("-3")).observes("normal", "db-7/disk"),
        case("no value", &[("subject", "db-7/disk")]).rejects("missing data.value"),
        case("no subject", &[("data.value", "1")]).rejects("missing subject"),
    ]
}

mapper! {
    name: "threshold",
    version: env!("CARGO_PKG_VERSION"),
    schema: 1,
    states: Level,
    settings: Bounds,
    map: map,
    cases: cases,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<Bounds, String> {
        let owned: Vec<_> = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Bounds::read(&owned)
    }

    #[test]
    fn bounds_have_defaults() {
        assert_eq!(read(&[]), Ok(Bounds { over: 90.0, clear: 80.0 }));
        assert_eq!(read(&[("over", "2.5")]), Ok(Bounds { over: 2.5, clear: 2.5 }));
        assert_eq!(read(&[("clear", "50"), ("over", "70")]), Ok(Bounds { over: 70.0, clear: 50.0 }));
    }

    #[test]
    fn wrong_settings_are_refused() {
        let refused = |settings: &[(&str, &str)]| read(settings).unwrap_err();
        assert_eq!(refused(&[("over", "much")]), "setting `over`: expected a number, got `much`");
        assert_eq!(refused(&[("over", "inf")]), "setting `over`: expected a number, got `inf`");
        assert_eq!(
            refused(&[("over", "70"), ("clear", "71")]),
            "setting `clear`: expected at most `over`, which is 70, got 71"
        );
        assert_eq!(refused(&[("under", "1")]), "unknown setting `under`: this rule has `over` and `clear`");
    }
}
