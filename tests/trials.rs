//! Trials of a mapper in the core: what a second version says, who counts for whom, and what is left
//! of it when it is withdrawn.

use std::collections::BTreeMap;
use std::sync::Arc;

use stillhouse_core::block::{Block, fingerprint, key_hash};
use stillhouse_core::columns::outcome;
use stillhouse_core::event::Data;
use stillhouse_core::plan::{Mode, TypePlan};
use stillhouse_core::rule::{NoJudge, RuleId};
use stillhouse_core::trial::{Answer, Cohort, Pair, WHOLE_PPM};
use stillhouse_core::{Change, Core, Entry, Event, Ledger, Plan};

use crate::chance::Chance;
use crate::corrections::known;
use crate::generate::{any_plan, orderly_stream};
use crate::plans::{DOWN, UP, plan, type_plan};
use crate::properties::{for_seeds, hold};
use crate::stream::{Division, Item, Signal, Stream, WHOLE, add, bytes, run, signal};

const DIVISIONS: [Division; 3] = [
    Division { shards: 1, block_rows: 1, entries: 1 },
    Division { shards: 3, block_rows: 2, entries: 3 },
    Division { shards: 2, block_rows: 7, entries: 1 << 20 },
];

/// What the tried version says otherwise of a signal; a function of the signal.
pub type Otherwise<'a> = &'a dyn Fn(&Signal) -> Signal;

/// How a trial ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Never,
    Withdrawn { retroactive: bool },
    Promoted,
}

/// A trial over the items `from..to` of a stream.
#[derive(Clone, Copy)]
pub struct Trial<'a> {
    from: usize,
    to: usize,
    cohort: Cohort,
    otherwise: Otherwise<'a>,
    end: End,
}

fn tried_rule() -> RuleId {
    RuleId { name: "m".into(), version: "2.0.0".into(), digest: "tried".into() }
}

fn answer(block: &mut Block, signal: &Signal) -> Answer {
    let observed = signal.outcome == outcome::OBSERVED;
    let mut text = |text: &str| if observed { block.push_text(text) } else { Default::default() };
    let (key, value) = (text(&signal.key), text(&signal.value));
    let reason = if observed { Default::default() } else { block.push_text("made up") };
    Answer {
        outcome: signal.outcome,
        state: signal.state,
        severity: signal.severity,
        key_hash: key_hash(signal.signal_type, signal.key.as_bytes()),
        fingerprint: fingerprint(signal.state, signal.value.as_bytes()),
        key,
        value,
        reason,
    }
}

impl Trial<'_> {
    pub fn entries(&self, plan: &Plan, stream: &Stream, block_rows: usize) -> Vec<Entry> {
        let mut entries: Vec<Entry> = stream.sources.iter().map(|name| Entry::Source(name.as_str().into())).collect();
        let (mut block, mut position) = (Block::default(), 0);
        let types = 0..plan.types.len() as u16;
        for (index, item) in stream.items.iter().enumerate() {
            if index == self.from {
                flush(&mut block, position, &mut entries);
                entries.extend(types.clone().map(|signal_type| {
                    let mut of_type = plan.types[usize::from(signal_type)].clone();
                    of_type.mappers.push(tried_rule());
                    Entry::Rules(Change::Mapper { signal_type, plan: Box::new(of_type) })
                }));
            }
            if index == self.to {
                flush(&mut block, position, &mut entries);
                entries.extend(types.clone().filter_map(|signal_type| self.ended(signal_type)));
            }
            match item {
                Item::Signal(signal) => {
                    add(&mut block, signal, &stream.sources);
                    if (self.from..self.to).contains(&index) {
                        self.ask_both(&mut block, signal);
                    } else if index >= self.to && self.end == End::Promoted {
                        let otherwise = answer(&mut block, &(self.otherwise)(signal));
                        block.rows.last_mut().expect("just added").set(&otherwise, 1);
                    }
                    position += 1;
                    if block.rows.len() == block_rows {
                        flush(&mut block, position, &mut entries);
                    }
                }
                other => panic!("not in these streams: {other:?}"),
            }
        }
        flush(&mut block, position, &mut entries);
        if self.to >= stream.items.len() {
            entries.extend(types.filter_map(|signal_type| self.ended(signal_type)));
        }
        entries.extend(stream.ended.then_some(Entry::End));
        entries
    }

    fn ask_both(&self, block: &mut Block, signal: &Signal) {
        let pair = Pair { signal_type: signal.signal_type, stable: 0, tried: 1 };
        if !block.pairs.contains(&pair) {
            block.pairs.push(pair);
        }
        let (stable, tried) = (answer(block, signal), answer(block, &(self.otherwise)(signal)));
        block.decide(block.rows.len() - 1, &stable, &tried, self.cohort, &pair);
    }

    fn ended(&self, signal_type: u16) -> Option<Entry> {
        let (stable, withdrawn) = match self.end {
            End::Never => return None,
            End::Withdrawn { retroactive } => (0, Some((tried_rule(), retroactive))),
            End::Promoted => (1, None),
        };
        Some(Entry::Rules(Change::MapperTried { signal_type, stable, withdrawn }))
    }
}

