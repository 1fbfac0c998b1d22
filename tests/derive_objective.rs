//! Objectives: indicators and burn rates, against a computation from the list of observations.

use std::collections::BTreeSet;
use std::sync::Arc;

use stillhouse_core::Plan;
use stillhouse_core::columns::outcome;
use stillhouse_core::derive::{BurnPlan, By, DerivePlan, OTHER, ObjectivePlan, PANES_MAX};

use stillhouse_core::level::{Bound, Bounds, LevelPlan};

use crate::derive_told::{check, deriving, divided, until};
use crate::generate::{any_plan, any_stream, orderly_stream};
use crate::plans::{DOWN, GONE, SLOW, UP};
use crate::properties::{for_seeds, hold};
use crate::stream::{Item, Stream, told};

/// Ten percent of bad observations are allowed; too fast is more than twice that in 40 and in 10.
fn objective(change: impl FnOnce(&mut ObjectivePlan)) -> ObjectivePlan {
    let burns = vec![BurnPlan { over_milli: 2_000, long_panes: 4, short_panes: 1, severity: 3 }];
    let mut plan =
        ObjectivePlan { name: "avail".into(), signal_type: 0, by: By::All, target_ppm: 900_000, every_us: 10, burns };
    change(&mut plan);
    plan
}

fn with(change: impl FnOnce(&mut ObjectivePlan)) -> Plan {
    deriving(DerivePlan { objectives: vec![objective(change)], ..DerivePlan::default() })
}

#[test]
fn each_pane_with_observations_is_told_when_it_ends() {
    let no_burn = |plan: &mut ObjectivePlan| plan.burns.clear();
    let seen = [(3, "a", UP), (9, "b", DOWN), (9, "c", GONE), (10, "a", UP), (10, "a", UP), (39, "a", SLOW)];
    let told = [
        "10 sli all avail 0..10 good 1 bad 1",
        "20 sli all avail 10..20 good 2 bad 0",
        "40 sli all avail 30..40 good 0 bad 1",
    ];
    check(with(no_burn), &until(40, &seen), &told);
    // One microsecond earlier the last pane has not ended.
    check(with(no_burn), &until(39, &seen), &told[..2]);
    let before_1970 = [(-11, "a", UP), (-10, "a", DOWN), (-1, "a", UP)];
    check(
        with(no_burn),
        &until(1, &before_1970),
        &["-10 sli all avail -20..-10 good 1 bad 0", "0 sli all avail -10..0 good 1 bad 1"],
    );
}

#[test]
fn groups_are_told_apart() {
    let seen = [(1, "db/a", UP), (2, "web/a", DOWN), (3, "db/b", DOWN), (4, "cron", UP)];
    let by = |by: By| {
        with(|plan| {
            plan.by = by;
            plan.burns.clear();
        })
    };
    check(
        by(By::Prefix("/".into())),
        &until(10, &seen),
        &[
            "10 sli cron avail 0..10 good 1 bad 0",
            "10 sli db avail 0..10 good 1 bad 1",
            "10 sli web avail 0..10 good 0 bad 1",
        ],
    );
    check(
        by(By::Key),
        &until(10, &seen[..3]),
        &[
            "10 sli db/a avail 0..10 good 1 bad 0",
            "10 sli db/b avail 0..10 good 0 bad 1",
            "10 sli web/a avail 0..10 good 0 bad 1",
        ],
    );
}

#[test]
fn what_is_no_admitted_observation_is_not_counted() {
    let no_burn = |plan: &mut ObjectivePlan| plan.burns.clear();
    let mut stream = until(10, &[(1, "a", UP), (1, "a", UP), (2, "a", DOWN), (3, "a", DOWN), (2, "a", DOWN)]);
    let change = |stream: &mut Stream, at: usize, change: fn(&mut crate::stream::Signal)| match &mut stream.items[at] {
        Item::Signal(signal) => change(signal),
        _ => panic!("a signal"),
    };
    change(&mut stream, 1, |signal| signal.id = "e0".into());
    change(&mut stream, 2, |signal| signal.outcome = outcome::DROPPED);
    // The last one is late.
    check(with(no_burn), &stream, &["2 late a e4 by 1", "10 sli all avail 0..10 good 1 bad 1"]);
}

#[test]
fn a_level_decides_what_is_good() {
    let mut plan = with(|plan| plan.burns.clear());
    let high = Some(Bound { enter: 90.0, leave: 80.0 });
    let bounds = Bounds::Fixed { high, low: None };
    plan.types[0].level = Some(LevelPlan { normal: UP, high: DOWN, low: DOWN, severity: 1, smooth_us: 0, bounds });
    let values = ["50", "95", "85", "no number", "70"];
    let mut stream = until(10, &[(1, "a", UP), (2, "a", UP), (3, "a", UP), (4, "a", UP), (5, "a", UP)]);
    for (item, value) in stream.items.iter_mut().zip(values) {
        let Item::Signal(signal) = item else { panic!("a signal") };
        signal.value = value.into();
    }
    check(plan, &stream, &["10 sli all avail 0..10 good 2 bad 2"]);
}

