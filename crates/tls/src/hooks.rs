//! Where rustls is given another ClientHello than the one it wrote: on the wire by whoever sends its bytes, and in the transcript here, by hash functions that
//! put one in place of the other. The same for key shares: as many as a profile wants, where rustls knows one.
//!
//! rustls hashes and computes keys only inside calls on a connection. The state of that connection is put into a place of the thread for the
//! time of the call, so that two connections never meet. Source: RFC 8446 sections 4.4.1, 4.2.8.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use rustls::crypto::hash::{self, HashAlgorithm};
use rustls::crypto::{
    self, ActiveKeyExchange, CipherSuiteCommon, CryptoProvider, SharedSecret, SupportedKxGroup,
};
use rustls::{Error, NamedGroup, ProtocolVersion, SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite};

use crate::hello::{HelloMessage, HelloWriter, key_share_group};
use crate::random::Source;

/// What one connection needs during its handshake.
pub(crate) struct Hooks {
    writer: HelloWriter,
    /// Groups that a key is made for, in the profile's order.
    groups: Vec<NamedGroup>,
    /// The keys that were made.
    shares: Vec<(u16, Vec<u8>)>,
    /// What rustls wrote, as far as its binders, and what goes out instead.
    replaced: Vec<(Vec<u8>, Vec<u8>)>,
    /// The group that the server answered with.
    answered: Option<NamedGroup>,
}

thread_local! {
    static CURRENT: RefCell<Option<Hooks>> = const { RefCell::new(None) };
}

impl Hooks {
    pub(crate) fn new(writer: HelloWriter, groups: &[u16]) -> Self {
        let groups =
            groups.iter().map(|group| NamedGroup::from(*group)).filter(|group| find(*group).is_some());
        Self { writer, groups: groups.collect(), shares: Vec::new(), replaced: Vec::new(), answered: None }
    }

    /// Runs `call`, a call of this thread on the connection that these belong to.
    pub(crate) fn during<T>(self, call: impl FnOnce() -> T) -> (Option<Self>, T) {
        let before = CURRENT.replace(Some(self));
        let result = call();
        (CURRENT.replace(before), result)
    }

    /// What is to be sent instead of the ClientHello `original`.
    pub(crate) fn for_wire(&mut self, original: &[u8]) -> Option<Vec<u8>> {
        self.substituted(original)
    }

    /// `data` with every ClientHello in it replaced; `None` if there is none. A hello that is seen for the first time is written now.
    fn substituted(&mut self, data: &[u8]) -> Option<Vec<u8>> {
        if let Some(found) = self.known(data) {
            return Some(found);
        }
        // A first hello begins the data, as does a second one where its binders are computed.
        if !HelloMessage::read(data).is_ok_and(|hello| data.len() > 38 && !hello.random.is_empty()) {
            return None;
        }
        let written = self.writer.write(data, &self.shares).ok()?;
        self.replaced.push((data.to_vec(), written.clone()));
        Some(written)
    }

    fn known(&self, data: &[u8]) -> Option<Vec<u8>> {
        let (original, written, at) = self.replaced.iter().find_map(|(original, written)| {
            let at = data.windows(original.len()).position(|window| window == original)?;
            Some((original, written, at))
        })?;
        let (before, rest) = data.split_at_checked(at)?;
        let after = rest.get(original.len()..)?;
        Some([before, written, after].concat())
    }

    fn note_answer(&mut self, data: &[u8]) {
        if let Some(group) = key_share_group(data) {
            self.answered = Some(NamedGroup::from(group));
        }
    }
}

/// With the hooks of the connection that is being called, if it has any.
fn with_current<T>(run: impl FnOnce(&mut Hooks) -> Option<T>) -> Option<T> {
    CURRENT.with_borrow_mut(|current| current.as_mut().and_then(run))
}

/// The provider whose hashes and groups know of the hooks.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let usual = crypto::aws_lc_rs::default_provider();
        let cipher_suites = usual.cipher_suites.into_iter().map(hooked).collect();
        let mut kx_groups: Vec<&'static dyn SupportedKxGroup> = vec![&Several];
        kx_groups.extend(crypto::aws_lc_rs::ALL_KX_GROUPS);
        Arc::new(CryptoProvider {
            cipher_suites,
            kx_groups,
            signature_verification_algorithms: usual.signature_verification_algorithms,
            secure_random: &Source,
            key_provider: usual.key_provider,
        })
    });
    Arc::clone(&PROVIDER)
}

