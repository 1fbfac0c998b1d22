//! Changes: what they say is read and checked, written to the audit trail, and handed to the host.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, Request, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Deserialize, Serialize};

use super::{JSON, Shared, SlotPath, named};
use crate::access::{Caller, Peer, Role};
use crate::audit::{AuditError, Outcome, Record};
use crate::guard::forbidden;
use crate::host::{Action, Change};
use crate::problem::{Problem, json};
use crate::slots::Version;

/// The longest reason, in characters.
pub const WHY_CHARS_MAX: usize = 1000;

/// The longest signature, in characters.
const SIGNATURE_CHARS_MAX: usize = 4096;

/// The longest body of a change that is no file.
const BODY_BYTES_MAX: usize = 16 * 1024;

const WASM: &str = "application/wasm";

/// What a change that is no file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    why: String,
    candidate: Option<String>,
    force: Option<bool>,
    retroactive: Option<bool>,
}

impl Order {
    /// By way of an object: serde would take a list of the values as well.
    fn read(body: &[u8]) -> serde_json::Result<Self> {
        let value: serde_json::Value = serde_json::from_slice(body)?;
        let object: serde_json::Map<_, _> = serde_json::from_value(value)?;
        serde_json::from_value(object.into())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StageQuery {
    why: String,
    signature: Option<String>,
}

pub(super) fn advance(order: &Order) -> Result<Action, &'static str> {
    plain(order, Action::Advance)
}

pub(super) fn hold(order: &Order) -> Result<Action, &'static str> {
    plain(order, Action::Hold)
}

fn plain(order: &Order, action: Action) -> Result<Action, &'static str> {
    match (order.force, order.retroactive) {
        (None, None) => Ok(action),
        (Some(_), _) => Err("`force` is for promote"),
        (None, Some(_)) => Err("`retroactive` is for rollback"),
    }
}

pub(super) fn promote(order: &Order) -> Result<Action, &'static str> {
    match order.retroactive {
        None => Ok(Action::Promote { force: order.force.unwrap_or(false) }),
        Some(_) => Err("`retroactive` is for rollback"),
    }
}

pub(super) fn rollback(order: &Order) -> Result<Action, &'static str> {
    match order.force {
        None => Ok(Action::Rollback { retroactive: order.retroactive }),
        Some(_) => Err("`force` is for promote"),
    }
}

/// A change that is no file.
pub(super) async fn change(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    path: SlotPath,
    request: Request,
    action: fn(&Order) -> Result<Action, &'static str>,
) -> Result<Response<Body>, Problem> {
    let (signal, kind) = named(path)?;
    let peer = request.extensions().get::<Peer>().cloned().unwrap_or(Peer::Unix(None));
    content_type(request.headers(), JSON)?;
    let uri = request.uri().clone();
    let body = read_body(request, BODY_BYTES_MAX, shared.limits.body_timeout).await?;
    let help = "expected JSON such as {\"why\": \"no differences for a day\"}";
    let order = Order::read(&body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Problem::unfit(error.to_string(), help),
        _ => Problem::unreadable(error.to_string(), help),
    })?;
    let action = action(&order).map_err(|detail| Problem::unfit(detail, help))?;
    if action == (Action::Promote { force: true }) && caller.role < Role::Admin {
        let problem = forbidden(&caller, Role::Admin, action.name());
        shared.refused_attempt(Some(&caller), &peer, action.name(), uri.path(), &problem.detail).await;
        return Err(problem);
    }
    let hexadecimal = |digest: &String| {
        (8..=64).contains(&digest.len()) && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    if order.candidate.as_ref().is_some_and(|digest| !hexadecimal(digest)) {
        let help = "`candidate` is a digest or how it begins: 8 to 64 lower-case hexadecimal digits";
        return Err(Problem::unfit("`candidate` is no digest", help));
    }
    let (candidate, why) = (order.candidate, order.why);
    let change = Change { signal, kind, action, candidate, by: caller.name.clone(), why };
    carry_out(&shared, caller, &peer, change).await
}

/// A file becomes the candidate.
pub(super) async fn stage(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    path: SlotPath,
    query: Result<Query<StageQuery>, QueryRejection>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let (signal, kind) = named(path)?;
    let peer = request.extensions().get::<Peer>().cloned().unwrap_or(Peer::Unix(None));
    let help = "expected `?why=TEXT`, percent-encoded, and `&signature=TEXT` if the file is signed";
    let Query(StageQuery { why, signature }) =
        query.map_err(|rejection| Problem::unreadable(rejection.body_text(), help))?;
    content_type(request.headers(), WASM)?;
    let printable =
        |text: &String| text.chars().count() <= SIGNATURE_CHARS_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    if signature.as_ref().is_some_and(|signature| signature.is_empty() || !printable(signature)) {
        let help = format!(
            "`signature` is 1 to {SIGNATURE_CHARS_MAX} visible ASCII characters, as `stillhouse rule sign` writes it"
        );
        return Err(Problem::unfit("`signature` is not well-formed", help));
    }
    check_why(&why)?;
    // The place is taken before the file is read: it bounds how many are in memory.
    let place = shared.changes.clone().try_acquire_owned().map_err(|_| Problem::busy("too many changes at once"))?;
    let file = read_body(request, shared.limits.file_bytes_max, shared.limits.body_timeout).await?;
    drop(place);
    if file.is_empty() {
        return Err(Problem::unfit("the body is empty", "send the file of the rule as the body"));
    }
    let action = Action::Stage { file, signature };
    let change = Change { signal, kind, action, candidate: None, by: caller.name.clone(), why };
    carry_out(&shared, caller, &peer, change).await
}

