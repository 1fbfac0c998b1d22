//! What a signal costs in the core with each operator on, beside the same stream with all of them
//! off (`none`): the price of an operator is a ratio within one run. It is below 1 where the events
//! that an operator saves cost more than the operator itself, so the number of events is printed
//! beside the digest of them. Run without `--bench`, as the tests do, everything is tiny.

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sha2::{Digest, Sha256};
use stillhouse_core::block::{fingerprint, id_hash, key_hash};
use stillhouse_core::columns::{Batch, Blobs, Column, Values, Verdicts, outcome, verdict};
use stillhouse_core::derive::{
    BreakerPlan, BurnPlan, By, DerivePlan, IncidentPlan, ObjectivePlan, RatePlan, TriggerPlan,
};
use stillhouse_core::gate::field_kind;
use stillhouse_core::level::{Bound, Bounds, LevelPlan, UsualPlan};
use stillhouse_core::plan::{
    Against, ConfirmPlan, DampingPlan, DedupePlan, FlappingPlan, FloodPlan, InhibitPlan, Mode, OrderPlan, TypePlan,
    Weights,
};
use stillhouse_core::rule::{Carry, Condition, Field, Judge, MemoPlan, NoJudge, RuleId, State};
use stillhouse_core::table::Table;
use stillhouse_core::window::{Shape, WindowPlan};
use stillhouse_core::{Block, Core, Entry, Event, Ledger, Plan, Row};

const ENTITIES: u64 = 1_000;
const NODES: u64 = 20;
const SOURCES: u64 = 4;
const BLOCK_ROWS: u64 = 4_096;
const SECOND_US: i64 = 1_000_000;
/// Every entity speaks every three seconds.
const STEP_US: i64 = 3 * SECOND_US / ENTITIES as i64;
const OK: u8 = 0;
const FAILING: u8 = 1;

/// A stream of signals in log order.
#[derive(Clone, Copy, Default)]
struct Stream {
    /// Whether one signal in a hundred comes after the watermark.
    late: bool,
    /// Whether signals carry a number, for levels, in place of a state. It says the same.
    numbers: bool,
}

/// The first 20 entities are nodes, all others run on one of them.
fn key(entity: u64) -> String {
    if entity < NODES { format!("node-{entity:02}") } else { format!("node-{:02}/cart-{entity:04}", entity % NODES) }
}

/// Whether the signal of an entity in this round of all of them speaks of trouble.
fn fails(entity: u64, round: u64, random: u64) -> bool {
    // Half a minute.
    let period = round / 10;
    match entity % 100 {
        // One entity in a hundred flaps without end.
        50 => round % 2 == 1,
        // In every other period one is in trouble by itself, and a node with all that runs on it.
        turn => turn == period * 31 % 100 || period % 2 == 1 && entity % NODES == period * 7 % NODES || random < 20,
    }
}

impl Stream {
    /// One signal in a hundred comes twice, in fifty is a blip, in ten is overtaken by others.
    fn blocks(self, count: u64) -> Vec<Arc<Block>> {
        let mut state = 42_u64;
        let mut blocks = Vec::new();
        for first in (0..count).step_by(BLOCK_ROWS as usize) {
            let mut block = Block { position: first, ..Block::default() };
            for number in first..count.min(first + BLOCK_ROWS) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let row = match block.rows.last() {
                    Some(&before) if state >> 40 & 127 == 0 => before,
                    _ => self.row(&mut block, number, state >> 33),
                };
                block.rows.push(row);
            }
            blocks.push(Arc::new(block));
        }
        blocks
    }

    fn row(self, block: &mut Block, number: u64, random: u64) -> Row {
        let (round, turn) = (number / ENTITIES, number % ENTITIES);
        // A stride that shares no factor with the count meets every entity once in a round.
        let entity = turn * 377 % ENTITIES;
        // One entity in a hundred is silent every other half minute; its neighbour speaks instead.
        let entity = entity + u64::from(entity % 100 == 70 && round / 10 % 2 == 1);
        let failing = fails(entity, round, random % 1_000);
        let behind_us = match random / 1_000 % 100 {
            0 if self.late => 5 * SECOND_US,
            1..=10 => SECOND_US / 4,
            _ => 0,
        };
        let mut row = Row::new(((number + round) % SOURCES) as u32, number);
        row.time_us = 1_700_000_000 * SECOND_US + number as i64 * STEP_US - behind_us;
        row.id = block.push_text(&format!("e-{number:08}"));
        row.id_hash = id_hash("made", block.text(row.id));
        row.has_id = true;
        row.key = block.push_text(&key(entity));
        row.key_hash = key_hash(0, block.text(row.key).as_bytes());
        if self.numbers {
            let number = if failing { 95 } else { 40 } + random / 100_000 % 5;
            row.value = block.push_text(&format!("{number}.5"));
        } else {
            row.state = if failing { FAILING } else { OK };
            row.severity = if failing { 2 } else { 0 };
        }
        row.fingerprint = fingerprint(row.state, block.text(row.value).as_bytes());
        (row.signal_type, row.outcome) = (0, outcome::OBSERVED);
        row
    }
}

