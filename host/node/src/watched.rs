//! Files that are looked at again and again: they may be written in place, or be replaced by a rename.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

/// How often files are looked at even if nobody says that something changed.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A file that is being written is read when it has stayed the same for so long.
const SETTLED_AFTER: Duration = Duration::from_millis(100);

/// The folders of files: not the files are watched, so that a rename is seen.
pub struct Folders {
    changes: Receiver<notify::Result<notify::Event>>,
    _watcher: Option<RecommendedWatcher>,
}

impl Folders {
    /// The folders of these files.
    pub fn of<'p>(files: impl Iterator<Item = &'p Path>) -> Self {
        let (changed, changes) = channel();
        let mut watcher = notify::recommended_watcher(move |event| drop(changed.send(event))).ok();
        let folder =
            |file: &'p Path| file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        for folder in files.map(folder).collect::<BTreeSet<_>>() {
            let watching = watcher.as_mut().map(|watcher| watcher.watch(folder, RecursiveMode::NonRecursive));
            if let Some(Err(error)) = watching {
                let folder = folder.display();
                tracing::warn!(%folder, %error, "no notifications: its files are looked at twice a second");
            }
        }
        Self { changes, _watcher: watcher }
    }

    /// Waits until somebody says that something changed, or it is time to look.
    pub fn wait(&self) {
        match self.changes.recv_timeout(LOOK_AGAIN) {
            Ok(_) => while self.changes.try_recv().is_ok() {},
            Err(RecvTimeoutError::Timeout) => {}
            // Without a watcher nobody ever says so.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK_AGAIN),
        }
    }
}

/// What a file was like when it was looked at last.
#[derive(Debug, Default)]
pub struct Seen(Option<Stamp>);

/// What tells that a file may have changed: its time and its length; `None` if it is not there.
type Stamp = Option<(SystemTime, u64)>;

impl Seen {
    /// Whether the file may have changed since, or was never looked at, and is no longer being written.
    pub fn has_changed(&mut self, path: &Path) -> bool {
        let now = stamp(path);
        if self.0 == Some(now) {
            return false;
        }
        std::thread::sleep(SETTLED_AFTER);
        if now != stamp(path) {
            return false;
        }
        self.0 = Some(now);
        true
    }
}

fn stamp(path: &Path) -> Stamp {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}
