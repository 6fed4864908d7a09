//! The reading half of Google Cloud Storage's JSON API: buckets, pages of objects, objects and their bytes.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::SecondsFormat;
use headstart::object_store::path::Path;
use headstart::object_store::{Attribute, GetOptions, GetResult, ObjectMeta};
use hyper::header::{HOST, HeaderMap, IF_MATCH};
use hyper::{Response, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::Body;
use serde_json::{Map, Value, json};

use super::object::{ServedRead, get, query_parameter, quoted};
use super::refusal::{RefusedRequest, response};
use super::served::Served;
use crate::file_crc::reported_crc32c;
use crate::policy::served_name::JsonName;
use crate::policy::served_page::PageQuery;

/// The most objects on a page, as with the provider.
const MOST: usize = 1000;

/// Answers a request to read.
///
/// # Errors
/// There is no such resource, a condition does not hold, or the store fails.
pub(super) async fn answer(
    served: &Served,
    name: &JsonName,
    is_head: bool,
    headers: &HeaderMap,
    query: &[(String, String)],
) -> Result<Response<Body>, RefusedRequest> {
    let parameter = |name: &str| query_parameter(query, name);
    let shown = match name {
        JsonName::Buckets => json!({ "kind": "storage#buckets", "items": [bucket(served)] }),
        JsonName::Bucket(name) => {
            served.check_bucket(name)?;
            bucket(served)
        }
        JsonName::Objects(name) => {
            served.check_bucket(name)?;
            objects(served, endpoint(served, headers).as_deref(), &list_query(parameter)?).await?
        }
        JsonName::Object { bucket, key, is_media } => {
            let path = served.path(bucket, key)?;
            if *is_media || parameter("alt") == Some("media") {
                let mut headers = Cow::Borrowed(headers);
                if ["ifGenerationMatch", "ifGenerationNotMatch"].iter().any(|it| parameter(it).is_some()) {
                    // Another generation that appears meanwhile is noticed by its entity tag.
                    let answer = head(served, &path, key, parameter).await?;
                    if let Some(Ok(tag)) = answer.meta.e_tag.as_deref().map(|tag| quoted(tag).parse()) {
                        headers.to_mut().insert(IF_MATCH, tag);
                    }
                }
                let headers = &headers;
                let wanted = ServedRead { key, path, is_head, headers, query, version_parameter: "generation" };
                return wanted.answer(served).await;
            }
            let answer = head(served, &path, key, parameter).await?;
            described(served, endpoint(served, headers).as_deref(), &answer)
        }
        JsonName::Other => return Err(RefusedRequest::unsupported("this resource of the JSON API")),
    };
    let text = shown.to_string().into_bytes();
    Ok(response(StatusCode::OK, HeaderMap::new(), "application/json; charset=UTF-8", text))
}

/// The URL by which the client reaches this endpoint, if it has told.
fn endpoint(served: &Served, headers: &HeaderMap) -> Option<String> {
    let host = headers.get(HOST)?.to_str().ok()?;
    Some(format!("{}://{host}", served.scheme))
}

/// The headers of the generation that is asked for, if it is one that the conditions name.
async fn head<'a>(
    served: &Served,
    path: &Path,
    key: &str,
    parameter: impl Fn(&str) -> Option<&'a str>,
) -> Result<GetResult, RefusedRequest> {
    let version = parameter("generation").map(str::to_owned);
    let options = GetOptions { version, head: true, ..GetOptions::default() };
    let answer = get(served, path, options).await.map_err(|error| served.refusal(key, &error))?;
    check_generation(&answer.meta, parameter)?;
    Ok(answer)
}

fn list_query<'a>(parameter: impl Fn(&str) -> Option<&'a str>) -> Result<PageQuery, RefusedRequest> {
    for unsupported in ["matchGlob", "softDeleted"] {
        if parameter(unsupported).is_some() {
            return Err(RefusedRequest::unsupported(unsupported));
        }
    }
    if parameter("versions") == Some("true") {
        return Err(RefusedRequest::unsupported("lists of older versions"));
    }
    let text = |name| parameter(name).map(str::to_owned);
    let limit = parameter("maxResults").map(str::parse::<usize>).transpose();
    let limit = limit.map_err(|_| RefusedRequest::invalid("maxResults must be a number"))?;
    Ok(PageQuery {
        prefix: text("prefix").unwrap_or_default(),
        delimiter: text("delimiter"),
        after: text("pageToken"),
        from: text("startOffset"),
        before: text("endOffset"),
        limit: limit.filter(|limit| *limit > 0).unwrap_or(MOST).min(MOST),
    })
}