/// Who runs on which node.
fn topology() -> Arc<Table> {
    let parent = |entity: u64| (key(entity).into(), vec![key(entity % NODES).into()]);
    let rows = (NODES..ENTITIES).map(parent).collect();
    Arc::new(Table { name: "topology".into(), digest: "".into(), columns: vec!["node".into()], rows })
}

/// A suppressor in native code: what it costs is what the core does for it.
struct Native {
    rule: RuleId,
    fields: Vec<Field>,
    memo: Option<MemoPlan>,
}

impl Native {
    fn new(paths: &[&str], memo: Option<MemoPlan>) -> Self {
        let field = |path: &&str| Field { path: (*path).into(), kind: field_kind(path).expect("a field") };
        let rule = RuleId { name: "native".into(), version: "1.0.0".into(), digest: "none".into() };
        Self { rule, fields: paths.iter().map(field).collect(), memo }
    }
}

impl Judge for Native {
    fn fields(&self, _: u16) -> Option<&[Field]> {
        Some(&self.fields)
    }

    /// Holds back what has a first field, and a memo that counts its candidates, above four.
    fn judge(&mut self, _: u16, candidates: Batch, memos: Blobs) -> Verdicts {
        let Some(Column { values: Values::Ints(first), .. }) = candidates.columns.first() else {
            panic!("the first field is a number")
        };
        let mut verdicts = Verdicts::default();
        for (row, &first) in first.iter().enumerate() {
            let judged = memos.get(row).first().map_or(1, |&judged| judged.saturating_add(1));
            let noisy = first > 4 && judged > 4;
            verdicts.verdict.push(if noisy { verdict::SUPPRESS } else { verdict::EMIT });
            verdicts.until_us.push(0);
            verdicts.severity.push(0);
            if self.memo.is_some() {
                verdicts.memo.push(&[judged]);
            }
        }
        verdicts
    }

    fn memo(&self, _: u16) -> Option<MemoPlan> {
        self.memo
    }

    fn rule(&self, _: u16) -> Option<&RuleId> {
        Some(&self.rule)
    }
}

/// One bench: an operator that is turned on.
struct Case {
    name: &'static str,
    stream: Stream,
    plan: Plan,
    judge: Option<Native>,
}

fn plan() -> Plan {
    let state = |name: &str, condition| State { name: name.into(), condition };
    let states = vec![state("ok", Condition::Healthy), state("failing", Condition::Problem)];
    let mapper = RuleId { name: "made".into(), version: "1.0.0".into(), digest: "none".into() };
    let order = OrderPlan { allowed_lateness_us: SECOND_US, ..OrderPlan::default() };
    let types = vec![TypePlan::new("made.up", states, mapper)];
    Plan { order, types, config_digest: "none".into(), ..Plan::default() }
}

/// An operator on the plain stream, by what it sets in the plan.
fn case(name: &'static str, set: impl FnOnce(&mut Plan)) -> Case {
    let mut plan = plan();
    set(&mut plan);
    Case { name, stream: Stream::default(), plan, judge: None }
}

/// The same for what belongs to a signal type.
fn of_type(name: &'static str, set: impl FnOnce(&mut TypePlan)) -> Case {
    case(name, |plan| set(&mut plan.types[0]))
}

