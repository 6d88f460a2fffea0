//! UDP: the gateway's frames as any program may send them through a SOCKS flow, and UDP ASSOCIATE, which only our client
//! has. Written from the description of the frames, apart from the product's own parsers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use super::{Applies, Case, Note, Protocols, case};
use crate::clock;
use crate::failure::{Doing, Failure, expect_eq};
use crate::process::Signal;
use crate::proxies::{self, PATIENCE, Target};
use crate::scenario::{Setting, TUNNEL};

pub(super) const CASES: &[Case] = &[
    case("udpgw_frames", frames).over(Protocols::OnlyOssh),
    case("udpgw_associate", associate).only(Applies::OurClient),
    case("udpgw_associate_outlives_the_tunnel", outlives).over(Protocols::OnlyOssh).only(Applies::OurClient),
];

/// What servers are generated with.
pub(super) const GATEWAY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7300);
/// A datagram that has no answer by then is sent again.
const AGAIN: Duration = Duration::from_secs(1);
const REBIND: u8 = 2;
const IPV6: u8 = 8;

/// Answers each datagram with the port that it saw and the datagram. Ends with the process.
pub(super) fn echo(at: SocketAddr) -> Result<SocketAddr, Failure> {
    let socket = UdpSocket::bind(at).doing("bind the echo")?;
    let address = socket.local_addr().doing("find the echo's port")?;
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            let datagram = buffer.get(..count).unwrap_or_default();
            let answer = [&from.port().to_be_bytes()[..], datagram].concat();
            // A datagram that is lost fails the case.
            let _ = socket.send_to(&answer, from);
        }
    });
    Ok(address)
}

fn echoes() -> Result<[SocketAddr; 2], Failure> {
    Ok([echo((Ipv4Addr::LOCALHOST, 0).into())?, echo((Ipv6Addr::LOCALHOST, 0).into())?])
}

fn address_bytes(of: SocketAddr) -> Vec<u8> {
    let mut bytes = match of {
        SocketAddr::V4(v4) => v4.ip().octets().to_vec(),
        SocketAddr::V6(v6) => v6.ip().octets().to_vec(),
    };
    bytes.extend(of.port().to_be_bytes());
    bytes
}

pub(super) fn frame(flags: u8, connection: u16, to: SocketAddr, packet: &[u8]) -> Vec<u8> {
    let flags = flags | if to.is_ipv6() { IPV6 } else { 0 };
    let rest = [&[flags][..], &connection.to_le_bytes(), &address_bytes(to), packet].concat();
    [&u16::try_from(rest.len()).unwrap_or(u16::MAX).to_le_bytes()[..], &rest].concat()
}

/// Reads the answer to a datagram; the port that the echo saw.
pub(super) fn answer(
    flow: &mut TcpStream,
    connection: u16,
    from: SocketAddr,
    packet: &[u8],
) -> Result<u16, Failure> {
    let mut size = [0; 2];
    flow.read_exact(&mut size).doing("read a frame's size")?;
    let mut rest = vec![0; u16::from_le_bytes(size).into()];
    flow.read_exact(&mut rest).doing("read a frame")?;
    let head = [&[0][..], &connection.to_le_bytes(), &address_bytes(from)].concat();
    expect_eq("head of a frame", head.as_slice(), rest.get(..head.len()).unwrap_or_default())?;
    let answer = rest.get(head.len()..).unwrap_or_default();
    let (port, echoed) = answer
        .split_first_chunk::<2>()
        .ok_or_else(|| Failure::mismatch("an answer", "a port and the datagram", answer.len()))?;
    expect_eq("length of a datagram", packet.len(), echoed.len())?;
    expect_eq("a datagram", true, packet == echoed)?;
    Ok(u16::from_be_bytes(*port))
}

/// A socket each for connections, rebinding, another address, both families, a large datagram, keepalives.
fn frames(setting: &Setting) -> Result<Note, Failure> {
    let (_server, client) = setting.pair()?;
    let [v4, v6] = echoes()?;
    let mut flow = proxies::socks5(client.socks, &Target::address(GATEWAY))?;
    let mut ask = |flags: u8, connection: u16, to: SocketAddr, packet: &[u8]| {
        flow.write_all(&frame(flags, connection, to, packet)).doing("send a frame")?;
        answer(&mut flow, connection, to, packet)
    };
    let first = ask(0, 1, v4, b"one")?;
    expect_eq("the port of the same connection", first, ask(0, 1, v4, b"two")?)?;
    expect_eq("the same port after rebinding", false, first == ask(REBIND, 1, v4, b"three")?)?;
    ask(0, 65_535, v6, b"six")?;
    ask(0, 65_535, v4, &[4; 1400])?;
    ask(0, 2, v4, &vec![7; 20_000])?;
    flow.write_all(&[3, 0, 1, 0, 0]).doing("send a keepalive")?;
    flow.write_all(&frame(0, 1, v4, b"after")).doing("send a frame")?;
    answer(&mut flow, 1, v4, b"after")?;
    // Another channel takes the place of the first.
    let mut successor = proxies::socks5(client.socks, &Target::address(GATEWAY))?;
    successor.write_all(&frame(0, 1, v4, b"next")).doing("send a frame")?;
    answer(&mut successor, 1, v4, b"next")?;
    Ok(Note::new())
}

