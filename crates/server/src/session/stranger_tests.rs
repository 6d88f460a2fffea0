//! Strangers under a clock that stands still unless everybody waits: when each kind of them is sent away, to the millisecond.

use std::net::Ipv4Addr;
use std::path::Path;

use culvert_obfuscation::{ClientPreamble, Direction, Keystream, PaddingRange, PreamblePlan, Prng, Seed};
use culvert_protocol::TunnelProtocol;
use culvert_transport::Remote;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::config::{Strictness, parse};
use crate::generate::{FileNames, Listeners, Options, generate};
use crate::log::{Level, Logger, Origin};

const HOLD: Duration = Duration::from_secs(600);

/// A server's half of what strangers meet.
struct Door {
    services: std::sync::Arc<Services>,
    state: std::path::PathBuf,
    stop: watch::Sender<bool>,
}

impl Door {
    fn new(name: &str) -> Self {
        let file = Path::new("psiphond.config");
        let options = Options {
            address: "127.0.0.1".parse().unwrap(),
            listeners: Listeners::parse(["OSSH:1"]).unwrap(),
            log_file: None,
            files: FileNames::default(),
        };
        let generated = generate(&options).unwrap();
        let text = generated.text(file).unwrap();
        let mut config = parse(file, text, Strictness::Run).unwrap().value;
        config.ssh.handshakes.probe_hold = Some(HOLD);
        let state = std::env::temp_dir().join(format!("culvert-stranger-{name}-{}", std::process::id()));
        config.state_directory.clone_from(&state);
        let (log, _) = Logger::captured(Level::Info, Origin::default());
        let services = Services::new(config, &log).unwrap();
        Self { services: services.into(), state, stop: watch::Sender::new(false) }
    }

    fn keyword(&self) -> Keyword {
        self.services.ssh.keyword(TunnelProtocol::OSSH).unwrap()
    }

    /// A connection of the peer with this number; whether it got in.
    fn connect(&self, peer: u32) -> (DuplexStream, JoinHandle<bool>) {
        let (ours, theirs) = duplex(hold::DRAIN);
        let arrival = Arrival {
            protocol: TunnelProtocol::OSSH,
            port: 1,
            peer: Remote((Ipv4Addr::from_bits(peer), 1).into()),
            at: Instant::now(),
            draw: Default::default(),
        };
        let (services, keyword, mut stopping) =
            (self.services.clone(), self.keyword(), self.stop.subscribe());
        let serving = tokio::spawn(async move {
            introduce(Box::new(ours), arrival, keyword, &services, &mut stopping).await.is_some()
        });
        (theirs, serving)
    }

    fn preamble(&self, number: u8) -> Vec<u8> {
        let plan = PreamblePlan {
            obfuscator_seed: ObfuscatorSeed::from_bytes([number; 16]),
            padding_seed: Seed::from_bytes([6; 32]),
            padding: PaddingRange::new(Some(400), Some(400)),
            prefix: None,
        };
        ClientPreamble::new(&self.keyword(), &plan).bytes
    }

    /// Known by its magic, but of a length that is not allowed.
    fn wrong_length(&self) -> Vec<u8> {
        let seed = ObfuscatorSeed::from_bytes([0xee; 16]);
        let mut hidden = [0x0b, 0xf5, 0xca, 0x7e, 0, 0, 0x20, 1];
        Keystream::derive(&self.keyword(), &seed, Direction::ClientToServer).apply(&mut hidden);
        [seed.as_bytes().as_slice(), &hidden, &[7; 400]].concat()
    }

    /// Uses up what a peer may waste.
    fn exhaust(&self, peer: u32) {
        let peer = Remote((Ipv4Addr::from_bits(peer), 1).into());
        loop {
            let mut account = self.services.budget.account(peer);
            let now = Instant::now();
            match account.turn(Evidence::Nothing, now) {
                Turn::Now => account.derived(Evidence::Nothing, Duration::ZERO, now),
                Turn::After(_) | Turn::Never => return,
            }
        }
    }

