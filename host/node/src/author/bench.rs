//! What a rule costs: time and fuel for each signal, for batches of several sizes.

use std::time::Duration;

use stillhouse_core::columns::Batch;

use super::asking::Asker;
use super::rows::part;
use crate::clock;

/// Rows of a batch: one alone, few, and as many as `run` hands over at most.
pub const BATCH_SIZES: [usize; 4] = [1, 16, 256, 1024];
/// A run asks at least so often, so that it can be measured.
const ROWS_MIN: usize = 20_000;

/// What a signal costs in batches of one size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// The most rows of a batch.
    pub batch: usize,
    /// Nanoseconds a signal: the median of several runs.
    pub ns: f64,
    /// Units of fuel a signal; the same each time.
    pub fuel: f64,
}

/// Measures rules on their rows, in turns, so that what disturbs the machine disturbs all. By rule,
/// then by size of batch; without rows there is no cost.
pub fn measure(askers: &mut [(Asker, Batch)], runs: usize) -> Vec<Vec<Cost>> {
    let mut costs = vec![Vec::new(); askers.len()];
    for size in BATCH_SIZES {
        let mut prepared: Vec<Vec<Batch>> = askers.iter().map(|(_, batch)| batches(batch, size)).collect();
        let mut taken: Vec<Vec<(Duration, u64)>> = vec![Vec::new(); askers.len()];
        // The first run warms up and is not counted.
        for run in 0..=runs {
            for (at, (asker, rows)) in askers.iter_mut().enumerate() {
                if rows.rows == 0 {
                    continue;
                }
                let measured = once(asker, &mut prepared[at], rows.rows as usize);
                if run > 0 {
                    taken[at].push(measured);
                }
            }
        }
        for (at, mut taken) in taken.into_iter().enumerate() {
            let rows = f64::from(askers[at].1.rows);
            taken.sort();
            if let Some((took, fuel)) = taken.get(taken.len() / 2) {
                let rounds = rounds(askers[at].1.rows as usize) as f64;
                let ns = took.as_nanos() as f64 / rows / rounds;
                costs[at].push(Cost { batch: size, ns, fuel: *fuel as f64 / rows / rounds });
            }
        }
    }
    costs
}

fn once(asker: &mut Asker, batches: &mut [Batch], rows: usize) -> (Duration, u64) {
    let started = clock::moment();
    let mut fuel = 0;
    for _ in 0..rounds(rows) {
        for batch in &mut *batches {
            let (back, used) = asker.ask_all(std::mem::take(batch));
            *batch = back;
            fuel += used;
        }
    }
    (started.elapsed(), fuel)
}

fn rounds(rows: usize) -> usize {
    ROWS_MIN.div_ceil(rows.max(1))
}

fn batches(batch: &Batch, size: usize) -> Vec<Batch> {
    let rows = batch.rows as usize;
    (0..rows).step_by(size).map(|from| part(batch, from..rows.min(from + size))).collect()
}
