//! Watches a folder of rules, and tells which version of each is whole.
//!
//! # When a file is whole
//! Its parts must fit together from the first byte to the last ([`stillhouse_rules::whole`]), it must
//! not change while it is read, and there must be a sign that writing has ended. The system gives one
//! where a file is closed, renamed or linked: then nothing is waited for. While a file is known to be
//! open and written, nothing but its being closed will do, or a long silence. Without any sign, which
//! is so where there are no notifications, a short silence is taken for one.
//!
//! # What is listened to
//! Folders and not files, since a rename changes what a name means and not a file. Links are followed
//! one by one, and each is listened for in the folder that it lies in: so the `..data` link of a
//! mounted Kubernetes config map is just a name that changed.

mod file;
mod places;
mod shelf;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use places::{Heard, Places};
use shelf::Shelf;

/// What a watched file's name ends in.
const EXTENSION: &str = "wasm";
/// What is added to the name for its signature.
const SIGNATURE: &str = ".sig";

/// What has changed in a folder of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A whole file, whose digest is not the one that was told last; or the same file with another
    /// signature.
    Found {
        /// Its name without `.wasm`.
        name: String,
        /// Where it is.
        path: PathBuf,
        /// SHA-256 of its bytes, as hexadecimal digits.
        digest: String,
        /// All of it.
        bytes: Arc<[u8]>,
        /// What the file `NAME.wasm.sig` beside it says, without surrounding white space.
        signature: Option<String>,
    },
    /// It has been away for [`Watching::refused_after`].
    Gone {
        /// Its name without `.wasm`.
        name: String,
        /// Where it was.
        path: PathBuf,
    },
    /// It has stayed as it is for [`Watching::refused_after`] and cannot be a rule.
    Refused {
        /// Its name without `.wasm`.
        name: String,
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// How a folder is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watching {
    /// Size of a rule's file, in bytes; a larger one is not read.
    pub file_bytes_max: usize,
    /// Rules in the folder; the rest, by name, is not looked at, and the log says so.
    pub files_max: usize,
    /// Whether rules are expected to be signed: then one without a signature waits for it for
    /// [`Watching::refused_after`]. One that had a signature does so in any case.
    pub signed: bool,
    /// Without a sign that writing has ended, a file must have stayed the same for so long.
    pub settled_after: Duration,
    /// How long a file that is no rule, or is gone, stays so before it is told.
    pub refused_after: Duration,
    /// How long a file stays the same, that somebody has open for writing, before it is taken as it is.
    pub abandoned_after: Duration,
    /// Whether the system is asked to tell of changes; otherwise files are only looked at.
    pub notifications: bool,
    /// How often files are looked at where the system cannot tell of changes.
    pub look_every: Duration,
    /// How often files are looked at where it can, for what it does not see: another machine's writes
    /// to a shared folder, or a write through another name of the same file.
    pub look_again: Duration,
}

impl Default for Watching {
    fn default() -> Self {
        Self {
            file_bytes_max: stillhouse_rules::Limits::default().component_bytes_max,
            files_max: 1024,
            signed: false,
            settled_after: Duration::from_millis(100),
            refused_after: Duration::from_secs(2),
            abandoned_after: Duration::from_secs(30),
            notifications: true,
            look_every: Duration::from_millis(250),
            look_again: Duration::from_secs(2),
        }
    }
}

/// Watches `folder`, which need not be there yet, as long as `listened` says that somebody listens
/// and `tell` says so, too. `known` are the digests, by name, of what the listener has already.
///
/// Blocks the calling thread, on which everything is read and told. At most one file is held in memory
/// beside what was told. `listened` is asked at least every [`Watching::look_again`].
pub fn watch(
    folder: &Path,
    known: BTreeMap<String, String>,
    how: &Watching,
    listened: impl Fn() -> bool,
    mut tell: impl FnMut(Change) -> bool,
) {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let mut shelf = Shelf::new(folder, known, how);
    let mut places = Places::new(how.notifications);
    let mut heard = Heard::default();
    while listened() {
        let names = shelf.look(&heard);
        heard = Heard::default();
        if places.listen(names.folder, names.all) {
            continue;
        }
        for name in shelf.due() {
            let writing = |names: &[PathBuf]| {
                places.drain(&mut heard);
                heard.of(names) == Some(places::Sign::Writing)
            };
            if let Some(change) = shelf.judge(&name, writing)
                && !tell(change)
            {
                return;
            }
        }
        let look_again = Instant::now() + if places.hears_all() { how.look_again } else { how.look_every };
        places.wait(shelf.next().map_or(look_again, |due| due.min(look_again)), &mut heard);
    }
}

/// Whether this is how a rule or its signature is named. What begins with a dot is hidden: editors and
/// copying programs give such names to what is not done yet.
fn is_name(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    rule_name(name.strip_suffix(SIGNATURE).unwrap_or(name)).is_some()
}

fn rule_name(file: &str) -> Option<&str> {
    let name = file.strip_suffix(EXTENSION)?.strip_suffix('.')?;
    (!name.is_empty() && !name.starts_with('.')).then_some(name)
}
