//! A wrapper for tests that alters requests and answers.

use std::fmt;

use async_trait::async_trait;
use headstart_fetch_core::internal::forward_object_store;
use object_store::{GetOptions, GetResult, ObjectStore, Result, path::Path};

type AlterRequest = dyn Fn(GetOptions) -> Result<GetOptions> + Send + Sync;
type AlterAnswer = dyn Fn(GetResult) -> GetResult + Send + Sync;

/// A store whose reads get other options than the caller's, or fail. Answers can be altered too.
pub struct Altered {
    name: String,
    inner: Box<dyn ObjectStore>,
    alter: Box<AlterRequest>,
    alter_answer: Box<AlterAnswer>,
}

impl Altered {
    /// Reads from `inner` with the options that `alter` returns, or fails with its error.
    pub fn new(
        inner: impl ObjectStore,
        alter: impl Fn(GetOptions) -> Result<GetOptions> + Send + Sync + 'static,
    ) -> Self {
        Self::named(format!("Altered({inner})"), inner, alter)
    }

    /// The same with `name` as its `Display`.
    pub fn named(
        name: String,
        inner: impl ObjectStore,
        alter: impl Fn(GetOptions) -> Result<GetOptions> + Send + Sync + 'static,
    ) -> Self {
        Self { name, inner: Box::new(inner), alter: Box::new(alter), alter_answer: Box::new(|answer| answer) }
    }

    /// Alters the answers of the inner store.
    #[must_use]
    pub fn answers(self, alter: impl Fn(GetResult) -> GetResult + Send + Sync + 'static) -> Self {
        Self { alter_answer: Box::new(alter), ..self }
    }
}

impl fmt::Debug for Altered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Altered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[async_trait]
impl ObjectStore for Altered {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        Ok((self.alter_answer)(self.inner.get_opts(location, (self.alter)(options)?).await?))
    }

    forward_object_store!(self => self.inner; writes, lists);
}
