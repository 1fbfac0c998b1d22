//! Whether the simulation finds faults: all of a table are built at once into a copy of the sources, and an
//! environment variable says which is there.

mod table;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use table::{MUTANTS, Mutant};

/// Says which fault is there, by its number.
const VARIABLE: &str = "STILLHOUSE_MUTANT";

/// How many seeds each gets unless told otherwise.
const SEEDS_DEFAULT: &str = "2000";

/// What the simulation is called.
const TEST: &str = "simulation::a_host_that_dies_anywhere_says_what_one_that_never_does_says";

/// Builds the faults and lets the simulation look for each. Says which seed found it.
pub fn mutants(root: &Path, arguments: &[String]) -> Result<(), String> {
    let seeds = arguments.first().map_or(SEEDS_DEFAULT, String::as_str);
    if seeds.parse::<u64>().is_err() {
        return Err(format!("expected a number of seeds, got `{seeds}`"));
    }
    let tree = root.join("target/mutants");
    copy(root, &tree)?;
    let looked = look(&tree, seeds);
    // What was built of the copy has the names of what is built of the sources.
    let packages = ["stillhouse", "stillhouse-core", "stillhouse-delivery", "stillhouse-store", "stillhouse-tests"];
    let clean = ["clean", "--release"].into_iter().chain(packages.iter().flat_map(|package| ["--package", *package]));
    super::cargo(root, &clean.collect::<Vec<_>>())?;
    looked
}

fn look(tree: &Path, seeds: &str) -> Result<(), String> {
    for (number, mutant) in (1..).zip(MUTANTS) {
        apply(tree, number, mutant)?;
    }
    let tests = build(tree)?;
    if let Some(seed) = found(&tests, seeds, 0)? {
        return Err(format!("the simulation fails without any fault, at seed {seed}"));
    }
    println!("{:>3}  {:>6}  fault", "", "seed");
    let mut survivors = 0;
    for (number, mutant) in (1..).zip(MUTANTS) {
        let seed = found(&tests, seeds, number)?;
        survivors += usize::from(seed.is_none());
        println!("{number:>3}  {:>6}  {}", seed.as_deref().unwrap_or("-"), mutant.breaks);
    }
    match survivors {
        0 => Ok(()),
        _ => Err(format!("{survivors} of {} faults were not found in {seeds} seeds", MUTANTS.len())),
    }
}

/// Copies what git knows or may know. The target folder is the same, so that only what is in the workspace is
/// built again.
fn copy(root: &Path, tree: &Path) -> Result<(), String> {
    let listed = Command::new("git").current_dir(root).args(["ls-files", "-coz", "--exclude-standard"]).output();
    let listed = listed.map_err(|error| format!("git cannot be run: {error}"))?;
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| format!("{path}: {error}")
    };
    if tree.exists() {
        std::fs::remove_dir_all(tree).map_err(failed(tree))?;
    }
    for path in String::from_utf8_lossy(&listed.stdout).split('\0').filter(|path| !path.is_empty()) {
        let (from, to) = (root.join(path), tree.join(path));
        // What was removed and not committed is listed still.
        let Ok(bytes) = std::fs::read(&from) else { continue };
        let folder = to.parent().unwrap_or(tree);
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        std::fs::write(&to, bytes).map_err(failed(&to))?;
    }
    Ok(())
}

/// The source in which a fault has its place.
fn source(tree: &Path, mutant: &Mutant) -> Result<String, String> {
    let Mutant { file, old, .. } = mutant;
    let text = std::fs::read_to_string(tree.join(file)).map_err(|error| format!("{file}: {error}"))?;
    let times = text.matches(old).count();
    match times {
        1 => Ok(text),
        _ => Err(format!("{file}: `{old}` is there {times} times, expected once; change the table of mutants")),
    }
}

fn apply(tree: &Path, number: usize, mutant: &Mutant) -> Result<(), String> {
    let Mutant { file, old, new, .. } = mutant;
    let (path, text) = (tree.join(file), source(tree, mutant)?);
    let is_there = format!("std::env::var_os(\"{VARIABLE}\").is_some_and(|it| it == \"{number}\")");
    let mutated = text.replace(old, &format!("{{ if {is_there} {{ {new} }} else {{ {old} }} }}"));
    std::fs::write(&path, mutated).map_err(|error| format!("{file}: {error}"))
}

/// Builds the tests, and tells where they are: cargo would look anew at all it has built before each run. Faults make
/// warnings, which are shown only if it cannot be built.
fn build(tree: &Path) -> Result<PathBuf, String> {
    let mut command = super::cargo_command(tree, &["test", "--release", "--package", "stillhouse-tests"]);
    command.args(["--test", "all", "--no-run", "--message-format", "json"]).env("CARGO_TARGET_DIR", tree.join(".."));
    let built = command.output().map_err(|error| format!("cargo cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&built.stdout);
    let named = said.rsplit_once("\"executable\":\"").and_then(|(_, after)| after.split('"').next());
    match named.filter(|_| built.status.success()) {
        Some(named) => Ok(PathBuf::from(named)),
        None => Err(format!("the faults cannot be built:\n{}", String::from_utf8_lossy(&built.stderr))),
    }
}

/// The seed at which the simulation fails, if it does.
fn found(tests: &Path, seeds: &str, number: usize) -> Result<Option<String>, String> {
    let mut command = Command::new(tests);
    command.args(["--exact", TEST]).env_remove("SEED").env("SEEDS", seeds).env(VARIABLE, number.to_string());
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{}: cannot be run: {error}", tests.display()))?;
    if output.status.success() {
        return Ok(None);
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let seed = said.split_once("SEED=").and_then(|(_, after)| after.split_whitespace().next());
    match seed {
        Some(seed) => Ok(Some(seed.to_owned())),
        None if said.contains("does not simulate any more") => Ok(Some("all".into())),
        None => Err(format!("mutant {number} ends without a seed:\n{said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The faults are built and looked for by hand only; that the sources have moved on is seen at once.
    #[test]
    fn every_fault_has_its_place() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let errors: Vec<String> = MUTANTS.iter().filter_map(|mutant| source(&root, mutant).err()).collect();
        assert!(errors.is_empty(), "{}", errors.join("\n"));
    }
}
