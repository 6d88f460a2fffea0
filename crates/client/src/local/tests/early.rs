//! Applications whose flows are promised before they are open.

use culvert_ssh::direct_tcpip::MAX_FIRST_BYTES;

use super::*;

/// The ways to ask for a flow to a host and port, each with the answer that promises it.
fn asked(host: &str, port: u16) -> [(Proxy, Vec<u8>, Vec<u8>); 3] {
    let name = [&[u8::try_from(host.len()).unwrap()], host.as_bytes()].concat();
    let socks5 = [&[5, 1, 0, 5, 1, 0, 3][..], &name, &port.to_be_bytes()].concat();
    let socks4a = [&[4, 1][..], &port.to_be_bytes(), &[0, 0, 0, 9, 0], host.as_bytes(), &[0]].concat();
    let connect = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
    [
        (Proxy::Socks, socks5, b"\x05\0\x05\0\0\x01\0\0\0\0\0\0".to_vec()),
        (Proxy::Socks, socks4a, b"\0\x5a\0\0\0\0\0\0".to_vec()),
        (Proxy::Http, connect, b"HTTP/1.1 200 OK\r\n".to_vec()),
    ]
}

/// Asks for a flow and reads the promise; HTTP's to its empty line.
async fn promised(setup: &Setup, (proxy, request, promise): (Proxy, Vec<u8>, Vec<u8>)) -> TcpStream {
    let mut stream = match proxy {
        Proxy::Socks => setup.to_socks().await,
        Proxy::Http => setup.to_http().await,
    };
    stream.set_nodelay(true).unwrap();
    stream.write_all(&request).await.unwrap();
    let mut answer = vec![0; promise.len()];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, promise);
    while proxy == Proxy::Http && !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    stream
}

async fn opened_with(setup: &mut Setup) -> Bytes {
    let opened = timeout(Duration::from_secs(10), setup.opened.recv()).await;
    opened.expect("a flow is asked for").unwrap().1
}

#[tokio::test]
async fn what_is_said_at_once_goes_with_the_open() {
    let mut setup = Setup::with(true).await;
    let to = server(count_then_answer).await;
    for mut ask in asked("127.0.0.1", to.port()) {
        // Behind the request, before the promise is seen.
        ask.1.extend_from_slice(b"early");
        let mut stream = promised(&setup, ask).await;
        assert_eq!(&opened_with(&mut setup).await[..], b"early");
        stream.write_all(b" and late").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(read_all(&mut stream).await, b"14 101");
    }
}

/// Bytes that come after the promise go with the open too. How long the machine takes between the two is not for a test
/// to say: one of many tries must be in time.
#[tokio::test]
async fn what_is_said_after_the_promise_goes_with_the_open() {
    let mut setup = Setup::with(true).await;
    let to = server(count_then_answer).await;
    for kind in 0..3 {
        let mut in_time = false;
        for _ in 0..50 {
            let [first, second, third] = asked("127.0.0.1", to.port());
            let ask = if kind == 0 {
                first
            } else if kind == 1 {
                second
            } else {
                third
            };
            let mut stream = promised(&setup, ask).await;
            stream.write_all(b"hello").await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(read_all(&mut stream).await, b"5 111");
            let with = opened_with(&mut setup).await;
            assert!(with.is_empty() || &with[..] == b"hello");
            in_time |= !with.is_empty();
        }
        assert!(in_time, "{kind}");
    }
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard() {
    let mut setup = Setup::with(true).await;
    let to = server(|mut stream| async move {
        stream.write_all(b"220 ready\r\n").await.unwrap();
        count_then_answer(stream).await;
    })
    .await;
    for ask in asked("127.0.0.1", to.port()) {
        let mut stream = promised(&setup, ask).await;
        let mut greeting = [0; 11];
        stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"220 ready\r\n");
        assert!(opened_with(&mut setup).await.is_empty());
        stream.write_all(b"quit").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(read_all(&mut stream).await, b"4 116");
    }
}

#[tokio::test]
async fn an_application_may_end_at_once() {
    let mut setup = Setup::with(true).await;
    let to = server(count_then_answer).await;
    for ask in asked("127.0.0.1", to.port()) {
        let mut stream = promised(&setup, ask).await;
        stream.shutdown().await.unwrap();
        assert_eq!(read_all(&mut stream).await, b"0 0");
        assert!(opened_with(&mut setup).await.is_empty());
    }
}

#[tokio::test]
async fn more_than_an_open_carries_arrives_whole() {
    let mut setup = Setup::with(true).await;
    let to = server(count_then_answer).await;
    for mut ask in asked("127.0.0.1", to.port()) {
        // The HTTP layer has read more than an open carries when it lets go of the connection.
        let http = ask.0 == Proxy::Http;
        if http {
            ask.1.extend_from_slice(&[7; 3 * MAX_FIRST_BYTES]);
        }
        let mut stream = promised(&setup, ask).await;
        let behind = if http { 52 } else { 52 + 3 * MAX_FIRST_BYTES };
        stream.write_all(&vec![7; behind]).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(read_all(&mut stream).await, format!("{} 7", 52 + 3 * MAX_FIRST_BYTES).into_bytes());
        let with = opened_with(&mut setup).await;
        assert!(http || with.len() <= MAX_FIRST_BYTES, "{}", with.len());
    }
}

#[tokio::test]
async fn a_broken_promise_is_a_reset_and_a_notice() {
    let mut setup = Setup::with(true).await;
    while setup.said.try_recv().is_ok() {}
    // A reason each, because a notice is not repeated.
    let reasons = [
        ("rules.test", RefusalReason::Rules),
        ("nowhere.test", RefusalReason::NameNotFound),
        ("opaque.test", RefusalReason::Opaque(1)),
    ];
    for (kind, (host, reason)) in reasons.into_iter().enumerate() {
        let ask = asked(host, 80)[kind].clone();
        let name = ask.0.to_string();
        let mut stream = promised(&setup, ask).await;
        let mut rest = Vec::new();
        let end = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
        let error = end.expect("the connection ends").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(rest.is_empty());
        let notice = timeout(Duration::from_secs(10), setup.said.recv()).await;
        let notice = notice.expect("a notice").unwrap().to_json();
        let reason = format!("{name} proxy: {reason}");
        assert!(notice.contains("\"LocalProxyError\"") && notice.contains(&reason), "{notice}");
        assert!(!notice.contains(".test"), "notices do not say where the user goes");
    }
}

#[tokio::test]
async fn a_plain_request_goes_with_the_open_and_its_refusal_is_an_answer() {
    let mut setup = Setup::with(true).await;
    let to = server(|mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    })
    .await;
    for (host, status, end) in [(to.to_string(), "200", "ok"), ("rules.test".to_owned(), "502", ".\n")] {
        let request = format!("GET http://{host}/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut stream = setup.to_http().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = String::from_utf8(read_all(&mut stream).await).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.ends_with(end), "{answer}");
        let with = opened_with(&mut setup).await;
        assert!(with.starts_with(b"GET /a HTTP/1.1\r\n") && with.ends_with(b"\r\n\r\n"), "{with:?}");
        assert_eq!(
            status == "502",
            answer.contains("proxy-status: culvert; error=destination_ip_prohibited")
        );
    }
}
