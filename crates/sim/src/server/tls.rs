//! `TlsIdentity`: a server certificate and the certificate authority that signed it.

use std::sync::Arc;
use std::{fmt, io};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};

/// A TLS certificate for `127.0.0.1` and `localhost`, signed by a new certificate authority. Clients must trust
/// [`TlsIdentity::ca_pem`] to read from the server.
#[derive(Clone)]
pub struct TlsIdentity {
    ca_pem: String,
    config: Arc<ServerConfig>,
}

/// Leaves out the keys.
impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").field("ca_pem", &self.ca_pem).finish_non_exhaustive()
    }
}

impl TlsIdentity {
    /// Generates an authority and a certificate.
    ///
    /// # Errors
    /// Key generation failed.
    pub fn new() -> io::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "simulated authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().map_err(io::Error::other)?);
        let authority = authority.map_err(io::Error::other)?;

        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = CertificateParams::new(names).and_then(|params| params.signed_by(&key, &authority));
        let chain = vec![certificate.map_err(io::Error::other)?.into()];
        // Names the provider: rustls has no default where two providers are compiled in.
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| {
                config.with_no_client_auth().with_single_cert(chain, PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            });
        Ok(Self { ca_pem: authority.pem(), config: Arc::new(config.map_err(io::Error::other)?) })
    }

    /// The certificate of the authority in PEM format.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Accepts connections with this identity.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.config).into()
    }
}
