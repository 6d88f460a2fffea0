//! Answers the API requests of one tunnel: pure functions of the request, the clock and what the server knows.
//! Order, and what ends the tunnel, are here; what each request means is in its file. Source: PROTOCOL.md 3.8, 4.

mod connected;
mod handshake;
mod status;
mod words;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use culvert_obfuscation::Seed;
use culvert_protocol::ServerEntry;
use culvert_protocol::api::{self, ParamError, request_name};
use culvert_protocol::packed::{self, PackError};
use serde_json::{Map, Value as Json};
use time::OffsetDateTime;

use crate::authorizations::Authorizations;
use crate::geoip::Place;
use crate::live::Live;
use crate::psinet::Psinet;
use crate::rules::{HandshakeFacts, TrafficRules};
pub(crate) use connected::Connected;
pub(crate) use handshake::Handshaken;
pub(crate) use status::TagChecks;
pub(crate) use words::Words;

/// The most bytes of padding in an answer to a keepalive (PROTOCOL.md 6.4.5).
pub(crate) const MOST_KEEPALIVE_PADDING: usize = 256;

/// What answers depend on besides the request.
pub(crate) struct Context<'s> {
    pub(crate) now: OffsetDateTime,
    /// Where the client appears to come from. Goes to the client itself and nowhere else.
    pub(crate) client: SocketAddr,
    pub(crate) place: &'s Place,
    pub(crate) psinet: &'s Live<Psinet>,
    pub(crate) authorizations: &'s Authorizations,
    /// Puts pages in an order.
    pub(crate) order: &'s Seed,
    pub(crate) own_entries: &'s BTreeMap<String, ServerEntry>,
    /// What the handshake's reply takes up of the extensions that the client offered (PROTOCOL.md 12).
    pub(crate) extensions: &'s [&'static str],
    /// The rules for a client with such a handshake.
    pub(crate) rules: &'s dyn Fn(HandshakeFacts<'_>) -> Arc<TrafficRules>,
    /// Counts bytes of a site that the client has counted.
    pub(crate) count_site: &'s dyn Fn(&str, u64),
    /// Padding for a keepalive's answer.
    pub(crate) keepalive_padding: &'s [u8],
}

/// How far a tunnel's API has come.
#[derive(Default)]
pub(crate) enum Phase {
    #[default]
    AwaitingHandshake,
    Established(Box<Established>),
}

/// What is known of a client after its handshake.
pub(crate) struct Established {
    pub(crate) handshake: Handshaken,
    pub(crate) connected: Option<Connected>,
    pub(crate) tag_checks: TagChecks,
}

/// What becomes of a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Reply(Vec<u8>),
    /// REQUEST_FAILURE.
    Refuse,
    /// REQUEST_FAILURE, and the end of the tunnel.
    RefuseAndClose,
}

/// A metric event that a request gives rise to.
#[derive(Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: &'static str,
    /// A client stored it in a session that it names itself, if it does.
    pub(crate) is_stored: bool,
    pub(crate) fields: Map<String, Json>,
}

/// Why a request is refused. The client is not told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error(transparent)]
    Encoding(#[from] PackError),
    #[error(transparent)]
    Parameter(#[from] ParamError),
    #[error("the reply cannot be written: {0}")]
    Reply(#[from] serde_json::Error),
}

impl Phase {
    pub(crate) fn established(&self) -> Option<&Established> {
        match self {
            Self::AwaitingHandshake => None,
            Self::Established(established) => Some(established),
        }
    }

    pub(crate) fn established_mut(&mut self) -> Option<&mut Established> {
        match self {
            Self::AwaitingHandshake => None,
            Self::Established(established) => Some(established),
        }
    }

    /// Answers one request; events go to `report`.
    pub(crate) fn answer(
        &mut self,
        name: &[u8],
        payload: &[u8],
        context: &Context<'_>,
        report: &mut dyn FnMut(Event),
    ) -> Answer {
        let name = std::str::from_utf8(name).unwrap_or_default();
        match (name, &mut *self) {
            (request_name::KEEPALIVE, _) => {
                Answer::Reply(api::speed_test_reply(context.now, context.keepalive_padding))
            }
            (request_name::HANDSHAKE, Self::AwaitingHandshake) => match handshake::answer(payload, context) {
                Ok((handshake, reply)) => {
                    let (connected, tag_checks) = (None, TagChecks::default());
                    *self = Self::Established(Box::new(Established { handshake, connected, tag_checks }));
                    Answer::Reply(reply)
                }
                Err(_) => Answer::RefuseAndClose,
            },
            (request_name::HANDSHAKE, Self::Established(_)) => Answer::RefuseAndClose,
            (_, Self::AwaitingHandshake) => Answer::Refuse,
            (_, Self::Established(established)) => {
                established.answer(name, payload, context, report).map_or(Answer::Refuse, Answer::Reply)
            }
        }
    }
}

impl Established {
    fn answer(
        &mut self,
        name: &str,
        payload: &[u8],
        context: &Context<'_>,
        report: &mut dyn FnMut(Event),
    ) -> Option<Vec<u8>> {
        // It has nothing, and will have nothing: it is about to be closed.
        let rates = (context.rules)(self.handshake.facts()).rates.limits;
        let has_nothing = rates.read_unthrottled_bytes == 0 || rates.write_unthrottled_bytes == 0;
        if rates.close_after_exhausted && has_nothing {
            return None;
        }
        let params = || packed::decode(payload).map_err(ApiError::from);
        let answered = match name {
            request_name::CONNECTED => {
                params().and_then(|params| connected::answer(&mut self.connected, &params, context, report))
            }
            request_name::STATUS => {
                params().and_then(|params| status::answer(self, &params, context, report))
            }
            // PROTOCOL.md 4.8.
            request_name::CLIENT_VERIFICATION => Ok(Vec::new()),
            _ => return None,
        };
        answered.ok()
    }
}

#[cfg(test)]
mod tests;
