//! A running server, and requests to it written out byte by byte.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use stillhouse_control::access::{Role, Secret, Token};
use stillhouse_control::audit::{Audit, Entry};
use stillhouse_control::operation::Operation;
use stillhouse_control::server::{Limits, Server, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::fake::Fake;

/// How long a test waits for what should take milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A server on a port of its own, with a token for each role.
pub struct Place {
    _folder: tempfile::TempDir,
    pub fake: Arc<Fake>,
    pub audit: Arc<Audit>,
    pub address: std::net::SocketAddr,
    pub seconds: Arc<AtomicI64>,
    secrets: Vec<(Role, Secret)>,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<()>,
}

impl Place {
    pub async fn new() -> Self {
        Self::with(Fake::default(), |_| {}).await
    }

    pub async fn with(fake: Fake, change: impl FnOnce(&mut ServerConfig)) -> Self {
        Self::start(fake, change, None).await
    }

    /// With another audit file.
    pub async fn on_audit(path: &Path) -> Self {
        Self::start(Fake::default(), |_| {}, Some(path)).await
    }

    async fn start(fake: Fake, change: impl FnOnce(&mut ServerConfig), audit: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let secrets: Vec<_> = Role::ALL.map(|role| (role, Secret::generate().expect("random"))).into();
        let token =
            |(role, secret): &(Role, Secret)| Token::new(role.name(), *role, &secret.hash()).expect("well-formed");
        let seconds = Arc::new(AtomicI64::new(1_772_445_600));
        let clock = seconds.clone();
        let mut config = ServerConfig {
            socket: None,
            listen: Some(([127, 0, 0, 1], 0).into()),
            tls: None,
            insecure: false,
            tokens: secrets.iter().map(token).collect(),
            limits: Limits { changes_per_minute: u32::MAX, ..Limits::default() },
            clock: Arc::new(move || Timestamp::from_second(clock.load(Ordering::Relaxed)).expect("in range")),
        };
        change(&mut config);
        let now = Timestamp::from_second(seconds.load(Ordering::Relaxed)).expect("in range");
        let path = audit.map_or_else(|| folder.path().join("audit.jsonl"), Path::to_owned);
        let (audit, _) = Audit::open(&path, now).expect("a new file");
        let (fake, audit) = (Arc::new(fake), Arc::new(audit));
        let server = Server::bind(config, fake.clone(), audit.clone()).await.expect("a free port");
        let address = server.address().unwrap_or(([127, 0, 0, 1], 0).into());
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(server.run(async { drop(stopped.await) }));
        Self { _folder: folder, fake, audit, address, seconds, secrets, stop: Some(stop), ended }
    }

    /// The header that makes a caller of this role.
    pub fn token(&self, role: Role) -> String {
        let (_, secret) = self.secrets.iter().find(|(of, _)| *of == role).expect("each has one");
        secret.reveal().to_owned()
    }

    /// Sends a request and reads the answer.
    pub async fn send(&self, request: &Ask) -> Answer {
        let stream = TcpStream::connect(self.address).await.expect("it listens");
        request.over(stream).await
    }

    pub fn records(&self) -> Vec<Entry> {
        self.audit.newest(1000)
    }

    /// Stops the server and waits for its end.
    pub async fn stop(mut self) -> Self {
        self.stop.take().expect("once").send(()).expect("it runs");
        tokio::time::timeout(PATIENCE, &mut self.ended).await.expect("it ends").expect("no panic");
        self
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Ask {
    pub fn get(path: &str) -> Self {
        Self { method: "GET", path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub fn post(path: &str, content_type: &str, body: &[u8]) -> Self {
        let headers = vec![("content-type", content_type.into())];
        Self { method: "POST", path: path.into(), headers, body: body.into() }
    }

    /// A change that says why.
    pub fn order(path: &str, body: &Value) -> Self {
        Self::post(path, "application/json", body.to_string().as_bytes())
    }

    /// A request of the operation that has nothing wrong with it, to a slot with a candidate.
    pub fn of(operation: Operation) -> Self {
        let path = operation.path().replace("{signal}", "net.link").replace("{kind}", "mapper");
        match operation {
            Operation::Stage => Self::post(&format!("{path}?why=a+test"), "application/wasm", b"\0asm"),
            _ if operation.is_change() => Self::order(&path, &serde_json::json!({ "why": "a test" })),
            _ => Self::get(&path),
        }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn token(self, token: &str) -> Self {
        self.with("authorization", format!("Bearer {token}"))
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n", self.method, self.path);
        self.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        if !self.body.is_empty() {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        [head.as_bytes(), b"\r\n", &self.body].concat()
    }

    pub async fn over(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Answer {
        stream.write_all(&self.bytes()).await.expect("it reads");
        Answer::read(&mut stream).await
    }
}

/// An answer.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{}", self.head, self.text())
    }
}

impl Answer {
    /// Reads to the end of the connection, however it ends.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Self {
        let mut bytes = Vec::new();
        // A server that does not want the rest of a body may close before it was read.
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("it ends");
        let split = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let split = split.unwrap_or_else(|| panic!("no answer: {read:?}, {:?}", String::from_utf8_lossy(&bytes)));
        let head = String::from_utf8(bytes[..split].to_vec()).expect("ASCII").to_lowercase();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        Self { status, head, body: bytes[split + 4..].to_vec() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Waits until something is so.
pub async fn until(mut so: impl FnMut() -> bool) {
    let waited = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.expect("it comes true");
}
