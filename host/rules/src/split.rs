//! From a failed batch to the rows at fault.
//!
//! # Why the outcome of a row does not depend on its batch
//! A batch of any size gets the same fuel, `fuel_per_call`. Where it succeeds,
//! each of its rows alone needs no more than that. Where it fails, for
//! whatever reason, its halves are asked, down to one row. A row fails only
//! when it is alone, on a fresh instance, with twice the fuel. So, for a rule
//! that is pure and whose first call on a fresh instance costs at most
//! `fuel_per_call` beside the row itself (loading has seen it answer so): what
//! a batch can do, each row alone can do; and what a row alone cannot do, no
//! batch with it can. The way of cutting, the state of the instance and the
//! neighbours are not in it. Only the deadline is: [`FailureKind::Deadline`]
//! (see there) says so.
//!
//! # What it costs
//! One poison row in n costs about 2·log2(n) calls, of which log2(n) fail. After
//! `failures_before_single` failed rows the rest of the batch is asked one by
//! one, so that a batch full of poison costs one failed call for each row and
//! no halves. Where a batch was only too much work, later batches are cut in
//! advance to the size that did succeed.
//!
//! [`FailureKind::Deadline`]: crate::FailureKind::Deadline

use std::ops::Range;

use crate::failure::{Budget, Failure};
use crate::instance::{Caller, RowFailure, Rows, World};

/// Good answers before batches that are cut in advance may be twice as long again.
const ANSWERS_TO_GROW: u32 = 64;

/// How long a batch may be, as experience with one instance has it.
pub(crate) struct Stride {
    rows_max: u32,
    answers: u32,
}

impl Stride {
    pub const UNLIMITED: Self = Self { rows_max: u32::MAX, answers: 0 };

    fn succeeded(&mut self) {
        if self.rows_max == u32::MAX {
            return;
        }
        self.answers += 1;
        if self.answers >= ANSWERS_TO_GROW {
            self.answers = 0;
            self.rows_max = self.rows_max.saturating_mul(2);
        }
    }

    fn shrink_to(&mut self, rows: u32) {
        self.rows_max = rows.max(1);
        self.answers = 0;
    }
}

impl<W: World> Caller<W> {
    /// One answer for each row of `batch`, whatever happens.
    pub fn answer(&mut self, batch: &W::In) -> W::Out {
        let rows = batch.rows();
        self.stats.clear(rows);
        if rows == 0 {
            return W::Out::default();
        }
        let mut work = Vec::new();
        if rows <= self.stride.rows_max {
            let budget = Budget::for_rows(self.limits(), rows);
            if let Ok(out) = self.ask(batch, 0, budget) {
                self.stride.succeeded();
                return out;
            }
            self.halve(&mut work, 0..rows);
        } else {
            let step = self.stride.rows_max;
            let starts = (0..rows).step_by(step as usize);
            let ranges = starts.map(|s| s..s.saturating_add(step).min(rows));
            work.extend(ranges.collect::<Vec<_>>().into_iter().rev());
        }
        self.resolve(batch, work)
    }

    /// Answers the ranges in `work`, last first, cutting where they fail.
    fn resolve(&mut self, batch: &W::In, mut work: Vec<Range<u32>>) -> W::Out {
        let mut out = W::Out::default();
        let mut longest = 0;
        let mut failed_ranges = 0u32;
        while let Some(range) = work.pop() {
            let start = range.start;
            let len = range.end - start;
            let rows = batch.part(range.clone());
            if self.stats.failures.len() as u32 >= self.give_up_after {
                for row in 0..len {
                    W::append(&mut out, W::failed(&Failure::not_asked(), &rows.part(row..row + 1)));
                }
                continue;
            }
            if len == 1 {
                let one = self.answer_one(&rows, start);
                W::append(&mut out, one);
                continue;
            }
            if self.stats.failures.len() as u32 >= self.limits().failures_before_single {
                work.extend(range.rev().map(|row| row..row + 1));
                continue;
            }
            match self.ask(&rows, start, Budget::for_rows(self.limits(), len)) {
                Ok(answers) => {
                    longest = longest.max(len);
                    W::append(&mut out, answers);
                }
                Err(_) => {
                    failed_ranges += 1;
                    self.halve(&mut work, range);
                }
            }
        }
        if self.stats.failures.is_empty() {
            // No row is at fault: there were too many for one call.
            if failed_ranges > 0 || batch.rows() <= self.stride.rows_max {
                self.stride.shrink_to(longest);
            } else {
                self.stride.succeeded();
            }
        }
        out
    }

    fn halve(&self, work: &mut Vec<Range<u32>>, range: Range<u32>) {
        let len = range.end - range.start;
        if len < 2 {
            work.push(range);
            return;
        }
        let middle = range.start + len / 2;
        work.push(middle..range.end);
        work.push(range.start..middle);
    }

    /// A row alone: on the instance at hand if there is one, then, before it is
    /// said to fail, on a fresh one.
    fn answer_one(&mut self, row: &W::In, at: u32) -> W::Out {
        if self.is_warm() {
            let budget = Budget::for_rows(self.limits(), 1);
            if let Ok(out) = self.ask(row, at, budget) {
                return out;
            }
        }
        self.retire();
        let budget = Budget::for_last_word(self.limits());
        match self.ask(row, at, budget) {
            Ok(out) => out,
            Err(failure) => {
                let out = W::failed(&failure, row);
                self.stats.failures.push(RowFailure { row: at, failure });
                out
            }
        }
    }
}
