//! What a connection tells its driver. Owned data: an event borrows nothing.

use zeroize::Zeroizing;

use crate::channel::ChannelId;
use crate::config::PreambleFacts;
use crate::kexinit::Negotiated;
use crate::requests::{Reply, ReplyToken, RequestId};

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// Server: a valid preamble was read.
    Preamble(PreambleFacts),
    /// A key exchange is complete in both directions.
    Keyed {
        /// What was agreed.
        negotiated: Negotiated,
        /// False for a re-key.
        first: bool,
    },
    /// Client: the server accepted the password. Server: a client logged in.
    Authenticated {
        /// The password field (server only; empty on the client): it carries the session's identity.
        password: Zeroizing<Vec<u8>>,
    },
    /// The peer wants to open a channel: answer with accept or reject.
    ChannelOffered {
        /// Our number for it.
        id: ChannelId,
        /// Channel type.
        kind: Vec<u8>,
        /// Type-specific data.
        payload: Vec<u8>,
    },
    /// The peer accepted our channel.
    ChannelOpened(ChannelId),
    /// The peer refused our channel: close it, which frees its number.
    ChannelRefused {
        /// Our number for it.
        id: ChannelId,
        /// RFC 4254 section 5.1, or a private code.
        reason: u32,
        /// The peer's text, at most 1024 bytes.
        description: Vec<u8>,
    },
    /// A write that was cut short can go on.
    ChannelWritable(ChannelId),
    /// The peer will send no more on this channel.
    ChannelFinished(ChannelId),
    /// The peer closed the channel. What it sent before has been delivered.
    ChannelClosed(ChannelId),
    /// The peer asks something.
    Request {
        /// Request name.
        name: Vec<u8>,
        /// Its body.
        payload: Vec<u8>,
        /// Present when an answer is wanted: answer it.
        reply: Option<ReplyToken>,
    },
    /// An answer to a request of ours.
    Reply {
        /// Which request.
        id: RequestId,
        /// The answer.
        reply: Reply,
    },
}
