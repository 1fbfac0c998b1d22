//! Flapping as each detector tells it: in the core, and as the configuration asks for it.

use std::path::Path;

use stillhouse::config::{Config, Overrides};
use stillhouse_core::Plan;
use stillhouse_core::plan::{DampingPlan, FlappingPlan, TypePlan, Weights};
use stillhouse_core::rule::{Condition, RuleId, State};

use crate::plans::{DOWN, GONE, SLOW, UP, plan, type_plan};
use crate::stream::{Run, Signal, Stream, check_divided, signal};

const MINUTE_US: i64 = 60_000_000;

/// Figures with a half-life of 10: 1000 for a problem, 500 for another one, nothing for health.
const DAMPING: DampingPlan =
    DampingPlan { half_life_us: 10, cut: 2000, reuse: 750, max_suppress_us: 40, down: 1000, up: 0, change: 500 };

fn one(change: impl FnOnce(&mut TypePlan)) -> Plan {
    let mut of_type = type_plan("probe");
    change(&mut of_type);
    plan(vec![of_type])
}

/// Observations of key `k`, and one of key `z` at the end, to which time goes on.
fn seen(observations: &[(i64, u8)], end_us: i64) -> Stream {
    let each = observations.iter().enumerate();
    let mut signals: Vec<Signal> =
        each.map(|(at, &(time_us, state))| signal(time_us, &format!("e{at}"), "k", state, "")).collect();
    signals.push(signal(end_us, "end", "z", UP, ""));
    Stream::of(signals)
}

/// The flap scores of the events, in their order.
fn scores(run: &Run) -> Vec<f64> {
    let lines = run.bytes.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    lines.filter_map(|event| event["data"]["flap_score"].as_f64()).collect()
}

#[test]
fn withdrawals_every_ten_minutes_flap_from_the_third_on() {
    let damped = |plan: &mut TypePlan| {
        plan.damping = Some(DampingPlan { half_life_us: 15 * MINUTE_US, max_suppress_us: 60 * MINUTE_US, ..DAMPING });
    };
    let at = |minute: i64| minute * MINUTE_US;
    let observed =
        [(at(-5), UP), (at(0), DOWN), (at(5), UP), (at(10), DOWN), (at(15), UP), (at(20), DOWN), (at(25), UP)];
    // 15 minutes * log2(2026.81 / 750) = 21.51 minutes after the third.
    let run = check_divided(
        one(damped),
        &seen(&observed, at(60)),
        &[
            "0 state.changed k up>down since 0 inputs 1",
            "300000000 state.changed k down>up since 300000000 inputs 1",
            "600000000 state.changed k up>down since 600000000 inputs 1",
            "900000000 state.changed k down>up since 900000000 inputs 1",
            "1200000000 flapping.started k up>down since 1200000000 inputs 1",
            "2490824021 flapping.stopped k up>up since 1200000000 inputs 2",
        ],
    );
    // In percent of the cut: 1000, decayed for 5 minutes, 1629.96, decayed, 2026.81, and not quite 750.
    assert_eq!(scores(&run), [50.0, 39.685, 81.498, 64.685, 101.34, 37.499]);
}

#[test]
fn withdrawals_every_half_life_never_flap() {
    let observed: Vec<_> = (0..2_000).flat_map(|round| [(10 * round, DOWN), (10 * round + 5, UP)]).collect();
    let plan = one(|plan| plan.damping = Some(DAMPING));
    let run = crate::stream::run(&plan.into(), &seen(&observed, 100_000), crate::stream::WHOLE);
    assert_eq!(run.events.iter().filter(|event| event.kind != "stillhouse.state.changed").count(), 0);
    assert_eq!(run.events.len(), 4_000);
}

#[test]
fn a_change_while_it_flaps_moves_the_reuse_on() {
    // 1870.55 at 3 would fall below 750 after 13.18; with 500 more at 13, 1435.27, it does after 9.36.
    let quick = DampingPlan { cut: 1500, ..DAMPING };
    let observed = [(0, UP), (1, DOWN), (2, UP), (3, DOWN), (13, SLOW), (20, SLOW)];
    let run = check_divided(
        one(|plan| plan.damping = Some(quick)),
        &seen(&observed, 100),
        &[
            "1 state.changed k up>down since 1 inputs 1",
            "2 state.changed k down>up since 2 inputs 1",
            "3 flapping.started k up>down since 3 inputs 1",
            "23 flapping.stopped k up>slow since 3 inputs 3",
            "23 state.changed k up>slow since 13 inputs 2",
        ],
    );
    assert_eq!((run.ledger.emitted, run.ledger.open), (5, 0));
}

