//! Buffers for the pages that are read from disk: those of dropped pages are used again.
//!
//! A new buffer has to be zeroed, and the memory of one that was freed often goes back to the system, which then has to
//! map and zero it again. When the memory tier is full, every page that it takes in sets one free.

use std::sync::Arc;

use bytes::Bytes;
use headstart_fetch_core::internal::locks::Mutex;

/// Bytes of buffers that are kept for the next reads, at least one buffer.
const KEPT_BYTES: usize = 2 << 20;

/// Buffers of one size.
#[derive(Debug)]
pub(crate) struct PageBuffers {
    free: Mutex<Vec<Vec<u8>>>,
    page_bytes: usize,
}

/// A buffer that goes back to where it came from.
#[derive(Debug)]
pub(crate) struct PageBuffer {
    bytes: Vec<u8>,
    home: Arc<PageBuffers>,
}

impl PageBuffers {
    pub(crate) fn new(page_bytes: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::default(), page_bytes })
    }

    /// A buffer of `bytes`. What is in it is undefined: bytes of another page, or zeros.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> PageBuffer {
        let kept = if bytes == self.page_bytes { self.free.lock().pop() } else { None };
        PageBuffer { bytes: kept.unwrap_or_else(|| vec![0; bytes]), home: Arc::clone(self) }
    }
}

impl PageBuffer {
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The page that was read into the buffer.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for PageBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PageBuffer {
    fn drop(&mut self) {
        if self.bytes.len() == self.home.page_bytes {
            let mut free = self.home.free.lock();
            if free.len() < (KEPT_BYTES / self.home.page_bytes).max(1) {
                free.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_whole_pages_are_used_again() {
        let buffers = PageBuffers::new(1 << 16);
        let mut one = buffers.take(1 << 16);
        one.as_mut_slice()[5] = 7;
        let page = one.freeze();
        let slice = page.slice(4..6);
        drop(page);
        assert_eq!(buffers.take(1 << 16).as_ref()[5], 0, "a part of the page is still held");
        drop(slice);
        let again: Vec<_> = (0..2).map(|_| buffers.take(1 << 16)).collect();
        assert!(again.iter().any(|buffer| buffer.as_ref()[5] == 7));
    }

    #[test]
    fn few_buffers_are_kept_and_short_ones_not() {
        let buffers = PageBuffers::new(1 << 20);
        drop(buffers.take(100));
        drop((0..10).map(|_| buffers.take(1 << 20)).collect::<Vec<_>>());
        assert_eq!(buffers.free.lock().len(), 2);
    }
}
