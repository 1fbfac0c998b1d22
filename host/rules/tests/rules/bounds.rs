//! Compiling in bounds: whatever a file does to the compiler, loading ends, says which bound was hit,
//! and nobody else has to wait.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stillhouse_core::columns::{Batch, Column, Observations, TextColumn, Values};
use stillhouse_rules::{Compiler, EngineConfig, Limits, MapperInstance, RuleEngine};

use crate::wat_rule::WatRule;

/// The program of this crate that compiles, with bounds that a rule by hand is far from.
fn compiler() -> Compiler {
    let none: [&str; 0] = [];
    let compiler = Compiler::new(env!("CARGO_BIN_EXE_compile-rule"), none);
    Compiler { cpu_s_max: 2, cpu_s_per_mib: 0, wall_s_per_cpu_s: 10, ..compiler }
}

/// A program that does something else.
fn script(text: &str) -> Compiler {
    Compiler { cpu_s_max: 1, wall_s_per_cpu_s: 1, ..Compiler::new("/bin/sh", ["-c", text]) }
}

fn engine(compiler: Compiler, cache: Option<&Path>) -> RuleEngine {
    let config =
        EngineConfig { compiler: Some(compiler), cache_dir: cache.map(Path::to_owned), ..EngineConfig::default() };
    RuleEngine::new(EngineConfig { instances_max: 4, ..config }).unwrap()
}

fn with(items: &str) -> Vec<u8> {
    // The rule is built from a text that lives as long as the program.
    WatRule { items: Box::leak(items.to_owned().into_boxed_str()), ..WatRule::default() }.build()
}

fn asked(mapper: &mut MapperInstance) {
    let mut text = TextColumn::default();
    text.push("a");
    let column = Column { values: Values::Text(text), present: Vec::new() };
    let mut out = Observations::default();
    mapper.map(Batch { rows: 1, columns: vec![column] }, &mut out);
    assert_eq!(out.outcome, [0]);
}

/// Many functions that are each no trouble.
fn many_functions() -> Vec<u8> {
    let mut items = String::new();
    for n in 0..90_000 {
        let body = "i32.const 17 i32.mul i32.popcnt local.get 0 i32.add ".repeat(6);
        writeln!(items, "(func (param i32) (result i32) local.get 0 {body} i32.const {n} i32.xor)").unwrap();
    }
    with(&items)
}

/// One function whose loops lie in one another, with variables that are read in the innermost: each
/// loop has to pass each of them on.
fn deep_loops() -> Vec<u8> {
    const LOOPS: usize = 20_000;
    const LOCALS: usize = 2_000;
    let mut items = format!("(func (param i32) (local {})", "i64 ".repeat(LOCALS));
    items.push_str(&"loop ".repeat(LOOPS));
    for n in 1..=LOCALS {
        write!(items, "local.get {n} i64.const 3 i64.mul local.set {n} ").unwrap();
    }
    for depth in (0..LOOPS).step_by(10) {
        write!(items, "local.get 0 br_if {depth} ").unwrap();
    }
    items.push_str(&"end ".repeat(LOOPS));
    items.push(')');
    with(&items)
}

/// One function of jump tables.
fn jump_tables() -> Vec<u8> {
    let targets = (0..1_000).map(|n| format!("{n} ")).collect::<String>();
    let mut items = "(func (param i32)".to_owned();
    items.push_str(&"block ".repeat(1_000));
    for _ in 0..250 {
        write!(items, "block local.get 0 br_if 0 local.get 0 br_table {targets} end ").unwrap();
    }
    items.push_str(&"end ".repeat(1_000));
    items.push(')');
    with(&items)
}

fn many_types(types: u32) -> Vec<u8> {
    let mut items = String::new();
    for n in 0..types {
        let kinds = (0..18).map(|bit| if n >> bit & 1 == 0 { "i32 " } else { "i64 " }).collect::<String>();
        writeln!(items, "(type (func (param {kinds})))").unwrap();
    }
    with(&items)
}

fn many_locals(functions: usize) -> Vec<u8> {
    let one = format!("(func (local {}))\n", "i64 ".repeat(49_999));
    with(&one.repeat(functions))
}

fn many_exports(exports: u32) -> Vec<u8> {
    let mut items = "(func $nothing)".to_owned();
    for n in 0..exports {
        writeln!(items, "(export \"e{n}#f\" (func $nothing))").unwrap();
    }
    with(&items)
}

