//! Posts, and what is made of bad answers.

use std::sync::Arc;
use std::time::Duration;

use stillhouse_delivery::Outcome;
use stillhouse_delivery::sender::http::{HttpConfig, HttpSender};
use stillhouse_delivery::sender::secret::Secret;
use stillhouse_delivery::sender::{Event, Sender};

use crate::fake_outbox::{event, events};
use crate::fake_sink::{FakeSink, PATIENCE, Way, answer, ok};

async fn send(sender: &HttpSender, batch: Vec<Event>) -> Vec<Outcome> {
    let sent = sender.send(batch.into_iter().map(Arc::new).collect());
    tokio::time::timeout(PATIENCE, sent).await.expect("it answers").expect("it goes on").outcomes
}

async fn one(sink: &FakeSink) -> Outcome {
    let sender = HttpSender::new(&HttpConfig::new(&sink.url())).expect("a sender");
    send(&sender, vec![event(1, "a")]).await.remove(0)
}

/// Why it failed; nothing that is secret is in it.
fn failure(outcome: Outcome) -> String {
    let Outcome::Failed(reason) = outcome else { panic!("{outcome:?}") };
    assert!(reason.starts_with("http://127.0.0.1:") && !reason.contains("s3cret"), "{reason}");
    assert!(reason.len() < 500, "{reason}");
    reason
}

#[tokio::test]
async fn an_event_is_posted_with_its_id() {
    let sink = FakeSink::new(|_| answer("204 No Content", "", "")).await;
    let config = HttpConfig {
        headers: vec![("Authorization".into(), Secret::Plain("Bearer s3cret".into()))],
        ..HttpConfig::new(&sink.url())
    };
    assert!(!format!("{config:?}").contains("s3cret"), "{config:?}");
    let sender = HttpSender::new(&config).expect("a sender");
    for position in [1, 2] {
        assert_eq!(send(&sender, vec![event(position, "a")]).await, [Outcome::Accepted]);
    }
    let requests = sink.requests();
    let first = &requests[0];
    assert!(first.head.starts_with("POST /hook/s3cret-path?key=s3cret-query HTTP/1.1\r\n"), "{}", first.head);
    assert_eq!(first.body, r#"{"id":"e-1","subject":"a"}"#);
    for (name, value) in [
        ("content-type", "application/cloudevents+json"),
        ("idempotency-key", "e-1"),
        ("authorization", "Bearer s3cret"),
        ("host", sink.address.to_string().as_str()),
    ] {
        assert_eq!(first.header(name), Some(value));
    }
    assert_eq!((requests[1].header("idempotency-key"), requests[1].connection), (Some("e-2"), 0), "kept alive");
}

#[tokio::test]
async fn what_a_status_means() {
    for (status, expected) in [
        ("200 OK", "accepted"),
        ("202 Accepted", "accepted"),
        ("301 Moved Permanently", "failed"),
        ("400 Bad Request", "refused"),
        ("404 Not Found", "refused"),
        ("408 Request Timeout", "failed"),
        ("422 Unprocessable Content", "refused"),
        ("425 Too Early", "failed"),
        ("429 Too Many Requests", "failed"),
        ("500 Internal Server Error", "failed"),
        ("599 Whatever", "failed"),
    ] {
        let sink = FakeSink::new(move |_| answer(status, "", "because\r\n  of\tthis")).await;
        let told = match one(&sink).await {
            Outcome::Accepted => ("accepted", String::new()),
            Outcome::Refused(reason) => ("refused", reason),
            failed => ("failed", failure(failed)),
        };
        assert_eq!(told.0, expected, "{status}");
        assert!(expected == "accepted" || told.1.contains(&format!("answered {}", &status[..3])), "{told:?}");
        assert!(expected == "accepted" || told.1.contains(": because of this"), "{told:?}");
    }
}

#[tokio::test]
async fn a_sink_may_say_when() {
    let sink = FakeSink::new(|_| answer("503 Busy", "retry-after: 7\r\n", "")).await;
    let outcome = one(&sink).await;
    assert!(matches!(outcome, Outcome::Later { after_us: 7_000_000, .. }), "{outcome:?}");
}

#[tokio::test]
async fn connections_that_break_are_failures() {
    for (way, named) in [
        (Way::Last(Vec::new()), "connection closed"),
        (Way::Last(b"HTTP/1.1 200".to_vec()), "connection closed"),
        (Way::Last(b"SSH-2.0-OpenSSH_9.6\r\n\r\n".to_vec()), "invalid HTTP"),
        (
            Way::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"x-more: and more\r\n".repeat(1000)),
            "message head is too large",
        ),
    ] {
        let sink = FakeSink::new(move |_| way.clone()).await;
        let reason = failure(one(&sink).await);
        assert!(reason.contains(named), "{named}: {reason}");
    }
    // Nobody listens.
    let sink = FakeSink::new(|_| ok()).await;
    let url = sink.url();
    drop(sink);
    let sender = HttpSender::new(&HttpConfig::new(&url)).expect("a sender");
    crate::fake_sink::until(|| std::net::TcpStream::connect(url.split('/').nth(2).expect("an address")).is_err()).await;
    let reason = failure(send(&sender, vec![event(1, "a")]).await.remove(0));
    assert!(reason.contains("refused"), "{reason}");
}

