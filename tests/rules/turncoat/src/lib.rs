//! A mapper for tests whose file says what it does wrong: a test writes another word over `MODE`, and
//! has another version of it.

use std::hint::black_box;

use stillhouse_sdk::prelude::*;

/// What it does wrong, padded to 48 bytes with `-`.
static MODE: [u8; 48] = *b"turncoat-mode:fine------------------------------";

#[derive(Signal)]
struct Probe<'a> {
    /// The entity.
    key: &'a str,
    /// `up` or `down`.
    state: &'a str,
    /// A number that is different for each signal.
    #[field("data.n")]
    number: i64,
}

#[derive(States, Clone, Copy)]
enum Health {
    #[healthy]
    Up,
    #[problem]
    Down,
}

/// Signals below this are in no stream of a test: its own cases.
const FIRST: i64 = 1_000;

fn mode() -> &'static str {
    let mode = black_box(&MODE);
    let text = std::str::from_utf8(mode).unwrap_or_default();
    text.trim_start_matches("turncoat-mode:").trim_end_matches('-')
}

/// The number that a key ends with.
fn number_of(key: &str) -> u64 {
    key.trim_start_matches(|letter: char| !letter.is_ascii_digit()).parse().unwrap_or(0)
}

fn map(probe: Probe<'_>) -> Mapped<'_, Health> {
    let state = match probe.state {
        "up" => Health::Up,
        "down" => Health::Down,
        _ => return rejected("expected up or down"),
    };
    let other = if matches!(state, Health::Up) { Health::Down } else { Health::Up };
    let says = |state| observe(state, probe.key);
    // `what.number`: not before that signal.
    let (what, from) = mode().split_once('.').unwrap_or((mode(), "0"));
    if probe.number < FIRST + from.parse::<i64>().unwrap_or(0) {
        return says(state);
    }
    match what {
        "trap" if probe.number % 100 == 0 => panic!("number {} is more than it can bear", probe.number),
        "never" => loop {
            black_box(probe.number);
        },
        "slow" => {
            for round in 0..2_000_u64 {
                black_box(round);
            }
            says(state)
        }
        "differ" if number_of(probe.key) % 50 == 3 => says(other),
        "liar" => says(other),
        "drop" if number_of(probe.key).is_multiple_of(2) => dropped("not this one"),
        "rename" => observe(state, format!("{}-renamed", probe.key)),
        _ => says(state),
    }
}

fn cases() -> Vec<Case> {
    let of = |state| [("data.key", "shop/cart"), ("data.state", state), ("data.n", "1")];
    vec![
        case("it works", &of("up")).observes("up", "shop/cart"),
        case("it does not", &of("down")).observes("down", "shop/cart"),
        case("something else", &of("sideways")).rejects("expected up or down"),
    ]
}

mapper! {
    name: "turncoat", version: "1.0.0", schema: 1, states: Health, map: map, cases: cases
}
