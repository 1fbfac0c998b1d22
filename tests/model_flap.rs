//! The oracle of flap detectors: each says from all changes so far whether it starts or stops.

use stillhouse_core::plan::{DampingPlan, FlappingPlan, Weights};
use stillhouse_core::rule::Condition;

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

/// The figure of merit of one entity.
#[derive(Default)]
pub struct Figure {
    merit: f64,
    /// When a change added to it last.
    at_us: i64,
    /// Whether it is not exact: less than a whole half-life went by, or a root was taken.
    rounded: bool,
}

impl Figure {
    /// Adds what a change from one condition to another is worth.
    pub fn add(&mut self, plan: &DampingPlan, now_us: i64, from: Condition, to: Condition) {
        let penalty = match to {
            _ if from == to => plan.change,
            Condition::Problem => plan.down,
            _ => plan.up,
        };
        let halved = self.after(plan, now_us - self.at_us) + f64::from(penalty);
        self.rounded |= self.merit > 0.0 && (now_us - self.at_us) % plan.half_life_us != 0;
        let ceiling = f64::from(plan.reuse) * (plan.max_suppress_us as f64 / plan.half_life_us as f64).exp2();
        if halved >= ceiling {
            self.rounded = plan.max_suppress_us % plan.half_life_us != 0;
        }
        (self.merit, self.at_us) = (halved.min(ceiling), now_us);
    }

    /// Whether flapping starts; `None` if that is too close to call.
    pub fn starts(&self, plan: &DampingPlan) -> Option<bool> {
        self.reaches(plan.cut, self.merit, self.rounded)
    }

    /// The first time at which flapping may stop; `None` if that is too close to call.
    pub fn reused_us(&self, plan: &DampingPlan) -> Option<i64> {
        let mut passed_us = 0;
        while self.reaches(
            plan.reuse,
            self.after(plan, passed_us),
            self.rounded || passed_us % plan.half_life_us != 0,
        )? {
            passed_us += 1;
        }
        Some(self.at_us + passed_us)
    }

    fn after(&self, plan: &DampingPlan, passed_us: i64) -> f64 {
        self.merit * (-passed_us as f64 / plan.half_life_us as f64).exp2()
    }

    fn reaches(&self, bound: u32, merit: f64, rounded: bool) -> Option<bool> {
        let bound = f64::from(bound);
        let close = (merit - bound).abs() <= 1e-6 * bound;
        (!(close && (rounded || merit != bound))).then_some(merit >= bound)
    }
}
