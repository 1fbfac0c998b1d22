//! Random plans and streams: few keys, few states and small times, so that everything collides.

use stillhouse_core::Plan;
use stillhouse_core::columns::outcome;
use stillhouse_core::level::{Bound, Bounds, LevelPlan};
use stillhouse_core::plan::{Against, ConfirmPlan, DampingPlan, DedupePlan, FlappingPlan, Mode, TypePlan, Weights};
use stillhouse_core::window::{Shape, WindowPlan};

use crate::chance::Chance;
use crate::plans::{DOWN, GONE, SLOW, UP, plan, type_plan};
use crate::stream::{Item, Signal, Stream};

/// A plan with all knobs turned at random.
pub fn any_plan(chance: &mut Chance) -> Plan {
    let types = (0..chance.between(1, 2)).map(|number| any_type(chance, &format!("type.{number}"))).collect();
    let mut plan = plan(types);
    plan.order.allowed_lateness_us = chance.pick(&[0, 0, 3, 10, 40]);
    if chance.percent(20) {
        // Exact only for what comes in order: see `ids_are_remembered_by_event_time`.
        plan.order.id_window_us = chance.pick(&[0, 5, 50]);
    }
    plan
}

fn any_type(chance: &mut Chance, name: &str) -> TypePlan {
    let mut plan = type_plan(name);
    if chance.percent(20) {
        plan.mode = Mode::Occurrence;
    } else if chance.percent(30) {
        plan.mode = Mode::Window(any_window(chance));
    }
    plan.hold_down_us = chance.pick(&[0, 1, 5, 20, 60]);
    plan.hold_open_us = chance.pick(&[0, 1, 5, 20, 60]);
    if chance.percent(50) {
        plan.clear_after_us[DOWN as usize] = Some(chance.pick(&[1, 7, 30, 80]));
    }
    if chance.percent(30) {
        plan.clear_after_us[SLOW as usize] = Some(chance.pick(&[1, 7, 30, 80]));
    }
    plan.forget_after_us = chance.pick(&[5, 30, 100, 1_000_000]);
    if chance.percent(40) {
        let against = chance.pick(&[Against::Any, Against::Last]);
        plan.dedupe = Some(DedupePlan { window_us: chance.pick(&[0, 2, 10, 50]), against });
    }
    if chance.percent(50) {
        let high_mpct = chance.pick(&[4_000, 10_000, 20_000, 50_000]);
        let low_mpct = high_mpct - chance.pick(&[0, 1, 1_000, 3_000]);
        let quiet_us = chance.pick(&[None, Some(3), Some(20), Some(60)]);
        let weights = chance.pick(&[Weights::Nagios, Weights::Nagios, Weights::Icinga]);
        plan.flapping = Some(FlappingPlan { weights, high_mpct, low_mpct, quiet_us });
    }
    if plan.mode == Mode::State {
        turn_state(chance, &mut plan);
    }
    plan
}

/// Turns the knobs of states that last.
fn turn_state(chance: &mut Chance, plan: &mut TypePlan) {
    if chance.percent(30) {
        plan.confirm = Some(any_confirm(chance));
    }
    if chance.percent(20) {
        plan.level = Some(any_level(chance));
    }
    if chance.percent(20) {
        plan.spread = Some(chance.pick(&[2, 3]));
    }
    if plan.flapping.is_none() && chance.percent(40) {
        plan.damping = Some(any_damping(chance));
    }
    let may_be_silent = plan.flapping.is_none_or(|flapping| flapping.quiet_us.is_some());
    if may_be_silent && chance.percent(30) {
        let silent_us = chance.pick(&[1, 7, 30, 80]);
        plan.silent_after_us = Some(silent_us);
        plan.clear_after_us.fill(None);
        plan.forget_after_us = plan.forget_after_us.max(silent_us + chance.pick(&[1, 20]));
    }
}

