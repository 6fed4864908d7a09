//! S3's operations on buckets and uploads in parts, for `s3s`. Objects are read in `object.rs`, as by other clients.

use std::sync::Arc;
use std::time::SystemTime;

use headstart::object_store::ObjectMeta;
use headstart::object_store::path::Path;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, Bucket, CommonPrefix, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteObjectsInput,
    DeleteObjectsOutput, DeletedObject, ETag, EncodingType, Error as DeleteError, GetBucketLocationInput,
    GetBucketLocationOutput, GetBucketVersioningInput, GetBucketVersioningOutput, HeadBucketInput, HeadBucketOutput,
    ListBucketsInput, ListBucketsOutput, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output,
    Object, ObjectStorageClass, StreamingBlob, Timestamp, UploadPartInput, UploadPartOutput,
};
use s3s::{Body, S3, S3Error, S3Request, S3Response, S3Result};

use super::object::quoted;
use super::received::ReceivedBody;
use super::refusal::RefusedRequest;
use super::served::Served;
use super::uploads::{NamedPart, ServedUploads};
use super::writes;
use crate::policy::served_page::{PageQuery, ServedPage};
use crate::upload::MOST_PART_BYTES;

/// The most keys on a page, as with the provider.
const MOST: i32 = 1000;

/// What a name keeps with `encoding-type=url`.
pub(super) const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The bucket, as `s3s` asks for it.
pub(super) struct S3Bucket {
    served: Arc<Served>,
    /// The name that stands for the bucket in requests, where `s3s` refuses its own name.
    alias: String,
    /// Uploads in parts, where writes are allowed.
    uploads: Option<ServedUploads>,
}

impl S3Bucket {
    pub(super) fn new(served: Arc<Served>, alias: String, allows_writes: bool) -> Self {
        Self { served, alias, uploads: allows_writes.then(ServedUploads::new) }
    }

    /// The uploads in parts, and the path of a key.
    fn upload(&self, bucket: &str, key: &str) -> S3Result<(&ServedUploads, Path)> {
        let uploads = self.uploads.as_ref().ok_or_else(|| RefusedRequest::read_only().into_s3())?;
        self.check(bucket)?;
        let path = self.served.path(&self.served.bucket, key).map_err(RefusedRequest::into_s3)?;
        Ok((uploads, path))
    }

    /// A refusal for `s3s`; the user is told of a failure of the store.
    fn refuse(&self, refusal: RefusedRequest) -> S3Error {
        self.served.note(&refusal);
        refusal.into_s3()
    }

    fn check(&self, bucket: &str) -> S3Result<()> {
        match bucket == self.alias {
            true => Ok(()),
            false => self.served.check_bucket(bucket).map_err(RefusedRequest::into_s3),
        }
    }

    async fn list(&self, query: &PageQuery) -> S3Result<ServedPage<ObjectMeta>> {
        let page = self.served.list(query).await;
        page.map_err(|error| self.refuse(self.served.refusal(&query.prefix, &error)))
    }
}

