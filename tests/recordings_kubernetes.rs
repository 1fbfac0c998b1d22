//! A recording of a cluster that comes up: who leads, which operators are degraded, and that nothing
//! is open when it has come up.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::drive::text;
use crate::recordings::{changes, data, distil, entered, last_states, read, to};

/// The events whose subjects begin with `start`.
fn about(events: &[Value], start: &str) -> Vec<Value> {
    events.iter().filter(|event| text(&event["subject"]).starts_with(start)).cloned().collect()
}

#[test]
fn leaders_are_acquired_94_times() {
    let Some(data) = data() else { return };
    let files = [data.join("kubernetes-ocp-aws/events.jsonl.gz")];
    // Each acquisition, the first of each lock as well: a lock that is kept both as ConfigMap and as
    // Lease is one, and one that returns to a former leader is acquired again.
    let every = "mode = \"occurrence\"\ndedupe = { window = \"2h\", against = \"last\" }";
    let ran = distil("kubernetes-events", &[("clear_after = \"30m\"", every)], &files);
    let acquired = about(&changes(&ran, "k8s.event"), "leader/");
    assert_eq!((acquired.len(), entered(&acquired, "led")), (94, 94));
    assert_eq!(last_states(&acquired).len(), 36, "locks; the 37th has no name");

    // As states, only another leader is news, not the first that is seen.
    let ran = distil("kubernetes-events", &[], &files);
    let changed = about(&changes(&ran, "k8s.event"), "leader/");
    assert_eq!((changed.len(), entered(&changed, "led")), (94 - 36, 94 - 36));
    for change in &changed {
        assert_ne!(change["data"]["from"]["value"], change["data"]["to"]["value"], "{}", change["subject"]);
    }
}

#[test]
fn operators_flip_and_end_as_the_cluster_says() {
    let Some(data) = data() else { return };
    let folder = data.join("kubernetes-ocp-aws");
    let recording = folder.join("events.jsonl.gz");
    let raw = read(&recording);
    let flips = |condition: &str| raw.matches(&format!("{condition} changed from ")).count();
    assert_eq!(["Available", "Degraded", "Progressing"].map(flips).iter().sum::<usize>(), 94);

    let ran = distil("kubernetes-events", &[], &[recording]);
    let events = changes(&ran, "k8s.event");
    let operators = about(&events, "clusteroperator/");
    let truth: Value = serde_json::from_str(&read(&folder.join("final_state.json"))).expect("JSON");
    assert_eq!((entered(&operators, "degraded"), entered(&operators, "working")), (20, 20));
    let last = last_states(&operators);
    assert_eq!(last.len(), 16);
    for (subject, state) in &last {
        let [_, operator, condition] = subject.split('/').collect::<Vec<_>>()[..] else { panic!("{subject}") };
        let healthy = if condition == "Available" { "True" } else { "False" };
        assert_eq!(truth["clusteroperators"][operator][condition]["status"], healthy, "{subject}");
        assert_eq!(state, "working", "{subject}");
    }
}

#[test]
fn nothing_is_open_when_the_cluster_is_up() {
    let Some(data) = data() else { return };
    let ran = distil("kubernetes-events", &[], &[data.join("kubernetes-ocp-aws/events.jsonl.gz")]);
    assert_eq!(ran.outcome.summary.ledger.open, 0);
    let events = changes(&ran, "k8s.event");
    let mut last: BTreeMap<String, &Value> = BTreeMap::new();
    for event in &events {
        last.insert(text(&event["subject"]).to_owned(), event);
    }
    let problems = ["failing", "leaderless", "not-ready", "degraded"];
    let open: Vec<_> = last.iter().filter(|(_, event)| problems.contains(&to(event))).collect();
    // Its last warning is of 09:45:28 and the recording ends at 10:10:06, before `clear_after` has passed.
    let [(subject, event)] = open.as_slice() else { panic!("expected one, got {open:?}") };
    assert_eq!(*subject, "openshift-apiserver-operator/Deployment/openshift-apiserver-operator");
    assert_eq!(event["data"]["since"], "2021-08-03T09:45:28.000000Z");
}
