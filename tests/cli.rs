//! The program as people run it: arguments, exit codes, pipes, signals.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::drive::root;

/// How long a test waits for what should take milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The program, built once, as it is now; or the one that `STILLHOUSE_PROGRAM` names, which spares a
/// second build of all that it is made of: cargo gives it other features than it gives all packages.
pub fn stillhouse() -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        if let Some(built) = std::env::var_os("STILLHOUSE_PROGRAM") {
            return built.into();
        }
        let build = ["build", "--quiet", "--release", "--package", "stillhouse"];
        let built = Command::new(env!("CARGO")).args(build).current_dir(root()).output().expect("cargo runs");
        assert!(built.status.success(), "cargo {}: {}", build.join(" "), String::from_utf8_lossy(&built.stderr));
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        target.join("release/stillhouse")
    });
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null()).env_remove("STILLHOUSE_LOG");
    command
}

pub fn run(arguments: &[&str]) -> Output {
    stillhouse().args(arguments).output().expect("the program starts")
}

fn run_with(input: &[u8], arguments: &[&str]) -> Output {
    let mut child = piped(arguments);
    let mut stdin = child.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().expect("it ends")
    })
}

fn piped(arguments: &[&str]) -> Child {
    let mut command = stillhouse();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}

/// A folder with `stillhouse.toml`, which reads CloudEvents of type `good`.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a folder"));
        let toml = "[order]\nallowed_lateness = \"0s\"\n[[input]]\nformat = \"cloudevents\"\n[signal.good]\nmapper = \"status\"\n";
        place.write("stillhouse.toml", toml.as_bytes());
        place
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_string_lossy().into_owned()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.path(name), bytes).expect("a file can be written");
        self.path(name)
    }

    fn config(&self) -> String {
        self.path("stillhouse.toml")
    }
}

fn good(at: usize) -> String {
    let status = if at.is_multiple_of(2) { "up" } else { "down" };
    format!(
        "{{\"specversion\":\"1.0\",\"id\":\"{at}\",\"source\":\"shop\",\"type\":\"good\",\"subject\":\"cart\",\
         \"time\":\"2026-03-01T{:02}:{:02}:{:02}Z\",\"data\":{{\"status\":\"{status}\"}}}}\n",
        at / 3600,
        at / 60 % 60,
        at % 60
    )
}

fn many(count: usize) -> String {
    (0..count).map(good).collect()
}

#[test]
fn help_says_what_there_is() {
    let help = run(&["--help"]);
    assert_eq!((help.status.code(), stderr(&help)), (Some(0), ""));
    for word in ["run", "check", "demo", "completions", "Exit codes"] {
        assert!(stdout(&help).contains(word), "`{word}` is not in\n{}", stdout(&help));
    }
    let help = run(&["run", "--help"]);
    assert!(stdout(&help).contains("--follow") && stdout(&help).contains("Examples:"), "{}", stdout(&help));
    assert_eq!(stdout(&run(&["--version"])).split(' ').next(), Some("stillhouse"));
}

#[test]
fn what_is_refused_is_said_with_its_place() {
    let place = Place::new();
    let refused = |toml: &str, line_and_column: &str, words: &[&str]| {
        let path = place.write("wrong.toml", toml.as_bytes());
        let ran = run(&["run", "-c", &path]);
        assert_eq!(ran.status.code(), Some(2), "{}", stderr(&ran));
        assert!(ran.stdout.is_empty());
        let begin = format!("error: {path}:{line_and_column}: ");
        assert!(stderr(&ran).starts_with(&begin), "`{}` does not begin with `{begin}`", stderr(&ran));
        words.iter().for_each(|word| assert!(stderr(&ran).contains(word), "no `{word}` in `{}`", stderr(&ran)));
    };
    let input = "[[input]]\nformat = \"cloudevents\"\n";
    let with = |lines: &str| format!("{input}[signal.good]\n{lines}\n");
    refused(
        &with("mapper = \"status\"\nhold_donw = \"1s\""),
        "5:1",
        &["unknown key `hold_donw`", "did you mean `hold_down`?"],
    );
    refused(&with("mapper = \"statsu\""), "4:10", &["no rule `statsu`", "did you mean `status`?"]);
    refused(&with("mapper = \"maintenance\""), "4:10", &["is a suppressor, expected a mapper"]);
    refused(&with("mapper = \"status\"\nhold_down = \"1 parsec\""), "5:13", &["parsec"]);
    refused(&with("mapper = "), "4:10", &[]);
    refused(input, "1:1", &["no signal type"]);
    refused(
        &with("mapper = \"status\"\nmapper_settings = { gone = \"up\" }"),
        "4:10",
        &["expected other words than in `healthy`, got `up` in both"],
    );
}

