//! What clients send, written down on its way to the server: every request says who pays, no anonymous one who asks.

#![cfg(all(feature = "gcp", feature = "aws", feature = "azure", feature = "http"))]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use headstart::{Headstart, HeadstartBuilder};
use headstart_sim::server::{Dialect, SimServer, SimServerConfig, SimServerHandle};
use headstart_sim::{Content, FaultPlan};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 6 * MIB + 17;
const KEY: &str = "dir/data";
const MODES: [&str; 4] = ["none", "fetch", "adaptive", "cached"];

/// Stands in every credential that must not be used.
const SECRET: &str = "c3VwZXJzZWNyZXQ";

/// A server's port through which everything goes to another server, and what clients have sent.
struct Wire {
    url: String,
    connections: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Wire {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connections: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let written = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server).await.unwrap();
                let number = {
                    let mut written = written.lock();
                    written.push(Vec::new());
                    written.len() - 1
                };
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let written = Arc::clone(&written);
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 << 10];
                    while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                        written.lock()[number].extend_from_slice(&buffer[..read]);
                        if to_server.write_all(&buffer[..read]).await.is_err() {
                            break;
                        }
                    }
                });
                tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            }
        });
        Self { url, connections }
    }

    /// Every request, in lower case. Reads and lists have no body: an empty line ends a request.
    fn requests(&self) -> Vec<String> {
        let connections = self.connections.lock();
        let text = connections.iter().map(|bytes| String::from_utf8_lossy(bytes).to_ascii_lowercase());
        text.flat_map(|text| text.split_terminator("\r\n\r\n").map(str::to_owned).collect::<Vec<_>>()).collect()
    }
}

/// A server of one object that speaks as much of Azure's language as reads and lists need: the simulated one does not.
async fn azure(content: Content) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    request.push(byte);
                    if request.ends_with(b"\r\n\r\n") {
                        let answer = azure_answer(&content, &String::from_utf8_lossy(&request).to_ascii_lowercase());
                        request.clear();
                        if stream.write_all(&answer).await.is_err() {
                            break;
                        }
                    }
                }
            });
        }
    });
    address
}

fn azure_answer(content: &Content, request: &str) -> Vec<u8> {
    const PROPERTIES: &str = "ETag: \"0x1\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    if request.contains("comp=list") {
        let blob = format!(
            "<Blob><Name>{KEY}</Name><Properties><Last-Modified>Sun, 06 Nov 1994 08:49:37 GMT</Last-Modified>\
             <Content-Length>{SIZE}</Content-Length><Content-Type>a/b</Content-Type>\
             <Etag>0x1</Etag></Properties></Blob>"
        );
        let body = format!("<EnumerationResults><Blobs>{blob}</Blobs><NextMarker/></EnumerationResults>");
        return format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes();
    }
    let range = request.lines().find_map(|line| line.strip_prefix("range: bytes=")?.split_once('-'));
    let (status, range) = match range {
        Some((start, end)) => (206, start.parse().unwrap()..end.parse().map_or(SIZE, |last: u64| SIZE.min(last + 1))),
        None => (200, 0..SIZE),
    };
    let length = range.end - range.start;
    let part = format!("Content-Range: bytes {}-{}/{SIZE}\r\n", range.start, range.end - 1);
    let part = if status == 206 { part.as_str() } else { "" };
    let head = format!("HTTP/1.1 {status} OK\r\nContent-Length: {length}\r\n{part}{PROPERTIES}\r\n");
    let mut answer = head.into_bytes();
    if !request.starts_with("head") {
        answer.extend_from_slice(&content.bytes(range));
    }
    answer
}

/// Whose language is spoken, and how the object is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Gcs,
    S3,
    Azure,
    Http,
}

/// A server with one object behind a [`Wire`].
struct Served {
    scheme: Scheme,
    wire: Wire,
    content: Content,
    /// Stops when it is dropped.
    _server: Option<SimServerHandle>,
}

impl Served {
    async fn new(scheme: Scheme) -> Self {
        Self::with(scheme, FaultPlan::default()).await
    }

