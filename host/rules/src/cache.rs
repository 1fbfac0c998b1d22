//! Compiled rules on disk, and what was proved of them: native code that is run
//! unseen and proofs that are believed, so the folder must be the host's alone,
//! and what is read is checked against its own SHA-256.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::error::EngineError;

/// Begins each file; rises when the layout changes.
const MAGIC: &[u8; 8] = b"shcwasm1";
/// The largest file that is kept or read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// What is kept of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Code,
    Proof,
}

impl Kept {
    fn extension(self) -> &'static str {
        match self {
            Self::Code => "cwasm",
            Self::Proof => "proof",
        }
    }
}

/// A folder of compiled rules. Layout of a file: magic, SHA-256 of the rest, what is kept.
pub(crate) struct CompiledCache {
    folder: PathBuf,
    files_max: usize,
    owner: u32,
}

/// Tells the temporary files of one process apart.
static TEMPORARY: AtomicU64 = AtomicU64::new(0);

impl CompiledCache {
    /// Makes the folder where it is missing, and refuses it where it is not safe.
    pub fn open(folder: PathBuf, files_max: usize) -> Result<Self, EngineError> {
        match Self::owner_of_safe(&folder) {
            Ok(owner) => Ok(Self { folder, files_max, owner }),
            Err(why) => Err(EngineError::CacheFolder { path: folder, why }),
        }
    }

    fn owner_of_safe(folder: &Path) -> Result<u32, String> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| format!("cannot be made: {e}"))?;
        let facts = fs::symlink_metadata(folder).map_err(|e| format!("cannot be read: {e}"))?;
        if !facts.is_dir() {
            return Err("is not a folder (a link is not followed); name the folder itself".into());
        }
        let mode = facts.mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(format!(
                "may be written by other users (mode {mode:04o}), and what is in it is run as \
                 native code: `chmod go-w` it or name another folder"
            ));
        }
        let probe = folder.join(temporary_name("probe"));
        let mine =
            create_new(&probe).and_then(|file| file.metadata()).map_err(|e| format!("cannot be written: {e}"))?.uid();
        let _ = fs::remove_file(&probe);
        if facts.uid() != mine {
            return Err(format!("belongs to user {}, not to user {mine}: name another folder", facts.uid()));
        }
        Ok(mine)
    }

    /// What is kept under `key`, if it is sound.
    pub fn read(&self, key: &str, kept: Kept) -> Option<Vec<u8>> {
        let path = self.path(key, kept);
        let mut file = File::open(&path).ok()?;
        match self.read_sound(&mut file) {
            Ok(code) => Some(code),
            Err(why) => {
                tracing::warn!(file = %path.display(), why, "a file of the cache is not used but made again");
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    fn read_sound(&self, file: &mut File) -> Result<Vec<u8>, &'static str> {
        let facts = file.metadata().map_err(|_| "cannot be read")?;
        if !facts.is_file() || facts.uid() != self.owner || facts.mode() & 0o022 != 0 {
            return Err("not written by this host");
        }
        if facts.len() > FILE_BYTES_MAX {
            return Err("too large");
        }
        let mut header = [0; MAGIC.len() + 32];
        file.read_exact(&mut header).map_err(|_| "cut short")?;
        let (magic, sum) = header.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err("of another layout");
        }
        let mut code = Vec::with_capacity(facts.len() as usize);
        file.take(FILE_BYTES_MAX).read_to_end(&mut code).map_err(|_| "cannot be read")?;
        if Sha256::digest(&code).as_slice() != sum {
            return Err("damaged");
        }
        Ok(code)
    }

    /// Keeps `content` under `key`. A failure costs time later, nothing else, and is logged.
    pub fn write(&self, key: &str, kept: Kept, content: &[u8]) {
        let temporary = self.folder.join(temporary_name(key));
        let written = create_new(&temporary).and_then(|mut file| {
            file.write_all(MAGIC)?;
            file.write_all(&Sha256::digest(content))?;
            file.write_all(content)?;
            fs::rename(&temporary, self.path(key, kept))
        });
        match written {
            Ok(()) => self.drop_oldest(kept),
            Err(error) => {
                let _ = fs::remove_file(&temporary);
                tracing::warn!(folder = %self.folder.display(), %error, "compiled rule not kept");
            }
        }
    }

    fn drop_oldest(&self, kept: Kept) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut files: Vec<(SystemTime, PathBuf)> = entries
            .flatten()
            .map(|e| e.path())
            .filter(|p| p.extension().is_some_and(|e| e == kept.extension()))
            .filter_map(|p| Some((fs::metadata(&p).ok()?.modified().ok()?, p)))
            .collect();
        files.sort();
        let excess = files.len().saturating_sub(self.files_max);
        for (_, path) in &files[..excess] {
            let _ = fs::remove_file(path);
        }
    }

    fn path(&self, key: &str, kept: Kept) -> PathBuf {
        self.folder.join(key).with_extension(kept.extension())
    }
}

fn temporary_name(what: &str) -> String {
    let n = TEMPORARY.fetch_add(1, Ordering::Relaxed);
    format!(".{what}.{}.{n}.tmp", std::process::id())
}

fn create_new(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
