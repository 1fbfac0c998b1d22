//! Records of a sequence, read a page at a time, so that nothing is held open meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;

use stillhouse_store::{Record, Sequence, Store, StoreError};

/// A page has at most so many records.
const PAGE_RECORDS: usize = 256;

/// A page is closed once it has so many bytes.
const PAGE_BYTES: usize = 2 << 20;

/// The records of a sequence from a position on.
pub struct Paged {
    store: Arc<Store>,
    sequence: Sequence,
    next: u64,
    page: VecDeque<Record>,
}

impl Paged {
    /// Reads from a position on.
    pub fn new(store: &Arc<Store>, sequence: Sequence, from: u64) -> Self {
        Self { store: Arc::clone(store), sequence, next: from.max(store.first(sequence)), page: VecDeque::new() }
    }

    fn turn(&mut self) -> Result<(), StoreError> {
        let mut bytes = 0;
        for record in self.store.read(self.sequence, self.next)? {
            let record = record?;
            bytes += record.bytes().len();
            self.next = record.position + 1;
            self.page.push_back(record);
            if self.page.len() >= PAGE_RECORDS || bytes >= PAGE_BYTES {
                break;
            }
        }
        Ok(())
    }
}

impl Iterator for Paged {
    type Item = Result<Record, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty()
            && let Err(error) = self.turn()
        {
            return Some(Err(error));
        }
        self.page.pop_front().map(Ok)
    }
}
