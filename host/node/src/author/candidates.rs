//! The candidates that a configuration makes of an input: what a suppressor is asked about.

use std::sync::Arc;

use anyhow::Result;
use stillhouse_core::Core;
use stillhouse_core::columns::{Batch, Blobs, Values, Verdicts, verdict};
use stillhouse_core::rule::{Field, Judge, RuleId};

use super::rows::{Given, Label, join};
use crate::config::Config;
use crate::input::Input;
use crate::map::BATCH_ROWS;
use crate::run::{Options, Unwatched};
use crate::tune::Past;

/// Distils `input` as `config` says, with nothing held back, and notes each candidate of the type
/// `signal` (an index), as a suppressor with these fields is given it. They are held in memory.
///
/// # Errors
/// As [`crate::run::run`].
pub fn of(config: &Config, signal: usize, fields: &[Field], input: &Input) -> Result<Given> {
    let options = Options { shards: 1, threads: 1, batch_rows: BATCH_ROWS, ..Options::default() };
    let past = Past::read(config, std::slice::from_ref(input), &options, &mut Unwatched)?;
    let mut noted = Noted { signal: signal as u16, fields: fields.to_vec(), batches: Vec::new() };
    let mut core = Core::new(Arc::new(past.plan.clone()), 1);
    let mut events = Vec::new();
    for entry in past.entries() {
        core.step([entry.clone()], &mut noted, &mut events);
        events.clear();
    }
    let batch = join(noted.batches);
    let time = fields.iter().position(|field| field.path == "time");
    let time_us = |row: usize| match &batch.columns.get(time?)?.values {
        Values::Ints(times) => times.get(row).copied(),
        _ => None,
    };
    let labels =
        (0..batch.rows as usize).map(|row| Label { row: row as u64 + 1, time_us: time_us(row), id: String::new() });
    Ok(Given { labels: labels.collect(), batch, unread: Vec::new(), others: 0 })
}

/// Lets everything go, and remembers what it was asked.
struct Noted {
    signal: u16,
    fields: Vec<Field>,
    batches: Vec<Batch>,
}

impl Judge for Noted {
    fn fields(&self, signal_type: u16) -> Option<&[Field]> {
        (signal_type == self.signal).then_some(self.fields.as_slice())
    }

    fn judge(&mut self, _: u16, candidates: Batch, _: Blobs) -> Verdicts {
        let rows = candidates.rows as usize;
        self.batches.push(candidates);
        let (until_us, severity) = (vec![0; rows], vec![0; rows]);
        Verdicts { verdict: vec![verdict::EMIT; rows], until_us, severity, ..Verdicts::default() }
    }

    fn rule(&self, _: u16) -> Option<&RuleId> {
        None
    }
}
