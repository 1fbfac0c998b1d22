//! `stillhouse rule`: the tools of who writes rules.

mod bench;
mod build;
mod inspect;
mod lint;
mod new;
mod run;
mod sign;
mod test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use stillhouse::author::folder::Folder;
use stillhouse::author::places::{Sources, of_panic};
use stillhouse_rules::{LoadError, Rule, RuleEngine};

/// What `rule` takes.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the folder of a new rule, with an example that builds.
    #[command(after_help = "Examples:\n  \
        stillhouse rule new net-link\n  \
        stillhouse rule new at-night --kind suppressor\n  \
        stillhouse rule new net-link --language python\n\n\
        Exit codes: 0 made; 2 refused, and nothing was written over.")]
    New(New),
    /// Build the rule of a folder, and load it as the host would.
    #[command(after_help = "Leaves NAME.wasm in the folder. A folder with a Cargo.toml is built with cargo, another \
        one with its script `build`, which leaves rule.wasm.\n\nExamples:\n  \
        stillhouse rule build\n  \
        stillhouse rule build rules/net-link && cp rules/net-link/net-link.wasm /etc/stillhouse/rules/\n\n\
        Exit codes: 0 built and sound; 1 it does not build, or the host refuses it; 2 refused command line.")]
    Build(Build),
    /// Run the cases of a rule, natively and in WebAssembly, and say which states none of them reaches.
    #[command(after_help = "Examples:\n  \
        stillhouse rule test\n  \
        stillhouse rule test net-link.wasm\n  \
        stillhouse rule test --json | jq -r '.cases[] | select(.passed | not) | .name'\n\n\
        Exit codes: 0 all pass; 1 a case fails, or it does not build; 2 refused command line.")]
    Test(Test),
    /// Ask a rule about the signals of a file, and show its answers.
    #[command(after_help = RUN_HELP)]
    Run(Run),
    /// Measure time and fuel for each signal, and compare with another version.
    #[command(after_help = BENCH_HELP)]
    Bench(Bench),
    /// Show what a rule's file is: name, version, fields, states, cases, imports, signature.
    #[command(after_help = "Examples:\n  \
        stillhouse rule inspect net-link.wasm\n  \
        stillhouse rule inspect net-link.wasm --json | jq -r .digest\n\n\
        Exit codes: 0 shown; 1 the host would refuse it (what can be seen from outside is shown); 2 refused command line.")]
    Inspect(Inspect),
    /// Look for what works, but is unwise.
    #[command(
        after_help = "Looks for states and fields that no case shows, reasons that have values in them, failures on \
        odd signals, much fuel, large files, and more. Given a folder it says the line.\n\nExamples:\n  \
        stillhouse rule lint\n  \
        stillhouse rule lint --strict net-link.wasm\n\n\
        Exit codes: 0 nothing bad (warnings may be shown); 1 errors were found, or with --strict anything; 2 refused \
        command line."
    )]
    Lint(Lint),
    /// Make a pair of keys to sign rules with.
    #[command(
        after_help = "PATH is the private key, which only you can read; PATH.pub is for everybody.\n\nExample:\n  \
        stillhouse rule keygen ~/.config/stillhouse/team-key\n\n\
        Exit codes: 0 made; 1 not made; a key is never written over."
    )]
    Keygen {
        /// Where the private key is written.
        path: PathBuf,
    },
    /// Sign a rule's file.
    #[command(after_help = "Leaves the signature in FILE.wasm.sig: put the two side by side.\n\nExample:\n  \
        stillhouse rule sign net-link.wasm --key ~/.config/stillhouse/team-key\n\n\
        Exit codes: 0 signed; 1 not signed.")]
    Sign {
        /// The rule.
        #[arg(value_name = "FILE.wasm")]
        file: PathBuf,
        /// The private key, as `keygen` wrote it.
        #[arg(long, value_name = "KEYFILE")]
        key: PathBuf,
    },
    /// Check the signature of a rule's file.
    #[command(after_help = "A host checks by itself where its configuration names keys:\n  \
        [rules]\n  trust = [\"ed25519:3f2a..\"]\n\nExamples:\n  \
        stillhouse rule verify net-link.wasm --key team-key.pub\n  \
        stillhouse rule verify net-link.wasm --key ed25519:3f2a..\n\n\
        Exit codes: 0 valid; 1 not valid, or not signed.")]
    Verify {
        /// The rule.
        #[arg(value_name = "FILE.wasm")]
        file: PathBuf,
        /// A public key, or a file that has one. May be given again: one of them must have signed.
        #[arg(long, value_name = "PUBLIC|FILE", required = true)]
        key: Vec<String>,
    },
}

