//! Properties of evidence, silence, damping and spread, together and with everything else.

use std::sync::Arc;

use stillhouse_core::Plan;
use stillhouse_core::plan::{ConfirmPlan, Mode};

use crate::chance::Chance;
use crate::generate::{any_plan, any_stream, let_tick, tighten};
use crate::plans::UP;
use crate::properties::{between, divided, for_seeds, hold};
use crate::stream::{Item, Stream, WHOLE, run, signal};

fn any(chance: &mut Chance) -> (Plan, Stream) {
    let plan = any_plan(chance);
    let stream = any_stream(chance, &plan);
    (plan, stream)
}

#[test]
fn division_does_not_show_with_any_operator() {
    for_seeds("division_does_not_show_with_any_operator", |chance| {
        let (mut plan, mut stream) = any(chance);
        if chance.percent(30) {
            tighten(chance, &mut plan);
            let_tick(chance, &mut stream);
        }
        hold(plan, stream, &divided);
    });
}

#[test]
fn nothing_waits_for_ever() {
    for_seeds("nothing_waits_for_ever", |chance| {
        let (mut plan, mut stream) = any(chance);
        for plan in &mut plan.types {
            if plan.silent_after_us.is_none() {
                plan.clear_after_us.fill(Some(40));
            }
            if let Some(flapping) = &mut plan.flapping {
                flapping.quiet_us.get_or_insert(50);
            }
        }
        let far_us = 1_000_000_000;
        let sources = 0..stream.sources.len() as u32;
        stream.items.extend(sources.map(|source| {
            let mut far = signal(far_us, &format!("far{source}"), "far", UP, "");
            far.source = source;
            Item::Signal(far)
        }));
        stream.ended = true;
        hold(plan, stream, &|plan, stream| {
            let open = run(plan, stream, WHOLE).ledger.open;
            // The shrunk stream may have lost its end.
            let ends = stream.signals().any(|signal| signal.time_us == far_us);
            (ends && open > 0).then(|| format!("{open} signals are still open"))
        });
    });
}

#[test]
fn one_of_the_last_one_is_what_it_would_be_without() {
    for_seeds("one_of_the_last_one_is_what_it_would_be_without", |chance| {
        let (mut plan, stream) = any(chance);
        plan.types.iter_mut().for_each(|plan| plan.confirm = None);
        hold(plan, stream, &|plan, stream| {
            let mut confirmed = Plan::clone(plan);
            let states = confirmed.types.iter_mut().filter(|plan| plan.mode == Mode::State);
            states.for_each(|plan| plan.confirm = Some(ConfirmPlan::Last { count: 1, of: 1 }));
            let without = run(plan, stream, WHOLE);
            between("without and with", &without, &run(&Arc::new(confirmed), stream, WHOLE))
        });
    });
}
