//! The OpenAPI document is what the server does.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use stillhouse_control::OPENAPI;
use stillhouse_control::access::Role;
use stillhouse_control::operation::Operation;

use crate::place::{Answer, Ask, Place};

fn document() -> Value {
    serde_json::from_str(OPENAPI).expect("JSON")
}

/// Follows a reference within the document.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).expect("what is referred to is there"),
        None => value,
    }
}

fn method(operation: Operation) -> &'static str {
    if operation.is_change() { "post" } else { "get" }
}

/// Whether an answer is one that the document tells of; else how it is not.
fn check(document: &Value, operation: Operation, answer: &Answer) -> Result<(), String> {
    let responses = &document["paths"][operation.path()][method(operation)]["responses"];
    let response = resolved(document, &responses[answer.status.to_string()]);
    if response.is_null() {
        return Err(format!("{operation:?}: {} is not documented: {}", answer.status, answer.text()));
    }
    let content_type = answer.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
    let schema = &response["content"][content_type]["schema"];
    if schema.is_null() {
        return Err(format!("{operation:?}: {}: type `{content_type}` is not documented", answer.status));
    }
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        if header["required"] == json!(true) && answer.header(&name.to_lowercase()).is_none() {
            return Err(format!("{operation:?}: {}: no header {name}", answer.status));
        }
    }
    if content_type == "text/plain" {
        return Ok(());
    }
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "allOf": [schema],
        "components": document["components"],
    });
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema");
    let errors: Vec<_> = validator.iter_errors(&answer.json()).map(|error| error.to_string()).collect();
    if errors.is_empty() { Ok(()) } else { Err(format!("{operation:?}: {}: {errors:?}", answer.status)) }
}

#[tokio::test]
async fn every_route_is_in_the_document_and_the_other_way_round() {
    let document = document();
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (name, operation) in item.as_object().expect("an item").iter().filter(|(name, _)| *name != "parameters") {
            let role = operation["x-role"].as_str().map(str::to_owned);
            assert_eq!(role.is_none(), operation["security"] == json!([]), "{path}");
            documented.insert((path.clone(), name.clone(), operation["operationId"].as_str().map(str::to_owned), role));
        }
    }
    let served = Operation::ALL.into_iter().map(|operation| {
        let role = operation.role().map(|role| role.name().to_owned());
        (operation.path().to_owned(), method(operation).to_owned(), Some(operation.name().to_owned()), role)
    });
    assert_eq!(documented, served.collect());
    let place = Place::new().await;
    assert_eq!(place.send(&Ask::get("/v1/openapi.json")).await.text(), OPENAPI);
    // What is not in it is not served.
    for operation in Operation::ALL {
        for other in ["DELETE", "PUT", "PATCH", if operation.is_change() { "GET" } else { "POST" }] {
            let answer = place.send(&Ask { method: other, ..Ask::of(operation) }).await;
            assert_eq!(answer.status, 405, "{other} {operation:?}");
            let allow = if operation.is_change() { "post" } else { "get,head" };
            assert_eq!(answer.header("allow"), Some(allow), "{}", answer.head);
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        }
    }
    for path in ["/", "/v1", "/v1/slots", "/v1/slots/net.link", "/v1/slots/net.link/mapper/delete", "/v2/status"] {
        let answer = place.send(&Ask::get(path)).await;
        assert_eq!((answer.status, answer.json()["title"].as_str()), (404, Some("no such path")), "{path}");
    }
}

