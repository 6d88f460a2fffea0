//! Passthrough beside the real thing: what a prober sees of nginx, Caddy and Apache through this server is what it sees of them directly.
//! Every kind of probe is sent to both, whole, with its end, and in pieces; answers, the way they end and the time of the end are compared.
//! A site's program that is not here makes its test ignored, with the reason.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by them")]

#[path = "../strangers/kinds.rs"]
mod kinds;
mod observation;
#[path = "../server/mod.rs"]
#[expect(dead_code, reason = "tunnels are for other tests")]
mod server;
mod site;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use culvert_protocol::TunnelProtocol;
use culvert_server::config::{Listener, MeekConfig, MeekPrivateKey, Secret, TlsConfig};
use culvert_transport::meek::server::{HeadRules, SessionLimits};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use kinds::{Probe, kinds};
use observation::{Manner, Observation, observe};
use server::Server;
use site::{Product, Site};

/// Probes under way at once: more would make the times depend on each other.
const AT_ONCE: usize = 24;
/// How often a probe that made a difference is sent again.
const ROUNDS: usize = 6;
/// Those that send strangers to a site; what is no TLS to them is none to the site either.
const PROTOCOLS: [TunnelProtocol; 3] = [
    TunnelProtocol::TLS_OSSH,
    TunnelProtocol::UNFRONTED_MEEK_OSSH,
    TunnelProtocol::UNFRONTED_MEEK_HTTPS_OSSH,
];
/// Whole hello of a scanner, TLS 1.2 and 1.3, without a proof.
const HELLO: &str = include_str!("hello.hex");

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let pairs = PROTOCOLS.into_iter().flat_map(|protocol| Product::ALL.map(|product| (protocol, product)));
    let trials = pairs.map(|(protocol, product)| {
        let name = format!("passthrough_of_{}_is_{}", protocol.name(), product.name());
        match product.program() {
            Some(program) => Trial::test(name, move || compare(protocol, product, &program)),
            None => {
                let reason = format!("{} is not installed", product.name());
                Trial::test(format!("{name} ({reason})"), || Ok(())).with_ignored_flag(true)
            }
        }
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn meek() -> MeekConfig {
    MeekConfig {
        obfuscated_key: Secret::new("some key"),
        private_key: MeekPrivateKey::new([7; 32]),
        limits: SessionLimits::default(),
        rules: HeadRules::default(),
        rules_are_hints: false,
        fronted: Vec::new(),
        forwarded_for: Vec::new(),
        patience: Duration::from_secs(45),
        fronted_patience: Duration::from_secs(360),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn compare(
    protocol: TunnelProtocol,
    product: Product,
    program: &std::path::Path,
) -> Result<(), Failed> {
    let site = Site::start(product, program)?;
    let server = Server::start(&format!("beside-{protocol}-{}", product.name()), |config| {
        let address = SocketAddr::new(config.address, 0);
        config.listeners.push(Listener { protocol, address });
        let site = Some(site.address.to_string());
        config.tls =
            Some(TlsConfig { key: Secret::new("some key"), legacy_passthrough: false, ticket_secret: None });
        config.meek = Some(meek());
        config.sites = site.map(|site| (protocol, site)).into_iter().collect();
    })
    .await;
    let through = server.address(protocol);
    let mut differing = Vec::new();
    let mut delays = Vec::new();
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut pairs = JoinSet::new();
    let mut count = 0;
    for probe in probes() {
        for manner in Manner::ALL {
            let (probe, turns) = (probe.clone(), turns.clone());
            count += 1;
            pairs.spawn(async move {
                let _turn = turns.acquire_owned().await;
                let (directly, through) = both([site.address, through], &probe, manner).await;
                (probe, manner, directly, through)
            });
        }
    }
    while let Some(pair) = pairs.join_next().await {
        let (probe, manner, directly, through) = pair.unwrap();
        delays.extend(added(&directly, &through));
        if !directly.is_like(&through) {
            differing.push((probe, manner));
        }
    }
    let mut differences = Vec::new();
    for (probe, manner) in differing {
        differences.extend(again([site.address, through], &probe, manner).await);
    }
    delays.sort_unstable();
    let median = delays.get(delays.len() / 2).copied().unwrap_or_default();
    println!("{}: {count} probes, {} answered, added {median:?} in the middle", product.name(), delays.len());
    match differences.as_slice() {
        [] => Ok(()),
        some => Err(format!("{} of {count} differ\n{}", some.len(), some.join("\n")).into()),
    }
}

/// The same probe at the same time, directly and through the server.
async fn both([site, through]: [SocketAddr; 2], probe: &Probe, manner: Manner) -> (Observation, Observation) {
    let directly = tokio::spawn(observe(site, probe.1.clone(), manner));
    let through = observe(through, probe.1.clone(), manner).await;
    (directly.await.unwrap(), through)
}

/// What differs every time. With many probes under way a time may differ once, and sites are not of one mind themselves: whether one
/// resets, and what is still read before a reset, are races of its own. So what came through is held against all that was seen directly.
async fn again(addresses: [SocketAddr; 2], probe: &Probe, manner: Manner) -> Option<String> {
    let mut seen = Vec::new();
    let mut last = None;
    for _ in 0..ROUNDS {
        let (directly, through) = both(addresses, probe, manner).await;
        seen.push(directly);
        if seen.iter().any(|directly| directly.is_like(&through)) {
            return None;
        }
        last = Some(through);
    }
    Some(format!("{}, {manner:?}:\n  directly {seen:?}\n  through  {:?}", probe.0, last?))
}

/// How much later the first answer came.
fn added(directly: &Observation, through: &Observation) -> Option<Duration> {
    Some(through.answered?.saturating_sub(directly.answered?))
}

fn probes() -> Vec<Probe> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut noise = |length: usize| {
        let byte = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        };
        (0..length).map(byte).collect::<Vec<u8>>()
    };
    let hello = bytes_of(HELLO);
    let mut probes = kinds(&mut noise, &hello);
    probes.push(("TLS hello".into(), hello.clone()));
    probes.push(("TLS hello, and noise".into(), [hello.clone(), noise(300)].concat()));
    probes.push(("TLS hello, and more than is read".into(), [hello, noise(40_000)].concat()));
    probes
}

fn bytes_of(digits: &str) -> Vec<u8> {
    let digits: Vec<u32> = digits.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}
