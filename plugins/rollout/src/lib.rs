//! Something that is rolled out: a release of a service, a stage of a feature flag.
//!
//! The subject is what is rolled out, `data.version` (or `data.stage`) which release or stage of it,
//! `data.status` how that does, a word. Which words mean what is up to the settings `started`, `passing`, `failing` and
//! `removed`: lists separated by commas, read without regard to case; a list that is given replaces
//! the default. Setting `entity`:
//!
//! - `version` (default): each version is an entity of its own. The old one may pass while the new
//!   one fails. `started` is where it begins, so that `passing` is news when it has lasted.
//! - `subject`: the subject is the entity and the version its fingerprint, so that another version is
//!   another state. For what is at one stage at a time, such as a flag.

use stillhouse_sdk::prelude::*;

#[derive(Signal)]
struct Check<'a> {
    /// What is rolled out.
    #[field("subject")]
    subject: &'a str,
    /// Which release of it.
    version: Option<&'a str>,
    /// Which stage it is at.
    stage: Option<&'a str>,
    /// How that does.
    status: &'a str,
    /// How much a failure matters; an error where it is absent or no known word.
    severity: Option<&'a str>,
}

#[derive(States, Clone, Copy, Debug)]
enum Rollout {
    #[healthy]
    Started,
    #[healthy]
    Passing,
    #[problem]
    Failing,
    #[gone]
    Removed,
}

/// The words for each state, and what the entity is.
pub struct Plan {
    words: Vec<(Rollout, Vec<String>)>,
    by_version: bool,
}

const DEFAULTS: [(&str, Rollout, &str); 4] = [
    ("started", Rollout::Started, "started,pending,progressing"),
    ("passing", Rollout::Passing, "passing,passed,ok,healthy,ready,success"),
    ("failing", Rollout::Failing, "failing,failed,error,unhealthy,degraded,timeout"),
    ("removed", Rollout::Removed, "removed,deleted,archived,superseded"),
];

impl Settings for Plan {
    fn read(settings: &[(String, String)]) -> Result<Self, String> {
        let mut lists = DEFAULTS;
        let mut by_version = true;
        for (name, value) in settings {
            if name == "entity" {
                by_version = match value.as_str() {
                    "version" => true,
                    "subject" => false,
                    other => return Err(format!("setting `entity`: expected version or subject, got `{other}`")),
                };
                continue;
            }
            let Some((_, _, list)) = lists.iter_mut().find(|(known, ..)| known == name) else {
                return Err(format!(
                    "unknown setting `{name}`: this rule has `started`, `passing`, `failing`, `removed` and `entity`"
                ));
            };
            if value.split(',').any(|word| word.trim().is_empty()) {
                return Err(format!("setting `{name}`: expected words separated by commas, got `{value}`"));
            }
            *list = value;
        }
        let words_of = |list: &str| list.split(',').map(|word| word.trim().to_owned()).collect();
        let plan = Plan { words: lists.iter().map(|(_, state, list)| (*state, words_of(list))).collect(), by_version };
        plan.no_word_twice()?;
        Ok(plan)
    }
}

impl Plan {
    fn no_word_twice(&self) -> Result<(), String> {
        for (index, (_, words)) in self.words.iter().enumerate() {
            for (other, (_, others)) in self.words.iter().enumerate().skip(index + 1) {
                if let Some(word) = words.iter().find(|word| has(others, word)) {
                    let (name, other) = (DEFAULTS[index].0, DEFAULTS[other].0);
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

fn map<'a>(check: Check<'a>, plan: &Plan) -> Mapped<'a, Rollout> {
    let Some((state, _)) = plan.words.iter().find(|(_, words)| has(words, check.status)) else {
        return rejected("data.status is none of the words in the settings");
    };
    let Some(version) = check.version.or(check.stage) else {
        return rejected("neither data.version nor data.stage");
    };
    let observed = match plan.by_version {
        true => observe(*state, [check.subject, version]),
        false => observe(*state, check.subject).value(version),
    };
    match state {
        Rollout::Failing => observed.severity(severity(check.severity)),
        Rollout::Started | Rollout::Passing | Rollout::Removed => observed,
    }
}

fn severity(word: Option<&str>) -> Severity {
    match word {
        Some("info") => Severity::Info,
        Some("warning") => Severity::Warning,
        Some("critical") => Severity::Critical,
        _ => Severity::Error,
    }
}

fn cases() -> Vec<Case> {
    let of = |status| [("subject", "shop/cart"), ("data.version", "v42"), ("data.status", status)];
    let failing = |name: &str, severity| {
        let given = [of("failing").as_slice(), &[("data.severity", severity)]].concat();
        case(name, &given).observes("failing", "shop/cart/v42")
    };
    vec![
        case("a rollout begins", &of("started")).observes("started", "shop/cart/v42"),
        case("a check passes", &of("passing")).observes("passing", "shop/cart/v42"),
        case("a stage passes", &[("subject", "new-till"), ("data.stage", "25%"), ("data.status", "passing")])
            .observes("passing", "new-till/25%"),
        case("case does not matter", &of("Healthy")).observes("passing", "shop/cart/v42"),
        case("a check fails", &of("timeout")).observes("failing", "shop/cart/v42").severity(Severity::Error),
        failing("of no account", "info").severity(Severity::Info),
        failing("a canary", "warning").severity(Severity::Warning),
        failing("for everybody", "critical").severity(Severity::Critical),
        failing("a severity that is none", "terrible").severity(Severity::Error),
        case("the version is taken away", &of("superseded")).observes("removed", "shop/cart/v42"),
        case("a word that is none", &of("purple")).rejects("data.status is none of the words in the settings"),
        case("no version", &[("subject", "shop/cart"), ("data.status", "ok")])
            .rejects("neither data.version nor data.stage"),
        case("no subject", &[("data.version", "v42"), ("data.status", "ok")]).rejects("missing subject"),
    ]
}

mapper! {
    name: "rollout",
    version: env!("CARGO_PKG_VERSION"),
    schema: 1,
    states: Rollout,
    settings: Plan,
    map: map,
    cases: cases,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<Plan, String> {
        Plan::read(&[(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn the_version_can_be_the_fingerprint() {
        let plan = read("entity", "subject").expect("a known entity");
        let check = Check { subject: "new-till", version: None, stage: Some("25%"), status: "ok", severity: None };
        match map(check, &plan) {
            Mapped::Observed { key, value, .. } => {
                assert_eq!((format!("{key:?}").contains("25%"), value.as_ref()), (false, "25%"));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_given_list_replaces_the_default() {
        let plan = read("passing", "Fine, so far so good").expect("two words");
        let check = |status| Check { subject: "shop/cart", version: Some("v42"), stage: None, status, severity: None };
        assert!(matches!(map(check("so far so GOOD"), &plan), Mapped::Observed { state: Rollout::Passing, .. }));
        assert!(matches!(map(check("ok"), &plan), Mapped::Rejected(_)));
    }

    #[test]
    fn wrong_settings_are_refused() {
        let refused = |name, value| read(name, value).err().expect("refused");
        assert_eq!(
            refused("failed", "x"),
            "unknown setting `failed`: this rule has `started`, `passing`, `failing`, `removed` and `entity`"
        );
        assert_eq!(refused("entity", "host"), "setting `entity`: expected version or subject, got `host`");
        assert_eq!(refused("passing", "a,,b"), "setting `passing`: expected words separated by commas, got `a,,b`");
        assert_eq!(
            refused("failing", "bad,OK"),
            "setting `failing`: expected other words than in `passing`, got `ok` in both"
        );
    }
}
