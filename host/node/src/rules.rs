//! The rules of a configuration: found, loaded, and made into workers.

pub mod judge;
pub mod watch;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use stillhouse_core::Plan;
use stillhouse_core::columns::{Batch, Observations};
use stillhouse_core::plan::TypePlan;
use stillhouse_core::rule::Field;
use stillhouse_rules::signature::{PublicKey, SIGNATURE_BYTES_MAX, verify};
use stillhouse_rules::{Compiler, EngineConfig, InstanceError, Kind, MapperInstance, Rule, RuleEngine};

use self::judge::WasmJudge;
use crate::config::{Config, ConfigError, Refusal, RuleRef, did_you_mean, listed, pin, refuse};
use crate::journal::Mapper;
use crate::map::{Map, Worker};

include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

/// The files of the versions that a store has in force, by index of the signal type and kind.
pub type RuleFiles = Vec<((usize, Kind), Vec<u8>)>;

/// The rules of a configuration, loaded and proved.
#[derive(Debug)]
pub struct RuleSet {
    types: Vec<TypeRules>,
}

#[derive(Debug)]
struct TypeRules {
    mapper: (Rule, RuleRef),
    suppressor: Option<(Rule, RuleRef)>,
}

/// What compiles rules, if not this process itself.
static COMPILER: OnceLock<Compiler> = OnceLock::new();

/// Has every engine that is made from now on compile in a process of its own, by calling the running
/// program with `arguments` and one more. The program itself says so when it starts; what uses it as a
/// library compiles in its own process, unless it does the same.
pub fn compile_apart<const N: usize>(arguments: [&str; N]) {
    // The running program even where its file has been replaced since.
    let running = Path::new("/proc/self/exe");
    let program = if running.exists() { Some(running.to_owned()) } else { std::env::current_exe().ok() };
    match program {
        Some(program) => drop(COMPILER.set(Compiler::new(program, arguments))),
        None => tracing::warn!("rules are compiled in this process: it does not know its own program"),
    }
}

/// An engine for rules, with the compiled-code cache in the user's cache folder; see [`compile_apart`].
///
/// # Errors
/// If this machine cannot run WebAssembly as the engine is set up.
pub fn engine(instances: usize) -> Result<RuleEngine, stillhouse_rules::EngineError> {
    let config = EngineConfig {
        instances_max: instances as u32,
        cache_dir: cache_dir(),
        compiler: COMPILER.get().cloned(),
        ..EngineConfig::default()
    };
    match RuleEngine::new(config.clone()) {
        Err(error) if config.cache_dir.is_some() => {
            tracing::warn!(%error, "rules are compiled each time: the cache cannot be used");
            RuleEngine::new(EngineConfig { cache_dir: None, ..config })
        }
        made => made,
    }
}

/// `$STILLHOUSE_CACHE` (empty for none), or the user's cache folder.
fn cache_dir() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("STILLHOUSE_CACHE") {
        return (!folder.is_empty()).then(|| folder.into());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    std::fs::create_dir_all(&cache).ok()?;
    Some(cache.join("stillhouse"))
}

impl RuleSet {
    /// Finds and loads the rules that `config` names.
    ///
    /// # Errors
    /// If a rule is not there, is refused, or is of the other kind; with the line that names it.
    pub fn load(config: &Config, engine: &RuleEngine) -> Result<Self, ConfigError> {
        Self::load_with(config, engine, &RuleFiles::default())
    }

    /// As [`RuleSet::load`], with the files that a store has in the place of those that are found.
    ///
    /// # Errors
    /// As [`RuleSet::load`].
    pub fn load_with(config: &Config, engine: &RuleEngine, recorded: &RuleFiles) -> Result<Self, ConfigError> {
        let mut types = Vec::new();
        for (index, signal) in config.signals.iter().enumerate() {
            let load = |rule: &RuleRef, kind| {
                let loaded = match recorded.iter().find(|((at, of), _)| (*at, *of) == (index, kind)) {
                    Some((_, file)) => engine.load(file).map_err(|error| {
                        config.error(refuse(rule.span.clone(), format!("rule `{}` of the store: {error}", rule.name)))
                    })?,
                    None => load(rule, kind, config, engine)?,
                };
                Ok((loaded, rule.clone()))
            };
            let mapper = load(&signal.mapper, Kind::Mapper)?;
            pin::check_states(signal, mapper.0.schema(), mapper.0.states()).map_err(|refusal| config.error(refusal))?;
            let suppressor = signal.suppressor.as_ref().map(|rule| load(rule, Kind::Suppressor)).transpose();
            types.push(TypeRules { mapper, suppressor: suppressor? });
        }
        Ok(Self { types })
    }