fn entity_cases() -> Vec<Case> {
    let dedupe = |against| Some(DedupePlan { window_us: 10 * SECOND_US, against });
    let flapping =
        |weights| Some(FlappingPlan { weights, high_mpct: 50_000, low_mpct: 25_000, quiet_us: Some(60 * SECOND_US) });
    let damping = DampingPlan {
        half_life_us: 30 * SECOND_US,
        cut: 3_000,
        reuse: 750,
        max_suppress_us: 120 * SECOND_US,
        down: 1_000,
        up: 0,
        change: 500,
    };
    let within_us = 10 * SECOND_US;
    vec![
        case("none", |_| ()),
        of_type("dedupe_any", |plan| plan.dedupe = dedupe(Against::Any)),
        of_type("dedupe_last", |plan| plan.dedupe = dedupe(Against::Last)),
        of_type("hold", |plan| (plan.hold_down_us, plan.hold_open_us) = (8 * SECOND_US, 5 * SECOND_US)),
        of_type("flapping_nagios", |plan| plan.flapping = flapping(Weights::Nagios)),
        of_type("flapping_icinga", |plan| plan.flapping = flapping(Weights::Icinga)),
        of_type("damping", |plan| plan.damping = Some(damping)),
        of_type("confirm_last", |plan| plan.confirm = Some(ConfirmPlan::Last { count: 2, of: 3 })),
        of_type("confirm_within", |plan| plan.confirm = Some(ConfirmPlan::Within { count: 2, within_us })),
        of_type("confirm_sources", |plan| plan.confirm = Some(ConfirmPlan::Sources { count: 2, within_us })),
        of_type("silence", |plan| plan.silent_after_us = Some(10 * SECOND_US)),
        of_type("spread", |plan| plan.spread = Some(2)),
    ]
}

fn level_cases() -> Vec<Case> {
    let usual = UsualPlan {
        history_us: 128 * SECOND_US,
        learn_us: 20 * SECOND_US,
        adapt_us: 120 * SECOND_US,
        over: 0.5,
        clear: 0.1,
        floor: 0.1,
        high: true,
        low: true,
    };
    let fixed = Bounds::Fixed { high: Some(Bound { enter: 90.0, leave: 80.0 }), low: None };
    let level = |name, bounds| {
        let level = LevelPlan { normal: OK, high: FAILING, low: FAILING, severity: 2, smooth_us: 0, bounds };
        let stream = Stream { numbers: true, ..Stream::default() };
        Case { stream, ..of_type(name, |plan| plan.level = Some(level)) }
    };
    vec![level("level_fixed", fixed), level("level_relative", Bounds::Usual(usual))]
}

fn window_cases() -> Vec<Case> {
    let (size_us, max_us) = (60 * SECOND_US, 3_600 * SECOND_US);
    let window = |name, shape| {
        let window = WindowPlan { shape, count: 3, sources: 2, values: 0, early: true };
        of_type(name, |plan| plan.mode = Mode::Window(window))
    };
    vec![
        window("window_session", Shape::Session { gap_us: 20 * SECOND_US, max_us }),
        window("window_tumbling", Shape::Tumbling { size_us }),
        window("window_sliding", Shape::Sliding { size_us, every_us: SECOND_US, max_us }),
    ]
}

fn correct_cases() -> Vec<Case> {
    let late = Stream { late: true, ..Stream::default() };
    let correct = |plan: &mut TypePlan| plan.correct_us = Some(60 * SECOND_US);
    vec![
        of_type("correct_none_late", correct),
        Case { stream: late, ..case("none_late", |_| ()) },
        Case { stream: late, ..of_type("correct_late", correct) },
    ]
}

fn gate_cases() -> Vec<Case> {
    let inhibit = InhibitPlan { table: "topology".into(), column: "node".into(), grace_us: 10 * SECOND_US };
    let live = Native::new(&["changes", "key", "to", "parent_open", "siblings_open"], None);
    let memo = MemoPlan { version: 1, carry: Carry::Keep, bytes_max: 64 };
    vec![
        of_type("flood", |plan| {
            plan.flood = Some(FloodPlan { max: Some(25), per_source: Some(10), per_us: SECOND_US });
        }),
        case("inhibit", |plan| plan.inhibit = Some(inhibit.clone())),
        Case { judge: Some(Native::new(&["severity", "key", "to"], None)), ..case("suppressor_batched", |_| ()) },
        Case { judge: Some(Native { memo: Some(memo), ..live }), ..case("suppressor_live", |_| ()) },
    ]
}