/// A kept connection that the sink has closed meanwhile is no failure: another one is made.
#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_made_again() {
    let sink = FakeSink::new(|_| Way::Last(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec())).await;
    let sender = HttpSender::new(&HttpConfig::new(&sink.url())).expect("a sender");
    for position in 0..20 {
        assert_eq!(send(&sender, vec![event(position, "a")]).await, [Outcome::Accepted]);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn long_answers_are_not_read_to_their_end() {
    let begins = |status: &str| format!("HTTP/1.1 {status}\r\ncontent-length: 99999999999\r\n\r\n").into_bytes();
    let endless = move |status| Way::Endless(begins(status), b"a long story ".repeat(100));
    let sink = FakeSink::new(move |_| endless("200 OK")).await;
    assert_eq!(one(&sink).await, Outcome::Accepted);
    let sink = FakeSink::new(move |_| endless("500 Sorry")).await;
    let reason = failure(one(&sink).await);
    assert!(reason.contains("a long story a long story") && reason.len() < 400, "{reason}");
    // The rest of an answer that does not come is not waited for either.
    let sink = FakeSink::new(|_| Way::Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhal".to_vec())).await;
    assert_eq!(one(&sink).await, Outcome::Accepted);
}

#[tokio::test]
async fn a_sink_that_sends_secrets_back_does_not_make_them_known() {
    let sink = FakeSink::new(|request| answer("400 Bad", "", &format!("you sent {}", request.head))).await;
    let config = HttpConfig {
        headers: vec![
            ("authorization".into(), Secret::Plain("Bearer abcdefghijk".into())),
            ("x-key".into(), Secret::Plain("short".into())),
        ],
        ..HttpConfig::new(&format!("http://{}/", sink.address))
    };
    let sender = HttpSender::new(&config).expect("a sender");
    let outcome = send(&sender, vec![event(1, "a")]).await.remove(0);
    let Outcome::Refused(reason) = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("authorization: [hidden]") && reason.contains("x-key: [hidden]"), "{reason}");
}

#[tokio::test]
async fn of_a_batch_only_what_is_bad_is_refused() {
    let bad = |request: &crate::fake_sink::Request| request.body.contains("\"bad\"");
    let sink = FakeSink::new(move |request| if bad(request) { answer("422 No", "", "") } else { ok() }).await;
    let config = HttpConfig { batch_max: 10, ..HttpConfig::new(&sink.url()) };
    let sender = HttpSender::new(&config).expect("a sender");
    let outcomes = send(&sender, events(&["a", "b", "c", "bad", "e"])).await;
    let refused: Vec<_> = outcomes.iter().map(|outcome| matches!(outcome, Outcome::Refused(_))).collect();
    assert_eq!(refused, [false, false, false, true, false]);
    let first = &sink.requests()[0];
    assert_eq!(first.header("content-type"), Some("application/cloudevents-batch+json"));
    let parsed: Vec<serde_json::Value> = serde_json::from_str(&first.body).expect("an array");
    assert_eq!(parsed.len(), 5);
}

#[tokio::test]
async fn an_id_that_is_no_header_is_refused() {
    let sink = FakeSink::new(|_| ok()).await;
    let sender = HttpSender::new(&HttpConfig::new(&sink.url())).expect("a sender");
    let outcomes = send(&sender, vec![Event { id: "a\nb".into(), ..event(1, "a") }]).await;
    assert!(matches!(&outcomes[..], [Outcome::Refused(reason)] if reason.contains("id of the event")), "{outcomes:?}");
    assert!(sink.requests().is_empty());
}

#[test]
fn what_cannot_be_configured_says_why() {
    let with = |url: &str, name: &str, value: &str| HttpConfig {
        headers: vec![(name.into(), Secret::Plain(value.into()))],
        ..HttpConfig::new(url)
    };
    for (config, named) in [
        (HttpConfig::new("ftp://host"), "begins with https://"),
        (HttpConfig::new("/events"), "begins with https://"),
        (HttpConfig::new("http:// "), "expected a URL"),
        (HttpConfig::new("https://me:s3cret@host/"), "use the header Authorization"),
        (with("https://host", "content-type", "text/plain"), "cannot be set"),
        (with("https://host", "idempotency-KEY", "1"), "cannot be set"),
        (with("https://host", "a b", "1"), "`a b` is no name"),
        (with("https://host", "x-key", "s3cret\n"), "`x-key`: its value cannot be sent"),
        (with("http://host", "x-key", "s3cret"), "everybody on the way can read"),
        (HttpConfig { ca: Some("/none.pem".into()), ..HttpConfig::new("https://host") }, "/none.pem: expected"),
    ] {
        let error = HttpSender::new(&config).err().expect("refused");
        assert!(error.contains(named) && !error.contains("s3cret"), "{named}: {error}");
    }
    let insecure = HttpConfig { insecure: true, ..with("http://host", "x-key", "1") };
    for config in [with("http://127.0.0.1:1", "x-key", "1"), with("http://[::1]", "x-key", "1"), insecure] {
        assert!(HttpSender::new(&config).is_ok());
    }
}
