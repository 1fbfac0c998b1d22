//! The database under the store: redb behind the storage seam. It may panic on bytes that it did not write; here
//! that becomes an error.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use redb::{Builder, Database, StorageBackend, TableDefinition};

use crate::{Map, Sequence, Storage, StoreError};

/// What the database may keep in memory of what it read.
const CACHE_BYTES: usize = 64 << 20;

/// redb's pages, and what it needs of one beside the key and the value of a piece.
const PAGE_BYTES: usize = 4096;
const PAGE_OVERHEAD_BYTES: usize = 64;

/// The longest piece: 16 pages.
const PIECE_PAGES_MAX: usize = 16;

/// The first bytes of every redb file.
const MAGIC: [u8; 9] = [b'r', b'e', b'd', b'b', 0x1A, 0x0A, 0xA9, 0x0D, 0x0A];

/// A database that was begun and not finished is no longer than this.
const BEGUN_BYTES_MAX: u64 = 1 << 20;

/// Values: the maps, and what the store itself must know.
pub type Values = TableDefinition<'static, &'static [u8], &'static [u8]>;
/// Entries of blocks, by their first position.
pub type Index = TableDefinition<'static, u64, &'static [u8]>;
/// Pieces of blocks, by the first position of the block and the number of the piece.
pub type Pieces = TableDefinition<'static, (u64, u32), &'static [u8]>;

/// What the store itself must know: its format, and where its sequences end.
pub const SELF: Values = TableDefinition::new("store");

pub const fn index(sequence: Sequence) -> Index {
    match sequence {
        Sequence::Log => TableDefinition::new("log.index"),
        Sequence::Events => TableDefinition::new("events.index"),
    }
}

pub const fn pieces(sequence: Sequence) -> Pieces {
    match sequence {
        Sequence::Log => TableDefinition::new("log"),
        Sequence::Events => TableDefinition::new("events"),
    }
}

pub const fn values(map: Map) -> Values {
    TableDefinition::new(map.name())
}

/// Cuts a block into pieces. redb rounds a value up to a power of two of pages; so the pieces are such powers, the
/// longest first, and little is wasted.
pub fn cut(mut block: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut number = 0;
    std::iter::from_fn(move || {
        if block.is_empty() {
            return None;
        }
        let pages = (block.len() + PAGE_OVERHEAD_BYTES) / PAGE_BYTES;
        let pages = if pages == 0 { 1 } else { 1 << pages.min(PIECE_PAGES_MAX).ilog2() };
        let (piece, rest) = block.split_at((pages * PAGE_BYTES - PAGE_OVERHEAD_BYTES).min(block.len()));
        block = rest;
        number += 1;
        Some((number - 1, piece))
    })
}

/// Runs what calls the database, and makes an error of a panic.
pub fn guarded<T>(path: &Path, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let what = format!("the database gave up: {}", text.unwrap_or("no reason"));
        Err(StoreError::Broken { path: path.to_owned(), what })
    })
}

/// Whether `storage` may be opened as a database, and what it is otherwise.
pub fn looks_like_one(storage: &dyn Storage) -> io::Result<Result<(), String>> {
    let length = storage.len()?;
    let mut head = [0; 64];
    let head = &mut head[..length.min(64) as usize];
    storage.read(0, head)?;
    Ok(if length == 0 {
        Err("it is empty".to_owned())
    } else if head.starts_with(&MAGIC) {
        Ok(())
    } else {
        let shown = &head[..head.len().min(16)];
        Err(format!("it has {length} bytes and begins with \"{}\"", shown.escape_ascii()))
    })
}

/// Whether `storage` holds nothing yet: the magic number is the last that is written of a new database.
pub fn is_begun_only(storage: &dyn Storage) -> io::Result<bool> {
    let length = storage.len()?;
    let mut head = [0; MAGIC.len()];
    storage.read(0, &mut head[..length.min(MAGIC.len() as u64) as usize])?;
    Ok(length <= BEGUN_BYTES_MAX && head == [0; MAGIC.len()])
}

/// Opens the database on `storage`, and makes one if that is empty.
pub fn open(storage: Arc<dyn Storage>, path: &Path) -> Result<Database, StoreError> {
    guarded(path, || {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        builder.create_with_backend(Backend(storage)).map_err(|error| StoreError::from_redb(path, "opened", error))
    })
}

/// Our seam as redb sees it.
#[derive(Debug)]
struct Backend(Arc<dyn Storage>);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, buffer)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write(offset, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_fill_powers_of_two_of_pages() {
        for length in [0, 1, 4032, 4033, 8128, 8129, 65_472, 65_473, 100_000, 600_001] {
            let block: Vec<u8> = (0..length as u32).map(|at| at as u8).collect();
            let cut: Vec<_> = cut(&block).collect();
            assert_eq!(cut.iter().flat_map(|(_, piece)| *piece).copied().collect::<Vec<_>>(), block);
            assert!(cut.iter().enumerate().all(|(at, (number, _))| at == *number as usize));
            let pages = |piece: &[u8]| (piece.len() + PAGE_OVERHEAD_BYTES).div_ceil(PAGE_BYTES).next_power_of_two();
            let taken: usize = cut.iter().map(|(_, piece)| pages(piece) * PAGE_BYTES).sum();
            assert!(cut.iter().all(|(_, piece)| pages(piece) <= PIECE_PAGES_MAX));
            assert!(taken <= length + PAGE_BYTES + cut.len() * PAGE_OVERHEAD_BYTES, "{length} bytes take {taken}");
        }
    }
}
