//! The versions of rules in a checkpoint, and a run that goes on with them.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use stillhouse_core::plan::TypePlan;
use stillhouse_core::rule::{RuleId, State, Turn};
use stillhouse_core::trial::Cohort;
use stillhouse_rollout::{At, Decision, Event, Registry, Slot, SlotId, SlotKind};
use stillhouse_rules::{Kind, Rule};

use super::{Log, Rollouts, at, slot_kind, version_of};
use crate::map::{Lane, union};
use crate::pipeline::Pipeline;
use crate::rules::{self, RuleSet};

/// What a checkpoint holds of the versions of rules.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Saved {
    /// Every slot.
    pub slots: Vec<(SlotId, Slot)>,
    /// The signal types, in the order of the plan.
    pub types: Vec<SavedType>,
    salts: u64,
    seen: Vec<(SlotId, At)>,
    /// Name and source of each input.
    pub inputs: Vec<(String, String)>,
}

/// What rows and entities of a type name by number.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SavedType {
    /// The signal type.
    pub signal: String,
    /// All versions of its mapper that have answered.
    pub mappers: Vec<RuleId>,
    /// All states that they know.
    pub states: Vec<State>,
}

impl SavedType {
    /// The type, the names of its states, and the digests of its mappers by number.
    pub fn named(&self) -> (String, Vec<String>, Vec<String>) {
        let states = self.states.iter().map(|state| state.name.clone()).collect();
        (self.signal.clone(), states, self.mappers.iter().map(|rule| rule.digest.clone()).collect())
    }
}

impl Saved {
    /// The version in force, of the slots that have one.
    pub fn stable(&self) -> impl Iterator<Item = (&SlotId, &str)> {
        self.slots.iter().filter_map(|(id, slot)| Some((id, slot.stable.as_ref()?.digest.as_str())))
    }
}