    /// The plan of the core.
    ///
    /// # Errors
    /// If the configuration names a state that a mapper does not have.
    pub fn plan(&self, config: &Config) -> Result<Plan, ConfigError> {
        let types: Result<Vec<TypePlan>, Refusal> = config
            .signals
            .iter()
            .zip(&self.types)
            .map(|(signal, rules)| signal.plan(rules.mapper.0.id(), rules.mapper.0.states()))
            .collect();
        let types = types.map_err(|refusal| config.error(refusal))?;
        let derive = config.derive.plan(&types).map_err(|refusal| config.error(refusal))?;
        Ok(Plan {
            order: config.order.clone(),
            types,
            inhibit: config.inhibit.clone(),
            maintenance: config.maintenance.clone(),
            derive,
            config_digest: config.digest.clone(),
        })
    }

    /// The mappers, as a log names them.
    pub fn mappers(&self, config: &Config) -> Vec<Mapper> {
        let rules = self.types.iter().map(|rules| &rules.mapper.0);
        let named = config.signals.iter().zip(rules);
        named.map(|(signal, rule)| Mapper::of(&signal.name, &rule.id().digest, rule.schema(), rule.states())).collect()
    }

    /// The signal types and the fields that their mappers read.
    pub fn fields(&self, config: &Config) -> Vec<(String, Vec<Field>)> {
        let fields = self.types.iter().map(|rules| rules.mapper.0.fields().to_vec());
        config.signals.iter().map(|signal| signal.name.clone()).zip(fields).collect()
    }

    /// A worker with an instance of each mapper.
    ///
    /// # Errors
    /// If a mapper refuses its settings.
    pub fn worker(&self, config: &Config, batch_rows: usize) -> Result<Worker, ConfigError> {
        let mut mappers: Vec<(Box<dyn Map>, Vec<Field>)> = Vec::new();
        for rules in &self.types {
            let (rule, named) = &rules.mapper;
            let instance = rule
                .mapper(&named.settings)
                .map_err(|error| config.error(refuse(named.span.clone(), error.to_string())))?;
            mappers.push((Box::new(WasmMapper(instance)), rule.fields().to_vec()));
        }
        Ok(Worker::new(mappers, batch_rows))
    }

    /// The suppressors.
    ///
    /// # Errors
    /// If a suppressor refuses its settings.
    pub fn judge(&self, config: &Config) -> Result<WasmJudge, ConfigError> {
        let mut suppressors = Vec::new();
        for rules in &self.types {
            suppressors.push(match &rules.suppressor {
                None => None,
                Some((rule, named)) => Some(
                    rule.suppressor(&named.settings)
                        .map_err(|error| config.error(refuse(named.span.clone(), error.to_string())))?,
                ),
            });
        }
        Ok(WasmJudge::new(suppressors))
    }

    /// The rule of a slot and how the configuration names it.
    pub fn slot(&self, signal_type: usize, kind: Kind) -> Option<&(Rule, RuleRef)> {
        let rules = self.types.get(signal_type)?;
        match kind {
            Kind::Mapper => Some(&rules.mapper),
            Kind::Suppressor => rules.suppressor.as_ref(),
        }
    }

    /// The rules, as the configuration names them.
    pub fn named(&self, config: &Config) -> impl Iterator<Item = &(Rule, RuleRef)> {
        let slots = (0..config.signals.len()).flat_map(|index| [(index, Kind::Mapper), (index, Kind::Suppressor)]);
        slots.filter_map(|(index, kind)| self.slot(index, kind))
    }

