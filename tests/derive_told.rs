//! Derived events in one line each, and runs that must not depend on how they are divided.

use std::collections::BTreeSet;
use std::sync::Arc;

use stillhouse_core::Plan;
use stillhouse_core::derive::DerivePlan;
use stillhouse_core::event::{BurnWindow, Derived, Member, Trigger};
use stillhouse_core::plan::TypePlan;

use crate::plans::{plan, type_plan};
use crate::stream::{Division, Item, Run, Signal, Stream, WHOLE, run, signal, told};

/// What a derived event says, in one line.
pub fn tell_derived(derived: &Derived) -> String {
    match derived {
        Derived::Incident(data) => {
            let over = data.duration_us.map_or(String::new(), |us| format!(" lasted {us}"));
            let counts = data.counts;
            let counts = format!("now {} ever {} events {}", counts.now, counts.ever, counts.events);
            let members: Vec<String> = data.members.iter().map(tell_member).collect();
            let (name, revision, severity) = (&data.name, data.revision, data.severity);
            format!("{name} r{revision} {severity} since {} {counts}{over}: {}", data.started.0, members.join(", "))
        }
        Derived::Sli(data) => {
            format!("{} {}..{} good {} bad {}", data.objective, data.start.0, data.end.0, data.good, data.bad)
        }
        Derived::Burn(data) => {
            let over = data.duration_us.map_or(String::new(), |us| format!(" lasted {us}"));
            let window = |window: &BurnWindow| format!("{}/{}", window.bad, window.good + window.bad);
            let (long, short) = (window(&data.long), window(&data.short));
            format!("{} over {} {} long {long} short {short}{over}", data.objective, data.over, data.severity)
        }
        Derived::Trigger(Trigger { trigger, withheld, attempt, .. }) => match withheld {
            Some(reason) => format!("{trigger} {reason}"),
            None => format!("{trigger} attempt {}", attempt.expect("an attempt")),
        },
        Derived::Breaker(data) => {
            let until = data.until.map_or(String::new(), |until| format!(" until {}", until.0));
            let reason = data.reason.unwrap_or("quiet");
            format!("{} {reason}{until} since {} withheld {}", data.trigger, data.opened.0, data.withheld)
        }
    }
}

fn tell_member(member: &Member) -> String {
    let ended = member.ended.map_or(String::new(), |ended| format!("..{}", ended.0));
    format!("{}/{} {} {}{ended}", member.signal, member.key, member.state, member.since.0)
}

/// A plan of one type that holds nothing back, with what is derived.
pub fn deriving(derive: DerivePlan) -> Plan {
    deriving_of(vec![type_plan("probe")], derive)
}

pub fn deriving_of(types: Vec<TypePlan>, derive: DerivePlan) -> Plan {
    Plan { derive, ..plan(types) }
}

/// Signals: time, key, state. The severity is 1 for `slow` and 2 for `down`.
pub fn seen(observations: &[(i64, &str, u8)]) -> Vec<Signal> {
    let each = observations.iter().enumerate();
    let severity = |state| [0, 2, 1, 0][usize::from(state)];
    let signal = |(at, &(time_us, key, state)): (usize, &(i64, &str, u8))| Signal {
        severity: severity(state),
        rank: at as u64,
        ..signal(time_us, &format!("e{at}"), key, state, "")
    };
    each.map(signal).collect()
}

/// Runs it divided in many ways and expects the same of all.
pub fn divided(plan: &Arc<Plan>, stream: &Stream) -> Run {
    let whole = run(plan, stream, WHOLE);
    for (shards, block_rows, entries) in [(1, 1, 1), (2, 1, 1), (3, 7, 1), (1, 7, 2), (3, 1, 3), (2, 1 << 20, 1)] {
        let division = Division { shards, block_rows, entries };
        let other = run(plan, stream, division);
        assert_eq!(told(&whole.events), told(&other.events), "{division:?}");
        assert_eq!(whole.bytes, other.bytes, "{division:?}");
        assert_eq!((whole.ledger, whole.core.bounds()), (other.ledger, other.core.bounds()), "{division:?}");
    }
    whole
}

/// Runs it divided in many ways, and compares all events but the changes of single entities.
pub fn check(plan: Plan, stream: &Stream, expected: &[&str]) -> Run {
    let run = divided(&Arc::new(plan), stream);
    let derived: Vec<String> = told(&run.events).into_iter().filter(|line| !is_of_entity(line)).collect();
    assert_eq!(derived, expected);
    let ids: BTreeSet<&str> = run.events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids.len(), run.events.len(), "ids are unique");
    run
}

fn is_of_entity(line: &str) -> bool {
    line.split(' ')
        .nth(1)
        .is_some_and(|kind| ["state", "flapping", "window"].contains(&kind.split('.').next().unwrap_or_default()))
}

/// A stream of one source, to its end at `end_us`, where something is seen that nothing is made of.
pub fn until(end_us: i64, observations: &[(i64, &str, u8)]) -> Stream {
    let mut stream = Stream::of(seen(observations));
    stream.items.push(Item::Signal(signal(end_us, "end", "unheard", crate::plans::GONE, "")));
    stream
}
