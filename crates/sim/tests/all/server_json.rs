//! Tests of the JSON API of `SimServer`: objects, bytes, lists, errors, log entries.

#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::time::Duration;

use crate::common::{RawAnswer, raw, serve};
use headstart_sim::server::{Dialect, SimServer, SimServerConfig, SimServerHandle};
use headstart_sim::{
    Content, EPOCH, FIRST_GENERATION, FaultEvent, FaultPlan, LinkProfile, ReadAnswer, RequestCounts, RequestKind, When,
};
use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectStore, PutOptions};
use serde_json::{Value, json};
use tokio::time::Instant;

const OBJECT: &str = "/storage/v1/b/bucket/o/synthetic%2F100%2Fa";
const DOWNLOAD: &str = "/download/storage/v1/b/bucket/o/synthetic%2F100%2Fa";

fn server() -> SimServerHandle {
    SimServer::start(SimServerConfig::default()).unwrap()
}

async fn get(server: &SimServerHandle, uri: &str) -> RawAnswer {
    raw(server, &format!("GET {uri}"), &[], "").await
}

#[track_caller]
fn body(answer: &RawAnswer) -> Value {
    assert_eq!(answer.header("content-type"), Some("application/json; charset=UTF-8"));
    serde_json::from_slice(&answer.body).unwrap()
}

#[tokio::test]
async fn the_resource_of_an_object_has_its_metadata() {
    let server = server();
    let answer = get(&server, OBJECT).await;
    let e_tag = format!("{FIRST_GENERATION:x}");
    assert_eq!((answer.status, answer.header("etag")), (200, Some(e_tag.as_str())));
    let path = "storage/v1/b/bucket/o/synthetic%2F100%2Fa";
    let expected = json!({
        "kind": "storage#object",
        "id": format!("bucket/synthetic/100/a/{FIRST_GENERATION}"),
        "selfLink": format!("{}/{path}", server.url()),
        "mediaLink": format!("{}/download/{path}?generation={FIRST_GENERATION}&alt=media", server.url()),
        "name": "synthetic/100/a",
        "bucket": "bucket",
        "generation": FIRST_GENERATION.to_string(),
        "metageneration": "1",
        "contentType": "application/octet-stream",
        "storageClass": "STANDARD",
        "size": "100",
        "etag": e_tag,
        "timeCreated": "2024-01-01T00:00:00.000Z",
        "updated": "2024-01-01T00:00:00.000Z",
    });
    assert_eq!(body(&answer), expected);

    let head = raw(&server, &format!("HEAD {OBJECT}"), &[], "").await;
    assert_eq!((head.status, head.header("content-length")), (200, answer.header("content-length")));
    assert!(head.body.is_empty());

    let media = body(&answer)["mediaLink"].as_str().unwrap().trim_start_matches(server.url()).to_owned();
    assert_eq!(get(&server, &media).await.body.len(), 100);
}

#[tokio::test]
async fn the_resource_of_an_object_has_its_attributes() {
    let (server, store) = serve(SimServerConfig::default());
    let attributes = Attributes::from_iter([
        (Attribute::ContentType, "text/plain"),
        (Attribute::CacheControl, "no-store"),
        (Attribute::Metadata("owner".into()), "me"),
    ]);
    store.put_opts(&Path::from("a b"), "123456789".into(), PutOptions::from(attributes)).await.unwrap();
    let resource = body(&get(&server, "/storage/v1/b/bucket/o/a%20b").await);
    assert_eq!((&resource["contentType"], &resource["cacheControl"]), (&json!("text/plain"), &json!("no-store")));
    assert_eq!(resource["metadata"], json!({ "owner": "me" }));
    // The published check value of CRC-32C, in base64.
    assert_eq!(resource["crc32c"], json!("4waSgw=="));
}

#[tokio::test]
async fn media_is_answered_as_in_the_xml_api() {
    let server = server();
    let content = Content::new("synthetic/100/a", FIRST_GENERATION);
    for uri in [format!("{OBJECT}?alt=media"), format!("{DOWNLOAD}?alt=media")] {
        for (range, status, content_range, expected) in [
            (None, 200, None, 0..100),
            (Some("bytes=5-9"), 206, Some("bytes 5-9/100"), 5..10),
            (Some("bytes=90-"), 206, Some("bytes 90-99/100"), 90..100),
            (Some("bytes=-30"), 206, Some("bytes 70-99/100"), 70..100),
            (Some("bytes=50-1000"), 206, Some("bytes 50-99/100"), 50..100),
        ] {
            let headers: Vec<_> = range.map(|range| ("range", range)).into_iter().collect();
            let answer = raw(&server, &format!("GET {uri}"), &headers, "").await;
            assert_eq!((answer.status, answer.header("content-range")), (status, content_range), "{uri} {range:?}");
            assert_eq!(answer.body, content.bytes(expected), "{uri} {range:?}");
            let generation = FIRST_GENERATION.to_string();
            assert_eq!(answer.header("x-goog-generation"), Some(generation.as_str()));
            let head = raw(&server, &format!("HEAD {uri}"), &headers, "").await;
            assert_eq!((head.status, head.header("content-length")), (status, answer.header("content-length")));
            assert!(head.body.is_empty());
        }
        let beyond = raw(&server, &format!("GET {uri}"), &[("range", "bytes=100-")], "").await;
        assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */100")));
        assert_eq!(body(&beyond)["error"]["message"], "Request range not satisfiable");
    }
}

