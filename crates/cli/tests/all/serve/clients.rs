//! What clients of S3, of Google Cloud Storage and of plain HTTP read through it.

use std::sync::Arc;

use crate::common::{Bucket, Endpoint, MIB, Place, http};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use headstart_sim::FaultPlan;
use headstart_sim::server::{Dialect, SimServerConfig};
use object_store::aws::AmazonS3Builder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{ClientOptions, Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use reqwest::header::{self, HeaderMap};
use reqwest::{Response, StatusCode};

/// Clients that were not written here, one of each protocol.
fn clients(url: &str) -> [(&'static str, Arc<dyn ObjectStore>); 2] {
    let http = || ClientOptions::new().with_allow_http(true);
    let s3 = AmazonS3Builder::new()
        .with_endpoint(url)
        .with_bucket_name("bucket")
        .with_region("eu-west-1")
        .with_access_key_id("anybody")
        .with_secret_access_key("anything")
        .with_client_options(http());
    let gcs = GoogleCloudStorageBuilder::new()
        .with_base_url(url)
        .with_bucket_name("bucket")
        .with_skip_signature(true)
        .with_client_options(http());
    [("s3", Arc::new(s3.build().unwrap())), ("gcs", Arc::new(gcs.build().unwrap()))]
}

async fn ask(url: &str, headers: &[(&str, &str)]) -> Response {
    let client = http();
    headers.iter().fold(client.get(url), |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

fn keys<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Vec<String> {
    paths.into_iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn clients_of_s3_and_gcs_read_what_either_store_has() {
    let place = Place::new();
    for bucket in Bucket::both() {
        let large = bucket.put_large("dir/large", 20 * MIB + 17);
        for key in ["a b#?+&", "dir/sub/x", "dir/sub/ü", "dir.txt", "top"] {
            bucket.put(key, key);
        }
        bucket.put("dir/empty", "");
        let endpoint = Endpoint::start(&place, &bucket, &bucket.url(""), &[]);
        for (name, client) in clients(&endpoint.url) {
            let context = format!("{name} over {}", bucket.url(""));
            let all: Vec<_> = client.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap();
            let expected = ["a b#?+&", "dir.txt", "dir/empty", "dir/large", "dir/sub/x", "dir/sub/ü", "top"];
            assert_eq!(keys(&all), expected, "{context}");
            let dir = client.list_with_delimiter(Some(&"dir".into())).await.unwrap();
            assert_eq!(keys(dir.objects.iter().map(|meta| &meta.location)), ["dir/empty", "dir/large"], "{context}");
            assert_eq!(keys(&dir.common_prefixes), ["dir/sub"], "{context}");
            let rest = client.list_with_offset(None, &"dir/large".into()).map_ok(|meta| meta.location);
            assert_eq!(keys(&rest.try_collect::<Vec<_>>().await.unwrap()), expected[4..], "{context}");

            let path = Path::from("dir/large");
            let meta = client.head(&path).await.unwrap();
            assert_eq!(meta.size, large.len() as u64);
            assert!(client.get(&path).await.unwrap().bytes().await.unwrap() == large, "{context}");
            for range in [0..1, 5 * MIB..15 * MIB, 20 * MIB..20 * MIB + 17] {
                let bytes = client.get_range(&path, range.start as u64..range.end as u64).await.unwrap();
                assert!(bytes == large[range.clone()], "{context} {range:?}");
            }
            let end = GetOptions::new().with_range(Some(GetRange::Suffix(17)));
            let answer = client.get_opts(&path, end).await.unwrap();
            assert_eq!(answer.range, 20 * MIB as u64..20 * MIB as u64 + 17);
            assert!(answer.bytes().await.unwrap() == large[20 * MIB..]);
            assert_eq!(client.get(&"dir/empty".into()).await.unwrap().bytes().await.unwrap(), Bytes::new());
            for key in ["a b#?+&", "dir/sub/ü"] {
                let path = Path::parse(key).unwrap();
                assert_eq!(client.get(&path).await.unwrap().bytes().await.unwrap(), key.as_bytes(), "{context}");
            }

            let tag = meta.e_tag.clone().unwrap();
            let with = |options: GetOptions| client.get_opts(&path, options.with_range(Some(GetRange::Bounded(7..9))));
            let answer = with(GetOptions::new().with_if_match(Some(tag.clone()))).await.unwrap();
            assert_eq!(answer.bytes().await.unwrap(), large[7..9], "{context}");
            let changed = with(GetOptions::new().with_if_match(Some("\"other\"".to_owned()))).await;
            assert!(matches!(changed, Err(Error::Precondition { .. })), "{context}: {changed:?}");
            let same = with(GetOptions::new().with_if_none_match(Some(tag))).await;
            assert!(matches!(same, Err(Error::NotModified { .. })), "{context}: {same:?}");
            let none = client.get(&"dir".into()).await;
            assert!(matches!(none, Err(Error::NotFound { .. })), "{context}: {none:?}");
        }
    }
}

#[tokio::test]
async fn plain_http_gets_ranges_and_conditions() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::Gcs));
    let large = bucket.put_large("dir/large", 3 * MIB);
    bucket.put("empty", "");
    let endpoint = Endpoint::start(&place, &bucket, &bucket.url(""), &[]);
    let url = format!("{}/bucket/dir/large", endpoint.url);
    let whole = ask(&url, &[]).await;
    let headers = whole.headers().clone();
    let (tag, changed) = (text(&headers, "etag"), text(&headers, "last-modified"));
    assert_eq!(
        (whole.status(), text(&headers, "content-length"), tag.starts_with('"')),
        (StatusCode::OK, "3145728", true)
    );
    assert!(!text(&headers, "x-goog-generation").is_empty());
    assert!(whole.bytes().await.unwrap() == large);

    let past = "Sun, 01 Jan 2023 00:00:00 GMT";
    for (asked, status, range) in [
        (&[("range", "bytes=0-9")][..], 206, 0..10),
        (&[("range", "bytes=3145720-")], 206, 3145720..3145728),
        (&[("range", "bytes=-8")], 206, 3145720..3145728),
        (&[("range", "bytes=3145720-9223372036854775807")], 206, 3145720..3145728),
        // Ranges that cannot be read, and several at once, are ignored.
        (&[("range", "bytes=9-3")], 200, 0..3145728),
        (&[("range", "bytes=0-1,4-5")], 200, 0..3145728),
        (&[("range", "lines=0-1")], 200, 0..3145728),
        (&[("range", "bytes=0-9"), ("if-range", tag)], 206, 0..10),
        (&[("range", "bytes=0-9"), ("if-range", "\"other\"")], 200, 0..3145728),
        (&[("range", "bytes=0-9"), ("if-range", changed)], 206, 0..10),
        (&[("range", "bytes=0-9"), ("if-range", past)], 200, 0..3145728),
        (&[("range", "bytes=0-9"), ("if-match", tag)], 206, 0..10),
        (&[("if-match", "*")], 200, 0..3145728),
        (&[("if-none-match", "\"other\"")], 200, 0..3145728),
        (&[("if-modified-since", past)], 200, 0..3145728),
        (&[("if-unmodified-since", changed)], 200, 0..3145728),
        (&[("if-none-match", tag)], 304, 0..0),
        (&[("if-none-match", tag), ("range", "bytes=0-9")], 304, 0..0),
        (&[("if-modified-since", changed)], 304, 0..0),
    ] {
        let answer = ask(&url, asked).await;
        assert_eq!(answer.status(), status, "{asked:?}");
        if status == 206 {
            let shown = format!("bytes {}-{}/3145728", range.start, range.end - 1);
            assert_eq!(text(answer.headers(), "content-range"), shown, "{asked:?}");
        }
        assert!(answer.bytes().await.unwrap() == large[range], "{asked:?}");
    }
    for (path, asked, status, code) in [
        ("dir/large", &[("range", "bytes=3145728-")][..], 416, "InvalidRange"),
        ("dir/large", &[("range", "bytes=-0")], 416, "InvalidRange"),
        ("empty", &[("range", "bytes=0-0")], 416, "InvalidRange"),
        ("dir/large", &[("if-match", "\"other\"")], 412, "PreconditionFailed"),
        ("dir/large", &[("if-match", "\"other\""), ("range", "bytes=9999999-")], 412, "PreconditionFailed"),
        ("dir/large", &[("if-unmodified-since", past)], 412, "PreconditionFailed"),
        ("none", &[], 404, "NoSuchKey"),
        ("dir", &[], 404, "NoSuchKey"),
        ("dir/large/", &[], 404, "NoSuchKey"),
        ("dir//large", &[], 404, "NoSuchKey"),
        ("dir/large?partNumber=2", &[], 416, "InvalidRange"),
        ("dir/large?acl", &[], 501, "NotImplemented"),
        ("?versions", &[], 501, "NotImplemented"),
    ] {
        let answer = ask(&format!("{}/bucket/{path}", endpoint.url), asked).await;
        assert_eq!(answer.status(), status, "{path} {asked:?}");
        if status == 416 && path == "dir/large" {
            assert_eq!(text(answer.headers(), "content-range"), "bytes */3145728");
        }
        assert!(answer.text().await.unwrap().contains(&format!("<Code>{code}</Code>")), "{path} {asked:?}");
    }
    let part = ask(&format!("{url}?partNumber=1&response-content-type=text/plain"), &[]).await;
    assert_eq!((part.status().as_u16(), text(part.headers(), "content-type")), (206, "text/plain"));
    assert!(part.bytes().await.unwrap() == large);
    let client = http();
    let head = client.head(&url).header("range", "bytes=0-9").send().await.unwrap();
    assert_eq!((head.status().as_u16(), text(head.headers(), "content-length")), (200, "3145728"));
    assert_eq!(client.head(format!("{url}x")).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn the_json_api_lists_describes_and_sends() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::Gcs));
    for key in ["a/1", "a/2", "a/sub/3", "b", "c d/ü"] {
        bucket.put(key, key);
    }
    let endpoint = Endpoint::start(&place, &bucket, &bucket.url(""), &[]);
    let get = async |path: &str| {
        let answer = ask(&format!("{}{path}", endpoint.url), &[]).await;
        (answer.status().as_u16(), serde_json::from_str::<serde_json::Value>(&answer.text().await.unwrap()).unwrap())
    };
    let names = |page: &serde_json::Value| {
        let items = page["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(get("/storage/v1/b/bucket").await.1["name"], "bucket");
    assert_eq!(names(&get("/storage/v1/b").await.1), ["bucket"]);
    let (_, page) = get("/storage/v1/b/bucket/o?prefix=a/&delimiter=/").await;
    assert_eq!((names(&page), &page["prefixes"]), (vec!["a/1".into(), "a/2".into()], &serde_json::json!(["a/sub/"])));
    for delimiter in ["", "&delimiter=/"] {
        let (mut all, mut token) = (Vec::new(), String::new());
        loop {
            let (_, page) = get(&format!("/storage/v1/b/bucket/o?maxResults=2{delimiter}&pageToken={token}")).await;
            all.extend(names(&page));
            all.extend(page["prefixes"].as_array().into_iter().flatten().map(|it| it.as_str().unwrap().to_owned()));
            match page["nextPageToken"].as_str() {
                Some(next) => token = next.replace('/', "%2F").replace(' ', "%20"),
                None => break,
            }
        }
        all.sort();
        let expected =
            if delimiter.is_empty() { &["a/1", "a/2", "a/sub/3", "b", "c d/ü"][..] } else { &["a/", "b", "c d/"] };
        assert_eq!(all, expected);
    }
    let (_, object) = get("/storage/v1/b/bucket/o/c%20d%2F%C3%BC").await;
    assert_eq!((&object["name"], &object["size"]), (&"c d/ü".into(), &"6".into()));
    let link = object["mediaLink"].as_str().unwrap();
    assert!(link.starts_with(&endpoint.url) && object["selfLink"].as_str().unwrap().starts_with(&endpoint.url));
    assert_eq!(ask(link, &[]).await.text().await.unwrap(), "c d/ü");
    // Answers of the cache carry no checksum.
    let uncached = Endpoint::start(&place, &bucket, &bucket.url(""), &["-o", "mode=fetch"]);
    let answer = ask(&format!("{}/storage/v1/b/bucket/o/b", uncached.url), &[]).await;
    let described: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let crc32c = BASE64_STANDARD.encode(crc32c::crc32c(b"b").to_be_bytes());
    assert_eq!((&described["name"], &described["crc32c"]), (&"b".into(), &crc32c.into()));
    let generation = object["generation"].as_str().unwrap();
    for path in ["/storage/v1/b/bucket/o/b?alt=media", "/download/storage/v1/b/bucket/o/b?alt=media"] {
        let answer = ask(&format!("{}{path}", endpoint.url), &[("range", "bytes=0-0")]).await;
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (206, "b"));
    }
    let media = format!("{}/storage/v1/b/bucket/o/c%20d%2F%C3%BC?alt=media", endpoint.url);
    for (condition, status) in [("ifGenerationMatch", 200), ("ifGenerationNotMatch", 304), ("generation", 200)] {
        assert_eq!(ask(&format!("{media}&{condition}={generation}"), &[]).await.status(), status, "{condition}");
    }
    assert_eq!(ask(&format!("{media}&ifGenerationMatch=1"), &[]).await.status(), 412);
    for path in ["/storage/v1/b/other/o", "/storage/v1/b/bucket/o/none", "/storage/v1/b/bucket/o/none?alt=media"] {
        let (status, error) = get(path).await;
        assert_eq!((status, &error["error"]["errors"][0]["reason"]), (404, &"notFound".into()), "{path}");
    }
    assert_eq!(get("/storage/v1/b/bucket/iam").await.0, 501);
}

#[tokio::test]
async fn a_second_pass_asks_the_store_for_nothing() {
    let place = Place::new();
    for bucket in Bucket::both() {
        let large = bucket.put_large("large", 24 * MIB);
        let endpoint = Endpoint::start(&place, &bucket, &bucket.url(""), &[]);
        for pass in 0..2 {
            bucket.server.log().clear();
            let [(_, s3), (_, gcs)] = clients(&endpoint.url);
            assert!(s3.get(&"large".into()).await.unwrap().bytes().await.unwrap() == large);
            assert!(gcs.get_range(&"large".into(), 5..9 * MIB as u64).await.unwrap() == large[5..9 * MIB]);
            assert_eq!(gcs.head(&"large".into()).await.unwrap().size, large.len() as u64);
            let counts = bucket.server.log().counts();
            if pass == 1 {
                assert_eq!((counts.gets, counts.heads, counts.bytes_sent), (0, 0, 0), "{}", bucket.url(""));
            }
        }
    }
}

#[tokio::test]
async fn successive_ranged_gets_are_read_ahead() {
    let place = Place::new();
    for is_pinned in [false, true] {
        let bucket =
            Bucket::with(SimServerConfig { profile: headstart_sim::LinkProfile::near(), ..Default::default() });
        let large = bucket.put_large("large", 32 * MIB);
        let endpoint = Endpoint::start(&place, &bucket, &bucket.url(""), &["-o", "mode=adaptive"]);
        let url = format!("{}/bucket/large", endpoint.url);
        let tag = text(ask(&url, &[("range", "bytes=0-0")]).await.headers(), "etag").to_owned();
        bucket.server.log().clear();
        let client = http();
        for at in (0..large.len()).step_by(MIB / 4) {
            let mut request = client.get(&url).header("range", format!("bytes={at}-{}", at + MIB / 4 - 1));
            if is_pinned {
                request = request.header(header::IF_MATCH, &tag);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 206);
            assert!(answer.bytes().await.unwrap() == large[at..at + MIB / 4], "{at}");
        }
        let counts = bucket.server.log().counts();
        println!("128 reads of 256 KiB, pinned {is_pinned}: {counts:?}");
        assert!(counts.gets < 96 && counts.peak_live > 1, "one at a time: {counts:?}");
        assert!(counts.bytes_sent < 36 * MIB as u64, "{counts:?}");
    }
}

#[tokio::test]
async fn many_clients_read_through_a_store_that_fails() {
    const SEED: u64 = 20;
    println!("seed {SEED}");
    let faults = FaultPlan { seed: SEED, unavailable: 0.05, cut: 0.05, wrong_length: 0.02, ..FaultPlan::default() };
    let (place, config) = (Place::new(), SimServerConfig { faults, ..Default::default() });
    let bucket = Bucket::with(config);
    let objects: Vec<_> = (0..4).map(|n| Bytes::from(bucket.put_large(&format!("o{n}"), 4 * MIB + n))).collect();
    let endpoint = Endpoint::start(&place, &bucket, &bucket.url(""), &["-o", "mode=adaptive"]);
    let all = clients(&endpoint.url).map(|(_, client)| client);
    let reads = (0..100_usize).map(|n| {
        let (client, object) = (Arc::clone(&all[n % 2]), objects[n % 4].clone());
        async move {
            let path = Path::from(format!("o{}", n % 4));
            if n % 3 == 0 {
                assert!(client.get(&path).await.unwrap().bytes().await.unwrap() == object, "read {n}");
                return;
            }
            let step = 100_000 + 1000 * n;
            for at in (0..object.len()).step_by(step) {
                let end = object.len().min(at + step);
                let bytes = client.get_range(&path, at as u64..end as u64).await.unwrap();
                assert!(bytes == object[at..end], "read {n} at {at}");
            }
        }
    });
    futures::stream::iter(reads).for_each_concurrent(100, |read| read).await;
    assert!(bucket.server.log().counts().failed > 0, "no fault was met");
}

#[tokio::test]
async fn only_the_bucket_and_the_prefix_are_served() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::S3));
    for key in ["data", "data/a", "data/sub/b", "database/c", "other/d"] {
        bucket.put(key, key);
    }
    let endpoint = Endpoint::start(&place, &bucket, &bucket.url("data"), &[]);
    for (path, status) in [
        ("bucket/data/a", 200),
        ("bucket/data", 200),
        ("bucket/data/sub/b", 200),
        ("bucket/database/c", 404),
        ("bucket/other/d", 404),
        ("bucket/data/%2e%2e/other/d", 404),
        ("other/data/a", 404),
        ("other?list-type=2", 404),
        ("storage/v1/b/other/o", 404),
        ("storage/v1/b/bucket/o/other%2Fd", 404),
    ] {
        assert_eq!(ask(&format!("{}/{path}", endpoint.url), &[]).await.status(), status, "{path}");
    }
    for (_, client) in clients(&endpoint.url) {
        let all: Vec<_> = client.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap();
        assert_eq!(keys(&all), ["data", "data/a", "data/sub/b"]);
        let top = client.list_with_delimiter(None).await.unwrap();
        assert_eq!((top.objects.len(), keys(&top.common_prefixes)), (1, vec!["data".to_owned()]));
        let below = client.list_with_delimiter(Some(&"data".into())).await.unwrap();
        assert_eq!(keys(below.objects.iter().map(|meta| &meta.location)), ["data/a"]);
        assert!(client.list_with_delimiter(Some(&"other".into())).await.unwrap().objects.is_empty());
    }
    // A page of a web site whose name leads to this machine.
    let answer = ask(&format!("{}/bucket/data/a", endpoint.url), &[("host", "evil.example")]).await;
    assert_eq!(answer.status(), 403);
    let answer = ask(&format!("{}/data/a", endpoint.url), &[("host", "bucket.localhost")]).await;
    assert_eq!(answer.text().await.unwrap(), "data/a");
}

