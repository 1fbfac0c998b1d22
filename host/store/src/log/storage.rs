//! The storage seam: four operations, so that tests can cut the power at each.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Bytes that grow at their end.
pub trait Storage {
    /// Fills `buffer` from `offset` and tells how much there was; less only at the end.
    ///
    /// # Errors
    /// If the bytes cannot be read.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Appends `bytes`. After an error any part of them may be there.
    ///
    /// # Errors
    /// If they cannot be written, for example because the disk is full.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the bytes at `length`.
    ///
    /// # Errors
    /// If they cannot be cut.
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// Returns once all that was appended would survive a loss of power.
    ///
    /// # Errors
    /// If that cannot be promised.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file.
#[derive(Debug)]
pub struct FileStorage(File);

impl FileStorage {
    /// Opens a file for reading and writing; it is made if it is not there.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        File::options().read(true).write(true).create(true).truncate(false).open(path).map(Self)
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// If it is not there or cannot be opened.
    pub fn open_to_read(path: &Path) -> io::Result<Self> {
        File::open(path).map(Self)
    }
}

impl Storage for FileStorage {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.seek(SeekFrom::Start(offset))?;
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.seek(SeekFrom::End(0))?;
        self.0.write_all(bytes)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Bytes in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage(
    /// The bytes.
    pub Vec<u8>,
);

impl Storage for MemoryStorage {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.truncate(length as usize);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
