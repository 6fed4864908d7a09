//! Reads an object: the same answer to clients of S3, of Google Cloud Storage and of plain HTTP.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use headstart::object_store::path::Path;
use headstart::object_store::{
    Attribute, Error as StoreError, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, Result,
};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use s3s::Body;

use super::refusal::RefusedRequest;
use super::served::Served;
use crate::failure::Failure;
use crate::policy::byte_span::ByteSpan;

/// The headers of the attributes of an object, and the parameters of S3 that replace them in an answer.
pub(super) static ATTRIBUTES: [(Attribute, HeaderName, &str); 5] = [
    (Attribute::ContentType, header::CONTENT_TYPE, "response-content-type"),
    (Attribute::ContentEncoding, header::CONTENT_ENCODING, "response-content-encoding"),
    (Attribute::ContentLanguage, header::CONTENT_LANGUAGE, "response-content-language"),
    (Attribute::ContentDisposition, header::CONTENT_DISPOSITION, "response-content-disposition"),
    (Attribute::CacheControl, header::CACHE_CONTROL, "response-cache-control"),
];

/// Longer positions of a range mean the end of the object.
const LAST_POSITION: u64 = i64::MAX as u64;

/// A request for an object or its headers.
#[derive(Debug)]
pub(super) struct ServedRead<'a> {
    pub(super) key: &'a str,
    pub(super) path: Path,
    pub(super) is_head: bool,
    pub(super) headers: &'a HeaderMap,
    /// The parameters of the query.
    pub(super) query: &'a [(String, String)],
    /// The parameter that names a version.
    pub(super) version_parameter: &'static str,
}

/// What a `Range` header asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WantedRange {
    Whole,
    Part(ByteSpan),
    /// `bytes=-0`, which no object has.
    Nothing,
}

