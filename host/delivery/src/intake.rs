//! Signals that are posted, and answered when they are kept.
//!
//! `POST /signals`, or `/signals/SOURCE` for a named input, with JSON lines, JSON, one CloudEvent or a
//! batch of them. The answer `{"accepted": n}` means that all of them are committed: whoever gets
//! another answer, or none, sends the same again.

mod body;
mod listen;
pub mod metrics;
mod problem;
mod routes;
pub mod server;
pub mod token;

use std::future::Future;

use hyper::body::Bytes;

/// Signals that came together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// The input that the path names; `None`: the path names none.
    pub source: Option<String>,
    /// One JSON object in each line, each line with its end.
    pub lines: Bytes,
    /// How many there are; at least one.
    pub records: usize,
    /// What the sender calls this post (`Idempotency-Key`), if anything: the same name, the same post.
    pub idempotency_key: Option<String>,
}

/// The lines that a post of this body would be taken as, and how many; `None` if there is no such Content-Type.
///
/// # Errors
/// Why it would be refused.
#[doc(hidden)]
pub fn lines_of(content_type: &str, body: &[u8], records_max: usize) -> Option<Result<(Bytes, usize), String>> {
    let lines = body::lines(body::Kind::of(content_type)?, body, records_max);
    Some(lines.map(|lines| (lines.bytes, lines.records)).map_err(|fault| format!("{fault:?}")))
}

/// What was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// How many signals.
    pub records: usize,
}

/// Why nothing was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not now (503).
    Busy {
        /// What is full.
        why: String,
        /// When to come again.
        retry_after_s: u32,
    },
    /// There is no such input; what there is (404).
    NoSuchSource(String),
    /// These signals will never be taken, and why (400).
    Bad(String),
    /// The host failed, and how (500).
    Failed(String),
}

/// Who keeps signals.
pub trait Intake: Send + Sync + 'static {
    /// Keeps all signals of a post or none, and returns when they are committed. May be dropped before
    /// that, as when the sender goes away; they may then be kept or not, and come again.
    fn take(&self, post: Post) -> impl Future<Output = Result<Accepted, Refusal>> + Send;
}
