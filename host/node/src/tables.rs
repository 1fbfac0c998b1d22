//! Enrichment tables: files that say what is known of a key beside its signals.
//!
//! A table is read as a whole ([`read`]), becomes entries of the log, and is looked up while signals
//! are decoded: the version that was given before a chunk counts for that chunk. With `--follow` the
//! files are watched ([`watch`]).

pub mod read;
pub mod watch;

use std::sync::Arc;

use stillhouse_core::rule::Field;
use stillhouse_core::table::Table;

use crate::config::{Config, ConfigError, TableConfig, did_you_mean, listed, refuse};

/// A mapper's field that is looked up in a table: `table.NAME[FIELD].COLUMN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TablePath<'a> {
    /// The table.
    pub table: &'a str,
    /// The path of the signal whose value is the key.
    pub field: &'a str,
    /// The column.
    pub column: &'a str,
}

impl<'a> TablePath<'a> {
    /// The parts of a path; `None` if it is no path into a table.
    pub fn parse(path: &'a str) -> Option<Self> {
        let (table, rest) = path.strip_prefix("table.")?.split_once('[')?;
        let (field, column) = rest.rsplit_once("].")?;
        Some(Self { table, field, column })
    }
}

/// What the mappers look up: each path once for each signal type, with the type's index.
fn looked_up(types: &[(String, Vec<Field>)]) -> impl Iterator<Item = (usize, TablePath<'_>)> {
    types.iter().enumerate().flat_map(|(index, (_, fields))| {
        fields.iter().filter_map(move |field| Some((index, TablePath::parse(&field.path)?)))
    })
}

/// Checks that every table that a mapper looks into is configured.
///
/// # Errors
/// If one is not, with the line that names the mapper.
pub fn check_names(config: &Config, types: &[(String, Vec<Field>)]) -> Result<(), ConfigError> {
    let known: Vec<&str> = config.tables.iter().map(|table| table.name.as_str()).collect();
    for (index, path) in looked_up(types) {
        if !known.contains(&path.table) {
            let mapper = &config.signals[index].mapper;
            let there = match known.as_slice() {
                [] => "there is none".to_owned(),
                known => format!("there is {}", listed(known)),
            };
            let message = format!(
                "mapper `{}` reads `{}` of the table `{}`: add `[table.{}]` with `file` and `key`; {there}{}",
                mapper.name,
                path.column,
                path.table,
                path.table,
                did_you_mean(path.table, &known)
            );
            return Err(config.error(refuse(mapper.span.clone(), message)));
        }
    }
    Ok(())
}

/// Checks that `table` has every column that a mapper reads of it.
///
/// # Errors
/// If it has not, with the line that names the mapper.
pub fn check_columns(config: &Config, types: &[(String, Vec<Field>)], table: &Table) -> Result<(), ConfigError> {
    let known: Vec<&str> = table.columns.iter().map(|column| &**column).collect();
    for (index, path) in looked_up(types).filter(|(_, path)| *path.table == *table.name) {
        if !known.contains(&path.column) {
            let mapper = &config.signals[index].mapper;
            let message = format!(
                "mapper `{}` reads the column `{}` of the table `{}`, which has {}{}",
                mapper.name,
                path.column,
                table.name,
                if known.is_empty() { "none beside its key".to_owned() } else { listed(&known) },
                did_you_mean(path.column, &known)
            );
            return Err(config.error(refuse(mapper.span.clone(), message)));
        }
    }
    let parent = config.inhibit.as_ref().filter(|inhibit| inhibit.table == table.name).map(|inhibit| &*inhibit.column);
    match parent.filter(|column| !known.contains(column)) {
        None => Ok(()),
        Some(column) => {
            let span =
                config.tables.iter().find(|known| *known.name == *table.name).map_or(0..0, |known| known.span.clone());
            let message = format!(
                "`[inhibit]` needs the column `{column}` of this table, which has {}{}",
                listed(&known),
                did_you_mean(column, &known)
            );
            Err(config.error(refuse(span, message)))
        }
    }
}

/// A table that is needed and that `has` does not know.
pub fn missing<'c>(
    config: &'c Config,
    types: &'c [(String, Vec<Field>)],
    has: impl Fn(&str) -> bool,
) -> Option<&'c str> {
    let parents = config.inhibit.iter().map(|inhibit| &*inhibit.table);
    looked_up(types).map(|(_, path)| path.table).chain(parents).find(|table| !has(table))
}

/// Reads every configured table and checks that it has what the mappers read of it.
///
/// # Errors
/// If a file cannot be read or is no such table, or a mapper asks for what is not there.
pub fn load(config: &Config, types: &[(String, Vec<Field>)]) -> Result<Vec<Arc<Table>>, ConfigError> {
    check_names(config, types)?;
    let read = |table: &TableConfig| {
        let read = read::file(table).map_err(|reason| config.error(refuse(table.span.clone(), reason)))?;
        check_columns(config, types, &read)?;
        Ok(Arc::new(read))
    };
    config.tables.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_into_a_table_has_three_parts() {
        let parse = |path| TablePath::parse(path).map(|path| (path.table, path.field, path.column));
        assert_eq!(parse("table.topology[subject].service"), Some(("topology", "subject", "service")));
        assert_eq!(parse("table.a[data.x[1].y].b"), Some(("a", "data.x[1].y", "b")));
        for other in ["data.table[x].y", "table.a.b", "table.a[b]", "subject"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
