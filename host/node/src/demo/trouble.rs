//! Trouble on the way: signals that are sent twice, that come too late, and that cannot be read.

use std::sync::Arc;

use super::chance::Chance;
use super::day::{Day, MINUTE_US, SECOND_US, at};

/// Lines that cannot be read: cut off, a word that the rule does not know, no subject, no number.
const MALFORMED: [&str; 5] = [
    r#"{"specversion":"1.0","id":"bad-1","source":"/agent/node-3","type":"demo.probe","subject":"cart/po"#,
    r#"{"specversion":"1.0","id":"bad-2","source":"/agent/node-3","type":"demo.probe","subject":"cart/pod-1","time":"2026-03-02T10:00:01Z","data":{"status":"purple"}}"#,
    r#"{"specversion":"1.0","id":"bad-3","source":"/agent/node-3","type":"demo.probe","time":"2026-03-02T10:00:02Z","data":{"status":"up"}}"#,
    r#"{"specversion":"1.0","id":"bad-4","source":"/metrics/collector","type":"demo.load","subject":"host-1/cpu","time":"2026-03-02T10:00:03Z","data":{"value":"n/a"}}"#,
    r#"{"specversion":"1.0","id":"bad-5","source":"/metrics/collector","type":"demo.load","subject":"host-1/cpu","time":"yesterday","data":{"value":12}}"#,
];

pub(super) fn make(day: &mut Day, chance: &mut Chance) {
    // An agent cannot reach anybody for half a minute, and sends what it has minutes later.
    let from_us = at(11, 30) + chance.between(0, 10) * MINUTE_US;
    let agent = format!("/agent/node-{}", chance.below(8));
    day.hold_up(&agent, from_us, from_us + 30 * SECOND_US, from_us + 5 * MINUTE_US);
    // A sender that had no answer sends again; what is late the first time is known the second.
    let sent = day.signals.len();
    for _ in 0..sent / 1000 {
        day.repeat(chance.below(sent), chance.between(1, 30) * SECOND_US);
    }
    let source: Arc<str> = "/agent/node-3".into();
    for (index, line) in MALFORMED.iter().enumerate() {
        day.garble(&source, at(10, 0) + (index as i64 + 5) * SECOND_US, line);
    }
}
