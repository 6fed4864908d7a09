//! Gathers what is read ahead in blocks of memory that are used again.
//!
//! A chunk of a body is a slice of the buffer into which the HTTP client read it, and keeps the whole buffer alive: up
//! to 400 KiB for 100 KiB of bytes. Reading ahead with the chunks themselves held 1.4 times the memory, and each GB
//! touched 1 GB of fresh pages (docs/decisions.md).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use headstart_fetch_core::internal::byte_range::in_memory;
use headstart_fetch_core::internal::locks::Mutex;

/// The size of a block. Blocks begin at multiples of it, so a read of 1 MiB by somebody who reads on by 1 MiB is one
/// slice of one block.
pub(crate) const BLOCK_BYTES: u64 = 1 << 20;

/// A chunk of this size keeps little but itself alive and is not copied. HTTP clients have smaller ones.
const LARGE_CHUNK_BYTES: usize = 512 << 10;

/// The share of the blocks in use that is kept free besides.
const FREE_SHARE: usize = 16;

/// The blocks of one store that are free. They become fewer with those in use: without reads, no memory is kept.
#[derive(Debug, Default)]
pub(crate) struct BlockPool {
    free: Mutex<Vec<Vec<u8>>>,
    in_use: AtomicUsize,
}

impl BlockPool {
    /// Memory for `bytes`. Only whole blocks are used again, so that the ends of a part take no more than they need.
    fn take(self: &Arc<Self>, bytes: u64) -> Block {
        let is_whole = bytes == BLOCK_BYTES;
        let free = if is_whole {
            self.in_use.fetch_add(1, Ordering::Relaxed);
            self.free.lock().pop()
        } else {
            None
        };
        let memory = free.unwrap_or_else(|| Vec::with_capacity(in_memory(bytes)));
        Block { memory, pool: is_whole.then(|| Arc::clone(self)) }
    }

    fn give_back(&self, mut memory: Vec<u8>) {
        let kept = (self.in_use.fetch_sub(1, Ordering::Relaxed) - 1) / FREE_SHARE;
        memory.clear();
        let _freed_without_the_lock = {
            let mut free = self.free.lock();
            free.push(memory);
            let kept = kept.min(free.len());
            free.split_off(kept)
        };
    }
}

/// The memory of some bytes. A whole block goes back to its pool when the last slice of it is dropped.
#[derive(Debug)]
struct Block {
    memory: Vec<u8>,
    pool: Option<Arc<BlockPool>>,
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            pool.give_back(std::mem::take(&mut self.memory));
        }
    }
}

/// Copies the chunks of one part into blocks.
#[derive(Debug)]
pub(crate) struct BlockWriter {
    pool: Arc<BlockPool>,
    /// The end of the part.
    end: u64,
    /// The block that is being filled, after the offset of its first byte.
    open: Option<(u64, Block)>,
}

impl BlockWriter {
    /// A writer of a part that ends at `end`.
    pub(crate) fn new(pool: Arc<BlockPool>, end: u64) -> Self {
        Self { pool, end, open: None }
    }

    /// Writes `chunk`, which follows what was written before and begins at offset `at` of the object. Appends what is
    /// complete to `chunks`, each after its offset.
    pub(crate) fn write(&mut self, mut at: u64, mut chunk: Bytes, chunks: &mut Vec<(u64, Bytes)>) {
        if chunk.len() >= LARGE_CHUNK_BYTES {
            chunks.extend(self.end_block());
            chunks.push((at, chunk));
            return;
        }
        while !chunk.is_empty() {
            let block_end = (at - at % BLOCK_BYTES + BLOCK_BYTES).min(self.end.max(at + chunk.len() as u64));
            let (_, block) = self.open.get_or_insert_with(|| (at, self.pool.take(block_end - at)));
            let piece = chunk.split_to(chunk.len().min(in_memory(block_end - at)));
            block.memory.extend_from_slice(&piece);
            at += piece.len() as u64;
            if at == block_end {
                chunks.extend(self.end_block());
            }
        }
    }

    /// Ends the block that is being filled, and returns what is in it after its offset.
    pub(crate) fn end_block(&mut self) -> Option<(u64, Bytes)> {
        self.open.take().map(|(start, block)| (start, Bytes::from_owner(block)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BLOCK: usize = 1 << 20;

    /// A chunk whose bytes are all `byte`.
    fn chunk(byte: usize, len: usize) -> Bytes {
        vec![byte.to_le_bytes()[0]; len].into()
    }

    fn free_blocks(pool: &BlockPool) -> usize {
        pool.free.lock().len()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        #[test]
        fn every_byte_is_kept_once_and_in_order(
            start in 0_u64..3 << 20,
            lens in prop::collection::vec(1_usize..700 << 10, 1..12),
            ends in prop::collection::vec(any::<bool>(), 12),
            more in 0_u64..2,
        ) {
            let end = start + lens.iter().sum::<usize>() as u64;
            let pool = Arc::new(BlockPool::default());
            let mut writer = BlockWriter::new(Arc::clone(&pool), end - more.min(end));
            let (mut written, mut chunks) = (Vec::new(), Vec::new());
            for (n, (len, ends)) in lens.into_iter().zip(ends).enumerate() {
                writer.write(start + written.len() as u64, chunk(n, len), &mut chunks);
                written.extend_from_slice(&chunk(n, len));
                // A reader waits for the bytes.
                chunks.extend(ends.then(|| writer.end_block()).flatten());
            }
            chunks.extend(writer.end_block());
            let mut kept = Vec::new();
            for (at, bytes) in &chunks {
                prop_assert_eq!(*at, start + kept.len() as u64);
                kept.extend_from_slice(bytes);
            }
            prop_assert!(kept == written);
            drop(chunks);
            prop_assert_eq!(free_blocks(&pool), 0);
        }
    }

    #[test]
    fn an_aligned_part_is_whole_blocks() {
        let mut writer = BlockWriter::new(Arc::default(), 4 << 20);
        let mut chunks = Vec::new();
        (0..40).for_each(|n| writer.write((n * 100) << 10, chunk(0, 100 << 10), &mut chunks));
        assert_eq!(
            chunks.iter().map(|(at, bytes)| (*at, bytes.len())).collect::<Vec<_>>(),
            [(0, BLOCK), (1 << 20, BLOCK), (2 << 20, BLOCK)]
        );
        assert_eq!(writer.end_block().map(|(at, bytes)| (at, bytes.len())), Some((3 << 20, 4_096_000 - 3 * BLOCK)));
    }

    #[test]
    fn large_chunks_are_not_copied() {
        let (large, mut chunks) = (chunk(0, LARGE_CHUNK_BYTES), Vec::new());
        BlockWriter::new(Arc::default(), 4 << 20).write(0, large.clone(), &mut chunks);
        assert_eq!(chunks[0].1.as_ptr(), large.as_ptr());
    }

    #[test]
    fn blocks_are_used_again_while_others_are_in_use() {
        let pool = Arc::new(BlockPool::default());
        let mut held: Vec<_> = (0..64).map(|_| pool.take(BLOCK_BYTES)).collect();
        let latest = held.pop().map(|block| block.memory.as_ptr());
        assert_eq!(free_blocks(&pool), 1);
        assert_eq!(Some(pool.take(BLOCK_BYTES).memory.as_ptr()), latest);
        held.truncate(32);
        assert_eq!(free_blocks(&pool), 2, "a sixteenth");
        held.clear();
        assert_eq!((free_blocks(&pool), pool.in_use.load(Ordering::Relaxed)), (0, 0));
    }
}
