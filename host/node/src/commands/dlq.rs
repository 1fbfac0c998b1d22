//! `stillhouse dlq`

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::Value;
use stillhouse::config::{Config, Overrides, SinkTo};
use stillhouse::sinks::{Dead, event};
use stillhouse_delivery::Outcome;
use stillhouse_delivery::sender::Sender;
use stillhouse_delivery::sender::file::FileSender;
use stillhouse_delivery::sender::http::HttpSender;
use stillhouse_store::{Batch, Map, Store};

pub const HELP: &str = "\
Dead letters of the source side are signals that could not be read or mapped; those of a sink are events
that it did not take. Each has a name, such as source/00000000000000000042 or sink/pager/00000000000000000007.

Examples:
  stillhouse dlq list --store stillhouse.store
  stillhouse dlq show --store stillhouse.store sink/pager/00000000000000000007
  stillhouse dlq retry --store stillhouse.store -c stillhouse.toml sink/pager     all of one sink
  stillhouse dlq retry --store stillhouse.store -c stillhouse.toml source         all signals, by the next run
  stillhouse dlq drop --store stillhouse.store source/00000000000000000042

`retry` and `drop` need the store for themselves: stop the host first.";

/// What `dlq` takes.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List dead letters, the oldest first.
    List {
        /// The store.
        #[arg(short, long, value_name = "FILE")]
        store: PathBuf,
        /// Only those whose names begin so.
        #[arg(default_value = "")]
        name: String,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Print one whole.
    Show {
        /// The store.
        #[arg(short, long, value_name = "FILE")]
        store: PathBuf,
        /// Its name.
        name: String,
    },
    /// Send events again now, and have signals taken in again by the next run.
    Retry {
        /// The store.
        #[arg(short, long, value_name = "FILE")]
        store: PathBuf,
        /// The configuration, which says where sinks are.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// All whose names begin so.
        name: String,
    },
    /// Forget them.
    Drop {
        /// The store.
        #[arg(short, long, value_name = "FILE")]
        store: PathBuf,
        /// All whose names begin so.
        name: String,
    },
}

/// Carries out what is wanted.
pub fn carry_out(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.command {
        Command::List { store, name, json } => list(&Store::open_to_read(store)?, name, *json),
        Command::Show { store, name } => show(&Store::open_to_read(store)?, name),
        Command::Retry { store, config, name } => {
            let config = Config::load(config, &Overrides::default())?;
            retry(&Store::open(store)?, &config, name)
        }
        Command::Drop { store, name } => forget(&Store::open(store)?, name),
    }
}

fn letters(store: &Store, name: &str) -> Result<Vec<(String, Dead)>> {
    let mut letters = Vec::new();
    for pair in store.scan(Map::Dead, name.as_bytes(), None)? {
        let (key, value) = pair?;
        let key = String::from_utf8_lossy(&key).into_owned();
        if !key.starts_with(name) {
            break;
        }
        let dead: Dead = postcard::from_bytes(&value).with_context(|| format!("the dead letter {key}"))?;
        letters.push((key, dead));
    }
    Ok(letters)
}

/// Why it is one: the reason of the sink, or that of the event about the signal.
fn reason(dead: &Dead) -> String {
    if !dead.reason.is_empty() {
        return dead.reason.clone();
    }
    let event: Value = serde_json::from_slice(&dead.line).unwrap_or_default();
    event["data"]["reason"].as_str().unwrap_or_default().to_owned()
}

fn time(at_us: i64) -> String {
    jiff::Timestamp::from_microsecond(at_us).map_or_else(|_| at_us.to_string(), |at| format!("{at:.0}"))
}

