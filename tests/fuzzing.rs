//! Every fuzz target over its kept corpus and seeded mutations of it; `cargo xtask fuzz` looks further.
//!
//! `MUTATIONS=100000 cargo test --release -p stillhouse-tests fuzzed` makes more of them. A failure prints the name of
//! the target and the bytes, as `SEED` does elsewhere: `FUZZ=csv:6b65790a cargo test ... the_given_bytes` feeds just
//! these.

#[path = "fuzz/targets.rs"]
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crate::chance::Chance;
use crate::drive::root;

/// How many mutations each target is fed with.
const MUTATIONS: usize = 2_000;

/// Those of a store are files, so there are fewer.
const SLOW: [(&str, usize); 2] = [("store", 40), ("checkpoint", 400)];

/// An input is not longer than this.
const BYTES_MAX: usize = 4096;

/// What decoders take to be special.
const WORDS: [&[u8]; 24] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b"\n",
    b"\r\n",
    b",",
    b":",
    b"\\u0040",
    b"\\ud800",
    b"\xff",
    b"\xEF\xBB\xBF",
    b"\0",
    b"-",
    b"9223372036854775808",
    b"1e999",
    b"\"items\":[",
    b"\"kind\":",
    b"null",
    b"a@b.cc",
    b"\xff\xff\xff\xff",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
];

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = root().join("tests/fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let corpus: Vec<_> = paths.iter().map(|path| fs::read(path).expect("a file of the corpus")).collect();
    assert!(!corpus.is_empty(), "{}: has no corpus", folder.display());
    corpus
}

/// One of the corpus after a few changes.
fn mutated(chance: &mut Chance, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[chance.below(corpus.len())].clone();
    for _ in 0..chance.between(1, 6) {
        let at = chance.below(bytes.len() + 1);
        let end = (at + chance.pick(&[1, 1, 2, 4, 16, 64])).min(bytes.len());
        match chance.below(7) {
            0 if at < end => bytes[at] ^= 1 << chance.below(8),
            1 if at < end => bytes[at] = chance.below(256) as u8,
            2 => drop(bytes.drain(at..end)),
            3 => drop(bytes.splice(at..at, chance.pick(&WORDS).iter().copied())),
            4 => {
                let part = bytes[at..end].to_vec();
                let to = chance.below(bytes.len() + 1);
                drop(bytes.splice(to..to, part));
            }
            5 => {
                let other = &corpus[chance.below(corpus.len())];
                let from = chance.below(other.len() + 1);
                drop(bytes.splice(at..end, other[from..].iter().copied()));
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

/// Why a target fails on these bytes, if it does.
fn failure(name: &str, target: targets::Target, bytes: &[u8]) -> Option<String> {
    catch_unwind(AssertUnwindSafe(|| target(bytes))).err()?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("FUZZ={name}:{hex}\n{}", String::from_utf8_lossy(bytes)))
}

#[test]
fn every_target_is_fuzzed_a_little() {
    let many = std::env::var("MUTATIONS").ok().and_then(|many| many.parse().ok());
    let mut failures = Vec::new();
    for (name, target) in targets::TARGETS {
        let corpus = corpus(name);
        let slow = SLOW.iter().find(|(slow, _)| *slow == name).map(|(_, mutations)| *mutations);
        let mut chance = Chance::new(1);
        let mutations = (0..many.or(slow).unwrap_or(MUTATIONS)).map(|_| mutated(&mut chance, &corpus));
        // The first of each target is enough.
        failures.extend(corpus.iter().cloned().chain(mutations).find_map(|bytes| failure(name, target, &bytes)));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn the_given_bytes_are_fed() {
    let Ok(given) = std::env::var("FUZZ") else { return };
    let (name, hex) = given.split_once(':').expect("FUZZ=TARGET:HEX");
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    targets::feed(name, &(0..hex.len()).step_by(2).map(byte).collect::<Vec<_>>());
}

/// A target without a corpus, or that cargo-fuzz does not know, is forgotten.
#[test]
fn every_target_is_known_everywhere() {
    let toml = fs::read_to_string(root().join("tests/fuzz/Cargo.toml")).expect("the manifest");
    for (name, _) in targets::TARGETS {
        assert!(!corpus(name).is_empty());
        assert!(toml.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}: not in tests/fuzz/Cargo.toml");
        let text = fs::read_to_string(root().join(format!("tests/fuzz/fuzz_targets/{name}.rs"))).expect("a target");
        assert!(text.contains(&format!("\"{name}\"")), "{name}: feeds another");
    }
}
