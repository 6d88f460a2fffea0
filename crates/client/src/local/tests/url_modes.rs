//! Addresses in the paths of requests to the proxy itself.

use std::io::Write as _;

use super::*;

/// Answers each connection's first request by its path.
async fn origin() -> SocketAddr {
    server(|mut stream| async move {
        let mut head = Vec::new();
        while !head.windows(4).any(|window| window == b"\r\n\r\n") {
            if stream.read_buf(&mut head).await.unwrap() == 0 {
                return;
            }
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let of = |status: &str, headers: &str, body: &[u8]| {
            let length = body.len();
            let head = format!("{status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
            [head.as_bytes(), body].concat()
        };
        let answer = match path.as_str() {
            "/away" => of("HTTP/1.1 302 Found", "Location: page?from=away\r\n", b""),
            "/round" => of("HTTP/1.1 307 Again", "Location: /round\r\n", b""),
            "/list.m3u8" => of("HTTP/1.1 200 OK", "Content-Type: text/plain\r\n", b"#EXTM3U\nseg.ts\n"),
            "/packed" => {
                let kind = "Content-Type: application/x-mpegURL\r\nContent-Encoding: gzip\r\n";
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(b"#EXTM3U\nseg.ts\n").unwrap();
                of("HTTP/1.1 200 OK", kind, &encoder.finish().unwrap())
            }
            "/radio" => b"ICY 200 OK\r\nicy-name: x\r\n\r\nmusic".to_vec(),
            path => of("HTTP/1.1 200 OK", "X-Kind: page\r\n", format!("page {path}").as_bytes()),
        };
        stream.write_all(&answer).await.unwrap();
        // What was said is read before the close, so that it is none by reset.
        stream.shutdown().await.unwrap();
        drop(stream.read_to_end(&mut Vec::new()).await);
    })
    .await
}

async fn got(setup: &Setup, mode: &str, url: &str, query: &str) -> String {
    let escaped = url.replace(':', "%3A").replace('/', "%2F").replace('?', "%3F");
    let mut stream = setup.to_http().await;
    let port = setup.servers.http().unwrap().port();
    let request = format!(
        "GET /{mode}/{escaped}{query} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    String::from_utf8(read_all(&mut stream).await).unwrap()
}

#[tokio::test]
async fn addresses_are_fetched_through_the_tunnel_or_past_it() {
    let mut setup = Setup::new().await;
    let origin = origin().await;
    let page = got(&setup, "tunneled", &format!("http://{origin}/a?b=c"), "").await;
    assert!(page.starts_with("HTTP/1.1 200 ") && page.ends_with("page /a?b=c"), "{page}");
    assert!(page.contains("X-Kind: page"), "{page}");
    assert!(setup.opened.try_recv().is_ok());
    assert_eq!(setup.past.connections(), 0);
    let page = got(&setup, "direct", &format!("http://{origin}/d"), "").await;
    assert!(page.ends_with("page /d"), "{page}");
    assert_eq!(setup.past.connections(), 1);
    assert!(setup.opened.try_recv().is_err(), "nothing went through the tunnel");
    let page = got(&setup, "tunneled", &format!("http://{origin}/away"), "").await;
    assert!(page.ends_with("page /page?from=away"), "{page}");
    let page = got(&setup, "tunneled", &format!("http://{origin}/round"), "").await;
    assert!(page.starts_with("HTTP/1.1 502 "), "{page}");
    let page = got(&setup, "tunneled", "ftp://a.example/", "").await;
    assert!(page.starts_with("HTTP/1.1 400 "), "{page}");
    let own = format!("http://{}/", setup.servers.http().unwrap());
    assert!(got(&setup, "direct", &own, "").await.starts_with("HTTP/1.1 508 "));
    // TLS from a server that speaks none.
    let plain = server(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        drop(stream.read_to_end(&mut Vec::new()).await);
    })
    .await;
    let page = got(&setup, "tunneled", &format!("https://{plain}/"), "").await;
    assert!(page.starts_with("HTTP/1.1 502 ") && page.contains("tls_certificate_error"), "{page}");
}

#[tokio::test]
async fn playlists_lead_back_through_the_proxy() {
    let setup = Setup::new().await;
    let origin = origin().await;
    let port = setup.servers.http().unwrap().port();
    let segment = format!(
        "http://localhost:{port}/tunneled/{}",
        format!("http://{origin}/seg.ts").replace(':', "%3A").replace('/', "%2F")
    );
    for path in ["list.m3u8", "packed"] {
        let answer = got(&setup, "tunneled-rewrite", &format!("http://{origin}/{path}"), "?m3u8=").await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let head = head.to_lowercase();
        assert_eq!(body, format!("#EXTM3U\n{segment}\n"), "{path}: {head}");
        assert!(head.contains("content-type: application/x-mpegurl"), "{head}");
        assert!(!head.contains("content-encoding"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    }
    let untouched = got(&setup, "tunneled-rewrite", &format!("http://{origin}/list.m3u8"), "").await;
    assert!(untouched.ends_with("#EXTM3U\nseg.ts\n"), "{untouched}");
    let page = got(&setup, "tunneled-rewrite", &format!("http://{origin}/other"), "?m3u8=").await;
    assert!(page.ends_with("page /other"), "{page}");
}

#[tokio::test]
async fn radio_servers_are_understood_and_told_on() {
    let setup = Setup::new().await;
    let origin = origin().await;
    let radio = got(&setup, "tunneled-icy", &format!("http://{origin}/radio"), "").await;
    assert!(radio.starts_with("ICY 200 OK\r\n"), "{radio}");
    assert!(radio.contains("icy-name: x") && radio.ends_with("music"), "{radio}");
    let page = got(&setup, "tunneled-icy", &format!("http://{origin}/page"), "").await;
    assert!(page.starts_with("HTTP/1.1 200 ") && page.ends_with("page /page"), "{page}");
    let strict = got(&setup, "tunneled", &format!("http://{origin}/radio"), "").await;
    assert!(strict.starts_with("HTTP/1.1 502 "), "{strict}");
}
