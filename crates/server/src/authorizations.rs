//! Which of a client's authorizations count, and who uses one now: an authorization is for one session at a time, and whoever shows
//! it last has it. What an authorization is: `culvert_protocol::authorization`. What it allows is up to the traffic rules.
//! Source: PROTOCOL.md 4.5, 6.3.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use culvert_protocol::api::SessionId;
use culvert_protocol::authorization::{AuthorizationError, VerificationKeyRing};
use culvert_protocol::text_form;
use time::OffsetDateTime;
use tokio::sync::oneshot;

use crate::geoip::Place;
use crate::log::{Aggregated, Level, Logger};

/// More are not looked at: each costs a signature's verification.
const MOST: usize = 16;
/// What is refused is reported this often at most.
const REPORT_INTERVAL: Duration = Duration::from_secs(300);

/// The keys, and who uses what.
pub(crate) struct Authorizations {
    keys: VerificationKeyRing,
    holders: Arc<Mutex<Holders>>,
    pub(crate) refused: Aggregated,
}

/// What a client may do because of its authorizations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Granted {
    /// No two alike.
    pub(crate) access_types: Vec<String>,
    /// In base64, each for the access type at its place.
    pub(crate) ids: Vec<String>,
    /// When the first of them expires.
    pub(crate) expires: Option<OffsetDateTime>,
}

#[derive(Default)]
struct Holders {
    next: u64,
    by_id: BTreeMap<String, Holder>,
}

struct Holder {
    number: u64,
    session: SessionId,
    place: Place,
    revoke: Arc<Mutex<Option<oneshot::Sender<()>>>>,
}

/// That a session uses its authorizations; dropping it gives them back.
pub(crate) struct Claim {
    holders: Arc<Mutex<Holders>>,
    number: u64,
    ids: Vec<String>,
    revoked: oneshot::Receiver<()>,
}

/// An authorization that another session used, which has lost it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shared {
    pub(crate) id: String,
    /// Where the other one is.
    pub(crate) place: Place,
}

impl Authorizations {
    pub(crate) fn new(keys: VerificationKeyRing, log: &Logger) -> Self {
        let refused =
            Aggregated::new(log.clone(), Level::Warning, "verify authorization failed", REPORT_INTERVAL);
        Self { keys, holders: Arc::default(), refused }
    }

    /// Decides about what a client shows. What is not valid costs nothing but itself.
    pub(crate) fn judge(&self, shown: &[String], now: OffsetDateTime) -> Granted {
        let mut granted = Granted::default();
        if shown.len() > MOST {
            self.refused.record("too many authorizations");
        }
        if self.keys.is_empty() && !shown.is_empty() {
            self.refused.record("authorization not configured");
            return granted;
        }
        for text in shown.iter().take(MOST) {
            match self.keys.verify(text, now) {
                Ok(found) if granted.access_types.contains(&found.access_type) => {
                    self.refused.record("duplicate authorization access type");
                }
                Ok(found) => {
                    granted.access_types.push(found.access_type);
                    granted.ids.push(text_form::to_base64(&found.id));
                    let first = granted.expires.map_or(found.expires, |first| first.min(found.expires));
                    granted.expires = Some(first);
                }
                Err(error) => self.refused.record(reason(error)),
            }
        }
        granted
    }

    /// Makes a session the one that uses these authorizations; `None` if there are none. Whoever used one before is told, and loses all.
    pub(crate) fn claim(
        &self,
        granted: &Granted,
        session: &SessionId,
        place: &Place,
    ) -> Option<(Claim, Vec<Shared>)> {
        if granted.ids.is_empty() {
            return None;
        }
        let (revoke, revoked) = oneshot::channel();
        let revoke = Arc::new(Mutex::new(Some(revoke)));
        let mut holders = locked(&self.holders);
        let number = holders.next;
        holders.next += 1;
        let mut shared = Vec::new();
        for id in &granted.ids {
            let (place, revoke) = (place.clone(), revoke.clone());
            let holder = Holder { number, session: session.clone(), place, revoke };
            // A client that comes back shows again what it has.
            let before = holders.by_id.insert(id.clone(), holder);
            let Some(other) = before.filter(|other| other.session != *session) else { continue };
            if let Some(revoke) = locked(&other.revoke).take() {
                // It may have ended meanwhile.
                let _ = revoke.send(());
            }
            shared.push(Shared { id: id.clone(), place: other.place });
        }
        let claim = Claim { holders: self.holders.clone(), number, ids: granted.ids.clone(), revoked };
        Some((claim, shared))
    }
}

