//! The folder of a rule: how it is built and tested, whatever it is written in.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// What rules in Rust are built for.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// What the script of another language leaves.
const SCRIPT_OUTPUT: &str = "rule.wasm";

/// A folder that a rule is built in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    /// How it is built.
    pub builds: Builds,
}

/// How a folder is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Builds {
    /// A crate of this name, with cargo.
    Cargo(String),
    /// With its script `build`, which leaves `rule.wasm`.
    Script,
}

impl Folder {
    /// Looks at a folder.
    ///
    /// # Errors
    /// If it is no folder of a rule.
    pub fn open(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        if !path.is_dir() {
            return Err(format!("{shown}: there is no such folder; `stillhouse rule new NAME` makes one"));
        }
        let manifest = path.join("Cargo.toml");
        if manifest.is_file() {
            let text =
                std::fs::read_to_string(&manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
            let toml: toml::Table = text.parse().map_err(|error| format!("{}: {error}", manifest.display()))?;
            let name = toml.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
            let name =
                name.ok_or_else(|| format!("{}: no package; expected the crate of a rule", manifest.display()))?;
            return Ok(Self { path: path.to_owned(), builds: Builds::Cargo(name.to_owned()) });
        }
        if path.join("build").is_file() {
            return Ok(Self { path: path.to_owned(), builds: Builds::Script });
        }
        Err(format!(
            "{shown}: expected the folder of a rule, with a `Cargo.toml` or a script `build`; `stillhouse rule new NAME` \
             makes one"
        ))
    }

    /// Builds the rule: its file, which lies in the folder. What the compiler says goes to standard
    /// error as it says it.
    ///
    /// # Errors
    /// If it does not build. What the compiler said is not repeated.
    pub fn build(&self) -> Result<PathBuf, String> {
        match &self.builds {
            Builds::Cargo(name) => self.cargo_build(name),
            Builds::Script => self.script_build(),
        }
    }

    /// Runs the rule's cases natively, where its language can; `None` where it cannot.
    ///
    /// # Errors
    /// If cargo cannot be run.
    pub fn test(&self) -> Result<Option<bool>, String> {
        if self.builds == Builds::Script {
            return Ok(None);
        }
        // What tests print is for people; standard output is for the table.
        let mut cargo = self.cargo(&["test", "--quiet"]);
        let status = cargo.stdout(Stdio::from(std::io::stderr())).status().map_err(no_cargo)?;
        Ok(Some(status.success()))
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut cargo = Command::new("cargo");
        cargo.args(arguments).current_dir(&self.path).stdin(Stdio::null());
        cargo
    }

    fn cargo_build(&self, name: &str) -> Result<PathBuf, String> {
        self.check_target()?;
        let build = ["build", "--quiet", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"];
        let built = self.cargo(&build).stderr(Stdio::inherit()).output().map_err(no_cargo)?;
        if !built.status.success() {
            return Err("`cargo build` failed; the compiler says why above".into());
        }
        let made =
            artifact(&String::from_utf8_lossy(&built.stdout), &self.path.join("Cargo.toml")).ok_or_else(|| {
                format!(
                    "{}: the crate makes no WebAssembly: its `[lib]` needs `crate-type = [\"cdylib\", \"rlib\"]`",
                    self.path.join("Cargo.toml").display()
                )
            })?;
        let to = self.path.join(format!("{name}.wasm"));
        replace(&made, &to).map_err(|error| format!("{}: cannot be written: {error}", to.display()))?;
        Ok(to)
    }

    fn script_build(&self) -> Result<PathBuf, String> {
        let script = self.path.join("build");
        let mut command = Command::new(script.canonicalize().unwrap_or_else(|_| script.clone()));
        command.current_dir(&self.path).stdin(Stdio::null()).stdout(Stdio::from(std::io::stderr()));
        let status = command.status().map_err(|error| {
            format!("{}: cannot be run: {error}; is it executable? `chmod +x {0}`", script.display())
        })?;
        if !status.success() {
            return Err(format!("{}: failed ({status}); it says why above", script.display()));
        }
        let made = self.path.join(SCRIPT_OUTPUT);
        match made.is_file() {
            true => Ok(made),
            false => Err(format!("{}: left no `{SCRIPT_OUTPUT}` in its folder", script.display())),
        }
    }

    /// Without the target the compiler says that it does not find `core`, which helps nobody.
    fn check_target(&self) -> Result<(), String> {
        let asked = ["--print", "target-libdir", "--target", TARGET];
        let Ok(said) = Command::new("rustc").args(asked).current_dir(&self.path).output() else {
            return Err("there is no `rustc`: install Rust with rustup (https://rustup.rs)".into());
        };
        let folder = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        if said.status.success() && !Path::new(&folder).is_dir() {
            return Err(format!("the compiler cannot make WebAssembly yet: `rustup target add {TARGET}`"));
        }
        Ok(())
    }
}

fn no_cargo(error: std::io::Error) -> String {
    format!("cargo cannot be run: {error}; install Rust with rustup (https://rustup.rs)")
}

/// The WebAssembly that cargo says it made of the crate with this manifest.
fn artifact(messages: &str, manifest: &Path) -> Option<PathBuf> {
    let manifest = manifest.canonicalize().ok();
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let artifacts = messages.filter(|message| message["reason"] == "compiler-artifact");
    let own = artifacts.filter(|message| {
        let of = message["manifest_path"].as_str().and_then(|path| Path::new(path).canonicalize().ok());
        of.is_some() && of == manifest
    });
    let files: Vec<Value> = own.filter_map(|message| message["filenames"].as_array().cloned()).flatten().collect();
    files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
}

/// Puts a copy of `from` at `to` at once: whoever watches `to` never sees half of it.
fn replace(from: &Path, to: &Path) -> std::io::Result<()> {
    if let (Ok(new), Ok(old)) = (std::fs::read(from), std::fs::read(to))
        && new == old
    {
        return Ok(());
    }
    let half = to.with_extension("wasm.new");
    std::fs::copy(from, &half)?;
    std::fs::rename(&half, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_none_is_refused() {
        let refused = Folder::open(Path::new("/no/such/folder")).unwrap_err();
        assert!(refused.contains("no such folder") && refused.contains("rule new"), "{refused}");
        let empty = std::env::temp_dir().join(format!("stillhouse-folder-{}", std::process::id()));
        std::fs::create_dir_all(&empty).unwrap();
        assert!(Folder::open(&empty).unwrap_err().contains("`Cargo.toml` or a script `build`"));
        std::fs::write(empty.join("build"), "").unwrap();
        assert_eq!(Folder::open(&empty).unwrap().builds, Builds::Script);
        std::fs::write(empty.join("Cargo.toml"), "[workspace]\n").unwrap();
        assert!(Folder::open(&empty).unwrap_err().contains("no package"));
        std::fs::write(empty.join("Cargo.toml"), "[package]\nname = \"x-y\"\n").unwrap();
        assert_eq!(Folder::open(&empty).unwrap().builds, Builds::Cargo("x-y".into()));
        std::fs::remove_dir_all(&empty).unwrap();
    }
}
