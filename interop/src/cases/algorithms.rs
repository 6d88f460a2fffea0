//! Many fresh connections, so that the clients' random draws come to every algorithm; what was agreed on is read off the wire.

use std::collections::BTreeMap;

use super::lifecycle::fetch;
use super::traffic::{download, upload};
use super::{Case, Note, Protocols, case};
use crate::failure::{Doing, Failure};
use crate::kexinit::Negotiated;
use crate::relay::Relay;
use crate::scenario::{Protocol, Server, Setting};
use crate::sniff;

pub(super) const CASES: &[Case] = &[
    case("algorithms_100", algorithms).over(Protocols::Readable),
    case("rekey_by_volume", rekey_by_volume).over(Protocols::OnlySsh).when_long(),
];

const CONNECTIONS: usize = 100;

/// Every name that can be agreed on must have been within 100 connections. Each has about one chance in eight per connection where
/// the server's lists are complete, which is on OSSH.
const KEX: [&str; 8] = [
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group16-sha512",
];
const CIPHERS: [&str; 6] = [
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
];

/// 100 client runs. On SSH the server's own lists are random too, but fixed for a server, so several servers are used.
fn algorithms(setting: &Setting) -> Result<Note, Failure> {
    let servers = match setting.protocol {
        Protocol::Ssh => 20,
        _ => 1,
    };
    let mut drawn = Drawn::default();
    for _ in 0..servers {
        let server = setting.plain_server()?;
        for _ in 0..CONNECTIONS / servers {
            drawn.add(&connect_once(setting, &server)?);
        }
    }
    if setting.protocol == Protocol::Ossh {
        drawn.must_have(&KEX)?;
        drawn.must_have(&CIPHERS)?;
    }
    Ok(drawn.to_string())
}

fn connect_once(setting: &Setting, server: &Server) -> Result<Negotiated, Failure> {
    let relay = Relay::start(server.address(setting.protocol)).doing("start the relay")?;
    let plan = setting.plan(server).without_prefix().via(setting.protocol, &relay);
    // Ours would prefer AES-GCM; the reference ignores the key.
    let plan = plan.with("SSHAnyCipher", true);
    let client = setting.connect(&plan)?;
    fetch(setting, &client)?;
    let keyword = server.entry().text("sshObfuscatedKey")?;
    // On a slow machine a client may have begun another, and dropped it.
    let mut outcome = Err(Failure::mismatch("relay", "a connection", "none"));
    for seen in relay.seen().iter().rev() {
        outcome = sniff::negotiated(setting.protocol, keyword, seen);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// More than 2^30 bytes each way under ChaCha20, after which either side renews the keys.
fn rekey_by_volume(setting: &Setting) -> Result<Note, Failure> {
    const BYTES: u64 = 1_200_000_000;
    for _ in 0..40 {
        let server = setting.plain_server()?;
        for _ in 0..5 {
            let relay = Relay::start(server.address(setting.protocol)).doing("start the relay")?;
            let client = setting.connect(&setting.plan(&server).via(setting.protocol, &relay))?;
            let seen =
                relay.seen().pop().ok_or_else(|| Failure::mismatch("relay", "a connection", "none"))?;
            let agreed = sniff::negotiated(setting.protocol, "", &seen)?;
            if agreed.ciphers.iter().all(|name| name.starts_with("chacha20")) {
                upload(client.socks, setting.origin.bulk, BYTES)?;
                download(client.socks, setting.origin.bulk, BYTES)?;
                fetch(setting, &client)?;
                return Ok(format!("{} MB each way under {}", BYTES / 1_000_000, agreed.ciphers[0]));
            }
        }
    }
    Err(Failure::mismatch("ciphers of 200 connections", "ChaCha20 both ways at least once", "never"))
}

#[derive(Default)]
struct Drawn(BTreeMap<String, u32>);

impl Drawn {
    fn add(&mut self, agreed: &Negotiated) {
        let names = [&agreed.kex, &agreed.host_key].into_iter().chain(&agreed.ciphers).chain(&agreed.macs);
        for name in names {
            *self.0.entry(name.clone()).or_default() += 1;
        }
    }

    fn must_have(&self, names: &[&str]) -> Result<(), Failure> {
        let missing: Vec<_> = names.iter().filter(|name| !self.0.contains_key(**name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Failure::mismatch("algorithms never drawn", "none", format_args!("{missing:?} (drawn: {self})")))
    }
}

impl std::fmt::Display for Drawn {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let each: Vec<_> = self.0.iter().map(|(name, count)| format!("{name} {count}")).collect();
        out.write_str(&each.join(", "))
    }
}
