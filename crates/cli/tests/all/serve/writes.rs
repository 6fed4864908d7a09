//! Writes: by one request, in parts, and in chunks.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use headstart_sim::RequestKind;
use headstart_sim::server::Dialect;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ClientOptions, ObjectStoreExt, PutPayload, WriteMultipart};
use reqwest::{Method, Response};
use rustix::process::Signal;

use crate::common::{self, Bucket, Endpoint, MIB, Place, http, wait_until};

fn s3(url: &str) -> AmazonS3 {
    AmazonS3Builder::new()
        .with_endpoint(url)
        .with_bucket_name("bucket")
        .with_region("eu-west-1")
        .with_access_key_id("anybody")
        .with_secret_access_key("anything")
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .build()
        .unwrap()
}

#[tokio::test]
async fn writes_are_refused_or_passed_on() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::S3));
    bucket.put("k", "old");
    let read_only = Endpoint::start(&place, &bucket, &bucket.url(""), &[]);
    let url = format!("{}/bucket/k", read_only.url);
    for method in ["PUT", "POST", "DELETE", "OPTIONS", "PATCH"] {
        let answer = http().request(method.parse().unwrap(), &url).body("new").send().await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["allow"]), (405, &"GET, HEAD".parse().unwrap()));
        assert!(answer.text().await.unwrap().contains("--allow-writes"), "{method}");
    }
    let upload = format!("{}/upload/storage/v1/b/bucket/o?name=k", read_only.url);
    assert_eq!(http().post(upload).body("new").send().await.unwrap().status(), 405);
    let begun = http().post(format!("{url}?uploads")).send().await.unwrap();
    assert_eq!(begun.status(), 405);
    assert_eq!(bucket.get(&place, "k"), b"old");

    let endpoint = Endpoint::start(&place, &bucket, &bucket.url(""), &["--allow-writes"]);
    let url = format!("{}/bucket", endpoint.url);
    assert_eq!(http().get(format!("{url}/k")).send().await.unwrap().text().await.unwrap(), "old");
    let large = common::bytes(7, 20 * MIB);
    let put = http().put(format!("{url}/k")).header("content-type", "text/x").body(large.clone());
    assert_eq!(put.send().await.unwrap().status(), 200);
    // What was cached before is not served again.
    let read = http().get(format!("{url}/k")).send().await.unwrap();
    assert_eq!(read.headers()["content-type"], "text/x");
    assert!(read.bytes().await.unwrap() == large);
    let create = http().put(format!("{url}/k")).header("if-none-match", "*").body("x");
    assert_eq!(create.send().await.unwrap().status(), 412);
    let client = s3(&endpoint.url);
    client.put(&"dir/small".into(), PutPayload::from_static(b"small")).await.unwrap();
    assert_eq!(bucket.get(&place, "dir/small"), b"small");
    client.delete(&"dir/small".into()).await.unwrap();
    assert!(!bucket.has("dir/small"));
    assert_eq!(http().delete(format!("{url}/k")).send().await.unwrap().status(), 204);
    assert!(!bucket.has("k"));
}

#[tokio::test]
async fn clients_upload_in_parts() {
    let place = Place::new();
    for bucket in Bucket::both() {
        bucket.put("dir/a b", "old");
        let endpoint = Endpoint::start(&place, &bucket, &bucket.url(""), &["--allow-writes"]);
        let (client, path) = (s3(&endpoint.url), "dir/a b".into());
        assert_eq!(client.get(&path).await.unwrap().bytes().await.unwrap(), "old");
        let bytes = common::bytes(3, 33 * MIB + 5);
        let mut upload = WriteMultipart::new_with_chunk_size(client.put_multipart(&path).await.unwrap(), 5 * MIB);
        upload.write(&bytes);
        let written = upload.finish().await.unwrap();
        // What was cached before is not served again.
        let read = client.get(&path).await.unwrap();
        assert_eq!(read.meta.e_tag, written.e_tag, "{}", bucket.url(""));
        assert!(read.bytes().await.unwrap() == bytes, "{}", bucket.url(""));
        assert!(bucket.get(&place, "dir/a%20b") == bytes, "{}", bucket.url(""));
    }
}

/// An upload in parts, by hand.
struct Upload {
    url: String,
    id: String,
}

