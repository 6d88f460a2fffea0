//! Names of hosts that requests and handshakes pretend to go to. Source: TRANSPORTS.md 2.3.

use culvert_obfuscation::{Pattern, PatternKind, Prng};
use culvert_protocol::TunnelProtocol;
use culvert_protocol::parameters::HostNames;

const ONSETS: &[&str] = &[
    "b", "br", "c", "ch", "cl", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "l", "m", "n", "p", "pl",
    "pr", "qu", "r", "s", "sh", "st", "t", "th", "tr", "v", "w", "z",
];
const NUCLEI: &[&str] = &["a", "a", "ai", "e", "e", "ea", "ee", "i", "i", "o", "o", "oo", "ou", "u"];
const CODAS: &[&str] =
    &["", "", "", "ck", "l", "m", "n", "n", "nd", "ng", "r", "rd", "rs", "s", "st", "t", "x"];
const ENDINGS: &[&str] =
    &["com", "com", "com", "com", "com", "com", "net", "net", "org", "org", "info", "co", "io"];

/// Whether a dial names another host than the server's address.
pub(super) fn transforms(settings: &HostNames, prng: &mut Prng) -> bool {
    prng.flip_weighted_coin(settings.transform_probability.get())
}

/// A host name: from the settings' patterns where there are any for the protocol, else one of our own.
pub(super) fn select(settings: &HostNames, protocol: TunnelProtocol, prng: &mut Prng) -> String {
    custom(settings, protocol, prng).unwrap_or_else(|| own(prng))
}

fn custom(settings: &HostNames, protocol: TunnelProtocol, prng: &mut Prng) -> Option<String> {
    let limits = &settings.custom_limit_protocols;
    if !(limits.is_empty() || limits.contains(&protocol))
        || !prng.flip_weighted_coin(settings.custom_probability.get())
    {
        return None;
    }
    let pattern = Pattern::parse(prng.pick(&settings.custom_regexes)?, PatternKind::Text).ok()?;
    String::from_utf8(pattern.generate(prng).ok()?).ok().filter(|name| is_host_name(name))
}

/// Whether it can stand in a header and in a handshake. RFC 1123 section 2.1, and underscores, which are in use.
fn is_host_name(name: &str) -> bool {
    let fit = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= 253 && name.split('.').all(fit)
}

/// A name that can be spoken, as most are.
fn own(prng: &mut Prng) -> String {
    let mut pick = |from: &'static [&'static str]| prng.pick(from).copied().unwrap_or_default();
    let start = pick(&["", "", "", "", "", "www.", "www.", "cdn.", "api.", "static.", "img."]);
    let syllables = pick(&["ab", "abc", "abc", "abcd"]).len();
    let mut name = start.to_owned();
    for _ in 0..syllables {
        name.extend([pick(ONSETS), pick(NUCLEI)]);
    }
    name.extend([pick(CODAS), ".", pick(ENDINGS)]);
    name
}

#[cfg(test)]
mod tests {
    use culvert_obfuscation::Seed;
    use culvert_protocol::parameters::Probability;

    use super::*;

    #[test]
    fn names_are_names_and_many() {
        let mut prng = Prng::new(&Seed::from_bytes([3; 32]));
        let names: std::collections::BTreeSet<String> = (0..1000).map(|_| own(&mut prng)).collect();
        assert!(names.len() > 950, "{}", names.len());
        assert!(names.iter().all(|name| is_host_name(name) && name.contains('.')));
    }

    #[test]
    fn patterns_are_used_where_they_may_be() {
        let mut prng = Prng::new(&Seed::from_bytes([4; 32]));
        let mut settings = HostNames {
            custom_regexes: vec![r"[a-z]{3}\.example".into()],
            custom_probability: Probability::ALWAYS,
            ..HostNames::default()
        };
        assert!(select(&settings, TunnelProtocol::OSSH, &mut prng).ends_with(".example"));
        settings.custom_limit_protocols = vec![TunnelProtocol::SSH];
        assert!(!select(&settings, TunnelProtocol::OSSH, &mut prng).ends_with(".example"));
        let unfit = HostNames {
            custom_regexes: vec!["a b".into()],
            custom_probability: Probability::ALWAYS,
            ..HostNames::default()
        };
        assert!(is_host_name(&select(&unfit, TunnelProtocol::OSSH, &mut prng)));
    }
}
