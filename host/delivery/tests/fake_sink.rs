//! An HTTP server that behaves as badly as it is told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// How long a test waits for what should take milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which connection it came on, from 0.
    pub connection: usize,
    pub head: String,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(is, _)| is.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub enum Way {
    /// Answers with these bytes and goes on.
    Answer(Vec<u8>),
    /// Answers with these bytes and closes.
    Last(Vec<u8>),
    /// Sends this over and over, until the client goes away.
    Endless(Vec<u8>, Vec<u8>),
    /// Says nothing, and does not close.
    Hang,
}

/// An answer with a body.
pub fn answer(status: &str, headers: &str, body: &str) -> Way {
    Way::Answer(format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

pub fn ok() -> Way {
    answer("200 OK", "", "")
}

type Behave = dyn Fn(&Request) -> Way + Send + Sync;

/// The server, on a port of its own.
pub struct FakeSink {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for FakeSink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeSink {
    pub async fn new(behave: impl Fn(&Request) -> Way + Send + Sync + 'static) -> Self {
        Self::start(behave, None).await
    }

    pub async fn start(behave: impl Fn(&Request) -> Way + Send + Sync + 'static, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, behave): (_, Arc<Behave>) = (requests.clone(), Arc::new(behave));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (seen, behave, tls) = (seen.clone(), behave.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, connection, &seen, &*behave).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            serve(stream, connection, &seen, &*behave).await;
                        }
                    }
                });
            }
        });
        Self { address, requests, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook/s3cret-path?key=s3cret-query", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic").clone()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: usize,
    seen: &Mutex<Vec<Request>>,
    behave: &Behave,
) {
    while let Some(request) = read(&mut stream, connection).await {
        seen.lock().expect("no panic").push(request.clone());
        match behave(&request) {
            Way::Answer(bytes) => drop(stream.write_all(&bytes).await),
            Way::Last(bytes) => {
                stream.write_all(&bytes).await.ok();
                stream.shutdown().await.ok();
                return;
            }
            Way::Endless(first, again) => {
                stream.write_all(&first).await.ok();
                while stream.write_all(&again).await.is_ok() {}
                return;
            }
            Way::Hang => std::future::pending().await,
        }
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin), connection: usize) -> Option<Request> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    let mut request = Request { connection, head: String::from_utf8(bytes).ok()?, body: String::new() };
    let length: usize = request.header("content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    request.body = String::from_utf8(body).ok()?;
    Some(request)
}

/// Waits for a condition, by the time of the machine: that of a test may be made to run ahead.
pub async fn until(condition: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "it does not come");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
