//! What the tests say to a registry.

use std::collections::BTreeMap;

use stillhouse_rollout::{
    At, Command, Decision, Event, Evidence, NotNow, Policy, Registry, Slot, SlotId, Trial, Version,
};

pub const MINUTE_US: i64 = 60_000_000;

/// A registry with one slot, its log, and how far its log is.
pub struct World {
    pub registry: Registry,
    pub log: Vec<Event>,
    pub at: At,
}

pub fn slot() -> SlotId {
    SlotId::mapper("net.link")
}

pub fn version(number: u64) -> Version {
    Version { name: "links".into(), version: format!("1.{number}.0"), digest: format!("{number:064x}") }
}

/// Rows that both versions answered alike.
pub fn alike(rows: u64) -> Evidence {
    let mut evidence = Evidence { rows, in_share: rows / 2, ..Evidence::default() };
    for counts in [&mut evidence.stable, &mut evidence.candidate] {
        counts.rows = rows;
        counts.calls = 1;
        counts.fuel = rows * 1_000;
        counts.time_ns = rows * 200;
    }
    evidence
}

impl World {
    /// Version 1 is in force.
    pub fn new(policy: Policy) -> Self {
        let registry = Registry::new(BTreeMap::from([(slot(), policy)]));
        let mut world = Self { registry, log: Vec::new(), at: At { position: 0, time_us: 0 } };
        world.say(|slot, at| Event::Known { slot, version: version(1), at }).expect("no command");
        world
    }

    pub fn say(&mut self, event: impl FnOnce(SlotId, At) -> Event) -> Result<Vec<Decision>, NotNow> {
        self.at.position += 1;
        let event = event(slot(), self.at);
        let decisions = self.registry.apply(&event)?;
        self.log.push(event);
        Ok(decisions)
    }

    pub fn offer(&mut self, number: u64) -> Vec<Decision> {
        self.offer_with(number, Evidence::default(), None)
    }

    pub fn offer_with(&mut self, number: u64, replay: Evidence, by: Option<&str>) -> Vec<Decision> {
        let (version, by) = (version(number), by.map(str::to_owned));
        let said = self.say(|slot, at| Event::Offered { slot, version, salt: 7, replay, by, at });
        said.expect("no command")
    }

    /// Evidence, after this time.
    pub fn see(&mut self, evidence: Evidence, passed_us: i64) -> Vec<Decision> {
        self.at.time_us += passed_us;
        self.say(|slot, at| Event::Seen { slot, evidence, at }).expect("no command")
    }

    pub fn command(&mut self, command: Command) -> Result<Vec<Decision>, NotNow> {
        let (by, why) = ("ada".into(), "because".into());
        self.say(|slot, at| Event::Command { slot, command, by, why, at })
    }

    pub fn drain(&mut self) -> Vec<Decision> {
        self.say(|slot, at| Event::Drained { slot, at }).expect("no command")
    }

    /// A step that has all it needs.
    pub fn step(&mut self) -> Vec<Decision> {
        self.see(alike(2_000), 10 * MINUTE_US)
    }

    pub fn slot(&self) -> &Slot {
        self.registry.slot(&slot()).expect("known")
    }

    pub fn trial(&self) -> &Trial {
        self.slot().trial.as_ref().expect("a trial")
    }
}
