//! The configuration: read once, checked as a whole, and turned into types.
//!
//! An error names the file and the line, says what was expected and what came, and suggests the
//! nearest thing that would have been right.

pub mod confirm;
mod control;
mod correct;
pub mod derive;
pub mod duration;
pub mod flapping;
mod flood;
mod inhibit;
mod input;
pub mod level;
mod maintenance;
mod mask;
mod order;
pub mod pin;
pub mod rollout;
pub mod schema;
mod sink;
mod snapshot;
mod table;
mod trust;
pub mod window;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use stillhouse_core::entity::SPREAD_MAX;
use stillhouse_core::plan::{
    Against, DedupePlan, FlappingPlan, FloodPlan, InhibitPlan, MaintenancePlan, Mode, OrderPlan, SILENT, TypePlan,
};
use stillhouse_core::reconcile::ReconcilePlan;
use stillhouse_core::rule::{Condition, RuleId, State};
use stillhouse_rollout::{Policy, SlotId};
use stillhouse_rules::signature::PublicKey;

pub use control::ControlConfig;
pub use input::{InputConfig, PatternConfig, TimeConfig};
pub use mask::{MaskConfig, MaskKind, pseudonym};
pub use sink::{SinkConfig, SinkTo};
pub use snapshot::SnapshotConfig;
pub use table::{TableConfig, TableFormat};

const DAY_US: i64 = 86_400_000_000;

/// How long an entity that has nothing to say is known, unless configured.
const FORGET_AFTER_US: i64 = 30 * DAY_US;

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Something in it is refused.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What was expected, what came, and what to do.
        message: String,
    },
}

/// A checked configuration.
#[derive(Debug)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// How signals are put in order.
    pub order: OrderPlan,
    /// How inputs are read; the first whose files match reads an input.
    pub inputs: Vec<InputConfig>,
    /// The signal types, by name.
    pub signals: Vec<SignalConfig>,
    /// What is made of distilled events.
    pub derive: derive::DeriveConfig,
    /// Who is quiet while its parent has a problem.
    pub inhibit: Option<InhibitPlan>,
    /// When maintenance is.
    pub maintenance: Vec<MaintenancePlan>,
    /// What is masked, in order.
    pub masks: Vec<MaskConfig>,
    /// The enrichment tables, by name.
    pub tables: Vec<TableConfig>,
    /// The snapshots that entities are compared with, at most one of a signal type.
    pub snapshots: Vec<SnapshotConfig>,
    /// How new versions are tried, for each slot that there is.
    pub policies: BTreeMap<SlotId, Policy>,
    /// How it is steered while it runs.
    pub control: Option<ControlConfig>,
    /// When a store is committed, and what is kept in it.
    pub store: crate::durable::Policy,
    /// Where events go beside the output, by name.
    pub sinks: Vec<SinkConfig>,
    /// Where signals can be posted.
    pub intake: Option<stillhouse_delivery::intake::server::IntakeConfig>,
    /// Where rules are looked for before those that ship.
    pub rules_folder: Option<PathBuf>,
    /// Whose rule files are loaded; empty where no signature is asked for.
    pub trust: Vec<PublicKey>,
    /// SHA-256 of the file and what the command line overrides, in hexadecimal.
    pub digest: String,
    text: String,
    overrides: Overrides,
    /// Rules in the place of those that the file names, by signal type and whether it is a suppressor.
    rules: BTreeMap<(String, bool), String>,
}

/// A checked `[signal.TYPE]`.
#[derive(Debug)]
pub struct SignalConfig {
    /// The signal type.
    pub name: String,
    /// Name or path of the mapper.
    pub mapper: RuleRef,
    /// The suppressor, if there is one.
    pub suppressor: Option<RuleRef>,
    flood: Option<FloodPlan>,
    inhibit: bool,
    reconcile: ReconcilePlan,
    file: schema::Signal,
}

