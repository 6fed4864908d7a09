//! Multipart uploads that are not complete.

use std::collections::{BTreeMap, HashMap};

use bytes::{Bytes, BytesMut};
use object_store::Attributes;

use crate::cloud::catalog::{CatalogError, CatalogResult};

/// The open uploads of a bucket.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    begun_uploads: u64,
    open: HashMap<String, PendingUpload>,
}

#[derive(Debug)]
struct PendingUpload {
    key: String,
    attributes: Attributes,
    /// Entity tag and bytes by part number.
    parts: BTreeMap<usize, (String, Bytes)>,
    /// Parts ever uploaded. Its use in entity tags gives a replaced part a new tag.
    uploaded_parts: u64,
}

impl Uploads {
    pub(crate) fn begin(&mut self, key: &str, attributes: Attributes) -> String {
        self.begun_uploads += 1;
        let id = format!("upload-{}", self.begun_uploads);
        let upload = PendingUpload { key: key.to_owned(), attributes, parts: BTreeMap::new(), uploaded_parts: 0 };
        self.open.insert(id.clone(), upload);
        id
    }

    pub(crate) fn put_part(&mut self, id: &str, part: usize, bytes: Bytes) -> CatalogResult<String> {
        let upload = self.open.get_mut(id).ok_or_else(|| CatalogError::NoSuchUpload(id.to_owned()))?;
        upload.uploaded_parts += 1;
        let e_tag = format!("\"{id}-{part}-{}\"", upload.uploaded_parts);
        upload.parts.insert(part, (e_tag.clone(), bytes));
        Ok(e_tag)
    }

    /// Key, attributes and bytes of the object made of `parts`.
    pub(crate) fn assemble(&self, id: &str, parts: &[(usize, String)]) -> CatalogResult<(String, Attributes, Bytes)> {
        let upload = self.open.get(id).ok_or_else(|| CatalogError::NoSuchUpload(id.to_owned()))?;
        let mut whole = BytesMut::new();
        for (number, wanted) in parts {
            match upload.parts.get(number) {
                Some((e_tag, bytes)) if e_tag == wanted => whole.extend_from_slice(bytes),
                _ => return Err(CatalogError::NoSuchPart { upload: id.to_owned(), part: *number }),
            }
        }
        Ok((upload.key.clone(), upload.attributes.clone(), whole.freeze()))
    }

    pub(crate) fn remove(&mut self, id: &str) -> CatalogResult<()> {
        self.open.remove(id).map(drop).ok_or_else(|| CatalogError::NoSuchUpload(id.to_owned()))
    }
}
