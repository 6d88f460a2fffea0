//! All sessions of a server, by the names that clients have for them: at first the cookie that began it, later the session's own name.
//! Source: TRANSPORTS.md 2.5.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::cache::{Cache, CacheBudget};
use super::pace::Pace;
use super::pipe::{Pipe, SessionStream};
use super::record::Beginning;
use super::session::{Padding, Parts, Session, Transfer};
use crate::meek::wire::{Flow, PaddingReceiver, PaddingSender, PayloadPaddingKey, SessionId};

/// Bounds of all sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Sessions at once.
    pub sessions: usize,
    /// How long a session lives without a request.
    pub idle: Duration,
    /// The longest wait for bytes that a response could carry.
    pub turn_around: Duration,
    /// Bytes of a response that a session can keep in any case.
    pub kept_least: usize,
    /// Bytes of a response that a session keeps at most; responses are not longer.
    pub kept_most: usize,
    /// Bytes of responses that all sessions keep together.
    pub kept_together: usize,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            // The reference's.
            sessions: 1_000_000,
            idle: Duration::from_secs(45),
            turn_around: Duration::from_millis(10),
            kept_least: 64 * 1024,
            kept_most: 2 * 1024 * 1024,
            kept_together: 128 * 1024 * 1024,
        }
    }
}

/// What a cookie asks for.
pub struct NewSession<'a> {
    /// A fresh name.
    pub id: SessionId,
    /// The cookie's value as text.
    pub cookie: &'a str,
    /// The client.
    pub peer: IpAddr,
    /// What the request said besides.
    pub beginning: Beginning,
    /// `MeekObfuscatedKey`, if bodies are padded.
    pub padding_key: Option<&'a str>,
}

/// The sessions.
pub struct Sessions {
    limits: SessionLimits,
    budget: Arc<CacheBudget>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    by_id: HashMap<SessionId, Arc<Session>>,
    /// Those whose client has not used the name yet: the response that tells it may be lost.
    by_cookie: HashMap<String, Arc<Session>>,
}

impl Sessions {
    /// None yet.
    #[must_use]
    pub fn new(limits: SessionLimits) -> Self {
        Self { limits, budget: CacheBudget::new(limits.kept_together), known: Mutex::default() }
    }

    /// The bounds.
    #[must_use]
    pub fn limits(&self) -> &SessionLimits {
        &self.limits
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session of this name.
    #[must_use]
    pub fn named(&self, id: &SessionId) -> Option<Arc<Session>> {
        let mut known = self.known();
        let session = known.by_id.get(id).cloned()?;
        // The client has the name; the cookie is of no more use.
        if !known.by_cookie.is_empty() {
            known.by_cookie.remove(session.cookie());
        }
        Some(session)
    }

    /// The session that this cookie began, for the one who began it and does not know its name yet.
    #[must_use]
    pub fn begun_with(&self, cookie: &str, peer: IpAddr) -> Option<Arc<Session>> {
        self.known().by_cookie.get(cookie).filter(|session| session.peer() == peer).cloned()
    }

    /// Begins a session; `None` if there are too many.
    #[must_use]
    pub fn begin(&self, new: NewSession<'_>) -> Option<(Arc<Session>, SessionStream)> {
        let limits = &self.limits;
        let padding = new.padding_key.map(|key| Padding {
            receiver: PaddingReceiver::new(&PayloadPaddingKey::derive(key, new.cookie, Flow::Requests)),
            sender: PaddingSender::new(&PayloadPaddingKey::derive(key, new.cookie, Flow::Responses)),
        });
        let pipe = Arc::<Pipe>::default();
        let session = Session::new(Parts {
            id: new.id.clone(),
            cookie: new.cookie.to_owned(),
            peer: new.peer,
            beginning: new.beginning,
            pipe: pipe.clone(),
            transfer: Transfer {
                cache: Cache::new(self.budget.clone(), limits.kept_least, limits.kept_most),
                pace: Pace::new(limits.turn_around),
                padding,
                last_body: None,
                last_was_poll: false,
            },
        });
        let mut known = self.known();
        if known.by_id.len() >= limits.sessions || known.by_id.contains_key(&new.id) {
            return None;
        }
        known.by_id.insert(new.id, session.clone());
        known.by_cookie.insert(new.cookie.to_owned(), session.clone());
        Some((session, SessionStream::new(pipe)))
    }

    /// Forgets a session whose tunnel has ended.
    pub fn remove(&self, session: &Session) {
        session.end();
        let mut known = self.known();
        known.by_id.remove(session.id());
        known.by_cookie.remove(session.cookie());
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known().by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("limits", &self.limits).finish_non_exhaustive()
    }
}
