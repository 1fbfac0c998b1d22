//! A naive model of snapshots: every entity of one signal type by key, what a snapshot says of each, and what must
//! be said of that.

use std::collections::BTreeMap;

use stillhouse_core::Plan;
use stillhouse_core::columns::outcome;
use stillhouse_core::plan::TypePlan;
use stillhouse_core::rule::Condition;

use crate::chance::Chance;
use crate::plans::{DOWN, GONE, SLOW, UP};
use crate::properties::{for_seeds, hold};
use crate::reconcile::{SECOND_US, any_snapshot, one};
use crate::stream::{Item, Signal, Snapshot, Stream, WHOLE, run, signal, told};

/// What is known of an entity, as the naive model has it.
#[derive(Clone, Default)]
struct Naive {
    known: Option<(u8, String, i64)>,
    /// State, value, since when, and when it is announced.
    becoming: Option<(u8, String, i64, i64)>,
    signal_us: Option<i64>,
}

/// The naive model: every entity of one signal type, by key, and what it says.
struct Model<'a> {
    plan: &'a TypePlan,
    entities: BTreeMap<String, Naive>,
    said: Vec<String>,
}

impl Model<'_> {
    fn name(&self, state: u8, value: &str) -> String {
        format!("{}{value}", self.plan.states[usize::from(state)].name)
    }

    fn is_problem(&self, state: u8) -> bool {
        self.plan.states[usize::from(state)].condition == Condition::Problem
    }

    fn announce(&mut self, key: &str, at_us: i64) {
        let mut entity = self.entities[key].clone();
        let Some((state, value, since_us, _)) = entity.becoming.take() else { return };
        let from = entity.known.as_ref().map_or("?".into(), |(state, value, _)| self.name(*state, value));
        self.said.push(format!("{at_us} state.changed {key} {from}>{} since {since_us}", self.name(state, &value)));
        entity.known = Some((state, value, since_us));
        self.entities.insert(key.into(), entity);
    }

    fn fire(&mut self, to_us: i64) {
        let due = |entity: &Naive| entity.becoming.as_ref().map(|it| it.3).filter(|&due_us| due_us <= to_us);
        let due: Vec<_> = self.entities.iter().filter_map(|(key, it)| Some((key.clone(), due(it)?))).collect();
        due.into_iter().for_each(|(key, due_us)| self.announce(&key, due_us));
    }

    fn observe(&mut self, key: &str, state: u8, value: &str, at_us: i64) {
        let mut entity = self.entities.get(key).cloned().unwrap_or_default();
        let known = entity.known.as_ref().map(|(state, ..)| *state);
        let was_problem = known.is_some_and(|known| self.is_problem(known));
        if state == GONE {
            entity.becoming = was_problem.then(|| (state, value.into(), at_us, at_us));
            self.entities.insert(key.into(), entity);
            self.announce(key, at_us);
            self.entities.remove(key);
            return;
        }
        let is_known = entity.known.as_ref().is_some_and(|it| (it.0, it.1.as_str()) == (state, value));
        let is_becoming = entity.becoming.as_ref().is_some_and(|it| (it.0, it.1.as_str()) == (state, value));
        if is_known {
            entity.becoming = None;
        } else if known.is_none() && !self.is_problem(state) {
            (entity.known, entity.becoming) = (Some((state, value.into(), at_us)), None);
        } else if !is_becoming {
            let opens = was_problem && !self.is_problem(state);
            let hold_us = if opens { self.plan.hold_open_us } else { self.plan.hold_down_us };
            entity.becoming = Some((state, value.into(), at_us, at_us + hold_us));
        }
        self.entities.insert(key.into(), entity);
        self.fire(at_us);
    }

    /// What differs from what a snapshot says of a key, and whether it says anything.
    fn differs(&self, key: &str, says: Option<&Signal>, until_us: i64) -> (bool, Option<&'static str>) {
        let Some(entity) = self.entities.get(key) else {
            return match says {
                Some(row) if row.state == GONE => (false, None),
                Some(row) => (true, self.is_problem(row.state).then_some("missing")),
                None => (false, None),
            };
        };
        if entity.signal_us.is_some_and(|signal_us| signal_us > until_us) {
            return (false, None);
        }
        let to = entity.becoming.as_ref().map(|it| (it.0, it.1.clone()));
        let Some(row) = says else { return (true, Some("orphan")) };
        let row = (row.state, row.value.clone());
        match &entity.known {
            _ if to.as_ref() == Some(&row) => (true, None),
            Some((state, value, _)) if (*state, value) == (row.0, &row.1) => (true, None),
            Some(_) => (true, Some("state")),
            None => (true, self.is_problem(row.0).then_some("missing")),
        }
    }

    fn correct(&mut self, key: &str, says: Option<&Signal>, taken_us: i64, until_us: i64, at_us: i64) {
        let (counts, kind) = self.differs(key, says, until_us);
        if let Some(kind) = kind {
            let known = self.entities.get(key).and_then(|entity| entity.known.clone());
            let (known, since) = known.map_or(("?".into(), String::new()), |(state, value, since_us)| {
                (self.name(state, &value), format!(" since {since_us}"))
            });
            let row = says.map_or("?".into(), |row| self.name(row.state, &row.value));
            self.said.push(format!("{at_us} drift {key} {kind}: {known}{since}, snapshot of {taken_us} {row}"));
        }
        if counts {
            let (state, value) = says.map_or((GONE, ""), |row| (row.state, &row.value));
            self.observe(key, state, value, at_us);
            if let Some(entity) = self.entities.get_mut(key) {
                entity.signal_us = None;
            }
        }
    }
}