fn any_level(chance: &mut Chance) -> LevelPlan {
    let high = Bound { enter: 20.0, leave: chance.pick(&[20.0, 15.0, 10.0]) };
    let low = Bound { enter: 5.0, leave: chance.pick(&[5.0, 10.0]) };
    let (high, low) = chance.pick(&[(Some(high), None), (None, Some(low)), (Some(high), Some(low))]);
    let bounds = Bounds::Fixed { high, low };
    LevelPlan { normal: UP, high: DOWN, low: chance.pick(&[SLOW, DOWN]), severity: 2, smooth_us: 0, bounds }
}

/// Marks that can be reached: the ceiling is not below the cut, and sometimes just there.
fn any_damping(chance: &mut Chance) -> DampingPlan {
    let half_life_us = chance.pick(&[1, 5, 20, 100]);
    let reuse = chance.pick(&[125, 300, 499]);
    let times = chance.pick(&[2_u32, 4, 8]);
    let ceiling_us = half_life_us * i64::from(times.ilog2());
    DampingPlan {
        half_life_us,
        cut: chance.pick(&[reuse + 1, reuse * 2, reuse * times - 1, reuse * times]),
        reuse,
        max_suppress_us: ceiling_us + chance.pick(&[0, 0, 1, 100]),
        down: chance.pick(&[0, 700, 1000]),
        up: chance.pick(&[0, 300, 1000]),
        change: chance.pick(&[1, 500]),
    }
}

fn any_confirm(chance: &mut Chance) -> ConfirmPlan {
    let count = chance.between(1, 4) as u8;
    let within_us = chance.pick(&[0, 3, 15, 60]);
    match chance.below(3) {
        0 => ConfirmPlan::Last { count, of: count + chance.between(0, 3) as u8 },
        1 => ConfirmPlan::Within { count, within_us },
        _ => ConfirmPlan::Sources { count: count.min(3), within_us },
    }
}

fn any_window(chance: &mut Chance) -> WindowPlan {
    let every_us = chance.pick(&[1, 5, 20]);
    let size_us = every_us * chance.pick(&[1, 2, 3, 7]);
    let max_us = size_us * chance.pick(&[1, 2, 5, 1_000]) + chance.pick(&[0, 0, 3]);
    let shape = match chance.below(3) {
        0 => Shape::Session { gap_us: size_us, max_us },
        1 => Shape::Tumbling { size_us },
        _ => Shape::Sliding { size_us, every_us, max_us },
    };
    let count = chance.pick(&[1, 1, 2, 3, 5]);
    let (sources, values) = (chance.pick(&[0, 0, 0, 1, 2]), chance.pick(&[0, 0, 0, 1]));
    WindowPlan { shape, count, sources, values, early: chance.percent(50) }
}

/// A stream with everything that the model knows.
pub fn any_stream(chance: &mut Chance, plan: &Plan) -> Stream {
    let sources: Vec<String> = (0..chance.between(1, 3)).map(|number| format!("s{number}")).collect();
    let count = chance.pick(&[3, 6, 12, 30, 80]);
    let step_us = chance.pick(&[0, 1, 3, 10, 25]);
    let disorder_us = chance.pick(&[0, plan.order.allowed_lateness_us, 2 * plan.order.allowed_lateness_us + 5]);
    let duplicates = chance.pick(&[0, 10, 40]);
    let unusable = chance.pick(&[0, 5, 30]);
    let mut items = Vec::new();
    let mut base_us = 100;
    let mut running = sources.len();
    for number in 0..count {
        base_us += chance.between(0, 2 * step_us);
        let mut signal = any_signal(chance, plan, running, number);
        signal.time_us = base_us - chance.between(0, disorder_us);
        if chance.percent(unusable) {
            signal.outcome = chance.pick(&[outcome::DROPPED, outcome::REJECTED, outcome::FAILED]);
        }
        if chance.percent(duplicates) && !items.is_empty() {
            again(chance, &mut signal, &items, running);
        }
        items.push(Item::Signal(signal));
        if running > 1 && chance.percent(2) {
            running -= 1;
            items.push(Item::SourceEnded(running as u32));
        }
    }
    Stream { sources, items, ended: chance.percent(60) }
}

