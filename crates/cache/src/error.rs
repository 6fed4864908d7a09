//! Errors of the cache itself.

/// An error of the cache itself, as the source of an [`object_store::Error::Generic`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// Several fetches of the same bytes ended without an answer: their tasks panicked or their runtime shut down.
    #[error(
        "several fetches of the same bytes ended without an answer; their tasks panicked or their runtime shut down"
    )]
    Lost,
}

impl From<CacheError> for object_store::Error {
    fn from(error: CacheError) -> Self {
        Self::Generic { store: "CacheStore", source: Box::new(error) }
    }
}
