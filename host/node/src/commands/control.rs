//! `stillhouse control`: what the control API needs.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use stillhouse_control::access::{Role, Secret, check_name};

pub const HELP: &str = "The token goes to standard output, what belongs into the configuration to standard error: the
configuration holds only a hash, so the token cannot be shown again.

Example:
  stillhouse control token --name ci --role operator > token";

/// What `control` takes.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a token for the control API.
    #[command(after_help = HELP)]
    Token {
        /// Who carries it, as the audit trail names them.
        #[arg(long, value_parser = name)]
        name: String,
        /// What they may do: viewer (reads), operator (changes), admin (also force, and the audit trail).
        #[arg(long)]
        role: Role,
    },
}

fn name(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned())
}

/// Makes a token.
pub fn carry_out(arguments: &Arguments) -> Result<ExitCode> {
    let What::Token { name, role } = &arguments.what;
    let secret = Secret::generate().context("the system has no randomness to give")?;
    writeln!(std::io::stdout().lock(), "{}", secret.reveal())?;
    eprintln!(
        "\nKeep it; it is not shown again. Add to the configuration:\n\n[[control.token]]\nname = \"{name}\"\nrole = \
         \"{role}\"\nhash = \"{}\"",
        secret.hash()
    );
    Ok(ExitCode::SUCCESS)
}
