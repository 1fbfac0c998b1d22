//! A version before it is tried: loaded and proved, and asked about the newest signals beside the
//! version in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use stillhouse_core::Span;
use stillhouse_core::columns::{Batch, Observations, outcome};
use stillhouse_core::rule::Field;
use stillhouse_core::table::Table;
use stillhouse_core::trial::Cohort;
use stillhouse_rollout::{Evidence, SlotId, SlotKind, Stage, Version};
use stillhouse_rules::signature::{PublicKey, verify};
use stillhouse_rules::{LoadError, Rule, RuleEngine};

use super::{Reply, Rollouts, UNREAD, slot_kind, version_of};
use crate::config::InputConfig;
use crate::decode::framing::Chunk;
use crate::decode::record::Decoder;
use crate::map::{BATCH_ROWS, Lane, Map, Worker, union};
use crate::pipeline::{Pipeline, Recent};
use crate::rules;

/// A file, and who brought it.
pub struct Brought {
    /// The file.
    pub bytes: Arc<[u8]>,
    /// What stands in the signature beside it.
    pub signature: Option<String>,
    /// Who staged it; `None`: it was found.
    pub by: Option<String>,
    /// Who waits for what comes of it.
    pub reply: Reply,
}

/// A version that is to be checked.
pub struct Offer {
    /// The slot.
    pub slot: SlotId,
    /// What was brought.
    pub brought: Brought,
    /// The settings of the slot.
    pub settings: BTreeMap<String, String>,
    /// The version in force.
    pub stable: Rule,
    /// Whose files are taken; empty: everybody's.
    pub trust: Vec<PublicKey>,
    /// What the newest signals are read with.
    pub(super) site: Site,
}

/// The newest signals, and all that is needed to read them again.
pub(super) struct Site {
    index: usize,
    types: Vec<(String, Vec<Field>)>,
    inputs: Vec<(InputConfig, String, String)>,
    tables: Vec<Arc<Table>>,
    recent: Recent,
}

/// A version that was checked.
pub struct Staged {
    /// The slot.
    pub slot: SlotId,
    /// Who staged it.
    pub by: Option<String>,
    /// Who waits for what comes of it.
    pub reply: Reply,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of checking a version.
pub enum Outcome {
    /// It may be tried.
    Passed {
        /// The version.
        rule: Rule,
        /// What both said of the newest signals.
        replay: Box<Evidence>,
    },
    /// It is refused.
    Refused {
        /// Which version, if that is known.
        version: Option<Version>,
        /// At which stage.
        stage: Stage,
        /// Why.
        why: String,
    },
}

impl Site {
    pub(super) fn new(rollouts: &Rollouts<'_>, index: usize, pipeline: &Pipeline<'_>) -> Self {
        let input = |(name, source): &(String, String)| {
            let config = crate::run::input_config(rollouts.config, name).ok()?.clone();
            Some((config, name.clone(), source.clone()))
        };
        Self {
            index,
            types: rollouts.decoded(),
            inputs: rollouts.inputs.iter().filter_map(input).collect(),
            tables: pipeline.tables().cloned().collect(),
            recent: pipeline.recent(),
        }
    }

