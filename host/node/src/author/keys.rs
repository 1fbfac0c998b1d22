//! The files of keys: `KEY` is private and for its owner alone, `KEY.pub` is for everybody.

use std::io::Write;
use std::path::{Path, PathBuf};

use stillhouse_rules::signature::{PublicKey, SecretKey};

/// A key's file is one short line.
const KEY_BYTES_MAX: u64 = 1024;

/// Where the public half of a key lies.
pub fn public_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// Makes a new key at `path`, which only its owner may read, and its public half beside it.
///
/// # Errors
/// If one of the two is there already, cannot be written, or the system has no randomness.
pub fn generate(path: &Path) -> Result<PublicKey, String> {
    let public = public_path(path);
    for taken in [path, &public] {
        if taken.symlink_metadata().is_ok() {
            return Err(format!("{}: is there already; a key is never overwritten", taken.display()));
        }
    }
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| format!("the system gives no random bytes: {error}"))?;
    let key = SecretKey::from_random(&random);
    write_new(path, &format!("{}\n", key.reveal()), 0o600)?;
    write_new(&public, &format!("{}\n", key.public()), 0o644)?;
    Ok(key.public())
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    let mut open = std::fs::OpenOptions::new();
    open.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut open, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let written = open.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| format!("{}: cannot be written: {error}", path.display()))
}

/// Reads a private key.
///
/// # Errors
/// If it cannot be read, is none, or others may read it.
pub fn secret(path: &Path) -> Result<SecretKey, String> {
    let key = read(path)?.trim().parse().map_err(|error| format!("{}: {error}", path.display()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let meta = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(format!(
                "{0}: others may read this key (mode {mode:03o}), expected 600: `chmod 600 {0}`, and if somebody may \
                 have read it, make a new one",
                path.display()
            ));
        }
    }
    Ok(key)
}

/// Reads a public key: the key itself, or a file that holds one.
///
/// # Errors
/// If it is neither.
pub fn public(text: &str) -> Result<PublicKey, String> {
    if text.starts_with("ed25519") {
        return text.parse().map_err(|error| format!("--key: {error}"));
    }
    let path = Path::new(text);
    read(path)?.trim().parse().map_err(|error| format!("{text}: {error}"))
}

fn read(path: &Path) -> Result<String, String> {
    let failed = |why: String| format!("{}: cannot be read: {why}", path.display());
    let meta = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if !meta.is_file() || meta.len() > KEY_BYTES_MAX {
        return Err(failed("expected a file with one line, as `stillhouse rule keygen` writes it".into()));
    }
    std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))
}
