//! `stillhouse rule bench`

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::json;
use stillhouse::author::asking::Asker;
use stillhouse::author::bench::{Cost, measure};
use stillhouse::author::rows::{Given, join, part};
use stillhouse::author::table::Align::Right;
use stillhouse::author::table::Table;
use stillhouse::input::Input;
use stillhouse::rules;
use stillhouse::summary::grouped;
use stillhouse_rules::{Rule, RuleEngine};

use super::super::score::paint;
use super::run::Place;
use super::{Bench, load_file};

/// How many differing answers are shown.
const DIFFERENT_SHOWN_MAX: usize = 5;

/// Measures a rule, and another version beside it.
pub fn carry_out(arguments: &Bench) -> Result<ExitCode> {
    let engine = rules::engine(16)?;
    let rule = load_file(&engine, &arguments.file)?;
    let place = Place::of(&arguments.source, &rule)?;
    let other = other(arguments, &place, &rule, &engine)?;
    let mut both = vec![rule];
    both.extend(other);
    let mut given = Vec::new();
    for rule in &both {
        given.push(read(arguments, &place, rule)?);
    }
    let rows = given[0].labels.len();
    if rows == 0 {
        bail!("{}: no signal that the rule is asked about", arguments.source.input);
    }
    let different = match &both[..] {
        [rule, other] => Some(different(arguments, &place, [rule, other], &given)?),
        _ => None,
    };
    let mut askers = Vec::new();
    for (rule, given) in both.iter().zip(given) {
        askers.push((Asker::new(rule, &place.settings(&arguments.source, rule))?, given.batch));
    }
    let costs = measure(&mut askers, arguments.runs as usize);
    let mut out = std::io::stdout().lock();
    let report = Report { rules: &both, rows, costs: &costs, different: different.as_ref() };
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &report.as_json())?;
        writeln!(out)?;
    } else {
        report.write(&mut out)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The version to compare with.
fn other(arguments: &Bench, place: &Place, rule: &Rule, engine: &RuleEngine) -> Result<Option<Rule>> {
    let other = match (&arguments.against, place.rule(rule.kind())) {
        (Some(path), _) => load_file(engine, path)?,
        (None, Some((config, named))) => rules::load(named, rule.kind(), config, engine)?,
        (None, None) => return Ok(None),
    };
    if other.kind() != rule.kind() {
        let (one, other) = (rule.kind(), other.kind());
        bail!("`{}` is a {one}, and what it is compared with is a {other}", rule.id().name);
    }
    Ok(Some(other))
}

/// The first signals, as `rule` is given them.
fn read(arguments: &Bench, place: &Place, rule: &Rule) -> Result<Given> {
    let mut all: Vec<Given> = Vec::new();
    let mut rows = 0;
    place.reader(rule, &arguments.source)?.read(&Input::of(&arguments.source.input), &mut |given| {
        rows += given.labels.len() as u64;
        all.push(given);
        Ok(rows < arguments.first)
    })?;
    let mut labels = Vec::new();
    let mut batches = Vec::new();
    for mut given in all {
        labels.append(&mut given.labels);
        batches.push(given.batch);
    }
    labels.truncate(arguments.first as usize);
    let batch = join(batches);
    let batch = part(&batch, 0..labels.len());
    Ok(Given { batch, labels, unread: Vec::new(), others: 0 })
}

/// How many answers differ, and the first of them.
struct Different {
    count: u64,
    shown: Vec<(String, String, String)>,
}

fn different(arguments: &Bench, place: &Place, rules: [&Rule; 2], given: &[Given]) -> Result<Different> {
    let asker = |rule: &Rule| Asker::new(rule, &place.settings(&arguments.source, rule));
    let (mut new, mut old) = (asker(rules[0])?, asker(rules[1])?);
    let mut different = Different { count: 0, shown: Vec::new() };
    for (row, label) in given[0].labels.iter().enumerate() {
        let (new, old) = (new.ask(&given[0].batch, row), old.ask(&given[1].batch, row));
        if (&new.answer, &new.memo) == (&old.answer, &old.memo) {
            continue;
        }
        different.count += 1;
        if different.shown.len() < DIFFERENT_SHOWN_MAX {
            let name = if label.id.is_empty() { format!("row {}", label.row) } else { format!("signal {}", label.id) };
            let words = if new.answer == old.answer { ", with another memo" } else { "" };
            different.shown.push((name, old.answer.to_string(), format!("{}{words}", new.answer)));
        }
    }
    Ok(different)
}

struct Report<'a> {
    rules: &'a [Rule],
    rows: usize,
    costs: &'a [Vec<Cost>],
    different: Option<&'a Different>,
}

impl Report<'_> {
    fn write(&self, out: &mut dyn Write) -> Result<()> {
        let id = |rule: &Rule| format!("{} {} ({})", rule.id().name, rule.id().version, &rule.id().digest[..12]);
        writeln!(out, "{}, {} signals", id(&self.rules[0]), grouped(self.rows as u64))?;
        let mut columns = vec![("batch", Right), ("ns/signal", Right), ("fuel/signal", Right)];
        if let Some(other) = self.rules.get(1) {
            writeln!(out, "against {}", id(other))?;
            columns.extend([("other ns", Right), ("other fuel", Right), ("time", Right), ("fuel", Right)]);
        }
        writeln!(out)?;
        let mut table = Table::new(&columns);
        for (at, cost) in self.costs[0].iter().enumerate() {
            let mut cells = vec![cost.batch.to_string(), format!("{:.0}", cost.ns), format!("{:.0}", cost.fuel)];
            if let Some(other) = self.costs.get(1).and_then(|costs| costs.get(at)) {
                let ratio = |one: f64, other: f64| format!("{:.2}x", one / other);
                cells.extend([format!("{:.0}", other.ns), format!("{:.0}", other.fuel)]);
                cells.extend([ratio(cost.ns, other.ns), ratio(cost.fuel, other.fuel)]);
            }
            table.push(cells);
        }
        write!(out, "{}", table.take(paint()))?;
        if let Some(different) = self.different {
            let part = different.count as f64 * 100.0 / self.rows as f64;
            match different.count {
                0 => writeln!(out, "\nall answers are the same")?,
                count => {
                    writeln!(out, "\n{} of {} answers differ ({part:.1} %)", grouped(count), grouped(self.rows as u64))?
                }
            }
            for (name, old, new) in &different.shown {
                writeln!(out, "  {name}\n    was  {old}\n    is   {new}")?;
            }
        }
        Ok(())
    }

    fn as_json(&self) -> serde_json::Value {
        let cost = |cost: &Cost| json!({ "batch": cost.batch, "ns": cost.ns, "fuel": cost.fuel });
        let rule = |(rule, costs): (&Rule, &Vec<Cost>)| {
            let id = rule.id();
            let costs: Vec<_> = costs.iter().map(cost).collect();
            json!({ "name": id.name, "version": id.version, "digest": id.digest, "costs": costs })
        };
        let rules: Vec<_> = self.rules.iter().zip(self.costs).map(rule).collect();
        let different = self.different.map(|different| {
            let shown = different.shown.iter().map(|(name, old, new)| json!({ "signal": name, "was": old, "is": new }));
            json!({ "count": different.count, "first": shown.collect::<Vec<_>>() })
        });
        json!({ "signals": self.rows, "rule": rules[0], "against": rules.get(1), "different": different })
    }
}
