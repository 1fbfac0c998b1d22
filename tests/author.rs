//! The way of an author, with the program as it is: from nothing to a rule that is signed and that a
//! host demands to be.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::cli::stillhouse;
use crate::drive::root;

/// The folder that an author works in.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).expect("it can be written");
    }

    /// Replaces a text that must be there.
    fn edit(&self, name: &str, old: &str, new: &str) {
        let text = self.read(name);
        assert!(text.contains(old), "{name}: no `{old}`");
        self.write(name, text.replace(old, new));
    }

    /// Runs `stillhouse rule`. What is built once is built for all tests.
    fn rule(&self, arguments: &[&str]) -> Output {
        self.run(&[&["rule"], arguments].concat())
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = stillhouse();
        command.current_dir(self.0.path()).env("CARGO_TARGET_DIR", root().join("target/author"));
        // What cargo tells the tests is not meant for the rule.
        command.env_remove("CARGO_MANIFEST_DIR").env("NO_COLOR", "1").args(arguments);
        command.output().expect("the program starts")
    }

    fn done(&self, arguments: &[&str]) -> String {
        let ran = self.rule(arguments);
        assert_eq!(ran.status.code(), Some(0), "{arguments:?}: {}{}", stdout(&ran), stderr(&ran));
        stdout(&ran).to_owned()
    }

    fn refused(&self, code: i32, arguments: &[&str], words: &[&str]) -> String {
        let ran = self.rule(arguments);
        let said = format!("{}{}", stdout(&ran), stderr(&ran));
        assert_eq!(ran.status.code(), Some(code), "{arguments:?}: {said}");
        words.iter().for_each(|word| assert!(said.contains(word), "{arguments:?}: no `{word}` in\n{said}"));
        said
    }
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}

fn has(text: &str, words: &[&str]) {
    words.iter().for_each(|word| assert!(text.contains(word), "no `{word}` in\n{text}"));
}

/// The line of the first `text` in a file, from 1.
fn line_of(file: &str, text: &str) -> usize {
    file.lines().position(|line| line.contains(text)).expect("it is there") + 1
}

#[test]
fn from_nothing_to_a_tested_rule() {
    let desk = Desk::new();
    desk.refused(2, &["new", "Net_Link"], &["did you mean `net-link`?"]);
    desk.refused(2, &["new", "net-link", "--language", "cobol"], &["carries no rule in `cobol`"]);
    has(&desk.done(&["new", "net-link"]), &["a mapper in rust", "src/lib.rs", "stillhouse rule test"]);
    desk.refused(2, &["new", "net-link"], &["is not empty", "nothing was written"]);
    let rule = "net-link/net-link.wasm";

    let said = desk.done(&["test", "net-link"]);
    has(&said, &["ok      a check fails", "7 cases pass in WebAssembly, and natively", "3 of 3 states reached"]);
    assert!(desk.path(rule).is_file());
    let built = desk.done(&["build", "net-link"]);
    has(&built, &["net-link 0.1.0, a mapper (contract 0.2.0)", "stillhouse:rules/log@0.2.0", "7 pass"]);
    has(&desk.done(&["lint", "--strict", "net-link"]), &["net-link 0.1.0: nothing to say"]);

    let sample = "net-link/signals.jsonl";
    let table = desk.done(&["run", rule, "--input", sample]);
    has(
        &table,
        &["row  time", "down   error", "the check has only started", "11 signals: 1 dropped, 9 observed, 1 rejected"],
    );
    let plain = desk.done(&["run", rule, "-i", sample, "--json"]);
    let rows: Vec<Value> = plain.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((rows.len(), &rows[2]["state"], &rows[4]["state"]), (11, &"down".into(), &"slow".into()));
    let configured = desk.done(&["run", rule, "-i", sample, "--json", "-c", "net-link/stillhouse.toml"]);
    assert_eq!(plain, configured, "a configuration decodes these as they are");
    let ran = desk.run(&["run", "-q", "-c", "net-link/stillhouse.toml", "--input", sample]);
    has(stdout(&ran), &["\"subject\":\"shop/cart\"", "stillhouse.dead-letter"]);

    signed(&desk, rule);

    // A case that fails: where it stands, what was expected, what came.
    std::fs::copy(desk.path(rule), desk.path("old.wasm")).expect("a copy");
    let source = "net-link/src/lib.rs";
    desk.edit(
        source,
        "observe(Health::Down, check.service).severity(Severity::Error)",
        "observe(Health::Slow, check.service)",
    );
    let place = format!("src/lib.rs:{}", line_of(&desk.read(source), "\"a check fails\""));
    let words = ["FAILED  a check fails", &place, "expected  observed state `down`", "got       observed state `slow`"];
    desk.refused(1, &["test", "--wasm-only", "net-link"], &words);
    desk.refused(1, &["build", "net-link"], &["1 of its 7 test cases fail", &format!("at {place}")]);

    // What a compiler says is said as it says it.
    desk.edit(source, "SLOW_MS: i64 = 1_000", "SLOW_MS: i64 = \"\"");
    desk.refused(1, &["build", "net-link"], &["error[E0308]", "--> src/lib.rs:", "the compiler says why above"]);
    desk.edit(source, "SLOW_MS: i64 = \"\"", "SLOW_MS: i64 = 1_000");
    desk.edit(
        source,
        "observe(Health::Slow, check.service),\n        //",
        "observe(Health::Down, check.service),\n        //",
    );
    unwise(&desk, source, rule);
}

