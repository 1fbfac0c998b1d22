//! A mapper for tests that tires: its answers depend on how many it has given. It must not load.

use std::sync::atomic::{AtomicU32, Ordering};

use stillhouse_sdk::prelude::*;

#[derive(Signal)]
struct Report<'a> {
    key: &'a str,
}

#[derive(States, Clone, Copy)]
enum Health {
    #[healthy]
    Up,
}

/// Enough for its own cases to pass.
const FRESH_ANSWERS: u32 = 2;

static ANSWERS: AtomicU32 = AtomicU32::new(0);

fn map(report: Report<'_>) -> Mapped<'_, Health> {
    let fresh = ANSWERS.fetch_add(1, Ordering::Relaxed) < FRESH_ANSWERS;
    observe(Health::Up, report.key).value(if fresh { "" } else { "tired" })
}

fn cases() -> Vec<Case> {
    vec![case("it works", &[("data.key", "shop/cart")]).observes("up", "shop/cart")]
}

mapper! {
    name: "impure", version: env!("CARGO_PKG_VERSION"), schema: 1, states: Health, map: map, cases: cases
}
