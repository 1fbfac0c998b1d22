//! The proof, as far as examples can give it, that an answer depends on its
//! row alone: the same rows, asked in different company, get the same answers.

use std::sync::Arc;

use stillhouse_core::rule::FieldKind;

use crate::batch::Given;
use crate::cases::{Asked, Case, Readable, Reply, ask, caller};
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
    memo: Vec<u8>,
}

/// Asks the rows of all cases, and two made up from the fields, in one batch,
/// again, reversed, one by one, on a fresh instance and alone on fresh instances;
/// and where the rule keeps memos, the rows of all cases with other ones than theirs.
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
        let cases: Vec<&Case> = rule.cases.iter().filter(|case| case.settings == settings).collect();
        let own = cases.iter().copied().map(|case| Row {
            name: format!("the case `{}`", case.name),
            given: &case.given,
            memo: case.memo.clone(),
        });
        prove_with::<W>(rule, pre, settings, &own.collect::<Vec<_>>())?;
        // Apart from the cases: a rule may fail on these, and gets a fresh instance then, which
        // would hide what it remembers.
        let made_up = |name: &str, given| Row { name: name.to_owned(), given, memo: Vec::new() };
        let made_up = [made_up("a row without any field", &[]), made_up("a row with every field", &present)];
        prove_with::<W>(rule, pre, settings, &made_up)?;
        if let Some(memo) = &rule.memo {
            prove_with::<W>(rule, pre, settings, &with_other_memos(&cases, &present, memo.bytes_max as usize))?;
        }
    }
    Ok(())
}

/// Each case with no memo, with that of the next case, and with bytes that mean nothing.
fn with_other_memos<'a>(cases: &[&'a Case], present: &'a [Given], bytes_max: usize) -> Vec<Row<'a>> {
    let mut noise = Noise(1);
    let mut rows = Vec::with_capacity(cases.len() * 3 + 1);
    for (case, next) in cases.iter().zip(cases.iter().cycle().skip(1)) {
        let mut row = |what: &str, memo| {
            rows.push(Row { name: format!("the case `{}` with {what}", case.name), given: &case.given, memo });
        };
        row("no memo", Vec::new());
        row("the memo of another case", next.memo.clone());
        row("random bytes as its memo", noise.bytes(bytes_max));
    }
    let name = "a row with every field and random bytes as its memo".to_owned();
    rows.push(Row { name, given: present, memo: noise.bytes(bytes_max) });
    rows
}

/// Bytes that look random and are the same each time (Knuth's MMIX generator).
struct Noise(u64);

impl Noise {
    fn byte(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 56) as u8
    }

    /// Every second time as many as there may be, so that what depends on the length is met, too.
    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let len = if self.byte() < 128 { most } else { usize::from(self.byte()) % most + 1 };
        (0..len).map(|_| self.byte()).collect()
    }
}

fn prove_with<W: Readable>(
    rule: &Arc<RuleInner>,
    pre: &W::Pre,
    settings: &[(String, String)],
    rows: &[Row<'_>],
) -> Result<(), LoadError> {
    let asked: Vec<Asked<'_>> = rows.iter().map(|row| Asked { given: row.given, memo: &row.memo }).collect();
    let reversed: Vec<Asked<'_>> = asked.iter().rev().copied().collect();

    let mut warm = caller::<W>(rule, pre, settings)?;
    let first = ask(&mut warm, rule, &asked)?;
    let same = |how, replies: &[Reply]| compare(rows, &first, how, replies);

    // Often, for a rule that counts its answers and changes its mind late.
    for _ in 0..AGAIN {
        same("in the same batch again", &ask(&mut warm, rule, &asked)?)?;
    }
    same("in the reversed batch", &back(ask(&mut warm, rule, &reversed)?))?;
    let mut singles = Vec::with_capacity(rows.len());
    for row in &asked {
        singles.append(&mut ask(&mut warm, rule, &[*row])?);
    }
    same("one by one", &singles)?;
    drop(warm);

    let mut fresh = caller::<W>(rule, pre, settings)?;
    same("in the reversed batch on a fresh instance", &back(ask(&mut fresh, rule, &reversed)?))?;
    drop(fresh);
    for (row, (asked, first)) in rows.iter().zip(asked.iter().zip(&first)).take(ALONE_MAX) {
        let alone = ask(&mut caller::<W>(rule, pre, settings)?, rule, &[*asked])?;
        compare(std::slice::from_ref(row), std::slice::from_ref(first), "alone on a fresh instance", &alone)?;
    }
    Ok(())
}

fn back(mut replies: Vec<Reply>) -> Vec<Reply> {
    replies.reverse();
    replies
}

fn compare(rows: &[Row<'_>], first: &[Reply], how: &'static str, other: &[Reply]) -> Result<(), LoadError> {
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