#[test]
fn what_is_observed_when_it_is_reused_comes_after() {
    let quick = DampingPlan { cut: 1000, ..DAMPING };
    // 1000 falls below 750 between 4 and 5.
    let expected = [
        "1 flapping.started k up>down since 1 inputs 1",
        "6 flapping.stopped k up>down since 1 inputs 1",
        "6 state.changed k up>down since 1 inputs 1",
        "6 state.changed k down>up since 6 inputs 1",
    ];
    check_divided(one(|plan| plan.damping = Some(quick)), &seen(&[(0, UP), (1, DOWN), (6, UP)], 50), &expected);
}

#[test]
fn gone_ends_damping_and_is_no_change_of_its_own() {
    let quick = DampingPlan { cut: 1000, ..DAMPING };
    let expected = [
        "1 flapping.started k up>down since 1 inputs 1",
        "2 flapping.stopped k up>down since 1 inputs 2",
        "9 state.changed k ?>down since 9 inputs 1",
    ];
    let run = check_divided(
        one(|plan| plan.damping = Some(quick)),
        &seen(&[(0, UP), (1, DOWN), (2, GONE), (9, DOWN)], 50),
        &expected,
    );
    assert_eq!((run.ledger.emitted, run.ledger.merged_repeated), (3, 2));
}

#[test]
fn another_value_of_the_same_state_is_a_change() {
    let quick = DampingPlan { cut: 1000, change: 600, ..DAMPING };
    let values = ["a", "b", "b", "c"].iter().enumerate();
    let mut signals: Vec<_> =
        values.map(|(at, value)| signal(at as i64, &format!("e{at}"), "k", DOWN, value)).collect();
    signals.push(signal(50, "end", "z", UP, ""));
    let expected = [
        "0 state.changed k ?>downa since 0 inputs 1",
        "1 state.changed k downa>downb since 1 inputs 1",
        "3 flapping.started k downb>downc since 3 inputs 1",
        // 1122.33.. falls below 750 after 5.82.
        "9 flapping.stopped k downb>downc since 3 inputs 1",
        "9 state.changed k downb>downc since 3 inputs 1",
    ];
    check_divided(one(|plan| plan.damping = Some(quick)), &Stream::of(signals), &expected);
}

/// The flap score of Icinga 2 in tenths of a percent, from its definition: `100 * sum / 20` percent,
/// where the i-th oldest of 20 weighs `0.8 + 0.02 * i`.
fn icinga_score(states: &[u8]) -> u32 {
    let changes: Vec<bool> = states.windows(2).map(|pair| pair[0] != pair[1]).collect();
    let newest_first = changes.iter().rev().take(20).enumerate();
    newest_first.map(|(age, &changed)| if changed { 40 + (19 - age as u32) } else { 0 }).sum()
}

#[test]
fn flapping_starts_and_stops_where_icinga_says() {
    let mut states: Vec<u8> = (0..9).map(|at| [UP, DOWN][at % 2]).collect();
    states.extend([UP; 30]);
    let start = (1..=states.len()).find(|&count| icinga_score(&states[..count]) > 300).expect("it flaps");
    let stop = (start..=states.len()).find(|&count| icinga_score(&states[..count]) <= 250).expect("it stops");
    assert_eq!((start, stop), (7, 24), "six changes weigh 33.9 %; five old ones 21 %, six 25.5 %");
    let flaps = |plan: &mut TypePlan| {
        plan.hold_down_us = 15;
        plan.flapping =
            Some(FlappingPlan { weights: Weights::Icinga, high_mpct: 30_000, low_mpct: 25_000, quiet_us: None });
    };
    let observed: Vec<_> = states.iter().enumerate().map(|(at, &state)| (10 * at as i64, state)).collect();
    let expected = ["60 flapping.started k up>up since 60 inputs 1", "230 flapping.stopped k up>up since 60 inputs 18"];
    let run = check_divided(one(flaps), &seen(&observed, 1_000), &expected);
    assert_eq!(scores(&run), [33.9, f64::from(icinga_score(&states[..stop])) / 10.0]);
}

#[test]
fn icinga_starts_above_its_mark_and_not_at_it() {
    // One change is exactly 5.9 %; twenty observations later it is 4 %.
    let flaps = |high_mpct| {
        one(|plan| {
            let weights = Weights::Icinga;
            plan.flapping = Some(FlappingPlan { weights, high_mpct, low_mpct: 4_000, quiet_us: Some(30) });
        })
    };
    let stream = seen(&[(0, UP), (1, DOWN)], 100);
    check_divided(flaps(5_900), &stream, &["1 state.changed k up>down since 1 inputs 1"]);
    let expected = [
        "1 flapping.started k up>down since 1 inputs 1",
        "31 flapping.stopped k up>down since 1 inputs 1",
        "31 state.changed k up>down since 1 inputs 1",
    ];
    check_divided(flaps(5_899), &stream, &expected);
}

