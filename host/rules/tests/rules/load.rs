//! What loads and what is refused, with the words that its author reads.

use std::collections::BTreeMap;

use stillhouse_rules::{Answer, EngineConfig, Kind, Limits, LoadError, RuleEngine};

use crate::engine;
use crate::wat_rule::{IMPURE, NEW, WatRule, embed};

fn refused(file: &[u8]) -> String {
    engine().load(file).unwrap_err().to_string()
}

fn refused_rule(rule: WatRule) -> String {
    refused(&rule.build())
}

fn module(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

#[test]
fn a_sound_rule_tells_what_it_is() {
    let engine = engine();
    let file = WatRule::default().build();
    let rule = engine.load(&file).unwrap();
    assert_eq!(rule.kind(), Kind::Mapper);
    assert_eq!((rule.id().name.as_str(), rule.id().version.as_str()), ("by-hand", "1.2.3"));
    assert_eq!(rule.id().digest.len(), 64);
    assert_eq!(rule.schema(), 7);
    assert_eq!(rule.fields()[0].path, "subject");
    assert_eq!(rule.states()[1].name, "down");
    assert!(rule.case_results()[0].passed());
    let Answer::Observed { state, key, .. } = &rule.case_results()[0].got else { panic!() };
    assert_eq!((state.as_str(), key.as_str()), ("up", "o"));
    assert!(format!("{rule:?}").starts_with("Rule(mapper by-hand 1.2.3 "));
    // The same bytes are the same rule.
    assert_eq!(engine.load(&file).unwrap().id(), rule.id());
}

#[test]
fn a_wrapped_component_loads_too() {
    let component =
        wit_component::ComponentEncoder::default().module(&WatRule::default().build()).unwrap().encode().unwrap();
    assert_eq!(engine().load(&component).unwrap().id().name, "by-hand");
}

#[test]
fn what_is_no_webassembly_is_refused() {
    assert_eq!(refused(b""), "not a WebAssembly rule: the file is empty");
    assert_eq!(refused(b"hello"), "not a WebAssembly rule: it does not begin with the bytes `\\0asm`");
    assert!(refused(b"(module)").contains("text format"));
    assert!(refused(b"\0asm").starts_with("not a WebAssembly rule: "));
    let mut file = WatRule::default().build();
    file.truncate(file.len() / 2);
    assert!(refused(&file).starts_with("not a WebAssembly rule: "));
}

#[test]
fn a_damaged_file_never_panics() {
    let engine = engine();
    let file = WatRule::default().build();
    // A small generator, so that a failure is found again.
    let mut seed = 1u64;
    for _ in 0..200 {
        let mut damaged = file.clone();
        for _ in 0..3 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (seed >> 33) as usize % damaged.len();
            damaged[at] ^= (seed >> 20) as u8 | 1;
        }
        let _ = engine.load(&damaged);
    }
}

#[test]
fn an_import_is_named_with_its_fix() {
    let import = |module: &str, name: &str| {
        let text = format!("(module (import \"{module}\" \"{name}\" (func)))");
        refused(&self::module(&text))
    };
    assert_eq!(
        import("wasi_snapshot_preview1", "fd_write"),
        "imports `wasi_snapshot_preview1.fd_write`, and a rule may import nothing but \
         `stillhouse:rules/log`: build for wasm32-unknown-unknown, not wasm32-wasip1"
    );
    assert!(import("__wbindgen_placeholder__", "f").contains("`js` or `wasmbind` feature"));
    assert!(import("env", "memcpy").contains("no function of C"));
    assert!(import("stillhouse:rules/log@0.9.0", "log").contains("version 0.2 (or 0.1)"));
    assert!(import("elsewhere", "f").contains("no clock, no randomness"));
    let component = "(component (import \"wasi:clocks/wall-clock@0.2.0\" (instance (export \"now\" (func)))))";
    assert_eq!(
        refused(&module(component)),
        "imports `wasi:clocks/wall-clock@0.2.0`, and a rule may import nothing but \
         `stillhouse:rules/log`: build for wasm32-unknown-unknown, not wasm32-wasip2; in \
         JavaScript and Python, build with `--stub-wasi`"
    );
}

