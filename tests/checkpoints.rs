//! A core that is saved and restored anywhere, into any number of shards, goes on as if nothing had
//! happened.

use std::collections::BTreeMap;
use std::sync::Arc;

use stillhouse_core::rule::{Judge, NoJudge};
use stillhouse_core::saved::BUCKETS;
use stillhouse_core::table::Table;
use stillhouse_core::{Change, Checkpoint, Core, Entry, Ledger, Plan, Slice};

use crate::chance::Chance;
use crate::gate_properties::{Erratic, add_parents, erratic_plan};
use crate::generate::{any_plan, any_stream, let_tick, orderly_stream, tighten};
use crate::properties::{for_seeds, hold};
use crate::reconcile::any_with_snapshots;
use crate::stream::{WHOLE, bytes};
use crate::{gate_trials, trials};

/// How often a core is saved and restored, in percent of its steps.
#[derive(Clone, Copy)]
struct Often {
    saved: u64,
    restored: u64,
    /// How often with another configuration.
    changed: u64,
}

/// Runs the core on entries, and saves and restores it on the way.
fn go_on(
    plan: &Arc<Plan>,
    entries: &[Entry],
    judge: &mut dyn Judge,
    often: Often,
    chance: &mut Chance,
) -> (String, Ledger) {
    let mut plan = Arc::clone(plan);
    let mut core = Core::new(Arc::clone(&plan), chance.pick(&[1, 2, 3]));
    core.note_changes();
    let mut saved: Vec<Checkpoint> = Vec::new();
    let mut tables: BTreeMap<Box<str>, Arc<Table>> = BTreeMap::new();
    let mut events = Vec::new();
    for entry in entries {
        core.step([entry.clone()], judge, &mut events);
        match entry {
            Entry::Table(table) => drop(tables.insert(table.digest.clone(), Arc::clone(table))),
            Entry::Rules(Change::Mapper { signal_type, plan: of_type }) => {
                Arc::make_mut(&mut plan).types[usize::from(*signal_type)] = (**of_type).clone();
            }
            _ => {}
        }
        let restored = chance.percent(often.restored);
        if restored || chance.percent(often.saved) {
            let slice = Slice::Changed(saved.len() as u8 % BUCKETS);
            saved.push(core.save(if chance.percent(10) { Slice::All } else { slice }));
        }
        if restored {
            let hash = core.state_hash();
            let newest = saved.iter().rev().take(usize::from(BUCKETS)).cloned();
            let shards = chance.pick(&[1, 2, 3]);
            let mut table = |digest: &str| tables.get(digest).cloned();
            let is_changed = chance.percent(often.changed);
            if is_changed {
                change(chance, Arc::make_mut(&mut plan));
            }
            core = Core::restore(Arc::clone(&plan), shards, newest, &mut table).expect("it was just saved");
            assert!(is_changed || core.state_hash() == hash, "what was restored is what was saved");
            core.note_changes();
        }
        let ledger = core.ledger();
        assert!(ledger.balances(), "the books do not balance: {ledger:?}, placed {}", ledger.placed());
        assert_eq!(core.count_open(), ledger.open, "open signals, counted and in the books: {ledger:?}");
    }
    (bytes(&events), core.ledger())
}

fn any_often(chance: &mut Chance) -> Often {
    Often { saved: chance.pick(&[0, 10, 50]), restored: chance.pick(&[2, 10, 100]), changed: 0 }
}

/// Another configuration of the same types.
fn change(chance: &mut Chance, plan: &mut Plan) {
    plan.config_digest.push('x');
    for of_type in &mut plan.types {
        of_type.hold_down_us = chance.pick(&[0, 1, 5, 20, 60]);
        of_type.hold_open_us = chance.pick(&[0, 1, 5, 20, 60]);
        of_type.correct_us = chance.pick(&[None, Some(5), Some(40), Some(400)]);
    }
}

fn differs(whole: (&str, &Ledger), other: &(String, Ledger)) -> Option<String> {
    let (lines, others) = (whole.0.lines(), other.0.lines());
    let first = lines.zip(others).find(|(one, other)| one != other);
    let same = whole.0 == other.0 && *whole.1 == other.1;
    (!same).then(|| format!("{first:#?}\n{:?}\n{:?}", whole.1, other.1))
}

#[test]
fn what_is_damaged_is_refused() {
    for_seeds("what_is_damaged_is_refused", |chance| {
        let plan = Arc::new(any_plan(chance));
        let mut core = Core::new(Arc::clone(&plan), 1);
        core.step(any_stream(chance, &plan).entries(3), &mut NoJudge, &mut Vec::new());
        let whole = core.save(Slice::All);
        let restore = |checkpoint| Core::restore(Arc::clone(&plan), 2, [checkpoint], &mut |_| None);
        let mut damaged = whole.clone();
        let part = damaged.parts.first_mut().filter(|_| chance.percent(50));
        let bytes = part.unwrap_or(&mut damaged.head);
        let at = chance.below(bytes.len());
        bytes[at] ^= 1 << chance.below(8);
        let short = Checkpoint { parts: Vec::new(), ..whole.clone() };
        for damaged in [damaged, short].into_iter().filter(|damaged| *damaged != whole) {
            let said = restore(damaged).err().expect("it is damaged").to_string();
            assert!(said.contains("its digest is "), "another reason: {said}");
        }
        assert!(restore(whole).is_ok(), "a whole one is refused");
    });
}

