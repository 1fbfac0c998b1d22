//! `stillhouse score`

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use stillhouse::config::duration::Duration;
use stillhouse::demo::report::Paint;
use stillhouse::score::told::Told;
use stillhouse::score::truth::Truth;
use stillhouse::score::{Report, Score, picture, table};

use super::{By, Score as Arguments};

/// Compares events with the truth, and shows what came of it.
pub fn carry_out(arguments: &Arguments) -> Result<ExitCode> {
    let truths = Truth::load(&arguments.truth)?;
    let events = Told::load(&arguments.events)?;
    let slack: Duration = arguments.slack;
    let score = Score::of(&truths, &events, slack.0);
    let by_subject = arguments.by == By::Subject;
    let report = Report::new(&truths, &events, &score, by_subject, arguments.signals);
    if let Some(path) = &arguments.svg {
        write_picture(path, &picture::svg(&truths, &events, &score)?)?;
    }
    let mut out = std::io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        out.write_all(table::text(&report, paint()).as_bytes())?;
    }
    let clean = score.hits.iter().all(Option::is_some) && report.wrong.is_empty();
    Ok(if arguments.strict && !clean { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Colours, where standard output is a terminal that wants them.
pub fn paint() -> Paint {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Paint(std::io::stdout().is_terminal() && !plain)
}

/// Writes a picture.
pub fn write_picture(path: &Path, svg: &str) -> Result<()> {
    std::fs::write(path, svg).with_context(|| format!("{}: the picture cannot be written", path.display()))
}
