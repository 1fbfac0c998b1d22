//! Builds the rules that ship into the program: every `NAME.wasm` in the folder that
//! `STILLHOUSE_RULES` names, or in `target/rules` of the workspace, where `cargo xtask rules` puts
//! them. Without them the program works, but knows no rule by name.

use std::fmt::Write;
use std::path::PathBuf;

fn main() {
    let manifest = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let folder =
        std::env::var_os("STILLHOUSE_RULES").map_or_else(|| manifest.join("../../target/rules"), PathBuf::from);
    println!("cargo::rerun-if-env-changed=STILLHOUSE_RULES");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    files.sort();
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
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("shipped.rs");
    std::fs::write(out, source).expect("the output folder can be written");
}
