//! `stillhouse rule build`

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use stillhouse::rules;
use stillhouse_rules::{Rule, imports};

use super::{Build, built, load};

/// Builds a rule and loads it.
pub fn carry_out(arguments: &Build) -> Result<ExitCode> {
    let built = built(&arguments.folder)?;
    let engine = rules::engine(8)?;
    let bytes = engine.read_file(&built.file)?;
    let rule = load(&engine, &bytes, &built.file, &built.sources)?;
    let mut out = std::io::stdout().lock();
    write(&mut out, &built.file, &bytes, &rule)?;
    Ok(ExitCode::SUCCESS)
}

/// What a rule is, in a few lines.
pub fn write(out: &mut dyn Write, path: &Path, bytes: &[u8], rule: &Rule) -> std::io::Result<()> {
    let id = rule.id();
    writeln!(out, "{}", path.display())?;
    writeln!(out, "  rule        {} {}, a {} (contract {})", id.name, id.version, rule.kind(), rule.contract())?;
    writeln!(out, "  digest      {}", id.digest)?;
    writeln!(out, "  size        {}", size(bytes.len()))?;
    writeln!(out, "  imports     {}", imported(bytes))?;
    writeln!(out, "  cases       {} pass", rule.cases().len())
}

/// A size for people.
pub fn size(bytes: usize) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// What a file imports.
pub fn imported(bytes: &[u8]) -> String {
    match imports(bytes) {
        none if none.is_empty() => "nothing".into(),
        some => some.join(", "),
    }
}
