//! The cases of this rule.

use stillhouse_sdk::prelude::*;

const ONCE: &str = "2026-03-01T02:00Z/2026-03-01T04:00Z shop/*";
const TWO_OCLOCK: &str = "1772330400000000";
const FOUR_OCLOCK: &str = "1772337600000000";
const FOUR_OCLOCK_US: i64 = 1_772_337_600_000_000;
const SIX_OCLOCK_US: i64 = 1_772_344_800_000_000;

pub(crate) fn cases() -> Vec<JudgeCase> {
    let problem = |key, time, severity| [("key", key), ("time", time), ("severity", severity), ("healthy", "false")];
    let healthy = [("key", "shop/cart"), ("time", TWO_OCLOCK), ("severity", "0"), ("healthy", "true")];
    let quiet = "under maintenance";
    vec![
        judge_case("without settings all leave", &[], &problem("shop/cart", TWO_OCLOCK, "1")).emits(),
        judge_case("in the window", &[("windows", ONCE)], &problem("shop/cart", TWO_OCLOCK, "1"))
            .suppresses(quiet, FOUR_OCLOCK_US),
        judge_case("another key", &[("windows", ONCE)], &problem("bank/desk", TWO_OCLOCK, "1")).emits(),
        judge_case("the window is over", &[("windows", ONCE)], &problem("shop/cart", FOUR_OCLOCK, "1")).emits(),
        judge_case("healthy again in the window", &[("windows", ONCE)], &healthy).emits(),
        judge_case("a critical problem in the window", &[("windows", ONCE)], &problem("shop/cart", TWO_OCLOCK, "3"))
            .emits(),
        judge_case("an error in the window", &[("windows", ONCE)], &problem("shop/cart", TWO_OCLOCK, "2"))
            .suppresses(quiet, FOUR_OCLOCK_US),
        judge_case(
            "an error in the window, where errors leave",
            &[("windows", ONCE), ("except_severity", "error")],
            &problem("shop/cart", TWO_OCLOCK, "2"),
        )
        .emits(),
        judge_case(
            "every day",
            &[("windows", "daily 01:30-04:00 db-*"), ("except_severity", "critical")],
            &problem("db-7", TWO_OCLOCK, "1"),
        )
        .suppresses(quiet, FOUR_OCLOCK_US),
        judge_case(
            "one window follows another",
            &[("windows", "daily 03:59-06:00 *; 2026-03-01T02:00Z/2026-03-01T04:00Z shop/*")],
            &problem("shop/cart", TWO_OCLOCK, "1"),
        )
        .suppresses(quiet, SIX_OCLOCK_US),
        judge_case(
            "one that must never be quiet",
            &[("windows", ONCE), ("escalate", "bank/*; shop/till")],
            &problem("shop/till", TWO_OCLOCK, "1"),
        )
        .escalates("the settings call it critical", Severity::Critical),
        judge_case(
            "one that must never be quiet is well again",
            &[("windows", ONCE), ("escalate", "shop/*")],
            &healthy,
        )
        .emits(),
    ]
}
