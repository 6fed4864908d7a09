//! Servers with a certificate of an authority of their own: read once that is trusted, refused in clear words else.

#![cfg(all(feature = "gcp", feature = "aws", feature = "azure", feature = "http"))]

use std::error::Error as StdError;
use std::io::Write;
use std::time::Duration;

use futures::TryStreamExt;
use headstart::{Headstart, HeadstartBuilder, Source};
use headstart_sim::Content;
use headstart_sim::server::{Dialect, SimServer, SimServerConfig, SimServerHandle, TlsIdentity};
use object_store::{ObjectStore, ObjectStoreExt};
use tempfile::NamedTempFile;
use tokio::time::Instant;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 24 * MIB + 17;
const KEY: &str = "dir/a b";

/// How an object is named, and over which protocol it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Gcs,
    S3,
    Http,
}

const SCHEMES: [Scheme; 3] = [Scheme::Gcs, Scheme::S3, Scheme::Http];

/// A server with one object, and the file of the authority that has signed its certificate.
struct Served {
    scheme: Scheme,
    server: SimServerHandle,
    content: Content,
    ca: NamedTempFile,
}

impl Served {
    fn new(scheme: Scheme) -> Self {
        let identity = TlsIdentity::new().unwrap();
        // A web server is whatever answers ranges.
        let dialect = if scheme == Scheme::S3 { Dialect::S3 } else { Dialect::Gcs };
        let config = SimServerConfig { dialect, tls: Some(identity.clone()), ..SimServerConfig::default() };
        let server = SimServer::start(config).unwrap();
        let content = Content::new(KEY, server.catalog().add_synthetic(KEY, SIZE).number);
        Self { scheme, server, content, ca: file(identity.ca_pem()) }
    }

    fn ca(&self) -> &str {
        self.ca.path().to_str().unwrap()
    }

    /// The object, with these variables besides those that a client without credentials needs.
    fn builder(&self, variables: &[(&str, &str)]) -> HeadstartBuilder {
        builder(self.scheme, self.server.url(), variables)
    }

    /// Reads all of the object, and some of it again, and checks every byte.
    async fn check(&self, headstart: &Headstart) {
        let what = self.scheme;
        let reader = headstart.open().await.unwrap();
        assert_eq!(reader.size().await.unwrap(), SIZE, "{what:?}");
        let mut at = 0;
        let mut chunks = reader.stream();
        while let Some(chunk) = chunks.try_next().await.unwrap() {
            self.content.check(at, &chunk).unwrap();
            at += chunk.len() as u64;
        }
        assert_eq!(at, SIZE, "{what:?}");
        let bytes = headstart.get_range(headstart.path(), 7..5 * MIB).await.unwrap();
        self.content.check(7, &bytes).unwrap();
        assert_eq!(bytes.len() as u64, 5 * MIB - 7);
    }
}

fn builder(scheme: Scheme, server: &str, variables: &[(&str, &str)]) -> HeadstartBuilder {
    let (url, endpoint) = match scheme {
        Scheme::Gcs => ("gs://bucket/dir/a%20b".to_owned(), Some("gcs.endpoint")),
        Scheme::S3 => ("s3://bucket/dir/a%20b".to_owned(), Some("s3.endpoint")),
        Scheme::Http => (format!("{server}/bucket/dir/a%20b"), None),
    };
    let variables = [("AWS_SKIP_SIGNATURE", "true"), ("GOOGLE_SKIP_SIGNATURE", "true")].iter().chain(variables);
    let variables = variables.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let builder = Headstart::builder().url(url).environment(variables);
    match endpoint {
        Some(endpoint) => builder.option(endpoint, server),
        None => builder,
    }
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// What an error and all of its sources say.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |cause| (*cause).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn a_server_is_read_once_its_authority_is_trusted() {
    for scheme in SCHEMES {
        for mode in ["none", "fetch", "adaptive", "cached"] {
            let served = Served::new(scheme);
            let builder = served.builder(&[]).option("mode", mode).option("ca_certificate", served.ca());
            let headstart = builder.build().await.unwrap();
            served.check(&headstart).await;
            if let Some(stats) = headstart.stats().fetch {
                assert_eq!(stats.retries, 0, "{scheme:?}, {mode}");
            }
            if scheme != Scheme::Http {
                let listed: Vec<_> = headstart.list(None).try_collect().await.unwrap();
                assert_eq!(listed.len(), 1, "{scheme:?}: lists go through a client of their own");
            }
        }
    }
}