    async fn with(scheme: Scheme, faults: FaultPlan) -> Self {
        if scheme == Scheme::Azure {
            let content = Content::new(KEY, 1);
            return Self { scheme, wire: Wire::to(azure(content).await).await, content, _server: None };
        }
        let dialect = if scheme == Scheme::S3 { Dialect::S3 } else { Dialect::Gcs };
        let server = SimServer::start(SimServerConfig { dialect, faults, ..SimServerConfig::default() }).unwrap();
        let content = Content::new(KEY, server.catalog().add_synthetic(KEY, SIZE).number);
        let address = server.url().strip_prefix("http://").unwrap().parse().unwrap();
        Self { scheme, wire: Wire::to(address).await, content, _server: Some(server) }
    }

    fn builder(&self, variables: &[(&str, &str)]) -> HeadstartBuilder {
        let (url, endpoint) = match self.scheme {
            Scheme::Gcs => (format!("gs://bucket/{KEY}"), "STORAGE_EMULATOR_HOST"),
            Scheme::S3 => (format!("s3://bucket/{KEY}"), "AWS_ENDPOINT"),
            Scheme::Azure => (format!("az://bucket/{KEY}"), "AZURE_STORAGE_ENDPOINT"),
            Scheme::Http => (format!("{}/bucket/{KEY}", self.wire.url), "NOTHING"),
        };
        let ours = [(endpoint, self.wire.url.as_str()), ("AZURE_STORAGE_ACCOUNT_NAME", "account")];
        let variables = variables.iter().chain(&ours).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Headstart::builder().url(url).environment(variables)
    }

    /// Does all that reads and lists, checks every byte, and returns the requests that this took.
    async fn use_all(&self, builder: HeadstartBuilder, mode: &str) -> Vec<String> {
        self.wire.connections.lock().clear();
        let what = format!("{:?}, {mode}", self.scheme);
        let headstart = builder.option("mode", mode).build().await.unwrap();
        let path = headstart.path().clone();

        // Parts, and what is read ahead.
        let reader = headstart.open().await.unwrap();
        let mut at = 0;
        for length in std::iter::repeat(MIB / 2) {
            let bytes = reader.read_at(at..at + length).await.unwrap();
            self.content.check(at, &bytes).unwrap();
            at += bytes.len() as u64;
            if bytes.is_empty() || at == SIZE {
                break;
            }
        }
        assert_eq!((at, reader.size().await.unwrap()), (SIZE, SIZE), "{what}");
        // Fills of a cache, for another handle.
        for start in [7, 5 * MIB + 1, MIB] {
            let bytes = headstart.get_range(&path, start..start + 100_000).await.unwrap();
            self.content.check(start, &bytes).unwrap();
        }
        let ranges = [0..10, 3 * MIB..3 * MIB + 10, SIZE - 10..SIZE];
        for (range, bytes) in ranges.iter().zip(headstart.get_ranges(&path, &ranges).await.unwrap()) {
            self.content.check(range.start, &bytes).unwrap();
        }
        let whole = headstart.get(&path).await.unwrap().bytes().await.unwrap();
        assert_eq!(whole.len() as u64, SIZE, "{what}");
        assert_eq!(headstart.head(&path).await.unwrap().size, SIZE, "{what}");
        // One that no layer knows anything of.
        let _ = headstart.head(&Path::from("dir/other")).await;
        // A web server lists nothing.
        if self.scheme != Scheme::Http {
            let (prefix, before) = (Path::from("dir"), Path::from("dir/a"));
            assert_eq!(headstart.list(Some(&prefix)).try_collect::<Vec<_>>().await.unwrap().len(), 1, "{what}");
            let after = headstart.list_with_offset(Some(&prefix), &before).try_collect::<Vec<_>>().await.unwrap();
            assert_eq!(after.len(), 1, "{what}");
            assert_eq!(headstart.list_with_delimiter(Some(&prefix)).await.unwrap().objects.len(), 1, "{what}");
        }
        drop(headstart);

        let requests = self.wire.requests();
        let count = |is: &dyn Fn(&str) -> bool| requests.iter().filter(|request| is(request)).count();
        let lists = count(&|request| request.contains("list-type=2&") || request.contains("comp=list"));
        assert_eq!(lists, if self.scheme == Scheme::Http { 0 } else { 3 }, "{what}: {requests:#?}");
        assert!(count(&|request| request.starts_with("head ")) > 0, "{what}: {requests:#?}");
        let parts = count(&|request| request.starts_with("get ") && request.contains("\r\nrange: bytes="));
        assert!(parts > 5, "{what}: {requests:#?}");
        requests
    }
}

