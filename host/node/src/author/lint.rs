//! What works, but is unwise: looked for in a rule that is loaded, and in its sources where they are
//! there.

use std::collections::BTreeMap;

use stillhouse_core::rule::FieldKind;
use stillhouse_rules::{Answer, Case, Given, Kind, Limits, Rule, batch_from_given};

use super::asking::{Asker, reason};
use super::places::{Place, Sources, of_panic};

/// A larger file is slow to load: compiling takes tens of milliseconds for each 100 kB.
const FILE_BYTES_LARGE: usize = 1 << 20;
/// Part of the fuel of a call that one signal may take before it is near the limit: a half.
const FUEL_NEAR: u64 = 2;
/// Rows that `run` hands over at once at most.
const BATCH_ROWS: u64 = crate::map::BATCH_ROWS as u64;
/// No rule writes this by itself.
const MARK: &str = "x7q9z";
/// Nor this.
const MARK_NUMBER: &str = "7319462";
/// What stands for a value in a reason.
const GAP: &str = "…";

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Will hurt.
    Error,
    /// May hurt.
    Warning,
}

impl Level {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Something that is unwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// Which check found it.
    pub check: &'static str,
    /// Where, if that is known.
    pub place: Option<Place>,
    /// What was found, and why it is unwise.
    pub what: String,
    /// What to do.
    pub fix: String,
}

/// Looks at a rule that was loaded from a file of `file_bytes` bytes; the worst first.
///
/// # Errors
/// If the rule no longer takes the settings of its own cases.
pub fn look(rule: &Rule, file_bytes: usize, limits: &Limits, sources: &Sources) -> Result<Vec<Finding>, String> {
    let mut look = Look { rule, sources, limits, findings: Vec::new() };
    look.identity(file_bytes);
    look.coverage();
    look.fields();
    look.settings()?;
    look.answers()?;
    look.source();
    look.findings.sort_by_key(|finding| finding.level);
    Ok(look.findings)
}

struct Look<'a> {
    rule: &'a Rule,
    sources: &'a Sources,
    limits: &'a Limits,
    findings: Vec<Finding>,
}

