//! What a decision of the registry does to workers, decoders, suppressors and the core.

use anyhow::{Context, Result};
use stillhouse_core::Change;
use stillhouse_core::rule::{RuleId, Turn};
use stillhouse_core::trial::Cohort;
use stillhouse_rollout::{Decision, SlotId, SlotKind};
use stillhouse_rules::Rule;

use super::Rollouts;
use crate::config::Refusal;
use crate::map::{Lane, union};
use crate::pipeline::Pipeline;
use crate::rules;

/// How many versions of the mapper of one type may answer in one run, so that rows can name them. At
/// the bound another one is refused.
pub const VERSIONS_MAX: usize = 1 << 15;

impl Rollouts<'_> {
    /// Does what was decided; it counts from the next chunk on.
    pub(super) fn turn(&mut self, decision: &Decision, pipeline: &mut Pipeline<'_>) -> Result<()> {
        let slot = decision.slot().clone();
        let Some(index) = self.signal_type(&slot) else { return Ok(()) };
        tracing::info!(%slot, ?decision, "decided");
        match slot.kind {
            SlotKind::Mapper => self.turn_mapper(index, decision, pipeline),
            SlotKind::Suppressor => self.turn_suppressor(index, &slot, decision, pipeline),
        }
    }

    fn turn_mapper(&mut self, index: usize, decision: &Decision, pipeline: &mut Pipeline<'_>) -> Result<()> {
        let signal_type = index as u16;
        match decision {
            Decision::Begin { slot, version, salt, share_ppm } => {
                let tried = self.rule(&version.digest)?;
                let stable = self.current(index, SlotKind::Mapper).context("a version is in force")?.clone();
                let number = self.number(index, &tried, pipeline)?;
                let decoded = union(stable.fields(), tried.fields());
                let cohort = Cohort { salt: *salt, share_ppm: *share_ppm };
                let settings = &self.config.signals[index].mapper.settings;
                for worker in pipeline.workers() {
                    let lane = Lane::new(rules::mapper(&tried, settings)?, number, tried.fields(), &decoded);
                    worker.try_beside(signal_type, lane, cohort, stable.fields(), &decoded);
                }
                self.tried.insert(slot.clone(), tried.id().clone());
                self.set_decoders(pipeline)
            }
            Decision::Share { share_ppm, .. } => {
                pipeline.workers().for_each(|worker| worker.set_share(signal_type, *share_ppm));
                Ok(())
            }
            Decision::Promote { slot } => {
                let stable = self.current(index, SlotKind::Mapper).context("a version is in force")?.clone();
                pipeline.workers().for_each(|worker| worker.promote(signal_type, stable.fields()));
                let stable = self.number(index, &stable, pipeline)?;
                self.tried.remove(slot);
                self.set_decoders(pipeline)?;
                pipeline.change(Change::MapperTried { signal_type, stable, withdrawn: None });
                Ok(())
            }
            Decision::RollBack { slot, retroactive, .. } => {
                let stable = self.current(index, SlotKind::Mapper).context("a version is in force")?.clone();
                pipeline.workers().for_each(|worker| worker.try_no_more(signal_type, stable.fields()));
                let stable = self.number(index, &stable, pipeline)?;
                self.set_decoders(pipeline)?;
                let withdrawn = self.tried.remove(slot).map(|rule| (rule, *retroactive));
                pipeline.change(Change::MapperTried { signal_type, stable, withdrawn });
                Ok(())
            }
            Decision::Swap { version, .. } => {
                let rule = self.rule(&version.digest)?;
                let number = self.number(index, &rule, pipeline)?;
                let settings = &self.config.signals[index].mapper.settings;
                for worker in pipeline.workers() {
                    let lane = Lane::new(rules::mapper(&rule, settings)?, number, rule.fields(), rule.fields());
                    worker.set_mapper(signal_type, lane);
                }
                self.set_decoders(pipeline)
            }
            Decision::Hold { .. } | Decision::Resume { .. } | Decision::Refuse { .. } => Ok(()),
        }
    }

    fn turn_suppressor(
        &mut self,
        index: usize,
        slot: &SlotId,
        decision: &Decision,
        pipeline: &mut Pipeline<'_>,
    ) -> Result<()> {
        let turn = match decision {
            Decision::Begin { version, salt, share_ppm, .. } => {
                let id = self.make_ready(index, &version.digest)?;
                self.tried.insert(slot.clone(), id.clone());
                Turn::Try(id, Cohort { salt: *salt, share_ppm: *share_ppm })
            }
            Decision::Share { share_ppm, .. } => Turn::Share(*share_ppm),
            Decision::Promote { .. } => {
                self.tried.remove(slot);
                Turn::Promote
            }
            Decision::RollBack { retroactive, .. } => match self.tried.remove(slot) {
                Some(rule) => Turn::Withdraw { rule, retroactive: *retroactive },
                None => return Ok(()),
            },
            Decision::Swap { version, .. } => Turn::Swap(self.make_ready(index, &version.digest)?),
            Decision::Hold { .. } | Decision::Resume { .. } | Decision::Refuse { .. } => return Ok(()),
        };
        pipeline.change(Change::Suppressor { signal_type: index as u16, turn });
        Ok(())
    }

    pub(super) fn make_ready(&self, index: usize, digest: &str) -> Result<RuleId> {
        let rule = self.rule(digest)?;
        let named = self.config.signals[index].suppressor.as_ref().context("the type has a suppressor")?;
        self.bench.ready(index as u16, rule.suppressor(&named.settings)?);
        Ok(rule.id().clone())
    }

    pub(super) fn rule(&self, digest: &str) -> Result<Rule> {
        self.rules.get(digest).cloned().with_context(|| format!("the rule {digest} is not loaded"))
    }

    /// The number of a version in rows. The core is told of a new one, and of states that it adds.
    fn number(&mut self, index: usize, rule: &Rule, pipeline: &mut Pipeline<'_>) -> Result<u16> {
        let (config, of_type) = (self.config, &mut self.types[index]);
        let known = of_type.mappers.iter().position(|digest| *digest == rule.id().digest);
        let has_states = of_type.plan.states.starts_with(rule.states());
        if let Some(number) = known.filter(|_| has_states) {
            return Ok(number as u16);
        }
        let signal = &config.signals[index];
        let mut plan = match has_states {
            true => of_type.plan.clone(),
            false => signal.plan(rule.id(), rule.states()).map_err(|refusal: Refusal| config.error(refusal))?,
        };
        plan.mappers.clone_from(&of_type.plan.mappers);
        let number = known.unwrap_or(of_type.mappers.len());
        if known.is_none() {
            of_type.mappers.push(rule.id().digest.clone());
            plan.mappers.push(rule.id().clone());
        }
        of_type.plan = plan.clone();
        pipeline.change(Change::Mapper { signal_type: index as u16, plan: Box::new(plan) });
        Ok(number as u16)
    }

    /// Whether a version that was proved may take the place of the one in force.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn fits(&self, slot: &SlotId, rule: &Rule) -> Result<(), String> {
        let Some(index) = self.signal_type(slot) else { return Err(format!("there is no slot {slot}")) };
        let (config, signal) = (self.config, &self.config.signals[index]);
        let refused = |refusal| config.error(refusal).to_string();
        if slot.kind == SlotKind::Suppressor {
            return Ok(());
        }
        let of_type = &self.types[index];
        if of_type.mappers.len() >= VERSIONS_MAX && !of_type.mappers.contains(&rule.id().digest) {
            return Err(format!("{VERSIONS_MAX} versions have answered in this run, and no more can: start it again"));
        }
        let stable = self.current(index, slot.kind).ok_or("no version is in force")?;
        if rule.schema() != stable.schema() {
            let (new, old) = (rule.schema(), stable.schema());
            return Err(format!(
                "its list of states has version {new}, and version {old} is in force: what is announced is kept by \
                 code and would mean something else; keep the version and add states at the end, or stop the host \
                 and start it with the new rule"
            ));
        }
        stillhouse_rules::schema::compatible((stable.schema(), stable.states()), (rule.schema(), rule.states()))
            .map_err(|incompatible| incompatible.to_string())?;
        crate::config::pin::check_states(signal, rule.schema(), rule.states()).map_err(refused)?;
        signal.plan(rule.id(), rule.states()).map_err(refused)?;
        let fields = [(signal.name.clone(), rule.fields().to_vec())];
        let known = |name: &str| self.tables.contains(name);
        match crate::tables::missing(config, &fields, known) {
            Some(table) => Err(format!("it reads the table `{table}`, which the configuration does not have")),
            None => Ok(()),
        }
    }
}
