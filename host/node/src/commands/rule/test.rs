//! `stillhouse rule test`

use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use serde_json::json;
use stillhouse::author::asking::outcome;
use stillhouse::author::places::Sources;
use stillhouse::config::hex;
use stillhouse::demo::report::Paint;
use stillhouse::rules;
use stillhouse_rules::{Answer, CaseResult, Kind, LoadError, Rule};

use super::super::score::paint;
use super::{Test, built, explained};

/// All that a suppressor can answer.
const VERDICTS: [&str; 4] = ["emit", "suppress", "delay", "escalate"];

/// Runs the cases of a rule.
pub fn carry_out(arguments: &Test) -> Result<ExitCode> {
    let built = built(&arguments.rule)?;
    let native = match &built.folder {
        Some(folder) if !arguments.wasm_only => folder.test().map_err(|error| anyhow!(error))?,
        _ => None,
    };
    let engine = rules::engine(8)?;
    let bytes = engine.read_file(&built.file)?;
    let (rule, results) = match engine.load(&bytes) {
        Ok(rule) => {
            let results = rule.case_results().to_vec();
            (Some(rule), results)
        }
        Err(LoadError::Cases { results }) => (None, results),
        Err(error) => return Err(anyhow!("{}: {}", built.file.display(), explained(&error, &built.sources))),
    };
    let failed = results.iter().filter(|result| !result.passed()).count();
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let report = as_json(rule.as_ref(), &results, native, &built.sources);
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        let paint = paint();
        for result in &results {
            write_case(&mut out, result, &built.sources, paint)?;
        }
        writeln!(out, "\n{}", summary(&results, native, paint))?;
        match &rule {
            Some(rule) => write_coverage(&mut out, rule)?,
            None => writeln!(out, "The host refuses a rule whose cases fail.")?,
        }
    }
    Ok(if failed > 0 || native == Some(false) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn write_case(out: &mut dyn Write, result: &CaseResult, sources: &Sources, paint: Paint) -> std::io::Result<()> {
    if result.passed() {
        return writeln!(out, "{}  {}", paint.judged(true, "ok    "), result.name);
    }
    let place = sources.quoted(&result.name).map(|place| format!("  {place}")).unwrap_or_default();
    writeln!(out, "{}  {}{}", paint.judged(false, "FAILED"), result.name, paint.dim(&place))?;
    let memo = |memo: Option<&Vec<u8>>| memo.map(|memo| format!(", memo `{}`", hex(memo))).unwrap_or_default();
    let (wanted, left) = match &result.expected_memo {
        Some(wanted) => (memo(Some(wanted)), memo(Some(&result.got_memo))),
        None => (String::new(), String::new()),
    };
    writeln!(out, "        expected  {}{wanted}", result.expected)?;
    writeln!(out, "        got       {}{left}", result.got)
}

fn summary(results: &[CaseResult], native: Option<bool>, paint: Paint) -> String {
    let failed = results.iter().filter(|result| !result.passed()).count();
    let wasm = match failed {
        0 => paint.judged(true, &format!("{} cases pass in WebAssembly", results.len())),
        _ => paint.judged(false, &format!("{failed} of {} cases fail in WebAssembly", results.len())),
    };
    match native {
        Some(true) => format!("{wasm}, {}", paint.judged(true, "and natively")),
        Some(false) => format!("{wasm}; {}", paint.judged(false, "`cargo test` fails, and says why above")),
        None => format!("{wasm} (natively they were not run)"),
    }
}

/// What the cases reach.
struct Coverage {
    what: &'static str,
    reached: Vec<String>,
    unreached: Vec<String>,
}

fn coverage(rule: &Rule) -> Vec<Coverage> {
    let seen: BTreeSet<&str> = rule
        .cases()
        .iter()
        .map(|case| match &case.expected {
            Answer::Observed { state, .. } => state.as_str(),
            other => outcome(other),
        })
        .collect();
    let of = |what, all: Vec<&str>| {
        let (reached, unreached) = all.into_iter().map(String::from).partition(|name| seen.contains(name.as_str()));
        Coverage { what, reached, unreached }
    };
    match rule.kind() {
        Kind::Mapper => {
            let states = rule.states().iter().map(|state| state.name.as_str()).collect();
            vec![of("states", states), of("refusals", vec!["dropped", "rejected"])]
        }
        Kind::Suppressor => vec![of("verdicts", VERDICTS.to_vec())],
    }
}

fn write_coverage(out: &mut dyn Write, rule: &Rule) -> std::io::Result<()> {
    for Coverage { what, reached, unreached } in coverage(rule) {
        let all = reached.len() + unreached.len();
        let missing = match unreached.is_empty() {
            true => String::new(),
            false => format!("; reached by no case: {}", unreached.join(", ")),
        };
        writeln!(out, "{} of {all} {what} reached{missing}", reached.len())?;
    }
    Ok(())
}

fn as_json(rule: Option<&Rule>, results: &[CaseResult], native: Option<bool>, sources: &Sources) -> serde_json::Value {
    let case = |result: &CaseResult| {
        json!({
            "name": result.name,
            "passed": result.passed(),
            "place": sources.quoted(&result.name).map(|place| place.to_string()),
            "expected": result.expected.to_string(),
            "got": result.got.to_string(),
            "expected_memo": result.expected_memo.as_ref().map(|memo| hex(memo)),
            "got_memo": hex(&result.got_memo),
        })
    };
    let coverage = rule.map(|rule| {
        let one = |one: Coverage| (one.what.to_owned(), json!({ "reached": one.reached, "unreached": one.unreached }));
        coverage(rule).into_iter().map(one).collect::<serde_json::Map<_, _>>()
    });
    json!({
        "rule": rule.map(|rule| json!({ "name": rule.id().name, "version": rule.id().version, "digest": rule.id().digest })),
        "passed": results.iter().all(CaseResult::passed) && native != Some(false),
        "native": native,
        "cases": results.iter().map(case).collect::<Vec<_>>(),
        "coverage": coverage,
    })
}
