//! Connections.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

/// Heads of requests are smaller than this; hyper answers 431 to others.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Where connections come in.
pub(super) struct Door {
    pub router: Router,
    pub places: Arc<Semaphore>,
    pub head_timeout: Duration,
    pub stopped: watch::Receiver<bool>,
}

impl Door {
    /// Takes connections as long as it is polled.
    pub async fn accept(&self, listener: &TcpListener, tls: Option<&TlsAcceptor>, graceful: &GracefulShutdown) {
        loop {
            let Ok(place) = self.places.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => self.answer(stream, tls.cloned(), place, graceful.watcher()),
                // No file descriptor is left, or the like: it is the same a moment later.
                Err(error) => {
                    tracing::warn!(%error, "intake: a connection cannot be taken");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn answer(&self, stream: TcpStream, tls: Option<TlsAcceptor>, place: OwnedSemaphorePermit, watcher: Watcher) {
        let (router, timeout, mut stopped) = (self.router.clone(), self.head_timeout, self.stopped.clone());
        stream.set_nodelay(true).ok();
        tokio::spawn(async move {
            let _place = place;
            let Some(tls) = tls else { return serve(router, stream, timeout, watcher).await };
            let accepted = tokio::select! {
                accepted = tokio::time::timeout(timeout, tls.accept(stream)) => accepted,
                _ = stopped.wait_for(|stopped| *stopped) => return,
            };
            match accepted {
                Ok(Ok(stream)) => serve(router, stream, timeout, watcher).await,
                Ok(Err(error)) => tracing::debug!(%error, "intake: no TLS"),
                Err(_) => tracing::debug!("intake: TLS took too long"),
            }
        });
    }
}

/// Answers the requests of one connection.
async fn serve<S>(router: Router, stream: S, head_timeout: Duration, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "intake: a connection broke off");
    }
}
