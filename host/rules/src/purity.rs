//! The proof, as far as examples can give it, that an answer depends on its
//! row alone: the same rows, asked in different company, get the same answers.

use std::sync::Arc;

use stillhouse_core::rule::FieldKind;

use crate::batch::Given;
use crate::cases::{Answer, Readable, ask, caller};
use crate::error::LoadError;
use crate::load::RuleInner;

/// Different settings that are tried; the cases of more are not tried in company.
const SETTINGS_MAX: usize = 16;
/// Rows that are each asked on an instance of their own.
const ALONE_MAX: usize = 16;

/// How often one instance is asked the same batch again.
const AGAIN: usize = 64;

/// A row with the name that an error shows.
struct Row<'a> {
    name: String,
    given: &'a [Given],
}

/// Asks the rows of all cases, and two made up from the fields, in one batch,
/// again, reversed, one by one, on a fresh instance and alone on fresh instances.
pub(crate) fn prove<W: Readable>(rule: &Arc<RuleInner>, pre: &W::Pre) -> Result<(), LoadError> {
    let present = present_probe(rule);
    let mut tried: Vec<&[(String, String)]> = Vec::new();
    for case in &rule.cases {
        if !tried.contains(&case.settings.as_slice()) && tried.len() < SETTINGS_MAX {
            tried.push(&case.settings);
        }
    }
    // Without cases the made-up rows remain; a suppressor may need settings to start at all.
    if tried.is_empty() {
        tried.push(&[]);
    }
    for settings in tried {
        let of_cases = rule
            .cases
            .iter()
            .filter(|c| c.settings == settings)
            .map(|case| Row { name: format!("the case `{}`", case.name), given: &case.given });
        prove_with::<W>(rule, pre, settings, &of_cases.collect::<Vec<_>>())?;
        // Apart from the cases: a rule may fail on these, and gets a fresh instance then, which
        // would hide what it remembers.
        let made_up = [
            Row { name: "a row without any field".to_owned(), given: &[] },
            Row { name: "a row with every field".to_owned(), given: &present },
        ];
        prove_with::<W>(rule, pre, settings, &made_up)?;
    }
    Ok(())
}

fn prove_with<W: Readable>(
    rule: &Arc<RuleInner>,
    pre: &W::Pre,
    settings: &[(String, String)],
    rows: &[Row<'_>],
) -> Result<(), LoadError> {
    let given: Vec<&[Given]> = rows.iter().map(|r| r.given).collect();
    let reversed: Vec<&[Given]> = given.iter().rev().copied().collect();

    let mut warm = caller::<W>(rule, pre, settings)?;
    let first = ask(&mut warm, rule, &given)?;
    let same = |how, answers: &[Answer]| compare(rows, &first, how, answers);

    // Often, for a rule that counts its answers and changes its mind late.
    for _ in 0..AGAIN {
        same("in the same batch again", &ask(&mut warm, rule, &given)?)?;
    }
    same("in the reversed batch", &back(ask(&mut warm, rule, &reversed)?))?;
    let mut singles = Vec::with_capacity(rows.len());
    for row in &given {
        singles.append(&mut ask(&mut warm, rule, &[row])?);
    }
    same("one by one", &singles)?;
    drop(warm);

    let mut fresh = caller::<W>(rule, pre, settings)?;
    same("in the reversed batch on a fresh instance", &back(ask(&mut fresh, rule, &reversed)?))?;
    drop(fresh);
    for (row, (given, first)) in rows.iter().zip(given.iter().zip(&first)).take(ALONE_MAX) {
        let alone = ask(&mut caller::<W>(rule, pre, settings)?, rule, &[given])?;
        compare(std::slice::from_ref(row), std::slice::from_ref(first), "alone on a fresh instance", &alone)?;
    }
    Ok(())
}

fn back(mut answers: Vec<Answer>) -> Vec<Answer> {
    answers.reverse();
    answers
}

fn compare(rows: &[Row<'_>], first: &[Answer], how: &'static str, other: &[Answer]) -> Result<(), LoadError> {
    for (row, (one, other)) in rows.iter().zip(first.iter().zip(other)) {
        if !one.agrees(other) {
            return Err(LoadError::Impure {
                row: row.name.clone(),
                one: one.to_string(),
                one_how: "in one batch with the others",
                other: other.to_string(),
                other_how: how,
            });
        }
    }
    Ok(())
}

/// A value for every field.
fn present_probe(rule: &RuleInner) -> Vec<Given> {
    let value = |kind, path: &str| match kind {
        FieldKind::Text if path == "data" => "{}",
        FieldKind::Text => "probe",
        FieldKind::Int => "1",
        FieldKind::Float => "1.5",
        FieldKind::Bool => "true",
    };
    let given = |path: &String, kind| Given { path: path.clone(), value: value(kind, path).to_owned() };
    rule.fields.iter().map(|field| given(&field.path, field.kind)).collect()
}
