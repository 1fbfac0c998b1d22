//! Problems that are believed only on evidence, and where every signal of it ends.

use stillhouse_core::Plan;
use stillhouse_core::level::{Bound, Bounds, LevelPlan};
use stillhouse_core::plan::{Against, ConfirmPlan, DedupePlan, FlappingPlan, TypePlan, Weights};

use crate::plans::{DOWN, GONE, SLOW, UP, plan, type_plan};
use crate::stream::{Item, Run, Signal, Stream, check_divided, signal};

/// Time goes on to here.
const END_US: i64 = 1_000;

fn one(confirm: ConfirmPlan, change: impl FnOnce(&mut TypePlan)) -> Plan {
    let mut of_type = type_plan("probe");
    of_type.confirm = Some(confirm);
    change(&mut of_type);
    plan(vec![of_type])
}

/// Observations of key `k`, and one of key `z` at the end.
fn seen(observations: &[(i64, u8)]) -> Stream {
    from_sources(&observations.iter().map(|&(time_us, state)| (time_us, 0, state)).collect::<Vec<_>>())
}

/// The same from several sources; the last signal is healthy and of no consequence.
fn from_sources(observations: &[(i64, u32, u8)]) -> Stream {
    let each = observations.iter().enumerate();
    let mut items: Vec<Item> = each
        .map(|(at, &(time_us, source, state))| {
            let rank = at as u64;
            Item::Signal(Signal { source, rank, ..signal(time_us, &format!("e{at}"), "k", state, "") })
        })
        .collect();
    items.push(Item::Signal(signal(END_US, "end", "z", UP, "")));
    Stream { sources: ["a", "b", "c"].map(String::from).to_vec(), items, ended: true }
}

/// Where the signals ended, without the one at the end: emitted, blips, repeated, open.
fn ends(run: &Run) -> (u64, u64, u64, u64) {
    let ledger = run.ledger;
    (ledger.emitted, ledger.merged_blip, ledger.merged_repeated - 1, ledger.open)
}

const TWO_WITHIN_10: ConfirmPlan = ConfirmPlan::Within { count: 2, within_us: 10 };
const TWICE: ConfirmPlan = ConfirmPlan::Last { count: 2, of: 2 };

#[test]
fn three_of_the_last_five() {
    let confirm = ConfirmPlan::Last { count: 3, of: 5 };
    let run = check_divided(
        one(confirm, |_| ()),
        &seen(&[(0, UP), (1, DOWN), (2, UP), (3, DOWN), (4, UP), (5, DOWN), (6, UP)]),
        &["5 state.changed k up>down since 1 inputs 3", "6 state.changed k down>up since 6 inputs 1"],
    );
    assert_eq!(ends(&run), (4, 0, 3, 0));
}

#[test]
fn a_problem_holds_until_too_few_of_the_last_observations_say_so() {
    // 2 of 3: one healthy observation does not end it, the second does.
    let confirm = ConfirmPlan::Last { count: 2, of: 3 };
    let run = check_divided(
        one(confirm, |_| ()),
        &seen(&[(0, DOWN), (1, DOWN), (2, UP), (3, UP)]),
        &["1 state.changed k ?>down since 0 inputs 2", "3 state.changed k down>up since 3 inputs 1"],
    );
    assert_eq!(ends(&run), (3, 0, 1, 0));
}

#[test]
fn it_has_lasted_since_the_oldest_evidence() {
    let retried = ConfirmPlan::Last { count: 3, of: 3 };
    let observed = [(0, DOWN), (4, DOWN), (8, DOWN)];
    let after = |hold_down_us, expected: &str| {
        let run = check_divided(one(retried, |plan| plan.hold_down_us = hold_down_us), &seen(&observed), &[expected]);
        assert_eq!(ends(&run), (3, 0, 0, 0));
    };
    after(10, "10 state.changed k ?>down since 0 inputs 3");
    after(8, "8 state.changed k ?>down since 0 inputs 3");
    // It has lasted long enough before it is believed.
    after(5, "8 state.changed k ?>down since 0 inputs 3");
    after(0, "8 state.changed k ?>down since 0 inputs 3");
}

