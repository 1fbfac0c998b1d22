//! `stillhouse store`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::threads;
use anyhow::Result;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use stillhouse::durable::{Kept, Recorded};
use stillhouse::run::Options;
use stillhouse::scrub::scrub;
use stillhouse::summary::grouped;
use stillhouse_store::{Place, Sequence, Store, check};

pub const HELP: &str = "\
Examples:
  stillhouse store check stillhouse.store
  stillhouse store compact stillhouse.store

Exit codes: 0 sound, 1 damaged or failed, 2 refused.";

const BAR: &str = "{bar:40} {percent:>3} %  {eta} left";

/// What `store` takes.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read all of a store and tell what is damaged. It is not changed.
    Check {
        /// The store.
        store: PathBuf,
    },
    /// Distil every range of the log again and compare the state with the checkpoint at its end.
    Scrub {
        /// The store.
        store: PathBuf,
    },
    /// Give room back to the disk that a store no longer needs.
    Compact {
        /// The store. Nobody else may have it open.
        store: PathBuf,
    },
}

/// Carries out what is wanted.
pub fn carry_out(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.command {
        Command::Check { store } => print_check(store),
        Command::Scrub { store } => scrub_all(store),
        Command::Compact { store } => {
            let (before, after) = Store::open(store)?.compact()?;
            eprintln!("{}: {} bytes, {} before", store.display(), grouped(after), grouped(before));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn scrub_all(path: &Path) -> Result<ExitCode> {
    let recorded = Recorded::open(path)?;
    let options = Options { shards: threads(), threads: threads(), ..Options::default() };
    let all = Kept::all(&recorded.store)?;
    let mut good = true;
    for pair in all.windows(2) {
        let scrubbed = scrub(&recorded, &pair[0], &pair[1], &options)?;
        let said = if scrubbed.is_sound() { "sound" } else { "ANOTHER STATE than was kept: please report this" };
        say!("positions {} to {}: {said}", grouped(scrubbed.from), grouped(scrubbed.to));
        good &= scrubbed.is_sound();
    }
    if all.len() < 2 {
        say!("there are fewer than two checkpoints: nothing to compare");
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_check(path: &Path) -> Result<ExitCode> {
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template(BAR).expect("a sound template"));
    let report = check(path, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    say!("{}: {} bytes, format {}", path.display(), grouped(report.file_bytes), report.format);
    say!("{:12} {:>12} {:>12} {:>12} {:>15} {:>15}", "sequence", "first", "records", "blocks", "bytes", "stored bytes");
    for of in &report.sequences {
        let [first, records, blocks] = [of.first, of.records, of.blocks].map(grouped);
        let [raw, stored] = [of.raw_bytes, of.stored_bytes].map(grouped);
        say!("{:12} {first:>12} {records:>12} {blocks:>12} {raw:>15} {stored:>15}", of.sequence.name());
    }
    say!("{:12} {:>12} {:>12} {:>12} {:>15}", "map", "", "values", "", "bytes");
    for of in &report.maps {
        let [values, raw] = [of.values, of.raw_bytes].map(grouped);
        say!("{:12} {:>12} {values:>12} {:>12} {raw:>15}", of.map.name(), "", "");
    }
    for damage in &report.damages {
        say!("damaged: {}: {}", place(&damage.place), damage.what);
    }
    if !report.is_sound() {
        let listed = report.damages.len() as u64;
        if report.damage_count > listed {
            say!("and {} more", grouped(report.damage_count - listed));
        }
        say!("DAMAGED in {} places; what is not in them can be read", grouped(report.damage_count));
        return Ok(ExitCode::FAILURE);
    }
    let store = Store::open_to_read(path)?;
    let kept = Kept::all(&store)?;
    match kept.last() {
        Some(newest) => say!(
            "a run goes on from position {} of the log, {} entries before its end",
            grouped(newest.state.log),
            grouped(store.next(Sequence::Log) - newest.state.log)
        ),
        None => say!("no run can go on from it: there is no checkpoint"),
    }
    Ok(ExitCode::SUCCESS)
}

fn place(place: &Place) -> String {
    match place {
        Place::Records { sequence, first, end } => {
            format!("positions {} to {} of {}", grouped(*first), grouped(end - 1), sequence.name())
        }
        Place::Value { map, key } => format!("the value of {} in {}", key.escape_ascii(), map.name()),
        Place::Map(map) => format!("{} from some key on", map.name()),
        Place::Database => "the database under all of it".to_owned(),
    }
}
