//! The configuration: read once, checked as a whole, and turned into types.
//!
//! An error names the file and the line, says what was expected and what came, and suggests the
//! nearest thing that would have been right.

pub mod derive;
pub mod duration;
mod input;
pub mod schema;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use stillhouse_core::plan::{Against, DedupePlan, FlappingPlan, Mode, OrderPlan, TypePlan};
use stillhouse_core::rule::{Condition, RuleId, State};

pub use input::{InputConfig, PatternConfig, TimeConfig};

/// How long a source may be silent before it no longer holds the others back, unless configured.
const IDLE_AFTER_US: i64 = 600_000_000;

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
    /// Where rules are looked for before those that ship.
    pub rules_folder: Option<PathBuf>,
    /// SHA-256 of the file and what the command line overrides, in hexadecimal.
    pub digest: String,
    text: String,
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
        let file: schema::File = match toml::from_str(&text) {
            Ok(file) => file,
            Err(error) => {
                let refusal = refuse(error.span().unwrap_or(0..0), with_suggestion(error.message()));
                return Err(located(path, &text, refusal));
            }
        };
        let checked = Self::check(path, &text, file, overrides);
        checked.map_err(|refusal| located(path, &text, refusal)).map(|config| Self { text, ..config })
    }

    /// The error for a refusal that was found after loading.
    pub fn error(&self, refusal: Refusal) -> ConfigError {
        located(&self.path, &self.text, refusal)
    }

    fn check(path: &Path, text: &str, file: schema::File, overrides: &Overrides) -> Result<Self, Refusal> {
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
        let mut signals = Vec::new();
        for (name, signal) in file.signal {
            signals.push(SignalConfig::check(name.into_inner(), signal)?);
        }
        let names: Vec<String> = signals.iter().map(|signal| signal.name.clone()).collect();
        let inputs = file.input.into_iter().map(|input| InputConfig::check(input, &names, overrides));
        let inputs = inputs.collect::<Result<_, _>>()?;
        let derive = derive::DeriveConfig::check(file.incident, file.objective, file.trigger, &names)?;
        let base = path.parent().unwrap_or(Path::new("."));
        let mut digest = Sha256::new();
        digest.update(text.as_bytes());
        if let Some(year) = overrides.year {
            digest.update(format!("\nyear {year}"));
        }
        Ok(Self {
            path: path.to_owned(),
            order: order(file.order)?,
            inputs,
            signals,
            derive,
            rules_folder: file.rules.folder.map(|folder| base.join(folder)),
            digest: hex(&digest.finalize()),
            text: String::new(),
        })
    }
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn order(order: schema::Order) -> Result<OrderPlan, Refusal> {
    let default = OrderPlan::default();
    if let Some(max) = order.pending_max.as_ref().filter(|max| *max.get_ref() == 0) {
        return Err(refuse(
            max.span(),
            "`pending_max` must be at least 1: a signal waits until it can be put in order",
        ));
    }
    if let Some(max) = order.ids_max.as_ref().filter(|max| *max.get_ref() < 2) {
        return Err(refuse(max.span(), "`ids_max` must be at least 2"));
    }
    if let Some(idle) = order.idle_after.as_ref().filter(|idle| idle.get_ref().0 == 0) {
        return Err(refuse(idle.span(), "`idle_after` must be more than 0: every source is silent for a moment"));
    }
    Ok(OrderPlan {
        allowed_lateness_us: order.allowed_lateness.map_or(default.allowed_lateness_us, |lateness| lateness.0),
        idle_after_us: Some(order.idle_after.map_or(IDLE_AFTER_US, |idle| idle.get_ref().0)),
        pending_max: order.pending_max.map_or(default.pending_max, |max| *max.get_ref()),
        id_window_us: order.id_window.map_or(default.id_window_us, |window| window.0),
        ids_max: order.ids_max.map_or(default.ids_max, |max| *max.get_ref() as usize),
    })
}