impl ServedRead<'_> {
    /// Answers the request.
    ///
    /// # Errors
    /// The conditions do not hold, there is no such object, or the store fails.
    pub(super) async fn answer(&self, served: &Served) -> Result<Response<Body>, RefusedRequest> {
        let conditions = self.conditions()?;
        let mut range = if self.is_head { WantedRange::Whole } else { wanted_range(self.headers) };
        if let Some(part) = self.parameter("partNumber") {
            return self.part(served, part, conditions).await;
        }
        if range != WantedRange::Whole
            && let Some(validator) = self.header(header::IF_RANGE)
        {
            match self.of_version(served, range, validator, &conditions).await {
                Some(answer) => return Ok(self.respond(served, answer, true)),
                None => range = WantedRange::Whole,
            }
        }
        let options = GetOptions { range: get_range(range), head: self.is_head, ..conditions.clone() };
        let answer = match range {
            WantedRange::Nothing => Err(None),
            _ => get(served, &self.path, options).await.map_err(Some),
        };
        match answer {
            // The end of an empty object.
            Ok(answer) if range != WantedRange::Whole && answer.range.is_empty() => {
                Err(RefusedRequest::range(answer.meta.size))
            }
            Ok(answer) => Ok(self.respond(served, answer, range != WantedRange::Whole)),
            Err(error) => self.failed(served, range, conditions, error).await,
        }
    }

    fn header(&self, name: HeaderName) -> Option<&str> {
        header_text(self.headers, name)
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        query_parameter(self.query, name)
    }

    /// The conditions of the request, and the version that it names.
    fn conditions(&self) -> Result<GetOptions, RefusedRequest> {
        let tags = |name| self.header(name).map(quoted_tags);
        // As RFC 9110 says, a date that cannot be read is ignored.
        let date = |name| DateTime::parse_from_rfc2822(self.header(name)?).ok().map(|date| date.with_timezone(&Utc));
        let version = self.parameter(self.version_parameter).filter(|version| *version != "null");
        Ok(GetOptions {
            if_match: tags(header::IF_MATCH),
            if_none_match: tags(header::IF_NONE_MATCH),
            if_modified_since: date(header::IF_MODIFIED_SINCE),
            if_unmodified_since: date(header::IF_UNMODIFIED_SINCE),
            version: version.map(str::to_owned),
            ..GetOptions::default()
        })
    }

    /// The range, if the object still has the version that `If-Range` names.
    async fn of_version(
        &self,
        served: &Served,
        range: WantedRange,
        validator: &str,
        conditions: &GetOptions,
    ) -> Option<GetResult> {
        let mut options = GetOptions { range: get_range(range), ..conditions.clone() };
        match DateTime::parse_from_rfc2822(validator) {
            Ok(date) if options.if_unmodified_since.is_none() => options.if_unmodified_since = Some(date.into()),
            Err(_) if options.if_match.is_none() && validator.starts_with('"') => {
                options.if_match = Some(validator.to_owned());
            }
            // A weak entity tag never selects a range.
            _ => return None,
        }
        get(served, &self.path, options).await.ok()
    }

    /// A part of an upload, by its number. The stores do not tell where parts begin, except for the only part.
    async fn part(
        &self,
        served: &Served,
        number: &str,
        conditions: GetOptions,
    ) -> Result<Response<Body>, RefusedRequest> {
        let options = GetOptions { head: self.is_head, ..conditions };
        let answer = get(served, &self.path, options).await;
        let answer = answer.map_err(|error| served.refusal(self.key, &error))?;
        let tag = answer.meta.e_tag.as_deref().unwrap_or_default().trim_matches('"');
        let has_parts = tag.rsplit_once('-').is_some_and(|(_, count)| count.parse::<u32>().is_ok());
        match number.parse::<u32>() {
            _ if has_parts => Err(RefusedRequest::unsupported("partNumber for objects that were uploaded in parts")),
            Ok(1) => {
                let is_part = answer.meta.size > 0;
                Ok(self.respond(served, answer, is_part))
            }
            Ok(2..=10_000) => Err(RefusedRequest::range(answer.meta.size)),
            _ => Err(RefusedRequest::invalid("partNumber must be 1 to 10000")),
        }
    }

    /// The answer where the store gives none: `error` is what it says.
    async fn failed(
        &self,
        served: &Served,
        range: WantedRange,
        conditions: GetOptions,
        error: Option<StoreError>,
    ) -> Result<Response<Body>, RefusedRequest> {
        let refuse = |error: &StoreError| match (error, &conditions.if_none_match) {
            (StoreError::NotModified { .. }, Some(tag)) if !tag.contains([',', '*']) => {
                RefusedRequest::not_modified(Some(tag))
            }
            _ => served.refusal(self.key, error),
        };
        let is_final = |error: &StoreError| {
            use StoreError as E;
            matches!(error, E::NotFound { .. } | E::NotModified { .. } | E::Precondition { .. })
                || matches!(error, E::PermissionDenied { .. } | E::Unauthenticated { .. })
        };
        match &error {
            Some(error) if range == WantedRange::Whole || is_final(error) => return Err(refuse(error)),
            _ => {}
        }
        // Stores report a range past the end in many ways. The size tells.
        let head = get(served, &self.path, GetOptions { head: true, ..conditions.clone() }).await;
        let meta = match (head, &error) {
            (Ok(answer), _) => answer.meta,
            (Err(head_error), Some(error)) if !is_final(&head_error) => return Err(refuse(error)),
            (Err(head_error), _) => return Err(refuse(&head_error)),
        };
        let span = match range {
            WantedRange::Part(span) => span.within(meta.size),
            WantedRange::Whole | WantedRange::Nothing => None,
        };
        let Some(span) = span else { return Err(RefusedRequest::range(meta.size)) };
        match error {
            // Azure has no requests for the end of an object.
            Some(StoreError::NotSupported { .. }) => {
                let if_match = conditions.if_match.clone().or(meta.e_tag);
                let options = GetOptions { range: Some(GetRange::Bounded(span)), if_match, ..conditions.clone() };
                let answer = get(served, &self.path, options).await.map_err(|error| refuse(&error))?;
                Ok(self.respond(served, answer, true))
            }
            Some(error) => Err(refuse(&error)),
            None => Err(RefusedRequest::range(meta.size)),
        }
    }

    /// The response with the bytes of `answer`, or with its headers alone.
    fn respond(&self, served: &Served, answer: GetResult, is_part: bool) -> Response<Body> {
        let mut headers = self.headers_of(served, &answer);
        let (range, size) = (answer.range.clone(), answer.meta.size);
        let length = if self.is_head { size } else { range.end - range.start };
        headers.insert(header::CONTENT_LENGTH, length.into());
        if is_part {
            let (first, last) = if self.is_head { (0, size - 1) } else { (range.start, range.end.saturating_sub(1)) };
            insert(&mut headers, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{size}"));
        }
        let body = match self.is_head {
            true => Body::empty(),
            false => body(served, self.key, answer),
        };
        let mut response = Response::new(body);
        *response.status_mut() = if is_part { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        *response.headers_mut() = headers;
        response
    }

    fn headers_of(&self, served: &Served, answer: &GetResult) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let ObjectMeta { e_tag, version, last_modified, .. } = &answer.meta;
        insert(&mut headers, header::LAST_MODIFIED, &last_modified.format("%a, %d %b %Y %H:%M:%S GMT").to_string());
        if let Some(e_tag) = e_tag {
            insert(&mut headers, header::ETAG, &quoted(e_tag));
        }
        if let Some(version) = version {
            let name = if served.has_generations() { "x-goog-generation" } else { "x-amz-version-id" };
            insert(&mut headers, HeaderName::from_static(name), version);
        }
        for (attribute, value) in &answer.attributes {
            match ATTRIBUTES.iter().find(|(known, ..)| known == attribute) {
                Some((_, name, _)) => insert(&mut headers, name.clone(), value),
                None => {
                    // Which of the two names a client looks for depends on its kind.
                    for provider in ["amz", "goog"] {
                        let name = match attribute {
                            Attribute::StorageClass => format!("x-{provider}-storage-class"),
                            Attribute::Metadata(name) => format!("x-{provider}-meta-{name}"),
                            _ => continue,
                        };
                        if let Ok(name) = HeaderName::try_from(name) {
                            insert(&mut headers, name, value);
                        }
                    }
                }
            }
        }
        for (_, name, parameter) in &ATTRIBUTES {
            if let Some(value) = self.parameter(parameter) {
                insert(&mut headers, name.clone(), value);
            }
        }
        headers
    }
}

