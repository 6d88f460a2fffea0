//! The resolver with servers from the system's packages: unbound over UDP, TLS and HTTPS, and dnsmasq, honest and lying. Ignored where they are
//! not installed.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use culvert_transport::resolve::{
    Answered, DnsServer, First, QueryTransform, ResolveError, ResolvePlan, Resolver,
};
use culvert_transport::tls::Verify;
use culvert_transport::{BoxFuture, Datagrams, Endpoint, Network, OsNetwork, Stream};
use data_encoding::BASE64;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

const NAME: &str = "www.example.org";
const ALIAS: &str = "alias.example.org";
const TRUE: [u8; 4] = [93, 184, 215, 14];
const TRUE_V6: &str = "2606:2800:21f:cb07:6820:80da:af6b:8b2c";
const UNBOUND: &str = "/usr/sbin/unbound";
const DNSMASQ: &str = "/usr/sbin/dnsmasq";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trial = |name: &str, program: &'static str, run: fn() -> Result<(), Failed>| {
        if Path::new(program).exists() {
            return Trial::test(name, run);
        }
        let reason = format!("there is no {program}");
        Trial::ignorable_test(format!("{name} ({reason})"), move || Ok(Completion::ignored_with(reason)))
            .with_ignored_flag(true)
    };
    let trials = vec![
        trial("unbound_over_udp", UNBOUND, || over(|unbound| DnsServer::Udp(unbound.udp))),
        trial("unbound_over_tls", UNBOUND, || over(Unbound::tls)),
        trial("unbound_over_https", UNBOUND, || over(Unbound::https)),
        trial("unbound_with_an_unknown_certificate", UNBOUND, unknown_certificate),
        trial("dnsmasq_lies", DNSMASQ, dnsmasq_lies),
        trial("dnsmasq_sees_a_disguised_question", DNSMASQ, disguised),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A server of names that runs.
struct Running {
    child: Child,
    folder: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What cannot be removed is left to the system's own cleaning of the temporary folder.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

struct Unbound {
    _running: Running,
    udp: SocketAddr,
    tls: SocketAddr,
    https: SocketAddr,
}

impl Unbound {
    fn start() -> Result<Self, Failed> {
        let (folder, [udp, tls, https]) = (folder("unbound")?, [free()?, free()?, free()?]);
        let key = rcgen::generate_simple_self_signed(["dns.example".to_owned()])?;
        let pem = |label: &str, der: &[u8]| {
            format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
        };
        fs::write(folder.join("key"), pem("PRIVATE KEY", &key.signing_key.serialize_der()))?;
        fs::write(folder.join("pem"), pem("CERTIFICATE", key.cert.der()))?;
        let path = folder.display();
        let config = format!(
            "server:\n interface: {}\n interface: {}\n interface: {}\n tls-port: {}\n https-port: {}\n\
             tls-service-key: \"{path}/key\"\n tls-service-pem: \"{path}/pem\"\n do-daemonize: no\n chroot: \"\"\n\
             username: \"\"\n directory: \"{path}\"\n pidfile: \"{path}/pid\"\n use-syslog: no\n\
             module-config: \"iterator\"\n access-control: 127.0.0.0/8 allow\n local-zone: \"example.org.\" static\n\
             local-data: \"{NAME}. 300 IN A 93.184.215.14\"\n local-data: \"{NAME}. 300 IN AAAA {TRUE_V6}\"\n\
             local-data: \"liar.example.org. 300 IN A 10.10.34.36\"\nremote-control:\n control-enable: no\n",
            at(udp),
            at(tls),
            at(https),
            tls.port(),
            https.port(),
        );
        fs::write(folder.join("conf"), config)?;
        let mut command = Command::new(UNBOUND);
        command.args(["-d", "-p", "-c"]).arg(folder.join("conf"));
        Ok(Self { _running: run(command, folder, tls)?, udp, tls, https })
    }

    fn tls(&self) -> DnsServer {
        DnsServer::Tls { address: self.tls, name: "dns.example".to_owned() }
    }

    fn https(&self) -> DnsServer {
        let path = "/dns-query".to_owned();
        DnsServer::Https { address: self.https, name: "dns.example".to_owned(), path }
    }
}

/// As unbound writes addresses with ports.
fn at(address: SocketAddr) -> String {
    format!("{}@{}", address.ip(), address.port())
}

/// Starts a program and waits until it listens for TCP there.
fn run(mut command: Command, folder: PathBuf, listens: SocketAddr) -> Result<Running, Failed> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = Running { child: command.spawn()?, folder };
    for _ in 0..500 {
        if std::net::TcpStream::connect(listens).is_ok() {
            return Ok(running);
        }
        if let Some(status) = running.child.try_wait()? {
            return Err(format!("the server ended: {status}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err("the server does not listen".into())
}

fn folder(name: &str) -> Result<PathBuf, Failed> {
    let mut number = [0; 8];
    aws_lc_rs::rand::fill(&mut number)?;
    let path = std::env::temp_dir().join(format!("culvert-{name}-{}", u64::from_be_bytes(number)));
    fs::create_dir(&path)?;
    Ok(path)
}

fn free() -> Result<SocketAddr, Failed> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// The system's network, but for its resolver, which knows nothing; and IPv6 is there.
struct Nameless;

impl Network for Nameless {
    fn connect<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, std::io::Result<Stream>> {
        OsNetwork.connect(to)
    }

    fn datagrams(&self, to: SocketAddr) -> BoxFuture<'_, std::io::Result<Datagrams>> {
        OsNetwork.datagrams(to)
    }

    fn resolve<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, std::io::Result<Vec<IpAddr>>> {
        Box::pin(async { Err(std::io::ErrorKind::NotFound.into()) })
    }
}

fn preferring(server: DnsServer) -> ResolvePlan {
    ResolvePlan {
        alternate: Some(server),
        first: First::Alternate,
        request_timeout: Duration::from_secs(5),
        await_timeout: Duration::from_secs(1),
        ..ResolvePlan::default()
    }
}

fn resolve(resolver: &Resolver, plan: &ResolvePlan, name: &str) -> Result<Answered, ResolveError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|_| ResolveError::Silence)?;
    runtime.block_on(resolver.resolve(plan, name))
}

fn trusting() -> Resolver {
    Resolver::new(Arc::new(Nameless)).verifying(|_| Verify::Skip)
}

fn over(server: fn(&Unbound) -> DnsServer) -> Result<(), Failed> {
    let unbound = Unbound::start()?;
    let plan = ResolvePlan {
        casing: Some([3; 32]),
        name_must_match: true,
        edns0: true,
        ..preferring(server(&unbound))
    };
    let answered = resolve(&trusting(), &plan, NAME)?;
    let v6: IpAddr = TRUE_V6.parse()?;
    if answered.addresses.len() != 2 || !answered.addresses.contains(&v6) {
        return Err(format!("{} addresses", answered.addresses.len()).into());
    }
    for name in ["nobody.example.org", "liar.example.org"] {
        let plan = ResolvePlan { request_timeout: Duration::from_millis(300), ..plan.clone() };
        if resolve(&trusting(), &plan, name).is_ok() {
            return Err(format!("{name} was believed").into());
        }
    }
    Ok(())
}

/// By the rules that hold for everybody nobody signed it.
fn unknown_certificate() -> Result<(), Failed> {
    let unbound = Unbound::start()?;
    let resolver = Resolver::new(Arc::new(Nameless));
    for server in [unbound.tls(), unbound.https()] {
        if resolve(&resolver, &preferring(server), NAME).is_ok() {
            return Err("a server was believed that is not who it says it is".into());
        }
    }
    Ok(())
}

fn dnsmasq(port: SocketAddr) -> Result<Running, Failed> {
    let folder = folder("dnsmasq")?;
    let mut command = Command::new(DNSMASQ);
    command.args(["-k", "-C", "/dev/null", "-R", "-h", "--listen-address=127.0.0.1", "--bind-interfaces"]);
    command.arg(format!("-p{}", port.port())).arg(format!("-x{}/pid", folder.display()));
    command.args(["--address=/liar.example/10.10.34.36", "--host-record=www.example.org,93.184.215.14"]);
    command.arg(format!("--cname={ALIAS},{NAME}"));
    run(command, folder, port)
}

/// A server that lies is believed where it tells the truth, and nowhere else.
fn dnsmasq_lies() -> Result<(), Failed> {
    let port = free()?;
    let _running = dnsmasq(port)?;
    let plan = preferring(DnsServer::Udp(port));
    let honest = resolve(&trusting(), &plan, ALIAS)?;
    if !honest.addresses.contains(&TRUE.into()) {
        return Err("the alias was not followed".into());
    }
    let plan = ResolvePlan { request_timeout: Duration::from_millis(300), ..plan };
    match resolve(&trusting(), &plan, "www.liar.example") {
        Err(_) => Ok(()),
        Ok(_) => Err("the lie was believed".into()),
    }
}

/// A transform that leaves a question a question: the bit that asks for authentic data.
fn disguised() -> Result<(), Failed> {
    let port = free()?;
    let _running = dnsmasq(port)?;
    let steps = vec![["^([a-f0-9]{4})0100".to_owned(), "\\$\\{1\\}0120".to_owned()]];
    let transform = Some(QueryTransform { name: "ad".to_owned(), steps, seed: [0; 32] });
    let plan = ResolvePlan { transform, ..preferring(DnsServer::Udp(port)) };
    let answered = resolve(&trusting(), &plan, NAME)?;
    if answered.attempt == Some(1) { Ok(()) } else { Err("the first question was not answered".into()) }
}
