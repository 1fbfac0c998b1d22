//! What events and commands lead to, one by one.

use std::collections::BTreeMap;

use stillhouse_rollout::slot::{BARRED_MAX, HISTORY_MAX, REFUSALS_MAX};
use stillhouse_rollout::{
    At, Budget, Command, Decision, Difference, Event, Evidence, HeldBy, Least, Limit, Policy, Registry, SlotId, Stage,
    Strategy, Then, What,
};

use crate::world::{MINUTE_US, World, alike, slot, version};

fn share(share_ppm: u32) -> Vec<Decision> {
    vec![Decision::Share { slot: slot(), share_ppm }]
}

#[test]
fn a_version_that_does_well_goes_all_the_way() {
    let mut world = World::new(Policy::default());
    let begin = Decision::Begin { slot: slot(), version: version(2), salt: 7, share_ppm: 0 };
    assert_eq!(world.offer(2), [begin]);
    for ppm in [10_000, 50_000, 250_000, 500_000, 1_000_000] {
        assert_eq!(world.see(alike(999), 9 * MINUTE_US), [], "it lacks both");
        assert_eq!(world.see(alike(1), MINUTE_US - 1), [], "its time is not over");
        assert_eq!(world.see(alike(0), 1), share(ppm));
        assert_eq!(world.trial().evidence.rows, 0, "a step begins with nothing");
    }
    assert_eq!(world.see(alike(999), 60 * MINUTE_US), [], "it lacks samples");
    assert_eq!(world.trial().stage, Stage::Canary);
    assert_eq!(world.see(alike(1), 0), []);
    assert_eq!(world.trial().stage, Stage::Draining);
    assert_eq!(world.drain(), [Decision::Promote { slot: slot() }]);
    let slot = world.slot();
    assert_eq!((&slot.stable, &slot.last_good, &slot.trial), (&Some(version(2)), &Some(version(1)), &None));
}

/// Rows of which some were answered otherwise.
fn differing(rows: u64, state: u64, key: u64) -> Evidence {
    let mut evidence = alike(rows);
    evidence.differing[Difference::State as usize] = state;
    evidence.differing[Difference::Key as usize] = key;
    evidence
}

/// Rows of which some failed.
fn failing(rows: u64, failed: u64) -> Evidence {
    let mut evidence = alike(rows);
    evidence.candidate.failed = failed;
    evidence.failed_alone = failed;
    evidence
}

fn roll_back(why: &str, retroactive: bool) -> Decision {
    Decision::RollBack { slot: slot(), why: why.into(), retroactive }
}

fn hold(why: &str) -> Decision {
    Decision::Hold { slot: slot(), why: why.into() }
}

fn resume() -> Decision {
    Decision::Resume { slot: slot() }
}

fn whats(world: &World) -> Vec<What> {
    world.slot().history.iter().map(|record| record.what).collect()
}

/// The command is refused with these words, and nothing changes.
fn refused(world: &mut World, command: Command, words: &[&str]) {
    let before = world.registry.clone();
    let not_now = world.command(command).expect_err("refused").to_string();
    words.iter().for_each(|word| assert!(not_now.contains(word), "no `{word}` in: {not_now}"));
    assert_eq!(world.registry, before);
}

const ROLLBACK: Command = Command::Rollback { retroactive: None };

#[test]
fn what_is_refused_says_how_to_try_it_again() {
    let mut world = World::new(Policy::default());
    world.offer(2);
    let why = "2.5 % of 120 rows failed where the version in force did not (budget 0.1 %): 3";
    assert_eq!(world.see(failing(120, 3), 1), [roll_back(why, false)], "in shadow it has touched nothing");
    let [Decision::Refuse { stage: Stage::Validation, why: told, .. }] = &world.offer(2)[..] else { panic!("refused") };
    let again = "to try it again, stage it: `stillhouse rules stage FILE --signal net.link --kind mapper --why TEXT`";
    assert_eq!(told, &format!("it was rolled back: {why}; {again}"));
    assert_eq!(world.slot().refusals.len(), 1);
    assert!(matches!(world.offer_with(2, alike(0), Some("ada"))[..], [Decision::Begin { .. }]));
    assert!(world.slot().barred.is_empty());
    assert_eq!(world.offer(2), [], "it is tried already");
    assert_eq!(world.offer(1), [], "it is in force already");
    let what = [What::Known, What::Begun, What::RolledBack, What::Refused, What::Begun];
    assert_eq!(whats(&world), what);
    assert_eq!(world.slot().history[4].by.as_deref(), Some("ada"));
}

