//! Buffers of blocks that were written, for the next ones: the pages of a new one cost more than what is copied
//! into it.

use std::sync::Mutex;

/// A shorter buffer costs nothing worth keeping it for.
const BYTES_MIN: usize = 64 << 10;
/// A longer one is let go.
const BYTES_MAX: usize = 4 << 20;
/// No more are kept, which is as much as two commits have.
const BUFFERS_MAX: usize = 48;

static BUFFERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// An empty buffer with room for so many bytes.
pub fn take(bytes: usize) -> Vec<u8> {
    let kept = if bytes < BYTES_MIN { None } else { BUFFERS.lock().ok().and_then(|mut buffers| buffers.pop()) };
    let mut buffer = kept.unwrap_or_default();
    buffer.reserve_exact(bytes);
    buffer
}

/// Takes a buffer back that is needed no longer.
pub fn give_back(mut buffer: Vec<u8>) {
    if !(BYTES_MIN..=BYTES_MAX).contains(&buffer.capacity()) {
        return;
    }
    if let Ok(mut buffers) = BUFFERS.lock()
        && buffers.len() < BUFFERS_MAX
    {
        buffer.clear();
        buffers.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_empty_and_has_room() {
        for bytes in [1, BYTES_MIN, 3 * BYTES_MIN, BYTES_MAX + 1] {
            let mut buffer = take(bytes);
            assert!(buffer.is_empty() && buffer.capacity() >= bytes);
            buffer.resize(bytes, 7);
            give_back(buffer);
        }
        assert!(BUFFERS.lock().expect("no test panics with it").len() <= BUFFERS_MAX);
    }
}
