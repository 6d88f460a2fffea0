//! What is counted, case by case. Both halves of each path count: sealing and opening, client and server.

use culvert_obfuscation::{ClientPreamble, PreambleReader};
use culvert_ssh::BATCH;
use culvert_ssh::names::{CipherName, MacName};

use crate::pair::{Pair, Setup, Suite, keyword, plan};

const GCM: Suite = (CipherName::Aes128Gcm, None);
const CTR: Suite = (CipherName::Aes128Ctr, Some(MacName::HmacSha256));
const CHACHA: Suite = (CipherName::ChaCha20Poly1305, None);

/// What is counted: the work, all else being done.
type Work = Box<dyn FnMut()>;

/// One case.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// How many units the work has.
    pub(crate) count: usize,
    pub(crate) unit: &'static str,
    pub(crate) prepare: fn(usize) -> Work,
}

pub(crate) const ALL: &[Case] = &[
    Case { name: "bulk-gcm", count: 8 << 20, unit: "byte", prepare: |bytes| bulk(GCM, bytes) },
    Case { name: "bulk-ctr-hmac", count: 2 << 20, unit: "byte", prepare: |bytes| bulk(CTR, bytes) },
    Case { name: "bulk-chacha20", count: 4 << 20, unit: "byte", prepare: |bytes| bulk(CHACHA, bytes) },
    Case { name: "small-packets", count: 64 * 200, unit: "packet", prepare: small_packets },
    Case { name: "handshake", count: 2, unit: "handshake", prepare: handshakes },
    Case { name: "preamble-accept", count: 4, unit: "preamble", prepare: accepts },
    Case { name: "preamble-reject", count: 4, unit: "preamble", prepare: rejects },
];

/// Data from the server to the client, read straight into packets.
fn bulk(suite: Suite, bytes: usize) -> Work {
    let setup = Setup::new(suite);
    let mut pair = Pair::logged_in(&setup);
    let (_, id) = pair.open();
    let mut go = move |bytes: usize| {
        pair.received = 0;
        let mut left = bytes;
        while left > 0 {
            // A socket that always has more than fits.
            let most = left.min(BATCH);
            let filled = pair
                .server
                .write_from(id, |slots| slots.iter().map(|slot| slot.len()).sum::<usize>().min(most));
            left -= filled.unwrap_or(0);
            pair.carry_down();
            pair.carry_up();
            while pair.server.poll_event().is_some() || pair.client.poll_event().is_some() {}
        }
        assert_eq!(pair.received, bytes, "data was lost");
    };
    // Buffers have the size that they keep.
    go(2 << 20);
    Box::new(move || go(bytes))
}

/// Few bytes on each of many channels, up, all in one write each time.
fn small_packets(packets: usize) -> Work {
    const CHANNELS: usize = 64;
    let setup = Setup::new(GCM);
    let mut pair = Pair::logged_in(&setup);
    let ids: Vec<_> = (0..CHANNELS).map(|_| pair.open().0).collect();
    let mut go = move |rounds: usize| {
        pair.received = 0;
        for _ in 0..rounds {
            for id in &ids {
                assert_eq!(pair.client.write(*id, &[7; 64]), 64, "there is room");
            }
            pair.carry_up();
            pair.carry_down();
            while pair.server.poll_event().is_some() || pair.client.poll_event().is_some() {}
        }
        assert_eq!(pair.received, rounds * CHANNELS * 64, "data was lost");
    };
    go(20);
    Box::new(move || go(packets / CHANNELS))
}

/// From nothing to login.
fn handshakes(count: usize) -> Work {
    let setup = Setup::new(GCM);
    // The library seeds its random generator once, and how long that takes is chance.
    drop(Pair::logged_in(&setup));
    Box::new(move || {
        for _ in 0..count {
            drop(Pair::logged_in(&setup));
        }
    })
}

/// The server's reading of a preamble that is right.
fn accepts(count: usize) -> Work {
    let preamble = ClientPreamble::new(&keyword(), &plan()).bytes;
    let read = move || {
        let mut reader = PreambleReader::new(keyword());
        let (consumed, found) = reader.push(&preamble).expect("it is right");
        assert!(consumed == preamble.len() && found.is_some(), "it is whole");
    };
    read();
    Box::new(move || (0..count).for_each(|_| read()))
}

/// What a server does for noise, until it gives up.
fn rejects(count: usize) -> Work {
    let noise: Vec<u8> = (0_u32..200_000).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let refuse = move || {
        let mut reader = PreambleReader::new(keyword());
        let refused = noise.chunks(16 << 10).find_map(|piece| reader.push(piece).err());
        assert!(refused.is_some(), "noise was taken for a preamble");
    };
    refuse();
    Box::new(move || (0..count).for_each(|_| refuse()))
}
