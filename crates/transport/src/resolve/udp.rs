//! Questions over UDP, each on a socket of its own. Source: TRANSPORTS.md 6.8.

use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::udp::{RecvMeta, Transmit};
use tokio::sync::mpsc;

use super::exchange::{ExchangeError, Outcome};
use super::wire::{Family, MAX_ANSWER, Question};
use crate::{Datagrams, Network};

/// Messages that are no answers, after which nobody is listened to any more.
const MOST_LIES: usize = 64;

/// Asks all questions at the same time.
pub(super) async fn ask(
    network: &Arc<dyn Network>,
    server: SocketAddr,
    questions: Vec<(Family, Question)>,
    outcomes: &mpsc::Sender<Outcome>,
) {
    let mut asked = questions.into_iter().map(|(family, question)| {
        let (network, outcomes) = (Arc::clone(network), outcomes.clone());
        async move {
            let result = ask_one(&network, server, &question, &outcomes, family).await;
            let _gone = outcomes.send((family, result)).await;
        }
    });
    match (asked.next(), asked.next()) {
        (Some(one), Some(other)) => drop(tokio::join!(one, other)),
        (Some(one), None) => one.await,
        _ => {}
    }
}

async fn ask_one(
    network: &Arc<dyn Network>,
    server: SocketAddr,
    question: &Question,
    outcomes: &mpsc::Sender<Outcome>,
    family: Family,
) -> Result<super::wire::Found, ExchangeError> {
    let socket = network.datagrams(server).await?;
    send(&socket, server, question.bytes()).await?;
    // Whoever stands nearer answers first, the server later: what is no answer ends nothing.
    let mut buffer = vec![0; MAX_ANSWER];
    let mut lies = 0;
    loop {
        let (from, len) = receive(&socket, &mut buffer).await?;
        if !same(from, server) {
            continue;
        }
        match question.answer(buffer.get(..len).unwrap_or_default()) {
            Ok(found) => return Ok(found),
            Err(error) => {
                lies += 1;
                if lies == MOST_LIES {
                    return Err(error.into());
                }
                // Heard of at once, though the question stays open.
                let _full = outcomes.try_send((family, Err(error.into())));
            }
        }
    }
}

async fn send(socket: &Datagrams, to: SocketAddr, contents: &[u8]) -> io::Result<()> {
    let transmit = Transmit { destination: to, ecn: None, contents, segment_size: None, src_ip: None };
    let mut poller = Arc::clone(socket).create_io_poller();
    loop {
        poll_fn(|cx| poller.as_mut().poll_writable(cx)).await?;
        match socket.try_send(&transmit) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

async fn receive(socket: &Datagrams, buffer: &mut [u8]) -> io::Result<(SocketAddr, usize)> {
    let mut meta = [RecvMeta::default()];
    loop {
        let received = poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(buffer)], &mut meta)).await?;
        let [meta] = &meta;
        if received > 0 {
            // Of several in one piece only the first: answers are not coalesced.
            return Ok((meta.addr, meta.len.min(meta.stride.max(1))));
        }
    }
}

/// A socket of both families writes IPv4 as a part of IPv6.
fn same(from: SocketAddr, server: SocketAddr) -> bool {
    from.ip().to_canonical() == server.ip().to_canonical() && from.port() == server.port()
}
