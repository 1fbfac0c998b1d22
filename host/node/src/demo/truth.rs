//! What really happened, and how well the distilled events tell it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use stillhouse_core::event::Time;

use super::day::Topic;

/// An event that must come out. Nothing else may.
#[derive(Clone, Debug, Serialize)]
pub struct Truth {
    /// What it is part of, for people.
    pub story: &'static str,
    /// The signal type.
    pub signal: &'static str,
    /// The record key.
    pub subject: Box<str>,
    /// The type of the event.
    pub kind: &'static str,
    /// The state that it must tell of; any if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    /// The value of the state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Box<str>>,
    /// The severity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<&'static str>,
    /// Its `since` is at this time or later.
    pub since_from: Time,
    /// Its `since` is at this time or before.
    pub since_to: Time,
    /// It is told at this event time or before.
    pub told_by: Time,
}

impl Truth {
    fn is_told_by(&self, event: &Value) -> bool {
        let data = &event["data"];
        let optional = |expected: Option<&str>, value: &Value| expected.is_none_or(|text| value == text);
        let (Some(since_us), Some(told_us)) = (time_us(&data["since"]), time_us(&event["time"])) else { return false };
        event["type"] == self.kind
            && event["subject"] == *self.subject
            && data["signal"] == self.signal
            && optional(self.state, &data["to"]["state"])
            && optional(self.value.as_deref(), &data["to"]["value"])
            && optional(self.severity, &data["severity"])
            && (self.since_from.0..=self.since_to.0).contains(&since_us)
            && told_us <= self.told_by.0
    }
}

/// The time of an event in microseconds since 1970.
pub fn time_us(value: &Value) -> Option<i64> {
    value.as_str()?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond)
}

/// The counts of one signal type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Distilled events.
    pub distilled: u64,
    /// Truths that one event tells.
    pub found: u64,
    /// Truths that none tells.
    pub missed: u64,
    /// Events that tell no truth.
    pub wrong: u64,
}

/// Distilled events beside the truth.
#[derive(Debug, Default)]
pub struct Score {
    rows: BTreeMap<Topic, Row>,
    /// Truths that no event tells, for people.
    pub missed: Vec<String>,
    /// Events that tell no truth, for people.
    pub wrong: Vec<String>,
    /// Late events.
    pub late: u64,
    /// Dead letters.
    pub dead: u64,
    /// Events that were held back.
    pub held: u64,
}

impl Score {
    /// Compares; each event tells one truth at most.
    pub fn of(truths: &[Truth], events: &[Value]) -> Self {
        let mut score = Self::default();
        let mut open: Vec<&Truth> = truths.iter().collect();
        for event in events {
            match event["type"].as_str().unwrap_or_default() {
                "stillhouse.late" => score.late += 1,
                "stillhouse.dead-letter" => score.dead += 1,
                "stillhouse.suppressed" => score.held += u64::from(event["data"]["outcome"] == "held"),
                _ => score.decide(event, &mut open),
            }
        }
        for truth in open {
            score.row_mut(truth.signal).missed += 1;
            let state = truth.state.unwrap_or(truth.kind);
            score.missed.push(format!("{} {state} at {} ({})", truth.subject, truth.since_from, truth.story));
        }
        score
    }

    fn decide(&mut self, event: &Value, open: &mut Vec<&Truth>) {
        let told = open.iter().position(|truth| truth.is_told_by(event));
        let row = self.row_mut(event["data"]["signal"].as_str().unwrap_or_default());
        row.distilled += 1;
        match told {
            Some(index) => {
                row.found += 1;
                open.remove(index);
            }
            None => {
                row.wrong += 1;
                let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
                let (key, state) = (text(&event["subject"]), text(&event["data"]["to"]["state"]));
                self.wrong.push(format!("{key} {state} at {} ({})", text(&event["time"]), text(&event["type"])));
            }
        }
    }

    fn row_mut(&mut self, signal: &str) -> &mut Row {
        let topic = Topic::ALL.into_iter().find(|topic| topic.name() == signal).unwrap_or(Topic::Probe);
        self.rows.entry(topic).or_default()
    }

    /// The counts of a signal type.
    pub fn row(&self, topic: Topic) -> Row {
        self.rows.get(&topic).copied().unwrap_or_default()
    }

    /// The counts of all signal types.
    pub fn total(&self) -> Row {
        self.rows.values().fold(Row::default(), |sum, row| Row {
            distilled: sum.distilled + row.distilled,
            found: sum.found + row.found,
            missed: sum.missed + row.missed,
            wrong: sum.wrong + row.wrong,
        })
    }

    /// Whether nothing is missed and nothing is false.
    pub fn is_perfect(&self) -> bool {
        self.missed.is_empty() && self.wrong.is_empty()
    }
}
