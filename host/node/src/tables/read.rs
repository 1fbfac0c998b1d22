//! Reads a table from its file. What is wrong is said with the line.

use std::fs::File;
use std::io::Read;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use stillhouse_core::table::Table;

use crate::config::{TableConfig, TableFormat, did_you_mean, hex, listed};

/// A larger file is refused.
pub const FILE_BYTES_MAX: u64 = 256 << 20;
/// A table of more rows is refused.
pub const ROWS_MAX: usize = 1_000_000;
/// A table of more cells is refused: an empty cell costs nothing in a file, but memory here.
pub const CELLS_MAX: usize = 16_000_000;
/// A table of more columns is refused.
pub const COLUMNS_MAX: usize = 1_000;
/// A longer row is refused, and so are longer names of columns taken together.
pub const ROW_BYTES_MAX: usize = 1 << 20;

/// Reads the file of a table.
///
/// # Errors
/// If it cannot be read, is beyond a bound, or a row is wrong; with the file and the line.
pub fn file(config: &TableConfig) -> Result<Table, String> {
    let shown = config.path.display();
    let mut bytes = Vec::new();
    let read = File::open(&config.path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("{shown}: cannot be read: {error}"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{shown}: a table of more than {} MiB", FILE_BYTES_MAX >> 20));
    }
    bytes_of(config, &bytes)
}

/// Reads what is in the file of a table.
///
/// # Errors
/// As [`file`].
pub fn bytes_of(config: &TableConfig, bytes: &[u8]) -> Result<Table, String> {
    table_of(config, bytes).map_err(|(line, reason)| format!("{}:{line}: {reason}", config.path.display()))
}

/// A line, from 1, and what is wrong there.
type Wrong = (u64, String);

/// The table that these bytes are.
fn table_of(config: &TableConfig, bytes: &[u8]) -> Result<Table, Wrong> {
    let table =
        Table { name: config.name.as_str().into(), digest: hex(&Sha256::digest(bytes)).into(), ..Table::default() };
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut table = Builder { table, cells: 0 };
    match config.format {
        TableFormat::Csv => csv(&config.key, bytes, &mut table)?,
        TableFormat::JsonLines => json_lines(&config.key, bytes, &mut table)?,
    }
    Ok(table.table)
}

/// A table so far, within its bounds.
struct Builder {
    table: Table,
    cells: usize,
}

impl Builder {
    fn add(&mut self, key: &str, values: Vec<Box<str>>) -> Result<(), String> {
        if key.is_empty() {
            return Err("the key is empty".into());
        }
        let row_bytes = key.len() + values.iter().map(|value| value.len()).sum::<usize>();
        if row_bytes > ROW_BYTES_MAX {
            return Err(format!("a row of {row_bytes} bytes, limit {ROW_BYTES_MAX}"));
        }
        self.cells += values.len() + 1;
        if self.cells > CELLS_MAX {
            return Err(format!("more than {CELLS_MAX} cells"));
        }
        if self.table.rows.len() == ROWS_MAX {
            return Err(format!("more than {ROWS_MAX} rows"));
        }
        match self.table.rows.insert(key.into(), values) {
            None => Ok(()),
            Some(_) => Err(format!("the key `{}` is there twice", short(key))),
        }
    }

    fn columns(&mut self, names: impl Iterator<Item = Box<str>>) -> Result<(), String> {
        self.table.columns.extend(names);
        if self.table.columns.len() > COLUMNS_MAX {
            return Err(format!("more than {COLUMNS_MAX} columns"));
        }
        let bytes: usize = self.table.columns.iter().map(|name| name.len() + 1).sum();
        if bytes > ROW_BYTES_MAX {
            return Err(format!("names of columns of {bytes} bytes, limit {ROW_BYTES_MAX}"));
        }
        Ok(())
    }
}

fn csv(key: &str, bytes: &[u8], table: &mut Builder) -> Result<(), Wrong> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let header = reader.headers().map_err(|error| wrong(&error, bytes))?.clone();
    let names: Vec<&str> = header.iter().collect();
    let Some(key_at) = names.iter().position(|name| *name == key) else {
        let near = did_you_mean(key, &names);
        return Err((1, format!("no column `{key}`, which is the `key`; there is {}{near}", listed(&names))));
    };
    let others = names.iter().enumerate().filter(|(at, _)| *at != key_at).map(|(_, name)| (*name).into());
    table.columns(others).map_err(|reason| (1, reason))?;
    if let Some((_, again)) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        return Err((1, format!("the column `{again}` is there twice")));
    }
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| wrong(&error, bytes))? {
        let values = record.iter().enumerate().filter(|(at, _)| *at != key_at).map(|(_, value)| value.into());
        let line = line_of(record.position(), bytes);
        table.add(record.get(key_at).unwrap_or_default(), values.collect()).map_err(|reason| (line, reason))?;
    }
    Ok(())
}

/// The line of a record: its position is that of the blank lines before it.
fn line_of(position: Option<&csv::Position>, bytes: &[u8]) -> u64 {
    let Some(position) = position else { return 1 };
    let rest = bytes.get(position.byte() as usize..).unwrap_or_default();
    let blank = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).filter(|byte| **byte == b'\n').count();
    position.line() + blank as u64
}

