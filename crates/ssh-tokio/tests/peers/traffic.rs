//! What goes through a tunnel: a destination that takes and gives as many bytes as it is told, and flows to it that check every byte.

use std::net::SocketAddr;
use std::sync::Arc;

use culvert_ssh_tokio::Handle;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{Fault, Outcome, library};

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How a flow is opened.
#[derive(Clone)]
pub(crate) enum Dial {
    /// A port that a program forwards to the destination.
    Port(SocketAddr),
    /// A program's SOCKS proxy.
    Socks(SocketAddr, SocketAddr),
    /// A tunnel of a library's client to our server.
    Library(Arc<library::Tunnel>, SocketAddr),
    /// A tunnel of ours.
    Tunnel(Handle, SocketAddr),
}

impl Dial {
    async fn open(&self) -> Result<Box<dyn Stream>, Fault> {
        Ok(match self {
            Self::Port(port) => Box::new(TcpStream::connect(port).await?),
            Self::Socks(proxy, target) => {
                let mut stream = TcpStream::connect(proxy).await?;
                stream.write_all(&[5, 1, 0]).await?;
                stream.read_exact(&mut [0; 2]).await?;
                let SocketAddr::V4(target) = target else { return Err("IPv4 only".into()) };
                let port = target.port().to_be_bytes();
                stream.write_all(&[&[5, 1, 0, 1][..], &target.ip().octets(), &port].concat()).await?;
                let mut answer = [0; 10];
                stream.read_exact(&mut answer).await?;
                if answer[1] != 0 {
                    return Err(format!("SOCKS says {}", answer[1]).into());
                }
                Box::new(stream)
            }
            Self::Library(tunnel, target) => {
                let (host, port) = (target.ip().to_string(), u32::from(target.port()));
                let opened = tunnel.channel_open_direct_tcpip(host, port, "127.0.0.1", 9).await?;
                Box::new(opened.into_stream())
            }
            Self::Tunnel(handle, target) => {
                let mut payload = string(target.ip().to_string().as_bytes());
                payload.extend_from_slice(&u32::from(target.port()).to_be_bytes());
                payload.extend_from_slice(&string(b"127.0.0.1"));
                payload.extend_from_slice(&[0, 0, 0, 9]);
                Box::new(handle.open("direct-tcpip", &payload).await?)
            }
        })
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

/// Starts a destination on the runtime of the caller.
pub(crate) async fn destination() -> Result<SocketAddr, Fault> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A flow that was cut off is the test's doing.
            tokio::spawn(async move { drop(serve(stream).await) });
        }
    });
    Ok(address)
}

/// Eight bytes say how many come, and how many to send. `u32::MAX` come: never read them.
async fn serve(mut stream: TcpStream) -> Outcome {
    let (up, down) = (stream.read_u32().await?, stream.read_u32().await?);
    if up == u32::MAX {
        std::future::pending::<()>().await;
    }
    let (mut reader, mut writer) = stream.split();
    let (taken, given) = tokio::join!(take(&mut reader, up as usize, 1), give(&mut writer, down as usize, 2));
    taken?;
    given?;
    // Says that every byte was right.
    writer.write_all(b"!").await?;
    writer.shutdown().await?;
    Ok(())
}

async fn give(to: &mut (impl AsyncWrite + Unpin), len: usize, seed: usize) -> Outcome {
    let mut at = 0;
    while at < len {
        let piece: Vec<u8> = (at..len.min(at + 50_000)).map(|at| byte(seed, at)).collect();
        to.write_all(&piece).await?;
        at += piece.len();
    }
    to.flush().await?;
    Ok(())
}

async fn take(from: &mut (impl AsyncRead + Unpin), len: usize, seed: usize) -> Outcome {
    let mut buffer = vec![0; 50_000];
    let mut at = 0;
    while at < len {
        let most = buffer.len().min(len - at);
        let got = from.read(&mut buffer[..most]).await?;
        if got == 0 {
            return Err(format!("the stream ended after {at} of {len} bytes").into());
        }
        if let Some(wrong) = (0..got).find(|index| buffer[*index] != byte(seed, at + index)) {
            return Err(format!("byte {} is wrong", at + wrong).into());
        }
        at += got;
    }
    Ok(())
}

fn byte(seed: usize, at: usize) -> u8 {
    (at.wrapping_mul(seed * 2 + 29) >> 3 ^ at >> 11) as u8
}

/// Opens a flow and says how much will go which way.
pub(crate) async fn start(dial: &Dial, up: u32, down: u32) -> Result<Box<dyn Stream>, Fault> {
    let mut stream = dial.open().await?;
    stream.write_all(&[up.to_be_bytes(), down.to_be_bytes()].concat()).await?;
    stream.flush().await?;
    Ok(stream)
}

/// Moves what was announced, both ways at once.
pub(crate) async fn finish(stream: Box<dyn Stream>, up: usize, down: usize) -> Outcome {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (given, taken) = tokio::join!(give(&mut writer, up, 1), take(&mut reader, down, 2));
    given?;
    taken?;
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).await?;
    if rest == b"!" { Ok(()) } else { Err(format!("the far end is not content: {rest:?}").into()) }
}

pub(crate) async fn exchange(dial: &Dial, up: usize, down: usize) -> Outcome {
    let stream = start(dial, u32::try_from(up)?, u32::try_from(down)?).await?;
    finish(stream, up, down).await
}

/// A flow whose destination reads nothing, filled until it takes no more.
pub(crate) async fn stuff(dial: &Dial) -> Result<Box<dyn Stream>, Fault> {
    let mut stream = start(dial, u32::MAX, 0).await?;
    let piece = [0; 64 * 1024];
    let full = std::time::Duration::from_millis(500);
    while let Ok(written) = tokio::time::timeout(full, stream.write(&piece)).await {
        written?;
    }
    Ok(stream)
}
