//! Builds into the program what it hands on.
//!
//! - The rules that ship: every `NAME.wasm` in the folder that `STILLHOUSE_RULES` names, or in
//!   `target/rules` of the workspace, where `cargo xtask rules` puts them. Without them the program
//!   works, but knows no rule by name.
//! - What `stillhouse rule new` writes: the sources of the SDK, the contract, and the folders in
//!   `examples/rules`, one for each language.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// A text of this size is none that an author reads.
const TEXT_BYTES_MAX: u64 = 256 << 10;

fn main() {
    let manifest = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let write = |name: &str, source: String| {
        std::fs::write(out.join(name), source).expect("the output folder can be written");
    };
    write("shipped.rs", shipped(&manifest));
    write("embedded.rs", embedded(&manifest.join("../..").canonicalize().expect("the workspace is there")));
}

fn shipped(manifest: &Path) -> String {
    let folder =
        std::env::var_os("STILLHOUSE_RULES").map_or_else(|| manifest.join("../../target/rules"), PathBuf::from);
    println!("cargo::rerun-if-env-changed=STILLHOUSE_RULES");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = entries(&folder);
    files.retain(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    let mut source = String::from("static SHIPPED: &[(&str, &[u8])] = &[\n");
    for path in &files {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        println!("cargo::rerun-if-changed={}", path.display());
        let path = path.canonicalize().expect("the file was just listed");
        writeln!(source, "    ({name:?}, include_bytes!({path:?})),").expect("a string takes all");
    }
    source.push_str("];\n");
    if files.is_empty() {
        println!("cargo::warning=no rules to ship in {}; run `cargo xtask rules` first", folder.display());
    }
    source
}

fn embedded(root: &Path) -> String {
    let mut sdk = Vec::new();
    for folder in ["sdk/src", "sdk/derive/src", "wit/v0.2"] {
        texts(&root.join(folder), &mut sdk);
    }
    sdk.extend(["sdk/Cargo.toml", "sdk/derive/Cargo.toml"].map(|path| root.join(path)));
    let mut source = format!("static SDK: &[Embedded] = &[\n{}", files(root, &sdk));
    let manifest = workspace(root);
    writeln!(source, "    Embedded {{ path: \"Cargo.toml\", text: {manifest:?}, executable: false }},\n];")
        .expect("a string takes all");
    source.push_str("static LANGUAGES: &[(&str, &[Embedded])] = &[\n");
    let languages = root.join("examples/rules");
    println!("cargo::rerun-if-changed={}", root.join("examples").display());
    for folder in entries(&languages).iter().filter(|path| path.is_dir()) {
        let mut found = Vec::new();
        texts(folder, &mut found);
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        writeln!(source, "    ({name:?}, &[\n{}    ]),", files(folder, &found)).expect("a string takes all");
    }
    source.push_str("];\n");
    source
}

/// The text files in a folder and below it, without what tools put there.
fn texts(folder: &Path, found: &mut Vec<PathBuf>) {
    println!("cargo::rerun-if-changed={}", folder.display());
    for path in entries(folder) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let made = ["node_modules", "target", "__pycache__", "dist"].contains(&&*name);
        let hidden = name.starts_with('.') && name != ".gitignore";
        if made || hidden {
            continue;
        }
        if path.is_dir() {
            texts(&path, found);
        } else if std::fs::metadata(&path).is_ok_and(|meta| meta.len() <= TEXT_BYTES_MAX)
            && std::fs::read(&path).is_ok_and(|bytes| std::str::from_utf8(&bytes).is_ok() && !bytes.contains(&0))
        {
            found.push(path);
        }
    }
}

/// One line of Rust for each file.
fn files(root: &Path, found: &[PathBuf]) -> String {
    let mut source = String::new();
    for path in found {
        println!("cargo::rerun-if-changed={}", path.display());
        let name = path.strip_prefix(root).expect("it is below").to_string_lossy().replace('\\', "/");
        let executable = is_executable(path);
        writeln!(source, "    Embedded {{ path: {name:?}, text: include_str!({path:?}), executable: {executable} }},")
            .expect("a string takes all");
    }
    source
}

/// The workspace that the copy of the SDK is: the versions and lints that its manifests inherit.
fn workspace(root: &Path) -> String {
    let path = root.join("Cargo.toml");
    println!("cargo::rerun-if-changed={}", path.display());
    let manifest = std::fs::read_to_string(&path).expect("the workspace has a manifest");
    let section = |name: &str| -> Vec<&str> {
        let lines = manifest.lines().skip_while(|line| *line != format!("[{name}]")).skip(1);
        lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.is_empty()).collect()
    };
    let sdk = std::fs::read_to_string(root.join("sdk/Cargo.toml")).expect("the SDK has a manifest");
    let inherited = |line: &&str| {
        let name = line.split(' ').next().unwrap_or_default();
        sdk.lines().any(|wanted| wanted == format!("{name}.workspace = true"))
    };
    let dependencies: Vec<&str> = section("workspace.dependencies").into_iter().filter(inherited).collect();
    let mut made = String::from(
        "# The SDK as it came with `stillhouse rule new`. To have a newer one, put the folder `.stillhouse`\n\
         # of a new rule in the place of this one.\n\
         [workspace]\nresolver = \"3\"\nmembers = [\"sdk\", \"sdk/derive\"]\n",
    );
    for (name, lines) in [
        ("workspace.package", section("workspace.package")),
        ("workspace.dependencies", dependencies),
        ("workspace.lints.rust", section("workspace.lints.rust")),
        ("workspace.lints.clippy", section("workspace.lints.clippy")),
    ] {
        assert!(!lines.is_empty(), "{}: no [{name}]", path.display());
        writeln!(made, "\n[{name}]\n{}", lines.join("\n")).expect("a string takes all");
    }
    made
}

/// What is in a folder, sorted; nothing where there is none.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    entries.sort();
    entries
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "build")
}
