//! Versions that misbehave, each in its way, and what becomes of them: the same for every seed, within
//! a bounded number of rows.
//!
//! `cargo test --release -p stillhouse-rollout -- --nocapture simulation` prints how many rows it took.

use stillhouse_rollout::interval::{Z_95, wilson};
use stillhouse_rollout::{Budget, Counts, Decision, Difference, Evidence, Policy, Stage};

use crate::chance::Chance;
use crate::world::World;

const SEEDS: u64 = 200;

const ENTITIES: usize = 1_000;

/// A version, and the stream that it is tried on.
#[derive(Clone, Copy)]
struct Candidate {
    /// Of a million rows, on how many it fails.
    failing_ppm: usize,
    /// On how many rows it fails first.
    failing_first: u64,
    /// After how many rows it fails always.
    failing_after: u64,
    /// How much fuel it needs, as a multiple.
    fuel_times: f64,
    /// For how many of the 1,000 entities it answers otherwise.
    differing_entities: usize,
    /// Of a million rows, how many it answers otherwise.
    differing_ppm: usize,
    /// Of a million rows, how many it drops, whichever; the version in force drops 10 %.
    dropping_ppm: usize,
    /// Between rows.
    every_us: i64,
}

const FINE: Candidate = Candidate {
    failing_ppm: 0,
    failing_first: 0,
    failing_after: u64::MAX,
    fuel_times: 1.0,
    differing_entities: 0,
    differing_ppm: 0,
    dropping_ppm: 100_000,
    every_us: 100_000,
};

/// What became of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    RolledBack,
    Held,
    Promoted,
    /// There was no decision in a week of event time.
    Waits,
}

/// A seed's outcome, the rows until then, and those since the version went bad in the middle.
struct Ended {
    outcome: Outcome,
    rows: u64,
    share_ppm: u32,
}

fn rows(candidate: &Candidate, chance: &mut Chance, before: u64, rows: u64, share_ppm: u32) -> Evidence {
    let mut evidence = Evidence { rows, ..Evidence::default() };
    let happens = |chance: &mut Chance, ppm: usize| ppm > 0 && chance.below(1_000_000) < ppm;
    for row in before..before + rows {
        let entity = chance.below(ENTITIES);
        // Any order of the entities that has nothing to do with who differs.
        let place = entity * 617 % ENTITIES;
        evidence.in_share += u64::from(place * 1_000_000 / ENTITIES < share_ppm as usize);
        let fuel = 900 + chance.below(200);
        let drops = happens(chance, 100_000);
        evidence.stable.fuel += fuel as u64;
        evidence.stable.dropped += u64::from(drops);
        let failing = row < candidate.failing_first || row >= candidate.failing_after;
        if failing || happens(chance, candidate.failing_ppm) {
            evidence.candidate.failed += 1;
            evidence.failed_alone += 1;
            continue;
        }
        evidence.candidate.fuel += (fuel as f64 * candidate.fuel_times) as u64;
        let drops_too = if candidate.dropping_ppm == 100_000 { drops } else { happens(chance, candidate.dropping_ppm) };
        evidence.candidate.dropped += u64::from(drops_too);
        if drops != drops_too {
            evidence.differ(Difference::Outcome);
        } else if entity < candidate.differing_entities || happens(chance, candidate.differing_ppm) {
            evidence.differ(Difference::State);
        }
    }
    let asked = Counts { rows, calls: 1, ..Counts::default() };
    evidence.stable.add(&asked);
    evidence.candidate.add(&asked);
    evidence
}

/// Tries a version until there is an outcome, in batches of any size.
fn outcome(candidate: &Candidate, policy: &Policy, seed: u64) -> Ended {
    let mut chance = Chance::new(seed);
    let mut world = World::new(policy.clone());
    let mut seen = 0;
    let mut share_ppm = 0;
    world.offer(2);
    while world.at.time_us < 7 * 86_400_000_000 {
        let count = chance.between(1, 200) as u64;
        let evidence = rows(candidate, &mut chance, seen, count, share_ppm);
        seen += count;
        let decisions = world.see(evidence, count as i64 * candidate.every_us);
        if world.slot().trial.as_ref().is_some_and(|trial| trial.stage == Stage::Draining && !trial.drained) {
            let drained = world.drain();
            assert_eq!(drained.len(), 1);
            return Ended { outcome: Outcome::Promoted, rows: seen, share_ppm };
        }
        for decision in decisions {
            let outcome = match decision {
                Decision::Share { share_ppm: next, .. } => {
                    share_ppm = next;
                    continue;
                }
                Decision::RollBack { .. } => Outcome::RolledBack,
                Decision::Hold { .. } => Outcome::Held,
                other => panic!("{other:?}"),
            };
            return Ended { outcome, rows: seen, share_ppm };
        }
    }
    Ended { outcome: Outcome::Waits, rows: seen, share_ppm }
}

/// Every seed comes to this, within so many rows.
fn check(name: &str, candidate: Candidate, expected: Outcome, rows_max: u64) {
    check_with(name, candidate, &Policy::default(), expected, rows_max);
}

