//! The seam between the local proxies and the tunnel: a proxy asks for a flow to a destination and gets a byte
//! stream or a reason why not. Not the tunnel itself: whoever holds the receiving end of [`flow_queue`] decides
//! when to wait, when to give up and through which tunnel to go.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use culvert_ssh_tokio::ChannelStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot};

/// A stream that reads and writes; its `shutdown` ends only the writing direction.
pub trait AsyncReadWrite: AsyncRead + AsyncWrite {}

impl<T: AsyncRead + AsyncWrite + ?Sized> AsyncReadWrite for T {}

/// One flow.
pub enum FlowStream {
    /// Through a tunnel.
    Channel(ChannelStream),
    /// Anything else, such as a connection that was upgraded.
    Other(Box<dyn AsyncReadWrite + Send + Unpin>),
}

impl FlowStream {
    fn as_dyn(self: Pin<&mut Self>) -> Pin<&mut (dyn AsyncReadWrite + Send + Unpin)> {
        match self.get_mut() {
            Self::Channel(channel) => Pin::new(channel),
            Self::Other(stream) => Pin::new(stream.as_mut()),
        }
    }
}

impl AsyncRead for FlowStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.as_dyn().poll_read(cx, buf)
    }
}

impl AsyncWrite for FlowStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.as_dyn().poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.as_dyn().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.as_dyn().poll_shutdown(cx)
    }
}

/// Where a flow goes. The name or address never appears in debug output: it is what the user visits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    pub host: Host,
    pub port: u16,
}

/// The host of a destination. Names are resolved at the far end.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Host {
    Ip(IpAddr),
    Name(HostName),
}

/// A host name as an application gave it: 1 to 255 bytes of visible ASCII or UTF-8, no spaces or control characters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HostName(String);

/// Text that is not a host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a host name is 1 to 255 bytes without spaces, control characters or any of : / ? # @ [ ]")]
pub struct InvalidHostName;

impl FromStr for HostName {
    type Err = InvalidHostName;

    fn from_str(name: &str) -> Result<Self, InvalidHostName> {
        let forbidden = |c: char| {
            c.is_control() || c.is_whitespace() || matches!(c, ':' | '/' | '?' | '#' | '@' | '[' | ']' | '\\')
        };
        if name.is_empty() || name.len() > 255 || name.contains(forbidden) {
            return Err(InvalidHostName);
        }
        Ok(Self(name.to_owned()))
    }
}

impl HostName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Host {
    type Err = InvalidHostName;

    /// An address, with or without the brackets of a URL around IPv6, else a name.
    fn from_str(text: &str) -> Result<Self, InvalidHostName> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match (bare, bare.unwrap_or(text).parse::<IpAddr>()) {
            (Some(_), Ok(IpAddr::V4(_)) | Err(_)) => Err(InvalidHostName),
            (_, Ok(address)) => Ok(Self::Ip(address)),
            (None, Err(_)) => text.parse().map(Self::Name),
        }
    }
}

impl Host {
    /// The host as the tunnel carries it: an address without brackets, or the name.
    pub fn to_wire(&self) -> String {
        match self {
            Self::Ip(address) => address.to_string(),
            Self::Name(name) => name.0.clone(),
        }
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip(IpAddr::V4(_)) => "[redacted IPv4]",
            Self::Ip(IpAddr::V6(_)) => "[redacted IPv6]",
            Self::Name(_) => "[redacted name]",
        })
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted name]")
    }
}

/// Why a flow could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenFailure {
    /// No tunnel was up, and none came up while the flow was held.
    #[error("not connected: no tunnel came up within {} s", .waited.as_secs())]
    NoTunnel { waited: Duration },
    /// The server answered and said no.
    #[error("{reason}{}", detail_text(.detail))]
    Refused { reason: RefusalReason, detail: Option<String> },
    /// The server did not answer in time.
    #[error("the server did not answer within {} s", .after.as_secs())]
    TimedOut { after: Duration },
    /// The tunnel ended while the flow was being opened.
    #[error("the tunnel was lost while the flow was being opened")]
    TunnelLost,
    /// As many flows are open as the client allows.
    #[error("too many flows are open")]
    TooManyFlows,
    /// The client is stopping.
    #[error("the client is stopping")]
    Stopping,
}

