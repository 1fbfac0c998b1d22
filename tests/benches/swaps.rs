//! A thousand swaps of a rule under a steady stream: how long from file to serving, and what the
//! signals notice. Every event is checked against the version of its place in the log, and the log
//! against the events; so a line is printed only if nothing was lost, doubled or answered by another.

#[path = "../swaps.rs"]
mod swaps;
#[path = "../turncoat.rs"]
mod turncoat;

use std::process::Command;
use std::time::Duration;

use swaps::{Report, quantile, swap};

/// How many versions there are: so many swaps are cold, the others find compiled code.
const VERSIONS: usize = 11;

/// Set in the process that measures, whose folder of compiled code is empty at first.
const MEASURES: &str = "STILLHOUSE_MEASURES_SWAPS";

fn main() {
    if std::env::var_os(MEASURES).is_none() {
        let folder = tempfile::tempdir().expect("a folder for compiled code");
        let mut measures = Command::new(std::env::current_exe().expect("it runs"));
        measures.args(std::env::args().skip(1)).env(MEASURES, "1").env("STILLHOUSE_CACHE", folder.path());
        assert!(measures.status().expect("it starts").success());
        return;
    }
    let full = std::env::args().any(|argument| argument == "--bench");
    let (swaps, signals) = if full { (1_000, 50_000) } else { (3, 1_000) };
    let quiet = swap(0, signals);
    show("without swaps", &quiet);
    let swapped = swap(swaps, signals);
    show(&format!("with {} swaps", swapped.swaps), &swapped);
    let (cold, cached) = swapped.to_serve.split_at(VERSIONS.min(swapped.to_serve.len()));
    for (what, took) in [("cold", cold), ("compiled before", cached)] {
        let [half, most, worst] = [0.5, 0.99, 1.0].map(|share| ms(quantile(took, share)));
        println!(
            "file to serving, {what:<16} {:>5} times  50 % {half:>8} ms  99 % {most:>8} ms  most {worst:>8} ms",
            took.len()
        );
    }
    let ratio = quantile(&swapped.latency, 0.999).as_secs_f64() / quantile(&quiet.latency, 0.999).as_secs_f64();
    println!("99.9 % of latency, with swaps to without: {ratio:.2}");
    let (before, after) = swapped.resident_bytes;
    println!("resident memory after a quarter of the swaps {} MiB, at the end {} MiB", before >> 20, after >> 20);
}

fn show(what: &str, report: &Report) {
    let [half, most, rare, worst] = [0.5, 0.99, 0.999, 1.0].map(|share| ms(quantile(&report.latency, share)));
    println!(
        "latency {what:<18} {:>7} signals  50 % {half:>7} ms  99 % {most:>7} ms  99.9 % {rare:>7} ms  most {worst:>7} ms",
        report.signals
    );
}

fn ms(took: Duration) -> String {
    format!("{:.2}", took.as_secs_f64() * 1e3)
}
