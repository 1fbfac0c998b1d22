//! What is made of distilled events once they leave: it sees them in total order, after the gate.

use crate::event::Event;
use crate::plan::Plan;
use crate::table::Tables;

/// What to derive.
#[derive(Clone, Debug, Default)]
pub struct DerivePlan {}

/// What was derived so far.
#[derive(Debug, Default)]
pub struct Derive {}

impl Derive {
    /// Lets timers fire that are due at `to_us` or before.
    pub fn fire(&mut self, _to_us: i64, _plan: &Plan, _tables: &Tables, _out: &mut Vec<Event>) {}

    /// Takes in `out[at]`, which has just left and stands at `time_us`, and appends what follows.
    pub fn take(&mut self, _time_us: i64, _at: usize, _plan: &Plan, _tables: &Tables, _out: &mut Vec<Event>) {}
}