/// Why a server refused a flow. Ours says so inside the tunnel; the reference's server gives one code for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusalReason {
    #[error("the server's rules do not allow this destination")]
    Rules,
    #[error("the destination host cannot be reached")]
    HostUnreachable,
    #[error("the destination network cannot be reached")]
    NetworkUnreachable,
    #[error("the destination refused the connection")]
    ConnectionRefused,
    #[error("the name does not exist")]
    NameNotFound,
    #[error("the destination did not answer in time")]
    TimedOut,
    /// An SSH channel open failure code without further reason (RFC 4254 section 5.1).
    #[error("the server refused the flow without saying why (code {0})")]
    Opaque(u32),
}

fn detail_text(detail: &Option<String>) -> String {
    detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default()
}

/// Asks for flows. Cheap to clone.
#[derive(Clone)]
pub struct FlowOpener {
    requests: mpsc::Sender<OpenRequest>,
    /// Whether the tunnel of this moment carries first bytes with an open.
    carries: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// One wish for a flow. Dropping the reply unanswered means the tunnel was lost.
pub struct OpenRequest {
    pub destination: Destination,
    /// What the application has said already: to be sent with the open or right behind it.
    pub first_bytes: Bytes,
    pub reply: oneshot::Sender<Result<FlowStream, OpenFailure>>,
}

/// A queue of flow wishes, at most `depth` waiting; further ones wait in the callers.
pub fn flow_queue(depth: usize) -> (FlowOpener, mpsc::Receiver<OpenRequest>) {
    let (requests, receiver) = mpsc::channel(depth.max(1));
    (FlowOpener { requests, carries: Arc::new(|| false) }, receiver)
}

impl FlowOpener {
    /// Tells the proxies when an open carries first bytes: they then promise an application its flow before it is open.
    #[must_use]
    pub fn that_carries(self, carries: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { carries: Arc::new(carries), ..self }
    }

    /// Whether an open of this moment would carry first bytes. The answer may be out of date when the open is made, which
    /// costs a round trip and nothing else.
    pub fn carries_first_bytes(&self) -> bool {
        (self.carries)()
    }

    /// Opens a flow, however long the other end of the queue takes. Dropping the future gives up the wish, which
    /// the other end sees as a closed `reply`.
    pub async fn open(&self, destination: Destination) -> Result<FlowStream, OpenFailure> {
        self.open_with(destination, Bytes::new()).await
    }

    /// Opens a flow that begins with `first_bytes`.
    pub async fn open_with(
        &self,
        destination: Destination,
        first_bytes: Bytes,
    ) -> Result<FlowStream, OpenFailure> {
        let (reply, answer) = oneshot::channel();
        let request = OpenRequest { destination, first_bytes, reply };
        self.requests.send(request).await.map_err(|_| OpenFailure::Stopping)?;
        answer.await.unwrap_or(Err(OpenFailure::TunnelLost))
    }
}

impl fmt::Debug for FlowOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowOpener").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_addresses_or_names() {
        assert_eq!("[2001:db8::1]".parse(), Ok(Host::Ip("2001:db8::1".parse().unwrap())));
        assert_eq!("192.0.2.1".parse(), Ok(Host::Ip("192.0.2.1".parse().unwrap())));
        assert_eq!("example.org".parse::<Host>().unwrap().to_wire(), "example.org");
        for wrong in ["", "[192.0.2.1]", "[x]", "a b", "a:1", "a\0", "user@host", &"a".repeat(256)] {
            assert_eq!(wrong.parse::<Host>(), Err(InvalidHostName), "{wrong:?}");
        }
    }

    #[test]
    fn debug_output_hides_the_destination() {
        for host in ["192.0.2.77", "2001:db8::77", "secret77.example"] {
            let text = format!("{:?}", Destination { host: host.parse().unwrap(), port: 443 });
            assert!(!text.contains("77") && text.contains("redacted"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_closed_queue_and_a_dropped_reply_are_failures() {
        let destination = Destination { host: "a.example".parse().unwrap(), port: 1 };
        let (opener, mut queue) = flow_queue(1);
        let dropped = tokio::spawn(async move { drop(queue.recv().await) });
        assert_eq!(opener.open(destination.clone()).await.err(), Some(OpenFailure::TunnelLost));
        dropped.await.unwrap();
        assert_eq!(opener.open(destination).await.err(), Some(OpenFailure::Stopping));
    }
}
