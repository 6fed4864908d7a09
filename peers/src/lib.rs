//! What other caches and readers do, run beside Headstart by the same clock.
//!
//! A member of its own, and none of the default ones: its dependencies are heavy. Nothing else depends on it.
//!
//! ```console
//! $ cargo bench -p headstart-peers --bench cache_hits
//! ```
