//! Runs the program in memory, as its command line would, and reads what leaves.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;
use stillhouse::config::{Config, Overrides};
use stillhouse::durable::{Policy, Recorded};
use stillhouse::input::Input;
use stillhouse::replay::{Range, Replayed};
use stillhouse::run::{Options, Outcome, Unwatched};

/// As most tests run: two of everything that must not matter.
pub const OPTIONS: Options = Options {
    shards: 2,
    threads: 2,
    batch_rows: 1024,
    follow: false,
    store: None,
    policy: Policy::DEFAULT,
    output: None,
};

/// Distils the log of a store again.
pub fn replay(config: &Config, store: &Path, output: &mut (dyn Write + Send), options: &Options) -> Result<Replayed> {
    let recorded = Recorded::open(store)?;
    let options = Options { store: None, follow: false, ..options.clone() };
    stillhouse::replay::replay(Some(config), &recorded, Range::default(), output, &options, &mut Unwatched)
}

/// What left, and what the run came to.
#[derive(Debug)]
pub struct Ran {
    pub bytes: Vec<u8>,
    pub outcome: Outcome,
}

impl Ran {
    /// The events, each as JSON.
    pub fn events(&self) -> Vec<Value> {
        self.lines().map(|line| serde_json::from_slice(line).expect("an event is JSON")).collect()
    }

    /// The events, each as it was written.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
    }

    /// The events of one type, without the `stillhouse.` in front of it.
    pub fn of_type(&self, kind: &str) -> Vec<Value> {
        let kind = format!("stillhouse.{kind}");
        self.events().into_iter().filter(|event| event["type"] == *kind).collect()
    }

    /// The reasons of the dead letters, in their order.
    pub fn dead_reasons(&self) -> Vec<String> {
        self.of_type("dead-letter").iter().map(|event| text(&event["data"]["reason"]).to_owned()).collect()
    }
}

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the repository").to_owned()
}

/// A text of an event; empty where it is null or absent.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The configuration of an example after these replacements, each of which must find its text.
pub fn example(name: &str, replacements: &[(&str, &str)]) -> Config {
    let path = root().join("examples").join(name).join("stillhouse.toml");
    let mut toml = std::fs::read_to_string(&path).expect("the example has a configuration");
    for (old, new) in replacements {
        assert!(toml.contains(old), "{}: no `{old}` to replace", path.display());
        toml = toml.replace(old, new);
    }
    Config::parse(&path, toml, &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs `config` over files; every signal must be accounted for.
pub fn try_drive(config: &Config, files: &[PathBuf], options: &Options) -> Result<Ran> {
    let inputs: Vec<Input> = files.iter().cloned().map(Input::File).collect();
    let mut bytes = Vec::new();
    let outcome = stillhouse::run::run(config, &inputs, &mut bytes, options, &mut Unwatched)?;
    assert!(outcome.summary.ledger.balances(), "{:?}", outcome.summary.ledger);
    crate::event_schema::check_lines(&bytes);
    Ok(Ran { bytes, outcome })
}

/// As [`try_drive`], of inputs that must read to their ends.
pub fn drive(config: &Config, files: &[PathBuf], options: &Options) -> Ran {
    let ran = try_drive(config, files, options).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(ran.outcome.broken, []);
    ran
}
