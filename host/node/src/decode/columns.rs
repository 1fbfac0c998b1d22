//! Turns fields into the columns of a rule.

use std::io::Write;

use stillhouse_core::columns::{Batch, Column, TextColumn, Values};
use stillhouse_core::rule::{Field, FieldKind};

use crate::decode::{Slot, Slots};

/// The columns of one rule's fields, filled row by row.
#[derive(Debug)]
pub struct ColumnBuilder {
    kinds: Vec<FieldKind>,
    batch: Batch,
    // Whether a row was absent in the column so far.
    gaps: Vec<bool>,
}

impl ColumnBuilder {
    /// A builder for these fields.
    pub fn new(fields: &[Field]) -> Self {
        let kinds: Vec<_> = fields.iter().map(|field| field.kind).collect();
        let batch = Batch {
            rows: 0,
            columns: kinds.iter().map(|&kind| Column { values: empty(kind), present: Vec::new() }).collect(),
        };
        let gaps = vec![false; kinds.len()];
        Self { kinds, batch, gaps }
    }

    /// The number of rows so far.
    pub fn rows(&self) -> usize {
        self.batch.rows as usize
    }

    /// Adds a row: the field number `index` of the rule is in the slot that `places` gives at `index`.
    pub fn push(&mut self, slots: &Slots<'_>, places: impl Iterator<Item = usize>) {
        let rows = self.rows();
        for (index, place) in places.enumerate() {
            let column = &mut self.batch.columns[index];
            let present = push_value(&mut column.values, slots, place);
            // A column without a gap needs no list of which rows are present.
            if !present && !self.gaps[index] {
                self.gaps[index] = true;
                column.present.resize(rows, 1);
            }
            if self.gaps[index] {
                column.present.push(u8::from(present));
            }
        }
        self.batch.rows += 1;
    }

    /// Takes the batch out.
    pub fn take(&mut self) -> Batch {
        std::mem::take(&mut self.batch)
    }

    /// Gives the memory of a batch back, to be filled again.
    pub fn give_back(&mut self, mut batch: Batch) {
        batch.rows = 0;
        batch
            .columns
            .resize_with(self.kinds.len(), || Column { values: Values::Bools(Vec::new()), present: Vec::new() });
        for (column, &kind) in batch.columns.iter_mut().zip(&self.kinds) {
            column.present.clear();
            match (&mut column.values, kind) {
                (Values::Text(text), FieldKind::Text) => text.clear(),
                (Values::Ints(ints), FieldKind::Int) => ints.clear(),
                (Values::Floats(floats), FieldKind::Float) => floats.clear(),
                (Values::Bools(bools), FieldKind::Bool) => bools.clear(),
                (values, kind) => *values = empty(kind),
            }
        }
        self.gaps.fill(false);
        self.batch = batch;
    }
}

fn empty(kind: FieldKind) -> Values {
    match kind {
        FieldKind::Text => Values::Text(TextColumn::default()),
        FieldKind::Int => Values::Ints(Vec::new()),
        FieldKind::Float => Values::Floats(Vec::new()),
        FieldKind::Bool => Values::Bools(Vec::new()),
    }
}

/// Adds one value and tells whether there was one. A value of another kind is converted where
/// nothing is lost and is absent otherwise.
fn push_value(values: &mut Values, slots: &Slots<'_>, place: usize) -> bool {
    let slot = slots.values[place];
    match values {
        Values::Text(column) => {
            let present = match slot {
                Slot::Text(text) => {
                    column.data.extend_from_slice(text.as_bytes());
                    true
                }
                Slot::Unescaped(start, end) => {
                    column.data.extend_from_slice(&slots.unescaped.as_bytes()[start as usize..end as usize]);
                    true
                }
                // Writing into a vector cannot fail.
                Slot::Int(number) => write!(column.data, "{number}").is_ok(),
                Slot::Float(number) => write!(column.data, "{number}").is_ok(),
                Slot::Bool(value) => write!(column.data, "{value}").is_ok(),
                Slot::Absent => false,
            };
            column.end_row();
            present
        }
        Values::Ints(column) => {
            let int = match slot {
                Slot::Int(number) => Some(number),
                Slot::Float(number) if number.fract() == 0.0 && number.abs() < 9.0e15 => Some(number as i64),
                _ => slots.text(place).and_then(|text| text.trim().parse().ok()),
            };
            column.push(int.unwrap_or(0));
            int.is_some()
        }
        Values::Floats(column) => {
            let float = match slot {
                Slot::Int(number) => Some(number as f64),
                Slot::Float(number) => Some(number),
                _ => slots.text(place).and_then(|text| text.trim().parse().ok()),
            };
            let float = float.filter(|number: &f64| number.is_finite());
            column.push(float.unwrap_or(0.0));
            float.is_some()
        }
        Values::Bools(column) => {
            let value = match slot {
                Slot::Bool(value) => Some(value),
                _ => slots.text(place).and_then(|text| text.trim().parse::<bool>().ok()),
            };
            column.push(u8::from(value.unwrap_or(false)));
            value.is_some()
        }
        Values::Dict { .. } => false,
    }
}
