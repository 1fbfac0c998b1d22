//! Levels: numbers become states, by fixed bounds and by what is usual, and a second reading of the
//! definition says the same on random numbers.

use std::sync::Arc;

use stillhouse_core::Plan;
use stillhouse_core::level::{Bound, Bounds, Level, LevelPlan, Side, UsualPlan};
use stillhouse_core::plan::TypePlan;

use crate::chance::Chance;
use crate::plans::{DOWN, GONE, SLOW, UP, plan, type_plan};
use crate::properties::for_seeds;
use crate::stream::{Division, Signal, Stream, WHOLE, run, signal, told};

const FIXED: LevelPlan = LevelPlan {
    normal: UP,
    high: DOWN,
    low: SLOW,
    severity: 2,
    smooth_us: 0,
    bounds: Bounds::Fixed {
        high: Some(Bound { enter: 90.0, leave: 80.0 }),
        low: Some(Bound { enter: 10.0, leave: 20.0 }),
    },
};

fn one(level: LevelPlan, change: impl FnOnce(&mut TypePlan)) -> Plan {
    let mut of_type = TypePlan { level: Some(level), ..type_plan("load") };
    change(&mut of_type);
    plan(vec![of_type])
}

fn values(readings: &[(i64, &str)]) -> Vec<Signal> {
    let each = readings.iter().enumerate();
    each.map(|(at, &(time_us, value))| signal(time_us, &format!("e{at}"), "k", UP, value)).collect()
}

#[test]
fn a_number_decides_the_state_and_the_newest_is_shown() {
    let held = one(FIXED, |plan| (plan.hold_down_us, plan.hold_open_us) = (10, 20));
    let readings = [(0, "50"), (5, "91"), (10, "85"), (15, "99"), (20, "80"), (30, "70"), (50, "5"), (60, "6")];
    let run = run(&Arc::new(held), &Stream::of(values(&readings)), WHOLE);
    let expected = [
        "15 state.changed k up50>down85 since 5 inputs 2",
        "40 state.changed k down85>up70 since 20 inputs 2",
        "60 state.changed k up70>slow5 since 50 inputs 1",
    ];
    assert_eq!(told(&run.events), expected);
    let ledger = run.ledger;
    assert_eq!((ledger.emitted, ledger.merged_repeated, ledger.open), (5, 3, 0), "{ledger:?}");
    assert!(run.bytes.contains("\"severity\":\"error\""), "{}", run.bytes);
}

#[test]
fn what_is_no_number_is_no_observation() {
    let held = one(FIXED, |plan| plan.hold_down_us = 10);
    let readings = [(0, "50"), (5, "91"), (8, "much"), (9, ""), (9, "NaN"), (9, "inf"), (15, " 95 ")];
    let run = run(&Arc::new(held), &Stream::of(values(&readings)), WHOLE);
    assert_eq!(told(&run.events), ["15 state.changed k up50>down91 since 5 inputs 1"]);
    assert_eq!((run.ledger.emitted, run.ledger.merged_repeated), (1, 6));
}

#[test]
fn the_end_of_an_entity_is_said_by_its_mapper() {
    let mut signals = values(&[(0, "50"), (5, "91"), (20, "92"), (30, "85")]);
    signals.insert(3, signal(25, "gone", "k", GONE, ""));
    let run = run(&Arc::new(one(FIXED, |_| ())), &Stream::of(signals), WHOLE);
    let expected =
        ["5 state.changed k up50>down91 since 5 inputs 1", "25 state.changed k down91>gone since 25 inputs 1"];
    // Nothing is remembered of it: 85 between the bounds is normal again.
    assert_eq!(told(&run.events), expected);
}

#[test]
fn equal_numbers_are_no_duplicates_of_a_state() {
    use stillhouse_core::plan::{Against, DedupePlan};
    let dedupe = Some(DedupePlan { window_us: 100, against: Against::Last });
    let merged = one(FIXED, |plan| plan.dedupe = dedupe);
    let run = run(&Arc::new(merged), &Stream::of(values(&[(0, "50"), (1, "60"), (2, "95"), (3, "96")])), WHOLE);
    assert_eq!(told(&run.events), ["2 state.changed k up50>down95 since 2 inputs 1"]);
    assert_eq!(run.ledger.merged_fingerprint, 2);
}

