//! `stillhouse diff`

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use stillhouse::config::Config;
use stillhouse::diff::{Diff, Difference, How, diff};
use stillhouse::durable::Recorded;
use stillhouse::explain::explain;
use stillhouse::run::Options;
use stillhouse::summary::grouped;

use super::replay::Progress;
use super::{overrides, threads};

pub const HELP: &str = "\
Examples:
  stillhouse diff --store stillhouse.store -c new.toml
  stillhouse diff --store stillhouse.store --mapper probe=target/probe.wasm     another version of one rule
  stillhouse diff --store stillhouse.store -c new.toml --signals                with the signals behind each
  stillhouse diff --store stillhouse.store -c new.toml --json | jq .how

Of more than 100,000 differences the rest is only counted.

Exit codes: 0 nothing is other, 1 something is, 2 refused.";

/// What `diff` takes.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The store.
    #[arg(short, long, value_name = "FILE")]
    store: PathBuf,
    /// Another configuration; that of the store unless given.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Another version of a mapper.
    #[arg(long, value_name = "SIGNAL=FILE")]
    mapper: Vec<String>,
    /// Another version of a suppressor.
    #[arg(long, value_name = "SIGNAL=FILE")]
    suppressor: Vec<String>,
    /// One JSON object for each difference.
    #[arg(long)]
    json: bool,
    /// Show the signals behind a difference too.
    #[arg(long)]
    signals: bool,
    /// Show so many differences.
    #[arg(long, value_name = "N", default_value_t = 20)]
    first: usize,
    /// The year of event times that have none, instead of the configuration's.
    #[arg(long, value_name = "YEAR")]
    year: Option<i16>,
}

/// Compares what left with what another configuration says.
pub fn carry_out(arguments: &Arguments) -> Result<ExitCode> {
    let recorded = Recorded::open(&arguments.store)?;
    let options = Options { shards: threads(), threads: threads(), ..Options::default() };
    let mut config = match &arguments.config {
        Some(path) => Config::load(path, &overrides(arguments.year))?,
        None if arguments.mapper.is_empty() && arguments.suppressor.is_empty() => {
            bail!("compare with what? give another configuration (-c FILE) or rule (--mapper SIGNAL=FILE)")
        }
        None => recorded.newest_config()?,
    };
    for (rules, suppressor) in [(&arguments.mapper, false), (&arguments.suppressor, true)] {
        for rule in rules {
            let Some((signal, file)) = rule.split_once('=') else {
                bail!("`{rule}`: expected SIGNAL=FILE, such as `net.link=target/link.wasm`")
            };
            let file = std::path::absolute(file)?;
            config.use_rule(signal, suppressor, &file)?;
        }
    }
    let mut progress = Progress::new(false);
    let diff = diff(&config, &recorded, &options, &mut progress)?;
    progress.end();
    if arguments.json {
        for difference in &diff.differences {
            say!("{}", serde_json::to_string(difference)?);
        }
        let counted = diff.differing() - diff.differences.len() as u64;
        if counted > 0 {
            eprintln!("note: {} more differences are only counted", grouped(counted));
        }
    } else {
        tell(&diff, arguments.first)?;
        if arguments.signals {
            behind(&recorded, &diff.differences, arguments.first, &options)?;
        }
    }
    if diff.given_up > 0 {
        eprintln!(
            "note: {} events were taken to have no like on the other side, because too many waited for theirs",
            grouped(diff.given_up)
        );
    }
    Ok(if diff.differing() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn word(how: How) -> &'static str {
    match how {
        How::NoLonger => "no longer",
        How::New => "new",
        How::Earlier => "earlier",
        How::Later => "later",
        How::Changed => "changed",
    }
}

fn tell(diff: &Diff, first: usize) -> Result<()> {
    say!("{:<34} {:<10} {:>10}", "event", "how", "count");
    say!("{:<34} {:<10} {:>10}", "all", "same", grouped(diff.same));
    for ((kind, how), count) in &diff.counts {
        say!("{kind:<34} {:<10} {:>10}", word(*how), grouped(*count));
    }
    for difference in diff.differences.iter().take(first) {
        let event = difference.event();
        let time = event["time"].as_str().unwrap_or_default();
        let state = event["data"]["to"]["state"].as_str().unwrap_or_default();
        let by = match difference.by_us {
            0 => String::new(),
            by_us => format!(" by {:.3} s", by_us.unsigned_abs() as f64 / 1e6),
        };
        say!("{time}  {}{by}  {} {} {state}", word(difference.how), difference.kind, difference.subject);
    }
    let more = diff.differing().saturating_sub(first as u64);
    if more > 0 {
        say!("and {} more (--first N)", grouped(more));
    }
    Ok(())
}

fn behind(recorded: &Recorded, differences: &[Difference], first: usize, options: &Options) -> Result<()> {
    let keys: BTreeSet<String> = differences.iter().take(first).map(|difference| difference.subject.clone()).collect();
    let found = explain(recorded, &keys, None, None, options)?;
    for difference in differences.iter().take(first) {
        say!("\n{} {} {}", word(difference.how), difference.kind, difference.subject);
        let of = found.signals.iter().filter(|heard| heard.key == difference.subject);
        let until_us = difference.time_us + difference.by_us.max(0);
        let before: Vec<_> = of.filter(|heard| heard.time_us() <= until_us).collect();
        for heard in before.iter().rev().take(5).rev() {
            say!("  {} {} {}", heard.time.as_deref().unwrap_or("-"), heard.state.as_deref().unwrap_or("-"), heard.raw);
        }
    }
    Ok(())
}
