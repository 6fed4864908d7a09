//! What an application really reads: recorded at an [`ObjectStore`](object_store::ObjectStore), kept as JSON lines, replayed anywhere.
//!
//! ```text
//!   application ── TraceRecorder ── any ObjectStore
//!                       │
//!                  trace.jsonl ── Trace ── cargo xtask replay trace.jsonl --profile gcs
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
//! store.put(&"key".into(), "a value".into()).await?; // Writes pass unrecorded.
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
//! One JSON object a line, in UTF-8. The first line is the [`Header`]. Every other line is a [`Call`], about in the order in which they ended; absent fields have
//! their defaults; readers skip fields that they do not know. [`Trace::read`] puts calls in the order in which they began.
//!
//! | field | meaning | default |
//! |---|---|---|
//! | `n` | number of the call, counted from 0 by begin | |
//! | `key` | the object: a hash of its path, or the path itself where the header says so | |
//! | `size` | length of the object in bytes, where the answer told it | unknown |
//! | `call` | [`Kind`]: `get`, `head`, `get_ranges`; `read` and `overwrite` in traces that were made, not recorded | |
//! | `ranges` | bytes asked for, `[[start, end], …]` | all |
//! | `offset`, `suffix` | bytes asked for: from here on; the last so many | |
//! | `after` | the call that this one came after | none |
//! | `wait_us` | time from the end of `after` (without it: of the trace's beginning) to the begin of this call | 0 |
//! | `busy_us` | time that the caller of a `get` took before the body's first piece and between the others | 0 |
//! | `bytes` | bytes that the caller took; of a local file, which it reads without us, all that it asked for | 0 |
//! | `at_us`, `first_us`, `took_us` | when it began; time to the answer; time to the end | 0 |
//! | `is_conditional` | it had a condition or asked for a version | `false` |
//! | `error` | name of the error that it ended with: a variant of `object_store::Error`, or `dropped` where the caller gave up before the answer | none |
//! | `handle`, `is_last` | in made traces: calls through one open object; the last of them | none, `false` |
//!
//! `after` is what makes a trace tell more than a list of times: it is the call of the same task that ended last before this one began or, for the first call
//! of a task, and for those outside of any, the last of all. So a replay over a faster store is faster, as the application would be.
//!
//! # Privacy
//! Paths are hashed with a key that is drawn for each recorder and never written. Sizes, offsets and times are plain.
//!
//! # Cost
//! Below 500 ns a request (`cargo bench -p headstart-trace`), without waiting for the disk: lines are written by a thread of their own. A thread that falls behind by
//! [`MOST_WAITING`] calls loses some, and says how many. About 200 bytes of memory a call that waits.
//!
//! # What it does not do
//! Writes, deletes and lists pass unrecorded. Reads of a `Reader` of Headstart are no calls of a store: what reaches the store below it can be recorded there.

mod body;
mod entry;
mod ledger;
mod recorder;
mod trace;
mod writer;

pub use recorder::TraceRecorder;
pub use trace::{Call, DROPPED, Header, Keys, Kind, Trace, TraceError, VERSION};
pub use writer::{MOST_WAITING, Written};
