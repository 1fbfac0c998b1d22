//! What another configuration, or another version of a rule, would have said of the recorded log.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use serde_json::Value;

/// How an event is other than it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It would not leave.
    NoLonger,
    /// It would leave and did not.
    New,
    /// It would leave earlier.
    Earlier,
    /// It would leave later.
    Later,
    /// It would say something else at the same time.
    Changed,
}

/// A difference.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// How.
    pub how: How,
    /// The type of the event.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// By how much it is earlier or later, in microseconds of event time.
    pub by_us: i64,
    /// What left.
    pub was: Option<Value>,
    /// What would leave.
    pub is: Option<Value>,
}

/// Two distillations of one log, laid side by side.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Diff {
    /// Events that are the same but for the names of rules and configuration.
    pub same: u64,
    /// All that is other, in order of time.
    pub differences: Vec<Difference>,
}

/// Events that are the same thing, if at another time: type, subject, signal type, state, since when.
type Mark = [String; 5];

fn mark(event: &Value) -> Mark {
    let data = &event["data"];
    let text = |value: &Value| if value.is_null() { String::new() } else { value.to_string() };
    let about = if data["candidate"].is_object() { &data["candidate"] } else { data };
    [
        text(&event["type"]),
        text(&event["subject"]),
        text(&data["signal"]),
        text(&about["to"]) + &text(&data["outcome"]) + &text(&about["window"]) + &text(&about["id"]),
        text(&about["since"]),
    ]
}

/// What an event says, without who said it.
fn said(event: &Value) -> Value {
    let mut said = event.clone();
    forget(&mut said);
    if let Some(event) = said.as_object_mut() {
        event.remove("id");
    }
    said
}

fn forget(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            // Which versions answered is no difference in what was said.
            for name in ["mapper", "suppressor", "rule", "config", "supersedes"] {
                fields.remove(name);
            }
            fields.values_mut().for_each(forget);
        }
        Value::Array(values) => values.iter_mut().for_each(forget),
        _ => {}
    }
}

fn time_us(event: &Value) -> i64 {
    let time = event["time"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
    time.map_or(0, jiff::Timestamp::as_microsecond)
}

impl Diff {
    /// Lays two distillations side by side, each one event a line.
    ///
    /// # Errors
    /// If a line is no JSON.
    pub fn of(was: &[u8], is: &[u8]) -> serde_json::Result<Self> {
        let read = |lines: &[u8]| -> serde_json::Result<Vec<Value>> {
            let lines = lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
            lines.map(serde_json::from_slice).collect()
        };
        let (was, is) = (read(was)?, read(is)?);
        let mut open: BTreeMap<Mark, VecDeque<Value>> = BTreeMap::new();
        for event in was {
            open.entry(mark(&event)).or_default().push_back(event);
        }
        let mut diff = Self::default();
        for event in is {
            let Some(then) = open.get_mut(&mark(&event)).and_then(VecDeque::pop_front) else {
                diff.note(How::New, 0, None, Some(event));
                continue;
            };
            let by_us = time_us(&event) - time_us(&then);
            match by_us {
                0 if said(&then) == said(&event) => diff.same += 1,
                0 => diff.note(How::Changed, 0, Some(then), Some(event)),
                ..0 => diff.note(How::Earlier, by_us, Some(then), Some(event)),
                _ => diff.note(How::Later, by_us, Some(then), Some(event)),
            }
        }
        for event in open.into_values().flatten() {
            diff.note(How::NoLonger, 0, Some(event), None);
        }
        let at = |difference: &Difference| {
            let event = difference.was.as_ref().or(difference.is.as_ref());
            (event.map_or(0, time_us), difference.subject.clone(), difference.kind.clone(), difference.how)
        };
        diff.differences.sort_by_cached_key(at);
        Ok(diff)
    }

    fn note(&mut self, how: How, by_us: i64, was: Option<Value>, is: Option<Value>) {
        let event = is.as_ref().or(was.as_ref());
        let text = |name: &str| event.and_then(|event| event[name].as_str()).unwrap_or_default().to_owned();
        let (kind, subject) = (text("type"), text("subject"));
        self.differences.push(Difference { how, kind, subject, by_us, was, is });
    }

    /// How many there are of each kind.
    pub fn counts(&self) -> BTreeMap<(String, How), u64> {
        let mut counts = BTreeMap::new();
        for difference in &self.differences {
            *counts.entry((difference.kind.clone(), difference.how)).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(second: u32, subject: &str, state: &str, since: u32, config: &str) -> String {
        format!(
            r#"{{"id":"{second}{subject}","type":"t","subject":"{subject}","time":"2026-01-01T00:00:{second:02}Z","data":{{"to":{{"state":"{state}"}},"since":"{since}","provenance":{{"config":"{config}"}}}}}}"#
        ) + "\n"
    }

    #[test]
    fn what_is_other_is_told_by_how() {
        let was = event(1, "a", "down", 0, "x") + &event(2, "b", "down", 1, "x") + &event(3, "c", "down", 2, "x");
        let is = event(1, "a", "down", 0, "y") + &event(5, "b", "down", 1, "y") + &event(4, "d", "down", 3, "y");
        let diff = Diff::of(was.as_bytes(), is.as_bytes()).unwrap();
        assert_eq!(diff.same, 1, "who said it is no difference");
        let told: Vec<_> = diff.differences.iter().map(|it| (it.how, it.subject.as_str(), it.by_us)).collect();
        assert_eq!(told, [(How::Later, "b", 3_000_000), (How::NoLonger, "c", 0), (How::New, "d", 0)]);
    }
}
