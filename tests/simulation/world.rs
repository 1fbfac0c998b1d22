//! What a seed makes: plans, signals, and what else happens to a host, in order.

use std::sync::{Arc, OnceLock};

use stillhouse::config::{Config, Overrides};
use stillhouse_core::Plan;
use stillhouse_core::block::id_hash;
use stillhouse_core::derive::{By, IncidentPlan};
use stillhouse_core::table::Table;
use stillhouse_rollout::policy::{Least, Strategy};
use stillhouse_rollout::{Command, Policy};

use super::rules::{self, VERSIONS};
use crate::chance::Chance;
use crate::gate_properties::{Erratic, add_parents, erratic_plan};
use crate::generate::{any_plan, any_stream, let_tick, tighten};
use crate::stream::{Item, Signal};

/// What must not change while hosts come and go.
pub struct World {
    pub seed: u64,
    /// One for each configuration; they differ in their holds.
    pub plans: Vec<Plan>,
    pub judge: Option<Erratic>,
    pub policy: Policy,
    /// The inputs, by their paths.
    pub inputs: Vec<String>,
    pub arrivals: Vec<Arrival>,
    /// Whether the log ends with an end.
    pub ended: bool,
    /// Whether it is told what happens.
    pub told: bool,
}

/// What happens next outside of the host.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// An input grows by this.
    Line(usize, Vec<u8>),
    /// Signals are posted; they are posted again until they are acknowledged.
    Post(Vec<u8>),
    /// Nothing more comes from an input.
    Ended(usize),
    Tick(i64),
    Table(Arc<Table>),
    /// A version of the mapper of a type is found in the rules folder, or staged by a person.
    Offered {
        signal_type: usize,
        version: usize,
        by_hand: bool,
    },
    /// A person wants something of a trial.
    Wanted(usize, Command),
    /// The next start is with the next configuration; the host is stopped or killed for it.
    Configured {
        killed: bool,
    },
}

/// How all inputs are read.
pub fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    const TEXT: &str = "[[input]]\nformat = \"cloudevents\"\n[signal.x]\nmapper = \"status\"\n";
    CONFIG.get_or_init(|| {
        Config::parse("simulation.toml".as_ref(), TEXT.into(), &Overrides::default()).expect("a configuration")
    })
}

impl World {
    /// Tells what happens, where one seed is looked at.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.told {
            eprintln!("{}", what());
        }
    }

    pub fn new(seed: u64, told: bool, chance: &mut Chance) -> Self {
        let judge = chance.percent(40).then(|| Erratic::any(chance));
        let mut plan = if judge.is_some() { erratic_plan(chance) } else { any_plan(chance) };
        let mut stream = any_stream(chance, &plan);
        if judge.is_some() {
            add_parents(chance, &mut stream);
        }
        if chance.percent(30) {
            tighten(chance, &mut plan);
            let_tick(chance, &mut stream);
        }
        if chance.percent(30) {
            plan.order.leap_max_us = Some(chance.pick(&[200, 20_000]));
        }
        any_extras(chance, &mut plan);
        let plans = others(chance, plan);
        // Sources have files of their own, or share one.
        let shared = chance.percent(30);
        let inputs = if shared { vec!["all".into()] } else { stream.sources.clone() };
        let of_source = |source: usize| if shared { 0 } else { source };
        let mut arrivals = Vec::new();
        for item in &stream.items {
            match item {
                Item::Signal(signal) => {
                    let source = signal.source as usize;
                    let line = any_line(chance, signal, &stream.sources[source], &plans[0]);
                    let posted = chance.percent(5);
                    arrivals.push(if posted { Arrival::Post(line) } else { Arrival::Line(of_source(source), line) });
                }
                Item::SourceEnded(source) if !shared => arrivals.push(Arrival::Ended(*source as usize)),
                Item::SourceEnded(_) => {}
                Item::Tick(now_us) => arrivals.push(Arrival::Tick(*now_us)),
                Item::Table(table) => arrivals.push(Arrival::Table(named(table))),
                // None is asked for here.
                Item::Snapshot(_) => {}
            }
        }
        steer(chance, &mut arrivals, plans.len(), plans[0].types.len());
        Self { seed, plans, judge, policy: any_policy(chance), inputs, arrivals, ended: stream.ended, told }
    }
}

impl World {
    /// A table by its digest.
    pub fn table(&self, digest: &str) -> Option<Arc<Table>> {
        self.arrivals.iter().find_map(|arrival| match arrival {
            Arrival::Table(table) if *table.digest == *digest => Some(Arc::clone(table)),
            _ => None,
        })
    }
}

/// Tables are told apart by their digest.
fn named(table: &Table) -> Arc<Table> {
    let digest = format!("{:016x}", id_hash("table", &format!("{:?}", table.rows)));
    Arc::new(Table { digest: digest.into(), ..table.clone() })
}

