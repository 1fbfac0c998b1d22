//! From a file to a rule that is proved.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use sha2::{Digest, Sha256};
use stillhouse_core::rule::{Field, MemoPlan, RuleId, State};

use crate::cases::{self, Case, CaseResult, Readable};
use crate::compile;
use crate::contract::{self, REBUILD, Version};
use crate::engine::{EngineInner, RuleEngine};
use crate::error::{InstanceError, LoadError, Stage};
use crate::failure::Budget;
use crate::guest::Live;
use crate::instance::{MapperInstance, MapperWorld, SuppressorInstance, SuppressorWorld};
use crate::manifest::{self, Manifest};
use crate::proof::Proof;
use crate::purity;
use crate::worlds::{MapperPre, SuppressorPre};

/// The kind of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Turns signals into observations.
    Mapper,
    /// Judges candidates.
    Suppressor,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Mapper => "mapper",
            Self::Suppressor => "suppressor",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One version of a rule: loaded, checked, ready to make instances. Cheap to clone.
#[derive(Clone)]
pub struct Rule {
    pub(crate) inner: Arc<RuleInner>,
}

pub(crate) struct RuleInner {
    pub engine: Arc<EngineInner>,
    pub id: RuleId,
    /// The bytes that it was loaded from.
    pub file: Arc<[u8]>,
    /// Name and version, as log lines show them.
    pub label: Arc<str>,
    pub fields: Vec<Field>,
    pub states: Vec<State>,
    pub schema: u32,
    pub memo: Option<MemoPlan>,
    pub cases: Vec<Case>,
    version: Version,
    results: OnceLock<Vec<CaseResult>>,
    pre: Pre,
}

#[derive(Clone)]
enum Pre {
    Mapper(MapperPre),
    Suppressor(SuppressorPre),
}

impl RuleEngine {
    /// Loads a rule from the bytes of its file: a component, or a core module
    /// that the SDK built for `wasm32-unknown-unknown`.
    ///
    /// Takes as long as compiling does (tens of milliseconds for a rule of
    /// 100 kB) and many calls of the rule; where the compiled code is cached
    /// and proved, a millisecond or so. Bytes that are loaded already give the
    /// same [`Rule`] again at once, whatever else is being loaded, and bytes
    /// that are being loaded are waited for.
    ///
    /// What is done in this process before and after compiling takes time and
    /// memory in proportion to the file, its cases and the fuel they may use.
    ///
    /// # Errors
    /// Whatever is not as it should be; see [`LoadError`].
    pub fn load(&self, file: &[u8]) -> Result<Rule, LoadError> {
        let digest = hex(&Sha256::digest(file));
        let place = self.inner.loaded.place(&digest);
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inner) = place.upgrade() {
            return Ok(Rule { inner });
        }
        let inner = load(&self.inner, file, &digest)?;
        *place = Arc::downgrade(&inner);
        Ok(Rule { inner })
    }

    /// Loads a rule from a file; see [`RuleEngine::load`].
    ///
    /// # Errors
    /// Also where the file cannot be read.
    pub fn load_file(&self, path: impl AsRef<Path>) -> Result<Rule, LoadError> {
        self.load(&self.read_file(path)?)
    }

    /// The bytes of a rule's file, for who looks at them before they are loaded: no more than are
    /// needed to see that a file is too large.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn read_file(&self, path: impl AsRef<Path>) -> Result<Vec<u8>, LoadError> {
        let path = path.as_ref();
        let read = |source| LoadError::Read { path: path.to_owned(), source };
        // One byte more than allowed is enough to be refused.
        let most = self.limits().component_bytes_max as u64 + 1;
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(read)?;
        file.take(most).read_to_end(&mut bytes).map_err(read)?;
        Ok(bytes)
    }
}

/// The rules that are loaded or being loaded, by digest.
#[derive(Default)]
pub(crate) struct Loaded(Mutex<BTreeMap<String, Place>>);

/// Where a rule is, or will be: locked by who loads it.
type Place = Arc<Mutex<Weak<RuleInner>>>;

impl Loaded {
    fn place(&self, digest: &str) -> Place {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever loads, or waits for it, has the place itself.
        let in_use = |place: &Place| {
            Arc::strong_count(place) > 1 || place.lock().unwrap_or_else(PoisonError::into_inner).strong_count() > 0
        };
        places.retain(|_, place| in_use(place));
        Arc::clone(places.entry(digest.to_owned()).or_default())
    }
}

fn load(engine: &Arc<EngineInner>, file: &[u8], digest: &str) -> Result<Arc<RuleInner>, LoadError> {
    let proof = Proof::read(engine, digest);
    let cached = compile::cached(engine, digest);
    let (kind, version, component) = match (&proof, cached) {
        (Some(proof), Some(component)) => (proof.kind, proof.version, component),
        (_, cached) => {
            let contract = contract::inspect(file, engine.limits())?;
            let component = match cached {
                Some(component) => component,
                None => compile::compile(engine, digest, &contract.component)?,
            };
            (contract.kind, contract.version, component)
        }
    };
    let _turn = engine.proving.take();
    let wrong = |e: wasmtime::Error| LoadError::Exports(format!("{e:#}; {REBUILD}"));
    let instance_pre = engine.linker.instantiate_pre(&component).map_err(wrong)?;
    let (pre, manifest) = match kind {
        Kind::Mapper => {
            let pre = MapperPre::new(version, instance_pre).map_err(wrong)?;
            let manifest = describe_mapper(engine, &pre)?;
            (Pre::Mapper(pre), manifest)
        }
        Kind::Suppressor => {
            let pre = SuppressorPre::new(version, instance_pre).map_err(wrong)?;
            let manifest = describe_suppressor(engine, &pre)?;
            (Pre::Suppressor(pre), manifest)
        }
    };
    let rule = Arc::new(RuleInner {
        engine: Arc::clone(engine),
        label: format!("{}@{}", manifest.name, manifest.version).into(),
        id: RuleId { name: manifest.name, version: manifest.version, digest: digest.to_owned() },
        file: file.into(),
        fields: manifest.fields,
        states: manifest.states,
        schema: manifest.schema,
        memo: manifest.memo,
        version,
        cases: manifest.cases,
        results: OnceLock::new(),
        pre: pre.clone(),
    });
    let results = match proof.and_then(|proof| proof.results(&rule.cases)) {
        Some(results) => results,
        None => {
            let results = match &pre {
                Pre::Mapper(pre) => prove::<MapperWorld>(&rule, pre)?,
                Pre::Suppressor(pre) => prove::<SuppressorWorld>(&rule, pre)?,
            };
            Proof::new(kind, version, &results).write(engine, digest);
            results
        }
    };
    let _ = rule.results.set(results);
    Ok(rule)
}

