//! Triggers: at most once for a cause, never too often, and not again and again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use stillhouse_core::Plan;
use stillhouse_core::derive::{
    BreakerPlan, BurnPlan, By, DerivePlan, IncidentPlan, ObjectivePlan, REMEMBER_MAX, REMEMBER_US, RatePlan,
    TriggerPlan,
};
use stillhouse_core::event::{Data, Derived, Event, Trigger};
use stillhouse_core::plan::{FlappingPlan, Mode, Weights};

use crate::chance::Chance;
use crate::derive_told::{check, deriving, deriving_of, divided, until};
use crate::generate::{any_plan, any_stream};
use crate::plans::{DOWN, SLOW, UP, type_plan};
use crate::properties::{for_seeds, hold};
use crate::stream::{Item, Run, Stream, WHOLE, run};

fn trigger(change: impl FnOnce(&mut TriggerPlan)) -> TriggerPlan {
    let mut plan = TriggerPlan {
        name: "restart".into(),
        on: "state.changed".into(),
        to: vec!["down".into()],
        action: "restart".into(),
        ..TriggerPlan::default()
    };
    change(&mut plan);
    plan
}

type Change = fn(&mut TriggerPlan);

fn with(change: impl FnOnce(&mut TriggerPlan)) -> Plan {
    deriving(DerivePlan { triggers: vec![trigger(change)], ..DerivePlan::default() })
}

fn requests(run: &Run) -> Vec<(&Event, &Trigger)> {
    run.events.iter().filter_map(|event| Some((event, request_of(event)?))).collect()
}

fn request_of(event: &Event) -> Option<&Trigger> {
    let Data::Derived(derived) = &event.data else { return None };
    match &**derived {
        Derived::Trigger(data) => Some(data),
        _ => None,
    }
}

/// Key `k` goes down and up again, down at these times.
fn down_at(times: &[i64]) -> Stream {
    let seen: Vec<_> = times.iter().flat_map(|&time_us| [(time_us, "k", DOWN), (time_us + 1, "k", UP)]).collect();
    until(10_000, &seen)
}

#[test]
fn a_trigger_names_its_cause_and_what_to_do() {
    let plan = with(|plan| plan.params = [("grace".into(), "30s".into())].into_iter().collect());
    let run = check(plan, &down_at(&[10, 20]), &["10 trigger k restart attempt 1", "20 trigger k restart attempt 2"]);
    let requests = requests(&run);
    let cause = run.events.iter().find(|event| event.kind == "stillhouse.state.changed").expect("a cause");
    let (_, first) = requests[0];
    assert_eq!((&*first.cause.id, &*first.cause.kind, &*first.cause.of), (&*cause.id, cause.kind, "probe"));
    assert_eq!((&*first.action, first.severity, first.cause.since.0), ("restart", "error", 10));
    assert_eq!(first.params[&Box::from("grace")], "30s".into());
    assert_ne!(first.idempotency_key, requests[1].1.idempotency_key, "another cause");
    let at = run.events.iter().position(|event| event.id == cause.id).expect("it left");
    assert_eq!(run.events[at + 1].kind, "stillhouse.trigger", "a trigger follows its cause at once");
}

#[test]
fn a_trigger_acts_only_on_what_it_names() {
    let seen = until(100, &[(10, "db/a", DOWN), (20, "web/a", DOWN), (30, "db/b", SLOW), (40, "db/a", UP)]);
    let cases: [(Change, &[&str]); 5] = [
        (|plan| plan.key = glob::Pattern::new("db/*").ok(), &["10 trigger db/a restart attempt 1"]),
        (|plan| plan.of = vec!["link".into()], &[]),
        (
            |plan| {
                plan.to.clear();
                plan.min_severity = 2;
            },
            &["10 trigger db/a restart attempt 1", "20 trigger web/a restart attempt 1"],
        ),
        (|plan| plan.to = vec!["up".into()], &["40 trigger db/a restart attempt 1"]),
        (|plan| plan.on = "flapping.started".into(), &[]),
    ];
    for (change, expected) in cases {
        check(with(change), &seen, expected);
    }
}

