//! Sinks, and how events come to them: they fail, are silent, answer twice or late, or take an event and lose
//! the answer.

use std::collections::{BTreeMap, BTreeSet};

use stillhouse_delivery::{Cursor, Dead, Delivery, Next, Outcome, Policy};
use stillhouse_store::{Batch, Committer, Map, Store};

use super::tally::Tally;
use crate::chance::Chance;

/// What comes at a time.
enum Comes {
    Request { position: u64, attempt: u32 },
    Answer { position: u64, attempt: u32, outcome: Outcome },
}

pub struct Sink {
    name: String,
    policy: Policy,
    coming: BTreeMap<(i64, u64), (u32, Comes)>,
    messages: u64,
    /// In the order in which the sink first saw them.
    seen: Vec<u64>,
    /// Who asked: answers to another life reach nobody.
    life: u32,
    delivery: Delivery,
    /// Dead letters that are not handed over yet.
    dead: Vec<Dead>,
    handed: Cursor,
    /// The ticket of a dead letter: until it is committed nothing else is sent.
    burying: Option<u64>,
    /// What is committed for certain.
    committed: Cursor,
    waiting: BTreeMap<u64, Cursor>,
}

/// What an event is to a sink.
fn key_of(line: &[u8]) -> String {
    field(line, "\"subject\":\"").to_owned()
}

pub fn field<'l>(line: &'l [u8], name: &str) -> &'l str {
    let text = std::str::from_utf8(line).expect("an event is UTF-8");
    let after = text.find(name).map_or("", |at| &text[at + name.len()..]);
    after.split('"').next().unwrap_or_default()
}

/// What a sink never takes.
fn is_poison(line: &[u8]) -> bool {
    line.iter().fold(7_u32, |hash, byte| hash.wrapping_mul(31) ^ u32::from(*byte)) % 23 == 0
}

impl Sink {
    pub fn new(name: &str, chance: &mut Chance) -> Self {
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
        Self {
            name: name.to_owned(),
            delivery: Delivery::new(policy.clone(), Cursor::default(), 0),
            policy,
            coming: BTreeMap::new(),
            messages: 0,
            seen: Vec::new(),
            life: 0,
            dead: Vec::new(),
            handed: Cursor::default(),
            burying: None,
            committed: Cursor::default(),
            waiting: BTreeMap::new(),
        }
    }

    fn key(&self) -> String {
        format!("sink/{}", self.name)
    }

    /// Another life begins: it goes on at the cursor that the store has. A new one is made known, so that
    /// nothing is removed that it does not have.
    pub fn begin(&mut self, store: &Store, committer: &Committer, history: &[Vec<u8>]) -> anyhow::Result<()> {
        let stored = store.get(Map::Cursors, self.key().as_bytes())?;
        let is_new = stored.is_none();
        let cursor: Cursor =
            stored.map_or_else(Cursor::default, |bytes| postcard::from_bytes(&bytes).expect("a cursor"));
        let lost = (0..history.len() as u64).find(|at| self.committed.is_settled(*at) && !cursor.is_settled(*at));
        assert_eq!(lost, None, "{}: what was committed to be settled is not any more", self.name);
        self.life += 1;
        self.delivery = Delivery::new(self.policy.clone(), cursor.clone(), u64::from(self.life));
        self.dead.clear();
        self.burying = None;
        self.waiting.clear();
        (self.handed, self.committed) = (cursor.clone(), cursor);
        if is_new {
            let mut batch = Batch::default();
            batch.put(Map::Cursors, self.key().as_bytes(), postcard::to_allocvec(&self.handed)?);
            committer.submit(batch)?;
        }
        Ok(())
    }

    fn later(&mut self, now_us: i64, within_us: i64, chance: &mut Chance, comes: Comes) {
        self.messages += 1;
        let at_us = now_us + chance.between(1, within_us);
        self.coming.insert((at_us, self.messages), (self.life, comes));
    }

    /// All up to this ticket is committed.
    pub fn committed(&mut self, ticket: u64) {
        while let Some(first) = self.waiting.first_entry().filter(|first| *first.key() <= ticket) {
            self.committed = first.remove();
        }
        self.burying = self.burying.filter(|burying| *burying > ticket);
    }

    /// Does what is due: events are offered and sent, answers taken, the cursor handed over. `history`: the
    /// events that are committed. Tells when to look again.
    #[allow(clippy::too_many_arguments)]
    pub fn pump(
        &mut self,
        store: &Store,
        committer: &Committer,
        history: &[Vec<u8>],
        now_us: i64,
        is_well: bool,
        chance: &mut Chance,
        tally: &mut Tally,
    ) -> Option<i64> {
        while let Some(first) = self.coming.first_entry().filter(|first| first.key().0 <= now_us) {
            let (at_us, _) = *first.key();
            match first.remove() {
                (life, Comes::Request { position, attempt }) => {
                    self.receive(at_us, life, position, attempt, history, is_well, chance, tally);
                }
                (life, Comes::Answer { position, attempt, outcome }) if life == self.life => {
                    self.dead.extend(self.delivery.done(position, attempt, outcome, now_us));
                }
                // Nobody is there who asked.
                (_, Comes::Answer { .. }) => {}
            }
        }
        let wakes = self.send(store, history, now_us, chance);
        self.hand_over(committer, is_well, history, chance, tally);
        [wakes, self.coming.first_key_value().map(|((at, _), _)| *at)].into_iter().flatten().min()
    }

