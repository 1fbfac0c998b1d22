//! From the body of a post to lines of JSON.

use std::borrow::Cow;
use std::fmt;

use hyper::body::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// What a body is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One object in each line.
    Lines,
    /// Objects one after the other, or in an array.
    Json,
    /// One CloudEvent.
    Event,
    /// An array of CloudEvents.
    Events,
}

/// What can be posted, as it is told.
pub(super) const KINDS: &str = "application/x-ndjson (one JSON object a line), application/json (an object, or an array of \
                                them), application/cloudevents+json or application/cloudevents-batch+json";

impl Kind {
    /// By the header Content-Type.
    pub fn of(content_type: &str) -> Option<Self> {
        let mut parts = content_type.split(';').map(str::trim);
        let kind = match parts.next()?.to_ascii_lowercase().as_str() {
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
                Self::Lines
            }
            "application/json" => Self::Json,
            "application/cloudevents+json" => Self::Event,
            "application/cloudevents-batch+json" => Self::Events,
            _ => return None,
        };
        let utf8 =
            |charset: &str| matches!(charset.trim_matches('"').to_ascii_lowercase().as_str(), "utf-8" | "us-ascii");
        let charsets =
            parts.filter_map(|part| part.split_once('=')).filter(|(name, _)| name.eq_ignore_ascii_case("charset"));
        charsets.map(|(_, charset)| charset).all(utf8).then_some(kind)
    }
}

/// Lines of JSON, and how many.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lines {
    pub bytes: Bytes,
    pub records: usize,
}

/// Why a body cannot be taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// What is wrong, and where.
    Unreadable(String),
    /// More records than this.
    TooMany,
}

/// Makes lines of a body. All of it is good, or none of it is taken.
pub(super) fn lines(kind: Kind, body: &[u8], records_max: usize) -> Result<Lines, Fault> {
    let text = std::str::from_utf8(body).map_err(|error| {
        Fault::Unreadable(format!("the body is not UTF-8, from byte {} on", error.valid_up_to() + 1))
    })?;
    if text.trim_ascii().is_empty() {
        return Err(Fault::Unreadable("the body is empty".into()));
    }
    let mut made = Made { bytes: Vec::with_capacity(text.len() + 1), records: 0, records_max };
    match kind {
        Kind::Lines => {
            for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_ascii().is_empty()) {
                made.push(line, false, || format!("line {}", number + 1))?;
            }
        }
        Kind::Json if !text.trim_ascii_start().starts_with('[') => {
            for (number, value) in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>().enumerate() {
                let value = value.map_err(|error| unreadable(format!("object {}", number + 1), &error))?;
                made.push(value.get(), false, || format!("object {}", number + 1))?;
            }
        }
        Kind::Event => made.push(text.trim_ascii(), true, || "the event".into())?,
        Kind::Json | Kind::Events => {
            let values: Vec<&RawValue> =
                serde_json::from_str(text).map_err(|error| unreadable("an array of objects".into(), &error))?;
            for (number, value) in values.iter().enumerate() {
                made.push(value.get(), kind == Kind::Events, || format!("element {}", number + 1))?;
            }
        }
    }
    Ok(Lines { bytes: made.bytes.into(), records: made.records })
}

struct Made {
    bytes: Vec<u8>,
    records: usize,
    records_max: usize,
}

impl Made {
    fn push(&mut self, value: &str, is_event: bool, place: impl Fn() -> String) -> Result<(), Fault> {
        if self.records == self.records_max {
            return Err(Fault::TooMany);
        }
        match is_event {
            true => serde_json::from_str::<Envelope>(value).map_err(|error| unreadable(place(), &error)).and_then(
                |envelope| envelope.check().map_err(|fault| Fault::Unreadable(format!("{}: {fault}", place()))),
            )?,
            false => {
                serde_json::from_str::<Object>(value).map_err(|error| unreadable(place(), &error))?;
            }
        }
        // In JSON a line break stands only where a space could.
        self.bytes.extend(value.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
        self.bytes.push(b'\n');
        self.records += 1;
        Ok(())
    }
}

fn unreadable(place: String, error: &serde_json::Error) -> Fault {
    Fault::Unreadable(format!("{place}: {error}"))
}

/// Any JSON object.
struct Object;

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Object)
            }
        }
        deserializer.deserialize_map(Walk)
    }
}

/// What every CloudEvent has (CloudEvents 1.0, required attributes).
#[derive(serde::Deserialize)]
#[serde(expecting = "a CloudEvent, which is a JSON object")]
struct Envelope<'a> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

