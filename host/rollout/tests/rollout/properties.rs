//! Random events: the registry says what the model says, and what must never happen does not.
//!
//! `SEEDS=20000 cargo test --release -p stillhouse-rollout` looks longer; `SEED=17` runs that one alone.

use std::collections::BTreeMap;

use stillhouse_rollout::slot::{BARRED_MAX, HISTORY_MAX, REFUSALS_MAX};
use stillhouse_rollout::{
    At, Budget, Command, Decision, Difference, Event, Evidence, HeldBy, Least, Limit, Policy, Registry, Stage,
    Strategy, Then,
};

use crate::chance::Chance;
use crate::model::{Model, Who};
use crate::world::{alike, slot, version};

const SEEDS_DEFAULT: u64 = 1_000;

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS_DEFAULT),
    }
}

fn any_policy(chance: &mut Chance) -> Policy {
    let samples = chance.pick(&[1, 50, 1_000]);
    let least = Least { time_us: chance.pick(&[0, 10]), samples };
    let steps: &[&[u32]] = &[&[1_000_000], &[10_000, 1_000_000], &[10_000, 50_000, 500_000, 1_000_000]];
    let mut budgets = Policy::default().budgets;
    if chance.percent(30) {
        budgets.insert(Budget::Kind(Difference::State), Limit { max: 0.0, then: Then::Hold });
    }
    for limit in budgets.values_mut() {
        if chance.percent(20) {
            limit.then = chance.pick(&[Then::Hold, Then::RollBack]);
        }
    }
    Policy {
        strategy: if chance.percent(10) { Strategy::Swap } else { Strategy::Canary },
        shadow: chance.percent(60).then_some(least),
        steps_ppm: chance.pick(steps).to_vec(),
        step: least,
        drain_max_us: chance.pick(&[0, 20]),
        retroactive: chance.percent(50),
        promote_automatically: chance.percent(70),
        budgets,
    }
}

fn any_evidence(chance: &mut Chance) -> Evidence {
    let rows = chance.pick(&[0, 1, 7, 100, 1_000, 5_000]);
    let some = |chance: &mut Chance, of: u64| chance.between(0, of as i64) as u64;
    let mut evidence = alike(rows);
    evidence.in_share = if chance.percent(60) { some(chance, rows) } else { 0 };
    // Mostly nothing is wrong, or nothing gets anywhere.
    if chance.percent(10) {
        evidence.failed_alone = chance.pick(&[1, 2, 3, 5, rows]).min(rows);
        evidence.candidate.failed = evidence.failed_alone;
    }
    if chance.percent(15) {
        evidence.differing[chance.below(8)] += some(chance, rows / 20);
        evidence.differing[chance.below(8)] += some(chance, rows / 100);
    }
    if chance.percent(10) {
        evidence.candidate.dropped = some(chance, rows / 8);
        evidence.stable.dropped = some(chance, rows / 8);
    }
    if chance.percent(5) {
        evidence.candidate.rejected = some(chance, rows / 8);
        evidence.stable.held_back = some(chance, rows / 8);
    }
    if chance.percent(5) {
        evidence.candidate.fuel *= chance.pick(&[2, 4, 40]);
    }
    evidence
}

fn any_event(chance: &mut Chance, at: At) -> Event {
    let (slot, by, why) = (slot(), "ada".to_owned(), "because".to_owned());
    let version = version(chance.between(1, 5) as u64);
    match chance.below(100) {
        0..2 => Event::Known { slot, version, at },
        2..20 => {
            let replay = if chance.percent(70) { Evidence::default() } else { any_evidence(chance) };
            let by = chance.percent(40).then_some(by);
            Event::Offered { slot, version, salt: chance.below(1_000) as u64, replay, by, at }
        }
        20..23 => Event::Refused { slot, version: Some(version), stage: Stage::Compile, why, at },
        23..78 => Event::Seen { slot, evidence: any_evidence(chance), at },
        78..83 => Event::Drained { slot, at },
        _ => {
            let command = match chance.below(12) {
                0..6 => Command::Advance,
                6..8 => Command::Hold,
                8..10 => Command::Promote { force: chance.percent(30) },
                _ => Command::Rollback { retroactive: chance.pick(&[None, None, Some(false), Some(true)]) },
            };
            Event::Command { slot, command, by, why, at }
        }
    }
}

fn any_log(chance: &mut Chance) -> Vec<Event> {
    let mut at = At { position: 0, time_us: if chance.percent(20) { i64::MIN } else { 0 } };
    let mut log = Vec::new();
    for _ in 0..chance.between(1, 150) {
        at.position += chance.between(1, 9) as u64;
        if chance.percent(50) {
            at.time_us = at.time_us.max(0) + chance.between(0, 12);
        }
        log.push(any_event(chance, at));
    }
    log
}

fn in_short(decision: &Decision) -> String {
    match decision {
        Decision::Begin { version, share_ppm, .. } => format!("begin {} {share_ppm}", version.digest),
        Decision::Share { share_ppm, .. } => format!("share {share_ppm}"),
        Decision::Hold { .. } => "hold".into(),
        Decision::Resume { .. } => "resume".into(),
        Decision::Promote { .. } => "promote".into(),
        Decision::RollBack { retroactive, .. } => format!("roll back {retroactive}"),
        Decision::Swap { version, .. } => format!("swap {}", version.digest),
        Decision::Refuse { stage, .. } => format!("refuse {stage}"),
    }
}

fn registry(policy: &Policy) -> Registry {
    Registry::new(BTreeMap::from([(slot(), policy.clone())]))
}

