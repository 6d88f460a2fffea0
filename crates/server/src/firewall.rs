//! Fills a chain of the host's firewall with rules that let through what comes to this server's ports, as often as it may. The host makes the
//! chain, sends packets there, and refuses what is not accepted. Only where the configuration names a chain. All rules come into force at
//! once, or none: one run of iptables-restore(8). Rates and their defaults are the reference's.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use culvert_protocol::{Carrier, TunnelProtocol};

use crate::config::{FirewallConfig, Listener};

/// New connections of one address: no more than so many in so many seconds.
const EACH_SECONDS: u32 = 60;
const EACH_HITS: u32 = 3;
/// New connections a second of all together, where a tunnel has many or many clients share an address.
const TOGETHER: u32 = 1000;
/// Seconds to wait for other programs that change the firewall.
const PATIENCE: &str = "10";

/// The chain could not be filled. Local: no such chain, no such program, no right to change it.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    #[error(
        "cannot run {program}: {source}; install iptables, or leave IptablesAcceptRateLimitChainName empty"
    )]
    Run {
        program: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(
        "{program} refused the rules for {chain}: {said}; make the chain with `iptables -N {chain}`, and give this process CAP_NET_ADMIN or set \
         PacketTunnelSudoNetworkConfigCommands"
    )]
    Refused { program: &'static str, chain: String, said: String },
}

/// A chain that is filled; dropping it empties the chain.
#[derive(Debug)]
pub(crate) struct FilledChain {
    config: FirewallConfig,
    programs: Vec<&'static str>,
}

impl FilledChain {
    /// Fills it for these ports.
    pub(crate) fn fill(config: FirewallConfig, listeners: &[Listener]) -> Result<Self, FirewallError> {
        let rules = rules(&config, listeners);
        let programs = programs(listeners);
        let filled = Self { config, programs };
        for program in &filled.programs {
            // What was filled before is emptied when it fails.
            restore(program, &filled.config, &rules)?;
        }
        Ok(filled)
    }
}

impl Drop for FilledChain {
    fn drop(&mut self) {
        for program in &self.programs {
            // Nobody is left who could do something about it.
            let _ = restore(program, &self.config, &empty(&self.config));
        }
    }
}

/// Those of the families that ports are bound for.
fn programs(listeners: &[Listener]) -> Vec<&'static str> {
    let has = |v6: bool| {
        listeners.iter().map(|listener| listener.address).any(|address| {
            address.is_ipv6() == v6 || !v6 && address.is_ipv6() && address.ip().is_unspecified()
        })
    };
    let all = [(false, "iptables-restore"), (true, "ip6tables-restore")];
    all.into_iter().filter(|(v6, _)| has(*v6)).map(|(_, program)| program).collect()
}

fn empty(config: &FirewallConfig) -> String {
    format!("*filter\n-F {}\nCOMMIT\n", config.chain)
}

fn rules(config: &FirewallConfig, listeners: &[Listener]) -> String {
    let chain = &config.chain;
    let mut text = format!("*filter\n-F {chain}\n");
    for listener in listeners {
        let limit = config.limits.get(&listener.protocol).copied().unwrap_or_default();
        for rule in rules_of(listener, limit) {
            // Writing to a text does not fail.
            let _ = writeln!(text, "-A {chain} {rule}");
        }
    }
    let _ = writeln!(text, "-A {chain} -j RETURN\nCOMMIT");
    text
}

fn rules_of(listener: &Listener, [first, second]: [u32; 2]) -> Vec<String> {
    let or = |number: u32, default: u32| if number == 0 { default } else { number };
    let network = match listener.protocol.carrier_at_server() {
        Carrier::Tcp => "tcp",
        Carrier::Udp => "udp",
    };
    let port = listener.address.port();
    let new = format!("-p {network} -m state --state NEW -m {network} --dport {port}");
    if !counts_addresses(listener.protocol) {
        return vec![format!("{new} -m limit --limit {}/sec -j ACCEPT", or(first, TOGETHER))];
    }
    let (seconds, hits) = (or(first, EACH_SECONDS), or(second, EACH_HITS));
    let name = format!("LIMIT-{network}-{port}");
    vec![
        format!("{new} -m recent --set --name {name}"),
        format!("{new} -m recent --update --name {name} --seconds {seconds} --hitcount {hits} -j DROP"),
        format!("{new} -j ACCEPT"),
    ]
}

/// Whether an address is a client's, who has one connection for each tunnel.
fn counts_addresses(protocol: TunnelProtocol) -> bool {
    protocol.is_direct() && protocol.base().traits().meek.is_none()
}

