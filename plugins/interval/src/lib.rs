//! Up and down, from traces that speak in intervals (Grid'5000, web probes).
//!
//! Each record names an entity and an interval; the decoder makes one signal for each end of it and
//! says in `data.edge` which. A `down` row begins an outage at its start and ends it at its stop.

use stillhouse_sdk::prelude::*;

#[derive(Signal)]
struct Edge<'a> {
    /// What is up or down.
    entity: &'a str,
    /// The state that the interval is in; absent where all intervals of the trace are outages.
    state: Option<&'a str>,
    /// Which end of the interval this signal stands for: `start` or `stop`.
    edge: Option<&'a str>,
}

#[derive(States, Clone, Copy)]
enum Availability {
    #[healthy]
    Up,
    #[problem]
    Down,
}

fn map(signal: Edge<'_>) -> Mapped<'_, Availability> {
    let at_start = match signal.edge {
        None | Some("start") => true,
        Some("stop") => false,
        Some(_) => return rejected("data.edge is neither start nor stop"),
    };
    match (signal.state.unwrap_or("down"), at_start) {
        ("down", true) | ("up", false) => observe(Availability::Down, signal.entity).severity(Severity::Error),
        ("up", true) | ("down", false) => observe(Availability::Up, signal.entity),
        _ => rejected("data.state is neither up nor down"),
    }
}

fn cases() -> Vec<Case> {
    let of = |state, edge| [("data.entity", "rack-3/node-7"), ("data.state", state), ("data.edge", edge)];
    vec![
        case("a down interval begins", &of("down", "start"))
            .observes("down", "rack-3/node-7")
            .severity(Severity::Error),
        case("a down interval ends", &of("down", "stop")).observes("up", "rack-3/node-7"),
        case("an up interval begins", &of("up", "start")).observes("up", "rack-3/node-7"),
        case("an up interval ends", &of("up", "stop")).observes("down", "rack-3/node-7").severity(Severity::Error),
        case("a trace of outages only", &[("data.entity", "example.org"), ("data.edge", "start")])
            .observes("down", "example.org")
            .severity(Severity::Error),
        case("a state that is none", &of("sideways", "start")).rejects("data.state is neither up nor down"),
        case("no entity", &[("data.state", "up")]).rejects("missing data.entity"),
    ]
}

mapper! {
    name: "interval",
    version: env!("CARGO_PKG_VERSION"),
    schema: 1,
    states: Availability,
    map: map,
    cases: cases,
}