#[test]
fn an_unconfirmed_problem_that_is_pushed_out_did_not_last() {
    let retried = ConfirmPlan::Last { count: 3, of: 3 };
    let run = check_divided(one(retried, |_| ()), &seen(&[(0, DOWN), (1, DOWN), (2, UP), (3, DOWN)]), &[]);
    // The first was pushed out; the second and the last still wait.
    assert_eq!(ends(&run), (0, 1, 1, 2));
}

#[test]
fn two_within_a_time_its_ends_included() {
    let confirmed = ["10 state.changed k ?>down since 0 inputs 2"];
    check_divided(one(TWO_WITHIN_10, |_| ()), &seen(&[(0, DOWN), (10, DOWN)]), &confirmed);
    let apart = check_divided(one(TWO_WITHIN_10, |_| ()), &seen(&[(0, DOWN), (11, DOWN)]), &[]);
    assert_eq!(ends(&apart), (0, 2, 0, 0));
    assert_eq!(apart.core.entities(), 1, "of what was never believed nothing is known");
}

#[test]
fn evidence_waits_for_as_long_as_it_counts() {
    let until = |end_us, open| {
        let signals = [signal(0, "e0", "k", DOWN, ""), signal(end_us, "end", "z", UP, "")];
        let run = check_divided(one(TWO_WITHIN_10, |_| ()), &Stream::of(signals), &[]);
        assert_eq!((run.ledger.open, run.ledger.merged_blip), (open, 1 - open));
    };
    until(10, 1);
    until(11, 0);
}

#[test]
fn health_against_a_problem_that_holds_is_nothing_new() {
    let run = check_divided(
        one(TWO_WITHIN_10, |_| ()),
        &seen(&[(0, DOWN), (5, DOWN), (8, UP), (10, UP), (11, UP)]),
        &["5 state.changed k ?>down since 0 inputs 2", "11 state.changed k down>up since 11 inputs 1"],
    );
    assert_eq!(ends(&run), (3, 0, 2, 0));
}

#[test]
fn two_of_equal_time() {
    let at_once = ConfirmPlan::Within { count: 2, within_us: 0 };
    let confirmed = ["5 state.changed k ?>down since 5 inputs 2"];
    check_divided(one(at_once, |_| ()), &seen(&[(5, DOWN), (5, DOWN)]), &confirmed);
    check_divided(one(at_once, |_| ()), &seen(&[(5, DOWN), (6, DOWN)]), &[]);
}

#[test]
fn two_sources_within_a_time() {
    let two = ConfirmPlan::Sources { count: 2, within_us: 10 };
    let run = check_divided(
        one(two, |_| ()),
        &from_sources(&[(0, 0, DOWN), (3, 0, DOWN), (9, 1, DOWN)]),
        &["9 state.changed k ?>down since 3 inputs 2"],
    );
    // Of what one source says again, the newest counts.
    assert_eq!(ends(&run), (2, 0, 1, 0));
    let alone = check_divided(one(two, |_| ()), &from_sources(&[(0, 0, DOWN), (3, 0, DOWN), (14, 1, DOWN)]), &[]);
    assert_eq!(ends(&alone), (0, 2, 1, 0));
}

#[test]
fn what_kind_of_problem_it_is_says_the_last_of_the_evidence() {
    let mixed = ["1 state.changed k ?>slow since 0 inputs 2"];
    check_divided(one(TWICE, |_| ()), &seen(&[(0, DOWN), (1, SLOW)]), &mixed);
}

#[test]
fn another_problem_after_a_confirmed_one_began_when_it_was_seen() {
    let run = check_divided(
        one(TWICE, |_| ()),
        &seen(&[(0, DOWN), (1, DOWN), (2, SLOW)]),
        &["1 state.changed k ?>down since 0 inputs 2", "2 state.changed k down>slow since 2 inputs 1"],
    );
    assert_eq!(ends(&run), (3, 0, 0, 0));
}

