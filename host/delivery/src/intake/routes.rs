//! From a request to the host and back.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::routing::{get, post};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Bytes;
use tokio::sync::Semaphore;

use super::body::{Kind, lines};
use super::metrics::IntakeMetrics;
use super::problem::{Problem, json};
use super::server::Limits;
use super::token::{self, TokenHash};
use super::{Intake, Post};

/// A longer name of a source or a post is refused.
const NAME_CHARS_MAX: usize = 200;

/// When to come again while too many posts wait.
const RETRY_AFTER_S: u32 = 1;

/// What all requests share.
pub(super) struct Shared<I> {
    pub intake: I,
    pub tokens: Vec<TokenHash>,
    pub limits: Limits,
    pub metrics: Arc<IntakeMetrics>,
    /// Places for posts; each may hold a body in memory.
    pub places: Semaphore,
}

/// All routes.
pub(super) fn router<I: Intake>(shared: &Arc<Shared<I>>) -> Router {
    let posts = Router::new()
        .route("/signals", post(async |State(shared), request| signals::<I>(shared, None, request).await))
        .route(
            "/signals/{source}",
            post(async |State(shared), source: Result<Path<String>, PathRejection>, request| match named(source) {
                Ok(source) => signals::<I>(shared, Some(source), request).await,
                Err(problem) => Err(problem),
            }),
        )
        .layer(middleware::from_fn_with_state(shared.clone(), counted::<I>));
    posts
        .route("/healthz", get(async || json(StatusCode::OK, "application/json", &serde_json::json!({"status": "ok"}))))
        .method_not_allowed_fallback(async |method: Method| {
            let detail = format!("{method} is not possible here");
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "wrong method",
                detail,
                "the header Allow says what is possible",
            )
        })
        .fallback(async |uri: Uri| Problem::nothing_here(uri.path()))
        .with_state(shared.clone())
}

async fn counted<I: Intake>(State(shared): State<Arc<Shared<I>>>, request: Request, next: Next) -> Response<Body> {
    let response = next.run(request).await;
    shared.metrics.answered(response.status().as_u16());
    response
}

fn named(source: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let Path(source) = source.map_err(|rejection| Problem::unreadable(rejection.body_text()))?;
    if source.chars().count() > NAME_CHARS_MAX {
        return Err(Problem::unreadable(format!("the name of the source has more than {NAME_CHARS_MAX} characters")));
    }
    Ok(source)
}

async fn signals<I: Intake>(
    shared: Arc<Shared<I>>,
    source: Option<String>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let headers = request.headers();
    let authorization = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    token::check(authorization, &shared.tokens).map_err(Problem::unauthorised)?;
    let (kind, idempotency_key) = (kind(headers)?, idempotency_key(headers)?);
    let busy = |_| Problem::busy("as many posts as can wait are waiting", RETRY_AFTER_S);
    let _place = shared.places.try_acquire().map_err(busy)?;
    let body = read(request, &shared.limits).await?;
    let lines = lines(kind, &body, shared.limits.records_max)?;
    drop(body);
    let accepted =
        |records: usize| json(StatusCode::OK, "application/json", &serde_json::json!({ "accepted": records }));
    if lines.records == 0 {
        return Ok(accepted(0));
    }
    let post = Post { source, lines: lines.bytes, records: lines.records, idempotency_key };
    let taken = tokio::time::timeout(shared.limits.commit_timeout, shared.intake.take(post)).await;
    let taken = taken.map_err(|_| {
        Problem::busy("it is not known whether the signals are kept: the commit takes too long", RETRY_AFTER_S)
    })??;
    shared.metrics.accepted(taken.records);
    Ok(accepted(taken.records))
}

fn kind(headers: &HeaderMap) -> Result<Kind, Problem> {
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().take(NAME_CHARS_MAX).collect::<String>();
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|value| *value != "identity") {
        return Err(Problem::wrong_kind(format!("the body is encoded: {}", shown(encoding.as_bytes()))));
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Err(Problem::wrong_kind("there is no header Content-Type"));
    };
    let kind = value.to_str().ok().and_then(Kind::of);
    kind.ok_or_else(|| Problem::wrong_kind(format!("Content-Type is {}", shown(value.as_bytes()))))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=NAME_CHARS_MAX).contains(&key.len()));
    let expected = || format!("Idempotency-Key: expected 1 to {NAME_CHARS_MAX} printable ASCII characters");
    Ok(Some(key.ok_or_else(|| Problem::unreadable(expected()))?.to_owned()))
}

async fn read(request: Request, limits: &Limits) -> Result<Bytes, Problem> {
    let too_large = || Problem::too_large(format!("a post has at most {} bytes", limits.body_bytes_max));
    let told =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if told.is_some_and(|bytes| bytes > limits.body_bytes_max) {
        return Err(too_large());
    }
    let body = Limited::new(request.into_body(), limits.body_bytes_max).collect();
    match tokio::time::timeout(limits.body_timeout, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Problem::unreadable(format!("the body broke off: {error}"))),
        Err(_) => {
            let detail = format!("the body took longer than {} s", limits.body_timeout.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "too slow", detail, "send the same again"))
        }
    }
}
