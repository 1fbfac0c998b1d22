//! Properties of the core on random plans and streams.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use stillhouse_core::Plan;
use stillhouse_core::plan::TypePlan;

use crate::chance::Chance;
use crate::generate::{any_plan, any_stream, let_tick, orderly_stream, tighten};
use crate::model::{record_of, say};
use crate::stream::{Division, Item, Run, Stream, WHOLE, run};

const SEEDS_DEFAULT: u64 = 6_000;

/// Runs a property on `SEEDS` seeds, or on `SEED` alone, and names the seed that breaks it.
pub fn for_seeds(property: &str, check: impl Fn(&mut Chance)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS_DEFAULT),
    };
    for seed in seeds {
        let checked = catch_unwind(AssertUnwindSafe(|| check(&mut Chance::new(seed))));
        if let Err(panic) = checked {
            eprintln!("to see it again: SEED={seed} cargo test --release -p stillhouse-tests {property}");
            resume_unwind(panic);
        }
    }
}

fn told(stream: &Stream) -> String {
    let mut text = format!("sources {:?}, ended {}\n", stream.sources, stream.ended);
    for item in &stream.items {
        text.push_str(&match item {
            Item::Signal(s) => format!(
                "  source {} time {} rank {} id {} ({}) type {} outcome {} key {} state {} value {:?} severity {}\n",
                s.source,
                s.time_us,
                s.rank,
                s.id,
                s.has_id,
                s.signal_type,
                s.outcome,
                s.key,
                s.state,
                s.value,
                s.severity
            ),
            other => format!("  {other:?}\n"),
        });
    }
    text
}

/// What is wrong with a plan and a stream; `None` if nothing.
pub type Difference<'a> = &'a dyn Fn(&Arc<Plan>, &Stream) -> Option<String>;

/// Panics with the least stream that shows the difference, if there is one.
pub fn hold(plan: Plan, stream: Stream, difference: Difference<'_>) {
    let plan = Arc::new(plan);
    let difference = |plan: &Arc<Plan>, stream: &Stream| {
        let told = catch_unwind(AssertUnwindSafe(|| difference(plan, stream)));
        told.unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().cloned();
            Some(format!("a panic: {}", said.unwrap_or_default()))
        })
    };
    if difference(&plan, &stream).is_none() {
        return;
    }
    let least = shrunk(&stream, &|stream| difference(&plan, stream).is_some());
    let text = difference(&plan, &least).unwrap_or_default();
    let types: String = plan.types.iter().map(|plan| format!("{}\n", told_plan(plan))).collect();
    panic!("{text}\n{}{:?}\n{types}", told(&least), plan.order);
}

fn told_plan(plan: &TypePlan) -> String {
    format!(
        "{} {:?} down {} open {} clear {:?} silent {:?} forget {} {:?} {:?} {:?} {:?} {:?} spread {:?}",
        plan.name,
        plan.mode,
        plan.hold_down_us,
        plan.hold_open_us,
        plan.clear_after_us,
        plan.silent_after_us,
        plan.forget_after_us,
        plan.dedupe,
        plan.level,
        plan.confirm,
        plan.flapping,
        plan.damping,
        plan.spread
    )
}

/// Takes items out of the stream as long as it is still wrong.
fn shrunk(stream: &Stream, wrong: &dyn Fn(&Stream) -> bool) -> Stream {
    let mut least = stream.clone();
    let mut at = 0;
    while at < least.items.len() {
        let mut fewer = least.clone();
        fewer.items.remove(at);
        if wrong(&fewer) {
            least = fewer;
            at = 0;
        } else {
            at += 1;
        }
    }
    least
}

