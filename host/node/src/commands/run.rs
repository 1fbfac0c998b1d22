//! `stillhouse run`

use std::fs::File;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use stillhouse::config::Config;
use stillhouse::input::Input;
use stillhouse::run::{Options, Watch, run};
use stillhouse::summary::grouped;

use super::output::Output;
use super::{Run, overrides, threads};

/// Runs a configuration over inputs.
pub fn carry_out(arguments: &Run) -> Result<ExitCode> {
    let config = Config::load(&arguments.config, &overrides(arguments.year))?;
    let mut inputs: Vec<Input> = arguments.input.iter().map(|input| Input::of(input)).collect();
    if inputs.is_empty() {
        inputs.push(Input::Stdin);
    }
    if inputs.iter().filter(|input| **input == Input::Stdin).count() > 1 {
        bail!("standard input can be read once only; `--input -` is given twice");
    }
    if inputs == [Input::Stdin] && std::io::stdin().is_terminal() && !arguments.quiet {
        eprintln!("reading standard input; end it with Ctrl-D, or name a file with --input");
    }
    for input in &inputs {
        if let Input::File(path) = input {
            let refused = || format!("{}: cannot be opened", path.display());
            // Opening a named pipe takes it from its writer.
            if std::fs::metadata(path).with_context(refused)?.is_file() {
                File::open(path).with_context(refused)?;
            }
            stillhouse::run::input_config(&config, &input.name())?;
        }
    }
    if config.control.is_some() && !arguments.follow && !arguments.quiet {
        eprintln!("note: `[control]` is served with --follow only");
    }
    let store = arguments.store.as_deref();
    let mut output = Output::new(&arguments.output, &arguments.config, &inputs, store)?;
    if store.is_some() {
        output.append();
    }
    let options = Options {
        shards: arguments.shards.map_or_else(threads, usize::from),
        threads: threads(),
        batch_rows: arguments.batch as usize,
        follow: arguments.follow,
        store: arguments.store.clone(),
        output: Some(PathBuf::from(&arguments.output)).filter(|_| arguments.output != "-"),
        policy: config.store.clone(),
    };
    let mut progress = Progress::new(&inputs, arguments);
    let outcome = run(&config, &inputs, &mut output, &options, &mut progress)?;
    progress.bar.finish_and_clear();
    if !arguments.quiet {
        eprint!("{}", outcome.summary);
    }
    for (sink, events) in &outcome.undelivered {
        eprintln!("note: {} events wait in the store for the sink {sink}", grouped(*events));
    }
    if outcome.differing > 0 {
        eprintln!("error: {} events that were made again are other ones; those that left stand", outcome.differing);
    }
    for (name, reason) in &outcome.broken {
        eprintln!("error: {name}: {reason}; what came before it was distilled");
    }
    Ok(if outcome.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

/// A progress bar on a terminal, nothing elsewhere.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new(inputs: &[Input], arguments: &Run) -> Self {
        // Where the events go to the terminal, a bar would be between them.
        let events_here = arguments.output == "-" && std::io::stdout().is_terminal();
        if arguments.quiet || events_here || !std::io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden() };
        }
        let size_bytes: Option<u64> = inputs.iter().map(Input::size_bytes).sum();
        let bar = match size_bytes.filter(|_| !arguments.follow) {
            Some(bytes) => ProgressBar::new(bytes).with_style(style("{bar:30} {percent:>3} % {bytes:>10} {msg}")),
            None => ProgressBar::new_spinner().with_style(style("{spinner} {bytes:>10} {msg}")),
        };
        Self { bar }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Watch for Progress {
    fn progress(&mut self, signals: u64, bytes: u64) {
        if !self.bar.is_hidden() {
            self.bar.set_position(bytes);
            let rate = signals as f64 / self.bar.elapsed().as_secs_f64().max(0.001);
            self.bar.set_message(format!("{} signals, {} a second", grouped(signals), grouped(rate as u64)));
        }
    }
}
