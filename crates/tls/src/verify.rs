//! What a server's certificate must show. Source: RFC 5280, TRANSPORTS.md 1.5.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Bytes of a pin.
const PIN: usize = 32;

/// SHA-256 over a certificate's public key with its algorithm. RFC 7469 section 2.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin([u8; PIN]);

/// Not a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a certificate pin is the base64 form of {PIN} bytes")]
pub struct NotAPin;

impl Pin {
    /// From the bytes that a pin's base64 form stands for.
    ///
    /// # Errors
    /// Another length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotAPin> {
        bytes.try_into().map(Self).map_err(|_| NotAPin)
    }
}

/// How a server is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Not at all: what is inside proves who it is.
    Skip,
    /// By the roots of browsers, for this name, and by pins where there are any.
    Roots {
        /// A name, or an address.
        name: String,
        /// One certificate of the chain must match one of these, if there are any.
        pins: Vec<Pin>,
    },
    /// By its public key alone, whatever the dates and signers, and by the name if there is one.
    PinsOnly {
        /// The name.
        name: Option<String>,
        /// The server's certificate must match one of these.
        pins: Vec<Pin>,
    },
}

/// Judges certificates by the rules of one dial.
#[derive(Debug)]
pub(crate) struct Verifier {
    verify: Verify,
    /// The server is ourselves.
    minting: AtomicBool,
}

impl Verifier {
    pub(crate) fn new(verify: Verify) -> Self {
        Self { verify, minting: AtomicBool::new(false) }
    }

    /// Runs `shake_hands` with a server of our own, which has no certificate to show.
    pub(crate) fn while_minting<T>(&self, shake_hands: impl FnOnce() -> T) -> T {
        self.minting.store(true, Ordering::Relaxed);
        let result = shake_hands();
        self.minting.store(false, Ordering::Relaxed);
        result
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.verify {
            _ if self.minting.load(Ordering::Relaxed) => {}
            Verify::Skip => {}
            Verify::Roots { name, pins } => {
                let name = parse(name)?;
                let by_roots = browser_roots()?;
                by_roots.verify_server_cert(end_entity, intermediates, &name, ocsp_response, now)?;
                if !pins.is_empty() && !matches(end_entity, pins) {
                    // Somebody's key in the list proves nothing: it must have signed.
                    let pinned = verifier(pinned(intermediates, pins)).ok_or_else(refused)?;
                    pinned.verify_server_cert(end_entity, intermediates, &name, ocsp_response, now)?;
                }
            }
            Verify::PinsOnly { name, pins } => {
                if !matches(end_entity, pins) {
                    return Err(refused());
                }
                if let Some(name) = name {
                    let certificate = ParsedCertificate::try_from(end_entity)?;
                    rustls::client::verify_server_name(&certificate, &parse(name)?)?;
                }
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    crypto::aws_lc_rs::default_provider().signature_verification_algorithms
}

fn browser_roots() -> Result<Arc<WebPkiServerVerifier>, Error> {
    static ROOTS: LazyLock<Option<Arc<WebPkiServerVerifier>>> =
        LazyLock::new(|| verifier(webpki_roots::TLS_SERVER_ROOTS.to_vec()));
    ROOTS.clone().ok_or_else(|| Error::General("no root certificates".to_owned()))
}

/// `None` without any.
fn verifier(roots: Vec<TrustAnchor<'static>>) -> Option<Arc<WebPkiServerVerifier>> {
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::new(RootCertStore { roots }), provider).build().ok()
}

/// Signers whose key is pinned.
fn pinned(intermediates: &[CertificateDer<'_>], pins: &[Pin]) -> Vec<TrustAnchor<'static>> {
    let mut store = RootCertStore::empty();
    for certificate in intermediates.iter().filter(|certificate| matches(certificate, pins)) {
        // One that is no signer is none of a chain, either.
        drop(store.add(certificate.clone().into_owned()));
    }
    let is_pinned =
        |root: &&TrustAnchor<'static>| is_pinned(&sequence(root.subject_public_key_info.as_ref()), pins);
    store.roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().filter(is_pinned).cloned());
    store.roots
}

/// A trust anchor has the content of a key's SEQUENCE only.
fn sequence(content: &[u8]) -> Vec<u8> {
    let bytes = content.len().to_be_bytes();
    let significant: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut der = vec![0x30];
    if content.len() >= 0x80 {
        der.push(0x80 | u8::try_from(significant.len()).unwrap_or_default());
    }
    der.extend(significant);
    der.extend_from_slice(content);
    der
}

fn parse(name: &str) -> Result<ServerName<'_>, Error> {
    ServerName::try_from(name).map_err(|_| Error::General("not a server name".to_owned()))
}

fn refused() -> Error {
    Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
}

fn matches(certificate: &CertificateDer<'_>, pins: &[Pin]) -> bool {
    ParsedCertificate::try_from(certificate)
        .is_ok_and(|parsed| is_pinned(&parsed.subject_public_key_info(), pins))
}

fn is_pinned(key_info: &[u8], pins: &[Pin]) -> bool {
    let found = digest(&SHA256, key_info);
    pins.iter().any(|pin| verify_slices_are_equal(&pin.0, found.as_ref()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_hashed_with_its_sequence() {
        let made = rcgen::generate_simple_self_signed(["www.example.org".to_owned()]).unwrap();
        let key = rcgen::PublicKeyData::subject_public_key_info(&made.signing_key);
        assert_eq!(sequence(&key[2..]), key);
        assert_eq!(sequence(&[0; 300])[..4], [0x30, 0x82, 1, 44]);
        let pin = Pin::from_bytes(digest(&SHA256, &key).as_ref()).unwrap();
        let other = Pin::from_bytes(&[0; PIN]).unwrap();
        assert!(matches(made.cert.der(), &[other, pin]) && !matches(made.cert.der(), &[other]));
    }

    #[test]
    fn certificates_are_judged() {
        let made = rcgen::generate_simple_self_signed(["www.example.org".to_owned()]).unwrap();
        let key = rcgen::PublicKeyData::subject_public_key_info(&made.signing_key);
        let pin = Pin::from_bytes(digest(&SHA256, &key).as_ref()).unwrap();
        let other = Pin::from_bytes(&[0; PIN]).unwrap();
        let name = |name: &str| Some(name.to_owned());
        for (verify, accepted) in [
            (Verify::Skip, true),
            (Verify::Roots { name: "www.example.org".to_owned(), pins: Vec::new() }, false),
            (Verify::PinsOnly { name: None, pins: vec![pin] }, true),
            (Verify::PinsOnly { name: name("www.example.org"), pins: vec![other, pin] }, true),
            (Verify::PinsOnly { name: name("other.example.org"), pins: vec![pin] }, false),
            (Verify::PinsOnly { name: None, pins: vec![other] }, false),
            (Verify::PinsOnly { name: None, pins: Vec::new() }, false),
        ] {
            let sni = parse("sni.example.org").unwrap();
            let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
            let judged =
                Verifier::new(verify.clone()).verify_server_cert(made.cert.der(), &[], &sni, &[], now);
            assert_eq!(judged.is_ok(), accepted, "{verify:?}");
        }
    }
}
