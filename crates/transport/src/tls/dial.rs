//! The client's side. Source: TRANSPORTS.md 1.1, 1.2.

use std::io;
use std::sync::OnceLock;
use std::time::SystemTime;

use culvert_obfuscation::{SEED_LEN, Seed};
use culvert_tls::{ClientHandshake, ClientSettings, Fresh, Progress, SelfTestFailed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::passthrough::{MESSAGE_LEN, NONCE_LEN, PassthroughKey};
use super::stream::TlsStream;
use super::{Connected, TlsFacts};
use crate::{DialError, DialFacts, Dialed, Endpoint, Network, Stream};

/// Bytes read at a time before the handshake is done.
const PIECE: usize = 16 * 1024;

/// Where to connect, and how the connection looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The server, or whatever stands in front of it.
    pub server: Endpoint,
    /// The ClientHello, and who must answer it.
    pub settings: ClientSettings,
    /// What is proved to the server in the hello's random; without it the random is one.
    pub passthrough: Option<PassthroughKey>,
}

/// Connects, as a tunnel's transport.
pub async fn dial(plan: &Plan, network: &dyn Network) -> Result<Dialed, DialError> {
    let connected = connect(plan, network).await?;
    Ok(Dialed {
        stream: connected.stream,
        facts: DialFacts { tls: Some(connected.facts), ..DialFacts::default() },
    })
}

/// Connects. The end of the handshake leaves with the first bytes that are written.
///
/// # Errors
/// See [`DialError`].
pub async fn connect(plan: &Plan, network: &dyn Network) -> Result<Connected, DialError> {
    let mut handshake = start(plan)?;
    let stream = network.connect(&plan.server).await.map_err(DialError::Connect)?;
    shake_hands(&mut handshake, stream).await?.finish(handshake)
}

/// Everything that can be done before the network is asked.
fn start(plan: &Plan) -> Result<ClientHandshake, DialError> {
    static SELF_TEST: OnceLock<Result<(), SelfTestFailed>> = OnceLock::new();
    SELF_TEST.get_or_init(culvert_tls::self_test).clone()?;
    // Never from the plan: a plan may be used again, a hello must not.
    let mut drawn = [0; MESSAGE_LEN + SEED_LEN];
    aws_lc_rs::rand::fill(&mut drawn).map_err(|_| DialError::Random)?;
    let (random, seed) = drawn.split_first_chunk::<MESSAGE_LEN>().ok_or(DialError::Random)?;
    let seed = Seed::from_bytes(*seed.first_chunk().ok_or(DialError::Random)?);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let random = match &plan.passthrough {
        Some(key) => {
            let nonce = *random.first_chunk::<NONCE_LEN>().ok_or(DialError::Random)?;
            key.message(nonce, i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
        }
        None => *random,
    };
    ClientHandshake::new(&plan.settings, &Fresh { random, seed, now }).map_err(DialError::Tls)
}

/// A connection whose handshake is done.
struct ShookHands {
    stream: Stream,
    unsent: Vec<u8>,
    received: Vec<u8>,
}

impl ShookHands {
    fn finish(self, handshake: ClientHandshake) -> Result<Connected, DialError> {
        let established = handshake.finish().map_err(DialError::Tls)?;
        let facts = TlsFacts { is_tls13: established.is_tls13, resumed: established.resumed };
        let stream = TlsStream::new(self.stream, established.records, self.unsent, self.received);
        Ok(Connected { stream: Box::new(stream), alpn: established.alpn, facts })
    }
}

async fn shake_hands(handshake: &mut ClientHandshake, mut stream: Stream) -> Result<ShookHands, DialError> {
    let mut received = Vec::new();
    let mut is_first = true;
    loop {
        let mut pieces = Vec::new();
        let progress =
            handshake.advance(&mut received, |piece| pieces.push(piece)).map_err(DialError::Tls)?;
        if progress == Progress::Done {
            return Ok(ShookHands { stream, unsent: pieces.concat(), received });
        }
        if !is_first {
            pieces = vec![pieces.concat()];
        }
        // A hello in two records goes in two writes; whatever else belongs together goes in one.
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            stream.write_all(piece).await.map_err(DialError::Broken)?;
        }
        stream.flush().await.map_err(DialError::Broken)?;
        is_first = false;
        let before = received.len();
        received.resize(before + PIECE, 0);
        let read = stream.read(received.get_mut(before..).unwrap_or_default()).await;
        let read = read.map_err(DialError::Broken)?;
        if read == 0 {
            return Err(DialError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        received.truncate(before + read);
    }
}
