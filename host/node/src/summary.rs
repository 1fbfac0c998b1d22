//! What a run was: the summary at its end, for people.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use stillhouse_core::sequencer::Bounds;
use stillhouse_core::{Event, Ledger};

/// Counts of a run so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Events that left, by type.
    pub events: BTreeMap<&'static str, u64>,
    /// Dead letters by reason; at most [`REASONS_MAX`] are told apart.
    pub dead: BTreeMap<Box<str>, u64>,
    /// Records that were withheld as a whole, since what a mask would have hidden cannot be known.
    pub withheld: u64,
    /// Records of inputs that may be let go, that were while the host was behind.
    pub shed: u64,
    /// Dead letters that a store has forgotten, since it keeps no more.
    pub dead_forgotten: u64,
    /// New versions of tables while inputs were followed: taken, and refused.
    pub tables: (u64, u64),
    /// How long a chunk took from being read to its events being written, in microseconds, by
    /// power-of-two bucket.
    latency: [u64; 32],
}

/// How many reasons of dead letters are told apart in the summary.
pub const REASONS_MAX: usize = 64;

impl Tally {
    /// Counts an event.
    pub fn event(&mut self, event: &Event) {
        *self.events.entry(event.kind).or_default() += 1;
        if let stillhouse_core::event::Data::DeadLetter(dead) = &event.data {
            let known = self.dead.len() < REASONS_MAX || self.dead.contains_key(&dead.reason);
            let reason = if known { dead.reason.clone() } else { "other reasons".into() };
            *self.dead.entry(reason).or_default() += 1;
        }
    }

    /// Notes how long a chunk took.
    pub fn latency(&mut self, took: Duration) {
        let us = took.as_micros().max(1) as u64;
        self.latency[(us.ilog2() as usize).min(self.latency.len() - 1)] += 1;
    }

    /// The latency that `percent` of the chunks did not exceed, rounded up to a power of two of
    /// microseconds; `None` if nothing was measured.
    pub fn latency_us(&self, percent: u64) -> Option<u64> {
        let total: u64 = self.latency.iter().sum();
        let mut seen = 0;
        for (bucket, count) in self.latency.iter().enumerate() {
            seen += count;
            if seen * 100 >= total * percent && total > 0 {
                return Some(1 << (bucket + 1));
            }
        }
        None
    }
}

/// The summary of a run.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Where the signals went.
    pub ledger: Ledger,
    /// What left.
    pub tally: Tally,
    /// Snapshots: taken in as a whole, and refused.
    pub snapshots: (u64, u64),
    /// What happened at a bound.
    pub bounds: Bounds,
    /// How many entities are known.
    pub entities: usize,
    /// How long the run took.
    pub took: Duration,
}

