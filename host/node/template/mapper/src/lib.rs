//! What a signal means. This example maps health checks: change it into yours.
//!
//! A mapper answers for each signal on its own: which entity, in which state. Whether the state has
//! lasted, whether it flaps, and when to speak of it is the host's work.

use stillhouse_sdk::prelude::*;

/// The fields that are read of a signal: `service` is `data.service`. A signal that lacks one is
/// rejected, unless it is an `Option`.
#[derive(Signal)]
struct Check<'a> {
    service: &'a str,
    status: Option<&'a str>,
    /// Also `i64`, `f64` and `bool`; `#[field("..")]` names another path, such as `subject`.
    #[field("data.latency_ms")]
    latency_ms: Option<i64>,
}

/// The canonical states. The names in events are `up`, `slow` and `down`.
#[derive(States, Clone, Copy)]
enum Health {
    #[healthy]
    Up,
    #[problem]
    Slow,
    #[problem]
    Down,
}

/// A check that took longer is slow.
const SLOW_MS: i64 = 1_000;

fn map(check: Check<'_>) -> Mapped<'_, Health> {
    match check.status {
        Some("ok") if check.latency_ms.unwrap_or(0) > SLOW_MS => observe(Health::Slow, check.service),
        Some("ok") => observe(Health::Up, check.service),
        Some("failed") => observe(Health::Down, check.service).severity(Severity::Error),
        // Says nothing about any state, and nobody needs to know: counted, and forgotten.
        Some("started") => dropped("the check has only started"),
        // Should say something and does not: a dead letter. Reasons are few and fixed.
        _ => rejected("data.status is neither ok, failed nor started"),
    }
}

/// Each case is run natively by `cargo test`, and in WebAssembly by the host before it takes the
/// rule. Every state needs one.
fn cases() -> Vec<Case> {
    let of = |status| [("data.service", "shop/cart"), ("data.status", status)];
    let took = |ms| [("data.service", "shop/cart"), ("data.status", "ok"), ("data.latency_ms", ms)];
    vec![
        case("a check passes", &of("ok")).observes("up", "shop/cart"),
        case("a check passes in time", &took("1000")).observes("up", "shop/cart"),
        case("a check passes late", &took("1001")).observes("slow", "shop/cart"),
        case("a check fails", &of("failed")).observes("down", "shop/cart").severity(Severity::Error),
        case("a check starts", &of("started")).drops("the check has only started"),
        case("a status that is none", &of("?")).rejects("data.status is neither ok, failed nor started"),
        case("no service", &[("data.status", "ok")]).rejects("missing data.service"),
    ]
}

mapper! {
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    schema: 1,
    states: Health,
    map: map,
    cases: cases,
}
