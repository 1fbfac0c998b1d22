//! A suppressor for tests that does to the host what the last part of a candidate's key says.
//!
//! Written against the contract by hand: with `memo-…` the memos of the whole answer are wrong in
//! the way that the rest of the word names.

use std::hint::black_box;

use stillhouse_sdk::bindings::suppressor::exports::stillhouse::rules::suppressor_rule as contract;
use stillhouse_sdk::columns::{Batch, Blobs};
use stillhouse_sdk::judging;
use stillhouse_sdk::prelude::*;

#[derive(Candidate)]
struct Change<'a> {
    key: &'a str,
    healthy: bool,
}

/// How many candidates of the entity were judged, and whether to spoil the answer because of them.
#[derive(Memo, Default)]
#[memo(version = 3)]
struct Seen {
    candidates: u32,
    trick: u32,
}

/// What spoils the memos of an answer.
const TRICKS: [&str; 4] = ["", "memo-long", "memo-offsets", "memo-rows"];

fn judge(change: Change<'_>, seen: &mut Seen) -> Verdict {
    let word = change.key.rsplit('/').next().unwrap_or_default();
    seen.candidates = seen.candidates.saturating_add(1);
    seen.trick = TRICKS.iter().position(|trick| *trick == word).unwrap_or(0) as u32;
    match word {
        "panic" => panic!("asked to by `{}`", change.key),
        "loop" => loop {
            black_box(change.healthy);
        },
        "past" => suppress("until before the beginning", -1),
        "silent" => suppress("", 0),
        "quiet" if !change.healthy => suppress("asked to be quiet", 0),
        "count" => escalate(format!("seen {}", seen.candidates), Severity::Info),
        _ => emit(),
    }
}

fn cases() -> Vec<JudgeCase> {
    let of = |key| [("key", key), ("healthy", "false")];
    let seen = |candidates| Seen { candidates, trick: 0 };
    vec![
        judge_case("a problem", &[], &of("shop/cart")).emits().leaves(&seen(1)),
        judge_case("a quiet one", &[], &of("shop/quiet")).suppresses("asked to be quiet", 0),
        judge_case("the third one", &[], &of("shop/count"))
            .memo(&seen(2))
            .escalates("seen 3", Severity::Info)
            .leaves(&seen(3)),
    ]
}

/// The rule.
pub struct Rule;

/// Its declaration.
pub fn manifest() -> contract::Manifest {
    judging::manifest::<Change<'_>, Seen>("hostile-judge", env!("CARGO_PKG_VERSION"), cases())
}

/// The answer for a batch.
pub fn answer(batch: &Batch, memos: &Blobs) -> contract::Verdicts {
    let mut answer = judging::judge_rows(batch, memos, judge);
    // The trick is the last part of the memo of a row.
    let trick = |memo: &[u8]| memo.get(4).map_or("", |&trick| TRICKS[usize::from(trick)]);
    let tricks: Vec<&str> = answer.memo.data.chunks(Seen::BYTES_MAX as usize).map(trick).collect();
    // From the end, so that what is changed is behind what is looked at.
    for (row, trick) in tricks.into_iter().enumerate().rev() {
        distort(&mut answer.memo, trick, row);
    }
    answer
}

/// Makes the memos wrong; `row` is one that asks for it.
fn distort(memo: &mut Blobs, trick: &str, row: usize) {
    match trick {
        "memo-long" => {
            memo.data.insert(memo.offsets[row + 1] as usize, 0);
            memo.offsets[row + 1..].iter_mut().for_each(|offset| *offset += 1);
        }
        "memo-offsets" => memo.offsets[row + 1] = u32::MAX,
        "memo-rows" => memo.offsets.push(memo.data.len() as u32),
        _ => {}
    }
}

#[cfg(target_arch = "wasm32")]
mod exported {
    use super::{Batch, Blobs, Rule, contract};

    impl contract::Guest for Rule {
        fn describe() -> contract::Manifest {
            super::manifest()
        }
        fn configure(_: Vec<(String, String)>) -> Result<(), String> {
            stillhouse_sdk::tell_panics();
            Ok(())
        }
        fn judge(batch: Batch, memos: Blobs) -> contract::Verdicts {
            super::answer(&batch, &memos)
        }
    }
    stillhouse_sdk::bindings::suppressor::export_suppressor!(Rule with_types_in stillhouse_sdk::bindings::suppressor);
}
