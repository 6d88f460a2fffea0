//! Applications of UDP behind UDP ASSOCIATE, written from RFC 1928: a DNS query, and a fetch over QUIC. A relay here puts
//! the header of SOCKS before datagrams, since neither knows it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Failed;
use quinn::rustls::RootCertStore;
use quinn::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::pair::Pair;

const SOON: Duration = Duration::from_secs(60);
/// Bytes that are fetched.
const LENGTH: usize = 2_000_000;

/// An address that leads to `to` through the proxy, while the control connection is kept.
async fn through(socks: &str, to: SocketAddr) -> Result<(SocketAddr, TcpStream), Failed> {
    let mut control = TcpStream::connect(socks).await?;
    control.write_all(&[5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    let mut reply = [0; 12];
    timeout(SOON, control.read_exact(&mut reply)).await??;
    let [5, 0, 5, 0, 0, 1, a, b, c, d, high, low] = reply else {
        return Err(format!("no association: {reply:?}").into());
    };
    let relay = SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])));
    let (near, far) =
        (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
    let address = near.local_addr()?;
    let header = [&[0, 0, 0, 1, 127, 0, 0, 1][..], &to.port().to_be_bytes()].concat();
    tokio::spawn(async move {
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        let mut application = None;
        loop {
            tokio::select! {
                Ok((count, from)) = near.recv_from(&mut up) => {
                    application = Some(from);
                    let datagram = [&header[..], &up[..count]].concat();
                    far.send_to(&datagram, relay).await.unwrap();
                }
                Ok(count) = far.recv(&mut down) => {
                    assert_eq!(down[..header.len()], header, "the header of an answer");
                    near.send_to(&down[header.len()..count], application.unwrap()).await.unwrap();
                }
            }
        }
    });
    Ok((address, control))
}

/// A resolver's answer to a query comes back whole.
pub(crate) fn dns() -> Result<(), Failed> {
    let pair = Pair::start("dns", "")?;
    pair.block_on(async {
        let resolver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let at = resolver.local_addr()?;
        tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((count, from)) = resolver.recv_from(&mut query).await {
                // RFC 1035 section 4: the question comes back with an answer that points to its name.
                let mut answer = query[..count].to_vec();
                answer[2] |= 0x80;
                answer[7] = 1;
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
                resolver.send_to(&answer, from).await.unwrap();
            }
        });
        let (address, _control) = through(&pair.socks(), at).await?;
        let application = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        for id in 0..50u8 {
            let query =
                [&[id, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x04site\x07example\0\0\x01\0\x01"].concat();
            application.send_to(&query, address).await?;
            let mut answer = [0; 512];
            let count = timeout(SOON, application.recv(&mut answer)).await??;
            if answer[..2] != [id, 7] || !answer[..count].ends_with(&[192, 0, 2, 1]) {
                return Err(format!("the answer is {:?}", &answer[..count]).into());
            }
        }
        Ok(())
    })
}

/// Bytes over QUIC, with the certificate checked at the end that asked.
pub(crate) fn quic() -> Result<(), Failed> {
    let pair = Pair::start("quic", "")?;
    pair.block_on(async {
        let made = rcgen::generate_simple_self_signed(["origin.test".to_owned()])?;
        let certificate = CertificateDer::from(made.cert.der().to_vec());
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
        let settings = quinn::ServerConfig::with_single_cert(vec![certificate.clone()], key)?;
        let server = quinn::Endpoint::server(settings, (Ipv4Addr::LOCALHOST, 0).into())?;
        let at = server.local_addr()?;
        tokio::spawn(async move {
            while let Some(incoming) = server.accept().await {
                let connection = incoming.await.unwrap();
                let (mut send, mut receive) = connection.accept_bi().await.unwrap();
                let asked = receive.read_to_end(1000).await.unwrap();
                assert_eq!(asked, b"give");
                send.write_all(&content()).await.unwrap();
                send.finish().unwrap();
                connection.closed().await;
            }
        });
        let (address, _control) = through(&pair.socks(), at).await?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate)?;
        let mut client = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
        client.set_default_client_config(quinn::ClientConfig::with_root_certificates(Arc::new(roots))?);
        let fetched = async {
            let connection = client.connect(address, "origin.test")?.await?;
            let (mut send, mut receive) = connection.open_bi().await?;
            send.write_all(b"give").await?;
            send.finish()?;
            let received = receive.read_to_end(LENGTH + 1).await?;
            connection.close(0u32.into(), b"");
            Ok::<_, Failed>(received)
        };
        if timeout(SOON, fetched).await?? != content() {
            return Err("what came is not what was sent".into());
        }
        Ok(())
    })
}

fn content() -> Vec<u8> {
    (0..LENGTH).map(|n| (n % 251) as u8).collect()
}
