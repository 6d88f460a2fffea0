//! What name servers of others say: dnsmasq and unbound, where they are installed. Answers that do not fit a datagram, aliases, aliases
//! that go round, names that are not there, and names without an address.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};

use super::*;
use crate::forward::exit::tests::tally;
use crate::scratch::Scratch;

/// Addresses of the name that has most, which no datagram has room for.
const MANY: u8 = 120;
/// As many of them are taken.
const TAKEN: usize = 32;
/// For a program to start on a slow machine.
const START: Duration = Duration::from_secs(30);

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that is free for datagrams and connections, as far as anybody can tell.
fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address.port();
        }
    }
}

fn dnsmasq(port: u16) -> Command {
    let mut command = Command::new("dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--log-facility=-"]);
    command.args(["--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv", "--no-hosts"]);
    command.args(["--local=/example/", "--host-record=host.example,192.0.2.1,2001:db8::1"]);
    command.args(["--cname=alias.example,second.example", "--cname=second.example,host.example"]);
    command.args((1..=MANY).map(|last| format!("--host-record=long.example,192.0.2.{last}")));
    command.arg(format!("--port={port}"));
    command
}

fn unbound(port: u16, scratch: &Scratch) -> Command {
    let mut text = format!(
        "server:\n interface: 127.0.0.1@{port}\n directory: \"{}\"\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n \
         use-syslog: no\n do-daemonize: no\n local-zone: \"example.\" static\n",
        scratch.path().display()
    );
    let mut data = |record: &str| writeln!(text, " local-data: \"{record}\"").unwrap();
    for record in [
        "host.example. A 192.0.2.1",
        "host.example. AAAA 2001:db8::1",
        "round.example. CNAME about.example.",
        "about.example. CNAME round.example.",
        "text.example. TXT nothing",
    ] {
        data(record);
    }
    (1..=MANY).for_each(|last| data(&format!("long.example. A 192.0.2.{last}")));
    let config = scratch.path().join("unbound.conf");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("unbound");
    command.arg("-d").arg("-c").arg(config);
    command
}

/// Starts it and asks until it answers; `None` where it is not installed.
async fn started(mut command: Command, scratch: &Scratch, port: u16) -> Option<(Daemon, Resolver)> {
    let child = match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) => {
            // Past the harness, which would keep it to itself.
            let _ = writeln!(std::io::stderr(), "not tried: {:?}: {error}", command.get_program());
            return None;
        }
    };
    let daemon = Daemon(child);
    let conf = scratch.path().join("resolv.conf");
    let missing = scratch.path().join("missing");
    std::fs::write(&conf, "search other.example\nnameserver 127.0.0.1\noptions ndots:9 rotate timeout:1\n")
        .unwrap();
    let resolver = Resolver::of_files(&conf, &missing, None, Family::V4).at_port(port);
    let answers = async {
        while look_up(&resolver, "host.example").await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(START, answers).await.expect("it answers");
    Some((daemon, resolver))
}

async fn look_up(resolver: &Resolver, name: &str) -> Result<Vec<IpAddr>, NameError> {
    resolver.look_up(&HostName::parse(name).unwrap(), &tally()).await
}

async fn expect(resolver: &Resolver, aliases: &[&str], absent: &[&str]) {
    let both: Vec<IpAddr> = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse().unwrap()).to_vec();
    for name in aliases {
        assert_eq!(look_up(resolver, name).await, Ok(both.clone()), "{name}");
    }
    for name in absent {
        assert_eq!(look_up(resolver, name).await, Err(NameError::NotFound), "{name}");
    }
    let long = look_up(resolver, "long.example").await.unwrap();
    assert_eq!(long.len(), TAKEN);
    assert!(long.iter().all(IpAddr::is_ipv4));
}

#[tokio::test]
async fn dnsmasq_is_understood() {
    let (scratch, port) = (Scratch::new("names-dnsmasq"), free_port());
    if let Some((_daemon, resolver)) = started(dnsmasq(port), &scratch, port).await {
        expect(&resolver, &["host.example", "alias.example", "second.example"], &["none.example"]).await;
    }
}

#[tokio::test]
async fn unbound_is_understood() {
    let (scratch, port) = (Scratch::new("names-unbound"), free_port());
    if let Some((_daemon, resolver)) = started(unbound(port, &scratch), &scratch, port).await {
        let absent = ["none.example", "text.example", "round.example"];
        expect(&resolver, &["host.example", "HOST.example."], &absent).await;
    }
}
