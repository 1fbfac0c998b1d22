//! What Stillhouse costs: a mapper call (native and WebAssembly), decoding, the core, the whole
//! way. Each bench prints a digest of its result, so that it can neither rot nor cheat. Run without
//! `--bench`, as the tests do, everything is tiny.

#[path = "../workload.rs"]
mod workload;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sha2::{Digest, Sha256};
use stillhouse::config::{Config, Overrides};
use stillhouse::decode::framing::{Chunk, Framer, Framing};
use stillhouse::decode::record::{Decoder, Rows};
use stillhouse::map::{BATCH_ROWS, Mapped, Worker};
use stillhouse::pipeline::{Pipeline, ROUND_CHUNKS};
use stillhouse::rules::RuleSet;
use stillhouse_core::columns::{Batch, Observations, Values};
use stillhouse_core::rule::NoJudge;
use stillhouse_core::{Block, Core, Entry, Event, Plan};
use stillhouse_rules::{EngineConfig, RuleEngine};
use stillhouse_sdk::columns as sdk;
use stillhouse_sdk::mapping::MapperRule;

/// How much the whole way distils, and how much everything else.
fn sizes() -> (u64, u64) {
    if std::env::args().any(|argument| argument == "--bench") { (1_000_000, 100_000) } else { (2_000, 1_000) }
}

/// Whether the command line asks for this group: what a group needs is not made for nothing.
fn is_wanted(group: &str) -> bool {
    let mut wanted = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    wanted.peek().is_none() || wanted.any(|argument| argument.contains(group))
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn rule_folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-rules")
}

fn loaded() -> (Config, RuleSet) {
    let config = Config::parse(&rule_folder().join("bench.toml"), workload::CONFIG.into(), &Overrides::default());
    let config = config.expect("the configuration is valid");
    let engine = RuleEngine::new(EngineConfig::default()).expect("the engine starts");
    let rules = RuleSet::load(&config, &engine).expect("`cargo xtask rules` has built the rules");
    (config, rules)
}

fn decoder(config: &Config, rules: &RuleSet) -> Arc<Decoder> {
    Arc::new(Decoder::new(&config.inputs[0], "bench.jsonl", &rules.fields(config)))
}

fn chunks(text: &str) -> Vec<Chunk> {
    let mut framer = Framer::new(Framing::Json);
    let mut chunks = Vec::new();
    for piece in text.as_bytes().chunks(256 << 10) {
        framer.buffer().extend_from_slice(piece);
        chunks.extend(framer.chunk(false, false));
    }
    chunks.extend(framer.chunk(true, true));
    chunks
}

/// Keeps the columns of all rows, so that mappers can be asked without decoding.
struct Keep {
    columns: stillhouse::decode::columns::ColumnBuilder,
}

impl Rows for Keep {
    fn row(&mut self, _: &mut Block, _: u16, _: usize, slots: &stillhouse::decode::Slots<'_>, places: &[usize]) {
        self.columns.push(slots, places.iter().copied());
    }
    fn source(&mut self, _: &str) -> u32 {
        0
    }
}

fn batches(config: &Config, rules: &RuleSet, text: &str, rows: usize) -> Vec<Batch> {
    let decoder = decoder(config, rules);
    let fields = &rules.fields(config)[0].1;
    let lines: Vec<&str> = text.lines().collect();
    let of = |lines: &[&str]| {
        let mut keep = Keep { columns: stillhouse::decode::columns::ColumnBuilder::new(fields) };
        let bytes = (lines.join("\n") + "\n").into_bytes();
        decoder.decode(Chunk { bytes, first: 1, ..Chunk::default() }, &mut Block::default(), &mut keep);
        keep.columns.take()
    };
    lines.chunks_exact(rows).map(of).collect()
}

