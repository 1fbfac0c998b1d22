//! The oracle of windows: all problems of an entity are laid out in time, and each window is looked
//! at by itself, whether anything is in it or not.

use std::collections::BTreeSet;

use stillhouse_core::event::severity_name;
use stillhouse_core::window::{Shape, WindowPlan};

use crate::model::{BY_SIGNAL, BY_TIMER, Record, window_text};
use crate::stream::Signal;

/// What the windows of one entity came to.
#[derive(Default)]
pub struct Said {
    /// Time, phase, the signals that are settled with it, and what it says.
    pub results: Vec<(i64, u8, u64, Record)>,
    pub blips: u64,
    pub open: u64,
}

/// What `signals`, all problems of one entity in order, come to up to `to_us`.
pub fn say(plan: &WindowPlan, signals: &[Signal], to_us: i64) -> Said {
    let mut said = Said::default();
    match plan.shape {
        Shape::Session { gap_us, max_us } => {
            let mut sessions: Vec<(i64, i64, Vec<&Signal>)> = Vec::new();
            for signal in signals {
                if sessions.last().is_none_or(|session| session.1 <= signal.time_us) {
                    sessions.push((signal.time_us, 0, Vec::new()));
                }
                let session = sessions.last_mut().expect("one was just begun");
                session.1 = (signal.time_us + gap_us).min(session.0 + max_us);
                session.2.push(signal);
            }
            sessions.into_iter().for_each(|(start, end, members)| one(plan, &mut said, (start, end), &members, to_us));
        }
        Shape::Tumbling { size_us } => {
            let starts: BTreeSet<i64> =
                signals.iter().map(|signal| signal.time_us.div_euclid(size_us) * size_us).collect();
            for start in starts {
                let span = (start, start + size_us);
                one(plan, &mut said, span, &between(signals, span), to_us);
            }
        }
        Shape::Sliding { size_us, every_us, max_us } => {
            slide(plan, &mut said, signals, (size_us, every_us, max_us), to_us);
        }
    }
    said
}

fn between(signals: &[Signal], (start, end): (i64, i64)) -> Vec<&Signal> {
    signals.iter().filter(|signal| start <= signal.time_us && signal.time_us < end).collect()
}

fn distinct(members: &[&Signal]) -> (usize, usize) {
    let sources: BTreeSet<u32> = members.iter().map(|signal| signal.source).collect();
    let values: BTreeSet<&str> =
        members.iter().map(|signal| &*signal.value).filter(|value| !value.is_empty()).collect();
    (sources.len(), values.len())
}

fn is_met(plan: &WindowPlan, members: &[&Signal]) -> bool {
    let (sources, values) = distinct(members);
    members.len() as u64 >= plan.count && sources >= plan.sources && values >= plan.values
}

/// A window of its own.
fn one(plan: &WindowPlan, said: &mut Said, span: (i64, i64), members: &[&Signal], to_us: i64) {
    let met = (1..=members.len()).find(|&count| is_met(plan, &members[..count]));
    let early = met.filter(|_| plan.early);
    if let Some(count) = early {
        said.results.push(opened(plan, span.0, &members[..count]));
    }
    let signals = members.len() as u64;
    match met {
        _ if span.1 > to_us => said.open += signals,
        Some(_) => said.results.push(closed(plan, span.1, span, early.is_some(), signals, members)),
        None => said.blips += signals,
    }
}

/// Every window that may have a signal in it, one after the other.
fn slide(plan: &WindowPlan, said: &mut Said, signals: &[Signal], lengths: (i64, i64, i64), to_us: i64) {
    let (size_us, every_us, max_us) = lengths;
    let (Some(first), Some(last)) = (signals.first(), signals.last()) else { return };
    // What was told at the bound is not looked at again.
    let mut anew_us = i64::MIN;
    let mut told: BTreeSet<*const Signal> = BTreeSet::new();
    let mut early = false;
    let mut run_us = None;
    let mut end_us = first.time_us.div_euclid(every_us) * every_us;
    while end_us <= last.time_us + size_us + every_us {
        end_us += every_us;
        let from_us = (end_us - size_us).max(anew_us);
        let in_pane = between(signals, (end_us - every_us, end_us)).len();
        let members = between(signals, (from_us, end_us));
        for count in members.len() - in_pane + 1..=members.len() {
            if plan.early && !early && run_us.is_none() && is_met(plan, &members[..count]) {
                said.results.push(opened(plan, end_us - size_us, &members[..count]));
                early = true;
            }
        }
        if end_us > to_us {
            break;
        }
        let met = is_met(plan, &members);
        let start_us = match run_us {
            None if met => *run_us.insert(end_us - size_us),
            None => continue,
            Some(start_us) => start_us,
        };
        let at_bound = met && end_us + every_us > start_us + max_us;
        if met && !at_bound {
            continue;
        }
        let span = (start_us, if met { end_us } else { end_us - every_us });
        let members = between(signals, (span.0.max(anew_us), span.1));
        let new = members.iter().filter(|signal| told.insert(std::ptr::from_ref(**signal))).count();
        said.results.push(closed(plan, end_us, span, early, new as u64, &members));
        (run_us, early) = (None, false);
        if at_bound {
            anew_us = end_us;
        }
    }
    for signal in signals.iter().filter(|signal| !told.contains(&std::ptr::from_ref(*signal))) {
        let last_us = signal.time_us.div_euclid(every_us) * every_us + size_us;
        let in_run = run_us.is_some_and(|start_us| start_us <= signal.time_us);
        if last_us <= to_us && !in_run { said.blips += 1 } else { said.open += 1 }
    }
}

fn opened(plan: &WindowPlan, start_us: i64, members: &[&Signal]) -> (i64, u8, u64, Record) {
    let time_us = members.last().expect("a window that is met has a signal").time_us;
    (time_us, BY_SIGNAL, 0, record(plan, "stillhouse.window.opened", start_us, None, 1, members))
}

fn closed(
    plan: &WindowPlan,
    time_us: i64,
    (start_us, end_us): (i64, i64),
    early: bool,
    signals: u64,
    members: &[&Signal],
) -> (i64, u8, u64, Record) {
    let revision = if early { 2 } else { 1 };
    let record = record(plan, "stillhouse.window.closed", start_us, Some(end_us), revision, members);
    (time_us, BY_TIMER, signals, record)
}

fn record(
    plan: &WindowPlan,
    kind: &str,
    start_us: i64,
    end_us: Option<i64>,
    revision: u32,
    members: &[&Signal],
) -> Record {
    let name = match plan.shape {
        Shape::Session { .. } => "session",
        Shape::Tumbling { .. } => "tumbling",
        Shape::Sliding { .. } => "sliding",
    };
    let (sources, values) = distinct(members);
    let severity = members.iter().map(|signal| signal.severity).max().unwrap_or(0);
    Record {
        kind: kind.into(),
        since_us: Some(start_us),
        inputs: members.len() as u64,
        severity: Some(severity_name(severity).into()),
        first: members.first().map(|signal| signal.id.clone()),
        last: members.last().map(|signal| signal.id.clone()),
        window: Some(window_text(name, end_us, sources, values, revision)),
        ..Record::default()
    }
}
