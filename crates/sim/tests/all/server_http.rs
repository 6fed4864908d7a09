//! Tests of `SimServer` over HTTP: ranges, conditions, versions, keys, control.

use crate::common::{raw, serve};
use futures::TryStreamExt;
use headstart_sim::server::{Dialect, SimServerConfig};
use headstart_sim::{Content, EPOCH, FIRST_GENERATION, RequestCounts, RequestKind, SeededRng};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStoreExt};

const DIALECTS: [Dialect; 2] = [Dialect::Gcs, Dialect::S3];

fn config(dialect: Dialect) -> SimServerConfig {
    SimServerConfig { dialect, ..SimServerConfig::default() }
}

#[tokio::test]
async fn any_range_is_exact_to_the_byte() {
    const SIZE: u64 = 3_000_001;
    let key = format!("synthetic/{SIZE}/ranges");
    let content = Content::new(&key, FIRST_GENERATION);
    for dialect in DIALECTS {
        let (_server, store) = serve(config(dialect));
        let seed = 7;
        let mut rng = SeededRng::new(seed);
        for _ in 0..60 {
            let start = rng.below(SIZE);
            let end = start + 1 + rng.below(2 * (SIZE - start));
            let (range, expected) = match rng.below(4) {
                0 => (Some(GetRange::Offset(start)), start..SIZE),
                1 => (Some(GetRange::Suffix(end)), SIZE.saturating_sub(end)..SIZE),
                2 => (None, 0..SIZE),
                _ => (Some(GetRange::Bounded(start..end)), start..end.min(SIZE)),
            };
            let result = store.get_opts(&Path::from(key.as_str()), GetOptions::new().with_range(range)).await.unwrap();
            assert_eq!((result.range.clone(), result.meta.size), (expected.clone(), SIZE), "seed {seed}");
            let bytes = result.bytes().await.unwrap();
            assert_eq!(bytes.len() as u64, expected.end - expected.start, "seed {seed}");
            content.check(expected.start, &bytes).unwrap();
        }
    }
}

#[tokio::test]
async fn statuses_and_headers_are_those_of_real_stores() {
    for (dialect, version_header) in [(Dialect::Gcs, "x-goog-generation"), (Dialect::S3, "x-amz-version-id")] {
        let (server, _) = serve(config(dialect));
        let get = async |headers: &[(&str, &str)]| raw(&server, "GET /bucket/synthetic/100/a", headers, "").await;
        let generation = FIRST_GENERATION.to_string();
        let whole = get(&[]).await;
        let e_tag = whole.header("etag").unwrap();
        let last_modified = whole.header("last-modified").unwrap();
        let far_past = "Mon, 01 Jan 1990 00:00:00 GMT";
        for (headers, status, content_range, length) in [
            (&[][..], 200, None, 100),
            (&[("range", "bytes=0-0")], 206, Some("bytes 0-0/100"), 1),
            (&[("range", "bytes=90-")], 206, Some("bytes 90-99/100"), 10),
            (&[("range", "bytes=-30")], 206, Some("bytes 70-99/100"), 30),
            (&[("range", "bytes=-300")], 206, Some("bytes 0-99/100"), 100),
            (&[("range", "bytes=50-1000")], 206, Some("bytes 50-99/100"), 50),
            (&[("range", "bytes=0-1,5-6")], 200, None, 100),
            (&[("range", "pages=1-2")], 200, None, 100),
            (&[("if-match", e_tag)], 200, None, 100),
            (&[("if-match", "*")], 200, None, 100),
            (&[("if-none-match", "\"other\"")], 200, None, 100),
            (&[("if-modified-since", far_past)], 200, None, 100),
            (&[("if-unmodified-since", last_modified)], 200, None, 100),
        ] {
            let answer = get(headers).await;
            assert_eq!(answer.status, status, "{headers:?}");
            assert_eq!(answer.header("content-range"), content_range, "{headers:?}");
            assert_eq!(answer.header("content-length"), Some(length.to_string().as_str()), "{headers:?}");
            assert_eq!(answer.body.len(), length, "{headers:?}");
            assert_eq!(answer.header("etag"), Some(e_tag), "{headers:?}");
            assert_eq!(answer.header("last-modified"), Some(last_modified), "{headers:?}");
            assert_eq!(answer.header(version_header), Some(generation.as_str()), "{headers:?}");
        }
        for (headers, status) in [
            (&[("if-match", "\"other\"")], 412),
            (&[("if-unmodified-since", far_past)], 412),
            (&[("if-none-match", e_tag)], 304),
            (&[("if-modified-since", last_modified)], 304),
        ] {
            let answer = get(headers).await;
            assert_eq!((answer.status, answer.header("etag")), (status, Some(e_tag)), "{headers:?}");
            assert_eq!(answer.body.is_empty(), status == 304, "{headers:?}");
        }
        let beyond = get(&[("range", "bytes=100-")]).await;
        assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */100")));
        let empty = raw(&server, "GET /bucket/synthetic/0/a", &[("range", "bytes=-5")], "").await;
        assert_eq!(empty.status, 416, "an empty object has no range");

        let head = raw(&server, "HEAD /bucket/synthetic/100/a", &[], "").await;
        assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("100"), 0));
        let missing = raw(&server, "GET /bucket/nothing", &[], "").await;
        assert_eq!(missing.status, 404);
        assert!(String::from_utf8_lossy(&missing.body).contains("<Code>NoSuchKey</Code>"));
        let elsewhere = raw(&server, "GET /other/synthetic/100/a", &[], "").await;
        assert!(String::from_utf8_lossy(&elsewhere.body).contains("<Code>NoSuchBucket</Code>"));
        assert_eq!(raw(&server, "PATCH /bucket/synthetic/100/a", &[], "").await.status, 405);
    }
}