    /// What both versions say of the newest signals.
    fn compare(mut self, stable: &Rule, tried: &Rule, settings: &BTreeMap<String, String>) -> Result<Evidence, String> {
        let decoded = union(stable.fields(), tried.fields());
        self.types[self.index].1.clone_from(&decoded);
        let nobody = |(_, fields): &(String, Vec<Field>)| (Box::new(Nobody) as Box<dyn Map>, fields.clone());
        let mut worker = Worker::new(self.types.iter().map(nobody).collect(), BATCH_ROWS);
        let lane = |rule: &Rule, version| {
            let mapper = rules::mapper(rule, settings).map_err(|error| error.to_string())?;
            Ok::<_, String>(Lane::new(mapper, version, rule.fields(), &decoded))
        };
        let signal_type = self.index as u16;
        worker.set_mapper(signal_type, lane(stable, 0)?);
        worker.try_beside(signal_type, lane(tried, 1)?, Cohort::default(), stable.fields(), &decoded);
        let decoders: Vec<Decoder> = self
            .inputs
            .iter()
            .map(|(input, name, source)| {
                let mut decoder = Decoder::new(input, name, &self.types).named(source);
                self.tables.iter().for_each(|table| decoder.set_table(table));
                decoder
            })
            .collect();
        let mut evidence = Evidence::default();
        for (input, first, block) in self.recent {
            let Some(decoder) = decoders.get(input) else { continue };
            let mut records: Vec<Span> = block.rows.iter().map(|row| row.raw).collect();
            records.dedup();
            let chunk = Chunk { bytes: block.raw.clone(), records: Some(records), first, ..Chunk::default() };
            for (_, seen, _) in worker.map(decoder, chunk).compared {
                evidence.add(&seen);
            }
        }
        Ok(evidence)
    }
}

/// Drops every signal: it is not about it.
struct Nobody;

impl Map for Nobody {
    fn map(&mut self, batch: Batch, out: &mut Observations) -> Batch {
        *out = Observations { outcome: vec![outcome::DROPPED; batch.rows as usize], ..Observations::default() };
        batch
    }
}

impl Offer {
    /// As [`Offer::check`]; a panic refuses the version, and is told on standard error.
    pub fn check_safely(self, engine: &RuleEngine) -> Staged {
        let slot = self.slot.clone();
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.check(engine)));
        checked.unwrap_or_else(|_| {
            let why = "checking it broke; what it said is on standard error".to_owned();
            let outcome = Outcome::Refused { version: None, stage: Stage::Replay, why };
            Staged { slot, by: None, reply: Reply::nobody(), outcome }
        })
    }

    /// Takes a version through all stages before it is tried.
    pub fn check(self, engine: &RuleEngine) -> Staged {
        let Self { slot, brought, settings, stable, trust, site } = self;
        let Brought { bytes, signature, by, reply } = brought;
        let refused = |version, stage, why: String| Outcome::Refused { version, stage, why };
        let outcome = match load(engine, &bytes, signature.as_deref(), &trust) {
            Err((stage, why)) => refused(Some(unread(&stable, &bytes)), stage, why),
            Ok(rule) if slot_kind(rule.kind()) != slot.kind => {
                let why =
                    format!("`{}` is a {}, and this is the slot of a {}", rule.id().name, rule.kind(), stable.kind());
                refused(Some(version_of(&rule)), Stage::Contract, why)
            }
            Ok(rule) => match replay(site, &slot, &stable, &rule, &settings) {
                Ok(replay) => Outcome::Passed { rule, replay: Box::new(replay) },
                Err(why) => refused(Some(version_of(&rule)), Stage::Replay, why),
            },
        };
        Staged { slot, by, reply, outcome }
    }
}

fn replay(
    site: Site,
    slot: &SlotId,
    stable: &Rule,
    tried: &Rule,
    settings: &BTreeMap<String, String>,
) -> Result<Evidence, String> {
    match slot.kind {
        SlotKind::Mapper => site.compare(stable, tried, settings),
        // Candidates are few, and depend on what passed before: shadow asks about them as they come.
        SlotKind::Suppressor => {
            tried.suppressor(settings).map_err(|error| error.to_string())?;
            Ok(Evidence::default())
        }
    }
}

fn load(
    engine: &RuleEngine,
    bytes: &[u8],
    signature: Option<&str>,
    trust: &[PublicKey],
) -> Result<Rule, (Stage, String)> {
    if !trust.is_empty() {
        verify(bytes, signature, trust).map_err(|error| (Stage::Validation, error.to_string()))?;
    }
    engine.load(bytes).map_err(|error| (stage_of(&error), error.to_string()))
}

/// A file that is no version yet goes by the name of the one in force, and its own digest.
fn unread(stable: &Rule, bytes: &[u8]) -> Version {
    let digest = stillhouse_control::sha256_hex(bytes);
    Version { name: stable.id().name.clone(), version: UNREAD.into(), digest }
}

/// The stage that an error belongs to.
fn stage_of(error: &LoadError) -> Stage {
    match error {
        LoadError::Read { .. } | LoadError::NotWasm(_) | LoadError::TooLarge { .. } => Stage::Validation,
        LoadError::Compile(_) => Stage::Compile,
        LoadError::Cases { .. } => Stage::Cases,
        LoadError::Impure { .. } => Stage::Purity,
        _ => Stage::Contract,
    }
}
