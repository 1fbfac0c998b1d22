//! The storage seam: five operations on bytes, so that tests can cut the power at each.

use std::fmt::Debug;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

pub use overlay::Overlay;

mod overlay;

/// Bytes that can be read and written anywhere. What was written may be lost, whole or in part, until
/// [`Storage::sync`] has returned.
#[allow(clippy::len_without_is_empty)]
pub trait Storage: Send + Sync + Debug + 'static {
    /// How many bytes there are.
    ///
    /// # Errors
    /// If that cannot be told.
    fn len(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// If there are fewer bytes, or they cannot be read.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes `bytes` at `offset`, which is within the length. After an error any part may be there.
    ///
    /// # Errors
    /// If they cannot be written, for example because the disk is full.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the bytes at `length`, or adds zeros up to it.
    ///
    /// # Errors
    /// If that cannot be done.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Returns once all that was written would survive a loss of power.
    ///
    /// # Errors
    /// If that cannot be promised.
    fn sync(&self) -> io::Result<()>;
}

/// A file, which no other process may open meanwhile.
#[derive(Debug)]
pub struct FileStorage(File);

impl FileStorage {
    /// Opens a file for reading and writing; it must be there.
    ///
    /// # Errors
    /// If it cannot be opened; of kind [`io::ErrorKind::ResourceBusy`] if another process has it open.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        locked(file.try_lock()).map(|()| Self(file))
    }

    /// Makes an empty file. What is there is thrown away, unless another process has it open.
    ///
    /// # Errors
    /// As [`FileStorage::open`].
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        locked(file.try_lock())?;
        file.set_len(0).map(|()| Self(file))
    }

    /// Opens a file for reading. Others may read it too, and nobody writes it meanwhile.
    ///
    /// # Errors
    /// As [`FileStorage::open`].
    pub fn open_to_read(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        locked(file.try_lock_shared()).map(|()| Self(file))
    }
}

fn locked(lock: Result<(), TryLockError>) -> io::Result<()> {
    lock.map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::new(io::ErrorKind::ResourceBusy, "another process has it open"),
        TryLockError::Error(error) => error,
    })
}

impl Storage for FileStorage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Bytes in memory.
#[derive(Debug, Default)]
pub struct MemoryStorage(Mutex<Vec<u8>>);

impl MemoryStorage {
    /// Storage that holds `bytes`.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Mutex::new(bytes))
    }
}

impl Storage for MemoryStorage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let range = within(offset, buffer.len(), bytes.len())?;
        buffer.copy_from_slice(&bytes[range]);
        Ok(())
    }

    fn write(&self, offset: u64, new: &[u8]) -> io::Result<()> {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let range = within(offset, new.len(), bytes.len())?;
        bytes[range].copy_from_slice(new);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).resize(length as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The range of `wanted` bytes at `offset`, if there are so many.
pub(crate) fn within(offset: u64, wanted: usize, length: usize) -> io::Result<std::ops::Range<usize>> {
    let end = offset.checked_add(wanted as u64).filter(|end| *end <= length as u64);
    let end = end.ok_or_else(|| {
        let what = format!("{wanted} bytes at {offset} of {length}");
        io::Error::new(io::ErrorKind::UnexpectedEof, what)
    })?;
    Ok(offset as usize..end as usize)
}