fn flush(block: &mut Block, position: u64, entries: &mut Vec<Entry>) {
    if !block.rows.is_empty() {
        entries.push(Entry::Signals(Arc::new(std::mem::take(block))));
    }
    block.position = position;
}

pub struct Tried {
    pub events: Vec<Event>,
    pub bytes: String,
    pub ledger: Ledger,
}

/// Runs the core on a stream in which a version is tried; the books must balance after every step.
pub fn try_it(plan: &Arc<Plan>, stream: &Stream, trial: &Trial<'_>, division: Division) -> Tried {
    let mut core = Core::new(Arc::clone(plan), division.shards);
    let mut events = Vec::new();
    for entries in trial.entries(plan, stream, division.block_rows).chunks(division.entries) {
        core.step(entries.iter().cloned(), &mut NoJudge, &mut events);
        let ledger = core.ledger();
        assert!(ledger.balances(), "the books do not balance: {ledger:?}, placed {}", ledger.placed());
        assert_eq!(core.count_open(), ledger.open, "open signals, counted and in the books: {ledger:?}");
    }
    if trial.end != End::Never {
        assert_eq!(core.twins(), 0, "nothing is kept for a trial that is over");
    }
    let bytes = bytes(&events);
    if division == WHOLE {
        crate::event_schema::check_lines(bytes.as_bytes());
    }
    Tried { events, bytes, ledger: core.ledger() }
}

/// Says something else of some signals, each time the same of the same signal.
pub fn any_otherwise(chance: &mut Chance) -> impl Fn(&Signal) -> Signal + use<> {
    let seed = chance.below(1 << 30) as u64;
    let percent = chance.pick(&[5, 30, 100]);
    let ways = chance.pick(&[1, 3, 6]);
    move |signal| {
        let mut own = Chance::new(seed ^ stillhouse_core::block::id_hash("otherwise", &signal.id));
        if !own.percent(percent) {
            return signal.clone();
        }
        let mut other = signal.clone();
        match own.below(ways) {
            0 => other.state = if signal.state == DOWN { UP } else { DOWN },
            1 => other.severity = 3 - signal.severity.min(3),
            2 => other.value = format!("{}x", signal.value),
            3 => other.outcome = own.pick(&[outcome::OBSERVED, outcome::DROPPED]),
            4 => other.key = format!("{}'", signal.key),
            _ => other.outcome = own.pick(&[outcome::FAILED, outcome::REJECTED]),
        }
        other
    }
}

fn any_share(chance: &mut Chance) -> Cohort {
    Cohort { salt: chance.below(1 << 30) as u64, share_ppm: chance.pick(&[0, 300_000, 600_000, WHOLE_PPM]) }
}