fn restore(program: &'static str, config: &FirewallConfig, rules: &str) -> Result<(), FirewallError> {
    let mut command = match config.by_sudo {
        true => Command::new("sudo"),
        false => Command::new(program),
    };
    if config.by_sudo {
        command.args(["-n", program]);
    }
    command.args(["--noflush", "--wait", PATIENCE]);
    let failed = |source| FirewallError::Run { program, source };
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // A program that does not read says why.
        let _ = input.write_all(rules.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned();
    Err(FirewallError::Refused { program, chain: config.chain.clone(), said })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    use super::*;

    fn listener(protocol: TunnelProtocol, address: &str) -> Listener {
        Listener { protocol, address: address.parse::<SocketAddr>().unwrap() }
    }

    fn config(chain: &str, limits: &[(TunnelProtocol, [u32; 2])]) -> FirewallConfig {
        let limits = limits.iter().copied().collect::<BTreeMap<_, _>>();
        FirewallConfig { chain: chain.into(), limits, by_sudo: false }
    }

    #[test]
    fn rules_are_those_of_the_reference() {
        let listeners = [
            listener(TunnelProtocol::OSSH, "192.0.2.1:22"),
            listener(TunnelProtocol::QUIC_OSSH, "192.0.2.1:443"),
            listener(TunnelProtocol::UNFRONTED_MEEK_OSSH, "192.0.2.1:80"),
            listener(TunnelProtocol::FRONTED_MEEK_OSSH, "192.0.2.1:443"),
        ];
        let limits = [(TunnelProtocol::QUIC_OSSH, [5, 0]), (TunnelProtocol::UNFRONTED_MEEK_OSSH, [50, 9])];
        let expected = "*filter\n-F C\n\
            -A C -p tcp -m state --state NEW -m tcp --dport 22 -m recent --set --name LIMIT-tcp-22\n\
            -A C -p tcp -m state --state NEW -m tcp --dport 22 -m recent --update --name LIMIT-tcp-22 --seconds 60 --hitcount 3 -j DROP\n\
            -A C -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT\n\
            -A C -p udp -m state --state NEW -m udp --dport 443 -m recent --set --name LIMIT-udp-443\n\
            -A C -p udp -m state --state NEW -m udp --dport 443 -m recent --update --name LIMIT-udp-443 --seconds 5 --hitcount 3 -j DROP\n\
            -A C -p udp -m state --state NEW -m udp --dport 443 -j ACCEPT\n\
            -A C -p tcp -m state --state NEW -m tcp --dport 80 -m limit --limit 50/sec -j ACCEPT\n\
            -A C -p tcp -m state --state NEW -m tcp --dport 443 -m limit --limit 1000/sec -j ACCEPT\n\
            -A C -j RETURN\nCOMMIT\n";
        assert_eq!(rules(&config("C", &limits), &listeners), expected);
    }

    #[test]
    fn families_follow_the_ports() {
        let of = |address| programs(&[listener(TunnelProtocol::OSSH, address)]);
        assert_eq!(of("192.0.2.1:1"), ["iptables-restore"]);
        assert_eq!(of("[2001:db8::1]:1"), ["ip6tables-restore"]);
        assert_eq!(of("[::]:1"), ["iptables-restore", "ip6tables-restore"]);
    }

    /// Set where this program runs in a network namespace of its own, whose firewall nobody else has.
    const INSIDE: &str = "CULVERT_FIREWALL_TEST_INSIDE";

    #[test]
    fn a_chain_is_filled_and_emptied() {
        if std::env::var_os(INSIDE).is_some() {
            return fills_and_empties();
        }
        if let Some(reason) = missing() {
            // Past the harness, which would keep it to itself.
            let _ = writeln!(io::stderr(), "a_chain_is_filled_and_emptied: not tried: {reason}");
            return;
        }
        let this = std::env::current_exe().unwrap();
        let name = concat!(module_path!(), "::a_chain_is_filled_and_emptied").split_once("::").unwrap().1;
        let mut inside = Command::new("unshare");
        inside.arg("--net").arg(this).args(["--exact", name, "--nocapture"]).env(INSIDE, "1");
        let output = inside.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }

    /// Why it cannot be tried here, if so.
    fn missing() -> Option<&'static str> {
        let works = |arguments: &[&str]| {
            let output = Command::new("unshare").arg("--net").args(arguments).output();
            output.is_ok_and(|output| output.status.success())
        };
        if !works(&["true"]) {
            return Some("no namespaces: not root, or not permitted");
        }
        if !works(&["iptables", "-L"]) {
            return Some("`iptables` is not installed or does not work");
        }
        for counts in ["recent --set --name culvert", "limit --limit 50/sec", "state --state NEW"] {
            let words: Vec<&str> = "iptables -A INPUT -m".split(' ').chain(counts.split(' ')).collect();
            if !works(&words) {
                return Some("the kernel cannot count connections for iptables");
            }
        }
        None
    }

    fn fills_and_empties() {
        let chain = "CULVERT-TEST";
        let iptables = |arguments: &[&str]| {
            let output = Command::new("iptables").args(arguments).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let listeners = [
            listener(TunnelProtocol::OSSH, "127.0.0.1:22"),
            listener(TunnelProtocol::UNFRONTED_MEEK_OSSH, "127.0.0.1:80"),
        ];
        let error = FilledChain::fill(config(chain, &[]), &listeners).unwrap_err().to_string();
        assert!(error.contains("iptables -N CULVERT-TEST"), "{error}");
        iptables(&["-N", chain]);
        let filled = FilledChain::fill(config(chain, &[]), &listeners).unwrap();
        let again = FilledChain::fill(config(chain, &[]), &listeners).unwrap();
        let listed = iptables(&["-S", chain]);
        assert_eq!(listed.lines().count(), 1 + 3 + 1 + 1, "filled once, whole: {listed}");
        assert!(listed.contains("--dport 80") && listed.contains("--limit 1000/sec"), "{listed}");
        std::mem::forget(again);
        drop(filled);
        assert_eq!(iptables(&["-S", chain]).lines().count(), 1);
        iptables(&["-X", chain]);
    }
}
