//! Where it happens: a namespace for the server and its clients, and one for the rest of the world, which takes every address there
//! is for its own and listens on all of them. In the first, a packet filter counts what leaves for the port that all listen on.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use culvert_protocol::udpgw::Flags;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, timeout};

use crate::forms::{ALLOWED, LATE, LITERALS, NEIGHBOUR, OWN, SPELLINGS};
use crate::gateway::Gateway;
use crate::lies::{self, Lie};
use crate::server::{Client, Plan, SOON, Server};

/// What this program is told when it starts itself.
pub(crate) const OUTSIDE: &str = "--be-outside";
pub(crate) const SERVER: &str = "--be-beside-server";
/// Where everybody listens, and nobody else sends.
const PORT: u16 = 7777;
const HELLO: &[u8] = b"hello";
/// What the server's log says of itself.
const CHANGED: &str = "this machine's addresses have changed";
const RESOLVER: &str = "127.0.0.53";
/// How long a dial without the server may take that shows whether somebody listens.
const DIRECT: Duration = Duration::from_millis(500);
/// Forms at which somebody must listen for the test to mean something.
const LEAST_LIVE: usize = 40;

/// Runs the test in its namespaces.
pub(crate) fn enter() -> Result<(), String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("unshare").args(["--net", "--mount"]).arg(this).arg(SERVER).output();
    let output = output.map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    print!("{}", text(&output.stdout));
    if output.status.success() { Ok(()) } else { Err(text(&output.stderr)) }
}

/// Listens on every address until its input ends.
pub(crate) fn outside() -> ExitCode {
    run("ip link set lo up");
    listen();
    println!("ready");
    let mut line = String::new();
    // What comes is that the device is there; then nothing.
    std::io::stdin().read_line(&mut line).unwrap();
    run(&format!("ip address add {}/24 dev outer", NEIGHBOUR[0]));
    run(&format!("ip address add {}/64 dev outer nodad", NEIGHBOUR[1]));
    run("ip link set outer up");
    // In the table that comes before all others, so the way back to the server must be there too.
    run("ip route add local 0.0.0.0/0 dev lo table local");
    run(&format!("ip route add {}/32 dev outer table local", OWN[0]));
    run("ip -6 route add local ::/0 dev lo table local");
    run(&format!("ip -6 route add {}/128 dev outer table local", OWN[1]));
    // Sockets of any address answer from another than was asked.
    echo(SocketAddr::new(ALLOWED[0].parse().unwrap(), PORT));
    println!("ready");
    std::io::stdin().read_line(&mut line).unwrap();
    ExitCode::SUCCESS
}

/// Answers a hello on every address that there is.
fn listen() {
    for any in ["0.0.0.0", "[::]"] {
        let any: SocketAddr = format!("{any}:{PORT}").parse().unwrap();
        let tcp = listener(any);
        std::thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                let _ = stream.write_all(HELLO);
            }
        });
        echo(any);
    }
}

/// Sends datagrams back.
fn echo(at: SocketAddr) {
    let udp = datagrams(at);
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(&buffer[..length], from);
        }
    });
}

fn listener(any: SocketAddr) -> TcpListener {
    let socket =
        socket2::Socket::new(socket2::Domain::for_address(any), socket2::Type::STREAM, None).unwrap();
    if any.is_ipv6() {
        socket.set_only_v6(true).unwrap();
    }
    socket.bind(&any.into()).unwrap();
    socket.listen(128).unwrap();
    OwnedFd::from(socket).into()
}

fn datagrams(any: SocketAddr) -> UdpSocket {
    let socket = socket2::Socket::new(socket2::Domain::for_address(any), socket2::Type::DGRAM, None).unwrap();
    if any.is_ipv6() {
        socket.set_only_v6(true).unwrap();
    }
    socket.set_reuse_address(true).unwrap();
    socket.bind(&any.into()).unwrap();
    OwnedFd::from(socket).into()
}

