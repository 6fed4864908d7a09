//! The part of Google Cloud Storage's JSON API that reads, as gcsfs and OpenDAL speak it. No I/O, no clock.
//!
//! - `GET /storage/v1/b/{bucket}`: the bucket's resource.
//! - `GET /storage/v1/b/{bucket}/o[?prefix=…&delimiter=…&maxResults=…&pageToken=…]`: a page of objects.
//! - `GET /storage/v1/b/{bucket}/o/{key}`: an object's resource or, with `alt=media`, its bytes.
//! - `GET /download/storage/v1/b/{bucket}/o/{key}?alt=media`: its bytes.
//!
//! A HEAD is answered like the GET, without a body. What writes is refused.
//! As in the real API, entity tags have no quotes here, and what is refused is refused in JSON.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use object_store::GetOptions;
use serde::Serialize;

use super::bucket::{ServedBucket, ServerPayload, ServerReply};
use super::json;
use super::reply::Refusal;
use super::request::{MAX_KEYS, Target, get_options};
use crate::cloud::catalog::ListQuery;
use crate::cloud::generation::Generation;
use crate::cloud::log::RequestKind;

/// What the paths of this API begin with. The bucket follows.
const PREFIXES: [&str; 3] = [RESOURCES, "/download/storage/v1/b/", "/upload/storage/v1/b/"];
const RESOURCES: &str = "/storage/v1/b/";

/// Buckets that cannot be: the first words of [`PREFIXES`].
pub(super) const RESERVED: [&str; 3] = ["storage", "download", "upload"];

/// What a request of this API asks for.
#[derive(Debug)]
pub(super) enum JsonCall {
    /// The bucket's resource.
    Bucket,
    /// A page of objects.
    List(ListQuery),
    /// An object's resource.
    Object(WantedObject),
    /// An object's bytes or, of a HEAD, only their headers.
    Media(WantedObject),
}

/// An object and what must hold of it.
#[derive(Debug)]
pub(super) struct WantedObject {
    key: String,
    options: GetOptions,
    generation_match: Option<u64>,
    generation_not_match: Option<u64>,
}

/// Whether a request is one of this API: its path says so.
pub(super) fn is_meant(uri: &Uri) -> bool {
    PREFIXES.iter().any(|prefix| uri.path().starts_with(prefix))
}

impl JsonCall {
    /// What a request wants of `bucket`.
    pub(super) fn parse(bucket: &str, request: &http::request::Parts) -> Result<Self, Refusal> {
        let path = request.uri.path();
        let of_resources = path.starts_with(RESOURCES);
        let place = PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix)).unwrap_or_default();
        let (name, inside) = place.split_once('/').map_or((place, None), |(name, inside)| (name, Some(inside)));
        // All that follows the first `o/` is the key; clients send its slashes as `%2F`.
        let key = inside.and_then(|inside| inside.strip_prefix("o/")).unwrap_or_default();
        let target = Target::new(name, key, request.uri.query())?;
        if target.bucket != bucket {
            return Err(Refusal::no_such_bucket(&target.bucket));
        }
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return Err(Refusal::unsupported("what the JSON API writes"));
        }
        match (&target.key, inside) {
            (Some(key), _) => {
                let is_media = target.parameter("alt") == Some("media");
                let is_head = request.method == Method::HEAD;
                let wanted = WantedObject::parse(key.clone(), &target, &request.headers, is_head)?;
                Ok(if is_media { Self::Media(wanted) } else { Self::Object(wanted) })
            }
            (None, None | Some("")) if of_resources => Ok(Self::Bucket),
            (None, Some("o" | "o/")) if of_resources => Ok(Self::List(list_query(&target)?)),
            _ => Err(Refusal::unsupported("this resource of the JSON API")),
        }
    }

    /// Whether it reads an object, as a GET or HEAD of the XML API does.
    pub(super) fn is_read(&self) -> bool {
        matches!(self, Self::Object(_) | Self::Media(_))
    }

    /// How it is entered in the log: a resource tells what a HEAD tells.
    pub(super) fn kind(&self) -> RequestKind {
        match self {
            Self::Media(wanted) if !wanted.options.head => RequestKind::Get,
            Self::Bucket | Self::Object(_) | Self::Media(_) => RequestKind::Head,
            Self::List(_) => RequestKind::List,
        }
    }

    /// The key or prefix that it is about.
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Bucket => "",
            Self::List(query) => &query.prefix,
            Self::Object(wanted) | Self::Media(wanted) => &wanted.key,
        }
    }

    /// Answers it with what `bucket` holds.
    pub(super) fn execute(&self, bucket: &ServedBucket) -> Result<ServerReply, Refusal> {
        match self {
            Self::Bucket => Ok(reply(StatusCode::OK, &json::bucket(bucket))),
            Self::List(query) => Ok(reply(StatusCode::OK, &list(bucket, query))),
            Self::Object(wanted) => {
                let generation = bucket.find(&wanted.key, &wanted.options)?;
                wanted.check(bucket, &generation)?;
                let mut reply = reply(StatusCode::OK, &json::ObjectResource::new(bucket, &wanted.key, &generation));
                reply.headers.extend(bucket.about(&generation).into_iter().filter(|(name, _)| *name == ETAG));
                Ok(unquoted(reply))
            }
            Self::Media(wanted) => {
                let generation = bucket.find(&wanted.key, &wanted.options)?;
                wanted.check(bucket, &generation)?;
                Ok(unquoted(bucket.serve(generation, &wanted.options)?))
            }
        }
    }
}

