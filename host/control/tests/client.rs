//! The client against the server.

use std::path::Path;

use serde_json::json;
use stillhouse_control::access::Role;
use stillhouse_control::client::{Call, ClientError, Target, call};
use stillhouse_control::server::{DoneAnswer, StatusAnswer};
use stillhouse_control::slots::Kind;

use crate::fake::Fake;
use crate::place::Place;

fn target(place: &Place, token: Option<String>) -> Target {
    Target::Url { url: format!("http://{}", place.address).parse().expect("a URL"), token, ca: None }
}

#[tokio::test]
async fn answers_become_types() {
    let place = Place::new().await;
    let operator = target(&place, Some(place.token(Role::Operator)));
    let status = call(&operator, Call::get("/v1/status")).await.expect("answered");
    let status: StatusAnswer = serde_json::from_slice(&status).expect("as it was written");
    assert_eq!(status.status, stillhouse_control::host::Host::status(&*place.fake));
    let odd = Call::slot("com.example/ünit test", Kind::Mapper, "/stage?why=x");
    let stage = Call { path: odd, body: Some(("application/wasm", vec![7; 3_000_000])) };
    let done: DoneAnswer = serde_json::from_slice(&call(&operator, stage).await.expect("done")).expect("typed");
    assert_eq!(done.version.map(|version| version.name), Some("staged".into()));
    assert_eq!(place.fake.changes()[0].signal, "com.example/ünit test");
}

#[tokio::test]
async fn refusals_say_why_and_what_to_do() {
    let place = Place::with(Fake::default(), |config| config.limits.file_bytes_max = 1000).await;
    let operator = target(&place, Some(place.token(Role::Operator)));
    let refused = async |target: &Target, asked: Call| match call(target, asked).await {
        Err(ClientError::Refused(refusal)) => refusal.status,
        other => panic!("{other:?}"),
    };
    let order = |signal: &str| Call {
        path: Call::slot(signal, Kind::Suppressor, "/promote"),
        body: Some(("application/json", json!({ "why": "x" }).to_string().into_bytes())),
    };
    assert_eq!(refused(&operator, order("net.link")).await, 409);
    assert_eq!(refused(&operator, order("net.lnik")).await, 404);
    assert_eq!(refused(&target(&place, None), order("net.link")).await, 401);
    let large = Call {
        path: Call::slot("net.link", Kind::Mapper, "/stage?why=x"),
        body: Some(("application/wasm", vec![7; 30_000_000])),
    };
    assert_eq!(refused(&operator, large).await, 413);
}

#[tokio::test]
async fn nobody_there_is_told() {
    let nowhere = Target::Socket { path: Path::new("/nonexistent/control.sock").into(), token: None };
    let told = call(&nowhere, Call::get("/v1/status")).await.expect_err("nobody").to_string();
    assert!(told.contains("/nonexistent/control.sock: no host answers here"), "{told}");
}
