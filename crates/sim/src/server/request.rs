//! Parses requests.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use http::header::{AsHeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, RANGE};
use http::{HeaderMap, Method, Uri};
use object_store::{Attributes, GetOptions, GetRange};
use percent_encoding::percent_decode_str;

use super::{bucket::Dialect, json_api::JsonCall, reply::Answered, reply::Refusal};
use crate::cloud::catalog::{ListQuery, WriteCondition};

/// The most keys in a page of a listing.
const MAX_KEYS: usize = 1000;

const GENERATION_MATCH: &str = "x-goog-if-generation-match";

/// A parsed request, except for its body.
#[derive(Debug)]
pub(super) enum Operation {
    /// Reads an object; with `options.head` its headers alone.
    Get { key: String, options: GetOptions },
    /// Writes an object; the body is the new generation.
    Put { key: String, condition: WriteCondition, attributes: Attributes },
    /// Copies the object `from` to `to`.
    Copy { from: String, to: String, condition: WriteCondition },
    /// Deletes an object.
    Delete { key: String },
    /// Deletes the objects that the body names.
    DeleteMany,
    /// Asks for a page of keys.
    List(ListQuery),
    /// A step of a multipart upload.
    Upload { key: String, step: UploadStep },
    /// A request to the JSON API.
    Json(JsonCall),
}

/// A step of a multipart upload.
#[derive(Debug)]
pub(super) enum UploadStep {
    /// Begins an upload.
    Begin { attributes: Attributes },
    /// Uploads the body as a part.
    Put { upload: String, number: usize },
    /// Copies the object `from` into a part.
    Copy { from: String, upload: String, number: usize },
    /// Makes an object of the parts that the body names, in this order.
    Complete { upload: String, condition: WriteCondition },
    /// Aborts the upload.
    Abort { upload: String },
}

/// The URI of a request: the bucket, the key (`None` for the bucket itself), and the query parameters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) bucket: String,
    pub(super) key: Option<String>,
    query: Vec<(String, String)>,
}

impl Target {
    /// Parses `/bucket/key`. The key is everything after the second `/`, further slashes included.
    pub(super) fn parse(uri: &Uri) -> Answered<Self> {
        let path = uri.path().strip_prefix('/').ok_or_else(|| Refusal::invalid("the path must begin with a slash"))?;
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        Self::new(bucket, key, uri.query())
    }

    /// Decodes the parts of a URI. An empty key becomes `None`.
    pub(super) fn new(bucket: &str, key: &str, query: Option<&str>) -> Answered<Self> {
        Ok(Self {
            bucket: decode(bucket)?,
            key: Some(decode(key)?).filter(|key| !key.is_empty()),
            query: parse_query(query.unwrap_or_default())?,
        })
    }

    /// The value of a parameter; empty for a parameter without `=`.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that is not empty.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        self.parameter(name).filter(|value| !value.is_empty())
    }

    /// The value of a numeric parameter.
    pub(super) fn number<T: FromStr>(&self, name: &str) -> Answered<Option<T>> {
        let number = self.given(name).map(str::parse).transpose();
        number.map_err(|_| Refusal::invalid(format!("{name} must be a number")))
    }

    /// The page of a listing that the parameters ask for. A page token is the last key of the page before.
    pub(super) fn list_query(&self, max_keys: &str, page_tokens: &[&str]) -> Answered<ListQuery> {
        let text = |name| self.given(name).map(str::to_owned);
        Ok(ListQuery {
            prefix: text("prefix").unwrap_or_default(),
            start_after: page_tokens.iter().find_map(|name| text(name)),
            delimiter: text("delimiter"),
            max_keys: self.number(max_keys)?.unwrap_or(MAX_KEYS).min(MAX_KEYS),
        })
    }
}

impl Operation {
    /// Whether the request reads an object or its metadata.
    pub(super) fn is_read(&self) -> bool {
        match self {
            Self::Get { .. } => true,
            Self::Json(call) => call.is_read(),
            _ => false,
        }
    }

