//! What to do with each signal type: the configuration as the core needs it.
//!
//! A plan is made once, from a configuration that was checked; the core trusts it.

use crate::derive::DerivePlan;
use crate::level::LevelPlan;
use crate::rule::{Condition, RuleId, State};

/// All that the core is told before the first entry.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// How signals are put in order.
    pub order: OrderPlan,
    /// The signal types; a row names its type by the index here.
    pub types: Vec<TypePlan>,
    /// What is made of distilled events.
    pub derive: DerivePlan,
    /// Digest of the configuration, as provenance shows it.
    pub config_digest: String,
}

/// How signals are put in order.
#[derive(Clone, Debug)]
pub struct OrderPlan {
    /// How far behind the newest event time of its source a signal may be.
    pub allowed_lateness_us: i64,
    /// A source that is silent for this long no longer holds the others back. `None`: it always does.
    pub idle_after_us: Option<i64>,
    /// How many signals may wait to be put in order. At the bound the watermark moves on over the
    /// oldest, which is counted; what then comes for that time is late.
    pub pending_max: u64,
    /// How long an id is remembered, in event time.
    pub id_window_us: i64,
    /// How many ids are remembered. At the bound the older half is forgotten, which is counted.
    pub ids_max: usize,
}

impl Default for OrderPlan {
    fn default() -> Self {
        Self {
            allowed_lateness_us: 5_000_000,
            idle_after_us: None,
            pending_max: 1_000_000,
            id_window_us: 600_000_000,
            ids_max: 1 << 20,
        }
    }
}

/// What to do with one signal type.
#[derive(Clone, Debug)]
pub struct TypePlan {
    /// The CloudEvents `type`.
    pub name: String,
    /// The canonical states of its mapper.
    pub states: Vec<State>,
    /// The mapper version in force.
    pub mapper: RuleId,
    /// States that last, or occurrences that do not.
    pub mode: Mode,
    /// How long a new state must last before it is a candidate, unless it ends a problem.
    pub hold_down_us: i64,
    /// How long a healthy state must last before it ends a problem.
    pub hold_open_us: i64,
    /// By state: a problem that is not observed again for this long is over.
    pub clear_after_us: Vec<Option<i64>>,
    /// An entity that is healthy and silent for this long is forgotten.
    pub forget_after_us: i64,
    /// Deduplication by fingerprint.
    pub dedupe: Option<DedupePlan>,
    /// Bounds on a number that decide the state.
    pub level: Option<LevelPlan>,
    /// Flap detection.
    pub flapping: Option<FlappingPlan>,
    /// A signal that is late by at most this is taken in after all, and what it changes is corrected.
    pub correct_us: Option<i64>,
    /// No candidate is held back for longer, whatever its suppressor says.
    pub suppress_max_us: i64,
    /// A candidate of at least this severity leaves whatever its suppressor says.
    pub never_suppress: u8,
}

/// How observations are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// An entity is in a state until it is observed in another.
    State,
    /// Every observation that survives deduplication is a candidate.
    Occurrence,
}

/// Deduplication by fingerprint, in a window that an equal signal extends.
#[derive(Clone, Copy, Debug)]
pub struct DedupePlan {
    /// An equal fingerprint at most this long after the last one is merged.
    pub window_us: i64,
    /// What a fingerprint is compared with.
    pub against: Against,
}

/// What a fingerprint is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// Any fingerprint of the record key.
    Any,
    /// The last fingerprint of the record key only: another one in between ends the window.
    Last,
}

/// Flap detection by weighted state change.
#[derive(Clone, Copy, Debug)]
pub struct FlappingPlan {
    /// Flapping starts at this score or more, in thousandths of a percent.
    pub high_mpct: u32,
    /// It stops at this score or less, in thousandths of a percent.
    pub low_mpct: u32,
    /// For sources that speak only of changes: silence this long ends the flapping and clears the
    /// history.
    pub quiet_us: Option<i64>,
}

/// The code of the state that a quiet time leads to; it is in no rule's list.
pub const CLEAR: u8 = 255;

impl TypePlan {
    /// A type whose mapper has these states, with every operator off: nothing is held, nothing is
    /// merged but what says again what is known.
    pub fn new(name: &str, states: Vec<State>, mapper: RuleId) -> Self {
        const DAY_US: i64 = 86_400_000_000;
        Self {
            name: name.into(),
            mapper,
            mode: Mode::State,
            hold_down_us: 0,
            hold_open_us: 0,
            clear_after_us: vec![None; states.len()],
            forget_after_us: 30 * DAY_US,
            dedupe: None,
            level: None,
            flapping: None,
            correct_us: None,
            suppress_max_us: DAY_US,
            never_suppress: 3,
            states,
        }
    }

    /// The name of a state, [`CLEAR`] included.
    pub fn state_name(&self, code: u8) -> &str {
        match self.states.get(code as usize) {
            Some(state) => &state.name,
            None => "clear",
        }
    }

    /// What it means to be in a state, [`CLEAR`] included.
    pub fn condition(&self, code: u8) -> Condition {
        self.states.get(code as usize).map_or(Condition::Healthy, |state| state.condition)
    }

    /// How long `to` must last before it is a candidate, for an entity that was announced `from`.
    pub(crate) fn hold_us(&self, from: Option<u8>, to: u8) -> i64 {
        let ends_problem = from.is_some_and(|code| self.condition(code) == Condition::Problem);
        match self.condition(to) {
            Condition::Gone => 0,
            Condition::Healthy if ends_problem => self.hold_open_us,
            Condition::Healthy | Condition::Problem => self.hold_down_us,
        }
    }
}
