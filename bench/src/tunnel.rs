//! One tunnel up to the answer of its handshake, as our client makes it, with the default lists of algorithms in place of drawn ones.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use aws_lc_rs::rand::fill;
use culvert_obfuscation::{
    ClientPreamble, ObfuscatorSeed, PaddingRange, PreamblePlan, Prng, Seed, identification,
};
use culvert_protocol::api::{
    BaseParams, DialParams, HandshakeReply, HandshakeRequest, Padding, PaddingRanges, PasswordPayload,
    RequestEncoding, SERVER_REQUESTS, SessionId, reply_encoding, request_name,
};
use culvert_protocol::{ServerEntry, TunnelProtocol};
use culvert_ssh::direct_tcpip::DirectTcpip;
use culvert_ssh::kex::FreshKeys;
use culvert_ssh::{Algorithms, ClientConfig, ClientObfuscation, Connection, Ident, Limits};
use culvert_ssh_tokio::{ChannelStream, Handle, Incoming, Session};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::Outcome;

const LIMIT: Duration = Duration::from_secs(60);
const SPONSOR: &str = "FFFFFFFFFFFFFFFF";

/// Opens flows of a tunnel that is held elsewhere.
#[derive(Clone)]
pub(crate) struct Opener(Handle);

impl Opener {
    /// A flow to a destination.
    pub(crate) async fn flow(&self, to: SocketAddr) -> Outcome<ChannelStream> {
        let host = to.ip().to_string();
        let open = DirectTcpip { host: host.as_bytes(), port: to.port().into(), first_bytes: b"" };
        Ok(self.0.open("direct-tcpip", &open.encode()).await?)
    }
}

/// A tunnel; it ends when this is dropped.
pub(crate) struct Tunnel {
    handle: Handle,
    session: Session,
}

impl Tunnel {
    /// Brings one up from the loopback address of this number.
    pub(crate) async fn establish(entry: &ServerEntry, server: SocketAddr, number: usize) -> Outcome<Self> {
        timeout(LIMIT, Self::connect(entry, server, number)).await?
    }

    async fn connect(entry: &ServerEntry, server: SocketAddr, number: usize) -> Outcome<Self> {
        let seed = Seed::from_bytes(random()?);
        let config = config(entry, &seed)?;
        let stream = connect_from(source(number), server).await?;
        let connection = Connection::client(config, Box::new(FreshKeys));
        let (mut session, driver) = culvert_ssh_tokio::run(connection, stream);
        tokio::spawn(async move {
            driver.await;
        });
        let handle = session.handle();
        loop {
            match session.next().await {
                Some(Incoming::Authenticated { .. }) => break,
                Some(_) => {}
                None => return Err(format!("no login: {:?}", handle.end()).into()),
            }
        }
        let tunnel = Self { handle, session };
        tunnel.handshake(entry, &mut Prng::new(&seed.derive("api-padding"))).await?;
        Ok(tunnel)
    }

    /// PROTOCOL.md 4.5.
    async fn handshake(&self, entry: &ServerEntry, prng: &mut Prng) -> Outcome<()> {
        let request = HandshakeRequest {
            base: BaseParams {
                propagation_channel_id: SPONSOR.to_owned(),
                sponsor_id: SPONSOR.to_owned(),
                client_version: "1".to_owned(),
                client_platform: "Linux".to_owned(),
                network_type: "UNKNOWN".to_owned(),
                ..BaseParams::default()
            },
            dial: DialParams::new("OSSH".parse::<TunnelProtocol>()?),
            padding: Padding::draw(prng, PaddingRanges::default()),
            ..HandshakeRequest::default()
        };
        let params = request.to_params();
        let expected = reply_encoding(&params);
        let server_secret = entry.text("webServerSecret").unwrap_or_default();
        let encoding = match entry.takes_ssh_api_requests() {
            true => RequestEncoding::Packed,
            false => RequestEncoding::Json { server_secret },
        };
        let reply = self.handle.request(request_name::HANDSHAKE, &encoding.encode(params)?).await?;
        HandshakeReply::decode(&reply.map_err(|_| "the server refused the handshake")?, expected)?;
        Ok(())
    }

    /// A flow to a destination.
    pub(crate) async fn flow(&self, to: SocketAddr) -> Outcome<ChannelStream> {
        self.opener().flow(to).await
    }

    /// Opens its flows.
    pub(crate) fn opener(&self) -> Opener {
        Opener(self.handle.clone())
    }

    /// Lives until the tunnel ends.
    pub(crate) async fn hold(mut self) {
        while self.session.next().await.is_some() {}
    }

    /// Ends it and waits until it has.
    pub(crate) async fn close(self) {
        self.handle.close();
        self.hold().await;
    }
}

fn config(entry: &ServerEntry, seed: &Seed) -> Outcome<ClientConfig> {
    let payload = PasswordPayload {
        session_id: SessionId::from_bytes(random()?),
        ssh_password: entry.ssh_password()?,
        client_capabilities: vec![SERVER_REQUESTS.to_owned()],
        sponsor_id: SPONSOR.to_owned(),
    };
    let keyword = entry.obfuscation_keyword()?;
    let padding_seed = seed.derive("ossh-padding");
    let preamble = PreamblePlan {
        obfuscator_seed: ObfuscatorSeed::from_bytes(random()?),
        padding_seed: padding_seed.clone(),
        padding: PaddingRange::default(),
        prefix: None,
    };
    Ok(ClientConfig {
        ident: Ident::local(&identification(&mut Prng::new(&seed.derive("ssh-version"))))?,
        algorithms: Algorithms { no_encrypt_then_mac: true, ..Algorithms::default() },
        host_key: entry.ssh_host_key()?,
        user: entry.ssh_username()?.as_bytes().to_vec(),
        password: Zeroizing::new(payload.to_json().as_bytes().to_vec()),
        obfuscation: Some(ClientObfuscation {
            preamble: ClientPreamble::new(&keyword, &preamble),
            padding_seed,
            keyword,
        }),
        limits: Limits::default(),
        seed: Seed::from_bytes(random()?),
    })
}

/// Loopback addresses, one after the other, so that what a server allows each is not used up by one.
pub(crate) fn source(number: usize) -> Ipv4Addr {
    const SOURCES: usize = 250;
    let (high, low) = (number / SOURCES % SOURCES, number % SOURCES);
    // Both are below 250.
    Ipv4Addr::new(127, 1, high as u8, low as u8 + 1)
}

/// A connection to `server` from this address.
pub(crate) async fn connect_from(source: Ipv4Addr, server: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_nodelay(true)?;
    socket.bind(SocketAddr::new(source.into(), 0))?;
    socket.connect(server).await
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Outcome<[u8; N]> {
    let mut bytes = [0; N];
    fill(&mut bytes).map_err(|_| "the operating system gives no randomness")?;
    Ok(bytes)
}