impl WantedObject {
    fn parse(key: String, target: &Target, headers: &HeaderMap, head: bool) -> Result<Self, Refusal> {
        for metageneration in ["ifMetagenerationMatch", "ifMetagenerationNotMatch"] {
            if target.parameter(metageneration).is_some() {
                return Err(Refusal::unsupported(metageneration));
            }
        }
        let number = |name| {
            let number = target.parameter(name).map(str::parse).transpose();
            number.map_err(|_| Refusal::invalid(format!("{name} must be a number")))
        };
        let version = target.parameter("generation").map(str::to_owned);
        let mut options = get_options(headers, version, head)?;
        options.if_match = options.if_match.map(quoted);
        options.if_none_match = options.if_none_match.map(quoted);
        Ok(Self {
            key,
            options,
            generation_match: number("ifGenerationMatch")?,
            generation_not_match: number("ifGenerationNotMatch")?,
        })
    }

    fn check(&self, bucket: &ServedBucket, generation: &Generation) -> Result<(), Refusal> {
        if self.generation_match.is_some_and(|number| number != generation.number) {
            return Err(Refusal::precondition_failed(&self.key));
        }
        if self.generation_not_match == Some(generation.number) {
            return Err(Refusal::not_modified());
        }
        bucket.check(&self.key, generation, &self.options)
    }
}

/// What is refused, as this API says it.
pub(super) fn refused(refusal: Refusal) -> ServerReply {
    let mut answer = if refusal.status == StatusCode::NOT_MODIFIED {
        ServerReply::empty(refusal.status)
    } else {
        let (message, reason) = match refusal.status {
            // Clients know the end of an object by these words.
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

fn reply<T: Serialize>(status: StatusCode, value: &T) -> ServerReply {
    let payload = serde_json::to_vec(value).expect("resources are plain data");
    let mut reply = ServerReply { payload: ServerPayload::Whole(Bytes::from(payload)), ..ServerReply::empty(status) };
    reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    reply
}

fn list(bucket: &ServedBucket, query: &ListQuery) -> json::ObjectList {
    let page = bucket.catalog.list(query);
    let items = page.objects.iter().map(|(key, live)| json::ObjectResource::new(bucket, key, live));
    json::ObjectList {
        kind: "storage#objects",
        items: items.collect(),
        prefixes: page.prefixes,
        next_page_token: page.next,
    }
}

fn list_query(target: &Target) -> Result<ListQuery, Refusal> {
    let given = |name| target.parameter(name).filter(|value| !value.is_empty()).map(str::to_owned);
    for other in ["startOffset", "endOffset", "matchGlob"] {
        if given(other).is_some() {
            return Err(Refusal::unsupported(other));
        }
    }
    if given("versions").is_some_and(|versions| versions == "true") {
        return Err(Refusal::unsupported("lists of older versions"));
    }
    let most = given("maxResults").map(|most| most.parse::<usize>()).transpose();
    let most = most.map_err(|_| Refusal::invalid("maxResults must be a number"))?;
    Ok(ListQuery {
        prefix: given("prefix").unwrap_or_default(),
        // The token of a page is the last key before it.
        start_after: given("pageToken"),
        delimiter: given("delimiter"),
        max_keys: most.unwrap_or(MAX_KEYS).min(MAX_KEYS),
    })
}

/// The catalog's form of an entity tag, which is the XML API's.
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
