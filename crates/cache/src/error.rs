//! What can go wrong in the cache itself.

/// An error of the cache's own, as the source of an [`object_store::Error::Generic`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// Fetches of the same bytes ended again and again without an answer: panicked, or were shut down with their runtime.
    #[error("a fetch ended without an answer")]
    Lost,
}

impl From<CacheError> for object_store::Error {
    fn from(error: CacheError) -> Self {
        Self::Generic { store: "CacheStore", source: Box::new(error) }
    }
}
