//! Who gets in, and by which door: logins, listed users, Unix sockets, one port for both proxies, the PAC file.

use tokio::io::{AsyncRead, AsyncWrite};

use super::*;
use crate::config::{LocalLogin, Secret};

fn guarded() -> LocalProxies {
    let login = LocalLogin { username: "me".into(), password: Secret::new("secret".to_owned()) };
    LocalProxies { login: Some(login), ..LocalProxies::default() }
}

async fn asked(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), said: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    let asked = async {
        stream.write_all(said).await?;
        stream.shutdown().await?;
        stream.read_to_end(&mut answer).await
    };
    // Who is not let in may meet a reset.
    let _ = timeout(Duration::from_secs(10), asked).await.expect("the connection ends");
    answer
}

#[tokio::test]
async fn a_login_is_wanted_over_socks_and_http() {
    let setup = Setup::of(guarded(), false).await;
    let to = server(count_then_answer).await;
    let request = [&[5, 1, 0, 1, 127, 0, 0, 1][..], &to.port().to_be_bytes(), b"x"].concat();
    let right = [&[5, 1, 2][..], b"\x01\x02me\x06secret", &request].concat();
    let mut stream = setup.to_socks().await;
    assert_eq!(asked(&mut stream, &right).await, b"\x05\x02\x01\x00\x05\x00\x00\x01\0\0\0\0\0\x001 120");
    for (said, answer) in [
        ([&[5, 1, 2][..], b"\x01\x02me\x06secreT", &request].concat(), &b"\x05\x02\x01\x01"[..]),
        ([&[5, 1, 0][..], &request].concat(), b"\x05\xff"),
        ([&[4, 1][..], &to.port().to_be_bytes(), b"\x7f\0\0\x01me\0"].concat(), b"\0\x5b\0\0\0\0\0\0"),
    ] {
        assert_eq!(asked(&mut setup.to_socks().await, &said).await, answer, "{said:?}");
    }
    let connect = |login: &str| format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{login}\r\n");
    let answer = asked(&mut setup.to_http().await, connect("").as_bytes()).await;
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(
        answer.starts_with("http/1.1 407 ") && answer.contains("proxy-authenticate: basic realm="),
        "{answer}"
    );
    // bWU6c2VjcmV0 is me:secret.
    let with_login = connect("Proxy-Authorization: Basic bWU6c2VjcmV0\r\n");
    let answer = asked(&mut setup.to_http().await, with_login.as_bytes()).await;
    assert!(String::from_utf8(answer).unwrap().starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn one_port_serves_both_kinds_and_its_configuration() {
    let setup = Setup::of(LocalProxies { one_port: true, ..LocalProxies::default() }, false).await;
    assert_eq!(setup.servers.socks(), setup.servers.http());
    let to = server(count_then_answer).await;
    let socks = [&[5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1][..], &to.port().to_be_bytes(), b"x"].concat();
    let answer = asked(&mut setup.to_socks().await, &socks).await;
    assert!(answer.ends_with(b"1 120"), "{answer:?}");
    let connect = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
    let mut stream = setup.to_http().await;
    stream.write_all(connect.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    let pac = b"GET /proxy.pac HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = String::from_utf8(asked(&mut setup.to_http().await, pac).await).unwrap();
    let port = setup.servers.http().unwrap().port();
    assert!(answer.contains("content-type: application/x-ns-proxy-autoconfig\r\n"), "{answer}");
    assert!(answer.contains(&format!("PROXY 127.0.0.1:{port}")), "{answer}");
}

#[cfg(unix)]
#[tokio::test]
async fn unix_sockets_are_private_and_stale_ones_give_way() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = std::env::temp_dir().join(format!("culvert-local-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let at = |name: &str| folder.join(name);
    let path = |name: &str| LocalPort::Unix(at(name).display().to_string().parse().unwrap());
    let proxies = || LocalProxies { socks: path("s"), http: path("h"), ..LocalProxies::default() };
    // A socket whose owner is gone, as after a crash.
    drop(std::os::unix::net::UnixListener::bind(at("s")).unwrap());
    let setup = Setup::of(proxies(), false).await;
    assert_eq!(setup.servers.socks(), None);
    assert_eq!(std::fs::metadata(at("s")).unwrap().permissions().mode() & 0o777, 0o600);
    let to = server(count_then_answer).await;
    let socks = [&[5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1][..], &to.port().to_be_bytes(), b"x"].concat();
    let mut stream = tokio::net::UnixStream::connect(at("s")).await.unwrap();
    assert!(asked(&mut stream, &socks).await.ends_with(b"1 120"));
    let mut stream = tokio::net::UnixStream::connect(at("h")).await.unwrap();
    let wrong = asked(&mut stream, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(wrong.starts_with(b"HTTP/1.1 400 "));

    let settings = LocalSettings {
        proxies: proxies(),
        origin_timeout: LocalSettings::ORIGIN_TIMEOUT,
        direct: Direct::default(),
    };
    let (opener, _queue) = flow_queue(1);
    let error = start(&settings, opener.clone(), Notices::silent()).await.unwrap_err().to_string();
    assert!(error.contains(&format!("the socket {} is in use", at("s").display())), "{error}");
    #[cfg(target_os = "linux")]
    assert!(error.contains(&format!("(process {})", std::process::id())), "{error}");
    drop(setup);
    timeout(Duration::from_secs(5), async {
        while at("s").exists() || at("h").exists() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the sockets go with the proxies");
    std::fs::write(at("s"), "a file").unwrap();
    let error = start(&settings, opener, Notices::silent()).await.unwrap_err().to_string();
    assert!(error.contains("is in use"), "{error}");
    assert_eq!(std::fs::read_to_string(at("s")).unwrap(), "a file", "what is no socket stays");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn only_listed_users_are_served() {
    // SAFETY: the call has no preconditions.
    #[expect(unsafe_code, reason = "the standard library does not tell the user")]
    let me = unsafe { libc::getuid() };
    let abstract_path = format!("@culvert-users-{}", std::process::id()).parse().unwrap();
    for (users, served) in [(vec![me], true), (vec![me + 1], false)] {
        let tcp = LocalProxies { allowed_users: users.clone(), ..LocalProxies::default() };
        let setup = Setup::of(tcp.clone(), false).await;
        let greeting = asked(&mut setup.to_socks().await, &[5, 1, 0]).await;
        assert_eq!(greeting == [5, 0], served);
        let unix = LocalProxies { socks: LocalPort::Unix(UnixPath::clone(&abstract_path)), ..tcp };
        let _setup = Setup::of(unix, false).await;
        let name = abstract_path.to_string().replace('@', "\0");
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket.connect(&socket2::SockAddr::unix(name).unwrap()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut stream = tokio::net::UnixStream::from_std(socket.into()).unwrap();
        let greeting = asked(&mut stream, &[5, 1, 0]).await;
        assert_eq!(greeting == [5, 0], served);
    }
}
