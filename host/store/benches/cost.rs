//! What the store costs: `cargo bench -p stillhouse-store --bench cost [-- MEGABYTES]`, on Linux.
//!
//! Signals of some 240 bytes as JSON; a transaction has four blocks of them, 200 small values of 100,000 and a block of
//! events. Everything runs on one thread, whose CPU time is told for each megabyte of signals.

use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use stillhouse_store::{BLOCK_BYTES, Batch, Map, Sequence, Store};

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % end
    }
}

/// A signal of a probe or of Kubernetes.
fn signal(random: &mut Random, second: u64) -> Vec<u8> {
    let reasons =
        ["Unhealthy", "BackOff", "Pulled", "Created", "Started", "Killing", "FailedScheduling", "NodeNotReady"];
    let pod = random.below(20_000);
    let hash = pod.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24;
    let time = format!("{:02}:{:02}.{:06}Z", second / 60 % 60, second % 60, random.below(1_000_000));
    let id = random.below(u64::MAX).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let text = if random.below(2) == 0 {
        format!(
            r#"{{"id":"{id:016x}","source":"/kubernetes/cluster-{}","type":"k8s.event","subject":"ns-{}/svc-{}-{hash:010x}","time":"2026-03-02T11:{time}","data":{{"reason":"{}","count":{},"message":"Readiness probe failed: HTTP probe failed with statuscode: {}"}}}}"#,
            random.below(3),
            random.below(40),
            pod % 300,
            reasons[random.below(8) as usize],
            random.below(50),
            500 + random.below(5)
        )
    } else {
        format!(
            r#"{{"id":"{id:016x}","source":"/probe/{}","type":"probe.http","subject":"svc-{}-{hash:010x}","time":"2026-03-02T11:{time}","data":{{"state":"{}","latency_ms":{}.{:03},"region":"eu-west-{}","attempt":{}}}}}"#,
            random.below(12),
            pod % 300,
            if random.below(5) == 0 { "down" } else { "up" },
            random.below(400),
            random.below(1000),
            random.below(3),
            random.below(4)
        )
    };
    text.into_bytes()
}

/// The CPU time of this thread so far.
fn cpu_ms() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e6
}

struct Watch(Instant, f64);

impl Watch {
    fn start() -> Self {
        Self(Instant::now(), cpu_ms())
    }

    fn tell(&self, what: &str, megabytes: f64) {
        let (seconds, cpu) = (self.0.elapsed().as_secs_f64(), cpu_ms() - self.1);
        println!("{what:32} {:8.2} ms CPU/MB {:10.0} MB/s", cpu / megabytes, megabytes / seconds);
    }
}

fn write(store: &Store, signals: &[Vec<u8>], megabytes_max: f64, values: usize) -> f64 {
    let mut random = Random(7);
    let (mut megabytes, mut cpu_seal, mut latencies) = (0.0, 0.0, Vec::new());
    let watch = Watch::start();
    let mut at = 0;
    while megabytes < megabytes_max {
        let mut batch = Batch::default();
        let mut position = store.next(Sequence::Log);
        while batch.raw_bytes() < 4 * BLOCK_BYTES {
            batch.append(Sequence::Log, position, position as i64, &signals[at % signals.len()]);
            position += 1;
            at += 1;
        }
        let first = store.next(Sequence::Events);
        for event in 0..150 {
            batch.append(Sequence::Events, first + event, 0, &signals[(at + event as usize * 31) % signals.len()]);
        }
        megabytes += batch.raw_bytes() as f64 / 1e6;
        for _ in 0..values {
            let key = random.below(100_000).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
            let value = (0..15).flat_map(|_| random.below(u64::MAX).to_le_bytes()).collect();
            batch.put(Map::Checkpoints, &key, value);
        }
        let cpu = cpu_ms();
        batch.seal();
        cpu_seal += cpu_ms() - cpu;
        let begun = Instant::now();
        store.write(&batch).expect("it is written");
        latencies.push(begun.elapsed());
    }
    watch.tell(&format!("write, {values} values each"), megabytes);
    println!("{:32} {:8.2} ms CPU/MB", "  of which to compress", cpu_seal / megabytes);
    latencies.sort();
    let [half, most] = [latencies.len() / 2, latencies.len() * 99 / 100].map(|at| latencies[at].as_secs_f64() * 1e3);
    println!("{:32} {half:8.1} ms at the median, {most:.1} ms at the 99th percentile", "  a transaction");
    megabytes
}

fn read(store: &Store) {
    let watch = Watch::start();
    let (mut bytes, mut digest) = (0, 0);
    for record in store.read(Sequence::Log, 0).expect("it is kept") {
        let record = record.expect("it is sound");
        bytes += record.bytes().len();
        digest = crc32fast::hash(&[record.bytes()[record.bytes().len() / 2], digest as u8]) ^ digest;
    }
    watch.tell("read all of the log", bytes as f64 / 1e6);
    println!("{:32} {digest:08x}", "  digest");
}

fn open_again(path: &Path) {
    let copy = path.with_extension("copy");
    std::fs::copy(path, &copy).expect("it is copied");
    std::fs::File::open(&copy).and_then(|copy| copy.sync_all()).expect("it is on disk");
    let begun = Instant::now();
    let store = Store::open(&copy).expect("it is opened");
    println!("{:32} {:8.1} ms", "open what was not closed", begun.elapsed().as_secs_f64() * 1e3);
    drop(store);
}

fn main() {
    let megabytes = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(256.0);
    let mut random = Random(42);
    let signals: Vec<_> = (0..140_000).map(|second| signal(&mut random, second / 50)).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let plain = Store::open(&folder.path().join("plain")).expect("it is made");
    write(&plain, &signals, megabytes, 0);
    let path = folder.path().join("store");
    let mut store = Store::open(&path).expect("it is made");
    let megabytes = write(&store, &signals, megabytes, 200);
    let blocks = store.blocks(Sequence::Log).expect("its blocks");
    let (raw, stored, count) = blocks.iter().fold((0, 0, 0), |(raw, stored, count), block| {
        (raw + u64::from(block.raw_bytes), stored + u64::from(block.stored_bytes), count + block.end() - block.first)
    });
    let file_bytes = store.file_bytes().expect("its length");
    println!("{:32} {:8.1} MB for {megabytes:.0} MB", "the file", file_bytes as f64 / 1e6);
    println!(
        "{:32} {:8.1} bytes of {:.1}, {:.2} times smaller",
        "a signal in its block",
        stored as f64 / count as f64,
        raw as f64 / count as f64,
        raw as f64 / stored as f64
    );
    open_again(&path);
    read(&store);
    let (before_bytes, after_bytes) = store.compact().expect("it is compacted");
    println!("{:32} {:8.1} MB to {:.1} MB", "compact", before_bytes as f64 / 1e6, after_bytes as f64 / 1e6);
    std::io::stdout().flush().expect("it is told");
}
