//! The grid: which holds and thresholds are tried. Bounded, and always with what is configured.

use anyhow::{Result, bail};
use stillhouse_core::Plan;
use stillhouse_core::plan::{FlappingPlan, TypePlan};

/// The most points of a grid.
pub const POINTS_MAX: usize = 1000;

const S_US: i64 = 1_000_000;

/// Holds that are tried unless others are asked for.
pub const HOLDS_US: [i64; 9] =
    [0, 10 * S_US, 30 * S_US, 60 * S_US, 120 * S_US, 300 * S_US, 600 * S_US, 1800 * S_US, 3600 * S_US];

/// Thresholds of flapping that are tried where flapping is configured, in percent.
const THRESHOLDS: [(u32, u32); 2] = [(30, 15), (70, 35)];

/// What is tried of flap detection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flapping {
    /// As configured.
    #[default]
    Configured,
    /// None: only for comparison.
    Off,
    /// Other thresholds, in percent: high and low.
    Thresholds(u32, u32),
}

/// One point of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// Hold-down.
    pub hold_down_us: i64,
    /// Hold-open.
    pub hold_open_us: i64,
    /// Flap detection.
    pub flapping: Flapping,
}

impl Point {
    /// Nothing is held.
    pub const RAW: Self = Self { hold_down_us: 0, hold_open_us: 0, flapping: Flapping::Off };

    /// What is configured for a type.
    pub fn configured(plan: &TypePlan) -> Self {
        Self { hold_down_us: plan.hold_down_us, hold_open_us: plan.hold_open_us, flapping: Flapping::Configured }
    }

    /// Changes a plan to this point.
    pub fn apply(&self, plan: &mut TypePlan) {
        (plan.hold_down_us, plan.hold_open_us) = (self.hold_down_us, self.hold_open_us);
        plan.flapping = match (plan.flapping, self.flapping) {
            (flapping, Flapping::Configured) => flapping,
            (None, _) | (_, Flapping::Off) => None,
            (Some(flapping), Flapping::Thresholds(high, low)) => {
                Some(FlappingPlan { high_mpct: high * 1000, low_mpct: low * 1000, ..flapping })
            }
        };
    }

    /// Whether it is another point for this type than the same one with flapping as configured.
    pub fn applies_to(&self, plan: &TypePlan) -> bool {
        self.flapping == Flapping::Configured || plan.flapping.is_some()
    }
}

/// The points that are tried.
#[derive(Clone, Debug)]
pub struct Grid {
    /// In order, each once.
    pub points: Vec<Point>,
}

impl Grid {
    /// All pairs of these holds, with what is configured in `plan`, and for types with flap
    /// detection other thresholds. An empty list stands for [`HOLDS_US`].
    ///
    /// # Errors
    /// If that makes more than [`POINTS_MAX`] points.
    pub fn new(plan: &Plan, hold_down_us: &[i64], hold_open_us: &[i64]) -> Result<Self> {
        let or_default = |given: &[i64]| if given.is_empty() { HOLDS_US.to_vec() } else { given.to_vec() };
        let (downs, opens) = (or_default(hold_down_us), or_default(hold_open_us));
        let mut variants = vec![Flapping::Configured];
        if plan.types.iter().any(|of_type| of_type.flapping.is_some()) {
            variants.extend(THRESHOLDS.map(|(high, low)| Flapping::Thresholds(high, low)));
        }
        let mut points: Vec<Point> = plan.types.iter().map(Point::configured).collect();
        for &hold_down_us in &downs {
            for &hold_open_us in &opens {
                points.extend(variants.iter().map(|&flapping| Point { hold_down_us, hold_open_us, flapping }));
            }
        }
        points.sort_unstable();
        points.dedup();
        if points.len() > POINTS_MAX {
            bail!(
                "{} points are too many ({} hold-downs, {} hold-opens, {} of flapping); at most {POINTS_MAX} are \
                 tried: name fewer with --hold-down and --hold-open",
                points.len(),
                downs.len(),
                opens.len(),
                variants.len()
            );
        }
        Ok(Self { points })
    }
}
