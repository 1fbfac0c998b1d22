//! What a rule can do while it is loaded: it is refused, with the line that names it and the reason.

use std::path::Path;

use stillhouse::config::{Config, Overrides};
use stillhouse_rules::{EngineConfig, RuleEngine};

use crate::hostile::rules_folder;

/// What the user reads when the configuration names this rule file.
fn refused(file: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("bad.wasm"), file).expect("a file can be written");
    let path = folder.path().join("stillhouse.toml");
    let toml = "[[input]]\nformat = \"cloudevents\"\n[signal.good]\nmapper = \"status\"\n\
        [signal.bad]\nmapper = \"bad.wasm\"\n";
    let config = Config::parse(&path, toml.to_owned(), &Overrides::default()).expect("it is sound");
    let engine = RuleEngine::new(EngineConfig::default()).expect("an engine");
    let refused = stillhouse::rules::RuleSet::load(&config, &engine).expect_err("the rule is refused").to_string();
    // The host goes on: the same engine loads what is sound.
    engine.load(&test_rule("hostile")).expect("a sound rule loads");
    let place = format!("{}:6:10: rule `bad.wasm`: ", path.display());
    refused.strip_prefix(&place).unwrap_or_else(|| panic!("`{refused}` does not begin with `{place}`")).to_owned()
}

fn test_rule(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(&rules_folder()).join(format!("{name}.wasm"))).expect("the rule is built")
}

/// The rule `liar` in another mood.
fn moody(mood: &[u8; 4]) -> Vec<u8> {
    let mut file = test_rule("liar");
    let at = file.windows(9).position(|bytes| bytes == b"MOOD:calm").expect("its mood is in the file");
    file[at + 5..at + 9].copy_from_slice(mood);
    file
}

fn begins(said: &str, expected: &str) {
    assert!(said.starts_with(expected), "said `{said}`, expected `{expected}`");
}

#[test]
fn a_rule_that_is_not_pure() {
    begins(&refused(&test_rule("impure")), "not pure: the case `it works` is answered with");
}

#[test]
fn a_rule_that_cannot_describe_itself() {
    let said = refused(&moody(b"trap"));
    begins(&said, "the rule fails to describe itself: panicked at ");
    assert!(said.contains("in no mood to describe itself"), "{said}");
    begins(&refused(&moody(b"loop")), "the rule fails to describe itself: out of fuel: more than 200,000,000 units");
}

#[test]
fn a_rule_whose_own_words_are_wrong() {
    begins(&refused(&moody(b"fail")), "1 of its 1 test cases fail; the first is `never so`");
    begins(&refused(&moody(b"name")), "manifest: ");
}

#[test]
fn a_rule_that_wants_something_from_outside() {
    let import = r#"(module (import "wasi_snapshot_preview1" "fd_write" (func)))"#;
    let said = refused(&wat::parse_str(import).expect("it is sound"));
    begins(&said, "imports `wasi_snapshot_preview1.fd_write`, and a rule may import nothing but");
    assert!(said.ends_with("build for wasm32-unknown-unknown, not wasm32-wasip1"), "{said}");
    let import = r#"(component (import "wasi:random/random@0.2.0" (instance (export "get-random-u64" (func)))))"#;
    let said = refused(&wat::parse_str(import).expect("it is sound"));
    begins(&said, "imports `wasi:random/random@0.2.0`, and a rule may import nothing but");
}

#[test]
fn files_that_are_no_rules() {
    begins(&refused(b""), "not a WebAssembly rule: the file is empty");
    begins(&refused(b"\x7fELF is something else"), "not a WebAssembly rule: ");
    begins(&refused(b"\0asm\x01\0\0\0 and then nonsense"), "not a WebAssembly rule: ");
    let whole = test_rule("hostile");
    begins(&refused(&whole[..whole.len() / 2]), "not a WebAssembly rule: ");
}

#[test]
fn a_file_that_is_too_large() {
    // A sound rule with a custom section of 33 MiB behind it.
    let mut file = test_rule("hostile");
    let section = vec![b'x'; 33 << 20];
    let mut length = section.len();
    file.push(0);
    while length >= 0x80 {
        file.push(length as u8 | 0x80);
        length >>= 7;
    }
    file.push(length as u8);
    file.extend(section);
    begins(&refused(&file), "too large: the file has 33 MiB, limit 32 MiB (`component_bytes_max`)");
}