/// The definition once more, slowly: all smoothed values with their slices, and which of them count.
#[derive(Default)]
struct Slow {
    side: Option<Side>,
    smoothed: Option<(i64, f64)>,
    since_us: Option<i64>,
    left_us: i64,
    known: Vec<(i64, f64)>,
    aside: Vec<(i64, f64)>,
}

impl Slow {
    fn observe(&mut self, smooth_us: i64, usual: &UsualPlan, time_us: i64, value: f64) -> Side {
        let smoothed = match self.smoothed {
            Some((before_us, before)) if smooth_us > 0 => {
                let passed = (time_us - before_us) as f64;
                before + (value - before) * (passed / (smooth_us as f64 + passed))
            }
            _ => value,
        };
        self.smoothed = Some((time_us, smoothed));
        let slice = time_us.div_euclid(usual.history_us / 64);
        let counts = |(at, _): &&(i64, f64)| *at > slice - 64;
        let usual_values: Vec<f64> = self.known.iter().filter(counts).map(|(_, value)| *value).collect();
        if usual_values.is_empty() || self.since_us.is_none() {
            self.since_us = Some(time_us);
        }
        let before = self.side.unwrap_or_default();
        let learned = self.since_us.is_some_and(|since_us| time_us - since_us >= usual.learn_us);
        let side = if learned && !usual_values.is_empty() {
            let least = usual_values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = usual_values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let width = f64::max(most - least, usual.floor * f64::max(least.abs(), most.abs()));
            if smoothed > most + usual.over * width {
                Side::High
            } else if smoothed < least - usual.over * width {
                Side::Low
            } else if before == Side::High && smoothed > most + usual.clear * width
                || before == Side::Low && smoothed < least - usual.clear * width
            {
                before
            } else {
                Side::Normal
            }
        } else {
            Side::Normal
        };
        if before == Side::Normal {
            self.left_us = time_us;
        }
        self.side = Some(side);
        self.aside.push((slice, smoothed));
        if side == Side::Normal {
            self.aside.clear();
            self.known.push((slice, smoothed));
        } else if time_us - self.left_us >= usual.adapt_us {
            self.known.append(&mut self.aside);
        }
        side
    }
}

fn any_usual(chance: &mut Chance) -> (i64, UsualPlan) {
    let history_us = 64 * (1 + chance.below(20) as i64);
    let usual = UsualPlan {
        history_us,
        learn_us: 1 + chance.below(history_us as usize) as i64,
        adapt_us: 1 + chance.below(history_us as usize) as i64,
        over: [0.0, 0.15, 0.5][chance.below(3)],
        clear: 0.0,
        floor: [0.0, 0.01][chance.below(2)],
        high: true,
        low: true,
    };
    ([0, 10, 100][chance.below(3)], usual)
}

/// Mostly quiet, now and then far away, now and then silent.
fn any_readings(chance: &mut Chance) -> Vec<(i64, f64)> {
    let (mut time_us, mut base) = (chance.below(1000) as i64 - 500, 0.0);
    (0..400)
        .map(|_| {
            time_us += if chance.below(100) == 0 { chance.below(3000) as i64 } else { chance.below(12) as i64 };
            if chance.below(40) == 0 {
                base = chance.below(5) as f64 * 20.0 - 40.0;
            }
            (time_us, base + chance.below(10) as f64)
        })
        .collect()
}

#[test]
fn the_definition_read_twice_says_the_same() {
    let mut sides = [0_u64; 3];
    let seen = std::cell::RefCell::new(&mut sides);
    for_seeds("the_definition_read_twice_says_the_same", |chance| {
        if chance.below(5) > 0 {
            return;
        }
        let (smooth_us, usual) = any_usual(chance);
        let plan = LevelPlan { smooth_us, bounds: Bounds::Usual(usual), ..FIXED };
        let (mut level, mut slow) = (Level::default(), Slow::default());
        for (at, (time_us, value)) in any_readings(chance).into_iter().enumerate() {
            let side = level.observe(&plan, time_us, value);
            assert_eq!(side, slow.observe(smooth_us, &usual, time_us, value), "reading {at}, {plan:?}");
            seen.borrow_mut()[side as usize] += 1;
        }
    });
    if std::env::var_os("SEED").is_none() {
        assert!(sides.iter().all(|count| *count > 1000), "{sides:?}");
    }
}