pub fn any_trial<'a>(chance: &mut Chance, stream: &Stream, otherwise: Otherwise<'a>, end: End) -> Trial<'a> {
    let from = chance.below(stream.items.len() + 1);
    let to = from + chance.below(stream.items.len() + 1 - from);
    Trial { from, to, cohort: any_share(chance), otherwise, end }
}

pub fn any_trial_plan(chance: &mut Chance) -> Plan {
    let mut plan = any_plan(chance);
    for of_type in &mut plan.types {
        // An early result and a correction would both supersede.
        if let Mode::Window(window) = &mut of_type.mode {
            window.early = false;
        }
    }
    plan
}

#[test]
fn a_cohort_has_its_share_and_grows_without_losing_a_key() {
    for salt in [0, 1, 77, u64::MAX] {
        let keys: Vec<String> = (0..100_000).map(|number| format!("shop/pod-{number}")).collect();
        let mut before = 0;
        for percent in [1, 5, 25, 50, 100] {
            let cohort = Cohort { salt, share_ppm: percent * 10_000 };
            let share = keys.iter().filter(|key| cohort.contains(key.as_bytes())).count();
            let off = share.abs_diff(percent as usize * 1_000);
            assert!(off <= 500, "salt {salt}: {share} of 100,000 keys at {percent} %");
            let smaller = Cohort { salt, share_ppm: before };
            assert!(keys.iter().all(|key| !smaller.contains(key.as_bytes()) || cohort.contains(key.as_bytes())));
            before = percent * 10_000;
        }
    }
    let none = Cohort { salt: 3, share_ppm: 0 };
    assert!((0..1_000).all(|number: u32| !none.contains(&number.to_le_bytes())));
}

#[test]
fn a_shadow_changes_nothing() {
    for_seeds("a_shadow_changes_nothing", |chance| {
        let (plan, otherwise) = (any_trial_plan(chance), any_otherwise(chance));
        let stream = orderly_stream(chance, &plan);
        let end = any_end(chance);
        let trial = any_trial(chance, &stream, &otherwise, end);
        let trial = Trial { cohort: Cohort { share_ppm: 0, ..trial.cohort }, ..trial };
        if trial.end == End::Promoted {
            return;
        }
        hold(plan, stream, &|plan, stream| {
            let (with, without) = (try_it(plan, stream, &trial, WHOLE), run(plan, stream, WHOLE));
            let same = with.bytes == without.bytes && with.ledger == without.ledger;
            (!same).then(|| {
                format!("{}\n{:?}\nwithout:\n{}\n{:?}", with.bytes, with.ledger, without.bytes, without.ledger)
            })
        });
    });
}

pub fn any_end(chance: &mut Chance) -> End {
    chance.pick(&[
        End::Never,
        End::Withdrawn { retroactive: true },
        End::Withdrawn { retroactive: false },
        End::Promoted,
    ])
}

#[test]
fn a_trial_is_the_same_for_any_division() {
    for_seeds("a_trial_is_the_same", |chance| {
        let (plan, otherwise) = (any_trial_plan(chance), any_otherwise(chance));
        let stream = orderly_stream(chance, &plan);
        let end = any_end(chance);
        let trial = any_trial(chance, &stream, &otherwise, end);
        hold(plan, stream, &|plan, stream| {
            let whole = try_it(plan, stream, &trial, WHOLE);
            let differs = |division: &&Division| {
                let divided = try_it(plan, stream, &trial, **division);
                divided.bytes != whole.bytes || divided.ledger != whole.ledger
            };
            let division = DIVISIONS.iter().find(differs)?;
            let divided = try_it(plan, stream, &trial, *division);
            let lines = whole.bytes.lines().zip(divided.bytes.lines()).find(|(whole, divided)| whole != divided);
            Some(format!("{division:?}: {lines:#?}\n{:?}\n{:?}", whole.ledger, divided.ledger))
        });
    });
}

