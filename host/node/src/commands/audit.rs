//! `stillhouse audit`: whether an audit trail is as it was written, and what it says.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use stillhouse::summary::grouped;
use stillhouse_control::audit::{Entry, Outcome, verify};

use super::rules::table::{columns, plain};
use super::score::paint;

pub const HELP: &str = "Each record carries the hash of the one before it, so that one that is changed, removed, put in
or moved shows. Who can write the file can also write its end again, or cut it off; the last
line of `verify` is the head: keep it elsewhere, and --head finds that too.

Examples:
  stillhouse audit verify audit.jsonl
  stillhouse audit verify audit.jsonl --head 3f2a91bc...
  stillhouse audit show audit.jsonl | less

Exit codes: 0 it holds; 1 it does not, or cannot be read; 2 refused.";

/// What `audit` takes.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check the whole chain, and say the first line that is wrong and how.
    Verify {
        /// The audit trail.
        file: PathBuf,
        /// A hash that was the head once, from an earlier `verify` or from the status of the host.
        #[arg(long, value_name = "HASH", value_parser = hash)]
        head: Option<String>,
    },
    /// Print the records as a table.
    Show {
        /// The audit trail.
        file: PathBuf,
    },
}

fn hash(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text);
    }
    Err("expected 64 hexadecimal digits, as `stillhouse audit verify` prints them".into())
}

/// Checks or prints an audit trail.
pub fn carry_out(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.what {
        What::Verify { file, head } => check(file, head.as_deref()),
        What::Show { file } => show(file),
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("{}: the audit trail cannot be opened", path.display()))
}

fn check(path: &Path, head: Option<&str>) -> Result<ExitCode> {
    let file = open(path)?;
    let bar =
        if std::io::stderr().is_terminal() { ProgressBar::new(file.metadata()?.len()) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} % {bytes:>10}");
    let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let verified = verify(&mut BufReader::new(file), head, &mut |bytes| bar.inc(bytes))
        .with_context(|| format!("{}: the audit trail cannot be read", path.display()))?;
    bar.finish_and_clear();
    if verified.torn_bytes > 0 {
        eprintln!(
            "note: the last {} bytes are no whole record: it is being written, or a crash left it; a host that opens \
             the file cuts it off and says so",
            verified.torn_bytes
        );
    }
    let records = grouped(verified.head.records);
    if let Some(fault) = verified.fault {
        eprintln!("error: {}:{}: {fault}\n{records} records before it hold", path.display(), fault.line);
        return Ok(ExitCode::FAILURE);
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}: {records} records hold\nhead {}", path.display(), verified.head.hash)?;
    Ok(ExitCode::SUCCESS)
}

fn show(path: &Path) -> Result<ExitCode> {
    let mut rows = Vec::new();
    // A change is one row: what was asked for is shown by itself only if nothing says how it ended.
    let mut asked: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for (number, line) in BufReader::new(open(path)?).lines().enumerate() {
        let line = line.with_context(|| format!("{}:{}: cannot be read", path.display(), number + 1))?;
        let entry: Entry = serde_json::from_str(&line).with_context(|| {
            format!("{}:{}: is no audit record; `stillhouse audit verify` says more", path.display(), number + 1)
        })?;
        if let Some(of) = entry.record.of {
            asked.remove(&of);
        }
        if entry.record.outcome == Outcome::Asked {
            asked.insert(entry.sequence, row(&entry));
        } else {
            rows.push((entry.sequence, row(&entry)));
        }
    }
    rows.extend(asked);
    rows.sort();
    let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    let head = ["record", "time", "who", "what", "slot", "digest", "outcome", "why", "told"];
    std::io::stdout().lock().write_all(columns(&head, &rows, paint()).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn row(entry: &Entry) -> Vec<String> {
    let record = &entry.record;
    let or_dash = |text: Option<&str>| text.filter(|text| !text.is_empty()).map_or("-".into(), plain);
    let role = record.role.map_or(String::new(), |role| format!(" ({role})"));
    let slot = record.signal.as_ref().zip(record.kind).map(|(signal, kind)| format!("{signal} {kind}"));
    vec![
        entry.sequence.to_string(),
        format!("{:.0}", record.time),
        plain(&format!("{}{role}", record.who)),
        plain(&record.what),
        or_dash(slot.as_deref()),
        or_dash(record.digest.as_deref().map(|digest| digest.get(..8).unwrap_or(digest))),
        record.outcome.name().into(),
        or_dash(Some(&record.why)),
        or_dash(record.told.as_deref()),
    ]
}
