//! How long a rule takes from its bytes to being proved: printed, and bounded far from any luck.

use std::path::Path;
use std::time::{Duration, Instant};

use stillhouse_rules::{Compiler, EngineConfig, RuleEngine};

use crate::cli::stillhouse;
use crate::hostile::rules_folder;

const TIMES: usize = 15;

/// The median time of loading `file`, each time with a new engine that `config` makes.
fn median(file: &[u8], config: impl Fn() -> EngineConfig) -> Duration {
    let mut took: Vec<Duration> = (0..TIMES)
        .map(|_| {
            let engine = RuleEngine::new(config()).expect("an engine");
            let started = Instant::now();
            engine.load(file).expect("the rule loads");
            started.elapsed()
        })
        .collect();
    took.sort();
    took[TIMES / 2]
}

#[test]
fn a_cached_rule_loads_at_once() {
    let kept = tempfile::tempdir().expect("a folder");
    let program = stillhouse().get_program().to_owned();
    let here = || EngineConfig { instances_max: 8, ..EngineConfig::default() };
    let apart = || EngineConfig { compiler: Some(Compiler::new(&program, ["compile-rule"])), ..here() };
    let cached = || EngineConfig { cache_dir: Some(kept.path().join("compiled")), ..apart() };
    let folder = Path::new(&rules_folder()).with_file_name("rules");
    for name in ["status", "kubernetes-events", "transient"] {
        let bytes = std::fs::read(folder.join(name).with_extension("wasm")).expect("the rule is built");
        RuleEngine::new(cached()).expect("an engine").load(&bytes).expect("it loads");
        let (cold, apart, cached) = (median(&bytes, here), median(&bytes, apart), median(&bytes, cached));
        println!(
            "{name}, {} kB: cold {cold:.1?}, cold in a process {apart:.1?}, cached {cached:.2?}",
            bytes.len() >> 10
        );
        assert!(cached < cold, "{name}: cached {cached:?}, cold {cold:?}");
    }
}