/// A rule and its settings, as the configuration names them.
#[derive(Clone, Debug)]
pub struct RuleRef {
    /// A name, or a path that ends in `.wasm`.
    pub name: String,
    /// The settings, as text.
    pub settings: BTreeMap<String, String>,
    /// Where the configuration names it.
    pub span: Range<usize>,
}

impl RuleRef {
    /// Whether it names a rule of this name.
    pub fn is_called(&self, name: &str) -> bool {
        // A path names whatever is there.
        self.name == name || self.name.ends_with(".wasm")
    }
}

/// What the command line overrides.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The year of event times that have none.
    pub year: Option<i16>,
}

/// The place of a refusal and its text, before the line is known.
#[derive(Debug)]
pub struct Refusal {
    span: Range<usize>,
    message: String,
}

/// Refuses what stands at `span`.
pub fn refuse(span: Range<usize>, message: impl Into<String>) -> Refusal {
    Refusal { span, message: message.into() }
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// If the file cannot be read or says something that is refused.
    pub fn load(path: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
        Self::parse(path, text, overrides)
    }

    /// Checks a configuration that was read from `path`.
    ///
    /// # Errors
    /// If it says something that is refused.
    pub fn parse(path: &Path, text: String, overrides: &Overrides) -> Result<Self, ConfigError> {
        Self::parse_in_order(path, text, overrides, &[])
    }

    /// As [`Config::parse`], with these signal types first, in this order: they are named by number.
    fn parse_in_order(path: &Path, text: String, overrides: &Overrides, order: &[&str]) -> Result<Self, ConfigError> {
        let file: schema::File = match toml::from_str(&text) {
            Ok(file) => file,
            Err(error) => {
                let refusal = refuse(error.span().unwrap_or(0..0), with_suggestion(error.message()));
                return Err(located(path, &text, refusal));
            }
        };
        let checked = Self::check(path, &text, file, overrides, order);
        checked.map_err(|refusal| located(path, &text, refusal)).map(|config| Self { text, ..config })
    }

    /// As a store keeps it: path, text, and the year that the command line gave.
    pub fn recorded(&self) -> Vec<u8> {
        let kept = (self.path.display().to_string(), &self.text, self.overrides.year);
        postcard::to_allocvec(&kept).expect("a configuration is plain data")
    }

    /// The same with its signal types in the order of a state, those that are new after them: the state names
    /// them by number.
    ///
    /// # Errors
    /// If one is missing.
    pub fn in_order_of(&self, saved: &crate::rollouts::Saved) -> anyhow::Result<Self> {
        let order: Vec<&str> = saved.types.iter().map(|of_type| of_type.signal.as_str()).collect();
        let mut config = Self::parse_in_order(&self.path, self.text.clone(), &self.overrides, &order)?;
        for ((signal, suppressor), file) in &self.rules {
            config.use_rule(signal, *suppressor, Path::new(file))?;
        }
        for of_type in &saved.types {
            if !config.signals.iter().any(|signal| signal.name == of_type.signal) {
                anyhow::bail!(
                    "{}: there is no `[signal.\"{}\"]`, and the store has state of it; leave it in (without an input \
                     it receives nothing), or begin a new store",
                    self.path.display(),
                    of_type.signal
                );
            }
        }
        Ok(config)
    }

    /// Another rule takes the place of the one that is named: the file at this path.
    ///
    /// # Errors
    /// If there is no such signal type, or it has no suppressor.
    pub fn use_rule(&mut self, signal: &str, suppressor: bool, file: &Path) -> anyhow::Result<()> {
        let known: Vec<&str> = self.signals.iter().map(|signal| signal.name.as_str()).collect();
        let Some(index) = known.iter().position(|known| *known == signal) else {
            anyhow::bail!("there is no signal type `{signal}`; there is {}", listed(&known));
        };
        let of_type = &mut self.signals[index];
        let rule = if suppressor { of_type.suppressor.as_mut() } else { Some(&mut of_type.mapper) };
        let Some(rule) = rule else { anyhow::bail!("`{signal}` has no suppressor whose place a rule could take") };
        anyhow::ensure!(
            file.extension().is_some_and(|extension| extension == "wasm"),
            "{}: expected a file whose name ends in .wasm",
            file.display()
        );
        rule.name = file.display().to_string();
        self.rules.insert((signal.to_owned(), suppressor), rule.name.clone());
        self.digest.push_str("+rule");
        Ok(())
    }

    /// The error for a refusal that was found after loading.
    pub fn error(&self, refusal: Refusal) -> ConfigError {
        located(&self.path, &self.text, refusal)
    }

    fn check(
        path: &Path,
        text: &str,
        file: schema::File,
        overrides: &Overrides,
        first: &[&str],
    ) -> Result<Self, Refusal> {
        if file.signal.is_empty() {
            return Err(refuse(
                0..0,
                "no signal type: add a table such as `[signal.\"net.link\"]` with `mapper = \"..\"`",
            ));
        }
        if file.input.is_empty() {
            return Err(refuse(
                0..0,
                "no input: add `[[input]]` with `format = \"text\"`, `\"json\"` or `\"cloudevents\"`",
            ));
        }
        let policies = policies(&file)?;
        let mut signals = Vec::new();
        for (name, signal) in file.signal {
            signals.push(SignalConfig::check(name.into_inner(), signal, file.inhibit.as_ref())?);
        }
        let place = |signal: &SignalConfig| first.iter().position(|name| *name == signal.name);
        signals.sort_by_key(|signal| place(signal).unwrap_or(usize::MAX));
        let names: Vec<String> = signals.iter().map(|signal| signal.name.clone()).collect();
        let inputs = file.input.into_iter().map(|input| InputConfig::check(input, &names, overrides));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let masks = file.mask.into_iter().map(|mask| MaskConfig::check(mask, &inputs)).collect::<Result<_, _>>()?;
        let base = path.parent().unwrap_or(Path::new("."));
        let tables = file.table.into_iter().map(|(name, table)| TableConfig::check(name, table, base));
        let tables = tables.collect::<Result<Vec<_>, _>>()?;
        let snapshots = snapshot::check(file.snapshot, &inputs, &mut signals, base)?;
        let derive = derive::DeriveConfig::check(&tables, file.incident, file.objective, file.trigger, &names)?;
        let mut digest = Sha256::new();
        digest.update(text.as_bytes());
        if let Some(year) = overrides.year {
            digest.update(format!("\nyear {year}"));
        }
        Ok(Self {
            path: path.to_owned(),
            order: order::check(file.order)?,
            inputs,
            signals,
            derive,
            inhibit: file.inhibit.as_ref().map(|inhibit| inhibit::check(inhibit, &tables)).transpose()?,
            maintenance: file.maintenance.iter().map(maintenance::check).collect::<Result<_, _>>()?,
            masks,
            tables,
            snapshots,
            policies,
            control: file.control.map(|control| control::check(control, base)).transpose()?,
            store: sink::store(&file.store)?,
            sinks: file.sink.into_iter().map(|(name, it)| sink::sink(name, it, base)).collect::<Result<_, _>>()?,
            intake: file.intake.map(|intake| sink::intake(intake, base)).transpose()?,
            rules_folder: file.rules.folder.map(|folder| base.join(folder)),
            trust: trust::check(file.rules.trust)?,
            digest: hex(&digest.finalize()),
            text: String::new(),
            overrides: overrides.clone(),
            rules: BTreeMap::new(),
        })
    }
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn policies(file: &schema::File) -> Result<BTreeMap<SlotId, Policy>, Refusal> {
    file.rollout.as_ref().map(rollout::check_general).transpose()?;
    let mut policies = BTreeMap::new();
    for (name, signal) in &file.signal {
        let (has_suppressor, own) = (signal.suppressor.is_some(), signal.rollout.as_ref());
        policies.extend(rollout::check(name.get_ref(), has_suppressor, file.rollout.as_ref(), own)?);
    }
    Ok(policies)
}

impl SignalConfig {
    fn check(name: String, file: schema::Signal, parents: Option<&inhibit::Inhibit>) -> Result<Self, Refusal> {
        let settings = |given: &BTreeMap<String, schema::Setting>| {
            given.iter().map(|(name, value)| (name.clone(), value.to_string())).collect()
        };
        let flood = file.flood.as_ref().map(flood::check).transpose()?;
        let inhibit = inhibit::takes_part(file.inhibit.as_ref(), parents)?;
        if let Some(settings) = file.suppressor_settings.as_ref().filter(|_| file.suppressor.is_none()) {
            return Err(refuse(settings.span(), "`suppressor_settings` without a `suppressor`"));
        }
        let bounds = [
            ("suppress_max", file.suppress_max.as_ref().map(toml::Spanned::span)),
            ("never_suppress", file.never_suppress.as_ref().map(toml::Spanned::span)),
        ];
        if let Some((key, span)) = bounds.into_iter().find_map(|(key, span)| Some((key, span?)))
            && file.suppressor.is_none()
            && flood.is_none()
            && !inhibit
        {
            let message =
                format!("`{key}` without a `suppressor`, a `flood` limit or `[inhibit]`: nothing is held back");
            return Err(refuse(span, message));
        }
        if let Some(max) = file.suppress_max.as_ref().filter(|max| max.get_ref().0 == 0) {
            return Err(refuse(max.span(), "`suppress_max` must be more than 0: at 0 nothing is ever held back"));
        }
        if let Some((key, span)) = never(&file) {
            return Err(refuse(span, format!("`{key}` must be more than 0: every source is silent for a moment")));
        }
        window::check(&file)?;
        correct::check(&file)?;
        if file.mode != schema::Mode::State {
            let lasting = [
                ("hold_down", file.hold_down.as_ref().map(toml::Spanned::span)),
                ("hold_open", file.hold_open.as_ref().map(toml::Spanned::span)),
                ("clear_after", file.clear_after.as_ref().map(toml::Spanned::span)),
                ("silent_after", file.silent_after.as_ref().map(toml::Spanned::span)),
                ("spread", file.spread.as_ref().map(toml::Spanned::span)),
                ("confirm", file.confirm.as_ref().map(toml::Spanned::span)),
                ("flapping", file.flapping.as_ref().map(toml::Spanned::span)),
            ];
            if let Some((key, span)) = lasting.into_iter().find_map(|(key, span)| Some((key, span?))) {
                let message = format!(
                    "`{key}` is about states that last; `mode = \"{}\"` has none: leave one of the two out",
                    file.mode.name()
                );
                return Err(refuse(span, message));
            }
        }
        if let Some(level) = &file.level {
            level::check(level, file.mode)?;
        }
        if let Some(dedupe) = &file.dedupe
            && file.mode == schema::Mode::State
            && dedupe.get_ref().against == Some(schema::Against::Any)
        {
            let message = "`against = \"any\"` would hide a state that comes back within the window; \
                           use `against = \"last\"`, or `mode = \"occurrence\"`";
            return Err(refuse(dedupe.span(), message));
        }
        file.confirm.as_ref().map(confirm::check).transpose()?;
        if let Some(spread) = file.spread.as_ref().filter(|spread| !(2..=SPREAD_MAX as u64).contains(spread.get_ref()))
        {
            return Err(refuse(spread.span(), format!("`spread` is a number of sources, from 2 to {SPREAD_MAX}")));
        }
        let (flapping, _) = file.flapping.as_ref().map(flapping::check).transpose()?.unwrap_or_default();
        if let Some(silent_after) = &file.silent_after {
            silence(&file, silent_after, flapping)?;
        }
        let mapper = RuleRef {
            name: file.mapper.get_ref().clone(),
            settings: settings(&file.mapper_settings),
            span: file.mapper.span(),
        };
        let suppressor = file.suppressor.as_ref().map(|rule| RuleRef {
            name: rule.get_ref().clone(),
            settings: file.suppressor_settings.as_ref().map(|given| settings(given.get_ref())).unwrap_or_default(),
            span: rule.span(),
        });
        let reconcile = ReconcilePlan::default();
        Ok(Self { name, mapper, suppressor, flood, inhibit, reconcile, file })
    }

    /// The plan for this type, now that its mapper is known.
    ///
    /// # Errors
    /// If `clear_after` names a state that the mapper does not have, or that is no problem; if there is
    /// no room for the state that `silent_after` adds; if `level` names one that it does not have.
    pub fn plan(&self, mapper: &RuleId, states: &[State]) -> Result<TypePlan, Refusal> {
        let file = &self.file;
        let us = |duration: &Option<toml::Spanned<duration::Duration>>, default_us| {
            duration.as_ref().map_or(default_us, |duration| duration.get_ref().0)
        };
        if let Some(silent_after) = file.silent_after.as_ref().filter(|_| states.len() > usize::from(SILENT)) {
            let message =
                format!("`silent_after` adds a state, and mapper `{}` has {} already", self.mapper.name, states.len());
            return Err(refuse(silent_after.span(), message));
        }
        let (flapping, damping) = file.flapping.as_ref().map(flapping::check).transpose()?.unwrap_or_default();
        Ok(TypePlan {
            mode: match file.mode {
                schema::Mode::State => Mode::State,
                schema::Mode::Occurrence => Mode::Occurrence,
                schema::Mode::Window => Mode::Window(window::plan(file)?),
            },
            hold_down_us: us(&file.hold_down, 0),
            hold_open_us: us(&file.hold_open, 0),
            clear_after_us: self.clear_after(states)?,
            silent_after_us: file.silent_after.as_ref().map(|after| after.get_ref().0),
            forget_after_us: us(&file.forget_after, FORGET_AFTER_US),
            dedupe: file.dedupe.as_ref().map(|dedupe| DedupePlan {
                window_us: dedupe.get_ref().window.0,
                against: match (dedupe.get_ref().against, file.mode) {
                    (Some(schema::Against::Any), _) | (None, schema::Mode::Occurrence | schema::Mode::Window) => {
                        Against::Any
                    }
                    (Some(schema::Against::Last), _) | (None, schema::Mode::State) => Against::Last,
                },
            }),
            level: file.level.as_ref().map(|level| level::plan(level, &self.mapper.name, states)).transpose()?,
            confirm: file.confirm.as_ref().map(confirm::check).transpose()?,
            flapping,
            damping,
            correct_us: file.correct.as_ref().map(|correct| correct.get_ref().0),
            spread: file.spread.as_ref().map(|spread| *spread.get_ref() as u8),
            suppress_max_us: us(&file.suppress_max, DAY_US),
            never_suppress: file.never_suppress.as_ref().map_or(3, |severity| *severity.get_ref() as u8),
            flood: self.flood,
            inhibit: self.inhibit,
            reconcile: self.reconcile,
            ..TypePlan::new(&self.name, states.to_vec(), mapper.clone())
        })
    }

    fn clear_after(&self, states: &[State]) -> Result<Vec<Option<i64>>, Refusal> {
        let Some(clear_after) = &self.file.clear_after else { return Ok(vec![None; states.len()]) };
        match clear_after.get_ref() {
            schema::ClearAfter::All(after) => Ok(vec![Some(after.0); states.len()]),
            schema::ClearAfter::ByState(by_state) => {
                let problems: Vec<&str> = states
                    .iter()
                    .filter(|state| state.condition == Condition::Problem)
                    .map(|state| state.name.as_str())
                    .collect();
                if let Some(unknown) = by_state.keys().find(|name| !problems.contains(&name.as_str())) {
                    let message = format!(
                        "`clear_after` names `{unknown}`, which is no problem state of mapper `{}`; it has {}{}",
                        self.mapper.name,
                        listed(&problems),
                        did_you_mean(unknown, &problems)
                    );
                    return Err(refuse(clear_after.span(), message));
                }
                Ok(states.iter().map(|state| by_state.get(&state.name).map(|after| after.0)).collect())
            }
        }
    }
}

/// Refuses a `silent_after` that could never come true, or that something else would hide.
fn silence(
    file: &schema::Signal,
    silent_after: &toml::Spanned<duration::Duration>,
    flapping: Option<FlappingPlan>,
) -> Result<(), Refusal> {
    if let Some(clear_after) = &file.clear_after {
        let message = "`clear_after` and `silent_after` both say what silence means, that a problem is over and \
                       that there is one: leave one of the two out";
        return Err(refuse(clear_after.span(), message));
    }
    if file.forget_after.as_ref().map_or(FORGET_AFTER_US, |after| after.get_ref().0) <= silent_after.get_ref().0 {
        let message = "`silent_after` must be less than `forget_after` (30d unless given): what is forgotten \
                       is not missed";
        return Err(refuse(silent_after.span(), message));
    }
    if flapping.is_some_and(|flapping| flapping.quiet_us.is_none()) {
        let message = "`silent_after` needs `quiet` in `flapping`: without it, an entity that falls silent while \
                       it flaps would flap for ever";
        return Err(refuse(silent_after.span(), message));
    }
    Ok(())
}

/// The first silence that is given as 0.
fn never(file: &schema::Signal) -> Option<(&'static str, Range<usize>)> {
    let clear_after = file.clear_after.as_ref().filter(|after| match after.get_ref() {
        schema::ClearAfter::All(after) => after.0 == 0,
        schema::ClearAfter::ByState(by_state) => by_state.values().any(|after| after.0 == 0),
    });
    let silent_after = file.silent_after.as_ref().filter(|after| after.get_ref().0 == 0);
    let forget_after = file.forget_after.as_ref().filter(|after| after.get_ref().0 == 0);
    let quiet = file.flapping.as_ref().filter(|flapping| flapping.get_ref().quiet.is_some_and(|quiet| quiet.0 == 0));
    let found = clear_after.map(|found| ("clear_after", found.span()));
    let found = found.or_else(|| silent_after.map(|found| ("silent_after", found.span())));
    let found = found.or_else(|| forget_after.map(|found| ("forget_after", found.span())));
    found.or_else(|| quiet.map(|found| ("quiet", found.span())))
}

/// Names in backquotes, with commas.
pub fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// `; did you mean ..?` if one of the known names is near.
pub fn did_you_mean(name: &str, known: &[&str]) -> String {
    let near = known.iter().map(|known| (strsim::damerau_levenshtein(name, known), known));
    match near.filter(|(distance, known)| *distance <= 1 + known.len() / 3).min() {
        Some((_, known)) => format!("; did you mean `{known}`?"),
        None => String::new(),
    }
}

/// Adds the nearest known key to serde's message about an unknown one.
fn with_suggestion(message: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.as_slice() {
        [unknown, known @ ..] if message.starts_with("unknown ") => {
            let message =
                message.replacen("unknown field", "unknown key", 1).replacen("unknown variant", "unknown value", 1);
            format!("{message}{}", did_you_mean(unknown, known))
        }
        _ => message.to_owned(),
    }
}

fn located(path: &Path, text: &str, refusal: Refusal) -> ConfigError {
    let before = text.get(..refusal.span.start).unwrap_or("");
    let line = before.matches('\n').count() + 1;
    let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
    ConfigError::Refused { path: path.to_owned(), line, column, message: refusal.message }
}
