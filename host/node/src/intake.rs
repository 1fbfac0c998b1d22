//! Signals that are posted: an input that is answered once its signals are committed.

use std::sync::Arc;

use anyhow::{Context, Result};
use stillhouse_delivery::intake::metrics::IntakeMetrics;
use stillhouse_delivery::intake::server::{IntakeConfig, IntakeServer};
use stillhouse_delivery::intake::{Accepted, Intake, Post, Refusal};
use tokio::sync::mpsc::{Sender, error::TrySendError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::input::Piece;

/// The input of posts whose path names none.
pub const POSTED: &str = "posted";

/// Signals that were posted and wait for their commit.
#[derive(Debug)]
pub struct Posted {
    /// The input.
    pub source: String,
    /// One in each line.
    pub lines: Vec<u8>,
    /// Told once they are committed.
    pub committed: oneshot::Sender<Result<(), String>>,
}

/// Hands posts to a run.
struct Hand {
    to: Sender<Piece>,
    /// The patterns of inputs.
    inputs: Vec<glob::Pattern>,
}

impl Intake for Hand {
    async fn take(&self, post: Post) -> Result<Accepted, Refusal> {
        let source = post.source.unwrap_or_else(|| POSTED.into());
        if !self.inputs.iter().any(|files| files.matches(&source)) {
            let known: Vec<&str> = self.inputs.iter().map(glob::Pattern::as_str).collect();
            return Err(Refusal::NoSuchSource(format!(
                "no `[[input]]` reads `{source}`; their `files` are {}",
                known.join(", ")
            )));
        }
        let (committed, done) = oneshot::channel();
        let busy = |why: &str| Refusal::Busy { why: why.into(), retry_after_s: 1 };
        let posted = Posted { source, lines: post.lines.to_vec(), committed };
        match self.to.try_send(Piece::Posted(Box::new(posted))) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(busy("the host cannot take signals as fast as they come")),
            Err(TrySendError::Closed(_)) => return Err(busy("the host is stopping")),
        }
        match done.await {
            Ok(Ok(())) => Ok(Accepted { records: post.records }),
            Ok(Err(why)) => Err(Refusal::Failed(why)),
            Err(_) => Err(busy("the host is stopping")),
        }
    }
}

/// A server that takes posts until it is stopped.
pub struct Intaking {
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
    /// What it counts.
    pub metrics: Arc<IntakeMetrics>,
}

/// Takes posts for a run.
///
/// # Errors
/// If it cannot listen where it should.
pub fn serve(
    intake: &IntakeConfig,
    config: &Config,
    to: &Sender<Piece>,
    runtime: &tokio::runtime::Handle,
) -> Result<Intaking> {
    let hand = Hand { to: to.clone(), inputs: config.inputs.iter().map(|input| input.files.clone()).collect() };
    let server = runtime.block_on(IntakeServer::bind(intake.clone(), hand));
    let server = server.context("`[intake]` cannot be served")?;
    if let Some(address) = server.address() {
        tracing::info!(%address, "signals can be posted");
    }
    let metrics = server.metrics();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = runtime.spawn(server.run(async move { drop(stopped.await) }));
    Ok(Intaking { stop: Some(stop), server, metrics })
}

impl Intaking {
    /// Stops.
    pub fn stop(mut self, runtime: &tokio::runtime::Handle) {
        drop(self.stop.take());
        drop(runtime.block_on(self.server));
    }
}
