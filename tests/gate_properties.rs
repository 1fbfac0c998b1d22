//! Properties of the gate on random plans, streams and suppressors, with floods, parents and memos.

use std::collections::BTreeMap;
use std::sync::Arc;

use stillhouse_core::columns::verdict;
use stillhouse_core::plan::{FloodPlan, InhibitPlan};
use stillhouse_core::rule::{Carry, MemoPlan};
use stillhouse_core::{Event, Plan};

use crate::chance::Chance;
use crate::gate_fake::{Fake, Row, Said, parents};
use crate::gate_truth::told_wrongly;
use crate::generate::{any_plan, any_stream, orderly_stream};
use crate::plans::UP;
use crate::properties::{between, for_seeds, hold};
use crate::stream::{Division, Item, Run, Signal, Stream, WHOLE, run_with, signal};

const PLAIN: [&str; 8] = ["key", "kind", "to", "time", "judged", "from", "parent", "state_us"];
const LIVE: [&str; 4] = ["time", "changes", "parent_open", "siblings_open"];

/// When every stream is over.
const END_US: i64 = 50_000;

/// How a suppressor is made that answers anything, but always the same for the same candidate.
#[derive(Clone, Copy)]
pub struct Erratic {
    seed: u64,
    live: bool,
    memo: bool,
}

impl Erratic {
    pub fn any(chance: &mut Chance) -> Self {
        Self { seed: chance.between(0, 1 << 40) as u64, live: chance.percent(50), memo: chance.percent(30) }
    }

    pub fn run(self, plan: &Arc<Plan>, stream: &Stream, division: Division) -> Run {
        run_with(plan, stream, division, &mut self.judge())
    }

    pub fn judge(self) -> Fake<impl FnMut(&Row) -> Said> {
        let paths: Vec<&str> = PLAIN.into_iter().chain(LIVE.into_iter().filter(|_| self.live)).collect();
        let mut fake = Fake::new(&paths, move |row: &Row| self.answer(row));
        fake.memo = self.memo.then_some(MemoPlan { version: 1, carry: Carry::Keep, bytes_max: 3 });
        fake
    }

    fn answer(self, row: &Row) -> Said {
        let text = format!("{:?} {:?}", row.fields, row.memo);
        let hash = text.bytes().fold(self.seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        let mut chance = Chance::new(hash);
        let verdicts =
            [verdict::EMIT, verdict::SUPPRESS, verdict::SUPPRESS, verdict::DELAY, verdict::ESCALATE, verdict::FAILED];
        let until_us = row.fields[3].parse::<i64>().expect("a time") + chance.between(-5, 80);
        let memo = vec![chance.between(0, 9) as u8; chance.between(0, 4) as usize];
        Said(chance.pick(&verdicts), chance.pick(&[0, until_us, until_us]), chance.between(0, 3) as u8, memo)
    }
}

pub fn erratic_plan(chance: &mut Chance) -> Plan {
    let mut plan = any_plan(chance);
    for of_type in &mut plan.types {
        // After a state that ended unheard, `from` may show a newer number of the same state than was told.
        of_type.level = None;
        of_type.suppress_max_us = chance.pick(&[0, 1, 20, 60]);
        of_type.never_suppress = chance.pick(&[1, 3, 4]);
        of_type.inhibit = chance.percent(80);
        if chance.percent(40) {
            let max = chance.pick(&[None, Some(1), Some(2)]);
            let per_source = if max.is_none() || chance.percent(30) { Some(chance.between(1, 2) as u32) } else { None };
            of_type.flood = Some(FloodPlan { max, per_source, per_us: chance.pick(&[5, 30, 200]) });
        }
    }
    if chance.percent(60) {
        let grace_us = chance.pick(&[0, 0, 1, 15]);
        plan.inhibit = Some(InhibitPlan { table: "topology".into(), column: "parent".into(), grace_us });
    }
    plan
}

/// The parents of the three keys, at the beginning and sometimes others later.
pub fn add_parents(chance: &mut Chance, stream: &mut Stream) {
    let families: [&[(&str, &str)]; 4] =
        [&[("l", "k"), ("m", "k")], &[("l", "k"), ("m", "l")], &[("k", "m"), ("m", "k")], &[("k", "k")]];
    for at in [0, chance.below(stream.items.len() + 1)] {
        if chance.percent(70) {
            stream.items.insert(at, Item::Table(parents(chance.pick(&families))));
        }
    }
}

/// The same stream, and long after it a signal of each type that lets every deadline pass.
fn with_an_end(plan: &Plan, stream: &Stream) -> Stream {
    let mut stream = stream.clone();
    for signal_type in 0..plan.types.len() as u16 {
        for (source, time_us) in
            (0..stream.sources.len() as u32).flat_map(|source| [(source, END_US), (source, 2 * END_US)])
        {
            let last = signal(time_us, &format!("last {time_us}"), "z", UP, "");
            stream.items.push(Item::Signal(Signal { signal_type, source, ..last }));
        }
    }
    stream.ended = true;
    stream
}

#[test]
fn division_does_not_show_with_a_suppressor() {
    for_seeds("division_does_not_show_with_a_suppressor", |chance| {
        let plan = erratic_plan(chance);
        let mut stream = any_stream(chance, &plan);
        add_parents(chance, &mut stream);
        let erratic = Erratic::any(chance);
        hold(plan, stream, &|plan, stream| {
            let whole = erratic.run(plan, stream, WHOLE);
            let divisions = [(1, 1, 1), (2, 7, 1), (3, 1024, 1), (8, 1, 3), (3, 7, 100)];
            divisions.into_iter().find_map(|(shards, block_rows, entries)| {
                let division = Division { shards, block_rows, entries };
                let divided = erratic.run(plan, stream, division);
                between(&format!("{division:?}"), &whole, &divided)
            })
        });
    });
}

#[test]
fn each_suppression_ends_once_and_what_was_told_is_consistent() {
    for_seeds("each_suppression_ends_once_and_what_was_told_is_consistent", |chance| {
        let plan = erratic_plan(chance);
        let mut stream = any_stream(chance, &plan);
        add_parents(chance, &mut stream);
        let erratic = Erratic::any(chance);
        hold(plan, stream, &|plan, stream| {
            let run = erratic.run(plan, &with_an_end(plan, stream), WHOLE);
            told_wrongly(plan, &run.events, END_US)
        });
    });
}

#[test]
fn each_event_has_an_id_of_its_own() {
    for_seeds("each_event_has_an_id_of_its_own", |chance| {
        let plan = erratic_plan(chance);
        let mut stream = orderly_stream(chance, &plan);
        add_parents(chance, &mut stream);
        let erratic = Erratic::any(chance);
        hold(plan, stream, &|plan, stream| {
            let run = erratic.run(plan, stream, WHOLE);
            let mut ids: BTreeMap<&str, &Event> = BTreeMap::new();
            run.events.iter().find_map(|event| {
                let before = ids.insert(&event.id, event)?;
                Some(format!("one id for two:\n{before:?}\n{event:?}"))
            })
        });
    });
}