/// The batch as the rule's own types, for the native call.
fn native(batch: &Batch) -> sdk::Batch {
    let column = |column: &stillhouse_core::columns::Column| {
        let Values::Text(text) = &column.values else { panic!("the bench rule reads text only") };
        let text = sdk::Text { offsets: text.offsets.clone(), data: text.data.clone() };
        sdk::Column { values: sdk::Values::Text(text), present: column.present.clone() }
    };
    sdk::Batch { rows: batch.rows, columns: batch.columns.iter().map(column).collect() }
}

fn mapper(criterion: &mut Criterion) {
    if !is_wanted("mapper") {
        return;
    }
    let (_, count) = sizes();
    let (config, rules) = loaded();
    let text = workload::lines(count.min(20_000), 5_000);
    let rule = rules.ids().next().expect("one type").0.clone();
    let mut group = criterion.benchmark_group("mapper");
    for rows in [1, 64, 512] {
        let batches = batches(&config, &rules, &text, rows);
        let batches = &batches[..batches.len().min(20_000 / rows).min(40)];
        group.throughput(Throughput::Elements((batches.len() * rows) as u64));
        let native: Vec<sdk::Batch> = batches.iter().map(native).collect();
        let mut keys = Vec::new();
        for batch in &native {
            keys.extend(bench_health::Rule::map(&(), batch).key.data);
        }
        let expected = digest(&keys);
        group.bench_with_input(BenchmarkId::new("native", rows), &native, |bencher, batches| {
            bencher.iter(|| batches.iter().for_each(|batch| drop(black_box(bench_health::Rule::map(&(), batch)))));
        });
        let mut instance = rule.mapper(&BTreeMap::new()).expect("no settings");
        let mut answers = Observations::default();
        let mut owned: Vec<Batch> = batches.to_vec();
        let mut keys = Vec::new();
        for batch in &mut owned {
            *batch = instance.map(std::mem::take(batch), &mut answers);
            keys.extend_from_slice(&answers.key.data);
        }
        assert_eq!(digest(&keys), expected, "WebAssembly answers as native code does");
        group.bench_function(BenchmarkId::new("wasm", rows), |bencher| {
            bencher.iter(|| {
                for batch in &mut owned {
                    *batch = instance.map(std::mem::take(batch), &mut answers);
                }
            });
        });
        if rows == 512 {
            group.bench_function(BenchmarkId::new("wasm, fresh instance a batch", rows), |bencher| {
                bencher.iter(|| {
                    for batch in &mut owned {
                        let mut fresh = rule.mapper(&BTreeMap::new()).expect("no settings");
                        *batch = fresh.map(std::mem::take(batch), &mut answers);
                    }
                });
            });
        }
        println!("mapper at {rows}: digest {expected}");
    }
    group.finish();
}

fn decode(criterion: &mut Criterion) {
    if !is_wanted("decode") {
        return;
    }
    let (_, count) = sizes();
    let (config, rules) = loaded();
    let text = workload::lines(count, 5_000);
    let decoder = decoder(&config, &rules);
    let fields = rules.fields(&config)[0].1.clone();
    let run = || {
        let mut sum = 0;
        for chunk in chunks(&text) {
            let mut keep = Keep { columns: stillhouse::decode::columns::ColumnBuilder::new(&fields) };
            let mut block = Block::default();
            decoder.decode(chunk, &mut block, &mut keep);
            sum += block.rows.iter().map(|row| row.time_us ^ row.id_hash as i64).fold(0, |a, b| a ^ b);
        }
        sum
    };
    println!("decode of {count}: digest {}", digest(&run().to_le_bytes()));
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(count)).sample_size(10);
    group.bench_function("json line to columns", |bencher| bencher.iter(run));
    group.finish();
}

