//! Examples are run and exported, and DuckDB and pandas read what came of it.

use std::path::Path;
use std::process::Command;

use super::{cargo, run};

/// Name and input; each record is a line.
const EXAMPLES: [(&str, &str); 3] =
    [("kubelet", "sample.log"), ("maintenance", "signals.jsonl"), ("security-flood", "auth.log")];

const PACKAGES: [&str; 3] = ["duckdb", "pandas", "pyarrow"];

/// Builds a program that can export, and checks what it writes. It loads DuckDB and pandas once, into
/// `target/export/python`.
pub fn check(root: &Path) -> Result<(), String> {
    cargo(root, &["build", "--release", "--package", "stillhouse", "--features", "export"])?;
    let program = root.join("target/release/stillhouse");
    let folder = root.join("target/export");
    let python = python(&folder)?;
    for (name, sample) in EXAMPLES {
        let at = folder.join(name);
        // A run would go on where the last one stopped.
        drop(std::fs::remove_dir_all(&at));
        std::fs::create_dir_all(&at).map_err(|error| format!("{}: {error}", at.display()))?;
        let example = root.join("examples").join(name);
        let stillhouse = || {
            let mut command = Command::new(&program);
            command.current_dir(&at);
            command
        };
        let config = example.join("stillhouse.toml");
        let sample = example.join(sample);
        let mut distil = stillhouse();
        distil.args(["run", "--quiet", "--output", "events.jsonl", "--store", "store", "--config"]).arg(config);
        run(distil.arg("--input").arg(&sample))?;
        for what in ["log", "events"] {
            let file = format!("{what}.parquet");
            run(stillhouse().args(["export", "--store", "store", "--what", what, "--to", &file]))?;
        }
        run(Command::new(&python).current_dir(&at).arg(root.join("tests/xtask/export/check.py")).arg(sample))?;
    }
    Ok(())
}

/// A Python that has what is needed.
fn python(folder: &Path) -> Result<std::path::PathBuf, String> {
    let venv = folder.join("python");
    let python = venv.join("bin/python");
    let imports = format!("import {}", PACKAGES.join(", "));
    let has_all =
        |python: &Path| Command::new(python).args(["-c", &imports]).output().is_ok_and(|out| out.status.success());
    if !has_all(&python) {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(PACKAGES))?;
    }
    Ok(python)
}
