//! `stillhouse rule inspect`

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use serde_json::json;
use sha2::{Digest, Sha256};
use stillhouse::config::hex;
use stillhouse::rules::{self, signature_of};
use stillhouse_core::rule::{Carry, Condition, FieldKind, MemoPlan};
use stillhouse_rules::{Rule, imports, signature};

use super::build::{imported, size, write};
use super::{Inspect, load};

/// Shows what a file is.
pub fn carry_out(arguments: &Inspect) -> Result<ExitCode> {
    let engine = rules::engine(8)?;
    let bytes = engine.read_file(&arguments.file)?;
    let signature = signature_of(&arguments.file).map_err(|error| anyhow!(error))?;
    let signer = signature.as_deref().map(|text| signature::signer(text).unwrap_or_else(|| "unreadable".into()));
    let mut out = std::io::stdout().lock();
    let rule = match load(&engine, &bytes, &arguments.file, &Default::default()) {
        Ok(rule) => rule,
        Err(error) => {
            if !arguments.json {
                writeln!(out, "{}", arguments.file.display())?;
                writeln!(out, "  digest      {}", hex(&Sha256::digest(&bytes)))?;
                writeln!(out, "  size        {}", size(bytes.len()))?;
                writeln!(out, "  imports     {}", imported(&bytes))?;
            }
            return Err(error);
        }
    };
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &as_json(&rule, &bytes, signer))?;
        writeln!(out)?;
        return Ok(ExitCode::SUCCESS);
    }
    write(&mut out, &arguments.file, &bytes, &rule)?;
    match &signer {
        Some(key) => writeln!(out, "  signature   by {key}; `stillhouse rule verify` checks it")?,
        None => writeln!(out, "  signature   none")?,
    }
    let width = rule.fields().iter().map(|field| field.path.len()).max().unwrap_or(0);
    for (at, field) in rule.fields().iter().enumerate() {
        let head = if at == 0 { "fields" } else { "" };
        writeln!(out, "  {head:<10}  {:<width$}  {}", field.path, kind(field.kind))?;
    }
    let width = rule.states().iter().map(|state| state.name.len()).max().unwrap_or(0);
    for (at, state) in rule.states().iter().enumerate() {
        let head = if at == 0 { format!("states v{}", rule.schema()) } else { String::new() };
        writeln!(out, "  {head:<10}  {:<width$}  {}", state.name, condition(state.condition))?;
    }
    if let Some(MemoPlan { version, bytes_max, .. }) = rule.memo() {
        writeln!(out, "  memo        version {version}, {}, at most {bytes_max} bytes", carry(&rule))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(rule: &Rule, bytes: &[u8], signer: Option<String>) -> serde_json::Value {
    let id = rule.id();
    let fields = rule.fields().iter().map(|field| json!({ "path": field.path, "kind": kind(field.kind) }));
    let states = rule.states().iter();
    let states = states.map(|state| json!({ "name": state.name, "condition": condition(state.condition) }));
    let memo = rule.memo();
    json!({
        "name": id.name,
        "version": id.version,
        "kind": rule.kind().to_string(),
        "contract": rule.contract(),
        "digest": id.digest,
        "size_bytes": bytes.len(),
        "fields": fields.collect::<Vec<_>>(),
        "states": states.collect::<Vec<_>>(),
        "schema": rule.schema(),
        "memo": memo.map(|memo| json!({ "version": memo.version, "carry": carry(rule), "bytes_max": memo.bytes_max })),
        "cases": rule.cases().iter().map(|case| &case.name).collect::<Vec<_>>(),
        "imports": imports(bytes),
        "signed_by": signer,
    })
}

fn carry(rule: &Rule) -> &'static str {
    match rule.memo().map(|memo| memo.carry) {
        Some(Carry::Keep) => "keep",
        Some(Carry::Rekey) => "rekey",
        Some(Carry::Reset) | None => "reset",
    }
}

fn kind(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Text => "text",
        FieldKind::Int => "int",
        FieldKind::Float => "float",
        FieldKind::Bool => "bool",
    }
}

fn condition(condition: Condition) -> &'static str {
    match condition {
        Condition::Healthy => "healthy",
        Condition::Problem => "problem",
        Condition::Gone => "gone",
    }
}