impl Summary {
    /// Where the signals went, a line for each place.
    pub fn books(&self) -> String {
        let ledger = &self.ledger;
        let places = [
            ("emitted", ledger.emitted),
            ("merged: same id", ledger.merged_id),
            ("merged: same fingerprint", ledger.merged_fingerprint),
            ("merged: said again", ledger.merged_repeated),
            ("merged: did not last", ledger.merged_blip),
            ("suppressed", ledger.suppressed),
            ("dropped", ledger.dropped),
            ("late", ledger.late),
            ("dead letters", ledger.dead_lettered),
            ("still open", ledger.open),
        ];
        let line = |(place, count): (&str, u64)| format!("  {place:<30} {:>12}\n", grouped(count));
        let sum = if ledger.balances() { "all accounted for" } else { "DOES NOT ADD UP: please report this" };
        let total = format!("  {:<30} {:>12}  {sum}\n", "total", grouped(ledger.received));
        places.into_iter().map(line).chain([total]).collect()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ledger = &self.ledger;
        let rate = ledger.received as f64 / self.took.as_secs_f64().max(1e-6);
        writeln!(
            f,
            "{} signals of {} entities in {:.2} s ({} a second)",
            grouped(ledger.received),
            grouped(self.entities as u64),
            self.took.as_secs_f64(),
            grouped(rate as u64)
        )?;
        if let (Some(half), Some(most)) = (self.tally.latency_us(50), self.tally.latency_us(99)) {
            writeln!(f, "latency from read to written: 50 % under {}, 99 % under {}", human_us(half), human_us(most))?;
        }
        writeln!(f, "\nevents")?;
        if self.tally.events.is_empty() {
            writeln!(f, "  none")?;
        }
        for (kind, count) in &self.tally.events {
            writeln!(f, "  {kind:<30} {:>12}", grouped(*count))?;
        }
        writeln!(f, "\nwhere the signals went")?;
        write!(f, "{}", self.books())?;

        if self.tally.withheld > 0 {
            writeln!(f, "\nwithheld as a whole by masks: {} records", grouped(self.tally.withheld))?;
        }
        if self.tally.shed > 0 {
            writeln!(f, "\nlet go while behind, as configured: {} records", grouped(self.tally.shed))?;
        }
        if self.tally.dead_forgotten > 0 {
            let dead = grouped(self.tally.dead_forgotten);
            writeln!(f, "\nwarning: {dead} dead letters can no longer be retried: no more are kept, the oldest went")?;
        }
        if self.tally.tables != (0, 0) {
            let (taken, refused) = self.tally.tables;
            writeln!(f, "\nnew versions of tables: {} taken, {} refused", grouped(taken), grouped(refused))?;
        }
        if self.snapshots != (0, 0) {
            let (taken, refused) = self.snapshots;
            writeln!(f, "\nsnapshots: {} compared, {} refused", grouped(taken), grouped(refused))?;
        }
        if !self.tally.dead.is_empty() {
            writeln!(f, "\nwhy dead letters")?;
            let mut reasons: Vec<_> = self.tally.dead.iter().collect();
            reasons.sort_by_key(|&(reason, count)| (std::cmp::Reverse(*count), reason));
            for (reason, count) in reasons.iter().take(8) {
                writeln!(f, "  {:>8}  {reason}", grouped(**count))?;
            }
            if let Some(more) = reasons.len().checked_sub(8).filter(|more| *more > 0) {
                writeln!(f, "            and {more} other reasons")?;
            }
        }
        if self.bounds.forced > 0 {
            writeln!(
                f,
                "\nwarning: too many signals waited to be put in order, and the watermark was moved on {} times; \
                 raise `order.pending_max` or lower `order.allowed_lateness`",
                grouped(self.bounds.forced)
            )?;
        }
        if self.bounds.ids_forgotten > 0 {
            writeln!(
                f,
                "\nwarning: ids were forgotten {} times before their window had passed; raise `order.ids_max`",
                grouped(self.bounds.ids_forgotten)
            )?;
        }
        if self.bounds.untracked > 0 {
            writeln!(
                f,
                "\nwarning: {} times too many entities were members of incidents, and another was left out; \
                 raise `min_severity` or name fewer `signals`",
                grouped(self.bounds.untracked)
            )?;
        }
        let Bounds { memos_forgotten, changes_forgotten, uncorrected, not_taken_back, .. } = self.bounds;
        let Bounds { reconciled_later, partial_snapshots, .. } = self.bounds;
        if partial_snapshots > 0 {
            let partial = grouped(partial_snapshots);
            writeln!(f, "\nwarning: of {partial} snapshots not all was understood: who is not in them was left alone")?;
        }
        if reconciled_later > 0 {
            let later = grouped(reconciled_later);
            writeln!(f, "\nwarning: {later} entities that differ from a snapshot had to wait; raise its `rate`")?;
        }
        if memos_forgotten > 0 {
            let memos = grouped(memos_forgotten);
            writeln!(f, "\nwarning: suppressors lost {memos} memos, those not written for longest: too many entities")?;
        }
        if changes_forgotten > 0 {
            let changes = grouped(changes_forgotten);
            writeln!(f, "\nwarning: {changes} changes of the last hour were not counted for suppressors: too many")?;
        }
        if uncorrected > 0 {
            let late = grouped(uncorrected);
            writeln!(f, "\nwarning: {late} late signals came too late for `correct` too: nothing was made of them")?;
        }
        if not_taken_back > 0 {
            let events = grouped(not_taken_back);
            writeln!(f, "\nwarning: {events} events of a withdrawn version of a rule could not be taken back")?;
        }
        Ok(())
    }
}

/// A number with commas between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn human_us(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}