/// Requests of an operation with something wrong with each, and what is answered.
fn wrong(operation: Operation) -> Vec<(Ask, u16)> {
    let good = Ask::of(operation);
    let at = |from: &str, to: &str| Ask { path: good.path.replacen(from, to, 1), ..good.clone() };
    let mut wrong = Vec::new();
    if good.path.contains("/slots/") {
        wrong.push((at("net.link", "net.lnik"), 404));
        wrong.push((at("mapper", "maper"), 404));
        wrong.push((at("net.link", "%ff"), 400));
    }
    let order = |body: &[u8]| Ask::post(&good.path, "application/json", body);
    match operation {
        Operation::Audit => {
            wrong.push((Ask::get("/v1/audit?limit=0"), 422));
            wrong.push((Ask::get("/v1/audit?limit=1001"), 422));
            wrong.push((Ask::get("/v1/audit?limit=-1"), 400));
            wrong.push((Ask::get("/v1/audit?limt=1"), 400));
        }
        Operation::Stage => {
            wrong.push((at("?why=a+test", ""), 400));
            wrong.push((at("a+test", ""), 422));
            wrong.push((at("a+test", "+"), 422));
            wrong.push((at("a+test", "a%0Ab"), 422));
            wrong.push((at("a+test", &"a".repeat(1001)), 422));
            wrong.push((at("a+test", "a&signature=%20"), 422));
            wrong.push((at("a+test", "a&sig=x"), 400));
            wrong.push((Ask { body: Vec::new(), ..good.clone() }, 422));
            wrong.push((Ask { body: b"bad".to_vec(), ..good.clone() }, 422));
            wrong.push((Ask::post(&good.path, "text/plain", b"\0asm"), 415));
            wrong.push((Ask { headers: Vec::new(), ..good.clone() }, 415));
        }
        _ if operation.is_change() => {
            for body in ["", "{", "[", "nul", "{\"why\": \"a\"", "{\"why\": \"a\"} x"] {
                wrong.push((order(body.as_bytes()), 400));
            }
            wrong.push((order(b"{\"why\": \"\xff\"}"), 400));
            for body in [
                json!({}),
                json!([]),
                json!(["a", null, null, null]),
                json!("a"),
                json!({ "why": null }),
                json!({ "why": 1 }),
                json!({ "why": "" }),
                json!({ "why": "  " }),
                json!({ "why": "a\u{85}" }),
                json!({ "why": "a\u{1b}[2J" }),
                json!({ "why": "é".repeat(1001) }),
                json!({ "why": "a", "who": "b" }),
                json!({ "why": "a", "candidate": "ABCDEF012" }),
                json!({ "why": "a", "candidate": "" }),
                json!({ "why": "a", "force": "yes" }),
            ] {
                wrong.push((order(body.to_string().as_bytes()), 422));
            }
            if operation != Operation::Promote {
                wrong.push((order(br#"{"why":"a","force":false}"#), 422));
            }
            if operation != Operation::Rollback {
                wrong.push((order(br#"{"why":"a","retroactive":true}"#), 422));
            }
            wrong.push((order(br#"{"why":"a","candidate":"00000000"}"#), 409));
            wrong.push((order(&[b' '; 20_000]), 413));
            wrong.push((Ask::post(&good.path, "application/wasm", b"{\"why\":\"a\"}"), 415));
        }
        _ => {}
    }
    wrong
}

#[tokio::test]
async fn every_answer_is_as_documented() {
    let document = document();
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for operation in Operation::ALL {
        for role in [None, Some(Role::Viewer), Some(Role::Operator), Some(Role::Admin)] {
            let place = Place::new().await;
            let as_role = |ask: Ask| match role {
                Some(role) => ask.token(&place.token(role)),
                None => ask,
            };
            let allowed = operation.role().is_none_or(|needed| role.is_some_and(|role| role >= needed));
            let mut asks = wrong(operation);
            // Last, since it may change what is there; an odd signal type is a part of a path too.
            asks.push((Ask::of(operation), 200));
            if operation == Operation::Slot {
                asks.push((Ask::get("/v1/slots/com.example%2F%C3%BCnit%20test/mapper"), 200));
            }
            for (ask, expected) in asks {
                let answer = place.send(&as_role(ask.clone())).await;
                faults.extend(check(&document, operation, &answer).err());
                seen.insert(answer.status);
                let expected = if allowed || operation.role().is_none() { expected } else { answer.status };
                let refused = allowed || [401, 403].contains(&answer.status);
                // Promoting what has not been through all steps is refused by the host.
                let early = operation == Operation::Promote && expected == 200 && answer.status == 409;
                if !refused || (answer.status != expected && !early) {
                    faults.push(format!("{role:?} {ask:?}: expected {expected}, got {answer:?}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(seen.is_superset(&BTreeSet::from([200, 400, 401, 403, 404, 409, 413, 415, 422])), "{seen:?}");
}

#[tokio::test]
async fn the_check_finds_what_is_not_documented() {
    let document = document();
    let place = Place::new().await;
    let answer = place.send(&Ask::of(Operation::Status).token(&place.token(Role::Viewer))).await;
    assert_eq!(check(&document, Operation::Status, &answer), Ok(()));
    assert!(check(&document, Operation::Slot, &answer).unwrap_err().contains("signal"));
    assert!(check(&document, Operation::Status, &Answer { status: 418, ..answer.clone() }).is_err());
    let html = Answer { head: answer.head.replace("application/json", "text/html"), ..answer.clone() };
    assert!(check(&document, Operation::Status, &html).is_err());
    let unknown = place.send(&Ask::of(Operation::Status)).await;
    assert_eq!(check(&document, Operation::Status, &unknown), Ok(()));
    let silent = Answer { head: unknown.head.replace("www-authenticate", "x"), ..unknown };
    assert!(check(&document, Operation::Status, &silent).unwrap_err().contains("WWW-Authenticate"));
}
