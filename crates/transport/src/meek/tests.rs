//! A session against a server that does what a script says.

use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use culvert_obfuscation::Seed;
use culvert_protocol::TunnelProtocol;
use culvert_protocol::parameters::Meek;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use zeroize::Zeroizing;

use super::wire::{Flow, MAX_BODY, PaddingReceiver, PaddingSender, PayloadPaddingKey};
use super::{Keys, Plan, RequestLook, RoundTripError, Route, dial, round_trip};
use crate::{BoxFuture, Datagrams, DialError, Endpoint, Network, Stream};

/// Every connection goes to whoever holds the other end.
struct Wire(UnboundedSender<DuplexStream>);

impl Network for Wire {
    fn connect<'a>(&'a self, _: &'a Endpoint) -> BoxFuture<'a, io::Result<Stream>> {
        Box::pin(async {
            let (near, far) = duplex(1 << 20);
            self.0.send(far).map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(Box::new(near) as Stream)
        })
    }

    fn datagrams(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<Datagrams>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async { Err(io::ErrorKind::NotFound.into()) })
    }
}

struct Server {
    connections: UnboundedReceiver<DuplexStream>,
    connection: Option<DuplexStream>,
}

struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl Server {
    /// The next request, on whatever connection it comes.
    async fn request(&mut self) -> Request {
        loop {
            if self.connection.is_none() {
                self.connection = Some(self.connections.recv().await.unwrap());
            }
            let stream = self.connection.as_mut().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { break };
                head.push(byte);
            }
            if head.is_empty() {
                self.connection = None;
                continue;
            }
            let mut request = Request { head: String::from_utf8(head).unwrap(), body: Vec::new() };
            request.body = vec![0; request.header("Content-Length").unwrap().parse().unwrap()];
            stream.read_exact(&mut request.body).await.unwrap();
            return request;
        }
    }

    /// The next request that carries something, after empty answers to those that do not.
    async fn payload(&mut self) -> Request {
        loop {
            let request = self.request().await;
            if !request.body.is_empty() {
                return request;
            }
            self.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    }

    async fn answer(&mut self, text: &str) {
        self.connection.as_mut().unwrap().write_all(text.as_bytes()).await.unwrap();
    }

    fn cut(&mut self) {
        self.connection = None;
    }
}

fn plan() -> Plan {
    Plan {
        route: Route::Http(Endpoint::Name("server.example".into(), 80)),
        look: RequestLook {
            host: "server.example".into(),
            user_agent: "agent".into(),
            content_type: "image/jpeg".into(),
            cookie_name: "id".into(),
            additional: Vec::new(),
            transform: None,
        },
        keys: Keys { obfuscated_key: Zeroizing::new("key".into()), cookie_key: [9; 32] },
        protocol: TunnelProtocol::UNFRONTED_MEEK_OSSH,
        cookie_seed: Seed::from_bytes([1; 32]),
        pace_seed: Seed::from_bytes([2; 32]),
        most_payload: MAX_BODY,
        payload_padding: false,
        parameters: Arc::new(Meek::default()),
        latency_multiplier: 1.0,
    }
}

async fn connected(plan: &Plan) -> (Stream, Server) {
    let (sender, connections) = unbounded_channel();
    let network: Arc<dyn Network> = Arc::new(Wire(sender));
    let dialed = dial(plan, &network).await.unwrap();
    (dialed.stream, Server { connections, connection: None })
}

