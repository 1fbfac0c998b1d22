//! Batches: into the generated types and back without copying a column, parts
//! of a batch, and batches from the fields of test cases.

use std::ops::Range;

use stillhouse_core::columns::{Batch, Blobs, Column, TextColumn, Values};
use stillhouse_core::rule::{Field, FieldKind};

use crate::bindings::columns as guest;

/// One field of a test case: the text is read as the field's kind says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The path of a declared field.
    pub path: String,
    /// Text as it is; an integer or float in digits; `true` or `false`.
    pub value: String,
}

/// A case gives something that its rule cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GivenError {
    /// No such field.
    #[error("gives `{path}`, which the rule does not declare; declared: {declared}")]
    Undeclared {
        /// The path that was given.
        path: String,
        /// All declared paths.
        declared: String,
    },
    /// The same field twice.
    #[error("gives `{0}` twice")]
    Twice(String),
    /// The text is no value of the field's kind.
    #[error("gives `{path}` as `{value}`: expected {expected}")]
    Value {
        /// The field.
        path: String,
        /// The text.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
}

/// Makes a batch of `rows`, one column for each of `fields`. A field that a
/// row does not give is absent.
///
/// # Errors
/// With the index of the row at fault.
pub fn batch_from_given(fields: &[Field], rows: &[&[Given]]) -> Result<Batch, (usize, GivenError)> {
    for (row, given) in rows.iter().enumerate() {
        check_given(fields, given).map_err(|e| (row, e))?;
    }
    let mut columns = Vec::with_capacity(fields.len());
    for field in fields {
        let mut values = match field.kind {
            FieldKind::Text => Values::Text(TextColumn::default()),
            FieldKind::Int => Values::Ints(Vec::new()),
            FieldKind::Float => Values::Floats(Vec::new()),
            FieldKind::Bool => Values::Bools(Vec::new()),
        };
        let mut present = Vec::with_capacity(rows.len());
        for (row, given) in rows.iter().enumerate() {
            let text = given.iter().find(|g| g.path == field.path).map(|g| g.value.as_str());
            present.push(u8::from(text.is_some()));
            push(&mut values, &field.path, text).map_err(|e| (row, e))?;
        }
        if present.iter().all(|&p| p == 1) {
            present.clear();
        }
        columns.push(Column { values, present });
    }
    Ok(Batch { rows: rows.len() as u32, columns })
}

fn check_given(fields: &[Field], given: &[Given]) -> Result<(), GivenError> {
    for (i, g) in given.iter().enumerate() {
        if !fields.iter().any(|f| f.path == g.path) {
            let declared: Vec<_> = fields.iter().map(|f| format!("`{}`", f.path)).collect();
            return Err(GivenError::Undeclared { path: g.path.clone(), declared: declared.join(", ") });
        }
        if given[..i].iter().any(|h| h.path == g.path) {
            return Err(GivenError::Twice(g.path.clone()));
        }
    }
    Ok(())
}

fn push(values: &mut Values, path: &str, text: Option<&str>) -> Result<(), GivenError> {
    let wrong =
        |expected| GivenError::Value { path: path.to_owned(), value: text.unwrap_or_default().to_owned(), expected };
    match values {
        Values::Text(column) => column.push(text.unwrap_or_default()),
        Values::Dict { codes, entries } => {
            codes.push(entries.len() as u32);
            entries.push(text.unwrap_or_default());
        }
        Values::Ints(column) => column.push(match text {
            Some(t) => t.parse().map_err(|_| wrong("a 64-bit integer"))?,
            None => 0,
        }),
        Values::Floats(column) => column.push(match text {
            Some(t) => t.parse().ok().filter(|v: &f64| v.is_finite()).ok_or_else(|| wrong("a finite number"))?,
            None => 0.0,
        }),
        Values::Bools(column) => column.push(match text {
            Some("true") => 1,
            Some("false") | None => 0,
            Some(_) => return Err(wrong("true or false")),
        }),
    }
    Ok(())
}

