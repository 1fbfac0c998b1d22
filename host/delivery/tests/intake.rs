//! Posts of signals, written out byte by byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stillhouse_delivery::intake::metrics::IntakeMetrics;
use stillhouse_delivery::intake::server::{IntakeConfig, IntakeError, IntakeServer, Limits, TlsFiles};
use stillhouse_delivery::intake::token::TokenHash;
use stillhouse_delivery::intake::{Accepted, Intake, Post, Refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use crate::fake_sink::{PATIENCE, until};

const SHORT: Duration = Duration::from_millis(150);

/// A host that commits when it is let.
#[derive(Clone)]
struct FakeHost {
    posts: Arc<Mutex<Vec<Post>>>,
    committed: Arc<Mutex<usize>>,
    gate: Arc<Semaphore>,
    refusal: Option<Refusal>,
}

impl Intake for FakeHost {
    async fn take(&self, post: Post) -> Result<Accepted, Refusal> {
        self.posts.lock().expect("no panic").push(post.clone());
        self.gate.acquire().await.expect("a gate").forget();
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        *self.committed.lock().expect("no panic") += post.records;
        Ok(Accepted { records: post.records })
    }
}

struct Place {
    host: FakeHost,
    address: SocketAddr,
    metrics: Arc<IntakeMetrics>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

fn config() -> IntakeConfig {
    IntakeConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        tls: None,
        insecure: false,
        tokens: Vec::new(),
        limits: Limits::default(),
    }
}

impl Place {
    /// With so many commits that are let through.
    async fn with(commits: usize, refusal: Option<Refusal>, change: impl FnOnce(&mut IntakeConfig)) -> Self {
        let host = FakeHost {
            posts: Arc::default(),
            committed: Arc::default(),
            gate: Arc::new(Semaphore::new(commits)),
            refusal,
        };
        let mut config = config();
        change(&mut config);
        let server = IntakeServer::bind(config, host.clone()).await.expect("it listens");
        let (address, metrics) = (server.address().expect("an address"), server.metrics());
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(server.run(async { drop(stopped.await) }));
        Self { host, address, metrics, stop, ended }
    }

    async fn new() -> Self {
        Self::with(1000, None, |_| {}).await
    }

    async fn sent(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(bytes).await.expect("it reads");
        stream
    }

    async fn post(&self, path: &str, headers: &str, body: &str) -> Answer {
        Answer::read(&mut self.sent(&request(path, headers, body)).await).await
    }

    async fn stop(self) {
        self.stop.send(()).ok();
        tokio::time::timeout(PATIENCE, self.ended).await.expect("it stops").expect("no panic");
    }
}

const JSON: &str = "content-type: application/json\r\n";

fn request(path: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: a\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    async fn read(stream: &mut TcpStream) -> Self {
        let read = async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a head"));
            }
            let head = String::from_utf8(head).expect("ASCII").to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |n| n.parse().expect("a number"));
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.expect("a body");
            let status = head[9..12].parse().expect("a status");
            Self { status, head, body: String::from_utf8(body).expect("UTF-8") }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("it answers")
    }

    /// Has the form of a refusal, and names this.
    fn refuses(&self, status: u16, named: &str) {
        let json: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"));
        assert_eq!((self.status, json["status"].as_u64()), (status, Some(u64::from(status))), "{self:?}");
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        assert!(json["detail"].as_str().is_some_and(|detail| detail.contains(named)), "{named}: {self:?}");
        assert!(
            ["title", "help"].iter().all(|key| json[key].as_str().is_some_and(|text| !text.is_empty())),
            "{self:?}"
        );
    }
}

#[tokio::test]
async fn signals_are_answered_when_they_are_committed() {
    let place = Place::with(0, None, |_| {}).await;
    let mut stream = place.sent(&request("/signals/probes", JSON, "[{\"a\":1},\n{\"b\":2}]")).await;
    until(|| place.host.posts.lock().expect("no panic").len() == 1).await;
    let mut byte = [0];
    assert!(tokio::time::timeout(SHORT, stream.peek(&mut byte)).await.is_err(), "nothing is committed yet");
    place.host.gate.add_permits(1);
    let answer = Answer::read(&mut stream).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"accepted":2}"#));
    let expected = Post {
        source: Some("probes".into()),
        lines: "{\"a\":1}\n{\"b\":2}\n".into(),
        records: 2,
        idempotency_key: None,
    };
    assert_eq!(*place.host.posts.lock().expect("no panic"), [expected]);
    place.stop().await;
}

#[tokio::test]
async fn every_kind_of_body_is_read() {
    let place = Place::new().await;
    let event = r#"{"specversion":"1.0","id":"1","source":"/a","type":"t"}"#;
    for (kind, body, records) in [
        ("application/x-ndjson", "{}\n{}\n{}\n", 3),
        ("application/json", "{\n}", 1),
        ("application/json", "[]", 0),
        ("application/cloudevents+json; charset=utf-8", event, 1),
        ("application/cloudevents-batch+json", &format!("[{event},{event}]"), 2),
    ] {
        let headers = format!("content-type: {kind}\r\nidempotency-key: post-7\r\n");
        let answer = place.post("/signals", &headers, body).await;
        assert_eq!((answer.status, answer.body), (200, format!("{{\"accepted\":{records}}}")), "{kind}");
    }
    let posts = place.host.posts.lock().expect("no panic").clone();
    assert_eq!(posts.len(), 4, "an empty array is nothing to commit");
    assert!(posts.iter().all(|post| post.source.is_none() && post.idempotency_key.as_deref() == Some("post-7")));
    let metrics = place.metrics.text();
    assert!(metrics.contains("posts_total{status=\"200\"} 5\n") && metrics.contains("records_total 7\n"), "{metrics}");
}

