#![doc = "To come."]

pub mod byte_range;
mod budget;
mod config;
mod error;
mod estimate;
mod intent;
pub mod link;
pub mod options;
mod profile;
mod version;

pub use budget::{MemoryBudget, Reservation};
pub use config::FetchConfig;
pub use error::{FetchError, ObjectChanged, SharedError, share};
pub use estimate::{BodyMeter, LinkEstimate};
pub use intent::{AccessHint, CacheHint, Intent, Origin, Reserved, ask};
pub use link::Link;
pub use options::{ConfigError, OptionSpec, Options};
pub use profile::{BackendProfile, Prices};
pub use version::{ObjectVersion, PinBy};
