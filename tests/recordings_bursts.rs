//! Recordings of alerts that come in bursts: alert logs of a supercomputer, of SSH and of a security
//! monitor, trouble between the peers of an ensemble.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::drive::text;
use crate::recordings::{changes, data, distil, entered, read, to};

#[test]
fn blue_gene_alerts_by_category_and_node() {
    let Some(data) = data() else { return };
    let files = [data.join("node-failures/BGL_2k.log")];
    // (entity, quiet gap, bursts)
    for (key, gap, bursts) in [
        ("label", "60s", 110),
        ("label", "300s", 80),
        ("label", "600s", 58),
        ("label", "3600s", 44),
        ("label+node", "60s", 137),
        ("label+node", "300s", 115),
        ("label+node", "600s", 93),
        ("label+node", "3600s", 84),
    ] {
        let (key, window) = (format!("key = \"{key}\""), format!("window = \"{gap}\""));
        let ran = distil("labelled-log", &[("key = \"label\"", &key), ("window = \"10m\"", &window)], &files);
        let events = changes(&ran, "cluster.alert");
        assert_eq!(events.len(), bursts, "{key}, {gap}");
        assert!(events.iter().all(|event| event["data"]["severity"] == "error"), "all of them are FATAL");

        let ledger = ran.outcome.summary.ledger;
        assert_eq!((ledger.received, ledger.received - ledger.dropped), (2_000, 143), "alerts by their label");
        assert_eq!((ledger.emitted, ledger.open), (bursts as u64, 0), "{key}, {gap}");
        let category = |event: &Value| text(&event["subject"]).split('/').next().unwrap_or_default().to_owned();
        assert_eq!(events.iter().map(category).collect::<BTreeSet<_>>().len(), 12, "{key}, {gap}");
    }
}

#[test]
fn ssh_passwords_that_are_guessed() {
    let Some(data) = data() else { return };
    let files = [data.join("security-flood/OpenSSH_2k.log")];
    let unlimited = ("max = 5", "max = 1000");
    // Each attack is told at its fifth failure within five minutes.
    let ran = distil("security-flood", &[unlimited], &files);
    let told = changes(&ran, "ssh.login");
    assert_eq!(entered(&told, "failed"), 10);
    // The one login of the recording comes from an address that had not failed before.
    assert_eq!((entered(&told, "clear"), entered(&told, "accepted")), (10, 0));

    // Every burst, however small.
    let confirm = "[signal.\"ssh.login\".confirm]\ncount = 5\nwithin = \"5m\"";
    let dedupe = "[signal.\"ssh.login\".dedupe]\nwindow = \"5m\"";
    let bursts = [unlimited, ("clear_after = \"5m\"", "mode = \"occurrence\""), (confirm, dedupe)];
    let ran = distil("security-flood", &bursts, &files);
    let failed: Vec<_> = changes(&ran, "ssh.login").into_iter().filter(|event| to(event) == "failed").collect();
    assert_eq!(failed.len(), 31);
    assert_eq!(failed.iter().map(|event| text(&event["subject"])).collect::<BTreeSet<_>>().len(), 23);
    // Two of the 520 failures are `message repeated 5 times`; one more signal is the login.
    let ledger = ran.outcome.summary.ledger;
    assert_eq!((ledger.received - ledger.dropped, ledger.open), (520 + 1, 0));
}

/// A time up to its minute.
fn minute(time: &Value) -> &str {
    &text(time)[..16]
}

#[test]
fn the_phases_of_an_attack() {
    let Some(data) = data() else { return };
    let folder = data.join("security-flood");
    let phases: Value = serde_json::from_str(&read(&folder.join("attack_windows_insect.json"))).expect("JSON");
    let phases = phases.as_object().expect("phases by name");
    assert_eq!(phases.len(), 6);
    let files = [folder.join("wazuh_insect.jsonl")];
    let incidents = |window: &str| {
        let window = format!("window = \"{window}\"");
        changes(&distil("wazuh", &[("window = \"60s\"", &window)], &files), "wazuh.alert")
    };
    let events = incidents("60s");
    assert_eq!((events.len(), incidents("300s").len()), (20, 17));
    let keys: BTreeSet<&str> = events.iter().map(|event| text(&event["subject"])).collect();
    assert_eq!(keys.len(), 13);

    // To the minute, which is how the phases are given.
    let found: BTreeMap<&str, usize> = phases
        .iter()
        .map(|(phase, window)| {
            let minutes = minute(&window[0])..minute(&window[1]);
            let starts = events.iter().filter(|event| minutes.contains(&minute(&event["data"]["since"])));
            (phase.as_str(), starts.count())
        })
        .filter(|(_, incidents)| *incidents > 0)
        .collect();
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [("exploit", 3), ("hydra", 8), ("nikto", 6), ("upload", 2)]);
}

#[test]
fn trouble_between_the_peers_of_an_ensemble() {
    let Some(data) = data() else { return };
    let files = [data.join("leader-election/Zookeeper_2k.log")];
    for (gap, bursts) in [("60s", 92), ("300s", 67), ("1800s", 22)] {
        let window = format!("window = \"{gap}\"");
        let ran = distil("zookeeper", &[("window = \"5m\"", &window)], &files);
        assert_eq!(changes(&ran, "zookeeper.peer").len(), bursts, "{gap}");
        let ledger = ran.outcome.summary.ledger;
        // The lines of the file are those of three servers, one after another: none is too late.
        assert_eq!((ledger.received, ledger.late), (2_000, 0), "{gap}");
    }
}