/// Reads from the stack.
///
/// Read-ahead and the cache serve requests for the present version best. A request that names a version, or its entity
/// tag, is one of them where the answer shows this version.
pub(super) async fn get(served: &Served, path: &Path, options: GetOptions) -> Result<GetResult> {
    let tag = options.if_match.as_deref();
    let is_pinned = (tag.is_some() || options.version.is_some())
        && tag.is_none_or(|tag| tag.starts_with('"') && !tag.contains(','))
        && options.if_none_match.is_none()
        && options.if_modified_since.is_none()
        && options.if_unmodified_since.is_none();
    if is_pinned {
        let shows = |meta: &ObjectMeta| {
            (tag.is_none() || meta.e_tag.as_deref().map(quoted).as_deref() == tag)
                && (options.version.is_none() || options.version == meta.version)
        };
        let plain = GetOptions { if_match: None, version: None, ..options.clone() };
        match served.stack.get_opts(path, plain).await {
            Ok(answer) if shows(&answer.meta) => return Ok(answer),
            // Another version may be there, or be readable.
            Err(error) if options.version.is_none() => return Err(error),
            _ => {}
        }
    }
    served.stack.get_opts(path, options).await
}

/// The bytes of an answer, as they arrive. The client's pace is that of the stream.
fn body(served: &Served, key: &str, answer: GetResult) -> Body {
    let (session, url) = (Arc::clone(&served.session), served.url_of(key));
    let frames = answer.into_stream().map_ok(Frame::data).inspect_err(move |error| {
        // The connection ends before the last byte, which clients notice.
        session.output.note(&Failure::store(&url, error).message);
    });
    Body::http_body_unsync(StreamBody::new(frames))
}

/// The range that a `Range` header asks for. One of another unit, with several ranges or with an error is ignored.
fn wanted_range(headers: &HeaderMap) -> WantedRange {
    let text = header_text(headers, header::RANGE).unwrap_or_default().trim();
    let Some((unit, text)) = text.split_once('=') else { return WantedRange::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return WantedRange::Whole;
    }
    match text.parse::<ByteSpan>() {
        _ if text.trim() == "-0" => WantedRange::Nothing,
        Ok(span) => WantedRange::Part(span),
        Err(_) => WantedRange::Whole,
    }
}

fn get_range(range: WantedRange) -> Option<GetRange> {
    match range {
        WantedRange::Whole | WantedRange::Nothing => None,
        WantedRange::Part(ByteSpan::Closed { first, last }) if last < LAST_POSITION => {
            Some(GetRange::Bounded(first..last + 1))
        }
        WantedRange::Part(ByteSpan::Closed { first, .. } | ByteSpan::From(first)) => Some(GetRange::Offset(first)),
        WantedRange::Part(ByteSpan::Last(count)) => Some(GetRange::Suffix(count)),
    }
}

/// The value of a header; `None` where it is no text.
pub(super) fn header_text(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// A parameter of a query. One without a value counts as missing.
pub(super) fn query_parameter<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
}

/// An entity tag as HTTP writes it. The JSON API and some clients leave the quotes out.
pub(super) fn quoted(tag: &str) -> String {
    match tag.ends_with('"') || tag == "*" {
        true => tag.to_owned(),
        false => format!("\"{tag}\""),
    }
}

fn quoted_tags(tags: &str) -> String {
    tags.split(',').map(|tag| quoted(tag.trim())).collect::<Vec<_>>().join(", ")
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // A value that no header can have is left out.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_headers() {
        let part = |text: &str| WantedRange::Part(text.parse().expect("a range"));
        for (text, expected) in [
            ("bytes=0-9", part("0-9")),
            ("Bytes = 5-", part("5-")),
            ("bytes=-7", part("-7")),
            ("bytes=-0", WantedRange::Nothing),
            ("bytes=9-3", WantedRange::Whole),
            ("bytes=0-1,4-5", WantedRange::Whole),
            ("lines=1-2", WantedRange::Whole),
            ("", WantedRange::Whole),
        ] {
            let headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static(text))]);
            assert_eq!(wanted_range(&headers), expected, "{text}");
        }
        assert_eq!(get_range(part("3-9223372036854775807")), Some(GetRange::Offset(3)));
    }

    #[test]
    fn entity_tags_get_their_quotes() {
        for (tags, expected) in [("a", "\"a\""), ("\"a\"", "\"a\""), ("*", "*"), ("W/\"a\",b", "W/\"a\", \"b\"")] {
            assert_eq!(quoted_tags(tags), expected);
        }
    }
}