#[test]
fn a_newer_version_takes_the_place_of_the_one_that_is_tried() {
    let mut world = World::new(Policy::default());
    world.offer(2);
    world.step();
    let decisions = world.offer(3);
    let begin = Decision::Begin { slot: slot(), version: version(3), salt: 7, share_ppm: 0 };
    let why = "links 1.3.0 (000000000000) was offered meanwhile and takes its place";
    assert_eq!(decisions, [roll_back(why, true), begin]);
    assert_eq!(world.slot().history[3].why, why);
    assert!(matches!(world.offer(2)[..], [_, Decision::Begin { .. }]), "it was not bad");
}

#[test]
fn a_bad_replay_refuses_or_holds() {
    let mut world = World::new(Policy::default());
    let why =
        "replay of the newest signals: 0.5 % of 1,000 rows failed where the version in force did not (budget 0.1 %): 5";
    let refuse = Decision::Refuse { slot: slot(), version: version(2), stage: Stage::Replay, why: why.into() };
    world.offer(3);
    assert_eq!(world.offer_with(2, failing(1_000, 5), None), [refuse]);
    assert_eq!(world.trial().version, version(3), "who is refused takes nobody's place");
    let why = "replay of the newest signals: 10 % of 2,000 answers differ (budget 1 %): state 150, key 50";
    let replay = differing(2_000, 150, 50);
    assert_eq!(world.offer_with(4, replay, None)[2], hold(why));
    assert_eq!(world.step(), [], "it is held");
    // A person goes on with up to twice of that.
    assert_eq!(world.command(Command::Advance), Ok([vec![resume()], share(10_000)].concat()));
    assert_eq!(world.see(differing(2_000, 200, 150), 10 * MINUTE_US), share(50_000));
    assert!(matches!(&world.see(differing(9_000, 3_000, 0), 1)[..], [Decision::Hold { .. }]));
    let mut policy = Policy { shadow: None, ..Policy::default() };
    policy.strategy = Strategy::Canary;
    let mut world = World::new(policy);
    let decisions = world.offer_with(2, replay, None);
    assert!(matches!(decisions[..], [Decision::Begin { share_ppm: 0, .. }, Decision::Hold { .. }]), "{decisions:?}");
}

#[test]
fn differing_answers_are_held_and_told() {
    let mut world = World::new(Policy::default());
    world.offer(2);
    assert_eq!(world.see(differing(999, 500, 0), 10 * MINUTE_US), [], "a few samples say nothing");
    let why = "12.4 % of 4,812 answers differ (budget 1 %): state 598, key 1";
    assert_eq!(world.see(differing(3_813, 98, 1), 0), [hold(why)]);
    assert_eq!(world.trial().held.as_ref().map(|held| &held.by), Some(&HeldBy::Analysis));
    assert_eq!(world.registry.waits(&slot(), world.at), None, "it waits for nobody but a person");
    refused(&mut world, Command::Promote { force: false }, &["is held: 12.4 % of 4,812", "`advance` accepts that"]);
    refused(&mut world, Command::Hold, &["`net.link/mapper` is held already"]);
    assert!(matches!(world.see(failing(100, 90), 1)[..], [Decision::RollBack { .. }]), "what is held is looked at");
}

#[test]
fn a_way_to_differ_may_have_a_budget_of_its_own() {
    let mut policy = Policy::default();
    policy.budgets.insert(Budget::Kind(Difference::State), Limit { max: 0.5, then: Then::Hold });
    policy.budgets.insert(Budget::Kind(Difference::Key), Limit { max: 0.0, then: Then::RollBack });
    let mut world = World::new(policy);
    world.offer(2);
    assert_eq!(world.see(differing(2_000, 500, 0), 10 * MINUTE_US), share(10_000));
    let why = "0.1 % of 2,000 answers differ in key (budget 0 %): 2";
    assert_eq!(world.see(differing(2_000, 0, 2), 0), [roll_back(why, true)]);
}

