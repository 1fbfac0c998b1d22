//! The workload of the benches: health signals as CloudEvents, from a seed, and a configuration for
//! them. Most say again what is known, some are blips, few are lasting changes.

use std::fmt::Write;

/// A configuration with a mapper and a suppressor in WebAssembly.
pub const CONFIG: &str = r#"
[rules]
folder = "."

[[input]]
format = "cloudevents"

[signal."bench.health"]
mapper = "bench-health"
suppressor = "maintenance"
suppressor_settings = { windows = "daily 02:00-02:10 shop/*" }
hold_down = "2s"
hold_open = "1s"

[signal."bench.health".flapping]
high = 50
low = 25
"#;

/// `count` signals of `entities` entities, one a line, about 420 bytes each, one every 100 µs.
pub fn lines(count: u64, entities: u64) -> String {
    const TROUBLE: [&str; 4] = [
        "Readiness probe failed: Get http://10.12.7.31:8080/ready: dial tcp: connection refused by peer",
        "Readiness probe failed: Get http://10.12.7.31:8080/ready: request timed out after 5 seconds",
        "container is throttled and its node is under pressure, eviction may follow in a few minutes",
        "Readiness probe failed: HTTP probe failed with statuscode: 503, service is still warming up",
    ];
    const FINE: &str = "Readiness probe succeeded: HTTP probe returned statuscode 200 in 4 ms, nothing else to say";
    let mut text = String::with_capacity(count as usize * 430);
    let mut state = 42_u64;
    for number in 0..count {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = state >> 33;
        let entity = random % entities;
        // An entity in a hundred is in trouble for half a minute at a time; one signal in fifty is a blip.
        let lasting = (entity + number / 300_000).is_multiple_of(100);
        let (status, level, message) = match (lasting, random / entities % 50) {
            (true, _) | (false, 0) => ("Failed", "error", TROUBLE[(entity % 4) as usize]),
            (false, 1) => ("Debug", "debug", FINE),
            _ => ("Ready", "info", FINE),
        };
        let us = number * 100;
        let (second, micro) = (us / 1_000_000, us % 1_000_000);
        let time = format!(
            "2026-01-{:02}T{:02}:{:02}:{:02}.{micro:06}Z",
            1 + second / 86_400,
            second / 3_600 % 24,
            second / 60 % 60,
            second % 60
        );
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            r#"{{"specversion":"1.0","id":"e-{number:010}","source":"/cluster-1/kubelet","type":"bench.health","time":"{time}","data":{{"status":"{status}","level":"{level}","message":"{message}","attributes":{{"namespace":"shop-{}","pod":"cart-{entity:06}","node":"node-{}","container":"app","zone":"eu-1a","team":"checkout"}}}}}}"#,
            entity % 20,
            entity % 300,
        );
    }
    text
}
