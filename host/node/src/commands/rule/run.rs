//! `stillhouse rule run`

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use serde_json::json;
use stillhouse::author::asking::{Answered, Asker, outcome, reason, severity_name};
use stillhouse::author::candidates;
use stillhouse::author::rows::{Given, Label, Reader};
use stillhouse::author::table::Align::{Left, Right};
use stillhouse::author::table::Table;
use stillhouse::config::{Config, RuleRef, SignalConfig, did_you_mean, hex, listed};
use stillhouse::input::Input;
use stillhouse::rules;
use stillhouse::summary::grouped;
use stillhouse_rules::{Answer, Kind, Rule};

use super::super::overrides;
use super::super::score::paint;
use super::{Run, Source, load_file};

/// How many records that cannot be read are told one by one.
const UNREAD_TOLD_MAX: u64 = 10;

/// Asks a rule about the signals of a file.
pub fn carry_out(arguments: &Run) -> Result<ExitCode> {
    let engine = rules::engine(8)?;
    let rule = load_file(&engine, &arguments.file)?;
    let place = Place::of(&arguments.source, &rule)?;
    let mut asker = Asker::new(&rule, &place.settings(&arguments.source, &rule))?;
    let mut reader = place.reader(&rule, &arguments.source)?;
    let mut shown = Shown::new(rule.kind(), arguments.json, arguments.first);
    let input = Input::of(&arguments.source.input);
    let mut out = std::io::stdout().lock();
    reader.read(&input, &mut |given| shown.take(given, &mut asker, &mut out))?;
    if !arguments.json {
        writeln!(out, "\n{}", shown.summary())?;
    }
    shown.tell_unread();
    Ok(if shown.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Where a rule is asked: in the place of another one of a configuration, or nowhere in particular.
pub struct Place {
    config: Option<(Config, usize)>,
}

impl Place {
    /// The place that the command line names: the type that is named, else the only one, else the one
    /// whose rule has the same name.
    pub fn of(source: &Source, rule: &Rule) -> Result<Self> {
        let Some(path) = &source.config else { return Ok(Self { config: None }) };
        let config = Config::load(path, &overrides(source.year))?;
        let names: Vec<&str> = config.signals.iter().map(|signal| signal.name.as_str()).collect();
        let same = |signal: &SignalConfig| {
            let named = match rule.kind() {
                Kind::Mapper => Some(&signal.mapper),
                Kind::Suppressor => signal.suppressor.as_ref(),
            };
            let file = named.and_then(|named| named.name.trim_end_matches(".wasm").rsplit('/').next());
            file == Some(rule.id().name.as_str())
        };
        let at = match &source.signal {
            Some(wanted) => names.iter().position(|name| name == wanted).ok_or_else(|| {
                let near = did_you_mean(wanted, &names);
                anyhow!("--signal {wanted}: {} has no such type; it has {}{near}", path.display(), listed(&names))
            })?,
            None if names.len() == 1 => 0,
            None => config.signals.iter().position(same).ok_or_else(|| {
                let name = &rule.id().name;
                let all = listed(&names);
                anyhow!("{}: no type has the rule `{name}`; say with --signal which it is: {all}", path.display())
            })?,
        };
        Ok(Self { config: Some((config, at)) })
    }

    /// The settings that the rule gets.
    pub fn settings(&self, source: &Source, rule: &Rule) -> BTreeMap<String, String> {
        let configured = self.rule(rule.kind()).map(|(_, named)| named.settings.clone());
        let mut settings = configured.unwrap_or_default();
        settings.extend(source.set.iter().cloned());
        settings
    }

    /// The rule of this kind that the configuration has there.
    pub fn rule(&self, kind: Kind) -> Option<(&Config, &RuleRef)> {
        let (config, at) = self.config.as_ref()?;
        let signal = &config.signals[*at];
        let named = match kind {
            Kind::Mapper => Some(&signal.mapper),
            Kind::Suppressor => signal.suppressor.as_ref(),
        };
        Some((config, named?))
    }

    /// Reads what `rule` is asked about.
    pub fn reader(&self, rule: &Rule, source: &Source) -> Result<Reader> {
        let input = Input::of(&source.input);
        match &self.config {
            Some((config, at)) if rule.kind() == Kind::Suppressor => {
                Ok(Reader::Ready(candidates::of(config, *at, rule.fields(), &input)?))
            }
            Some((config, at)) => Reader::configured(config, *at, rule.fields(), &input),
            None => Ok(Reader::plain(rule.fields())),
        }
    }
}

/// What is shown of the answers.
struct Shown {
    kind: Kind,
    table: Option<Table>,
    left: u64,
    rows: u64,
    others: u64,
    fuel: u64,
    failed: u64,
    outcomes: BTreeMap<&'static str, u64>,
    unread: u64,
    unread_told: Vec<String>,
}

impl Shown {
    fn new(kind: Kind, json: bool, first: Option<u64>) -> Self {
        let mapper = [
            ("row", Right),
            ("time", Left),
            ("id", Left),
            ("outcome", Left),
            ("state", Left),
            ("severity", Left),
            ("key", Left),
            ("value", Left),
            ("fuel", Right),
            ("reason", Left),
        ];
        let suppressor = [
            ("row", Right),
            ("time", Left),
            ("id", Left),
            ("verdict", Left),
            ("until", Left),
            ("severity", Left),
            ("memo", Left),
            ("fuel", Right),
            ("reason", Left),
        ];
        let columns: &[_] = if kind == Kind::Mapper { &mapper } else { &suppressor };
        Self {
            kind,
            table: (!json).then(|| Table::new(columns)),
            left: first.unwrap_or(u64::MAX),
            rows: 0,
            others: 0,
            fuel: 0,
            failed: 0,
            outcomes: BTreeMap::new(),
            unread: 0,
            unread_told: Vec::new(),
        }
    }

    fn take(&mut self, given: Given, asker: &mut Asker, out: &mut dyn Write) -> Result<bool> {
        self.others += given.others;
        self.unread += given.unread.len() as u64;
        let room = UNREAD_TOLD_MAX.saturating_sub(self.unread_told.len() as u64) as usize;
        self.unread_told.extend(given.unread.into_iter().take(room));
        for (row, label) in given.labels.iter().enumerate() {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            let answered = asker.ask(&given.batch, row);
            self.rows += 1;
            self.fuel += answered.fuel;
            let what = outcome(&answered.answer);
            *self.outcomes.entry(what).or_default() += 1;
            self.failed += u64::from(what == "failed");
            match &mut self.table {
                Some(table) => table.push(cells(self.kind, label, &answered)),
                None => writeln!(out, "{}", as_json(self.kind, label, &answered))?,
            }
        }
        if let Some(table) = &mut self.table {
            write!(out, "{}", table.take(paint()))?;
        }
        Ok(self.left > 0)
    }

    fn summary(&self) -> String {
        let outcomes = self.outcomes.iter().map(|(name, count)| format!("{} {name}", grouped(*count)));
        let outcomes: Vec<String> = outcomes.collect();
        let fuel = self.fuel.checked_div(self.rows).unwrap_or_default();
        let what = if self.kind == Kind::Mapper { "signals" } else { "candidates" };
        let mut summary =
            format!("{} {what}: {}; {} fuel each", grouped(self.rows), outcomes.join(", "), grouped(fuel));
        if self.others > 0 {
            summary.push_str(&format!("; {} of other types", grouped(self.others)));
        }
        summary
    }

    fn tell_unread(&self) {
        for reason in &self.unread_told {
            eprintln!("not read: {reason}");
        }
        if self.unread > self.unread_told.len() as u64 {
            eprintln!("not read: {} records in all", grouped(self.unread));
        }
    }
}

fn time(us: i64) -> String {
    Timestamp::from_microsecond(us).map_or_else(|_| us.to_string(), |time| time.to_string())
}

fn cells(kind: Kind, label: &Label, answered: &Answered) -> Vec<String> {
    let answer = &answered.answer;
    let mut cells = vec![
        label.row.to_string(),
        label.time_us.map(time).unwrap_or_default(),
        label.id.clone(),
        outcome(answer).into(),
    ];
    let fuel = grouped(answered.fuel);
    let reason = reason(answer).to_owned();
    match (kind, answer) {
        (Kind::Mapper, Answer::Observed { state, severity, key, value }) => {
            cells.extend([state.clone(), severity_name(*severity).into(), key.clone(), value.clone(), fuel, reason]);
        }
        (Kind::Mapper, _) => {
            cells.extend([String::new(), String::new(), String::new(), String::new(), fuel, reason]);
        }
        (Kind::Suppressor, answer) => {
            let until = match answer {
                Answer::Suppress { until_us, .. } | Answer::Delay { until_us, .. } if *until_us != 0 => time(*until_us),
                _ => String::new(),
            };
            let severity = match answer {
                Answer::Escalate { severity, .. } => severity_name(*severity).into(),
                _ => String::new(),
            };
            cells.extend([until, severity, hex(&answered.memo), fuel, reason]);
        }
    }
    cells
}

fn as_json(kind: Kind, label: &Label, answered: &Answered) -> serde_json::Value {
    let answer = &answered.answer;
    let mut line = json!({
        "row": label.row,
        "time": label.time_us.map(time),
        "id": label.id,
        "outcome": outcome(answer),
        "reason": reason(answer),
        "fuel": answered.fuel,
    });
    match answer {
        Answer::Observed { state, severity, key, value } => {
            line["state"] = json!(state);
            line["severity"] = json!(severity_name(*severity));
            line["key"] = json!(key);
            line["value"] = json!(value);
        }
        Answer::Suppress { until_us, .. } | Answer::Delay { until_us, .. } if *until_us != 0 => {
            line["until"] = json!(time(*until_us));
        }
        Answer::Escalate { severity, .. } => line["severity"] = json!(severity_name(*severity)),
        _ => {}
    }
    if kind == Kind::Suppressor {
        line["memo"] = json!(hex(&answered.memo));
    }
    line
}