impl Upload {
    async fn begin(endpoint: &Endpoint) -> Self {
        let url = format!("{}/bucket/k", endpoint.url);
        let begun = http().post(format!("{url}?uploads")).header("content-type", "text/x").send().await.unwrap();
        assert_eq!(begun.status(), 200);
        let text = begun.text().await.unwrap();
        let id = text.split_once("<UploadId>").unwrap().1.split_once("</UploadId>").unwrap().0;
        Self { url, id: id.to_owned() }
    }

    async fn send(
        &self,
        method: Method,
        query: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Response {
        let request = http().request(method, format!("{}?{query}uploadId={}", self.url, self.id)).body(body);
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
    }

    /// Sends a part; returns the status and the entity tag.
    async fn part(&self, number: usize, bytes: &[u8], headers: &[(&str, &str)]) -> (u16, String) {
        let sent = self.send(Method::PUT, &format!("partNumber={number}&"), headers, bytes.to_vec()).await;
        let tag = sent.headers().get("etag").map(|tag| tag.to_str().unwrap().to_owned()).unwrap_or_default();
        (sent.status().as_u16(), tag)
    }

    async fn complete(&self, parts: &[(usize, &str)]) -> (u16, String) {
        let parts = parts.iter().map(|(number, tag)| {
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>", tag.replace('"', "&quot;"))
        });
        let parts: String = parts.collect();
        let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let answer = self.send(Method::POST, "", &[], body).await;
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

#[tokio::test]
async fn parts_come_in_any_order_and_again() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::S3));
    let endpoint = Endpoint::start(&place, &bucket, &bucket.url(""), &["--allow-writes"]);
    let upload = Upload::begin(&endpoint).await;
    let parts = [common::bytes(1, 6 * MIB), common::bytes(2, 6 * MIB), common::bytes(3, 10)];
    let (third, second, first) = tokio::join!(upload.part(3, &parts[2], &[]), upload.part(2, &parts[1], &[]), async {
        // The others wait.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        // A part that does not have its checksum counts for nothing.
        let broken = upload.part(1, &parts[0], &[("x-amz-checksum-crc32", "AAAAAA==")]).await;
        assert_eq!(broken.0, 400);
        let broken = upload.part(1, &parts[0], &[("content-md5", "JfnnlDI7RTiF9RgfG2JNCw==")]).await;
        assert_eq!(broken.0, 400);
        upload.part(1, &parts[0], &[]).await
    });
    assert_eq!([first.0, second.0, third.0], [200; 3]);
    // A client whose answer was lost sends the part again. Another part does not take its place.
    assert_eq!(upload.part(2, &parts[1], &[]).await, second);
    assert_eq!(upload.part(2, &parts[2], &[]).await.0, 501);
    for number in [0, 10_001] {
        assert_eq!(upload.part(number, &parts[2], &[]).await.0, 400, "{number}");
    }

    let named = [(1, first.1.as_str()), (2, &second.1), (3, &third.1)];
    assert_eq!(upload.complete(&named[..2]).await.0, 501);
    assert_eq!(upload.complete(&[named[1], named[0], named[2]]).await.0, 400);
    assert_eq!(upload.complete(&[named[0], (2, "other"), named[2]]).await.0, 400);
    let (status, text) = upload.complete(&named).await;
    assert_eq!(status, 200, "{text}");
    let read = http().get(&upload.url).send().await.unwrap();
    assert_eq!(read.headers()["content-type"], "text/x");
    assert!(read.bytes().await.unwrap() == parts.concat());
    let (status, text) = upload.complete(&named).await;
    assert!(status == 404 && text.contains("NoSuchUpload"), "{status} {text}");
}

#[tokio::test]
async fn uploads_are_aborted_by_the_client_and_at_the_end() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::S3));
    let endpoint = Endpoint::start(&place, &bucket, &bucket.url(""), &["--allow-writes"]);
    let upload = Upload::begin(&endpoint).await;
    assert_eq!(upload.part(1, b"bytes", &[]).await.0, 200);
    let other = Upload { id: upload.id.clone(), url: upload.url.replace("/k", "/l") };
    assert_eq!(other.part(2, b"bytes", &[]).await.0, 404);
    assert_eq!(upload.send(Method::DELETE, "", &[], "").await.status(), 204);
    assert_eq!(upload.part(2, b"bytes", &[]).await.0, 404);
    let steps =
        || bucket.server.log().snapshot().iter().filter(|request| request.kind == RequestKind::Multipart).count();
    assert_eq!(steps(), 3);

    let left = Upload::begin(&endpoint).await;
    assert_eq!(left.part(1, b"bytes", &[]).await.0, 200);
    endpoint.signal(Signal::TERM);
    assert_eq!(endpoint.end().code, 0);
    wait_until("the abort", || steps() == 6);
    assert!(!bucket.has("k"));
}

