//! Incidents.

use std::collections::BTreeMap;
use std::sync::Arc;

use stillhouse_core::derive::{By, DerivePlan, IncidentPlan, MEMBERS_MAX};
use stillhouse_core::event::{Data, Derived, Incident};
use stillhouse_core::plan::{FlappingPlan, Mode, Weights};
use stillhouse_core::table::Table;
use stillhouse_core::window::{Shape, WindowPlan};
use stillhouse_core::{Event, Plan};

use crate::derive_told::{check, deriving, deriving_of, divided, until};
use crate::generate::{any_plan, any_stream};
use crate::plans::{DOWN, GONE, SLOW, UP, type_plan};
use crate::properties::{for_seeds, hold};
use crate::stream::{Item, Run, Stream, WHOLE, run, told};

fn incident(change: impl FnOnce(&mut IncidentPlan)) -> IncidentPlan {
    let mut plan = IncidentPlan {
        name: "outage".into(),
        signals: Vec::new(),
        by: By::Prefix("/".into()),
        min_severity: 0,
        open_after_us: 0,
        resolve_after_us: 100,
        update_every_us: 50,
        members_max: 3,
    };
    change(&mut plan);
    plan
}

fn with(change: impl FnOnce(&mut IncidentPlan)) -> Plan {
    deriving(DerivePlan { incidents: vec![incident(change)], ..DerivePlan::default() })
}

fn incidents(run: &Run) -> Vec<(&Event, &Incident)> {
    run.events.iter().filter_map(|event| Some((event, incident_of(event)?))).collect()
}

fn incident_of(event: &Event) -> Option<&Incident> {
    let Data::Derived(derived) = &event.data else { return None };
    match &**derived {
        Derived::Incident(data) => Some(data),
        _ => None,
    }
}

#[test]
fn entities_of_one_group_are_one_incident() {
    let stream = until(
        1_000,
        &[
            (10, "db/a", DOWN),
            (20, "db/b", SLOW),
            (30, "web/a", SLOW),
            (40, "db/b", UP),
            (70, "db/a", UP),
            (500, "db/b", DOWN),
        ],
    );
    let run = check(
        with(|_| ()),
        &stream,
        &[
            "10 incident.opened db outage r1 error since 10 now 1 ever 1 events 1: probe/db/a down 10",
            "30 incident.opened web outage r1 warning since 30 now 1 ever 1 events 1: probe/web/a slow 30",
            "60 incident.updated db outage r2 error since 10 now 1 ever 2 events 3: \
         probe/db/a down 10, probe/db/b up 20..40",
            "110 incident.updated db outage r3 error since 10 now 0 ever 2 events 4: \
         probe/db/a up 10..70, probe/db/b up 20..40",
            "170 incident.resolved db outage r4 error since 10 now 0 ever 2 events 4 lasted 60: \
         probe/db/a up 10..70, probe/db/b up 20..40",
            "500 incident.opened db outage r1 error since 500 now 1 ever 1 events 1: probe/db/b down 500",
        ],
    );
    let of_db: Vec<_> = incidents(&run).into_iter().filter(|(_, data)| &*data.group == "db").collect();
    for pair in of_db[..4].windows(2) {
        assert_eq!(pair[1].1.supersedes.as_deref(), Some(&*pair[0].0.id), "each supersedes the one before");
        assert_eq!(pair[1].1.incident, pair[0].1.incident);
    }
    assert_ne!(of_db[4].1.incident, of_db[3].1.incident, "another incident has another id");
    assert_eq!(of_db[4].1.supersedes, None);
    let cause = run.events.iter().find(|event| event.kind == "stillhouse.state.changed").expect("a change");
    assert_eq!(of_db[0].1.members[0].event, cause.id.as_str().into(), "members name the event that says so");
}

#[test]
fn an_incident_is_resolved_exactly_after_its_quiet_time() {
    let opened = "10 incident.opened db outage r1 error since 10 now 1 ever 1 events 1: probe/db/a down 10";
    let calm = "60 incident.updated db outage r2 error since 10 now 0 ever 1 events 2: probe/db/a up 10..20";
    let over =
        "120 incident.resolved db outage r3 error since 10 now 0 ever 1 events 2 lasted 10: probe/db/a up 10..20";
    let seen = |again_us| until(130, &[(10, "db/a", DOWN), (20, "db/a", UP), (again_us, "db/a", DOWN)]);
    let again = "120 incident.opened db outage r1 error since 120 now 1 ever 1 events 1: probe/db/a down 120";
    check(with(|_| ()), &seen(120), &[opened, calm, over, again]);
    // One microsecond earlier it is the same incident.
    let same = "119 incident.updated db outage r3 error since 10 now 1 ever 1 events 3: probe/db/a down 10";
    check(with(|_| ()), &seen(119), &[opened, calm, same]);
}

