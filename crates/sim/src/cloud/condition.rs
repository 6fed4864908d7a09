//! Under which conditions an object changes, and why it does not.

use crate::cloud::generation::Generation;

/// What must hold of an object for a change to happen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    Always,
    /// There is no such object.
    Absent,
    /// The object has this entity tag, quotes included.
    ETag(String),
    /// The object has this generation.
    Generation(u64),
}

/// Why the catalog does not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// There is no such object, or no such generation of it any more.
    #[error("no object '{0}', or not this generation of it")]
    NotFound(String),
    /// The object was to be absent and is there.
    #[error("object '{0}' exists already")]
    AlreadyExists(String),
    /// The object is not the one the condition names, or is not there at all.
    #[error("object '{0}' is not the one the condition names")]
    Precondition(String),
    /// There is no such upload, or it was completed or aborted.
    #[error("no upload '{0}'")]
    NoSuchUpload(String),
    /// A part that an upload is to be made of was never uploaded.
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

impl Condition {
    pub(crate) fn check(&self, key: &str, live: Option<&Generation>) -> Result<(), CatalogError> {
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
