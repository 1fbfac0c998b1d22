//! Why an engine cannot start, a rule cannot be loaded, an instance cannot be made.

use std::path::PathBuf;

use crate::cases::CaseResult;
use crate::failure::Failure;

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// wasmtime refuses the settings or the machine.
    #[error("cannot start the WebAssembly engine: {0}")]
    Runtime(String),
    /// The folder for compiled rules is not usable.
    #[error("cache folder {}: {why}", .path.display())]
    CacheFolder {
        /// The folder as configured.
        path: PathBuf,
        /// What is wrong with it and what to do.
        why: String,
    },
}

/// What was being done with a rule that failed before it could be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its start function, or memory and tables that it begins with.
    Start,
    /// `describe`.
    Describe,
    /// `configure`.
    Configure,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Describe => "describe itself",
            Self::Configure => "take its settings",
        })
    }
}

/// Why a file is not a rule that may run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not WebAssembly, or not valid.
    #[error("not a WebAssembly rule: {0}")]
    NotWasm(String),
    /// The file is over one of the bounds on what is compiled.
    #[error("too large: {what} {got}, limit {limit} (`{setting}`)")]
    TooLarge {
        /// What was measured.
        what: &'static str,
        /// Its size.
        got: String,
        /// The bound.
        limit: String,
        /// The field of [`Limits`](crate::Limits).
        setting: &'static str,
    },
    /// It wants something from outside.
    #[error("imports `{import}`, and a rule may import nothing but `stillhouse:rules/log`: {fix}")]
    Import {
        /// The name as the file has it.
        import: String,
        /// What the author can do.
        fix: String,
    },
    /// It is no rule of a kind that this host knows.
    #[error("wrong exports: {0}")]
    Exports(String),
    /// A core module could not be made a component.
    #[error("cannot wrap the module as a component: {0}")]
    Wrap(String),
    /// The compiler refuses it.
    #[error("cannot compile: {0}")]
    Compile(String),
    /// The compiler did not come to an end within its bounds, or broke on it.
    #[error("{0}")]
    Compiler(String),
    /// It failed before it could be asked.
    #[error("the rule fails to {stage}: {failure}")]
    Fails {
        /// What it was doing.
        stage: Stage,
        /// What happened, with the limit.
        failure: Failure,
    },
    /// What it says of itself is not sound.
    #[error("manifest: {0}")]
    Manifest(String),
    /// Its own test cases do not pass.
    #[error("{} of its {} test cases fail; the first is {}", .results.iter().filter(|r| !r.passed()).count(), .results.len(), first_failed(.results))]
    Cases {
        /// All cases, in the order of the manifest.
        results: Vec<CaseResult>,
    },
    /// The same signal got two answers.
    #[error(
        "not pure: {row} is answered with {one} {one_how}, but with {other} {other_how}; an answer may depend on the row, its memo and the settings only"
    )]
    Impure {
        /// Which case or probe.
        row: String,
        /// An answer.
        one: String,
        /// How it was asked.
        one_how: &'static str,
        /// The other answer.
        other: String,
        /// How it was asked.
        other_how: &'static str,
    },
    /// No instance can be made at the moment.
    #[error(transparent)]
    Instance(#[from] InstanceError),
}

/// Why an instance cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// The rule is of the other kind.
    #[error("rule `{rule}` is a {got}, not a {expected}")]
    Kind {
        /// The rule's name.
        rule: String,
        /// What was asked for.
        expected: &'static str,
        /// What it is.
        got: &'static str,
    },
    /// The rule does not accept its settings.
    #[error("rule `{rule}` refuses its settings: {why}")]
    Settings {
        /// The rule's name.
        rule: String,
        /// The rule's own words, or the bound that was hit.
        why: String,
    },
    /// The rule fails before it can be asked.
    #[error("rule `{rule}` fails to {stage}: {failure}")]
    Fails {
        /// The rule's name.
        rule: String,
        /// What it was doing.
        stage: Stage,
        /// What happened.
        failure: Failure,
    },
    /// The engine has as many instances as it may have.
    #[error("all {max} rule instances are in use; raise `instances_max` or use fewer workers or rules")]
    TooMany {
        /// The bound.
        max: u32,
    },
}

fn first_failed(results: &[CaseResult]) -> String {
    results.iter().find(|r| !r.passed()).map_or_else(|| "none".to_owned(), CaseResult::to_string)
}
