//! Every example runs over its own sample and gives what its `expected.jsonl` holds.
//! `BLESS=1 cargo test --release -p stillhouse-tests examples` writes these files anew.

use std::path::{Path, PathBuf};

use stillhouse::run::Options;

use crate::drive::{OPTIONS, drive, example, root};

/// What is no sample in the folder of an example.
const NO_SAMPLES: [&str; 5] = ["README.md", "expected.jsonl", "stillhouse.toml", "topology.csv", "snapshot.json"];

/// How a README says how many events there are.
const COUNTS: [&str; 10] = ["No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine"];

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The numbers of `5,373 signals become 9 events` in a README.
fn told_counts(readme: &str) -> Option<(u64, usize)> {
    let number = |word: &str| word.replace(',', "").parse().ok();
    let (before, after) = readme.split_once(" signals become ")?;
    let signals = number(before.split_whitespace().next_back()?)?;
    let events = number(after.split_whitespace().next()?)?;
    Some((signals, events as usize))
}

/// `text` with a dot in place of every digest: they differ with the compiler of the rules.
fn without_digests(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let tail = &rest[start..];
        let length = tail.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(tail.len());
        out.push_str(&rest[..start]);
        out.push_str(if length == 64 { "." } else { &tail[..length] });
        rest = &tail[length..];
    }
    out + rest
}

#[test]
fn every_example_gives_what_is_expected_of_it() {
    let bless = std::env::var_os("BLESS").is_some();
    // `rules` has rules in other languages, and no configuration.
    let folders = sorted(&root().join("examples")).into_iter().filter(|path| !path.ends_with("rules") && path.is_dir());
    let folders: Vec<PathBuf> = folders.collect();
    assert!(folders.len() >= 8, "{folders:?}");
    for folder in folders {
        let example_name = name(&folder);
        let mut samples = sorted(&folder);
        samples.retain(|path| !NO_SAMPLES.contains(&name(path).as_str()));
        assert!(!samples.is_empty(), "{example_name} has no sample");

        let ran = drive(&example(&example_name, &[]), &samples, &OPTIONS);
        let otherwise = Options { shards: 8, threads: 1, batch_rows: 1, ..OPTIONS };
        let same = drive(&example(&example_name, &[]), &samples, &otherwise).bytes == ran.bytes;
        assert!(same, "{example_name}: shards and batches show");
        let ledger = ran.outcome.summary.ledger;
        assert_eq!((ledger.late, ledger.dead_lettered), (0, 0), "{example_name}");
        let got = without_digests(std::str::from_utf8(&ran.bytes).expect("events are UTF-8"));
        assert!(!got.is_empty(), "{example_name} tells of nothing");

        let expected = folder.join("expected.jsonl");
        if bless {
            std::fs::write(&expected, &got).unwrap_or_else(|error| panic!("{}: {error}", expected.display()));
        }
        let expected = std::fs::read_to_string(&expected)
            .unwrap_or_else(|error| panic!("{}: {error}; BLESS=1 writes it", expected.display()));
        for (line, (got, expected)) in got.lines().zip(expected.lines()).enumerate() {
            assert_eq!(got, expected, "{example_name}: event {} (BLESS=1 takes what is there)", line + 1);
        }
        assert_eq!(got.lines().count(), expected.lines().count(), "{example_name}: events");

        let readme = std::fs::read_to_string(folder.join("README.md")).expect("a README");
        if let Some(told) = COUNTS.iter().position(|count| readme.contains(&format!("\n{count} events"))) {
            assert_eq!(got.lines().count(), told, "{example_name}: its README says {} events", COUNTS[told]);
        }
        if let Some(told) = told_counts(&readme) {
            assert_eq!(
                (ledger.received, got.lines().count()),
                told,
                "{example_name}: signals and events of its README"
            );
        }
        let run = format!("stillhouse run -c examples/{example_name}/stillhouse.toml ");
        let command = readme.lines().find(|line| line.starts_with(&run));
        let command = command.unwrap_or_else(|| panic!("{example_name}: its README has no line `{run}..`"));
        for sample in &samples {
            let input = format!("--input examples/{example_name}/{}", name(sample));
            assert!(command.contains(&input), "{example_name}: its README runs `{command}`, without `{input}`");
        }
    }
}

#[test]
fn the_counts_of_a_readme_are_found() {
    assert_eq!(told_counts("Of the day, 1,112 signals become 4 events: two"), Some((1_112, 4)));
    assert_eq!(told_counts("many signals become 4 events"), None);
    assert_eq!(told_counts("Four events"), None);
}

#[test]
fn digests_are_blanked_and_nothing_else() {
    let digest = "0123456789abcdef".repeat(4);
    assert_eq!(without_digests(&format!("a{digest}")), format!("a{digest}"));
    assert_eq!(
        without_digests(&format!("\"digest\":\"{digest}\",\"id\":\"{}\"", &digest[32..])),
        format!("\"digest\":\".\",\"id\":\"{}\"", &digest[32..])
    );
}
