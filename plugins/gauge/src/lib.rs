//! A number as it is: load, latency, queue length. What it means is said by the bounds of the
//! configuration, `[signal.TYPE.level]`.
//!
//! The subject is what is measured, `data.value` the number. Every number is `normal` here and
//! becomes `high` or `low` by the bounds. A source that knows its own bounds may say so in
//! `data.state`; without bounds in the configuration that counts.

use stillhouse_sdk::prelude::*;

#[derive(Signal)]
struct Reading<'a> {
    /// What is measured.
    #[field("subject")]
    subject: &'a str,
    /// How much.
    #[field("data.value")]
    value: f64,
    /// What the source makes of it.
    #[field("data.state")]
    state: Option<&'a str>,
}

#[derive(States, Clone, Copy)]
enum Level {
    #[healthy]
    Normal,
    #[problem]
    High,
    #[problem]
    Low,
}

fn map(reading: Reading<'_>) -> Mapped<'_, Level> {
    let state = match reading.state {
        None | Some("normal") => Level::Normal,
        Some("high") => Level::High,
        Some("low") => Level::Low,
        Some(_) => return rejected("data.state is none of normal, high and low"),
    };
    observe(state, reading.subject).value(reading.value.to_string())
}

fn cases() -> Vec<Case> {
    let of = |value| [("subject", "web-3/cpu"), ("data.value", value)];
    let with_state = |state| [("subject", "web-3/cpu"), ("data.value", "1"), ("data.state", state)];
    vec![
        case("a number", &of("12.5")).observes("normal", "web-3/cpu").value("12.5"),
        case("a whole number", &of("-3")).observes("normal", "web-3/cpu").value("-3"),
        case("a number with an exponent", &of("1.5e3")).observes("normal", "web-3/cpu").value("1500"),
        case("high for its source", &with_state("high")).observes("high", "web-3/cpu").value("1"),
        case("low for its source", &with_state("low")).observes("low", "web-3/cpu").value("1"),
        case("normal for its source", &with_state("normal")).observes("normal", "web-3/cpu").value("1"),
        case("something else", &with_state("up")).rejects("data.state is none of normal, high and low"),
        case("no value", &[("subject", "web-3/cpu")]).rejects("missing data.value"),
        case("no subject", &[("data.value", "1")]).rejects("missing subject"),
    ]
}

mapper! {
    name: "gauge",
    version: env!("CARGO_PKG_VERSION"),
    schema: 1,
    states: Level,
    map: map,
    cases: cases,
}
