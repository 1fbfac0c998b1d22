//! `stillhouse check`

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use stillhouse::config::{Config, pin};
use stillhouse::mask::Masks;
use stillhouse::rules::{self, RuleSet};
use stillhouse::tables;

use super::{Check, overrides};

/// Checks a configuration and says what it would do.
pub fn carry_out(arguments: &Check) -> Result<ExitCode> {
    let config = Config::load(&arguments.config, &overrides(arguments.year))?;
    let engine = rules::engine(4 * config.signals.len() + 8)?;
    let rules = RuleSet::load(&config, &engine)?;
    // Rules check their settings when they are made, and states are known only now.
    rules.worker(&config, 1)?;
    rules.judge(&config)?;
    let plan = rules.plan(&config)?;
    let fields = rules.fields(&config);
    let tables = tables::load(&config, &fields)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}: valid, digest {}", config.path.display(), &config.digest[..12])?;
    for (plan, (mapper, suppressor)) in plan.types.iter().zip(rules.ids()) {
        writeln!(out, "\n{}", plan.name)?;
        let cases = mapper.cases().len();
        let id = mapper.id();
        writeln!(out, "  mapper      {} {} ({}), {cases} cases pass", id.name, id.version, &id.digest[..12])?;
        if let Some(rule) = suppressor {
            let id = rule.id();
            writeln!(
                out,
                "  suppressor  {} {} ({}), {} cases pass",
                id.name,
                id.version,
                &id.digest[..12],
                rule.cases().len()
            )?;
        }
        let states: Vec<&str> = plan.states.iter().map(|state| state.name.as_str()).collect();
        writeln!(out, "  states      {}", states.join(", "))?;
        let fields: Vec<&str> = mapper.fields().iter().map(|field| field.path.as_str()).collect();
        writeln!(out, "  reads       {}", fields.join(", "))?;
    }
    for (signal, path) in pin::never_given(&config, &fields) {
        writeln!(out, "\nnote: no pattern of type {signal} gives `{path}`, which its mapper reads")?;
    }
    // Where it is checked the salt need not be known.
    if let Err(error) = Masks::new(&config, |name| std::env::var(name).ok()) {
        writeln!(out, "\nnote: {error}")?;
    }
    for table in tables {
        let columns: Vec<&str> = table.columns.iter().map(|column| &**column).collect();
        writeln!(
            out,
            "\ntable {}\n  rows        {}\n  columns     {}",
            table.name,
            table.rows.len(),
            columns.join(", ")
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
