//! `stillhouse tune`

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use stillhouse::config::duration::Duration;
use stillhouse::config::{Config, did_you_mean, listed};
use stillhouse::input::Input;
use stillhouse::run::{Options, Watch};
use stillhouse::score::truth::Truth;
use stillhouse::summary::grouped;
use stillhouse::tune::Past;
use stillhouse::tune::front::{knee, pareto};
use stillhouse::tune::grid::{Grid, Point};
use stillhouse::tune::picture;
use stillhouse::tune::table::{Choice, LEGEND};
use stillhouse_core::plan::{Mode, TypePlan};

use super::score::{paint, write_picture};
use super::{Tune, overrides, threads};

/// Runs the grid over the past, and shows what is quick and what is quiet.
pub fn carry_out(arguments: &Tune) -> Result<ExitCode> {
    let config = Config::load(&arguments.config, &overrides(arguments.year))?;
    let names: Vec<&str> = config.signals.iter().map(|signal| signal.name.as_str()).collect();
    if let Some(unknown) = arguments.signal.iter().find(|name| !names.contains(&name.as_str())) {
        let near = did_you_mean(unknown, &names);
        bail!("--signal {unknown}: {} has no such type; it has {}{near}", config.path.display(), listed(&names));
    }
    let truths = arguments.truth.as_deref().map(Truth::load).transpose()?.unwrap_or_default();
    let inputs: Vec<Input> = arguments.input.iter().map(|input| Input::of(input)).collect();
    let options = Options { shards: threads(), threads: threads(), ..Options::default() };
    let shown = !arguments.quiet && std::io::stderr().is_terminal();
    let mut reading = Reading(bar(shown, "{spinner} {bytes:>10} read, {msg} signals", 0));
    let past = Past::read(&config, &inputs, &options, &mut reading)?;
    reading.0.finish_and_clear();
    let us = |durations: &[Duration]| -> Vec<i64> { durations.iter().map(|duration| duration.0).collect() };
    let grid = Grid::new(&past.plan, &us(&arguments.hold_down), &us(&arguments.hold_open))?;
    let bar = bar(shown, "{bar:30} {percent:>3} % point {pos} of {len}, {eta} left", grid.points.len() as u64);
    let by_type = past.measure(&grid, &truths, &|| bar.inc(1));
    bar.finish_and_clear();

    let fronts: Vec<Vec<usize>> = by_type.iter().map(|measured| pareto(measured)).collect();
    // Holds are about states that last.
    let lasting = |plan: &TypePlan| plan.mode == Mode::State;
    let choices: Vec<Choice<'_>> = past
        .plan
        .types
        .iter()
        .zip(by_type.iter().zip(&fronts))
        .filter(|(plan, _)| lasting(plan))
        .filter(|(plan, _)| arguments.signal.is_empty() || arguments.signal.contains(&plan.name))
        .map(|(plan, (measured, front))| Choice {
            name: &plan.name,
            measured,
            front,
            knee: knee(measured, front),
            configured: Point::configured(plan),
        })
        .collect();
    if choices.is_empty() {
        bail!("nothing to tune: holds are about states that last, and no such type has `mode = \"state\"`");
    }
    let mut out = std::io::stdout().lock();
    let paint = paint();
    writeln!(out, "{} signals, {} points", grouped(past.signals), grid.points.len())?;
    for choice in &choices {
        write!(out, "\n{}", choice.table(paint))?;
    }
    write!(out, "{}", paint.dim(LEGEND))?;
    for snippet in choices.iter().filter_map(Choice::snippet) {
        write!(out, "\n{snippet}")?;
    }
    if let Some(path) = &arguments.svg {
        write_picture(path, &picture::svg(&choices)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Nothing, unless somebody sees it.
fn bar(shown: bool, template: &str, length: u64) -> ProgressBar {
    let bar = if shown { ProgressBar::new(length) } else { ProgressBar::hidden() };
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

struct Reading(ProgressBar);

impl Watch for Reading {
    fn progress(&mut self, signals: u64, bytes: u64) {
        self.0.set_position(bytes);
        self.0.set_message(grouped(signals));
    }
}