/// A reason can be read in a terminal and a log: it has no control characters, and is not blank.
fn check_why(why: &str) -> Result<(), Problem> {
    let length = why.chars().count();
    if length > WHY_CHARS_MAX || why.chars().any(char::is_control) || why.chars().all(|letter| letter == ' ') {
        let help = format!("`why` is one line of 1 to {WHY_CHARS_MAX} characters, for those who read the history");
        return Err(Problem::unfit("`why` is not well-formed", help));
    }
    Ok(())
}

/// The answer to a change.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct DoneAnswer {
    /// The log position at which it counts.
    pub position: u64,
    /// The version concerned.
    pub version: Option<Version>,
    /// What follows from it.
    pub told: String,
    /// The audit record of it.
    pub audit: u64,
}

/// Writes that a change is asked for, makes it, and writes how it ended. All of that goes on if the
/// caller leaves.
async fn carry_out(
    shared: &Arc<Shared>,
    caller: Caller,
    peer: &Peer,
    change: Change,
) -> Result<Response<Body>, Problem> {
    check_why(&change.why)?;
    let place = shared.changes.clone().try_acquire_owned().map_err(|_| Problem::busy("too many changes at once"))?;
    let record = Record {
        who: caller.name,
        role: Some(caller.role),
        from: Some(peer.to_string()),
        signal: Some(change.signal.clone()),
        kind: Some(change.kind),
        digest: match &change.action {
            Action::Stage { file, .. } => Some(crate::sha256_hex(file)),
            _ => change.candidate.clone(),
        },
        outcome: Outcome::Asked,
        ..Record::of_host((shared.clock)(), change.action.name(), &change.why)
    };
    let shared = shared.clone();
    let timeout = shared.limits.change_timeout;
    let task = tokio::spawn(async move {
        let done = audited(&shared, record, change).await;
        drop(place);
        done
    });
    match tokio::time::timeout(timeout, task).await {
        Ok(Ok(done)) => done.map(|done| json(StatusCode::OK, JSON, &done)),
        Ok(Err(panic)) => {
            tracing::error!(%panic, "a change ended in a panic");
            let help = "look at the status and the history of the slot for whether it was made";
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the host failed", "the change ended in a panic", help))
        }
        Err(_) => {
            let detail = format!("the host has not answered within {} s; it goes on", timeout.as_secs());
            let help = "look at the history of the slot for how it ended";
            Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "not known yet", detail, help))
        }
    }
}

async fn audited(shared: &Arc<Shared>, record: Record, change: Change) -> Result<DoneAnswer, Problem> {
    let unaudited = |error: AuditError, what: &str| {
        let help = "changes are taken again when the audit trail can be written";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no audit trail", format!("{what}: {error}"), help)
    };
    let asked = shared.write(record.clone()).await.map_err(|error| unaudited(error, "nothing was changed"))?;
    let outcome = shared.host.change(change).await;
    let mut ended = Record { time: (shared.clock)(), of: Some(asked), ..record };
    match &outcome {
        Ok(done) => {
            ended.outcome = Outcome::Done;
            ended.told = Some(done.told.clone());
            ended.digest = done.version.as_ref().map(|version| version.digest.clone()).or(ended.digest);
        }
        Err(refused) => {
            ended.outcome = Outcome::Refused;
            ended.told = Some(refused.to_string());
        }
    }
    let written = shared.write(ended).await;
    let done = outcome.map_err(|refused| Problem::of(&refused))?;
    let audit = written.map_err(|error| unaudited(error, "the change was made, but its outcome is not written"))?;
    Ok(DoneAnswer { position: done.position, version: done.version, told: done.told, audit })
}

fn content_type(headers: &HeaderMap, expected: &'static str) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let essence = given.as_deref().map(|given| given.split(';').next().unwrap_or_default().trim());
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case(expected)) {
        return Ok(());
    }
    let came =
        given.map_or("none came".into(), |given| format!("`{}` came", given.chars().take(100).collect::<String>()));
    let detail = format!("expected a body of type {expected}; {came}");
    let help = format!("set the header Content-Type to {expected}");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "another type of body", detail, help))
}

async fn read_body(request: Request, bytes_max: usize, timeout: Duration) -> Result<Vec<u8>, Problem> {
    let too_large = || {
        let detail = format!("the body is larger than {bytes_max} bytes");
        let help = "a rule is smaller: build it with `--release`, without debug information";
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too large", detail, help)
    };
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large());
    }
    let body = Limited::new(request.into_body(), bytes_max).collect();
    match tokio::time::timeout(timeout, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes().to_vec()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Problem::unreadable(format!("the body broke off: {error}"), "send it again")),
        Err(_) => {
            let detail = format!("the body did not come within {} s", timeout.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "too slow", detail, "send it again")
                .with(header::CONNECTION, "close"))
        }
    }
}
