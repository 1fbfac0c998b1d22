//! Cells in columns.

use std::fmt::Write;

use crate::demo::report::Paint;

/// On which side a column has its edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// For words.
    Left,
    /// For numbers.
    Right,
}

/// Rows that are printed as they come: a column is as wide as its widest cell so far.
#[derive(Debug)]
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    widths: Vec<usize>,
    rows: Vec<Vec<String>>,
    headed: bool,
}

/// A wider cell does not push the columns after it away for the rows below.
const WIDTH_MAX: usize = 48;

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[(&'static str, Align)]) -> Self {
        let widths = columns.iter().map(|(name, _)| name.chars().count()).collect();
        Self { columns: columns.to_vec(), widths, rows: Vec::new(), headed: false }
    }

    /// Adds a row. An empty cell is shown as `-`.
    pub fn push(&mut self, cells: Vec<String>) {
        let cells: Vec<String> =
            cells.into_iter().map(|cell| if cell.is_empty() { "-".into() } else { cell }).collect();
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = (*width).max(cell.chars().count().min(WIDTH_MAX));
        }
        self.rows.push(cells);
    }

    /// The rows since the last time as text, below the head if it has not been shown.
    pub fn take(&mut self, paint: Paint) -> String {
        let mut out = String::new();
        if !std::mem::replace(&mut self.headed, true) {
            let head: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
            let _ = writeln!(out, "{}", paint.bold(&self.line(&head)));
        }
        for row in std::mem::take(&mut self.rows) {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{}", self.line(&row));
        }
        out
    }

    fn line(&self, cells: &[String]) -> String {
        let mut line = String::new();
        for (at, (cell, (_, align))) in cells.iter().zip(&self.columns).enumerate() {
            let width = self.widths[at];
            let gap = if at == 0 { "" } else { "  " };
            let _ = match align {
                Align::Left => write!(line, "{gap}{cell:<width$}"),
                Align::Right => write!(line, "{gap}{cell:>width$}"),
            };
        }
        line.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[("row", Align::Right), ("key", Align::Left), ("why", Align::Left)]);
        table.push(vec!["1".into(), "a".into(), String::new()]);
        table.push(vec!["20".into(), "long".into(), "x".into()]);
        assert_eq!(table.take(Paint(false)), "row  key   why\n  1  a     -\n 20  long  x\n");
        table.push(vec!["3".into(), "b".into(), "y".into()]);
        assert_eq!(table.take(Paint(false)), "  3  b     y\n");
    }
}
