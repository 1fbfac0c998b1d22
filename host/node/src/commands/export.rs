//! `stillhouse export`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};

pub const HELP: &str = "\
The log has a row for each record as it was given (after masking), and one for each entry that is something
else: a tick, a table, a rollout. The events have a row each. EXPORT.md tells of the columns.

Examples:
  stillhouse export --store stillhouse.store --what events --to events.parquet
  stillhouse export --store stillhouse.store --what log --to log.parquet --columns position,source,raw
  stillhouse export --store stillhouse.store --what log --to part.parquet --from-position 1000 --to-position 2000
  duckdb -c \"SELECT type, count(*) FROM 'events.parquet' GROUP BY type\"

The store is only read. Exit codes: 0 done, 1 failed, 2 refused (the command line, or a
program that was built without this).";

/// What `export` takes.
#[derive(Args, Debug)]
// Without the feature nothing is done with them.
#[cfg_attr(not(feature = "export"), allow(dead_code))]
pub struct Arguments {
    /// The store.
    #[arg(short, long, value_name = "FILE")]
    store: PathBuf,
    /// What of it.
    #[arg(short, long, value_enum)]
    what: What,
    /// The file to write. It has its name once it is whole.
    #[arg(short, long, value_name = "FILE")]
    to: PathBuf,
    /// Begin at this position of the log, or of the events. [default: the oldest that is kept]
    #[arg(long, value_name = "POSITION")]
    from_position: Option<u64>,
    /// End before this position. [default: all]
    #[arg(long, value_name = "POSITION")]
    to_position: Option<u64>,
    /// Only these columns, in this order.
    #[arg(short, long, value_name = "NAMES", value_delimiter = ',')]
    columns: Option<Vec<String>>,
    /// No progress and no summary on standard error.
    #[arg(short, long)]
    quiet: bool,
}

/// What of a store is exported.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// What the core was given.
    Log,
    /// What left.
    Events,
}

/// Tells how to get a program that can do it.
#[cfg(not(feature = "export"))]
pub fn carry_out(_: &Arguments) -> Result<ExitCode> {
    eprintln!(
        "error: this program was built without `export`; in the repository of Stillhouse, \
        `cargo xtask build --features export` builds one that has it"
    );
    Ok(ExitCode::from(2))
}

/// Writes a Parquet file.
#[cfg(feature = "export")]
pub fn carry_out(arguments: &Arguments) -> Result<ExitCode> {
    use stillhouse::durable::Recorded;
    use stillhouse::export::{Selection, What as Of, export};
    use stillhouse::summary::grouped;

    if arguments.to.as_os_str() == "-" {
        anyhow::bail!("--to: expected a file; Parquet cannot be written to standard output");
    }
    let recorded = Recorded::open(&arguments.store)?;
    let selection = Selection {
        what: match arguments.what {
            What::Log => Of::Log,
            What::Events => Of::Events,
        },
        from: arguments.from_position,
        to: arguments.to_position,
        columns: arguments.columns.clone(),
    };
    let bar = bar(arguments.quiet);
    let begun = stillhouse::clock::moment();
    let mut told = |done: u64, of: u64, rows: u64| {
        if !bar.is_hidden() {
            bar.set_length(of);
            bar.set_position(done);
            bar.set_message(format!("{} rows", grouped(rows)));
        }
    };
    let exported = export(&recorded, &selection, &arguments.to, &mut told)?;
    bar.finish_and_clear();
    if !arguments.quiet {
        let took_s = begun.elapsed().as_secs_f64();
        eprintln!(
            "{}: {} rows in {} row groups, {} bytes ({:.1} a row), {} rows a second",
            arguments.to.display(),
            grouped(exported.rows),
            grouped(exported.row_groups as u64),
            grouped(exported.file_bytes),
            exported.file_bytes as f64 / exported.rows.max(1) as f64,
            grouped((exported.rows as f64 / took_s.max(0.001)) as u64)
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// A bar on a terminal, nothing elsewhere.
#[cfg(feature = "export")]
fn bar(quiet: bool) -> indicatif::ProgressBar {
    use std::io::IsTerminal;

    use indicatif::{ProgressBar, ProgressStyle};
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} % {msg}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