#[tokio::test]
async fn what_is_wrong_is_told_and_nothing_is_taken() {
    let place = Place::with(1000, None, |config| config.limits.records_max = 3).await;
    let (ndjson, form) =
        ("content-type: application/x-ndjson\r\n", "content-type: application/x-www-form-urlencoded\r\n");
    let long = format!("/signals/{}", "x".repeat(201));
    for (path, headers, body, status, named) in [
        ("/signals", ndjson, "{}\n{\"a\": nope}\n", 400, "line 2: expected"),
        ("/signals", JSON, "", 400, "the body is empty"),
        ("/signals", "content-type: application/cloudevents+json\r\n", "{}", 400, "missing field `specversion`"),
        ("/signals", ndjson, "{}\n{}\n{}\n{}\n", 413, "more records"),
        ("/signals", "", "{}", 415, "no header Content-Type"),
        ("/signals", form, "{}", 415, "Content-Type is application/x-www-form-urlencoded"),
        ("/signals", &format!("{JSON}content-encoding: gzip\r\n"), "{}", 415, "encoded: gzip"),
        ("/signals", &format!("{JSON}idempotency-key: {}\r\n", "k".repeat(201)), "{}", 400, "Idempotency-Key"),
        ("/signals/%ff", JSON, "{}", 400, "UTF-8"),
        (&long, JSON, "{}", 400, "more than 200 characters"),
        ("/other", JSON, "{}", 404, "/other"),
        ("/healthz", JSON, "{}", 405, "POST"),
    ] {
        place.post(path, headers, body).await.refuses(status, named);
    }
    assert!(place.host.posts.lock().expect("no panic").is_empty());
    let answer = Answer::read(&mut place.sent(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"status":"ok"}"#));
}

#[tokio::test]
async fn what_the_host_says_is_passed_on() {
    for (refusal, status, named) in [
        (Refusal::Busy { why: "the disk is full".into(), retry_after_s: 17 }, 503, "the disk is full"),
        (Refusal::NoSuchSource("there is no `x`; there is `y`".into()), 404, "there is `y`"),
        (Refusal::Bad("line 1: no `time`".into()), 400, "no `time`"),
        (Refusal::Failed("the store is broken".into()), 500, "the store is broken"),
    ] {
        let busy = matches!(refusal, Refusal::Busy { .. });
        let place = Place::with(10, Some(refusal), |_| {}).await;
        let answer = place.post("/signals/x", JSON, "{}").await;
        answer.refuses(status, named);
        assert_eq!(answer.head.contains("retry-after: 17\r\n"), busy, "{answer:?}");
    }
}

#[tokio::test]
async fn a_token_is_asked_for_where_there_is_one() {
    let place = Place::with(10, None, |config| config.tokens = vec![TokenHash::of("s3cret")]).await;
    for headers in ["", "authorization: Basic s3cret\r\n", "authorization: Bearer other\r\n"] {
        let answer = place.post("/signals", &format!("{JSON}{headers}"), "{}").await;
        answer.refuses(401, "token");
        assert!(answer.head.contains("www-authenticate: bearer"), "{answer:?}");
    }
    let answer = place.post("/signals", &format!("{JSON}authorization: Bearer s3cret\r\n"), "{}").await;
    assert_eq!(answer.status, 200);
    // Nobody makes the server read a body without it.
    let mut stream =
        place.sent(format!("POST /signals HTTP/1.1\r\nhost: a\r\n{JSON}content-length: 9\r\n\r\n").as_bytes()).await;
    Answer::read(&mut stream).await.refuses(401, "no token came");
}

#[tokio::test]
async fn bodies_have_a_bound() {
    let place = Place::with(10, None, |config| config.limits.body_bytes_max = 100).await;
    let whole = format!("{{{}}}", " ".repeat(98));
    assert_eq!(place.post("/signals", JSON, &whole).await.status, 200);
    // Told by its length, nothing of it is waited for.
    let head = format!("POST /signals HTTP/1.1\r\nhost: a\r\n{JSON}");
    let mut stream = place.sent(format!("{head}content-length: 101\r\n\r\n").as_bytes()).await;
    Answer::read(&mut stream).await.refuses(413, "at most 100 bytes");
    // Not told, it is read up to the bound.
    let chunk = format!("{head}transfer-encoding: chunked\r\n\r\n65\r\n{}\r\n", " ".repeat(101));
    Answer::read(&mut place.sent(chunk.as_bytes()).await).await.refuses(413, "at most 100 bytes");
}

#[tokio::test]
async fn more_posts_than_can_wait_are_told_to_come_again() {
    let place = Place::with(0, None, |config| config.limits.waiting_max = 2).await;
    let mut waiting = Vec::new();
    for count in 1..=2 {
        waiting.push(place.sent(&request("/signals", JSON, "{}")).await);
        until(|| place.host.posts.lock().expect("no panic").len() == count).await;
    }
    let answer = place.post("/signals", JSON, "{}").await;
    answer.refuses(503, "as many posts as can wait");
    assert!(answer.head.contains("retry-after: 1\r\n"), "{answer:?}");
    // One that goes away leaves its place.
    drop(waiting.pop());
    place.host.gate.add_permits(1);
    assert_eq!(Answer::read(&mut waiting[0]).await.status, 200);
    place.host.gate.add_permits(1);
    assert_eq!(place.post("/signals", JSON, "{}").await.status, 200);
}

#[tokio::test]
async fn what_is_slow_is_bounded() {
    let place = Place::with(0, None, |config| {
        config.limits.head_timeout = SHORT;
        config.limits.body_timeout = SHORT;
        config.limits.commit_timeout = SHORT;
        config.limits.drain_timeout = SHORT;
    })
    .await;
    let mut stream =
        place.sent(format!("POST /signals HTTP/1.1\r\nhost: a\r\n{JSON}content-length: 9\r\n\r\n{{").as_bytes()).await;
    Answer::read(&mut stream).await.refuses(408, "the body took longer");
    place.post("/signals", JSON, "{}").await.refuses(503, "it is not known whether the signals are kept");
    let mut silent = place.sent(b"POST /sig").await;
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, silent.read_to_end(&mut rest)).await.expect("it is hung up on").ok();
    let _idle = place.sent(b"").await;
    place.stop().await;
}

