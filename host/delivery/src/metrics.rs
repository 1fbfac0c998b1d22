//! What is counted of each sink, as Prometheus text.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use crate::breaker::BreakerState;
use crate::delivery::Status;

/// What is known of one sink now.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What delivery says.
    pub status: Status,
    /// The first position that is not settled.
    pub next: u64,
    /// How many are settled beyond it.
    pub settled_beyond: u64,
    /// When the oldest event that is not settled came into the outbox.
    pub oldest_since_us: Option<i64>,
}

/// One sink: its courier writes, whoever serves `/metrics` reads.
#[derive(Debug)]
pub struct SinkMetrics {
    sink: String,
    reading: Mutex<Option<Reading>>,
}

impl SinkMetrics {
    /// A sink that has not begun.
    pub fn new(sink: &str) -> Arc<Self> {
        Arc::new(Self { sink: sink.to_owned(), reading: Mutex::new(None) })
    }

    /// The name of the sink.
    pub fn sink(&self) -> &str {
        &self.sink
    }

    /// What is known now; `None` before it began.
    pub fn reading(&self) -> Option<Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, reading: Reading) {
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading);
    }
}

type Row = (&'static str, &'static str, &'static str, fn(&Reading, u64, i64) -> f64);

/// Name, type, help, and value at the end of the outbox and the time.
const ROWS: [Row; 11] = [
    ("delivered_total", "counter", "Events that the sink accepted.", |of, _, _| of.status.delivered as f64),
    ("failures_total", "counter", "Attempts that failed or got no answer.", |of, _, _| of.status.failures as f64),
    ("retries_total", "counter", "Attempts beyond the first of an event.", |of, _, _| of.status.retries as f64),
    ("dead_total", "counter", "Events that became dead letters.", |of, _, _| of.status.dead as f64),
    ("window_full_total", "counter", "How often the window of the sink became full.", |of, _, _| {
        of.status.window_full as f64
    }),
    ("in_flight", "gauge", "Events that are under way.", |of, _, _| of.status.in_flight as f64),
    ("waiting", "gauge", "Events in the window that are not settled.", |of, _, _| of.status.waiting as f64),
    ("retrying", "gauge", "Events that wait for their next attempt.", |of, _, _| of.status.retrying as f64),
    ("breaker_state", "gauge", "0 closed, 1 half-open, 2 open.", |of, _, _| match of.status.breaker {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 1.0,
        BreakerState::Open => 2.0,
    }),
    ("lag_events", "gauge", "Events in the outbox that the sink has not settled.", |of, end, _| {
        end.saturating_sub(of.next).saturating_sub(of.settled_beyond) as f64
    }),
    ("lag_seconds", "gauge", "The age of the oldest of them; 0 if there is none.", |of, _, now_us| {
        of.oldest_since_us.map_or(0.0, |since_us| now_us.saturating_sub(since_us).max(0) as f64 / 1e6)
    }),
];

/// All sinks. `outbox_end` is the position that the next event gets, `now_us` the time by the clock of
/// [`Event::since_us`](crate::sender::Event::since_us).
pub fn text(sinks: &[Arc<SinkMetrics>], outbox_end: u64, now_us: i64) -> String {
    let readings: Vec<_> = sinks.iter().filter_map(|sink| Some((escaped(&sink.sink), sink.reading()?))).collect();
    let mut out = String::new();
    for (name, kind, help, value) in ROWS {
        let name = format!("stillhouse_sink_{name}");
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (sink, reading) in &readings {
            let _ = writeln!(out, "{name}{{sink=\"{sink}\"}} {}", value(reading, outbox_end, now_us));
        }
    }
    out
}

/// A label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cursor, Delivery, Next, Outcome, Policy};

    #[test]
    fn lag_is_what_is_not_settled() {
        let mut delivery = Delivery::new(Policy::default(), Cursor::default(), 1);
        ["a", "b", "c"].iter().enumerate().for_each(|(at, key)| assert!(delivery.offer(at as u64, key)));
        while let Next::Send { position, attempt } = delivery.next(0) {
            if position == 1 {
                delivery.done(position, attempt, Outcome::Accepted, 0);
            }
        }
        let metrics = SinkMetrics::new("a\"b");
        assert_eq!(text(std::slice::from_ref(&metrics), 5, 0).lines().count(), 2 * ROWS.len());
        let cursor = delivery.cursor();
        metrics.set(Reading {
            status: delivery.status(),
            next: cursor.next(),
            settled_beyond: cursor.settled_beyond(),
            oldest_since_us: Some(2_500_000),
        });
        let text = text(&[metrics], 5, 4_000_000);
        for line in [
            "delivered_total{sink=\"a\\\"b\"} 1",
            "in_flight{sink=\"a\\\"b\"} 2",
            "lag_events{sink=\"a\\\"b\"} 4",
            "lag_seconds{sink=\"a\\\"b\"} 1.5",
            "breaker_state{sink=\"a\\\"b\"} 0",
        ] {
            assert!(text.contains(&format!("\nstillhouse_sink_{line}\n")), "{line}: {text}");
        }
    }
}
