//! Records the reads of an application at an [`ObjectStore`](object_store::ObjectStore) as JSON lines that can be
//! replayed.
//!
//! ```text
//!   application ── TraceRecorder ── any ObjectStore
//!                       │
//!                  trace.jsonl ── Trace ── your replay or analysis
//! ```
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use headstart_trace::{Trace, TraceRecorder};
//! use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory};
//! use std::{fs::File, io::BufReader, sync::Arc};
//!
//! # let folder = std::env::temp_dir().join(format!("headstart-trace-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let file = folder.join("trace.jsonl");
//! let store = TraceRecorder::create(Arc::new(InMemory::new()), &file)?;
//! store.put(&"key".into(), "a value".into()).await?; // Writes are not recorded.
//! store.get_range(&"key".into(), 2..7).await?;
//! assert_eq!(store.finish()?.calls, 1);
//!
//! let trace = Trace::read(BufReader::new(File::open(&file)?))?;
//! assert_eq!(trace.calls[0].ranges, [[2, 7]]);
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok(())
//! # }
//! ```
//!
//! # The format, version 1
//! One JSON object a line, in UTF-8. The first line is the [`TraceHeader`]. Every other line is a [`TraceCall`],
//! roughly in the order of their ends. Absent fields have their defaults, and readers skip unknown fields.
//! [`Trace::read`] orders calls by their begin.
//!
//! | field | meaning | default |
//! |---|---|---|
//! | `n` | number of the call, counted from 0 in the order of begin | |
//! | `key` | the object: a hash of its path, or the path itself, as the header says | |
//! | `size` | length of the object in bytes, where the answer has it | unknown |
//! | `call` | [`CallKind`]: `get`, `head`, `get_ranges`; in generated traces also `read` and `overwrite` | |
//! | `ranges` | requested bytes, `[[start, end], …]` | all |
//! | `offset`, `suffix` | requested bytes: from this offset on; this many at the end | |
//! | `after` | number of the call that this call came after | none |
//! | `wait_us` | time from the end of `after` (or from the start of the trace) to the begin of this call | 0 |
//! | `busy_us` | time that the caller of a `get` took before the first and between later pieces of the body | 0 |
//! | `bytes` | bytes that the caller took; for a file, which the caller reads by itself, the requested bytes | 0 |
//! | `at_us`, `first_us`, `took_us` | time of the begin; time to the answer; time to the end | 0 |
//! | `is_conditional` | whether the call has a precondition or names a version | `false` |
//! | `error` | variant of `object_store::Error`, or `dropped` if the caller dropped the call before the answer | none |
//! | `handle`, `is_last` | in generated traces: the open handle; whether this is its last call | none, `false` |
//!
//! `after` is the call of the same task that ended last before this call began. For the first call of a task, and for
//! calls outside of tasks, it is the call that ended last overall. So a replay over a faster store is faster, as the
//! application would be.
//!
//! # Privacy
//! Paths are hashed with a random key for each recorder, which is never written. Sizes, offsets and times are plain.
//!
//! # Cost
//! Less than 500 ns a call. A separate thread writes to the disk. If [`MAX_WAITING_CALLS`] calls wait for the disk,
//! further calls are lost and counted. A waiting call takes about 200 bytes of memory.
//!
//! # Non-goals
//! Writes, deletes and lists are not recorded. Reads through a `Reader` of Headstart are not calls of a store; record
//! below it what reaches the store.

mod recorder;
mod trace;

pub use recorder::{MAX_WAITING_CALLS, TraceRecorder, TraceSummary};
pub use trace::{CallKind, DROPPED, Keys, Trace, TraceCall, TraceError, TraceHeader, VERSION};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme_doctests {}