impl Look<'_> {
    fn add(&mut self, level: Level, check: &'static str, place: Option<Place>, what: String, fix: &str) {
        self.findings.push(Finding { level, check, place, what, fix: fix.to_owned() });
    }

    fn identity(&mut self, file_bytes: usize) {
        let rule = self.rule;
        if rule.id().version == "0.0.0" {
            let what = "the version is 0.0.0: nobody can tell two builds apart by it".to_owned();
            let place = self.sources.find("0.0.0");
            self.add(Level::Warning, "version", place, what, "give it a version, and raise it with each change");
        }
        if rule.contract().starts_with("0.1") {
            let what = format!("built for version {} of the contract: no memo, and less is told", rule.contract());
            self.add(Level::Warning, "contract", None, what, "build it with the SDK of version 0.2");
        }
        if file_bytes > FILE_BYTES_LARGE {
            let what = format!(
                "the file has {:.1} MB of at most {} MB: it is slow to compile when it is first loaded",
                file_bytes as f64 / 1e6,
                self.limits.component_bytes_max / 1_000_000
            );
            let fix = "leave large dependencies out, and build with `lto = \"fat\"` and `strip = true`";
            self.add(Level::Warning, "size", None, what, fix);
        }
    }

    fn coverage(&mut self) {
        let rule = self.rule;
        if rule.cases().is_empty() {
            let what = "no case: nothing shows that the rule does what it should, nor that a new version still does";
            self.add(Level::Error, "no-cases", None, what.into(), "write a case for each state and each reason");
            return;
        }
        for state in unreached(rule) {
            let place = self.sources.quoted(&state).or_else(|| self.sources.find(&camel(&state)));
            let what = format!("no case reaches `{state}`: nothing shows that it can be reached");
            let fix = match rule.kind() {
                Kind::Mapper => "write a case that observes it, or take the state out and raise `schema`",
                Kind::Suppressor => "write a case for it",
            };
            self.add(Level::Warning, "unreached", place, what, fix);
        }
        if rule.kind() == Kind::Mapper {
            let turned = |case: &Case| matches!(case.expected, Answer::Dropped { .. } | Answer::Rejected { .. });
            if !rule.cases().iter().any(turned) {
                let what = "no case is dropped or rejected: nothing shows what becomes of a signal that does not fit";
                let fix = "write a case with a field missing, and one with a value that means nothing";
                self.add(Level::Warning, "no-refusal", None, what.into(), fix);
            }
        }
    }

    fn fields(&mut self) {
        for field in self.rule.fields() {
            let given = |case: &Case| case.given.iter().any(|given| given.path == field.path);
            if !self.rule.cases().iter().any(given) {
                let place = self.sources.field(&field.path);
                let what = format!("no case gives the field `{}`: nothing shows that it is read rightly", field.path);
                self.add(Level::Warning, "unused-field", place, what, "give it in a case, or do not declare it");
            }
        }
    }

    fn settings(&mut self) -> Result<(), String> {
        if self.rule.kind() == Kind::Suppressor && self.rule.cases().iter().all(|case| case.settings.is_empty()) {
            let place = self.sources.all(|line| line.contains("Settings for")).into_iter().next();
            if place.is_some() {
                let what = "no case has settings: nothing shows that they are read rightly".to_owned();
                let fix = "give settings in the second argument of a `judge_case`";
                self.add(Level::Warning, "settings", place, what, fix);
            }
        }
        // A rule that needs a setting refuses this one with the others, which is as well.
        let unknown = BTreeMap::from([("no-such-setting".to_owned(), MARK.to_owned())]);
        if Asker::new(self.rule, &unknown).is_ok() {
            let what =
                "a setting that the rule does not know is taken without a word: a misspelt one would go unnoticed";
            let place = self.sources.all(|line| line.contains("Settings for")).into_iter().next();
            self.add(Level::Warning, "unknown-setting", place, what.into(), "refuse it, and name those that there are");
        }
        Ok(())
    }

    /// Runs the cases, and again with other values in them.
    fn answers(&mut self) -> Result<(), String> {
        let rule = self.rule;
        let (mut most, mut costly) = (0, None);
        let mut unbounded: Vec<String> = Vec::new();
        for case in rule.cases() {
            let fuel = ask(rule, case, &case.given)?.fuel;
            if fuel > most {
                (most, costly) = (fuel, Some(case));
            }
            for (given, value) in marked(rule, case) {
                let answered = ask(rule, case, &given)?;
                let said = reason(&answered.answer);
                let text = said.replace(&value, GAP);
                let is_failure = matches!(answered.answer, Answer::Failed { .. });
                if !is_failure && text != said && !unbounded.contains(&text) {
                    self.unbounded(&text);
                    unbounded.push(text);
                }
            }
        }
        self.odd_rows()?;
        if let Some(case) = costly {
            self.fuel(most, case);
        }
        Ok(())
    }

    fn unbounded(&mut self, reason: &str) {
        let fixed = reason.split(GAP).map(str::trim).max_by_key(|part| part.len()).unwrap_or_default();
        let what = format!(
            "a reason has a value of the signal in it (`{reason}`): there will be as many reasons as values, and a batch \
             with more than {} is refused",
            self.limits.reasons_max
        );
        let place = self.made_at(fixed);
        self.add(Level::Error, "unbounded-reason", place, what, "say what is wrong in fixed words, without the value");
    }

    /// Where a reason is made of which this is a fixed part: what the source has of it, from its
    /// beginning, in a line that makes a reason if there is one.
    fn made_at(&self, fixed: &str) -> Option<Place> {
        let makes = formatted_reasons(self.sources);
        let ends = fixed.match_indices(' ').map(|(at, _)| at).chain([fixed.len()]).collect::<Vec<_>>();
        let parts = ends.into_iter().rev().map(|end| fixed[..end].trim()).filter(|part| part.len() > 2);
        let found = parts.map(|part| self.sources.all(|line| line.contains(part)));
        let places = found.into_iter().find(|places| !places.is_empty())?;
        places.iter().find(|place| makes.contains(place)).or(places.first()).cloned()
    }

    /// A signal without any field, and ones with extreme values: a rule that fails on them costs these
    /// signals, and names them to nobody who can help.
    fn odd_rows(&mut self) -> Result<(), String> {
        let rule = self.rule;
        let Some(base) = rule.cases().first() else { return Ok(()) };
        let extreme = |text: &str, int: i64, float: &str, truth: &str| -> Vec<Given> {
            let value = |kind| match kind {
                FieldKind::Text => text.to_owned(),
                FieldKind::Int => int.to_string(),
                FieldKind::Float => float.to_owned(),
                FieldKind::Bool => truth.to_owned(),
            };
            let fields = rule.fields().iter();
            fields.map(|field| Given { path: field.path.clone(), value: value(field.kind) }).collect()
        };
        let odd = [
            ("a signal without any field", Vec::new()),
            ("a signal whose fields are empty", extreme("", 0, "0", "false")),
            ("a signal with the least of numbers", extreme("é", i64::MIN, "-1e308", "false")),
            ("a signal with the greatest of numbers", extreme("日本語", i64::MAX, "1e308", "true")),
        ];
        for (name, given) in odd {
            let answered = ask(rule, base, &given)?;
            if let Answer::Failed { reason } = &answered.answer {
                let what = format!("the rule fails on {name}: {reason}");
                // A wrong answer is found at once; a panic costs an instance as well.
                let level = if reason.starts_with("bad answer") { Level::Warning } else { Level::Error };
                let fix = "reject what cannot be read, with a reason; indexing, `unwrap` and `expect` panic";
                self.add(level, "fails", of_panic(reason), what, fix);
            }
        }
        Ok(())
    }

    fn fuel(&mut self, most: u64, case: &Case) {
        let limit = self.limits.fuel_per_call;
        let place = self.sources.quoted(&case.name);
        let grouped = crate::summary::grouped;
        if most > limit / FUEL_NEAR {
            let what = format!(
                "the case `{}` takes {} units of fuel, near the limit of {} for a call: a longer signal fails",
                case.name,
                grouped(most),
                grouped(limit)
            );
            self.add(Level::Error, "fuel", place, what, "look for loops over the whole text; `rule bench` counts fuel");
        } else if most > limit / BATCH_ROWS {
            let what = format!(
                "the case `{}` takes {} units of fuel: a batch of {BATCH_ROWS} such signals is over the limit of {} and \
                 is asked in parts, which is slow",
                case.name,
                grouped(most),
                grouped(limit)
            );
            self.add(
                Level::Warning,
                "fuel",
                place,
                what,
                "look for loops over the whole text; `rule bench` counts fuel",
            );
        }
    }

    /// Reasons that are made with `format!`.
    fn source(&mut self) {
        let known = self.findings.iter().filter(|finding| finding.check == "unbounded-reason");
        let known: Vec<Option<Place>> = known.map(|finding| finding.place.clone()).collect();
        for place in formatted_reasons(self.sources) {
            if known.contains(&Some(place.clone())) {
                continue;
            }
            let what = "a reason is made with `format!`: if a value of the signal is in it, there will be as many \
                        reasons as values";
            self.add(Level::Warning, "formatted-reason", Some(place), what.into(), "use fixed words");
        }
    }
}