#[test]
fn the_registry_says_what_the_model_says() {
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for seed in seeds() {
        let chance = &mut Chance::new(seed);
        let policy = any_policy(chance);
        assert_eq!(policy.fault(), None);
        let (mut model, mut registry) = (Model::new(&policy), registry(&policy));
        for (number, event) in any_log(chance).iter().enumerate() {
            let got = registry.apply(event).ok().map(|all| all.iter().map(in_short).collect::<Vec<_>>());
            // The model knows no slot that is not there yet.
            let wanted = model.take(event);
            let told = || {
                let trial = registry.slot(&slot()).and_then(|slot| slot.trial.as_ref());
                format!("SEED={seed}, event {number}\n{event:?}\n{policy:?}\n{trial:?}\n{model:?}")
            };
            assert_eq!(got, wanted, "{}", told());
            for said in got.iter().flatten() {
                *seen.entry(said.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
            }
            let Some(slot) = registry.slot(&slot()) else { continue };
            let digest =
                |version: &Option<stillhouse_rollout::Version>| version.as_ref().map(|version| version.digest.clone());
            assert_eq!(
                (digest(&slot.stable), digest(&slot.last_good)),
                (model.stable.clone(), model.last_good.clone()),
                "{}",
                told()
            );
            let got = slot.trial.as_ref().map(|trial| {
                let held = trial.held.as_ref().map(|held| match held.by {
                    HeldBy::Analysis => Who::Analysis,
                    HeldBy::Policy => Who::Policy,
                    HeldBy::Person(_) => Who::Person,
                });
                (trial.version.digest.clone(), trial.stage, held)
            });
            let wanted = model.trial.as_ref().map(|trial| (trial.digest.clone(), trial.stage(), trial.held));
            assert_eq!(got, wanted, "{}", told());
        }
    }
    // Whoever tests one seed does not see it all.
    let all = ["begin", "hold", "promote", "refuse", "resume", "roll", "share", "swap"];
    if seeds().count() >= 1_000 {
        all.iter().for_each(|what| assert!(seen.get(*what).is_some_and(|times| *times > 300), "{what}: {seen:?}"));
    }
}

#[test]
fn what_must_never_happen_does_not() {
    for seed in seeds() {
        let chance = &mut Chance::new(seed);
        let policy = any_policy(chance);
        let mut registry = registry(&policy);
        for event in any_log(chance) {
            let before = registry.clone();
            let said = registry.apply(&event);
            let (old, new) = (before.slot(&slot()).cloned().unwrap_or_default(), registry.slot(&slot()));
            let Some(new) = new else {
                assert!(said.is_err() || said == Ok(Vec::new()), "SEED={seed}");
                continue;
            };
            assert!(old.stable.is_none() || new.stable.is_some(), "SEED={seed}: nothing is in force");
            assert!(old.last_good.is_none() || new.last_good.is_some(), "SEED={seed}: the last good version is lost");
            assert!(new.history.len() <= HISTORY_MAX && new.refusals.len() <= REFUSALS_MAX, "SEED={seed}");
            assert!(new.barred.len() <= BARRED_MAX, "SEED={seed}");
            match (&said, &event) {
                (Err(not_now), Event::Command { .. }) => {
                    assert_eq!(before, registry, "SEED={seed}: {not_now}");
                    assert!(not_now.to_string().contains('`'), "it names the slot: {not_now}");
                }
                (Err(not_now), _) => panic!("SEED={seed}: {event:?}: {not_now}"),
                (Ok(decisions), _) => {
                    let ends =
                        |decision: &Decision| matches!(decision, Decision::RollBack { .. } | Decision::Promote { .. });
                    if let (Some(old), Some(new)) = (&old.trial, &new.trial)
                        && !decisions.iter().any(ends)
                    {
                        assert_eq!(
                            (&old.version, old.salt, old.begun),
                            (&new.version, new.salt, new.begun),
                            "SEED={seed}"
                        );
                        assert!(old.share_ppm <= new.share_ppm, "SEED={seed}: the share falls");
                    }
                    assert_eq!(
                        old.trial.is_some() && decisions.iter().any(ends),
                        old.trial.is_some()
                            && new
                                .trial
                                .as_ref()
                                .is_none_or(|new| Some(new.begun) != old.trial.as_ref().map(|old| old.begun)),
                        "SEED={seed}: a trial ends by a decision: {decisions:?}"
                    );
                    assert_eq!(
                        new.trial.as_ref().is_some_and(|trial| trial.share_ppm == 0),
                        new.trial.as_ref().is_some_and(|trial| trial.stage == Stage::Shadow)
                    );
                }
            }
        }
    }
}

#[test]
fn a_replay_of_the_log_decides_the_same() {
    for seed in seeds() {
        let chance = &mut Chance::new(seed);
        let policy = any_policy(chance);
        let (mut live, mut replayed) = (registry(&policy), registry(&policy));
        for event in any_log(chance) {
            let Ok(decisions) = live.apply(&event) else { continue };
            let bytes = postcard::to_allocvec(&(&event, &decisions)).expect("it can be written");
            let (event, logged): (Event, Vec<Decision>) = postcard::from_bytes(&bytes).expect("it can be read");
            assert_eq!(replayed.apply(&event).as_ref(), Ok(&logged), "SEED={seed}");
        }
        assert_eq!(live, replayed, "SEED={seed}");
        if let Some(slot) = live.slot(&slot()) {
            let bytes = postcard::to_allocvec(slot).expect("it can be written");
            assert_eq!(postcard::from_bytes::<stillhouse_rollout::Slot>(&bytes).as_ref(), Ok(slot), "SEED={seed}");
        }
    }
}
