//! What a client knows of its own key exchange, written down: enough to derive every key that the server has had too.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use aws_lc_rs::kem::{DecapsulationKey, ML_KEM_768};
use culvert_ssh::Role;
use culvert_ssh::kex::{
    ClientExchange, EphemeralKeys, ExchangeInputs, FreshKeys, KexError, KeySource, MlKemKey, Reply,
    derive_keys, exchange_hash,
};
use culvert_ssh::kexinit::{Direction, KexInit, negotiate};
use culvert_ssh::names::KexName;
use culvert_transport::{BoxFuture, Datagrams, Endpoint, Network, OsNetwork, Stream, shadowsocks};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use culvert_interop::memory::Needle;

/// More than is sent in the open.
const MOST: usize = 64 * 1024;
const KEXINIT: u8 = 20;
const NEWKEYS: u8 = 21;

/// One thing that was drawn for an exchange.
#[derive(Clone)]
enum Drawn {
    Bytes(Vec<u8>),
    MlKem(Vec<u8>),
}

/// What was drawn, said and heard.
#[derive(Clone, Default)]
pub(super) struct Transcript(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    drawn: Vec<Drawn>,
    sent: Vec<u8>,
    received: Vec<u8>,
}

impl EphemeralKeys for Transcript {
    fn fill(&mut self, secret: &mut [u8]) -> Result<(), KexError> {
        FreshKeys.fill(secret)?;
        self.0.lock().unwrap().drawn.push(Drawn::Bytes(secret.to_vec()));
        Ok(())
    }

    fn mlkem768(&mut self) -> Result<MlKemKey, KexError> {
        let private = DecapsulationKey::generate(&ML_KEM_768)?.key_bytes()?.as_ref().to_vec();
        self.0.lock().unwrap().drawn.push(Drawn::MlKem(private.clone()));
        MlKemKey::from_private_bytes(&private)
    }
}

/// The same once more.
struct Again(std::vec::IntoIter<Drawn>);

impl EphemeralKeys for Again {
    fn fill(&mut self, secret: &mut [u8]) -> Result<(), KexError> {
        match self.0.next() {
            Some(Drawn::Bytes(bytes)) => secret.copy_from_slice(&bytes),
            _ => return Err(KexError::Local),
        }
        Ok(())
    }

    fn mlkem768(&mut self) -> Result<MlKemKey, KexError> {
        match self.0.next() {
            Some(Drawn::MlKem(private)) => MlKemKey::from_private_bytes(&private),
            _ => Err(KexError::Local),
        }
    }
}

/// What one end said before there were keys.
struct Said<'t> {
    ident: &'t [u8],
    messages: Vec<&'t [u8]>,
}

impl<'t> Said<'t> {
    /// RFC 4253 sections 4.2 and 6.
    fn parse(bytes: &'t [u8]) -> Self {
        let end = bytes.windows(2).position(|two| two == b"\r\n").unwrap();
        let (ident, mut rest) = (&bytes[..end], &bytes[end + 2..]);
        let mut messages = Vec::new();
        while messages.last().is_none_or(|last: &&[u8]| last[0] != NEWKEYS) {
            let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            messages.push(&rest[5..4 + length - usize::from(rest[4])]);
            rest = &rest[4 + length..];
        }
        Self { ident, messages }
    }

    fn message(&self, number: u8) -> &'t [u8] {
        self.messages.iter().find(|message| message[0] == number).unwrap()
    }
}

/// The secrets of an exchange, and the public half of one that only the server has.
pub(super) struct Secrets {
    pub(super) kex: KexName,
    pub(super) needles: Vec<Needle>,
    /// Where X25519 takes part.
    pub(super) server_x25519: Option<[u8; 32]>,
}

impl Transcript {
    /// The stream that it listens to.
    pub(super) fn over<S>(&self, stream: S) -> Overheard<S> {
        Overheard { stream, transcript: self.clone() }
    }

