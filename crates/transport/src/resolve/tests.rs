//! Resolving with servers of this file's making, honest and not, over real sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::{TcpListener, UdpSocket};

use super::*;
use crate::{BoxFuture, Datagrams, Endpoint, Network, OsNetwork, Stream};

const TRUE: [u8; 4] = [93, 184, 215, 14];
const NAME: &str = "www.example.org";

/// The system's network, with a resolver of ours.
struct Scripted {
    system: io::Result<Vec<IpAddr>>,
    ipv6: bool,
    asked: AtomicUsize,
}

impl Scripted {
    fn new(system: &[[u8; 4]], ipv6: bool) -> Arc<Self> {
        let addresses: Vec<IpAddr> = system.iter().map(|bytes| IpAddr::from(*bytes)).collect();
        let system = if addresses.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(addresses) };
        Arc::new(Self { system, ipv6, asked: AtomicUsize::new(0) })
    }
}

impl Network for Scripted {
    fn connect<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, io::Result<Stream>> {
        OsNetwork.connect(to)
    }

    fn datagrams(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Datagrams>> {
        OsNetwork.datagrams(to)
    }

    fn resolve<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let result = self.system.as_ref().map(Vec::clone).map_err(|error| error.kind().into());
        Box::pin(async move { result })
    }

    fn reaches(&self, to: IpAddr) -> bool {
        to.is_ipv4() || self.ipv6
    }
}

/// What a server sends for one question, each after a pause.
type Replies = Vec<(u64, Vec<u8>)>;

/// A server that answers by a function.
async fn server(answer: impl Fn(&Message, &[u8]) -> Replies + Send + 'static) -> DnsServer {
    let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
            let question = Message::from_vec(&buffer[..len]).unwrap();
            for (pause, reply) in answer(&question, &buffer[..len]) {
                let socket = Arc::clone(&socket);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    let _ = socket.send_to(&reply, from).await;
                });
            }
        }
    });
    DnsServer::Udp(address)
}

