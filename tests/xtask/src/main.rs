//! What a developer and CI run. It installs what is missing by itself.

mod export;
mod fuzz;
mod mutants;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
cargo xtask COMMAND

  demo [ARGUMENTS]   build the rules and the program, and run the demonstration
  test [ARGUMENTS]   build the rules and run all checks and tests
  rules              build the rules that ship into target/rules
  build [ARGUMENTS]  build the rules and the program into target/dist/stillhouse
  fuzz [--minutes N] [TARGET..]
                     feed decoders and the store with anything, N minutes (1) for each target of tests/fuzz
  export             run examples, export them, and read that with DuckDB and pandas; loads them once
  mutants [SEEDS]    put faults into a copy of the sources; the simulation must find each
";

const TARGET: &str = "wasm32-unknown-unknown";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace is there");
    let done = match arguments.split_first() {
        Some((command, rest)) if command == "demo" => demo(&root, rest),
        Some((command, rest)) if command == "test" => test(&root, rest),
        Some((command, _)) if command == "rules" => rules(&root),
        Some((command, rest)) if command == "build" => build(&root, rest),
        Some((command, rest)) if command == "fuzz" => rules(&root).and_then(|()| fuzz::fuzz(&root, rest)),
        Some((command, _)) if command == "export" => rules(&root).and_then(|()| export::check(&root)),
        Some((command, rest)) if command == "mutants" => mutants::mutants(&root, rest),
        Some((command, _)) if command == "--help" || command == "help" => {
            print!("{HELP}");
            Ok(())
        }
        _ => Err(format!("expected a command\n\n{HELP}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn demo(root: &Path, arguments: &[String]) -> Result<(), String> {
    build(root, &[])?;
    let program = root.join("target/dist/stillhouse");
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if !arguments.contains(&"--output") {
        arguments.extend(["--output", "target/demo"]);
    }
    run(Command::new(program).current_dir(root).arg("demo").args(arguments))
}

fn build(root: &Path, arguments: &[String]) -> Result<(), String> {
    rules(root)?;
    let mut build = vec!["build", "--profile", "dist", "--package", "stillhouse"];
    build.extend(arguments.iter().map(String::as_str));
    cargo(root, &build)
}

fn test(root: &Path, arguments: &[String]) -> Result<(), String> {
    install_component("fmt", "rustfmt")?;
    install_component("clippy", "clippy")?;
    rules(root)?;
    cargo(root, &["fmt", "--all", "--check"])?;
    cargo(root, &["clippy", "--release", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    let mut test = vec!["test", "--release", "--workspace", "--no-fail-fast"];
    test.extend(arguments.iter().map(String::as_str));
    // It is built with the tests of its own package, before any test runs.
    let program = root.join("target/release/stillhouse");
    run(cargo_command(root, &test).env("STILLHOUSE_PROGRAM", program))
}

/// Builds every rule in `plugins/` and those that tests need, and puts them where the program looks
/// for what ships and where tests look.
fn rules(root: &Path) -> Result<(), String> {
    install_target()?;
    build_rules(root, &root.join("plugins"), &root.join("target/rules"))?;
    build_rules(root, &root.join("tests/rules"), &root.join("target/test-rules"))
}

fn build_rules(root: &Path, sources: &Path, out: &Path) -> Result<(), String> {
    let mut names: Vec<String> = match std::fs::read_dir(sources) {
        Err(_) => return Ok(()),
        Ok(entries) => entries
            .flatten()
            .filter(|entry| entry.path().join("Cargo.toml").exists())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect(),
    };
    names.sort();
    let mut arguments = vec!["build", "--quiet", "--profile", "rule", "--target", TARGET];
    names.iter().for_each(|name| arguments.extend(["--package", name]));
    cargo(root, &arguments)?;
    std::fs::create_dir_all(out).map_err(|error| format!("{}: {error}", out.display()))?;
    let built = root.join("target").join(TARGET).join("rule");
    for name in &names {
        let from = built.join(format!("{}.wasm", name.replace('-', "_")));
        copy_if_changed(&from, &out.join(format!("{name}.wasm")))?;
    }
    Ok(())
}

/// What has not changed keeps its time, so that nothing is built again because of it.
fn copy_if_changed(from: &Path, to: &PathBuf) -> Result<(), String> {
    let new = std::fs::read(from).map_err(|error| format!("{}: {error}", from.display()))?;
    if std::fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    std::fs::write(to, new).map_err(|error| format!("{}: {error}", to.display()))
}

fn install_target() -> Result<(), String> {
    let installed = Command::new("rustup").args(["target", "list", "--installed"]).output();
    let listed = installed.map_err(|error| format!("rustup cannot be run: {error}; install it from its site"))?;
    if String::from_utf8_lossy(&listed.stdout).lines().any(|line| line == TARGET) {
        return Ok(());
    }
    run(Command::new("rustup").args(["target", "add", TARGET]))
}

/// A toolchain of the minimal profile has neither.
fn install_component(command: &str, component: &str) -> Result<(), String> {
    let found = Command::new("cargo").args([command, "--version"]).output();
    if found.is_ok_and(|found| found.status.success()) {
        return Ok(());
    }
    run(Command::new("rustup").args(["component", "add", component]))
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<(), String> {
    run(&mut cargo_command(root, arguments))
}

fn cargo_command(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args(arguments);
    command
}

fn run(command: &mut Command) -> Result<(), String> {
    let shown = format!("{command:?}").replace('"', "");
    let status = command.status().map_err(|error| format!("{shown}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{shown}: {status}")) }
}
