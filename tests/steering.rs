//! A host that runs, steered from the command line: a version is found, tried and promoted, another is
//! staged, held, looked at and rolled back; and the audit trail says who did what.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::{PATIENCE, stillhouse};
use crate::swaps::signal;
use crate::turncoat::{digest, version};

const CONFIG: &str = "[rules]\nfolder = \"rules\"\n[order]\nallowed_lateness = \"0s\"\n\
    [[input]]\nformat = \"json\"\ntype = \"probe\"\nid = \"id\"\ntime = { fields = [\"time\"] }\n\
    [signal.probe]\nmapper = \"turncoat\"\n\
    [rollout]\nshadow_time = \"500ms\"\nstep_time = \"200ms\"\nmin_samples = 200\ndrain_max = \"2s\"\n\
    [control]\nsocket = \"control.sock\"\naudit = \"audit.jsonl\"\n";

/// A host in a folder of its own.
struct Place {
    folder: tempfile::TempDir,
    child: Child,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        std::fs::create_dir(at.join("rules")).unwrap();
        std::fs::write(at.join("rules/turncoat.wasm"), version("fine.0")).unwrap();
        std::fs::write(at.join("stillhouse.toml"), CONFIG).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(at.join("pipe")).status().expect("mkfifo runs").success());
        let mut run = stillhouse();
        run.args(["run", "--follow", "-c"]).arg(at.join("stillhouse.toml")).arg("-i").arg(at.join("pipe"));
        run.arg("-o").arg(at.join("events.jsonl")).arg("--store").arg(at.join("store"));
        let child = run.stderr(Stdio::piped()).spawn().expect("it starts");
        Self { folder, child }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Carries out `stillhouse rules ...`; what it printed, and its exit code.
    fn rules(&self, arguments: &[&str]) -> (String, i32) {
        let ran = stillhouse().arg("rules").args(arguments).arg("--socket").arg(self.path("control.sock")).output();
        let ran = ran.expect("it starts");
        let said = [ran.stdout, ran.stderr].concat();
        (String::from_utf8_lossy(&said).into_owned(), ran.status.code().unwrap_or(-1))
    }

    fn slot(&self) -> Option<Value> {
        let (said, code) = self.rules(&["status", "--json"]);
        if code != 0 {
            return None;
        }
        let status: Value = serde_json::from_str(&said).expect("JSON");
        status["slots"].get(0).cloned()
    }

    /// The slot, once it is as wanted.
    fn once(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let asked = Instant::now();
        loop {
            let slot = self.slot();
            if let Some(slot) = slot.clone().filter(|slot| wanted(slot)) {
                return slot;
            }
            assert!(
                asked.elapsed() < PATIENCE,
                "{what}: {slot:#?}\n{}",
                self.rules(&["history", "--signal", "probe"]).0
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn audit(&self, arguments: &[&str]) -> (String, i32) {
        let ran = stillhouse().arg("audit").args(arguments).arg(self.path("audit.jsonl")).output().expect("it starts");
        (String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned(), ran.status.code().unwrap_or(-1))
    }
}

fn stream(pipe: &Path, stop: &AtomicBool) {
    let mut to = std::fs::OpenOptions::new().write(true).open(pipe).expect("somebody reads");
    for from in (0..).step_by(5).take_while(|_| !stop.load(Ordering::Acquire)) {
        let burst: String = (from..from + 5).map(signal).collect();
        if to.write_all(burst.as_bytes()).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_host_is_steered_from_the_command_line() {
    let mut place = Place::new();
    let stop = AtomicBool::new(false);
    let pipe = place.path("pipe");
    std::thread::scope(|scope| {
        scope.spawn(|| stream(&pipe, &stop));
        let steered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| steer(&place)));
        // The stream must end in any case.
        stop.store(true, Ordering::Release);
        if let Err(panic) = steered {
            let _ = place.child.kill();
            std::panic::resume_unwind(panic);
        }
    });
    let ended = place.child.wait().expect("it ends with its input");
    assert!(ended.success());
    let (said, code) = place.audit(&["verify"]);
    assert_eq!(code, 0, "{said}");
    // One letter of what somebody said is changed.
    let trail = std::fs::read_to_string(place.path("audit.jsonl")).unwrap();
    assert!(trail.contains("it tells lies"));
    std::fs::write(place.path("audit.jsonl"), trail.replacen("it tells lies", "it tells lives", 1)).unwrap();
    let (said, code) = place.audit(&["verify"]);
    assert!(code == 1 && said.contains("changed"), "{code}: {said}");
    // What left can be derived again from the log, turns and all.
    let again = place.path("again.jsonl");
    let mut replay = stillhouse();
    replay.args(["replay", "-q", "-c"]).arg(place.path("stillhouse.toml")).arg("--store");
    let replayed = replay.arg(place.path("store")).arg("-o").arg(&again).output().expect("it starts");
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    assert!(std::fs::read(again).unwrap() == std::fs::read(place.path("events.jsonl")).unwrap());
}

fn steer(place: &Place) {
    place.once("the host answers", |_| true);
    let (said, code) = place.rules(&["promote", "--why", "now"]);
    assert_eq!(code, 3, "there is no candidate: {said}");

    // A version that is found in the folder comes in by itself.
    let fine = version("fine.1");
    std::fs::write(place.path("rules/.next"), &fine).unwrap();
    std::fs::rename(place.path("rules/.next"), place.path("rules/turncoat.wasm")).unwrap();
    let slot = place.once("it is promoted", |slot| slot["stable"]["digest"] == *digest(&fine));
    assert_eq!(slot["last_good"]["digest"], *digest(&version("fine.0")));

    // One that says something else is held, and can be looked at.
    let liar = place.path("liar.wasm");
    std::fs::write(&liar, version("liar")).unwrap();
    let (said, code) =
        place.rules(&["stage", liar.to_str().unwrap(), "--signal", "probe", "--kind", "mapper", "--why", "to see"]);
    assert_eq!(code, 0, "{said}");
    let slot = place.once("it is held", |slot| slot["candidate"]["held"].is_string());
    assert!(slot["candidate"]["held"].as_str().unwrap().contains("differ"), "{slot:#?}");
    let (said, code) = place.rules(&["diff"]);
    assert!(code == 0 && said.contains("is up") && said.contains("is down"), "{said}");
    let (said, code) = place.rules(&["advance", "--why", "let it speak"]);
    assert_eq!(code, 0, "{said}");
    let (said, code) = place.rules(&["rollback", "--why", "it tells lies"]);
    assert_eq!(code, 0, "{said}");
    let slot = place.once("it is gone", |slot| slot["candidate"].is_null());
    assert_eq!(slot["stable"]["digest"], *digest(&fine));
    let (said, _) = place.rules(&["history", "--signal", "probe"]);
    assert!(said.contains("it tells lies") && said.contains("promoted"), "{said}");

    // What is no rule is refused, and says why.
    std::fs::write(&liar, b"\0asm this is none").unwrap();
    let (said, code) =
        place.rules(&["stage", liar.to_str().unwrap(), "--signal", "probe", "--kind", "mapper", "--why", "x"]);
    assert!(code == 3 && said.contains("WebAssembly"), "{code}: {said}");

    // Back to the last good one.
    let (said, code) = place.rules(&["rollback", "--why", "the old one was better"]);
    assert_eq!(code, 0, "{said}");
    place.once("the last good one is in force", |slot| slot["stable"]["digest"] == *digest(&version("fine.0")));
    let (said, _) = place.audit(&["show"]);
    assert!(said.contains("rollback") && said.contains("promote") && said.contains("let it speak"), "{said}");
}