impl Envelope<'_> {
    fn check(&self) -> Result<(), String> {
        if self.specversion != "1.0" {
            let is: String = self.specversion.chars().take(20).collect();
            return Err(format!("expected specversion \"1.0\", and \"{is}\" came"));
        }
        let named = [("id", &self.id), ("source", &self.source), ("type", &self.kind)];
        match named.iter().find(|(_, value)| value.is_empty()) {
            Some((name, _)) => Err(format!("`{name}` is empty")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/a","type":"t"}"#;

    fn made(kind: Kind, body: &str) -> Result<String, Fault> {
        let lines = lines(kind, body.as_bytes(), 3)?;
        let text = String::from_utf8(lines.bytes.to_vec()).expect("UTF-8");
        assert_eq!(text.lines().count(), lines.records);
        Ok(text)
    }

    #[test]
    fn every_kind_becomes_lines() {
        for (kind, body, expected) in [
            (Kind::Lines, "{\"a\":1}\r\n\n  \n{\"b\":[{}]}", "{\"a\":1}\n{\"b\":[{}]}\n"),
            (Kind::Json, "{\n  \"a\": \"x\\ny\"\n}", "{   \"a\": \"x\\ny\" }\n"),
            (Kind::Json, "{}{}\n{}", "{}\n{}\n{}\n"),
            (Kind::Json, " [ {\"a\": 1},\n{} ] ", "{\"a\": 1}\n{}\n"),
            (Kind::Json, "[]", ""),
            (Kind::Events, "[]", ""),
            (Kind::Event, &format!(" {EVENT}\n"), &format!("{EVENT}\n")),
            (Kind::Events, &format!("[{EVENT},\n{EVENT}]"), &format!("{EVENT}\n{EVENT}\n")),
        ] {
            assert_eq!(made(kind, body).as_deref(), Ok(expected), "{kind:?} {body}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        for (kind, body, named) in [
            (Kind::Lines, "", "the body is empty"),
            (Kind::Json, " \n", "the body is empty"),
            (Kind::Lines, "{}\n{\"a\":\n{}", "line 2: EOF while parsing"),
            (Kind::Lines, "{}\n\n7", "line 3: invalid type: integer `7`, expected a JSON object"),
            (Kind::Lines, "{} {}", "line 1: trailing characters"),
            (Kind::Json, "{} x", "object 2: expected value"),
            (Kind::Json, "[{}, 1]", "element 2: invalid type"),
            (Kind::Json, "[{}, {]", "an array of objects: key must be a string"),
            (Kind::Json, "[{}] {}", "an array of objects: trailing characters"),
            (Kind::Json, &deep, "object 1: "),
            (Kind::Lines, &deep, "line 1: "),
            (Kind::Event, "[]", "the event: "),
            (Kind::Event, "{}", "the event: missing field `specversion`"),
            (Kind::Event, &EVENT.replace("1.0", "0.3"), "expected specversion \"1.0\", and \"0.3\" came"),
            (Kind::Events, &format!("[{EVENT},{}]", EVENT.replace("\"t\"", "\"\"")), "element 2: `type` is empty"),
            (Kind::Events, EVENT, "an array of objects: invalid type: map"),
        ] {
            let told = made(kind, body);
            assert!(matches!(&told, Err(Fault::Unreadable(told)) if told.contains(named)), "{named}: {told:?}");
        }
        assert_eq!(
            lines(Kind::Lines, b"{}\xff", 3),
            Err(Fault::Unreadable("the body is not UTF-8, from byte 3 on".into()))
        );
        for body in ["{}\n{}\n{}\n{}", "[{},{},{},{}]"] {
            assert_eq!(made(Kind::Json, body), Err(Fault::TooMany));
        }
    }

    #[test]
    fn kinds_are_known_by_their_name() {
        assert_eq!(Kind::of("Application/JSON; charset=UTF-8"), Some(Kind::Json));
        assert_eq!(Kind::of("application/x-ndjson"), Some(Kind::Lines));
        assert_eq!(Kind::of("application/cloudevents+json;charset=\"utf-8\""), Some(Kind::Event));
        assert_eq!(Kind::of("application/cloudevents-batch+json"), Some(Kind::Events));
        for none in ["", "text/plain", "application/json; charset=latin1", "application/x-www-form-urlencoded"] {
            assert_eq!(Kind::of(none), None, "{none}");
        }
    }
}