#[tokio::test]
async fn posts_that_are_under_way_are_answered_when_it_stops() {
    let place = Place::with(0, None, |_| {}).await;
    let mut stream = place.sent(&request("/signals", JSON, "{}")).await;
    until(|| place.host.posts.lock().expect("no panic").len() == 1).await;
    let (host, address) = (place.host.clone(), place.address);
    let stopped = tokio::spawn(place.stop());
    until(|| std::net::TcpStream::connect(address).is_err()).await;
    host.gate.add_permits(1);
    assert_eq!(Answer::read(&mut stream).await.status, 200);
    stopped.await.expect("it stops");
    assert_eq!(*host.committed.lock().expect("no panic"), 1);
}

#[tokio::test]
async fn where_it_listens_is_checked() {
    let host = Place::new().await.host;
    let everywhere = IntakeConfig { listen: ([0, 0, 0, 0], 0).into(), ..config() };
    let error = IntakeServer::bind(everywhere.clone(), host.clone()).await.err().expect("refused");
    assert!(matches!(error, IntakeError::Clear(_)), "{error}");
    assert!(IntakeServer::bind(IntakeConfig { insecure: true, ..everywhere.clone() }, host.clone()).await.is_ok());
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let files = TlsFiles { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    let with = |tls: &TlsFiles| IntakeConfig { tls: Some(tls.clone()), ..everywhere.clone() };
    let error = IntakeServer::bind(with(&files), host.clone()).await.err().expect("no files");
    assert!(error.to_string().contains("cert.pem: expected certificates in PEM"), "{error}");
    std::fs::write(&files.cert, made.cert.pem()).expect("written");
    std::fs::write(&files.key, made.signing_key.serialize_pem()).expect("written");
    assert!(IntakeServer::bind(with(&files), host.clone()).await.is_ok());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = taken.local_addr().expect("an address");
    let error = IntakeServer::bind(IntakeConfig { listen, ..config() }, host).await.err().expect("taken");
    assert!(error.to_string().contains(&format!("{listen}: cannot listen")), "{error}");
}

/// A sink that posts to an intake over TLS: the two ends of this crate together.
#[tokio::test]
async fn the_two_ends_fit_together() {
    use stillhouse_delivery::sender::Sender;
    use stillhouse_delivery::sender::http::{HttpConfig, HttpSender};
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let files = TlsFiles { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    std::fs::write(&files.cert, made.cert.pem()).expect("written");
    std::fs::write(&files.key, made.signing_key.serialize_pem()).expect("written");
    let place = Place::with(10, None, |config| config.tls = Some(files.clone())).await;
    let url = format!("https://localhost:{}/signals", place.address.port());
    let sender = HttpSender::new(&HttpConfig { ca: Some(files.cert), ..HttpConfig::new(&url) }).expect("a sender");
    let bytes = r#"{"specversion":"1.0","id":"e-1","source":"/a","type":"t"}"#;
    let event = stillhouse_delivery::sender::Event { bytes: bytes.into(), ..crate::fake_outbox::event(1, "a") };
    let sent = sender.send(vec![Arc::new(event)]).await.expect("it goes on");
    assert_eq!(sent.outcomes, [stillhouse_delivery::Outcome::Accepted]);
    assert_eq!(place.host.posts.lock().expect("no panic")[0].idempotency_key.as_deref(), Some("e-1"));
    place.stop().await;
}
