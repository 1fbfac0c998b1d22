//! Writes what a store holds as Parquet: the log a row for each record as it was given, the events a row each.
//! Only with the feature `export`. The columns are told in `EXPORT.md`.
//!
//! Rows are gathered into row groups of bounded size, and each is written before the next is begun, so that the
//! memory that it takes does not depend on the size of the store.

mod columns;
mod events;
mod log;

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use stillhouse_store::Sequence;

use crate::durable::Recorded;
use columns::{Column, Rows};

/// What of a store is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// What the core was given.
    Log,
    /// What left.
    Events,
}

impl What {
    fn columns(self) -> &'static [Column] {
        match self {
            Self::Log => &log::COLUMNS,
            Self::Events => &events::COLUMNS,
        }
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => Sequence::Log.name(),
            Self::Events => Sequence::Events.name(),
        }
    }
}

/// Which rows and columns are wanted.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Of what.
    pub what: What,
    /// The first position of what is exported; `None`: the oldest that is kept.
    pub from: Option<u64>,
    /// The position behind the last; `None`: all.
    pub to: Option<u64>,
    /// The names of the columns, in the order that the file shall have; `None`: all of them.
    pub columns: Option<Vec<String>>,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// How many rows.
    pub rows: u64,
    /// In how many row groups.
    pub row_groups: usize,
    /// The size of the file.
    pub file_bytes: u64,
}

/// Which positions are exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    from: u64,
    to: u64,
}

/// Writes a Parquet file. It has its name once it is whole; `progress` is told how many positions are done, and
/// of how many.
///
/// # Errors
/// If a column is not known, the positions are not in the store, the store is damaged there, or the file cannot be
/// written. What was written until then is removed.
pub fn export(
    recorded: &Recorded,
    selection: &Selection,
    file: &Path,
    progress: &mut dyn FnMut(u64, u64, u64),
) -> Result<Exported> {
    let range = range(recorded, selection)?;
    let columns = chosen(selection)?;
    let store = recorded.store.path();
    if file.canonicalize().is_ok_and(|file| store.canonicalize().is_ok_and(|store| file == store)) {
        bail!("{}: is the store; writing to it would destroy it", file.display());
    }
    let part = Part::new(file)?;
    let open = File::create(&part.path).with_context(|| format!("{}: cannot be written", part.path.display()))?;
    let mut rows = Rows::new(open, selection.what, columns)?;
    let mut told = |at: u64, rows: u64| progress(at - range.from, range.to - range.from, rows);
    match selection.what {
        What::Log => log::export(recorded, range, &mut rows, &mut told)?,
        What::Events => events::export(recorded, range, &mut rows, &mut told)?,
    }
    let exported = rows.finish()?;
    part.finish(file)?;
    Ok(exported)
}

fn range(recorded: &Recorded, selection: &Selection) -> Result<Range> {
    let (sequence, what) = match selection.what {
        What::Log => (Sequence::Log, "the log"),
        What::Events => (Sequence::Events, "the events"),
    };
    let (first, next) = (recorded.store.first(sequence), recorded.store.next(sequence));
    let from = selection.from.unwrap_or(first);
    let to = selection.to.unwrap_or(next).min(next);
    if from < first {
        bail!("{what} before position {first} are no longer kept; position {from} was asked for");
    }
    if from > to || (selection.from.is_some() && from >= to) {
        bail!("{what}: expected positions from {first} to {next}, the first before the last, got {from} to {to}");
    }
    Ok(Range { from, to })
}

/// The places of the wanted columns.
fn chosen(selection: &Selection) -> Result<Vec<usize>> {
    let known = selection.what.columns();
    let Some(names) = &selection.columns else { return Ok((0..known.len()).collect()) };
    let mut chosen = Vec::new();
    for name in names {
        let Some(index) = known.iter().position(|column| column.name == name) else {
            let known: Vec<&str> = known.iter().map(|column| column.name).collect();
            bail!("{}: no column `{name}`; there are {}", selection.what.name(), crate::config::listed(&known));
        };
        if chosen.contains(&index) {
            bail!("the column `{name}` is named twice");
        }
        chosen.push(index);
    }
    if chosen.is_empty() {
        bail!("no column is named");
    }
    Ok(chosen)
}

/// A file that is not whole yet. It is removed unless it becomes so.
struct Part {
    path: PathBuf,
    is_whole: bool,
}

impl Part {
    fn new(file: &Path) -> Result<Self> {
        let Some(name) = file.file_name() else { bail!("{}: expected the name of a file", file.display()) };
        let mut part = name.to_owned();
        part.push(".part");
        Ok(Self { path: file.with_file_name(part), is_whole: false })
    }

    fn finish(mut self, file: &Path) -> Result<()> {
        std::fs::rename(&self.path, file).with_context(|| format!("{}: cannot be written", file.display()))?;
        self.is_whole = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_whole {
            // What it is dropped for is the error that counts.
            drop(std::fs::remove_file(&self.path));
        }
    }
}