#[test]
fn exit_codes() {
    let place = Place::new();
    let (config, input) = (place.config(), place.write("in.json", many(4).as_bytes()));
    let output = place.path("out.jsonl");
    let code = |arguments: &[&str]| run(arguments).status.code();
    assert_eq!(code(&["run", "-c", &config, "-i", &input, "-o", &output]), Some(0));
    assert_eq!(std::fs::read_to_string(&output).expect("it is written").lines().count(), 3);
    assert_eq!(code(&["check", "-c", &config]), Some(0));
    assert_eq!(code(&["run", "-c", &config, "-i", &place.path("missing.json")]), Some(1));
    assert_eq!(code(&["run", "-c", &config, "-i", &input, "-o", &input]), Some(1));
    assert_eq!(std::fs::read_to_string(&input).expect("it is there"), many(4), "an input was written to");
    assert_eq!(code(&["run", "-c", &place.path("missing.toml")]), Some(2));
    assert_eq!(code(&["run", "--no-such-thing"]), Some(2));
    assert_eq!(code(&[]), Some(2));

    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(many(20_000).as_bytes()).expect("memory");
    let gzip = gzip.finish().expect("memory");
    let half = place.write("half.gz", &gzip[..gzip.len() / 2]);
    let ran = run(&["run", "-c", &config, "-i", &half]);
    assert_eq!(ran.status.code(), Some(3));
    let said = "error: half.gz: the input broke off: ";
    assert!(stderr(&ran).contains(said), "no `{said}` in `{}`", stderr(&ran));
    assert!(stdout(&ran).lines().count() > 1_000);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let place = Place::new();
    let input = place.write("in.json", many(80_000).as_bytes());
    let mut child = piped(&["run", "-c", &place.config(), "-i", &input]);
    let mut line = String::new();
    let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
    reader.read_line(&mut line).expect("a line comes");
    drop(reader);
    let ran = child.wait_with_output().expect("it ends");
    assert!(line.starts_with("{\"specversion\":\"1.0\""), "{line}");
    assert_eq!((ran.status.code(), stderr(&ran)), (Some(0), ""));
}

#[test]
fn standard_input_in_every_layout() {
    let sample = std::fs::read_to_string(root().join("examples/kubernetes-events/sample.jsonl")).expect("a sample");
    let items: Vec<serde_json::Value> = sample.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let pretty = |value: &serde_json::Value| serde_json::to_string_pretty(value).expect("JSON");
    let list = serde_json::json!({ "apiVersion": "v1", "items": items, "kind": "List", "metadata": { "resourceVersion": "" } });
    let of = |input: &str| {
        let run = ["run", "-q", "-c", "examples/kubernetes-events/stillhouse.toml", "--input", "-"];
        let ran = run_with(input.as_bytes(), &run);
        assert_eq!((ran.status.code(), stderr(&ran)), (Some(0), ""));
        stdout(&ran).to_owned()
    };
    let expected = of(&sample);
    assert_eq!(expected.lines().count(), 9);
    let concatenated: String = items.iter().map(|item| item.to_string()).collect();
    let one_after_another: Vec<String> = items.iter().map(pretty).collect();
    for layout in
        [pretty(&list), list.to_string(), concatenated, one_after_another.join("\n"), one_after_another.concat()]
    {
        assert!(of(&layout) == expected, "{layout:.200}");
    }
}

/// Waits for the next line of a child's output.
fn line_within(lines: &std::sync::mpsc::Receiver<String>) -> String {
    lines.recv_timeout(PATIENCE).expect("a line comes in time")
}

