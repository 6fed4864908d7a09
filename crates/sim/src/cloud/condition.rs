//! Conditions of writes, and errors of the catalog.

use std::sync::Arc;

use crate::cloud::generation::Generation;

/// A condition that an object must meet to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum WriteCondition {
    /// No condition.
    #[default]
    Always,
    /// The object does not exist.
    Absent,
    /// The object has this entity tag, quotes included.
    ETag(String),
    /// The object has this generation.
    Generation(u64),
}

/// The result of an operation on the catalog, by default the generation that it made or found.
pub type CatalogResult<T = Arc<Generation>> = Result<T, CatalogError>;

/// Why the catalog refuses an operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The object or the generation does not exist.
    #[error("no object '{0}', or no such generation of it")]
    NotFound(String),
    /// The condition is that the object does not exist, but it does.
    #[error("object '{0}' exists already")]
    AlreadyExists(String),
    /// The object does not have the entity tag or generation of the condition, or does not exist.
    #[error("object '{0}' does not meet the condition")]
    Precondition(String),
    /// The upload does not exist, or was completed or aborted.
    #[error("no upload '{0}'")]
    NoSuchUpload(String),
    /// A part was never uploaded.
    #[error("upload '{upload}' has no part {part} with this entity tag")]
    NoSuchPart {
        /// The upload.
        upload: String,
        /// The part's number.
        part: usize,
    },
}

impl From<CatalogError> for object_store::Error {
    fn from(error: CatalogError) -> Self {
        match &error {
            CatalogError::NotFound(key) => Self::NotFound { path: key.clone(), source: error.into() },
            CatalogError::AlreadyExists(key) => Self::AlreadyExists { path: key.clone(), source: error.into() },
            CatalogError::Precondition(key) => Self::Precondition { path: key.clone(), source: error.into() },
            _ => Self::Generic { store: "SimStore", source: error.into() },
        }
    }
}

impl WriteCondition {
    pub(crate) fn check(&self, key: &str, live: Option<&Generation>) -> CatalogResult<()> {
        let holds = match (self, live) {
            (Self::Always, _) | (Self::Absent, None) => true,
            (Self::Absent, Some(_)) => return Err(CatalogError::AlreadyExists(key.to_owned())),
            (Self::ETag(e_tag), Some(live)) => *e_tag == live.e_tag,
            (Self::Generation(number), Some(live)) => *number == live.number,
            (Self::ETag(_) | Self::Generation(_), None) => false,
        };
        if holds { Ok(()) } else { Err(CatalogError::Precondition(key.to_owned())) }
    }
}
