//! One distilled event in full, with remarks: JSON that is broken into lines for people.

use serde_json::{Map, Value};

/// How wide a line may be.
const WIDTH: usize = 79;
/// Where remarks begin.
const REMARKS_AT: usize = 45;
/// How much of a digest is shown.
const DIGEST: usize = 12;

/// The keys in the order of the format, with what they mean; without a remark they share a line.
const KEYS: [(&str, &str); 31] = [
    ("specversion", ""),
    ("state", ""),
    ("value", ""),
    ("source", ""),
    ("id", ""),
    ("type", ""),
    ("subject", "who"),
    ("time", "when it was told (event time)"),
    ("datacontenttype", ""),
    ("data", ""),
    ("signal", ""),
    ("from", "what was known"),
    ("to", "what it is now"),
    ("since", "since when"),
    ("held_us", "why now: it lasted for hold_down"),
    ("lasted_us", ""),
    ("severity", ""),
    ("counts", ""),
    ("flap_score", ""),
    ("judgement", ""),
    ("provenance", "where it comes from"),
    ("inputs", ""),
    ("repeated", ""),
    ("blips", ""),
    ("name", ""),
    ("version", ""),
    ("digest", ""),
    ("first", ""),
    ("last", ""),
    ("mapper", ""),
    ("suppressor", ""),
];

/// The lines of an event. Digests are cut.
pub fn lines(event: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    if let Value::Object(members) = event {
        lines.push("{".to_owned());
        object(members, 2, &mut lines);
        // Closing braces that follow each other share a line.
        let closing = lines.iter().rev().take_while(|line| line.trim() == "}").count();
        lines.truncate(lines.len() - closing);
        lines.push("} ".repeat(closing) + "}");
    }
    lines
}

fn object(members: &Map<String, Value>, indent: usize, lines: &mut Vec<String>) {
    let sorted = in_order(members);
    let mut filled = String::new();
    for (index, (key, value)) in sorted.iter().enumerate() {
        let comma = if index + 1 < sorted.len() { "," } else { "" };
        let remark = KEYS.get(place(key)).map_or("", |(_, remark)| *remark);
        match value {
            Value::Object(inner) if matches!(key.as_str(), "data" | "provenance") => {
                flush(&mut filled, indent, lines);
                lines.push(remarked(&format!("{:indent$}\"{key}\": {{", ""), remark));
                object(inner, indent + 2, lines);
                lines.push(format!("{:indent$}}}{comma}", ""));
            }
            _ => {
                let mut text = format!("\"{key}\": {}{comma}", inline(value, key));
                if indent + text.len() > WIDTH
                    && let Some(at) = text.rfind(", \"")
                {
                    flush(&mut filled, indent, lines);
                    lines.push(format!("{:indent$}{}", "", &text[..=at]));
                    // Under the first member.
                    text = format!("{:width$}{}", "", &text[at + 2..], width = key.len() + 5);
                }
                if !remark.is_empty() {
                    flush(&mut filled, indent, lines);
                    lines.push(remarked(&format!("{:indent$}{text}", ""), remark));
                    continue;
                }
                if indent + filled.len() + 1 + text.len() > WIDTH {
                    flush(&mut filled, indent, lines);
                }
                if !filled.is_empty() {
                    filled.push(' ');
                }
                filled.push_str(&text);
            }
        }
    }
    flush(&mut filled, indent, lines);
}

fn place(key: &str) -> usize {
    KEYS.iter().position(|(known, _)| *known == key).unwrap_or(KEYS.len())
}

fn in_order(members: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_by_key(|(key, _)| place(key));
    sorted
}

fn flush(filled: &mut String, indent: usize, lines: &mut Vec<String>) {
    if !filled.is_empty() {
        lines.push(format!("{:indent$}{filled}", ""));
        filled.clear();
    }
}

fn remarked(line: &str, remark: &str) -> String {
    let width = REMARKS_AT.max(line.len() + 2);
    match remark {
        "" => line.to_owned(),
        _ => format!("{line:width$}# {remark}"),
    }
}

/// A value on one line; what is long and says little is cut.
fn inline(value: &Value, key: &str) -> String {
    match value {
        Value::Object(members) => {
            let members: Vec<String> =
                in_order(members).iter().map(|(key, value)| format!("\"{key}\": {}", inline(value, key))).collect();
            format!("{{{}}}", members.join(", "))
        }
        Value::String(text) if matches!(key, "digest" | "config") && text.len() > DIGEST => {
            format!("\"{}..\"", &text[..DIGEST])
        }
        _ => value.to_string(),
    }
}
