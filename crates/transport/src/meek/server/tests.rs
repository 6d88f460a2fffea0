//! A session from both its ends, in paused time: turns, repetitions, resumption, bounds, ends.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::*;
use crate::meek::wire::{
    Flow, MAX_SESSION_BYTES, PaddingReceiver, PaddingSender, PayloadPaddingKey, SessionId,
};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn sessions(limits: SessionLimits) -> Sessions {
    Sessions::new(limits)
}

fn begin(sessions: &Sessions, byte: u8, padding_key: Option<&str>) -> Option<(Arc<Session>, SessionStream)> {
    let id = SessionId::new(&[byte; MAX_SESSION_BYTES], 10);
    let (cookie, beginning) = (&format!("cookie {byte}"), Beginning::default());
    sessions.begin(NewSession { id, cookie, peer: CLIENT, beginning, padding_key })
}

fn one() -> (Arc<Session>, SessionStream) {
    begin(&sessions(SessionLimits::default()), 1, None).unwrap()
}

/// One request and all of its response.
async fn exchange(session: &Arc<Session>, body: &[u8], position: Option<u64>) -> (Status, Vec<u8>) {
    let mut turn = session.turn().await.unwrap();
    let status = turn.receive(Bytes::copy_from_slice(body), position).await.unwrap();
    let (mut pieces, mut response) = (Vec::new(), Vec::new());
    while turn.next(&mut pieces).await {
        pieces.drain(..).for_each(|piece: Bytes| response.extend_from_slice(&piece));
    }
    turn.finish();
    (status, response)
}

async fn read(stream: &mut SessionStream) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    let read = timeout(Duration::ZERO, stream.read(&mut bytes)).await;
    bytes.truncate(read.map_or(0, Result::unwrap));
    bytes
}

#[tokio::test(start_paused = true)]
async fn a_session_counts_what_happens_to_it() {
    let (session, mut stream) = one();
    let [first, second] = [Carrier::unique(), Carrier::unique()];
    session.carried_by(first);
    stream.write_all(b"response").await.unwrap();
    exchange(&session, b"", None).await;
    for (carrier, position) in [(second, 3), (second, 0), (first, 5)] {
        session.carried_by(carrier);
        exchange(&session, b"", Some(position)).await;
    }
    let mut counts = SessionCounts {
        retries: 3,
        largest_response: 8,
        largest_again: 8,
        missed_position: 0,
        connections: 3,
    };
    assert_eq!(session.counts(), counts);
    let mut turn = session.turn().await.unwrap();
    assert_eq!(turn.receive(Bytes::new(), Some(9)).await, Err(SessionOver));
    (counts.retries, counts.missed_position) = (4, 9);
    assert_eq!(session.counts(), counts);
    assert!(!session.pads_payload());
}

