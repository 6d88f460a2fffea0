//! `culvert-bench judge FILE`: what the detectors make of flows that `cargo xtask detect` has recorded. Lines of the file: `flow tcp` or `flow
//! udp`, then for each segment `up` or `down`, microseconds, bytes, and the first of the bytes in hexadecimal.

use std::fs;
use std::time::Duration;

use culvert_detect::{
    Carrier, ClientHello, Direction, FirstDatagram, Flow, browser_of, first_datagram, looks_fully_encrypted,
    looks_like_tls_inside, telling_sizes,
};

use super::Outcome;

/// How far the models look.
const NEAR: usize = 25;
const FAR: usize = 60;
/// Sizes are looked at in so many segments of a direction, and tell when more of the flows have them.
const SEGMENTS: usize = 20;
const SHARE: f64 = 0.2;
/// Nothing recorded is larger.
const LARGEST: usize = 1 << 20;

/// Prints a line for each figure.
pub(super) fn run(file: &str) -> Outcome<()> {
    let flows = read(&fs::read_to_string(file)?)?;
    let verdicts: Vec<Verdict> = flows.iter().map(Verdict::of).collect();
    #[expect(clippy::cast_precision_loss, reason = "counts of flows")]
    let share = |holds: fn(&Verdict) -> bool| {
        verdicts.iter().filter(|verdict| holds(verdict)).count() as f64 / flows.len().max(1) as f64
    };
    println!("flows {}", flows.len());
    println!("fully-encrypted {}", share(|verdict| verdict.fully_encrypted));
    println!("inside-25 {}", share(|verdict| verdict.inside.0));
    println!("inside-60 {}", share(|verdict| verdict.inside.1));
    println!("hello-browser {}", share(|verdict| verdict.hello == Some(true)));
    println!("hello-other {}", share(|verdict| verdict.hello == Some(false)));
    println!("quic {}", share(|verdict| verdict.quic));
    let behind: Vec<Flow> = flows.iter().map(behind_handshake).collect();
    for size in telling_sizes(&behind, SEGMENTS, SHARE) {
        let direction = if size.direction == Direction::Up { "up" } else { "down" };
        println!("size {direction} {} {}", size.len, size.share);
    }
    Ok(())
}

struct Verdict {
    fully_encrypted: bool,
    inside: (bool, bool),
    /// Whether a browser's, where there is one.
    hello: Option<bool>,
    quic: bool,
}

impl Verdict {
    fn of(flow: &Flow) -> Self {
        if flow.carrier() == Carrier::Udp {
            let quic = first_datagram(flow.first_segment()) == FirstDatagram::QuicVersion1;
            return Self { fully_encrypted: false, inside: (false, false), hello: None, quic };
        }
        let hello = ClientHello::read(flow.beginning());
        let inside = |segments| looks_like_tls_inside(flow, segments, hello.is_some());
        Self {
            fully_encrypted: looks_fully_encrypted(flow.first_segment()),
            inside: (inside(NEAR), inside(FAR)),
            hello: hello.as_ref().map(|hello| browser_of(&hello.ja4()).is_some()),
            quic: false,
        }
    }
}

/// The flow without what TLS itself fixes, if it is TLS: the handshake, which is over with the client's ChangeCipherSpec, and the server's
/// tickets, which come next from it.
fn behind_handshake(flow: &Flow) -> Flow {
    if ClientHello::read(flow.beginning()).is_none() {
        return flow.clone();
    }
    let segments = flow.segments();
    let over =
        segments.iter().position(|segment| segment.direction == Direction::Up && segment.changes_cipher);
    let rest = over.and_then(|at| segments.get(at + 1..)).unwrap_or_default();
    let tickets = rest.iter().position(|segment| segment.direction == Direction::Down);
    let mut behind = Flow::new(flow.carrier());
    for (index, segment) in rest.iter().enumerate() {
        if Some(index) != tickets {
            behind.record(segment.direction, segment.at, &vec![0; segment.len]);
        }
    }
    behind
}

fn read(text: &str) -> Outcome<Vec<Flow>> {
    let mut flows = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match (words.as_slice(), flows.last_mut()) {
            (["flow", "tcp"], _) => flows.push(Flow::new(Carrier::Tcp)),
            (["flow", "udp"], _) => flows.push(Flow::new(Carrier::Udp)),
            ([direction @ ("up" | "down"), at, len, hex], Some(flow)) => {
                let direction = if *direction == "up" { Direction::Up } else { Direction::Down };
                let mut bytes =
                    culvert_protocol::text_form::hex(hex).ok_or("a segment is not hexadecimal")?;
                bytes.resize(len.parse::<usize>()?.min(LARGEST), 0);
                flow.record(direction, Duration::from_micros(at.parse()?), &bytes);
            }
            _ => return Err(format!("{line:?} is not a line of recorded flows").into()),
        }
    }
    Ok(flows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_flows_are_read() {
        let flows = read("flow tcp\nup 5 3 474554\ndown 7 2000 00\nflow udp\nup 0 2 c300\n").unwrap();
        let sizes = |flow: &Flow| flow.segments().iter().map(|segment| segment.len).collect::<Vec<_>>();
        assert_eq!(flows.iter().map(sizes).collect::<Vec<_>>(), [vec![3, 1448, 552], vec![2]]);
        assert_eq!(flows[0].first_segment(), b"GET");
        assert!(read("up 1 1 00").is_err() && read("flow tcp\nup 1 1 zz").is_err());
    }
}
