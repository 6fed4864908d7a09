//! Who may connect: the keys of `--auth`, the certificate of TLS, and the addresses that are allowed with them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use clap::Args;
use s3s::auth::{SecretKey, SimpleAuth};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use super::listener::ByteStream;
use crate::failure::Failure;
use crate::policy::served_name::ListenAddress;

#[derive(Debug, Clone, Args)]
pub(crate) struct AccessArgs {
    /// Answer only requests that are signed (AWS Signature Version 4) with a key of this file
    ///
    /// The file is TOML: a line `ACCESS_KEY_ID = "SECRET_ACCESS_KEY"` for each key.
    #[arg(long, value_name = "FILE")]
    auth: Option<PathBuf>,
    /// Speak TLS with the certificate of this PEM file, followed by those of its issuers
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

/// Who may connect, and how.
pub(super) struct Access {
    /// With these, only requests that are signed with one of them are answered.
    pub(super) keys: Option<SimpleAuth>,
    pub(super) tls: Option<TlsAcceptor>,
}

impl Access {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be used, `bucket` cannot be named in a signed request, or other machines reach `address` while
    /// keys or TLS are missing.
    pub(super) fn new(args: &AccessArgs, address: &ListenAddress, bucket: &str) -> Result<Self, Failure> {
        let keys = args.auth.as_deref().map(read_keys).transpose()?;
        if keys.is_some() && !s3s::path::check_bucket_name(bucket) {
            return Err(Failure::usage(format!("Clients of S3 cannot sign requests for a bucket called '{bucket}'.")));
        }
        let tls = match (&args.tls_cert, &args.tls_key) {
            (Some(certificate), Some(key)) => Some(read_identity(certificate, key)?),
            _ => None,
        };
        if keys.is_none() || tls.is_none() {
            let missing = "give --auth, --tls-cert and --tls-key";
            address.check_local(missing).map_err(Failure::usage)?;
        }
        Ok(Self { keys, tls })
    }
}

/// Agrees on TLS with a client, where it is on.
///
/// # Errors
/// The client speaks no TLS, does not trust the certificate, or has gone.
pub(super) async fn secure(tls: Option<TlsAcceptor>, stream: Box<dyn ByteStream>) -> io::Result<Box<dyn ByteStream>> {
    Ok(match tls {
        Some(tls) => Box::new(tls.accept(stream).await?),
        None => stream,
    })
}

/// Reads the keys of `--auth`.
fn read_keys(file: &FilePath) -> Result<SimpleAuth, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| Failure::file("read the keys in", file, &error))?;
    // The text of the parser's error may show a key.
    let keys: Option<BTreeMap<String, String>> = toml::from_str(&text).ok();
    let keys = keys.filter(|keys| !keys.is_empty() && keys.values().all(|secret| !secret.is_empty()));
    let Some(keys) = keys else {
        let what = "has no keys: write a line ACCESS_KEY_ID = \"SECRET_ACCESS_KEY\" for each";
        return Err(Failure::usage(format!("{} {what}.", file.display())));
    };
    let mut auth = SimpleAuth::new();
    for (id, secret) in keys {
        auth.register(id, SecretKey::from(secret));
    }
    Ok(auth)
}

/// Reads a certificate and its key.
fn read_identity(certificate: &FilePath, key: &FilePath) -> Result<TlsAcceptor, Failure> {
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| unreadable(certificate, "a certificate", error))?;
    if chain.is_empty() {
        return Err(unreadable(certificate, "a certificate", pem::Error::NoItemsFound));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, "a private key", error))?;
    // Names the provider: rustls has no default where two are compiled in.
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, private));
    let mut config = config.map_err(|error| {
        let (certificate, key) = (certificate.display(), key.display());
        let why = match error {
            rustls::Error::InconsistentKeys(_) => format!("{key} is not the key of {certificate}"),
            error => format!("{certificate} and {key} cannot be used: {error}"),
        };
        Failure::usage(format!("{why}. Give the certificate first in its file, and its own key."))
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

fn unreadable(file: &FilePath, what: &str, error: pem::Error) -> Failure {
    match error {
        pem::Error::Io(error) => Failure::file(&format!("read {what} in"), file, &error),
        // The text of other errors may show a key.
        _ => Failure::usage(format!("{} has not {what} in PEM format.", file.display())),
    }
}
