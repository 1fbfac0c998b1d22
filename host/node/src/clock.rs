//! The one real clock. Nothing that is distilled depends on it, except through ticks, which are
//! entries of the log.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Tells wall-clock time in microseconds since 1970: [`now_us`], or that of a simulation.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Wall-clock time in microseconds since 1970.
pub fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

/// A moment to measure from.
pub fn moment() -> Instant {
    Instant::now()
}
