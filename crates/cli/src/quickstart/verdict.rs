//! What the detectors of censors make of the flows of one tunnel, in a few words. One tunnel cannot show sizes that repeat from one to the next:
//! that takes many (`cargo xtask detect`).

use culvert_detect::{
    Carrier, ClientHello, FirstDatagram, Flow, browser_of, first_datagram, looks_fully_encrypted,
    looks_like_tls_inside,
};

/// How far the model of TLS handshakes looks.
const SEGMENTS: usize = 25;

/// What was noticed in any of the flows; empty when nothing was.
pub(super) fn noticed(flows: &[Flow]) -> Vec<&'static str> {
    let mut noticed: Vec<&'static str> = flows.iter().flat_map(of_one).collect();
    noticed.sort_unstable();
    noticed.dedup();
    noticed
}

fn of_one(flow: &Flow) -> Vec<&'static str> {
    match flow.carrier() {
        Carrier::Tcp => of_stream(flow),
        Carrier::Udp => match first_datagram(flow.first_segment()) {
            FirstDatagram::QuicVersion1 => vec!["QUIC version 1"],
            FirstDatagram::Noise => Vec::new(),
        },
    }
}

fn of_stream(flow: &Flow) -> Vec<&'static str> {
    let hello = ClientHello::read(flow.beginning());
    let facts = [
        ("looks encrypted from its first byte", looks_fully_encrypted(flow.first_segment())),
        ("TLS inside", looks_like_tls_inside(flow, SEGMENTS, hello.is_some())),
        ("ClientHello of no browser", hello.is_some_and(|hello| browser_of(&hello.ja4()).is_none())),
    ];
    facts.into_iter().filter(|(_, holds)| *holds).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use culvert_detect::Direction;

    use super::*;

    #[test]
    fn noise_is_noticed_and_a_question_is_not() {
        let flow = |first: &[u8]| {
            let mut flow = Flow::new(Carrier::Tcp);
            flow.record(Direction::Up, Duration::ZERO, first);
            flow
        };
        let question = flow(b"GET / HTTP/1.1\r\n\r\n");
        assert!(noticed(std::slice::from_ref(&question)).is_empty());
        let noise = flow(&[0x0F; 100]);
        assert_eq!(noticed(&[question, noise.clone(), noise]), ["looks encrypted from its first byte"]);
        let mut datagrams = Flow::new(Carrier::Udp);
        datagrams.record(Direction::Up, Duration::ZERO, &[&[0xC0, 0, 0, 0, 1][..], &[0; 1200]].concat());
        assert_eq!(noticed(&[datagrams]), ["QUIC version 1"]);
    }
}