    /// Parses a request in `dialect`.
    pub(super) fn parse(dialect: Dialect, method: &Method, target: &Target, headers: &HeaderMap) -> Answered<Self> {
        let upload = target.parameter("uploadId").map(str::to_owned);
        let Some(key) = target.key.clone() else {
            return match *method {
                Method::GET => target.list_query("max-keys", &["continuation-token", "start-after"]).map(Self::List),
                Method::POST if target.parameter("delete").is_some() => Ok(Self::DeleteMany),
                _ => Err(Refusal::not_allowed()),
            };
        };
        let copy_from = text(headers, format!("{}copy-source", dialect.prefix()))?;
        let copy_from = copy_from.map(|source| copy_source(&target.bucket, source)).transpose()?;
        let version = target.parameter(dialect.version_names().0).map(str::to_owned);
        Ok(match (method.as_str(), upload, copy_from) {
            ("GET" | "HEAD", _, _) => {
                Self::Get { key, options: get_options(headers, version, *method == Method::HEAD)? }
            }
            _ if version.is_some() => return Err(Refusal::unsupported("changing an older version")),
            ("PUT", None, Some(from)) => Self::Copy { from, to: key, condition: condition(dialect, headers)? },
            ("PUT", None, None) => {
                let (condition, attributes) = (condition(dialect, headers)?, attributes(dialect, headers)?);
                Self::Put { key, condition, attributes }
            }
            ("DELETE", None, _) => Self::Delete { key },
            ("POST", None, _) if target.parameter("uploads").is_some() => {
                Self::Upload { key, step: UploadStep::Begin { attributes: attributes(dialect, headers)? } }
            }
            ("PUT", Some(upload), from) => {
                let number = target.number("partNumber")?.ok_or_else(|| Refusal::invalid("partNumber is missing"))?;
                let step = match from {
                    Some(from) => UploadStep::Copy { from, upload, number },
                    None => UploadStep::Put { upload, number },
                };
                Self::Upload { key, step }
            }
            ("POST", Some(upload), _) => {
                Self::Upload { key, step: UploadStep::Complete { upload, condition: condition(dialect, headers)? } }
            }
            ("DELETE", Some(upload), _) => Self::Upload { key, step: UploadStep::Abort { upload } },
            _ => return Err(Refusal::not_allowed()),
        })
    }
}

fn decode(encoded: &str) -> Answered<String> {
    let decoded = percent_decode_str(encoded).decode_utf8();
    decoded.map(Into::into).map_err(|_| Refusal::invalid("bucket, key and query must be UTF-8"))
}

/// Parses form-encoded parameters, in which `+` is a space.
fn parse_query(query: &str) -> Answered<Vec<(String, String)>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?))
        })
        .collect()
}

fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Answered<Option<&str>> {
    let value = headers.get(name).map(|value| std::str::from_utf8(value.as_bytes()));
    value.transpose().map_err(|_| Refusal::invalid("headers must be UTF-8"))
}

/// The key of the source of a copy, which must be in the same `bucket`.
fn copy_source(bucket: &str, source: &str) -> Answered<String> {
    if source.contains('?') {
        return Err(Refusal::unsupported("copying an older version"));
    }
    match source.trim_start_matches('/').split_once('/') {
        Some((from, key)) if decode(from)? == bucket => decode(key),
        Some((from, _)) => Err(Refusal::no_such_bucket(from)),
        None => Err(Refusal::invalid("a copy source is a bucket and a key")),
    }
}

pub(super) fn get_options(headers: &HeaderMap, version: Option<String>, head: bool) -> Answered<GetOptions> {
    let tag = |name| text(headers, name).map(|tag| tag.map(str::to_owned));
    // RFC 9110: a recipient ignores invalid dates.
    let date = |name| text(headers, name).map(|date| date.and_then(http_date));
    Ok(GetOptions::default()
        .with_version(version)
        .with_head(head)
        .with_if_match(tag(IF_MATCH)?)
        .with_if_none_match(tag(IF_NONE_MATCH)?)
        .with_if_unmodified_since(date(IF_UNMODIFIED_SINCE)?)
        .with_if_modified_since(date(IF_MODIFIED_SINCE)?)
        .with_range(text(headers, RANGE)?.and_then(parse_range)))
}

fn http_date(date: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(date).ok().map(|date| date.with_timezone(&Utc))
}

/// Parses a single byte range. RFC 9110 allows to ignore other `Range` headers, so they get the whole object.
fn parse_range(header: &str) -> Option<GetRange> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", last) => last.parse().ok().map(GetRange::Suffix),
        (first, "") => first.parse().ok().map(GetRange::Offset),
        (first, last) => {
            let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
            (first <= last).then(|| GetRange::Bounded(first..last.saturating_add(1)))
        }
    }
}