#[tokio::test]
async fn an_overwritten_version_is_served_where_versions_are_kept() {
    for dialect in DIALECTS {
        for versioned in [true, false] {
            let (server, store) = serve(SimServerConfig { versioned, ..config(dialect) });
            let key = "synthetic/1000/v";
            let path = Path::from(key);
            let first = store.get(&path).await.unwrap();
            let (e_tag, version) = (first.meta.e_tag.clone(), first.meta.version.clone());
            assert_eq!(version.is_some(), dialect == Dialect::Gcs || versioned);
            let second = server.catalog().overwrite_synthetic(key, Some(2000), EPOCH).unwrap();

            let now = store.get(&path).await.unwrap();
            assert_eq!((now.meta.size, now.meta.e_tag.as_ref()), (2000, Some(&second.e_tag)));
            let bytes = now.bytes().await.unwrap();
            Content::new(key, second.number).check(0, &bytes).unwrap();

            let pinned = store.get_opts(&path, GetOptions::new().with_if_match(e_tag)).await;
            assert!(matches!(pinned, Err(Error::Precondition { .. })), "{pinned:?}");

            let version = version.unwrap_or_else(|| FIRST_GENERATION.to_string());
            let old = store.get_opts(&path, GetOptions::new().with_version(Some(version))).await;
            if versioned {
                let bytes = old.unwrap().bytes().await.unwrap();
                assert_eq!(bytes.len(), 1000);
                Content::new(key, FIRST_GENERATION).check(0, &bytes).unwrap();
            } else {
                assert!(matches!(old, Err(Error::NotFound { .. })), "{old:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_copy_can_be_made_to_not_overwrite() {
    for (dialect, source, condition) in [
        (Dialect::Gcs, "x-goog-copy-source", ("x-goog-if-generation-match", "0")),
        (Dialect::S3, "x-amz-copy-source", ("if-none-match", "*")),
    ] {
        let (server, _) = serve(config(dialect));
        let copy = async |from| raw(&server, "PUT /bucket/b", &[(source, from), condition], "").await.status;
        assert_eq!(copy("bucket/nothing").await, 404);
        assert_eq!(copy("bucket/synthetic/10/a").await, 200);
        assert_eq!(copy("/bucket/synthetic/20/a").await, 412);
        assert_eq!(copy("other/synthetic/20/a").await, 404);
        let copied = server.catalog().get("b", None).unwrap();
        assert_eq!(copied.bytes(0..10), Content::new("synthetic/10/a", FIRST_GENERATION).bytes(0..10));
    }
}

#[tokio::test]
async fn keys_may_hold_anything() {
    for dialect in DIALECTS {
        let (server, _) = serve(config(dialect));
        let keys = ["a#b?c%d e", "//", "a//b/", "%41", "😀/ä", "a+b&c=d", "<&>\"'"];
        for key in keys {
            let encoded: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let put = raw(&server, &format!("PUT /bucket/{encoded}"), &[], key).await;
            assert_eq!(put.status, 200, "{key}");
            let got = raw(&server, &format!("GET /bucket/{encoded}"), &[], "").await;
            assert_eq!((got.status, got.body.as_slice()), (200, key.as_bytes()), "{key}");
            assert_eq!(server.catalog().get(key, None).unwrap().size, key.len() as u64);
        }
        assert_eq!(raw(&server, "GET /bucket//", &[], "").await.status, 404, "'/' is another key than '//'");
        assert_eq!(raw(&server, "GET /bucket///", &[], "").await.body, b"//");
        let list = raw(&server, "GET /bucket?list-type=2&max-keys=2", &[], "").await;
        let list = String::from_utf8(list.body).unwrap();
        assert!(list.contains("<IsTruncated>true</IsTruncated>"), "{list}");
        let all = raw(&server, "GET /bucket?list-type=2", &[], "").await;
        let all = String::from_utf8(all.body).unwrap();
        assert_eq!(all.matches("<Contents>").count(), keys.len(), "{all}");
    }
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    for dialect in DIALECTS {
        let (server, store) = serve(config(dialect));
        for i in 0..2500 {
            server.catalog().add_synthetic(&format!("dir/{i:05}"), 1);
        }
        let listed: Vec<_> = store.list(Some(&Path::from("dir"))).try_collect().await.unwrap();
        assert_eq!(listed.len(), 2500);
        assert!(listed.windows(2).all(|two| two[0].location < two[1].location), "no page overlaps another");
        assert_eq!(server.log().counts().others, 3);
    }
}

#[tokio::test]
async fn another_process_reads_the_log_and_changes_objects() {
    let (server, store) = serve(config(Dialect::Gcs));
    let path = Path::from("synthetic/1000/a b");
    store.get_range(&path, 10..20).await.unwrap();
    store.head(&path).await.unwrap();
    let counts = async || -> RequestCounts {
        let log = raw(&server, "GET /_sim/log", &[], "").await;
        assert_eq!(log.header("content-type"), Some("application/json"));
        serde_json::from_slice(&log.body).unwrap()
    };
    let expected = RequestCounts { gets: 1, heads: 1, bytes_sent: 10, peak_live: 1, ..RequestCounts::default() };
    assert_eq!(counts().await, expected);
    let records = server.log().snapshot();
    assert_eq!((records[0].kind, records[0].key.as_str()), (RequestKind::Get, "synthetic/1000/a b"));
    assert_eq!((records[0].range.clone(), records[0].status), (Some(10..20), 206));
    let requests = raw(&server, "GET /_sim/requests", &[], "").await;
    assert!(String::from_utf8(requests.body).unwrap().contains("\"key\":\"synthetic/1000/a b\""));

    assert_eq!(raw(&server, "POST /_sim/reset", &[], "").await.status, 204);
    assert_eq!(counts().await, RequestCounts::default());

    let made = raw(&server, "POST /_sim/overwrite?key=synthetic/1000/a%20b&size=7", &[], "").await;
    assert_eq!(made.status, 200);
    assert_eq!(store.head(&path).await.unwrap().size, 7);
    assert_eq!(raw(&server, "POST /_sim/overwrite?key=nothing", &[], "").await.status, 404);
    assert_eq!(raw(&server, "POST /_sim/overwrite", &[], "").await.status, 400);
    assert_eq!(raw(&server, "GET /_sim/other", &[], "").await.status, 405);
}
