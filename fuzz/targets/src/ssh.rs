//! Targets of the `ssh` crate.

use tokio::time::Instant;

use culvert_ssh::cipher::{Opener, Sealer};
use culvert_ssh::direct_tcpip::{DirectTcpip, MAX_FIRST_BYTES};
use culvert_ssh::host_key::{HostKey, verify};
use culvert_ssh::kex::{self, DirectionKeys, EphemeralKeys, ExchangeInputs, KexError, KeySource, Reply};
use culvert_ssh::kexinit::{Direction, KexInit, Role, Suite, negotiate};
use culvert_ssh::names::{CipherName, HostKeyAlgorithm, KexName, MacName};
use culvert_ssh::{Connection, ServerConfig};

use crate::ssh_messages::drain;
use crate::ssh_setup;

/// Of every packet here.
const SEQUENCE: u32 = 7;

/// A host key of a configuration, and the blobs of a peer's.
pub(crate) fn host_key(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = HostKey::from_pem(text);
    }
    let (key, signature) = data.split_at(data.len() / 2);
    for algorithm in HostKeyAlgorithm::ALL {
        assert!(verify(algorithm, key, b"message", signature).is_err(), "a signature was forged");
    }
}

/// A channel open of a flow. What was read is written and read as the same, and is no longer than it may be.
pub(crate) fn direct_tcpip(data: &[u8]) {
    let Ok(read) = DirectTcpip::decode(data) else { return };
    assert!(read.first_bytes.len() <= MAX_FIRST_BYTES);
    assert_eq!(DirectTcpip::decode(&read.encode()), Ok(read));
}

/// A KEXINIT. What was read is written and read as the same, and agrees with itself or says why not.
pub(crate) fn kexinit(data: &[u8]) {
    let Ok(read) = KexInit::decode(data) else { return };
    assert_eq!(KexInit::decode(&read.encode()).as_ref(), Ok(&read));
    for role in [Role::Client, Role::Server] {
        let _ = negotiate(role, &read, &read);
    }
}

/// The two messages of a key exchange, in the encodings of all methods. A server's answer to what parses must not panic.
pub(crate) fn kex_messages(data: &[u8]) {
    for name in KexName::ALL {
        if let Ok(public) = kex::parse_init(name, data) {
            // The MODP groups take long and are covered by the public value's bounds.
            if !name.is_modp() {
                let _ = kex::respond(name, public, &mut FixedKeys);
            }
        }
        if let Ok(reply) = Reply::parse(name, data) {
            let written = reply.encode(name);
            assert_eq!(Reply::parse(name, &written), Ok(reply));
        }
    }
}

/// A packet under every cipher: the first byte picks it, the rest is a payload that must arrive, must not arrive changed, and is then
/// itself taken for a packet.
pub(crate) fn ssh_packet(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let suites = suites();
    let suite = suites[usize::from(*choice) % suites.len()];
    let keys = keys(suite);
    let made = "the keys have the lengths of their suite";
    let mut bare = Opener::clear();
    open(&mut bare, data);
    assert_eq!(open(&mut Opener::new(&keys).expect(made), data), None, "a packet was forged");
    if data.is_empty() {
        return;
    }
    let packet = seal(&mut Sealer::new(&keys).expect(made), SEQUENCE, data);
    let opened = open(&mut Opener::new(&keys).expect(made), &packet);
    assert_eq!(opened.as_deref(), Some(data), "a sealed payload did not arrive");
    let mut changed = packet;
    let at = data.len() * 31 % changed.len();
    changed[at] ^= 1;
    assert_eq!(open(&mut Opener::new(&keys).expect(made), &changed), None, "a changed packet was accepted");
}

/// What a stranger sends, plain or, with an odd first byte, under obfuscation, to a server or a client. The second byte says in which
/// pieces it comes.
pub(crate) fn ssh_opening(data: &[u8]) {
    let Some(([mode, piece], data)) = data.split_first_chunk::<2>() else { return };
    let now = Instant::now().into_std();
    let mut connection = if mode & 2 == 0 {
        let obfuscation = (mode & 1 == 1).then(ssh_setup::server_obfuscation);
        Connection::server(ServerConfig { obfuscation, ..ssh_setup::server_config() }, Box::new(FixedKeys))
    } else {
        Connection::client(ssh_setup::client_config(), Box::new(FixedKeys))
    };
    let mut waiting: Vec<u8> = Vec::new();
    for part in data.chunks(usize::from(*piece).max(1)) {
        waiting.extend_from_slice(part);
        loop {
            let Ok(progress) = connection.handle_input(&mut waiting, now) else { return };
            let consumed = progress.consumed;
            assert!(progress.data.is_none(), "data came before login");
            drop(waiting.drain(..consumed));
            drain(&mut connection, now);
            while connection.poll_event().is_some() {}
            if consumed == 0 || waiting.is_empty() {
                break;
            }
        }
    }
    assert!(!connection.is_authenticated(), "a stranger logged in");
}

/// A packet with a payload.
pub(crate) fn seal(sealer: &mut Sealer, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let padding = sealer.padding_len(payload.len());
    let mut packet = Sealer::header(payload.len(), padding).to_vec();
    packet.extend_from_slice(payload);
    packet.resize(sealer.packet_len(payload.len()), 0);
    sealer.seal(sequence, &mut packet).expect("the packet is well formed");
    packet
}

/// The payload of the packet that the bytes start with, if they hold one.
fn open(opener: &mut Opener, data: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = data.to_vec();
    let head = bytes.get_mut(..opener.header_len())?;
    let length = opener.packet_length(SEQUENCE, head).ok()?;
    let len = opener.packet_len(length);
    opener.open(SEQUENCE, bytes.get_mut(..len)?).ok().map(<[u8]>::to_vec)
}

fn suites() -> Vec<Suite> {
    let (alone, with_mac): (Vec<CipherName>, Vec<CipherName>) =
        CipherName::ALL.into_iter().partition(|cipher| cipher.is_aead());
    let alone = alone.into_iter().map(|cipher| Suite { cipher, mac: None });
    let with_mac = with_mac
        .into_iter()
        .flat_map(|cipher| MacName::ALL.into_iter().map(move |mac| Suite { cipher, mac: Some(mac) }));
    alone.chain(with_mac).collect()
}

/// Keys that are the same in every run.
fn keys(suite: Suite) -> DirectionKeys {
    let base_point = [[9].as_slice(), &[0; 31]].concat();
    let (server_public, secret) = kex::respond(KexName::Curve25519Sha256, &base_point, &mut FixedKeys)
        .expect("the base point is a point");
    let inputs = ExchangeInputs {
        client_ident: b"",
        server_ident: b"",
        client_kexinit: b"",
        server_kexinit: b"",
        host_key_blob: b"",
        client_public: &base_point,
        server_public: &server_public,
    };
    let hash = kex::exchange_hash(KexName::Curve25519Sha256, &inputs, &secret);
    let source = KeySource { secret: &secret, hash: &hash, session_id: &hash };
    kex::derive_keys(&source, Direction::ClientToServer, suite)
}

/// Ephemeral keys that are the same in every run.
pub(crate) struct FixedKeys;

impl EphemeralKeys for FixedKeys {
    fn fill(&mut self, secret: &mut [u8]) -> Result<(), KexError> {
        secret.fill(0x42);
        Ok(())
    }
}
