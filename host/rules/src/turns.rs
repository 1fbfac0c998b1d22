//! How many may do a thing at the same time.

use std::sync::{Condvar, Mutex, PoisonError};

/// So many turns; who comes when all are taken waits for one.
pub(crate) struct Turns {
    free: Mutex<u32>,
    freed: Condvar,
}

impl Turns {
    pub fn new(at_once: u32) -> Self {
        Self { free: Mutex::new(at_once), freed: Condvar::new() }
    }

    /// Waits for a turn, and has it until the answer is dropped.
    pub fn take(&self) -> Turn<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Turn(self)
    }
}

/// A turn that is taken.
pub(crate) struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}