#[test]
fn hostile_files_end_and_nobody_else_notices() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(compiler(), Some(&folder.path().join("compiled")));
    let good = WatRule::default().build();
    let kept = engine.load(&good).unwrap();
    type Maker = fn() -> Vec<u8>;
    let files: [(&str, Maker); 6] = [
        ("many functions", many_functions),
        ("loops in loops", deep_loops),
        ("jump tables", jump_tables),
        ("many types", || many_types(29_000)),
        ("many locals", || many_locals(70)),
        ("many exports", || many_exports(99_000)),
    ];
    let idle = self::engine(script("exit 7"), None);
    let done = AtomicBool::new(false);
    let waits = std::thread::scope(|scope| {
        let loads = scope.spawn(|| {
            let mut mapper = kept.mapper(&BTreeMap::new()).unwrap();
            let mut waits = Vec::new();
            while !done.load(Ordering::Acquire) {
                let started = Instant::now();
                assert_eq!(engine.load(&good).unwrap().id(), kept.id());
                asked(&mut mapper);
                waits.push(started.elapsed());
                std::thread::sleep(Duration::from_millis(1));
            }
            waits
        });
        for (name, file) in files {
            let file = file();
            let started = Instant::now();
            // A compiler that does nothing shows what this process does itself.
            let _ = idle.load(&file);
            println!("{name}, {} kB: {:.1?} without compiling", file.len() >> 10, started.elapsed());
            let started = Instant::now();
            let said = engine.load(&file).map_or_else(|e| e.to_string(), |rule| format!("{rule:?}"));
            println!("{name}, {} kB: {:.1} s: {said}", file.len() >> 10, started.elapsed().as_secs_f64());
            let bounded = said.starts_with("Rule(mapper") || said.starts_with("compiling ");
            assert!(bounded, "{name}: {said}");
        }
        done.store(true, Ordering::Release);
        loads.join().unwrap()
    });
    let mut waits = waits;
    waits.sort();
    let at = |share: usize| waits[(waits.len() - 1) * share / 1000];
    println!(
        "{} loads and calls meanwhile: median {:?}, 999 of 1,000 {:?}, most {:?}",
        waits.len(),
        at(500),
        at(999),
        at(1000)
    );
    assert!(waits.len() > 100);
    // A compile takes seconds.
    assert!(at(990) < Duration::from_millis(500), "{:?}", at(990));
}

#[test]
fn a_bound_that_is_hit_is_named() {
    let refused = |compiler, file: &[u8]| engine(compiler, None).load(file).unwrap_err().to_string();
    let many = many_functions();
    let said = refused(Compiler { cpu_s_max: 1, wall_s_per_cpu_s: 100, ..compiler() }, &many);
    assert_eq!(said, "compiling took longer than 1 s of CPU (`cpu_s_max`, `cpu_s_per_mib`)");
    let said = refused(Compiler { cpu_s_max: 60, memory_bytes_max: 192 << 20, ..compiler() }, &deep_loops());
    assert_eq!(said, "compiling needed more than 192 MiB (`memory_bytes_max`)");
    let said = refused(Compiler { code_bytes_max: 1000, ..compiler() }, &WatRule::default().build());
    assert_eq!(said, "compiling made more than 1,000 bytes of code (`code_bytes_max`)");
    let said = engine(compiler(), None).load(&many_locals(90)).unwrap_err().to_string();
    let expected = "too large: the number of its functions' local variables is more than 4,000,000, limit 4,000,000 \
        (`locals_max`)";
    assert_eq!(said, expected);
    let said = engine(compiler(), None).load(&many_types(31_000)).unwrap_err().to_string();
    assert_eq!(said, "too large: the number of its types is more than 30,000, limit 30,000 (`types_max`)");
    let said = engine(compiler(), None).load(&many_exports(100_000)).unwrap_err().to_string();
    let expected = "too large: the number of its imports and exports is more than 100,000, limit 100,000 (`names_max`)";
    assert_eq!(said, expected);
}

#[test]
fn a_compiler_that_breaks_is_an_error_of_the_rule() {
    let file = WatRule::default().build();
    let refused = |compiler| engine(compiler, None).load(&file).unwrap_err().to_string();
    let said = refused(script("kill -SEGV $$"));
    assert_eq!(said, "the compiler crashed on it (signal 11): it said nothing");
    let said = refused(script("echo oh no >&2; exit 7"));
    assert_eq!(said, "the compiler failed on it (exit status: 7): oh no");
    assert_eq!(refused(script("echo not so >&2; exit 2")), "cannot compile: not so");
    // What it has started ends with it, so nobody waits for a pipe.
    assert_eq!(refused(script("sleep 1000; true")), "compiling took longer than 1 s");
    assert_eq!(refused(script("exec >&-; sleep 1000; true")), "compiling took longer than 1 s");
    let said = refused(Compiler { wall_s_per_cpu_s: 60, code_bytes_max: 1 << 20, ..script("cat /dev/zero") });
    assert_eq!(said, "compiling made more than 1 MiB of code (`code_bytes_max`)");
    let said = refused(script("cat"));
    assert!(said.starts_with("the code of /bin/sh is not for this host: "), "{said}");
    assert!(refused(script("exit 0")).starts_with("the code of /bin/sh is not for this host: "));
    let none: [&str; 0] = [];
    let said = refused(Compiler::new("/nowhere/to/be/found", none));
    assert!(said.starts_with("cannot start /nowhere/to/be/found: "), "{said}");
}

