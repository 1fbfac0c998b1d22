//! `stillhouse rules`, `audit` and `control` against a server in this process.

#[path = "../../control/tests/fake.rs"]
#[allow(dead_code, reason = "the tests of the server use more of it")]
mod fake;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::Value;
use stillhouse::config::{Config, Overrides};
use stillhouse::control::{open_audit, server_config};
use stillhouse_control::server::Server;
use tokio::runtime::Runtime;

/// A running host with a configuration in a folder of its own.
struct Place {
    folder: tempfile::TempDir,
    _runtime: Runtime,
    address: String,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let token = stillhouse(folder.path(), &["control", "token", "--name", "ci", "--role", "viewer"]);
        std::fs::write(folder.path().join("token"), &token.stdout).expect("written");
        let printed = text(&token.stderr);
        let table = &printed[printed.find("[[control.token]]").expect("a table to paste")..];
        let toml = format!(
            "[[input]]\nformat = \"cloudevents\"\n[signal.\"net.link\"]\nmapper = \"status\"\n\
             [control]\nsocket = \"control.sock\"\nlisten = \"127.0.0.1:0\"\naudit = \"audit.jsonl\"\n{table}"
        );
        std::fs::write(folder.path().join("stillhouse.toml"), toml).expect("written");
        let config = Config::load(&folder.path().join("stillhouse.toml"), &Overrides::default()).expect("valid");
        let control = config.control.expect("there");
        let (audit, _) = open_audit(&control).expect("a new file");
        let runtime = Runtime::new().expect("threads");
        let bind = Server::bind(server_config(&control), Arc::new(fake::Fake::default()), Arc::new(audit));
        let server = runtime.block_on(bind).expect("free");
        let address = server.address().expect("it listens").to_string();
        runtime.spawn(server.run(std::future::pending()));
        Self { folder, _runtime: runtime, address }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    /// Runs the program in the folder.
    fn run(&self, arguments: &[&str]) -> Output {
        stillhouse(self.folder.path(), arguments)
    }

