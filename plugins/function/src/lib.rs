//! Functions that are started when they are called, from a report of each call, as AWS Lambda
//! writes it.
//!
//! A call that failed, timed out or took longer than the setting `slow_ms` is `failing`, any other is
//! `ok`. A call that had to start the function first (`data.init_ms` is there) may fail or be slow
//! because of that alone: its failure is a warning, that of a function which was warm an error. Which
//! it was is not in the state, since a function that dies at each call starts cold at each call and
//! must not look as if it got over it; so tell the two apart by how long it lasts.

use stillhouse_sdk::prelude::*;

#[derive(Signal)]
struct Report<'a> {
    /// Which function was called.
    function: &'a str,
    /// How the call ended; absent, as in reports of calls that returned, for a success.
    status: Option<&'a str>,
    /// How long the call took.
    duration_ms: f64,
    /// How long its start took before; absent where it was warm.
    init_ms: Option<f64>,
}

#[derive(States, Clone, Copy, Debug)]
enum Health {
    #[healthy]
    Ok,
    #[problem]
    Failing,
}

/// A call that takes longer, with its start, has failed its caller.
pub struct Slow {
    slow_ms: f64,
}

impl Settings for Slow {
    fn read(settings: &[(String, String)]) -> Result<Self, String> {
        let mut slow_ms = f64::INFINITY;
        for (name, value) in settings {
            if name != "slow_ms" {
                return Err(format!("unknown setting `{name}`: this rule has `slow_ms`"));
            }
            let bound = value.trim().parse().ok().filter(|bound: &f64| bound.is_finite() && *bound > 0.0);
            slow_ms =
                bound.ok_or_else(|| format!("setting `slow_ms`: expected milliseconds above zero, got `{value}`"))?;
        }
        Ok(Slow { slow_ms })
    }
}

fn map<'a>(report: Report<'a>, slow: &Slow) -> Mapped<'a, Health> {
    let succeeded = match report.status {
        None | Some("" | "success") => true,
        Some("error" | "failure" | "timeout") => false,
        Some(_) => return rejected("data.status is neither success nor error nor failure nor timeout"),
    };
    let waited_ms = report.duration_ms + report.init_ms.unwrap_or_default();
    if succeeded && waited_ms <= slow.slow_ms {
        return observe(Health::Ok, report.function);
    }
    let severity = if report.init_ms.is_some() { Severity::Warning } else { Severity::Error };
    observe(Health::Failing, report.function).severity(severity)
}

fn cases() -> Vec<Case> {
    let warm = |status| [("data.function", "thumbnail"), ("data.status", status), ("data.duration_ms", "102.5")];
    let cold = |status| [warm(status).as_slice(), &[("data.init_ms", "840")]].concat();
    vec![
        case("a call", &warm("success")).observes("ok", "thumbnail"),
        case("a call whose report has no status", &[("data.function", "thumbnail"), ("data.duration_ms", "3")])
            .observes("ok", "thumbnail"),
        case("a cold call", &cold("success")).observes("ok", "thumbnail"),
        case("a warm call fails", &warm("error")).observes("failing", "thumbnail").severity(Severity::Error),
        case("the function itself fails", &warm("failure")).observes("failing", "thumbnail").severity(Severity::Error),
        case("a cold call takes too long", &cold("timeout"))
            .observes("failing", "thumbnail")
            .severity(Severity::Warning),
        case("a status that is none", &warm("maybe"))
            .rejects("data.status is neither success nor error nor failure nor timeout"),
        case("no duration", &[("data.function", "thumbnail")]).rejects("missing data.duration_ms"),
        case("no function", &[("data.duration_ms", "3")]).rejects("missing data.function"),
    ]
}

mapper! {
    name: "function",
    version: env!("CARGO_PKG_VERSION"),
    schema: 1,
    states: Health,
    settings: Slow,
    map: map,
    cases: cases,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<Slow, String> {
        Slow::read(&[(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn the_start_counts_as_waiting() {
        let slow = read("slow_ms", "1000").expect("a bound");
        let call = |duration_ms, init_ms| {
            let report = Report { function: "thumbnail", status: None, duration_ms, init_ms };
            match map(report, &slow) {
                Mapped::Observed { state, .. } => matches!(state, Health::Ok),
                other => panic!("{other:?}"),
            }
        };
        assert!(call(1000.0, None));
        assert!(!call(1000.1, None));
        assert!(call(300.0, Some(700.0)));
        assert!(!call(300.0, Some(701.0)));
    }

    #[test]
    fn wrong_settings_are_refused() {
        let refused = |name, value| read(name, value).err().expect("refused");
        assert_eq!(refused("slow_ms", "fast"), "setting `slow_ms`: expected milliseconds above zero, got `fast`");
        assert_eq!(refused("slow_ms", "0"), "setting `slow_ms`: expected milliseconds above zero, got `0`");
        assert_eq!(refused("slow", "3"), "unknown setting `slow`: this rule has `slow_ms`");
    }
}