/// Makes the server's side, and tries everything.
pub(crate) fn beside_server() -> ExitCode {
    let mut world = World::new();
    let (live, dead): (Vec<&str>, Vec<&str>) = LITERALS.iter().partition(|form| answers(form));
    println!("{} of {} literal forms have a listener; not {dead:?}", live.len(), LITERALS.len());
    let live = live.len();
    assert!(live >= LEAST_LIVE, "somebody must be there not to be reached");
    assert!(world.dialled() >= u64::try_from(live).unwrap(), "the filter counts");
    world.reset();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        tokio::spawn(lies::serve(SocketAddr::new(RESOLVER.parse().unwrap(), 53)));
        let server = Server::start("egress", |config| {
            config.egress.allow_bogons = false;
            // Whatever is asked for is asked anew.
            config.tactics.parameters.services.dns_cache_ttl = Duration::ZERO;
        })
        .await;
        let client = Plan::default().tunnel(&server).await;
        by_tcp(&client, &world).await;
        by_udp(&client, &world).await;
        late_addresses(&server, &client, &world).await;
        println!("{} packets to where it is allowed", world.allowed());
        assert!(world.allowed() > 0);
        few_ports(&server, &client).await;
    });
    world.end();
    ExitCode::SUCCESS
}

async fn by_tcp(client: &Client, world: &World) {
    let mut tried = 0;
    let forms = LITERALS.iter().chain(SPELLINGS).map(|form| (*form).to_owned());
    let lies = LITERALS.iter().map(|form| form.parse::<IpAddr>().unwrap());
    let lies = lies.flat_map(|address| [Lie::Direct, Lie::Alias].map(|lie| lie.name(address)));
    for host in forms.chain(lies) {
        assert!(client.flow_to(&host, PORT).await.is_err(), "{host:?} is refused");
        assert_eq!(world.dialled(), 0, "{host:?} is not dialled");
        tried += 1;
    }
    // Each but once, for a name is public only the first time.
    let addresses: BTreeSet<IpAddr> = LITERALS.iter().map(|form| form.parse().unwrap()).collect();
    for address in addresses {
        let rebinding = Lie::Rebinding.name(address);
        reaches(client, &rebinding).await;
        assert!(
            client.flow_to(&rebinding, PORT).await.is_err(),
            "{address} behind a name that was public before"
        );
        reaches(client, &Lie::Mixed.name(address)).await;
        assert_eq!(world.dialled(), 0, "{address} by a name with changing or mixed answers is not dialled");
        tried += 3;
    }
    println!("{tried} hosts tried by TCP");
    for address in ALLOWED {
        reaches(client, address).await;
        reaches(client, &Lie::Direct.name(address.parse().unwrap())).await;
    }
}

async fn reaches(client: &Client, host: &str) {
    let mut stream = client.flow_to(host, PORT).await.unwrap_or_else(|text| panic!("{host}: {text}"));
    let mut hello = [0; HELLO.len()];
    timeout(SOON, stream.read_exact(&mut hello)).await.expect("an answer").unwrap();
    assert_eq!(hello, HELLO, "{host}");
}

async fn by_udp(client: &Client, world: &World) {
    let mut gateway = Gateway::open(client).await;
    let allowed: IpAddr = ALLOWED[0].parse().unwrap();
    for form in LITERALS {
        let address: IpAddr = form.parse().unwrap();
        gateway.send(SocketAddr::new(address, PORT), Flags::default(), HELLO).await;
        gateway.send(SocketAddr::new(address, 53), Flags::default(), &query()).await;
        // Datagrams are taken in order: after this one's answer those before it have been judged.
        let connection = gateway.send(SocketAddr::new(allowed, PORT), Flags::default(), HELLO).await;
        assert_eq!(gateway.next(false).await, (connection, HELLO.to_vec()), "nothing else answers");
        assert_eq!(world.dialled(), 0, "{form} is not sent to");
    }
    // The flag leads to the resolver, wherever that is, and nowhere else.
    for form in LITERALS {
        let remote = SocketAddr::new(form.parse().unwrap(), PORT);
        let connection = gateway.send(remote, Flags::default().with_dns(), &query()).await;
        let (from, answer) = gateway.next(remote.is_ipv6()).await;
        assert_eq!((from, &answer[..2]), (connection, &query()[..2]));
    }
    // A conversation with the resolver does not go on without the flag: who takes only queries would be sent anything.
    let remote = SocketAddr::new(allowed, PORT);
    let connection = gateway.send(remote, Flags::default().with_dns(), &query()).await;
    assert_eq!(gateway.next_over(connection).await[..2], query()[..2]);
    gateway.send_over(connection, remote, Flags::default(), HELLO).await;
    assert_eq!(gateway.next_over(connection).await, HELLO);
    gateway.send_over(connection, remote, Flags::default().with_dns(), &query()).await;
    assert_eq!(gateway.next_over(connection).await[2] & 0x80, 0x80, "an answer, no echo");
    gateway.send(SocketAddr::new(allowed, PORT), Flags::default().with_dns(), HELLO).await;
    let connection = gateway.send(SocketAddr::new(allowed, PORT), Flags::default(), HELLO).await;
    assert_eq!(gateway.next(false).await.0, connection, "what is no query goes to no resolver");
    assert_eq!(world.dialled(), 0);
    println!("{} addresses tried by UDP, at two ports and with the flag", LITERALS.len());
}