#[tokio::test]
async fn generations_and_conditions_are_honoured() {
    let server = server();
    let key = "synthetic/100/a";
    let (old, new) = (FIRST_GENERATION, server.catalog().overwrite_synthetic(key, Some(50), EPOCH).unwrap().number);
    for (query, status) in [
        (String::new(), 200),
        (format!("generation={new}"), 200),
        (format!("generation={old}"), 200),
        ("generation=7".to_owned(), 404),
        ("generation=x".to_owned(), 400),
        (format!("ifGenerationMatch={new}"), 200),
        (format!("ifGenerationMatch={old}"), 412),
        ("ifGenerationMatch=0".to_owned(), 412),
        ("ifGenerationMatch=x".to_owned(), 400),
        (format!("generation={old}&ifGenerationMatch={old}"), 200),
        (format!("ifGenerationNotMatch={old}"), 200),
        (format!("ifGenerationNotMatch={new}"), 304),
        ("ifMetagenerationMatch=1".to_owned(), 501),
    ] {
        for uri in [format!("{OBJECT}?{query}"), format!("{OBJECT}?alt=media&{query}")] {
            let answer = get(&server, &uri).await;
            assert_eq!(answer.status, status, "{uri}");
            assert_eq!(answer.body.is_empty(), status == 304, "{uri}");
            if status >= 400 {
                assert_eq!(body(&answer)["error"]["code"], status, "{uri}");
            }
        }
    }
    let first = get(&server, &format!("{DOWNLOAD}?alt=media&generation={old}")).await;
    assert_eq!(first.body, Content::new(key, old).bytes(0..100));
    let e_tag = format!("{new:x}");
    for (name, tag, status) in [
        ("if-match", e_tag.as_str(), 200),
        ("if-match", "other", 412),
        ("if-match", "*", 200),
        ("if-none-match", &e_tag, 304),
        ("if-none-match", &format!("\"{e_tag}\""), 304),
        ("if-none-match", "other", 200),
    ] {
        for uri in [OBJECT.to_owned(), format!("{OBJECT}?alt=media")] {
            let answer = raw(&server, &format!("GET {uri}"), &[(name, tag)], "").await;
            assert_eq!((answer.status, answer.header("etag")), (status, Some(e_tag.as_str())), "{uri} {name}: {tag}");
        }
    }
}

#[tokio::test]
async fn lists_come_in_pages_and_fold() {
    let server = server();
    for key in ["a/1", "a/2", "a/b/3", "a/c/4", "d"] {
        server.catalog().add_synthetic(key, 10);
    }
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().into_iter().flatten();
        items.map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    let list = body(&get(&server, "/storage/v1/b/bucket/o?prefix=a/&delimiter=%2F").await);
    assert_eq!((names(&list), &list["prefixes"]), (vec!["a/1".into(), "a/2".into()], &json!(["a/b/", "a/c/"])));
    assert_eq!((&list["kind"], &list["items"][0]["size"]), (&json!("storage#objects"), &json!("10")));
    assert_eq!(body(&get(&server, "/storage/v1/b/bucket/o?prefix=x").await), json!({ "kind": "storage#objects" }));

    let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = body(&get(&server, &format!("/storage/v1/b/bucket/o?maxResults=2&pageToken={token}")).await);
        seen.extend(names(&page));
        pages += 1;
        match page["nextPageToken"].as_str() {
            Some(next) => token = next.replace('/', "%2F"),
            None => break,
        }
    }
    assert_eq!((seen, pages), (["a/1", "a/2", "a/b/3", "a/c/4", "d"].map(String::from).to_vec(), 3));
    for query in ["startOffset=b", "versions=true", "matchGlob=*", "endOffset=c"] {
        assert_eq!(get(&server, &format!("/storage/v1/b/bucket/o?{query}")).await.status, 501, "{query}");
    }
    assert_eq!(get(&server, "/storage/v1/b/bucket/o?maxResults=x").await.status, 400);
}

#[tokio::test]
async fn a_bucket_has_a_resource() {
    let server = server();
    let bucket = body(&get(&server, "/storage/v1/b/bucket?fields=name").await);
    assert_eq!((&bucket["kind"], &bucket["name"]), (&json!("storage#bucket"), &json!("bucket")));
    assert_eq!(bucket["versioning"], json!({ "enabled": true }));
}