#[test]
fn what_a_withdrawn_version_changed_is_undone() {
    for_seeds("what_a_withdrawn_version_changed", |chance| {
        let (plan, otherwise) = (any_trial_plan(chance), any_otherwise(chance));
        let stream = orderly_stream(chance, &plan);
        let trial = any_trial(chance, &stream, &otherwise, End::Withdrawn { retroactive: true });
        hold(plan, stream, &|plan, stream| {
            let (with, without) = (try_it(plan, stream, &trial, WHOLE), run(plan, stream, WHOLE));
            let (does, should) = (known(&with.events), known(&without.events));
            if does != should {
                return Some(format!("should be known:\n{should:#?}\nis known:\n{does:#?}\n{}", with.bytes));
            }
            // Who had something open under the version in force kept it, and its signals may be counted
            // there and not where they are dropped.
            let echoes = with.ledger.echoed != 0;
            (with.ledger != without.ledger && !echoes).then(|| format!("{:?}\n{:?}", with.ledger, without.ledger))
        });
    });
}

#[test]
fn what_one_version_opens_no_other_closes() {
    for_seeds("what_one_version_opens", |chance| {
        let (mut plan, otherwise) = (any_trial_plan(chance), any_otherwise(chance));
        // Flapping is told between the two, and silence by nobody.
        for of_type in &mut plan.types {
            of_type.mode = Mode::State;
            (of_type.flapping, of_type.damping, of_type.silent_after_us) = (None, None, None);
        }
        let stream = orderly_stream(chance, &plan);
        let trial = any_trial(chance, &stream, &otherwise, End::Never);
        let trial = Trial { to: stream.items.len(), ..trial };
        hold(plan, stream, &|plan, stream| {
            let tried = try_it(plan, stream, &trial, WHOLE);
            let mut opened: BTreeMap<(String, String), String> = BTreeMap::new();
            for event in &tried.events {
                let Data::Change(change) = &event.data else { continue };
                let who = (change.signal.to_string(), event.subject.clone().unwrap_or_default().to_string());
                let by = change.provenance.mapper.digest.to_string();
                let opener = match opened.get(&who) {
                    Some(opener) if *opener != by => {
                        return Some(format!("opened by {opener}: {event:?}\n{}", tried.bytes));
                    }
                    _ => by,
                };
                match change.to.condition {
                    stillhouse_core::rule::Condition::Problem => opened.insert(who, opener),
                    _ => opened.remove(&who),
                };
            }
            None
        });
    });
}

#[test]
fn who_is_open_stays_and_who_is_not_goes() {
    let plan = Arc::new(plan(vec![TypePlan { hold_down_us: 0, ..type_plan("net") }]));
    let cohort = Cohort { salt: 0, share_ppm: WHOLE_PPM };
    // The tried version takes what is slow for down as well.
    let otherwise =
        |signal: &Signal| Signal { state: if signal.value == "slow" { DOWN } else { signal.state }, ..signal.clone() };
    let stream = Stream::of([
        signal(0, "a", "old", UP, ""),
        signal(1, "b", "old", DOWN, ""),
        // From here on it is tried.
        signal(2, "c", "old", UP, "slow"),
        signal(3, "d", "old", UP, "slow"),
        signal(4, "e", "new", UP, ""),
        signal(5, "f", "new", UP, "slow"),
        signal(6, "g", "new", UP, ""),
        signal(20, "h", "else", UP, ""),
    ]);
    let trial = Trial { from: 2, to: 9, cohort, otherwise: &otherwise, end: End::Never };
    let tried = try_it(&plan, &stream, &trial, WHOLE);
    let told: Vec<String> = tried
        .events
        .iter()
        .filter_map(|event| match &event.data {
            Data::Change(change) => {
                let by = &change.provenance.mapper.digest;
                Some(format!("{} {} {} by {by}", event.time?.0, event.subject.as_deref()?, change.to.state))
            }
            _ => None,
        })
        .collect();
    let stable = &plan.types[0].mappers[0].digest;
    assert_eq!(
        told,
        [
            format!("1 old down by {stable}"),
            format!("2 old up by {stable}"),
            "3 old down by tried".into(),
            "5 new down by tried".into(),
            "6 new up by tried".into(),
        ]
    );
}
