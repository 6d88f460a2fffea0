//! A CONNECT request, with a login where the proxy wants one. Source: RFC 9110 sections 9.3.6 and 11.7, TRANSPORTS.md 6.4.

use bytes::{Buf as _, BytesMut};
use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::challenge::{AuthScheme, Challenge, challenges};
use super::ntlm::{self, Account, ServerChallenge};
use super::{BadReply, Fresh, Refusal, Step, digest};
use crate::meek::{Body, Piece, ResponseHead};
use crate::upstream::{Credentials, CustomHeaders, UpstreamError};

/// Longest page that a refusal may bring, in bytes: it is read to its end, for the connection to be used again.
const MOST_BODY: usize = 1 << 20;
/// Most headers in a response.
const MAX_HEADERS: usize = 128;
/// Longest head of a response.
const MAX_HEAD: usize = 32 * 1024;
const WANTS_LOGIN: u16 = 407;

/// A CONNECT until it succeeds.
pub(super) struct Connect {
    target: String,
    credentials: Option<Credentials>,
    headers: CustomHeaders,
    fresh: Fresh,
    state: State,
    /// What is said next.
    authorization: Option<Zeroizing<String>>,
    tried: Tried,
}

enum State {
    Ask,
    Head,
    /// The rest of a refusal.
    Drain {
        body: Body,
        read: usize,
        keep_alive: bool,
    },
}

/// How far the login is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tried {
    Nothing,
    /// The first message of NTLM was sent, on this connection.
    Negotiated,
    /// Digest was answered once; its nonce may prove too old.
    Digest,
    All,
}

/// The head of a response to CONNECT.
enum Reply {
    Connected,
    WantsLogin { offered: Vec<Challenge>, body: Body, keep_alive: bool },
}

impl Connect {
    pub(super) fn new(
        target: String,
        credentials: Option<Credentials>,
        headers: &CustomHeaders,
        fresh: Fresh,
    ) -> Self {
        Self {
            target,
            credentials,
            headers: headers.clone(),
            fresh,
            state: State::Ask,
            authorization: None,
            tried: Tried::Nothing,
        }
    }

    pub(super) fn step(&mut self, received: &mut BytesMut) -> Result<Step, UpstreamError> {
        loop {
            match &mut self.state {
                State::Ask => {
                    self.state = State::Head;
                    return Ok(Step::Write(self.request()));
                }
                State::Head => match reply(received)? {
                    None => return Ok(Step::Read),
                    Some(Reply::Connected) => return Ok(Step::Connected),
                    Some(Reply::WantsLogin { offered, body, keep_alive }) => {
                        self.log_in(&offered, keep_alive)?;
                        self.state = State::Drain { body, read: 0, keep_alive };
                    }
                },
                State::Drain { keep_alive: false, .. } => {
                    self.state = State::Ask;
                    return Ok(Step::Reconnect);
                }
                State::Drain { body, read, .. } => match body.take(received).map_err(|_| BadReply::Body)? {
                    Piece::Wanting => return Ok(Step::Read),
                    Piece::End => self.state = State::Ask,
                    Piece::Data(bytes) => {
                        *read += bytes.len();
                        if *read > MOST_BODY {
                            return Err(BadReply::Body.into());
                        }
                    }
                },
            }
        }
    }

    /// A proxy that hangs up in the middle of its refusal is asked again on a new connection.
    pub(super) fn takes_end(&mut self) -> bool {
        match &mut self.state {
            State::Drain { keep_alive, .. } => {
                *keep_alive = false;
                true
            }
            _ => false,
        }
    }

