//! Anything that says how it is: the generic rule for CloudEvents.
//!
//! The subject is the entity, `data.status` a word. Which words mean what is up to the settings
//! `healthy`, `problem` and `gone`: lists separated by commas, read without regard to case; a list
//! that is given replaces the default. `data.severity` (info, warning, error or critical) sets the
//! severity of a problem, `data.detail` tells two problems of one entity apart.

use stillhouse_sdk::prelude::*;

#[derive(Signal)]
struct Report<'a> {
    /// What reports.
    #[field("subject")]
    subject: &'a str,
    /// How it is.
    status: &'a str,
    /// How much a problem matters; a warning where it is absent or no known word.
    severity: Option<&'a str>,
    /// Which problem: keep it short and of few values, each one is a state of its own.
    detail: Option<&'a str>,
}

#[derive(States, Clone, Copy)]
enum Status {
    #[healthy]
    Ok,
    #[problem]
    Failing,
    #[gone]
    Gone,
}

/// The words for each state.
pub struct Words {
    healthy: Vec<String>,
    problem: Vec<String>,
    gone: Vec<String>,
}

const HEALTHY: &str = "ok,up,ready,healthy,running,online,passing,open,true";
const PROBLEM: &str = "failing,down,failed,error,unhealthy,unready,not-ready,degraded,offline,false";
const GONE: &str = "gone,deleted,removed";

impl Settings for Words {
    fn read(settings: &[(String, String)]) -> Result<Self, String> {
        let (mut healthy, mut problem, mut gone) = (HEALTHY, PROBLEM, GONE);
        for (name, value) in settings {
            let list = match name.as_str() {
                "healthy" => &mut healthy,
                "problem" => &mut problem,
                "gone" => &mut gone,
                _ => return Err(format!("unknown setting `{name}`: this rule has `healthy`, `problem` and `gone`")),
            };
            if value.split(',').any(|word| word.trim().is_empty()) {
                return Err(format!("setting `{name}`: expected words separated by commas, got `{value}`"));
            }
            *list = value;
        }
        let words = |list: &str| list.split(',').map(|word| word.trim().to_owned()).collect();
        let words = Words { healthy: words(healthy), problem: words(problem), gone: words(gone) };
        words.no_word_twice()?;
        Ok(words)
    }
}

impl Words {
    fn no_word_twice(&self) -> Result<(), String> {
        let lists = [("healthy", &self.healthy), ("problem", &self.problem), ("gone", &self.gone)];
        for (index, (name, list)) in lists.iter().enumerate() {
            for (other, others) in &lists[index + 1..] {
                if let Some(word) = list.iter().find(|word| has(others, word)) {
                    return Err(format!(
                        "setting `{other}`: expected other words than in `{name}`, got `{word}` in both"
                    ));
                }
            }
        }
        Ok(())
    }
}

fn has(words: &[String], status: &str) -> bool {
    words.iter().any(|word| word.eq_ignore_ascii_case(status))
}

fn map<'a>(report: Report<'a>, words: &Words) -> Mapped<'a, Status> {
    if has(&words.healthy, report.status) {
        observe(Status::Ok, report.subject)
    } else if has(&words.problem, report.status) {
        observe(Status::Failing, report.subject)
            .severity(severity(report.severity))
            .value(report.detail.unwrap_or_default())
    } else if has(&words.gone, report.status) {
        observe(Status::Gone, report.subject)
    } else {
        rejected("data.status is none of the words in the settings")
    }
}

fn severity(word: Option<&str>) -> Severity {
    match word {
        Some("info") => Severity::Info,
        Some("error") => Severity::Error,
        Some("critical") => Severity::Critical,
        _ => Severity::Warning,
    }
}

fn cases() -> Vec<Case> {
    let of = |status| [("subject", "shop/cart"), ("data.status", status)];
    let down = |severity| {
        [("subject", "shop/cart"), ("data.status", "down"), ("data.severity", severity), ("data.detail", "no route")]
    };
    let failing = |severity| {
        case("a problem with severity and detail", &down(severity)).observes("failing", "shop/cart").value("no route")
    };
    vec![
        case("all is well", &of("up")).observes("ok", "shop/cart"),
        case("case does not matter", &of("Healthy")).observes("ok", "shop/cart"),
        case("a problem", &of("down")).observes("failing", "shop/cart"),
        failing("info").severity(Severity::Info),
        failing("warning").severity(Severity::Warning),
        failing("error").severity(Severity::Error),
        failing("critical").severity(Severity::Critical),
        failing("terrible").severity(Severity::Warning),
        case("it is no more", &of("deleted")).observes("gone", "shop/cart"),
        case("a word that is none", &of("purple")).rejects("data.status is none of the words in the settings"),
        case("no status", &[("subject", "shop/cart")]).rejects("missing data.status"),
        case("no subject", &[("data.status", "up")]).rejects("missing subject"),
    ]
}

mapper! {
    name: "status",
    version: env!("CARGO_PKG_VERSION"),
    schema: 1,
    states: Status,
    settings: Words,
    map: map,
    cases: cases,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<Words, String> {
        Words::read(&[(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn a_given_list_replaces_the_default() {
        let words = read("problem", "Broken, on fire").expect("two words");
        let report = |status| Report { subject: "oven", status, severity: None, detail: None };
        assert!(matches!(map(report("on FIRE"), &words), Mapped::Observed { state: Status::Failing, .. }));
        assert!(matches!(map(report("down"), &words), Mapped::Rejected(_)));
        assert!(matches!(map(report("up"), &words), Mapped::Observed { state: Status::Ok, .. }));
    }

    #[test]
    fn wrong_settings_are_refused() {
        let refused = |name, value| read(name, value).err().expect("refused");
        assert_eq!(refused("bad", "x"), "unknown setting `bad`: this rule has `healthy`, `problem` and `gone`");
        assert_eq!(
            refused("gone", "left,,away"),
            "setting `gone`: expected words separated by commas, got `left,,away`"
        );
        assert_eq!(
            refused("problem", "down,OK"),
            "setting `problem`: expected other words than in `healthy`, got `ok` in both"
        );
    }
}
