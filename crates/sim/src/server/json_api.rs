//! The reading part of Google Cloud Storage's JSON API, as gcsfs and OpenDAL use it.
//!
//! - `GET /storage/v1/b/{bucket}`: the bucket's resource.
//! - `GET /storage/v1/b/{bucket}/o[?prefix=…&delimiter=…&maxResults=…&pageToken=…]`: a page of objects.
//! - `GET /storage/v1/b/{bucket}/o/{key}`: an object's resource or, with `alt=media`, its bytes.
//! - `GET /download/storage/v1/b/{bucket}/o/{key}?alt=media`: its bytes.
//!
//! A HEAD is answered like the GET, without a body. Writes are refused.
//! As in the real API, entity tags have no quotes and errors are JSON.

use http::{HeaderMap, Method, StatusCode, Uri, header::ETAG};
use object_store::GetOptions;
use serde_json::Value;

use super::reply::{Answered, Refusal, ServerReply};
use super::request::{Target, get_options};
use super::{bucket::ServedBucket, json};
use crate::cloud::{catalog::ListQuery, generation::Generation, log::RequestKind};

/// Prefixes of the paths of this API. The bucket follows.
const PREFIXES: [&str; 3] = [RESOURCES, "/download/storage/v1/b/", "/upload/storage/v1/b/"];
const RESOURCES: &str = "/storage/v1/b/";

/// Bucket names that are not available: the first segments of [`PREFIXES`].
pub(super) const RESERVED: [&str; 3] = ["storage", "download", "upload"];

/// A request to this API.
#[derive(Debug)]
pub(super) enum JsonCall {
    /// Asks for the bucket's resource.
    Bucket,
    /// Asks for a page of objects.
    List(ListQuery),
    /// Asks for an object.
    Object(WantedObject),
}

/// An object and the preconditions of the request.
#[derive(Debug)]
pub(super) struct WantedObject {
    key: String,
    /// Whether the request asks for the object's bytes (a HEAD for their headers alone), not for its resource.
    is_media: bool,
    options: GetOptions,
    generation_match: Option<u64>,
    generation_not_match: Option<u64>,
}

/// Whether a request is for this API, by its path.
pub(super) fn is_json_api(uri: &Uri) -> bool {
    PREFIXES.iter().any(|prefix| uri.path().starts_with(prefix))
}

impl JsonCall {
    /// Parses a request to `bucket`.
    pub(super) fn parse(bucket: &str, request: &http::request::Parts) -> Answered<Self> {
        let path = request.uri.path();
        let is_resource = path.starts_with(RESOURCES);
        let place = PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix)).unwrap_or_default();
        let (name, inside) = place.split_once('/').map_or((place, None), |(name, inside)| (name, Some(inside)));
        // The key is everything after the first `o/`; clients send its slashes as `%2F`.
        let key = inside.and_then(|inside| inside.strip_prefix("o/")).unwrap_or_default();
        let target = Target::new(name, key, request.uri.query())?;
        if target.bucket != bucket {
            return Err(Refusal::no_such_bucket(&target.bucket));
        }
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return Err(Refusal::unsupported("writes through the JSON API"));
        }
        match (&target.key, inside) {
            (Some(key), _) => {
                let is_head = request.method == Method::HEAD;
                WantedObject::parse(key.clone(), &target, &request.headers, is_head).map(Self::Object)
            }
            (None, None | Some("")) if is_resource => Ok(Self::Bucket),
            (None, Some("o" | "o/")) if is_resource => Ok(Self::List(list_query(&target)?)),
            _ => Err(Refusal::unsupported("this resource of the JSON API")),
        }
    }

    /// Whether the request reads an object, as a GET or HEAD of the XML API does.
    pub(super) fn is_read(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// Its kind in the log. A resource counts as a HEAD: both return metadata.
    pub(super) fn kind(&self) -> RequestKind {
        match self {
            Self::Object(wanted) if wanted.is_media && !wanted.options.head => RequestKind::Get,
            Self::Bucket | Self::Object(_) => RequestKind::Head,
            Self::List(_) => RequestKind::List,
        }
    }

    /// The key or prefix that the request is about.
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Bucket => "",
            Self::List(query) => &query.prefix,
            Self::Object(wanted) => &wanted.key,
        }
    }

    /// Answers the request from `bucket`.
    pub(super) fn execute(&self, bucket: &ServedBucket) -> Answered {
        match self {
            Self::Bucket => Ok(reply(StatusCode::OK, &json::bucket(bucket))),
            Self::List(query) => Ok(reply(StatusCode::OK, &json::objects(bucket, &bucket.catalog.list(query)))),
            Self::Object(wanted) => {
                let generation = bucket.find(&wanted.key, &wanted.options)?;
                wanted.check(bucket, &generation)?;
                if wanted.is_media {
                    return bucket.serve(generation, &wanted.options).map(unquoted);
                }
                let mut reply = reply(StatusCode::OK, &json::object(bucket, &wanted.key, &generation));
                reply.headers.extend(bucket.about(&generation).into_iter().filter(|(name, _)| *name == ETAG));
                Ok(unquoted(reply))
            }
        }
    }
}