fn condition(dialect: Dialect, headers: &HeaderMap) -> Answered<WriteCondition> {
    match dialect {
        Dialect::Gcs => match text(headers, GENERATION_MATCH)?.map(str::parse) {
            None => Ok(WriteCondition::Always),
            Some(Ok(0)) => Ok(WriteCondition::Absent),
            Some(Ok(generation)) => Ok(WriteCondition::Generation(generation)),
            Some(Err(_)) => Err(Refusal::invalid("a generation must be a number")),
        },
        Dialect::S3 => match (text(headers, IF_NONE_MATCH)?, text(headers, IF_MATCH)?) {
            (Some("*"), _) => Ok(WriteCondition::Absent),
            (Some(_), _) => Err(Refusal::invalid("If-None-Match of a write must be *")),
            (None, Some(e_tag)) => Ok(WriteCondition::ETag(e_tag.to_owned())),
            (None, None) => Ok(WriteCondition::Always),
        },
    }
}

fn attributes(dialect: Dialect, headers: &HeaderMap) -> Answered<Attributes> {
    let named = headers.keys().filter_map(|name| Some((name, dialect.attribute_of(name)?)));
    named.map(|(name, attribute)| Ok((attribute, text(headers, name)?.unwrap_or_default().to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    #[test]
    fn a_key_is_all_that_follows_the_bucket() {
        for (uri, bucket, key) in [
            ("/b", "b", None),
            ("/b/", "b", None),
            ("/b/k", "b", Some("k")),
            ("/b//k//", "b", Some("/k//")),
            ("/b/a%2Fb%23c%3Fd%25e%20f", "b", Some("a/b#c?d%e f")),
            ("/b/a+b", "b", Some("a+b")),
            ("/b/%F0%9F%98%80.parquet?uploads", "b", Some("😀.parquet")),
            ("/my%2Dbucket/k", "my-bucket", Some("k")),
        ] {
            let target = Target::parse(&uri.parse().unwrap()).unwrap();
            assert_eq!((target.bucket.as_str(), target.key.as_deref()), (bucket, key), "{uri}");
        }
        assert!(Target::parse(&"/b/%FF".parse().unwrap()).is_err(), "not UTF-8");
    }

    #[test]
    fn parameters_are_form_encoded() {
        let target = Target::parse(&"/b?list-type=2&prefix=a+b%2Bc%26&delete".parse().unwrap()).unwrap();
        assert_eq!(target.parameter("prefix"), Some("a b+c&"));
        assert_eq!(target.parameter("delete"), Some(""));
        assert_eq!(target.parameter("max-keys"), None);
    }

    #[test]
    fn only_one_range_of_bytes_is_understood() {
        for (header, range) in [
            ("bytes=0-0", Some(GetRange::Bounded(0..1))),
            ("bytes=5-", Some(GetRange::Offset(5))),
            ("bytes=-5", Some(GetRange::Suffix(5))),
            ("bytes=5-4", None),
            ("bytes=0-1,3-4", None),
            ("lines=1-2", None),
            ("bytes=-", None),
        ] {
            assert_eq!(parse_range(header), range, "{header}");
        }
    }

    #[test]
    fn conditions_of_a_write_follow_the_dialect() {
        let parse = |dialect, name: &'static str, value: &'static str| {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), value.parse().unwrap())]);
            condition(dialect, &headers).ok()
        };
        for (dialect, name, value, expected) in [
            (Dialect::Gcs, "x-goog-if-generation-match", "0", Some(WriteCondition::Absent)),
            (Dialect::Gcs, "x-goog-if-generation-match", "7", Some(WriteCondition::Generation(7))),
            (Dialect::Gcs, "x-goog-if-generation-match", "x", None),
            (Dialect::Gcs, "if-none-match", "*", Some(WriteCondition::Always)),
            (Dialect::S3, "if-none-match", "*", Some(WriteCondition::Absent)),
            (Dialect::S3, "if-none-match", "\"a\"", None),
            (Dialect::S3, "if-match", "\"a\"", Some(WriteCondition::ETag("\"a\"".into()))),
            (Dialect::S3, "x-goog-if-generation-match", "0", Some(WriteCondition::Always)),
        ] {
            assert_eq!(parse(dialect, name, value), expected, "{dialect:?} {name}: {value}");
        }
    }

    #[test]
    fn a_copy_stays_within_the_bucket() {
        assert_eq!(copy_source("b", "b/a/c%3F"), Ok("a/c?".into()));
        assert_eq!(copy_source("b", "/b/a"), Ok("a".into()));
        assert_eq!(copy_source("b", "c/a").unwrap_err().code, "NoSuchBucket");
        assert_eq!(copy_source("b", "a").unwrap_err().code, "InvalidArgument");
        assert_eq!(copy_source("b", "b/a?versionId=3").unwrap_err().code, "NotImplemented");
    }
}