impl SignalConfig {
    fn check(name: String, file: schema::Signal) -> Result<Self, Refusal> {
        let settings = |given: &BTreeMap<String, schema::Setting>| {
            given.iter().map(|(name, value)| (name.clone(), value.to_string())).collect()
        };
        let of_suppressor = [
            ("suppressor_settings", file.suppressor_settings.as_ref().map(toml::Spanned::span)),
            ("suppress_max", file.suppress_max.as_ref().map(toml::Spanned::span)),
            ("never_suppress", file.never_suppress.as_ref().map(toml::Spanned::span)),
        ];
        if let Some((key, span)) = of_suppressor.into_iter().find_map(|(key, span)| Some((key, span?)))
            && file.suppressor.is_none()
        {
            return Err(refuse(span, format!("`{key}` without a `suppressor`")));
        }
        if let Some((key, span)) = never(&file) {
            return Err(refuse(span, format!("`{key}` must be more than 0: every source is silent for a moment")));
        }
        if file.mode == schema::Mode::Occurrence {
            let lasting = [
                ("hold_down", file.hold_down.as_ref().map(toml::Spanned::span)),
                ("hold_open", file.hold_open.as_ref().map(toml::Spanned::span)),
                ("clear_after", file.clear_after.as_ref().map(toml::Spanned::span)),
                ("flapping", file.flapping.as_ref().map(toml::Spanned::span)),
            ];
            if let Some((key, span)) = lasting.into_iter().find_map(|(key, span)| Some((key, span?))) {
                let message = format!(
                    "`{key}` is about states that last; `mode = \"occurrence\"` has none: leave one of the two out"
                );
                return Err(refuse(span, message));
            }
        }
        if let Some(dedupe) = &file.dedupe
            && file.mode == schema::Mode::State
            && dedupe.get_ref().against == Some(schema::Against::Any)
        {
            let message = "`against = \"any\"` would hide a state that comes back within the window; \
                           use `against = \"last\"`, or `mode = \"occurrence\"`";
            return Err(refuse(dedupe.span(), message));
        }
        if let Some(flapping) = &file.flapping {
            let limits = flapping.get_ref();
            if !(0.0..=100.0).contains(&limits.high) || !(0.0..=100.0).contains(&limits.low) {
                return Err(refuse(flapping.span(), "`high` and `low` are percentages, from 0 to 100"));
            }
            if limits.low > limits.high {
                let message = format!(
                    "`low` ({}) is above `high` ({}): flapping would stop before it starts; did you mean `high = {}, low = {}`?",
                    limits.low, limits.high, limits.low, limits.high
                );
                return Err(refuse(flapping.span(), message));
            }
            if limits.high == 0.0 {
                return Err(refuse(flapping.span(), "`high` must be more than 0: at 0 everything flaps"));
            }
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
        Ok(Self { name, mapper, suppressor, file })
    }

    /// The plan for this type, now that its mapper is known.
    ///
    /// # Errors
    /// If `clear_after` names a state that the mapper does not have, or that is no problem.
    pub fn plan(&self, mapper: &RuleId, states: &[State]) -> Result<TypePlan, Refusal> {
        const DAY_US: i64 = 86_400_000_000;
        let file = &self.file;
        let us = |duration: &Option<toml::Spanned<duration::Duration>>, default_us| {
            duration.as_ref().map_or(default_us, |duration| duration.get_ref().0)
        };
        Ok(TypePlan {
            mode: match file.mode {
                schema::Mode::State => Mode::State,
                schema::Mode::Occurrence => Mode::Occurrence,
            },
            hold_down_us: us(&file.hold_down, 0),
            hold_open_us: us(&file.hold_open, 0),
            clear_after_us: self.clear_after(states)?,
            forget_after_us: us(&file.forget_after, 30 * DAY_US),
            dedupe: file.dedupe.as_ref().map(|dedupe| DedupePlan {
                window_us: dedupe.get_ref().window.0,
                against: match (dedupe.get_ref().against, file.mode) {
                    (Some(schema::Against::Any), _) | (None, schema::Mode::Occurrence) => Against::Any,
                    (Some(schema::Against::Last), _) | (None, schema::Mode::State) => Against::Last,
                },
            }),
            flapping: file.flapping.as_ref().map(|flapping| FlappingPlan {
                high_mpct: (flapping.get_ref().high * 1000.0).round() as u32,
                low_mpct: (flapping.get_ref().low * 1000.0).round() as u32,
                quiet_us: flapping.get_ref().quiet.map(|quiet| quiet.0),
            }),
            suppress_max_us: us(&file.suppress_max, DAY_US),
            never_suppress: file.never_suppress.as_ref().map_or(3, |severity| *severity.get_ref() as u8),
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

/// The first silence that is given as 0.
fn never(file: &schema::Signal) -> Option<(&'static str, Range<usize>)> {
    let clear_after = file.clear_after.as_ref().filter(|after| match after.get_ref() {
        schema::ClearAfter::All(after) => after.0 == 0,
        schema::ClearAfter::ByState(by_state) => by_state.values().any(|after| after.0 == 0),
    });
    let forget_after = file.forget_after.as_ref().filter(|after| after.get_ref().0 == 0);
    let quiet = file.flapping.as_ref().filter(|flapping| flapping.get_ref().quiet.is_some_and(|quiet| quiet.0 == 0));
    let found = clear_after.map(|found| ("clear_after", found.span()));
    let found = found.or_else(|| forget_after.map(|found| ("forget_after", found.span())));
    found.or_else(|| quiet.map(|found| ("quiet", found.span())))
}

/// Names in backquotes, with commas.
pub fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// `; did you mean ..?` if one of the known names is near.
pub fn did_you_mean(name: &str, known: &[&str]) -> String {
    let near = known.iter().map(|known| (strsim::damerau_levenshtein(name, known), known)).min();
    match near {
        Some((distance, known)) if distance <= 1 + known.len() / 3 => format!("; did you mean `{known}`?"),
        _ => String::new(),
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
