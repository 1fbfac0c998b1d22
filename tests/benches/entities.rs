//! What an entity costs: memory for each that is tracked, and how the rate of the core falls from a
//! thousand of them to ten million. `cargo bench --bench entities`; `-- --entities N` for one size.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
// For its allocator.
use stillhouse as _;
use stillhouse_core::block::{fingerprint, id_hash, key_hash};
use stillhouse_core::columns::outcome;
use stillhouse_core::plan::{OrderPlan, TypePlan};
use stillhouse_core::rule::{Condition, NoJudge, RuleId, State};
use stillhouse_core::{Block, Core, Entry, Event, Plan, Row};

const BLOCK_ROWS: u64 = 4096;

fn plan() -> Arc<Plan> {
    let state = |name: &str, condition| State { name: name.into(), condition };
    let states = vec![state("ok", Condition::Healthy), state("failing", Condition::Problem)];
    let mapper = RuleId { name: "made".into(), version: "1.0.0".into(), digest: "none".into() };
    let held =
        TypePlan { hold_down_us: 2_000_000, hold_open_us: 1_000_000, ..TypePlan::new("made.up", states, mapper) };
    let order = OrderPlan { allowed_lateness_us: 1_000, ids_max: 4096, ..OrderPlan::default() };
    Arc::new(Plan { order, types: vec![held], config_digest: "none".into(), ..Plan::default() })
}

/// Signals of `count` entities: each once in turn, then each again in an order that jumps about.
struct Source {
    count: u64,
    number: u64,
    /// One signal every so often: each entity about every two seconds.
    step_us: i64,
}

impl Source {
    fn block(&mut self) -> Block {
        let mut block = Block { position: self.number, ..Block::default() };
        for _ in 0..BLOCK_ROWS {
            let (round, turn) = (self.number / self.count, self.number % self.count);
            // A stride that shares no factor with the count meets every entity once in a round.
            let entity = if round == 0 { turn } else { turn * 7_368_787 % self.count };
            // One in a hundred is in trouble, for some seconds at a time.
            let state = u8::from(round > 0 && (entity + round / 3) % 100 == 0);
            let mut row = Row::new(0, self.number);
            row.time_us = 1_700_000_000_000_000 + self.number as i64 * self.step_us;
            row.id = block.push_text(&format!("e-{}", self.number));
            row.id_hash = id_hash("made", block.text(row.id));
            row.key = block.push_text(&format!("shop-{:02}/cart-{entity:08}", entity % 100));
            row.key_hash = key_hash(0, block.text(row.key).as_bytes());
            row.fingerprint = fingerprint(state, b"");
            (row.signal_type, row.outcome, row.state, row.severity) = (0, outcome::OBSERVED, state, state);
            block.rows.push(row);
            self.number += 1;
        }
        block
    }
}

/// A size of this process in bytes, such as `VmRSS`; 0 where the system does not tell.
fn process_bytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn run(count: u64, rounds: u64) {
    let before_bytes = process_bytes("VmRSS");
    let mut core = Core::new(plan(), 2);
    let mut events: Vec<Event> = Vec::new();
    let mut said = Sha256::new();
    let mut source = Source { count, number: 0, step_us: (2_000_000 / count).max(1) as i64 };
    core.step([Entry::Source("made".into())], &mut NoJudge, &mut events);
    let (mut first, mut again) = (Duration::ZERO, Duration::ZERO);
    while source.number < count * rounds {
        let new = source.number < count;
        let block = Arc::new(source.block());
        let started = Instant::now();
        core.step([Entry::Signals(block)], &mut NoJudge, &mut events);
        *(if new { &mut first } else { &mut again }) += started.elapsed();
        let mut lines = Vec::new();
        events.drain(..).for_each(|event| event.write_line(&mut lines));
        said.update(&lines);
    }
    assert_eq!(core.entities() as u64, count);
    // What few of them need cannot be told from what the process needs anyway.
    let each_bytes = match process_bytes("VmRSS").saturating_sub(before_bytes) / count {
        bytes if count >= 100_000 => bytes.to_string(),
        _ => "-".into(),
    };
    let peak_mib = process_bytes("VmHWM") >> 20;
    let rate = |signals: u64, took: Duration| signals as f64 / took.as_secs_f64() / 1e6;
    let digest: String = said.finalize()[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    println!(
        "{count:>10} entities: {each_bytes:>5} bytes each (peak {peak_mib} MiB), {:.2} M/s when new, {:.2} M/s when known, digest {digest}",
        rate(count, first),
        rate(source.number - count, again),
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let one = arguments.iter().position(|argument| argument == "--entities").and_then(|at| arguments.get(at + 1));
    if let Some(count) = one.and_then(|count| count.parse().ok()) {
        return run(count, 3);
    }
    // Without `--bench`, as the tests run it, only to see that it works.
    let full = arguments.iter().any(|argument| argument == "--bench");
    let sizes: &[u64] = if full { &[1_000, 10_000, 100_000, 1_000_000, 10_000_000] } else { &[1_000] };
    for &count in sizes {
        run(count, (2_000_000 / count).clamp(3, 1_000));
    }
}
