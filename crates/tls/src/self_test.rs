//! Proves that rustls still lets itself be led: a client of ours and a server of ours shake hands in memory, once with a pre-shared key, and what goes over the
//! wire is what was asked for. Run before the first dial, because a hello that looks otherwise would give its sender away.

use std::time::Duration;

use culvert_obfuscation::Seed;

use crate::client::{ClientHandshake, ClientSettings, Fresh, Split};
use crate::handshake::{HandshakeError, Progress};
use crate::hello::{HelloEdits, HelloMessage, number};
use crate::server::{Server, ServerSettings, Versions};
use crate::ticket::TicketSecret;
use crate::verify::Verify;
use crate::{Content, profiles};

/// The profile with the most in it.
const PROFILE: &str = "Chrome-112_PSK";
const NAME: &str = "www.example.org";
const RANDOM: [u8; 32] = [0x5A; 32];
const NOW: Duration = Duration::from_secs(1_700_000_000);
const DATA: &[u8] = b"data";

/// A bug of ours, or a library that is not the one this was written for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this version's TLS does not look as it should ({0}); no TLS connection is made")]
pub struct SelfTestFailed(String);

/// Runs the test: some milliseconds.
///
/// # Errors
/// TLS must not be dialed.
pub fn self_test() -> Result<(), SelfTestFailed> {
    run().map_err(|error| SelfTestFailed(error.to_string()))
}

fn run() -> Result<(), HandshakeError> {
    let secret = TicketSecret::new(&RANDOM);
    let profile = profiles::named(PROFILE).ok_or(HandshakeError::NotChosen)?;
    let settings = ClientSettings {
        profile,
        edits: HelloEdits { server_name: Some(NAME.to_owned()), ..HelloEdits::default() },
        split: Split::Whole,
        verify: Verify::Skip,
        ticket_secret: Some(secret.clone()),
    };
    let server = Server::new(ServerSettings {
        name: NAME.to_owned(),
        alpn: vec![b"http/1.1".to_vec()],
        versions: Versions::Only13,
        ticket_secret: Some(secret),
    });
    let server = server.map_err(|_| HandshakeError::NotChosen)?;
    let fresh = Fresh { random: RANDOM, seed: Seed::from_bytes(RANDOM), now: NOW };
    let mut client = ClientHandshake::new(&settings, &fresh)?;
    let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
    client.advance(&mut to_client, |record| to_server.extend(record))?;
    let hello = to_server.get(crate::HEADER..).unwrap_or_default().to_vec();
    let hello = HelloMessage::read(&hello).map_err(|_| HandshakeError::NotChosen)?;
    let as_asked = hello.random == &RANDOM
        && hello.extension(number::SERVER_NAME).is_some_and(|name| name.ends_with(NAME.as_bytes()))
        && hello.extensions.last().is_some_and(|(kind, _)| *kind == number::PRE_SHARED_KEY)
        && hello.extensions.len() == settings.profile.extensions.len();
    if !as_asked {
        return Err(HandshakeError::NotChosen);
    }
    let mut accepting = server.accept(&hello, NOW)?;
    accepting.advance(&mut to_server, |record| to_client.extend(record))?;
    let client_done = client.advance(&mut to_client, |record| to_server.extend(record))?;
    let server_done = accepting.advance(&mut to_server, |record| to_client.extend(record))?;
    if [client_done, server_done] != [Progress::Done; 2] {
        return Err(HandshakeError::NotChosen);
    }
    let (mut client, mut server) = (client.finish()?, accepting.finish()?);
    let mut wire = Vec::new();
    client.records.seal(DATA, &mut wire).map_err(|_| HandshakeError::NotChosen)?;
    let opened = server.records.open(&mut wire).map_err(|_| HandshakeError::NotChosen)?;
    let received = match opened.map(|opened| opened.content) {
        Some(Content::Data(range)) => wire.get(range) == Some(DATA),
        _ => false,
    };
    if received && client.resumed { Ok(()) } else { Err(HandshakeError::NotChosen) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_version_is_as_it_should_be() {
        assert_eq!(super::self_test(), Ok(()));
    }
}