#[test]
fn too_fast_is_more_than_the_rate_in_both_windows() {
    // Five observations a pane; `bad` of them are bad.
    let panes = |bad: &[usize]| {
        let of_pane = |(pane, &bad): (usize, &usize)| {
            (0..5).map(move |at| (pane as i64 * 10 + at as i64, "a", if at < bad { DOWN } else { UP }))
        };
        let seen: Vec<_> = bad.iter().enumerate().flat_map(of_pane).collect();
        until(bad.len() as i64 * 10 + 100, &seen)
    };
    let burns = |bad: &[usize]| {
        let run = divided(&Arc::new(with(|_| ())), &panes(bad));
        told(&run.events).into_iter().filter(|line| line.contains(" burn.")).collect::<Vec<_>>()
    };
    // Exactly twice the rate is not too fast.
    assert_eq!(burns(&[1, 1, 1, 1]), [""; 0]);
    assert_eq!(burns(&[0, 0, 2, 2, 1]), [""; 0], "20 % of the long window");
    assert_eq!(
        burns(&[0, 0, 2, 3, 1]),
        [
            "40 burn.started all avail over 2 critical long 5/20 short 3/5",
            "50 burn.stopped all avail over 2 critical long 6/20 short 1/5 lasted 10",
        ]
    );
    // It stops with the short window, whatever the long one says; and where nothing is observed.
    assert_eq!(
        burns(&[5, 0]),
        [
            "10 burn.started all avail over 2 critical long 5/5 short 5/5",
            "20 burn.stopped all avail over 2 critical long 5/10 short 0/5 lasted 10",
        ]
    );
    assert_eq!(
        burns(&[5]),
        [
            "10 burn.started all avail over 2 critical long 5/5 short 5/5",
            "20 burn.stopped all avail over 2 critical long 5/5 short 0/0 lasted 10",
        ]
    );
}

#[test]
fn what_moves_out_of_a_window_counts() {
    // The short window has two panes; when the good one has moved out, it is too fast.
    let burn = BurnPlan { over_milli: 5_000, long_panes: 4, short_panes: 2, severity: 3 };
    let seen = [(1, "a", UP), (2, "a", UP), (12, "a", DOWN)];
    check(
        with(|plan| plan.burns = vec![BurnPlan { over_milli: 3_000, ..burn }]),
        &until(100, &seen),
        &[
            "10 sli all avail 0..10 good 2 bad 0",
            "20 sli all avail 10..20 good 0 bad 1",
            "20 burn.started all avail over 3 critical long 1/3 short 1/3",
            "40 burn.stopped all avail over 3 critical long 1/3 short 0/0 lasted 20",
        ],
    );
    let long = BurnPlan { long_panes: 2, ..burn };
    check(
        with(|plan| plan.burns = vec![long]),
        &until(100, &seen),
        &[
            "10 sli all avail 0..10 good 2 bad 0",
            "20 sli all avail 10..20 good 0 bad 1",
            "30 burn.started all avail over 5 critical long 1/1 short 1/1",
            "40 burn.stopped all avail over 5 critical long 0/0 short 0/0 lasted 10",
        ],
    );
}

#[test]
fn at_the_bound_of_panes_new_groups_are_counted_together() {
    let long = 10_000;
    let known = PANES_MAX / long as usize;
    let keys: Vec<String> = (0..known + 2).map(|number| format!("{number:03}")).collect();
    let seen: Vec<_> = keys.iter().map(|key| (1, key.as_str(), UP)).collect();
    let plan = with(|plan| {
        plan.by = By::Key;
        plan.burns[0].long_panes = long;
    });
    let run = divided(&Arc::new(plan), &until(10, &seen));
    assert_eq!(run.events.len(), known + 1);
    let lines = told(&run.events);
    assert_eq!(lines[0], format!("10 sli {OTHER} avail 0..10 good 2 bad 0"));
    assert_eq!(lines[1], "10 sli 000 avail 0..10 good 1 bad 0");
}

