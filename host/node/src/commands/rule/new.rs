//! `stillhouse rule new`

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use stillhouse::author::scaffold::{self, Language};
use stillhouse_rules::Kind;

use super::{KindName, New, refused};

/// Makes the folder of a rule.
pub fn carry_out(arguments: &New) -> Result<ExitCode> {
    let folder = &arguments.name;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    if let Err(error) = scaffold::check_name(&name) {
        return Ok(refused(&error));
    }
    let kind = match arguments.kind {
        KindName::Mapper => Kind::Mapper,
        KindName::Suppressor => Kind::Suppressor,
    };
    let language = match arguments.language.as_str() {
        "rust" => Language::Rust,
        other => Language::Other(other.to_owned()),
    };
    let made = scaffold::files(&name, kind, &language);
    let files = match made.and_then(|files| scaffold::write(folder, &files).map(|()| files)) {
        Ok(files) => files,
        Err(error) => return Ok(refused(&error)),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}: a {kind} in {}\n", folder.display(), arguments.language)?;
    for file in files.iter().filter(|file| !file.path.starts_with(".stillhouse")) {
        writeln!(out, "  {}", file.path.display())?;
    }
    if language == Language::Rust {
        writeln!(out, "  .stillhouse/        the SDK")?;
    }
    let sample = if kind == Kind::Mapper { "signals.jsonl" } else { "candidates.jsonl" };
    let rule = if language == Language::Rust { format!("{name}.wasm") } else { "rule.wasm".into() };
    writeln!(out, "\nNext:\n  cd {}\n  stillhouse rule test", folder.display())?;
    if files.iter().any(|file| file.path == std::path::Path::new(sample)) {
        writeln!(out, "  stillhouse rule run {rule} --input {sample}")?;
    }
    Ok(ExitCode::SUCCESS)
}
