//! A name server in this process, and what becomes of its answers, its silence and its lies.

use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

use super::*;
use crate::forward::exit::tests::tally;
use crate::scratch::Scratch;

/// How the server answers; the name that is asked for decides the rest.
struct Server {
    port: u16,
    asked: Arc<AtomicUsize>,
}

impl Server {
    async fn start(at: &str) -> Self {
        let tcp = TcpListener::bind(at).await.unwrap();
        let udp = UdpSocket::bind(tcp.local_addr().unwrap()).await.unwrap();
        let (port, asked) = (tcp.local_addr().unwrap().port(), Arc::<AtomicUsize>::default());
        let counted = asked.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                counted.fetch_add(1, Ordering::Relaxed);
                for answer in answers(&buffer[..length], false) {
                    let _ = udp.send_to(&answer, from).await;
                }
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let length = usize::from(stream.read_u16().await.unwrap());
                let mut question = vec![0; length];
                stream.read_exact(&mut question).await.unwrap();
                for answer in answers(&question, true) {
                    stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
                    stream.write_all(&answer).await.unwrap();
                }
            }
        });
        Self { port, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn answers(question: &[u8], by_connection: bool) -> Vec<Vec<u8>> {
    let mut message = Message::from_vec(question).unwrap();
    message.metadata.message_type = MessageType::Response;
    let query = message.queries[0].clone();
    let name = query.name().to_ascii();
    let is_v4 = query.query_type() == RecordType::A;
    let a = |last| Record::from_rdata(query.name().clone(), 60, RData::A(A::new(192, 0, 2, last)));
    let aaaa = || {
        let address = AAAA("2001:db8::1".parse().unwrap());
        Record::from_rdata(query.name().clone(), 60, RData::AAAA(address))
    };
    message.answers = if is_v4 { vec![a(1), a(2)] } else { vec![aaaa()] };
    match name.split('.').next().unwrap() {
        "silent" => return Vec::new(),
        "none" => {
            message.answers.clear();
            message.metadata.response_code = ResponseCode::NXDomain;
        }
        "empty" => message.answers.clear(),
        "six" if is_v4 => message.answers.clear(),
        "four" if !is_v4 => return Vec::new(),
        "failing" => {
            message.answers.clear();
            message.metadata.response_code = ResponseCode::ServFail;
        }
        "old" if message.edns.is_some() => {
            message.answers.clear();
            message.metadata.response_code = ResponseCode::FormErr;
        }
        "long" if is_v4 && !by_connection => {
            message.answers.clear();
            message.metadata.truncation = true;
        }
        "long" if is_v4 => message.answers = (0..20).map(a).collect(),
        "guessed" => {
            let mut guess = message.clone();
            guess.metadata.id ^= 1;
            guess.answers = if is_v4 { vec![a(66)] } else { Vec::new() };
            return vec![guess.to_vec().unwrap(), b"\0".to_vec(), message.to_vec().unwrap()];
        }
        _ => {}
    }
    vec![message.to_vec().unwrap()]
}

/// A resolver of these servers.
fn resolver(scratch: &Scratch, servers: &[&str], port: u16, first: Family) -> Resolver {
    let (conf, hosts) = (scratch.path().join("resolv.conf"), scratch.path().join("hosts"));
    let lines: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    std::fs::write(
        &conf,
        format!("# nameserver 192.0.2.9\nsearch example\n{lines}nameserver fe80::1%eth0\n"),
    )
    .unwrap();
    let text = "192.0.2.77 Known.example known # other.example\n::1 known.example\nx y\n";
    std::fs::write(&hosts, text).unwrap();
    Resolver::of_files(&conf, &hosts, None, first).at_port(port)
}

async fn look_up(resolver: &Resolver, name: &str) -> Result<Vec<String>, NameError> {
    let found = resolver.look_up(&HostName::parse(name).unwrap(), &tally()).await?;
    Ok(found.iter().map(IpAddr::to_string).collect())
}

#[tokio::test]
async fn what_servers_say_is_understood() {
    let (scratch, server) = (Scratch::new("names"), Server::start("127.0.0.1:0").await);
    let resolver = resolver(&scratch, &["127.0.0.1"], server.port, Family::V4);
    let both = ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(str::to_owned).to_vec();
    for name in ["a.example", "old.example", "guessed.example"] {
        assert_eq!(look_up(&resolver, name).await, Ok(both.clone()), "{name}");
    }
    assert_eq!(look_up(&resolver, "six.example").await, Ok(both[2..].to_vec()));
    assert_eq!(
        look_up(&resolver, "four.example").await,
        Ok(both[..2].to_vec()),
        "the other family is not waited for"
    );
    assert_eq!(look_up(&resolver, "long.example").await.unwrap().len(), 21);
    for (name, error) in [
        ("none.example", NameError::NotFound),
        ("empty.example", NameError::NotFound),
        ("failing.example", NameError::NoAnswer),
    ] {
        assert_eq!(look_up(&resolver, name).await, Err(error), "{name}");
    }
    let asked = server.asked();
    let hosts = ["192.0.2.77".to_owned(), "::1".to_owned()];
    assert_eq!(look_up(&resolver, "KNOWN.example.").await, Ok(hosts.to_vec()));
    assert_eq!(look_up(&resolver, "known").await, Ok(vec!["192.0.2.77".to_owned()]));
    assert_eq!(look_up(&resolver, "x.localhost").await, Ok(vec!["127.0.0.1".to_owned(), "::1".to_owned()]));
    assert_eq!(look_up(&resolver, "unknown").await, Err(NameError::NotFound));
    assert_eq!(look_up(&resolver, "unknown.onion").await, Err(NameError::NotFound));
    assert_eq!(server.asked(), asked, "names that are nobody's business are asked of nobody");
}

#[tokio::test]
async fn a_preference_for_ipv6_is_kept() {
    let (scratch, server) = (Scratch::new("names-six"), Server::start("127.0.0.1:0").await);
    let resolver = resolver(&scratch, &["127.0.0.1"], server.port, Family::V6);
    assert_eq!(look_up(&resolver, "a.example").await.unwrap()[0], "2001:db8::1");
    assert_eq!(look_up(&resolver, "known.example").await.unwrap()[0], "::1");
}

#[tokio::test]
async fn a_dead_server_is_passed_over() {
    let (scratch, server) = (Scratch::new("names-dead"), Server::start("127.0.0.1:0").await);
    // Nobody answers at the other, whichever comes first.
    let resolver = resolver(&scratch, &["127.0.0.2", "127.0.0.1"], server.port, Family::V4);
    for _ in 0..8 {
        assert_eq!(look_up(&resolver, "a.example").await.unwrap().len(), 3);
    }
}

#[tokio::test]
async fn servers_are_those_of_the_file_else_the_configured_one() {
    let scratch = Scratch::new("names-servers");
    let resolver = resolver(&scratch, &["127.0.0.1", "::1"], 53, Family::V4);
    let mut seen: Vec<String> = (0..64).filter_map(|_| Some(resolver.address()?.to_string())).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ["127.0.0.1:53", "[::1]:53"]);
    let missing = scratch.path().join("missing");
    let fallback = Some("192.0.2.3".parse().unwrap());
    let resolver = Resolver::of_files(&missing, &missing, fallback, Family::V4);
    assert_eq!(resolver.address(), Some("192.0.2.3:53".parse().unwrap()));
    let resolver = Resolver::of_files(&missing, &missing, None, Family::V4);
    assert_eq!(resolver.address(), None);
    assert_eq!(look_up(&resolver, "a.example").await, Err(NameError::NoAnswer));
}