impl Claim {
    /// Returns when another session has shown one of the authorizations.
    pub(crate) async fn revoked(&mut self) {
        if (&mut self.revoked).await.is_err() {
            // The senders are gone with the entries, which happens when this is dropped or all were taken by the same session.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut holders = locked(&self.holders);
        for id in &self.ids {
            if holders.by_id.get(id).is_some_and(|holder| holder.number == self.number) {
                holders.by_id.remove(id);
            }
        }
    }
}

/// What the log says, which must be one of few texts.
fn reason(error: AuthorizationError) -> &'static str {
    match error {
        AuthorizationError::Malformed => "malformed authorization",
        AuthorizationError::OtherKey => "invalid key ID",
        AuthorizationError::Mismatch => "invalid signature",
        AuthorizationError::OtherAccessType => "invalid access type",
        AuthorizationError::Expired => "expired authorization",
        AuthorizationError::VerificationKey { .. }
        | AuthorizationError::KeyRing
        | AuthorizationError::SigningKey => "bug: not about authorizations",
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use culvert_protocol::authorization::SigningKey;
    use culvert_protocol::timestamp;

    use super::*;
    use crate::log::Origin;

    fn key(access_type: &str) -> SigningKey {
        let digit = access_type.bytes().next().unwrap();
        let seed = [digit; 32];
        let pair = aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let public = aws_lc_rs::signature::KeyPair::public_key(&pair).as_ref().to_vec();
        let (id, private) =
            (text_form::to_base64(&seed), text_form::to_base64(&[&seed, &public[..]].concat()));
        SigningKey::from_json(&format!(
            r#"{{"ID":"{id}","AccessType":"{access_type}","AuthorizationIDKey":"{id}","PrivateKey":"{private}"}}"#
        ))
        .unwrap()
    }

    fn ring(keys: &[&SigningKey]) -> VerificationKeyRing {
        keys.iter().map(|key| key.ring()).fold(VerificationKeyRing::default(), VerificationKeyRing::with)
    }

    fn now() -> OffsetDateTime {
        timestamp::parse("2026-01-02T03:04:05Z").unwrap()
    }

    fn log() -> (Logger, crate::log::Captured) {
        Logger::captured(Level::Info, Origin::default())
    }

    #[test]
    fn one_of_each_type_counts_and_the_first_to_expire_decides() {
        let (boost, sport) = (key("boost"), key("sport"));
        let (log, captured) = log();
        let authorizations = Authorizations::new(ring(&[&boost, &sport]), &log);
        let in_hours = |hours| now() + time::Duration::hours(hours);
        let shown = [
            "rubbish".to_owned(),
            boost.issue(b"old", in_hours(-1)).unwrap(),
            boost.issue(b"1", in_hours(2)).unwrap(),
            boost.issue(b"2", in_hours(1)).unwrap(),
            sport.issue(b"3", in_hours(3)).unwrap(),
        ];
        let granted = authorizations.judge(&shown, now());
        assert_eq!(granted.access_types, ["boost", "sport"]);
        assert_eq!((granted.ids.len(), granted.expires), (2, Some(in_hours(2))));
        let log = captured.text();
        for reason in ["malformed", "expired", "duplicate authorization access type"] {
            assert!(log.contains(reason), "{reason}: {log}");
        }
        assert!(!log.contains(&shown[2]));
    }

    #[test]
    fn only_the_first_sixteen_are_looked_at() {
        let boost = key("boost");
        let (log, captured) = log();
        let authorizations = Authorizations::new(ring(&[&boost]), &log);
        let mut shown = vec![String::new(); MOST];
        shown.push(boost.issue(b"1", now()).unwrap());
        assert_eq!(authorizations.judge(&shown, now()), Granted::default());
        assert!(captured.text().contains("too many"));
        shown.swap_remove(0);
        assert_eq!(authorizations.judge(&shown, now()).ids.len(), 1);
    }

    #[test]
    fn without_keys_nothing_is_granted() {
        let (log, captured) = log();
        let authorizations = Authorizations::new(VerificationKeyRing::default(), &log);
        assert_eq!(authorizations.judge(&[String::new()], now()), Granted::default());
        assert!(captured.text().contains("not configured"));
    }

    fn granted(ids: &[&str]) -> Granted {
        Granted { ids: ids.iter().map(|id| (*id).to_owned()).collect(), ..Granted::default() }
    }

    fn session(digit: u8) -> SessionId {
        SessionId::from_bytes([digit; 16])
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_shows_one_last_has_it() {
        let (log, _) = log();
        let authorizations = Authorizations::new(VerificationKeyRing::default(), &log);
        let claim = |ids: &[&str], digit| {
            authorizations.claim(&granted(ids), &session(digit), &Place::UNKNOWN).unwrap()
        };
        assert!(authorizations.claim(&Granted::default(), &session(1), &Place::UNKNOWN).is_none());
        let (mut first, shared) = claim(&["a", "b"], 1);
        assert!(shared.is_empty());
        let (_other, shared) = claim(&["c"], 3);
        assert!(shared.is_empty());
        let (mut second, shared) = claim(&["b", "c"], 2);
        assert_eq!(shared.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["b", "c"]);
        first.revoked().await;
        drop(first);
        // What the first had lost was not given back by it.
        let (_third, shared) = claim(&["b"], 1);
        assert_eq!(shared.len(), 1);
        second.revoked().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_comes_back_keeps_its_own() {
        let (log, _) = log();
        let authorizations = Authorizations::new(VerificationKeyRing::default(), &log);
        let claim = || authorizations.claim(&granted(&["a"]), &session(1), &Place::UNKNOWN).unwrap();
        let (mut old, _) = claim();
        let (new, shared) = claim();
        assert!(shared.is_empty());
        assert!(tokio::time::timeout(Duration::from_secs(9), old.revoked()).await.is_err());
        drop(old);
        assert_eq!(locked(&authorizations.holders).by_id.len(), 1);
        drop(new);
        assert_eq!(locked(&authorizations.holders).by_id.len(), 0);
    }
}