#[test]
fn nothing_is_asked_for_while_it_starts() {
    let plan = || with(|plan| plan.bootstrap_us = 50);
    check(
        plan(),
        &down_at(&[10, 59, 70]),
        &[
            "10 trigger.withheld k restart bootstrap",
            "59 trigger.withheld k restart bootstrap",
            "70 trigger k restart attempt 1",
        ],
    );
    check(plan(), &down_at(&[10, 60]), &["10 trigger.withheld k restart bootstrap", "60 trigger k restart attempt 1"]);
}

#[test]
fn one_cause_is_acted_on_once() {
    let mut probe = type_plan("probe");
    probe.mode = Mode::Occurrence;
    let derive = DerivePlan { triggers: vec![trigger(|_| ())], ..DerivePlan::default() };
    let stream = until(100, &[(10, "k", DOWN), (10, "k", DOWN), (11, "k", DOWN)]);
    let run = check(
        deriving_of(vec![probe], derive),
        &stream,
        &[
            "10 trigger k restart attempt 1",
            "10 trigger.withheld k restart duplicate",
            "11 trigger k restart attempt 2",
        ],
    );
    let requests = requests(&run);
    assert_eq!(requests[0].1.idempotency_key, requests[1].1.idempotency_key);
    assert_ne!(requests[0].1.cause.id, requests[1].1.cause.id);
}

#[test]
fn the_rate_is_of_any_time_of_that_length() {
    let rate = |plan: &mut TriggerPlan| plan.rate = Some(RatePlan { max: 2, per_us: 100 });
    check(
        with(rate),
        &down_at(&[10, 50, 109, 110, 149, 150]),
        &[
            "10 trigger k restart attempt 1",
            "50 trigger k restart attempt 2",
            "109 trigger.withheld k restart rate",
            "110 trigger k restart attempt 3",
            "149 trigger.withheld k restart rate",
            "150 trigger k restart attempt 4",
        ],
    );
}

const BREAKER: BreakerPlan = BreakerPlan { repeat_max: 2, repeat_within_us: 100, open_for_us: 200, close_after_us: 50 };

#[test]
fn who_triggers_again_and_again_is_left_alone_for_a_while() {
    let breaker = |plan: &mut TriggerPlan| plan.breaker = Some(BREAKER);
    check(
        with(breaker),
        &down_at(&[10, 20, 30, 229, 230, 279, 600]),
        &[
            "10 trigger k restart attempt 1",
            "20 trigger k restart attempt 2",
            "30 breaker.opened k restart repeat until 230 since 30 withheld 0",
            "30 trigger.withheld k restart breaker",
            "229 trigger.withheld k restart breaker",
            // Half-open: one may pass, and the next one within 50 opens it again.
            "230 trigger k restart attempt 1",
            "279 breaker.opened k restart again until 479 since 30 withheld 2",
            "279 trigger.withheld k restart breaker",
            "529 breaker.closed k restart quiet since 30 withheld 3",
            "600 trigger k restart attempt 1",
        ],
    );
    // Quiet after the one that passed: closed.
    check(
        with(breaker),
        &down_at(&[10, 20, 30, 230, 280]),
        &[
            "10 trigger k restart attempt 1",
            "20 trigger k restart attempt 2",
            "30 breaker.opened k restart repeat until 230 since 30 withheld 0",
            "30 trigger.withheld k restart breaker",
            "230 trigger k restart attempt 1",
            "280 breaker.closed k restart quiet since 30 withheld 1",
            "280 trigger k restart attempt 1",
        ],
    );
    // Old attempts do not count.
    check(
        with(breaker),
        &down_at(&[10, 20, 110]),
        &["10 trigger k restart attempt 1", "20 trigger k restart attempt 2", "110 trigger k restart attempt 2"],
    );
}

#[test]
fn too_many_keys_open_the_breaker_of_the_whole_trigger() {
    let plan = with(|plan| {
        plan.rate = Some(RatePlan { max: 2, per_us: 100 });
        plan.breaker = Some(BREAKER);
    });
    let keys = [(10, "a"), (20, "b"), (30, "c"), (40, "d"), (240, "e"), (250, "f"), (600, "g")];
    let seen: Vec<_> = keys.iter().map(|&(time_us, key)| (time_us, key, DOWN)).collect();
    check(
        plan,
        &until(1_000, &seen),
        &[
            "10 trigger a restart attempt 1",
            "20 trigger b restart attempt 1",
            "30 breaker.opened - restart rate until 230 since 30 withheld 0",
            "30 trigger.withheld c restart rate",
            "40 trigger.withheld d restart breaker",
            "240 trigger e restart attempt 1",
            "250 breaker.opened - restart again until 450 since 30 withheld 2",
            "250 trigger.withheld f restart breaker",
            "500 breaker.closed - restart quiet since 30 withheld 3",
            "600 trigger g restart attempt 1",
        ],
    );
}

