//! What to do with each signal type: the configuration as the core needs it.
//!
//! A plan is made once, from a configuration that was checked; the core trusts it.

mod gate;

pub use gate::{FloodPlan, InhibitPlan, MaintenancePlan};

use crate::derive::DerivePlan;
use crate::level::LevelPlan;
use crate::reconcile::ReconcilePlan;
use crate::rule::{Condition, RuleId, State};
use crate::window::WindowPlan;

/// All that the core is told before the first entry.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// How signals are put in order.
    pub order: OrderPlan,
    /// The signal types; a row names its type by the index here.
    pub types: Vec<TypePlan>,
    /// What is made of distilled events.
    pub derive: DerivePlan,
    /// Who is quiet while its parent has a problem; `None`: nobody.
    pub inhibit: Option<InhibitPlan>,
    /// When maintenance is.
    pub maintenance: Vec<MaintenancePlan>,
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
    /// A signal that is further ahead of all others is a dead letter, until its source has said so
    /// several times in a row (see [`crate::leap`]). `None`: every event time is believed.
    pub leap_max_us: Option<i64>,
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
            leap_max_us: None,
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
    /// The versions of the mapper that have answered, in the order in which they came; a row names its
    /// own by the index here.
    pub mappers: Vec<RuleId>,
    /// States that last, or occurrences that do not.
    pub mode: Mode,
    /// How long a new state must last before it is a candidate, unless it ends a problem.
    pub hold_down_us: i64,
    /// How long a healthy state must last before it ends a problem.
    pub hold_open_us: i64,
    /// By state: a problem that is not observed again for this long is over.
    pub clear_after_us: Vec<Option<i64>>,
    /// An entity that is known and not observed for this long is [`SILENT`]; only in [`Mode::State`],
    /// and only where no state has a `clear_after_us`.
    pub silent_after_us: Option<i64>,
    /// An entity that is healthy, or [`SILENT`], and not observed for this long is forgotten; one that is
    /// silent is told to be [`CLEAR`] first.
    pub forget_after_us: i64,
    /// Deduplication by fingerprint.
    pub dedupe: Option<DedupePlan>,
    /// Bounds on a number that decide the state.
    pub level: Option<LevelPlan>,
    /// What must be observed before a problem is believed.
    pub confirm: Option<ConfirmPlan>,
    /// Flap detection by weighted state change.
    pub flapping: Option<FlappingPlan>,
    /// Flap detection by damping; only where there is no `flapping`.
    pub damping: Option<DampingPlan>,
    /// Once so many sources report a problem, up to [`crate::entity::SPREAD_MAX`], it is not held back.
    pub spread: Option<u8>,
    /// A signal that is late by at most this is taken in after all, and what it changes is corrected.
    pub correct_us: Option<i64>,
    /// No candidate is held back for longer, whatever holds it; only the end of flapping, which is
    /// told, may be later.
    pub suppress_max_us: i64,
    /// A candidate of at least this severity leaves, whatever would hold it back.
    pub never_suppress: u8,
    /// How many candidates may leave at a time.
    pub flood: Option<FloodPlan>,
    /// How it is compared with snapshots.
    pub reconcile: ReconcilePlan,
    /// Whether its problems are held back while their parent has one, and hold those of their
    /// children back; only with [`Plan::inhibit`].
    pub inhibit: bool,
}

/// How observations are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// An entity is in a state until it is observed in another.
    State,
    /// Every observation that survives deduplication is a candidate.
    Occurrence,
    /// Problems that fall together in a window are one candidate.
    Window(WindowPlan),
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

/// What must be observed before a problem is believed; every number is from 1 to
/// [`crate::evidence::EVIDENCE_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfirmPlan {
    /// So many of the last observations are problems.
    Last {
        /// How many.
        count: u8,
        /// Of how many.
        of: u8,
    },
    /// So many problems were observed within a time, its ends included.
    Within {
        /// How many.
        count: u8,
        /// The time.
        within_us: i64,
    },
    /// So many sources observed a problem within a time, its ends included.
    Sources {
        /// How many.
        count: u8,
        /// The time.
        within_us: i64,
    },
}