fn any_extras(chance: &mut Chance, plan: &mut Plan) {
    if chance.percent(40) {
        let correct_us = chance.pick(&[5, 40, 400]);
        plan.types.iter_mut().for_each(|plan| plan.correct_us = Some(correct_us));
    }
    if chance.percent(50) {
        plan.derive.incidents.push(IncidentPlan {
            name: "trouble".into(),
            signals: Vec::new(),
            by: if chance.percent(50) { By::All } else { By::Key },
            min_severity: 0,
            open_after_us: chance.pick(&[0, 5]),
            resolve_after_us: chance.pick(&[0, 20, 1000]),
            update_every_us: 0,
            members_max: 4,
        });
    }
    for of_type in &mut plan.types {
        of_type.mappers = vec![rules::rule_id(0)];
    }
}

/// The same plan with other holds, a few times.
fn others(chance: &mut Chance, plan: Plan) -> Vec<Plan> {
    let count = chance.pick(&[1, 1, 2, 3]);
    let mut plans: Vec<Plan> = vec![plan; count];
    for (number, plan) in plans.iter_mut().enumerate() {
        plan.config_digest = format!("config-{number}");
        if number > 0 {
            for of_type in &mut plan.types {
                of_type.hold_down_us = chance.pick(&[0, 1, 5, 20, 60]);
                of_type.hold_open_us = chance.pick(&[0, 1, 5, 20, 60]);
            }
        }
    }
    plans
}

/// Puts what people do among the signals.
fn steer(chance: &mut Chance, arrivals: &mut Vec<Arrival>, plans: usize, types: usize) {
    let mut put = |chance: &mut Chance, arrival| {
        let at = chance.below(arrivals.len() + 1);
        arrivals.insert(at, arrival);
    };
    for _ in 1..plans {
        let killed = chance.percent(50);
        put(chance, Arrival::Configured { killed });
    }
    if chance.percent(50) {
        for _ in 0..chance.between(1, 4) {
            let signal_type = chance.below(types);
            let offered =
                Arrival::Offered { signal_type, version: chance.below(VERSIONS), by_hand: chance.percent(70) };
            put(chance, offered);
            let retroactive = chance.pick(&[None, Some(true), Some(false)]);
            let promote = Command::Promote { force: chance.percent(80) };
            let command = chance.pick(&[Command::Advance, promote, promote, Command::Rollback { retroactive }]);
            put(chance, Arrival::Wanted(signal_type, command));
        }
    }
}

fn any_policy(chance: &mut Chance) -> Policy {
    let none = Least { time_us: 0, samples: 0 };
    let some = Least { time_us: chance.pick(&[0, 20]), samples: chance.pick(&[0, 3, 10]) };
    let steps_ppm = if chance.percent(50) { vec![1_000_000] } else { vec![300_000, 1_000_000] };
    let policy = Policy {
        strategy: chance.pick(&[Strategy::Canary, Strategy::Canary, Strategy::Canary, Strategy::Swap]),
        shadow: chance.pick(&[None, Some(none), Some(some)]),
        steps_ppm,
        step: some,
        drain_max_us: chance.pick(&[0, 20, 1_000]),
        retroactive: chance.percent(70),
        promote_automatically: chance.percent(70),
        ..Policy::default()
    };
    if chance.percent(70) { Policy { budgets: Default::default(), ..policy } } else { policy }
}

/// A signal as a line; a few are no signals.
fn any_line(chance: &mut Chance, signal: &Signal, source: &str, plan: &Plan) -> Vec<u8> {
    let Signal { time_us, rank, id, outcome, key, state, value, severity, .. } = signal;
    // A leap goes far ahead of all others.
    let time_us = if chance.percent(2) { time_us + 1_000_000 } else { *time_us };
    let (seconds, us) = (time_us.div_euclid(1_000_000), time_us.rem_euclid(1_000_000));
    let of_type = if chance.percent(1) { "unknown" } else { &plan.types[usize::from(signal.signal_type)].name };
    let time = match seconds {
        0..60 => format!("1970-01-01T00:00:{seconds:02}.{us:06}Z"),
        _ => format!("1969-12-31T23:59:59.{us:06}Z"),
    };
    let id = if chance.percent(98) { format!(r#""id":"{id}","#) } else { String::new() };
    let sequence = if chance.percent(60) { format!(r#""sequence":"{rank}","#) } else { String::new() };
    let mut line = format!(
        r#"{{"specversion":"1.0",{id}"source":"{source}","type":"{of_type}","time":"{time}",{sequence}"data":{{"o":"{outcome}","k":"{key}","s":"{state}","v":"{value}","e":"{severity}"}}}}"#
    )
    .into_bytes();
    if chance.percent(2) {
        match chance.below(3) {
            0 => line.truncate(chance.below(line.len())),
            1 => line[20] = 0xff,
            _ => line = b"no signal".to_vec(),
        }
    }
    line.push(b'\n');
    line
}