#[test]
fn a_body_that_is_not_valid_is_refused_with_the_compilers_words() {
    // The bodies of functions are left to the compiler to validate.
    let mut file = with("(func (result i32) i32.const 77)");
    let at = file.windows(4).position(|bytes| bytes == [0x41, 0xcd, 0x00, 0x0b]).expect("its body");
    file[at] = 0x42;
    let said = engine(compiler(), None).load(&file).unwrap_err().to_string();
    assert!(said.starts_with("cannot compile: ") && said.contains("type mismatch"), "{said}");
}

#[test]
fn parts_that_pass_text_are_compiled_here_and_apart() {
    // Two memories that pass a text from one to the other: the adapter between them needs both.
    let two = r#"(component
        (component $a
            (core module $m (memory (export "memory") 1) (func (export "f") (param i32 i32))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0))
            (core instance $i (instantiate $m))
            (func (export "f") (param "s" string) (canon lift (core func $i "f")
                (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))
        (component $b
            (import "f" (func $f (param "s" string)))
            (core module $l (memory (export "memory") 1))
            (core instance $l (instantiate $l))
            (core func $g (canon lower (func $f) (memory (core memory $l "memory"))))
            (core module $m (import "" "g" (func (param i32 i32))))
            (core instance (instantiate $m (with "" (instance (export "g" (func $g)))))))
        (instance $a (instantiate $a))
        (instance $b (instantiate $b (with "f" (func $a "f"))))
        (instance $none)
        (export "stillhouse:rules/mapper-rule@0.2.0" (instance $none)))"#;
    let file = wat::parse_str(two).unwrap();
    // What comes after compiling refuses it, whoever compiled.
    let here = RuleEngine::new(EngineConfig { instances_max: 4, ..EngineConfig::default() }).unwrap();
    for engine in [engine(compiler(), None), here] {
        let said = engine.load(&file).unwrap_err().to_string();
        assert!(said.starts_with("wrong exports: ") && said.contains("does not have export `describe`"), "{said}");
    }
}

#[test]
fn the_same_file_is_compiled_once() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("count");
    let text = r#"echo once >> "$0"; exec "$1" "$2""#;
    let arguments = ["-c", text, count.to_str().unwrap(), env!("CARGO_BIN_EXE_compile-rule")];
    let engine = engine(Compiler::new("/bin/sh", arguments), None);
    let file = WatRule::default().build();
    let rules: Vec<_> = std::thread::scope(|scope| {
        let loads: Vec<_> = (0..8).map(|_| scope.spawn(|| engine.load(&file).unwrap())).collect();
        loads.into_iter().map(|load| load.join().unwrap()).collect()
    });
    assert_eq!(fs::read_to_string(&count).unwrap(), "once\n");
    // And again when nobody has it any more.
    drop(rules);
    engine.load(&file).unwrap();
    assert_eq!(fs::read_to_string(&count).unwrap(), "once\nonce\n");
}

#[test]
fn what_is_cached_does_not_wait_for_a_compiler() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("compiled");
    let good = WatRule::default().build();
    engine(compiler(), Some(&cache)).load(&good).unwrap();
    // This one compiles nothing, and takes its time.
    let begun = folder.path().join("begun");
    let slow = Compiler {
        wall_s_per_cpu_s: 3,
        ..Compiler::new("/bin/sh", ["-c", r#"> "$0"; sleep 1000"#, begun.to_str().unwrap()])
    };
    let engine = engine(Compiler { cpu_s_max: 1, cpu_s_per_mib: 0, ..slow }, Some(&cache));
    let other = WatRule { version: "9.9.9", ..WatRule::default() }.build();
    std::thread::scope(|scope| {
        let load = scope.spawn(|| engine.load(&other).unwrap_err().to_string());
        while !begun.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let rule = engine.load(&good).unwrap();
        assert!(rule.case_results()[0].passed());
        assert_eq!(rule.case_results().len(), 1);
        assert!(!load.is_finished());
        assert_eq!(load.join().unwrap(), "compiling took longer than 3 s");
    });
}

#[test]
fn what_was_proved_within_other_limits_is_proved_again() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("compiled");
    let file = WatRule::default().build();
    let load = |limits: Limits| {
        let config =
            EngineConfig { limits, cache_dir: Some(cache.clone()), instances_max: 4, ..EngineConfig::default() };
        RuleEngine::new(config).unwrap().load(&file).map(|rule| rule.case_results().to_vec())
    };
    let first = load(Limits::default()).unwrap();
    assert_eq!(load(Limits::default()).unwrap(), first);
    let error = load(Limits { fuel_to_prove: 50, ..Limits::default() }).unwrap_err();
    assert!(error.to_string().contains("its test cases use more than 50 units of fuel"), "{error}");
    // Nobody but this host says what was proved.
    let proofs = || {
        fs::read_dir(&cache).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "proof"))
    };
    assert_eq!(proofs().count(), 1);
    for proof in proofs() {
        fs::write(proof, "mapper 0.2.0\n\n").unwrap();
    }
    assert_eq!(load(Limits::default()).unwrap(), first);
    assert!(proofs().all(|proof| fs::read(proof).unwrap().starts_with(b"shcwasm1")));
}
