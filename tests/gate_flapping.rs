//! Suppression and flapping know of each other: a state that is held back is told to nobody while
//! its entity flaps, and goes on when the flapping ends.

use stillhouse_core::columns::verdict;
use stillhouse_core::plan::{FlappingPlan, FloodPlan, TypePlan};

use crate::gate::{Answer, Asked, EMIT, check, seen};
use crate::gate_fake::settled;
use crate::plans::{DOWN, GONE, SLOW, UP};
use crate::stream::{Signal, signal};

/// Two changes in a row are flapping; silence of 15 ends it.
fn flapping(plan: &mut TypePlan) {
    plan.flapping = Some(FlappingPlan {
        weights: stillhouse_core::plan::Weights::Nagios,
        high_mpct: 12_000,
        low_mpct: 0,
        quiet_us: Some(15),
    });
}

/// Holds back what becomes `down`, until then.
fn hold_down(until_us: i64) -> impl Fn(&Asked) -> Answer + Copy {
    move |asked| {
        let holds = asked.kind == "state.changed" && asked.to == "down";
        if holds { (verdict::SUPPRESS, until_us, 0) } else { EMIT }
    }
}

#[test]
fn a_state_that_is_held_back_waits_for_the_end_of_the_flapping() {
    // Its deadline passes while the entity flaps: it leaves when that ends.
    let run = check(
        flapping,
        seen(&[(0, UP), (10, DOWN), (20, UP), (25, DOWN)]),
        hold_down(30),
        &[
            "10 suppressed k held deadline 30: up>down since 10 inputs 1",
            "20 flapping.started k up>up since 20 inputs 1",
            "40 flapping.stopped k up>up since 20 inputs 2",
            "40 state.changed k up>down since 10 inputs 1 released after 30",
        ],
    );
    assert_eq!(settled(&run.ledger), (3, 0, 0));
    // Its deadline is later: it leaves then.
    check(
        flapping,
        seen(&[(0, UP), (10, DOWN), (20, UP), (25, DOWN)]),
        hold_down(50),
        &[
            "10 suppressed k held deadline 50: up>down since 10 inputs 1",
            "20 flapping.started k up>up since 20 inputs 1",
            "40 flapping.stopped k up>up since 20 inputs 2",
            "50 state.changed k up>down since 10 inputs 1 released after 40",
        ],
    );
}

#[test]
fn a_state_that_ends_with_the_flapping_is_told_to_nobody() {
    let run = check(
        flapping,
        seen(&[(0, UP), (10, DOWN), (20, UP)]),
        hold_down(25),
        &[
            "10 suppressed k held deadline 25: up>down since 10 inputs 1",
            "20 flapping.started k up>up since 20 inputs 1",
            "35 flapping.stopped k up>up since 20 inputs 1",
            "35 suppressed k ended after 25 deadline 35: up>down since 10 inputs 1",
        ],
    );
    assert_eq!(settled(&run.ledger), (1, 1, 0));
}

#[test]
fn what_may_follow_the_flapping_does_not_keep_back_what_stands() {
    // `up` is pending when the flapping ends and lasts: `down` has left by then.
    check(
        |plan| {
            flapping(plan);
            plan.hold_open_us = 40;
        },
        seen(&[(0, UP), (10, DOWN), (20, UP)]),
        hold_down(25),
        &[
            "10 suppressed k held deadline 25: up>down since 10 inputs 1",
            "20 flapping.started k up>up since 20 inputs 1",
            "35 flapping.stopped k up>up since 20 inputs 1",
            "35 state.changed k up>down since 10 inputs 1 released after 25",
            "60 state.changed k down>up since 20 inputs 1",
        ],
    );
}

#[test]
fn another_problem_after_the_flapping_takes_the_place_of_the_one_before() {
    check(
        flapping,
        seen(&[(0, UP), (10, DOWN), (20, SLOW)]),
        hold_down(25),
        &[
            "10 suppressed k held deadline 25: up>down since 10 inputs 1",
            "20 flapping.started k up>slow since 20 inputs 1",
            "35 flapping.stopped k up>slow since 20 inputs 1",
            "35 suppressed k ended after 25 deadline 35: up>down since 10 inputs 1",
            "35 state.changed k up>slow since 20 inputs 1",
        ],
    );
}

#[test]
fn an_entity_that_goes_while_it_flaps_takes_what_is_held_with_it() {
    check(
        flapping,
        seen(&[(0, UP), (10, DOWN), (20, UP), (25, GONE)]),
        hold_down(22),
        &[
            "10 suppressed k held deadline 22: up>down since 10 inputs 1",
            "20 flapping.started k up>up since 20 inputs 1",
            "25 flapping.stopped k up>up since 20 inputs 2",
            "25 suppressed k ended after 15 deadline 25: up>down since 10 inputs 1",
        ],
    );
}

