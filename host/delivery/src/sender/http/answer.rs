//! What an answer of a sink means.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{Response, StatusCode};
use jiff::fmt::rfc2822::DateTimeParser;

use crate::delivery::Outcome;
use crate::sender::secret::redacted;

/// Of an answer, so much is read; a connection with more to read is given up.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// How long is waited for the rest of an answer whose status is known.
const BODY_PATIENCE: Duration = Duration::from_secs(1);

/// Of an answer, so much is told.
const EXCERPT_CHARS_MAX: usize = 300;

pub(super) async fn outcome(at: &str, response: Response<Incoming>, secrets: &[String]) -> Outcome {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = Limited::new(response.into_body(), BODY_BYTES_MAX);
    if status.is_success() {
        // It says nothing more; but once it is read, the connection can be used again.
        tokio::time::timeout(BODY_PATIENCE, body.collect()).await.ok();
        return Outcome::Accepted;
    }
    let excerpt = tokio::time::timeout(BODY_PATIENCE, beginning(body)).await.unwrap_or_default();
    let excerpt: String = redacted(&excerpt, secrets).chars().take(EXCERPT_CHARS_MAX).collect();
    let says = if excerpt.is_empty() { String::new() } else { format!(": {excerpt}") };
    let reason = format!("{at} answered {status}{says}");
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => later(reason, &headers),
        _ if status.is_server_error() => later(reason, &headers),
        _ if status.is_client_error() => Outcome::Refused(reason),
        _ => Outcome::Failed(format!("{reason}; redirects are not followed: configure where events are to go")),
    }
}

/// The beginning of an answer, as one line.
async fn beginning(mut body: Limited<Incoming>) -> String {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
    }
    let text = String::from_utf8_lossy(&bytes);
    text.split(|letter: char| letter.is_whitespace() || letter.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn later(reason: String, headers: &HeaderMap) -> Outcome {
    match retry_after_us(headers) {
        Some(after_us) => Outcome::Later { reason, after_us },
        None => Outcome::Failed(reason),
    }
}

/// `Retry-After` (RFC 9110): seconds, or a date, which is taken by the sink's own clock.
fn retry_after_us(headers: &HeaderMap) -> Option<i64> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok();
    let value = text(header::RETRY_AFTER)?.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(i64::from(seconds) * 1_000_000);
    }
    let date = |text: &str| DateTimeParser::new().parse_timestamp(text).ok();
    let wait = date(value)?.as_microsecond() - date(text(header::DATE)?)?.as_microsecond();
    (wait > 0).then_some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_seconds_or_a_date() {
        let after = |retry: &'static str, date: &'static str| {
            let headers = [(header::RETRY_AFTER, retry), (header::DATE, date)];
            retry_after_us(&headers.into_iter().map(|(name, value)| (name, value.parse().expect("a value"))).collect())
        };
        let date = "Fri, 31 Dec 1999 23:59:00 GMT";
        assert_eq!(after("120", date), Some(120_000_000));
        assert_eq!(after("Fri, 31 Dec 1999 23:59:59 GMT", date), Some(59_000_000));
        assert_eq!(after("Fri, 31 Dec 1999 23:58:00 GMT", date), None);
        for bad in ["-1", "soon", "", "99999999999999999999"] {
            assert_eq!(after(bad, date), None, "{bad}");
        }
        assert_eq!(retry_after_us(&HeaderMap::new()), None);
    }
}
