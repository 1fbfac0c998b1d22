//! Recordings of alerts that come in bursts: alert logs of a supercomputer, of SSH and of a security
//! monitor, trouble between the peers of an ensemble.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::drive::text;
use crate::recordings::{changes, data, distil, entered, read};

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
        let (key, gap) = (format!("key = \"{key}\""), format!("gap = \"{gap}\""));
        let ran = distil("labelled-log", &[("key = \"label\"", &key), ("gap = \"10m\"", &gap)], &files);
        let events = ran.of_type("window.closed");
        assert_eq!(events.len(), bursts, "{key}, {gap}");
        assert!(events.iter().all(|event| event["data"]["severity"] == "error"), "all of them are FATAL");

        let ledger = ran.outcome.summary.ledger;
        assert_eq!((ledger.received, ledger.received - ledger.dropped), (2_000, 143), "alerts by their label");
        assert_eq!((ledger.emitted, ledger.open), (143, 0), "{key}, {gap}: each alert is in a burst");
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
    // Two go on at its end. Its one login comes from an address that had not failed before.
    assert_eq!((entered(&told, "clear"), entered(&told, "accepted")), (8, 0));

    // As sessions: every one, and those with five failures or more.
    let confirm = "[signal.\"ssh.login\".confirm]\ncount = 5\nwithin = \"5m\"";
    for (count, sessions) in [(1, 31), (5, 10)] {
        let window = format!("[signal.\"ssh.login\".window]\ngap = \"5m\"\nearly = true\ncount = {count}");
        let windows = [unlimited, ("clear_after = \"5m\"", "mode = \"window\""), (confirm, window.as_str())];
        let ran = distil("security-flood", &windows, &files);
        let opened = ran.of_type("window.opened");
        assert_eq!(opened.len(), sessions, "{count}");
        if count == 1 {
            assert_eq!(opened.iter().map(|event| text(&event["subject"])).collect::<BTreeSet<_>>().len(), 23);
            // Two of the 520 failures are `message repeated 5 times`; one more signal is the login.
            let ledger = ran.outcome.summary.ledger;
            assert_eq!((ledger.received - ledger.dropped, ledger.merged()), (520 + 1, 1));
        }
    }
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
    for (gap, sessions, starts) in [
        ("60s", 20, [("exploit", 3), ("hydra", 8), ("nikto", 6), ("upload", 2)]),
        // The incidents of `upload` began before it.
        ("300s", 17, [("exploit", 3), ("hydra", 8), ("nikto", 5), ("upload", 0)]),
    ] {
        let gap = format!("gap = \"{gap}\"");
        let ran = distil("wazuh", &[("gap = \"60s\"", &gap)], &files);
        let opened = ran.of_type("window.opened");
        assert_eq!(opened.len(), sessions, "{gap}");
        let keys: BTreeSet<&str> = opened.iter().map(|event| text(&event["subject"])).collect();
        assert_eq!(keys.len(), 13, "{gap}");

        // To the minute, which is how the phases are given. What goes on at the end of the recording
        // has no end.
        let closed = ran.of_type("window.closed");
        let last = |id: &Value| {
            let end = closed.iter().find(|event| event["data"]["supersedes"] == *id);
            end.map_or("9999", |event| minute(&event["data"]["provenance"]["last"]["time"]))
        };
        let spans = opened.iter().map(|event| (minute(&event["data"]["window"]["start"]), last(&event["id"])));
        let spans: Vec<(&str, &str)> = spans.collect();
        let mut found = BTreeMap::new();
        for (phase, window) in phases {
            let (from, to) = (minute(&window[0]), minute(&window[1]));
            if spans.iter().any(|(start, end)| *start < to && *end >= from) {
                let started = spans.iter().filter(|(start, _)| (from..to).contains(start));
                found.insert(phase.as_str(), started.count());
            }
        }
        // `nmap` and `vrfy` made no alert.
        assert_eq!(found, BTreeMap::from(starts), "{gap}");
    }
}

#[test]
fn trouble_between_the_peers_of_an_ensemble() {
    let Some(data) = data() else { return };
    let files = [data.join("leader-election/Zookeeper_2k.log")];
    for (gap, bursts) in [("60s", 92), ("300s", 67), ("1800s", 22)] {
        // Told early, since the recording ends within the last one at the longest gap.
        let gap = format!("gap = \"{gap}\"\nearly = true");
        let ran = distil("zookeeper", &[("gap = \"5m\"", &gap)], &files);
        assert_eq!(ran.of_type("window.opened").len(), bursts, "{gap}");
        let closed = ran.of_type("window.closed");
        let lines: u64 = closed.iter().filter_map(|event| event["data"]["counts"]["inputs"].as_u64()).sum();
        assert!(if closed.len() == bursts { lines == 1_219 } else { lines < 1_219 }, "{gap}: {lines} lines");
        let ledger = ran.outcome.summary.ledger;
        // The lines of the file are those of three servers, one after another: none is too late.
        assert_eq!((ledger.received, ledger.late), (2_000, 0), "{gap}");
    }
}
