//! Functions: cold starts that are over in seconds, one that fails until it is rolled back, and one
//! that stays broken.

use std::sync::Arc;

use super::chance::Chance;
use super::day::{BEGIN_US, Day, END_US, Known, LAST_US, MINUTE_US, SECOND_US, Said, Topic, at};

const FUNCTIONS: [&str; 20] = [
    "resize-image",
    "send-mail",
    "make-invoice",
    "score-risk",
    "sync-crm",
    "parse-feed",
    "notify-user",
    "clean-cart",
    "rate-limit",
    "build-sitemap",
    "convert-pdf",
    "track-parcel",
    "check-vat",
    "merge-orders",
    "geo-lookup",
    "sign-url",
    "scan-upload",
    "list-offers",
    "warm-cache",
    "export-csv",
];
const EVERY_MAX_US: i64 = 18 * SECOND_US;
/// `hold_down` and `hold_open` of the configuration.
const HOLD_US: i64 = 45 * SECOND_US;
const BUG: &str = "TypeError";

pub(super) fn make(day: &mut Day, chance: &mut Chance) {
    let [broken, fixed] = chance.different(2, FUNCTIONS.len())[..] else { return };
    let broken_us = at(10, 50) + chance.between(0, 30) * MINUTE_US;
    let failing_us = at(9, 0) + chance.between(0, 30) * MINUTE_US;
    let fixed_us = failing_us + chance.between(240, 480) * SECOND_US;
    let known = |name: usize, state, from_us| Known {
        story: if name == broken { "a broken function" } else { "a function that is rolled back" },
        topic: Topic::Function,
        key: FUNCTIONS[name],
        state,
        value: (state == "failing").then_some(BUG),
        from_us,
        shown_us: EVERY_MAX_US,
        hold_us: HOLD_US,
    };
    day.truth(known(broken, "failing", broken_us));
    day.truth(known(fixed, "failing", failing_us));
    day.truth(known(fixed, "ok", fixed_us));
    let mut starts = 0;
    for (index, name) in FUNCTIONS.iter().enumerate() {
        let failing = match index {
            _ if index == broken => Some((broken_us, END_US)),
            _ if index == fixed => Some((failing_us, fixed_us)),
            _ => None,
        };
        starts += call(day, chance, &(*name).into(), failing);
    }
    let story = format!("{starts} cold starts; {} fails, {} stays broken", FUNCTIONS[fixed], FUNCTIONS[broken]);
    day.stories.insert(Topic::Function, story);
}

/// Calls a function all day; how many cold starts there were.
fn call(day: &mut Day, chance: &mut Chance, key: &Arc<str>, failing: Option<(i64, i64)>) -> u64 {
    let source: Arc<str> = "/functions/gateway".into();
    let (mut starts, mut is_warm) = (0, false);
    let mut time_us = BEGIN_US + chance.between(0, 9_999) * 1000;
    while time_us < END_US {
        let near =
            failing.filter(|(from_us, to_us)| (from_us - 2 * MINUTE_US..to_us + 2 * MINUTE_US).contains(&time_us));
        let fails = near.is_some_and(|(from_us, to_us)| (from_us..to_us).contains(&time_us));
        if fails {
            let data = format_args!(r#"{{"status":"error","severity":"error","detail":"{BUG}"}}"#);
            day.say(Topic::Function, &source, key, time_us, &Said { state: 2, level: 1.0, data });
        } else if near.is_none() && is_warm && time_us < LAST_US && chance.per_mille(25) {
            starts += 1;
            is_warm = false;
            let data = format_args!(r#"{{"status":"slow","detail":"cold start"}}"#);
            day.say(Topic::Function, &source, key, time_us, &Said { state: 1, level: 0.5, data });
            time_us += chance.between(1000, 4000) * 1000;
            continue;
        } else {
            is_warm = true;
            let data = format_args!(r#"{{"status":"ok"}}"#);
            day.say(Topic::Function, &source, key, time_us, &Said { state: 0, level: 0.0, data });
        }
        time_us += chance.between(12 * SECOND_US / 1000, EVERY_MAX_US / 1000) * 1000;
    }
    starts
}