/// Builds a stack that lacks the authority and reads; returns what the errors of a reader and of a call say.
async fn refused(served: &Served, builder: HeadstartBuilder) -> (Headstart, [String; 2]) {
    let headstart = builder.build().await.unwrap();
    let read = headstart.open().await.unwrap().read_at(0..100).await.unwrap_err();
    let call = headstart.get_range(headstart.path(), 0..100).await.unwrap_err();
    assert_eq!(served.server.log().counts().gets, 0, "nothing is asked of a stranger");
    (headstart, [chain(&read), chain(&call)])
}

#[tokio::test]
async fn a_server_whose_authority_is_not_trusted_is_refused_in_clear_words() {
    let other = file(TlsIdentity::new().unwrap().ca_pem());
    for scheme in SCHEMES {
        for mode in ["fetch", "adaptive", "cached"] {
            let served = Served::new(scheme);
            let builder = || served.builder(&[]).option("mode", mode);
            let begun = Instant::now();
            let (headstart, unknown) = refused(&served, builder()).await;
            assert_eq!(
                headstart.stats().fetch.unwrap().retries,
                0,
                "{scheme:?}, {mode}: it will be the same next time"
            );
            let with_other = builder().option("ca_certificate", other.path().to_str().unwrap());
            let (_, another) = refused(&served, with_other).await;
            for error in unknown.iter().chain(&another) {
                assert!(error.contains("invalid peer certificate: "), "{scheme:?}, {mode}: {error}");
            }
            assert!(begun.elapsed() < Duration::from_secs(5), "{scheme:?}, {mode}: {:?}", begun.elapsed());
        }
    }
}

#[tokio::test]
async fn files_that_are_no_authorities_are_told_by_name_at_build() {
    let (nothing, folder) = (file("no certificate"), tempfile::tempdir().unwrap());
    let garbage = file("-----BEGIN CERTIFICATE-----\nbm8gY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n");
    let missing = folder.path().join("missing.pem");
    let expected = "expected a PEM file of certificate authorities: ";
    for scheme in SCHEMES {
        for (path, why) in [
            (missing.as_path(), "No such file or directory"),
            (folder.path(), "Is a directory"),
            (nothing.path(), "it has no certificate that can be used"),
            (garbage.path(), "it has no certificate that can be used"),
        ] {
            let path = path.to_str().unwrap();
            let given = builder(scheme, "https://127.0.0.1:1", &[]).option("ca_certificate", path);
            let said = given.build().await.unwrap_err().to_string();
            let begin = format!("option 'ca_certificate' is '{path}': {expected}{why}");
            assert!(said.starts_with(&begin), "{scheme:?}: {said}");
        }
    }
    let azure =
        Headstart::builder().url("az://container/key").environment([("AZURE_STORAGE_ACCOUNT_NAME".into(), "a".into())]);
    let said = azure.option("ca_certificate", missing.to_str().unwrap()).build().await.unwrap_err().to_string();
    assert!(said.contains(expected), "{said}");
}

