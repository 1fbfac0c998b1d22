//! `stillhouse rule keygen`, `sign` and `verify`

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use stillhouse::author::keys;
use stillhouse::rules::{self, signature_of, signature_path};
use stillhouse_rules::signature;

/// Makes a pair of keys.
pub fn keygen(path: &Path) -> Result<ExitCode> {
    let key = keys::generate(path).map_err(|error| anyhow!(error))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}      private: signs; keep it to yourself", path.display())?;
    writeln!(out, "{}  public: checks; give it to everybody", keys::public_path(path).display())?;
    writeln!(out, "\nA host that takes only what this key signed:\n\n[rules]\ntrust = [\"{key}\"]")?;
    Ok(ExitCode::SUCCESS)
}

/// Signs a file that is a sound rule.
pub fn sign(file: &Path, key: &Path) -> Result<ExitCode> {
    let key = keys::secret(key).map_err(|error| anyhow!(error))?;
    let engine = rules::engine(8)?;
    let bytes = engine.read_file(file)?;
    // What the host would refuse anyway is not worth a signature.
    let rule = super::load(&engine, &bytes, file, &Default::default())?;
    let path = signature_path(file);
    let half = path.with_extension("sig.new");
    let written = std::fs::write(&half, signature::sign(&bytes, &key)).and_then(|()| std::fs::rename(&half, &path));
    written.with_context(|| format!("{}: cannot be written", path.display()))?;
    let id = rule.id();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}: {} {} ({}) by {}", path.display(), id.name, id.version, &id.digest[..12], key.public().id())?;
    Ok(ExitCode::SUCCESS)
}

/// Checks a signature.
pub fn verify(file: &Path, trust: &[String]) -> Result<ExitCode> {
    let trust = trust.iter().map(|key| keys::public(key)).collect::<Result<Vec<_>, _>>();
    let trust = trust.map_err(|error| anyhow!(error))?;
    let bytes = rules::engine(8)?.read_file(file)?;
    let signature = signature_of(file).map_err(|error| anyhow!(error))?;
    let key = signature::verify(&bytes, signature.as_deref(), &trust)
        .with_context(|| signature_path(file).display().to_string())?;
    writeln!(std::io::stdout().lock(), "{}: signed by {}", file.display(), key.id())?;
    Ok(ExitCode::SUCCESS)
}