impl Rollouts<'_> {
    /// What a checkpoint must hold.
    pub fn save(&self) -> Saved {
        let of = |of_type: &super::Type| SavedType {
            signal: of_type.plan.name.clone(),
            mappers: of_type.plan.mappers.clone(),
            states: of_type.plan.states.clone(),
        };
        Saved {
            slots: self.registry.slots().map(|(id, slot)| (id.clone(), slot.clone())).collect(),
            types: self.types.iter().map(of).collect(),
            salts: self.salts,
            seen: self.seen.iter().map(|(id, at)| (id.clone(), *at)).collect(),
            inputs: self.inputs.clone(),
        }
    }

    /// The plans of the signal types as they were: with all versions that have answered, and all states.
    ///
    /// # Errors
    /// If the configuration does not fit the states.
    pub fn plans(&mut self, saved: &Saved) -> Result<Vec<TypePlan>> {
        for (index, then) in saved.types.iter().enumerate() {
            let Some(of_type) = self.types.get_mut(index) else { break };
            let first = then.mappers.first().context("a type has a mapper")?;
            let signal = &self.config.signals[index];
            let states =
                if then.states.len() >= of_type.plan.states.len() { &then.states } else { &of_type.plan.states };
            let plan = signal.plan(first, states).map_err(|refusal| self.config.error(refusal))?;
            of_type.plan = TypePlan { mappers: then.mappers.clone(), ..plan };
            of_type.mappers = then.mappers.iter().map(|rule| rule.digest.clone()).collect();
        }
        Ok(self.types.iter().map(|of_type| of_type.plan.clone()).collect())
    }

    /// Goes on with the versions of a checkpoint. `file` finds the file of a version by its digest.
    ///
    /// # Errors
    /// If a version cannot be loaded.
    pub fn restore(
        &mut self,
        saved: Saved,
        pipeline: &mut Pipeline<'_>,
        file: &mut dyn FnMut(&str) -> Result<Option<Vec<u8>>>,
    ) -> Result<()> {
        for (_, slot) in &saved.slots {
            let tried = slot.trial.as_ref().map(|trial| &trial.version);
            for version in [slot.stable.as_ref(), slot.last_good.as_ref(), tried].into_iter().flatten() {
                self.logged.insert(version.digest.clone());
                if let Some(bytes) = file(&version.digest)? {
                    self.files.insert(version.digest.clone(), bytes);
                }
                self.load_again(&version.digest)?;
            }
        }
        self.salts = saved.salts;
        self.seen = saved.seen.into_iter().collect();
        self.inputs = saved.inputs;
        self.registry = Registry::going_on(self.config.policies.clone(), saved.slots);
        let slots: Vec<(SlotId, Slot)> = self.registry.slots().map(|(id, slot)| (id.clone(), slot.clone())).collect();
        for (id, slot) in slots {
            let Some(index) = self.signal_type(&id) else { continue };
            let Some(stable) = slot.stable.as_ref() else { continue };
            let stable = self.rule(&stable.digest)?;
            let trial = slot.trial.as_ref().map(|trial| (trial.version.digest.as_str(), trial.salt, trial.share_ppm));
            match id.kind {
                SlotKind::Mapper => self.set_mappers(index, &stable, trial, pipeline)?,
                SlotKind::Suppressor => self.set_judges(index, &stable, trial, pipeline)?,
            }
            if let Some((digest, ..)) = trial {
                let tried = self.rule(digest)?;
                self.tried.insert(id, tried.id().clone());
            }
        }
        self.board.show(&self.registry, at(pipeline));
        self.set_decoders(pipeline)
    }

    fn set_mappers(
        &mut self,
        index: usize,
        stable: &Rule,
        trial: Option<(&str, u64, u32)>,
        pipeline: &mut Pipeline<'_>,
    ) -> Result<()> {
        let settings = &self.config.signals[index].mapper.settings;
        let number = |digest: &str| {
            let known = self.types[index].mappers.iter().position(|known| known == digest);
            known.map(|number| number as u16).with_context(|| format!("the rule {digest} has never answered"))
        };
        let signal_type = index as u16;
        let tried = trial.map(|(digest, salt, share_ppm)| Ok((self.rule(digest)?, Cohort { salt, share_ppm })));
        let tried = tried.transpose().map_err(|error: anyhow::Error| error)?;
        let decoded = union(stable.fields(), tried.as_ref().map_or(&[], |(tried, _)| tried.fields()));
        for worker in pipeline.workers() {
            let stable_number = number(&stable.id().digest)?;
            let lane = Lane::new(rules::mapper(stable, settings)?, stable_number, stable.fields(), &decoded);
            worker.set_mapper(signal_type, lane);
            if let Some((tried, cohort)) = &tried {
                let number = number(&tried.id().digest)?;
                let lane = Lane::new(rules::mapper(tried, settings)?, number, tried.fields(), &decoded);
                worker.try_beside(signal_type, lane, *cohort, stable.fields(), &decoded);
            }
        }
        Ok(())
    }

    fn set_judges(
        &mut self,
        index: usize,
        stable: &Rule,
        trial: Option<(&str, u64, u32)>,
        pipeline: &mut Pipeline<'_>,
    ) -> Result<()> {
        let signal_type = index as u16;
        let stable = self.make_ready(index, &stable.id().digest)?;
        pipeline.judge().turn(signal_type, &Turn::Swap(stable));
        if let Some((digest, salt, share_ppm)) = trial {
            let tried = self.make_ready(index, digest)?;
            pipeline.judge().turn(signal_type, &Turn::Try(tried, Cohort { salt, share_ppm }));
        }
        Ok(())
    }

    /// Tells the registry of rules that the configuration names and that it does not know: of a type or
    /// suppressor that was added, and where another rule is named.
    ///
    /// # Errors
    /// If the log cannot be written.
    pub fn begin_anew(&mut self, rules: &RuleSet, pipeline: &mut Pipeline<'_>, log: Log<'_>) -> Result<()> {
        for (index, signal) in self.config.signals.iter().enumerate() {
            for kind in [Kind::Mapper, Kind::Suppressor] {
                let Some((rule, _)) = rules.slot(index, kind) else { continue };
                let slot = SlotId { signal: signal.name.clone(), kind: slot_kind(kind) };
                let known = self.registry.slot(&slot).and_then(|slot| slot.stable.as_ref());
                if known.is_some_and(|known| known.name == rule.id().name) {
                    continue;
                }
                self.log_file(rule, log)?;
                self.rules.insert(rule.id().digest.clone(), rule.clone());
                let version = version_of(rule);
                let event = Event::Known { slot: slot.clone(), version: version.clone(), at: at(pipeline) };
                self.tell(event, pipeline, log)?;
                self.turn(&Decision::Swap { slot, version }, pipeline)?;
            }
        }
        Ok(())
    }
}