    /// Mapper and suppressor of each signal type, for people.
    pub fn ids(&self) -> impl Iterator<Item = (&Rule, Option<&Rule>)> {
        self.types.iter().map(|rules| (&rules.mapper.0, rules.suppressor.as_ref().map(|(rule, _)| rule)))
    }
}

/// Finds and loads the rule that `config` names.
///
/// # Errors
/// As [`RuleSet::load`].
pub fn load(named: &RuleRef, kind: Kind, config: &Config, engine: &RuleEngine) -> Result<Rule, ConfigError> {
    find(named, kind, config, engine).map_err(|refusal| config.error(refusal))
}

fn find(named: &RuleRef, kind: Kind, config: &Config, engine: &RuleEngine) -> Result<Rule, Refusal> {
    let refused = |message: String| refuse(named.span.clone(), message);
    let base = config.path.parent().unwrap_or(Path::new("."));
    let file = if named.name.ends_with(".wasm") {
        Some(base.join(&named.name))
    } else {
        let in_folder = config.rules_folder.as_ref().map(|folder| folder.join(format!("{}.wasm", named.name)));
        in_folder.filter(|path| path.exists())
    };
    let rule = match (&file, SHIPPED.iter().find(|(name, _)| *name == named.name)) {
        (Some(path), _) => {
            let refused = |error: String| refused(format!("rule `{}`: {error}", named.name));
            let bytes = engine.read_file(path).map_err(|error| refused(error.to_string()))?;
            signed(path, &bytes, &config.trust).map_err(refused)?;
            engine.load(&bytes)
        }
        (None, Some((_, bytes))) => engine.load(bytes),
        (None, None) => {
            let known: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
            let folder = match &config.rules_folder {
                Some(folder) => format!("in {} nor ", folder.display()),
                None => String::new(),
            };
            let near = did_you_mean(&named.name, &known);
            return Err(refused(format!(
                "no rule `{}` {folder}among those that ship ({}){near}",
                named.name,
                if known.is_empty() { "none: this program was built without them".into() } else { listed(&known) },
            )));
        }
    };
    let rule = rule.map_err(|error| refused(format!("rule `{}`: {error}", named.name)))?;
    if rule.kind() != kind {
        return Err(refused(format!("rule `{}` is a {}, expected a {kind}", named.name, rule.kind())));
    }
    Ok(rule)
}

/// A mapper with its settings, for one worker.
///
/// # Errors
/// If it refuses its settings, or all instances are in use.
pub fn mapper(rule: &Rule, settings: &BTreeMap<String, String>) -> Result<Box<dyn Map>, InstanceError> {
    Ok(Box::new(WasmMapper(rule.mapper(settings)?)))
}

/// The signature beside a rule's file, if there is one.
///
/// # Errors
/// If it is there and cannot be read.
pub fn signature_of(path: &Path) -> Result<Option<String>, String> {
    let path = signature_path(path);
    let unreadable = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let file = match std::fs::File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(unreadable)?,
    };
    let mut bytes = Vec::new();
    file.take(SIGNATURE_BYTES_MAX as u64).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Where the signature of a rule's file lies: `FILE.sig`.
pub fn signature_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// Refuses a file that nobody signed who is trusted. Where nobody is named, everybody is.
fn signed(path: &Path, bytes: &[u8], trust: &[PublicKey]) -> Result<(), String> {
    if trust.is_empty() {
        return Ok(());
    }
    let signature = signature_of(path)?;
    match verify(bytes, signature.as_deref(), trust) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{}: {error}", signature_path(path).display())),
    }
}

struct WasmMapper(MapperInstance);

impl Map for WasmMapper {
    fn map(&mut self, batch: Batch, out: &mut Observations) -> Batch {
        self.0.map(batch, out)
    }

    fn give_up_after(&mut self, failures: u32) {
        self.0.give_up_after(failures);
    }

    fn spent(&self) -> (u64, u64) {
        (self.0.last().fuel, u64::from(self.0.last().calls))
    }
}
