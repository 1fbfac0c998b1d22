//! A whole life of a sink from one seed: it fails, is silent, answers twice, late, or takes an event and
//! loses the answer; the host crashes anywhere, and goes on from what it had committed.

use std::collections::{BTreeMap, BTreeSet};

use stillhouse_delivery::{Cursor, Delivery, Next, Outcome, Policy};

use crate::chance::Chance;

/// What comes at a time.
enum Comes {
    /// A request reaches the sink.
    Request {
        life: u32,
        position: u64,
        attempt: u32,
    },
    Answer {
        life: u32,
        position: u64,
        attempt: u32,
        outcome: Outcome,
    },
}

struct World {
    chance: Chance,
    policy: Policy,
    keys: Vec<String>,
    /// What the sink never takes.
    poison: BTreeSet<u64>,
    /// From here on the sink is well and the host does not crash.
    well_from_us: i64,
    now_us: i64,
    coming: BTreeMap<(i64, u64), Comes>,
    /// In the order in which the sink first saw them.
    seen: Vec<u64>,
    life: u32,
    delivery: Delivery,
    committed: Cursor,
    dead: BTreeMap<u64, String>,
    told: BTreeMap<&'static str, u64>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let policy = Policy {
            in_flight_max: chance.pick(&[1, 3, 8]),
            window_max: chance.pick(&[1, 4, 30]),
            attempts_max: chance.pick(&[None, None, Some(1), Some(3)]),
            first_retry_us: 1000,
            retry_max_us: 50_000,
            timeout_us: 10_000,
            breaker_failures: chance.pick(&[0, 2, 5]),
            breaker_open_us: chance.pick(&[5000, 40_000]),
        };
        let events = chance.between(1, 60) as u64;
        let keys_max = chance.pick(&[1, 3, 20]);
        let keys = (0..events).map(|_| format!("key-{}", chance.below(keys_max))).collect();
        let poison = (0..events).filter(|_| chance.percent(4)).collect();
        let committed = Cursor::default();
        let well_from_us = chance.between(0, 400_000);
        Self {
            delivery: Delivery::new(policy.clone(), committed.clone(), seed),
            chance,
            policy,
            keys,
            poison,
            well_from_us,
            now_us: 0,
            coming: BTreeMap::new(),
            seen: Vec::new(),
            life: 0,
            committed,
            dead: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.told.entry(what).or_default() += 1;
    }

    fn later(&mut self, most_us: i64, comes: Comes) {
        let at = self.now_us + self.chance.between(1, most_us);
        self.count("messages");
        self.coming.insert((at, self.told["messages"]), comes);
    }

    /// A crash may fall between any two steps; nothing that was not committed is left.
    fn crashes(&mut self) -> bool {
        let crashes = self.now_us < self.well_from_us && self.chance.percent(1);
        if crashes {
            self.count("crashes");
            self.life += 1;
            self.delivery = Delivery::new(self.policy.clone(), self.committed.clone(), u64::from(self.life));
        }
        crashes
    }

    fn commit(&mut self) {
        let cursor = self.delivery.cursor();
        assert_eq!(self.lost(&self.committed, cursor), None, "the cursor went back");
        self.committed = cursor.clone();
    }

    /// What was settled, and is no more.
    fn lost(&self, before: &Cursor, after: &Cursor) -> Option<u64> {
        (0..self.keys.len() as u64).find(|at| before.is_settled(*at) && !after.is_settled(*at))
    }

    /// A dead letter is committed before anything else is sent, unless a crash is faster.
    fn bury(&mut self, dead: stillhouse_delivery::Dead) {
        if self.crashes() {
            return;
        }
        let whole = self.policy.attempts_max == Some(dead.attempts);
        assert!(whole || self.poison.contains(&dead.position), "{dead:?}");
        assert_eq!(self.dead.insert(dead.position, dead.reason), None, "a dead letter twice");
        self.count("dead");
        self.commit();
    }

    /// The host: offers, sends, waits.
    fn host(&mut self) -> Option<i64> {
        loop {
            if self.crashes() {
                continue;
            }
            while self.delivery.wants() > 0 {
                let position = self.delivery.expects();
                let Some(key) = self.keys.get(position as usize) else { break };
                assert!(self.delivery.offer(position, key));
            }
            if self.chance.percent(30) {
                self.commit();
            }
            match self.delivery.next(self.now_us) {
                Next::Send { position, attempt } => self.send(position, attempt),
                Next::Dead(dead) => self.bury(dead),
                Next::WaitUntil(until) => return Some(until),
                Next::Idle => return None,
            }
        }
    }

    fn send(&mut self, position: u64, attempt: u32) {
        let cursor = self.delivery.cursor();
        assert!(!self.committed.is_settled(position), "{position} is settled and sent again");
        let key = &self.keys[position as usize];
        let earlier = (0..position).find(|at| self.keys[*at as usize] == *key && !cursor.is_settled(*at));
        assert_eq!(earlier, None, "{position} overtakes another one of its key");
        assert!(self.delivery.status().in_flight <= self.policy.in_flight_max);
        let slow = self.now_us < self.well_from_us && self.chance.percent(10);
        let request = Comes::Request { life: self.life, position, attempt };
        self.later(if slow { 30_000 } else { 500 }, request);
    }

    /// The sink: answers, in one of the ways of sinks.
    fn sink(&mut self, life: u32, position: u64, attempt: u32) {
        let well = self.now_us >= self.well_from_us;
        let way = if well { 0 } else { self.chance.below(20) };
        if self.poison.contains(&position) {
            let outcome = Outcome::Refused("never".into());
            return self.later(500, Comes::Answer { life, position, attempt, outcome });
        }
        let failed = Outcome::Failed("broken".into());
        let sees = !matches!(way, 11..15);
        if sees && !self.seen.contains(&position) {
            self.seen.push(position);
        } else if sees {
            self.count("duplicates");
        }
        let (within_us, outcomes): (i64, &[Outcome]) = match way {
            0..9 => (500, &[Outcome::Accepted]),
            9 => (500, &[Outcome::Accepted, Outcome::Accepted]),
            10 => (500, &[Outcome::Accepted, failed]),
            11..13 => (500, &[failed]),
            13 => (500, &[Outcome::Later { reason: "busy".into(), after_us: 7000 }]),
            14 => (1, &[]),
            15 => (30_000, &[Outcome::Accepted]),
            16 => (30_000, &[failed]),
            // It has the event, and the answer is lost.
            17 => (1, &[]),
            18 => (500, &[failed]),
            _ => (500, &[Outcome::TimedOut]),
        };
        for outcome in outcomes.iter().cloned() {
            self.later(within_us, Comes::Answer { life, position, attempt, outcome });
        }
    }

    fn run(&mut self) {
        for _ in 0..100_000 {
            let (life, before) = (self.life, self.delivery.cursor().clone());
            let wakes = self.host();
            let comes = self.coming.first_key_value().map(|((at, _), _)| *at);
            let Some(at) = [wakes, comes].into_iter().flatten().min() else { break };
            assert!(at >= self.now_us && wakes.is_none_or(|wakes| wakes > self.now_us), "it waits for what is past");
            self.now_us = at;
            let due = self.coming.first_entry().filter(|entry| entry.key().0 <= at).map(|entry| entry.remove());
            match due {
                Some(Comes::Request { life, position, attempt }) => self.sink(life, position, attempt),
                Some(Comes::Answer { life, position, attempt, outcome }) if life == self.life => {
                    if let Some(dead) = self.delivery.done(position, attempt, outcome, self.now_us) {
                        self.bury(dead);
                    }
                }
                // Nobody is there who asked.
                Some(Comes::Answer { .. }) | None => {}
            }
            assert!(self.life > life || self.lost(&before, self.delivery.cursor()).is_none(), "the cursor went back");
        }
    }

    fn check(&self) {
        let events = self.keys.len() as u64;
        assert_eq!(*self.delivery.cursor(), Cursor::at(events), "everything is settled");
        let missing = (0..events).find(|at| !self.seen.contains(at) && !self.dead.contains_key(at));
        assert_eq!(missing, None, "neither accepted nor dead");
        let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
        for position in self.seen.iter().filter(|position| !self.dead.contains_key(position)) {
            let before = newest.insert(&self.keys[*position as usize], *position);
            assert!(before < Some(*position), "{position} came after {before:?}");
        }
    }
}

fn simulate(seed: u64) -> BTreeMap<&'static str, u64> {
    let outcome = std::panic::catch_unwind(|| {
        let mut world = World::new(seed);
        world.run();
        world.check();
        world.told
    });
    outcome.unwrap_or_else(|_| panic!("seed {seed}: see above"))
}

#[test]
fn every_event_is_accepted_or_dead_and_in_order() {
    let mut told: BTreeMap<_, u64> = BTreeMap::new();
    for seed in 0..5000 {
        for (what, count) in simulate(seed) {
            *told.entry(what).or_default() += count;
        }
    }
    for what in ["crashes", "dead", "duplicates"] {
        assert!(told.get(what).is_some_and(|count| *count > 1000), "the simulation makes {what}: {told:?}");
    }
}