#[tokio::test(start_paused = true)]
async fn bytes_go_both_ways() {
    let (session, mut stream) = one();
    stream.write_all(b"down").await.unwrap();
    assert_eq!(exchange(&session, b"up", None).await, (Status::Ok, b"down".to_vec()));
    assert_eq!(read(&mut stream).await, b"up");
    let begin = Instant::now();
    assert_eq!(exchange(&session, b"", None).await, (Status::Ok, Vec::new()));
    assert!(begin.elapsed() <= Duration::from_millis(12), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_response_goes_on_while_there_is_something() {
    let (session, mut stream) = one();
    let writer = tokio::spawn(async move {
        for _ in 0..20 {
            stream.write_all(&[7; 1000]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stream
    });
    assert_eq!(exchange(&session, b"", None).await.1.len(), 20_000);
    writer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_upload_is_answered_at_once() {
    let (session, mut stream) = one();
    let begin = Instant::now();
    assert_eq!(exchange(&session, &[5; 20_000], None).await, (Status::Ok, Vec::new()));
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(read(&mut stream).await.len(), 20_000);
}

#[tokio::test(start_paused = true)]
async fn a_lost_response_is_resumed_anywhere() {
    let (session, mut stream) = one();
    stream.write_all(b"0123456789").await.unwrap();
    let whole = exchange(&session, b"request", None).await.1;
    // More that came meanwhile is for the next request.
    stream.write_all(b"later").await.unwrap();
    for position in 0..=10 {
        let rest = whole[position..].to_vec();
        let position = Some(position as u64);
        assert_eq!(exchange(&session, b"request", position).await, (Status::Partial, rest.clone()));
        if position > Some(0) {
            assert_eq!(exchange(&session, b"", position).await, (Status::Partial, rest));
        }
    }
    assert_eq!(read(&mut stream).await, b"request", "a repetition is dropped");
    assert_eq!(exchange(&session, b"", None).await.1, b"later");
}

#[tokio::test(start_paused = true)]
async fn a_poll_asks_again_for_what_answered_a_poll() {
    let (session, mut stream) = one();
    stream.write_all(b"first").await.unwrap();
    assert_eq!(exchange(&session, b"request", None).await.1, b"first");
    // Its answer was seen; the poll behind it was lost on its way here.
    assert_eq!(exchange(&session, b"", Some(0)).await, (Status::Partial, Vec::new()));
    stream.write_all(b"second").await.unwrap();
    assert_eq!(exchange(&session, b"", None).await.1, b"second");
    assert_eq!(exchange(&session, b"", Some(0)).await, (Status::Partial, b"second".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_arrived_is_taken_as_new() {
    let (session, mut stream) = one();
    stream.write_all(b"old").await.unwrap();
    exchange(&session, b"first", None).await;
    stream.write_all(b"new").await.unwrap();
    assert_eq!(exchange(&session, b"second", Some(0)).await, (Status::Partial, b"new".to_vec()));
    assert_eq!(read(&mut stream).await, b"firstsecond");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_kept_any_more_ends_the_session() {
    let (session, mut stream) = one();
    stream.write_all(b"abc").await.unwrap();
    exchange(&session, b"", None).await;
    let mut turn = session.turn().await.unwrap();
    assert_eq!(turn.receive(Bytes::new(), Some(4)).await, Err(SessionOver));
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    assert!(stream.write_all(b"x").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn responses_are_no_longer_than_what_is_kept() {
    let limits = SessionLimits { kept_least: 1000, kept_most: 5000, ..SessionLimits::default() };
    let (session, mut stream) = begin(&sessions(limits), 1, None).unwrap();
    stream.write_all(&[3; 12_000]).await.unwrap();
    for expected in [5000, 5000, 2000] {
        assert_eq!(exchange(&session, b"", None).await.1.len(), expected);
        assert_eq!(exchange(&session, b"", Some(0)).await.1.len(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn the_newest_request_wins() {
    let (session, mut stream) = one();
    let first = session.turn().await.unwrap();
    let superseded = first.superseded();
    let second = tokio::spawn({
        let session = session.clone();
        async move { session.turn().await.is_some() }
    });
    tokio::task::yield_now().await;
    let third = tokio::spawn({
        let session = session.clone();
        async move { exchange(&session, b"third", None).await }
    });
    superseded.await;
    drop(first);
    assert!(!second.await.unwrap(), "a newer one came");
    third.await.unwrap();
    assert_eq!(read(&mut stream).await, b"third");
}

#[tokio::test(start_paused = true)]
async fn last_words_are_fetched() {
    let (session, mut stream) = one();
    stream.write_all(b"farewell").await.unwrap();
    drop(stream);
    let fetched = tokio::spawn({
        let session = session.clone();
        async move { session.fetched().await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!fetched.is_finished());
    assert_eq!(exchange(&session, b"", None).await.1, b"farewell");
    fetched.await.unwrap();
    assert_eq!(exchange(&session, b"", None).await, (Status::Ok, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_without_requests() {
    let (session, mut stream) = one();
    let idle = Duration::from_secs(45);
    let watch = tokio::spawn({
        let session = session.clone();
        async move { session.end_when_idle(idle).await }
    });
    let begin = Instant::now();
    tokio::time::sleep(Duration::from_secs(30)).await;
    exchange(&session, b"still here", None).await;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(75) && begin.elapsed() < Duration::from_secs(80));
    watch.abort();
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_reads_nothing_makes_requests_wait() {
    let (session, mut stream) = one();
    for byte in 0..5 {
        let body = [byte; 60_000];
        let done = timeout(Duration::from_secs(1), exchange(&session, &body, None)).await.is_ok();
        assert_eq!(done, byte < 5, "{byte}");
    }
    let blocked = tokio::spawn({
        let session = session.clone();
        async move { exchange(&session, &[9; 60_000], None).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!blocked.is_finished());
    assert!(read(&mut stream).await.len() >= 300_000);
    blocked.await.unwrap();
    assert_eq!(read(&mut stream).await.len(), 60_000);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_for_nothing_makes_the_tunnel_wait() {
    let (session, mut stream) = one();
    let written = timeout(Duration::from_secs(1), stream.write_all(&[1; 1 << 20])).await;
    assert!(written.is_err(), "a megabyte was taken");
    let kept = exchange(&session, b"", None).await.1.len();
    assert!((1..512 * 1024).contains(&kept), "{kept}");
}

#[tokio::test(start_paused = true)]
async fn padded_bodies_are_taken_apart() {
    let key = |flow| PayloadPaddingKey::derive("key", "cookie 1", flow);
    let mut sender = PaddingSender::new(&key(Flow::Requests));
    let mut receiver = PaddingReceiver::new(&key(Flow::Responses));
    let (session, mut stream) = begin(&sessions(SessionLimits::default()), 1, Some("key")).unwrap();
    for payload in [&b"one"[..], b"", b"two"] {
        let body = match payload {
            [] => sender.padding_body(&[4; 100]),
            payload => [&sender.before_payload()[..], payload].concat(),
        };
        stream.write_all(payload).await.unwrap();
        let response = exchange(&session, &body, None).await.1;
        // The same again does not advance the key stream.
        assert_eq!(exchange(&session, &body, Some(0)).await.1, response);
        receiver.begin_body();
        assert_eq!(receiver.receive(&response).unwrap(), payload);
        assert_eq!(read(&mut stream).await, payload);
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_found_while_they_are_needed() {
    let limits = SessionLimits { sessions: 2, ..SessionLimits::default() };
    let sessions = sessions(limits);
    let (first, _stream) = begin(&sessions, 1, None).unwrap();
    let (_second, _other) = begin(&sessions, 2, None).unwrap();
    assert!(begin(&sessions, 3, None).is_none(), "there are too many");
    let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    assert!(sessions.begun_with("cookie 1", CLIENT).is_some());
    assert!(sessions.begun_with("cookie 1", elsewhere).is_none(), "who recorded a cookie gets nothing");
    assert!(sessions.named(first.id()).is_some());
    assert!(sessions.begun_with("cookie 1", CLIENT).is_none(), "the client has the name");
    sessions.remove(&first);
    assert!(sessions.named(first.id()).is_none());
    assert_eq!(sessions.len(), 1);
}
