//! What the two dialects call the same things.

use http::HeaderName;
use serde::{Deserialize, Serialize};

/// The protocol a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// The XML API of Google Cloud Storage, as `object_store`'s GCS client speaks it, and what reads in its JSON API.
    #[default]
    Gcs,
    /// Amazon S3 with the bucket in the path.
    S3,
}

impl Dialect {
    /// Parameter of the query that names a version.
    pub(super) fn version_parameter(self) -> &'static str {
        match self {
            Self::Gcs => "generation",
            Self::S3 => "versionId",
        }
    }

    /// Header of an answer that names the object's version.
    pub(super) fn version_header(self) -> HeaderName {
        HeaderName::from_static(match self {
            Self::Gcs => "x-goog-generation",
            Self::S3 => "x-amz-version-id",
        })
    }

    /// Header that turns a PUT into a copy of `/bucket/key`.
    pub(super) fn copy_source_header(self) -> HeaderName {
        HeaderName::from_static(match self {
            Self::Gcs => "x-goog-copy-source",
            Self::S3 => "x-amz-copy-source",
        })
    }

    /// Header of the storage class.
    pub(super) fn storage_class_header(self) -> HeaderName {
        HeaderName::from_static(match self {
            Self::Gcs => "x-goog-storage-class",
            Self::S3 => "x-amz-storage-class",
        })
    }

    /// What the headers of user metadata begin with.
    pub(super) fn metadata_prefix(self) -> &'static str {
        match self {
            Self::Gcs => "x-goog-meta-",
            Self::S3 => "x-amz-meta-",
        }
    }
}
