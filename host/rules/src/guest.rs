//! One running instance of a rule: its store, its budget, what it may reach.

use std::sync::Arc;

use wasmtime::component::Linker;
use wasmtime::{ResourceLimiter, Store, StoreContextMut};

use crate::bindings::log::Level;
use crate::contract::LOGS;
use crate::engine::EngineInner;
use crate::failure::{Budget, Failure, FailureKind};
use crate::limits::{CORE_INSTANCES_MAX, CORE_PARTS_MAX, Limits, cut, size};

/// What the host keeps beside each instance.
pub(crate) struct HostState {
    limits: Arc<Limits>,
    rule: Arc<str>,
    lines: u32,
    /// Lines beyond the bound since the call began.
    pub lines_cut: u32,
    /// The last line of level fatal since the call began.
    pub fatal: Option<String>,
}

impl HostState {
    fn log(&mut self, level: Level, message: &str) {
        let message = cut(message, self.limits.log_line_bytes_max);
        if level == Level::Fatal {
            self.fatal = Some(message.to_owned());
        }
        if self.lines >= self.limits.log_lines_max {
            self.lines_cut += 1;
            return;
        }
        self.lines += 1;
        let rule = &*self.rule;
        match level {
            Level::Debug => tracing::debug!(target: "stillhouse::rule", rule, "{message}"),
            Level::Info => tracing::info!(target: "stillhouse::rule", rule, "{message}"),
            Level::Warn => tracing::warn!(target: "stillhouse::rule", rule, "{message}"),
            Level::Error | Level::Fatal => {
                tracing::error!(target: "stillhouse::rule", rule, "{message}");
            }
        }
    }
}

/// An instance asked for more than it may have.
#[derive(Debug, thiserror::Error)]
#[error("{what}: wanted {wanted}, limit {limit}")]
pub(crate) struct GrowthDenied {
    what: &'static str,
    wanted: String,
    limit: String,
}

/// Growth beyond the limit traps at once: a rule that could carry on would
/// answer by what earlier batches left in its memory.
impl ResourceLimiter for HostState {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let limit = self.limits.memory_bytes_max;
        if desired > limit {
            return Err(denied("memory", size(desired), size(limit)));
        }
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let limit = self.limits.table_elements_max;
        if desired > limit {
            let entries = |n: usize| format!("{} entries", crate::limits::grouped(n as u64));
            return Err(denied("table", entries(desired), entries(limit)));
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        CORE_PARTS_MAX as usize
    }

    fn memories(&self) -> usize {
        CORE_PARTS_MAX as usize
    }
}

fn denied(what: &'static str, wanted: String, limit: String) -> wasmtime::Error {
    wasmtime::Error::new(GrowthDenied { what, wanted, limit })
}

/// What a call of `log` costs in fuel, beside one unit for each eight bytes:
/// the host's work is part of the rule's budget.
const LOG_FUEL: u64 = 1_000;

/// A linker that offers what a rule may import.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<HostState>> {
    let log = |mut store: StoreContextMut<'_, HostState>, (level, message): (Level, String)| {
        let cost = LOG_FUEL + message.len() as u64 / 8;
        let left = store.get_fuel()?;
        if left < cost {
            return Err(wasmtime::Trap::OutOfFuel.into());
        }
        store.set_fuel(left - cost)?;
        store.data_mut().log(level, &message);
        Ok(())
    };
    let mut linker = Linker::new(engine);
    for name in LOGS {
        linker.instance(name)?.func_wrap("log", log)?;
    }
    Ok(linker)
}

/// A store with one instance of a rule in it.
pub(crate) struct Live<W> {
    store: Store<HostState>,
    world: W,
    engine: Arc<EngineInner>,
    /// Calls since it was made, `configure` not counted.
    pub calls: u64,
}

/// How to make an instance of a world; `worlds.rs` has the two.
pub(crate) trait Start {
    type World;
    fn start(&self, store: &mut Store<HostState>) -> wasmtime::Result<Self::World>;
}

impl<W> Live<W> {
    /// Makes an instance and runs its start function, within limits.
    pub fn new<P: Start<World = W>>(engine: &Arc<EngineInner>, pre: &P, rule: &Arc<str>) -> Result<Self, Failure> {
        let limits = engine.limits();
        let state =
            HostState { limits: Arc::clone(limits), rule: Arc::clone(rule), lines: 0, lines_cut: 0, fatal: None };
        let mut store = Store::try_new(engine.wasmtime(), state)
            .map_err(|e| Failure::new(FailureKind::Host, format!("no store to be had: {e}")))?;
        store.limiter(|state| state);
        let budget = Budget::to_start(limits);
        arm(&mut store, budget);
        match pre.start(&mut store) {
            Ok(world) => Ok(Self { store, world, engine: Arc::clone(engine), calls: 0 }),
            Err(error) => Err(Failure::of_call(&error, store.data(), limits, budget)),
        }
    }

    /// Makes one call within `budget`; gives what it answered and the fuel it used.
    ///
    /// After an error the instance must not be used again.
    pub fn call<A>(
        &mut self,
        budget: Budget,
        call: impl FnOnce(&W, &mut Store<HostState>) -> wasmtime::Result<A>,
    ) -> (Result<A, Failure>, u64) {
        let state = self.store.data_mut();
        state.lines = 0;
        state.lines_cut = 0;
        state.fatal = None;
        arm(&mut self.store, budget);
        let answer = call(&self.world, &mut self.store);
        let used = budget.fuel - self.store.get_fuel().unwrap_or(0).min(budget.fuel);
        let answer = answer.map_err(|error| Failure::of_call(&error, self.store.data(), self.engine.limits(), budget));
        (answer, used)
    }

    /// Log lines that the last call had beyond the bound.
    pub fn lines_cut(&self) -> u32 {
        self.store.data().lines_cut
    }
}

/// Gives the store exactly the fuel, time and answer size of `budget`.
fn arm(store: &mut Store<HostState>, budget: Budget) {
    // Fails only where fuel is switched off, which `engine.rs` never does.
    let _ = store.set_fuel(budget.fuel);
    store.set_epoch_deadline(crate::engine::ticks(budget.deadline_ms));
    store.set_hostcall_fuel(budget.answer_bytes);
}

impl Budget {
    /// For starting and configuring.
    pub fn to_start(limits: &Limits) -> Self {
        Self {
            fuel: limits.fuel_to_start,
            deadline_ms: limits.deadline_ms * crate::limits::LAST_DEADLINE_FACTOR,
            answer_bytes: limits.answer_bytes_max,
            rows: None,
        }
    }

    /// For `describe`.
    pub fn to_describe(limits: &Limits) -> Self {
        Self { answer_bytes: limits.manifest_bytes_max, ..Self::to_start(limits) }
    }

    /// For a batch.
    pub fn for_rows(limits: &Limits, rows: u32) -> Self {
        Self {
            fuel: limits.fuel_per_call,
            deadline_ms: limits.deadline_ms,
            answer_bytes: limits.answer_bytes_max,
            rows: Some(rows),
        }
    }

    /// For one row alone on a fresh instance: what it does now is its outcome.
    pub fn for_last_word(limits: &Limits) -> Self {
        Self {
            fuel: limits.fuel_per_call * crate::limits::LAST_FUEL_FACTOR,
            deadline_ms: limits.deadline_ms * crate::limits::LAST_DEADLINE_FACTOR,
            ..Self::for_rows(limits, 1)
        }
    }
}
