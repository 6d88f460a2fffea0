//! Targets of the `transport` crate.

use culvert_transport::quic::initial::{HelloStart, Initial, Progress};
use culvert_transport::quic::wire::Flow;
use culvert_transport::shadowsocks::wire::Opener;
use culvert_transport::shadowsocks::{Key, Salt};
use culvert_transport::tls::{ClientHello, HelloError, HelloReader};

/// The password and the salt of the committed inputs.
pub(crate) const SHADOWSOCKS_KEY: &str = "fuzzing key";
pub(crate) const SHADOWSOCKS_SALT: [u8; 32] = [7; 32];

/// Shadowsocks chunks behind their salt.
pub(crate) fn shadowsocks_chunks(data: &[u8]) {
    assert_eq!(open(data, data.len().max(1)), open(data, 5), "pieces opened otherwise than the whole");
}

/// What was opened, and whether all of it was authentic so far.
fn open(data: &[u8], piece: usize) -> (Vec<u8>, bool) {
    let key = Key::from_password(SHADOWSOCKS_KEY);
    let mut opener = Opener::new(&key, &Salt::from_bytes(SHADOWSOCKS_SALT));
    let (mut plain, mut input, mut start) = (Vec::new(), Vec::new(), 0);
    for piece in data.chunks(piece) {
        input.extend_from_slice(piece);
        loop {
            let rest = input.get_mut(start..).unwrap_or_default();
            match opener.open(rest) {
                Ok(Some(opened)) => {
                    plain.extend_from_slice(&rest[opened.payload]);
                    start += opened.consumed;
                }
                Ok(None) => break,
                Err(_) => return (plain, false),
            }
        }
    }
    (plain, true)
}

/// The beginning of a connection to a TLS port.
pub(crate) fn client_hello(data: &[u8]) {
    let whole = read_hello(data, data.len().max(1));
    assert_eq!(whole, read_hello(data, 1), "pieces read otherwise than the whole");
    assert_eq!(whole, read_hello(data, 7), "pieces read otherwise than the whole");
}

fn read_hello(data: &[u8], piece: usize) -> Result<Option<ClientHello>, HelloError> {
    let mut reader = HelloReader::default();
    for piece in data.chunks(piece) {
        if let Some(hello) = reader.receive(piece)? {
            return Ok(Some(hello));
        }
    }
    Ok(None)
}

/// The key of the committed inputs, which are of the known-answer cases.
pub(crate) const QUIC_KEY: &str = "c4f67ab0ffb7d16dcfd820215767e1a41064c0437530ce9c3467ec986744bd4a";

/// Datagrams to a QUIC port, each behind its length, up to the ClientHello's random.
pub(crate) fn quic_datagrams(data: &[u8]) {
    let key = culvert_transport::quic::Key::new(QUIC_KEY);
    let (mut flow, mut hello, mut rest) = (Flow::default(), HelloStart::default(), data);
    while let Some(([high, low], more)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(more.len());
        let (datagram, after) = more.split_at(len);
        rest = after;
        let mut datagram = datagram.to_vec();
        let Some(packet) = flow.receive(&key, &mut datagram) else { continue };
        let before = hello.progress();
        let initial = datagram.get(packet).and_then(Initial::parse);
        let _ = initial.and_then(|initial| initial.read_into(&mut hello));
        assert!(before == Progress::Incomplete || before == hello.progress(), "a random changed");
    }
}

/// The frames of Initial packets.
pub(crate) fn quic_frames(data: &[u8]) {
    let (mut once, mut twice) = (HelloStart::default(), HelloStart::default());
    let whole = once.read_frames(data);
    for _ in 0..2 {
        assert_eq!(whole, twice.read_frames(data));
    }
    assert_eq!(once.progress(), twice.progress(), "a repeated packet changed what was read");
}