/// # Panics
/// If `batch` is not what `fields` declare: the host's own mistake, which must
/// not be blamed on a rule.
pub(crate) fn assert_fits(batch: &Batch, fields: &[Field]) {
    let rows = batch.rows as usize;
    assert_eq!(batch.columns.len(), fields.len(), "a batch has one column for each declared field");
    for (column, field) in batch.columns.iter().zip(fields) {
        let (kind, len) = match &column.values {
            Values::Text(text) => (FieldKind::Text, text.len()),
            Values::Dict { codes, .. } => (FieldKind::Text, codes.len()),
            Values::Ints(values) => (FieldKind::Int, values.len()),
            Values::Floats(values) => (FieldKind::Float, values.len()),
            Values::Bools(values) => (FieldKind::Bool, values.len()),
        };
        let path = &field.path;
        assert_eq!(kind, field.kind, "column `{path}` has the declared kind");
        assert_eq!(len, rows, "column `{path}` has as many values as the batch has rows");
        assert!(
            column.present.is_empty() || column.present.len() == rows,
            "column `{path}` says of every row or of none whether it is present"
        );
    }
}

/// Moves a batch into the generated types.
pub(crate) fn to_guest(batch: Batch) -> guest::Batch {
    let column = |c: Column| guest::Column {
        values: match c.values {
            Values::Text(t) => guest::Values::Text(text_to_guest(t)),
            Values::Dict { codes, entries } => {
                guest::Values::Dict(guest::Dict { codes, entries: text_to_guest(entries) })
            }
            Values::Ints(v) => guest::Values::Ints(v),
            Values::Floats(v) => guest::Values::Floats(v),
            Values::Bools(v) => guest::Values::Bools(v),
        },
        present: c.present,
    };
    guest::Batch { rows: batch.rows, columns: batch.columns.into_iter().map(column).collect() }
}

/// Moves the memos of `rows` rows into the generated types: one for each row, or both lists empty for
/// a rule that keeps none, so that it cannot tell what else the host has.
///
/// # Panics
/// If there are memos, but not one for each row: the host's own mistake.
pub(crate) fn memos_to_guest(memos: Blobs, rows: u32, keeps: bool) -> guest::Blobs {
    if !keeps {
        return guest::Blobs { offsets: Vec::new(), data: Vec::new() };
    }
    if memos.offsets.is_empty() {
        return guest::Blobs { offsets: vec![0; rows as usize + 1], data: Vec::new() };
    }
    assert_eq!(memos.offsets.len(), rows as usize + 1, "there is a memo for each row of the batch, or none at all");
    guest::Blobs { offsets: memos.offsets, data: memos.data }
}

/// Moves a batch back.
pub(crate) fn from_guest(batch: guest::Batch) -> Batch {
    let column = |c: guest::Column| Column {
        values: match c.values {
            guest::Values::Text(t) => Values::Text(text_from_guest(t)),
            guest::Values::Dict(d) => Values::Dict { codes: d.codes, entries: text_from_guest(d.entries) },
            guest::Values::Ints(v) => Values::Ints(v),
            guest::Values::Floats(v) => Values::Floats(v),
            guest::Values::Bools(v) => Values::Bools(v),
        },
        present: c.present,
    };
    Batch { rows: batch.rows, columns: batch.columns.into_iter().map(column).collect() }
}

fn text_to_guest(text: TextColumn) -> guest::Text {
    guest::Text { offsets: text.offsets, data: text.data }
}

pub(crate) fn text_from_guest(text: guest::Text) -> TextColumn {
    TextColumn { offsets: text.offsets, data: text.data }
}

/// A copy of some rows of a batch. Only for the rare batch that must be split.
///
/// # Panics
/// If the rows are not in the batch.
pub(crate) fn part(batch: &guest::Batch, rows: Range<u32>) -> guest::Batch {
    let (from, to) = (rows.start as usize, rows.end as usize);
    let column = |c: &guest::Column| guest::Column {
        values: match &c.values {
            guest::Values::Text(t) => guest::Values::Text(text_part(t, from, to)),
            guest::Values::Dict(d) => guest::Values::Dict(dict_part(d, from, to)),
            guest::Values::Ints(v) => guest::Values::Ints(v[from..to].to_vec()),
            guest::Values::Floats(v) => guest::Values::Floats(v[from..to].to_vec()),
            guest::Values::Bools(v) => guest::Values::Bools(v[from..to].to_vec()),
        },
        present: if c.present.is_empty() { Vec::new() } else { c.present[from..to].to_vec() },
    };
    guest::Batch { rows: rows.end - rows.start, columns: batch.columns.iter().map(column).collect() }
}

