//! How people steer a running Stillhouse: HTTP, roles, TLS and the audit trail.
//!
//! This crate knows nothing of WebAssembly, of the core, of configuration files, nor of how a rollout
//! is decided: it asks a [`Host`](host::Host), which the program is. It reads no clock; the time of
//! an audit record is given ([`server::Clock`]).

pub mod access;
pub mod audit;
pub mod client;
mod guard;
pub mod host;
mod metrics;
pub mod operation;
mod problem;
mod routes;
pub mod server;
pub mod slots;

/// The description of the API (OpenAPI 3.1), as it is served.
pub const OPENAPI: &str = include_str!("../openapi.json");

use sha2::{Digest, Sha256};

/// SHA-256 in lower-case hexadecimal, as digests of rules and hashes of tokens are written.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