#[test]
fn at_the_bound_of_what_it_remembers_a_trigger_withholds() {
    let keys: Vec<String> = (0..=REMEMBER_MAX).map(|number| format!("{number:06}")).collect();
    let mut seen: Vec<_> = keys.iter().map(|key| (10, key.as_str(), DOWN)).collect();
    // All is forgotten when its time has passed, and not one microsecond before.
    seen.extend([(10 + REMEMBER_US - 1, "late", DOWN), (10 + REMEMBER_US, "later", DOWN)]);
    let run = run(&Arc::new(with(|_| ())), &until(11 + REMEMBER_US, &seen), WHOLE);
    let withheld: Vec<_> = requests(&run)
        .into_iter()
        .filter_map(|(event, data)| Some((event.subject.as_deref()?, data.withheld?)))
        .collect();
    assert_eq!(withheld, [("100000", "bound"), ("late", "bound")]);
}

#[test]
fn incidents_and_burn_rates_trigger() {
    let incident = IncidentPlan {
        name: "outage".into(),
        signals: Vec::new(),
        by: By::All,
        min_severity: 0,
        open_after_us: 0,
        resolve_after_us: 0,
        update_every_us: 0,
        members_max: 10,
    };
    let objective = ObjectivePlan {
        name: "avail".into(),
        signal_type: 0,
        by: By::All,
        target_ppm: 900_000,
        every_us: 10,
        burns: vec![BurnPlan { over_milli: 1_000, long_panes: 2, short_panes: 1, severity: 3 }],
    };
    let on = |on: &str, of: &[&str]| {
        trigger(|plan| {
            (plan.name, plan.on) = (on.into(), on.into());
            plan.of = of.iter().map(|&of| of.into()).collect();
            plan.to.clear();
        })
    };
    let mut probe = type_plan("probe");
    probe.flapping =
        Some(FlappingPlan { weights: Weights::Nagios, high_mpct: 12_000, low_mpct: 0, quiet_us: Some(10) });
    let triggers = vec![
        on("burn.started", &["avail"]),
        on("flapping.started", &[]),
        on("incident.opened", &[]),
        on("incident.resolved", &["other"]),
        on("incident.updated", &["outage"]),
    ];
    let derive = DerivePlan { incidents: vec![incident], objectives: vec![objective], triggers };
    let stream = until(30, &[(0, "a", UP), (1, "a", DOWN), (2, "a", UP), (8, "b", DOWN)]);
    check(
        deriving_of(vec![probe], derive),
        &stream,
        &[
            "1 incident.opened all outage r1 error since 1 now 1 ever 1 events 1: probe/a down 1",
            "1 trigger all incident.opened attempt 1",
            "2 trigger a flapping.started attempt 1",
            "2 incident.updated all outage r2 error since 1 now 1 ever 1 events 2: probe/a flapping 1",
            "2 trigger all incident.updated attempt 1",
            "8 incident.updated all outage r3 error since 1 now 2 ever 2 events 3: probe/a flapping 1, probe/b down 8",
            "8 trigger all incident.updated attempt 2",
            "10 sli all avail 0..10 good 2 bad 2",
            "10 burn.started all avail over 1 critical long 2/4 short 2/4",
            "10 trigger all burn.started attempt 1",
            "12 incident.updated all outage r4 error since 1 now 2 ever 2 events 4: probe/a down 1, probe/b down 8",
            "12 trigger all incident.updated attempt 3",
            "12 incident.updated all outage r5 error since 1 now 1 ever 2 events 5: probe/a up 1..2, probe/b down 8",
            "12 trigger all incident.updated attempt 4",
            "20 burn.stopped all avail over 1 critical long 2/4 short 0/0 lasted 10",
        ],
    );
}

