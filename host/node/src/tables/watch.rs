//! Watches the files of tables while inputs are followed.

use std::sync::Arc;

use stillhouse_core::table::Table;
use tokio::sync::mpsc::Sender;

use crate::config::TableConfig;
use crate::input::Piece;
use crate::tables::read;
use crate::watched::{Folders, Seen};

/// A file that is watched.
struct Watched {
    config: TableConfig,
    /// The digest of the last version that was read, good or bad.
    digest: Box<str>,
    seen: Seen,
}

/// Watches the files of `tables`, whose versions in force are `given`, and sends what they become
/// until nobody listens. Whether a file has changed is decided by its content.
pub fn watch(tables: &[TableConfig], given: &[Arc<Table>], to: &Sender<Piece>) {
    let watched = |(config, table): (&TableConfig, &Arc<Table>)| Watched {
        config: config.clone(),
        digest: table.digest.clone(),
        // Between reading and now it may have changed; so it is read once more.
        seen: Seen::default(),
    };
    let mut watched: Vec<Watched> = tables.iter().zip(given).map(watched).collect();
    let folders = Folders::of(tables.iter().map(|table| table.path.as_path()));
    while !to.is_closed() {
        for table in &mut watched {
            if let Some(piece) = table.look()
                && to.blocking_send(piece).is_err()
            {
                return;
            }
        }
        folders.wait();
    }
}

impl Watched {
    /// What the file has become, if it has changed and is no longer being written.
    fn look(&mut self) -> Option<Piece> {
        if !self.seen.has_changed(&self.config.path) {
            return None;
        }
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
