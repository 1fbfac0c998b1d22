//! The oracle of evidence: all observations since an entity was known, and which of them count now.

use stillhouse_core::plan::ConfirmPlan;

use crate::stream::Signal;

/// Observations that a problem is or is not to be believed for.
#[derive(Default)]
pub struct Evidence {
    /// Oldest first.
    pieces: Vec<Piece>,
    /// Whether a problem was believed at the last observation.
    held: bool,
}

struct Piece {
    signal: Signal,
    is_problem: bool,
    /// Whether the books have it here.
    open: bool,
}

/// What an observation comes to.
pub struct Weighed {
    /// Whether a problem is believed.
    pub holds: bool,
    /// Whether it was not believed at the observation before.
    pub first: bool,
    /// Signals that lost their place here to a newer one of their source.
    pub repeated: u64,
    /// Signals that left without having been believed.
    pub blips: u64,
}

impl Evidence {
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Signals that the books have here.
    pub fn open(&self) -> u64 {
        self.pieces.iter().filter(|piece| piece.open).count() as u64
    }

    /// Lets go what does not count any more at `now_us`; how many of them were open.
    pub fn leave(&mut self, plan: &ConfirmPlan, now_us: i64) -> u64 {
        let before = self.open();
        match *plan {
            ConfirmPlan::Last { of, .. } => {
                let over = self.pieces.len().saturating_sub(of.into());
                self.pieces.drain(..over);
            }
            ConfirmPlan::Within { within_us, .. } | ConfirmPlan::Sources { within_us, .. } => {
                self.pieces.retain(|piece| piece.signal.time_us + within_us >= now_us);
            }
        }
        before - self.open()
    }

    /// Weighs an observation; it is not open here yet.
    pub fn weigh(&mut self, plan: &ConfirmPlan, signal: &Signal, is_problem: bool) -> Weighed {
        let mut repeated = 0;
        if let ConfirmPlan::Sources { .. } = plan
            && is_problem
        {
            let before = self.open();
            self.pieces.retain(|piece| piece.signal.source != signal.source || !piece.is_problem);
            repeated = before - self.open();
        }
        self.pieces.push(Piece { signal: signal.clone(), is_problem, open: false });
        let blips = self.leave(plan, signal.time_us);
        let problems = self.pieces.iter().filter(|piece| piece.is_problem).count();
        let (ConfirmPlan::Last { count, .. } | ConfirmPlan::Within { count, .. } | ConfirmPlan::Sources { count, .. }) =
            *plan;
        let holds = problems >= usize::from(count);
        let first = holds && !self.held;
        self.held = holds;
        Weighed { holds, first, repeated, blips }
    }

    /// The observation that was weighed last waits here.
    pub fn wait(&mut self) {
        if let Some(piece) = self.pieces.last_mut() {
            piece.open = true;
        }
    }

    /// All problems, oldest first; with each, whether it was open here. None is any more.
    pub fn support(&mut self) -> Vec<(Signal, bool)> {
        let problems = self.pieces.iter_mut().filter(|piece| piece.is_problem);
        problems.map(|piece| (piece.signal.clone(), std::mem::take(&mut piece.open))).collect()
    }
}
