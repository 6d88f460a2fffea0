//! The client's side: what a session is made of, and its start.

use std::fmt;
use std::sync::Arc;

use culvert_obfuscation::{ObfuscatorSeed, Prng, Seed};
use culvert_protocol::TunnelProtocol;
use culvert_protocol::parameters::Meek;
use thiserror::Error;
use zeroize::Zeroizing;

use super::pace::Pace;
use super::pipe::pipe;
use super::request::{BadHead, HeadWriter, RequestLook};
use super::route::Route;
use super::session::{Line, Padding, Session};
use super::stale::Beginning;
use super::wire::{
    BoxError, CookiePlan, CookieRequest, CookieSealer, Flow, KEY_LEN, MAX_BODY, PaddingReceiver,
    PaddingSender, PayloadPaddingKey,
};
use crate::{DialError, DialFacts, Dialed, Network};

/// What a session is to look like.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Where its connections go.
    pub route: Route,
    /// Its requests.
    pub look: RequestLook,
    /// What the server's keys are.
    pub keys: Keys,
    /// What the cookie says is spoken.
    pub protocol: TunnelProtocol,
    /// Padding of the cookie.
    pub cookie_seed: Seed,
    /// Times of polls, sizes of padding and whatever else is drawn on the way.
    pub pace_seed: Seed,
    /// Bytes of a body, at most.
    pub most_payload: usize,
    /// Whether bodies are padded.
    pub payload_padding: bool,
    /// When requests are made, and how they are padded.
    pub parameters: Arc<Meek>,
    /// By how much times grow, for slow networks.
    pub latency_multiplier: f64,
}

/// The keys of a server entry.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// `meekObfuscatedKey`, as text.
    pub obfuscated_key: Zeroizing<String>,
    /// `meekCookieEncryptionPublicKey`.
    pub cookie_key: [u8; KEY_LEN],
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys([redacted])")
    }
}

/// Why no session can begin. The server entry or the configuration is at fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SetupError {
    /// Its cookie.
    #[error("meek: the key in the server entry is none: {0}")]
    Key(#[from] BoxError),
    /// Its requests.
    #[error("meek: {0}")]
    Head(#[from] BadHead),
}

/// What may wait to be read of responses.
fn most_received(of: &Meek) -> usize {
    let limited = of.limited_full_receive_buffer_length;
    usize::try_from(if of.limit_buffer_sizes { limited } else { of.full_receive_buffer_length })
        .unwrap_or(usize::MAX)
}

/// Connects. The session's first request leaves with the first bytes that are written, or with the first poll.
pub async fn dial(plan: &Plan, network: &Arc<dyn Network>) -> Result<Dialed, DialError> {
    let head = HeadWriter::new(plan.look.clone()).map_err(SetupError::Head)?;
    let request = CookieRequest::tunnel(plan.protocol, plan.payload_padding);
    let cookie = cookie(plan, &request)?;
    let (connection, tls) = plan.route.connect(network.as_ref()).await?;
    let padding = plan.payload_padding.then(|| {
        let key = |flow| PayloadPaddingKey::derive(&plan.keys.obfuscated_key, &cookie, flow);
        Padding {
            sender: PaddingSender::new(&key(Flow::Requests)),
            receiver: PaddingReceiver::new(&key(Flow::Responses)),
            prng: Prng::derived(&plan.pace_seed, "payload-padding"),
        }
    });
    // The header of a body is a part of it. TRANSPORTS.md 2.8.
    let header = usize::from(padding.is_some());
    let (stream, depot) =
        pipe(plan.most_payload.min(MAX_BODY).saturating_sub(header), most_received(&plan.parameters));
    let facts = DialFacts { meek_cookie_len: Some(plan.look.cookie_name.len() + cookie.len()), tls };
    let session = Session {
        line: Line { network: Arc::clone(network), route: plan.route.clone(), connection: Some(connection) },
        head,
        cookie,
        parameters: Arc::clone(&plan.parameters),
        latency_multiplier: plan.latency_multiplier,
        pace: Pace::new(Arc::clone(&plan.parameters), Prng::derived(&plan.pace_seed, "polls")),
        padding,
        redial: Prng::derived(&plan.pace_seed, "redial"),
        last_response: 0,
        last_beginning: Beginning::default(),
    };
    tokio::spawn(session.run(depot));
    Ok(Dialed { stream: Box::new(stream), facts })
}

/// A fresh cookie: never from the plan alone, because a plan may be used again and a cookie must not. TRANSPORTS.md 2.4.
pub(super) fn cookie(plan: &Plan, request: &CookieRequest) -> Result<String, DialError> {
    let (mut seed, mut ephemeral) = ([0; ObfuscatorSeed::LEN], Zeroizing::new([0; KEY_LEN]));
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| DialError::Random)?;
    aws_lc_rs::rand::fill(ephemeral.as_mut_slice()).map_err(|_| DialError::Random)?;
    let shape = CookiePlan {
        obfuscator_seed: ObfuscatorSeed::from_bytes(seed),
        padding_seed: plan.cookie_seed.clone(),
    };
    let sealer = CookieSealer::new(&plan.keys.obfuscated_key, plan.keys.cookie_key);
    Ok(sealer.seal(&shape, &ephemeral, request).map_err(SetupError::Key)?)
}
