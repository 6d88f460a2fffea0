//! The random of a ClientHello, chosen. rustls draws it from its provider's random source while a client connection is made, on the thread that
//! makes it: there the chosen value is handed out instead. For TLS over TCP and for QUIC. Source: TRANSPORTS.md 1.2, RFC 8446 section 4.1.2.

use std::cell::Cell;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use rustls::crypto::{self, CryptoProvider, GetRandomFailed, SecureRandom};

/// Bytes of a ClientHello's random.
pub const LEN: usize = 32;

/// What rustls draws just before the random: the order of its extensions. A session ID, where there is one, is as long as the random and
/// comes before that.
const LEN_OF_DRAW_BEFORE: usize = 2;

/// rustls made no connection, or draws in another order than the one this was written for: a bug of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the TLS library did not take the chosen random; do not dial")]
pub struct NotTaken;

#[derive(Clone, Copy, Default)]
enum Chosen {
    /// Everything is drawn.
    #[default]
    Nothing,
    /// For the first draw that can be a random, once the draw before it was seen.
    Waiting([u8; LEN]),
    /// For the next draw, if it is as long.
    Next([u8; LEN]),
    /// It was handed out.
    Taken,
}

thread_local! {
    static CHOSEN: Cell<Chosen> = const { Cell::new(Chosen::Nothing) };
}

/// Runs `make`, in which one client connection of a config with [`provider`] must be made on this thread: its ClientHello has this random.
///
/// # Errors
/// The random was not taken. What was made must not be used.
pub fn with_client_random<T>(random: [u8; LEN], make: impl FnOnce() -> T) -> Result<T, NotTaken> {
    /// Leaves nothing behind, not even after a panic.
    struct Restore(Chosen);
    impl Drop for Restore {
        fn drop(&mut self) {
            CHOSEN.set(self.0);
        }
    }
    let _restore = Restore(CHOSEN.replace(Chosen::Waiting(random)));
    let made = make();
    match CHOSEN.get() {
        Chosen::Taken => Ok(made),
        Chosen::Nothing | Chosen::Waiting(_) | Chosen::Next(_) => Err(NotTaken),
    }
}

/// rustls' usual provider, whose random source knows of [`with_client_random`].
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        Arc::new(CryptoProvider { secure_random: &Source, ..crypto::aws_lc_rs::default_provider() })
    });
    Arc::clone(&PROVIDER)
}

/// The random source of our providers.
#[derive(Debug)]
pub(crate) struct Source;

impl SecureRandom for Source {
    fn fill(&self, to: &mut [u8]) -> Result<(), GetRandomFailed> {
        match (CHOSEN.get(), &mut *to) {
            (Chosen::Next(random), to) if to.len() == LEN => {
                to.copy_from_slice(&random);
                CHOSEN.set(Chosen::Taken);
                return Ok(());
            }
            (Chosen::Waiting(random), to) if to.len() == LEN_OF_DRAW_BEFORE => {
                CHOSEN.set(Chosen::Next(random));
            }
            _ => {}
        }
        SystemRandom::new().fill(to).map_err(|_| GetRandomFailed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::client::{ClientConnection, Resumption};
    use rustls::pki_types::ServerName;
    use rustls::version::{TLS12, TLS13};
    use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, quic};

    const RANDOM: [u8; LEN] = [7; LEN];

    fn config(versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let roots = Arc::new(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }

    fn name() -> ServerName<'static> {
        ServerName::try_from("www.example.org").unwrap()
    }

    #[test]
    fn a_hello_over_tcp_has_the_chosen_random() {
        for versions in [&[&TLS12, &TLS13][..], &[&TLS13], &[&TLS12]] {
            let config = config(versions);
            let make = || ClientConnection::new(Arc::clone(&config), name()).unwrap();
            let random = |mut connection: ClientConnection| {
                let mut wire = Vec::new();
                connection.write_tls(&mut wire).unwrap();
                <[u8; LEN]>::try_from(&wire[11..43]).unwrap()
            };
            assert_eq!(random(with_client_random(RANDOM, make).unwrap()), RANDOM);
            assert_ne!(random(make()), RANDOM);
        }
    }

    #[test]
    fn a_hello_over_quic_has_the_chosen_random() {
        let config = config(&[&TLS13]);
        let make = || {
            quic::ClientConnection::new(Arc::clone(&config), quic::Version::V1, name(), Vec::new()).unwrap()
        };
        let random = |mut connection: quic::ClientConnection| {
            let mut wire = Vec::new();
            connection.write_hs(&mut wire);
            <[u8; LEN]>::try_from(&wire[6..38]).unwrap()
        };
        assert_eq!(random(with_client_random(RANDOM, make).unwrap()), RANDOM);
        assert_ne!(random(make()), RANDOM);
    }

    #[test]
    fn a_random_that_nobody_took_is_noticed() {
        assert_eq!(with_client_random(RANDOM, || ()), Err(NotTaken));
        let mut drawn = [0; LEN];
        Source.fill(&mut drawn).unwrap();
        assert_ne!(drawn, RANDOM);
    }
}
