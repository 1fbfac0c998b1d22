//! The mapper that `examples/rules` has in other languages, in Rust.

use stillhouse_sdk::prelude::*;

#[derive(Signal)]
struct Probe<'a> {
    pod: &'a str,
    #[field("data.status")]
    status: Option<&'a str>,
}

#[derive(States, Clone, Copy)]
enum Readiness {
    #[healthy]
    Ready,
    #[problem]
    NotReady,
}

fn map(probe: Probe<'_>) -> Mapped<'_, Readiness> {
    match probe.status {
        Some("ready") => observe(Readiness::Ready, probe.pod),
        Some("") => observe(Readiness::NotReady, probe.pod).severity(Severity::Error),
        _ => dropped("not about readiness"),
    }
}

fn cases() -> Vec<Case> {
    let of = |status| [("data.pod", "shop/cart-1"), ("data.status", status)];
    vec![
        case("ready", &of("ready")).observes("ready", "shop/cart-1"),
        case("not ready", &of("")).observes("not-ready", "shop/cart-1").severity(Severity::Error),
        case("another status", &of("starting")).drops("not about readiness"),
    ]
}

mapper! { name: "probe", version: "0.1.0", schema: 1, states: Readiness, map: map, cases: cases }
