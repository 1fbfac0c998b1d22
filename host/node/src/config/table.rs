//! `[table.NAME]`: what is known beside the signals, from a file.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use crate::config::{Refusal, did_you_mean, listed, refuse};

/// `[table.NAME]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// A `.csv` or `.jsonl` file, relative to the configuration.
    pub file: Spanned<String>,
    /// The column that rows are looked up by.
    pub key: Spanned<String>,
}

/// A checked `[table.NAME]`.
#[derive(Clone, Debug)]
pub struct TableConfig {
    /// Its name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// How the file is written.
    pub format: TableFormat,
    /// The column that rows are looked up by.
    pub key: String,
    /// Where the configuration names the file.
    pub span: Range<usize>,
}

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// Comma-separated values (RFC 4180) whose first row names the columns.
    Csv,
    /// One JSON object a line.
    JsonLines,
}

impl TableConfig {
    pub(super) fn check(name: Spanned<String>, file: Table, base: &Path) -> Result<Self, Refusal> {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
        if name.get_ref().is_empty() || !name.get_ref().chars().all(plain) {
            let message = format!("table `{}`: expected a name of letters, digits, `-` and `_`", name.get_ref());
            return Err(refuse(name.span(), message));
        }
        let span = file.file.span();
        let path = base.join(file.file.get_ref());
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => TableFormat::Csv,
            Some("jsonl" | "ndjson") => TableFormat::JsonLines,
            _ => {
                let message = format!("expected a file named `*.csv` or `*.jsonl`, got `{}`", file.file.get_ref());
                return Err(refuse(span, message));
            }
        };
        if file.key.get_ref().is_empty() {
            return Err(refuse(file.key.span(), "`key` names the column that rows are looked up by; it is empty"));
        }
        Ok(Self { name: name.into_inner(), path, format, key: file.key.into_inner(), span })
    }
}

/// Checks that `name`, which the configuration uses elsewhere, is a table.
pub(super) fn check_name(name: &Spanned<String>, tables: &[TableConfig]) -> Result<(), Refusal> {
    let known: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    if known.contains(&name.get_ref().as_str()) {
        return Ok(());
    }
    let there = if known.is_empty() { "there is none".to_owned() } else { format!("there is {}", listed(&known)) };
    let near = did_you_mean(name.get_ref(), &known);
    Err(refuse(name.span(), format!("there is no `[table.{}]`; {there}{near}", name.get_ref())))
}