/// What triggers asked for, looked at from outside: every cause has its answer, in order, and no
/// limit is broken.
fn wrongly(plan: &Arc<Plan>, stream: &Stream) -> Option<String> {
    let run = divided(plan, stream);
    let of = &plan.derive.triggers[0];
    // When, for which key, idempotency key.
    let mut fired: Vec<(i64, &str, &str)> = Vec::new();
    // Since when attempts for a key count: a breaker that closes begins anew.
    let mut anew: BTreeMap<&str, i64> = BTreeMap::new();
    let mut causes: VecDeque<&str> = VecDeque::new();
    for event in &run.events {
        let time_us = event.time.map_or(i64::MIN, |time| time.0);
        let key = event.subject.as_deref().unwrap_or_default();
        if let Data::Change(change) = &event.data
            && event.kind == "stillhouse.state.changed"
            && of.to.iter().any(|to| **to == *change.to.state)
        {
            causes.push_back(&event.id);
        }
        if event.kind == "stillhouse.breaker.closed" {
            anew.insert(key, time_us);
        }
        let Some(data) = request_of(event) else { continue };
        if causes.pop_front() != Some(&*data.cause.id) {
            return Some(format!("not the next cause: {event:?}"));
        }
        let within = |us: i64| fired.iter().filter(move |(at_us, ..)| *at_us > time_us - us);
        let known = fired.iter().any(|(.., known)| **known == *data.idempotency_key);
        let rate = of.rate.is_some_and(|rate| within(rate.per_us).count() >= rate.max);
        let right = match data.withheld {
            None => !known && !rate,
            Some("duplicate") => known,
            Some("rate") => rate,
            Some("breaker") => of.breaker.is_some(),
            _ => false,
        };
        // Of a breaker that is open for longer than it counts, a half-open one has nothing to count.
        let repeats = |breaker: BreakerPlan| {
            let since_us = anew.get(key).copied().unwrap_or(i64::MIN);
            let mine = within(breaker.repeat_within_us).filter(|(at_us, of, _)| *of == key && *at_us >= since_us);
            breaker.open_for_us > breaker.repeat_within_us && mine.count() >= breaker.repeat_max
        };
        let too_often = data.withheld.is_none() && of.breaker.is_some_and(repeats);
        if !right || too_often {
            return Some(format!("{event:?} after {fired:?}"));
        }
        if data.withheld.is_none() {
            fired.push((time_us, key, &data.idempotency_key));
        }
    }
    (!causes.is_empty()).then(|| format!("no answer to {causes:?}"))
}

#[test]
fn triggers_keep_their_limits() {
    for_seeds("triggers_keep_their_limits", |chance| {
        let mut plan = any_plan(chance);
        plan.derive.triggers = vec![any_trigger(chance)];
        let stream = any_stream(chance, &plan);
        hold(plan, stream, &wrongly);
    });
}

fn any_trigger(chance: &mut Chance) -> TriggerPlan {
    trigger(|plan| {
        if chance.percent(50) {
            plan.to.push("slow".into());
        }
        if chance.percent(50) {
            let (max, per_us) = (chance.between(1, 4) as usize, chance.pick(&[1, 20, 200]));
            plan.rate = Some(RatePlan { max, per_us });
        }
        if chance.percent(60) {
            plan.breaker = Some(BreakerPlan {
                repeat_max: chance.between(1, 3) as usize,
                repeat_within_us: chance.pick(&[10, 100]),
                open_for_us: chance.pick(&[5, 50, 120]),
                close_after_us: chance.pick(&[1, 30]),
            });
        }
    })
}

#[test]
fn causes_of_other_types_are_others() {
    let mut stream = down_at(&[10, 11]);
    for (at, item) in stream.items.iter_mut().enumerate() {
        let Item::Signal(signal) = item else { continue };
        (signal.time_us, signal.signal_type) = if at < 4 { (10, (at / 2) as u16) } else { continue };
        signal.state = DOWN;
    }
    let derive = DerivePlan { triggers: vec![trigger(|_| ())], ..DerivePlan::default() };
    let plan = deriving_of(vec![type_plan("probe"), type_plan("link")], derive);
    check(plan, &stream, &["10 trigger k restart attempt 1", "10 trigger k restart attempt 2"]);
}