#[test]
fn fuel_drops_and_time_are_told_as_they_are() {
    let mut policy = Policy::default();
    policy.budgets.insert(Budget::Latency, Limit { max: 2.0, then: Then::Hold });
    let mut evidence = alike(2_000);
    evidence.candidate.time_ns *= 5;
    let mut world = World::new(policy);
    world.offer(2);
    let why = "needs 5 times the time of the version in force (budget 2 times, 2,000 rows)";
    assert_eq!(world.see(evidence, 1), [hold(why)]);
    evidence.candidate.fuel *= 10;
    let why = "needs 5.5 times the fuel of the version in force (budget 3 times, 4,000 rows)";
    let told = world.see(evidence, 1);
    assert_eq!(told, [roll_back(why, false)]);
    let mut evidence = alike(5_000);
    (evidence.stable.dropped, evidence.candidate.dropped) = (500, 1_000);
    world.offer(3);
    let why = "20 % of 5,000 rows are dropped, by the version in force 10 % (budget 1 point apart)";
    assert_eq!(world.see(evidence, 1), [hold(why)]);
}

#[test]
fn what_may_be_chance_waits_for_more() {
    let mut world = World::new(Policy::default());
    world.offer(2);
    assert_eq!(world.see(failing(1_000, 2), 10 * MINUTE_US), []);
    let waits = "more rows: 0.2 % of 1,000 rows failed where the version in force did not (budget 0.1 %): 2, which may be chance";
    assert_eq!(world.registry.waits(&slot(), world.at).as_deref(), Some(waits));
    assert_eq!(world.see(alike(1_000), 0), share(10_000));
    let waits = world.registry.waits(&slot(), world.at);
    assert_eq!(waits.as_deref(), Some("0 of 1,000 rows, 0 s of 10 min"));
}

#[test]
fn a_few_early_failures_need_more_evidence_than_late_ones() {
    let told = |rows| {
        let mut world = World::new(Policy::default());
        world.offer(2);
        world.see(failing(rows, 3), 1).len()
    };
    // Of 700 rows, 3 are more than 0.1 % at 95 %, but not at 99.9 %.
    assert_eq!([500, 700, 1_000, 1_100].map(told), [1, 0, 1, 0]);
}

#[test]
fn a_step_waits_for_its_share_unless_nobody_is_in_it() {
    let nobody = |rows| Evidence { in_share: 0, ..alike(rows) };
    let mut world = World::new(Policy::default());
    world.offer(2);
    assert_eq!(world.see(nobody(1_000), 10 * MINUTE_US), share(10_000), "shadow has no share");
    assert_eq!(world.see(nobody(9_999), 10 * MINUTE_US), []);
    assert_eq!(world.registry.waits(&slot(), world.at).as_deref(), Some("a row in the share of 1 %"));
    assert_eq!(world.see(nobody(1), 0), share(50_000));
    assert_eq!(world.see(Evidence { in_share: 1, ..alike(1_000) }, 10 * MINUTE_US), share(250_000));
}

#[test]
fn before_the_first_watermark_no_time_passes() {
    let mut world = World::new(Policy::default());
    world.at.time_us = i64::MIN;
    world.offer(2);
    assert_eq!(world.see(alike(5_000), 0), []);
    world.at.time_us = 1_000_000_000_000;
    assert_eq!(world.see(alike(1), 0), []);
    assert_eq!(world.see(alike(1), 10 * MINUTE_US), share(10_000));
}