/// Flap detection by weighted state change.
#[derive(Clone, Copy, Debug)]
pub struct FlappingPlan {
    /// How much each change counts.
    pub weights: Weights,
    /// Flapping starts at this score or more ([`Weights::Icinga`]: above it), in thousandths of a
    /// percent.
    pub high_mpct: u32,
    /// It stops at this score or less, in thousandths of a percent.
    pub low_mpct: u32,
    /// For sources that speak only of changes: silence this long ends the flapping and clears the
    /// history.
    pub quiet_us: Option<i64>,
}

/// How much each change counts in [`FlappingPlan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// As Nagios Core weighs them.
    Nagios,
    /// As Icinga 2 weighs them.
    Icinga,
}

/// Flap detection by damping: each change adds to a figure of merit, which halves again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DampingPlan {
    /// How long the figure takes to halve; at most [`crate::flapping::damping::HALF_LIFE_MAX_US`].
    pub half_life_us: i64,
    /// Flapping starts at this figure or more.
    pub cut: u32,
    /// It stops below this figure; at least 1.
    pub reuse: u32,
    /// Flapping lasts at most this long after the last change: it bounds the figure.
    pub max_suppress_us: i64,
    /// What a change into a problem state adds.
    pub down: u32,
    /// What a change into a healthy state adds.
    pub up: u32,
    /// What another value, or another state of the same condition, adds.
    pub change: u32,
}

/// The code of the state that a quiet time leads to; it is in no rule's list.
pub const CLEAR: u8 = 255;

/// The code of the state of an entity that should have been observed and was not. A rule may have so
/// many states only where nothing is said to be silent.
pub const SILENT: u8 = 254;

impl TypePlan {
    /// A type whose mapper has these states, with every operator off: nothing is held, nothing is
    /// merged but what says again what is known.
    pub fn new(name: &str, states: Vec<State>, mapper: RuleId) -> Self {
        const DAY_US: i64 = 86_400_000_000;
        Self {
            name: name.into(),
            mappers: vec![mapper],
            mode: Mode::State,
            hold_down_us: 0,
            hold_open_us: 0,
            clear_after_us: vec![None; states.len()],
            silent_after_us: None,
            forget_after_us: 30 * DAY_US,
            dedupe: None,
            confirm: None,
            level: None,
            flapping: None,
            damping: None,
            spread: None,
            correct_us: None,
            suppress_max_us: DAY_US,
            never_suppress: 3,
            flood: None,
            inhibit: true,
            reconcile: ReconcilePlan::default(),
            states,
        }
    }

    /// A version of the mapper.
    pub(crate) fn mapper(&self, version: u16) -> &RuleId {
        self.mappers.get(usize::from(version)).unwrap_or(&self.mappers[0])
    }

    /// The name of a state, [`CLEAR`] and [`SILENT`] included.
    pub fn state_name(&self, code: u8) -> &str {
        match self.states.get(code as usize) {
            Some(state) => &state.name,
            None if code == SILENT => "silent",
            None => "clear",
        }
    }

    /// What it means to be in a state, [`CLEAR`] and [`SILENT`] included.
    pub fn condition(&self, code: u8) -> Condition {
        match self.states.get(code as usize) {
            Some(state) => state.condition,
            None if code == SILENT => Condition::Problem,
            None => Condition::Healthy,
        }
    }

    /// The state of an entity that is no more: the first that says so, or [`CLEAR`] where none does.
    pub(crate) fn end_state(&self) -> u8 {
        let end = self.states.iter().position(|state| state.condition == Condition::Gone);
        end.map_or(CLEAR, |code| code as u8)
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