#[cfg(unix)]
#[test]
fn a_file_that_grows_is_followed_until_interrupted() {
    let place = Place::new();
    let path = place.write("grows.json", many(3).as_bytes());
    let mut child = piped(&["run", "-c", &place.config(), "-i", &path, "--follow"]);
    let (to, lines) = std::sync::mpsc::channel();
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| to.send(line)));
    assert!(line_within(&lines).contains("2026-03-01T00:00:01.000000Z"));

    let mut file = std::fs::OpenOptions::new().append(true).open(&path).expect("it is there");
    // A line that comes in two pieces is one.
    let (three, four) = (good(3), good(4));
    file.write_all(&three.as_bytes()[..40]).and_then(|()| file.flush()).expect("it grows");
    std::thread::sleep(Duration::from_millis(200));
    file.write_all((three[40..].to_owned() + &four).as_bytes()).expect("it grows");
    assert!(line_within(&lines).contains("2026-03-01T00:00:02.000000Z"));
    assert!(line_within(&lines).contains("2026-03-01T00:00:03.000000Z"));
    assert!(child.try_wait().expect("it can be asked").is_none(), "it goes on");

    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(interrupted.success());
    let asked = Instant::now();
    while child.try_wait().expect("it can be asked").is_none() {
        assert!(asked.elapsed() < PATIENCE, "it does not stop");
        std::thread::sleep(Duration::from_millis(20));
    }
    let ran = child.wait_with_output().expect("it has ended");
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    assert!(stderr(&ran).starts_with("5 signals of 1 entities in "), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("all accounted for"), "{}", stderr(&ran));
    // What still waited for its order leaves at the end.
    assert!(line_within(&lines).contains("2026-03-01T00:00:04.000000Z"));
}

#[test]
fn nothing_but_events_and_no_colour() {
    let place = Place::new();
    let input = place.write("in.json", format!("{}nonsense\n", many(3)).as_bytes());
    for quiet in [true, false] {
        let mut command = stillhouse();
        command.args(["run", "-c", &place.config(), "-i", &input, "-vv"]).env("NO_COLOR", "1");
        let ran = command.args(quiet.then_some("--quiet")).output().expect("it runs");
        assert_eq!(ran.status.code(), Some(0));
        assert!(!ran.stderr.contains(&0x1b) && !ran.stdout.contains(&0x1b), "{}", stderr(&ran));
        assert!(stdout(&ran).lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
        assert_eq!(stderr(&ran).contains("where the signals went"), !quiet, "{}", stderr(&ran));
    }
}

#[test]
fn deep_nesting_brings_nobody_down() {
    let place = Place::new();
    let arrays = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let mut input = good(0);
    for deep in [&arrays, &objects] {
        let wanted = good(1).replace("\"down\"", deep);
        let ignored = good(1).replace("\"source\"", &format!("\"x\":{deep},\"source\""));
        write!(input, "{deep}\n{wanted}{ignored}").expect("a string takes all");
    }
    // In a document that is not on one line, too.
    for (name, input) in [("lines.json", input.clone()), ("documents.json", input.replace(",\"time\"", ",\n\"time\""))]
    {
        let path = place.write(name, (input + &good(2) + &good(3)).as_bytes());
        let ran = run(&["run", "-c", &place.config(), "-i", &path]);
        assert_eq!(ran.status.code(), Some(0), "{name}: {}: {}", ran.status, stderr(&ran));
        assert!(stderr(&ran).starts_with("9 signals of "), "{name}: {}", stderr(&ran));
        assert!(stdout(&ran).contains("2026-03-01T00:00:03.000000Z"), "{name}: what follows is read");
    }
}

/// The most memory that a process has had, in MiB.
#[cfg(target_os = "linux")]
fn memory_mib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("it is in there");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") / 1024
}

#[cfg(target_os = "linux")]
#[test]
fn a_line_without_an_end_does_not_fill_the_memory() {
    let place = Place::new();
    let long = place.write("long.json", &vec![b'x'; 100_000_000]);
    for input in ["-", long.as_str()] {
        let mut child =
            piped(&["run", "-c", &place.config(), "-i", input, "-i", "/dev/stdin"][..if input == "-" { 5 } else { 7 }]);
        let mut stdin = child.stdin.take().expect("a pipe");
        if input == "-" {
            let piece = vec![b'x'; 1 << 20];
            (0..100).for_each(|_| stdin.write_all(&piece).expect("it is read"));
        } else {
            // It waits for the second input when it has read the first.
            std::thread::sleep(Duration::from_secs(1));
        }
        let most = memory_mib(child.id());
        drop(stdin);
        let mut events = String::new();
        child.stdout.take().expect("a pipe").read_to_string(&mut events).expect("UTF-8");
        assert!(child.wait().expect("it ends").success());
        assert!(events.contains("a record of more than 8 MiB"), "{input}: {events:.300}");
        assert!(most < 128, "{input}: {most} MiB");
    }
}