/// An association with a SOCKS proxy. RFC 1928 sections 4, 6, 7.
struct Association {
    _control: TcpStream,
    socket: UdpSocket,
    relay: SocketAddr,
}

impl Association {
    fn new(socks: SocketAddr) -> Result<Self, Failure> {
        let mut control = TcpStream::connect(socks).doing("connect to the SOCKS proxy")?;
        control.set_read_timeout(Some(PATIENCE)).doing("set a limit")?;
        control.write_all(&[5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0]).doing("ask for an association")?;
        let mut reply = [0; 12];
        control.read_exact(&mut reply).doing("read the association")?;
        let [5, 0, 5, 0, 0, 1, 127, 0, 0, 1, high, low] = reply else {
            return Err(Failure::mismatch(
                "the association",
                "an address on loopback",
                format_args!("{reply:?}"),
            ));
        };
        let relay = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::from_be_bytes([high, low])));
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).doing("bind")?;
        socket.set_read_timeout(Some(PATIENCE)).doing("set a limit")?;
        Ok(Self { _control: control, socket, relay })
    }

    fn send(&self, to: SocketAddr, packet: &[u8]) -> Result<(), Failure> {
        self.socket.send_to(&[&header(to), packet].concat(), self.relay).doing("send a datagram").map(drop)
    }

    /// Sends a datagram and waits for the echo.
    fn ask(&self, to: SocketAddr, packet: &[u8]) -> Result<(), Failure> {
        self.send(to, packet)?;
        let mut buffer = vec![0; 65_536];
        let received = self.socket.recv(&mut buffer).doing("receive a datagram")?;
        let (answer, header) = (buffer.get(..received).unwrap_or_default(), header(to));
        let port = answer.get(header.len()..header.len() + 2).unwrap_or_default();
        expect_eq("an answer", true, [&header, port, packet].concat() == answer)
    }
}

/// What stands before a datagram to or from there.
fn header(of: SocketAddr) -> Vec<u8> {
    let kind = if of.is_ipv6() { 4 } else { 1 };
    [&[0, 0, 0, kind][..], &address_bytes(of)].concat()
}

/// To many destinations at once.
fn associate(setting: &Setting) -> Result<Note, Failure> {
    let (_server, client) = setting.pair()?;
    let [v4, v6] = echoes()?;
    let association = Association::new(client.socks)?;
    let began = clock::now();
    let mut count = 0_u32;
    for (to, size) in [(v4, 4), (v6, 4), (v4, 1400), (v6, 1400), (v4, 30_000)].repeat(20) {
        association.ask(to, &vec![7; size])?;
        count += 1;
    }
    let each = (clock::now() - began) / count;
    Ok(format!("{:.1} ms each way and back", each.as_secs_f64() * 1000.0))
}

/// The server restarts below an association, which goes on with the next tunnel.
fn outlives(setting: &Setting) -> Result<Note, Failure> {
    let (mut server, mut client) = setting.pair()?;
    let [v4, v6] = echoes()?;
    let association = Association::new(client.socks)?;
    association.ask(v4, b"before")?;
    association.ask(v6, b"before")?;
    server.stop(Signal::Terminate)?;
    client.wait_tunnels(0, TUNNEL)?;
    // Whether this one waits or is lost is nobody's promise.
    association.send(v4, b"between")?;
    server.start()?;
    client.wait_tunnels(1, TUNNEL)?;
    association.socket.set_read_timeout(Some(AGAIN)).doing("set a limit")?;
    let limit = clock::now() + PATIENCE;
    for to in [v4, v6] {
        // An answer that comes late, or is the one to what was sent between, is as good.
        while association.ask(to, b"after").is_err() {
            if clock::now() > limit {
                return Err(Failure::Timeout {
                    awaited: "an answer in the next tunnel".into(),
                    limit: PATIENCE,
                });
            }
        }
    }
    Ok(Note::new())
}
