//! `stillhouse explain`

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::Value;
use stillhouse::durable::Recorded;
use stillhouse::explain::{Explained, event_of, explain};
use stillhouse::run::Options;

use super::threads;

pub const HELP: &str = "\
Examples:
  stillhouse explain --store stillhouse.store 28e16f6e76eb4d6525d48b230e484465   why this event left
  stillhouse explain --store stillhouse.store pod-7                              all that happened to an entity
  stillhouse explain --store stillhouse.store --signal e-1234                    what became of a signal
  stillhouse explain --store stillhouse.store pod-7 --json | jq '.signals[].fate'

Exit codes: 0 something is known, 1 nothing is, 2 refused.";

/// What `explain` takes.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The store.
    #[arg(short, long, value_name = "FILE")]
    store: PathBuf,
    /// The id of an event, or a record key.
    #[arg(required_unless_present = "signal")]
    what: Option<String>,
    /// The id of a signal.
    #[arg(long, value_name = "ID", conflicts_with = "what")]
    signal: Option<String>,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
    /// Show so many of the last signals.
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: usize,
}

/// Explains an event, an entity or a signal.
pub fn carry_out(arguments: &Arguments) -> Result<ExitCode> {
    let recorded = Recorded::open(&arguments.store)?;
    let options = Options { shards: threads(), threads: threads(), ..Options::default() };
    let (mut keys, mut to, mut event) = (BTreeSet::new(), None, None);
    if let Some(what) = &arguments.what {
        match event_of(&recorded, what)? {
            Some((log, found)) => {
                keys.extend(subjects(&found));
                to = Some(log);
                event = Some(found);
            }
            None => drop(keys.insert(what.clone())),
        }
    }
    let mut found = explain(&recorded, &keys, arguments.signal.as_deref(), to, &options)?;
    if let Some(id) = &arguments.signal {
        // What was said of its entity.
        let keys: BTreeSet<String> = found.signals.iter().map(|heard| heard.key.clone()).collect();
        let around = explain(&recorded, &keys, Some(id), None, &options)?;
        found = Explained { signals: around.signals.into_iter().filter(|heard| heard.id == *id).collect(), ..around };
    }
    if arguments.json {
        let all = serde_json::json!({ "event": event, "signals": found.signals, "events": found.events });
        say!("{all}");
    } else {
        tell(&found, event.as_ref(), arguments.last)?;
    }
    let known = event.is_some() || !found.signals.is_empty() || !found.events.is_empty();
    if !known {
        eprintln!(
            "nothing in the log is about that: it is neither the id of an event nor a record key (a signal: --signal ID)"
        );
    }
    Ok(if known { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The record keys that an event is about: its own, or those of its members.
fn subjects(event: &Value) -> Vec<String> {
    let members = event["data"]["members"].as_array().into_iter().flatten();
    let members = members.filter_map(|member| member["key"].as_str());
    event["subject"].as_str().into_iter().chain(members).map(str::to_owned).collect()
}

fn tell(found: &Explained, event: Option<&Value>, last: usize) -> Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if let Some(event) = event {
        let provenance = &event["data"]["provenance"];
        say!("event      {}  {}  {}", text(&event["id"]), text(&event["type"]), text(&event["time"]));
        for (name, rule) in [("mapper", &provenance["mapper"]), ("suppressor", &provenance["suppressor"])] {
            if rule.is_object() {
                say!("{name:10} {} {} {}", text(&rule["name"]), text(&rule["version"]), text(&rule["digest"]));
            }
        }
        say!("config     {}", text(&provenance["config"]));
        say!("inputs     {}", provenance["inputs"]);
    }
    let from = found.signals.len().saturating_sub(last);
    say!("signals    {}{}", found.signals.len(), if from > 0 { format!(", the last {last}:") } else { ":".into() });
    for heard in &found.signals[from..] {
        let state = heard.state.as_deref().unwrap_or("-");
        let time = heard.time.as_deref().unwrap_or("no time");
        say!("  {time}  {} {:10} {}  {}", heard.source, state, heard.id, heard.fate);
    }
    let from = found.events.len().saturating_sub(last);
    say!("events     {}{}", found.events.len(), if from > 0 { format!(", the last {last}:") } else { ":".into() });
    for event in &found.events[from..] {
        let data = &event["data"];
        let change = match (data["from"]["state"].as_str(), data["to"]["state"].as_str()) {
            (from, Some(to)) => format!("{} > {to}", from.unwrap_or("?")),
            _ => data["reason"].as_str().unwrap_or_default().to_owned(),
        };
        say!("  {}  {}  {change}  {}", text(&event["time"]), text(&event["type"]), text(&event["id"]));
    }
    Ok(())
}
