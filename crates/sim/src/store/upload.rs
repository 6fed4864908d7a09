//! A multipart upload to a [`SimStore`].

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::{MultipartUpload, PutPayload, PutResult, Result, UploadPart, path::Path};
use parking_lot::Mutex;

use super::{SimStore, put_result};
use crate::cloud::catalog::{Catalog, WriteCondition};
use crate::cloud::log::RequestKind;

/// A multipart upload.
#[derive(Debug)]
pub(crate) struct SimUpload {
    store: SimStore,
    location: Path,
    id: String,
    begun_parts: usize,
    /// Entity tags of the uploaded parts, by number.
    parts: Arc<Mutex<BTreeMap<usize, String>>>,
}

impl SimUpload {
    pub(crate) fn new(store: SimStore, location: Path, id: String) -> Self {
        Self { store, location, id, begun_parts: 0, parts: Arc::default() }
    }
}

#[async_trait]
impl MultipartUpload for SimUpload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let number = self.begun_parts;
        self.begun_parts += 1;
        let (store, id, parts) = (self.store.clone(), self.id.clone(), Arc::clone(&self.parts));
        let location = self.location.clone();
        Box::pin(async move {
            let bytes = Bytes::from(payload);
            let (key, body_bytes) = (location.as_ref(), bytes.len() as u64);
            let put = |catalog: &Catalog, _| catalog.put_part(&id, number, bytes);
            let e_tag = store.call(RequestKind::Multipart, key, body_bytes, put).await?;
            parts.lock().insert(number, e_tag);
            Ok(())
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        // A missing part gets an empty tag, for which the catalog returns an error.
        let uploaded = self.parts.lock().clone();
        let part = |number| (number, uploaded.get(&number).cloned().unwrap_or_default());
        let parts: Vec<_> = (0..self.begun_parts).map(part).collect();
        let complete = |catalog: &Catalog, now| catalog.complete_upload(&self.id, &parts, &WriteCondition::Always, now);
        Ok(put_result(&*self.store.call(RequestKind::Multipart, self.location.as_ref(), 0, complete).await?))
    }

    async fn abort(&mut self) -> Result<()> {
        let abort = |catalog: &Catalog, _| catalog.abort_upload(&self.id);
        self.store.call(RequestKind::Multipart, self.location.as_ref(), 0, abort).await
    }
}