#[test]
fn processes_that_read_one_data_set_fetch_it_once() {
    let place = Place::new();
    for bucket in Bucket::both() {
        let objects =
            [("a", 5 * MIB + 7), ("b/c", 3 * MIB), ("b/d", 100)].map(|(key, size)| (key, bucket.put_large(key, size)));
        let endpoint = Endpoint::start(&place, &bucket, &bucket.url(""), &[]);
        let urls = objects.each_ref().map(|(key, _)| format!("{}/bucket/{key}", endpoint.url));
        let all = objects.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect::<Vec<_>>();
        bucket.server.log().clear();
        std::thread::scope(|scope| {
            let read = || place.run(&["cat", &urls[0], &urls[1], &urls[2]]).bytes();
            let processes: Vec<_> = (0..8).map(|_| scope.spawn(read)).collect();
            for process in processes {
                assert!(process.join().unwrap() == all, "{}", bucket.url(""));
            }
        });
        assert_eq!(bucket.server.log().counts().bytes_sent, all.len() as u64, "{}", bucket.url(""));
    }
}

/// The path of a listed key has no slash at its end, so nobody could read what is listed.
#[tokio::test]
async fn markers_of_directories_are_not_listed() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::S3));
    for (key, text) in [("t/a/", ""), ("t/a/x", "1"), ("t/e/", ""), ("t/empty", "")] {
        bucket.put(key, text);
    }
    let endpoint = Endpoint::start(&place, &bucket, &bucket.url(""), &[]);
    for (_, client) in clients(&endpoint.url) {
        let all: Vec<_> = client.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap();
        assert_eq!(keys(&all), ["t/a/x", "t/empty"]);
    }
}
