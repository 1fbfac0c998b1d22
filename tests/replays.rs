//! Parts of a log, and logs that are distilled again into a store of their own; and what is let go while the host is
//! behind.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::durable::{CONFIG, episodes, signal, waits_for};
use crate::place::{CONTROL, Place};

fn times(events: &str) -> Vec<String> {
    let time = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["time"].as_str().map(str::to_owned);
    events.lines().filter_map(time).collect()
}

/// A place with the store of runs that ended at 00:10, 00:20 and 00:40.
fn runs() -> (Place, String) {
    let place = Place::new(CONFIG);
    let all = episodes(80);
    for lines in [60, 120, 241] {
        let part: String = all.lines().take(lines).map(|line| format!("{line}\n")).collect();
        place.write("in", &part);
        place.ok("run -q -c x.toml -i in -o out --store s");
    }
    let out = place.read("out");
    assert_eq!(out.lines().count(), 160);
    (place, out)
}

#[test]
fn a_replay_begins_and_ends_at_positions_and_times() {
    let (place, out) = runs();
    for (from, earliest) in [("2026-01-01T00:30:00Z", "2026-01-01T00:19"), ("2026-01-01T00:15:00Z", "2026-01-01T00:09")]
    {
        let later = place.ok(&format!("replay -q --store s --from {from}"));
        assert!(out.ends_with(&later) && later.len() < out.len(), "from {from}");
        let missed = times(&out[..out.len() - later.len()]);
        assert!(missed.iter().all(|time| time.as_str() < from), "nothing from {from} on is missing");
        assert!(times(&later)[0].as_str() >= earliest, "and not all is done again: {:?}", times(&later)[0]);
    }
    let earlier = place.ok("replay -q --store s --to 2026-01-01T00:05:00Z");
    assert!(out.starts_with(&earlier) && earlier.len() < out.len());
    let to = times(&earlier).last().expect("an event").clone();
    assert!(to.as_str() >= "2026-01-01T00:05:00Z", "{to}");
    assert!(place.call("replay --store s --from yesterday").status.code() == Some(2));
    assert!(!place.call("replay --store s --from 7 --to 3").status.success());
    place.ok("replay -q --store s --verify --from 2026-01-01T00:15:00Z");
    place.ok("replay -q --store s --verify --to 2026-01-01T00:15:00Z");
}

#[test]
fn a_log_is_distilled_again_into_a_store_of_its_own() {
    let (place, out) = runs();
    place.ok("replay -q --store s --into again -o again.out");
    assert_eq!(place.read("again.out"), out);
    place.ok("replay -q --store again --verify");
    assert_eq!(place.ok("ledger --store again"), place.ok("ledger --store s"));
    let refused = place.call("replay --store s --into again");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("again: is there already"), "{said}");

    // What another configuration makes of it can be asked about as if it had happened.
    place.write("y.toml", &CONFIG.replace("hold_down = \"5s\"", "hold_down = \"9s\""));
    let other = place.ok("replay -q --store s -c y.toml --into other");
    place.ok("replay -q --store other --verify");
    let first: Value = serde_json::from_str(other.lines().next().expect("an event")).expect("JSON");
    assert_eq!(first["data"]["held_us"], 9_000_000);
    let why = place.ok(&format!("explain --store other {}", first["id"].as_str().expect("an id")));
    assert!(why.contains("an input of event"), "{why}");
    assert!(place.ok("store check other").contains("a run goes on from position"));
    // From a later place, and over a change of the configuration in the log.
    place.write("in", &(episodes(80) + &signal(900, 3000, "k1", "down") + &signal(901, 3100, "z", "up")));
    place.ok("run -q -c y.toml -i in -o out --store s");
    place.ok("replay -q --store s --from 2026-01-01T00:30:00Z --into late -o late.out");
    assert!(place.read("out").ends_with(&place.read("late.out")));
    place.ok("replay -q --store late --verify");
}

/// The first number of the line that begins so.
fn number(text: &str, line: &str) -> u64 {
    let line = text.lines().find(|known| known.trim_start().starts_with(line)).unwrap_or_default();
    line.split_whitespace().filter_map(|word| word.replace(',', "").parse().ok()).next().unwrap_or(0)
}

#[test]
fn what_is_let_go_while_the_host_is_behind_is_counted() {
    let place = Place::new(&(CONFIG.replace("format =", "shed = \"low\"\nformat =") + CONTROL));
    let many = episodes(60_000);
    let mut lines = many.lines().count() as u64;
    place.write("in", &many);
    let mut command = place.command("run -c x.toml -i in -o out --store s --follow");
    let child = command.stderr(Stdio::piped()).spawn().expect("it starts");
    // What comes while it is not behind is not let go: once that is told of, all has been read.
    let mut file = std::fs::OpenOptions::new().append(true).open(place.path("in")).expect("it is there");
    waits_for("what comes later", || {
        for (second, status) in [(0, "down"), (15, "up")] {
            let line =
                signal(lines as usize, second, &format!("later{lines}"), status).replace("2026-01-01", "2026-03-01");
            file.write_all(line.as_bytes()).expect("it is written");
            lines += 1;
        }
        place.read("out").contains("later")
    });
    let measured = place.metrics().expect("it answers");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    let ended = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "{said}");
    let (total, shed) = (number(&said, "total"), number(&said, "let go while behind"));
    assert!(shed > 0, "it was never behind: {said}");
    assert_eq!(number(&measured, "stillhouse_shed_records_total"), shed, "{measured}");
    // How often the sources had to wait for the store is counted beside it.
    assert!(measured.contains("\nstillhouse_store_back_pressure_total "), "{measured}");
    assert!(total > 0 && total + shed <= lines && lines - total - shed < 10, "{total} + {shed} of {lines}: {said}");
    // A replay lets nothing go: it knows what was.
    let replayed = place.call("replay --store s -o again");
    let told = String::from_utf8_lossy(&replayed.stderr).into_owned();
    assert_eq!((number(&told, "total"), number(&told, "let go while behind")), (total, shed), "{told}");
    assert_eq!(place.read("again"), place.read("out"));
}
