//! Logs that carry a label in front of each line: the logs of supercomputers that loghub and the
//! Computer Failure Data Repository publish (Blue Gene/L, Thunderbird, Spirit, Liberty).
//!
//! The label is the category of an alert; `-` is for lines that are none. The log says that
//! something failed, never that it works again: bind this rule to a window, or to
//! `mode = "occurrence"` with `dedupe`. Setting `key`: `label` (default) makes one entity of a
//! category, wherever it happens; `label+node` one of each category on each node.

use stillhouse_sdk::prelude::*;

#[derive(Signal)]
struct Line<'a> {
    /// The category of the alert, or `-`.
    label: &'a str,
    /// Where it happened.
    node: Option<&'a str>,
    /// What the log itself thinks of it, where it has a word for that.
    severity: Option<&'a str>,
}

#[derive(States, Clone, Copy, Debug)]
enum Alarm {
    #[problem]
    Alert,
}

/// What makes the record key.
pub enum Key {
    /// The category alone.
    Label,
    /// The category and the node.
    LabelAndNode,
}

impl Settings for Key {
    fn read(settings: &[(String, String)]) -> Result<Self, String> {
        let mut key = Key::Label;
        for (name, value) in settings {
            key = match (name.as_str(), value.as_str()) {
                ("key", "label") => Key::Label,
                ("key", "label+node") => Key::LabelAndNode,
                ("key", other) => return Err(format!("setting `key`: expected label or label+node, got `{other}`")),
                _ => return Err(format!("unknown setting `{name}`: this rule has `key`")),
            };
        }
        Ok(key)
    }
}

fn map<'a>(line: Line<'a>, key: &Key) -> Mapped<'a, Alarm> {
    let observed = match (line.label, key, line.node) {
        ("-", ..) => return dropped("no alert"),
        ("", ..) => return rejected("data.label is empty"),
        (label, Key::Label, _) => observe(Alarm::Alert, label),
        (label, Key::LabelAndNode, Some(node)) => observe(Alarm::Alert, [label, node]),
        (_, Key::LabelAndNode, None) => return rejected("missing data.node"),
    };
    match line.severity {
        Some("FAILURE") => observed.severity(Severity::Critical),
        Some("FATAL") => observed.severity(Severity::Error),
        _ => observed,
    }
}

fn cases() -> Vec<Case> {
    let of = |label, severity| [("data.label", label), ("data.node", "R90-M1"), ("data.severity", severity)];
    vec![
        case("an alert", &of("OVENHOT", "FATAL")).observes("alert", "OVENHOT").severity(Severity::Error),
        case("an alert of a failure", &of("OVENHOT", "FAILURE"))
            .observes("alert", "OVENHOT")
            .severity(Severity::Critical),
        case("an alert that the log thinks little of", &of("OVENHOT", "INFO")).observes("alert", "OVENHOT"),
        case("a log without severities", &[("data.label", "OVENHOT")]).observes("alert", "OVENHOT"),
        case("no alert, whatever the log thinks of it", &of("-", "FATAL")).drops("no alert"),
        case("an empty label", &of("", "FATAL")).rejects("data.label is empty"),
        case("no label", &[("data.node", "R90-M1")]).rejects("missing data.label"),
    ]
}

mapper! {
    name: "labelled-log",
    version: env!("CARGO_PKG_VERSION"),
    schema: 1,
    states: Alarm,
    settings: Key,
    map: map,
    cases: cases,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<Key, String> {
        Key::read(&[(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn the_node_can_be_part_of_the_key() {
        let settings = read("key", "label+node").expect("a known key");
        let line = |node| Line { label: "OVENHOT", node, severity: None };
        match map(line(Some("R90-M1")), &settings) {
            Mapped::Observed { key, .. } => assert!(format!("{key:?}").contains("\"OVENHOT\", \"R90-M1\"")),
            other => panic!("{other:?}"),
        }
        assert!(matches!(map(line(None), &settings), Mapped::Rejected(reason) if reason == "missing data.node"));
    }

    #[test]
    fn wrong_settings_are_refused() {
        let refused = |name, value| read(name, value).err().expect("refused");
        assert_eq!(refused("key", "node"), "setting `key`: expected label or label+node, got `node`");
        assert_eq!(refused("by", "label"), "unknown setting `by`: this rule has `key`");
    }
}