/// What `rule new` takes.
#[derive(Args, Debug)]
pub struct New {
    /// Name of the rule, or a path that ends with it: lower-case letters, digits and hyphens.
    name: PathBuf,
    /// A mapper says what a signal means, a suppressor when to stay quiet.
    #[arg(long, value_enum, default_value_t = KindName::Mapper)]
    kind: KindName,
    /// What it is written in: rust, javascript, python or c.
    #[arg(long, value_name = "LANGUAGE", default_value = "rust")]
    language: String,
}

/// A kind of rule.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum KindName {
    /// Says what a signal means.
    Mapper,
    /// Says when to stay quiet.
    Suppressor,
}

/// What `rule build` takes.
#[derive(Args, Debug)]
pub struct Build {
    /// The folder of the rule.
    #[arg(default_value = ".")]
    folder: PathBuf,
}

/// What `rule test` takes.
#[derive(Args, Debug)]
pub struct Test {
    /// The folder of the rule, which is built first, or its file.
    #[arg(value_name = "FOLDER|FILE.wasm", default_value = ".")]
    rule: PathBuf,
    /// Only in WebAssembly, not natively.
    #[arg(long)]
    wasm_only: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

const RUN_HELP: &str = r#"Without -c each record is a CloudEvent, or a JSON object with the fields that the rule reads:
`data.status` may stand at "data":{"status":..} or at "status". The records of a suppressor are
candidates: {"key":"shop/cart","time":"2026-03-01T10:00:00Z","severity":2,"healthy":false}

With -c signals are decoded as the configuration says, and the rule is asked in the place of the
mapper or suppressor that the type has; a suppressor about the candidates that leave when nothing
is held back. Fuel is that of the signal alone; in a batch it is less.

Examples:
  stillhouse rule run net-link.wasm --input signals.jsonl
  stillhouse rule run net-link.wasm -c stillhouse.toml --input app.log --first 20
  stillhouse rule run net-link.wasm -i signals.jsonl --json | jq -r .outcome | sort | uniq -c

Exit codes: 0 asked; 1 the rule or the input is refused, or the rule failed on a signal; 2 refused
configuration or command line."#;

/// Where the signals of `rule run` and `rule bench` come from.
#[derive(Args, Debug)]
pub struct Source {
    /// Signals, `.gz` as it is; `-` for standard input.
    #[arg(short, long, value_name = "PATH")]
    input: String,
    /// Read them as this configuration says.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The signal type, where the configuration has several.
    #[arg(long, value_name = "TYPE", requires = "config")]
    signal: Option<String>,
    /// A setting of the rule, instead of those of the configuration. May be given again.
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// The year of event times that have none, instead of the configuration's.
    #[arg(long, value_name = "YEAR")]
    year: Option<i16>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// What `rule run` takes.
#[derive(Args, Debug)]
pub struct Run {
    /// The rule.
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    #[command(flatten)]
    source: Source,
    /// Only the first so many signals.
    #[arg(long, value_name = "N")]
    first: Option<u64>,
    /// One JSON object for each signal.
    #[arg(long)]
    json: bool,
}

const BENCH_HELP: &str =
    "Every size of batch is run several times, in turns with the other version; told is the median.
Fuel is the same on every machine, time is not. The ratio is this version to the other: below 1
it is cheaper. With -c the other version is the one that the configuration names, unless
--against names one. Answers are compared signal by signal.

Examples:
  stillhouse rule bench net-link.wasm --input signals.jsonl
  stillhouse rule bench net-link.wasm -i signals.jsonl --against /etc/stillhouse/rules/net-link.wasm
  stillhouse rule bench net-link.wasm -c stillhouse.toml --signal net.link -i app.log

Exit codes: 0 measured; 1 a rule or the input is refused; 2 refused configuration or command line.";

/// What `rule bench` takes.
#[derive(Args, Debug)]
pub struct Bench {
    /// The rule.
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    #[command(flatten)]
    source: Source,
    /// The version to compare with.
    #[arg(long, value_name = "OTHER.wasm")]
    against: Option<PathBuf>,
    /// Only the first so many signals; they are held in memory.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    first: u64,
    /// How often each is measured.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    runs: u32,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// What `rule inspect` takes.
#[derive(Args, Debug)]
pub struct Inspect {
    /// The rule.
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// What `rule lint` takes.
#[derive(Args, Debug)]
pub struct Lint {
    /// The folder of the rule, which is built first, or its file.
    #[arg(value_name = "FOLDER|FILE.wasm", default_value = ".")]
    rule: PathBuf,
    /// Fail on warnings, too.
    #[arg(long)]
    strict: bool,
    /// One JSON object for each finding.
    #[arg(long)]
    json: bool,
}

/// Carries a command out.
pub fn carry_out(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.command {
        Command::New(new) => new::carry_out(new),
        Command::Build(build) => build::carry_out(build),
        Command::Test(test) => test::carry_out(test),
        Command::Run(run) => run::carry_out(run),
        Command::Bench(bench) => bench::carry_out(bench),
        Command::Inspect(inspect) => inspect::carry_out(inspect),
        Command::Lint(lint) => lint::carry_out(lint),
        Command::Keygen { path } => sign::keygen(path),
        Command::Sign { file, key } => sign::sign(file, key),
        Command::Verify { file, key } => sign::verify(file, key),
    }
}

/// What the command line cannot be followed in: exit code 2.
fn refused(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(2)
}

/// A rule's file, and the sources that it was built from, if a folder was named.
struct Built {
    file: PathBuf,
    folder: Option<Folder>,
    sources: Sources,
}

/// The file that is named, or what the folder that is named builds.
fn built(path: &Path) -> Result<Built> {
    if path.is_dir() || path.extension().is_none_or(|extension| extension != "wasm") {
        let folder = Folder::open(path).map_err(|error| anyhow!(error))?;
        let file = folder.build().map_err(|error| anyhow!(error))?;
        let sources = Sources::read(&folder.path);
        return Ok(Built { file, folder: Some(folder), sources });
    }
    Ok(Built { file: path.to_owned(), folder: None, sources: Sources::default() })
}

/// Loads a rule, and says of a refusal where its author finds it.
fn load(engine: &RuleEngine, bytes: &[u8], path: &Path, sources: &Sources) -> Result<Rule> {
    engine.load(bytes).map_err(|error| anyhow!("{}: {}", path.display(), explained(&error, sources)))
}

/// The rule in a file.
fn load_file(engine: &RuleEngine, path: &Path) -> Result<Rule> {
    let bytes = engine.read_file(path)?;
    load(engine, &bytes, path, &Sources::default())
}

/// A refusal, with the author's line where it can be known.
fn explained(error: &LoadError, sources: &Sources) -> String {
    let text = error.to_string();
    let place = match error {
        LoadError::Cases { results } => {
            results.iter().find(|result| !result.passed()).and_then(|result| sources.quoted(&result.name))
        }
        LoadError::Impure { row, .. } | LoadError::Manifest(row) => {
            // Both name what they are about in backquotes: the case, or a name.
            row.split('`').skip(1).step_by(2).find_map(|name| sources.quoted(name))
        }
        LoadError::Fails { failure, .. } => of_panic(&failure.text),
        _ => None,
    };
    match place {
        Some(place) if !text.contains(&place.to_string()) => format!("{text}\n  at {place}"),
        _ => text,
    }
}
