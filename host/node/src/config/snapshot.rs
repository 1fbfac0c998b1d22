//! `[[snapshot]]`: a file that says how all entities of a signal type are.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use stillhouse_core::reconcile::ReconcilePlan;
use toml::Spanned;

use crate::config::duration::Duration;
use crate::config::schema::{Format, Mode};
use crate::config::{InputConfig, Refusal, SignalConfig, did_you_mean, listed, refuse};
use crate::decode::framing::Framing;

/// `[[snapshot]]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The signal type.
    pub signal: Spanned<String>,
    /// The file, relative to the configuration; the first `[[input]]` whose `files` match its name reads it.
    pub file: Spanned<String>,
    /// How many entities that differ are corrected in a second of event time (1,000).
    pub rate: Option<Spanned<u32>>,
    /// Who was heard of so shortly before is left alone (10s).
    pub grace: Option<Duration>,
}

/// A checked `[[snapshot]]`.
#[derive(Clone, Debug)]
pub struct SnapshotConfig {
    /// The signal type.
    pub signal: String,
    /// The file.
    pub path: PathBuf,
    /// Its name, by which an `[[input]]` reads it.
    pub name: String,
    /// How it is cut into records.
    pub framing: Framing,
    /// Where the configuration names the file.
    pub span: Range<usize>,
}

/// Checks all of them, and tells the signal types how they are compared.
pub(super) fn check(
    snapshots: Vec<Snapshot>,
    inputs: &[InputConfig],
    signals: &mut [SignalConfig],
    base: &Path,
) -> Result<Vec<SnapshotConfig>, Refusal> {
    let mut checked: Vec<SnapshotConfig> = Vec::new();
    for snapshot in snapshots {
        if checked.iter().any(|other| other.signal == *snapshot.signal.get_ref()) {
            let message =
                format!("`{}` has a snapshot already, and one says how all of them are", snapshot.signal.get_ref());
            return Err(refuse(snapshot.signal.span(), message));
        }
        checked.push(snapshot.check(inputs, signals, base)?);
    }
    Ok(checked)
}

impl Snapshot {
    fn check(
        self,
        inputs: &[InputConfig],
        signals: &mut [SignalConfig],
        base: &Path,
    ) -> Result<SnapshotConfig, Refusal> {
        let index = self.signal_type(signals)?;
        let span = self.file.span();
        let path = base.join(self.file.get_ref());
        let name = match path.file_name() {
            Some(name) if !self.file.get_ref().is_empty() => name.to_string_lossy().into_owned(),
            _ => return Err(refuse(span, format!("expected a file, got `{}`", self.file.get_ref()))),
        };
        if path.extension().is_some_and(|extension| extension == "gz") {
            return Err(refuse(span, "a snapshot is read as it lies there: expected a file that is not compressed"));
        }
        let Some(input) = inputs.iter().find(|input| input.files.matches(&name)) else {
            let patterns: Vec<&str> = inputs.iter().map(|input| input.files.as_str()).collect();
            let message =
                format!("no `[[input]]` reads a file named `{name}`; their `files` are {}", listed(&patterns));
            return Err(refuse(span, message));
        };
        if !may_give(input, index) {
            let message = format!(
                "the `[[input]]` with `files = \"{}\"` is the first that reads `{name}`, and it gives no signals of \
                 `{}`: put one before it that does",
                input.files.as_str(),
                self.signal.get_ref()
            );
            return Err(refuse(span, message));
        }
        let default = ReconcilePlan::default();
        if let Some(rate) = self.rate.as_ref().filter(|rate| *rate.get_ref() == 0) {
            return Err(refuse(rate.span(), "`rate` must be at least 1: at 0 nothing is ever corrected"));
        }
        signals[usize::from(index)].reconcile = ReconcilePlan {
            rate: self.rate.map_or(default.rate, Spanned::into_inner),
            grace_us: self.grace.map_or(default.grace_us, |grace| grace.0),
        };
        let framing = if input.format == Format::Text { Framing::Lines } else { Framing::Json };
        Ok(SnapshotConfig { signal: self.signal.into_inner(), path, name, framing, span })
    }

    /// The index of the signal type, if it can be compared.
    fn signal_type(&self, signals: &[SignalConfig]) -> Result<u16, Refusal> {
        let known: Vec<&str> = signals.iter().map(|signal| signal.name.as_str()).collect();
        let name = self.signal.get_ref().as_str();
        let Some(index) = known.iter().position(|known| *known == name) else {
            let near = did_you_mean(name, &known);
            let message = format!("there is no `[signal.\"{name}\"]`; there is {}{near}", listed(&known));
            return Err(refuse(self.signal.span(), message));
        };
        let file = &signals[index].file;
        let reason = match () {
            () if file.mode != Mode::State => format!("has `mode = \"{}\"`", file.mode.name()),
            () if file.level.is_some() => "has a `level`, which decides its states".to_owned(),
            () => return Ok(index as u16),
        };
        let message = format!("`{name}` {reason}; only states that last, as a mapper names them, can be compared");
        Err(refuse(self.signal.span(), message))
    }
}

/// Whether an input can give signals of a type; what a CloudEvent is, it says itself.
fn may_give(input: &InputConfig, signal_type: u16) -> bool {
    match input.format {
        Format::CloudEvents => true,
        Format::Json => input.signal_type == Some(signal_type),
        Format::Text => input.patterns.iter().any(|pattern| pattern.signal_type == signal_type),
    }
}
