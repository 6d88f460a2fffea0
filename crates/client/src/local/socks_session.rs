//! One application's connection to the SOCKS proxy: handshake, opening of the flow, relay. Not the messages: see
//! `socks.rs`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::HANDSHAKE_TIMEOUT;
use super::access::Access;
use super::early::{EarlyFlows, hung_up};
use super::relay::relay_socket;
use super::socks::{self, Opening, ReplyCode, Request, SocksError, Version};
use super::stream::AppStream;
use super::udp::{Association, Claim, Gateway};
use crate::flow::Destination;
use crate::notice::{FreeText, Notice};

/// Serves SOCKS connections. Cheap to clone.
#[derive(Clone)]
pub(super) struct Session {
    flows: EarlyFlows,
    access: Access,
    /// `None`: UDP is switched off.
    gateway: Option<Arc<Gateway>>,
}

/// Why a handshake ended early.
#[derive(Debug, thiserror::Error)]
enum HandshakeError {
    #[error(transparent)]
    Socks(#[from] SocksError),
    #[error("the application left: {0}")]
    Io(#[from] io::Error),
}

impl Session {
    pub(super) fn new(flows: EarlyFlows, access: Access, gateway: Option<Arc<Gateway>>) -> Self {
        Self { flows, access, gateway }
    }

    /// Serves one connection to its end.
    pub(super) async fn run(self, mut stream: AppStream) {
        let mut received = Vec::new();
        let handshake = timeout(HANDSHAKE_TIMEOUT, self.handshake(&mut stream, &mut received)).await;
        match handshake {
            Ok(Ok((version, Request::Connect(destination)))) => {
                self.connect(stream, (version, destination), received).await;
            }
            Ok(Ok((_, Request::Associate(claimed)))) => self.associate(stream, claimed).await,
            Ok(Err(HandshakeError::Socks(error))) => self.refuse(stream, error).await,
            // The application left, or said nothing in time: nobody is there to be answered.
            Ok(Err(HandshakeError::Io(_))) | Err(_) => {}
        }
    }

    /// Reads until it is known what is asked for. Bytes after the request stay in `received`.
    async fn handshake(
        &self,
        stream: &mut AppStream,
        received: &mut Vec<u8>,
    ) -> Result<(Version, Request), HandshakeError> {
        match read_message(stream, received, socks::parse_opening).await? {
            Opening::V4(_) if self.access.wants_login() => Err(SocksError::NoPassword.into()),
            Opening::V4(destination) => Ok((Version::V4, Request::Connect(destination))),
            Opening::V5(methods) => {
                let choice = methods.choose(self.access.wants_login())?;
                stream.write_all(&choice).await?;
                if socks::login_follows(choice) {
                    let login = read_message(stream, received, socks::parse_login).await?;
                    if !self.access.admits(&login.username, &login.password) {
                        return Err(SocksError::WrongLogin.into());
                    }
                    stream.write_all(&socks::LOGGED_IN).await?;
                }
                Ok((Version::V5, read_message(stream, received, socks::parse_request).await?))
            }
        }
    }

    async fn connect(self, mut stream: AppStream, wanted: (Version, Destination), early: Vec<u8>) {
        let (version, destination) = wanted;
        if self.flows.opener.carries_first_bytes() {
            if stream.write_all(&socks::reply(version, ReplyCode::Succeeded)).await.is_ok() {
                self.flows.carry(stream, destination, early).await;
            }
            return;
        }
        let opened = tokio::select! {
            opened = self.flows.opener.open(destination) => opened,
            // An application that gives up while its flow is held frees the place in the queue.
            () = hung_up(&stream) => return,
        };
        let mut flow = match opened {
            Ok(flow) => flow,
            Err(failure) => {
                self.flows.tell(&failure);
                return close_after(stream, &socks::reply(version, ReplyCode::from(&failure))).await;
            }
        };
        let carried = async {
            stream.write_all(&socks::reply(version, ReplyCode::Succeeded)).await?;
            // An application may send before it has seen the reply.
            flow.write_all(&early).await?;
            relay_socket(stream, flow).await
        };
        // A failure resets the application's connection: it learns that bytes may be missing.
        drop(carried.await);
    }

    /// Carries datagrams for as long as the application keeps its connection (RFC 1928 section 7).
    async fn associate(self, mut stream: AppStream, claimed: SocketAddr) {
        let Some(gateway) = &self.gateway else {
            return self.refuse(stream, SocksError::Command { version: Version::V5 }).await;
        };
        let loopback = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let (proxy, application) =
            stream.addresses().map_or(loopback, |(proxy, application)| (proxy.ip(), application.ip()));
        let claim = Claim { ip: application, port: claimed.port() };
        let made = match Association::new(gateway, proxy, claim).await {
            Ok(association) => association.address().map(|at| (association, at)).map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match made {
            Ok((association, at)) => {
                if stream.write_all(&socks::associated(at)).await.is_ok() {
                    association.run(closed(stream)).await;
                }
            }
            Err(reason) => {
                let message = FreeText::new(format!("SOCKS proxy: {reason}"));
                self.flows.notices.emit(Notice::LocalProxyError { message });
                close_after(stream, &socks::reply(Version::V5, ReplyCode::GeneralFailure)).await;
            }
        }
    }

    async fn refuse(&self, stream: AppStream, error: SocksError) {
        let message = FreeText::new(format!("SOCKS proxy: {error}"));
        self.flows.notices.emit(Notice::LocalProxyError { message });
        close_after(stream, &error.answer()).await;
    }
}

/// Completes when the application has ended its connection; what it says on it means nothing.
async fn closed(mut stream: AppStream) {
    let mut nothing = [0; 64];
    while matches!(stream.read(&mut nothing).await, Ok(count) if count > 0) {}
}

async fn read_message<T>(
    stream: &mut AppStream,
    received: &mut Vec<u8>,
    parse: fn(&[u8]) -> socks::Parsed<T>,
) -> Result<T, HandshakeError> {
    loop {
        if let Some((used, message)) = parse(received)? {
            received.drain(..used);
            return Ok(message);
        }
        let mut chunk = [0; socks::LONGEST_MESSAGE];
        // The parsers refuse what is longer than any valid message, so this stays below two of them.
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        received.extend_from_slice(chunk.get(..count).unwrap_or_default());
    }
}

/// Answers and closes so that the answer arrives: unread bytes would turn the close into a reset.
async fn close_after(mut stream: AppStream, answer: &[u8]) {
    let refused = async {
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        let mut rest = [0; 256];
        for _ in 0..64 {
            if stream.read(&mut rest).await? == 0 {
                break;
            }
        }
        Ok::<(), io::Error>(())
    };
    drop(timeout(std::time::Duration::from_secs(1), refused).await);
}
