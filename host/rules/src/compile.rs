//! From a component's bytes to native code: once per digest, engine and machine.

use std::hash::{DefaultHasher, Hash, Hasher};

use wasmtime::component::Component;

use crate::engine::EngineInner;
use crate::error::LoadError;

/// Compiles `component`, or takes the code that the cache has for `digest`.
pub(crate) fn compile(engine: &EngineInner, digest: &str, component: &[u8]) -> Result<Component, LoadError> {
    let wasmtime = engine.wasmtime();
    let refused = |e: wasmtime::Error| LoadError::Compile(format!("{e:#}"));
    let Some(cache) = &engine.cache else {
        return Component::from_binary(wasmtime, component).map_err(refused);
    };
    let key = format!("{digest}-{:016x}", settings_hash(wasmtime));
    if let Some(code) = cache.read(&key) {
        // SAFETY: the bytes are what this host wrote: the folder and the file are its own and
        // writable by nobody else (`CompiledCache::open`, `read`), and they are complete
        // (SHA-256). wasmtime itself checks that its version and settings are the same.
        #[allow(unsafe_code)]
        match unsafe { Component::deserialize(wasmtime, &code) } {
            Ok(component) => return Ok(component),
            Err(error) => tracing::warn!(digest, %error, "compiled rule not used, compiling again"),
        }
    }
    let compiled = Component::from_binary(wasmtime, component).map_err(refused)?;
    match compiled.serialize() {
        Ok(code) => cache.write(&key, &code),
        Err(error) => tracing::warn!(digest, %error, "compiled rule not kept"),
    }
    Ok(compiled)
}

/// Differs where wasmtime's version, its settings or the machine's abilities do.
fn settings_hash(engine: &wasmtime::Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}
