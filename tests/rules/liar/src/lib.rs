//! A mapper for tests, written by hand against version 0.1 of the contract: where a row of the batch says `lie` in
//! `data.do`, the answer for the whole batch is wrong in the way that the setting `trick` names.
//!
//! Its description goes wrong, too, if the bytes of [`MOOD`] are changed in the file.

use stillhouse_sdk::bindings::mapper::exports::stillhouse::rules::mapper_rule as newest;
use stillhouse_sdk::columns::Batch;
use stillhouse_sdk::mapping;
use stillhouse_sdk::prelude::*;

use bindings::exports::stillhouse::rules::mapper_rule as contract;
use contract::Observations;

// The generated code is not ours to document or to lint.
#[allow(missing_docs, clippy::all)]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit/v0.1",
        world: "mapper",
        with: {
            "stillhouse:rules/columns@0.1.0": stillhouse_sdk::columns,
            "stillhouse:rules/declaration@0.1.0": stillhouse_sdk::declaration,
            "stillhouse:rules/log@0.1.0": generate,
        },
    });
}

#[derive(Signal)]
struct Claim<'a> {
    key: &'a str,
    #[field("data.do")]
    order: &'a str,
}

#[derive(States, Clone, Copy)]
enum Health {
    #[healthy]
    Up,
    #[problem]
    Down,
}

/// What the rule is like when it describes itself.
#[used]
static MOOD: [u8; 9] = *b"MOOD:calm";

/// The rule.
pub struct Rule;

fn map(claim: Claim<'_>) -> Mapped<'_, Health> {
    match claim.order {
        "up" => observe(Health::Up, claim.key),
        "down" => observe(Health::Down, claim.key),
        // The trick is done to this row.
        "lie" => observe(Health::Up, LIE),
        _ => rejected("data.do is nothing that this rule does"),
    }
}

const LIE: &str = "lie lie lie";

fn cases() -> Vec<Case> {
    let of = |order| [("data.key", "shop/cart"), ("data.do", order)];
    vec![
        case("it works", &of("up")).observes("up", "shop/cart"),
        case("it does not", &of("down")).observes("down", "shop/cart"),
    ]
}

/// Makes `answer` wrong; `row` is one that lies.
fn distort(answer: &mut Observations, trick: &str, row: usize) {
    let Some(&[start, end]) = answer.key.offsets.get(row..row + 2) else { return };
    let (start, end) = (start as usize, end as usize);
    match trick {
        "short" => drop(answer.outcome.pop()),
        "long" => answer.state.push(0),
        "not-utf8" => answer.key.data[start] = 0xff,
        "split-character" => {
            // A character of two bytes stands over the end of the row's key, if another follows.
            answer.key.data[end - 1] = 0xc3;
            answer.key.data.iter_mut().skip(end).take(1).for_each(|byte| *byte = 0xa9);
        }
        "offset-out" => answer.key.offsets[row + 1] = u32::MAX,
        "offset-falls" => answer.key.offsets[row + 1..].iter_mut().for_each(|offset| *offset = 0),
        "no-offsets" => answer.key.offsets.clear(),
        "state" => answer.state[row] = 2,
        "severity" => answer.severity[row] = 4,
        "outcome" => answer.outcome[row] = 3,
        "empty-key" => replace_key(answer, start, end, &[]),
        "huge-key" => replace_key(answer, start, end, &[b'k'; 1025]),
        "reason-code" => {
            answer.outcome[row] = 1;
            answer.reason.codes.resize(answer.outcome.len(), 0);
            answer.reason.codes[row] = 7;
            answer.reason.entries.offsets = vec![0, 1];
            answer.reason.entries.data = vec![b'x'];
        }
        "reasons" => {
            answer.reason.codes.resize(answer.outcome.len(), 0);
            answer.reason.entries.offsets = (0..=257).collect();
            answer.reason.entries.data = vec![b'x'; 257];
        }
        "huge-answer" => answer.reason.codes = vec![0; 3 << 20],
        _ => {}
    }
}

fn replace_key(answer: &mut Observations, start: usize, end: usize, key: &[u8]) {
    answer.key.data.splice(start..end, key.iter().copied());
    for offset in answer.key.offsets.iter_mut().filter(|offset| **offset as usize >= end) {
        *offset = (*offset as usize + key.len() - (end - start)) as u32;
    }
}

/// The answer for a batch.
pub fn answer(batch: &Batch, trick: &str) -> Observations {
    let newest::Observations { outcome, state, severity, key, value, reason } = mapping::map_rows(batch, map);
    let mut answer = Observations { outcome, state, severity, key, value, reason };
    let spans = answer.key.offsets.windows(2).map(|pair| pair[0] as usize..pair[1] as usize);
    let lies: Vec<usize> = spans
        .enumerate()
        .filter(|(_, span)| answer.key.data[span.clone()] == *LIE.as_bytes())
        .map(|(row, _)| row)
        .collect();
    // From the end, so that what is changed is behind what is looked at.
    for row in lies.into_iter().rev() {
        distort(&mut answer, trick, row);
    }
    answer
}

/// The rule's declaration, as its mood is.
pub fn describe() -> contract::Manifest {
    let newest::Manifest { identity, schema, states, cases } = manifest();
    let old = |case: newest::MapperCase| {
        let newest::Expected { outcome, state, severity, key, value, reason } = case.expected;
        let expected = contract::Expected { outcome, state, severity, key, value, reason };
        contract::MapperCase { name: case.name, given: case.given, expected }
    };
    contract::Manifest { identity, schema, states, cases: cases.into_iter().map(old).collect() }
}

fn manifest() -> newest::Manifest {
    // SAFETY: reads a static through a reference; volatile, as its bytes may be changed in the file.
    #[allow(unsafe_code)]
    let mood = unsafe { std::ptr::read_volatile(&MOOD) };
    match &mood[5..] {
        b"trap" => panic!("in no mood to describe itself"),
        b"loop" => loop {
            std::hint::black_box(&mood);
        },
        b"fail" => {
            let wrong = vec![case("never so", &[("data.key", "a"), ("data.do", "up")]).observes("down", "a")];
            mapping::manifest::<Claim<'_>, Health>("liar", "1.0.0", 1, wrong)
        }
        b"name" => mapping::manifest::<Claim<'_>, Health>("Li Ar", "1.0.0", 1, cases()),
        _ => mapping::manifest::<Claim<'_>, Health>("liar", env!("CARGO_PKG_VERSION"), 1, cases()),
    }
}

// What `export!` makes of the generated code calls through raw pointers.
#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)]
mod exported {
    use std::sync::OnceLock;

    use super::{Batch, Observations, Rule, contract};

    static TRICK: OnceLock<String> = OnceLock::new();

    impl contract::Guest for Rule {
        fn describe() -> contract::Manifest {
            // The SDK's own hook speaks to the log of the newest version.
            std::panic::set_hook(Box::new(|panic| {
                use super::bindings::stillhouse::rules::log::{Level, log};
                log(Level::Fatal, &panic.to_string());
            }));
            super::describe()
        }
        fn configure(settings: Vec<(String, String)>) -> Result<(), String> {
            let trick = settings.into_iter().find(|(name, _)| name == "trick").map(|(_, value)| value);
            TRICK.set(trick.unwrap_or_default()).map_err(|_| String::from("configured twice"))
        }
        fn map(batch: Batch) -> Observations {
            super::answer(&batch, TRICK.get().map_or("", String::as_str))
        }
    }
    super::bindings::export!(Rule with_types_in super::bindings);
}