fn list(store: &Store, name: &str, json: bool) -> Result<ExitCode> {
    let letters = letters(store, name)?;
    for (key, dead) in &letters {
        let reason = reason(dead);
        if json {
            let event: Value = serde_json::from_slice(&dead.line).unwrap_or_default();
            let letter = serde_json::json!({
                "name": key, "at": time(dead.at_us), "attempts": dead.attempts, "again": dead.again,
                "reason": reason, "event": event,
            });
            say!("{letter}");
        } else {
            let again = if dead.again { " (again)" } else { "" };
            let tried = if dead.attempts > 0 { format!("{} attempts: ", dead.attempts) } else { String::new() };
            say!("{key}  {}{again}  {tried}{reason}", time(dead.at_us));
        }
    }
    if letters.is_empty() && !json {
        eprintln!("no dead letters");
    }
    Ok(ExitCode::SUCCESS)
}

fn show(store: &Store, name: &str) -> Result<ExitCode> {
    let Some(value) = store.get(Map::Dead, name.as_bytes())? else {
        bail!("there is no dead letter `{name}`; `stillhouse dlq list` names those there are");
    };
    let dead: Dead = postcard::from_bytes(&value).context("a dead letter")?;
    eprintln!("given up {}, {} attempts: {}", time(dead.at_us), dead.attempts, reason(&dead));
    say!("{}", String::from_utf8_lossy(&dead.line).trim_end());
    Ok(ExitCode::SUCCESS)
}

fn retry(store: &Store, config: &Config, name: &str) -> Result<ExitCode> {
    let letters = letters(store, name)?;
    if letters.is_empty() {
        bail!("no dead letter has a name that begins with `{name}`");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut sent, mut marked, mut failed) = (0, 0, 0);
    for (key, dead) in letters {
        let mut batch = Batch::default();
        match key.split('/').collect::<Vec<_>>()[..] {
            ["source", _] => {
                let again = postcard::to_allocvec(&Dead { again: true, ..dead })?;
                batch.put(Map::Dead, key.as_bytes(), again);
                marked += 1;
            }
            ["sink", sink, position] => {
                let position = position.parse().with_context(|| format!("the dead letter {key}"))?;
                match runtime.block_on(send(config, sink, position, &dead))? {
                    Outcome::Accepted => {
                        batch.delete(Map::Dead, key.as_bytes());
                        sent += 1;
                    }
                    other => {
                        eprintln!("{key}: {}", told(other));
                        failed += 1;
                    }
                }
            }
            _ => bail!("`{key}` is the name of no dead letter that this version knows"),
        }
        store.write(&batch)?;
    }
    eprintln!("{sent} events were sent, {failed} were not taken, {marked} signals will be taken in by the next run");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(outcome: Outcome) -> String {
    match outcome {
        Outcome::Accepted => "accepted".into(),
        Outcome::TimedOut => "no answer in time".into(),
        Outcome::Refused(reason) | Outcome::Failed(reason) | Outcome::Later { reason, .. } => reason,
    }
}

async fn send(config: &Config, name: &str, position: u64, dead: &Dead) -> Result<Outcome> {
    let Some(sink) = config.sinks.iter().find(|sink| sink.name == name) else {
        bail!("{}: there is no `[sink.{name}]`", config.path.display());
    };
    let refused = |error: String| anyhow::anyhow!("[sink.{name}]: {error}");
    let batch = vec![Arc::new(event(position, &dead.line).map_err(refused)?)];
    let sent = match &sink.to {
        SinkTo::Http(http) => HttpSender::new(http).map_err(refused)?.send(batch).await,
        SinkTo::File(path) => FileSender::open(path, None, 1).map_err(refused)?.send(batch).await,
    };
    Ok(sent?.outcomes.pop().unwrap_or(Outcome::TimedOut))
}

fn forget(store: &Store, name: &str) -> Result<ExitCode> {
    let letters = letters(store, name)?;
    let mut batch = Batch::default();
    letters.iter().for_each(|(key, _)| batch.delete(Map::Dead, key.as_bytes()));
    store.write(&batch)?;
    eprintln!("{} dead letters are forgotten", letters.len());
    Ok(ExitCode::SUCCESS)
}
