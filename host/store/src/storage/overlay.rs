//! Storage that is only read: what is written to it stays in memory.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::Storage;

const PAGE_BYTES: u64 = 4096;

/// Storage over another, which it never writes. A database that was not closed is put in order when it
/// is opened, which takes a few pages: they are kept here.
#[derive(Debug)]
pub struct Overlay {
    under: Arc<dyn Storage>,
    over: Mutex<Over>,
}

#[derive(Debug)]
struct Over {
    length: u64,
    /// From here on nothing of what is under it shows: it was cut off.
    under_end: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE_BYTES as usize]>>,
}

impl Overlay {
    /// Storage that begins as `under` is.
    ///
    /// # Errors
    /// If its length cannot be told.
    pub fn new(under: Arc<dyn Storage>) -> io::Result<Self> {
        let length = under.len()?;
        Ok(Self { under, over: Mutex::new(Over { length, under_end: length, pages: BTreeMap::new() }) })
    }
}

impl Over {
    fn page(&self, under: &dyn Storage, page: u64) -> io::Result<Box<[u8; PAGE_BYTES as usize]>> {
        if let Some(page) = self.pages.get(&page) {
            return Ok(page.clone());
        }
        let mut bytes = Box::new([0; PAGE_BYTES as usize]);
        let shown = self.under_end.saturating_sub(page * PAGE_BYTES).min(PAGE_BYTES);
        if shown > 0 {
            under.read(page * PAGE_BYTES, &mut bytes[..shown as usize])?;
        }
        Ok(bytes)
    }
}

/// The parts of `length` bytes at `offset`, page by page: page, where in it, where in the bytes.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let start = (at % PAGE_BYTES) as usize;
        let part = (length - done).min(PAGE_BYTES as usize - start);
        done += part;
        (part > 0).then(|| (at / PAGE_BYTES, start..start + part, done - part..done))
    })
}

impl Storage for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.over.lock().unwrap_or_else(PoisonError::into_inner).length)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        super::within(offset, buffer.len(), over.length as usize)?;
        let pages = offset / PAGE_BYTES..(offset + buffer.len() as u64).div_ceil(PAGE_BYTES);
        if over.pages.range(pages).next().is_none() && offset + buffer.len() as u64 <= over.under_end {
            drop(over);
            return self.under.read(offset, buffer);
        }
        for (page, inside, part) in parts(offset, buffer.len()) {
            buffer[part].copy_from_slice(&over.page(&*self.under, page)?[inside]);
        }
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        super::within(offset, bytes.len(), over.length as usize)?;
        for (page, inside, part) in parts(offset, bytes.len()) {
            let mut new = over.page(&*self.under, page)?;
            new[inside].copy_from_slice(&bytes[part]);
            over.pages.insert(page, new);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        if length < over.length {
            over.under_end = over.under_end.min(length);
            over.pages.split_off(&length.div_ceil(PAGE_BYTES));
            if let Some(last) = over.pages.get_mut(&(length / PAGE_BYTES)) {
                last[(length % PAGE_BYTES) as usize..].fill(0);
            }
        }
        over.length = length;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStorage;

    #[test]
    fn it_reads_as_a_copy_would_and_leaves_what_is_under_it_alone() {
        let bytes: Vec<u8> = (0..20_000_u32).map(|at| (at % 251) as u8).collect();
        let under = Arc::new(MemoryStorage::new(bytes.clone()));
        let overlay = Overlay::new(under.clone()).unwrap();
        let copy = MemoryStorage::new(bytes.clone());
        let mut number = 7_u64;
        for _ in 0..3000 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (offset, length) = ((number >> 33) % 24_000, (number >> 20) as usize % 9000);
            match (number >> 60) % 8 {
                0 => [&overlay as &dyn Storage, &copy].map(|storage| storage.set_len(offset).unwrap()).len(),
                1..4 => {
                    let new = vec![number as u8; length];
                    let [one, two] = [&overlay as &dyn Storage, &copy].map(|storage| storage.write(offset, &new));
                    assert_eq!(one.is_ok(), two.is_ok());
                    0
                }
                _ => {
                    let (mut one, mut two) = (vec![0; length], vec![0; length]);
                    assert_eq!(overlay.read(offset, &mut one).is_ok(), copy.read(offset, &mut two).is_ok());
                    assert_eq!(one, two, "{length} bytes at {offset}");
                    0
                }
            };
        }
        let mut after = vec![0; bytes.len()];
        under.read(0, &mut after).unwrap();
        assert_eq!(after, bytes);
    }
}
