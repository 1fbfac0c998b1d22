//! The server of posts: where it listens, what it bounds, how it stops.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::Intake;
use super::listen::Door;
use super::metrics::IntakeMetrics;
use super::routes::{Shared, router};
use super::token::TokenHash;
use crate::certificates;

/// Where posts come in, and from whom.
#[derive(Clone, Debug)]
pub struct IntakeConfig {
    /// An address; with port 0 the system chooses one.
    pub listen: SocketAddr,
    /// Certificate and key.
    pub tls: Option<TlsFiles>,
    /// Listen without TLS where others can read what is posted and with which token.
    pub insecure: bool,
    /// Who may post; without any, everybody who reaches the address.
    pub tokens: Vec<TokenHash>,
    /// The bounds.
    pub limits: Limits,
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, from the server's own certificate on (PEM).
    pub cert: PathBuf,
    /// The key (PEM).
    pub key: PathBuf,
}

/// What the server bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest body.
    pub body_bytes_max: usize,
    /// Signals in one post.
    pub records_max: usize,
    /// Posts that are read or wait for their commit, each with a body in memory; more are answered 503.
    pub waiting_max: usize,
    /// Connections; more wait until one ends.
    pub connections_max: usize,
    /// How long the head of a request may take, and a connection be idle.
    pub head_timeout: Duration,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// How long a commit may take before 503 is answered.
    pub commit_timeout: Duration,
    /// How long posts that are under way may take when the server stops.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    /// 4 MiB and 10,000 signals a post, 32 posts that wait (128 MiB at most), 256 connections; 30 s for
    /// heads, bodies and commits each, 10 s to stop.
    fn default() -> Self {
        Self {
            body_bytes_max: 4 * 1024 * 1024,
            records_max: 10_000,
            waiting_max: 32,
            connections_max: 256,
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            commit_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// An address that others can reach, without TLS.
    #[error(
        "intake: {0} can be reached by others, who could read what is posted: give `tls`, listen on 127.0.0.1, or say \
         `insecure = true` where something else encrypts"
    )]
    Clear(SocketAddr),
    /// It cannot be listened there.
    #[error("intake: {at}: cannot listen: {error}")]
    Listen {
        /// The address.
        at: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// Certificate or key cannot be used; which file, and what was expected.
    #[error("intake: {0}")]
    Tls(String),
}

/// A server that listens, but does not answer yet.
pub struct IntakeServer<I> {
    shared: Arc<Shared<I>>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl<I: Intake> IntakeServer<I> {
    /// Listens where the configuration says.
    ///
    /// # Errors
    /// If it cannot.
    pub async fn bind(config: IntakeConfig, intake: I) -> Result<Self, IntakeError> {
        let IntakeConfig { listen: at, tls, insecure, tokens, limits } = config;
        if tls.is_none() && !insecure && !at.ip().is_loopback() {
            return Err(IntakeError::Clear(at));
        }
        let tls =
            tls.map(|files| certificates::serving(&files.cert, &files.key)).transpose().map_err(IntakeError::Tls)?;
        let listener = TcpListener::bind(at).await.map_err(|error| IntakeError::Listen { at, error })?;
        let places = Semaphore::new(limits.waiting_max);
        let shared = Arc::new(Shared { intake, tokens, limits, metrics: Arc::default(), places });
        Ok(Self { shared, listener, tls: tls.map(|config| TlsAcceptor::from(Arc::new(config))) })
    }

    /// The address it listens on; with the port that the system chose where 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// What is counted of posts.
    pub fn metrics(&self) -> Arc<IntakeMetrics> {
        self.shared.metrics.clone()
    }

    /// Answers until `stop` is ready, and then until what is under way has ended.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) {
        let Self { shared, listener, tls } = self;
        let graceful = GracefulShutdown::new();
        let (stopping, stopped) = watch::channel(false);
        let door = Door {
            router: router(&shared),
            places: Arc::new(Semaphore::new(shared.limits.connections_max)),
            head_timeout: shared.limits.head_timeout,
            stopped,
        };
        tokio::select! {
            () = stop => {}
            () = door.accept(&listener, tls.as_ref(), &graceful) => {}
        }
        drop((listener, door));
        // Connections that only shake hands or wait do not hold the end up.
        stopping.send(true).ok();
        if tokio::time::timeout(shared.limits.drain_timeout, graceful.shutdown()).await.is_err() {
            tracing::warn!("intake: stopped while posts were under way; they were not answered");
        }
    }
}
