//! What is too large, too slow or too much at once.

use std::time::Duration;

use serde_json::json;
use stillhouse_control::access::Role;
use stillhouse_control::operation::Operation;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fake::Fake;
use crate::place::{Answer, Ask, PATIENCE, Place, until};

const SHORT: Duration = Duration::from_millis(150);

async fn sent(place: &Place, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(place.address).await.expect("it listens");
    stream.write_all(bytes).await.expect("it reads");
    stream
}

/// Reads until the server closes.
async fn closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("it closes").ok();
    bytes
}

#[tokio::test]
async fn a_file_that_is_too_large_is_not_read() {
    let place = Place::with(Fake::default(), |config| config.limits.file_bytes_max = 1000).await;
    let stage =
        |length: usize| Ask { body: vec![7; length], ..Ask::of(Operation::Stage).token(&place.token(Role::Operator)) };
    assert_eq!(place.send(&stage(1000)).await.status, 200);
    // Told by its length, nothing of it is waited for.
    let head =
        String::from_utf8(stage(0).bytes()).expect("ASCII").replace("\r\n\r\n", "\r\ncontent-length: 1001\r\n\r\n");
    let mut stream = sent(&place, head.as_bytes()).await;
    let answer = Answer::read(&mut stream).await;
    assert_eq!((answer.status, answer.json()["title"].as_str()), (413, Some("too large")));
    // Not told, it is read up to the bound.
    let head = head.replace("content-length: 1001", "transfer-encoding: chunked");
    let mut stream = sent(&place, format!("{head}3e9\r\n{}\r\n", "x".repeat(1001)).as_bytes()).await;
    assert_eq!(Answer::read(&mut stream).await.status, 413);
    assert_eq!(place.fake.changes().len(), 1);
    // Nobody makes the server read a file without the role.
    let mut stream = sent(&place, head.replace("authorization", "x-other").as_bytes()).await;
    assert_eq!(Answer::read(&mut stream).await.status, 401);
}

#[tokio::test]
async fn a_large_head_is_refused() {
    let place = Place::new().await;
    let answer = place.send(&Ask::get("/healthz").with("x-large", "x".repeat(100_000))).await;
    assert_eq!(answer.status, 431);
}

#[tokio::test]
async fn slow_clients_are_hung_up_on() {
    let place = Place::with(Fake::default(), |config| {
        config.limits.head_timeout = SHORT;
        config.limits.body_timeout = SHORT;
    })
    .await;
    // A connection that says nothing, half a head, and one that is idle after an answer.
    assert_eq!(closed(&mut sent(&place, b"").await).await, b"");
    closed(&mut sent(&place, b"GET /healthz HTTP/1.1\r\nhost:").await).await;
    let answer = closed(&mut sent(&place, b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    // A body that does not come.
    let ask = Ask::of(Operation::Hold).token(&place.token(Role::Operator)).bytes();
    let mut stream = sent(&place, &ask[..ask.len() - 1]).await;
    assert_eq!(Answer::read(&mut stream).await.status, 408);
    assert_eq!(place.fake.changes(), []);
}

#[tokio::test]
async fn more_connections_wait() {
    let place = Place::with(Fake::default(), |config| config.limits.connections_max = 2).await;
    let (first, second) = (sent(&place, b"").await, sent(&place, b"").await);
    let mut third = sent(&place, &Ask::get("/healthz").bytes()).await;
    let mut byte = [0];
    assert!(tokio::time::timeout(SHORT, third.read(&mut byte)).await.is_err(), "it is not answered yet");
    drop(first);
    assert_eq!(Answer::read(&mut third).await.status, 200);
    drop(second);
}

#[tokio::test]
async fn more_changes_at_once_are_told_to_come_again() {
    let place = Place::with(Fake::gated(), |config| config.limits.changes_max = 1).await;
    let ask = Ask::of(Operation::Hold).token(&place.token(Role::Operator));
    let mut first = sent(&place, &ask.bytes()).await;
    until(|| place.records().len() == 1).await;
    let busy = place.send(&ask).await;
    assert_eq!((busy.status, busy.header("retry-after")), (503, Some("1")));
    assert_eq!(place.send(&Ask::get("/healthz")).await.status, 200, "questions are answered meanwhile");
    place.fake.gate.as_ref().expect("a gate").add_permits(1);
    assert_eq!(Answer::read(&mut first).await.status, 200);
}

#[tokio::test]
async fn more_requests_at_once_are_told_to_come_again() {
    let place = Place::with(Fake::gated(), |config| config.limits.in_flight_max = 1).await;
    let ask = Ask::of(Operation::Hold).token(&place.token(Role::Operator));
    let mut first = sent(&place, &ask.bytes()).await;
    until(|| place.records().len() == 1).await;
    assert_eq!(place.send(&Ask::get("/healthz")).await.status, 503);
    place.fake.gate.as_ref().expect("a gate").add_permits(1);
    assert_eq!(Answer::read(&mut first).await.status, 200);
}

#[tokio::test]
async fn changes_of_one_caller_are_counted_by_the_minute() {
    let place = Place::with(Fake::default(), |config| config.limits.changes_per_minute = 3).await;
    let send = async |role| place.send(&Ask::of(Operation::Hold).token(&place.token(role))).await;
    for _ in 0..3 {
        assert_eq!(send(Role::Operator).await.status, 200);
    }
    let refused = send(Role::Operator).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("60")));
    assert_eq!(send(Role::Admin).await.status, 200, "others are not held up");
    place.seconds.fetch_add(60, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(send(Role::Operator).await.status, 200);
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_told_of() {
    let place = Place::with(Fake::gated(), |config| {
        config.limits.change_timeout = SHORT;
        config.limits.drain_timeout = SHORT;
    })
    .await;
    let answer = place.send(&Ask::of(Operation::Hold).token(&place.token(Role::Operator))).await;
    assert_eq!((answer.status, answer.json()["title"].as_str()), (504, Some("not known yet")));
    // Nor does it keep the server from stopping.
    place.stop().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn nothing_is_changed_that_cannot_be_audited() {
    let place = Place::on_audit(std::path::Path::new("/dev/full")).await;
    for _ in 0..2 {
        let order = Ask::order("/v1/slots/net.link/mapper/hold", &json!({ "why": "a test" }));
        let answer = place.send(&order.token(&place.token(Role::Operator))).await;
        assert_eq!((answer.status, answer.json()["title"].as_str()), (500, Some("no audit trail")));
    }
    assert_eq!(place.fake.changes(), []);
    let metrics = place.send(&Ask::get("/metrics").token(&place.token(Role::Viewer))).await.text();
    assert!(metrics.contains("stillhouse_control_audit_broken 1\n"), "{metrics}");
}
