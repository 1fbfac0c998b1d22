//! The oracle of flap detectors: each says from all changes so far whether it starts or stops.

use stillhouse_core::plan::{FlappingPlan, Weights};

/// How often an entity changed, as a weighted detector sees it.
pub struct Score<'a> {
    plan: &'a FlappingPlan,
    /// In thousandths of a percent, times `under`.
    over: u64,
    under: u64,
}

impl<'a> Score<'a> {
    /// Of the change bits, oldest first; only the twenty newest weigh.
    pub fn of(plan: &'a FlappingPlan, bits: &[bool]) -> Self {
        let newest = bits.iter().rev().take(20).enumerate();
        let places = newest.filter(|(_, bit)| **bit).map(|(age, _)| 19 - age as u64);
        // Both lists of weights made whole, and what a whole one of 20 is worth then.
        let (sum, whole): (u64, u64) = match plan.weights {
            // 0.75 + x * 0.5 / 19, times 76.
            Weights::Nagios => (places.map(|x| 57 + 2 * x).sum(), 76),
            // 0.8 + 0.02 * x, times 50.
            Weights::Icinga => (places.map(|x| 40 + x).sum(), 50),
        };
        Self { plan, over: sum * 100_000, under: whole * 20 }
    }

    pub fn starts(&self) -> bool {
        let high = u64::from(self.plan.high_mpct) * self.under;
        match self.plan.weights {
            Weights::Nagios => self.over >= high,
            Weights::Icinga => self.over > high,
        }
    }

    pub fn stops(&self) -> bool {
        self.over <= u64::from(self.plan.low_mpct) * self.under
    }
}
