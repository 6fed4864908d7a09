//! Checks bytes of a simulated object: its content is self-describing.

use bytes::Bytes;
use headstart_sim::{Content, SimStore};

/// Checks that `chunks` are the bytes of the live version of `key` from `start` on. Returns where they end.
///
/// # Panics
/// If a byte is wrong.
#[track_caller]
pub(crate) fn check_chunks(sim: &SimStore, key: &str, start: u64, chunks: &[Bytes]) -> u64 {
    let content = Content::new(key, sim.catalog().get(key, None).expect("the object exists").number);
    chunks.iter().fold(start, |at, chunk| {
        content.check(at, chunk).expect("the bytes of the object");
        at + chunk.len() as u64
    })
}
