//! Versions of mappers in a host: what the registry is told is in the log, and what it decides is done, as
//! `Rollouts` does.

use stillhouse::journal::Given;
use stillhouse::map::Lane;
use stillhouse_core::Change;
use stillhouse_core::trial::{Cohort, WHOLE_PPM};
use stillhouse_rollout::{At, Command, Decision, Event, Evidence, Registry, Slot, SlotId};

use super::host::Host;
use super::rules::{self, Native, fields};

impl Host<'_> {
    fn place(&self) -> At {
        At { position: self.pipeline.signals(), time_us: self.pipeline.watermark_us() }
    }

    fn slot_of(&self, signal_type: usize) -> SlotId {
        SlotId::mapper(&self.plan.types[signal_type].name)
    }

    /// The registry learns what a run begins with.
    pub fn begin(&mut self) {
        for signal_type in 0..self.plan.types.len() {
            let (slot, version, at) = (self.slot_of(signal_type), rules::version(0), self.place());
            self.log_and_tell(Event::Known { slot, version, at });
        }
    }

    /// A version has passed all checks.
    pub fn offer(&mut self, signal_type: usize, version: usize, by_hand: bool) {
        let event = Event::Offered {
            slot: self.slot_of(signal_type),
            version: rules::version(version),
            salt: self.pipeline.signals(),
            replay: Evidence::default(),
            by: by_hand.then(|| "ann".to_owned()),
            at: self.place(),
        };
        self.log_and_tell(event);
    }

    /// A person wants something; tells whether that makes sense now.
    pub fn want(&mut self, signal_type: usize, command: Command) -> bool {
        let (slot, at) = (self.slot_of(signal_type), self.place());
        let event = Event::Command { slot, command, by: "ann".into(), why: "because".into(), at };
        let makes_sense = self.registry.clone().apply(&event).is_ok();
        if makes_sense {
            self.log_and_tell(event);
        }
        makes_sense
    }

    /// What was counted since the last time is told to the registry.
    pub fn watch(&mut self) {
        let mut seen: Vec<(SlotId, Evidence)> = Vec::new();
        for compared in self.pipeline.take_compared() {
            let mut evidence = compared.evidence;
            // What a clock says is not of a simulation.
            (evidence.stable.time_ns, evidence.candidate.time_ns) = (0, 0);
            seen.push((self.slot_of(usize::from(compared.signal_type)), evidence));
        }
        for signal_type in 0..self.plan.types.len() {
            let slot = self.slot_of(signal_type);
            let trial = |host: &Self| host.registry.slot(&slot).and_then(|slot| slot.trial.clone());
            let Some(share_ppm) = trial(self).map(|trial| trial.share_ppm) else { continue };
            let mut evidence = Evidence::default();
            seen.iter().filter(|(of, _)| *of == slot).for_each(|(_, more)| evidence.add(more));
            let is_drained = share_ppm == WHOLE_PPM && self.is_drained(signal_type);
            self.log_and_tell(Event::Seen { slot: slot.clone(), evidence, at: self.place() });
            if is_drained && trial(self).is_some_and(|trial| !trial.drained) {
                self.log_and_tell(Event::Drained { slot, at: self.place() });
            }
        }
    }

    pub fn is_trying(&self) -> bool {
        self.registry.slots().any(|(_, slot)| slot.trial.is_some())
    }

    fn is_drained(&self, signal_type: usize) -> bool {
        let stable = self.stable(signal_type);
        self.pipeline.open_under(signal_type as u16, self.known(signal_type, stable).unwrap_or(0)) == 0
    }

    fn log_and_tell(&mut self, event: Event) {
        self.log(|| Given::Rollout(Box::new(event.clone())));
        self.tell(event);
    }

    /// Tells the registry, and does what it decides.
    pub fn tell(&mut self, event: Event) {
        for decision in self.registry.apply(&event).unwrap_or_default() {
            self.turn(&decision);
        }
    }

    /// The number of the version in force, as rules have it.
    fn stable(&self, signal_type: usize) -> usize {
        let slot = self.registry.slot(&self.slot_of(signal_type)).and_then(|slot| slot.stable.as_ref());
        rules::number_of(&slot.expect("a version is in force").digest)
    }

    fn known(&self, signal_type: usize, version: usize) -> Option<u16> {
        let digest = rules::rule_id(version).digest;
        let known = self.plan.types[signal_type].mappers.iter().position(|rule| rule.digest == digest);
        known.map(|number| number as u16)
    }

    /// The number of a version in rows. The core is told of a new one.
    fn number(&mut self, signal_type: usize, version: usize) -> u16 {
        if let Some(number) = self.known(signal_type, version) {
            return number;
        }
        let of_type = &mut self.plan.types[signal_type];
        of_type.mappers.push(rules::rule_id(version));
        let plan = Box::new(of_type.clone());
        let number = of_type.mappers.len() as u16 - 1;
        self.pipeline.change(Change::Mapper { signal_type: signal_type as u16, plan });
        number
    }

    fn lane(&self, version: usize, number: u16) -> Lane {
        Lane::new(Box::new(Native::new(version, self.world.seed)), number, &fields(), &fields())
    }

    fn turn(&mut self, decision: &Decision) {
        let index = self.plan.types.iter().position(|of_type| of_type.name == decision.slot().signal);
        let index = index.expect("a slot of a type");
        let signal_type = index as u16;
        match decision {
            Decision::Begin { version, salt, share_ppm, .. } => {
                let version = rules::number_of(&version.digest);
                let number = self.number(index, version);
                let (lane, cohort) = (self.lane(version, number), Cohort { salt: *salt, share_ppm: *share_ppm });
                let worker = self.pipeline.workers().next().expect("one worker");
                worker.try_beside(signal_type, lane, cohort, &fields(), &fields());
            }
            Decision::Share { share_ppm, .. } => {
                self.pipeline.workers().for_each(|worker| worker.set_share(signal_type, *share_ppm));
            }
            Decision::Promote { .. } => {
                self.pipeline.workers().for_each(|worker| worker.promote(signal_type, &fields()));
                let stable = self.number(index, self.stable(index));
                self.pipeline.change(Change::MapperTried { signal_type, stable, withdrawn: None });
            }
            Decision::RollBack { retroactive, .. } => {
                self.pipeline.workers().for_each(|worker| worker.try_no_more(signal_type, &fields()));
                let stable = self.number(index, self.stable(index));
                let slot = self.registry.slot(decision.slot());
                let last = slot.and_then(|slot| {
                    slot.history.iter().rev().find(|record| record.what == stillhouse_rollout::What::RolledBack)
                });
                let version = last.and_then(|record| record.version.as_ref()).expect("it was just noted");
                let withdrawn = Some((rules::rule_id(rules::number_of(&version.digest)), *retroactive));
                self.pipeline.change(Change::MapperTried { signal_type, stable, withdrawn });
            }
            Decision::Swap { version, .. } => {
                let version = rules::number_of(&version.digest);
                let number = self.number(index, version);
                let lane = self.lane(version, number);
                self.pipeline.workers().next().expect("one worker").set_mapper(signal_type, lane);
            }
            Decision::Hold { .. } | Decision::Resume { .. } | Decision::Refuse { .. } => {}
        }
    }

    /// Goes on with the versions of a checkpoint.
    pub fn go_on_with(&mut self, slots: Vec<(SlotId, Slot)>) {
        let policies = slots.iter().map(|(id, _)| (id.clone(), self.world.policy.clone())).collect();
        self.registry = Registry::going_on(policies, slots);
        for index in 0..self.plan.types.len() {
            let trial = self.registry.slot(&self.slot_of(index)).and_then(|slot| slot.trial.clone());
            let stable = self.stable(index);
            let lane = self.lane(stable, self.number_known(index, stable));
            let tried = trial.map(|trial| {
                let version = rules::number_of(&trial.version.digest);
                let cohort = Cohort { salt: trial.salt, share_ppm: trial.share_ppm };
                (self.lane(version, self.number_known(index, version)), cohort)
            });
            let worker = self.pipeline.workers().next().expect("one worker");
            worker.set_mapper(index as u16, lane);
            if let Some((lane, cohort)) = tried {
                worker.try_beside(index as u16, lane, cohort, &fields(), &fields());
            }
        }
    }

    fn number_known(&self, signal_type: usize, version: usize) -> u16 {
        self.known(signal_type, version).expect("a version in force has answered")
    }
}
