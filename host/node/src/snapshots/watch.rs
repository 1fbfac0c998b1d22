//! Watches the files of snapshots while inputs are followed.

use std::time::UNIX_EPOCH;

use tokio::sync::mpsc::Sender;

use crate::config::SnapshotConfig;
use crate::input::Piece;
use crate::snapshots::{Snapshot, read};
use crate::watched::{Folders, Seen};

/// Watches the files of `snapshots` and sends each version that is new until nobody listens. `known`: the
/// digests of the last that were taken.
pub fn watch(snapshots: &[SnapshotConfig], mut known: Vec<Option<String>>, to: &Sender<Piece>) {
    let mut seen: Vec<Seen> = snapshots.iter().map(|_| Seen::default()).collect();
    let folders = Folders::of(snapshots.iter().map(|snapshot| snapshot.path.as_path()));
    while !to.is_closed() {
        for (index, config) in snapshots.iter().enumerate() {
            if !seen[index].has_changed(&config.path) {
                continue;
            }
            let piece = match read(config, index, known[index].as_deref()) {
                Ok(None) => continue,
                Ok(Some(snapshot)) => {
                    known[index] = Some(snapshot.digest.clone());
                    Piece::Snapshot(Box::new(Snapshot { age_us: age_us(config), ..snapshot }))
                }
                Err(reason) => Piece::SnapshotRefused(format!("{}: {reason}", config.path.display())),
            };
            if to.blocking_send(piece).is_err() {
                return;
            }
        }
        folders.wait();
    }
}

/// How long ago the file was written.
fn age_us(config: &SnapshotConfig) -> i64 {
    let written = std::fs::metadata(&config.path).and_then(|meta| meta.modified()).ok();
    let written_us = written.and_then(|time| i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_micros()).ok());
    written_us.map_or(0, |written_us| crate::clock::now_us().saturating_sub(written_us).max(0))
}
