//! Our server's CPU per byte by cipher. The reference's client draws its algorithms at random and does not tell, so it is started anew,
//! through a forwarder that reads the key exchange, until each kind has come up. Its own cost is not ours and not counted.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::Outcome;
use super::super::contender::{Client, Contender, Kind, Server};
use super::super::figures::{CHACHA_DOWN, CHACHA_UP, CTR_DOWN, CTR_UP, Figure, GCM_DOWN, GCM_UP};
use super::super::load::Way;
use super::super::program::Program;
use super::super::psiphon::{self, Dial, OSSH};
use super::many::many;
use super::{Bench, cpu_during, megabytes, per_gigabyte};

const BYTES: u64 = 400_000_000;
/// Each kind comes up in at least one draw of six.
const DRAWS: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cipher {
    Gcm,
    CtrWithMac,
    ChaCha,
}

impl Cipher {
    const ALL: [Self; 3] = [Self::Gcm, Self::CtrWithMac, Self::ChaCha];

    fn of(name: &str) -> Option<Self> {
        match name {
            name if name.contains("-gcm") => Some(Self::Gcm),
            name if name.contains("-ctr") => Some(Self::CtrWithMac),
            name if name.starts_with("chacha20") => Some(Self::ChaCha),
            _ => None,
        }
    }

    fn figure(self, way: Way) -> Figure {
        match (self, way) {
            (Self::Gcm, Way::Down) => GCM_DOWN,
            (Self::Gcm, Way::Up) => GCM_UP,
            (Self::CtrWithMac, Way::Down) => CTR_DOWN,
            (Self::CtrWithMac, Way::Up) => CTR_UP,
            (Self::ChaCha, Way::Down) => CHACHA_DOWN,
            (Self::ChaCha, Way::Up) => CHACHA_UP,
        }
    }
}

/// A client whose cipher is known, and what it goes through.
struct Drawn {
    client: Client,
    name: String,
    _forwarder: Option<Program>,
}

pub(super) fn measure(bench: &mut Bench) -> Outcome<()> {
    for server in bench.servers(&[Contender::ReferenceToOurs, Contender::Ours]) {
        let drawn = draw(bench, &server)?;
        for _ in 0..bench.options.few() {
            for (cipher, drawn) in &drawn {
                for way in Way::BOTH {
                    transfer(bench, &server, *cipher, drawn, way);
                }
            }
        }
        for cipher in Cipher::ALL.iter().filter(|cipher| !drawn.contains_key(cipher)) {
            bench.results.fail(format!("cipher: {cipher:?} not drawn in {DRAWS} connections"));
        }
    }
    Ok(())
}

fn transfer(bench: &mut Bench, server: &Server, cipher: Cipher, drawn: &Drawn, way: Way) {
    let (bytes, figure) = (bench.options.scaled(BYTES), cipher.figure(way));
    let (cpu, moved) = cpu_during(&[server.program()], || bench.load.bulk(drawn.client.front, way, 1, bytes));
    match moved {
        Ok(time) => {
            let (cost, speed) = (per_gigabyte(cpu, bytes), megabytes(bytes, time));
            bench.results.add_transfer(figure, server.contender, cost, speed);
            bench.results.remark(figure, server.contender, &drawn.name);
        }
        Err(error) => bench.results.fail(format!("{}: {error}", figure.title)),
    }
}

/// Starts clients until there is one for each kind of cipher.
fn draw(bench: &mut Bench, server: &Server) -> Outcome<BTreeMap<Cipher, Drawn>> {
    let mut drawn = BTreeMap::new();
    for _ in 0..DRAWS {
        if drawn.len() == Cipher::ALL.len() {
            break;
        }
        let next = match server.contender {
            Contender::Ours => told(bench, server),
            _ => sniffed(bench, server),
        };
        match next {
            Ok(next) => {
                if let Some(cipher) = Cipher::of(&next.name) {
                    drawn.entry(cipher).or_insert(next);
                }
            }
            Err(error) => bench.results.fail(format!("cipher: {error}")),
        }
    }
    Ok(drawn)
}

fn told(bench: &Bench, server: &Server) -> Outcome<Drawn> {
    let Kind::Psiphon(generated) = &server.kind else { return Err("not a tunnel server".into()) };
    let entry = generated.entry(server.address());
    let client: Client = psiphon::connect(&bench.peers.ours.client, &entry, OSSH, Dial::AnyCipher)?.into();
    let name = client.cipher.clone().ok_or("our client does not tell its cipher")?;
    Ok(Drawn { client, name, _forwarder: None })
}

fn sniffed(bench: &Bench, server: &Server) -> Outcome<Drawn> {
    let Kind::Psiphon(generated) = &server.kind else { return Err("not a tunnel server".into()) };
    let program = &bench.peers.reference.as_ref().ok_or("absent")?.client;
    let (mut forwarder, _folder) = many(bench, server, "sniff", 1)?;
    let limit = Duration::from_secs(5);
    let (_, at) =
        forwarder.wait_line("address", limit, |line| line.strip_prefix("listening ")?.parse().ok())?;
    let client = psiphon::connect(program, &generated.entry(at), OSSH, Dial::AnyCipher)?.into();
    let pair = |line: &str| {
        let (up, down) = line.strip_prefix("cipher ")?.split_once(' ')?;
        Some((up.to_owned(), down.to_owned()))
    };
    let (_, (up, down)) = forwarder.wait_line("cipher", limit, pair)?;
    // Kinds that differ by direction belong to neither; the next draw will do.
    let name = if Cipher::of(&up) == Cipher::of(&down) { down } else { String::new() };
    Ok(Drawn { client, name, _forwarder: Some(forwarder) })
}
