//! Properties of evidence, silence, damping and spread, together and with everything else.

use std::sync::Arc;

use stillhouse_core::Plan;
use stillhouse_core::plan::{ConfirmPlan, DampingPlan, Mode, TypePlan, Weights};

use crate::chance::Chance;
use crate::generate::{any_plan, any_stream, let_tick, tighten};
use crate::plans::UP;
use crate::properties::{between, divided, for_seeds, hold};
use crate::stream::{Item, Stream, WHOLE, run, signal};

/// Turns the knobs of a type that not every type has.
fn turn(chance: &mut Chance, plan: &mut TypePlan) {
    if plan.mode != Mode::State {
        return;
    }
    plan.confirm = any_confirm(chance);
    if chance.percent(40) {
        plan.clear_after_us.fill(None);
        plan.silent_after_us = Some(chance.pick(&[1, 7, 30, 80]));
    }
    if chance.percent(30) {
        plan.spread = Some(chance.pick(&[1, 2, 3]));
    }
    if let Some(flapping) = plan.flapping.as_mut().filter(|_| chance.percent(50)) {
        flapping.weights = Weights::Icinga;
    } else if chance.percent(40) {
        plan.flapping = None;
        plan.damping = Some(DampingPlan {
            half_life_us: chance.pick(&[1, 5, 20, 100]),
            cut: chance.pick(&[500, 1000, 2000]),
            reuse: chance.pick(&[1, 100, 499]),
            max_suppress_us: chance.pick(&[40, 200]),
            down: 1000,
            up: chance.pick(&[0, 300]),
            change: 500,
        });
    }
}

fn any_confirm(chance: &mut Chance) -> Option<ConfirmPlan> {
    let count = chance.between(1, 4) as u8;
    let within_us = chance.pick(&[0, 3, 15, 60]);
    match chance.below(4) {
        0 => None,
        1 => Some(ConfirmPlan::Last { count, of: count + chance.between(0, 3) as u8 }),
        2 => Some(ConfirmPlan::Within { count, within_us }),
        _ => Some(ConfirmPlan::Sources { count: count.min(3), within_us }),
    }
}

fn any(chance: &mut Chance) -> (Plan, Stream) {
    let mut plan = any_plan(chance);
    plan.types.iter_mut().for_each(|plan| turn(chance, plan));
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
            confirmed.types.iter_mut().for_each(|plan| plan.confirm = Some(ConfirmPlan::Last { count: 1, of: 1 }));
            let without = run(plan, stream, WHOLE);
            between("without and with", &without, &run(&Arc::new(confirmed), stream, WHOLE))
        });
    });
}