/// A query for the address of `a.direct.test.example`, of which there is none.
fn query() -> Vec<u8> {
    let mut bytes = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in ["a", "direct", "test", "example"] {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// Addresses that were another host's when the server started.
async fn late_addresses(server: &Server, client: &Client, world: &World) {
    let socket = |address: &str| SocketAddr::new(address.parse().unwrap(), PORT);
    let mut gateway = Gateway::open(client).await;
    let mut conversations = Vec::new();
    for (address, _) in LATE {
        reaches(client, address).await;
        conversations.push(gateway.send(socket(address), Flags::default(), HELLO).await);
    }
    let connection = gateway.send(socket(ALLOWED[0]), Flags::default(), HELLO).await;
    assert_eq!(gateway.next_over(connection).await, HELLO);
    let changes = changes_told(server);
    for (_, how) in LATE {
        run(&format!("ip {how}"));
    }
    run(&format!("nft add rule inet egress out tcp dport {PORT} tcp flags & (syn|ack) == syn jump late"));
    run(&format!("nft add rule inet egress out udp dport {PORT} jump late"));
    for (address, _) in LATE {
        assert!(answers(address), "somebody listens here");
    }
    world.reset();
    for (address, _) in LATE {
        assert!(client.flow_to(address, PORT).await.is_err(), "{address} is ours now");
        let name = Lie::Direct.name(address.parse().unwrap());
        assert!(client.flow_to(&name, PORT).await.is_err(), "{address} by name");
        assert_eq!(world.dialled(), 0, "{address} is not dialled");
        gateway.send(socket(address), Flags::default(), HELLO).await;
    }
    let connection = gateway.send(socket(ALLOWED[0]), Flags::default(), HELLO).await;
    assert_eq!(gateway.next_over(connection).await, HELLO);
    assert_eq!(world.dialled(), 0, "what has become ours is not dialled");
    // Nor in a conversation that began when it was another's. Both addresses of interfaces may be told of at once.
    let deadline = Instant::now() + SOON;
    while changes_told(server) == changes {
        assert!(Instant::now() < deadline, "{CHANGED}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    for ((address, _), connection) in LATE.iter().zip(conversations).take(2) {
        gateway.send_over(connection, socket(address), Flags::default(), HELLO).await;
    }
    let connection = gateway.send(socket(ALLOWED[0]), Flags::default(), HELLO).await;
    assert_eq!(gateway.next_over(connection).await, HELLO);
    assert_eq!(world.dialled(), 0, "what has become ours is not talked to any more");
}

/// With no port left to dial from flows are refused, the log says why, and there are new ones when others have ended.
async fn few_ports(server: &Server, client: &Client) {
    const EXHAUSTED: &str = "port forward dial failed due to unavailable resource";
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "45000 45003").unwrap();
    assert!(!server.lines().contains(EXHAUSTED));
    let mut open = Vec::new();
    while let Ok(flow) = client.flow_to(ALLOWED[0], PORT).await {
        open.push(flow);
        assert!(open.len() < 10, "ports are limited");
    }
    assert!(server.lines().contains(EXHAUSTED));
    for flow in &mut open {
        let mut hello = [0; HELLO.len()];
        timeout(SOON, flow.read_exact(&mut hello)).await.expect("those that are open go on").unwrap();
    }
    assert!(!open.is_empty());
    drop(open);
    let again = async {
        while client.flow_to(ALLOWED[0], PORT).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(SOON, again).await.expect("a port is free again");
}

/// Whether somebody answers at this address without the server.
fn answers(form: &str) -> bool {
    let Ok(address) = form.parse::<IpAddr>() else { return false };
    TcpStream::connect_timeout(&SocketAddr::new(address, PORT), DIRECT).is_ok()
}

/// What surrounds the server.
struct World {
    outside: Child,
}

impl World {
    fn new() -> Self {
        mount("/etc/resolv.conf", &format!("nameserver {RESOLVER}\n"));
        mount("/etc/hosts", "127.0.0.1 localhost host\n::1 ip6-localhost\n");
        run("ip link set lo up");
        run("ip link add inner type veth peer name outer");
        let this = std::env::current_exe().unwrap();
        let mut outside = Command::new("unshare");
        outside.arg("--net").arg(this).arg(OUTSIDE).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut outside = ready(outside.spawn().unwrap());
        run(&format!("ip link set outer netns {}", outside.id()));
        run(&format!("ip address add {}/24 dev inner", OWN[0]));
        run(&format!("ip address add {}/64 dev inner nodad", OWN[1]));
        run("ip link set inner up");
        run(&format!("ip route add default via {}", NEIGHBOUR[0]));
        run(&format!("ip -6 route add default via {}", NEIGHBOUR[1]));
        outside.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let outside = ready(outside);
        filter();
        listen();
        Self { outside }
    }

    /// Packets that would have begun something at an internal address.
    fn dialled(&self) -> u64 {
        count("dialled")
    }

    /// The same of addresses that may be reached.
    fn allowed(&self) -> u64 {
        count("allowed")
    }

    fn reset(&self) {
        run("nft reset counters");
    }

    fn end(&mut self) {
        drop(self.outside.stdin.take());
        self.outside.wait().unwrap();
    }
}

/// Counts what is sent to the port that all listen on, or to port 53 of anybody but the resolver, but not answers from there.
fn filter() {
    let rules = format!(
        "table inet egress {{
            counter dialled {{}}
            counter allowed {{}}
            chain late {{
                ip daddr {{ {late} }} counter name dialled
                ip6 daddr {{ {late6} }} counter name dialled
            }}
            chain count {{
                ip daddr {v4} counter name allowed return
                ip6 daddr {v6} counter name allowed return
                ip daddr {{ {late} }} return
                ip6 daddr {{ {late6} }} return
                counter name dialled
            }}
            chain out {{
                type filter hook output priority 0;
                tcp dport {PORT} tcp flags & (syn | ack) == syn jump count
                udp dport {PORT} jump count
                udp dport 53 ip daddr != {RESOLVER} counter name dialled
                udp dport 53 meta nfproto ipv6 counter name dialled
            }}
        }}",
        late = late(false),
        late6 = late(true),
        v4 = ALLOWED[0],
        v6 = ALLOWED[1],
    );
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "{rules}");
}