#[test]
fn a_person_goes_through_the_steps() {
    let mut world = World::new(Policy::default());
    let nothing = ["`net.link/mapper` has no candidate"];
    for command in [Command::Advance, Command::Hold, Command::Promote { force: true }, ROLLBACK] {
        refused(&mut world, command, &nothing);
    }
    world.offer(2);
    refused(&mut world, Command::Promote { force: false }, &["is in shadow at 0 %", "not all steps", "--force"]);
    assert_eq!(world.command(Command::Advance), Ok(share(10_000)));
    assert_eq!(world.command(Command::Hold), Ok(vec![hold("because")]));
    assert_eq!(world.trial().held.as_ref().map(|held| &held.by), Some(&HeldBy::Person("ada".into())));
    assert_eq!(world.step(), [], "it is held");
    assert_eq!(world.command(Command::Advance), Ok([vec![resume()], share(50_000)].concat()));
    for ppm in [250_000, 500_000, 1_000_000] {
        assert_eq!(world.command(Command::Advance), Ok(share(ppm)));
    }
    refused(&mut world, Command::Advance, &["at its last step, 100 %", "`promote --force`"]);
    assert_eq!(world.command(Command::Promote { force: true }), Ok(vec![Decision::Promote { slot: slot() }]));
    let promoted = world.slot().history.back().expect("it is told");
    assert_eq!((promoted.what, promoted.by.as_deref(), &*promoted.why), (What::Promoted, Some("ada"), "because"));
}

#[test]
fn a_person_puts_it_in_force_where_the_policy_says_so() {
    let mut world = World::new(Policy { promote_automatically: false, ..Policy::default() });
    world.offer(2);
    (0..5).for_each(|_| drop(world.step()));
    assert_eq!(world.drain(), [], "it is not at its end");
    let why = "all steps are done; `promote` puts it in force";
    assert_eq!(world.step(), [hold(why)]);
    refused(&mut world, Command::Advance, &["all steps of `net.link/mapper` are done", "`promote`"]);
    assert!(matches!(world.see(differing(5_000, 500, 0), 1)[..], [Decision::Hold { .. }]), "it is looked at");
    refused(&mut world, Command::Promote { force: false }, &["is held: 7.1 % of 7,000"]);
    assert_eq!(world.command(Command::Advance), Ok(vec![resume(), hold(why)]));
    assert_eq!(world.command(Command::Promote { force: false }), Ok(vec![Decision::Promote { slot: slot() }]));
}

#[test]
fn what_is_open_is_not_waited_for_for_ever() {
    let mut world = World::new(Policy::default());
    world.offer(2);
    (0..6).for_each(|_| drop(world.step()));
    assert_eq!(world.trial().stage, Stage::Draining);
    assert_eq!(world.see(alike(0), 60 * MINUTE_US - 1), []);
    assert_eq!(world.see(alike(0), 1), [Decision::Promote { slot: slot() }]);
    let why = "all steps are done, and what is open was waited for 1 h";
    assert_eq!(world.slot().history.back().map(|record| &*record.why), Some(why));
    world.offer(3);
    (0..6).for_each(|_| drop(world.step()));
    assert!(matches!(world.see(failing(10, 10), 1)[..], [Decision::RollBack { retroactive: true, .. }]));
}

#[test]
fn a_person_goes_back_to_the_version_before() {
    let mut world = World::new(Policy::default());
    world.offer(2);
    world.command(Command::Promote { force: true }).expect("forced");
    let distilled_again = Command::Rollback { retroactive: Some(true) };
    refused(&mut world, distilled_again, &["links 1.1.0 (000000000000) comes back for what is new only"]);
    assert_eq!(world.command(ROLLBACK), Ok(vec![Decision::Swap { slot: slot(), version: version(1) }]));
    refused(&mut world, ROLLBACK, &["links 1.1.0 (000000000000) is the last good version already"]);
    assert_eq!(world.slot().last_good, Some(version(1)), "it stays known");
    assert!(matches!(world.offer(2)[..], [Decision::Refuse { .. }]));
    world.offer_with(2, alike(0), Some("ada"));
    world.step();
    assert_eq!(world.command(Command::Rollback { retroactive: Some(false) }), Ok(vec![roll_back("because", false)]));
}

