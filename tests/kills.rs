//! The real program under load, killed at random moments: nothing is lost, nothing is said twice, and it is
//! soon serving again.
//!
//! `KILLS=200 cargo test --release -p stillhouse-tests killed` kills it more often.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use stillhouse_store::{Sequence, Store};

use crate::chance::Chance;
use crate::cli::PATIENCE;
use crate::place::Place;

const CONFIG: &str = "[order]\nidle_after = \"1h\"\nallowed_lateness = \"1s\"\n[[input]]\nformat = \"cloudevents\"\n\
    [signal.probe]\nmapper = \"status\"\nhold_down = \"5s\"\nhold_open = \"5s\"\n";

/// How often it is killed unless told otherwise.
const KILLS_DEFAULT: usize = 12;

/// How many signals are written between two kills.
const SIGNALS: usize = 2_000;

fn signal(number: usize, chance: &mut Chance) -> String {
    let (second, millis) = (number / 100, number % 100 * 10);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let (entity, source) = (chance.below(300), number % 5);
    let status = if chance.percent(80) { "up" } else { "down" };
    format!(
        r#"{{"specversion":"1.0","id":"{number}","source":"s{source}","type":"probe","subject":"pod-{entity}","time":"2026-01-01T{hour:02}:{minute:02}:{second:02}.{millis:03}Z","data":{{"status":"{status}"}}}}"#
    ) + "\n"
}

impl Place {
    fn run(&self, name: &str) -> Child {
        self.start(&format!("run -q --follow -c x.toml -i in.jsonl -o {name}.jsonl --store {name}.store"))
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

/// Waits until the output grows no more: all that was written has been read.
fn settled(path: &Path) {
    let begun = Instant::now();
    let (mut last, mut since) = (length(path), Instant::now());
    while since.elapsed() < Duration::from_millis(1500) {
        assert!(begun.elapsed() < PATIENCE * 4, "it does not come to rest");
        std::thread::sleep(Duration::from_millis(50));
        if length(path) != last {
            (last, since) = (length(path), Instant::now());
        }
    }
}

fn stop(mut child: Child) {
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn killed_at_any_moment_it_loses_nothing_and_says_nothing_twice() {
    let kills = std::env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS_DEFAULT);
    let place = Place::new(CONFIG);
    let mut input = File::create(place.path("in.jsonl")).unwrap();
    let mut chance = Chance::new(17);
    let mut number = 0;
    let mut again_us = Vec::new();
    let out = place.path("killed.jsonl");
    for _ in 0..kills {
        let begun = Instant::now();
        let mut child = place.run("killed");
        let lives = Duration::from_millis(chance.below(400) as u64);
        let mut serving = None;
        let before = length(&out);
        for _ in 0..SIGNALS / 20 {
            (0..20).for_each(|_| {
                input.write_all(signal(number, &mut chance).as_bytes()).unwrap();
                number += 1;
            });
            std::thread::sleep(Duration::from_millis(2));
            if serving.is_none() && length(&out) > before {
                serving = Some(begun.elapsed());
            }
        }
        // Half of them are killed while they begin, the others while they work.
        if chance.percent(50) {
            while serving.is_none() && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(1));
                if length(&out) > before {
                    serving = Some(begun.elapsed());
                }
            }
            std::thread::sleep(lives);
        }
        again_us.extend(serving.map(|serving| serving.as_micros()));
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }
    let last = place.run("killed");
    settled(&out);
    stop(last);
    let never = place.run("never");
    settled(&place.path("never.jsonl"));
    stop(never);
    let (killed, never) = (std::fs::read(&out).unwrap(), std::fs::read(place.path("never.jsonl")).unwrap());
    assert!(!never.is_empty());
    let first = killed.iter().zip(&never).position(|(a, b)| a != b);
    assert!(killed == never, "they differ at byte {first:?}: {} bytes and {}", killed.len(), never.len());
    place.ok("replay --store killed.store --verify");
    let store = Store::open_to_read(&place.path("killed.store")).unwrap();
    again_us.sort_unstable();
    println!(
        "{kills} kills, {number} signals, {} events: 0 lost, 0 doubled; serving again after {} ms (median), {} ms (most)",
        store.next(Sequence::Events),
        again_us.get(again_us.len() / 2).unwrap_or(&0) / 1000,
        again_us.last().unwrap_or(&0) / 1000
    );
}
