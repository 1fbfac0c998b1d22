//! How versions are tried, as a configuration says it: what is refused, and what is understood.

use std::collections::BTreeMap;
use std::path::Path;

use stillhouse::config::{Config, Overrides};
use stillhouse_rollout::{Budget, Difference, Least, Limit, Policy, SlotId, Strategy, Then};

const SIGNAL: &str = "[[input]]\nformat = \"cloudevents\"\n[signal.\"a.b\"]\nmapper = \"status\"\n";

fn parse(lines: &str) -> Result<BTreeMap<SlotId, Policy>, String> {
    let config = Config::parse(Path::new("x.toml"), format!("{SIGNAL}{lines}"), &Overrides::default());
    config.map(|config| config.policies).map_err(|error| error.to_string())
}

/// The policy of the mapper of `a.b`.
fn mapper(lines: &str) -> Policy {
    parse(lines).expect("accepted").remove(&SlotId::mapper("a.b")).expect("it has a mapper")
}

/// Refused at this line, with all of these words.
fn refused(lines: &str, line: usize, words: &[&str]) {
    let refusal = parse(lines).expect_err(lines);
    let line = 4 + line;
    assert!(refusal.starts_with(&format!("x.toml:{line}:")), "expected line {line}: {refusal}\n{lines}");
    words.iter().for_each(|word| assert!(refusal.contains(word), "no `{word}` in: {refusal}"));
}

/// Refused in `[rollout]` and in `[signal.TYPE.rollout]`.
fn refused_in_both(lines: &str, line: usize, words: &[&str]) {
    refused(&format!("[rollout]\n{lines}"), 1 + line, words);
    refused(&format!("[signal.\"a.b\".rollout]\n{lines}"), 1 + line, words);
}

#[test]
fn without_a_word_there_are_the_defaults() {
    assert_eq!(mapper(""), Policy::default());
    assert_eq!(parse("").expect("accepted").len(), 1, "there is no suppressor");
    assert_eq!(mapper("").fault(), None);
}

#[test]
fn all_that_can_be_said_is_understood() {
    let lines = "[rollout]\nsteps = [0.5, \"10%\", 100]\nshadow_time = \"1m\"\nstep_time = \"2m\"\nmin_samples = 50\n\
                 drain_max = \"3m\"\nretroactive = false\npromote = \"by-hand\"\non_failed = \"hold\"\n\
                 on_fuel = \"hold\"\non_latency = \"hold\"\non_rejected = \"roll-back\"\non_dropped = \"roll-back\"\n\
                 on_held_back = \"roll-back\"\non_differing = \"roll-back\"\n\
                 budget = { failed = \"0.2%\", fuel = 2, latency = 1.5, rejected = \"3%\", dropped = \"4%\", \
                 held_back = \"5%\", differing = \"6%\", state = \"0%\", memo = \"100%\" }\n";
    let (hold, roll_back) = (|max| Limit { max, then: Then::Hold }, |max| Limit { max, then: Then::RollBack });
    let expected = Policy {
        strategy: Strategy::Canary,
        shadow: Some(Least { time_us: 60_000_000, samples: 50 }),
        steps_ppm: vec![5_000, 100_000, 1_000_000],
        step: Least { time_us: 120_000_000, samples: 50 },
        drain_max_us: 180_000_000,
        retroactive: false,
        promote_automatically: false,
        budgets: BTreeMap::from([
            (Budget::Failed, hold(0.002)),
            (Budget::Fuel, hold(2.0)),
            (Budget::Latency, hold(1.5)),
            (Budget::Rejected, roll_back(0.03)),
            (Budget::Dropped, roll_back(0.04)),
            (Budget::HeldBack, roll_back(0.05)),
            (Budget::Differing, roll_back(0.06)),
            (Budget::Kind(Difference::State), roll_back(0.0)),
            (Budget::Kind(Difference::Memo), roll_back(1.0)),
        ]),
    };
    assert_eq!(mapper(lines), expected);
    assert_eq!(mapper(&lines.replace("[rollout]", "[signal.\"a.b\".rollout]")), expected);
    assert_eq!(expected.fault(), None);
}