    /// The keys of the Shadowsocks stream that it listened to: each direction begins with its salt.
    pub(super) fn shadowsocks_keys(&self, key: &shadowsocks::Key) -> Vec<Needle> {
        let inner = self.0.lock().unwrap();
        let of = |bytes: &[u8]| key.session(&shadowsocks::Salt::from_bytes(*bytes.first_chunk().unwrap()));
        [&inner.sent, &inner.received]
            .map(|said| Needle::new("Shadowsocks session key", &of(said)[..]))
            .into()
    }

    /// Derives what the server has derived too. `number` is that of the tunnel.
    pub(super) fn secrets(&self, number: u16) -> Secrets {
        let inner = self.0.lock().unwrap();
        let (client, server) = (Said::parse(&inner.sent), Said::parse(&inner.received));
        let [ours, theirs] = [&client, &server].map(|said| KexInit::decode(said.message(KEXINIT)).unwrap());
        let agreed = negotiate(Role::Client, &ours, &theirs).unwrap();
        let mut again = Again(inner.drawn.clone().into_iter());
        let exchange = ClientExchange::start(agreed.kex, &mut again).unwrap();
        let client_public = exchange.public().to_vec();
        let reply = Reply::parse(agreed.kex, server.message(culvert_ssh::kex::REPLY_MESSAGE)).unwrap();
        let secret = exchange.finish(reply.server_public).unwrap();
        let inputs = ExchangeInputs {
            client_ident: client.ident,
            server_ident: server.ident,
            client_kexinit: client.message(KEXINIT),
            server_kexinit: server.message(KEXINIT),
            host_key_blob: reply.host_key_blob,
            client_public: &client_public,
            server_public: reply.server_public,
        };
        let hash = exchange_hash(agreed.kex, &inputs, &secret);
        let source = KeySource { secret: &secret, hash: &hash, session_id: &hash };
        let named = |what: &str| format!("{what} of tunnel {number} ({:?})", agreed.kex);
        // Neither the length before it nor the order of a number's parts is the same everywhere.
        let shared = &secret.as_bytes()[secret.as_bytes().len() - 24..];
        let reversed: Vec<u8> = shared.iter().rev().copied().collect();
        let mut needles = vec![
            Needle::new(named("shared secret"), shared),
            Needle::new(named("shared secret backwards"), reversed),
        ];
        for direction in [Direction::ClientToServer, Direction::ServerToClient] {
            let suite = agreed.suite(direction);
            let keys = derive_keys(&source, direction, suite);
            let [key, mac] = keys.as_bytes();
            // What ciphers have of it may be in halves.
            for half in key.chunks_exact(16) {
                needles.push(Needle::new(named(&format!("{:?} key {direction:?}", suite.cipher)), half));
            }
            if !mac.is_empty() {
                needles.push(Needle::new(named(&format!("MAC key {direction:?}")), &mac[..16]));
            }
        }
        let has_x25519 = matches!(agreed.kex, KexName::Curve25519Sha256 | KexName::MlKem768X25519Sha256);
        let server_x25519 = has_x25519.then(|| *reply.server_public.last_chunk().unwrap());
        Secrets { kex: agreed.kex, needles, server_x25519 }
    }
}

impl Network for Transcript {
    fn connect<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, io::Result<Stream>> {
        Box::pin(async move {
            let stream: Stream = Box::new(self.over(OsNetwork.connect(to).await?));
            Ok(stream)
        })
    }

    fn datagrams(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Datagrams>> {
        OsNetwork.datagrams(to)
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        OsNetwork.resolve(name)
    }
}

/// A stream of which the beginning is written down.
pub(super) struct Overheard<S> {
    stream: S,
    transcript: Transcript,
}

fn note(all: &mut Vec<u8>, more: &[u8]) {
    let room = MOST - all.len();
    all.extend_from_slice(&more[..more.len().min(room)]);
}

impl<S: AsyncRead + Unpin> AsyncRead for Overheard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        note(&mut self.transcript.0.lock().unwrap().received, &into.filled()[before..]);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Overheard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(length)) = written {
            note(&mut self.transcript.0.lock().unwrap().sent, &bytes[..length]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
