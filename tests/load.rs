//! The load example over labelled series of the Numenta Anomaly Benchmark, scored as
//! `stillhouse score` does: every figure that its README tells.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stillhouse::score::told::Told;
use stillhouse::score::truth::Truth;
use stillhouse::score::{Report, Score};

use crate::drive::{OPTIONS, drive, example};
use crate::recordings::data;

/// Every labelled file, and its windows as lines of truth.
fn series(folder: &Path) -> (Vec<PathBuf>, String) {
    let path = folder.join("labels/windows.json");
    let labels = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let labels: Value = serde_json::from_str(&labels).expect("JSON");
    let mut lines = String::new();
    let mut files = Vec::new();
    for (name, windows) in labels.as_object().expect("windows by file") {
        let file = folder.join(name);
        let subject = file.file_stem().expect("a name").to_string_lossy().into_owned();
        for window in windows.as_array().expect("windows") {
            let time = |end: &Value| format!("{}Z", end.as_str().expect("a time").replace(' ', "T"));
            let truth = json!({"subject": subject, "from": time(&window[0]), "to": time(&window[1])});
            lines.push_str(&format!("{truth}\n"));
        }
        files.push(file);
    }
    (files, lines)
}

/// What the example says of the series, with this hold-down.
fn score(folder: &Path, hold_down: &str) -> Report {
    let (files, lines) = series(folder);
    assert_eq!(files.len(), 12);
    let hold = format!("hold_down = \"{hold_down}\"\nhold_open");
    let ran = drive(&example("load", &[("hold_open", &hold)]), &files, &OPTIONS);
    let ledger = ran.outcome.summary.ledger;
    assert_eq!((ledger.received, ledger.dropped, ledger.dead_lettered), (48_985, 12, 0), "twelve headers");
    let events = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(events.path(), &ran.bytes).expect("it can be written");
    let events = Told::load(events.path()).unwrap_or_else(|error| panic!("{error:#}"));
    let truths = Truth::parse(&lines, "labels").unwrap_or_else(|error| panic!("{error:#}"));
    Report::new(&truths, &events, &Score::of(&truths, &events, 0), true, Some(ledger.received))
}

#[test]
fn labelled_load() {
    let Some(data) = data() else { return };
    let folder = data.join("load-nab");
    let report = score(&folder, "0s");
    let total = &report.total;
    assert_eq!((total.windows, total.hit, total.missed, total.wrong), (18, 13, 5, 2), "{report:#?}");
    assert!(report.rows.iter().all(|row| row.wrong <= 1), "{report:#?}");
    // By series: hit, false. The two without a window say nothing at all.
    let rows: Vec<(&str, u64, u64, u64)> = report
        .rows
        .iter()
        .map(|row| (row.subject.as_deref().unwrap_or_default(), row.windows, row.hit, row.wrong))
        .collect();
    let expected = [
        ("art_daily_jumpsup", 1, 1, 0),
        ("art_load_balancer_spikes", 1, 1, 0),
        ("ec2_cpu_utilization_24ae8d", 2, 1, 0),
        ("ec2_cpu_utilization_5f5533", 2, 2, 0),
        ("ec2_cpu_utilization_77c1ca", 1, 0, 0),
        ("ec2_network_in_257a54", 1, 1, 0),
        ("ec2_request_latency_system_failure", 3, 3, 1),
        ("elb_request_count_8c0756", 2, 2, 1),
        ("grok_asg_anomaly", 3, 1, 0),
        ("rds_cpu_utilization_cc0c53", 2, 1, 0),
    ];
    assert_eq!(rows, expected);
    assert_eq!((report.signals, report.events), (48_985, 37));
}

#[test]
fn labelled_load_that_lasts() {
    let Some(data) = data() else { return };
    let folder = data.join("load-nab");
    let counts = ["6m", "15m"].map(|hold_down| {
        let total = score(&folder, hold_down).total;
        (total.hit, total.wrong)
    });
    assert_eq!(counts, [(11, 1), (10, 1)]);
}