impl WantedObject {
    fn parse(key: String, target: &Target, headers: &HeaderMap, head: bool) -> Answered<Self> {
        let metageneration = ["ifMetagenerationMatch", "ifMetagenerationNotMatch"];
        if let Some(name) = metageneration.into_iter().find(|name| target.parameter(name).is_some()) {
            return Err(Refusal::unsupported(name));
        }
        let version = target.parameter("generation").map(str::to_owned);
        let mut options = get_options(headers, version, head)?;
        options.if_match = options.if_match.map(quoted);
        options.if_none_match = options.if_none_match.map(quoted);
        Ok(Self {
            key,
            is_media: target.parameter("alt") == Some("media"),
            options,
            generation_match: target.number("ifGenerationMatch")?,
            generation_not_match: target.number("ifGenerationNotMatch")?,
        })
    }

    fn check(&self, bucket: &ServedBucket, generation: &Generation) -> Answered<()> {
        if self.generation_match.is_some_and(|number| number != generation.number) {
            return Err(Refusal::precondition_failed(&self.key));
        }
        if self.generation_not_match == Some(generation.number) {
            return Err(Refusal::not_modified());
        }
        bucket.check(&self.key, generation, &self.options)
    }
}

/// A refusal in the form of this API.
pub(super) fn refused(refusal: Refusal) -> ServerReply {
    let mut answer = if refusal.status == StatusCode::NOT_MODIFIED {
        ServerReply::empty(refusal.status)
    } else {
        let (message, reason) = match refusal.status {
            // Clients recognise the end of an object by this text.
            StatusCode::RANGE_NOT_SATISFIABLE => ("Request range not satisfiable", "requestedRangeNotSatisfiable"),
            StatusCode::NOT_FOUND => (refusal.message.as_str(), "notFound"),
            StatusCode::METHOD_NOT_ALLOWED => (refusal.message.as_str(), "methodNotAllowed"),
            StatusCode::PRECONDITION_FAILED => (refusal.message.as_str(), "conditionNotMet"),
            StatusCode::TOO_MANY_REQUESTS => (refusal.message.as_str(), "rateLimitExceeded"),
            StatusCode::NOT_IMPLEMENTED => (refusal.message.as_str(), "notImplemented"),
            StatusCode::SERVICE_UNAVAILABLE => (refusal.message.as_str(), "backendError"),
            _ => (refusal.message.as_str(), "invalid"),
        };
        reply(refusal.status, &json::error(refusal.status.as_u16(), message, reason))
    };
    answer.headers.extend(refusal.headers);
    unquoted(answer)
}

fn reply(status: StatusCode, value: &Value) -> ServerReply {
    ServerReply::json(status, "application/json; charset=UTF-8", value)
}

fn list_query(target: &Target) -> Answered<ListQuery> {
    let others = ["startOffset", "endOffset", "matchGlob"];
    if let Some(other) = others.into_iter().find(|name| target.given(name).is_some()) {
        return Err(Refusal::unsupported(other));
    }
    if target.parameter("versions") == Some("true") {
        return Err(Refusal::unsupported("lists of older versions"));
    }
    target.list_query("maxResults", &["pageToken"])
}

/// The entity tag in the form of the catalog and the XML API.
fn quoted(tag: String) -> String {
    if tag == "*" || tag.contains('"') { tag } else { format!("\"{tag}\"") }
}

fn unquoted(mut reply: ServerReply) -> ServerReply {
    let plain = reply.headers.get(ETAG).and_then(|tag| tag.to_str().ok()?.trim_matches('"').parse().ok());
    if let Some(plain) = plain {
        reply.headers.insert(ETAG, plain);
    }
    reply
}