/// The same suite with a hash that knows of the hooks. Made once, for good.
fn hooked(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let common = |common: &CipherSuiteCommon| CipherSuiteCommon {
        suite: common.suite,
        hash_provider: Box::leak(Box::new(HookedHash(common.hash_provider))),
        confidentiality_limit: common.confidentiality_limit,
    };
    match suite {
        SupportedCipherSuite::Tls12(suite) => {
            SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
                common: common(&suite.common),
                prf_provider: suite.prf_provider,
                kx: suite.kx,
                sign: suite.sign,
                aead_alg: suite.aead_alg,
            })))
        }
        SupportedCipherSuite::Tls13(suite) => {
            SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                common: common(&suite.common),
                hkdf_provider: suite.hkdf_provider,
                aead_alg: suite.aead_alg,
                quic: suite.quic,
            })))
        }
    }
}

struct HookedHash(&'static dyn hash::Hash);

struct HookedContext(Box<dyn hash::Context>);

impl hash::Hash for HookedHash {
    fn start(&self) -> Box<dyn hash::Context> {
        Box::new(HookedContext(self.0.start()))
    }

    fn hash(&self, data: &[u8]) -> hash::Output {
        match with_current(|hooks| hooks.substituted(data)) {
            Some(replaced) => self.0.hash(&replaced),
            None => self.0.hash(data),
        }
    }

    fn output_len(&self) -> usize {
        self.0.output_len()
    }

    fn algorithm(&self) -> HashAlgorithm {
        self.0.algorithm()
    }
}

impl hash::Context for HookedContext {
    fn fork_finish(&self) -> hash::Output {
        self.0.fork_finish()
    }

    fn fork(&self) -> Box<dyn hash::Context> {
        Box::new(Self(self.0.fork()))
    }

    fn finish(self: Box<Self>) -> hash::Output {
        self.0.finish()
    }

    fn update(&mut self, data: &[u8]) {
        let replaced = with_current(|hooks| {
            hooks.note_answer(data);
            hooks.substituted(data)
        });
        self.0.update(replaced.as_deref().unwrap_or(data));
    }
}

/// The group that rustls starts with: keys for all groups that the profile has shares of. Which of them counts the server says.
#[derive(Debug)]
struct Several;

/// Of a private range, so that nothing else is called so. RFC 8446 section 4.2.7.
const SEVERAL: NamedGroup = NamedGroup::Unknown(0xFE5E);

impl SupportedKxGroup for Several {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let groups = with_current(|hooks| Some(hooks.groups.clone())).unwrap_or_default();
        let groups = groups.into_iter().filter_map(find);
        let keys: Vec<_> = groups.map(SupportedKxGroup::start).collect::<Result<_, _>>()?;
        if keys.is_empty() {
            // A profile of TLS 1.3 whose shares are all unknown ends here, and not with a peer.
            return Err(Error::General("no share of a group that can be computed".to_owned()));
        }
        let shares = keys.iter().map(|key| (u16::from(key.group()), key.pub_key().to_vec())).collect();
        with_current(|hooks| {
            hooks.shares = shares;
            Some(())
        });
        Ok(Box::new(Keys(keys)))
    }

    fn name(&self) -> NamedGroup {
        SEVERAL
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_3
    }
}

/// Never empty.
struct Keys(Vec<Box<dyn ActiveKeyExchange>>);

impl Keys {
    /// The key that the server answered to, or the first.
    fn position(&self) -> usize {
        let answered = with_current(|hooks| hooks.answered);
        answered.and_then(|group| self.0.iter().position(|key| key.group() == group)).unwrap_or(0)
    }
}

impl ActiveKeyExchange for Keys {
    fn complete(mut self: Box<Self>, peer_pub_key: &[u8]) -> Result<SharedSecret, Error> {
        let position = self.position();
        self.0.swap_remove(position).complete(peer_pub_key)
    }

    fn pub_key(&self) -> &[u8] {
        self.0.first().map_or(&[], |key| key.pub_key())
    }

    fn group(&self) -> NamedGroup {
        self.0.get(self.position()).map_or(SEVERAL, |key| key.group())
    }
}

fn find(group: NamedGroup) -> Option<&'static dyn SupportedKxGroup> {
    crypto::aws_lc_rs::ALL_KX_GROUPS.iter().copied().find(|found| found.name() == group)
}
