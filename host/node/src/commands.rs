//! The command line.

/// Prints a line. Who reads may have seen enough: that ends the command, quietly.
macro_rules! say {
    ($($words:tt)*) => {
        std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($words)*)))?
    };
}

mod audit;
mod check;
mod control;
mod demo;
mod diff;
mod dlq;
mod explain;
mod export;
mod ledger;
mod output;
mod replay;
mod rule;
mod rules;
mod run;
mod score;
mod store;
mod tune;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, CommandFactory, Parser, Subcommand};
use stillhouse::config::Overrides;
use stillhouse::config::duration::Duration;
use stillhouse::map::BATCH_ROWS;

/// Distils noisy state into few, durable, explainable events.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Start with `stillhouse demo`.\n\nExit codes: 0 done; 1 failed; 2 refused \
    (configuration or command line); 3 done, but an input broke off."
)]
pub struct Arguments {
    /// Say more on standard error; twice for still more.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read inputs, distil them, and write one event a line (CloudEvents as JSON).
    #[command(after_help = "Examples:\n  \
        stillhouse run -c stillhouse.toml --input app.log --output events.jsonl\n  \
        kubectl get events -A -o json --watch | stillhouse run --follow -c k8s.toml\n  \
        stillhouse run -c net.toml --input leaf1.log --input leaf2.log.gz | jq .data.to.state")]
    Run(Run),
    /// Distil the log of a store again: the same bytes, or with another configuration what it would have said.
    #[command(after_help = replay::HELP)]
    Replay(replay::Arguments),
    /// Say why an event left, what happened to an entity, or what became of a signal.
    #[command(after_help = explain::HELP)]
    Explain(explain::Arguments),
    /// Compare what left with what another configuration or rule makes of the same log.
    #[command(after_help = diff::HELP)]
    Diff(diff::Arguments),
    /// Show where all signals of a store went.
    #[command(after_help = ledger::HELP)]
    Ledger(ledger::Arguments),
    /// Look at dead letters, send them again, or forget them.
    #[command(after_help = dlq::HELP)]
    Dlq(dlq::Arguments),
    /// Write what a store holds as Parquet, for DuckDB, pandas and others.
    #[command(after_help = export::HELP)]
    Export(export::Arguments),
    /// Check a store, or make it smaller.
    #[command(after_help = store::HELP)]
    Store(store::Arguments),
    /// Check a configuration and its rules, and say what they would do.
    Check(Check),
    /// Distil a made-up day of trouble with known truth, and show raw beside distilled.
    Demo(Demo),
    /// Compare events with labelled truth: what was hit, missed and false, and how late it was told.
    #[command(after_help = SCORE_HELP)]
    Score(Score),
    /// Try holds over the past, and see what quiet costs in delay.
    #[command(after_help = TUNE_HELP)]
    Tune(Tune),
    /// Write, build, test, measure and sign rules.
    #[command(after_help = "Start with `stillhouse rule new NAME`.")]
    Rule(rule::Arguments),
    /// Look at the rules of a running host, and change them: stage, hold, promote, roll back.
    #[command(after_help = rules::HELP)]
    Rules(rules::Arguments),
    /// Check an audit trail, or print it.
    #[command(after_help = audit::HELP)]
    Audit(audit::Arguments),
    /// Make tokens for the control API.
    Control(control::Arguments),
    /// Print the JSON Schema of the events.
    #[command(after_help = "Example:\n  stillhouse schema > event.schema.json")]
    Schema,
    /// Compile a rule for the host that calls this.
    #[command(hide = true)]
    CompileRule {
        /// What it orders.
        order: String,
    },
    /// Print a completion script for a shell.
    #[command(
        after_help = "Example:\n  stillhouse completions bash > ~/.local/share/bash-completion/completions/stillhouse"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// What `run` takes.
#[derive(Args, Debug)]
pub struct Run {
    /// The configuration.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// A file to read, `.gz` as it is; `-` for standard input. May be given again. [default: -]
    #[arg(short, long, value_name = "PATH")]
    input: Vec<String>,
    /// Where events go; `-` for standard output.
    #[arg(short, long, value_name = "PATH", default_value = "-")]
    output: String,
    /// Read on until stopped: files that grow, and a pipe. Time passes while nothing comes.
    #[arg(short, long)]
    follow: bool,
    /// Keep everything in this file: a run that was stopped or killed goes on with the same command, and what
    /// it said can be replayed and explained.
    #[arg(short, long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// The year of event times that have none, instead of the configuration's.
    #[arg(long, value_name = "YEAR")]
    year: Option<i16>,
    /// Into how many shards the entities are divided; changes nothing in the output.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    shards: Option<u16>,
    /// The most signals in one call of a mapper; changes nothing in the output.
    #[arg(long, value_name = "N", default_value_t = BATCH_ROWS as u32, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// No progress and no summary on standard error.
    #[arg(short, long)]
    quiet: bool,
}

/// What `check` takes.
#[derive(Args, Debug)]
pub struct Check {
    /// The configuration.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The year of event times that have none, instead of the configuration's.
    #[arg(long, value_name = "YEAR")]
    year: Option<i16>,
}

/// What `demo` takes.
#[derive(Args, Debug)]
pub struct Demo {
    /// Where its files are written.
    #[arg(short, long, value_name = "FOLDER", default_value = "stillhouse-demo")]
    output: PathBuf,
    /// Another seed makes another day.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

const SCORE_HELP: &str = r#"The truth is JSON, one thing that happened a line. Only `from` and `to` must be there; what
is left out may be anything:
  {"signal":"net.link","subject":"leaf1/eth3","state":"down",
   "from":"2026-03-02T10:00:00Z","to":"2026-03-02T10:30:00Z","name":"cable pulled"}
There may also be `kind` (the type of the event), `value`, `severity`, and `told_by` (the event
was told by then). The `truth.jsonl` of `stillhouse demo` is such a file.

A window is hit by the first event whose `since` lies in it; more events in it are neither
hits nor false. Compared are events that raise an alarm (a warning or more), and those whose
kind or state the truth names; of these, an event in no window is false.

Examples:
  stillhouse score --truth stillhouse-demo/truth.jsonl --events stillhouse-demo/events.jsonl
  stillhouse score --truth labels.jsonl --events events.jsonl --by subject --svg score.svg
  stillhouse score --truth labels.jsonl --events events.jsonl --json | jq .total.recall

Exit codes: 0 compared; 1 failed, or with --strict something was missed or false; 2 refused."#;

/// What `score` takes.
#[derive(Args, Debug)]
pub struct Score {
    /// What happened: JSON, one a line.
    #[arg(long, value_name = "FILE")]
    truth: PathBuf,
    /// What `run` wrote; `.gz` as it is.
    #[arg(long, value_name = "FILE")]
    events: PathBuf,
    /// How many signals went in, as the summary of `run` says; else those that the events count.
    #[arg(long, value_name = "N")]
    signals: Option<u64>,
    /// A row for each of these.
    #[arg(long, value_enum, default_value_t = By::Type)]
    by: By,
    /// Widens every window at both ends, where labels are not exact.
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    slack: Duration,
    /// Draw a time line for each entity into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// The score as JSON, with all that was missed and false.
    #[arg(long)]
    json: bool,
    /// Fail if anything is missed or false.
    #[arg(long)]
    strict: bool,
}

/// What a score has rows for.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Signal types.
    Type,
    /// Entities.
    Subject,
}

const TUNE_HELP: &str = "Signals are read and mapped once. Then every pair of --hold-down and --hold-open is tried,
and where flapping is configured, other thresholds as well. Shown are the points that no other
beats in delay and noise, and what is configured. One is suggested: the knee, or with --truth
the best balance of precision and recall (F1). Suppressors are left out. The signals are held
in memory.

Examples:
  stillhouse tune -c net.toml --input leaf1.log --input leaf2.log.gz
  stillhouse tune -c net.toml --input day.log --hold-down 0s,5s,10s,30s --hold-open 0s,30s
  stillhouse tune -c net.toml --input day.log --truth labels.jsonl --svg tune.svg";

/// What `tune` takes.
#[derive(Args, Debug)]
pub struct Tune {
    /// The configuration.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// A file to read, `.gz` as it is; `-` for standard input. May be given again.
    #[arg(short, long, value_name = "PATH", required = true)]
    input: Vec<String>,
    /// Only this signal type. May be given again.
    #[arg(long, value_name = "TYPE")]
    signal: Vec<String>,
    /// What happened, as `score` reads it.
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// The hold-downs to try, with commas. [default: 0s to 1h]
    #[arg(long, value_name = "DURATIONS", value_delimiter = ',')]
    hold_down: Vec<Duration>,
    /// The hold-opens to try, with commas. [default: 0s to 1h]
    #[arg(long, value_name = "DURATIONS", value_delimiter = ',')]
    hold_open: Vec<Duration>,
    /// Draw noise over delay into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// The year of event times that have none, instead of the configuration's.
    #[arg(long, value_name = "YEAR")]
    year: Option<i16>,
    /// No progress on standard error.
    #[arg(short, long)]
    quiet: bool,
}

/// Carries a command out.
pub fn carry_out(arguments: Arguments) -> Result<ExitCode> {
    stillhouse::rules::compile_apart(["compile-rule"]);
    match arguments.command {
        Command::Run(run) => run::carry_out(&run),
        Command::Explain(arguments) => explain::carry_out(&arguments),
        Command::Diff(arguments) => diff::carry_out(&arguments),
        Command::Ledger(arguments) => ledger::carry_out(&arguments),
        Command::Dlq(arguments) => dlq::carry_out(&arguments),
        Command::Store(arguments) => store::carry_out(&arguments),
        Command::Export(arguments) => export::carry_out(&arguments),
        Command::Replay(replay) => replay::carry_out(&replay),
        Command::Check(check) => check::carry_out(&check),
        Command::Demo(demo) => demo::carry_out(&demo),
        Command::Score(score) => score::carry_out(&score),
        Command::Tune(tune) => tune::carry_out(&tune),
        Command::Rule(arguments) => rule::carry_out(&arguments),
        Command::Rules(rules) => rules::carry_out(&rules),
        Command::Audit(audit) => audit::carry_out(&audit),
        Command::Control(control) => control::carry_out(&control),
        Command::Schema => {
            std::io::stdout().write_all(stillhouse_core::event::EVENT_SCHEMA.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::CompileRule { order } => Ok(stillhouse_rules::compile_apart(&order)),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "stillhouse", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Starts the log on standard error: warnings, or more with `-v` or `STILLHOUSE_LOG`.
pub fn start_log(arguments: &Arguments) {
    let level = match arguments.verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("STILLHOUSE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && !plain)
        .init();
}

fn overrides(year: Option<i16>) -> Overrides {
    Overrides { year }
}

/// As many threads as this machine has processors.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
