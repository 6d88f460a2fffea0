//! The TLS server behind a ClientHello that was judged. Its certificate is made at start and signed by itself: clients know the server by its
//! SSH key, and in TLS 1.3 nobody else sees the certificate. Source: TRANSPORTS.md 1.1.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::version::TLS13;
use tokio_rustls::TlsAcceptor;

use super::replay::Replay;
use crate::Stream;

/// Why there can be no TLS server. Local: the machine's random source, or a bug.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Making the key or the certificate.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library's settings.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Cheap to share.
#[derive(Clone)]
pub struct TlsServer(TlsAcceptor);

impl TlsServer {
    /// With a fresh certificate for `name`.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub fn new(name: &str) -> Result<Self, ServerError> {
        let made = rcgen::generate_simple_self_signed([name.to_owned()])?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Completes the handshake that `received` begins.
    ///
    /// # Errors
    /// The peer or the network broke it off, or the peer offers nothing that is supported here.
    pub async fn accept(&self, received: Vec<u8>, stream: Stream) -> io::Result<Stream> {
        let stream = self.0.accept(Replay::new(received, stream)).await?;
        Ok(Box::new(stream))
    }
}

impl std::fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsServer")
    }
}