/// What an objective must say, counted anew from the list of observations for every pane.
fn counted_anew(of: &ObjectivePlan, stream: &Stream) -> Vec<String> {
    let group = |key: &str| if of.by == By::All { "all".to_owned() } else { key.to_owned() };
    let observed = |outcome| outcome == outcome::OBSERVED;
    let signals: Vec<_> = stream.signals().collect();
    let Some(newest_us) = signals.iter().map(|signal| signal.time_us).max() else { return Vec::new() };
    let seen: Vec<_> =
        signals.into_iter().filter(|signal| observed(signal.outcome) && signal.signal_type == of.signal_type).collect();
    let groups: BTreeSet<String> = seen.iter().map(|signal| group(&signal.key)).collect();
    let mut burning: BTreeSet<(String, usize)> = BTreeSet::new();
    let mut started = std::collections::BTreeMap::new();
    let mut lines = Vec::new();
    for end_us in (0..=newest_us).filter(|time_us| time_us % of.every_us == 0) {
        for name in &groups {
            let count = |window_us: i64| {
                let mine = seen.iter().filter(|signal| group(&signal.key) == *name && signal.state != GONE);
                let inside = mine.filter(|signal| (end_us - window_us..end_us).contains(&signal.time_us));
                let good: Vec<bool> = inside.map(|signal| signal.state == UP).collect();
                let bad = good.iter().filter(|good| !**good).count();
                ((good.len() - bad) as i64, bad as i64)
            };
            let (good, bad) = count(of.every_us);
            if good + bad > 0 {
                let start_us = end_us - of.every_us;
                lines.push(format!("{end_us} sli {name} {} {start_us}..{end_us} good {good} bad {bad}", of.name));
            }
            for (at, burn) in of.burns.iter().enumerate() {
                let (long, short) = (count(burn.long_panes * of.every_us), count(burn.short_panes * of.every_us));
                let fast = |(good, bad): (i64, i64)| {
                    let allowed_millionths = i64::from(1_000_000 - of.target_ppm) * (good + bad);
                    bad * 1_000_000 * 1_000 > allowed_millionths * burn.over_milli as i64
                };
                let says = |kind: &str, lasted: String| {
                    let over = burn.over_milli as f64 / 1000.0;
                    let window = |(good, bad): (i64, i64)| format!("{bad}/{}", good + bad);
                    let (long, short) = (window(long), window(short));
                    format!(
                        "{end_us} burn.{kind} {name} {} over {over} warning long {long} short {short}{lasted}",
                        of.name
                    )
                };
                let alert = (name.clone(), at);
                if !burning.contains(&alert) && fast(long) && fast(short) {
                    lines.push(says("started", String::new()));
                    started.insert(alert.clone(), end_us);
                    burning.insert(alert);
                } else if burning.contains(&alert) && !fast(short) {
                    lines.push(says("stopped", format!(" lasted {}", end_us - started[&alert])));
                    burning.remove(&alert);
                }
            }
        }
    }
    lines
}

fn any_objective(chance: &mut crate::chance::Chance, types: usize) -> ObjectivePlan {
    let burn = |chance: &mut crate::chance::Chance| {
        let short_panes = chance.between(1, 4);
        let long_panes = short_panes + chance.between(0, 8);
        BurnPlan { over_milli: chance.pick(&[500, 1_000, 1_500, 2_000, 4_300]), long_panes, short_panes, severity: 1 }
    };
    let burns = (0..chance.between(0, 3)).map(|_| burn(chance)).collect();
    objective(|plan| {
        plan.signal_type = chance.below(types) as u16;
        plan.by = if chance.percent(50) { By::All } else { By::Key };
        plan.target_ppm = chance.pick(&[500_000, 900_000, 999_000]);
        plan.every_us = chance.pick(&[1, 7, 20]);
        plan.burns = burns;
    })
}

#[test]
fn objectives_equal_what_is_counted_anew() {
    for_seeds("objectives_equal_what_is_counted_anew", |chance| {
        let mut plan = any_plan(chance);
        plan.order.allowed_lateness_us = chance.pick(&[0, 5]);
        // The count goes by the states of the signals; what levels make of them has a test of its own.
        plan.types.iter_mut().for_each(|of_type| of_type.level = None);
        plan.derive.objectives = vec![any_objective(chance, plan.types.len())];
        let stream = orderly_stream(chance, &plan);
        hold(plan, stream, &|plan, stream| {
            let run = crate::stream::run(plan, stream, crate::stream::WHOLE);
            let mine = |line: &String| line.contains(" sli ") || line.contains(" burn.");
            let said: Vec<_> = told(&run.events).into_iter().filter(mine).collect();
            let expected = counted_anew(&plan.derive.objectives[0], stream);
            (said != expected).then(|| format!("said {said:#?}\nexpected {expected:#?}"))
        });
    });
}

#[test]
fn division_does_not_show_in_objectives() {
    for_seeds("division_does_not_show_in_objectives", |chance| {
        let mut plan = any_plan(chance);
        plan.derive.objectives = vec![any_objective(chance, plan.types.len()), any_objective(chance, plan.types.len())];
        plan.derive.objectives[1].name = "other".into();
        let stream = any_stream(chance, &plan);
        hold(plan, stream, &|plan, stream| {
            divided(plan, stream);
            None
        });
    });
}
