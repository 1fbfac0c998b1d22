//! cargo-fuzz over the targets of `tests/fuzz`.

use std::path::Path;
use std::process::Command;

use super::{cargo, cargo_command, run};

/// An input is not longer than this.
const BYTES_MAX: usize = 4096;

/// Fuzzes one target, or one after the other, for some minutes each. What is found on the way is kept in
/// `target/fuzz`, what fails in `tests/fuzz/artifacts`.
pub fn fuzz(root: &Path, arguments: &[String]) -> Result<(), String> {
    let (mut minutes, mut wanted) = (1, Vec::new());
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--minutes" {
            let number = arguments.next().and_then(|number| number.parse::<u64>().ok());
            minutes = number.ok_or("--minutes: expected a whole number")?;
        } else {
            wanted.push(argument.clone());
        }
    }
    let known = targets(root)?;
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(name)) {
        return Err(format!("no target `{unknown}`; there are {}", known.join(", ")));
    }
    let tools = root.join("target/tools");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(tools.join("bin")).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(paths).map_err(|error| error.to_string())?;
    let has_it = Command::new("cargo").args(["fuzz", "--version"]).env("PATH", &path).output();
    if !has_it.is_ok_and(|out| out.status.success()) {
        cargo(root, &["install", "cargo-fuzz", "--locked", "--root", &tools.to_string_lossy()])?;
    }
    for target in if wanted.is_empty() { &known } else { &wanted } {
        let found = root.join("target/fuzz").join(target);
        std::fs::create_dir_all(&found).map_err(|error| format!("{}: {error}", found.display()))?;
        // What can be wrong here is a panic: no sanitizer is needed for that, nor another toolchain.
        let mut command =
            cargo_command(root, &["fuzz", "run", "--fuzz-dir", "tests/fuzz", "--sanitizer", "none", target]);
        command.arg(found).arg(root.join("tests/fuzz/corpus").join(target)).arg("--");
        command.arg(format!("-max_total_time={}", minutes * 60)).arg(format!("-max_len={BYTES_MAX}"));
        // The database asks for up to 4 GiB, and clears it, where the number of a page is damaged: it looks afterwards.
        let (seconds, megabytes) = if target == "store" { (60, 6144) } else { (10, 2048) };
        command.arg(format!("-timeout={seconds}")).arg(format!("-rss_limit_mb={megabytes}"));
        run(command.arg("-print_final_stats=1").env("PATH", &path))?;
    }
    Ok(())
}

/// Each has a corpus.
fn targets(root: &Path) -> Result<Vec<String>, String> {
    let folder = root.join("tests/fuzz/corpus");
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}
