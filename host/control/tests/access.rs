//! Who may do what: every operation by every role, and by nobody.

use std::sync::atomic::Ordering;

use serde_json::json;
use stillhouse_control::access::{Role, Secret};
use stillhouse_control::audit::Outcome;
use stillhouse_control::operation::Operation;

use crate::place::{Ask, Place};

#[tokio::test]
async fn every_operation_takes_its_role() {
    for operation in Operation::ALL {
        let place = Place::new().await;
        let needed = operation.role();
        let wrong = Secret::generate().expect("random");
        for (who, token) in [("nobody", None), ("a stranger", Some(wrong.reveal())), ("an empty one", Some(""))] {
            let ask = Ask::of(operation);
            let ask = token.map_or(ask.clone(), |token| ask.token(token));
            let answer = place.send(&ask).await;
            let expected = if needed.is_none() { 200 } else { 401 };
            assert_eq!(answer.status, expected, "{operation:?} by {who}: {}", answer.text());
            assert_eq!(answer.header("www-authenticate").is_some(), expected == 401, "{}", answer.head);
        }
        for role in Role::ALL.into_iter().filter(|role| needed.is_some_and(|needed| *role < needed)) {
            let answer = place.send(&Ask::of(operation).token(&place.token(role))).await;
            assert_eq!(answer.status, 403, "{operation:?} by {role}");
            assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.contains(role.name())));
        }
        assert_eq!(place.fake.changes(), [], "{operation:?}: nothing reached the host");
        for role in Role::ALL.into_iter().filter(|role| needed.is_none_or(|needed| *role >= needed)) {
            let answer = place.send(&Ask::of(operation).token(&place.token(role))).await;
            // Not every change can be made twice in a row.
            assert!([200, 409].contains(&answer.status), "{operation:?} by {role}: {}", answer.text());
        }
        let reached = place.fake.changes();
        assert_eq!(reached.len(), if operation.is_change() { 2 } else { 0 }, "{operation:?}");
        assert!(reached.iter().all(|change| change.why == "a test"));
        assert!(reached.iter().map(|change| change.by.as_str()).eq(["operator", "admin"]) || reached.is_empty());
    }
}

#[tokio::test]
async fn promotion_by_force_is_for_admins() {
    let place = Place::new().await;
    let promote =
        |force: bool| Ask::order("/v1/slots/net.link/mapper/promote", &json!({ "why": "urgent", "force": force }));
    let send = async |force, role| place.send(&promote(force).token(&place.token(role))).await;
    assert_eq!(send(false, Role::Operator).await.status, 409, "its steps are not finished");
    assert_eq!(send(true, Role::Operator).await.status, 403);
    assert_eq!(place.fake.changes().len(), 1);
    let done = send(true, Role::Admin).await;
    assert_eq!(done.status, 200);
    assert_eq!(done.json()["version"]["version"], "1.3.0");
    let whats: Vec<_> = place.records().iter().map(|entry| (entry.record.what.clone(), entry.record.outcome)).collect();
    let force = || "promote by force".to_owned();
    assert_eq!(
        whats,
        [
            ("promote".into(), Outcome::Asked),
            ("promote".into(), Outcome::Refused),
            (force(), Outcome::Refused),
            (force(), Outcome::Asked),
            (force(), Outcome::Done)
        ]
    );
}

#[tokio::test]
async fn a_change_is_audited_before_and_after() {
    let place = Place::new().await;
    let ask = Ask::order("/v1/slots/net.link/mapper/hold", &json!({ "why": "look at it tomorrow" }));
    let answer = place.send(&ask.token(&place.token(Role::Operator))).await.json();
    let records = place.records();
    assert_eq!(answer["audit"], records[1].sequence);
    for (entry, outcome) in records.iter().zip([Outcome::Asked, Outcome::Done]) {
        let record = &entry.record;
        assert_eq!((record.outcome, record.who.as_str(), record.role), (outcome, "operator", Some(Role::Operator)));
        assert_eq!(record.why, "look at it tomorrow");
        assert_eq!((record.signal.as_deref(), record.from.as_deref()), (Some("net.link"), Some("127.0.0.1")));
    }
    assert_eq!(records[1].record.of, Some(1));
    assert_eq!(records[1].record.digest.as_deref(), answer["version"]["digest"].as_str());
    let trail = place.send(&Ask::get("/v1/audit").token(&place.token(Role::Admin))).await.json();
    assert_eq!(trail["records"][1]["hash"], trail["head"]["hash"]);
    let status = place.send(&Ask::get("/v1/status").token(&place.token(Role::Viewer))).await.json();
    assert_eq!(status["audit"], trail["head"]);
}

#[tokio::test]
async fn a_flood_of_refused_attempts_is_counted_and_does_not_fill_the_disk() {
    let place = Place::new().await;
    for _ in 0..100 {
        assert_eq!(place.send(&Ask::of(Operation::Advance).token("stillhouse_0123")).await.status, 401);
    }
    let records = place.records();
    assert_eq!(records.len(), 30);
    let last = &records[29].record;
    assert_eq!((last.who.as_str(), last.what.as_str(), last.outcome), ("unknown", "advance", Outcome::Refused));
    assert_eq!(last.signal.as_deref(), Some("net.link"));
    place.seconds.fetch_add(3600, Ordering::Relaxed);
    place.send(&Ask::of(Operation::Advance)).await;
    assert!(place.records()[30].record.why.starts_with("70 more attempts"), "{:?}", place.records()[30]);
    let metrics = place.send(&Ask::get("/metrics").token(&place.token(Role::Viewer))).await.text();
    let counted = "stillhouse_control_requests_total{operation=\"advance\",status=\"401\"} 101\n";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.starts_with("# HELP stillhouse_signals_total"), "what the host counts is there too");
    let trail = std::fs::read_to_string(place.audit.path()).expect("readable");
    assert!(!trail.contains("stillhouse_0123"), "a token is never written");
}

#[tokio::test]
async fn what_is_over_when_it_stops_is_told() {
    let place = Place::new().await;
    for _ in 0..33 {
        place.send(&Ask::of(Operation::Hold)).await;
    }
    let place = place.stop().await;
    let last = place.records().pop().expect("records");
    assert!(last.record.why.starts_with("3 more attempts"), "{last:?}");
}

#[tokio::test]
async fn a_caller_who_leaves_does_not_take_the_change_along() {
    let fake = crate::fake::Fake::gated();
    let place = Place::with(fake, |_| {}).await;
    let ask = Ask::of(Operation::Advance).token(&place.token(Role::Operator));
    let mut stream = tokio::net::TcpStream::connect(place.address).await.expect("it listens");
    tokio::io::AsyncWriteExt::write_all(&mut stream, &ask.bytes()).await.expect("it reads");
    crate::place::until(|| place.records().len() == 1).await;
    drop(stream);
    place.fake.gate.as_ref().expect("a gate").add_permits(1);
    // It is waited for when the server stops, too.
    let place = place.stop().await;
    assert_eq!(place.records().last().map(|entry| entry.record.outcome), Some(Outcome::Done));
}
