//! The scrubber: distils a range of the log again and compares the state with the checkpoint at its end.
//! What was said can only be derived again if both are the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use stillhouse_store::Store;

use crate::durable::{Kept, Recorded};
use crate::metric;
use crate::replay::{Range, replay};
use crate::run::{Options, Unwatched};

/// A range that was distilled again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrubbed {
    /// From this position of the log..
    pub from: u64,
    /// ..to this one.
    pub to: u64,
    /// The hash of the state of the checkpoint at its end.
    pub kept: u128,
    /// The hash of the state that the range makes of the checkpoint at its beginning.
    pub made: u128,
}

impl Scrubbed {
    /// Whether both are the same.
    pub fn is_sound(&self) -> bool {
        self.kept == self.made
    }
}

/// Distils the log between two checkpoints again.
///
/// # Errors
/// If the store cannot be read or replayed.
pub fn scrub(recorded: &Recorded, from: &Kept, to: &Kept, options: &Options) -> Result<Scrubbed> {
    let hash = |from: u64, to: u64| -> Result<u128> {
        let range = Range { from: Some(from), to: Some(to), ..Range::default() };
        Ok(replay(None, recorded, range, &mut std::io::sink(), options, &mut Unwatched)?.state_hash)
    };
    let (from, to) = (from.state.log, to.state.log);
    Ok(Scrubbed { from, to, kept: hash(to, to)?, made: hash(from, to)? })
}

/// What a scrubber in the background has found.
#[derive(Debug, Default)]
pub struct Counts {
    /// Ranges that were sound.
    pub sound: AtomicU64,
    /// Ranges that were not, or could not be read.
    pub unsound: AtomicU64,
}

impl Counts {
    /// As Prometheus reads it.
    pub fn text(&self) -> String {
        let lines = [("sound", &self.sound), ("unsound", &self.unsound)]
            .map(|(of, count)| format!("{{outcome=\"{of}\"}} {}", count.load(Ordering::Relaxed)));
        let help = "Ranges of the log that were distilled again and compared with the state that was kept.";
        metric::family("scrubbed_ranges_total", help, "counter", lines)
    }
}

/// Scrubs the newest range of a store from time to time, on a thread of its own, as long as somebody holds
/// what it counts.
pub fn in_background(store: Arc<Store>, every: Duration) -> Arc<Counts> {
    let counts = Arc::new(Counts::default());
    let held = Arc::downgrade(&counts);
    let spawned = std::thread::Builder::new().name("scrub".into()).spawn(move || {
        let recorded = Recorded { store };
        let mut last = 0;
        loop {
            let mut slept = Duration::ZERO;
            while slept < every {
                if held.strong_count() == 0 {
                    return;
                }
                let nap = Duration::from_millis(200).min(every - slept);
                std::thread::sleep(nap);
                slept += nap;
            }
            let Some(counts) = held.upgrade() else { return };
            match newest(&recorded, last) {
                Ok(None) => {}
                Ok(Some(scrubbed)) => {
                    last = scrubbed.to;
                    if scrubbed.is_sound() {
                        counts.sound.fetch_add(1, Ordering::Relaxed);
                    } else {
                        counts.unsound.fetch_add(1, Ordering::Relaxed);
                        tracing::error!(
                            from = scrubbed.from,
                            to = scrubbed.to,
                            "this range of the log does not make the state that was kept: please report it"
                        );
                    }
                }
                Err(error) => {
                    counts.unsound.fetch_add(1, Ordering::Relaxed);
                    tracing::error!("a range of the log cannot be scrubbed: {error:#}");
                }
            }
        }
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "no thread for the scrubber; the log is not scrubbed");
    }
    counts
}

/// The range before the newest checkpoint, unless it was scrubbed already.
fn newest(recorded: &Recorded, last: u64) -> Result<Option<Scrubbed>> {
    let all = Kept::all(&recorded.store)?;
    let [.., from, to] = all.as_slice() else { return Ok(None) };
    if to.state.log <= last {
        return Ok(None);
    }
    scrub(recorded, from, to, &Options::default()).map(Some)
}
