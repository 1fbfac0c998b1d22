//! The demo: a made-up day of trouble with known truth, run through the shipped rules as a user
//! would run them.
//!
//! Everything follows from the seed; no clock is read. The truth is made together with the signals
//! but kept apart from them: the distilled events are compared with it, and with nothing else.

mod chance;
pub mod day;
mod event_view;
mod functions;
mod leaders;
mod links;
mod loads;
mod picture;
mod probes;
pub mod report;
mod trouble;
pub mod truth;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use day::Day;

/// The configuration; `@WINDOW@` stands for the maintenance window.
const CONFIGURATION: &str = include_str!("demo/stillhouse.toml");

/// By its first line a configuration is known to be the demo's own.
const MARK: &str = "# Made by `stillhouse demo`";

/// Where the files of a demo lie.
#[derive(Clone, Debug)]
pub struct Files {
    /// The configuration.
    pub configuration: PathBuf,
    /// The signals, in the order in which they arrive.
    pub signals: PathBuf,
    /// What must come out.
    pub truth: PathBuf,
    /// What came out.
    pub events: PathBuf,
}

impl Files {
    /// The files of a demo in `folder`.
    pub fn of(folder: &Path) -> Self {
        Self {
            configuration: folder.join("stillhouse.toml"),
            signals: folder.join("signals.jsonl"),
            truth: folder.join("truth.jsonl"),
            events: folder.join("events.jsonl"),
        }
    }

    /// Whether a demo was here before.
    ///
    /// # Errors
    /// If there are files of the same names that no demo made: they are not overwritten.
    pub fn are_there(&self) -> Result<bool> {
        let ours = fs::read_to_string(&self.configuration).is_ok_and(|text| text.starts_with(MARK));
        let all = [&self.configuration, &self.signals, &self.truth, &self.events];
        match all.into_iter().find(|path| path.exists()) {
            Some(path) if !ours => {
                bail!("{}: is there and was not made by a demo; name another folder with --output", path.display())
            }
            found => Ok(found.is_some()),
        }
    }

    /// Writes configuration, signals and truth.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&self, day: &Day) -> Result<()> {
        if let Some(folder) = self.configuration.parent() {
            fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
        }
        write(&self.configuration, |to| Ok(to.write_all(configuration(day).as_bytes())?))?;
        write(&self.signals, |to| Ok(day.write(to)?))?;
        write(&self.truth, |to| {
            for truth in &day.truths {
                serde_json::to_writer(&mut *to, truth)?;
                to.write_all(b"\n")?;
            }
            Ok(())
        })
    }

    /// The distilled events.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn read_events(&self) -> Result<Vec<Value>> {
        let text =
            fs::read_to_string(&self.events).with_context(|| format!("{}: cannot be read", self.events.display()))?;
        let events: Result<_, _> = text.lines().map(serde_json::from_str).collect();
        events.with_context(|| format!("{}: is not JSON", self.events.display()))
    }
}

fn write(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let fill = || -> Result<()> {
        let mut to = BufWriter::with_capacity(1 << 20, File::create(path)?);
        fill(&mut to)?;
        to.flush()?;
        Ok(())
    };
    fill().with_context(|| format!("{}: cannot be written", path.display()))
}

/// The configuration for a day.
pub fn configuration(day: &Day) -> String {
    let (from_us, to_us, keys) = &day.maintenance;
    let minute = |time_us| day::clock(time_us)[..5].to_owned();
    CONFIGURATION
        .replace("@WINDOW@", &format!("2026-03-02T{}Z/2026-03-02T{}Z {keys}", minute(*from_us), minute(*to_us)))
}
