//! A mapper for tests that does on a row what the row says in `data.do`, and behaves otherwise.

use std::hint::black_box;

use stillhouse_sdk::prelude::*;

#[derive(Signal)]
struct Order<'a> {
    /// The entity.
    key: &'a str,
    /// `up`, `down`, or what to do to the host.
    #[field("data.do")]
    what: &'a str,
}

#[derive(States, Clone, Copy)]
enum Health {
    #[healthy]
    Up,
    #[problem]
    Down,
}

fn map(order: Order<'_>) -> Mapped<'_, Health> {
    match order.what {
        "up" => observe(Health::Up, order.key),
        "down" => observe(Health::Down, order.key),
        "loop" => endless(),
        "recurse" => {
            black_box(deep(black_box(1)));
            observe(Health::Up, order.key)
        }
        "grow" => greedy(),
        "panic" => panic!("asked to by `{}`", order.key),
        "trap" => trap(),
        "chatter" => {
            (0..100_000).for_each(|line| stillhouse_sdk::log(&format!("line {line} of much")));
            observe(Health::Up, order.key)
        }
        "long-reason" => rejected("why ".repeat(100)),
        "long-value" => observe(Health::Up, order.key).value("v".repeat(4097)),
        _ => rejected("data.do is nothing that this rule does"),
    }
}

fn endless() -> ! {
    let mut count = 0_u64;
    loop {
        count = black_box(count.wrapping_add(1));
    }
}

#[allow(unconditional_recursion)]
fn deep(level: u64) -> u64 {
    black_box(deep(black_box(level + 1)) ^ level)
}

fn greedy() -> ! {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    loop {
        kept.push(black_box(vec![1; 1 << 20]));
    }
}

fn trap() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort();
}

fn cases() -> Vec<Case> {
    let of = |order| [("data.key", "shop/cart"), ("data.do", order)];
    vec![
        case("it works", &of("up")).observes("up", "shop/cart"),
        case("it does not", &of("down")).observes("down", "shop/cart"),
        case("something else", &of("dance")).rejects("data.do is nothing that this rule does"),
    ]
}

mapper! {
    name: "hostile", version: env!("CARGO_PKG_VERSION"), schema: 1, states: Health, map: map, cases: cases
}
