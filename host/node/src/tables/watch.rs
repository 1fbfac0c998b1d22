//! Watches the files of tables while inputs are followed.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, SystemTime};

use notify::Watcher;
use stillhouse_core::table::Table;
use tokio::sync::mpsc::Sender;

use crate::config::TableConfig;
use crate::input::Piece;
use crate::tables::read;

/// How often files are looked at even if nobody says that something changed.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A file that is being written is read when it has stayed the same for so long.
const SETTLED_AFTER: Duration = Duration::from_millis(100);

/// What tells that a file may have changed: its time and its length.
type Stamp = Option<(SystemTime, u64)>;

/// A file that is watched.
struct Watched {
    config: TableConfig,
    /// The digest of the last version that was read, good or bad.
    digest: Box<str>,
    stamp: Stamp,
}

/// Watches the files of `tables`, whose versions in force are `given`, and sends what they become
/// until nobody listens. Whether a file has changed is decided by its content: it may be written in
/// place or be replaced by a rename. Folders are watched, not files, so that a rename is seen.
pub fn watch(tables: &[TableConfig], given: &[Arc<Table>], to: &Sender<Piece>) {
    let watched = |(config, table): (&TableConfig, &Arc<Table>)| Watched {
        config: config.clone(),
        digest: table.digest.clone(),
        // Between reading and now it may have changed; so it is read once more.
        stamp: None,
    };
    let mut watched: Vec<Watched> = tables.iter().zip(given).map(watched).collect();
    let (changed, changes) = channel();
    let mut watcher = notify::recommended_watcher(move |event| drop(changed.send(event))).ok();
    for table in tables {
        let folder = table.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let watching = watcher.as_mut().map(|watcher| watcher.watch(folder, notify::RecursiveMode::NonRecursive));
        if let Some(Err(error)) = watching {
            tracing::warn!(folder = %folder.display(), %error, "no notifications: the table is looked at twice a second");
        }
    }
    while !to.is_closed() {
        for table in &mut watched {
            if let Some(piece) = table.look()
                && to.blocking_send(piece).is_err()
            {
                return;
            }
        }
        wait(&changes);
    }
}

/// Waits until somebody says that something changed, or it is time to look.
fn wait(changes: &Receiver<notify::Result<notify::Event>>) {
    match changes.recv_timeout(LOOK_AGAIN) {
        Ok(_) => while changes.try_recv().is_ok() {},
        Err(RecvTimeoutError::Timeout) => {}
        // Without a watcher nobody ever says so.
        Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK_AGAIN),
    }
}

impl Watched {
    /// What the file has become, if it has changed and is no longer being written.
    fn look(&mut self) -> Option<Piece> {
        let stamp = stamp(&self.config.path);
        if stamp == self.stamp {
            return None;
        }
        std::thread::sleep(SETTLED_AFTER);
        if stamp != self::stamp(&self.config.path) {
            return None;
        }
        self.stamp = stamp;
        match read::file(&self.config) {
            Ok(table) if table.digest == self.digest => None,
            Ok(table) => {
                self.digest.clone_from(&table.digest);
                Some(Piece::Table(Arc::new(table)))
            }
            Err(reason) => Some(Piece::TableRefused(reason)),
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}
