//! Targets of the `tls` crate.

use std::sync::Arc;
use std::time::Duration;

use culvert_obfuscation::Seed;
use culvert_tls::{
    ClientHandshake, ClientSettings, Fresh, HelloEdits, HelloMessage, Profile, Split, TicketSecret,
    TicketState, Verify, profiles, server_name_offset,
};

const RANDOM: [u8; 32] = [7; 32];

/// A whole ClientHello message.
pub(crate) fn hello_message(data: &[u8]) {
    let Ok(hello) = HelloMessage::read(data) else {
        assert_eq!(server_name_offset(data), None, "a name in what is no hello");
        return;
    };
    assert_eq!(hello.random.as_slice(), &data[6..38], "the random is elsewhere");
    if let Some(offset) = server_name_offset(data) {
        assert!(offset < data.len(), "a cut behind the end");
    }
}

/// What a ticket holds.
pub(crate) fn ticket_state(data: &[u8]) {
    let Some(state) = TicketState::parse(data) else { return };
    let secret = TicketSecret::new(&RANDOM);
    let ticket = secret.seal([1; 16], &state, 40).expect("a secret that was read fits");
    assert_eq!(secret.read(&ticket), Some(state), "written and read again it is another");
}

/// A profile's text; what is read must make a hello with its extensions.
pub(crate) fn profile(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(profile) = Profile::parse(text) else { return };
    let Ok((_, flight)) = start(profile) else { return };
    let message = flight.get(5..).unwrap_or_default();
    // What is longer than a record is refused by whoever dials.
    if let Ok(hello) = HelloMessage::read(message) {
        assert_eq!(*hello.random, RANDOM, "not the random that was asked for");
    }
}

/// What a server answers to a ClientHello.
pub(crate) fn answer(data: &[u8]) {
    let profile = profiles::named("Firefox-105").expect("it is one of ours");
    let Ok((mut handshake, _)) = start(Profile::clone(&profile)) else { return };
    let mut received = data.to_vec();
    // Nobody without the keys completes a handshake.
    if let Ok(progress) = handshake.advance(&mut received, |_| {}) {
        assert_eq!(progress, culvert_tls::Progress::Waiting);
    }
}

fn start(profile: Profile) -> Result<(ClientHandshake, Vec<u8>), culvert_tls::HandshakeError> {
    let settings = ClientSettings {
        profile: Arc::new(profile),
        edits: HelloEdits { server_name: Some("www.example.org".to_owned()), ..HelloEdits::default() },
        split: Split::Whole,
        verify: Verify::Skip,
        ticket_secret: None,
    };
    let fresh =
        Fresh { random: RANDOM, seed: Seed::from_bytes(RANDOM), now: Duration::from_secs(1_700_000_000) };
    let mut handshake = ClientHandshake::new(&settings, &fresh)?;
    let mut flight = Vec::new();
    handshake.advance(&mut Vec::new(), |record| flight.extend(record))?;
    Ok((handshake, flight))
}