async fn objects(served: &Served, endpoint: Option<&str>, query: &PageQuery) -> Result<Value, RefusedRequest> {
    let page = served.list(query).await;
    let page = page.map_err(|error| served.refusal(&query.prefix, &error))?;
    let mut list = json!({ "kind": "storage#objects" });
    if !page.objects.is_empty() {
        list["items"] = page.objects.iter().map(|(_, meta)| object(served, endpoint, meta)).collect();
    }
    if !page.prefixes.is_empty() {
        list["prefixes"] = page.prefixes.into();
    }
    if let Some(next) = page.next {
        list["nextPageToken"] = next.into();
    }
    Ok(list)
}

fn bucket(served: &Served) -> Value {
    json!({ "kind": "storage#bucket", "id": served.bucket, "name": served.bucket, "storageClass": "STANDARD" })
}

/// What a listing tells about an object. Some clients read only by its links, which need an `endpoint`.
fn object(served: &Served, endpoint: Option<&str>, meta: &ObjectMeta) -> Value {
    let (key, changed) = (meta.location.as_ref(), meta.last_modified.to_rfc3339_opts(SecondsFormat::Millis, true));
    let mut object = json!({
        "kind": "storage#object",
        "id": format!("{}/{key}", served.bucket),
        "name": key,
        "bucket": served.bucket,
        "metageneration": "1",
        "contentType": "application/octet-stream",
        "storageClass": "STANDARD",
        "size": meta.size.to_string(),
        "timeCreated": changed,
        "updated": changed,
    });
    if let Some(endpoint) = endpoint {
        let path = format!("storage/v1/b/{}/o/{}", served.bucket, utf8_percent_encode(key, NON_ALPHANUMERIC));
        object["selfLink"] = format!("{endpoint}/{path}").into();
        object["mediaLink"] = format!("{endpoint}/download/{path}?alt=media").into();
    }
    if let Some(e_tag) = &meta.e_tag {
        object["etag"] = e_tag.trim_matches('"').into();
    }
    if let Some(generation) = meta.version.as_deref().filter(|_| served.has_generations()) {
        object["generation"] = generation.into();
    }
    object
}

/// All that is known about an object.
fn described(served: &Served, endpoint: Option<&str>, answer: &GetResult) -> Value {
    let mut object = object(served, endpoint, &answer.meta);
    let mut metadata = Map::new();
    for (attribute, value) in &answer.attributes {
        let field = match attribute {
            Attribute::ContentType => "contentType",
            Attribute::ContentEncoding => "contentEncoding",
            Attribute::ContentLanguage => "contentLanguage",
            Attribute::ContentDisposition => "contentDisposition",
            Attribute::CacheControl => "cacheControl",
            Attribute::StorageClass => "storageClass",
            Attribute::Metadata(name) => {
                metadata.insert(name.to_string(), value.as_ref().into());
                continue;
            }
            _ => continue,
        };
        object[field] = value.as_ref().into();
    }
    if !metadata.is_empty() {
        object["metadata"] = metadata.into();
    }
    if let Some(crc32c) = reported_crc32c(answer) {
        object["crc32c"] = BASE64_STANDARD.encode(crc32c.to_be_bytes()).into();
    }
    object
}

fn check_generation<'a>(meta: &ObjectMeta, parameter: impl Fn(&str) -> Option<&'a str>) -> Result<(), RefusedRequest> {
    let is = |wanted: Option<&str>| wanted.map(|wanted| meta.version.as_deref() == Some(wanted));
    if is(parameter("ifGenerationMatch")) == Some(false) {
        return Err(RefusedRequest::precondition());
    }
    match is(parameter("ifGenerationNotMatch")) {
        Some(true) => Err(RefusedRequest::not_modified(meta.e_tag.as_deref())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_asked_for_by_parameters() {
        let ask = |pairs: &'static [(&str, &str)]| {
            list_query(move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value))
        };
        let query = ask(&[("prefix", "a/"), ("pageToken", "a/b"), ("maxResults", "7"), ("endOffset", "a/z")]);
        let query = query.expect("a query");
        assert_eq!((query.prefix.as_str(), query.after.as_deref(), query.limit), ("a/", Some("a/b"), 7));
        assert_eq!(ask(&[("maxResults", "99999")]).expect("a query").limit, 1000);
        assert_eq!(ask(&[("maxResults", "x")]).expect_err("no number").status, StatusCode::BAD_REQUEST);
        assert_eq!(ask(&[("versions", "true")]).expect_err("no versions").status, StatusCode::NOT_IMPLEMENTED);
    }
}