/// A version that is sound, but answers otherwise and is unwise.
fn unwise(desk: &Desk, source: &str, rule: &str) {
    let text = desk.read(source);
    let changed = text
        .replace(
            "observe(Health::Down, check.service),",
            "observe(Health::Down, check.service).severity(Severity::Critical),",
        )
        .replace("severity(Severity::Error)", "severity(Severity::Critical)")
        .replace(
            "_ => rejected(\"data.status is neither ok, failed nor started\")",
            "other => rejected(format!(\"odd status {other:?}\"))",
        )
        .replace(
            ".rejects(\"data.status is neither ok, failed nor started\")",
            ".rejects(\"odd status Some(\\\"?\\\")\")",
        );
    desk.write(source, changed);
    let place = format!("src/lib.rs:{}", line_of(&desk.read(source), "rejected(format!"));
    let said = desk.refused(1, &["lint", "net-link"], &[&place, "error [unbounded-reason]", "1 error, 0 warnings"]);
    assert!(!said.contains("formatted-reason"), "once is enough:\n{said}");
    let bench = ["bench", rule, "-i", "net-link/signals.jsonl", "--against", "old.wasm", "--runs", "1"];
    has(
        &desk.done(&bench),
        &["ns/signal", "4 of 11 answers differ (36.4 %)", "was  observed state `down`, severity 2"],
    );
    let json: Value = serde_json::from_str(&desk.done(&[&bench[..], &["--json"]].concat())).expect("JSON");
    assert_eq!(json["different"]["count"], 4);
    let configured =
        ["bench", "old.wasm", "-i", "net-link/signals.jsonl", "-c", "net-link/stillhouse.toml", "--runs", "1"];
    has(&desk.done(&configured), &["4 of 11 answers differ"]);
}

/// Signed, verified, demanded; and refused with any byte changed.
fn signed(desk: &Desk, rule: &str) {
    desk.refused(1, &["verify", rule, "--key", "team.pub"], &["team.pub: cannot be read"]);
    let made = desk.done(&["keygen", "team"]);
    let public = desk.read("team.pub").trim().to_owned();
    has(&made, &[&public, "trust = ["]);
    let secret = desk.read("team");
    assert!(!made.contains(secret.trim()), "a private key is never shown");
    desk.refused(1, &["keygen", "team"], &["is there already"]);
    desk.done(&["keygen", "other"]);
    desk.refused(1, &["verify", rule, "--key", "team.pub"], &["is not signed", "stillhouse rule sign"]);
    has(&desk.done(&["sign", rule, "--key", "team"]), &["net-link 0.1.0"]);
    has(&desk.done(&["verify", rule, "--key", "team.pub"]), &["signed by", &public[8..24]]);
    desk.done(&["verify", rule, "--key", "other.pub", "--key", &public]);
    desk.refused(1, &["verify", rule, "--key", "other.pub"], &["is signed by the key", &public[8..24]]);
    desk.refused(1, &["sign", rule, "--key", "team.pub"], &["this is a public key"]);
    let inspected: Value = serde_json::from_str(&desk.done(&["inspect", rule, "--json"])).expect("JSON");
    assert_eq!((&inspected["signed_by"], &inspected["states"][2]["name"]), (&public[8..24].into(), &"down".into()));
    has(&desk.done(&["inspect", rule]), &["data.latency_ms  int", "states v1   up    healthy", "signature   by"]);

    let toml = desk.read("net-link/stillhouse.toml");
    let check = |keys: &str| {
        desk.write("net-link/trust.toml", format!("{toml}\n[rules]\ntrust = [{keys}]\n"));
        let ran = desk.run(&["check", "-c", "net-link/trust.toml"]);
        (ran.status.code(), format!("{}{}", stdout(&ran), stderr(&ran)))
    };
    let refused = |keys: &str, words: &[&str]| {
        let (code, said) = check(keys);
        assert_eq!(code, Some(2), "{said}");
        has(&said, words);
    };
    let trusted = format!("{public:?}");
    assert_eq!(check(&trusted).0, Some(0), "{}", check(&trusted).1);
    let other = format!("{:?}", desk.read("other.pub").trim());
    refused(&other, &["trust.toml:12:10: rule `net-link.wasm`", "is signed by the key", &other[9..25]]);
    let (bytes, signature) =
        (std::fs::read(desk.path(rule)).expect("it is there"), desk.read("net-link/net-link.wasm.sig"));
    let mut changed = bytes.clone();
    *changed.last_mut().expect("it has bytes") ^= 1;
    desk.write(rule, &changed);
    refused(&trusted, &["does not fit the file", "was changed since"]);
    desk.refused(1, &["verify", rule, "--key", "team.pub"], &["does not fit the file"]);
    desk.write(rule, &bytes);
    let digit = if signature.trim().ends_with('0') { "1" } else { "0" };
    desk.write("net-link/net-link.wasm.sig", format!("{}{digit}\n", &signature.trim()[..signature.trim().len() - 1]));
    refused(&trusted, &["does not fit the file"]);
    std::fs::remove_file(desk.path("net-link/net-link.wasm.sig")).expect("it was there");
    refused(&trusted, &["it is not signed", "stillhouse rule sign"]);
}