#[test]
fn an_interface_of_types_alone_may_be_imported() {
    let component = "(component (import \"other:thing/types@1.0.0\" (instance
        (type $r (record (field \"a\" u32))) (export \"r\" (type (eq $r))))))";
    // It is refused for what it does not export, not for what it imports.
    assert!(refused(&module(component)).starts_with("wrong exports: "));
}

/// wasmtime puts a module between the two that has the memories of both.
#[test]
fn a_component_may_pass_text_to_one_inside_it() {
    let inside = r#"(component $inside
        (core module $m (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)
            (func (export "f") (param i32 i32)))
        (core instance $i (instantiate $m))
        (func (export "f") (param "text" string)
            (canon lift (core func $i "f") (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))"#;
    let outside = format!(
        r#"(component {inside}
        (instance $inside (instantiate $inside))
        (core module $memory (memory (export "memory") 1))
        (core instance $memory (instantiate $memory))
        (core func $f (canon lower (func $inside "f") (memory (core memory $memory "memory"))))
        (core module $caller (import "" "f" (func (param i32 i32))))
        (core instance (instantiate $caller (with "" (instance (export "f" (func $f))))))
        (instance $rule) (export "stillhouse:rules/mapper-rule@0.2.0" (instance $rule)))"#
    );
    // It is compiled and refused for what it does not export.
    let refused = refused(&module(&outside));
    assert!(refused.starts_with("wrong exports: "), "{refused}");
    // A rule's own module has one memory.
    let two = engine().load(&module("(module (memory 1) (memory 1))")).unwrap_err().to_string();
    assert!(two.contains("multiple memories"), "{two}");
}

#[test]
fn wrong_exports_are_named() {
    assert_eq!(
        refused(&module("(module)")),
        "wrong exports: expected `stillhouse:rules/mapper-rule@0.2.0` or \
         `stillhouse:rules/suppressor-rule@0.2.0`, got none; is the SDK's macro for the rule missing?"
    );
    let other = "(component
        (instance $i) (export \"stillhouse:rules/mapper-rule@0.3.0\" (instance $i)))";
    assert!(refused(&module(other)).contains("got `stillhouse:rules/mapper-rule@0.3.0`; build with"));
    let empty = "(component
        (instance $i) (export \"stillhouse:rules/mapper-rule@0.1.0\" (instance $i)))";
    assert!(refused(&module(empty)).starts_with("wrong exports: "));
    // What a module says of its types does not count, only what it exports.
    let mut bare = module("(module)");
    embed(&mut bare, "mapper", NEW);
    assert!(refused(&bare).starts_with("wrong exports: "));
    let both = "(component (instance $i) (export \"stillhouse:rules/mapper-rule@0.2.0\" (instance $i))
        (instance $j) (export \"stillhouse:rules/mapper-rule@0.1.0\" (instance $j)))";
    assert_eq!(
        refused(&module(both)),
        "wrong exports: it is `stillhouse:rules/mapper-rule@0.2.0` and `stillhouse:rules/mapper-rule@0.1.0` at once; \
         build one rule for each"
    );
    let odd = "(module (func (export \"stillhouse:rules/mapper-rule@0.1.0#map\")))";
    assert!(refused(&module(odd)).starts_with("cannot wrap the module as a component: "));
}

#[test]
fn size_and_functions_are_bounded() {
    let with = |limits: Limits| {
        let config = EngineConfig { limits, instances_max: 4, ..EngineConfig::default() };
        let rule = WatRule::default().build();
        RuleEngine::new(config).unwrap().load(&rule).unwrap_err().to_string()
    };
    assert_eq!(
        with(Limits { component_bytes_max: 1024, ..Limits::default() }).split(" has ").next(),
        Some("too large: the file")
    );
    assert_eq!(
        with(Limits { functions_max: 5, ..Limits::default() }),
        "too large: the number of functions is more than 5, limit 5 (`functions_max`)"
    );
    assert!(with(Limits { function_bytes_max: 100, ..Limits::default() }).contains("one function has"));
    let cases = with(Limits { fuel_to_prove: 50, ..Limits::default() });
    assert!(cases.contains("its test cases use more than 50 units of fuel"), "{cases}");
    assert_eq!(with(Limits { cases_max: 0, ..Limits::default() }), "manifest: 1 cases, limit 0");
}

#[test]
fn a_rule_that_cannot_start_names_the_limit() {
    let start = |items| refused_rule(WatRule { items, ..WatRule::default() });
    assert_eq!(
        start("(func $go unreachable) (start $go)"),
        "the rule fails to start: trap: wasm `unreachable` instruction executed"
    );
    assert_eq!(
        start("(func $go (loop $l (br $l))) (start $go)"),
        "the rule fails to start: out of fuel: more than 200,000,000 units"
    );
    assert_eq!(
        start("(table 30000 funcref)"),
        "too large: a table begins with 30,000 entries, limit 20,000 (`table_elements_max`)"
    );
    let huge = "(component (core module $m (memory 1000)) (core instance (instantiate $m)))";
    assert_eq!(refused(&module(huge)), "too large: its memory begins with 63 MiB, limit 16 MiB (`memory_bytes_max`)");
    assert_eq!(
        start("(func $go (drop (memory.grow (i32.const 1000)))) (start $go)"),
        "the rule fails to start: memory: wanted 63 MiB, limit 16 MiB"
    );
}

#[test]
fn a_rule_that_cannot_describe_itself_names_the_limit() {
    let describe = |body| refused_rule(WatRule { describe: Some(body), ..WatRule::default() });
    assert_eq!(
        describe("(loop $l (br $l)) (i32.const 0)"),
        "the rule fails to describe itself: out of fuel: more than 200,000,000 units"
    );
    assert_eq!(
        describe("(drop (call $recurse (i32.const 0))) (i32.const 0)"),
        "the rule fails to describe itself: stack overflow: limit 512 KiB"
    );
    let huge = "(i32.store offset=0 (i32.const 200000) (i32.const 0))
        (i32.store offset=4 (i32.const 200000) (i32.const 5000000))
        (drop (memory.grow (i32.const 100))) (i32.const 200000)";
    assert_eq!(describe(huge), "the rule fails to describe itself: answer too large: limit 4 MiB");
    let outside = "(i32.store offset=4 (i32.const 200000) (i32.const 5000000)) (i32.const 200000)";
    assert!(describe(outside).starts_with("the rule fails to describe itself: bad answer: "));
}

#[test]
fn a_manifest_must_be_sound() {
    assert_eq!(
        refused_rule(WatRule { version: "1.2", ..WatRule::default() }),
        "manifest: version `1.2`: expected one such as `1.4.0`: unexpected end of input while \
         parsing minor version number"
    );
    assert!(refused_rule(WatRule { name: "By Hand", ..WatRule::default() }).contains("lower-case"));
    assert_eq!(
        refused_rule(WatRule { field: "time", ..WatRule::default() }),
        "manifest: field `time` is declared as text, but is an int"
    );
    assert_eq!(
        refused_rule(WatRule { field: "subjetc", ..WatRule::default() }),
        "manifest: no field `subjetc`; there are `id`, `source`, `type`, `subject`, `time`, `data`, \
         `data.` and a dotted path, or `table.NAME[FIELD].COLUMN`"
    );
    assert_eq!(
        refused_rule(WatRule { field: "data..x", ..WatRule::default() }),
        "manifest: field `data..x`: expected `data.` and a dotted path"
    );
    assert_eq!(
        refused_rule(WatRule { case: ("ok", "sideways"), ..WatRule::default() }),
        "manifest: case `the one case`: expected: no state `sideways`; there are `up`, `down`"
    );
}

#[test]
fn cases_must_pass_and_answers_be_pure() {
    let error = engine().load(&WatRule { case: ("ok", "down"), ..WatRule::default() }.build());
    let error = error.unwrap_err();
    assert_eq!(
        error.to_string(),
        "1 of its 1 test cases fail; the first is `the one case`: expected observed state `down`, \
         severity 0, key `o`, got observed state `up`, severity 0, key `o`"
    );
    let LoadError::Cases { results } = error else { panic!() };
    assert!(!results[0].passed());
    assert_eq!(
        refused_rule(WatRule { case: (IMPURE, "up"), ..WatRule::default() }),
        "not pure: the case `the one case` is answered with observed state `up`, severity 0, key \
         `i` in one batch with the others, but with observed state `down`, severity 0, key `i` in \
         the same batch again; an answer may depend on the row, its memo and the settings only"
    );
}

#[test]
fn settings_may_be_refused() {
    let rule = WatRule { refuses: Some("no such setting"), ..WatRule::default() };
    assert_eq!(refused_rule(rule), "manifest: its cases' own settings are refused: no such setting");
    let rule = engine().load(&WatRule::default().build()).unwrap();
    let Err(error) = rule.suppressor(&BTreeMap::new()) else { panic!() };
    assert_eq!(error.to_string(), "rule `by-hand` is a mapper, not a suppressor");
    let many = (0..300).map(|i| (i.to_string(), String::new())).collect();
    let Err(error) = rule.mapper(&many) else { panic!() };
    assert_eq!(error.to_string(), "rule `by-hand` refuses its settings: 300 settings, limit 256");
}

#[test]
fn instances_are_counted() {
    let rule = engine().load(&WatRule::default().build()).unwrap();
    let none = BTreeMap::new();
    let all: Vec<_> = (0..4).map(|_| rule.mapper(&none).unwrap()).collect();
    let Err(error) = rule.mapper(&none) else { panic!() };
    assert!(error.to_string().starts_with("all 4 rule instances are in use"), "{error}");
    drop(all);
    assert!(rule.mapper(&none).is_ok());
}
