//! One seed is a whole run of the host with virtual time and everything that can go wrong: the power is cut at any
//! write, the disk is full or fails, sources are asked again, sinks fail, versions of rules come and go, and the
//! configuration changes. What runs is what ships, from the bytes of the inputs to the bytes of the store; only
//! the rules are functions, and the driver is written apart.
//!
//! `SEEDS=1000000 cargo test --release -p stillhouse-tests simulation` looks longer; a failure prints the line that
//! shows it again.

mod checks;
mod host;
mod life;
mod rules;
mod sinks;
mod tally;
mod turns;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use self::life::Life;
use self::tally::Tally;
use self::world::World;
use crate::chance::Chance;

const SEEDS_DEFAULT: u64 = 20_000;

fn simulate(seed: u64, told: bool) -> Tally {
    let mut chance = Chance::new(seed);
    let world = World::new(seed, told, &mut chance);
    world.tell(|| format!("{:#?}", world.plans));
    let mut life = Life::new(&world, chance);
    let store = life.live();
    life.check(store);
    life.tally
}

#[test]
fn a_host_that_dies_anywhere_says_what_one_that_never_does_says() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS_DEFAULT),
    };
    let begun = Instant::now();
    let (next, failed, all) = (AtomicU64::new(seeds.start), AtomicBool::new(false), Mutex::new(Tally::default()));
    let work = || {
        let mut own = Tally::default();
        while !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            match catch_unwind(AssertUnwindSafe(|| simulate(seed, number("SEED").is_some()))) {
                Ok(tally) => own.add(&tally),
                Err(_) => {
                    failed.store(true, Ordering::Relaxed);
                    eprintln!("to see it again: SEED={seed} cargo test --release -p stillhouse-tests simulation");
                }
            }
        }
        all.lock().expect("nobody panics with it").add(&own);
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    assert!(!failed.load(Ordering::Relaxed), "a seed failed, see above");
    let tally = all.into_inner().expect("nobody panics with it");
    let count = seeds.end - seeds.start;
    println!("{count} seeds in {:.1} s: {}", begun.elapsed().as_secs_f64(), tally.told());
    // One seed alone need not have everything.
    let rare = if count < 1000 { Vec::new() } else { tally.rare(count) };
    assert!(rare.is_empty(), "the simulation does not simulate any more:\n{}", rare.join("\n"));
}