#[test]
fn an_incident_that_does_not_last_is_not_opened() {
    let lasting = |plan: &mut IncidentPlan| plan.open_after_us = 20;
    check(with(lasting), &until(50, &[(10, "db/a", DOWN), (29, "db/a", UP)]), &[]);
    let members = until(100, &[(10, "db/a", DOWN), (20, "db/b", DOWN), (29, "db/a", UP), (30, "db/b", UP)]);
    check(
        with(lasting),
        &members,
        &[
            "30 incident.opened db outage r1 error since 10 now 1 ever 2 events 3: \
         probe/db/a up 10..29, probe/db/b down 20",
            "80 incident.updated db outage r2 error since 10 now 0 ever 2 events 4: \
         probe/db/a up 10..29, probe/db/b up 20..30",
        ],
    );
}

#[test]
fn what_is_less_severe_does_not_count() {
    let severe = |plan: &mut IncidentPlan| {
        plan.min_severity = 2;
        plan.resolve_after_us = 0;
    };
    let stream = until(50, &[(10, "db/a", SLOW), (20, "db/a", DOWN), (30, "db/a", SLOW)]);
    check(
        with(severe),
        &stream,
        &[
            "20 incident.opened db outage r1 error since 20 now 1 ever 1 events 1: probe/db/a down 20",
            "30 incident.resolved db outage r2 error since 20 now 0 ever 1 events 2 lasted 10: probe/db/a slow 20..30",
        ],
    );
}

#[test]
fn only_the_named_signal_types_count() {
    let named = incident(|plan| plan.signals = vec!["link".into()]);
    let derive = DerivePlan { incidents: vec![named], ..DerivePlan::default() };
    let mut stream = until(50, &[(10, "db/a", DOWN), (20, "db/a", DOWN)]);
    let Item::Signal(second) = &mut stream.items[1] else { panic!("a signal") };
    second.signal_type = 1;
    check(
        deriving_of(vec![type_plan("probe"), type_plan("link")], derive),
        &stream,
        &["20 incident.opened db outage r1 error since 20 now 1 ever 1 events 1: link/db/a down 20"],
    );
}

#[test]
fn flapping_is_trouble_and_so_is_what_it_ends_in() {
    let mut probe = type_plan("probe");
    probe.flapping = Some(FlappingPlan { weights: Weights::Nagios, high_mpct: 6_250, low_mpct: 0, quiet_us: Some(10) });
    let derive = DerivePlan { incidents: vec![incident(|plan| plan.update_every_us = 0)], ..DerivePlan::default() };
    let stream = until(200, &[(0, "db/a", UP), (1, "db/a", DOWN), (5, "db/a", DOWN)]);
    check(
        deriving_of(vec![probe], derive),
        &stream,
        &[
            "1 incident.opened db outage r1 error since 1 now 1 ever 1 events 1: probe/db/a flapping 1",
            "15 incident.updated db outage r2 error since 1 now 0 ever 1 events 2: probe/db/a down 1..15",
            "15 incident.updated db outage r3 error since 1 now 1 ever 1 events 3: probe/db/a down 1",
        ],
    );
}

#[test]
fn an_occurrence_is_over_at_once() {
    let mut probe = type_plan("probe");
    probe.mode = Mode::Occurrence;
    let stream = until(200, &[(10, "db/a", DOWN), (90, "db/a", DOWN)]);
    let opened = "10 incident.opened db outage r1 error since 10 now 0 ever 1 events 1: probe/db/a down 10..10";
    let over =
        "190 incident.resolved db outage r2 error since 10 now 0 ever 1 events 2 lasted 80: probe/db/a down 10..90";
    let derive = DerivePlan { incidents: vec![incident(|_| ())], ..DerivePlan::default() };
    check(deriving_of(vec![probe], derive), &stream, &[opened, over]);
}