/// What must be said of a stream in the order of its times, with holds and nothing else.
fn say(plan: &Plan, stream: &Stream) -> Vec<String> {
    let of_type = &plan.types[0];
    let signals: Vec<&Signal> = stream.signals().collect();
    let end_us = signals.iter().map(|signal| signal.time_us).max().unwrap_or(i64::MIN);
    // Where each snapshot stands, what it says, and from which time on it is replaced.
    let mut snapshots: Vec<(i64, &Snapshot, i64)> = Vec::new();
    for (at, item) in stream.items.iter().enumerate() {
        let Item::Snapshot(snapshot) = item else { continue };
        if !snapshot.ends {
            continue;
        }
        let before = stream.items[..at].iter().filter_map(|item| match item {
            Item::Signal(signal) => Some(signal.time_us),
            _ => None,
        });
        let newest_us = before.max();
        let watermark_us = newest_us.map_or(i64::MIN, |newest_us| newest_us - plan.order.allowed_lateness_us);
        if let Some(last) = snapshots.last_mut() {
            last.2 = watermark_us;
        }
        let first_us = signals.first().map(|signal| signal.time_us);
        snapshots.extend(newest_us.or(first_us).map(|time_us| (time_us, snapshot, end_us + 1)));
    }
    let mut model = Model { plan: of_type, entities: BTreeMap::new(), said: Vec::new() };
    let mut left: Vec<(String, Option<Signal>)> = Vec::new();
    let mut next_signal = 0;
    for &(taken_us, snapshot, replaced_us) in &snapshots {
        left.clear();
        let mut at_us = taken_us;
        let until_us = taken_us - snapshot.age_us - of_type.reconcile.grace_us;
        let mut is_compared = false;
        while at_us < replaced_us && (!is_compared || !left.is_empty()) {
            signals_to(&mut model, &signals, &mut next_signal, at_us);
            if !is_compared {
                is_compared = true;
                left = compare(&mut model, snapshot, taken_us, until_us);
            }
            for _ in 0..(of_type.reconcile.rate as usize).min(left.len()) {
                let (key, says) = left.remove(0);
                model.correct(&key, says.as_ref(), taken_us, until_us, at_us);
            }
            at_us += SECOND_US;
        }
    }
    signals_to(&mut model, &signals, &mut next_signal, end_us);
    model.said.sort();
    model.said
}

fn signals_to(model: &mut Model<'_>, signals: &[&Signal], next: &mut usize, to_us: i64) {
    while let Some(signal) = signals.get(*next).filter(|signal| signal.time_us <= to_us) {
        model.fire(signal.time_us);
        model.observe(&signal.key, signal.state, &signal.value, signal.time_us);
        if let Some(entity) = model.entities.get_mut(&signal.key) {
            entity.signal_us = Some(signal.time_us);
        }
        *next += 1;
    }
    model.fire(to_us);
}

/// Takes in what agrees, and tells what differs, in the order of the keys.
fn compare(model: &mut Model<'_>, snapshot: &Snapshot, taken_us: i64, until_us: i64) -> Vec<(String, Option<Signal>)> {
    let rows: BTreeMap<&str, &Signal> = snapshot.rows.iter().map(|row| (row.key.as_str(), row)).collect();
    let mut keys: Vec<String> = model.entities.keys().cloned().chain(rows.keys().map(|&key| key.into())).collect();
    keys.sort();
    keys.dedup();
    let mut left = Vec::new();
    for key in keys {
        let says = rows.get(key.as_str()).copied();
        match model.differs(&key, says, until_us) {
            (_, Some(_)) => left.push((key, says.cloned())),
            _ => model.correct(&key, says, taken_us, until_us, taken_us),
        }
    }
    left
}

#[test]
fn snapshots_equal_the_naive_model() {
    for_seeds("snapshots_equal_the_naive_model", |chance| {
        let hold_us = |chance: &mut Chance| chance.pick(&[0, 0, 1, 300_000, 2_000_000]);
        let mut plan = one(|_| ());
        plan.order.allowed_lateness_us = chance.pick(&[0, 1, 700_000]);
        let of_type = &mut plan.types[0];
        (of_type.hold_down_us, of_type.hold_open_us) = (hold_us(chance), hold_us(chance));
        of_type.reconcile.rate = chance.pick(&[1, 2, 3, 1000]);
        of_type.reconcile.grace_us = chance.pick(&[0, 0, 1, 900_000]);
        let step_us = chance.pick(&[1, 200_000, 900_000]);
        let mut items = Vec::new();
        let mut time_us = 100;
        for number in 0..chance.pick(&[4, 10, 30]) {
            if chance.percent(15) {
                let mut snapshot = any_snapshot(chance, 1, number);
                snapshot.rows.iter_mut().for_each(|row| row.outcome = outcome::OBSERVED);
                items.push(Item::Snapshot(snapshot));
            }
            time_us += chance.between(0, 2 * step_us);
            let state = chance.pick(&[UP, UP, UP, DOWN, DOWN, SLOW, GONE]);
            let key = chance.pick(&["k", "l", "m", "n", "o"]);
            let value = chance.pick(&["", "", "v"]);
            let signal = signal(time_us, &format!("e{number}"), key, state, value);
            items.push(Item::Signal(Signal { rank: number as u64, ..signal }));
        }
        let stream = Stream { sources: vec!["a".into()], items, ended: true };
        hold(plan, stream, &|plan, stream| {
            let run = run(plan, stream, WHOLE);
            let mut told = told(&run.events);
            for line in &mut told {
                if let Some(end) = line.find(" inputs ") {
                    line.truncate(end);
                }
            }
            told.sort();
            let model = say(plan, stream);
            (told != model).then(|| format!("core  {told:#?}\nmodel {model:#?}"))
        });
    });
}
