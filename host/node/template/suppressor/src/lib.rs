//! When to stay quiet. This example is quiet at night: change it into yours.
//!
//! A suppressor is asked about each candidate: an event that is about to leave. What it holds back
//! is told as held, and leaves when its deadline comes and the state still stands.

use stillhouse_sdk::prelude::*;

/// The fields that are read of a candidate; `.stillhouse/wit/v0.2/rules.wit` lists all, at `judge`.
#[derive(Candidate)]
struct Problem<'a> {
    /// The record key.
    key: &'a str,
    /// When it came up, in microseconds since 1970.
    time: i64,
    /// 0 info to 3 critical.
    severity: i64,
    /// Whether the state that it tells of is healthy.
    healthy: bool,
}

const HOUR_US: i64 = 3_600_000_000;

/// What the configuration sets: `suppressor_settings = { from = 22, to = 6, keys = "shop/" }`.
pub struct Night {
    from_hour: i64,
    to_hour: i64,
    keys: String,
}

impl Settings for Night {
    fn read(settings: &[(String, String)]) -> Result<Self, String> {
        let mut night = Night { from_hour: 22, to_hour: 6, keys: String::new() };
        for (name, value) in settings {
            // An error refuses the configuration, with its line.
            let hour = || match value.parse() {
                Ok(hour @ 0..=23) => Ok(hour),
                _ => Err(format!("setting `{name}`: expected an hour from 0 to 23, got `{value}`")),
            };
            match name.as_str() {
                "from" => night.from_hour = hour()?,
                "to" => night.to_hour = hour()?,
                "keys" => night.keys = value.clone(),
                _ => return Err(format!("unknown setting `{name}`: this rule has `from`, `to` and `keys`")),
            }
        }
        Ok(night)
    }
}

impl Night {
    /// When the night ends that `time_us` is in (UTC).
    fn ends_us(&self, time_us: i64) -> Option<i64> {
        let hour = time_us.div_euclid(HOUR_US);
        let since_from = (hour - self.from_hour).rem_euclid(24);
        let length = (self.to_hour - self.from_hour).rem_euclid(24);
        (since_from < length).then(|| (hour - since_from + length) * HOUR_US)
    }
}

fn judge(problem: Problem<'_>, night: &Night) -> Verdict {
    if problem.healthy || problem.severity >= Severity::Critical as i64 || !problem.key.starts_with(&night.keys) {
        return emit();
    }
    match night.ends_us(problem.time) {
        Some(until_us) => suppress("at night", until_us),
        None => emit(),
    }
}

/// Each case is run natively by `cargo test`, and in WebAssembly by the host before it takes the
/// rule. It names its settings, and the fields of a candidate.
fn cases() -> Vec<JudgeCase> {
    let of = |time, severity, healthy| {
        [("key", "shop/cart"), ("time", time), ("severity", severity), ("healthy", healthy)]
    };
    // 1970-01-01 23:30, 12:00 and 05:59 UTC, in microseconds.
    let (late, noon, early) = ("84600000000", "43200000000", "21540000000");
    vec![
        judge_case("late in the evening", &[], &of(late, "2", "false")).suppresses("at night", 30 * HOUR_US),
        judge_case("early in the morning", &[], &of(early, "2", "false")).suppresses("at night", 6 * HOUR_US),
        judge_case("at noon", &[], &of(noon, "2", "false")).emits(),
        judge_case("critical, at night", &[], &of(late, "3", "false")).emits(),
        judge_case("what is healthy, at night", &[], &of(late, "0", "true")).emits(),
        judge_case("another night", &[("from", "12"), ("to", "13")], &of(noon, "2", "false"))
            .suppresses("at night", 13 * HOUR_US),
        judge_case("another key", &[("keys", "db-")], &of(late, "2", "false")).emits(),
    ]
}


suppressor! {
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    settings: Night,
    judge: judge,
    cases: cases,
}
