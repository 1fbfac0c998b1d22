//! What is answered when something is not taken: RFC 9457, with what to do about it.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;

use super::Refusal;
use super::body::{Fault, KINDS};

/// `application/problem+json`
#[derive(Clone, Debug)]
pub(super) struct Problem {
    status: StatusCode,
    title: &'static str,
    detail: String,
    help: String,
    header: Option<Header>,
}

/// A header that goes with a refusal.
#[derive(Clone, Copy, Debug)]
enum Header {
    WwwAuthenticate,
    RetryAfter(u32),
}

impl Problem {
    pub fn new(status: StatusCode, title: &'static str, detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self { status, title, detail: detail.into(), help: help.into(), header: None }
    }

    fn with(self, header: Header) -> Self {
        Self { header: Some(header), ..self }
    }

    pub fn unauthorised(detail: &str) -> Self {
        let help = "send `Authorization: Bearer TOKEN` with a token of the configuration";
        Self::new(StatusCode::UNAUTHORIZED, "who are you?", detail, help).with(Header::WwwAuthenticate)
    }

    pub fn wrong_kind(detail: impl Into<String>) -> Self {
        let help = format!("say with Content-Type what it is, in UTF-8 and not compressed: {KINDS}");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not a kind of body that is read", detail, help)
    }

    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too large", detail, "send it in several posts")
    }

    pub fn unreadable(detail: impl Into<String>) -> Self {
        let help = "nothing of it was taken; mend it and send all of it again";
        Self::new(StatusCode::BAD_REQUEST, "the request cannot be read", detail, help)
    }

    /// Not now.
    pub fn busy(detail: impl Into<String>, retry_after_s: u32) -> Self {
        let help = "send the same again after the seconds of Retry-After";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail, help).with(Header::RetryAfter(retry_after_s))
    }

    pub fn nothing_here(path: &str) -> Self {
        let path: String = path.chars().take(200).collect();
        let help = "POST to /signals, or to /signals/SOURCE";
        Self::new(StatusCode::NOT_FOUND, "no such path", format!("there is nothing at {path}"), help)
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unreadable(detail) => Self::unreadable(detail),
            Fault::TooMany => Self::too_large("there are more records in the body than one post may have"),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Busy { why, retry_after_s } => Self::busy(why, retry_after_s),
            Refusal::NoSuchSource(detail) => {
                Self::new(StatusCode::NOT_FOUND, "no such source", detail, "name a source that is configured")
            }
            Refusal::Bad(detail) => Self::unreadable(detail),
            Refusal::Failed(detail) => {
                let help = "send the same again; the log of the host says more";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the host failed", detail, help)
            }
        }
    }
}

#[derive(Serialize)]
struct Written<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    help: &'a str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let Self { status, title, detail, help, header } = &self;
        let written = Written { title, status: status.as_u16(), detail, help };
        let mut response = json(*status, "application/problem+json", &written);
        let headers = response.headers_mut();
        match *header {
            Some(Header::WwwAuthenticate) => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Some(Header::RetryAfter(seconds)) => {
                headers.insert(header::RETRY_AFTER, seconds.into());
            }
            None => {}
        }
        response
    }
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, content_type: &'static str, value: &impl Serialize) -> Response<Body> {
    // Text and numbers can always be written.
    let mut response = Response::new(Body::from(serde_json::to_vec(value).unwrap_or_default()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
