//! `stillhouse demo`

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use stillhouse::config::{Config, Overrides};
use stillhouse::demo::Files;
use stillhouse::demo::day::Day;
use stillhouse::demo::report::{Paint, Report};
use stillhouse::demo::truth::Score;
use stillhouse::input::Input;
use stillhouse::run::{Options, Outcome, Watch, run};

use super::{Demo, threads};

/// Makes a day, runs it, and shows what came out. Fails if anything is missed or false.
pub fn carry_out(arguments: &Demo) -> Result<ExitCode> {
    let files = Files::of(&arguments.output);
    let overwritten = files.are_there()?;
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    bar.set_message("making a day of trouble");
    bar.tick();
    let day = Day::new(arguments.seed);
    files.write(&day)?;
    let outcome = distil(&files, &bar)?;
    bar.finish_and_clear();
    let events = files.read_events()?;
    let score = Score::of(&day.truths, &events);
    let report = Report {
        seed: arguments.seed,
        day: &day,
        events: &events,
        score: &score,
        summary: &outcome.summary,
        files: &files,
        overwritten,
    };
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let paint = Paint(std::io::stdout().is_terminal() && !plain);
    std::io::stdout().write_all(report.text(paint).as_bytes())?;
    Ok(if score.is_perfect() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// As `stillhouse run` would.
fn distil(files: &Files, bar: &ProgressBar) -> Result<Outcome> {
    let config = Config::load(&files.configuration, &Overrides::default())?;
    let inputs = [Input::File(files.signals.clone())];
    let mut output =
        File::create(&files.events).with_context(|| format!("{}: cannot be written", files.events.display()))?;
    let options = Options { shards: threads(), threads: threads(), ..Options::default() };
    bar.set_message("loading the rules");
    if let Some(bytes) = inputs[0].size_bytes() {
        bar.set_length(bytes);
    }
    bar.set_style(
        ProgressStyle::with_template("{bar:30} {percent:>3} % {msg}").unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    run(&config, &inputs, &mut output, &options, &mut Progress(bar))
}

struct Progress<'a>(&'a ProgressBar);

impl Watch for Progress<'_> {
    fn progress(&mut self, signals: u64, bytes: u64) {
        if !self.0.is_hidden() {
            self.0.set_position(bytes);
            self.0.set_message(format!("{} signals", stillhouse::summary::grouped(signals)));
        }
    }
}
