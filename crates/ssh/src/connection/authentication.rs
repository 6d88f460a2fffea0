//! Service request and password authentication, both roles.
//!
//! Source: RFC 4252; PROTOCOL.md 3.5 and 11 for what the reference expects and tolerates.

use zeroize::Zeroizing;

use super::{Connection, Side};
use crate::error::{Error, Misbehaviour};
use crate::event::Event;
use crate::messages::{self, AuthMethod, Message, number};

/// Failed logins a server accepts on one connection. PROTOCOL.md 3.5: the sixth ends it.
const MAX_FAILURES: u8 = 6;
/// Questions for the methods (`none`) that a server answers.
const MAX_QUESTIONS: u8 = 16;
const USERAUTH: &[u8] = b"ssh-userauth";
/// DISCONNECT reason for too many logins, as the reference sends it.
const DISCONNECT_PROTOCOL_ERROR: u32 = 2;

/// How far authentication has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Authentication {
    /// No service was requested yet.
    #[default]
    Before,
    /// The service runs; so many logins have failed, and so many times the methods were asked for.
    Asking {
        failures: u8,
        questions: u8,
    },
    Done,
}

impl Authentication {
    pub(super) fn is_done(self) -> bool {
        self == Self::Done
    }
}

impl Connection {
    /// Asks for the service and logs in, in one flight: the server needs no time to think in between.
    ///
    /// Only after the host key was checked: the password goes to nobody else.
    pub(super) fn start_authentication(&mut self) {
        let Side::Client(config) = &self.side else { return };
        let request = Zeroizing::new(messages::password_request(&config.user, &config.password));
        self.outbound.message(&messages::service(number::SERVICE_REQUEST, USERAUTH));
        self.outbound.message(&request);
        self.authentication = Authentication::Asking { failures: 0, questions: 0 };
    }

    pub(super) fn on_authentication(&mut self, number: u8, message: &Message<'_>) -> Result<(), Error> {
        match &self.side {
            Side::Client(_) => self.on_authentication_as_client(number, message),
            Side::Server(_) => self.on_authentication_as_server(number, message),
        }
    }

    fn on_authentication_as_client(&mut self, number: u8, message: &Message<'_>) -> Result<(), Error> {
        let Authentication::Asking { .. } = self.authentication else {
            return Err(Error::Peer(Misbehaviour::UnexpectedMessage(number)));
        };
        match message {
            Message::ServiceAccept(service) if *service == USERAUTH => Ok(()),
            Message::ServiceAccept(_) => Err(Error::Peer(Misbehaviour::Service)),
            Message::UserauthBanner => Ok(()),
            Message::UserauthFailure { .. } => Err(Error::AuthenticationRefused),
            Message::UserauthSuccess => {
                self.authentication = Authentication::Done;
                self.events.push_back(Event::Authenticated { password: Zeroizing::default() });
                Ok(())
            }
            _ => Err(Error::Peer(Misbehaviour::UnexpectedMessage(number))),
        }
    }

    fn on_authentication_as_server(&mut self, number: u8, message: &Message<'_>) -> Result<(), Error> {
        match (self.authentication, message) {
            (Authentication::Before, Message::ServiceRequest(service)) => {
                if *service != USERAUTH {
                    return Err(Error::Peer(Misbehaviour::Service));
                }
                self.authentication = Authentication::Asking { failures: 0, questions: 0 };
                self.send(messages::service(number::SERVICE_ACCEPT, USERAUTH));
                Ok(())
            }
            (Authentication::Asking { .. }, Message::UserauthRequest { user, service, method }) => {
                if *service != b"ssh-connection" {
                    return Err(Error::Peer(Misbehaviour::Service));
                }
                self.judge(user, method)
            }
            // RFC 4252 section 5.1: requests after success are ignored without a word.
            (Authentication::Done, Message::UserauthRequest { .. }) => Ok(()),
            _ => Err(Error::Peer(Misbehaviour::UnexpectedMessage(number))),
        }
    }

    fn judge(&mut self, user: &[u8], method: &AuthMethod<'_>) -> Result<(), Error> {
        let accepted = match (method, self.side.decisions()) {
            (AuthMethod::Password(password), Some(decisions)) => (decisions.authenticate)(user, password),
            _ => false,
        };
        if accepted && let AuthMethod::Password(password) = method {
            self.authentication = Authentication::Done;
            self.send(messages::start(number::USERAUTH_SUCCESS));
            self.events.push_back(Event::Authenticated { password: Zeroizing::new(password.to_vec()) });
            return Ok(());
        }
        if let Authentication::Asking { failures, questions } = &mut self.authentication {
            // `none` is how a client asks for the methods: it is no failed login. RFC 4252 section 5.2.
            let (count, limit) = match method {
                AuthMethod::None => (questions, MAX_QUESTIONS),
                AuthMethod::Password(_) | AuthMethod::Other => (failures, MAX_FAILURES),
            };
            *count += 1;
            if *count >= limit {
                self.disconnect(DISCONNECT_PROTOCOL_ERROR, "too many authentication failures");
                return Err(Error::Peer(Misbehaviour::TooManyLogins));
            }
        }
        self.send(messages::auth_failure());
        Ok(())
    }
}
