//! The bytes of a flow that its channel open carries, from the open to the destination. Source: PROTOCOL.md 12.2.

use std::sync::Arc;

use culvert_protocol::api::extension;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that the unanswered opens of one tunnel may carry together. A client that has so many under way loses a round
/// trip on the next, not the flow.
const MOST_UNANSWERED: usize = 256 * 1024;

/// Whether the opens of a tunnel may carry bytes of their flows.
pub(crate) enum Early {
    /// The client does not know of it.
    None,
    /// It offered, and the handshake's reply takes it up. What unanswered opens carry together is counted.
    Taken(Arc<Semaphore>),
}

/// Bytes that a flow begins with; they count until they are dropped.
#[derive(Debug, Default)]
pub(crate) struct FirstBytes {
    bytes: Vec<u8>,
    _counted: Option<OwnedSemaphorePermit>,
}

/// Why an open may not carry what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotKept {
    /// Nobody agreed to that.
    Unasked,
    /// Too much is held already.
    NoRoom,
}

impl Early {
    pub(crate) fn taken() -> Self {
        Self::Taken(Arc::new(Semaphore::new(MOST_UNANSWERED)))
    }

    /// What the handshake's reply says.
    pub(crate) fn extensions(&self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Taken(_) => &[extension::FIRST_BYTES],
        }
    }

    /// Keeps what an open carries.
    pub(crate) fn keep(&self, bytes: &[u8]) -> Result<FirstBytes, NotKept> {
        if bytes.is_empty() {
            return Ok(FirstBytes::default());
        }
        let Self::Taken(left) = self else { return Err(NotKept::Unasked) };
        let len = u32::try_from(bytes.len()).map_err(|_| NotKept::NoRoom)?;
        let counted = left.clone().try_acquire_many_owned(len).map_err(|_| NotKept::NoRoom)?;
        Ok(FirstBytes { bytes: bytes.to_vec(), _counted: Some(counted) })
    }
}

impl FirstBytes {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_agreed_is_kept() {
        assert_eq!(Early::None.keep(b"x").err(), Some(NotKept::Unasked));
        assert!(Early::None.keep(b"").is_ok());
        let early = Early::taken();
        let all: Vec<_> = (0..16).map(|_| early.keep(&[7; MOST_UNANSWERED / 16]).unwrap()).collect();
        assert_eq!(early.keep(b"x").err(), Some(NotKept::NoRoom));
        assert!(early.keep(b"").is_ok(), "a flow without any is never too much");
        drop(all);
        assert_eq!(early.keep(b"x").unwrap().as_slice(), b"x");
    }
}
