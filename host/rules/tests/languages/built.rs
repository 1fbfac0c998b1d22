//! The rules of other languages, built as their authors build them: a copy of the folder anywhere,
//! and its `build`. What has not changed is not built again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use sha2::{Digest, Sha256};
use stillhouse_rules::{EngineConfig, RuleEngine};

/// The languages of `examples/rules`.
pub const LANGUAGES: [&str; 3] = ["c", "javascript", "python"];

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The file of a rule: `probe` is the example, `wide` a rule of the tests in its place.
pub fn rule_file(language: &str, rule: &str) -> PathBuf {
    root().join(format!("target/languages/{language}-{rule}.wasm"))
}

/// Builds the rules of all languages.
///
/// # Panics
/// With what a `build` said, where it fails.
pub fn build_all() {
    let builds = LANGUAGES.map(|language| {
        thread::spawn(move || {
            build(language, "probe", None);
            build(language, "wide", Some("host/rules/tests/languages/wide"));
        })
    });
    for (language, build) in LANGUAGES.iter().zip(builds) {
        assert!(build.join().is_ok(), "the rules in {language} cannot be built; see above");
    }
}

/// Builds the example of `language`, with its rule from the folder `instead` where that is given.
/// All rules of a language are built in one folder, which has its tools.
fn build(language: &str, rule: &str, instead: Option<&str>) {
    let example = root().join("examples/rules").join(language);
    let mut files = BTreeMap::new();
    read_folder(&example, Path::new(""), &mut files);
    if let Some(instead) = instead {
        for (file, bytes) in &mut files {
            if let Ok(other) = fs::read(root().join(instead).join(file)) {
                *bytes = other;
            }
        }
    }
    let built = rule_file(language, rule);
    let (stamp, digest) = (built.with_extension("digest"), digest(&files));
    if built.exists() && fs::read_to_string(&stamp).is_ok_and(|of| of == digest) {
        return;
    }
    let folder = root().join("target/languages").join(language);
    for (file, bytes) in &files {
        write_if_changed(&folder.join(file), bytes);
    }
    let program = folder.join("build");
    let mode = fs::metadata(example.join("build")).expect("every example has one").permissions();
    fs::set_permissions(&program, mode).expect("its mode");
    let output = Command::new(&program).output().expect("bash runs");
    assert!(
        output.status.success(),
        "{}: {}\n{}{}",
        program.display(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    fs::copy(folder.join("rule.wasm"), built).expect("`build` leaves rule.wasm");
    fs::write(&stamp, digest).expect("a file in target/");
}

/// Every file of the folder but what `build` makes.
fn read_folder(folder: &Path, below: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder.join(below)).expect("the example is there") {
        let name = entry.expect("an entry").file_name();
        let path = below.join(&name);
        if ["node_modules", ".tools", "__pycache__", "rule.wasm"].iter().any(|made| name == *made) {
            continue;
        }
        if folder.join(&path).is_dir() {
            read_folder(folder, &path, files);
        } else {
            files.insert(path.clone(), fs::read(folder.join(&path)).expect("a file"));
        }
    }
}

fn digest(files: &BTreeMap<PathBuf, Vec<u8>>) -> String {
    let mut hash = Sha256::new();
    for (file, bytes) in files {
        hash.update(file.to_string_lossy().as_bytes());
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What has not changed keeps its time, so that tools that are installed are not installed again.
fn write_if_changed(path: &Path, bytes: &[u8]) {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return;
    }
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder in target/");
    fs::write(path, bytes).expect("a file in target/");
}

/// An engine whose compiled code is kept: a component of 19 MB takes 10 s of work.
pub fn engine() -> RuleEngine {
    let cache = root().join("target/languages/compiled");
    RuleEngine::new(EngineConfig { cache_dir: Some(cache), ..EngineConfig::default() }).expect("an engine")
}

/// The rule in Rust that the examples are in other languages.
///
/// # Panics
/// If it has not been built.
pub fn in_rust() -> PathBuf {
    let path = root().join("target/test-rules/probe.wasm");
    assert!(path.exists(), "{} is not there; `cargo xtask rules` builds it", path.display());
    path
}
