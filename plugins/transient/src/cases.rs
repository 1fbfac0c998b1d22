//! The cases of the rule: one entity, outage by outage.

use stillhouse_sdk::cases::{JudgeCase, judge_case};

use super::{History, MINUTE_US};

/// When the entity of the cases fails, in microseconds since 1970.
const DOWN_US: i64 = 1_000_000 * MINUTE_US;

/// A candidate that came up `after_m` minutes after the outage began; the state before began
/// `state_m` minutes before that.
fn change(healthy: bool, after_m: i64, judged: i64, state_m: i64) -> Vec<(&'static str, String)> {
    let time_us = DOWN_US + after_m * MINUTE_US;
    let since_us = if healthy { time_us - 10 * MINUTE_US } else { DOWN_US };
    vec![
        ("kind", "state.changed".to_owned()),
        ("healthy", healthy.to_string()),
        ("time", time_us.to_string()),
        ("since", since_us.to_string()),
        ("judged", judged.to_string()),
        ("state_us", (state_m * MINUTE_US).to_string()),
    ]
}

fn of(name: &str, settings: &[(&str, &str)], given: &[(&'static str, String)]) -> JudgeCase {
    let given: Vec<(&str, &str)> = given.iter().map(|(path, value)| (*path, value.as_str())).collect();
    judge_case(name, settings, &given)
}

pub fn cases() -> Vec<JudgeCase> {
    let none = History::default();
    // Six outages that were over soon, the last one an hour before this one.
    let shaky = History { transient: 6.0, weighed_us: DOWN_US - 60 * MINUTE_US, last: -1, ..none };
    let firm = History { persistent: 6.0, last: 1, transient: 0.0, ..shaky };
    let open = |history: History| History { open_us: DOWN_US, ..history };
    let raised = change(false, 10, 0, 1_000);
    let seldom = "probably transient: 19 % that it lasts an hour";
    vec![
        of("the first outage is believed", &[], &raised).memo(&none).emits().leaves(&open(none)),
        of("another one after many that were over soon", &[], &raised)
            .memo(&shaky)
            .delays(seldom, DOWN_US + 60 * MINUTE_US)
            .leaves(&open(shaky)),
        of("another one after many that lasted", &[], &raised).memo(&firm).emits().leaves(&open(firm)),
        of("a user who waits less", &[("wait", "20m")], &raised).memo(&shaky).delays(seldom, DOWN_US + 20 * MINUTE_US),
        of("a user who wants to be sure", &[("threshold", "0.9")], &raised)
            .memo(&firm)
            .delays("probably transient: 85 % that it lasts an hour", DOWN_US + 60 * MINUTE_US),
        of("a user who wants to know all", &[("threshold", "0")], &raised).memo(&shaky).emits(),
        of("it stands after the delay", &[], &change(false, 10, 1, 1_000))
            .memo(&open(shaky))
            .emits()
            .leaves(&open(shaky)),
        of("it was over after half an hour", &[], &change(true, 40, 0, 40))
            .memo(&open(none))
            .emits()
            .leaves(&History { transient: 1.0, weighed_us: DOWN_US, last: -1, ..none }),
        of("it was over after two hours", &[], &change(true, 130, 0, 130)).memo(&open(none)).emits().leaves(&History {
            persistent: 1.0,
            weighed_us: DOWN_US,
            last: 1,
            ..none
        }),
        of("nobody told that the one before was over after 20 minutes", &[], &change(false, 10, 0, 40))
            .memo(&History { open_us: DOWN_US - 50 * MINUTE_US, ..none })
            .delays("probably transient: 42 % that it lasts an hour", DOWN_US + 60 * MINUTE_US)
            .leaves(&open(History { transient: 1.0, weighed_us: DOWN_US - 50 * MINUTE_US, last: -1, ..none })),
        of("from one problem to another, the trouble goes on", &[], &change(false, 10, 0, 5_000))
            .memo(&History { open_us: DOWN_US - 30 * MINUTE_US, ..shaky })
            .delays(seldom, DOWN_US + 30 * MINUTE_US)
            .leaves(&History { open_us: DOWN_US - 30 * MINUTE_US, ..shaky }),
        of("trouble that has lasted leaves, whatever was before", &[], &change(false, 60, 0, 5_000))
            .memo(&shaky)
            .emits(),
        judge_case(
            "flapping is told as it comes",
            &[],
            &[("kind", "flapping.started"), ("healthy", "false"), ("time", "5"), ("since", "5"), ("judged", "0")],
        )
        .memo(&shaky)
        .emits()
        .leaves(&shaky),
    ]
}
