//! The API: from requests to the host and back.

mod change;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{Method, Response, StatusCode, Uri};
use axum::middleware;
use axum::routing::{MethodFilter, MethodRouter, get, on};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::access::Token;
use crate::audit::{Audit, AuditError, Entry, Head, NEWEST_MAX, Record};
use crate::guard::{Quotas, guard};
use crate::host::Host;
use crate::metrics::Metrics;
use crate::operation::Operation;
use crate::problem::{Problem, json, text};
use crate::server::{Clock, Limits};
use crate::slots::{Kind, Slot, Status};
use change::{advance, change, hold, promote, rollback, stage};

pub use change::{DoneAnswer, WHY_CHARS_MAX};

const JSON: &str = "application/json";

/// What all requests share.
pub(crate) struct Shared {
    pub host: Arc<dyn Host>,
    pub audit: Arc<Audit>,
    pub tokens: Vec<Token>,
    pub own_uid: u32,
    pub clock: Clock,
    pub limits: Limits,
    pub metrics: Metrics,
    pub quotas: Quotas,
    pub in_flight: Arc<Semaphore>,
    /// Changes that are under way; each may hold a file in memory.
    pub changes: Arc<Semaphore>,
}

impl Shared {
    /// Writes an audit record, away from the threads that serve.
    pub async fn write(self: &Arc<Self>, record: Record) -> Result<u64, AuditError> {
        let audit = self.audit.clone();
        let written = tokio::task::spawn_blocking(move || audit.append(record)).await;
        let written = written.unwrap_or_else(|_| {
            Err(AuditError::Stopped { path: self.audit.path().to_owned(), why: "its writer panicked".into() })
        });
        written.inspect_err(|error| tracing::error!(%error, "audit"))
    }
}

/// All routes.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    let mut router = Router::new();
    for operation in Operation::ALL {
        let layer = middleware::from_fn_with_state((shared.clone(), operation), guard);
        let method = if operation.is_change() { MethodFilter::POST } else { MethodFilter::GET };
        router = router.route(operation.path(), handler(operation, method).layer(layer));
    }
    router.method_not_allowed_fallback(wrong_method).fallback(no_path).with_state(shared.clone())
}

fn handler(operation: Operation, method: MethodFilter) -> MethodRouter<Arc<Shared>> {
    match operation {
        Operation::Status => get(status),
        Operation::Slot => get(slot),
        Operation::Differences => get(differences),
        Operation::History => get(history),
        Operation::Stage => on(method, stage),
        Operation::Advance => on(method, |state, caller, slot, request| change(state, caller, slot, request, advance)),
        Operation::Hold => on(method, |state, caller, slot, request| change(state, caller, slot, request, hold)),
        Operation::Promote => on(method, |state, caller, slot, request| change(state, caller, slot, request, promote)),
        Operation::Rollback => {
            on(method, |state, caller, slot, request| change(state, caller, slot, request, rollback))
        }
        Operation::Audit => get(audit),
        Operation::Metrics => get(metrics),
        Operation::Health => get(async || json(StatusCode::OK, JSON, &serde_json::json!({ "status": "ok" }))),
        Operation::OpenApi => get(async || text(StatusCode::OK, JSON, crate::OPENAPI)),
    }
}

async fn wrong_method(State(shared): State<Arc<Shared>>, method: Method) -> Problem {
    shared.metrics.answered(None, StatusCode::METHOD_NOT_ALLOWED.as_u16());
    Problem::wrong_method(&method)
}

async fn no_path(State(shared): State<Arc<Shared>>, uri: Uri) -> Problem {
    shared.metrics.answered(None, StatusCode::NOT_FOUND.as_u16());
    Problem::no_path(uri.path())
}

/// The answer of `GET /v1/status`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StatusAnswer {
    /// What the host says.
    #[serde(flatten)]
    pub status: Status,
    /// The head of the audit trail: kept elsewhere, it shows whether records were cut off.
    pub audit: Head,
}

async fn status(State(shared): State<Arc<Shared>>) -> Response<Body> {
    let answer = StatusAnswer { status: shared.host.status(), audit: shared.audit.head() };
    json(StatusCode::OK, JSON, &answer)
}

type SlotPath = Result<Path<(String, String)>, PathRejection>;

/// The slot that a path names.
fn named(path: SlotPath) -> Result<(String, Kind), Problem> {
    let Path((signal, kind)) = path.map_err(|rejection| {
        Problem::unreadable(rejection.body_text(), "write the signal type percent-encoded, as UTF-8")
    })?;
    let kind = kind.parse().map_err(|error: String| Problem::no_slot(error))?;
    Ok((signal, kind))
}

/// The slot that a path names, as far as it names one.
pub(crate) fn slot_of(path: &str) -> Option<(String, Kind)> {
    let mut parts = path.strip_prefix("/v1/slots/")?.split('/');
    let (signal, kind) = (parts.next()?, parts.next()?);
    Some((percent_decoded(signal), kind.parse().ok()?))
}

fn percent_decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.filter(|_| first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn missing(signal: &str, kind: Kind) -> Problem {
    let signal: String = signal.chars().take(200).collect();
    Problem::no_slot(format!("there is no {kind} slot for signal type `{signal}`"))
}

async fn slot(State(shared): State<Arc<Shared>>, path: SlotPath) -> Result<Response<Body>, Problem> {
    let (signal, kind) = named(path)?;
    let is_it = |slot: &Slot| slot.signal == signal && slot.kind == kind;
    let found = shared.host.status().slots.into_iter().find(is_it).ok_or_else(|| missing(&signal, kind))?;
    Ok(json(StatusCode::OK, JSON, &found))
}

async fn differences(State(shared): State<Arc<Shared>>, path: SlotPath) -> Result<Response<Body>, Problem> {
    let (signal, kind) = named(path)?;
    let found = shared.host.differences(&signal, kind).ok_or_else(|| missing(&signal, kind))?;
    Ok(json(StatusCode::OK, JSON, &serde_json::json!({ "differences": found })))
}

async fn history(State(shared): State<Arc<Shared>>, path: SlotPath) -> Result<Response<Body>, Problem> {
    let (signal, kind) = named(path)?;
    let found = shared.host.history(&signal, kind).ok_or_else(|| missing(&signal, kind))?;
    Ok(json(StatusCode::OK, JSON, &serde_json::json!({ "history": found })))
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response<Body> {
    let own = shared.metrics.text(&shared.audit.head(), shared.audit.broken().is_some());
    text(StatusCode::OK, "text/plain; version=0.0.4", format!("{}{own}", shared.host.metrics()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditQuery {
    limit: Option<usize>,
}

/// The answer of `GET /v1/audit`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct AuditAnswer {
    /// The end of the chain.
    pub head: Head,
    /// The newest records, oldest first.
    pub records: Vec<Entry>,
}

async fn audit(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Response<Body>, Problem> {
    let help = format!("`limit` is how many of the newest records are wanted, 1 to {NEWEST_MAX}; the file has all");
    let Query(AuditQuery { limit }) =
        query.map_err(|rejection| Problem::unreadable(rejection.body_text(), help.as_str()))?;
    let limit = limit.unwrap_or(100);
    if !(1..=NEWEST_MAX).contains(&limit) {
        return Err(Problem::unfit(format!("`limit` is {limit}"), help));
    }
    let answer = AuditAnswer { head: shared.audit.head(), records: shared.audit.newest(limit) };
    Ok(json(StatusCode::OK, JSON, &answer))
}
