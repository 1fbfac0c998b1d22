//! What is answered when something is refused: RFC 9457, with what to do about it.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;

use crate::host::Refused;

/// `application/problem+json`
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Problem {
    title: &'static str,
    #[serde(serialize_with = "code")]
    status: StatusCode,
    /// What was expected and what came.
    pub detail: String,
    /// What to do.
    help: String,
    #[serde(skip)]
    header: Option<(HeaderName, &'static str)>,
}

fn code<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    pub fn new(status: StatusCode, title: &'static str, detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self { title, status, detail: detail.into(), help: help.into(), header: None }
    }

    pub fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }

    /// The request cannot be read.
    pub fn unreadable(detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "the request cannot be read", detail, help)
    }

    /// The request can be read, and asks for what cannot be.
    pub fn unfit(detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "not acceptable", detail, help)
    }

    pub fn no_slot(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "no such slot", detail, "GET /v1/status lists the slots")
    }

    pub fn no_path(path: &str) -> Self {
        let path: String = path.chars().take(200).collect();
        let detail = format!("there is nothing at {path}");
        Self::new(StatusCode::NOT_FOUND, "no such path", detail, "GET /v1/openapi.json describes what there is")
    }

    pub fn wrong_method(method: &axum::http::Method) -> Self {
        let detail = format!("{method} is not possible here");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "wrong method", detail, "the header Allow says what is possible")
    }

    /// More at once than the server takes.
    pub fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail, "try again in a moment")
            .with(header::RETRY_AFTER, "1")
    }

    /// The host said no.
    pub fn of(refused: &Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            Refused::NoSuchSlot(_) => Self::no_slot(detail),
            Refused::NoCandidate(_) => Self::new(
                StatusCode::CONFLICT,
                "no candidate",
                detail,
                "stage one first, or look at the history of the slot",
            ),
            Refused::NotNow(_) => Self::new(StatusCode::CONFLICT, "not now", detail, "look at the status of the slot"),
            Refused::Bad(_) => Self::unfit(detail, "mend what is named and try again"),
            Refused::Failed(_) => {
                let help = "nothing was changed; the log of the host says more";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the host failed", detail, help)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = json(self.status, "application/problem+json", &self);
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, content_type: &'static str, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => text(status, content_type, bytes),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            text(StatusCode::INTERNAL_SERVER_ERROR, "application/problem+json", Vec::new())
        }
    }
}

/// An answer that is written already.
pub(crate) fn text(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    // What a slot is now is old in a moment.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