#[test]
fn without_a_trial_a_version_is_in_force_at_once() {
    let mut world = World::new(Policy { strategy: Strategy::Swap, ..Policy::default() });
    assert_eq!(world.offer(2), [Decision::Swap { slot: slot(), version: version(2) }]);
    assert_eq!(world.slot().last_good, Some(version(1)));
    assert!(matches!(world.offer_with(3, failing(10, 10), None)[..], [Decision::Refuse { .. }]));
    assert_eq!(world.see(failing(10, 10), 1), [], "nobody compares");
    assert_eq!(world.command(ROLLBACK), Ok(vec![Decision::Swap { slot: slot(), version: version(1) }]));
    let mut registry = Registry::new(BTreeMap::new());
    let (at, replay) = (At { position: 1, time_us: 0 }, Evidence::default());
    let slot = SlotId::suppressor("a.b");
    let offered = Event::Offered { slot: slot.clone(), version: version(1), salt: 1, replay, by: None, at };
    assert_eq!(registry.apply(&offered), Ok(vec![Decision::Swap { slot, version: version(1) }]), "there was none");
}

#[test]
fn another_version_in_force_ends_the_trial() {
    let mut world = World::new(Policy::default());
    world.offer(2);
    let known = |number| move |slot, at| Event::Known { slot, version: version(number), at };
    assert_eq!(world.say(known(1)), Ok(vec![]));
    assert_eq!(world.say(known(3)), Ok(vec![roll_back("another version is in force since the host started", false)]));
    assert_eq!((&world.slot().stable, &world.slot().last_good), (&Some(version(3)), &Some(version(1))));
}

#[test]
fn a_slot_that_is_not_there_is_named_with_those_that_are() {
    let mut world = World::new(Policy::default());
    let (slot, at) = (SlotId::suppressor("net.link"), world.at);
    let event = Event::Command { slot, command: Command::Advance, by: "ada".into(), why: "x".into(), at };
    let not_now = world.registry.apply(&event).expect_err("there is none").to_string();
    assert_eq!(not_now, "there is no slot `net.link/suppressor`; there is `net.link/mapper`");
    assert_eq!("a/b/suppressor".parse(), Ok(SlotId::suppressor("a/b")));
    for text in ["net.link", "net.link/maper", "/mapper"] {
        let refused = text.parse::<SlotId>().expect_err("no slot").to_string();
        assert!(refused.contains(text) && refused.contains("expected a slot such as `net.link/mapper`"), "{refused}");
    }
    assert_eq!(SlotId::mapper("a/b").to_string().parse(), Ok(SlotId::mapper("a/b")));
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut world = World::new(Policy::default());
    for number in 2..200 {
        world.offer(number);
        world.command(ROLLBACK).expect("there is a trial");
        let why = format!("no component {number}");
        let refused = |slot, at| Event::Refused { slot, version: None, stage: Stage::Contract, why, at };
        world.say(refused).expect("no command");
    }
    let slot = world.slot();
    assert_eq!((slot.history.len(), slot.refusals.len(), slot.barred.len()), (HISTORY_MAX, REFUSALS_MAX, BARRED_MAX));
    let last = slot.history.back().map(|record| (record.what, &*record.why));
    assert_eq!(last, Some((What::Refused, "contract: no component 199")), "the oldest leaves");
    assert!(slot.barred(&version(199).digest).is_some() && slot.barred(&version(2).digest).is_none());
}

#[test]
fn a_policy_that_leads_nowhere_says_so() {
    let with = |steps: &[u32]| Policy { steps_ppm: steps.to_vec(), ..Policy::default() }.fault();
    assert_eq!(with(&[1_000_000]), None);
    assert!(with(&[]).is_some_and(|fault| fault.contains("the last step must be 100 %")));
    assert!(with(&[10_000, 500_000]).is_some_and(|fault| fault.contains("100 %")));
    assert!(with(&[0, 1_000_000]).is_some_and(|fault| fault.contains("more than 0 %")));
    assert!(with(&[50_000, 10_000, 1_000_000]).is_some_and(|fault| fault.contains("1 % does not follow 5 %")));
    let mut policy = Policy { step: Least { time_us: 0, samples: 1 }, ..Policy::default() };
    policy.budgets.insert(Budget::Fuel, Limit { max: f64::NAN, then: Then::Hold });
    assert!(policy.fault().is_some_and(|fault| fault.contains("`fuel`")));
}
