//! How long it takes to choose a client's rules among very many filters, and to judge an address by very many subnets.

use std::fmt::Write;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use culvert_obfuscation::{Prng, Seed};
use culvert_protocol::TunnelProtocol;
use culvert_protocol::packed::Params;
use culvert_server::config::{Strictness, traffic_rules};
use culvert_server::rules::{ClientFacts, HandshakeFacts, RuleSet, TextParameters};
use tokio::time::Instant;

use crate::Outcome;
use crate::tunnel::random;

const LOOK_UPS: u32 = 200_000;
/// Countries and providers that clients and filters have.
const COUNTRIES: u32 = 250;
const PROVIDERS: u32 = 5000;

/// Compiles so many, and prints `choose NS` and `judge NS`, of one each.
pub(crate) fn run(filters: u32, subnets: u32) -> Outcome<()> {
    let began = Instant::now();
    let file = traffic_rules::parse(Path::new("rules"), &text(filters, subnets)?, Strictness::Run)?.value;
    let rules = RuleSet::compile(&file, "");
    println!("compile {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
    let mut prng = Prng::new(&Seed::from_bytes(random()?));
    let parameters = TextParameters::new(&Params::from_json(br#"{"client_platform": "Android_10"}"#)?);
    let protocol = "OSSH".parse::<TunnelProtocol>()?;
    let clients: Vec<(String, String)> = (0..1000)
        .map(|_| (country(prng.range_u32(0, COUNTRIES - 1)), provider(prng.range_u32(0, PROVIDERS - 1))))
        .collect();
    let began = Instant::now();
    for (country, isp) in clients.iter().cycle().take(LOOK_UPS as usize) {
        let handshake = HandshakeFacts {
            parameters: &parameters,
            access_types: &[],
            authorization_ids: &[],
            revoked: false,
        };
        let facts =
            ClientFacts { protocol, country, isp, asn: "None", city: "None", handshake: Some(handshake) };
        black_box(rules.select(black_box(&facts)));
    }
    println!("choose {:.0}", nanoseconds(began));
    let addresses: Vec<SocketAddr> = (0..1000)
        .map(|_| SocketAddr::from((Ipv4Addr::from_bits(prng.range_u32(0, u32::MAX)), 443)))
        .collect();
    let default = rules.default_rules();
    let began = Instant::now();
    for address in addresses.iter().cycle().take(LOOK_UPS as usize) {
        black_box(default.permits_tcp(black_box(*address), &|_| None));
    }
    println!("judge {:.0}", nanoseconds(began));
    Ok(())
}

fn nanoseconds(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e9 / f64::from(LOOK_UPS)
}

/// Filters of country, of country and provider, and of country and platform; subnets all over the address space.
fn text(filters: u32, subnets: u32) -> Outcome<String> {
    let mut text = String::from("{\"DefaultRules\": {\"DisallowSubnets\": [");
    let spread = u32::MAX / subnets.max(1);
    for number in 0..subnets {
        let comma = if number == 0 { "" } else { "," };
        write!(text, "{comma}\"{}/28\"", Ipv4Addr::from_bits((number * spread) & !15))?;
    }
    text.push_str("]}, \"FilteredRules\": [");
    for number in 0..filters {
        let comma = if number == 0 { "" } else { "," };
        let country = country(number % COUNTRIES);
        let further = match number % 3 {
            0 => format!("\"ISPs\": [\"{}\"]", provider(number % PROVIDERS)),
            1 => format!("\"HandshakeParameters\": {{\"client_platform\": [\"Platform_{number}\"]}}"),
            _ => format!("\"ASNs\": [\"{number}\"]"),
        };
        write!(
            text,
            "{comma}{{\"Filter\": {{\"Regions\": [\"{country}\"], {further}}}, \"Rules\": {{\"MaxTCPPortForwardCount\": {}}}}}",
            number + 1
        )?;
    }
    text.push_str("]}");
    Ok(text)
}

fn country(number: u32) -> String {
    let letter = |number: u32| char::from(b'A' + (number % 26) as u8);
    [letter(number / 26), letter(number)].iter().collect()
}

fn provider(number: u32) -> String {
    format!("Provider {number}")
}
