//! The server: where it listens, what it bounds, how it stops.

mod listen;
pub(crate) mod tls;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::access::{Peer, Token};
use crate::audit::Audit;
use crate::guard::{Quotas, unwritten};
use crate::host::Host;
use crate::metrics::Metrics;
use crate::routes::{Shared, router};
use listen::Socket;

pub use crate::routes::{AuditAnswer, DoneAnswer, StatusAnswer, WHY_CHARS_MAX};

/// The time, as the program knows it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Where the server listens, and whom it knows.
#[derive(Clone)]
pub struct ServerConfig {
    /// A Unix socket, made with mode 0600.
    pub socket: Option<PathBuf>,
    /// An address.
    pub listen: Option<SocketAddr>,
    /// Certificate and key for the address.
    pub tls: Option<TlsFiles>,
    /// Listen on an address that others can reach without TLS: tokens go in the clear.
    pub insecure: bool,
    /// The tokens.
    pub tokens: Vec<Token>,
    /// The bounds.
    pub limits: Limits,
    /// The time of audit records.
    pub clock: Clock,
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
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest file that is staged.
    pub file_bytes_max: usize,
    /// Connections, on the socket and on the address each; more wait until one ends.
    pub connections_max: usize,
    /// Requests that are answered at the same time; more are told to come again.
    pub in_flight_max: usize,
    /// Changes at the same time, each with a file in memory; more are told to come again.
    pub changes_max: usize,
    /// Changes that one caller may try in a minute.
    pub changes_per_minute: u32,
    /// How long the head of a request may take, and a connection be idle.
    pub head_timeout: Duration,
    /// How long the body of a request may take.
    pub body_timeout: Duration,
    /// How long the answer to a question may take.
    pub answer_timeout: Duration,
    /// How long a caller waits for a change; it goes on.
    pub change_timeout: Duration,
    /// How long requests and changes that are under way may take when the server stops.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes_max: 32 * 1024 * 1024,
            connections_max: 64,
            in_flight_max: 32,
            changes_max: 4,
            changes_per_minute: 120,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(10),
            change_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Heads of requests are smaller than this; hyper answers 431 to others.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Why the server cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Nowhere to listen.
    #[error("control: neither a socket nor an address to listen on")]
    Nowhere,
    /// An address that others can reach, without TLS.
    #[error(
        "control: {0} can be reached by others, who could read the tokens: give `tls`, listen on 127.0.0.1 or the \
         socket, or say `insecure = true` where something else encrypts"
    )]
    Clear(SocketAddr),
    /// Another process answers on the socket.
    #[error("{}: another process answers on this socket; two hosts need two sockets", .0.display())]
    SocketInUse(PathBuf),
    /// Something else is where the socket should be.
    #[error("{}: is no socket; it is left as it is. Move it away, or name another path", .0.display())]
    NoSocket(PathBuf),
    /// It cannot be listened there.
    #[error("{at}: cannot listen: {error}")]
    Listen {
        /// The path or address.
        at: String,
        /// Why.
        error: io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("{}: {message}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What was expected and what came.
        message: String,
    },
}

/// A server that listens, but does not answer yet.
pub struct Server {
    shared: Arc<Shared>,
    socket: Option<Socket>,
    listener: Option<(TcpListener, Option<TlsAcceptor>)>,
}

/// Listens and answers until `stop` is ready, and then until what is under way has ended.
///
/// # Errors
/// If it cannot listen where it should.
pub async fn serve(
    config: ServerConfig,
    host: Arc<dyn Host>,
    audit: Arc<Audit>,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    Server::bind(config, host, audit).await?.run(stop).await;
    Ok(())
}

impl Server {
    /// Listens where the configuration says.
    ///
    /// # Errors
    /// If it cannot.
    pub async fn bind(config: ServerConfig, host: Arc<dyn Host>, audit: Arc<Audit>) -> Result<Self, ServeError> {
        if config.socket.is_none() && config.listen.is_none() {
            return Err(ServeError::Nowhere);
        }
        if let Some(address) = config.listen
            && config.tls.is_none()
            && !config.insecure
            && !address.ip().is_loopback()
        {
            return Err(ServeError::Clear(address));
        }
        let acceptor = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let listener = match config.listen {
            Some(address) => {
                let bound = TcpListener::bind(address).await;
                Some((bound.map_err(|error| ServeError::Listen { at: address.to_string(), error })?, acceptor))
            }
            None => None,
        };
        let socket = match config.socket {
            Some(path) => Some(Socket::bind(path).await?),
            None => None,
        };
        let limits = config.limits;
        let shared = Shared {
            host,
            audit,
            tokens: config.tokens,
            own_uid: rustix::process::geteuid().as_raw(),
            clock: config.clock,
            metrics: Metrics::default(),
            quotas: Quotas::default(),
            in_flight: Arc::new(Semaphore::new(limits.in_flight_max)),
            changes: Arc::new(Semaphore::new(limits.changes_max)),
            limits,
        };
        Ok(Self { shared: Arc::new(shared), socket, listener })
    }