#[tokio::test]
async fn bodies_in_chunks_are_decoded_and_compared() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::S3));
    let endpoint = Endpoint::start(&place, &bucket, &bucket.url(""), &["--allow-writes"]);
    let bytes = common::bytes(4, 9 * MIB);
    for len in [0, 9, 9 * MIB] {
        let bytes = &bytes[..len];
        let sum = {
            use base64::{Engine, prelude::BASE64_STANDARD};
            BASE64_STANDARD.encode(crc32c::crc32c(bytes).to_be_bytes())
        };
        let put = async |key: &str, sum: &str| {
            let chunks = bytes
                .chunks(70_000)
                .map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
            let mut body = chunks.collect::<Vec<_>>().concat();
            body.extend_from_slice(format!("0\r\nx-amz-checksum-crc32c:{sum}\r\n\r\n").as_bytes());
            let put = http().put(format!("{}/bucket/{key}", endpoint.url)).body(body);
            let put = put.header("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
            put.header("x-amz-trailer", "x-amz-checksum-crc32c").send().await.unwrap()
        };
        assert_eq!(put("right", &sum).await.status(), 200, "{len}");
        assert!(bucket.get(&place, "right") == bytes, "{len}");
        let refused = put("wrong", "AQIDBA==").await;
        assert_eq!(refused.status(), 400, "{len}");
        assert!(refused.text().await.unwrap().contains("BadDigest"));
        assert!(!bucket.has("wrong"), "{len}");
    }
}

/// The AWS command line 1 asks for `100 Continue` before an empty object, too. Where another answer comes, it does not
/// understand the next one on the connection.
#[test]
fn an_empty_object_announced_by_expect_ends_its_connection() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::S3));
    let endpoint = Endpoint::start(&place, &bucket, &bucket.url(""), &["--allow-writes"]);
    for (size, body, continues) in [(0, "", false), (1, "x", true)] {
        let mut stream = TcpStream::connect(&endpoint.url[7..]).unwrap();
        let put = format!("PUT /bucket/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n");
        stream.write_all(format!("{put}Expect: 100-continue\r\n\r\n{body}").as_bytes()).unwrap();
        if continues {
            stream.write_all(b"GET /bucket/k HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        }
        // Ends with the connection.
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("HTTP/1.1 200 OK") && answer.contains("connection: close"), "{answer}");
        assert_eq!((answer.contains("100 Continue"), answer.ends_with('x')), (continues, continues), "{answer}");
        assert_eq!(bucket.get(&place, "k"), body.as_bytes());
    }
}

/// A client that still writes its body when the refusal comes would see only the end of the connection.
#[tokio::test]
async fn the_body_of_a_refused_write_is_read_before_the_answer() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::S3));
    bucket.put("k", b"bytes");
    let endpoint = Endpoint::start(&place, &bucket, &bucket.url(""), &[]);
    let mut stream = TcpStream::connect(&endpoint.url[7..]).unwrap();
    stream.write_all(b"PUT /bucket/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n").unwrap();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        stream.write_all(&[b'x'; 10_000]).unwrap();
    }
    stream.write_all(b"GET /bucket/k HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert!(answers.starts_with("HTTP/1.1 405 ") && answers.contains("HTTP/1.1 200 OK"), "{answers}");
    assert!(answers.ends_with("bytes"), "{answers}");
}

/// A page in the user's browser may send such a request without asking, and the names of buckets can be guessed.
#[tokio::test]
async fn web_pages_cannot_delete() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::S3));
    bucket.put("k", "kept");
    let endpoint = Endpoint::start(&place, &bucket, &bucket.url(""), &["--allow-writes"]);
    let delete = async |headers: &[(&str, &str)]| {
        let mut request = http().post(format!("{}/bucket?delete", endpoint.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body("<Delete><Object><Key>k</Key></Object></Delete>").send().await.unwrap().status()
    };
    for headers in [[("origin", "https://evil.example")], [("sec-fetch-site", "cross-site")]] {
        assert_eq!(delete(&headers).await, 403);
        assert_eq!(bucket.get(&place, "k"), b"kept");
    }
    assert_eq!(delete(&[]).await, 200);
}
