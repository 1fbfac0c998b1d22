//! Whatever is asked and told, in any order, delivery answers what the model answers.

use std::collections::BTreeSet;

use stillhouse_delivery::{Cursor, Delivery, Next, Outcome, Policy};

use crate::chance::Chance;
use crate::model::Model;

fn policy(chance: &mut Chance) -> Policy {
    Policy {
        in_flight_max: chance.pick(&[1, 2, 3, 8]),
        window_max: chance.pick(&[1, 2, 5, 20]),
        attempts_max: chance.pick(&[None, Some(1), Some(2), Some(5)]),
        first_retry_us: chance.pick(&[1, 10, 1000]),
        retry_max_us: chance.pick(&[10, 5000]),
        timeout_us: chance.pick(&[50, 1000]),
        breaker_failures: chance.pick(&[0, 1, 2, 3, 10]),
        breaker_open_us: chance.pick(&[1, 100, 3000]),
    }
}

fn outcome(chance: &mut Chance) -> Outcome {
    match chance.below(10) {
        0..4 => Outcome::Accepted,
        4 => Outcome::Refused("no".into()),
        5..7 => Outcome::Failed("broken".into()),
        7 => Outcome::Later { reason: "busy".into(), after_us: chance.between(-5, 10_000) },
        _ => Outcome::TimedOut,
    }
}

fn compare(seed: u64, seen: &mut BTreeSet<String>) {
    let mut chance = Chance::new(seed);
    let policy = policy(&mut chance);
    let keys: Vec<String> = (0..chance.between(1, 6)).map(|key| format!("key-{key}")).collect();
    let (mut delivery, mut model) =
        (Delivery::new(policy.clone(), Cursor::default(), seed), Model::new(policy.clone(), seed));
    let (mut now, mut offered, mut sent) = (0, 0, Vec::new());
    for step in 0..200 {
        let at = format!("seed {seed}, step {step}, {policy:?}");
        match chance.below(10) {
            0..3 => {
                let key = chance.pick(&keys);
                let took = delivery.offer(offered, &key);
                assert_eq!(took, model.offer(&key), "{at}");
                offered += u64::from(took);
            }
            3..7 => {
                let next = delivery.next(now);
                assert_eq!(next, model.next(now), "{at}");
                seen.insert(format!("{next:?}").chars().take_while(char::is_ascii_alphabetic).collect());
                match next {
                    Next::Send { position, attempt } => sent.push((position, attempt)),
                    Next::WaitUntil(until) if chance.percent(50) => now = until - chance.between(0, 1),
                    _ => {}
                }
            }
            7 => now += chance.between(0, 400),
            // Of anything that was ever sent: in time, too late, twice, and what was never sent.
            _ if !sent.is_empty() => {
                let (position, attempt) = match chance.below(10) {
                    0 => (chance.below(offered + 2), chance.below(3) as u32),
                    1..3 => chance.pick(&sent),
                    _ => chance.pick(&sent[sent.len().saturating_sub(3)..]),
                };
                let outcome = outcome(&mut chance);
                let dead = delivery.done(position, attempt, outcome.clone(), now);
                assert_eq!(dead, model.done(position, attempt, outcome, now), "{at}");
            }
            _ => {}
        }
        assert_eq!(delivery.wants(), model.wants(), "{at}");
        assert_eq!(delivery.status().breaker, model.breaker().0, "{at}");
        seen.insert(format!("{:?}", delivery.status().breaker));
        assert!((0..=offered).all(|at| delivery.cursor().is_settled(at) == model.is_settled(at)), "{at}");
        assert!(delivery.cursor().runs() <= delivery.status().waiting, "{at}");
    }
}

#[test]
fn it_answers_what_the_model_answers() {
    let mut seen = BTreeSet::new();
    (0..5000).for_each(|seed| compare(seed, &mut seen));
    let all = ["Closed", "Dead", "HalfOpen", "Idle", "Open", "Send", "WaitUntil"];
    assert_eq!(seen, all.map(String::from).into(), "the comparison reaches everything");
}

#[test]
fn what_is_not_expected_is_not_taken() {
    let mut delivery = Delivery::new(Policy { window_max: 2, ..Policy::default() }, Cursor::at(7), 1);
    assert_eq!((delivery.expects(), delivery.wants()), (7, 2));
    assert!(!delivery.offer(6, "a") && !delivery.offer(8, "a"), "settled; too far");
    assert!(delivery.offer(7, "a") && !delivery.offer(7, "a") && delivery.offer(8, "b"));
    assert!(!delivery.offer(9, "c"), "the window is full");
    assert_eq!((delivery.status().window_full, delivery.expects()), (1, 9));
    assert_eq!(delivery.next(0), Next::Send { position: 7, attempt: 1 });
    assert_eq!(delivery.done(7, 1, Outcome::Accepted, 0), None);
    assert!(delivery.offer(9, "c"));
}

#[test]
fn reasons_are_bounded() {
    let mut delivery = Delivery::new(Policy::default(), Cursor::default(), 1);
    delivery.offer(0, "a");
    delivery.next(0);
    let dead = delivery.done(0, 1, Outcome::Refused("é".repeat(10_000)), 0).expect("dead");
    assert_eq!(dead.reason.chars().count(), stillhouse_delivery::delivery::REASON_CHARS_MAX);
}

/// One event that a sink always fails on does not keep the others from a sink that is well.
#[test]
fn a_probe_is_what_was_tried_least() {
    let policy = Policy { breaker_failures: 2, breaker_open_us: 1_000_000_000, in_flight_max: 1, ..Policy::default() };
    let mut delivery = Delivery::new(policy, Cursor::default(), 1);
    ["bad", "good"].iter().enumerate().for_each(|(position, key)| assert!(delivery.offer(position as u64, key)));
    let failed = || Outcome::Failed("broken".into());
    for position in [0, 1] {
        assert_eq!(delivery.next(0), Next::Send { position, attempt: 1 });
        delivery.done(position, 1, failed(), 0);
    }
    // It is open. Both were tried once, so the older one is the probe; then the other one.
    assert_eq!(delivery.next(1_000_000_000), Next::Send { position: 0, attempt: 2 });
    delivery.done(0, 2, failed(), 1_000_000_000);
    assert_eq!(delivery.next(2_000_000_000), Next::Send { position: 1, attempt: 2 });
    delivery.done(1, 2, Outcome::Accepted, 2_000_000_000);
    assert!(delivery.cursor().is_settled(1));
}
