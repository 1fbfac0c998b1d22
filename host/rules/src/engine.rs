//! The engine: wasmtime's settings, the ticker behind the deadlines, what is loaded.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::component::Linker;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::cache::CompiledCache;
use crate::compiler::Compiler;
use crate::error::{EngineError, InstanceError};
use crate::guest::HostState;
use crate::limits::{CORE_INSTANCES_MAX, CORE_PARTS_MAX, Limits};
use crate::load::Loaded;
use crate::turns::Turns;

/// How often deadlines are looked at.
const TICK_MS: u64 = 10;
/// Memory of an instance that stays mapped when it is replaced, in bytes.
const KEEP_RESIDENT_BYTES: usize = 8 << 20;
/// Instances beyond `instances_max`, for loading and checking rules.
const INSTANCES_SPARE: u32 = 8;
/// Rules that are proved at the same time; each takes at most two instances.
const PROVED_AT_ONCE_MAX: u32 = INSTANCES_SPARE / 2;
/// Rules that are compiled at the same time, so that one that takes long does not hold up another;
/// more would not be done sooner, and each may take as much memory as its bound allows.
const COMPILED_AT_ONCE_MAX: u32 = 2;

/// What an engine is made with.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The bounds on every rule.
    pub limits: Limits,
    /// Where compiled rules are kept; `None` compiles each time. Made with
    /// mode 0700; refused where other users may write, since what is in it is
    /// run as native code.
    pub cache_dir: Option<PathBuf>,
    /// What compiles rules in a process of its own, within bounds of time and
    /// memory. `None` compiles in this process, where nothing but [`Limits`]
    /// bounds what a file may cost: good for rules that one trusts.
    pub compiler: Option<Compiler>,
    /// Instances at the same time, of all rules: workers times rule versions.
    /// Each reserves 12 GiB of address space, not of memory.
    pub instances_max: u32,
    /// Whether calls have a deadline beside their fuel. Looking at the clock
    /// costs a rule about 15 %. Without it fuel alone bounds a call, to about
    /// a second at worst, and no outcome depends on the machine's speed.
    pub deadlines: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { limits: Limits::default(), cache_dir: None, compiler: None, instances_max: 128, deadlines: true }
    }
}

/// Loads rules. Cheap to clone; the ticker stops when the last clone, rule and
/// instance is gone.
#[derive(Clone)]
pub struct RuleEngine {
    pub(crate) inner: Arc<EngineInner>,
}

pub(crate) struct EngineInner {
    engine: Engine,
    limits: Arc<Limits>,
    instances_max: u32,
    instances: AtomicU32,
    pub(crate) linker: Linker<HostState>,
    pub(crate) cache: Option<CompiledCache>,
    pub(crate) compiler: Option<Compiler>,
    pub(crate) deadlines: bool,
    pub(crate) loaded: Loaded,
    pub(crate) compiling: Turns,
    pub(crate) proving: Turns,
    _ticker: Option<Ticker>,
}

impl RuleEngine {
    /// Starts an engine.
    ///
    /// # Errors
    /// Where the machine lacks what the settings need, or the cache folder
    /// cannot be made or is not the host's alone.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let runtime = |e: wasmtime::Error| EngineError::Runtime(format!("{e:#}"));
        let engine = Engine::new(&settings(&config)).map_err(runtime)?;
        let linker = crate::guest::linker(&engine).map_err(runtime)?;
        let cache = match config.cache_dir {
            Some(path) => Some(CompiledCache::open(path, config.limits.cache_files_max)?),
            None => None,
        };
        let ticker = if config.deadlines { Some(Ticker::start(engine.clone())?) } else { None };
        Ok(Self {
            inner: Arc::new(EngineInner {
                engine,
                limits: Arc::new(config.limits),
                instances_max: config.instances_max,
                instances: AtomicU32::new(0),
                linker,
                cache,
                compiler: config.compiler,
                deadlines: config.deadlines,
                loaded: Loaded::default(),
                compiling: Turns::new(COMPILED_AT_ONCE_MAX),
                proving: Turns::new(PROVED_AT_ONCE_MAX),
                _ticker: ticker,
            }),
        })
    }

    /// The bounds on every rule of this engine.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }
}

impl EngineInner {
    pub fn wasmtime(&self) -> &Engine {
        &self.engine
    }

    pub fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// Takes a place for one instance, until the permit is dropped.
    pub fn permit(self: &Arc<Self>) -> Result<Permit, InstanceError> {
        let max = self.instances_max;
        let take = |n: u32| (n < max).then_some(n + 1);
        match self.instances.fetch_update(Ordering::AcqRel, Ordering::Acquire, take) {
            Ok(_) => Ok(Permit(Arc::clone(self))),
            Err(_) => Err(InstanceError::TooMany { max }),
        }
    }
}

/// A place in the pool of instances.
pub(crate) struct Permit(Arc<EngineInner>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.instances.fetch_sub(1, Ordering::AcqRel);
    }
}

fn settings(config: &EngineConfig) -> Config {
    let limits = &config.limits;
    let instances = config.instances_max.saturating_add(INSTANCES_SPARE);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_MAX))
        // Most components have one memory and two tables; one in JavaScript has three of each.
        .total_memories(instances.saturating_mul(3))
        .total_tables(instances.saturating_mul(4))
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(CORE_PARTS_MAX)
        .max_tables_per_component(CORE_PARTS_MAX)
        .max_tables_per_module(CORE_PARTS_MAX)
        .table_elements(limits.table_elements_max)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);

    let mut c = code_settings(limits.stack_bytes_max, config.deadlines);
    c.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    c
}

/// All settings that compiled code depends on: a compiler that has the same makes code that this host
/// accepts.
pub(crate) fn code_settings(stack_bytes_max: usize, deadlines: bool) -> Config {
    let mut c = Config::new();
    c.wasm_component_model(true)
        .concurrency_support(false)
        .cranelift_opt_level(OptLevel::Speed)
        .parallel_compilation(true)
        .consume_fuel(true)
        .epoch_interruption(deadlines)
        .max_wasm_stack(stack_bytes_max)
        .memory_reservation(4 << 30)
        .wasm_backtrace_max_frames(None);
    // The same answer on every machine.
    c.cranelift_nan_canonicalization(true).wasm_relaxed_simd(false);
    // Nothing that a rule does not need. Several memories are for what wasmtime itself puts between
    // a component and another inside it; `contract.rs` refuses modules that have them.
    c.wasm_memory64(false).wasm_multi_memory(true).wasm_custom_page_sizes(false);
    c
}

/// The number of ticks after which `ms` milliseconds have surely passed.
pub(crate) fn ticks(ms: u64) -> u64 {
    ms.div_ceil(TICK_MS) + 1
}

/// The thread that moves the epoch on. Stops when dropped.
struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: Engine) -> Result<Self, EngineError> {
        let (stop, stopped) = channel::<()>();
        let tick = move || {
            let every = Duration::from_millis(TICK_MS);
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        };
        let thread = std::thread::Builder::new()
            .name("stillhouse-tick".to_owned())
            .spawn(tick)
            .map_err(|e| EngineError::Runtime(format!("no thread for deadlines: {e}")))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