/// The strongest word counts; `AWS_CA_BUNDLE` is the weakest, and about S3 alone.
#[tokio::test]
async fn who_says_which_authorities_are_trusted() {
    let other = file(TlsIdentity::new().unwrap().ca_pem());
    let other = other.path().to_str().unwrap();
    let served = Served::new(Scheme::S3);
    for (variables, option, source) in [
        (&[("AWS_CA_BUNDLE", served.ca())][..], None, Source::Environment),
        (&[("HEADSTART_CA_CERTIFICATE", served.ca()), ("AWS_CA_BUNDLE", other)], None, Source::Environment),
        (&[("HEADSTART_CA_CERTIFICATE", other), ("AWS_CA_BUNDLE", other)], Some(served.ca()), Source::Explicit),
    ] {
        let builder = served.builder(variables);
        let builder = match option {
            Some(path) => builder.option("ca_certificate", path),
            None => builder,
        };
        let headstart = builder.build().await.unwrap();
        let setting = headstart.effective_config().iter().find(|setting| setting.key == "ca_certificate").unwrap();
        assert_eq!((setting.value.as_str(), setting.source), (served.ca(), source));
        served.check(&headstart).await;
    }
    for scheme in [Scheme::Gcs, Scheme::Http] {
        let headstart = builder(scheme, "https://127.0.0.1:1", &[("AWS_CA_BUNDLE", other)]).build().await.unwrap();
        let setting = headstart.effective_config().iter().find(|setting| setting.key == "ca_certificate").unwrap();
        assert_eq!((setting.value.as_str(), setting.source), ("", Source::Default), "{scheme:?}");
    }
}

/// Keys that a token service hands out are asked for by a client of its own, which trusts the same authorities.
#[tokio::test]
async fn clients_that_fetch_credentials_trust_the_authority_too() {
    let served = Served::new(Scheme::S3);
    let token = file("token");
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.path().to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader"),
        ("AWS_ENDPOINT_URL_STS", served.server.url()),
        ("AWS_SKIP_SIGNATURE", "false"),
    ];
    let builder = || served.builder(&variables).option("fetch.retries", "0");
    // The simulated server is no token service: it is enough that it was asked.
    let asked = || served.server.log().counts().others;
    let trusting = builder().option("ca_certificate", served.ca()).build().await.unwrap();
    let error = chain(&trusting.open().await.unwrap().read_at(0..100).await.unwrap_err());
    assert!(!error.contains("certificate") && asked() > 0, "{error}");
}

/// What [`ssl_cert_file_counts_for_every_scheme`] does in processes of its own, with `SSL_CERT_FILE` as a variable.
#[cfg(target_os = "linux")]
async fn read_with_the_variables_of_this_process(scheme: Scheme, server: &str) {
    let headstart = builder(scheme, server, &[]).option("fetch.retries", "0").build().await.unwrap();
    let bytes = headstart.get_range(headstart.path(), 0..100).await.unwrap();
    Content::new(KEY, headstart_sim::FIRST_GENERATION + 1).check(0, &bytes).unwrap();
}

/// Where the system's authorities are files: elsewhere the system has a store of them, which no variable replaces.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn ssl_cert_file_counts_for_every_scheme() {
    #[expect(clippy::disallowed_methods, reason = "a process is told by a variable what to read")]
    let to_read = std::env::var("TLS_TEST_SERVER");
    for scheme in SCHEMES {
        if let Ok(to_read) = &to_read {
            if let Some(server) = to_read.strip_prefix(&format!("{scheme:?} ")) {
                read_with_the_variables_of_this_process(scheme, server).await;
            }
            continue;
        }
        let served = Served::new(scheme);
        let run = |ca: &std::path::Path| {
            std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "tls::ssl_cert_file_counts_for_every_scheme"])
                .env("SSL_CERT_FILE", ca)
                .env("TLS_TEST_SERVER", format!("{scheme:?} {}", served.server.url()))
                .output()
                .unwrap()
        };
        let trusting = run(served.ca.path());
        assert!(trusting.status.success(), "{scheme:?}: {}", String::from_utf8_lossy(&trusting.stdout));
        assert_eq!(served.server.log().counts().gets, 1, "{scheme:?}");
        assert!(!run(file(TlsIdentity::new().unwrap().ca_pem()).path()).status.success(), "{scheme:?}");
        assert_eq!(served.server.log().counts().gets, 1, "{scheme:?}");
    }
}
