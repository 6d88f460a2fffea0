//! The SOCKS proxy from an application's side.

use super::*;

fn request(host: &str, port: u16) -> Vec<u8> {
    let mut bytes = vec![5, 1, 0, 3, u8::try_from(host.len()).unwrap()];
    bytes.extend_from_slice(host.as_bytes());
    bytes.extend_from_slice(&port.to_be_bytes());
    bytes
}

/// A connection to `to` through the SOCKS 5 proxy.
pub(super) async fn connected(setup: &Setup, to: SocketAddr) -> TcpStream {
    let mut stream = setup.to_socks().await;
    stream.write_all(&[5, 1, 0]).await.unwrap();
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await.unwrap();
    assert_eq!(chosen, [5, 0]);
    stream.write_all(&request(&to.ip().to_string(), to.port())).await.unwrap();
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).await.unwrap();
    assert_eq!(reply, [5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    stream
}

#[tokio::test]
async fn the_reply_after_a_half_close_arrives() {
    let setup = Setup::new().await;
    let to = server(count_then_answer).await;
    let mut stream = connected(&setup, to).await;
    stream.write_all(&[7; 100_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_all(&mut stream).await, b"100000 7");
}

#[tokio::test]
async fn requests_may_come_in_pieces_or_all_at_once() {
    let setup = Setup::new().await;
    let to = server(count_then_answer).await;
    let all = [&[5, 2, 2, 0][..], &request("127.0.0.1", to.port()), b"early"].concat();

    let mut at_once = setup.to_socks().await;
    at_once.write_all(&all).await.unwrap();
    at_once.shutdown().await.unwrap();
    assert_eq!(read_all(&mut at_once).await, b"\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x005 121");

    let mut in_pieces = setup.to_socks().await;
    in_pieces.set_nodelay(true).unwrap();
    for byte in &all {
        in_pieces.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    in_pieces.shutdown().await.unwrap();
    assert_eq!(read_all(&mut in_pieces).await, b"\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x005 121");
}

#[tokio::test]
async fn socks4_and_4a_work() {
    let setup = Setup::new().await;
    let to = server(count_then_answer).await;
    let port = to.port().to_be_bytes();
    let v4 = [&[4, 1][..], &port, &[127, 0, 0, 1], b"user\0", b"x"].concat();
    let v4a = [&[4, 1][..], &port, &[0, 0, 0, 9], b"\x00127.0.0.1\0", b"x"].concat();
    for bytes in [v4, v4a] {
        let mut stream = setup.to_socks().await;
        stream.write_all(&bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(read_all(&mut stream).await, b"\x00\x5a\x00\x00\x00\x00\x00\x001 120");
    }
}

#[tokio::test]
async fn failures_have_their_codes() {
    let mut setup = Setup::new().await;
    for (host, code) in [
        ("rules.test", 2),
        ("nowhere.test", 4),
        ("opaque.test", 5),
        ("late.test", 6),
        ("lost.test", 1),
        ("no-tunnel.test", 1),
    ] {
        let mut stream = setup.to_socks().await;
        stream.write_all(&[&[5, 1, 0][..], &request(host, 80)].concat()).await.unwrap();
        assert_eq!(read_all(&mut stream).await, [5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0], "{host}");
    }
    while let Ok(emitted) = setup.said.try_recv() {
        assert!(!emitted.to_json().contains(".test"), "notices do not say where the user goes");
    }
}

#[tokio::test]
async fn malformed_requests_are_answered_and_closed() {
    let setup = Setup::new().await;
    let cases: [(&[u8], &[u8]); 6] = [
        (&[9, 9, 9], &[]),
        (&[5, 1, 1], &[5, 0xff]),
        (&[5, 1, 0, 5, 2, 0, 1, 1, 2, 3, 4, 0, 80], &[5, 0, 5, 7, 0, 1, 0, 0, 0, 0, 0, 0]),
        (&[5, 1, 0, 5, 1, 0, 9], &[5, 0, 5, 8, 0, 1, 0, 0, 0, 0, 0, 0]),
        (&[5, 1, 0, 5, 1, 0, 3, 0, 0, 80], &[5, 0, 5, 1, 0, 1, 0, 0, 0, 0, 0, 0]),
        (&[4, 2, 0, 80, 1, 2, 3, 4, 0], &[0, 0x5b, 0, 0, 0, 0, 0, 0]),
    ];
    for (sent, answer) in cases {
        let mut stream = setup.to_socks().await;
        stream.write_all(sent).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(read_all(&mut stream).await, answer, "{sent:?}");
    }
    let mut confused = setup.to_socks().await;
    confused.write_all(b"GET http://example.org/ HTTP/1.1\r\n\r\n").await.unwrap();
    confused.shutdown().await.unwrap();
    assert!(read_all(&mut confused).await.starts_with(b"HTTP/1.0 501 "));
}
