//! From the configuration to the control server: where it listens, whom it knows, where its audit
//! trail is.

mod steer;

use std::sync::Arc;

use anyhow::{Context, Result};

use jiff::Timestamp;
use stillhouse_control::audit::{Audit, AuditError, Opened};
use stillhouse_control::server::{Limits, Server, ServerConfig};
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::clock;
use crate::config::{Config, ControlConfig};
use crate::input::Piece;
use crate::rollouts::Board;

pub use steer::Steer;

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

/// A control server that answers until it is stopped.
pub struct Serving {
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

/// How long what is under way may take when the host stops.
const STOPS_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);

/// Serves the control API for a run, if the configuration says where. Every decision about versions is
/// in the audit trail from then on.
///
/// # Errors
/// If the audit trail cannot be used, or it cannot listen where it should.
pub fn serve(
    config: &Config,
    board: Arc<Board>,
    to: &Sender<Piece>,
    runtime: &tokio::runtime::Handle,
) -> Result<Option<Serving>> {
    let Some(control) = &config.control else { return Ok(None) };
    let (audit, opened) = open_audit(control).context("the audit trail cannot be used")?;
    if opened.torn_bytes > 0 {
        tracing::warn!(bytes = opened.torn_bytes, "the last audit record was unfinished and is cut off");
    }
    let audit = Arc::new(audit);
    steer::audit_decisions(&board, Arc::clone(&audit));
    let host = Arc::new(Steer::new(board, config.policies.clone(), to.clone()));
    let server = runtime.block_on(Server::bind(server_config(control), host, audit));
    let server = server.context("the control API cannot be served")?;
    let (stop, stopped) = oneshot::channel();
    let server = runtime.spawn(server.run(async move { drop(stopped.await) }));
    Ok(Some(Serving { stop: Some(stop), server }))
}

impl Serving {
    /// Stops once what is under way has been answered, or after a while.
    pub fn stop(mut self, runtime: &tokio::runtime::Handle) {
        drop(self.stop.take());
        let _ = runtime.block_on(async { tokio::time::timeout(STOPS_WITHIN, self.server).await });
    }
}