async fn say(stream: &mut Stream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

async fn hear(stream: &mut Stream, len: usize) -> String {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn payload_goes_up_and_down_and_the_session_gets_its_name() {
    let (mut stream, mut server) = connected(&plan()).await;
    say(&mut stream, "hello").await;
    let first = server.payload().await;
    assert_eq!(first.body, b"hello");
    assert!(first.header("Cookie").unwrap().len() > 100);
    assert_eq!(first.header("Range"), None);
    server.answer("HTTP/1.1 200 OK\r\nSet-Cookie: id=a+b/c\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    server.answer("3\r\nabc\r\n").await;
    assert_eq!(hear(&mut stream, 3).await, "abc", "before the response has ended");
    server.answer("2\r\nde\r\n0\r\n\r\n").await;
    assert_eq!(hear(&mut stream, 2).await, "de");
    let second = server.request().await;
    assert_eq!(second.header("Cookie"), Some("id=a+b/c"));
    assert_eq!(second.body.len(), 0);
}

#[tokio::test]
async fn a_response_cut_in_the_middle_is_resumed_without_the_body() {
    let (mut stream, mut server) = connected(&plan()).await;
    say(&mut stream, "hello").await;
    let first = server.payload().await;
    server.answer("HTTP/1.1 200 OK\r\nSet-Cookie: id=name\r\nContent-Length: 8\r\n\r\nabc").await;
    server.cut();
    let second = server.request().await;
    assert_eq!((second.header("Range"), second.body.len()), (Some("bytes=3-"), 0));
    assert_eq!((first.body.len(), second.header("Cookie")), (5, Some("id=name")));
    server.answer("HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\n\r\ndefgh").await;
    assert_eq!(hear(&mut stream, 8).await, "abcdefgh");
    assert_eq!(server.request().await.header("Range"), None, "that round trip is done");
}

#[tokio::test]
async fn a_response_cut_before_its_head_is_asked_for_with_the_body() {
    let (mut stream, mut server) = connected(&plan()).await;
    say(&mut stream, "hello").await;
    let first = server.payload().await;
    server.answer("HTTP/1.1 20").await;
    server.cut();
    let second = server.request().await;
    assert_eq!((second.header("Range"), second.body.as_slice()), (Some("bytes=0-"), &b"hello"[..]));
    assert_eq!(second.header("Cookie"), first.header("Cookie"));
    server.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert_eq!(hear(&mut stream, 2).await, "ok");
}

/// After "hello" was answered with "previous", a poll is lost: the retry, which is answered.
async fn answer_to_a_lost_poll(stream: &mut Stream, server: &mut Server, answer: &str) {
    say(stream, "hello").await;
    server.payload().await;
    server.answer("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nprevious").await;
    assert_eq!(hear(stream, 8).await, "previous");
    assert_eq!(server.request().await.header("Range"), None);
    server.cut();
    assert_eq!(server.request().await.header("Range"), Some("bytes=0-"));
    server.answer(answer).await;
}

#[tokio::test]
async fn a_response_that_was_used_is_not_used_again() {
    let (mut stream, mut server) = connected(&plan()).await;
    let stale = "HTTP/1.1 206 Partial Content\r\nTransfer-Encoding: chunked\r\n\r\n3\r\npre\r\n";
    answer_to_a_lost_poll(&mut stream, &mut server, stale).await;
    server.answer("5\r\nvious\r\n0\r\n\r\n").await;
    assert_eq!(server.request().await.header("Range"), None, "the poll is made anew");
    server.answer("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext").await;
    assert_eq!(hear(&mut stream, 4).await, "next");
}

#[tokio::test]
async fn a_stale_response_may_break_too() {
    let (mut stream, mut server) = connected(&plan()).await;
    let stale = "HTTP/1.1 206 Partial Content\r\nContent-Length: 8\r\n\r\nprev";
    answer_to_a_lost_poll(&mut stream, &mut server, stale).await;
    server.cut();
    assert_eq!(server.request().await.header("Range"), Some("bytes=0-"));
    server.answer("HTTP/1.1 206 Partial Content\r\nContent-Length: 8\r\n\r\nprevious").await;
    assert_eq!(server.request().await.header("Range"), None);
    server.answer("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext").await;
    assert_eq!(hear(&mut stream, 4).await, "next");
}

#[tokio::test]
async fn a_lost_response_is_used_when_it_is_given_again() {
    for answer in ["present", "pre"] {
        let (mut stream, mut server) = connected(&plan()).await;
        let head = format!("HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\n\r\n", answer.len());
        answer_to_a_lost_poll(&mut stream, &mut server, &format!("{head}{answer}")).await;
        assert_eq!(hear(&mut stream, answer.len()).await, answer);
        assert_eq!(server.request().await.header("Range"), None);
    }
}

#[tokio::test]
async fn a_connection_closed_between_requests_is_replaced_without_a_retry() {
    let (mut stream, mut server) = connected(&plan()).await;
    say(&mut stream, "hello").await;
    server.payload().await;
    server.answer("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
    assert_eq!(hear(&mut stream, 2).await, "ok");
    server.cut();
    assert_eq!(server.request().await.header("Range"), None);
}

#[tokio::test]
async fn a_session_that_the_server_does_not_know_is_over() {
    let (mut stream, mut server) = connected(&plan()).await;
    say(&mut stream, "hello").await;
    server.payload().await;
    server.answer("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
    let error = stream.read_u8().await.unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
}

#[tokio::test]
async fn bodies_are_padded_when_asked_for() {
    let parameters = Meek { payload_padding_max_size: 9, ..Meek::default() };
    let plan = Plan { payload_padding: true, parameters: Arc::new(parameters), ..plan() };
    let (mut stream, mut server) = connected(&plan).await;
    let mut request = server.request().await;
    let (_, cookie) = request.header("Cookie").unwrap().split_once('=').unwrap();
    let key = |flow| PayloadPaddingKey::derive("key", cookie, flow);
    let mut receiver = PaddingReceiver::new(&key(Flow::Requests));
    let mut sender = PaddingSender::new(&key(Flow::Responses));
    assert!(!request.body.is_empty(), "a poll is padded");
    say(&mut stream, "hello").await;
    loop {
        receiver.begin_body();
        let payload = receiver.receive(&request.body).unwrap().to_vec();
        if !payload.is_empty() {
            assert_eq!(payload, b"hello");
            break;
        }
        let body = sender.padding_body(b"padding");
        server.answer(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())).await;
        server.connection.as_mut().unwrap().write_all(&body).await.unwrap();
        request = server.request().await;
    }
    let [header] = sender.before_payload();
    server.answer("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n").await;
    server.connection.as_mut().unwrap().write_all(&[header, b'o', b'k']).await.unwrap();
    assert_eq!(hear(&mut stream, 2).await, "ok");
}

#[tokio::test]
async fn what_was_written_last_is_sent_though_nobody_waits() {
    let (mut stream, mut server) = connected(&plan()).await;
    say(&mut stream, "goodbye").await;
    drop(stream);
    assert_eq!(server.payload().await.body, b"goodbye");
    server.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert!(server.connection.as_mut().unwrap().read_u8().await.is_err(), "then the connection ends");
}

#[tokio::test]
async fn shutting_down_waits_for_the_last_request() {
    let (mut stream, mut server) = connected(&plan()).await;
    say(&mut stream, "goodbye").await;
    let closing = tokio::spawn(async move { stream.shutdown().await });
    assert_eq!(server.payload().await.body, b"goodbye");
    assert!(!closing.is_finished());
    server.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    closing.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_endpoint_answers_one_request() {
    let (sender, connections) = unbounded_channel();
    let asked = tokio::spawn(async move {
        let body = Bytes::from_static(b"question");
        round_trip(&plan(), &Wire(sender), "tactics", body).await
    });
    let mut server = Server { connections, connection: None };
    let request = server.request().await;
    assert_eq!(request.body, b"question");
    server.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nans\r\n").await;
    server.answer("3\r\nwer\r\n0\r\n\r\n").await;
    assert_eq!(asked.await.unwrap().unwrap(), b"answer");
}

#[tokio::test]
async fn an_endpoint_that_is_none_is_told() {
    let (sender, connections) = unbounded_channel();
    let asked = tokio::spawn(async move { round_trip(&plan(), &Wire(sender), "no", Bytes::new()).await });
    let mut server = Server { connections, connection: None };
    server.request().await;
    server.answer("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
    assert!(matches!(asked.await.unwrap(), Err(RoundTripError::Status(404))));
    let (sender, _connections) = unbounded_channel();
    let too_long = Bytes::from(vec![0; MAX_BODY + 1]);
    let refused = round_trip(&plan(), &Wire(sender), "tactics", too_long).await;
    assert!(matches!(refused, Err(RoundTripError::RequestTooLong(_))));
}

#[tokio::test]
async fn a_key_that_is_none_is_the_entrys_fault() {
    let (sender, _connections) = unbounded_channel();
    let network: Arc<dyn Network> = Arc::new(Wire(sender));
    let keys = Keys { obfuscated_key: Zeroizing::new("key".into()), cookie_key: [0; 32] };
    let result = dial(&Plan { keys, ..plan() }, &network).await;
    assert!(matches!(result, Err(DialError::Meek(_))));
}