#[test]
fn flapping_is_told_at_its_own_bound_and_the_state_still_waits() {
    // Both are held back: the bound of the flapping is what the outside waits for.
    let all = |_: &Asked| (verdict::SUPPRESS, 0, 0);
    check(
        |plan| {
            flapping(plan);
            plan.suppress_max_us = 15;
        },
        seen(&[(0, UP), (10, DOWN), (20, UP), (28, DOWN), (34, UP), (40, DOWN)]),
        all,
        &[
            "10 suppressed k held deadline 25: up>down since 10 inputs 1",
            "20 suppressed k held deadline 35: up>up since 20 inputs 1",
            "35 flapping.started k up>up since 20 inputs 1 released after 15",
            "55 suppressed k held deadline 70: up>up since 20 inputs 4",
            "55 state.changed k up>down since 10 inputs 1 released after 45",
            "70 flapping.stopped k down>down since 20 inputs 4 released after 15",
        ],
    );
}

#[test]
fn flapping_that_begins_and_ends_unheard_lets_the_state_go_on() {
    check(
        flapping,
        seen(&[(0, UP), (10, DOWN), (20, UP), (25, DOWN)]),
        |asked| if asked.kind == "flapping.stopped" { EMIT } else { (verdict::SUPPRESS, 60, 0) },
        &[
            "10 suppressed k held deadline 60: up>down since 10 inputs 1",
            "20 suppressed k held deadline 60: up>up since 20 inputs 1",
            "40 suppressed k ended after 20 deadline 60: up>up since 20 inputs 1",
            "60 state.changed k up>down since 10 inputs 1 released after 50",
        ],
    );
}

#[test]
fn a_delayed_state_is_judged_again_after_the_flapping() {
    check(
        flapping,
        seen(&[(0, UP), (10, DOWN), (20, UP), (25, DOWN)]),
        |asked| match (asked.kind.as_str(), asked.judged) {
            ("state.changed", 0) => (verdict::DELAY, 22, 0),
            _ => EMIT,
        },
        &[
            "20 flapping.started k up>up since 20 inputs 1",
            "40 flapping.stopped k up>up since 20 inputs 2",
            "40 state.changed k up>down since 10 inputs 1 delayed after 30",
        ],
    );
}

#[test]
fn what_a_flood_withheld_tries_again_after_the_flapping() {
    let flood = |plan: &mut TypePlan| {
        flapping(plan);
        plan.flood = Some(FloodPlan { max: Some(1), per_source: None, per_us: 20 });
    };
    let first = |mut signals: Vec<Signal>| {
        signals.insert(0, signal(1, "first", "a", DOWN, ""));
        signals
    };
    // The flood is over when the flapping is.
    check(
        flood,
        first(seen(&[(2, UP), (10, DOWN), (20, UP), (25, DOWN)])),
        |_| EMIT,
        &[
            "1 state.changed a ?>down since 1 inputs 1",
            "10 flood.started - 1 in 20 since 10",
            "20 state.changed k up>down since 10 inputs 1 released after 10",
            "20 flood.stopped - 1 in 20 since 10: 1 withheld, 0 ended, 0 signals of k",
            "20 flood.started - 1 in 20 since 20",
            "40 flapping.started k down>up since 20 inputs 1 released after 20",
            "40 flood.stopped - 1 in 20 since 20: 1 withheld, 0 ended, 0 signals of k",
            "40 flood.started - 1 in 20 since 40",
            "60 flapping.stopped k down>down since 20 inputs 2 released after 20",
            "60 flood.stopped - 1 in 20 since 40: 1 withheld, 0 ended, 0 signals of k",
        ],
    );
    // Its state ends with the flapping: that is said, since the flood has said its last.
    check(
        flood,
        first(seen(&[(2, UP), (10, DOWN), (19, UP)])),
        |_| EMIT,
        &[
            "1 state.changed a ?>down since 1 inputs 1",
            "10 flood.started - 1 in 20 since 10",
            "20 flapping.started k up>up since 19 inputs 1 released after 1",
            "20 flood.stopped - 1 in 20 since 10: 2 withheld, 0 ended, 0 signals of k",
            "34 flood.started - 1 in 20 since 34",
            "34 suppressed k ended after 24 deadline 34: up>down since 10 inputs 1",
            "40 flapping.stopped k up>up since 19 inputs 1 released after 6",
            "40 flood.stopped - 1 in 20 since 34: 1 withheld, 0 ended, 0 signals of k",
        ],
    );
}

#[test]
fn an_occurrence_is_news_even_if_it_says_what_the_one_before_it_said() {
    let run = check(
        |plan| plan.mode = stillhouse_core::plan::Mode::Occurrence,
        seen(&[(10, UP), (20, UP)]),
        |asked| if asked.key == "k" { (verdict::SUPPRESS, 30, 0) } else { EMIT },
        &[
            "10 suppressed k held deadline 30: ?>up since 10 inputs 1",
            "20 suppressed k ended after 10 deadline 30: ?>up since 10 inputs 1",
            "20 suppressed k held deadline 30: ?>up since 20 inputs 1",
            "30 state.changed k ?>up since 20 inputs 1 released after 10",
            "5000 state.changed z ?>up since 5000 inputs 1",
        ],
    );
    assert_eq!(settled(&run.ledger), (2, 1, 0));
}
