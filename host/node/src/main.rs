//! `stillhouse`: distils noisy state into few, durable, explainable events.

use std::process::ExitCode;

use clap::Parser;

mod commands;

fn main() -> ExitCode {
    // A reader that has seen enough, such as `head`, is no error.
    let arguments = commands::Arguments::parse();
    commands::start_log(&arguments);
    match commands::carry_out(arguments) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            let usage = error.downcast_ref::<stillhouse::config::ConfigError>().is_some();
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.into_iter().any(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
