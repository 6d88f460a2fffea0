//! Login: one user name and password for all clients, and the session that each names in its password field.
//! Source: PROTOCOL.md 3.5.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use culvert_protocol::api::{PasswordError, PasswordPayload, SshPassword};

use crate::config::Secret;
use crate::figures::Figures;
use crate::log::{Aggregated, Level, Logger};

/// Failed logins are reported this often at most.
const REPORT_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// Checks logins.
pub(crate) struct Login {
    user: Secret,
    password: SshPassword,
    pub(crate) failures: Aggregated,
    figures: Arc<Figures>,
}

impl Login {
    pub(crate) fn new(user: Secret, password: Secret, log: &Logger, figures: Arc<Figures>) -> Self {
        let failures =
            Aggregated::new(log.clone(), Level::Warning, "authentication failures", REPORT_INTERVAL);
        Self { user, password: SshPassword::new(password.expose()), failures, figures }
    }

    /// Whether user name and password field are right.
    pub(crate) fn judge(&self, user: &[u8], field: &[u8]) -> bool {
        let payload = match PasswordPayload::parse(field) {
            Ok(payload) => payload,
            Err(error) => {
                self.figures.login_failed();
                self.failures.record(match error {
                    PasswordError::Malformed => "malformed password field",
                    PasswordError::SessionId => "invalid session ID",
                    PasswordError::SponsorId => "invalid sponsor ID",
                });
                return false;
            }
        };
        // Both are compared whatever the first comparison says.
        let user_matches = verify_slices_are_equal(self.user.expose().as_bytes(), user).is_ok();
        let password_matches = self.password.matches(&payload.ssh_password);
        let accepted = user_matches & password_matches;
        if !accepted {
            self.figures.login_failed();
            self.failures.record("wrong user name or password");
        }
        accepted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Origin;

    #[test]
    fn both_forms_are_accepted_and_failures_gathered() {
        let (log, captured) = Logger::captured(Level::Info, Origin::default());
        let password = "0123456789abcdef".repeat(4);
        let login = Login::new(Secret::new("user"), Secret::new(password.as_str()), &log, Figures::new(&[]));
        let session = "00112233445566778899aabbccddeeff";
        let json = |session: &str, password: &str| {
            format!(r#"{{"SessionId":"{session}","SshPassword":"{password}"}}"#)
        };
        assert!(login.judge(b"user", json(session, &password).as_bytes()));
        assert!(login.judge(b"user", format!("{session}{password}").as_bytes()));
        assert!(!login.judge(b"other", json(session, &password).as_bytes()));
        assert!(!login.judge(b"user", json(session, "x").as_bytes()));
        assert!(!login.judge(b"user", json("00", &password).as_bytes()));
        assert_eq!(captured.text().lines().count(), 2, "{}", captured.text());
        login.failures.write_all();
        assert_eq!(captured.text().lines().count(), 3, "{}", captured.text());
        assert!(!captured.text().contains(session));
    }
}
