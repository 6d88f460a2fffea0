//! Why a connection ended, with the culprit named.

use thiserror::Error;

use crate::cipher::{KeyError, OpenError};
use crate::host_key::{HostKeyError, VerifyError};
use crate::ident::IdentError;
use crate::kex::KexError;
use crate::kexinit::{KexInitError, NegotiateError};
use crate::wire::WireError;
use culvert_obfuscation::PreambleError;

/// Why a connection cannot go on. After an error the connection must be dropped.
#[derive(Debug, Error)]
pub enum Error {
    /// The peer does not know the obfuscation key, or repeats somebody else's preamble. Whoever it is must
    /// learn nothing: drain, answer nothing.
    #[error("no valid obfuscation preamble: {0}")]
    Preamble(#[source] PreambleError),
    /// The peer repeats a preamble that was used before. Treated like [`Error::Preamble`].
    #[error("a replayed obfuscation preamble")]
    Replayed,
    /// The peer's identification line.
    #[error("identification: {0}")]
    Ident(#[from] IdentError),
    /// The peer's KEXINIT cannot be read.
    #[error("KEXINIT: {0}")]
    KexInit(#[from] KexInitError),
    /// No common algorithms, or only such as must not be used.
    #[error("algorithm negotiation: {0}")]
    Negotiate(#[from] NegotiateError),
    /// The server chose another key exchange than its kind does: dial again without predicting.
    #[error("the server negotiates otherwise than predicted")]
    Mispredicted,
    /// The key exchange itself.
    #[error("key exchange: {0}")]
    Kex(#[from] KexError),
    /// The server's host key is not the pinned one: somebody is in between, or the entry is out of date.
    #[error("the server's host key is not the one in its server entry")]
    HostKeyMismatch,
    /// The server could not prove that it owns the host key.
    #[error("host key signature: {0}")]
    HostKey(#[from] VerifyError),
    /// Our own host key cannot sign.
    #[error("signing with the host key: {0}")]
    Sign(#[from] HostKeyError),
    /// Derived keys do not fit the algorithms: a bug here.
    #[error("bug: {0}")]
    Keys(#[from] KeyError),
    /// A packet could not be protected: a bug here. Nothing was sent in clear.
    #[error("bug: a packet could not be sealed")]
    Seal,
    /// A packet failed its check: damaged on the way, or forged.
    #[error("damaged packet: {0}")]
    Packet(#[source] OpenError),
    /// A message does not follow its grammar.
    #[error("malformed message: {0}")]
    Wire(#[from] WireError),
    /// The peer broke a rule of the protocol.
    #[error("the peer broke the protocol: {0}")]
    Peer(#[from] Misbehaviour),
    /// The server refused the password.
    #[error("the server refused the user name or password")]
    AuthenticationRefused,
    /// The peer ended the connection and said why.
    #[error("the peer disconnected (reason {reason}): {description}")]
    Disconnected {
        /// RFC 4253 section 11.1.
        reason: u32,
        /// At most 255 bytes of the peer's text, printable ASCII only.
        description: String,
    },
}

/// Rules that a peer can break.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Misbehaviour {
    #[error("packet length out of bounds")]
    PacketLength,
    #[error("message {0} is not allowed now")]
    UnexpectedMessage(u8),
    #[error("data for a channel that does not exist")]
    UnknownChannel,
    #[error("more data than the window or packet limit allows")]
    WindowOverrun,
    #[error("a window beyond 2^32-1")]
    WindowOverflow,
    #[error("data or EOF after the end of a channel's direction")]
    DataAfterEnd,
    #[error("an answer nobody asked for")]
    UnexpectedReply,
    #[error("a channel that accepts no data, or next to none at once")]
    PacketLimit,
    #[error("too many unanswered requests")]
    TooManyRequests,
    #[error("more replies were asked for than were read")]
    RepliesUnread,
    #[error("too many failed logins")]
    TooManyLogins,
    #[error("strict key exchange was violated")]
    StrictKex,
    #[error("new keys before login, or far more often than the traffic needs")]
    RekeyStorm,
    #[error("a service other than ssh-userauth and ssh-connection")]
    Service,
}
