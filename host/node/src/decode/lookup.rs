//! Looks wanted fields up in tables, once the fields that are their keys have been read.

use std::fmt::Write;
use std::sync::Arc;

use stillhouse_core::table::Table;

use crate::decode::{Slot, Slots};
use crate::tables::TablePath;

/// One wanted field that is a column of a table.
#[derive(Clone, Debug)]
pub struct Lookup {
    table: Box<str>,
    column: Box<str>,
    /// The slot of the key.
    key: usize,
    /// The slot that is filled.
    to: usize,
    /// The table in force, and which of its columns it is.
    from: Option<(Arc<Table>, usize)>,
}

impl Lookup {
    /// A look-up whose table has not been given yet.
    pub fn new(path: TablePath<'_>, key: usize, to: usize) -> Self {
        Self { table: path.table.into(), column: path.column.into(), key, to, from: None }
    }

    /// From now on this version counts, if it is the table in question.
    pub fn set(&mut self, table: &Arc<Table>) {
        if self.table == table.name {
            let column = table.columns.iter().position(|column| *column == self.column);
            self.from = column.map(|column| (Arc::clone(table), column));
        }
    }

    /// Fills the slot; it is absent where the key, the row or the value is.
    pub fn fill(&self, slots: &mut Slots<'_>) {
        slots.values[self.to] = match self.find(slots) {
            Some(value) => {
                let start = slots.unescaped.len() as u32;
                slots.unescaped.push_str(value);
                Slot::Unescaped(start, slots.unescaped.len() as u32)
            }
            None => Slot::Absent,
        };
    }

    fn find(&self, slots: &mut Slots<'_>) -> Option<&str> {
        let (table, column) = self.from.as_ref()?;
        let row = match slots.text(self.key) {
            Some(key) => table.rows.get(key),
            None => {
                // A number is written behind the other texts, and taken away again.
                let start = slots.unescaped.len();
                // Writing into a string cannot fail.
                let _ = match slots.values[self.key] {
                    Slot::Int(number) => write!(slots.unescaped, "{number}"),
                    Slot::Float(number) => write!(slots.unescaped, "{number}"),
                    Slot::Bool(value) => write!(slots.unescaped, "{value}"),
                    _ => return None,
                };
                let row = table.rows.get(&slots.unescaped[start..]);
                slots.unescaped.truncate(start);
                row
            }
        };
        row?.get(*column).map(|value| &**value).filter(|value| !value.is_empty())
    }
}
