//! The log of a run: replaying it gives the same bytes. And who is silent is known from it alone.

use std::path::{Path, PathBuf};

use stillhouse::config::{Config, Overrides};
use stillhouse::run::Options;

use crate::drive::{OPTIONS, drive, example, replay, root};

fn sample(name: &str) -> PathBuf {
    let folder = root().join("examples").join(name);
    let mut entries = std::fs::read_dir(folder).expect("the example is there").flatten().map(|entry| entry.path());
    entries.find(|path| path.file_stem().is_some_and(|stem| stem == "sample")).expect("it has a sample")
}

fn replayed(config: &Config, log: &Path, shards: usize) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let options = Options { shards, batch_rows: 7, ..OPTIONS };
    let replayed = replay(config, log, &mut bytes, &options).expect("the log is sound");
    assert!(replayed.outcome.summary.ledger.balances());
    (bytes, replayed.same_config)
}

#[test]
fn replaying_a_log_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["kubelet", "kubernetes-events", "web-probes"] {
        let config = example(name, &[]);
        let log = folder.path().join(name);
        let ran = drive(&config, &[sample(name)], &Options { store: Some(log.clone()), ..OPTIONS });
        for shards in [1, 3] {
            assert_eq!(replayed(&config, &log, shards), (ran.bytes.clone(), true), "{name}");
        }
    }
    let other = example("kubelet", &[("hold_down = \"30s\"", "hold_down = \"31s\"")]);
    let (_, same) = replayed(&other, &folder.path().join("kubelet"), 1);
    assert!(!same, "another configuration is told");
}

#[test]
fn another_mapper_than_that_of_the_log_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let config = example("kubelet", &[]);
    drive(&config, &[sample("kubelet")], &Options { store: Some(log.clone()), ..OPTIONS });
    let others = |config: &Config| {
        let replayed = replay(config, &log, &mut Vec::new(), &OPTIONS);
        replayed.expect("the log is sound").other_mappers
    };
    assert_eq!(others(&config), [""; 0]);
    let told = others(&example("kubelet", &[("\"kubelet-readiness\"", "\"status\"")]));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("another version of the mapper of `") && told[0].contains("still has version 1"),
        "{told:?}"
    );
}

#[test]
fn a_second_run_on_a_store_goes_on_where_the_first_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let config = example("kubelet", &[]);
    let whole = std::fs::read_to_string(sample("kubelet")).unwrap();
    let input = folder.path().join("kubelet_probe.log");
    let once = drive(&config, std::slice::from_ref(&sample("kubelet")), &OPTIONS);
    let options = Options { store: Some(folder.path().join("store")), ..OPTIONS };
    std::fs::write(&input, &whole).unwrap();
    let first = drive(&config, std::slice::from_ref(&input), &options);
    assert_eq!(first.lines().count(), once.lines().count());
    let second = drive(&config, std::slice::from_ref(&input), &options);
    assert_eq!(second.bytes, b"", "nothing is new");
    assert_eq!(second.outcome.summary.ledger, first.outcome.summary.ledger, "the books go on");
}

/// One source speaks once and never again; another goes on for an hour, in many chunks, and at the
/// end one of its signals is half an hour late.
#[test]
fn a_silent_source_holds_the_others_back_no_longer_than_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("signals.jsonl");
    let signal = |source: &str, id: u32, second: u32| {
        let (minute, second) = (second / 60, second % 60);
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"{source}","type":"t","subject":"a","time":"2026-01-01T00:{minute:02}:{second:02}Z","data":{{"status":"up","pad":"{:500}"}}}}"#,
            ""
        )
    };
    let mut lines = vec![signal("quiet", 0, 0)];
    lines.extend((0..3599).map(|second| signal("busy", second + 1, second)));
    lines.push(signal("busy", 9000, 1800));
    std::fs::write(&file, lines.join("\n")).unwrap();
    let late = |idle_after: &str| {
        let text = format!(
            "[order]\nidle_after = \"{idle_after}\"\n[[input]]\nformat = \"cloudevents\"\n[signal.t]\nmapper = \"status\"\n"
        );
        let config = Config::parse(Path::new("x.toml"), text, &Overrides::default()).unwrap();
        drive(&config, std::slice::from_ref(&file), &OPTIONS).outcome.summary.ledger.late
    };
    assert_eq!(late("2h"), 0, "the quiet source is waited for");
    assert_eq!(late("10m"), 1, "it no longer is");
}
