//! The HTTP proxy from an application's side, by hand-written requests.

use super::*;

/// Reads a head, up to the empty line.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Answers any number of requests on a connection with their own heads, as plain text.
async fn mirror(mut stream: TcpStream) {
    loop {
        let head = read_head(&mut stream).await;
        if head.is_empty() {
            return;
        }
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Via: m\r\nKeep-Alive: 5\r\n\r\n{head}",
            head.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn ask(setup: &Setup, request: &str) -> String {
    let mut stream = setup.to_http().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    String::from_utf8_lossy(&read_all(&mut stream).await).into_owned()
}

#[tokio::test]
async fn connect_relays_with_half_close() {
    let setup = Setup::new().await;
    let to = server(count_then_answer).await;
    let mut stream = setup.to_http().await;
    let request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\nearly");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && !head.to_lowercase().contains("content-length"), "{head}");
    stream.write_all(&[9; 200_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_all(&mut stream).await, b"200005 9");
}

#[tokio::test]
async fn plain_requests_are_rewritten_and_connections_reused() {
    let mut setup = Setup::new().await;
    let to = server(mirror).await;
    let mut stream = setup.to_http().await;
    for n in 0..5 {
        let request = format!(
            "GET http://{to}/path?q={n} HTTP/1.1\r\nHost: wrong.example\r\nProxy-Connection: keep-alive\r\n\
            Proxy-Authorization: Basic eA==\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-End: 2\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("X-Via: m"), "{head}");
        assert!(!head.contains("Keep-Alive"), "{head}");
        let seen = read_head(&mut stream).await;
        assert!(seen.starts_with(&format!("GET /path?q={n} HTTP/1.1\r\n")), "{seen}");
        assert!(seen.contains(&format!("{to}\r\n")) && seen.contains("X-End: 2"), "{seen}");
        for gone in ["wrong.example", "Proxy-", "X-Hop", "x-hop"] {
            assert!(!seen.contains(gone), "{gone} in {seen}");
        }
    }
    assert!(setup.opened.try_recv().is_ok());
    assert!(setup.opened.try_recv().is_err(), "all requests went over one flow");
}

#[tokio::test]
async fn large_and_chunked_bodies_pass() {
    let setup = Setup::new().await;
    let to = server(|mut stream| async move {
        let head = read_head(&mut stream).await;
        let mut body = Vec::new();
        if head.to_lowercase().contains("transfer-encoding: chunked") {
            while !body.ends_with(b"0\r\n\r\n") {
                body.push(stream.read_u8().await.unwrap());
            }
            let chunk = "8000\r\n".to_owned() + &"z".repeat(0x8000) + "\r\n";
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
            for _ in 0..100 {
                stream.write_all(chunk.as_bytes()).await.unwrap();
            }
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        } else {
            body.resize(3_000_000, 0);
            stream.read_exact(&mut body).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\ndone").await.unwrap();
        }
    })
    .await;
    let close = "Connection: close\r\n";
    let chunked = format!(
        "POST http://{to}/ HTTP/1.1\r\nHost: x\r\n{close}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    );
    let answer = ask(&setup, &chunked).await;
    assert_eq!(answer.matches('z').count(), 100 * 0x8000, "all chunks");
    let sized = format!(
        "POST http://{to}/ HTTP/1.1\r\nHost: x\r\n{close}Content-Length: 3000000\r\n\r\n{}",
        "b".repeat(3_000_000)
    );
    let answer = ask(&setup, &sized).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("done"), "{answer}");
}

#[tokio::test]
async fn an_upgrade_passes_through() {
    let setup = Setup::new().await;
    let to = server(|mut stream| async move {
        let head = read_head(&mut stream).await.to_lowercase();
        assert!(
            head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n"),
            "{head}"
        );
        stream
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhi",
            )
            .await
            .unwrap();
        count_then_answer(stream).await;
    })
    .await;
    let mut stream = setup.to_http().await;
    let request = format!(
        "GET http://{to}/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await.to_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && head.contains("upgrade: websocket"), "{head}");
    stream.write_all(b"frames").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_all(&mut stream).await, b"hi6 115");
}

#[tokio::test]
async fn refusals_say_why() {
    let setup = Setup::new().await;
    for (host, status, error) in [
        ("rules.test", "502", "destination_ip_prohibited"),
        ("nowhere.test", "502", "dns_error"),
        ("opaque.test", "502", "destination_unavailable"),
        ("late.test", "504", "connection_timeout"),
        ("lost.test", "502", "destination_unavailable"),
        ("no-tunnel.test", "504", "destination_unavailable"),
    ] {
        for request in [
            format!("CONNECT {host}:80 HTTP/1.1\r\n\r\n"),
            format!("GET http://{host}/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        ] {
            let answer = ask(&setup, &request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            assert!(answer.contains(&format!("proxy-status: culvert; error={error}\r\n")), "{answer}");
            assert!(answer.contains("The tunnel could not carry the request: "), "{answer}");
        }
    }
}

#[tokio::test]
async fn malformed_requests_are_answered() {
    let setup = Setup::new().await;
    let own = setup.servers.http().unwrap().port();
    let socks = setup.servers.socks().unwrap().port();
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "400"),
        ("GET /tunneled/x HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "400"),
        ("CONNECT x HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("CONNECT x:0 HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("CONNECT u@x:80 HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("CONNECT /path HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("GET http://u:p@x/ HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("GET http:///x HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("GET https://x/ HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "501"),
        ("GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "501"),
        (format!("CONNECT localhost:{own} HTTP/1.1\r\n\r\n"), "508"),
        (format!("GET http://127.0.0.1:{socks}/ HTTP/1.1\r\n\r\n"), "508"),
        ("\u{16}\u{3}\u{1} nonsense\r\n\r\n".to_owned(), "400"),
        ("GET http://x/ HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), "400"),
        (format!("GET http://x/ HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(200_000)), "431"),
    ] {
        let answer = ask(&setup, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{}: {answer}",
            &request[..request.len().min(60)]
        );
    }
}

#[tokio::test]
async fn an_origin_that_does_not_answer_times_out() {
    let setup = Setup::new().await;
    let silent = server(|stream| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let answer = ask(&setup, &format!("GET http://{silent}/ HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    assert!(
        answer.starts_with("HTTP/1.1 504 ") && answer.contains("error=http_response_timeout"),
        "{answer}"
    );
    let broken = server(|mut stream| async move {
        read_head(&mut stream).await;
        drop(stream.write_all(b"nonsense\r\n\r\n").await);
    })
    .await;
    let answer = ask(&setup, &format!("GET http://{broken}/ HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    assert!(
        answer.starts_with("HTTP/1.1 502 ") && answer.contains("error=http_response_incomplete"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_idle_connection_that_the_origin_closed_is_replaced() {
    let mut setup = Setup::new().await;
    // One request per connection, although the answer promises more.
    let to = server(|mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    })
    .await;
    let mut stream = setup.to_http().await;
    for _ in 0..5 {
        stream.write_all(format!("GET http://{to}/ HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let mut body = [0; 2];
        stream.read_exact(&mut body).await.unwrap();
    }
    let mut flows = 0;
    while setup.opened.try_recv().is_ok() {
        flows += 1;
    }
    assert_eq!(flows, 5);
}
