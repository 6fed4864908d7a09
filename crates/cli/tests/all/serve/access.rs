//! Keys and TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use headstart_sim::server::Dialect;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{Certificate, ClientOptions, Error, ObjectStore, ObjectStoreExt, PutPayload};
use rcgen::{CertificateParams, KeyPair};

use crate::common::{Bucket, Endpoint, MIB, Place, http};

/// A client of S3 with a key called `me`, which trusts a certificate beside those of the system.
fn s3(url: &str, secret: &str, trusted: Option<&str>) -> AmazonS3 {
    let options = ClientOptions::new().with_allow_http(true);
    let options = match trusted {
        Some(pem) => options.with_root_certificate(Certificate::from_pem(pem.as_bytes()).unwrap()),
        None => options,
    };
    AmazonS3Builder::new()
        .with_endpoint(url)
        .with_bucket_name("bucket")
        .with_region("eu-west-1")
        .with_access_key_id("me")
        .with_secret_access_key(secret)
        .with_client_options(options)
        .build()
        .unwrap()
}

async fn keys(client: &AmazonS3, prefix: &str) -> Vec<String> {
    let found = client.list_with_delimiter(Some(&prefix.into())).await.unwrap();
    found.objects.iter().map(|meta| meta.location.to_string()).collect()
}

/// Writes a certificate for this machine and its key, and returns the paths and the certificate.
fn identity(place: &Place, name: &str) -> (String, String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let certificate = place.write(&format!("{name}.pem"), &pem);
    (certificate, place.write(&format!("{name}.key"), key.serialize_pem()), pem)
}

#[tokio::test]
async fn with_keys_only_signed_requests_are_answered() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::Gcs));
    let large = bucket.put_large("dir/a b", 2 * MIB);
    let file = place.write("keys.toml", "me = 'hunter2'\nyou = 'other'\n");
    let endpoint = Endpoint::start(&place, &bucket, &bucket.url(""), &["--auth", &file, "--allow-writes"]);
    let path = Path::parse("dir/a b").unwrap();
    let mine = s3(&endpoint.url, "hunter2", None);
    assert!(mine.get(&path).await.unwrap().bytes().await.unwrap() == large);
    assert_eq!(mine.get_range(&path, 5..9).await.unwrap(), large[5..9]);
    assert_eq!(keys(&mine, "dir").await, ["dir/a b"]);
    mine.put(&"new".into(), PutPayload::from_static(b"new")).await.unwrap();
    assert_eq!(bucket.get(&place, "new"), b"new");
    let signed = mine.signed_url(reqwest::Method::GET, &path, Duration::from_secs(60)).await.unwrap();
    assert!(http().get(signed).send().await.unwrap().bytes().await.unwrap() == large);
    let wrong = s3(&endpoint.url, "hunter3", None).get(&path).await;
    assert!(matches!(wrong, Err(Error::PermissionDenied { .. })), "{wrong:?}");
    for path in ["/", "/bucket/dir/a%20b", "/bucket?list-type=2", "/storage/v1/b/bucket/o", "/bucket/none"] {
        assert_eq!(http().get(format!("{}{path}", endpoint.url)).send().await.unwrap().status(), 403, "{path}");
    }
    let begun = http().post(format!("{}/bucket/k?uploads", endpoint.url)).send().await.unwrap();
    assert_eq!(begun.status(), 403);
}

#[tokio::test]
async fn with_keys_and_tls_other_machines_are_served() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::S3));
    let large = bucket.put_large("dir/large", 9 * MIB);
    let (certificate, key, pem) = identity(&place, "own");
    let auth = place.write("keys.toml", "me = 'hunter2'");
    let tls = ["--tls-cert", &certificate, "--tls-key", &key];
    let args =
        [&["serve", "--listen", "0.0.0.0:0", "gs://bucket", "--auth", &auth, "--allow-writes"], &tls[..]].concat();
    let bucket_url = bucket.url("");
    let args: Vec<_> =
        args.into_iter().map(|arg| if arg == "gs://bucket" { bucket_url.as_str() } else { arg }).collect();
    let endpoint = Endpoint::of(bucket.command(&place, &args));
    let port = endpoint.url.strip_prefix("https://0.0.0.0:").unwrap();
    let url = format!("https://localhost:{port}");

    // What is no TLS gets no answer, and holds up nobody.
    let mut idle = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    let mut plain = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    plain.write_all(b"GET /bucket/dir/large HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));

    let client = s3(&url, "hunter2", Some(&pem));
    let path = Path::from("dir/large");
    assert!(client.get(&path).await.unwrap().bytes().await.unwrap() == large);
    assert_eq!(keys(&client, "dir").await, ["dir/large"]);
    client.put(&"new".into(), PutPayload::from_static(b"new")).await.unwrap();
    assert_eq!(bucket.get(&place, "new"), b"new");
    let wrong = s3(&url, "hunter3", Some(&pem)).get(&path).await;
    assert!(matches!(wrong, Err(Error::PermissionDenied { .. })), "{wrong:?}");
    let distrusting = s3(&url, "hunter2", Some(&identity(&place, "other").2)).get(&path).await;
    assert!(matches!(distrusting, Err(Error::Generic { .. })), "{distrusting:?}");
    idle.write_all(b"late").unwrap();
}

#[test]
fn addresses_that_others_reach_need_keys_and_tls() {
    let (place, bucket) = (Place::new(), Bucket::new(Dialect::Gcs));
    let (certificate, key, _) = identity(&place, "own");
    let (_, other_key, _) = identity(&place, "other");
    let keys = place.write("keys", "me = 'hunter2'");
    let bad = place.write("bad", "hunter2");
    let missing = place.text("missing");
    let open = ["--listen", "0.0.0.0:0", "gs://bucket"];
    let local = ["--listen", "127.0.0.1:0", "gs://bucket"];
    let auth = ["--auth", &keys];
    for (code, listen, args, says) in [
        (2, &open[..], &[][..], "Other machines can reach 0.0.0.0:0: give --auth, --tls-cert and --tls-key"),
        (2, &open, &auth, "Other machines can reach"),
        (2, &open, &["--tls-cert", &certificate, "--tls-key", &key], "Other machines can reach"),
        (2, &["--listen", "[::]:0", "gs://bucket"], &auth, "Other machines can reach"),
        (2, &local, &["--metrics", "0.0.0.0:0"], "metrics are for this machine"),
        (2, &local, &["--tls-cert", &certificate], "--tls-key"),
        (2, &local, &["--tls-cert", &certificate, "--tls-key", &other_key], "is not the key of"),
        (2, &local, &["--tls-cert", &bad, "--tls-key", &key], "has not a certificate in PEM format"),
        (2, &local, &["--tls-cert", &key, "--tls-key", &key], "has not a certificate in PEM format"),
        (2, &local, &["--tls-cert", &certificate, "--tls-key", &bad], "has not a private key in PEM format"),
        (3, &local, &["--tls-cert", &missing, "--tls-key", &key], "Cannot read a certificate in"),
        (3, &local, &["--tls-cert", &certificate, "--tls-key", &missing], "Cannot read a private key in"),
        (2, &["gs://a_bucket"], &auth, "cannot sign requests"),
        (2, &local, &["--auth", &bad], "has no keys"),
        (3, &local, &["--auth", &missing], "Cannot read the keys in"),
    ] {
        let ran = bucket.run(&place, &[&["serve"], listen, args].concat());
        assert!(!ran.stderr.contains("hunter2") && !ran.stderr.contains("PRIVATE"), "{}", ran.stderr);
        ran.fails(code, &[says]);
    }
}
