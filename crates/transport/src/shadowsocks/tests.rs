//! Both ends of a stream over a connection in memory.

use std::time::Duration;

use culvert_protocol::TunnelProtocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::time::timeout;

use super::stream::ShadowsocksStream;
use super::wire::{LENGTH_LEN, SALT_LEN, Sealer, TAG_LEN};
use super::{DRAWN_LEN, Key, Refused, Salt, SaltPrefix, greet};
use crate::Stream;

fn key() -> Key {
    Key::from_password(TunnelProtocol::SHADOWSOCKS_OSSH.name())
}

fn client_salt() -> Salt {
    Salt::of_client([3; SALT_LEN], &SaltPrefix::new(b"GET /".to_vec()).unwrap())
}

fn client(inner: DuplexStream) -> ShadowsocksStream<DuplexStream> {
    ShadowsocksStream::of_client(inner, key(), &client_salt())
}

/// What a client with the key sends first.
fn first_write(data: &[u8]) -> Vec<u8> {
    let mut wire = client_salt().as_bytes().to_vec();
    Sealer::new(&key(), &client_salt()).seal(data, &mut wire);
    wire
}

async fn server(mut inner: Stream) -> Result<Stream, Refused> {
    let greeting = greet(&mut inner, &key()).await?;
    assert_eq!(greeting.salt, client_salt());
    Ok(greeting.into_stream(inner, &key(), [5; DRAWN_LEN]))
}

#[tokio::test]
async fn bytes_arrive_whatever_the_pieces() {
    for pipe in [1, 37, 70_000, 1 << 20] {
        let (near, far) = duplex(pipe);
        let len = if pipe == 1 { 3000 } else { 400_000 };
        let data: Vec<u8> = (0..len).map(|n: u32| n.to_le_bytes()[n as usize % 3]).collect();
        let (mut from_server, mut to_server) = split(client(near));
        let sent = data.clone();
        let sending = tokio::spawn(async move {
            to_server.write_all(&sent).await.unwrap();
            to_server.shutdown().await.unwrap();
        });
        let echoing = tokio::spawn(async move {
            let (mut from, mut to) = split(server(Box::new(far)).await.unwrap());
            tokio::io::copy(&mut from, &mut to).await.unwrap();
            to.shutdown().await.unwrap();
        });
        let mut back = Vec::new();
        from_server.read_to_end(&mut back).await.unwrap();
        sending.await.unwrap();
        echoing.await.unwrap();
        assert!(back == data, "through a pipe of {pipe} bytes");
    }
}

#[tokio::test]
async fn the_salt_leaves_with_the_first_bytes() {
    let (near, mut far) = duplex(1 << 16);
    let mut client = client(near);
    client.flush().await.unwrap();
    let mut space = [0; 256];
    let nothing = timeout(Duration::from_millis(5), far.read(&mut space)).await;
    assert!(nothing.is_err(), "the salt was sent alone");
    client.write_all(b"hello").await.unwrap();
    assert_eq!(far.read(&mut space).await.unwrap(), SALT_LEN + LENGTH_LEN + 5 + TAG_LEN);
    assert_eq!(space[..SALT_LEN + LENGTH_LEN + 5 + TAG_LEN], first_write(b"hello"));
}

#[tokio::test]
async fn nothing_is_sent_before_the_client_has_proved_its_key() {
    for changed in 0..first_write(b"hello").len() {
        let (near, mut far) = duplex(1 << 16);
        let mut wire = first_write(b"hello");
        wire[changed] ^= 1;
        far.write_all(&wire).await.unwrap();
        assert!(matches!(server(Box::new(near)).await, Err(Refused::Forged)), "byte {changed}");
        let mut answer = Vec::new();
        far.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"");
    }
}

#[tokio::test]
async fn a_salt_alone_proves_nothing() {
    let (near, mut far) = duplex(1 << 16);
    far.write_all(client_salt().as_bytes()).await.unwrap();
    far.shutdown().await.unwrap();
    assert!(matches!(server(Box::new(near)).await, Err(Refused::Ended)));
}

#[tokio::test]
async fn a_reflected_salt_is_refused() {
    let (near, mut far) = duplex(1 << 16);
    far.write_all(Salt::of_server([8; DRAWN_LEN], &key()).as_bytes()).await.unwrap();
    assert!(matches!(server(Box::new(near)).await, Err(Refused::Reflected)));
}

/// The one who tampers gets neither a reset nor an end.
#[tokio::test]
async fn what_follows_a_forged_chunk_is_thrown_away() {
    let (near, mut far) = duplex(1 << 16);
    far.write_all(&first_write(b"hello")).await.unwrap();
    let mut server = server(Box::new(near)).await.unwrap();
    let mut space = [0; 64];
    assert_eq!(server.read(&mut space).await.unwrap(), 5);
    far.write_all(&[0; 60_000]).await.unwrap();
    let error = server.read(&mut space).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    let reading = tokio::spawn(async move { server.read(&mut space).await.unwrap() });
    far.write_all(&[0; 200_000]).await.unwrap();
    assert!(!reading.is_finished());
    far.shutdown().await.unwrap();
    assert_eq!(reading.await.unwrap(), 0);
}
