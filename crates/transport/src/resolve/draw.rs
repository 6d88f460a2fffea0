//! Draws how the names of a dial are resolved. Source: TRANSPORTS.md 6.8.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use culvert_obfuscation::{Prng, ScopedNames, Seed};
use culvert_protocol::parameters::{Cidr, Parameters, Probability};

use super::is_bogus;
use super::plan::{DnsServer, First, Preresolved, QueryTransform, ResolvePlan};

/// Draws of an address from a block of which some are none.
const DRAWS: u32 = 10;

/// The front of a dial that has one.
#[derive(Clone, Copy, Debug)]
pub struct FrontName<'a> {
    /// Who runs it.
    pub provider: &'a str,
    /// The name that is dialed.
    pub name: &'a str,
}

impl ResolvePlan {
    /// Draws a plan; `multiplier` is that of timeouts, and `front` what an address may be known of.
    #[must_use]
    pub fn draw(of: &Parameters, multiplier: f64, front: Option<FrontName<'_>>, seed: &Seed) -> Self {
        let (resolver, flips) = (&of.resolver, |label: &str, probability: Probability| {
            Prng::derived(seed, label).flip_weighted_coin(probability.get())
        });
        let preresolved = front.filter(|_| flips("preresolve", resolver.preresolved_probability));
        let preresolved = preresolved.and_then(|front| {
            let blocks = resolver.preresolved_cidrs.get(front.provider)?;
            let address = address(blocks, &mut Prng::derived(seed, "preresolved"))?;
            Some(Preresolved { name: front.name.to_owned(), address })
        });
        let preferred = &resolver.preferred_alternate_servers;
        let prefers = !preferred.is_empty() && flips("prefer", resolver.prefer_alternate_probability);
        let servers = if prefers { preferred } else { &resolver.alternate_servers };
        // Only the one that is drawn is looked at: others may be for later versions.
        let alternate: Option<DnsServer> =
            Prng::derived(seed, "server").pick(servers).and_then(|server| server.parse().ok());
        let casing = flips("casing", resolver.qname_randomize_casing_probability)
            .then(|| bytes(&seed.derive("casing-of-name")));
        Self {
            attempts: resolver.attempts_per_server,
            preferred_attempts: resolver.attempts_per_preferred_server,
            request_timeout: resolver.request_timeout.scaled(multiplier),
            await_timeout: resolver.await_timeout.scaled(multiplier),
            preresolved,
            first: if prefers && alternate.is_some() { First::Alternate } else { First::System },
            transform: flips("transform", of.dns.probability)
                .then(|| transform(of, alternate.as_ref(), seed))
                .flatten(),
            alternate,
            casing,
            name_must_match: flips("match", resolver.qname_must_match_probability),
            edns0: flips("edns0", resolver.include_edns0_probability),
        }
    }
}

/// Scopes are addresses of servers.
fn transform(of: &Parameters, server: Option<&DnsServer>, seed: &Seed) -> Option<QueryTransform> {
    let scope = server.map(|server| server.address().ip().to_string()).unwrap_or_default();
    let names = ScopedNames::new(of.dns.scoped_names.clone());
    let (name, steps) = names.select(&scope, &of.dns.specs, &mut Prng::derived(seed, "transform-name"))?;
    Some(QueryTransform {
        name: name.to_owned(),
        steps: steps.clone(),
        seed: bytes(&seed.derive("transform")),
    })
}

fn bytes(seed: &Seed) -> [u8; 32] {
    let mut bytes = [0; 32];
    Prng::new(seed).fill(&mut bytes);
    bytes
}

/// An address of one of the blocks that a server may have.
fn address(blocks: &[Cidr], prng: &mut Prng) -> Option<IpAddr> {
    let block = *prng.pick(blocks)?;
    (0..DRAWS).map(|_| within(&block, prng)).find(|address| !is_bogus(*address))
}

fn within(block: &Cidr, prng: &mut Prng) -> IpAddr {
    let mut drawn = [0; 16];
    prng.fill(&mut drawn);
    let drawn = u128::from_be_bytes(drawn);
    match block.address {
        IpAddr::V4(address) => {
            let free = u32::MAX.checked_shr(block.prefix.into()).unwrap_or(0);
            let drawn = u32::try_from(drawn >> 96).unwrap_or_default();
            Ipv4Addr::from(u32::from(address) & !free | drawn & free).into()
        }
        IpAddr::V6(address) => {
            let free = u128::MAX.checked_shr(block.prefix.into()).unwrap_or(0);
            Ipv6Addr::from(u128::from(address) & !free | drawn & free).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parameters() -> Parameters {
        let mut parameters = Parameters::default();
        let overrides = [
            ("DNSResolverPreresolvedIPAddressCIDRs", json!({ "P": ["45.64.0.0/10", "2606:4700::/32"] })),
            ("DNSResolverPreresolvedIPAddressProbability", json!(0.5)),
            ("DNSResolverAlternateServers", json!(["9.9.9.9"])),
            ("DNSResolverPreferredAlternateServers", json!(["1.1.1.1", "tls://one.one.one.one@1.1.1.1"])),
            ("DNSResolverPreferAlternateServerProbability", json!(0.5)),
            ("DNSResolverQNameRandomizeCasingProbability", json!(0.5)),
            ("DNSResolverProtocolTransformSpecs", json!({ "T": [["^", "0"]] })),
            ("DNSResolverProtocolTransformScopedSpecNames", json!({ "1.1.1.1": ["T"] })),
            ("DNSResolverProtocolTransformProbability", json!(1.0)),
        ];
        for (name, value) in overrides {
            parameters.set(name, &value).unwrap();
        }
        parameters
    }

    #[test]
    fn plans_are_drawn_by_the_parameters() {
        let parameters = parameters();
        let front = FrontName { provider: "P", name: "front.example" };
        let drawn: Vec<ResolvePlan> = (0..200)
            .map(|number| {
                let seed = Seed::from_bytes([number; 32]);
                let plan = ResolvePlan::draw(&parameters, 2.0, Some(front), &seed);
                assert_eq!(plan, ResolvePlan::draw(&parameters, 2.0, Some(front), &seed), "repeats");
                plan
            })
            .collect();
        let share = |is: fn(&ResolvePlan) -> bool| drawn.iter().filter(|plan| is(plan)).count();
        for (what, count) in [
            ("preresolved", share(|plan| plan.preresolved.is_some())),
            ("preferred", share(|plan| plan.first == First::Alternate)),
            ("casing", share(|plan| plan.casing.is_some())),
        ] {
            assert!((60..140).contains(&count), "{what}: {count}");
        }
        assert!(
            drawn.iter().all(|plan| (plan.first == First::Alternate) == plan.transform.is_some()),
            "by scope"
        );
        assert!(drawn.iter().all(|plan| plan.request_timeout.as_secs() == 10));
        for known in drawn.iter().filter_map(|plan| plan.preresolved.as_ref()) {
            let text = known.address.to_string();
            let inside = text.starts_with("2606:4700:")
                || matches!(known.address, IpAddr::V4(address) if (64..128).contains(&address.octets()[1]));
            assert!(inside, "{text}");
        }
        let other = FrontName { provider: "Q", name: "front.example" };
        let plan = ResolvePlan::draw(&parameters, 1.0, Some(other), &Seed::from_bytes([1; 32]));
        assert_eq!(plan.preresolved, None);
        let defaults = ResolvePlan::draw(&Parameters::default(), 1.0, None, &Seed::from_bytes([1; 32]));
        assert_eq!(defaults, ResolvePlan::default());
    }
}