fn prove<W: Readable>(rule: &Arc<RuleInner>, pre: &W::Pre) -> Result<Vec<CaseResult>, LoadError> {
    let results = cases::run::<W>(rule, pre)?;
    if results.iter().any(|r| !r.passed()) {
        return Err(LoadError::Cases { results });
    }
    purity::prove::<W>(rule, pre)?;
    Ok(results)
}

fn describe_mapper(engine: &Arc<EngineInner>, pre: &MapperPre) -> Result<Manifest, LoadError> {
    let mut live = Live::new(engine, pre, &"describe".into()).map_err(fails(Stage::Start))?;
    let budget = Budget::to_describe(engine.limits());
    let (manifest, _) = live.call(budget, |world, store| world.describe(store));
    let manifest = manifest.map_err(fails(Stage::Describe))?;
    manifest::of_mapper(manifest, engine.limits()).map_err(LoadError::Manifest)
}

fn describe_suppressor(engine: &Arc<EngineInner>, pre: &SuppressorPre) -> Result<Manifest, LoadError> {
    let mut live = Live::new(engine, pre, &"describe".into()).map_err(fails(Stage::Start))?;
    let budget = Budget::to_describe(engine.limits());
    let (manifest, _) = live.call(budget, |world, store| world.describe(store));
    let manifest = manifest.map_err(fails(Stage::Describe))?;
    manifest::of_suppressor(manifest, engine.limits()).map_err(LoadError::Manifest)
}

fn fails(stage: Stage) -> impl Fn(crate::Failure) -> LoadError {
    move |failure| LoadError::Fails { stage, failure }
}

/// Bytes as people read them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            out.push(char::from_digit(digit.into(), 16).unwrap_or('?'));
        }
    }
    out
}

impl Rule {
    /// Name, version and digest.
    pub fn id(&self) -> &RuleId {
        &self.inner.id
    }

    /// The bytes of the file that it was loaded from.
    pub fn file(&self) -> &[u8] {
        &self.inner.file
    }

    /// Mapper or suppressor.
    pub fn kind(&self) -> Kind {
        match self.inner.pre {
            Pre::Mapper(_) => Kind::Mapper,
            Pre::Suppressor(_) => Kind::Suppressor,
        }
    }

    /// The fields that it reads: the columns of its batches, in this order.
    pub fn fields(&self) -> &[Field] {
        &self.inner.fields
    }

    /// A mapper's canonical states, by code; empty for a suppressor.
    pub fn states(&self) -> &[State] {
        &self.inner.states
    }

    /// The version of a mapper's list of states; 0 for a suppressor.
    pub fn schema(&self) -> u32 {
        self.inner.schema
    }

    /// The memory that a suppressor keeps of each entity, if it does.
    pub fn memo(&self) -> Option<MemoPlan> {
        self.inner.memo
    }

    /// The version of the contract that it was built with, such as `0.2.0`.
    pub fn contract(&self) -> &'static str {
        self.inner.version.number()
    }

    /// Its own test cases.
    pub fn cases(&self) -> &[Case] {
        &self.inner.cases
    }

    /// How its test cases went; all passed, or it would not be loaded.
    pub fn case_results(&self) -> &[CaseResult] {
        self.inner.results.get().map_or(&[], Vec::as_slice)
    }

    /// Makes an instance of a mapper, for one worker, with `settings`.
    ///
    /// # Errors
    /// Where the rule is a suppressor, or refuses the settings, or all instances are in use.
    pub fn mapper(&self, settings: &BTreeMap<String, String>) -> Result<MapperInstance, InstanceError> {
        match &self.inner.pre {
            Pre::Mapper(pre) => MapperInstance::new(self, pre.clone(), settings),
            Pre::Suppressor(_) => Err(self.other_kind(Kind::Mapper)),
        }
    }

    /// Makes an instance of a suppressor, for one worker, with `settings`.
    ///
    /// # Errors
    /// Where the rule is a mapper, or refuses the settings, or all instances are in use.
    pub fn suppressor(&self, settings: &BTreeMap<String, String>) -> Result<SuppressorInstance, InstanceError> {
        match &self.inner.pre {
            Pre::Suppressor(pre) => SuppressorInstance::new(self, pre.clone(), settings),
            Pre::Mapper(_) => Err(self.other_kind(Kind::Suppressor)),
        }
    }

    fn other_kind(&self, expected: Kind) -> InstanceError {
        InstanceError::Kind { rule: self.id().name.clone(), expected: expected.name(), got: self.kind().name() }
    }
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let RuleId { name, version, digest } = self.id();
        write!(f, "Rule({} {name} {version} {})", self.kind(), &digest[..12])
    }
}