#[async_trait::async_trait]
impl S3 for S3Bucket {
    async fn list_buckets(&self, _: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        let bucket = Bucket { name: Some(self.served.bucket.clone()), ..Bucket::default() };
        Ok(S3Response::new(ListBucketsOutput { buckets: Some(vec![bucket]), ..ListBucketsOutput::default() }))
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.check(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.check(&request.input.bucket)?;
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn get_bucket_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        self.check(&request.input.bucket)?;
        Ok(S3Response::new(GetBucketVersioningOutput::default()))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        self.check(&input.bucket)?;
        let max_keys = max_keys(input.max_keys)?;
        let query = PageQuery {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: given(&input.delimiter),
            after: given(&input.continuation_token).or_else(|| given(&input.start_after)),
            limit: usize::try_from(max_keys).unwrap_or_default(),
            ..PageQuery::default()
        };
        let page = self.list(&query).await?;
        let shown = Shown::new(input.encoding_type.as_ref());
        let names = page.objects.len() + page.prefixes.len();
        Ok(S3Response::new(ListObjectsV2Output {
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next,
            key_count: i32::try_from(names).ok(),
            contents: Some(page.objects.iter().map(|(key, meta)| shown.object(key, meta)).collect()),
            common_prefixes: Some(page.prefixes.iter().map(|prefix| shown.prefix(prefix)).collect()),
            max_keys: Some(max_keys),
            name: Some(self.served.bucket.clone()),
            prefix: Some(shown.text(&query.prefix)),
            delimiter: query.delimiter.as_deref().map(|delimiter| shown.text(delimiter)),
            start_after: input.start_after.as_deref().map(|start| shown.text(start)),
            continuation_token: input.continuation_token,
            encoding_type: input.encoding_type,
            ..ListObjectsV2Output::default()
        }))
    }

    // The first version of a listing calls the places where pages begin by other names.
    async fn list_objects(&self, request: S3Request<ListObjectsInput>) -> S3Result<S3Response<ListObjectsOutput>> {
        let listed = self.list_objects_v2(request.map_input(Into::into)).await?;
        Ok(listed.map_output(|page| {
            let shown = Shown::new(page.encoding_type.as_ref());
            ListObjectsOutput {
                is_truncated: page.is_truncated,
                next_marker: page.next_continuation_token.as_deref().map(|next| shown.text(next)),
                contents: page.contents,
                common_prefixes: page.common_prefixes,
                max_keys: page.max_keys,
                name: page.name,
                prefix: page.prefix,
                delimiter: page.delimiter,
                marker: Some(page.start_after.unwrap_or_default()),
                encoding_type: page.encoding_type,
                ..ListObjectsOutput::default()
            }
        }))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        if self.uploads.is_none() {
            return Err(RefusedRequest::read_only().into_s3());
        }
        self.check(&request.input.bucket)?;
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in request.input.delete.objects {
            let key = Some(object.key.clone());
            match writes::delete(&self.served, &self.served.bucket, &object.key).await {
                Ok(()) => deleted.push(DeletedObject { key, ..DeletedObject::default() }),
                Err(refusal) => {
                    let error = self.refuse(refusal);
                    let (code, message) = (Some(error.code().as_str().to_owned()), error.message().map(str::to_owned));
                    errors.push(DeleteError { code, key, message, ..DeleteError::default() });
                }
            }
        }
        let (deleted, errors) = (Some(deleted), Some(errors));
        Ok(S3Response::new(DeleteObjectsOutput { deleted, errors, ..DeleteObjectsOutput::default() }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let CreateMultipartUploadInput { bucket, key, .. } = request.input;
        let (uploads, path) = self.upload(&bucket, &key)?;
        let id = uploads.create(&self.served, &path, &request.headers).await.map_err(|refusal| self.refuse(refusal))?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(self.served.bucket.clone()),
            key: Some(key),
            upload_id: Some(id),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let UploadPartInput { bucket, key, part_number, upload_id, content_length, body, .. } = request.input;
        let (uploads, path) = self.upload(&bucket, &key)?;
        let number = usize::try_from(part_number).unwrap_or_default();
        // A part of unknown size is charged as the largest.
        let size = content_length.and_then(|len| u64::try_from(len).ok()).unwrap_or(MOST_PART_BYTES);
        let body = body.unwrap_or_else(|| StreamingBlob::from(Body::empty()));
        let is_signed = request.credentials.is_some();
        let body = ReceivedBody::new(&request.headers, body, is_signed, request.trailing_headers);
        let sent = uploads.put_part(&self.served, (&path, &upload_id), number, size, body).await;
        let e_tag = sent.map_err(|refusal| self.refuse(refusal))?;
        Ok(S3Response::new(UploadPartOutput { e_tag: Some(ETag::Strong(e_tag)), ..UploadPartOutput::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let CompleteMultipartUploadInput { bucket, key, upload_id, multipart_upload, if_match, if_none_match, .. } =
            request.input;
        let (uploads, path) = self.upload(&bucket, &key)?;
        if if_match.is_some() || if_none_match.is_some() {
            return Err(RefusedRequest::unsupported("conditions of an upload in parts").into_s3());
        }
        let named =
            multipart_upload.and_then(|upload| upload.parts).unwrap_or_default().into_iter().map(|part| NamedPart {
                number: part.part_number.and_then(|number| usize::try_from(number).ok()).unwrap_or_default(),
                e_tag: part.e_tag.map(ETag::into_value).unwrap_or_default(),
            });
        let named: Vec<_> = named.collect();
        let result = uploads.complete(&self.served, &path, &upload_id, &named).await;
        let result = result.map_err(|refusal| self.refuse(refusal))?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(self.served.bucket.clone()),
            key: Some(key),
            e_tag: result.e_tag.as_deref().and_then(e_tag),
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let AbortMultipartUploadInput { bucket, key, upload_id, .. } = request.input;
        let (uploads, path) = self.upload(&bucket, &key)?;
        let aborted = uploads.abort(&self.served, &path, &upload_id).await;
        aborted.map_err(|refusal| self.refuse(refusal))?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}

fn e_tag(tag: &str) -> Option<ETag> {
    quoted(tag).parse().ok()
}

fn given(text: &Option<String>) -> Option<String> {
    text.clone().filter(|text| !text.is_empty())
}

fn max_keys(asked: Option<i32>) -> S3Result<i32> {
    match asked.unwrap_or(MOST) {
        asked if asked < 0 => Err(RefusedRequest::invalid("max-keys must not be negative").into_s3()),
        asked => Ok(asked.min(MOST)),
    }
}

/// How names are shown: as they are, or encoded.
#[derive(Debug, Clone, Copy)]
struct Shown {
    is_encoded: bool,
}

impl Shown {
    fn new(encoding: Option<&EncodingType>) -> Self {
        Self { is_encoded: encoding.is_some_and(|encoding| encoding.as_str() == EncodingType::URL) }
    }

    fn text(self, text: &str) -> String {
        match self.is_encoded {
            true => utf8_percent_encode(text, ENCODED).to_string(),
            false => text.to_owned(),
        }
    }

    fn object(self, key: &str, meta: &ObjectMeta) -> Object {
        Object {
            key: Some(self.text(key)),
            size: i64::try_from(meta.size).ok(),
            last_modified: Some(Timestamp::from(SystemTime::from(meta.last_modified))),
            e_tag: meta.e_tag.as_deref().and_then(e_tag),
            storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
            ..Object::default()
        }
    }

    fn prefix(self, prefix: &str) -> CommonPrefix {
        CommonPrefix { prefix: Some(self.text(prefix)) }
    }
}
