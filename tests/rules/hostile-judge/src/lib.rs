//! A suppressor for tests that does to the host what the last part of a candidate's key says.

use std::hint::black_box;

use stillhouse_sdk::prelude::*;

#[derive(Candidate)]
struct Change<'a> {
    key: &'a str,
    healthy: bool,
}

fn judge(change: Change<'_>, _: &()) -> Verdict {
    match change.key.rsplit('/').next().unwrap_or_default() {
        "panic" => panic!("asked to by `{}`", change.key),
        "loop" => loop {
            black_box(change.healthy);
        },
        "past" => suppress("until before the beginning", -1),
        "silent" => suppress("", 0),
        "quiet" if !change.healthy => suppress("asked to be quiet", 0),
        _ => emit(),
    }
}

fn cases() -> Vec<JudgeCase> {
    let of = |key| [("key", key), ("healthy", "false")];
    vec![
        judge_case("a problem", &[], &of("shop/cart")).emits(),
        judge_case("a quiet one", &[], &of("shop/quiet")).suppresses("asked to be quiet", 0),
    ]
}

suppressor! {
    name: "hostile-judge", version: env!("CARGO_PKG_VERSION"), settings: (), judge: judge, cases: cases
}