#[test]
fn a_restart_does_not_show() {
    for_seeds("a_restart_does_not_show", |chance| {
        let mut plan = any_plan(chance);
        let mut stream = any_stream(chance, &plan);
        if chance.percent(30) {
            tighten(chance, &mut plan);
            let_tick(chance, &mut stream);
        }
        if chance.percent(50) {
            let correct_us = chance.pick(&[5, 40, 400]);
            plan.types.iter_mut().for_each(|plan| plan.correct_us = Some(correct_us));
        }
        let (often, rows, seed) = (any_often(chance), chance.pick(&[1, 7]), chance.below(1 << 30) as u64);
        hold(plan, stream, &|plan, stream| {
            let entries = stream.entries(rows);
            let never = Often { saved: 0, restored: 0, changed: 0 };
            let whole = go_on(plan, &entries, &mut NoJudge, never, &mut Chance::new(seed));
            let other = go_on(plan, &entries, &mut NoJudge, often, &mut Chance::new(seed));
            differs((&whole.0, &whole.1), &other)
        });
    });
}

#[test]
fn a_restart_does_not_show_with_snapshots() {
    for_seeds("a_restart_does_not_show_with_snapshots", |chance| {
        let (plan, stream) = any_with_snapshots(chance);
        let (often, rows, seed) = (any_often(chance), chance.pick(&[1, 7]), chance.below(1 << 30) as u64);
        hold(plan, stream, &|plan, stream| {
            let entries = stream.entries(rows);
            let never = Often { saved: 0, restored: 0, changed: 0 };
            let whole = go_on(plan, &entries, &mut NoJudge, never, &mut Chance::new(seed));
            let other = go_on(plan, &entries, &mut NoJudge, often, &mut Chance::new(seed));
            differs((&whole.0, &whole.1), &other)
        });
    });
}

#[test]
fn a_restart_does_not_show_with_a_suppressor() {
    for_seeds("a_restart_does_not_show_with_a_suppressor", |chance| {
        let plan = erratic_plan(chance);
        let mut stream = any_stream(chance, &plan);
        add_parents(chance, &mut stream);
        let erratic = Erratic::any(chance);
        let (often, rows, seed) = (any_often(chance), chance.pick(&[1, 7]), chance.below(1 << 30) as u64);
        hold(plan, stream, &|plan, stream| {
            let whole = erratic.run(plan, stream, WHOLE);
            let entries = stream.entries(rows);
            let other = go_on(plan, &entries, &mut erratic.judge(), often, &mut Chance::new(seed));
            differs((&whole.bytes, &whole.ledger), &other)
        });
    });
}

#[test]
fn a_restart_does_not_show_in_a_trial() {
    for_seeds("a_restart_does_not_show_in_a_trial", |chance| {
        let (plan, otherwise) = (trials::any_trial_plan(chance), trials::any_otherwise(chance));
        let stream = orderly_stream(chance, &plan);
        let end = trials::any_end(chance);
        let trial = trials::any_trial(chance, &stream, &otherwise, end);
        let (often, rows, seed) = (any_often(chance), chance.pick(&[1, 7]), chance.below(1 << 30) as u64);
        hold(plan, stream, &|plan, stream| {
            let whole = trials::try_it(plan, stream, &trial, WHOLE);
            let entries = trial.entries(plan, stream, rows);
            let other = go_on(plan, &entries, &mut NoJudge, often, &mut Chance::new(seed));
            differs((&whole.bytes, &whole.ledger), &other)
        });
    });
}

#[test]
fn a_restart_does_not_show_in_a_trial_of_a_suppressor() {
    for_seeds("a_restart_does_not_show_in_a_trial_of_a_suppressor", |chance| {
        let plan = any_plan(chance);
        let stream = orderly_stream(chance, &plan);
        let (one, other) = (chance.below(1 << 30) as u64, chance.below(1 << 30) as u64);
        let turns = gate_trials::any_turns(chance, &stream);
        let (often, rows, seed) = (any_often(chance), chance.pick(&[1, 7]), chance.below(1 << 30) as u64);
        hold(plan, stream, &|plan, stream| {
            let turns = gate_trials::within(&turns, stream);
            let (whole, ledger) = gate_trials::run(plan, stream, &turns, WHOLE, &mut gate_trials::both(one, other));
            let entries = gate_trials::entries(plan, stream, &turns, rows);
            let restarted = go_on(plan, &entries, &mut gate_trials::both(one, other), often, &mut Chance::new(seed));
            differs((&bytes(&whole), &ledger), &restarted)
        });
    });
}

/// Late signals are not put among what another configuration has made of others.
#[test]
fn the_books_balance_over_changes_of_the_configuration() {
    for_seeds("the_books_balance_over_changes_of_the_configuration", |chance| {
        let mut plan = any_plan(chance);
        let stream = any_stream(chance, &plan);
        plan.types.iter_mut().for_each(|of_type| of_type.correct_us = chance.pick(&[Some(5), Some(40), Some(400)]));
        let entries = stream.entries(chance.pick(&[1, 7]));
        let often = Often { changed: 30, ..any_often(chance) };
        go_on(&Arc::new(plan), &entries, &mut NoJudge, often, chance);
    });
}