    fn request(&mut self) -> Vec<u8> {
        let authorization = self.authorization.take();
        let host = self.headers.get("Host").unwrap_or(&self.target);
        let mut lines = vec![("Host", host)];
        let others = self.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("Host"));
        let mut sorted: Vec<(&str, &str)> = others.collect();
        sorted.extend(authorization.as_ref().map(|value| ("Proxy-Authorization", value.as_str())));
        sorted.sort_by_key(|(name, _)| *name);
        lines.append(&mut sorted);
        let mut head = format!("CONNECT {} HTTP/1.1\r\n", self.target).into_bytes();
        for (name, value) in lines {
            for part in [name, ": ", value, "\r\n"] {
                head.extend_from_slice(part.as_bytes());
            }
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    /// Prepares the next answer to what the proxy wants.
    fn log_in(&mut self, offered: &[Challenge], keep_alive: bool) -> Result<(), UpstreamError> {
        let Some(credentials) = &self.credentials else { return Err(UpstreamError::LoginWanted) };
        let best = offered.iter().filter(|one| one.scheme().is_some()).min_by_key(|one| one.scheme());
        let Some((challenge, scheme)) = best.and_then(|one| Some((one, one.scheme()?))) else {
            let names: Vec<String> = offered.iter().map(|one| one.name.chars().take(32).collect()).collect();
            let wanted = if names.is_empty() { "none is named".to_owned() } else { names.join(", ") };
            return Err(UpstreamError::LoginUnsupported { wanted });
        };
        let (value, tried) = match (scheme, self.tried) {
            (AuthScheme::Ntlm, Tried::Nothing) => {
                (format!("NTLM {}", BASE64.encode(&ntlm::negotiate())), Tried::Negotiated)
            }
            (AuthScheme::Ntlm, Tried::Negotiated) => {
                let token = challenge.token.as_deref().filter(|_| keep_alive);
                // Without a challenge to the first message the account was refused before it was named.
                let token = token.ok_or(UpstreamError::LoginRefused)?;
                (format!("NTLM {}", ntlm_answer(token, credentials, &self.fresh)?), Tried::All)
            }
            (AuthScheme::Digest, Tried::Nothing) => {
                (digest::answer(challenge, credentials, &self.target, &self.fresh.random)?, Tried::Digest)
            }
            (AuthScheme::Digest, Tried::Digest) if digest::is_stale(challenge) => {
                (digest::answer(challenge, credentials, &self.target, &self.fresh.random)?, Tried::All)
            }
            (AuthScheme::Basic, Tried::Nothing) => (basic(credentials), Tried::All),
            _ => return Err(UpstreamError::LoginRefused),
        };
        self.authorization = Some(Zeroizing::new(value));
        self.tried = tried;
        Ok(())
    }
}

/// RFC 7617 section 2.
pub(in crate::upstream) fn basic(credentials: &Credentials) -> String {
    let pair = [credentials.user.as_str(), ":", credentials.password.as_str()].concat();
    format!("Basic {}", BASE64.encode(Zeroizing::new(pair).as_bytes()))
}

fn ntlm_answer(token: &str, credentials: &Credentials, fresh: &Fresh) -> Result<String, UpstreamError> {
    let bad = BadReply::Challenge("NTLM");
    let bytes = BASE64.decode(token.as_bytes()).map_err(|_| bad)?;
    let challenge = ServerChallenge::parse(&bytes).map_err(|_| bad)?;
    let account = Account::new(&credentials.user, &credentials.password);
    let client_challenge = *fresh.random.first_chunk().ok_or(UpstreamError::Random)?;
    let responses = challenge.respond(account, client_challenge, fresh.now);
    Ok(BASE64.encode(&ntlm::authenticate(&challenge, account, &responses)))
}

/// Takes the head of a response, if it is there.
fn reply(received: &mut BytesMut) -> Result<Option<Reply>, UpstreamError> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let len = match response.parse(received) {
            Ok(httparse::Status::Complete(len)) if len <= MAX_HEAD => len,
            Ok(httparse::Status::Partial) if received.len() <= MAX_HEAD => return Ok(None),
            _ => return Err(BadReply::Http.into()),
        };
        match response.code.ok_or(BadReply::Http)? {
            101 => return Err(BadReply::Http.into()),
            // RFC 9110 section 15.2.
            100..200 => received.advance(len),
            // RFC 9110 section 9.3.6: whatever its headers say, there is no body.
            200..300 => {
                received.advance(len);
                return Ok(Some(Reply::Connected));
            }
            WANTS_LOGIN => {
                let values = |name: &'static str| {
                    let named =
                        response.headers.iter().filter(move |one| one.name.eq_ignore_ascii_case(name));
                    named.filter_map(|one| std::str::from_utf8(one.value).ok())
                };
                let offered = values("Proxy-Authenticate").flat_map(challenges).collect();
                // What older proxies say instead of Connection.
                let hangs_up =
                    values("Proxy-Connection").any(|value| value.trim().eq_ignore_ascii_case("close"));
                let head = ResponseHead::take(received, "").map_err(|_| BadReply::Http)?;
                let head = head.ok_or(BadReply::Http)?;
                let keep_alive = head.keep_alive && !hangs_up;
                return Ok(Some(Reply::WantsLogin { offered, body: head.body, keep_alive }));
            }
            status => return Err(Refusal::Status(status).into()),
        }
    }
}
