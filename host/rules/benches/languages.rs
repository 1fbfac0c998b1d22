//! What a rule costs in each language: `cargo bench -p stillhouse-rules --bench languages`.
//!
//! The mapper of `examples/rules`, warm, 256 signals at once. Every language answers the same, or
//! there is no table.

#[path = "../tests/languages/built.rs"]
#[allow(dead_code)]
mod built;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use stillhouse_core::columns::Observations;
use stillhouse_rules::{EngineConfig, Given, Rule, RuleEngine, batch_from_given};

const ROWS: usize = 256;
const ROUNDS: usize = 100;

fn main() {
    built::build_all();
    println!("| language | file | compile | load compiled | instance | a signal | fuel for a signal |");
    println!("|---|---|---|---|---|---|---|");
    let rust = line("Rust", &built::in_rust());
    for language in built::LANGUAGES {
        let answers = line(language, &built::rule_file(language, "probe"));
        assert!(answers == rust, "{language} answers otherwise than Rust");
    }
}

/// Measures a rule, prints its line, and gives its answers.
fn line(language: &str, file: &Path) -> Observations {
    let bytes = fs::read(file).expect("the rule has been built");
    let engine = || RuleEngine::new(EngineConfig::default()).expect("an engine");
    let start = Instant::now();
    engine().load(&bytes).expect("a sound rule");
    let compile = start.elapsed();
    // The first fills the cache where it must.
    built::engine().load(&bytes).expect("a sound rule");
    let cached = built::engine();
    let start = Instant::now();
    let rule = cached.load(&bytes).expect("a sound rule");
    let load = start.elapsed();
    let instance = (0..10).map(|_| timed(|| drop(rule.mapper(&BTreeMap::new())))).min().expect("ten");
    let (signal, fuel, answers) = signals(&rule);
    println!(
        "| {language} | {} kB | {:.0?} | {:.0?} | {:.0?} | {:.2?} | {fuel} |",
        bytes.len().div_ceil(1000),
        compile,
        load,
        instance,
        signal
    );
    answers
}

/// Time and fuel for one of many signals: the least of many rounds, since others use the machine too.
fn signals(rule: &Rule) -> (Duration, u64, Observations) {
    let given = |path: &str, value: String| Given { path: path.to_owned(), value };
    let status = ["ready", "", "starting", "ready"];
    let rows: Vec<Vec<Given>> = (0..ROWS)
        .map(|row| {
            vec![given("data.pod", format!("shop/cart-{row}")), given("data.status", status[row % 4].to_owned())]
        })
        .collect();
    let rows: Vec<&[Given]> = rows.iter().map(Vec::as_slice).collect();
    let mut batch = batch_from_given(rule.fields(), &rows).expect("the rule's fields");
    let mut instance = rule.mapper(&BTreeMap::new()).expect("an instance");
    let mut out = Observations::default();
    let mut least = Duration::MAX;
    for _ in 0..ROUNDS {
        least = least.min(timed(|| batch = instance.map(std::mem::take(&mut batch), &mut out)));
    }
    (least / ROWS as u32, instance.last().fuel / ROWS as u64, out)
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}
