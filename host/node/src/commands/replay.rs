//! `stillhouse replay`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use stillhouse::config::Config;
use stillhouse::durable::Recorded;
use stillhouse::replay::{Range, Replayed, Verify, position_before, replay};
use stillhouse::run::{Options, Watch};
use stillhouse::summary::grouped;
use stillhouse_store::Sequence;

use super::output::Output;
use super::{overrides, threads};

pub const HELP: &str = "\
Examples:
  stillhouse replay --store stillhouse.store                  what it said, once more
  stillhouse replay --store stillhouse.store --verify         is it, to the byte, what left then?
  stillhouse replay --store stillhouse.store -c new.toml      what another configuration makes of it
  stillhouse replay --store stillhouse.store --from 120000    from the checkpoint before this position on
  stillhouse replay --store stillhouse.store --from 2026-03-01T12:00:00Z --to 2026-03-01T13:00:00Z
  stillhouse replay --store stillhouse.store -c new.toml --into scratch.store     to explain, diff or export it

The store is only read, also while a run writes to a copy of it. Exit codes: 0 done, 1 failed or (with
--verify) something is other than it was, 2 refused.";

/// What `replay` takes.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The store.
    #[arg(short, long, value_name = "FILE")]
    store: PathBuf,
    /// Another configuration than the one that the log was written with.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where events go; `-` for standard output.
    #[arg(short, long, value_name = "PATH", default_value = "-")]
    output: String,
    /// Begin at the last checkpoint before this position of the log, or before this event time.
    #[arg(long, value_name = "POSITION|TIME", value_parser = place)]
    from: Option<Place>,
    /// End before this position of the log, or once all up to this event time is distilled.
    #[arg(long, value_name = "POSITION|TIME", value_parser = place)]
    to: Option<Place>,
    /// Keep what is given and what is made of it in this new store, which can be asked as any other.
    #[arg(long, value_name = "FILE", conflicts_with = "verify")]
    into: Option<PathBuf>,
    /// Compare with what left then instead of writing it.
    #[arg(long, conflicts_with_all = ["config", "output"])]
    verify: bool,
    /// The year of event times that have none, instead of the configuration's.
    #[arg(long, value_name = "YEAR", requires = "config")]
    year: Option<i16>,
    /// No progress and no summary on standard error.
    #[arg(short, long)]
    quiet: bool,
}

/// A place of the log.
#[derive(Clone, Copy, Debug)]
enum Place {
    Position(u64),
    /// Event time.
    Time(i64),
}

fn place(text: &str) -> Result<Place, String> {
    if let Ok(position) = text.parse() {
        return Ok(Place::Position(position));
    }
    let time = text.parse::<jiff::Timestamp>();
    time.map(|time| Place::Time(time.as_microsecond()))
        .map_err(|_| "expected a position such as 120000, or a time such as 2026-03-01T12:00:00Z".to_owned())
}

fn range(arguments: &Arguments, recorded: &Recorded) -> Result<Range> {
    let from = match arguments.from {
        Some(Place::Position(position)) => Some(position),
        Some(Place::Time(time_us)) => Some(position_before(recorded, time_us)?),
        None => None,
    };
    let (to, until_us) = match arguments.to {
        Some(Place::Position(position)) => (Some(position), None),
        Some(Place::Time(time_us)) => (None, Some(time_us)),
        None => (None, None),
    };
    if from.zip(to).is_some_and(|(from, to)| from >= to) {
        bail!("--from must be before --to");
    }
    Ok(Range { from, to, until_us })
}

/// Distils a log again.
pub fn carry_out(arguments: &Arguments) -> Result<ExitCode> {
    let config = match &arguments.config {
        Some(path) => Some(Config::load(path, &overrides(arguments.year))?),
        None => None,
    };
    let recorded = Recorded::open(&arguments.store)?;
    let range = range(arguments, &recorded)?;
    let store = arguments.into.clone();
    let options = Options { shards: threads(), threads: threads(), store, ..Options::default() };
    let mut progress = Progress::new(arguments.quiet);
    if arguments.verify {
        return verify(&recorded, range, &options, &mut progress, arguments.quiet);
    }
    let written_to = arguments.config.as_deref().unwrap_or(&arguments.store);
    let mut output = Output::new(&arguments.output, written_to, &[], Some(&arguments.store))?;
    let replayed = replay(config.as_ref(), &recorded, range, &mut output, &options, &mut progress)?;
    progress.end();
    if !arguments.quiet {
        eprint!("{}", replayed.outcome.summary);
        told(&replayed);
    }
    Ok(ExitCode::SUCCESS)
}

fn told(replayed: &Replayed) {
    for other in &replayed.other_mappers {
        eprintln!("note: {other}");
    }
    if !replayed.same_config {
        eprintln!("note: the log was written with another configuration; the events say what this one makes of it");
    }
    if replayed.from > 0 {
        eprintln!("note: from position {} of the log on", grouped(replayed.from));
    }
}

fn verify(
    recorded: &Recorded,
    range: Range,
    options: &Options,
    progress: &mut Progress,
    quiet: bool,
) -> Result<ExitCode> {
    let mut verify = Verify::from(recorded, range.from.unwrap_or(0))?;
    let replayed = replay(None, recorded, range, &mut verify, options, progress)?;
    progress.end();
    // What left after the end of the range is not looked at.
    let is_whole = range.to.is_none() && range.until_us.is_none();
    let missing = if is_whole { verify.missing()? } else { 0 };
    let good = verify.differing == 0 && missing == 0;
    if !quiet || !good {
        let entries = recorded.store.next(Sequence::Log) - replayed.from;
        eprintln!(
            "{} events are, to the byte, what left; {} are not; {} were not made again ({} entries of the log, {:.1} s)",
            grouped(verify.same),
            grouped(verify.differing),
            grouped(missing),
            grouped(entries),
            replayed.outcome.summary.took.as_secs_f64()
        );
        if verify.beyond > 0 {
            eprintln!("note: {} more had not left yet when the store was last written", grouped(verify.beyond));
        }
    }
    if let Some((position, was, is)) = &verify.first {
        say!("the first that is another one is event {position}:\n- {was}\n+ {is}");
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How far a replay is, on a terminal.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A spinner with the count of signals, unless it must be `quiet`.
    pub fn new(quiet: bool) -> Self {
        use std::io::IsTerminal;
        if quiet || !std::io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden() };
        }
        let style =
            ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        Self { bar: ProgressBar::new_spinner().with_style(style) }
    }

    /// Takes it away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl Watch for Progress {
    fn progress(&mut self, signals: u64, _: u64) {
        if !self.bar.is_hidden() {
            let rate = signals as f64 / self.bar.elapsed().as_secs_f64().max(0.001);
            self.bar.set_message(format!("{} signals, {} a second", grouped(signals), grouped(rate as u64)));
            self.bar.tick();
        }
    }
}
