//! The runtime against rules written by hand: what loads, what does not, and
//! what a bad row does to its batch.

mod bounds;
mod cache;
mod load;
mod memo;
mod poison;
mod versions;
mod wat_judge;
mod wat_rule;

use stillhouse_rules::{EngineConfig, RuleEngine};

/// An engine without a cache.
fn engine() -> RuleEngine {
    RuleEngine::new(EngineConfig { instances_max: 4, ..EngineConfig::default() }).unwrap()
}