    /// The address it listens on; with the port that the system chose where 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }

    /// Answers until `stop` is ready, and then until what is under way has ended.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) {
        let Self { shared, socket, listener } = self;
        let router = router(&shared);
        let graceful = GracefulShutdown::new();
        let (stopping, stopped) = watch::channel(false);
        let door = |peers: &'static str| Door {
            router: router.clone(),
            shared: shared.clone(),
            places: Arc::new(Semaphore::new(shared.limits.connections_max)),
            stopped: stopped.clone(),
            peers,
        };
        tokio::select! {
            () = stop => {}
            () = async {
                tokio::join!(
                    async { if let Some(socket) = &socket { door("socket").unix(&socket.listener, &graceful).await } },
                    async { if let Some((listener, tls)) = &listener { door("address").tcp(listener, tls.as_ref(), &graceful).await } },
                );
            } => {}
        }
        drop((socket, listener));
        // Connections that only shake hands or wait do not hold the end up.
        stopping.send(true).ok();
        let all = shared.limits.changes_max as u32;
        let drained = async {
            graceful.shutdown().await;
            shared.changes.acquire_many(all).await.map(drop).ok();
        };
        if tokio::time::timeout(shared.limits.drain_timeout, drained).await.is_err() {
            tracing::warn!("control: stopped while requests were under way");
        }
        let beyond = shared.quotas.unwritten();
        if beyond > 0 {
            shared.write(unwritten((shared.clock)(), beyond)).await.ok();
        }
    }
}

/// One place at which connections come in.
struct Door {
    router: Router,
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
    peers: &'static str,
}

impl Door {
    async fn unix(&self, listener: &UnixListener, graceful: &GracefulShutdown) {
        loop {
            let Some(place) = self.place().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let peer = Peer::Unix(stream.peer_cred().ok().map(|cred| cred.uid()));
                    self.answer(stream, peer, place, graceful);
                }
                Err(error) => self.not_accepted(&error).await,
            }
        }
    }

    async fn tcp(&self, listener: &TcpListener, tls: Option<&TlsAcceptor>, graceful: &GracefulShutdown) {
        loop {
            let Some(place) = self.place().await else { return };
            let (stream, peer) = match listener.accept().await {
                Ok((stream, address)) => (stream, Peer::Tcp(address)),
                Err(error) => {
                    self.not_accepted(&error).await;
                    continue;
                }
            };
            stream.set_nodelay(true).ok();
            match tls {
                None => self.answer(stream, peer, place, graceful),
                Some(tls) => self.shake_hands(tls.accept(stream), peer, place, graceful),
            }
        }
    }

    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().acquire_owned().await.ok()
    }

    /// No file descriptor is left, or the like: it is the same a moment later.
    async fn not_accepted(&self, error: &io::Error) {
        tracing::warn!(%error, at = self.peers, "control: a connection cannot be taken");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    fn shake_hands(
        &self,
        accept: tokio_rustls::Accept<tokio::net::TcpStream>,
        peer: Peer,
        place: OwnedSemaphorePermit,
        graceful: &GracefulShutdown,
    ) {
        let timeout = self.shared.limits.head_timeout;
        let mut stopped = self.stopped.clone();
        let router = self.router.clone();
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            let accepted = tokio::select! {
                accepted = tokio::time::timeout(timeout, accept) => accepted,
                _ = stopped.wait_for(|stopped| *stopped) => return,
            };
            match accepted {
                Ok(Ok(stream)) => answer(router, stream, peer, timeout, watcher).await,
                Ok(Err(error)) => tracing::debug!(%error, from = %peer, "control: no TLS"),
                Err(_) => tracing::debug!(from = %peer, "control: TLS took too long"),
            }
            drop(place);
        });
    }

    fn answer<S>(&self, stream: S, peer: Peer, place: OwnedSemaphorePermit, graceful: &GracefulShutdown)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (router, timeout) = (self.router.clone(), self.shared.limits.head_timeout);
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            answer(router, stream, peer, timeout, watcher).await;
            drop(place);
        });
    }
}

/// Answers the requests of one connection.
async fn answer<S>(router: Router, stream: S, peer: Peer, head_timeout: Duration, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let from = peer.clone();
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, %from, "control: a connection broke off");
    }
}