#[test]
fn a_window_is_trouble_while_it_is_open() {
    let stream = until(200, &[(10, "db/a", DOWN), (15, "db/a", DOWN)]);
    let run = |early| {
        let shape = Shape::Session { gap_us: 10, max_us: 1_000 };
        let mut probe = type_plan("probe");
        probe.mode = Mode::Window(WindowPlan { shape, count: 2, sources: 0, values: 0, early });
        let derive = DerivePlan { incidents: vec![incident(|_| ())], ..DerivePlan::default() };
        told(&divided(&Arc::new(deriving_of(vec![probe], derive)), &stream).events)
            .into_iter()
            .filter(|line| line.contains("incident"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        run(true),
        [
            "15 incident.opened db outage r1 error since 10 now 1 ever 1 events 1: probe/db/a open 10",
            "65 incident.updated db outage r2 error since 10 now 0 ever 1 events 2: probe/db/a closed 10..25",
            "125 incident.resolved db outage r3 error since 10 now 0 ever 1 events 2 lasted 15: probe/db/a closed 10..25",
        ]
    );
    assert_eq!(
        run(false),
        [
            "25 incident.opened db outage r1 error since 10 now 0 ever 1 events 1: probe/db/a closed 10..25",
            "125 incident.resolved db outage r2 error since 10 now 0 ever 1 events 1 lasted 15: probe/db/a closed 10..25",
        ]
    );
}

#[test]
fn an_entity_that_is_gone_has_recovered() {
    let stream = until(200, &[(10, "db/a", DOWN), (20, "db/a", GONE)]);
    check(
        with(|plan| plan.update_every_us = 500),
        &stream,
        &[
            "10 incident.opened db outage r1 error since 10 now 1 ever 1 events 1: probe/db/a down 10",
            "120 incident.resolved db outage r2 error since 10 now 0 ever 1 events 2 lasted 10: probe/db/a gone 10..20",
        ],
    );
}

/// A table that says of `n1` that it belongs to a service.
fn topology(service: &str) -> Item {
    let rows = [("n1".into(), vec![service.into()])].into_iter().collect();
    let columns = vec!["service".into()];
    Item::Table(Arc::new(Table { name: "topology".into(), digest: "".into(), columns, rows }))
}

#[test]
fn a_table_tells_the_group_and_who_is_in_trouble_stays_in_it() {
    let by_service = |plan: &mut IncidentPlan| {
        plan.by = By::Table { name: "topology".into(), column: "service".into() };
        plan.resolve_after_us = 0;
    };
    let mut stream = until(100, &[(10, "n1", DOWN), (15, "n2", DOWN), (20, "n1", UP), (30, "n1", DOWN)]);
    stream.items.insert(0, topology("shop"));
    // It comes at the watermark 10, so it counts for what is decided after it.
    stream.items.insert(2, topology("bank"));
    check(
        with(by_service),
        &stream,
        &[
            "10 incident.opened shop outage r1 error since 10 now 1 ever 1 events 1: probe/n1 down 10",
            "15 incident.opened n2 outage r1 error since 15 now 1 ever 1 events 1: probe/n2 down 15",
            "20 incident.resolved shop outage r2 error since 10 now 0 ever 1 events 2 lasted 10: probe/n1 up 10..20",
            "30 incident.opened bank outage r1 error since 30 now 1 ever 1 events 1: probe/n1 down 30",
        ],
    );
}

#[test]
fn a_table_that_comes_at_a_time_does_not_count_for_timers_of_that_time() {
    let by_service =
        |plan: &mut IncidentPlan| plan.by = By::Table { name: "topology".into(), column: "service".into() };
    let mut plan = with(by_service);
    plan.types[0].hold_down_us = 20;
    let mut stream = until(100, &[(10, "n1", DOWN), (30, "n2", DOWN)]);
    stream.items.insert(0, topology("shop"));
    stream.items.insert(3, topology("bank"));
    check(
        plan,
        &stream,
        &[
            "30 incident.opened shop outage r1 error since 10 now 1 ever 1 events 1: probe/n1 down 10",
            "50 incident.opened n2 outage r1 error since 30 now 1 ever 1 events 1: probe/n2 down 30",
        ],
    );
}

#[test]
fn events_list_the_first_members_and_count_all() {
    let keys: Vec<String> = (0..9).map(|number| format!("db/{number}")).collect();
    let observations: Vec<_> = keys.iter().map(|key| (10, key.as_str(), DOWN)).collect();
    let all = |plan: &mut IncidentPlan| plan.by = By::All;
    check(
        with(all),
        &until(60, &observations),
        &[
            "10 incident.opened all outage r1 error since 10 now 1 ever 1 events 1: probe/db/0 down 10",
            "60 incident.updated all outage r2 error since 10 now 9 ever 9 events 9: \
         probe/db/0 down 10, probe/db/1 down 10, probe/db/2 down 10",
        ],
    );
}

#[test]
fn at_the_bound_of_members_new_ones_are_counted() {
    let keys: Vec<String> = (0..MEMBERS_MAX + 2).map(|number| format!("{number:06}")).collect();
    let observations: Vec<_> = keys.iter().map(|key| (10, key.as_str(), DOWN)).collect();
    let plan = with(|plan| plan.by = By::All);
    let run = run(&Arc::new(plan), &until(60, &observations), WHOLE);
    let (_, last) = *incidents(&run).last().expect("an update");
    assert_eq!((last.counts.ever, last.counts.untracked), (MEMBERS_MAX as u64, 2));
    assert_eq!(run.core.bounds().untracked, 2);
}

/// An incident must be what its consumer can make of the changes of entities that it was told.
fn wrongly(plan: &Arc<Plan>, stream: &Stream) -> Option<String> {
    let run = divided(plan, stream);
    let of = &plan.derive.incidents[0];
    let mut trouble: BTreeMap<(String, String), (bool, bool)> = Default::default();
    let mut open: BTreeMap<String, Incident> = Default::default();

    for event in &run.events {
        match &event.data {
            Data::Change(change) => {
                let counts = ["info", "warning", "error", "critical"].iter().position(|name| *name == change.severity);
                let counts = counts >= Some(usize::from(of.min_severity));
                let key = (change.signal.to_string(), event.subject.as_deref().unwrap_or_default().to_owned());
                let occurs =
                    plan.types.iter().any(|plan| *plan.name == *change.signal && plan.mode == Mode::Occurrence);
                let now = trouble.entry(key).or_default();
                match event.kind {
                    "stillhouse.flapping.started" => now.1 = counts,
                    "stillhouse.flapping.stopped" => now.1 = false,
                    _ => now.0 = counts && !occurs && ["down", "slow", "silent"].contains(&&*change.to.state),
                }
            }
            Data::Window(window) => {
                let counts = ["info", "warning", "error", "critical"].iter().position(|name| *name == window.severity);
                let key = (window.signal.to_string(), event.subject.as_deref().unwrap_or_default().to_owned());
                let opens = event.kind == "stillhouse.window.opened" && counts >= Some(usize::from(of.min_severity));
                trouble.entry(key).or_default().0 = opens;
            }
            Data::Derived(derived) => {
                let Derived::Incident(data) = &**derived else { return Some("not an incident".into()) };
                let known = open.remove(&*data.incident);
                let before = known.as_ref().map_or(0, |known| known.revision);
                if data.revision != before + 1 || data.counts.ever < data.counts.now {
                    return Some(format!("{known:?}\n{data:?}"));
                }
                let resolved = event.kind.ends_with("resolved");
                if resolved != (data.ended.is_some() && data.counts.now == 0 && data.duration_us >= Some(0)) {
                    return Some(format!("resolved {data:?}"));
                }
                let listed = data.members.iter().filter(|member| member.ended.is_none()).count() as u64;
                let mine = |key: &str| if of.by == By::All { true } else { *key == *data.group };
                let now = trouble.iter().filter(|((_, key), now)| mine(key) && (now.0 || now.1)).count() as u64;
                if data.counts.now != now || listed != now {
                    return Some(format!("in trouble {now}: {data:?}"));
                }
                if !resolved {
                    open.insert(data.incident.to_string(), data.clone());
                }
            }
            _ => {}
        }
    }

    None
}

#[test]
fn incidents_say_who_is_in_trouble() {
    for_seeds("incidents_say_who_is_in_trouble", |chance| {
        let mut plan = any_plan(chance);
        plan.derive.incidents.push(incident(|plan| {
            plan.by = if chance.percent(50) { By::All } else { By::Key };
            plan.min_severity = chance.pick(&[0, 0, 1, 2]);
            plan.open_after_us = chance.pick(&[0, 0, 5, 30]);
            plan.resolve_after_us = chance.pick(&[0, 1, 20, 100]);
            plan.update_every_us = chance.pick(&[0, 0, 10, 50]);
            plan.members_max = 1_000;
        }));
        let stream = any_stream(chance, &plan);
        hold(plan, stream, &wrongly);
    });
}