const SIGNAL: &str = "[[input]]\nformat = \"cloudevents\"\n[signal.\"a.b\"]\nmapper = \"status\"\n";

/// What becomes of the lines of a `flapping` table, which starts in line 5.
fn configured(lines: &str) -> Result<(Option<FlappingPlan>, Option<DampingPlan>), String> {
    let text = format!("{SIGNAL}[signal.\"a.b\".flapping]\n{lines}");
    let config = Config::parse(Path::new("x.toml"), text, &Overrides::default()).map_err(|error| error.to_string())?;
    let mapper = RuleId { name: "status".into(), version: "1.0.0".into(), digest: "d".into() };
    let states = [State { name: "failing".into(), condition: Condition::Problem }];
    let plan = config.signals[0].plan(&mapper, &states).map_err(|refusal| config.error(refusal).to_string())?;
    Ok((plan.flapping, plan.damping))
}

#[test]
fn presets_are_the_values_in_use_and_every_field_can_be_given() {
    let damping = |lines: &str| match configured(&format!("by = \"damping\"\n{lines}")) {
        Ok((None, Some(damping))) => damping,
        other => panic!("{lines}: {other:?}"),
    };
    let cisco = DampingPlan { half_life_us: 15 * MINUTE_US, max_suppress_us: 60 * MINUTE_US, ..DAMPING };
    assert_eq!(damping(""), cisco);
    assert_eq!(damping("preset = \"cisco\""), cisco);
    assert_eq!(damping("preset = \"juniper\""), DampingPlan { cut: 3000, up: 1000, ..cisco });
    assert_eq!(damping("preset = \"rfc7196\""), DampingPlan { cut: 6000, ..cisco });
    // Its cut is exactly the ceiling, 750 * 2^4, and can be reached.
    assert_eq!(damping("preset = \"rfc7196-calm\""), DampingPlan { cut: 12_000, ..cisco });
    let given = "half_life = \"5m\"\ncut = 9\nreuse = 4\nmax_suppress = \"1h\"\ndown = 3\nup = 2\nchange = 1";
    let half_life_us = 5 * MINUTE_US;
    assert_eq!(damping(given), DampingPlan { half_life_us, cut: 9, reuse: 4, down: 3, up: 2, change: 1, ..cisco });
    let weighted = |lines: &str| {
        let plan = configured(lines).expect("a good table").0.expect("weighted");
        (plan.weights, plan.high_mpct, plan.low_mpct, plan.quiet_us)
    };
    assert_eq!(weighted("high = 20\nlow = 5.5"), (Weights::Nagios, 20_000, 5_500, None));
    assert_eq!(weighted("by = \"icinga\"\nquiet = \"1s\""), (Weights::Icinga, 30_000, 25_000, Some(1_000_000)));
}

#[test]
fn marks_at_which_nothing_starts_or_stops_are_refused() {
    let refused = |lines: &str, line: usize, words: &[&str]| {
        let refusal = configured(lines).expect_err(lines);
        assert!(refusal.starts_with(&format!("x.toml:{line}:")), "expected line {line}: {refusal}");
        words.iter().for_each(|word| assert!(refusal.contains(word), "no `{word}` in: {refusal}"));
    };
    let damping = |lines: &str, words: &[&str]| refused(&format!("by = \"damping\"\n{lines}"), 7, words);
    damping("cut = 12001", &["`cut` (12001) is above 12000", "nothing would ever flap", "raise `max_suppress`"]);
    damping("max_suppress = \"20m\"", &["`cut` (2000) is above 1889"]);
    damping("reuse = 2000", &["`reuse` (2000) is not below `cut` (2000)", "`cut = 2000, reuse = 750`"]);
    damping("reuse = 0", &["at least 1"]);
    damping("half_life = \"0s\"", &["more than 0"]);
    damping("half_life = \"401d\"", &["at most `400d`"]);
    damping("down = 0\nchange = 0", &["`down`, `up` and `change`", "nothing would ever flap"]);
    damping("cut = -1", &["-1"]);
    damping("preset = \"cisko\"", &["unknown value `cisko`", "did you mean `cisco`?"]);
    refused("by = \"damping\"\nhigh = 3", 5, &["`high` is for `by = \"nagios\"`", "`half_life`"]);
    refused("high = 20\nlow = 5\ncut = 3", 8, &["`cut` is for `by = \"damping\"`", "`by = \"nagios\"` has `high`"]);
    refused("high = 20", 5, &["missing field `low`"]);
    refused("by = \"icinga\"\nhigh = 20", 5, &["`low` (25) is above `high` (20)"]);
    refused("by = \"naggios\"", 6, &["did you mean `nagios`?"]);
}