fn changes_told(server: &Server) -> usize {
    server.lines().matches(CHANGED).count()
}

/// Those of one family.
fn late(is_ipv6: bool) -> String {
    let addresses = LATE.iter().map(|(address, _)| *address);
    addresses.filter(|address| address.contains(':') == is_ipv6).collect::<Vec<_>>().join(", ")
}

fn count(counter: &str) -> u64 {
    let output = Command::new("nft").args(["list", "counter", "inet", "egress", counter]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut words = text.split_whitespace().skip_while(|word| *word != "packets");
    words.nth(1).unwrap().parse().unwrap()
}

/// Waits for the program's line.
fn ready(mut child: Child) -> Child {
    // One byte after the other: there must be nothing left for the next time.
    let mut line = String::new();
    let mut output = BufReader::with_capacity(1, child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child.stdout = Some(output.into_inner());
    child
}

/// Puts a text in the place of a file, in this namespace.
fn mount(file: &str, text: &str) {
    let folder = std::env::temp_dir().join(format!("culvert-egress-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let own = folder.join(file.replace('/', "_"));
    std::fs::write(&own, text).unwrap();
    run(&format!("mount --bind {} {file}", own.display()));
    std::fs::remove_file(own).unwrap();
    let _ = std::fs::remove_dir(folder);
}

fn run(line: &str) {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}
