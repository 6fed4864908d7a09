//! The errors of building a stack and opening an object.

use headstart_fetch_core::ConfigError;

/// Why a stack cannot be built, or an object cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option, variable or URL is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An option of a configuration file is invalid.
    #[error("{file}: {source}")]
    File {
        /// The file.
        file: String,
        /// The option, and what it takes.
        source: ConfigError,
    },
    /// The URL scheme is not supported.
    #[error("unsupported URL scheme '{scheme}:' (supported: gs, s3, az, abfs, abfss, http, https, file, memory)")]
    UnknownScheme {
        /// The scheme.
        scheme: String,
    },
    /// The scheme is supported by a feature that is off.
    #[error("'{scheme}:' needs the feature '{feature}' of the crate 'headstart'")]
    MissingFeature {
        /// The scheme.
        scheme: &'static str,
        /// The feature to enable.
        feature: &'static str,
    },
    /// A bucket of Google Cloud Storage cannot be opened.
    #[cfg(feature = "gcp")]
    #[error(transparent)]
    Gcs(#[from] headstart_gcs_backend::GcsError),
    /// A bucket of S3 cannot be opened.
    #[cfg(feature = "aws")]
    #[error(transparent)]
    S3(#[from] headstart_s3_backend::S3Error),
    /// The URL names a store, but no object.
    #[error("'{url}' names no object: expected a URL with a key, such as gs://bucket/key")]
    NoKey {
        /// The URL, without secrets.
        url: String,
    },
    /// The builder was given both a URL and a store.
    #[error("both a URL and a store were given: call only one of HeadstartBuilder::url and HeadstartBuilder::store")]
    UrlAndStore,
    /// The builder was given neither a URL nor a store.
    #[error("no URL and no store were given: call HeadstartBuilder::url or HeadstartBuilder::store")]
    NoSource,
    /// The stack was built over a store, without a URL that names an object.
    #[error("no URL was given that names an object: open one by its path, with Headstart::reader")]
    NoUrl,
    /// An error of the store.
    #[error(transparent)]
    Store(#[from] object_store::Error),
}
