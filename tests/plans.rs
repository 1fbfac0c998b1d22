//! Plans as tests write them.

use stillhouse_core::Plan;
use stillhouse_core::plan::{OrderPlan, TypePlan};
use stillhouse_core::rule::{Condition, RuleId, State};

/// The states of every type of these tests.
pub const UP: u8 = 0;
pub const DOWN: u8 = 1;
pub const SLOW: u8 = 2;
pub const GONE: u8 = 3;

/// A type that holds nothing back and forgets nothing.
pub fn type_plan(name: &str) -> TypePlan {
    let state = |name: &str, condition| State { name: name.into(), condition };
    let states = vec![
        state("up", Condition::Healthy),
        state("down", Condition::Problem),
        state("slow", Condition::Problem),
        state("gone", Condition::Gone),
    ];
    let mapper = RuleId { name: "probe".into(), version: "1.0.0".into(), digest: "d".into() };
    TypePlan { forget_after_us: 1_000_000_000, suppress_max_us: 1_000_000_000, ..TypePlan::new(name, states, mapper) }
}

/// A plan of these types without lateness.
pub fn plan(types: Vec<TypePlan>) -> Plan {
    let order = OrderPlan { allowed_lateness_us: 0, ..OrderPlan::default() };
    Plan { order, types, config_digest: "config".into(), ..Plan::default() }
}