    fn send(&mut self, store: &Store, history: &[Vec<u8>], now_us: i64, chance: &mut Chance) -> Option<i64> {
        let first = store.first(stillhouse_store::Sequence::Events);
        let next = self.delivery.cursor().next();
        assert!(first <= next, "{}: event {next} was not delivered, and the oldest kept is {first}", self.name);
        while self.delivery.wants() > 0 {
            let position = self.delivery.expects();
            let Some(line) = history.get(position as usize) else { break };
            assert!(self.delivery.offer(position, &key_of(line)));
        }
        while self.burying.is_none() && self.dead.is_empty() {
            match self.delivery.next(now_us) {
                Next::Send { position, attempt } => {
                    self.check_turn(position, history);
                    let slow = chance.percent(10);
                    self.later(now_us, if slow { 30_000 } else { 500 }, chance, Comes::Request { position, attempt });
                }
                Next::Dead(dead) => self.dead.push(dead),
                Next::WaitUntil(until_us) => return Some(until_us),
                Next::Idle => return None,
            }
        }
        None
    }

    /// None is sent before all earlier ones of its key are settled.
    fn check_turn(&self, position: u64, history: &[Vec<u8>]) {
        let cursor = self.delivery.cursor();
        let key = key_of(&history[position as usize]);
        let is_open = |at: &u64| !cursor.is_settled(*at) && key_of(&history[*at as usize]) == key;
        let earlier = (cursor.next()..position).find(is_open);
        assert_eq!(earlier, None, "{}: {position} is sent, and an earlier one of its key is not settled", self.name);
    }

    fn hand_over(
        &mut self,
        committer: &Committer,
        is_well: bool,
        history: &[Vec<u8>],
        chance: &mut Chance,
        tally: &mut Tally,
    ) {
        let cursor = self.delivery.cursor().clone();
        let is_due = is_well || chance.percent(40);
        if self.dead.is_empty() && (cursor == self.handed || !is_due) {
            return;
        }
        let mut batch = Batch::default();
        batch.put(Map::Cursors, self.key().as_bytes(), postcard::to_allocvec(&cursor).expect("plain data"));
        for dead in std::mem::take(&mut self.dead) {
            let whole = self.policy.attempts_max == Some(dead.attempts);
            assert!(whole || is_poison(&history[dead.position as usize]), "{}: {dead:?}", self.name);
            let key = format!("{}/{:020}", self.name, dead.position);
            batch.put(Map::Dead, key.as_bytes(), dead.reason.into_bytes());
            tally.dead_letters += 1;
            self.burying = Some(u64::MAX);
        }
        let ticket = committer.submit(batch).expect("it follows what is there");
        self.burying = self.burying.map(|_| ticket);
        self.waiting.insert(ticket, cursor.clone());
        self.handed = cursor;
    }

    /// The sink: answers, in one of the ways of sinks.
    #[allow(clippy::too_many_arguments)]
    fn receive(
        &mut self,
        now_us: i64,
        life: u32,
        position: u64,
        attempt: u32,
        history: &[Vec<u8>],
        is_well: bool,
        chance: &mut Chance,
        tally: &mut Tally,
    ) {
        let way = if is_well { 0 } else { chance.below(20) };
        let mut answer = |sink: &mut Self, within_us, outcome| {
            sink.messages += 1;
            let at_us = now_us + chance.between(1, within_us);
            sink.coming.insert((at_us, sink.messages), (life, Comes::Answer { position, attempt, outcome }));
        };
        if is_poison(&history[position as usize]) {
            return answer(self, 500, Outcome::Refused("never".into()));
        }
        let failed = || Outcome::Failed("broken".into());
        if !matches!(way, 11..15) {
            if self.seen.contains(&position) {
                tally.duplicates += 1;
            } else {
                self.seen.push(position);
            }
        }
        match way {
            0..9 => answer(self, 500, Outcome::Accepted),
            9 => {
                answer(self, 500, Outcome::Accepted);
                answer(self, 500, Outcome::Accepted);
            }
            10 => {
                answer(self, 500, Outcome::Accepted);
                answer(self, 500, failed());
            }
            11..13 | 18 => answer(self, 500, failed()),
            13 => answer(self, 500, Outcome::Later { reason: "busy".into(), after_us: 7000 }),
            // Nothing came, or it has the event and the answer is lost.
            14 | 17 => {}
            15 => answer(self, 30_000, Outcome::Accepted),
            16 => answer(self, 30_000, failed()),
            _ => answer(self, 500, Outcome::TimedOut),
        }
    }

    /// Whether all events are settled, and that is committed.
    pub fn is_done(&self, events: usize) -> bool {
        self.committed == Cursor::at(events as u64)
    }

    /// Every event was seen once or is a dead letter, and those of a key in their order.
    pub fn check(&self, store: &Store, history: &[Vec<u8>]) {
        let name = &self.name;
        let dead: BTreeSet<u64> = store
            .scan(Map::Dead, format!("{name}/").as_bytes(), Some(format!("{name}0").as_bytes()))
            .expect("it can be read")
            .map(|pair| {
                let key = String::from_utf8(pair.expect("it can be read").0).expect("text");
                key[name.len() + 1..].parse().expect("a position")
            })
            .collect();
        let missing = (0..history.len() as u64).find(|at| !self.seen.contains(at) && !dead.contains(at));
        assert_eq!(missing, None, "{name}: neither accepted nor dead");
        let mut newest: BTreeMap<String, u64> = BTreeMap::new();
        for position in self.seen.iter().filter(|position| !dead.contains(position)) {
            let before = newest.insert(key_of(&history[*position as usize]), *position);
            assert!(before < Some(*position), "{name}: {position} came after {before:?} of its key");
        }
    }
}