fn wrong(error: &csv::Error, bytes: &[u8]) -> Wrong {
    let line = line_of(error.position(), bytes);
    let reason = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} values, expected {expected_len} as in the first row")
        }
        csv::ErrorKind::Utf8 { .. } => "not UTF-8".into(),
        _ => error.to_string(),
    };
    (line, reason)
}

fn json_lines(key: &str, bytes: &[u8], table: &mut Builder) -> Result<(), Wrong> {
    for (line, text) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let at = |reason: String| (line as u64 + 1, reason);
        if text.trim_ascii().is_empty() {
            continue;
        }
        let mut row: Map<String, Value> =
            serde_json::from_slice(text).map_err(|error| at(format!("not a JSON object: {error}")))?;
        let found = row.remove(key).and_then(text_of);
        let found = found.ok_or_else(|| at(format!("no `{key}`, which is the `key`")))?;
        let known = &table.table.columns;
        let new: Vec<Box<str>> = row
            .keys()
            .filter(|name| !known.iter().any(|column| **column == **name))
            .map(|name| name.as_str().into())
            .collect();
        table.columns(new.into_iter()).map_err(at)?;
        let values = table.table.columns.iter().map(|name| row.remove(&**name).and_then(text_of).unwrap_or_default());
        let values = values.map(String::into_boxed_str).collect();
        table.add(&found, values).map_err(at)?;
    }
    Ok(())
}

/// A value as text: what is no text as JSON, and null as nothing.
fn text_of(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

fn short(text: &str) -> String {
    let cut: String = text.chars().take(64).collect();
    if cut.len() < text.len() { cut + "…" } else { cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: TableFormat, text: &[u8]) -> Result<Table, Wrong> {
        let key = "node".to_owned();
        let config = TableConfig { name: "topology".into(), path: "x".into(), format, key, span: 0..0 };
        table_of(&config, text)
    }

    fn check(format: TableFormat, text: &str) {
        let table = read(format, text.as_bytes()).unwrap_or_else(|(line, reason)| panic!("{line}: {reason}"));
        assert_eq!(table.get("n1", "service"), Some("cart, new"), "{table:?}");
        assert_eq!(table.get("n1", "rack"), Some("7"));
        assert_eq!(table.get("n2", "rack"), None);
        assert_eq!((table.get("n2", "node"), table.get("n3", "rack")), (None, None), "the key is no column");
        assert_eq!((table.rows.len(), table.digest.len()), (2, 64));
    }

    #[test]
    fn both_formats_say_the_same() {
        let csv = "service, node,rack\n\"cart, new\",n1,7\r\nshop, n2 ,\n";
        check(TableFormat::Csv, csv);
        check(TableFormat::Csv, &format!("\u{feff}{csv}"));
        let lines = "{\"node\":\"n1\",\"service\":\"cart, new\",\"rack\":7}\n\n{\"node\":\"n2\",\"rack\":null}";
        check(TableFormat::JsonLines, lines);
    }

    #[test]
    fn a_bad_row_is_told_with_its_line() {
        let refused = |format, text: &[u8], line, word: &str| {
            let (at, reason) = read(format, text).unwrap_err();
            assert!(at == line && reason.contains(word), "{at}: {reason}; expected {line} and `{word}`");
        };
        let csv = TableFormat::Csv;
        refused(csv, b"nod,a\nx,1\n", 1, "did you mean `nod`?");
        refused(csv, b"node,a,a\n", 1, "`a` is there twice");
        refused(csv, b"node,a\nx,1\n\ny\n", 4, "1 values, expected 2");
        refused(csv, b"node,a\nx,1\nx,2\n", 3, "`x` is there twice");
        refused(csv, b"node,a\n,1\n", 2, "key is empty");
        refused(csv, b"node,a\nx,\xff\n", 2, "not UTF-8");
        refused(csv, format!("node,a\nx,{}\n", "y".repeat(ROW_BYTES_MAX)).as_bytes(), 2, "a row of");
        let json = TableFormat::JsonLines;
        refused(json, b"{\"node\":\"x\"}\n[1]\n", 2, "not a JSON object");
        refused(json, b"{\"nod\":\"x\"}\n", 1, "no `node`");
        refused(json, b"{\"node\":\"x\"}\n{\"node\":\"x\"}\n", 2, "twice");
    }

    #[test]
    fn rows_and_cells_are_bounded() {
        let rows: String = (0..=ROWS_MAX).map(|row| format!("\n{row}")).collect();
        let (line, reason) = read(TableFormat::Csv, format!("node{rows}").as_bytes()).unwrap_err();
        assert_eq!((line, reason.as_str()), (ROWS_MAX as u64 + 2, "more than 1000000 rows"));
        let table = |columns: usize, rows: usize| {
            let names: String = (0..columns).map(|name| format!(",{name}")).collect();
            let rows: String = (0..rows).map(|row| format!("\n{row}{}", ",".repeat(columns))).collect();
            read(TableFormat::Csv, format!("node{names}{rows}").as_bytes()).unwrap_err().1
        };
        assert_eq!(table(COLUMNS_MAX, CELLS_MAX / COLUMNS_MAX), "more than 16000000 cells");
        assert_eq!(table(COLUMNS_MAX + 1, 1), "more than 1000 columns");
    }
}
