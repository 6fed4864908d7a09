//! Writes, which `--allow-writes` passes to the store: an object by one request, and deletions.

use bytes::Bytes;
use futures::Stream;
use headstart::object_store::path::Path;
use headstart::object_store::{
    Attribute, Attributes, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, UpdateVersion,
    WriteMultipart,
};
use headstart::object_store::{Error as StoreError, ObjectStore};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use s3s::Body;

use super::object::{ATTRIBUTES, header_text, quoted};
use super::received::ReceivedBody;
use super::refusal::{RefusedRequest, response};
use super::served::Served;

/// Bodies up to this size are written by one request, which may have a condition. Larger ones are uploaded in parts.
const ONE_REQUEST: usize = 8 << 20;

/// Parts that are uploaded at once.
const PARTS: usize = 4;

/// Writes an object.
///
/// # Errors
/// The key is not served, the body cannot be used, or the store refuses it.
///
/// # Cancel safety
/// The object is written as a whole or not at all. Parts that were uploaded may be left behind in the store.
pub(super) async fn put<S, E>(
    served: &Served,
    path: &Path,
    headers: &HeaderMap,
    mut body: ReceivedBody<S>,
) -> Result<Response<Body>, RefusedRequest>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
    E: std::fmt::Display + Send,
{
    if headers.contains_key("x-amz-copy-source") {
        return Err(RefusedRequest::unsupported("copies"));
    }
    let failed = |error: &StoreError| served.refusal(path.as_ref(), error);
    let (mode, attributes) = (mode(headers)?, attributes(headers));
    let mut first = Vec::new();
    while first.len() <= ONE_REQUEST
        && let Some(piece) = body.next().await?
    {
        first.extend_from_slice(&piece);
    }
    let result = if first.len() <= ONE_REQUEST {
        let options = PutOptions { mode, attributes, ..PutOptions::default() };
        served.stack.put_opts(path, PutPayload::from(first), options).await.map_err(|error| failed(&error))?
    } else if mode != PutMode::Overwrite {
        return Err(RefusedRequest::too_large("A write with a condition has 8 MiB at most"));
    } else {
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let upload = served.stack.put_multipart_opts(path, options).await.map_err(|error| failed(&error))?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, ONE_REQUEST);
        upload.put(first.into());
        while let Some(piece) = body.next().await.transpose() {
            let written = match piece {
                Ok(piece) => upload.wait_for_capacity(PARTS).await.map(|()| upload.put(piece)).map_err(|e| failed(&e)),
                Err(refusal) => Err(refusal),
            };
            if let Err(refusal) = written {
                // The failure that is told is the first.
                let _ = upload.abort().await;
                return Err(refusal);
            }
        }
        upload.finish().await.map_err(|error| failed(&error))?
    };
    let mut headers = HeaderMap::new();
    if let Some(Ok(e_tag)) = result.e_tag.as_deref().map(|tag| HeaderValue::from_str(&quoted(tag))) {
        headers.insert(header::ETAG, e_tag);
    }
    Ok(response(StatusCode::OK, headers, "text/plain", Vec::new()))
}

/// Deletes an object. One that is not there counts as deleted, as with S3.
///
/// # Errors
/// The key is not served, or the store fails.
pub(super) async fn delete(served: &Served, bucket: &str, key: &str) -> Result<(), RefusedRequest> {
    let path = served.path(bucket, key)?;
    match served.stack.delete(&path).await {
        Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(served.refusal(key, &error)),
    }
}

/// The condition of a write.
fn mode(headers: &HeaderMap) -> Result<PutMode, RefusedRequest> {
    match (header_text(headers, header::IF_MATCH), header_text(headers, header::IF_NONE_MATCH)) {
        (None, None) => Ok(PutMode::Overwrite),
        (None, Some("*")) => Ok(PutMode::Create),
        (Some(tag), None) => Ok(PutMode::Update(UpdateVersion { e_tag: Some(quoted(tag)), version: None })),
        _ => Err(RefusedRequest::unsupported("these conditions of a write")),
    }
}

/// The attributes that the headers of a write give.
pub(super) fn attributes(headers: &HeaderMap) -> Attributes {
    let mut attributes = Attributes::new();
    for (name, value) in headers {
        let Ok(value) = value.to_str() else { continue };
        let known = ATTRIBUTES.iter().find(|(_, known, _)| known == name).map(|(attribute, ..)| attribute.clone());
        let metadata = ["x-amz-meta-", "x-goog-meta-"].iter().find_map(|prefix| name.as_str().strip_prefix(prefix));
        let metadata = metadata.map(|name| Attribute::Metadata(name.to_owned().into()));
        if let Some(attribute) = known.or(metadata) {
            attributes.insert(attribute, value.to_owned().into());
        }
    }
    attributes
}