/// The memos of some rows.
pub(crate) fn memos_part(memos: &guest::Blobs, rows: Range<u32>) -> guest::Blobs {
    if memos.offsets.is_empty() {
        return guest::Blobs { offsets: Vec::new(), data: Vec::new() };
    }
    let (from, to) = (rows.start as usize, rows.end as usize);
    let (offsets, data) = runs_part(&memos.offsets, &memos.data, from, to);
    guest::Blobs { offsets, data }
}

/// Only the entries that the rows use, in order of their first use: a row
/// alone must not carry the cost of the entries of its batch.
fn dict_part(dict: &guest::Dict, from: usize, to: usize) -> guest::Dict {
    let mut entries = TextColumn::default();
    let mut used: Vec<u32> = Vec::new();
    let mut codes = Vec::with_capacity(to - from);
    for &code in &dict.codes[from..to] {
        let at = used.iter().position(|&u| u == code).unwrap_or_else(|| {
            let (start, end) = (dict.entries.offsets[code as usize], dict.entries.offsets[code as usize + 1]);
            entries.data.extend_from_slice(&dict.entries.data[start as usize..end as usize]);
            entries.end_row();
            used.push(code);
            used.len() - 1
        });
        codes.push(at as u32);
    }
    guest::Dict { codes, entries: text_to_guest(entries) }
}

fn text_part(text: &guest::Text, from: usize, to: usize) -> guest::Text {
    let (offsets, data) = runs_part(&text.offsets, &text.data, from, to);
    guest::Text { offsets, data }
}

fn runs_part(offsets: &[u32], data: &[u8], from: usize, to: usize) -> (Vec<u32>, Vec<u8>) {
    let base = offsets[from];
    let data = data[base as usize..offsets[to] as usize].to_vec();
    (offsets[from..=to].iter().map(|offset| offset - base).collect(), data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(path: &str, kind: FieldKind) -> Field {
        Field { path: path.to_owned(), kind }
    }

    fn given(path: &str, value: &str) -> Given {
        Given { path: path.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn a_batch_goes_there_and_back_and_into_parts() {
        let fields = [
            field("subject", FieldKind::Text),
            field("time", FieldKind::Int),
            field("data.load", FieldKind::Float),
            field("data.up", FieldKind::Bool),
        ];
        let one = [given("subject", "é"), given("time", "-3"), given("data.up", "true")];
        let two = [given("subject", "b"), given("data.load", "1.5")];
        let mut batch = batch_from_given(&fields, &[&one, &two, &one]).unwrap();
        let entries = TextColumn { offsets: vec![0, 1, 3], data: b"xyz".to_vec() };
        batch.columns.push(Column { values: Values::Dict { codes: vec![1, 1, 0], entries }, present: Vec::new() });
        assert!(batch.columns[0].present.is_empty());
        assert_eq!(batch.columns[1].present, [1, 0, 1]);
        let guest = to_guest(batch.clone());
        let part = from_guest(part(&guest, 1..3));
        assert_eq!(from_guest(guest), batch);
        let Values::Text(text) = &part.columns[0].values else { panic!() };
        assert_eq!((text.get(0), text.get(1)), ("b", "é"));
        assert_eq!(part.columns[1].values, Values::Ints(vec![0, -3]));
        assert_eq!(part.columns[3].present, [0, 1]);
        let Values::Dict { codes, entries } = &part.columns[4].values else { panic!() };
        assert_eq!(codes, &[0, 1]);
        assert_eq!((entries.get(0), entries.get(1)), ("yz", "x"));
    }

    #[test]
    fn what_a_case_cannot_give_is_refused() {
        let fields = [field("time", FieldKind::Int), field("data.up", FieldKind::Bool)];
        let error = |g: Given| batch_from_given(&fields, &[&[], &[g]]).unwrap_err();
        let (row, why) = error(given("time", "soon"));
        assert_eq!(row, 1);
        assert_eq!(why.to_string(), "gives `time` as `soon`: expected a 64-bit integer");
        let why = error(given("data.tiem", "1")).1.to_string();
        assert_eq!(why, "gives `data.tiem`, which the rule does not declare; declared: `time`, `data.up`");
        assert!(matches!(error(given("data.up", "1")).1, GivenError::Value { .. }));
    }
}
