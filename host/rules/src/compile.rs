//! From a component's bytes to native code: once per digest, engine and machine.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

use wasmtime::component::Component;

use crate::cache::Kept;
use crate::compiler::Fault;
use crate::engine::EngineInner;
use crate::error::LoadError;

/// Rises when what is made of a file before it is compiled is made otherwise.
const PREPARED: u32 = 1;

/// The code that the cache has for `digest`.
pub(crate) fn cached(engine: &EngineInner, digest: &str) -> Option<Component> {
    let code = engine.cache.as_ref()?.read(&key(engine, digest), Kept::Code)?;
    match accept(engine, &code) {
        Ok(component) => Some(component),
        Err(error) => {
            tracing::warn!(digest, %error, "compiled rule not used, compiling again");
            None
        }
    }
}

/// Compiles `component` and keeps its code for `digest`.
pub(crate) fn compile(engine: &EngineInner, digest: &str, component: &[u8]) -> Result<Component, LoadError> {
    let _turn = engine.compiling.take();
    let refused = |e: wasmtime::Error| LoadError::Compile(format!("{e:#}"));
    let Some(compiler) = &engine.compiler else {
        let compiled = catch_unwind(AssertUnwindSafe(|| Component::from_binary(engine.wasmtime(), component)));
        let broke = |_| LoadError::Compiler("the compiler broke on it; what it said is on standard error".to_owned());
        let compiled = compiled.map_err(broke)?.map_err(refused)?;
        if engine.cache.is_some() {
            match compiled.serialize() {
                Ok(code) => keep(engine, digest, &code),
                Err(error) => tracing::warn!(digest, %error, "compiled rule not kept"),
            }
        }
        return Ok(compiled);
    };
    let code = compiler.compile(component, engine.limits().stack_bytes_max, engine.deadlines);
    let code = code.map_err(|fault| match fault {
        Fault::Refused(why) => LoadError::Compile(why),
        Fault::Bound(why) => LoadError::Compiler(why),
    })?;
    let compiled = accept(engine, &code).map_err(|e| {
        LoadError::Compiler(format!("the code of {} is not for this host: {e:#}", compiler.program.display()))
    })?;
    keep(engine, digest, &code);
    Ok(compiled)
}

fn keep(engine: &EngineInner, digest: &str, code: &[u8]) {
    if let Some(cache) = &engine.cache {
        cache.write(&key(engine, digest), Kept::Code, code);
    }
}

fn accept(engine: &EngineInner, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are what this host wrote, or what the compiler that it called has just made.
    // What was written is in a folder and a file that are the host's own and writable by nobody else
    // (`CompiledCache::open`, `read`), and it is complete (SHA-256). wasmtime itself checks that its
    // version and settings are the same.
    #[allow(unsafe_code)]
    unsafe {
        Component::deserialize(engine.wasmtime(), code)
    }
}

/// Differs where wasmtime's version, its settings, the machine's abilities or this host do.
pub(crate) fn key(engine: &EngineInner, digest: &str) -> String {
    let mut hasher = DefaultHasher::new();
    engine.wasmtime().precompile_compatibility_hash().hash(&mut hasher);
    (env!("CARGO_PKG_VERSION"), PREPARED).hash(&mut hasher);
    format!("{digest}-{:016x}", hasher.finish())
}
