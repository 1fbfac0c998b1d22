//! Style as a test: what the house forbids, looked for in every source file of the repository.

use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 600;

/// Folders that hold nothing written here.
const FOREIGN: [&str; 4] = ["target", ".git", "node_modules", ".tools"];

/// What is a pure function of the log: the distillation, and which version of a rule counts.
const PURE: [&str; 2] = ["host/core/src/", "host/rollout/src/"];

/// What the core must not name, and why.
const BANNED_IN_CORE: [(&str, &str); 12] = [
    ("std::time", "the core has no clock"),
    ("Instant::now", "the core has no clock"),
    ("SystemTime", "the core has no clock"),
    ("Timestamp::now", "the core has no clock"),
    ("Zoned::now", "the core has no clock"),
    ("tokio", "the core is synchronous"),
    ("async fn", "the core is synchronous"),
    ("std::thread", "the driver runs the shards"),
    ("std::fs", "the core does no I/O"),
    ("std::net", "the core does no I/O"),
    ("std::collections::HashMap", "its order depends on a seed"),
    ("println!", "the core does no I/O"),
];

/// Ways to go through a hash map, whose order is nobody's.
const WALKS: [&str; 5] = [".iter()", ".keys()", ".values()", ".into_iter()", ".drain("];

/// What comes out the same in any order.
const ORDERLESS: [&str; 5] = [".min()", ".max()", ".sum::<", ".count()", ".sum()"];

/// What is wrong with the file at `path` (relative to the repository).
fn faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        faults.push(format!("{path}: {lines} lines, more than {LINES_MAX}"));
    }
    if path.ends_with("/mod.rs") {
        faults.push(format!("{path}: `foo.rs` beside `foo/`, no `mod.rs`"));
    }
    // Only code counts, not what a comment says of it.
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    let in_core = PURE.iter().any(|folder| path.starts_with(folder));
    let may_run_wasm = path.starts_with("host/rules/") || path == "tests/tidy.rs";
    let maps = if in_core { hash_maps(text) } else { Vec::new() };
    for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, code(line))) {
        if in_core {
            let banned = BANNED_IN_CORE.iter().filter(|(name, _)| line.contains(name));
            faults.extend(banned.map(|(name, why)| format!("{path}:{number}: `{name}`: {why}")));
            let orderless = ORDERLESS.iter().any(|end| line.contains(end));
            let walked = maps
                .iter()
                .filter(|_| !orderless)
                .filter(|map| WALKS.iter().any(|walk| line.contains(&format!("{map}{walk}"))));
            faults.extend(walked.map(|map| format!("{path}:{number}: goes through the hash map `{map}`")));
        }
        if !may_run_wasm && (line.contains("use wasmtime") || line.contains("wasmtime::")) {
            faults.push(format!("{path}:{number}: wasmtime lives in host/rules alone"));
        }
    }
    faults
}

/// The names that a file gives to hash maps and hash sets.
fn hash_maps(text: &str) -> Vec<String> {
    let names = text.lines().filter(|line| line.contains("HashMap<") || line.contains("HashSet<"));
    let names = names.filter_map(|line| line.trim().trim_start_matches("pub ").split_once(':'));
    names.map(|(name, _)| name.trim().to_owned()).filter(|name| name.chars().all(char::is_alphanumeric)).collect()
}

/// The test files that neither `main` declares nor a bench takes in by its path.
fn undeclared(main: &str, benches: &str, files: &[String]) -> Vec<String> {
    let declared = |file: &&String| {
        let module = format!("mod {};", file.trim_end_matches(".rs"));
        let path = format!("#[path = \"../{file}\"]");
        let by_path = benches.lines().any(|line| line == path);
        file.as_str() == "main.rs" || by_path || main.lines().any(|line| line == module)
    };
    files.iter().filter(|file| !declared(file)).cloned().collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the repository").to_owned()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).expect("the repository can be read");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry can be read").path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !FOREIGN.contains(&&*name) {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_file_is_tidy() {
    let mut files = Vec::new();
    rust_files(&root(), &mut files);
    assert!(files.len() > 20, "the search finds the repository: {} files", files.len());
    let text = |path: &Path| fs::read_to_string(path).expect("source is UTF-8");
    let relative = |path: &Path| path.strip_prefix(root()).expect("inside").to_string_lossy().replace('\\', "/");
    let faults: Vec<_> = files.iter().flat_map(|path| faults(&relative(path), &text(path))).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_test_file_is_declared() {
    let folder = root().join("tests");
    let entries = fs::read_dir(&folder).expect("tests/ can be read");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let files: Vec<_> = names.filter(|name| name.ends_with(".rs")).collect();
    let main = fs::read_to_string(folder.join("main.rs")).expect("main.rs");
    assert!(files.len() > 5);
    let mut benches = Vec::new();
    rust_files(&folder.join("benches"), &mut benches);
    let benches: String = benches.iter().map(|path| fs::read_to_string(path).expect("a bench is UTF-8")).collect();
    assert_eq!(undeclared(&main, &benches, &files), Vec::<String>::new());
}

/// Examples that are copied away take the contract along.
#[test]
fn copies_of_the_contract_are_the_contract() {
    let contract = fs::read_to_string(root().join("wit/v0.2/rules.wit")).expect("the contract");
    let mut copies = 0;
    for example in fs::read_dir(root().join("examples/rules")).expect("the examples") {
        let copy = example.expect("an entry").path().join("wit/rules.wit");
        if let Ok(text) = fs::read_to_string(&copy) {
            copies += 1;
            assert!(text == contract, "{} is not wit/v0.2/rules.wit; copy it again", copy.display());
        }
    }
    assert_eq!(copies, 2, "JavaScript and Python read it");
}

#[test]
fn the_checks_find_what_is_bad() {
    let found = |path: &str, text: &str| faults(path, text).len();
    for (name, _) in BANNED_IN_CORE {
        assert_eq!(found("host/core/src/a.rs", &format!("    {name}")), 1, "{name}");
        assert_eq!(found("host/rollout/src/a.rs", &format!("    {name}")), 1, "{name}");
        assert_eq!(found("host/node/src/a.rs", &format!("    {name}")), 0, "{name}");
        assert_eq!(found("host/core/src/a.rs", &format!("    // {name}")), 0, "{name}");
    }
    assert_eq!(found("sdk/src/a.rs", &"\n".repeat(LINES_MAX)), 0);
    assert_eq!(found("sdk/src/a.rs", &"\n".repeat(LINES_MAX + 1)), 1);
    assert_eq!(found("sdk/src/a/mod.rs", ""), 1);
    assert_eq!(found("host/node/src/a.rs", "use wasmtime::Engine;"), 1);
    assert_eq!(found("host/rules/src/a.rs", "use wasmtime::Engine;"), 0);
    let map = "struct A {\n    seen: HashMap<u64, i64>,\n}\n";
    assert_eq!(found("host/core/src/a.rs", &format!("{map}for a in self.seen.iter() {{}}")), 1);
    assert_eq!(found("host/core/src/a.rs", &format!("{map}self.seen.get(&1)")), 0);
    assert_eq!(found("host/core/src/a.rs", &format!("{map}self.seen.iter().min()")), 0);
    let files = ["main.rs", "gate.rs", "load.rs", "lost.rs"].map(String::from);
    let bench = "#[path = \"../load.rs\"]\nmod load;\n";
    assert_eq!(undeclared("mod gate;\n// mod lost;\n", bench, &files), ["lost.rs"]);
}