    /// All kinds of stranger, each with an address of its own; the last are over their budget.
    async fn kinds(&self) -> Vec<(&'static str, u32, Vec<u8>)> {
        let (mut stream, serving) = self.connect(1);
        stream.write_all(&self.preamble(1)).await.unwrap();
        assert!(serving.await.unwrap(), "the first use is good");
        let mut tampered = self.preamble(1);
        tampered[16] ^= 1;
        self.exhaust(10);
        self.exhaust(11);
        vec![
            ("nothing", 2, Vec::new()),
            ("too little", 3, noise(23)),
            ("wrong key", 4, noise(512)),
            ("wrong length", 5, self.wrong_length()),
            ("replay", 6, self.preamble(1)),
            ("tampered replay", 7, tampered),
            ("cut", 8, self.preamble(8)[..100].to_vec()),
            ("no prefix within the limit", 9, noise(70_000)),
            ("over the budget", 10, noise(512)),
            ("good but cut, over the budget", 11, self.preamble(11)[..100].to_vec()),
        ]
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.state);
    }
}

fn noise(length: usize) -> Vec<u8> {
    Prng::new(&Seed::from_bytes([9; 32])).bytes(length)
}

/// How long until the end, before which there must be no byte.
async fn end(stream: &mut DuplexStream, what: &str) -> Duration {
    let began = Instant::now();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "{what} was answered");
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn all_are_sent_away_at_the_same_time_after_they_came() {
    let door = Door::new("hold");
    for (what, peer, bytes) in door.kinds().await {
        for gap in [Duration::ZERO, Duration::from_millis(1500)] {
            let began = Instant::now();
            let (mut stream, serving) = door.connect(peer);
            stream.write_all(&bytes[..bytes.len() / 2]).await.unwrap();
            sleep(gap).await;
            stream.write_all(&bytes[bytes.len() / 2..]).await.unwrap();
            end(&mut stream, what).await;
            assert_eq!(began.elapsed(), HOLD, "{what}, {gap:?}");
            // Until both have ended it is read on, or the end would be a reset.
            stream.write_all(&[1; 10_000]).await.unwrap();
            drop(stream);
            assert!(!serving.await.unwrap());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_ends_is_answered_with_an_end_that_does_not_tell() {
    let door = Door::new("end");
    for (what, peer, bytes) in door.kinds().await {
        for (pause, expected) in [(0, 5), (2, 3), (4, 1), (6, 0), (7000, 0)] {
            let (mut stream, serving) = door.connect(peer);
            stream.write_all(&bytes).await.unwrap();
            sleep(Duration::from_millis(pause)).await;
            stream.shutdown().await.unwrap();
            assert_eq!(end(&mut stream, what).await.as_millis(), expected, "{what}, {pause} ms");
            assert!(!serving.await.unwrap());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_byte_a_second_is_no_reason_to_end() {
    let door = Door::new("dribble");
    for (what, peer, bytes) in door.kinds().await {
        let (mut stream, serving) = door.connect(peer);
        for byte in bytes.iter().take(590) {
            stream.write_all(&[*byte]).await.unwrap();
            sleep(Duration::from_secs(1)).await;
        }
        let left = end(&mut stream, what).await;
        assert_eq!(left, HOLD - Duration::from_secs(bytes.len().min(590) as u64), "{what}");
        drop(stream);
        assert!(!serving.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_preamble_gets_in_however_late_its_turn_comes() {
    let door = Door::new("late");
    door.exhaust(1);
    let mut line = Vec::new();
    for number in 0..50 {
        let (mut stream, serving) = door.connect(1);
        stream.write_all(&noise(100 + number)).await.unwrap();
        line.push((stream, serving));
    }
    sleep(Duration::from_millis(1)).await;
    let began = Instant::now();
    let (mut stream, serving) = door.connect(1);
    let preamble = door.preamble(3);
    // What comes while it waits is kept.
    stream.write_all(&preamble[..200]).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    stream.write_all(&preamble[200..]).await.unwrap();
    assert!(serving.await.unwrap());
    let waited = began.elapsed();
    assert!((Duration::from_millis(100)..Duration::from_secs(4)).contains(&waited), "{waited:?}");
}