/// Where two runs differ first.
pub fn between(name: &str, one: &Run, other: &Run) -> Option<String> {
    if one.bytes == other.bytes && one.ledger == other.ledger {
        return None;
    }
    let mut lines = one.bytes.lines().zip(other.bytes.lines());
    let first = lines.find(|(one, other)| one != other);
    let count = (one.events.len(), other.events.len());
    Some(format!("{name}: {count:?} events\n{first:#?}\n{:?}\n{:?}", one.ledger, other.ledger))
}

fn against_model(plan: &Arc<Plan>, stream: &Stream) -> Option<String> {
    let core = run(plan, stream, WHOLE);
    let model = say(plan, stream);
    let records: Vec<_> = core.events.iter().map(record_of).collect();
    if model.unsure || records == model.records && core.ledger == model.ledger {
        return None;
    }
    let mut text = format!("core  {:?}\nmodel {:?}\n", core.ledger, model.ledger);
    for at in 0..records.len().max(model.records.len()) {
        if records.get(at) == model.records.get(at) {
            text.push_str(&format!("same  {:?}\n", records[at]));
        } else {
            text.push_str(&format!("core  {:?}\nmodel {:?}\n", records.get(at), model.records.get(at)));
        }
    }
    Some(text)
}

#[test]
fn core_equals_model() {
    for_seeds("core_equals_model", |chance| {
        let plan = any_plan(chance);
        let stream = any_stream(chance, &plan);
        hold(plan, stream, &against_model);
    });
}

#[test]
fn division_does_not_show() {
    for_seeds("division_does_not_show", |chance| {
        let plan = any_plan(chance);
        let stream = any_stream(chance, &plan);
        hold(plan, stream, &divided);
    });
}

#[test]
fn division_does_not_show_at_the_bounds() {
    for_seeds("division_does_not_show_at_the_bounds", |chance| {
        let mut plan = any_plan(chance);
        let mut stream = any_stream(chance, &plan);
        tighten(chance, &mut plan);
        let_tick(chance, &mut stream);
        hold(plan, stream, &divided);
    });
}

/// Where a division into shards, blocks and calls shows.
pub fn divided(plan: &Arc<Plan>, stream: &Stream) -> Option<String> {
    let whole = run(plan, stream, WHOLE);
    let divisions = [(1, 1, 1), (2, 7, 1), (3, 1024, 1), (8, 1, 3), (2, 1, 9), (3, 7, 100)];
    divisions.into_iter().find_map(|(shards, block_rows, entries)| {
        let division = Division { shards, block_rows, entries };
        let other = run(plan, stream, division);
        assert_eq!(whole.core.bounds(), other.core.bounds(), "{division:?}");
        between(&format!("{division:?}"), &whole, &other)
    })
}

#[test]
fn order_within_lateness_does_not_show() {
    for_seeds("order_within_lateness_does_not_show", |chance| {
        let mut plan = any_plan(chance);
        plan.order.allowed_lateness_us = chance.pick(&[1, 5, 40]);
        let stream = orderly_stream(chance, &plan);
        let seed = chance.between(0, i64::MAX - 1) as u64;
        hold(plan, stream, &|plan, stream| {
            let chance = &mut Chance::new(seed);
            let sorted = run(plan, stream, WHOLE);
            let mut shuffled = stream.clone();
            // Who arrives at most the lateness after its time is never late.
            let late_us = plan.order.allowed_lateness_us;
            shuffled.items.sort_by_cached_key(|item| match item {
                Item::Signal(signal) => signal.time_us + Chance::new(seed ^ signal.rank).between(0, late_us),
                _ => unreachable!("only signals"),
            });
            let division = Division {
                shards: chance.pick(&[1, 2, 3, 8]),
                block_rows: chance.pick(&[1, 7, 1024]),
                entries: chance.pick(&[1, 4, 1000]),
            };
            let other = run(plan, &shuffled, division);
            assert_eq!(other.ledger.late, 0, "nothing is late within the allowed lateness");
            between(&format!("{division:?}"), &sorted, &other).map(|text| format!("{text}\n{}", told(&shuffled)))
        });
    });
}