#[tokio::test]
async fn refusals_are_json() {
    let server = server();
    for (request, status, reason) in [
        ("GET /storage/v1/b/bucket/o/nothing", 404, "notFound"),
        ("GET /storage/v1/b/other/o/nothing", 404, "notFound"),
        ("GET /storage/v1/b/other", 404, "notFound"),
        ("GET /storage/v1/b/bucket/acl", 501, "notImplemented"),
        ("GET /download/storage/v1/b/bucket", 501, "notImplemented"),
        ("GET /storage/v1/b/bucket/o/%FF", 400, "invalid"),
        ("PATCH /storage/v1/b/bucket/o/synthetic%2F100%2Fa", 501, "notImplemented"),
        ("DELETE /storage/v1/b/bucket/o/synthetic%2F100%2Fa", 501, "notImplemented"),
        ("POST /upload/storage/v1/b/bucket/o?uploadType=media&name=a", 501, "notImplemented"),
    ] {
        let answer = raw(&server, request, &[], "").await;
        assert_eq!(answer.status, status, "{request}");
        let error = &body(&answer)["error"];
        assert_eq!((&error["code"], &error["errors"][0]["reason"]), (&json!(status), &json!(reason)), "{request}");
        assert_eq!(error["message"], error["errors"][0]["message"], "{request}");
    }
    assert_eq!(get(&server, OBJECT).await.status, 200, "nothing was deleted");
    // Other paths are the XML API's.
    for uri in ["/storage/v1/a", "/storage", "/download/storage/v2/b/bucket"] {
        assert!(
            String::from_utf8(get(&server, uri).await.body).unwrap().contains("<Code>NoSuchBucket</Code>"),
            "{uri}"
        );
    }
}

#[tokio::test]
async fn reserved_bucket_names_are_refused() {
    for name in ["storage", "download", "upload"] {
        let config = |dialect| SimServerConfig { bucket: name.to_owned(), dialect, ..SimServerConfig::default() };
        let refused = SimServer::start(config(Dialect::Gcs)).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
        let s3 = SimServer::start(config(Dialect::S3)).unwrap();
        assert_eq!(get(&s3, &format!("/{name}/synthetic/5/a")).await.status, 200, "S3 has no such API");
    }
}

#[tokio::test]
async fn metadata_counts_as_a_head_and_media_as_a_get() {
    let server = server();
    let key = "synthetic/100/a";
    for (request, kind, logged_as) in [
        (format!("GET {OBJECT}"), RequestKind::Head, key),
        (format!("HEAD {OBJECT}"), RequestKind::Head, key),
        (format!("HEAD {OBJECT}?alt=media"), RequestKind::Head, key),
        ("GET /storage/v1/b/bucket".to_owned(), RequestKind::Head, ""),
        ("GET /storage/v1/b/bucket/o?prefix=p".to_owned(), RequestKind::List, "p"),
        (format!("GET {OBJECT}?alt=media"), RequestKind::Get, key),
        (format!("GET {DOWNLOAD}?alt=media"), RequestKind::Get, key),
    ] {
        raw(&server, &request, &[("range", "bytes=10-19")], "").await;
        let record = server.log().snapshot().pop().unwrap();
        assert_eq!((record.kind, record.key.as_str()), (kind, logged_as), "{request}");
        let of_bytes = kind == RequestKind::Get;
        assert_eq!(
            (record.range, record.bytes_sent),
            (of_bytes.then_some(10..20), 10 * u64::from(of_bytes)),
            "{request}"
        );
    }
    let expected =
        RequestCounts { gets: 2, heads: 4, others: 1, bytes_sent: 20, peak_live: 1, ..RequestCounts::default() };
    assert_eq!(server.log().counts(), expected);
}

#[tokio::test]
async fn faults_apply_to_metadata_and_media() {
    for uri in [OBJECT.to_owned(), format!("{OBJECT}?alt=media")] {
        let script = vec![(When::Read(0), FaultEvent::Answer(ReadAnswer::Unavailable))];
        let faults = FaultPlan { script, ..FaultPlan::default() };
        let server = SimServer::start(SimServerConfig { faults, ..SimServerConfig::default() }).unwrap();
        let faulty = get(&server, &uri).await;
        assert_eq!((faulty.status, &body(&faulty)["error"]["errors"][0]["reason"]), (503, &json!("backendError")));
        assert_eq!(get(&server, &uri).await.status, 200);
    }
}

#[tokio::test]
async fn every_answer_takes_the_links_first_byte_time() {
    let config = SimServerConfig { profile: LinkProfile::gcs(), ..SimServerConfig::default() };
    let server = SimServer::start(config).unwrap();
    for uri in [OBJECT, "/storage/v1/b/bucket", "/storage/v1/b/bucket/o", "/storage/v1/b/bucket/o/nothing"] {
        let began = Instant::now();
        get(&server, uri).await;
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(30), "{uri}: {took:?}");
    }
}
