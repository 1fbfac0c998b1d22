//! From the configuration to the control server: where it listens, whom it knows, where its audit
//! trail is.

use std::sync::Arc;

use jiff::Timestamp;
use stillhouse_control::audit::{Audit, AuditError, Opened};
use stillhouse_control::server::{Limits, ServerConfig};

use crate::clock;
use crate::config::ControlConfig;

/// What the control server is told.
pub fn server_config(config: &ControlConfig) -> ServerConfig {
    ServerConfig {
        socket: config.socket.clone(),
        listen: config.listen,
        tls: config.tls.clone(),
        insecure: config.insecure,
        tokens: config.tokens.clone(),
        limits: Limits::default(),
        clock: Arc::new(now),
    }
}

/// Opens the audit trail.
///
/// # Errors
/// If it cannot be used, another process has it, or its chain does not hold.
pub fn open_audit(config: &ControlConfig) -> Result<(Audit, Opened), AuditError> {
    Audit::open(&config.audit, now())
}

/// The time of an audit record.
pub fn now() -> Timestamp {
    // A clock beyond the year 9999 is no reason to stop.
    Timestamp::from_microsecond(clock::now_us()).unwrap_or(Timestamp::MAX)
}