fn check_with(name: &str, candidate: Candidate, policy: &Policy, expected: Outcome, rows_max: u64) {
    let mut rows = Vec::new();
    for seed in 0..SEEDS {
        let ended = outcome(&candidate, policy, seed);
        assert_eq!(ended.outcome, expected, "{name}: seed {seed} after {} rows at {} ppm", ended.rows, ended.share_ppm);
        rows.push(ended.rows);
    }
    rows.sort_unstable();
    let (half, most) = (rows[rows.len() / 2], rows[rows.len() - 1]);
    println!("{name}: {expected:?} after {half} rows (half of {SEEDS} seeds), {most} (all)");
    assert!(most <= rows_max, "{name}: {most} rows, more than {rows_max}");
}

#[test]
fn one_that_fails_always_is_rolled_back() {
    check("fails always", Candidate { failing_ppm: 1_000_000, ..FINE }, Outcome::RolledBack, 3 + 200);
}

#[test]
fn one_that_fails_on_one_percent_is_rolled_back() {
    check("traps on 1 %", Candidate { failing_ppm: 10_000, ..FINE }, Outcome::RolledBack, 1_600);
}

#[test]
fn one_that_fails_at_first_is_rolled_back() {
    check("traps on the first 20", Candidate { failing_first: 20, ..FINE }, Outcome::RolledBack, 3 + 200);
}

#[test]
fn one_that_begins_to_fail_late_is_rolled_back() {
    let late = Candidate { failing_after: 25_000, ..FINE };
    check("fails after 25,000", late, Outcome::RolledBack, 25_000 + 400);
}

#[test]
fn one_that_needs_ten_times_the_fuel_is_rolled_back() {
    check("ten times the fuel", Candidate { fuel_times: 10.0, ..FINE }, Outcome::RolledBack, 100 + 200);
}

#[test]
fn one_that_needs_twice_the_fuel_is_promoted() {
    check("twice the fuel", Candidate { fuel_times: 2.0, ..FINE }, Outcome::Promoted, 60_000);
}

#[test]
fn one_that_differs_for_two_percent_of_entities_is_held() {
    check("differs for 2 %", Candidate { differing_entities: 20, ..FINE }, Outcome::Held, 6_000);
}

#[test]
fn one_that_drops_more_is_held() {
    let mut policy = Policy::default();
    policy.budgets.remove(&Budget::Differing);
    let drops = Candidate { dropping_ppm: 150_000, ..FINE };
    check_with("drops 15 % instead of 10 %", drops, &policy, Outcome::Held, 8_000);
}

#[test]
fn one_that_is_fine_is_promoted() {
    check("fine", FINE, Outcome::Promoted, 60_000);
    check("fine, but for a trap in 20,000", Candidate { failing_ppm: 50, ..FINE }, Outcome::Promoted, 60_000);
}

#[test]
fn without_data_nothing_is_decided() {
    // A row every 15 minutes: 672 in a week.
    check("rare", Candidate { every_us: 900_000_000, ..FINE }, Outcome::Waits, 900);
    check(
        "rare, and fails always",
        Candidate { every_us: 900_000_000, failing_ppm: 1_000_000, ..FINE },
        Outcome::RolledBack,
        3 + 200,
    );
}

#[test]
fn noise_within_the_budget_stops_few() {
    let share = |candidate: Candidate, seeds: u64| {
        let ended = (0..seeds).map(|seed| outcome(&candidate, &Policy::default(), seed));
        ended.filter(|ended| ended.outcome == Outcome::Promoted).count() as f64 / seeds as f64
    };
    let differs = share(Candidate { differing_ppm: 5_000, ..FINE }, 1_000);
    let fails = share(Candidate { failing_ppm: 250, ..FINE }, 1_000);
    println!("promoted: {differs} that differ on 0.5 % (budget 1 %), {fails} that fail on 0.025 % (budget 0.1 %)");
    assert!(differs > 0.99, "{differs}");
    assert!(fails > 0.97, "{fails}");
}

/// How likely it is that so many rows do not break a budget, of which this share is bad: the chance of
/// fewer than the least number of bad ones that breaks it.
fn missed(bad: f64, budget: f64, rows: u64) -> f64 {
    let breaks = (0..=rows).find(|hits| wilson(*hits, rows, Z_95).0 > budget).expect("all of them break it");
    // The terms of the binomial distribution, each from the one before.
    let mut term = (rows as f64 * (1.0 - bad).ln()).exp();
    let mut below = 0.0;
    for hits in 0..breaks {
        below += term;
        term *= (rows - hits) as f64 / (hits + 1) as f64 * bad / (1.0 - bad);
    }
    below
}

/// The table that [`stillhouse_rollout::analysis::weigh`] documents.
#[test]
fn what_is_bad_is_found_within_a_bound() {
    let table = [
        ("failed", 0.01, 0.001, 1_600, 0.000_5),
        ("failed", 0.005, 0.001, 4_000, 0.001),
        ("failed", 0.002, 0.001, 40_000, 0.001),
        ("differing", 0.05, 0.01, 1_000, 0.000_001),
        ("differing", 0.02, 0.01, 4_000, 0.001),
        ("differing", 0.015, 0.01, 15_000, 0.001),
    ];
    for (budget, bad, max, rows, chance) in table {
        let missed = missed(bad, max, rows);
        println!("{budget} {bad} (budget {max}): missed after {rows} rows with probability {missed:.1e}");
        assert!(missed < chance, "{budget} {bad}: {missed}");
    }
}