#[track_caller]
fn all(requests: &[String], expected: &str, what: &str) {
    for request in requests {
        assert!(request.contains(expected), "{what}: no {expected} in {request}");
    }
}

#[track_caller]
fn none(requests: &[String], unexpected: &str, what: &str) {
    for request in requests {
        assert!(!request.contains(&unexpected.to_ascii_lowercase()), "{what}: {unexpected} in {request}");
    }
}

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "me"), ("AWS_SECRET_ACCESS_KEY", SECRET)];

/// S3 is told in a header, which is signed with the rest.
#[tokio::test]
async fn s3_is_told_in_every_request_that_the_requester_pays() {
    let served = Served::new(Scheme::S3).await;
    for mode in MODES {
        for builder in [
            served.builder(&KEYS).option("s3.request_payer", "on"),
            served.builder(&[&KEYS[..], &[("AWS_REQUEST_PAYER", "requester")]].concat()),
            served.builder(&[&KEYS[..], &[("HEADSTART_S3_REQUEST_PAYER", "requester")]].concat()),
        ] {
            let requests = served.use_all(builder, mode).await;
            all(&requests, "\r\nx-amz-request-payer: requester", mode);
            let signed = |request: &String| {
                let headers = request.split_once("signedheaders=").and_then(|(_, rest)| rest.split_once(','));
                headers.is_some_and(|(headers, _)| headers.split(';').any(|header| header == "x-amz-request-payer"))
            };
            assert!(requests.iter().all(signed), "{mode}: {requests:#?}");
        }
        none(&served.use_all(served.builder(&KEYS), mode).await, "x-amz-request-payer", mode);
    }
}

#[tokio::test]
async fn gcs_is_told_in_every_request_which_project_pays() {
    let served = Served::new(Scheme::Gcs).await;
    for mode in MODES {
        for builder in [
            served.builder(&[]).option("gcs.user_project", "payer-1"),
            served.builder(&[("GOOGLE_CLOUD_QUOTA_PROJECT", "payer-1")]),
            served.builder(&[("HEADSTART_GCS_USER_PROJECT", "payer-1")]),
        ] {
            let requests = served.use_all(builder, mode).await;
            all(&requests, "\r\nx-goog-user-project: payer-1", mode);
            all(&requests, "\r\nauthorization: bearer emulator", mode);
        }
        none(&served.use_all(served.builder(&[]), mode).await, "x-goog-user-project", mode);
    }
}

/// What a machine may have lying around, each with [`SECRET`] in it.
const LYING_AROUND: [(&str, &str); 16] = [
    ("AWS_ACCESS_KEY_ID", SECRET),
    ("AWS_SECRET_ACCESS_KEY", SECRET),
    ("AWS_SESSION_TOKEN", SECRET),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", SECRET),
    ("AWS_ROLE_ARN", SECRET),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", SECRET),
    ("GOOGLE_BEARER_TOKEN", SECRET),
    ("GOOGLE_SERVICE_ACCOUNT", SECRET),
    ("GOOGLE_SERVICE_ACCOUNT_KEY", SECRET),
    ("GOOGLE_APPLICATION_CREDENTIALS", SECRET),
    ("AZURE_STORAGE_ACCOUNT_KEY", SECRET),
    ("AZURE_STORAGE_SAS_TOKEN", "?sv=2024-01-01&sp=r&sig=c3VwZXJzZWNyZXQ"),
    ("AZURE_STORAGE_TOKEN", SECRET),
    ("AZURE_STORAGE_CLIENT_ID", SECRET),
    ("AZURE_STORAGE_CLIENT_SECRET", SECRET),
    ("AZURE_STORAGE_TENANT_ID", SECRET),
];

