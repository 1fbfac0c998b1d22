//! Runs a rule's cases natively: with no host and no WebAssembly.

use std::fmt::Debug;

use crate::bindings::mapper::exports::stillhouse::rules::mapper_rule::{Expected, Observations};
use crate::bindings::suppressor::exports::stillhouse::rules::suppressor_rule as suppressor;
use crate::columns::{Batch, Blobs, Column, Dict, Text, Values};
use crate::declaration::{Field, FieldKind, Given, State};
use crate::judging::SuppressorRule;
use crate::mapping::MapperRule;
use crate::signal::Settings;

/// Runs all cases of a mapper, together and each alone.
///
/// # Panics
/// With the name, the expected and the actual answer of the first case that fails; or if there is
/// no case, or a canonical state that no case reaches.
pub fn check_mapper<R: MapperRule>() {
    let manifest = R::manifest();
    let settings = R::Settings::read(&[]).expect("a mapper's cases run with its default settings");
    assert!(!manifest.cases.is_empty(), "a rule needs at least one case");
    for state in &manifest.states {
        let reached = manifest.cases.iter().any(|case| case.expected.outcome == 0 && case.expected.state == state.name);
        assert!(reached, "no case observes the state `{}`", state.name);
    }
    let rows: Vec<&[Given]> = manifest.cases.iter().map(|case| case.given.as_slice()).collect();
    let together = R::map(&settings, &batch_of(&manifest.identity.fields, &rows));
    for (index, case) in manifest.cases.iter().enumerate() {
        let alone = R::map(&settings, &batch_of(&manifest.identity.fields, &rows[index..=index]));
        for (answer, row, how) in [(&together, index, "with all cases"), (&alone, 0, "alone")] {
            compare(&case.name, how, &case.expected, &answer_of(answer, row, &manifest.states));
        }
    }
}

/// Runs all cases of a suppressor, each with its settings and its memo; and once more with bytes that
/// are nobody's memo, which must not make it panic.
///
/// # Panics
/// As [`check_mapper`], or if a case's settings are refused.
pub fn check_suppressor<R: SuppressorRule>() {
    let manifest = R::manifest();
    assert!(!manifest.cases.is_empty(), "a rule needs at least one case");
    for case in &manifest.cases {
        let settings = R::Settings::read(&case.settings)
            .unwrap_or_else(|error| panic!("case `{}`: settings refused: {error}", case.name));
        let batch = batch_of(&manifest.identity.fields, &[&case.given]);
        let judge = |memo: &[u8]| match &manifest.memo {
            Some(_) => R::judge(&settings, &batch, &Blobs { offsets: vec![0, memo.len() as u32], data: memo.to_vec() }),
            None => R::judge(&settings, &batch, &Blobs { offsets: Vec::new(), data: Vec::new() }),
        };
        let answer = judge(&case.memo);
        let actual = suppressor::Expected {
            verdict: answer.verdict[0],
            until: answer.until[0],
            severity: answer.severity[0],
            reason: dict_entry(&answer.reason, 0),
            memo: case.expected.memo.as_ref().map(|_| answer.memo.data),
        };
        compare(&case.name, "alone", &case.expected, &actual);
        let bytes_max = manifest.memo.map_or(0, |memo| memo.bytes_max as usize);
        for garbled in [0x00, 0x7F, 0x80, 0xFF] {
            judge(&vec![garbled; bytes_max]);
            judge(&vec![garbled; bytes_max / 2]);
        }
    }
}

fn compare<T: Debug>(case: &str, how: &str, expected: &T, actual: &T) {
    let (expected, actual) = (format!("{expected:#?}"), format!("{actual:#?}"));
    assert!(expected == actual, "case `{case}` ({how}):\nexpected {expected}\ngot {actual}");
}

fn answer_of(answer: &Observations, row: usize, states: &[State]) -> Expected {
    let observed = answer.outcome[row] == 0;
    Expected {
        outcome: answer.outcome[row],
        state: if observed { states[answer.state[row] as usize].name.clone() } else { String::new() },
        severity: answer.severity[row],
        key: text_row(&answer.key, row),
        value: text_row(&answer.value, row),
        reason: if observed { String::new() } else { dict_entry(&answer.reason, row) },
    }
}

fn text_row(text: &Text, row: usize) -> String {
    if text.offsets.is_empty() {
        return String::new();
    }
    let bytes = &text.data[text.offsets[row] as usize..text.offsets[row + 1] as usize];
    String::from_utf8(bytes.to_vec()).expect("answers are UTF-8")
}

fn dict_entry(dict: &Dict, row: usize) -> String {
    dict.codes.get(row).map_or_else(String::new, |&code| text_row(&dict.entries, code as usize))
}

/// The batch that the host would send for these rows.
///
/// # Panics
/// If a path is not a field of the rule, or a value is not of its kind.
pub fn batch_of(fields: &[Field], rows: &[&[Given]]) -> Batch {
    for given in rows.iter().flat_map(|row| row.iter()) {
        assert!(fields.iter().any(|field| field.path == given.path), "the rule reads no field `{}`", given.path);
    }
    let columns = fields.iter().map(|field| column_of(field, rows)).collect();
    Batch { rows: rows.len() as u32, columns }
}

fn column_of(field: &Field, rows: &[&[Given]]) -> Column {
    let values: Vec<Option<&str>> = rows
        .iter()
        .map(|row| row.iter().find(|given| given.path == field.path).map(|given| given.value.as_str()))
        .collect();
    let read = |kind: &str, value: &str| -> ! { panic!("field `{}`: `{value}` is not {kind}", field.path) };
    let present = values.iter().map(|value| u8::from(value.is_some())).collect();
    let values = match field.kind {
        FieldKind::Text => {
            let mut text = Text { offsets: vec![0], data: Vec::new() };
            for value in &values {
                text.data.extend_from_slice(value.unwrap_or("").as_bytes());
                text.offsets.push(text.data.len() as u32);
            }
            Values::Text(text)
        }
        FieldKind::Int => Values::Ints(
            values.iter().map(|v| v.map_or(0, |v| v.parse().unwrap_or_else(|_| read("an int", v)))).collect(),
        ),
        FieldKind::Float => Values::Floats(
            values.iter().map(|v| v.map_or(0.0, |v| v.parse().unwrap_or_else(|_| read("a float", v)))).collect(),
        ),
        FieldKind::Bool => Values::Bools(
            values
                .iter()
                .map(|v| v.map_or(0, |v| u8::from(v.parse::<bool>().unwrap_or_else(|_| read("true or false", v)))))
                .collect(),
        ),
    };
    Column { values, present }
}
