//! `stillhouse rule lint`

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use serde_json::json;
use stillhouse::author::lint::{self, Finding, Level};
use stillhouse::rules;

use super::super::score::paint;
use super::{Lint, built, load};

/// Looks for what is unwise.
pub fn carry_out(arguments: &Lint) -> Result<ExitCode> {
    let built = built(&arguments.rule)?;
    let engine = rules::engine(8)?;
    let bytes = engine.read_file(&built.file)?;
    let rule = load(&engine, &bytes, &built.file, &built.sources)?;
    let findings = lint::look(&rule, bytes.len(), engine.limits(), &built.sources).map_err(|error| anyhow!(error))?;
    let mut out = std::io::stdout().lock();
    for finding in &findings {
        let Finding { level, check, place, what, fix } = finding;
        if arguments.json {
            let place = place.as_ref().map(ToString::to_string);
            let line = json!({ "level": level.name(), "check": check, "place": place, "what": what, "fix": fix });
            writeln!(out, "{line}")?;
            continue;
        }
        let place = match place {
            Some(place) => format!("{place}: "),
            None => String::new(),
        };
        let level = paint().judged(*level == Level::Warning, &format!("{} [{check}]", level.name()));
        writeln!(out, "{place}{level} {what}\n  {fix}")?;
    }
    let errors = findings.iter().filter(|finding| finding.level == Level::Error).count();
    if !arguments.json {
        let id = rule.id();
        match findings.len() {
            0 => writeln!(out, "{} {}: nothing to say", id.name, id.version)?,
            all => {
                let (errors, warnings) = (counted(errors, "error"), counted(all - errors, "warning"));
                writeln!(out, "{} {}: {errors}, {warnings}", id.name, id.version)?;
            }
        }
    }
    let bad = errors > 0 || arguments.strict && !findings.is_empty();
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