#[test]
fn shards_blocks_and_calls_do_not_show() {
    for_seeds("shards_blocks_and_calls_do_not_show", |chance| {
        if chance.below(20) > 0 {
            return;
        }
        let (smooth_us, usual) = any_usual(chance);
        let level = LevelPlan { smooth_us, bounds: Bounds::Usual(usual), ..FIXED };
        let plan = Arc::new(one(level, |plan| (plan.hold_down_us, plan.hold_open_us) = (20, 30)));
        let mut signals = Vec::new();
        for key in ["a", "b", "c"] {
            for (at, (time_us, value)) in any_readings(chance).into_iter().enumerate() {
                signals.push(signal(time_us, &format!("{key}{at}"), key, UP, &value.to_string()));
            }
        }
        signals.sort_by_key(|signal| signal.time_us);
        let stream = Stream::of(signals);
        let whole = run(&plan, &stream, WHOLE);
        let divided = run(&plan, &stream, Division { shards: 3, block_rows: 7, entries: 2 });
        assert_eq!(whole.bytes, divided.bytes);
        assert_eq!(whole.ledger, divided.ledger);
    });
}

/// What a configuration of a level is refused with; `None` if it is accepted.
fn refusal(lines: &str) -> Option<String> {
    use stillhouse::config::{Config, Overrides};
    let text = format!(
        "[[input]]\nformat = \"cloudevents\"\n[signal.load]\nmapper = \"gauge\"\n[signal.load.level]\n{lines}\n"
    );
    let config = Config::parse(std::path::Path::new("x.toml"), text, &Overrides::default());
    let plan = config.map(|config| {
        let engine = stillhouse::rules::engine(8).expect("an engine");
        stillhouse::rules::RuleSet::load(&config, &engine).and_then(|rules| rules.plan(&config))
    });
    plan.and_then(|plan| plan).err().map(|error| error.to_string())
}

#[test]
fn bounds_that_make_no_sense_are_refused() {
    for (lines, words) in [
        ("", vec!["x.toml:5:1", "no bounds", "relative = {}"]),
        ("clear = 1", vec!["`clear` without `over`"]),
        ("clear_under = 1", vec!["`clear_under` without `under`"]),
        ("over = 1\nclear = 2", vec!["`clear` (2) is above `over` (1)"]),
        ("under = 2\nclear_under = 1", vec!["`clear_under` (1) is below `under` (2)"]),
        ("over = 1\nunder = 2", vec!["overlap"]),
        ("over = nan", vec!["`over`: expected a number, got NaN"]),
        ("over = 1\nseverity = \"never\"", vec!["`severity`"]),
        ("over = 1\nrelative = {}", vec!["`over` is a fixed bound", "leave one of the two out"]),
        ("relative = { over = -1 }", vec!["`over`: expected a percentage"]),
        ("relative = { over = 5, clear = 6 }", vec!["`clear` (6) is above `over` (5)"]),
        ("relative = { learn = \"8d\" }", vec!["`learn` is longer than `history`"]),
        ("relative = { history = \"0s\" }", vec!["`history` must be more than 0"]),
        ("relative = { sides = \"hgh\" }", vec!["unknown value `hgh`", "did you mean `high`?"]),
        ("over = 1\nhigh = \"hihg\"", vec!["x.toml:7:8", "`hihg` is none of mapper `gauge`", "did you mean `high`?"]),
    ] {
        let refusal = refusal(lines).unwrap_or_else(|| panic!("accepted: {lines}"));
        words.iter().for_each(|word| assert!(refusal.contains(word), "no `{word}` in: {refusal}"));
    }
    for lines in ["over = 1", "over = 1\nclear = 0\nunder = -1\nclear_under = 0", "relative = {}", "under = 0"] {
        assert_eq!(refusal(lines), None, "{lines}");
    }
}