/// The canonical states or verdicts that no case of the rule reaches.
pub fn unreached(rule: &Rule) -> Vec<String> {
    let reached = |name: &str| {
        rule.cases().iter().any(|case| match &case.expected {
            Answer::Observed { state, .. } => state == name,
            other => super::asking::outcome(other) == name,
        })
    };
    if rule.kind() == Kind::Suppressor {
        // A rule that never delays needs no case that does; but it must do something.
        let holds = ["suppress", "delay", "escalate"].into_iter().any(reached);
        let missing = [("emit", reached("emit")), ("suppress", holds)].into_iter();
        return missing.filter(|(_, reached)| !reached).map(|(name, _)| name.to_owned()).collect();
    }
    rule.states().iter().map(|state| state.name.clone()).filter(|name| !reached(name)).collect()
}

fn ask(rule: &Rule, case: &Case, given: &[Given]) -> Result<super::asking::Answered, String> {
    let settings: BTreeMap<String, String> = case.settings.iter().cloned().collect();
    let mut asker = Asker::new(rule, &settings).map_err(|error| error.to_string())?;
    let batch = batch_from_given(rule.fields(), &[given]).map_err(|(_, why)| format!("case `{}` {why}", case.name))?;
    Ok(asker.ask_with(batch, &case.memo))
}

/// The case with one of its values after the other replaced by one that nobody expects, and that value.
fn marked(rule: &Rule, case: &Case) -> Vec<(Vec<Given>, String)> {
    let mut rows = Vec::new();
    for (at, given) in case.given.iter().enumerate() {
        let kind = rule.fields().iter().find(|field| field.path == given.path).map(|field| field.kind);
        let values: &[String] = match kind {
            Some(FieldKind::Text) => &[format!("{}{MARK}", given.value), MARK.to_owned()],
            Some(FieldKind::Int | FieldKind::Float) => &[MARK_NUMBER.to_owned()],
            _ => &[],
        };
        for value in values {
            let mut row = case.given.clone();
            row[at].value.clone_from(value);
            rows.push((row, value.clone()));
        }
    }
    rows
}

/// Lines with `dropped(`, `rejected(` or the like whose argument begins with `format!`.
fn formatted_reasons(sources: &Sources) -> Vec<Place> {
    let mut places = Vec::new();
    for (path, text) in sources.files().filter(|(path, _)| path.extension().is_some_and(|ext| ext == "rs")) {
        for call in ["dropped(", "rejected(", "suppress(", "delay(", "escalate("] {
            for (at, _) in text.match_indices(call) {
                let before = text[..at].chars().next_back();
                let is_call = !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
                let in_comment = text[..at].lines().next_back().is_some_and(|line| line.contains("//"));
                let argument = text[at + call.len()..].trim_start().trim_start_matches('&');
                if is_call && !in_comment && argument.starts_with("format!") {
                    places.push(Place { path: path.to_owned(), line: text[..at].matches('\n').count() + 1 });
                }
            }
        }
    }
    places.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    places
}

/// A state's name as its variant is written.
fn camel(name: &str) -> String {
    let part = |part: &str| {
        let mut letters = part.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>()).unwrap_or_default()
    };
    name.split('-').map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_made_with_format_are_found() {
        let text = "fn a() {\n    dropped(format!(\"no {x}\"))\n}\nfn b() { rejected(\n    format!(\"{y}\")) }\n\
                    // dropped(format!(\"in a comment\"))\nis_dropped(format!(\"\"));\nrejected(\"fixed\");\n";
        let found = formatted_reasons(&Sources::of(&[("src/lib.rs", text), ("a.py", "dropped(format!(1))")]));
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["src/lib.rs:2", "src/lib.rs:4"]);
        assert_eq!(camel("not-ready"), "NotReady");
    }
}