fn mapped(config: &Config, rules: &RuleSet, text: &str) -> Vec<Arc<Block>> {
    let decoder = decoder(config, rules);
    let mut worker: Worker = rules.worker(config, BATCH_ROWS).expect("no settings");
    let mut position = 0;
    let place = |Mapped { mut block, .. }: Mapped| {
        block.position = position;
        position += block.rows.len() as u64;
        Arc::new(block)
    };
    chunks(text).into_iter().map(|chunk| worker.map(&decoder, chunk)).map(place).collect()
}

fn core(criterion: &mut Criterion) {
    if !is_wanted("core") {
        return;
    }
    let (_, count) = sizes();
    let (config, rules) = loaded();
    let plan = Arc::new(rules.plan(&config).expect("a valid plan"));
    let blocks = mapped(&config, &rules, &workload::lines(count, 5_000));
    let run = || step_over(&plan, &blocks);
    let mut lines = Vec::new();
    run().iter().for_each(|event| event.write_line(&mut lines));
    println!("core step over {count}: digest {}", digest(&lines));
    let mut group = criterion.benchmark_group("core");
    group.throughput(Throughput::Elements(count)).sample_size(10);
    group.bench_function("step", |bencher| bencher.iter(run));
    group.finish();
}

/// What the core makes of the blocks of one source.
fn step_over(plan: &Arc<Plan>, blocks: &[Arc<Block>]) -> Vec<Event> {
    let mut core = Core::new(Arc::clone(plan), 1);
    let mut events: Vec<Event> = Vec::new();
    core.step([Entry::Source("bench".into())], &mut NoJudge, &mut events);
    for block in blocks {
        core.step([Entry::Signals(Arc::clone(block))], &mut NoJudge, &mut events);
    }
    core.step([Entry::End], &mut NoJudge, &mut events);
    assert!(core.ledger().balances());
    events
}

fn whole(criterion: &mut Criterion) {
    if !is_wanted("whole") {
        return;
    }
    let (count, _) = sizes();
    let (config, rules) = loaded();
    let text = workload::lines(count, 10_000);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let run = |threads: usize| {
        let workers = (0..threads).map(|_| rules.worker(&config, BATCH_ROWS).expect("no settings")).collect();
        let judge = Box::new(rules.judge(&config).expect("valid settings"));
        let mut pipeline = Pipeline::new(rules.plan(&config).expect("a valid plan"), threads, judge, workers);
        pipeline.add_input(decoder(&config, &rules));
        let (mut lines, mut events) = (Vec::new(), Vec::new());
        let mut write = |events: &mut Vec<Event>| events.drain(..).for_each(|event| event.write_line(&mut lines));
        let mut round = Vec::new();
        let mut framer = Framer::new(Framing::Json);
        for piece in text.as_bytes().chunks(256 << 10) {
            framer.buffer().extend_from_slice(piece);
            round.extend(framer.chunk(false, false).map(|chunk| (0, chunk)));
            if round.len() == ROUND_CHUNKS {
                pipeline.round(std::mem::take(&mut round), &mut events);
                write(&mut events);
            }
        }
        round.extend(framer.chunk(true, true).map(|chunk| (0, chunk)));
        pipeline.round(round, &mut events);
        pipeline.end_input(0);
        pipeline.finish(&mut events);
        write(&mut events);
        assert!(pipeline.ledger().balances());
        (lines, pipeline.ledger())
    };
    let (lines, ledger) = run(threads);
    assert_eq!(digest(&lines), digest(&run(1).0), "threads and shards change nothing");
    println!("whole way of {count}, {threads} threads: digest {}, {ledger:?}", digest(&lines));
    let mut group = criterion.benchmark_group("whole way");
    group.throughput(Throughput::Elements(count)).sample_size(10);
    group.bench_function(BenchmarkId::new("json lines to events, threads", threads), |bencher| {
        bencher.iter(|| run(threads))
    });
    group.bench_function(BenchmarkId::new("json lines to events, threads", 1), |bencher| bencher.iter(|| run(1)));
    group.finish();
}

criterion_group!(benches, mapper, decode, core, whole);
criterion_main!(benches);