#[track_caller]
fn anonymous(requests: &[String], what: &str) {
    for trace in ["authorization:", "signature", "sig=", "token", "credential", "cookie:", SECRET] {
        none(requests, trace, what);
    }
}

#[tokio::test]
async fn who_asks_anonymously_sends_no_credentials_though_there_are_some() {
    for scheme in [Scheme::Gcs, Scheme::S3, Scheme::Azure, Scheme::Http] {
        let served = Served::new(scheme).await;
        let by_variable = match scheme {
            Scheme::Gcs => ("GOOGLE_SKIP_SIGNATURE", "true"),
            Scheme::S3 => ("AWS_SKIP_SIGNATURE", "true"),
            Scheme::Azure => ("AZURE_SKIP_SIGNATURE", "true"),
            // Nobody is asked who he is by a web server.
            Scheme::Http => ("NOTHING", ""),
        };
        for mode in MODES {
            let what = format!("{scheme:?}, {mode}");
            let builder = served.builder(&[&LYING_AROUND[..], &[by_variable]].concat());
            anonymous(&served.use_all(builder, mode).await, &what);
            let section = match scheme {
                Scheme::Gcs => "gcs",
                Scheme::S3 => "s3",
                Scheme::Azure | Scheme::Http => continue,
            };
            let builder = served.builder(&LYING_AROUND).option(format!("{section}.anonymous"), "on");
            anonymous(&served.use_all(builder, mode).await, &what);
        }
    }
}

/// That what the test above looks for would be seen.
#[tokio::test]
async fn who_has_credentials_sends_them_with_every_request() {
    for (scheme, variable, expected) in [
        (Scheme::Gcs, ("GOOGLE_BEARER_TOKEN", SECRET), "\r\nauthorization: bearer c3vwzxjzzwnyzxq"),
        (Scheme::S3, KEYS[1], "\r\nauthorization: aws4-hmac-sha256 credential=me/"),
        (Scheme::Azure, ("AZURE_STORAGE_ACCOUNT_KEY", "c3VwZXI="), "\r\nauthorization: sharedkey account:"),
        (Scheme::Azure, ("AZURE_STORAGE_SAS_TOKEN", "?sv=2024-01-01&sp=r&sig=abc"), "sig=abc"),
    ] {
        let served = Served::new(scheme).await;
        for mode in MODES {
            let requests = served.use_all(served.builder(&[KEYS[0], variable]), mode).await;
            all(&requests, expected, mode);
        }
    }
}

/// Hedges are sent by the same client: they say who pays, and anonymous ones nothing of who asks.
#[tokio::test]
async fn hedges_are_sent_as_all_else() {
    for (scheme, variables, payer) in [
        (Scheme::S3, [("AWS_REQUEST_PAYER", "requester"), ("NOTHING", "")], "x-amz-request-payer: requester"),
        (Scheme::S3, [("AWS_SKIP_SIGNATURE", "true"), ("NOTHING", "")], ""),
        (Scheme::Gcs, [("GOOGLE_CLOUD_QUOTA_PROJECT", "payer"), ("NOTHING", "")], "x-goog-user-project: payer"),
        (Scheme::Gcs, [("GOOGLE_SKIP_SIGNATURE", "true"), ("NOTHING", "")], ""),
    ] {
        let faults = FaultPlan { late: 0.04, late_by: Duration::from_millis(400), ..FaultPlan::default() };
        let served = Served::with(scheme, faults).await;
        let builder = served.builder(&[&KEYS[..], &variables].concat()).option("mode", "fetch");
        let headstart = builder.build().await.unwrap();
        for n in 0..200 {
            let start = n * 30_000;
            let bytes = headstart.get_range(headstart.path(), start..start + 1000).await.unwrap();
            served.content.check(start, &bytes).unwrap();
        }
        let stats = headstart.stats().fetch.unwrap();
        let requests = served.wire.requests();
        assert!(stats.hedges > 0 && requests.len() as u64 > 200, "{scheme:?}: {stats:?}");
        all(&requests, payer, "a hedge");
        if payer.is_empty() {
            anonymous(&requests, "a hedge");
        }
    }
}