fn derive_cases() -> Vec<Case> {
    let by = By::Prefix("/".into());
    let incident = IncidentPlan {
        name: "node".into(),
        signals: Vec::new(),
        by: by.clone(),
        min_severity: 1,
        open_after_us: 0,
        resolve_after_us: 10 * SECOND_US,
        update_every_us: 10 * SECOND_US,
        members_max: 20,
    };
    let burn = |over_milli, long_panes, short_panes| BurnPlan { over_milli, long_panes, short_panes, severity: 2 };
    let objective = ObjectivePlan {
        name: "healthy".into(),
        signal_type: 0,
        by,
        target_ppm: 990_000,
        every_us: 10 * SECOND_US,
        burns: vec![burn(14_400, 6, 1), burn(6_000, 18, 3)],
    };
    let trigger = TriggerPlan {
        name: "restart".into(),
        on: "state.changed".into(),
        to: vec!["failing".into()],
        action: "restart".into(),
        rate: Some(RatePlan { max: 100, per_us: 60 * SECOND_US }),
        breaker: Some(BreakerPlan {
            repeat_max: 3,
            repeat_within_us: 60 * SECOND_US,
            open_for_us: 60 * SECOND_US,
            close_after_us: 60 * SECOND_US,
        }),
        ..TriggerPlan::default()
    };
    let derive = |name, derive| case(name, |plan| plan.derive = derive);
    vec![
        derive("incidents", DerivePlan { incidents: vec![incident], ..DerivePlan::default() }),
        derive("objectives", DerivePlan { objectives: vec![objective], ..DerivePlan::default() }),
        derive("triggers", DerivePlan { triggers: vec![trigger], ..DerivePlan::default() }),
    ]
}

fn run(plan: &Arc<Plan>, table: &Arc<Table>, blocks: &[Arc<Block>], judge: &mut dyn Judge) -> (Vec<Event>, Ledger) {
    let mut core = Core::new(Arc::clone(plan), 1);
    let mut events = Vec::new();
    let mut take = |entry: Entry| core.step([entry], judge, &mut events);
    (0..SOURCES).for_each(|source| take(Entry::Source(format!("source-{source}").into())));
    take(Entry::Table(Arc::clone(table)));
    blocks.iter().for_each(|block| take(Entry::Signals(Arc::clone(block))));
    take(Entry::End);
    (events, core.ledger())
}

/// Prints a digest of the events and the books: what is merged is only in these.
fn tell(name: &str, count: u64, (events, ledger): (Vec<Event>, Ledger)) {
    assert!(ledger.balances() && !events.is_empty(), "{name} has something to say");
    let mut lines = format!("{ledger:?}").into_bytes();
    events.iter().for_each(|event| event.write_line(&mut lines));
    let digest: String = Sha256::digest(&lines)[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{name} over {count}: {} events, digest {digest}", events.len());
}

fn operators(criterion: &mut Criterion) {
    let full = std::env::args().any(|argument| argument == "--bench");
    let count = if full { 100_000 } else { 20_000 };
    let table = topology();
    let mut group = criterion.benchmark_group("operators");
    group.throughput(Throughput::Elements(count)).sample_size(10);
    let cases = [entity_cases(), level_cases(), window_cases(), correct_cases(), gate_cases(), derive_cases()];
    for Case { name, stream, plan, mut judge } in cases.into_iter().flatten() {
        let plan = Arc::new(plan);
        let mut nobody = NoJudge;
        let judge: &mut dyn Judge = judge.as_mut().map_or(&mut nobody, |judge| judge);
        // Only for the benches that the command line asks for.
        let mut blocks = None;
        group.bench_function(name, |bencher| {
            let blocks = blocks.get_or_insert_with(|| {
                let blocks = stream.blocks(count);
                tell(name, count, run(&plan, &table, &blocks, judge));
                blocks
            });
            bencher.iter(|| run(&plan, &table, blocks, judge));
        });
    }
    group.finish();
}

criterion_group!(benches, operators);
criterion_main!(benches);