#[test]
fn evidence_that_was_settled_before_still_speaks() {
    let confirm = ConfirmPlan::Last { count: 3, of: 5 };
    let run = check_divided(
        one(confirm, |plan| plan.hold_down_us = 100),
        &seen(&[(0, DOWN), (1, UP), (2, DOWN), (3, UP), (4, DOWN), (5, UP), (6, DOWN)]),
        // The third problem was confirmed and did not last; with the fourth it is three of five again.
        &["102 state.changed k up>down since 2 inputs 3"],
    );
    assert_eq!(ends(&run), (1, 3, 3, 0));
}

#[test]
fn gone_clears_the_evidence() {
    let run = check_divided(
        one(TWO_WITHIN_10, |_| ()),
        &seen(&[(0, DOWN), (3, GONE), (5, DOWN), (8, DOWN)]),
        &["8 state.changed k ?>down since 5 inputs 2"],
    );
    assert_eq!(ends(&run), (2, 1, 1, 0));
    let unheard = check_divided(one(TWICE, |_| ()), &seen(&[(0, UP), (1, DOWN), (2, GONE)]), &[]);
    assert_eq!(ends(&unheard), (0, 1, 2, 0));
}

#[test]
fn an_entity_of_which_only_evidence_is_known_is_forgotten() {
    let forgets = |plan: &mut TypePlan| plan.forget_after_us = 20;
    let run = check_divided(one(TWICE, forgets), &seen(&[(0, DOWN), (20, DOWN)]), &[]);
    assert_eq!(ends(&run), (0, 2, 0, 0));
    assert_eq!(run.core.entities(), 1);
    let known = ["19 state.changed k ?>down since 0 inputs 2"];
    check_divided(one(TWICE, forgets), &seen(&[(0, DOWN), (19, DOWN)]), &known);
}

#[test]
fn a_problem_that_is_cleared_takes_its_evidence_along() {
    let confirm = ConfirmPlan::Last { count: 2, of: 3 };
    let cleared = |plan: &mut TypePlan| {
        plan.hold_open_us = 100;
        plan.clear_after_us[DOWN as usize] = Some(10);
    };
    let run = check_divided(
        one(confirm, cleared),
        &seen(&[(0, DOWN), (1, DOWN), (2, UP), (3, UP), (4, UP), (5, DOWN), (6, DOWN)]),
        &["1 state.changed k ?>down since 0 inputs 2", "16 state.changed k down>clear since 6 inputs 0"],
    );
    // Two healthy ones and an unconfirmed problem did not last; 2 and 6 say what was known.
    assert_eq!(ends(&run), (2, 3, 2, 0));
}

#[test]
fn an_unconfirmed_problem_does_not_disturb_the_end_of_another() {
    let two = ConfirmPlan::Within { count: 2, within_us: 5 };
    let held = |plan: &mut TypePlan| plan.hold_open_us = 10;
    let down = "1 state.changed k ?>down since 0 inputs 2";
    let run = check_divided(
        one(two, held),
        &seen(&[(0, DOWN), (1, DOWN), (7, UP), (9, DOWN)]),
        &[down, "17 state.changed k down>up since 7 inputs 1"],
    );
    assert_eq!(ends(&run), (3, 1, 0, 0));
    let confirmed =
        check_divided(one(two, held), &seen(&[(0, DOWN), (1, DOWN), (7, UP), (9, DOWN), (10, DOWN)]), &[down]);
    assert_eq!(ends(&confirmed), (2, 2, 1, 0));
}