/// An answer to this question with such addresses.
fn reply(question: &Message, addresses: &[IpAddr], change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = question.clone().into_response();
    let query = &question.queries[0];
    for address in addresses {
        let data = match address {
            IpAddr::V4(address) => RData::A(A(*address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
        };
        if data.record_type() == query.query_type() {
            message.add_answer(Record::from_rdata(query.name().clone(), 300, data));
        }
    }
    change(&mut message);
    message.to_vec().unwrap()
}

fn honest(question: &Message) -> Vec<u8> {
    reply(question, &[TRUE.into()], |_| {})
}

fn preferring(server: DnsServer) -> ResolvePlan {
    ResolvePlan {
        alternate: Some(server),
        first: First::Alternate,
        request_timeout: Duration::from_secs(3),
        await_timeout: Duration::from_millis(300),
        ..ResolvePlan::default()
    }
}

#[tokio::test]
async fn an_answer_is_kept_for_its_network() {
    let server = server(|question, _| vec![(0, honest(question))]).await;
    let resolver = Resolver::new(Scripted::new(&[], false));
    let plan = preferring(server);
    let first = resolver.resolve(&plan, NAME).await.unwrap();
    assert!(first.addresses == [IpAddr::from(TRUE)] && first.attempt == Some(1));
    assert_eq!(resolver.resolve(&plan, NAME).await.unwrap().attempt, None, "from memory");
    resolver.enter("other", CacheLimits::default());
    assert_eq!(resolver.resolve(&plan, NAME).await.unwrap().attempt, Some(1), "another network");
    resolver.enter("", CacheLimits::default());
    assert_eq!(resolver.resolve(&plan, NAME).await.unwrap().attempt, None, "the first again");
}

#[tokio::test]
async fn lies_that_come_first_are_not_believed() {
    // What injectors send: a bogus address, another question's answer, a guessed id, an error, nonsense.
    let server = server(|question, bytes| {
        let lie = |address: [u8; 4]| reply(question, &[address.into()], |_| {});
        let mut guessed = honest(question);
        guessed[0] ^= 1;
        let other = reply(question, &[[9, 9, 9, 9].into()], |message| {
            let name = Name::from_ascii("other.example.").unwrap();
            message.queries[0].set_name(name.clone());
            message.answers[0].name = name;
        });
        let stranger = reply(question, &[[9, 9, 9, 9].into()], |message| {
            message.answers[0].name = Name::from_ascii("other.example.").unwrap();
        });
        let refused = reply(question, &[], |message| message.metadata.response_code = ResponseCode::NXDomain);
        let empty = reply(question, &[], |_| {});
        let all = [lie([10, 10, 34, 36]), lie([127, 0, 0, 1]), guessed, other, stranger, refused, empty];
        let mut replies: Replies = all.into_iter().map(|lie| (0, lie)).collect();
        replies.push((0, bytes.to_vec()));
        replies.push((0, vec![0; 3]));
        replies.push((150, honest(question)));
        replies
    })
    .await;
    let resolver = Resolver::new(Scripted::new(&[], false));
    let answered = resolver.resolve(&preferring(server), NAME).await.unwrap();
    assert!(answered.addresses == [IpAddr::from(TRUE)]);
}

#[tokio::test]
async fn who_guesses_must_guess_the_letter_case() {
    let server = server(|question, _| {
        let name = question.queries[0].name().to_ascii();
        assert_ne!(name, name.to_ascii_lowercase(), "the first question has mixed letters");
        let guess = reply(question, &[[9, 9, 9, 9].into()], |message| {
            let lower = Name::from_ascii(name.to_ascii_lowercase()).unwrap();
            message.queries[0].set_name(lower.clone());
            message.answers[0].name = lower;
        });
        vec![(0, guess), (100, honest(question))]
    })
    .await;
    let plan =
        ResolvePlan { casing: Some([1; 32]), name_must_match: true, edns0: true, ..preferring(server) };
    let answered = Resolver::new(Scripted::new(&[], false)).resolve(&plan, NAME).await.unwrap();
    assert!(answered.addresses == [IpAddr::from(TRUE)]);
}

#[tokio::test]
async fn a_lying_system_is_asked_first_and_an_alternate_server_believed() {
    let server = server(|question, _| vec![(0, honest(question))]).await;
    let network = Scripted::new(&[[10, 10, 34, 36]], false);
    let resolver = Resolver::new(Arc::clone(&network) as Arc<dyn Network>);
    let plan = ResolvePlan { first: First::System, ..preferring(server) };
    let answered = resolver.resolve(&plan, NAME).await.unwrap();
    assert!(answered.addresses == [IpAddr::from(TRUE)] && answered.attempt == Some(2));
    assert_eq!(network.asked.load(Ordering::Relaxed), 1);
    let alone = Resolver::new(network).resolve(&ResolvePlan::default(), NAME).await;
    assert!(matches!(alone, Err(ResolveError::Exchange(_))), "nobody else to ask");
}

#[tokio::test]
async fn a_silent_server_gives_way_to_the_system_and_may_still_win() {
    let silent = server(|_, _| Vec::new()).await;
    let resolver = Resolver::new(Scripted::new(&[TRUE], false));
    let plan = ResolvePlan { request_timeout: Duration::from_millis(100), ..preferring(silent) };
    assert_eq!(resolver.resolve(&plan, NAME).await.unwrap().attempt, Some(2));
    let late = server(|question, _| vec![(250, honest(question))]).await;
    let plan = ResolvePlan {
        preferred_attempts: 4,
        request_timeout: Duration::from_millis(100),
        ..preferring(late)
    };
    let network = Scripted::new(&[], false);
    let answered = Resolver::new(network).resolve(&plan, NAME).await.unwrap();
    assert!(answered.addresses == [IpAddr::from(TRUE)], "the first question was not given up");
}

#[tokio::test]
async fn both_families_are_asked_at_once_and_ipv6_may_have_none() {
    let v6: IpAddr = "2606:2800:21f:cb07::1".parse().unwrap();
    let both = server(move |question, _| vec![(20, reply(question, &[TRUE.into(), v6], |_| {}))]).await;
    let resolver = Resolver::new(Scripted::new(&[], true));
    let answered = resolver.resolve(&preferring(both), NAME).await.unwrap();
    assert!(answered.addresses.len() == 2 && answered.addresses.contains(&v6));
    // The answer that there is no IPv6 comes long before the address.
    let one = server(|question, _| match question.queries[0].query_type() {
        RecordType::AAAA => {
            vec![(0, reply(question, &[], |message| message.metadata.response_code = ResponseCode::NXDomain))]
        }
        _ => vec![(200, honest(question))],
    })
    .await;
    let answered = Resolver::new(Scripted::new(&[], true)).resolve(&preferring(one), NAME).await.unwrap();
    assert!(answered.addresses == [IpAddr::from(TRUE)]);
}

#[tokio::test]
async fn aliases_are_followed_in_any_order() {
    let server = server(|question, _| {
        let name = |text: &str| Name::from_ascii(text).unwrap();
        let alias = |from: Name, to: &str| Record::from_rdata(from, 60, RData::CNAME(CNAME(name(to))));
        let mut message = question.clone().into_response();
        message.add_answer(Record::from_rdata(name("b.example."), 60, RData::A(A(TRUE.into()))));
        message.add_answer(alias(name("a.example."), "B.example."));
        message.add_answer(alias(question.queries[0].name().clone(), "a.example."));
        vec![(0, message.to_vec().unwrap())]
    })
    .await;
    let answered = Resolver::new(Scripted::new(&[], false)).resolve(&preferring(server), NAME).await.unwrap();
    assert!(answered.addresses == [IpAddr::from(TRUE)]);
}

#[tokio::test]
async fn what_needs_no_question_asks_none() {
    let network = Scripted::new(&[], false);
    let resolver = Resolver::new(Arc::clone(&network) as Arc<dyn Network>);
    let address = IpAddr::from([1, 2, 3, 4]);
    let preresolved = Some(Preresolved { name: NAME.to_owned(), address });
    let plan = ResolvePlan { preresolved, ..ResolvePlan::default() };
    assert!(resolver.resolve(&plan, NAME).await.unwrap().addresses == [address]);
    assert!(resolver.resolve(&plan, "1.2.3.4").await.unwrap().addresses == [address]);
    assert_eq!(network.asked.load(Ordering::Relaxed), 0);
    let local = Resolver::new(Scripted::new(&[[127, 0, 0, 1]], false));
    assert!(local.resolve(&ResolvePlan::default(), "localhost").await.is_ok());
}

#[tokio::test]
async fn a_dead_address_of_a_name_does_not_hold_up_the_other() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // The first refuses at once, as nobody listens there.
    let network = Scripted::new(&[[127, 0, 0, 2], [127, 0, 0, 1]], false);
    let resolver = Arc::new(Resolver::new(Arc::clone(&network) as Arc<dyn Network>));
    let resolving = Resolving::new(network, resolver, ResolvePlan::default());
    resolving.connect(&Endpoint::Name("x.localhost".into(), port)).await.unwrap();
    let nowhere = resolving.connect(&Endpoint::Name(NAME.into(), port)).await;
    assert!(nowhere.is_err(), "addresses of this machine are no answer for a name of the Internet");
}
