//! How a version is tried: its steps, and what it may do differently.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::evidence::Difference;
use crate::slot::WHOLE_PPM;

const MINUTE_US: i64 = 60_000_000;

/// How a version comes into force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// In shadow, then for a share that rises by steps.
    #[default]
    Canary,
    /// At once, for all.
    Swap,
}

/// What a step needs at least, both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Least {
    /// Event time, in microseconds.
    pub time_us: i64,
    /// Rows that both versions were asked about.
    pub samples: u64,
}

/// What becomes of a trial whose budget is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// It stays where it is until a person says more.
    Hold,
    /// The version is given up.
    RollBack,
}

/// What may be different, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Budget {
    /// Share of the rows on which the candidate failed and the version in force did not.
    Failed,
    /// Fuel for a row, as a multiple of that of the version in force.
    Fuel,
    /// Time for a row, as a multiple of that of the version in force.
    Latency,
    /// Change of the share of rows that are rejected, up or down.
    Rejected,
    /// Change of the share of rows that are dropped, up or down.
    Dropped,
    /// Change of the share of rows that are suppressed or delayed, up or down.
    HeldBack,
    /// Share of the rows that are answered differently, in ways that have no budget of their own.
    Differing,
    /// Share of the rows that are answered differently in this way.
    Kind(Difference),
}

/// The bound of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// A share from 0 to 1, or a multiple.
    pub max: f64,
    /// What happens beyond it.
    pub then: Then,
}

/// How versions of a slot are tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// By steps or at once.
    pub strategy: Strategy,
    /// What shadow needs; without it, the first step is the beginning.
    pub shadow: Option<Least>,
    /// The shares, in parts per million: strictly rising, the last the whole.
    pub steps_ppm: Vec<u32>,
    /// What each step needs.
    pub step: Least,
    /// How long, in microseconds of event time, what is open under the old version is waited for.
    pub drain_max_us: i64,
    /// Whether what a version touched is distilled again when it is rolled back.
    pub retroactive: bool,
    /// Whether a version comes into force after the last step by itself.
    pub promote_automatically: bool,
    /// What may be different; what is not in it is not looked at.
    pub budgets: BTreeMap<Budget, Limit>,
}

impl Budget {
    /// Its name, as people read and write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Fuel => "fuel",
            Self::Latency => "latency",
            Self::Rejected => "rejected",
            Self::Dropped => "dropped",
            Self::HeldBack => "held_back",
            Self::Differing => "differing",
            Self::Kind(difference) => difference.name(),
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Default for Policy {
    fn default() -> Self {
        let least = Least { time_us: 10 * MINUTE_US, samples: 1_000 };
        let (hold, roll_back) = (|max| Limit { max, then: Then::Hold }, |max| Limit { max, then: Then::RollBack });
        Self {
            strategy: Strategy::Canary,
            shadow: Some(least),
            steps_ppm: [1, 5, 25, 50, 100].map(|percent| percent * 10_000).to_vec(),
            step: least,
            drain_max_us: 60 * MINUTE_US,
            retroactive: true,
            promote_automatically: true,
            // Wall-clock time is noisy: there is no budget for it unless one is asked for.
            budgets: BTreeMap::from([
                (Budget::Failed, roll_back(0.001)),
                (Budget::Fuel, roll_back(3.0)),
                (Budget::Rejected, hold(0.01)),
                (Budget::Dropped, hold(0.01)),
                (Budget::HeldBack, hold(0.01)),
                (Budget::Differing, hold(0.01)),
            ]),
        }
    }
}

impl Policy {
    /// The share of a step; after the last, the whole.
    pub fn share_ppm(&self, step: usize) -> u32 {
        self.steps_ppm.get(step).copied().unwrap_or(WHOLE_PPM)
    }

    /// Whether there is no step after this one.
    pub fn is_last(&self, step: usize) -> bool {
        step + 1 >= self.steps_ppm.len()
    }

    /// What is wrong with it, in a sentence; `None` if nothing.
    pub fn fault(&self) -> Option<String> {
        let last = self.steps_ppm.last();
        if last != Some(&WHOLE_PPM) {
            return Some("the last step must be 100 %: otherwise the version never counts for all".into());
        }
        if self.steps_ppm.first() == Some(&0) {
            return Some("a step must be more than 0 %: shadow is what is before the first".into());
        }
        if let Some(pair) = self.steps_ppm.windows(2).find(|pair| pair[0] >= pair[1]) {
            let (one, other) = (crate::words::share(pair[0]), crate::words::share(pair[1]));
            return Some(format!("steps must rise: {other} does not follow {one}"));
        }
        let bad = self.budgets.iter().find(|(_, limit)| !limit.max.is_finite() || limit.max < 0.0);
        bad.map(|(budget, limit)| format!("the budget `{budget}` must be 0 or more, got {}", limit.max))
    }
}
