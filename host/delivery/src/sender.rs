//! How events are handed to a sink.

pub mod file;
pub mod http;
pub mod lines;
pub mod secret;

use std::future::Future;
use std::sync::Arc;

use hyper::body::Bytes;

use crate::delivery::Outcome;
pub use file::Mark;

/// An event as it waits in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the outbox.
    pub position: u64,
    /// Its record key.
    pub key: String,
    /// Its id, the same each time it is sent: by it a consumer knows what it has seen.
    pub id: String,
    /// The event itself: one JSON object, without line breaks.
    pub bytes: Bytes,
    /// When it came into the outbox, in µs of the clock that [`metrics::text`](crate::metrics::text) is
    /// given.
    pub since_us: i64,
}

/// How much a sink is handed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Events in one call; no two of them have the same key.
    pub batch_max: usize,
    /// Calls at the same time.
    pub calls_max: usize,
    /// Whether a call is given up after [`Policy::timeout_us`](crate::Policy::timeout_us). One that is not
    /// can take for ever, and then nothing is lost by waiting.
    pub timed: bool,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// One outcome for each event, in their order.
    pub outcomes: Vec<Outcome>,
    /// Where a sink that can cut off what it was not told to keep stands now.
    pub mark: Option<Mark>,
}

/// Why a sink takes no more at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// Nobody reads any more, as when a pipe to `head` is closed.
    #[error("nobody reads any more")]
    Closed,
    /// It needs a person; what is wrong, and what to do.
    #[error("{0}")]
    Broken(String),
}

/// One sink. A call may be dropped at any moment; what it had begun may then be done or not.
pub trait Sender: Send + Sync + 'static {
    /// How much it is handed at once.
    fn load(&self) -> Load;

    /// Where it stands before the first call; `None` for a sink that has no such thing.
    fn mark(&self) -> Option<Mark> {
        None
    }

    /// Hands a batch over.
    fn send(&self, batch: Vec<Arc<Event>>) -> impl Future<Output = Result<Sent, Ended>> + Send;
}

/// Why a line cannot be written, where an event would be more than one.
fn line_fault(event: &Event) -> Option<Outcome> {
    let broken = event.bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
    broken.then(|| Outcome::Refused("a line break in the event: expected one line of JSON".into()))
}

/// Events as lines.
fn lines<'a>(events: impl Iterator<Item = &'a Arc<Event>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for event in events {
        bytes.extend_from_slice(&event.bytes);
        bytes.push(b'\n');
    }
    bytes
}
