//! The plan of a Shadowsocks stream: above all, what its salt begins with. Source: TRANSPORTS.md 4.

use culvert_obfuscation::{PrefixSpec, Prng};
use culvert_transport::{Endpoint, shadowsocks};

use super::choices::{Choice, StoredPrefix};
use super::draft::Draft;
use super::{PlanError, port_scope, select, specs};

/// Beginnings of common protocols, for settings that name none: a stream that is noise from its first byte is what censors block
/// first. What follows is noise, as in the real ones key shares and hashes are.
const OWN: &[(&str, &str)] = &[
    (
        "tls",
        concat!(
            r"\x16\x03\x01(\x02\x00\x01\x00\x01\xfc|\x02\x05\x01\x00\x02\x01|\x06\xc4\x01\x00\x06\xc0",
            r"|\x07\x13\x01\x00\x07\x0f|\x01\x3c\x01\x00\x01\x38)\x03\x03",
        ),
    ),
    ("http-get", r"GET /([a-z]{5}/[0-9]{4}|[a-z]{10}|v[1-3]/[a-z]{6}|[0-9a-f]{11})"),
    ("http-post", r"POST /([a-z]{4}/[a-z]{4}|[a-z]{9}|v[1-3]/[a-z]{5}|[0-9a-f]{10})"),
    ("ssh", r"SSH-2\.0-(OpenSSH_|libssh_[01]|dropbear|PuTTY_Re)"),
];

impl Draft<'_> {
    /// The plan, and the name of its prefix.
    pub(super) fn shadowsocks(
        &self,
        server: Endpoint,
        port: u16,
    ) -> Result<(shadowsocks::Plan, Option<String>), PlanError> {
        let key = shadowsocks::Key::from_password(self.entry.required_text("sshShadowsocksKey")?);
        let chosen = match self.entry.flag("disableShadowsocksPrefix") {
            true => None,
            false => self.keep_or_try(Choice::SHADOWSOCKS_PREFIX, || self.salt_prefix(port))?,
        };
        let (name, bytes) = chosen.map(StoredPrefix::into_salt).unzip();
        let prefix = shadowsocks::SaltPrefix::new(bytes.unwrap_or_default())?;
        Ok((shadowsocks::Plan { server, key, prefix }, name))
    }

    fn salt_prefix(&self, port: u16) -> Result<Option<StoredPrefix>, PlanError> {
        let settings = &self.parameters.shadowsocks_prefix;
        let seed = self.seed.derive("shadowsocks-prefix");
        let mut choice = Prng::derived(&seed, "choice");
        if !choice.flip_weighted_coin(settings.probability.get()) {
            return Ok(None);
        }
        let (name, spec) = if settings.specs.is_empty() {
            let Some((name, pattern)) = choice.pick(OWN) else { return Ok(None) };
            ((*name).to_owned(), PrefixSpec::from_pattern(pattern)?)
        } else {
            let specs = specs(settings, PrefixSpec::new)?;
            let Some((name, spec)) = select(settings, &specs, port_scope(port), &mut choice) else {
                return Ok(None);
            };
            (name, spec.clone())
        };
        let (bytes, _) = spec.generate(&seed.derive("spec"), 0)?;
        Ok(Some(StoredPrefix::of_salt(&name, &bytes)))
    }
}

#[cfg(test)]
mod tests {
    use culvert_obfuscation::Seed;
    use culvert_transport::shadowsocks::wire::MAX_PREFIX;

    use super::*;

    /// Whether a censor's rule against fully encrypted traffic lets the beginning pass.
    fn passes(start: &[u8]) -> bool {
        let printable = |byte: &u8| (0x20..=0x7E).contains(byte);
        matches!(start, [0x16, 0x03, 0x00..=0x09, ..])
            || start.get(..6).is_some_and(|head| head.iter().all(printable))
    }

    #[test]
    fn our_prefixes_fit_a_salt_and_pass() {
        for (name, pattern) in OWN {
            let spec = PrefixSpec::from_pattern(pattern).unwrap();
            for n in 0..200_u32 {
                let seed = Seed::from_bytes([0; 32]).derive(&n.to_string());
                let (bytes, _) = spec.generate(&seed, 0).unwrap();
                assert!(bytes.len() <= MAX_PREFIX && passes(&bytes), "{name}, seed {n}: {bytes:?}");
            }
        }
    }
}
