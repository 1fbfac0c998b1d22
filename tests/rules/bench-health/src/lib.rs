//! The rule of the benches: folds case, searches a message, builds a key of two attributes. It is
//! like the rules that ship, and neither the cheapest nor the dearest of them.

use stillhouse_sdk::prelude::*;

#[derive(Signal)]
struct Health<'a> {
    status: &'a str,
    message: &'a str,
    #[field("data.attributes.namespace")]
    namespace: &'a str,
    #[field("data.attributes.pod")]
    pod: &'a str,
    level: Option<&'a str>,
}

#[derive(States, Clone, Copy)]
enum State {
    #[healthy]
    Ready,
    #[problem]
    NotReady,
    #[problem]
    Overloaded,
    #[problem]
    Unreachable,
    #[gone]
    Gone,
}

static REFUSED: Searcher = Searcher::new("connection refused");
static TIMEOUT: Searcher = Searcher::new("timed out");
static PRESSURE: Searcher = Searcher::new("under pressure");

fn starts_with_folded(text: &str, prefix: &str) -> bool {
    text.as_bytes().get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
}

fn map(signal: Health<'_>) -> Mapped<'_, State> {
    let key = [signal.namespace, signal.pod];
    if starts_with_folded(signal.status, "debug") {
        return dropped("debug");
    }
    if starts_with_folded(signal.status, "ready") {
        return observe(State::Ready, key);
    }
    if starts_with_folded(signal.status, "delet") {
        return observe(State::Gone, key);
    }
    let state = if REFUSED.is_in(signal.message) || TIMEOUT.is_in(signal.message) {
        State::Unreachable
    } else if PRESSURE.is_in(signal.message) {
        State::Overloaded
    } else {
        State::NotReady
    };
    let severity = match signal.level {
        Some(level) if starts_with_folded(level, "crit") => Severity::Critical,
        Some(level) if starts_with_folded(level, "err") => Severity::Error,
        _ => Severity::Warning,
    };
    observe(state, key).severity(severity)
}

fn cases() -> Vec<Case> {
    let of = |status, message, level| {
        [
            ("data.status", status),
            ("data.message", message),
            ("data.attributes.namespace", "shop"),
            ("data.attributes.pod", "cart-1"),
            ("data.level", level),
        ]
    };
    vec![
        case("ready", &of("READY", "all well", "info")).observes("ready", "shop/cart-1"),
        case("gone", &of("Deleted", "", "info")).observes("gone", "shop/cart-1"),
        case("refused", &of("failed", "dial tcp: connection refused", "error"))
            .observes("unreachable", "shop/cart-1")
            .severity(Severity::Error),
        case("timed out", &of("failed", "probe timed out", "critical"))
            .observes("unreachable", "shop/cart-1")
            .severity(Severity::Critical),
        case("pressure", &of("failed", "node is under pressure", "")).observes("overloaded", "shop/cart-1"),
        case("not ready", &of("failed", "HTTP 503", "")).observes("not-ready", "shop/cart-1"),
        case("debug", &of("debugging", "x", "")).drops("debug"),
    ]
}

mapper! {
    name: "bench-health",
    version: env!("CARGO_PKG_VERSION"),
    schema: 1,
    states: State,
    map: map,
    cases: cases,
}
