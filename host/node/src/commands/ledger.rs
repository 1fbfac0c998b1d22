//! `stillhouse ledger`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use stillhouse::durable::{Kept, Recorded};
use stillhouse::replay::{Range, replay};
use stillhouse::run::{Options, Unwatched};

use super::threads;

pub const HELP: &str = "\
Every signal that was ever given to a host is in exactly one place of its books. They are made again from the
last checkpoint, so this is quick.

Examples:
  stillhouse ledger --store stillhouse.store
  stillhouse ledger --store stillhouse.store --json | jq .late";

/// What `ledger` takes.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The store.
    #[arg(short, long, value_name = "FILE")]
    store: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Prints the books of a store.
pub fn carry_out(arguments: &Arguments) -> Result<ExitCode> {
    let recorded = Recorded::open(&arguments.store)?;
    let newest = Kept::newest(&recorded.store, u64::MAX)?.context("the store has no checkpoint")?;
    let range = Range { from: Some(newest.state.log), ..Range::default() };
    let options = Options { shards: threads(), threads: threads(), ..Options::default() };
    let replayed = replay(None, &recorded, range, &mut std::io::sink(), &options, &mut Unwatched)?;
    let ledger = replayed.outcome.summary.ledger;
    if arguments.json {
        say!("{}", serde_json::to_string(&ledger)?);
    } else {
        say!("{}", replayed.outcome.summary.books().trim_end());
    }
    Ok(if ledger.balances() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
