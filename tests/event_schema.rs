//! Every event that a test makes is what the schema of the artefact says.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};
use stillhouse_core::event::EVENT_SCHEMA;

use crate::cli::stillhouse;
use crate::drive::root;

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    let schema: Value = serde_json::from_str(EVENT_SCHEMA).expect("the schema is JSON");
    jsonschema::meta::validate(&schema).expect("the schema is a schema");
    jsonschema::validator_for(&schema).expect("the schema can be used")
});

/// What is wrong with an event.
fn faults(event: &Value) -> Vec<String> {
    VALIDATOR.iter_errors(event).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// Panics unless every line is an event as the schema has it.
pub fn check_lines(lines: &[u8]) {
    for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let event: Value = serde_json::from_slice(line).expect("an event is JSON");
        let faults = faults(&event);
        assert!(faults.is_empty(), "not as the schema has it: {faults:?}\n{event}");
    }
}

/// Every object and list of `value`, by its path.
fn objects(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| objects(value, format!("{path}/{key}"), found));
            found.push(path);
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| objects(value, format!("{path}/{at}"), found));
        }
        _ => {}
    }
}

/// The events of all examples.
fn golden() -> Vec<Value> {
    let folders = std::fs::read_dir(root().join("examples")).unwrap().flatten();
    let files = folders.filter_map(|folder| std::fs::read_to_string(folder.path().join("expected.jsonl")).ok());
    let lines: Vec<String> = files.flat_map(|file| file.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_field_more_or_less_anywhere_is_noticed() {
    let events = golden();
    assert!(events.len() > 100);
    for event in &events {
        assert_eq!(faults(event), [""; 0], "{event}");
        let mut paths = Vec::new();
        objects(event, String::new(), &mut paths);
        assert!(paths.len() >= 2, "an event has its data");
        for path in paths {
            let mut more = event.clone();
            more.pointer_mut(&path).unwrap()["more"] = json!(1);
            assert!(!faults(&more).is_empty(), "a field more at `{path}` is not noticed in {event}");
        }
        for field in event.as_object().unwrap().keys().filter(|key| !["subject", "time"].contains(&key.as_str())) {
            let mut less = event.clone();
            less.as_object_mut().unwrap().remove(field);
            assert!(!faults(&less).is_empty(), "without `{field}`: {event}");
        }
        let mut other = event.clone();
        other["type"] = json!("stillhouse.unheard-of");
        assert!(!faults(&other).is_empty());
    }
}

#[test]
fn the_program_prints_the_schema() {
    let printed = stillhouse().arg("schema").output().unwrap();
    assert!(printed.status.success());
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), EVENT_SCHEMA);
}
