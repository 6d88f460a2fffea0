//! Who is connected, by session ID. A client that comes back takes its session over: its old tunnel is stopped, and the
//! new one goes on only when the old one has ended, so that no session is counted twice. Source: PROTOCOL.md 3.5.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use culvert_protocol::api::SessionId;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};

use super::gone::Gone;

/// How long an old tunnel may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// All live sessions, and those that were a while ago.
#[derive(Clone)]
pub(crate) struct Sessions {
    /// Tunnels that may be up.
    most: usize,
    live: Arc<Mutex<Live>>,
}

#[derive(Default)]
struct Live {
    next: u64,
    tunnels: BTreeMap<SessionId, Tunnel>,
    gone: Gone,
}

struct Tunnel {
    number: u64,
    stop: Option<oneshot::Sender<()>>,
    /// Closed when the tunnel has ended.
    ended: watch::Receiver<()>,
}

/// A tunnel's entry; dropping it removes the entry and lets a successor go on.
pub(crate) struct Registration {
    sessions: Sessions,
    id: SessionId,
    number: u64,
    stopped: oneshot::Receiver<()>,
    /// Whether the session had no tunnel here for an hour.
    pub(crate) is_first: bool,
    _ended: watch::Sender<()>,
}

impl Sessions {
    /// None yet, and so many at most.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, live: Arc::default() }
    }

    /// Registers a tunnel after stopping an older one of the same session. `None`: yet another one came meanwhile, or the
    /// older one does not end, or there are too many; this one must go.
    pub(crate) async fn register(&self, id: SessionId) -> Option<Registration> {
        let Some(mut ended) = self.stop(&id) else { return self.insert(id, false) };
        // An error is what is waited for: the old tunnel's end.
        let _ = timeout(PATIENCE, ended.changed()).await.ok()?;
        self.insert(id, true)
    }

    /// How many tunnels are up.
    pub(crate) fn len(&self) -> usize {
        self.live(|live| live.tunnels.len())
    }

    /// Whether there are as many as there may be.
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.most
    }

    fn stop(&self, id: &SessionId) -> Option<watch::Receiver<()>> {
        self.live(|live| {
            let tunnel = live.tunnels.get_mut(id)?;
            if let Some(stop) = tunnel.stop.take() {
                // It may have ended by itself.
                let _ = stop.send(());
            }
            Some(tunnel.ended.clone())
        })
    }

    fn insert(&self, id: SessionId, took_over: bool) -> Option<Registration> {
        self.live(|live| {
            if live.tunnels.contains_key(&id) || live.tunnels.len() >= self.most {
                return None;
            }
            let is_first = !live.gone.forget(&id, Instant::now()) && !took_over;
            let number = live.next;
            live.next += 1;
            let ((stop, stopped), (ended_sender, ended)) = (oneshot::channel(), watch::channel(()));
            live.tunnels.insert(id.clone(), Tunnel { number, stop: Some(stop), ended });
            Some(Registration { sessions: self.clone(), id, number, stopped, is_first, _ended: ended_sender })
        })
    }

    fn live<T>(&self, change: impl FnOnce(&mut Live) -> T) -> T {
        change(&mut self.live.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Registration {
    /// Returns when another tunnel of the session takes over.
    pub(crate) async fn stopped(&mut self) {
        // Both outcomes mean that the entry no longer leads here.
        let _ = (&mut self.stopped).await;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.sessions.live(|live| {
            if live.tunnels.get(&self.id).is_some_and(|tunnel| tunnel.number == self.number) {
                live.tunnels.remove(&self.id);
                live.gone.remember(&self.id, Instant::now());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::gone::REMEMBERED;
    use super::*;

    fn id(digit: u8) -> SessionId {
        SessionId::from_bytes([digit; 16])
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_tunnel_waits_for_the_end_of_the_old() {
        let sessions = Sessions::new(2);
        let mut old = sessions.register(id(1)).await.unwrap();
        let _other = sessions.register(id(2)).await.unwrap();
        let again = sessions.clone();
        let new = tokio::spawn(async move { again.register(id(1)).await });
        old.stopped().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!new.is_finished());
        drop(old);
        assert!(!new.await.unwrap().unwrap().is_first);
        assert_eq!(sessions.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_no_more_than_there_may_be() {
        let sessions = Sessions::new(2);
        let first = sessions.register(id(1)).await;
        let _second = sessions.register(id(2)).await.unwrap();
        assert!(first.is_some() && sessions.register(id(3)).await.is_none());
        drop(first);
        assert!(sessions.register(id(3)).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_known_for_an_hour() {
        let sessions = Sessions::new(2);
        let is_first = async || sessions.register(id(1)).await.unwrap().is_first;
        assert!(is_first().await);
        tokio::time::advance(REMEMBERED - Duration::from_secs(1)).await;
        assert!(!is_first().await);
        tokio::time::advance(REMEMBERED).await;
        assert!(is_first().await);
        assert!(sessions.register(id(2)).await.unwrap().is_first);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_end_is_not_joined() {
        let sessions = Sessions::new(2);
        let _old = sessions.register(id(1)).await.unwrap();
        assert!(sessions.register(id(1)).await.is_none());
        assert_eq!(sessions.len(), 1);
    }
}