#[cfg(unix)]
#[test]
fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let desk = Desk::new();
    desk.done(&["keygen", "key"]);
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&desk.path("key")), 0o600);
    std::fs::set_permissions(desk.path("key"), PermissionsExt::from_mode(0o640)).expect("it can be set");
    std::fs::copy(root().join("target/rules/status.wasm"), desk.path("status.wasm")).expect("the rules are built");
    desk.refused(1, &["sign", "status.wasm", "--key", "key"], &["others may read this key (mode 640)", "chmod 600"]);
    assert!(!desk.path("status.wasm.sig").exists());
}

#[test]
fn what_ships_needs_no_signature() {
    let desk = Desk::new();
    desk.done(&["keygen", "key"]);
    let key = desk.read("key.pub");
    let toml = format!(
        "[rules]\ntrust = [{:?}]\n[[input]]\nformat = \"cloudevents\"\n[signal.a]\nmapper = \"status\"\n",
        key.trim()
    );
    desk.write("stillhouse.toml", toml);
    let ran = desk.run(&["check", "-c", "stillhouse.toml"]);
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
}

#[test]
fn a_suppressor_is_written_and_asked() {
    let desk = Desk::new();
    has(&desk.done(&["new", "at-night", "--kind", "suppressor"]), &["a suppressor in rust", "candidates.jsonl"]);
    let said = desk.done(&["test", "--wasm-only", "at-night"]);
    has(&said, &["7 cases pass", "2 of 4 verdicts reached; reached by no case: delay, escalate"]);
    let rule = "at-night/at-night.wasm";
    let asked = desk.done(&["run", rule, "--input", "at-night/candidates.jsonl", "--json"]);
    let rows: Vec<Value> = asked.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let outcomes: Vec<&str> = rows.iter().map(|row| row["outcome"].as_str().expect("a word")).collect();
    assert_eq!(outcomes, ["suppress", "emit", "emit", "emit"]);
    assert_eq!(rows[0]["until"], "2026-03-02T06:00:00Z");
    let asked = desk.done(&["run", rule, "-i", "at-night/candidates.jsonl", "--json", "--set", "keys=db-"]);
    assert!(!asked.contains("suppress"), "{asked}");
    desk.refused(1, &["run", rule, "-i", "at-night/candidates.jsonl", "--set", "form=1"], &["unknown setting `form`"]);
    has(&desk.done(&["lint", "--strict", "at-night"]), &["nothing to say"]);
    let signals = ["run", rule, "-i", "at-night/signals.jsonl", "-c", "at-night/stillhouse.toml", "--json"];
    let asked = desk.done(&signals);
    let rows: Vec<Value> = asked.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let outcomes: Vec<&str> = rows.iter().map(|row| row["outcome"].as_str().expect("a word")).collect();
    assert_eq!(outcomes, ["suppress", "emit", "emit", "emit", "emit"], "{asked}");
    assert_eq!(rows[0]["until"], "2026-03-02T06:00:00Z");
    let ran = desk.run(&["run", "-q", "-c", "at-night/stillhouse.toml", "--input", "at-night/signals.jsonl"]);
    has(stdout(&ran), &["stillhouse.suppressed", "at night"]);
}