#[test]
fn the_special_goes_before_the_general() {
    let lines = "suppressor = \"maintenance\"\n\
                 [rollout]\nmin_samples = 10\npromote = \"by-hand\"\nbudget = { failed = \"1%\", fuel = \"off\" }\n\
                 [rollout.mapper]\nmin_samples = 20\nstep_time = \"1m\"\n\
                 [signal.\"a.b\".rollout]\nmin_samples = 30\nbudget = { failed = \"off\" }\n\
                 [signal.\"a.b\".rollout.suppressor]\nstrategy = \"swap\"\nmin_samples = 40\n\
                 [signal.\"a.c\"]\nmapper = \"status\"\n";
    let policies = parse(lines).expect("accepted");
    let said = |slot: SlotId| {
        let policy = &policies[&slot];
        let minutes = policy.step.time_us / 60_000_000;
        let failed = policy.budgets.get(&Budget::Failed).map(|limit| limit.max);
        assert!(!policy.promote_automatically && !policy.budgets.contains_key(&Budget::Fuel), "{slot}");
        assert_eq!(policy.shadow.map(|shadow| shadow.samples), Some(policy.step.samples), "{slot}");
        (policy.strategy, policy.step.samples, minutes, failed)
    };
    assert_eq!(policies.len(), 3);
    assert_eq!(said(SlotId::mapper("a.b")), (Strategy::Canary, 30, 1, None));
    assert_eq!(said(SlotId::suppressor("a.b")), (Strategy::Swap, 40, 10, None));
    assert_eq!(said(SlotId::mapper("a.c")), (Strategy::Canary, 20, 1, Some(0.01)));
    let latency = mapper("[rollout]\nbudget = { latency = 2.0 }\n");
    assert_eq!(latency.budgets[&Budget::Latency], Limit { max: 2.0, then: Then::RollBack });
    assert_eq!(mapper("[rollout]\nshadow_time = \"0s\"\n").shadow, None);
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    refused_in_both("stpes = [100]\n", 1, &["unknown key `stpes`", "did you mean `steps`?"]);
    refused_in_both("strategy = \"canry\"\n", 1, &["unknown value `canry`", "did you mean `canary`?"]);
    refused_in_both("promote = \"by_hand\"\n", 1, &["did you mean `by-hand`?"]);
    refused_in_both("on_differing = \"rollback\"\n", 1, &["did you mean `roll-back`?"]);
    refused_in_both("on_diffring = \"hold\"\n", 1, &["did you mean `on_differing`?"]);
    refused_in_both("budget = { falied = \"1%\" }\n", 1, &["unknown budget `falied`", "did you mean `failed`?"]);
    refused("[rollot]\n", 1, &["did you mean `rollout`?"]);
    refused("[rollout.maper]\n", 1, &["did you mean `mapper`?"]);
}

#[test]
fn steps_rise_to_the_whole() {
    refused_in_both("steps = [1, 5,\n  5, 100]\n", 2, &["`steps` must rise: 5 does not follow 5"]);
    refused_in_both("steps = [50, 25, 100]\n", 1, &["25 does not follow 50", "rollback"]);
    refused_in_both("steps = [1, 50]\n", 1, &["the last of `steps` must be 100, got 50"]);
    refused_in_both("steps = []\n", 1, &["`steps` is empty", "`steps = [100]`"]);
    for step in ["0", "-1", "100.5", "nan", "\"5\"", "true", "0.00001"] {
        refused_in_both(&format!("steps = [{step}, 100]\n"), 1, &["`steps`: expected percentages above 0", step]);
    }
}

#[test]
fn amounts_have_the_form_of_what_they_bound() {
    let budget = |given: &str, words: &[&str]| refused_in_both(&format!("budget = {{ {given} }}\n"), 1, words);
    budget("failed = 0.1", &["`failed`: expected a percentage in quotes", "`failed = \"0.1%\"`", "\"off\""]);
    budget("failed = \"0.1\"", &["a percentage from 0 to 100, such as `failed = \"1%\"`"]);
    budget("state = \"101%\"", &["`state`", "a percentage from 0 to 100"]);
    budget("differing = \"-1%\"", &["a percentage from 0 to 100"]);
    budget("differing = \"nan%\"", &["a percentage from 0 to 100"]);
    budget("dropped = true", &["a percentage from 0 to 100", "got `true`"]);
    budget("fuel = \"300%\"", &["`fuel`: expected how many times as much", "`fuel = 3.0`", "\"off\""]);
    budget("latency = 0.5", &["from 1 on"]);
    budget("latency = inf", &["from 1 on"]);
}

#[test]
fn combinations_that_make_no_sense_are_refused() {
    refused_in_both("min_samples = 0\n", 1, &["`min_samples` must be at least 1"]);
    refused_in_both("step_time = \"soon\"\n", 1, &["expected a duration", "`soon`"]);
    for key in ["steps = [100]", "shadow_time = \"1m\"", "step_time = \"1m\"", "drain_max = \"1m\""] {
        let name = key.split(' ').next().unwrap();
        refused_in_both(&format!("strategy = \"swap\"\n{key}\n"), 2, &[name, "`strategy = \"swap\"`", "leave one"]);
    }
    refused("[rollout]\nstrategy = \"swap\"\n[signal.\"a.b\".rollout]\nsteps = [100]\n", 4, &["`steps`"]);
    let canary = "[rollout]\nsteps = [100]\n[signal.\"a.b\".rollout]\nstrategy = \"swap\"\n";
    assert_eq!(mapper(canary).strategy, Strategy::Swap);
    refused_in_both("on_latency = \"hold\"\n", 1, &["`on_latency` without a budget", "`latency = ..`"]);
    refused_in_both("on_fuel = \"hold\"\nbudget = { fuel = \"off\" }\n", 1, &["`on_fuel` without a budget"]);
    let kind = mapper("[rollout]\non_differing = \"roll-back\"\nbudget = { differing = \"off\", key = \"2%\" }\n");
    assert_eq!(kind.budgets[&Budget::Kind(Difference::Key)], Limit { max: 0.02, then: Then::RollBack });
    refused("[signal.\"a.b\".rollout.suppressor]\n", 1, &["`suppressor` without a suppressor", "\"a.b\""]);
    refused("[rollout.mapper.mapper]\n", 1, &["a table for slots within `mapper`"]);
    refused("[rollout.suppressor]\nmin_samples = 0\n", 2, &["`min_samples`"]);
}