#[tokio::test(start_paused = true)]
async fn the_file_of_servers_is_looked_at_again() {
    let scratch = Scratch::new("names-again");
    let resolver = resolver(&scratch, &["127.0.0.1"], 53, Family::V4);
    let first = resolver.address();
    let conf = scratch.path().join("resolv.conf");
    std::fs::write(&conf, "nameserver 127.0.0.53\n").unwrap();
    assert_eq!(resolver.address(), first);
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(resolver.address(), Some("127.0.0.53:53".parse().unwrap()));
    let hosts = scratch.path().join("hosts");
    let known = ["192.0.2.77".to_owned()];
    assert_eq!(look_up(&resolver, "known").await, Ok(known.to_vec()));
    std::fs::write(&hosts, "192.0.2.78 known\n").unwrap();
    assert_eq!(look_up(&resolver, "known").await, Ok(known.to_vec()));
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(look_up(&resolver, "known").await, Ok(vec!["192.0.2.78".to_owned()]));
    std::fs::remove_file(&conf).unwrap();
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(resolver.address(), Some("127.0.0.53:53".parse().unwrap()), "the last that was known");
}

#[tokio::test]
async fn one_question_answers_all_who_ask_and_is_kept() {
    let (scratch, server) = (Scratch::new("names-cache"), Server::start("127.0.0.1:0").await);
    let resolver = Arc::new(resolver(&scratch, &["127.0.0.1"], server.port, Family::V4));
    let limits = CacheLimits { names: 2, time: Duration::from_secs(3600) };
    let names = Arc::new(Names::new(resolver.clone(), limits));
    let name = |text: &str| HostName::parse(text).unwrap();
    let mut many = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let names = names.clone();
        many.spawn(async move {
            names.look_up(&HostName::parse("a.example").unwrap(), &tally()).await.unwrap().len()
        });
    }
    assert_eq!(many.join_all().await, [3; 50]);
    assert_eq!(server.asked(), 2, "one question for each family");
    names.look_up(&name("b.example"), &tally()).await.unwrap();
    names.look_up(&name("c.example"), &tally()).await.unwrap();
    assert_eq!(names.entries.lock().unwrap().len(), 2);
    let asked = server.asked();
    names.look_up(&name("c.example"), &tally()).await.unwrap();
    assert_eq!(server.asked(), asked);
    names.look_up(&name("a.example"), &tally()).await.unwrap();
    assert!(server.asked() > asked, "it had to make room");
    let asked = server.asked();
    for _ in 0..2 {
        assert_eq!(names.look_up(&name("failing.example"), &tally()).await, Err(NameError::NoAnswer));
    }
    assert!(server.asked() >= asked + 4, "failures are not kept");
    let nothing = Names::new(resolver, CacheLimits { names: 0, time: Duration::ZERO });
    let asked = server.asked();
    for _ in 0..2 {
        nothing.look_up(&name("a.example"), &tally()).await.unwrap();
    }
    assert_eq!(server.asked(), asked + 4);
}

#[tokio::test]
async fn who_gives_up_does_not_take_the_answer_from_others() {
    let (scratch, server) = (Scratch::new("names-give-up"), Server::start("127.0.0.1:0").await);
    let resolver = resolver(&scratch, &["127.0.0.1"], server.port, Family::V4);
    let limits = CacheLimits { names: 2, time: Duration::from_secs(3600) };
    let names = Names::new(Arc::new(resolver), limits);
    let name = HostName::parse("a.example").unwrap();
    let tally = tally();
    let mut first = Box::pin(names.look_up(&name, &tally));
    assert!(futures_poll(&mut first).await);
    let second = names.look_up(&name, &tally);
    drop(first);
    assert_eq!(second.await.unwrap().len(), 3);
}

/// Whether it waits after it was polled once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
    })
    .await
}
