//! Our side: a server that forwards what it is asked to, and a client.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use culvert_obfuscation::{GeneratedPrefix, Seed};
use culvert_ssh::host_key::HostKey;
use culvert_ssh::kex::FreshKeys;
use culvert_ssh::{
    Algorithms, ClientConfig, Connection, Decisions, Ident, Limits, Negotiated, ReplyPrefix, ServerConfig,
};
use culvert_ssh_tokio::{Handle, Incoming, IncomingChannel, Session, run};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::{Fault, Outcome};

pub(crate) const PASSWORD: &str = "secret";

pub(crate) fn host_key() -> Arc<HostKey> {
    static KEY: OnceLock<Arc<HostKey>> = OnceLock::new();
    KEY.get_or_init(|| Arc::new(HostKey::generate().expect("key generation works"))).clone()
}

/// What was agreed on, once for each exchange.
#[derive(Clone, Default)]
pub(crate) struct Exchanges(Arc<Mutex<Vec<Negotiated>>>);

impl Exchanges {
    fn add(&self, negotiated: Negotiated) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(negotiated);
    }

    pub(crate) fn all(&self) -> Vec<Negotiated> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn limits(rekey_bytes: Option<u64>) -> Limits {
    Limits { rekey_bytes, ..Limits::default() }
}

fn ident() -> Ident {
    Ident::local("SSH-2.0-OpenSSH_8.1").expect("it is valid")
}

/// Serves one connection: forwards channels, until the peer goes away.
pub(crate) fn serve<S>(stream: S, user: String, rekey_bytes: Option<u64>, exchanges: Exchanges)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let config = ServerConfig {
        ident: ident(),
        algorithms: Algorithms::default(),
        host_key: host_key(),
        obfuscation: None,
        decisions: Decisions {
            reply_prefix: Box::new(|_, _| ReplyPrefix {
                prefix: GeneratedPrefix::new(vec![b'p'; 24], 24).expect("it is long enough"),
                split: None,
            }),
            authenticate: Box::new(move |name, password| {
                name == user.as_bytes() && password == PASSWORD.as_bytes()
            }),
        },
        limits: limits(rekey_bytes),
        seed: Seed::from_bytes([3; 32]),
    };
    let (session, driver) = run(Connection::server(config, Box::new(FreshKeys)), stream);
    tokio::spawn(driver);
    tokio::spawn(follow(session, exchanges, None));
}

/// Logs in to a server with this host key.
pub(crate) async fn connect<S>(
    stream: S,
    user: String,
    host_key: Vec<u8>,
    rekey_bytes: Option<u64>,
    exchanges: Exchanges,
) -> Result<Handle, Fault>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let config = ClientConfig {
        ident: ident(),
        algorithms: Algorithms::default(),
        host_key,
        user: user.into_bytes(),
        password: PASSWORD.as_bytes().to_vec().into(),
        obfuscation: None,
        limits: limits(rekey_bytes),
        seed: Seed::from_bytes([4; 32]),
    };
    let (session, driver) = run(Connection::client(config, Box::new(FreshKeys)), stream);
    tokio::spawn(driver);
    let handle = session.handle();
    let (ready, is_ready) = oneshot::channel();
    tokio::spawn(follow(session, exchanges, Some(ready)));
    match is_ready.await {
        Ok(()) => Ok(handle),
        Err(_) => Err(handle.end().map_or_else(|| "no login".to_owned(), |end| end.to_string()).into()),
    }
}

async fn follow(mut session: Session, exchanges: Exchanges, mut ready: Option<oneshot::Sender<()>>) {
    while let Some(incoming) = session.next().await {
        match incoming {
            Incoming::Keyed { negotiated, .. } => exchanges.add(negotiated),
            Incoming::Authenticated { .. } => {
                if let Some(ready) = ready.take() {
                    // A test that gave up waits no more.
                    let _ = ready.send(());
                }
            }
            Incoming::Channel(channel) => {
                // A flow that was cut off is the test's doing.
                tokio::spawn(async move { drop(forward(channel).await) });
            }
            Incoming::Request(_) | Incoming::Preamble(_) => {}
        }
    }
}

async fn forward(channel: IncomingChannel) -> Outcome {
    let target = target(&channel).ok_or("the peer asks for something odd")?;
    let mut target = TcpStream::connect(target).await?;
    let mut stream = channel.accept().ok_or("the connection is over")?;
    copy_bidirectional(&mut stream, &mut target).await?;
    Ok(())
}

/// RFC 4254 section 7.2.
fn target(channel: &IncomingChannel) -> Option<SocketAddr> {
    if channel.kind != b"direct-tcpip" {
        return None;
    }
    let (len, rest) = channel.payload.split_first_chunk::<4>()?;
    let (host, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
    let port = u32::from_be_bytes(*rest.first_chunk()?);
    format!("{}:{port}", std::str::from_utf8(host).ok()?).parse().ok()
}
