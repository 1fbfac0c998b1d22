//! `stillhouse check`

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use stillhouse::config::Config;
use stillhouse::rules::{self, RuleSet};

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
    Ok(ExitCode::SUCCESS)
}
