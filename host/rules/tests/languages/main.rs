//! Rules in other languages: the same answers as in Rust, under the same limits.

mod built;
mod wide;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use stillhouse_core::columns::{Batch, Observations, TextColumn, Values, outcome};
use stillhouse_rules::{Given, MapperInstance, Rule, RuleEngine, batch_from_given};

use built::LANGUAGES;

/// One for all tests, with all rules built: building and compiling take most of the time.
static ENGINE: LazyLock<RuleEngine> = LazyLock::new(|| {
    built::build_all();
    built::engine()
});

fn load(language: &str, rule: &str) -> Rule {
    let engine = &*ENGINE;
    let file = if language == "rust" { built::in_rust() } else { built::rule_file(language, rule) };
    engine.load_file(file).unwrap_or_else(|error| panic!("{language}: {error:?}"))
}

/// The same signals each time: texts of one to four bytes a character, fields that are absent.
fn signals(count: usize) -> Vec<Vec<Given>> {
    let pods = ["shop/cart-1", "shop/ä", "店/車", "ops/🚀-7", "a", "", "x/y z"];
    let states = ["ready", "", "starting", "reädy", "Ready", "🚀"];
    let mut state: u64 = 7;
    let mut roll = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let given = |path: &str, value: String| Given { path: path.to_owned(), value };
    let mut one = || {
        let mut fields = Vec::new();
        if roll(9) > 0 {
            fields.push(given("data.pod", format!("{}{}", pods[roll(pods.len())], roll(1000))));
        }
        if roll(9) > 0 {
            fields.push(given("data.status", states[roll(states.len())].to_owned()));
        }
        fields
    };
    (0..count).map(|_| one()).collect()
}

fn batch(rule: &Rule, signals: &[Vec<Given>]) -> Batch {
    let rows: Vec<&[Given]> = signals.iter().map(Vec::as_slice).collect();
    batch_from_given(rule.fields(), &rows).expect("the rule's fields")
}

/// The batch with its text as the host sends what repeats.
fn as_dict(mut batch: Batch) -> Batch {
    for column in &mut batch.columns {
        let Values::Text(text) = &column.values else { continue };
        let (mut entries, mut codes) = (TextColumn::default(), Vec::new());
        for row in 0..text.len() {
            let known = (0..entries.len()).find(|&entry| entries.get(entry) == text.get(row));
            codes.push(known.unwrap_or(entries.len()) as u32);
            if known.is_none() {
                entries.push(text.get(row));
            }
        }
        column.values = Values::Dict { codes, entries };
    }
    batch
}

/// The answer of each row, in words.
fn answers(instance: &mut MapperInstance, batch: Batch) -> Vec<String> {
    let rows = batch.rows as usize;
    let mut out = Observations::default();
    instance.map(batch, &mut out);
    let value = |row| if out.value.is_empty() { "" } else { out.value.get(row) };
    let answer = |row: usize| match out.outcome[row] {
        outcome::OBSERVED => {
            format!("{} {} `{}` `{}`", out.state[row], out.severity[row], out.key.get(row), value(row))
        }
        outcome => format!("outcome {outcome}: {}", out.reason.get(row)),
    };
    (0..rows).map(answer).collect()
}

/// Shows the first signal that is answered otherwise.
fn assert_same(got: &[String], expected: &[String], signals: &[Vec<Given>], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for ((got, expected), signal) in got.iter().zip(expected).zip(signals) {
        assert_eq!(got, expected, "{what}: {signal:?}");
    }
}

#[test]
fn every_language_gives_the_answers_of_rust() {
    let rust = load("rust", "probe");
    let signals = signals(600);
    let no_settings = BTreeMap::new();
    let expected = answers(&mut rust.mapper(&no_settings).unwrap(), batch(&rust, &signals));
    for answer in ["0 0 `shop/cart-1", "1 2 `店/車", "outcome 1: not about", "outcome 2: missing data.pod"] {
        assert!(expected.iter().any(|got| got.starts_with(answer)), "no signal tries `{answer}`");
    }
    for language in LANGUAGES {
        let rule = load(language, "probe");
        assert_eq!(rule.fields(), rust.fields(), "{language}");
        assert_eq!(rule.states(), rust.states(), "{language}");
        assert_eq!(rule.cases(), rust.cases(), "{language}");
        assert_eq!((rule.schema(), rule.contract()), (rust.schema(), rust.contract()), "{language}");
        assert_eq!((&rule.id().name, &rule.id().version), (&rust.id().name, &rust.id().version), "{language}");
        let mut instance = rule.mapper(&no_settings).unwrap();
        for rows in [600, 256, 7, 1] {
            let got: Vec<String> =
                signals.chunks(rows).flat_map(|some| answers(&mut instance, batch(&rule, some))).collect();
            assert_same(&got, &expected, &signals, &format!("{language}, {rows} rows at once"));
        }
        let got = answers(&mut instance, as_dict(batch(&rule, &signals)));
        assert_same(&got, &expected, &signals, &format!("{language}, dictionaries"));
        let unknown = BTreeMap::from([("colour".to_owned(), "red".to_owned())]);
        let refused = rule.mapper(&unknown).err().expect("refused").to_string();
        assert!(refused.contains("this rule has no settings"), "{language}: {refused}");
    }
}

/// Rubbish is tidied in time: a warm instance stays within its memory.
#[test]
fn a_warm_instance_lasts() {
    let signals = signals(256);
    for language in LANGUAGES {
        let rule = load(language, "probe");
        let mut instance = rule.mapper(&BTreeMap::new()).unwrap();
        let first = answers(&mut instance, batch(&rule, &signals));
        for _ in 0..200 {
            assert_eq!(answers(&mut instance, batch(&rule, &signals)), first, "{language}");
            assert_eq!(instance.last().replaced, 0, "{language}: {:?}", instance.last());
        }
    }
}