#[test]
fn a_duplicate_is_no_evidence() {
    let merged = |plan: &mut TypePlan| plan.dedupe = Some(DedupePlan { window_us: 5, against: Against::Last });
    let two = ConfirmPlan::Within { count: 2, within_us: 100 };
    let run = check_divided(
        one(two, merged),
        &seen(&[(0, DOWN), (3, DOWN), (10, DOWN)]),
        &["10 state.changed k ?>down since 0 inputs 2"],
    );
    assert_eq!((run.ledger.merged_fingerprint, run.ledger.emitted), (1, 2));
    let forgotten = check_divided(
        one(two, |plan| {
            merged(plan);
            plan.forget_after_us = 50;
        }),
        &seen(&[(0, DOWN), (3, DOWN)]),
        &[],
    );
    assert_eq!((ends(&forgotten), forgotten.core.entities()), ((0, 1, 0, 0), 1));
}

#[test]
fn evidence_that_leaves_takes_no_level_along() {
    let high = Some(Bound { enter: 20.0, leave: 15.0 });
    let bounds = Bounds::Fixed { high, low: None };
    let level = LevelPlan { normal: UP, high: DOWN, low: SLOW, severity: 2, smooth_us: 0, bounds };
    // 18 is still high, until the entity is forgotten: again no more than evidence.
    let open_after = |forget_after_us| {
        let levelled = |plan: &mut TypePlan| (plan.level, plan.forget_after_us) = (Some(level), forget_after_us);
        let signals = [(0, "30"), (50, "18"), (55, "50")].map(|(time_us, value)| {
            let key = if time_us == 55 { "z" } else { "k" };
            signal(time_us, value, key, UP, value)
        });
        let run = check_divided(one(TWO_WITHIN_10, levelled), &Stream::of(signals), &[]);
        (run.ledger.open, run.ledger.merged_blip, run.ledger.merged_repeated)
    };
    assert_eq!(open_after(51), (2, 1, 0));
    assert_eq!(open_after(50), (1, 1, 1));
}

#[test]
fn only_what_is_confirmed_is_a_change_that_flaps() {
    let flaps = |plan: &mut TypePlan| {
        let weights = Weights::Nagios;
        plan.flapping = Some(FlappingPlan { weights, high_mpct: 6_250, low_mpct: 0, quiet_us: Some(20) });
    };
    let run = check_divided(
        one(TWICE, flaps),
        &seen(&[(0, UP), (1, DOWN), (2, UP), (3, DOWN), (4, UP), (5, DOWN), (6, DOWN)]),
        &[
            "6 flapping.started k up>down since 6 inputs 1",
            "26 flapping.stopped k up>down since 6 inputs 1",
            "26 state.changed k up>down since 5 inputs 2",
        ],
    );
    // The last one started the flapping; the one before it waited for the state.
    assert_eq!(ends(&run), (2, 2, 3, 0));
}

#[test]
fn a_confirmed_problem_that_ends_while_it_flaps_did_not_last() {
    let flaps = |plan: &mut TypePlan| {
        let weights = Weights::Nagios;
        plan.flapping = Some(FlappingPlan { weights, high_mpct: 6_250, low_mpct: 0, quiet_us: Some(20) });
    };
    let run = check_divided(
        one(TWICE, flaps),
        &seen(&[(0, UP), (5, DOWN), (6, DOWN), (7, UP)]),
        &["6 flapping.started k up>down since 6 inputs 1", "27 flapping.stopped k up>up since 6 inputs 2"],
    );
    assert_eq!(ends(&run), (2, 1, 1, 0));
}

#[test]
fn the_event_counts_what_was_never_confirmed() {
    let run = check_divided(
        one(TWICE, |_| ()),
        &seen(&[(0, UP), (1, DOWN), (2, UP), (3, DOWN), (4, DOWN)]),
        &["4 state.changed k up>down since 3 inputs 2"],
    );
    let event: serde_json::Value = serde_json::from_str(run.bytes.trim_end()).expect("one event");
    assert_eq!((&event["data"]["counts"]["blips"], &event["data"]["counts"]["repeated"]), (&1.into(), &2.into()));
    assert_eq!(event["data"]["provenance"]["first"]["id"], "e3");
    assert_eq!(event["data"]["provenance"]["last"]["id"], "e4");
}