/// Turns the knobs that bound the order, too low for what is to come.
pub fn tighten(chance: &mut Chance, plan: &mut Plan) {
    plan.order.pending_max = chance.pick(&[1, 2, 5, 20, 1_000]) as u64;
    plan.order.ids_max = chance.pick(&[2, 4, 20, 1_000]) as usize;
    plan.order.id_window_us = chance.pick(&[0, 50, 5_000, 1_000_000]);
    plan.order.allowed_lateness_us = chance.pick(&[0, 10, 2_000]);
    plan.order.idle_after_us = chance.pick(&[None, Some(1), Some(100), Some(3_000)]);
}

/// Spreads the times of a stream over many milliseconds and lets a clock tick in between.
pub fn let_tick(chance: &mut Chance, stream: &mut Stream) {
    let stretch = chance.pick(&[1, 20, 100]);
    let mut now_us = 0;
    let mut items = Vec::new();
    for mut item in std::mem::take(&mut stream.items) {
        if let Item::Signal(signal) = &mut item {
            signal.time_us *= stretch;
            now_us = signal.time_us.max(now_us);
        }
        items.push(item);
        if chance.percent(30) {
            items.push(Item::Tick(now_us + chance.between(-50, 500)));
        }
    }
    stream.items = items;
}

/// A stream of signals that all differ in id and rank, in the order of their times.
pub fn orderly_stream(chance: &mut Chance, plan: &Plan) -> Stream {
    let sources: Vec<String> = (0..chance.between(1, 3)).map(|number| format!("s{number}")).collect();
    let count = chance.pick(&[6, 12, 30, 80]);
    let step_us = chance.pick(&[0, 1, 3, 10]);
    let unusable = chance.pick(&[0, 5, 30]);
    let mut time_us = 100;
    let mut items = Vec::new();
    for number in 0..count {
        time_us += chance.between(0, 2 * step_us);
        let mut signal = any_signal(chance, plan, sources.len(), number);
        signal.time_us = time_us;
        signal.rank = number as u64;
        if chance.percent(unusable) {
            signal.outcome = chance.pick(&[outcome::DROPPED, outcome::REJECTED]);
        }
        items.push(Item::Signal(signal));
    }
    Stream { sources, items, ended: true }
}

fn any_signal(chance: &mut Chance, plan: &Plan, sources: usize, number: i64) -> Signal {
    let signal_type = chance.below(plan.types.len());
    let values: &[&str] = match plan.types[signal_type].level {
        Some(_) => &["4", "5", "9.5", "10", "10.5", "15", "18", "20", "20.5", " 30 ", "much", ""],
        None => &["", "", "", "v"],
    };
    Signal {
        source: chance.below(sources) as u32,
        time_us: 0,
        rank: chance.pick(&[0, 0, number as u64]),
        id: format!("e{number}"),
        has_id: chance.percent(80),
        signal_type: signal_type as u16,
        outcome: outcome::OBSERVED,
        key: chance.pick(&["k", "k", "l", "m"]).into(),
        state: chance.pick(&[UP, UP, UP, UP, DOWN, DOWN, DOWN, SLOW, SLOW, GONE]),
        value: chance.pick(values).into(),
        severity: chance.between(0, 3) as u8,
    }
}

/// Makes a signal one that was there before, from the same source or another, sometimes changed.
fn again(chance: &mut Chance, signal: &mut Signal, items: &[Item], running: usize) {
    let Item::Signal(before) = &items[chance.below(items.len())] else { return };
    let now = signal.clone();
    *signal = before.clone();
    if chance.percent(50) {
        signal.time_us = now.time_us;
    }
    if chance.percent(30) || signal.source as usize >= running {
        signal.source = now.source;
    }
    if chance.percent(20) {
        (signal.state, signal.value) = (now.state, now.value);
    }
}