    /// What a command that succeeds prints.
    fn told(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// How a command fails, and what it says.
    fn refused(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.run(arguments);
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
        (output.status.code(), text(&output.stderr))
    }
}

fn stillhouse(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stillhouse"));
    command.current_dir(folder).args(arguments).env_remove("STILLHOUSE_SOCKET").env_remove("STILLHOUSE_LOG");
    command.output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn status_is_a_table() {
    let place = Place::new();
    let told = place.told(&["rules", "status"]);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "stillhouse 0.1.0, 1,234,567 signals, event time 2026-03-02T12:00:00Z");
    let head = "slot                          stable                        candidate                     stage   share  samples     differing    held";
    assert_eq!(lines[2], head);
    assert!(lines[4].starts_with("net.link mapper               router-syslog 1.2.0 "), "{told}");
    assert!(lines[4].ends_with("canary  1 %    182 of 500  17 (0.09 %)  -"), "{told}");
    assert!(told.contains("net.link suppressor: maintenance 0.5.0 ("), "{told}");
    assert!(!told.contains('\u{1b}'), "no colour in a pipe");
    let one = place.told(&["rules", "status", "--signal", "net.link", "--kind", "suppressor"]);
    assert!(one.contains("net.link suppressor") && !one.contains("net.link mapper"), "{one}");
    let json: Value = serde_json::from_str(&place.told(&["rules", "status", "--json"])).expect("JSON");
    assert_eq!(json["slots"][1]["candidate"]["share_percent"], 1.0);
}

#[test]
fn a_rollout_from_stage_to_rollback() {
    let place = Place::new();
    std::fs::write(place.path("rule.wasm"), b"\0asm").expect("written");
    // Several slots could be meant, then one has a candidate.
    let (code, told) = place.refused(&["rules", "stage", "rule.wasm", "--why", "x"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("--signal net.link --kind mapper\n"), "{told}");
    let diff = place.told(&["rules", "diff"]);
    assert!(diff.contains("  signal  leaf1 eth3: \\u{1b}[31mLINK"), "what a signal says is not obeyed: {diff}");
    assert!(diff.contains("  old     down, error\n  new     degraded, warning\n"), "{diff}");
    let held = place.told(&["rules", "hold", "--why", "a look first"]);
    assert!(held.starts_with("net.link mapper: held router-syslog 1.3.0 ("), "{held}");
    let (code, told) = place.refused(&["rules", "promote", "--why", "now"]);
    assert_eq!(code, Some(3));
    assert!(told.starts_with("error: refused by the host: not now: it is at 1 %"), "{told}");
    let (code, told) = place.refused(&["rules", "advance", "--why", "now", "--candidate", "0123abcd"]);
    assert_eq!((code, told.contains("not 0123abcd")), (Some(3), true), "{told}");
    place.told(&["rules", "promote", "--force", "--why", "now"]);
    place.told(&["rules", "stage", "rule.wasm", "--signal", "net.link", "--kind", "mapper", "--why", "ünd & so on"]);
    let rolled = place.told(&["rules", "rollback", "--why", "false alarms", "--retroactive", "true"]);
    assert!(rolled.starts_with("net.link mapper: rolled back staged 0.1.0 ("), "{rolled}");
    let history = place.told(&["rules", "history", "--signal", "net.link", "--kind", "mapper"]);
    let whats: Vec<_> = history.lines().skip(1).filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!(whats, ["held", "promoted", "staged", "rolled"], "{history}");
    assert!(history.contains("ünd & so on"), "{history}");
    let shown = place.told(&["audit", "show", "audit.jsonl"]);
    assert_eq!(shown.lines().count(), 1 + 6, "one line for each change, made or not: {shown}");
    assert!(shown.contains("promote by force") && shown.contains("refused"), "{shown}");
}

#[test]
fn the_host_is_found_in_several_ways() {
    let place = Place::new();
    let elsewhere = tempfile::tempdir().expect("a folder");
    let (config, socket) = (place.path("stillhouse.toml"), place.path("control.sock"));
    let in_ways = [vec!["rules", "status", "-c", &config], vec!["rules", "--socket", &socket, "status"]];
    for way in in_ways {
        let output = stillhouse(elsewhere.path(), &way);
        assert_eq!(output.status.code(), Some(0), "{way:?}: {}", text(&output.stderr));
    }
    let mut by_variable = Command::new(env!("CARGO_BIN_EXE_stillhouse"));
    let by_variable =
        by_variable.current_dir(elsewhere.path()).args(["rules", "status"]).env("STILLHOUSE_SOCKET", &socket);
    assert!(by_variable.output().expect("it starts").status.success());
    let url = format!("http://{}", place.address);
    let token = place.path("token");
    assert!(place.told(&["rules", "status", "--url", &url, "--token-file", &token]).contains("net.link"));
    let hold = ["rules", "hold", "--why", "x", "--url", &url, "--token-file", &token];
    let (code, told) = place.refused(&hold);
    assert_eq!((code, told.contains("ci is viewer; hold takes operator")), (Some(3), true), "{told}");
    let (code, told) = place.refused(&["rules", "status", "--url", &url]);
    assert_eq!((code, told.contains("no token came")), (Some(3), true), "{told}");
    let nowhere = stillhouse(elsewhere.path(), &["rules", "status"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(text(&nowhere.stderr).contains("which host?"), "{}", text(&nowhere.stderr));
    let gone = stillhouse(elsewhere.path(), &["rules", "status", "--socket", "gone.sock"]);
    assert!(text(&gone.stderr).contains("gone.sock: no host answers here"), "{}", text(&gone.stderr));
}

#[test]
fn an_edit_of_the_audit_trail_is_found() {
    let place = Place::new();
    place.told(&["rules", "hold", "--why", "first"]);
    place.told(&["rules", "advance", "--why", "second"]);
    let whole = place.told(&["audit", "verify", "audit.jsonl"]);
    assert!(whole.starts_with("audit.jsonl: 4 records hold\nhead "), "{whole}");
    let head = whole.trim_end().rsplit(' ').next().expect("a hash").to_owned();
    assert!(place.told(&["rules", "status"]).contains(&format!("audit trail: 4 records, head {head}")));
    let trail = std::fs::read_to_string(place.path("audit.jsonl")).expect("readable");
    std::fs::write(place.path("changed.jsonl"), trail.replacen("second", "secons", 1)).expect("written");
    let (code, told) = place.refused(&["audit", "verify", "changed.jsonl"]);
    assert_eq!(code, Some(1));
    assert!(told.starts_with("error: changed.jsonl:3: changed: its hash does not fit what it says"), "{told}");
    let cut: String = trail.lines().take(2).map(|line| format!("{line}\n")).collect();
    std::fs::write(place.path("cut.jsonl"), cut).expect("written");
    place.told(&["audit", "verify", "cut.jsonl"]);
    let (code, told) = place.refused(&["audit", "verify", "cut.jsonl", "--head", &head]);
    assert_eq!((code, told.contains("cut.jsonl:2: cut short: ")), (Some(1), true), "{told}");
    let (code, _) = place.refused(&["audit", "verify", "audit.jsonl", "--head", "abc"]);
    assert_eq!(code, Some(2));
}
