//! Exports what Headstart's layers count through the [`metrics`] crate, for Prometheus, OpenTelemetry, StatsD and
//! whatever else has a recorder.
//!
//! ```text
//!  FetchStore · CacheStore · PrefetchStore · MemoryBudget      count, whether anybody exports or not
//!      │ stats()                                               a snapshot
//!  MetricsExporter ── METRICS (names, units, help)
//!      │ absolute values and the histograms' new samples       at each export
//!  recorder of the metrics crate                               Prometheus, OpenTelemetry, …
//! ```
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use headstart_fetch_core::{FetchConfig, FetchStore};
//! use headstart_metrics::{ExportedLayers, MetricsExporter};
//! use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory};
//! use std::{sync::Arc, time::Duration};
//!
//! let store = FetchStore::new(Arc::new(InMemory::new()), FetchConfig::default())?;
//! // After the recorder is installed: what is registered before is lost.
//! let layers = ExportedLayers { fetch: Some(store.clone()), ..ExportedLayers::default() };
//! let exporter = MetricsExporter::new(layers, [("store", "training-data")]);
//! let exporting = tokio::spawn(exporter.run(Duration::from_secs(5)));
//!
//! store.put(&"key".into(), "value".into()).await?;
//! assert_eq!(store.get(&"key".into()).await?.bytes().await?, "value");
//! exporting.abort();
//! # Ok(())
//! # }
//! ```
//!
//! With the facade: `headstart.metrics_exporter([("store", "training-data")])`, feature `metrics` of `headstart`.
//!
//! # Names
//! [`METRICS`] lists every metric with its unit, labels and help; `docs/observability.md` shows it. Counters begin with
//! the store. Histograms have the bounds of [`time_bounds`], which a recorder for Prometheus should be given: counts of
//! buckets and sums are exact then. Other bounds get the mean of each of our buckets.
//!
//! # Several stacks
//! Each stack has an exporter of its own. Give each a label of its own, or their values overwrite each other.
//!
//! # Cost
//! Reads do nothing for an exporter: the layers count for their `stats()` in any case. An export reads these counts and
//! sets about a hundred values.
//!
//! # Non-goals
//! No recorder, and no listener: `metrics-exporter-prometheus` and others have those.

mod exporter;
mod family;
mod figures;
mod markdown;
mod table;

pub use exporter::MetricsExporter;
pub use family::{MetricFamily, MetricKind, time_bounds};
pub use figures::ExportedLayers;
pub use markdown::markdown;
pub use table::METRICS;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme_doctests {}
