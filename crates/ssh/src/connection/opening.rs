//! Everything before the first packet: preamble, prefixes, identification lines.
//!
//! The client speaks first. A server that expects obfuscation sends nothing at all until it has read a
//! valid, unused preamble: whoever cannot make one learns nothing.
//!
//! Source: RFC 4253 section 4.2; PROTOCOL.md 2.3 to 2.7.

use std::time::{Duration, Instant};

use culvert_obfuscation::{
    Direction, Keyword, PaddingStyle, PaddingUse, PreambleError, PreambleReader, Seed, ServerOpening,
    ServerPreamble, TerminatorSearch,
};

use super::{Connection, Side};
use crate::config::{Admit, Preamble, PreambleFacts, ServerObfuscation};
use crate::error::Error;
use crate::event::Event;
use crate::ident::IdentReader;
use crate::outbound::Obfuscation;

/// Time that a split prefix is held back at most; longer values are a mistake in a plan.
const MAX_SPLIT_DELAY: Duration = Duration::from_secs(30);

/// Both directions of the opening.
#[derive(Default)]
pub(super) struct Opening {
    reading: Reading,
    writing: Writing,
}

/// What the next input is.
enum Reading {
    Preamble(Box<Expected>),
    Prefix(Box<TerminatorSearch>),
    Ident(IdentReader),
    Packets,
}

/// A preamble that is still to be read.
struct Expected {
    reader: PreambleReader,
    admit: Box<Admit>,
    answer: Answer,
}

/// What a server needs to answer a preamble.
struct Answer {
    keyword: Keyword,
    fallback_seed: Seed,
}

impl Default for Reading {
    fn default() -> Self {
        Self::Ident(IdentReader::default())
    }
}

/// What must be written before, and apart from, everything else.
#[derive(Default)]
enum Writing {
    /// The split part of a prefix, and the pause behind it.
    Split(Vec<u8>, Duration),
    /// The pause.
    Held(Instant),
    #[default]
    Free,
}

impl Opening {
    pub(super) fn is_done(&self) -> bool {
        matches!(self.reading, Reading::Packets)
    }

    pub(super) fn held_until(&self) -> Option<Instant> {
        match self.writing {
            Writing::Held(until) => Some(until),
            Writing::Split(..) | Writing::Free => None,
        }
    }

    pub(super) fn release(&mut self, now: Instant) {
        if self.held_until().is_some_and(|until| until <= now) {
            self.writing = Writing::Free;
        }
    }

    /// What must be written before, and apart from, everything else: nothing at all while it is held back.
    pub(super) fn output(&self) -> Option<&[u8]> {
        match &self.writing {
            Writing::Split(bytes, _) => Some(bytes),
            Writing::Held(_) => Some(&[]),
            Writing::Free => None,
        }
    }

    /// Notes that bytes of [`Self::output`] were written; false when they were not of the opening.
    pub(super) fn advance(&mut self, written: usize, now: Instant) -> bool {
        match &mut self.writing {
            Writing::Split(bytes, delay) => {
                bytes.drain(..written.min(bytes.len()));
                if bytes.is_empty() {
                    let until = now.checked_add((*delay).min(MAX_SPLIT_DELAY)).unwrap_or(now);
                    self.writing = Writing::Held(until);
                }
                true
            }
            Writing::Held(_) => true,
            Writing::Free => false,
        }
    }
}

impl Connection {
    pub(super) fn open_as_client(&mut self) {
        let Side::Client(config) = &mut self.side else { return };
        if let Some(obfuscation) = config.obfuscation.take() {
            let preamble = obfuscation.preamble;
            self.write_opening(&preamble.bytes, preamble.first_write, preamble.split_delay);
            if preamble.expect_prefix {
                let search = TerminatorSearch::new(obfuscation.keyword, Direction::ServerToClient);
                self.opening.reading = Reading::Prefix(Box::new(search));
            }
            self.inbound.deobfuscate(preamble.from_server);
            self.outbound.obfuscate(Obfuscation {
                keystream: preamble.to_server,
                padding: PaddingUse::Handshake.prng(&obfuscation.padding_seed),
                style: PaddingStyle::Any,
            });
        }
        self.send_identification();
    }

    pub(super) fn open_as_server(&mut self) {
        let Side::Server(config) = &mut self.side else { return };
        let Some(obfuscation) = config.obfuscation.take() else { return self.send_identification() };
        let ServerObfuscation { keyword, fallback_seed, preamble } = obfuscation;
        let answer = Answer { keyword, fallback_seed };
        match preamble {
            Preamble::Expected { admit } => {
                let reader = PreambleReader::new(answer.keyword.clone());
                self.opening.reading = Reading::Preamble(Box::new(Expected { reader, admit, answer }));
            }
            Preamble::Read(preamble) => self.on_preamble(*preamble, &answer),
        }
    }

    /// The identification, and KEXINIT behind it: neither side needs to see the other's first.
    fn send_identification(&mut self) {
        let line = self.side.ident().line();
        self.outbound.text(&line);
        self.start_exchange();
    }

    /// Puts bytes in front of everything, split after `first_write`.
    fn write_opening(&mut self, bytes: &[u8], first_write: usize, delay: Duration) {
        let (first, rest) = bytes.split_at(first_write.min(bytes.len()));
        if rest.is_empty() {
            self.outbound.ready.push(first);
        } else {
            self.opening.writing = Writing::Split(first.to_vec(), delay);
            self.outbound.ready.push(rest);
        }
    }

    /// One step of the opening; returns the bytes that were used up.
    pub(super) fn continue_opening(&mut self, input: &mut [u8], _now: Instant) -> Result<usize, Error> {
        match &mut self.opening.reading {
            Reading::Preamble(_) => self.continue_preamble(input),
            Reading::Prefix(search) => {
                let (consumed, found) =
                    search.push(input).map_err(|error| Error::Preamble(PreambleError::from(error)))?;
                if found {
                    self.opening.reading = Reading::default();
                }
                Ok(consumed)
            }
            Reading::Ident(reader) => {
                for (index, byte) in input.iter_mut().enumerate() {
                    self.inbound.text(byte);
                    if let Some(ident) = reader.push(*byte)? {
                        self.outbound.set_padding_style(PaddingStyle::for_peer(ident.as_bytes()));
                        self.peer_ident = Some(ident);
                        self.opening.reading = Reading::Packets;
                        return Ok(index + 1);
                    }
                }
                Ok(input.len())
            }
            Reading::Packets => Ok(0),
        }
    }

    /// Feeds the preamble reader. The seed enters the history as soon as the magic proves it, whatever
    /// becomes of the rest. PROTOCOL.md 2.4.
    fn continue_preamble(&mut self, input: &[u8]) -> Result<usize, Error> {
        let Reading::Preamble(expected) = &mut self.opening.reading else { return Ok(0) };
        let known_before = expected.reader.authenticated_seed().is_some();
        let result = expected.reader.push(input).map_err(Error::Preamble);
        if let Some(seed) = expected.reader.authenticated_seed()
            && !known_before
            && !(expected.admit)(&seed)
        {
            return Err(Error::Replayed);
        }
        let (consumed, preamble) = result?;
        if let Some(preamble) = preamble
            && let Reading::Preamble(expected) = std::mem::take(&mut self.opening.reading)
        {
            self.on_preamble(preamble, &expected.answer);
        }
        Ok(consumed)
    }

    /// A stranger could not have made this preamble: answer it.
    fn on_preamble(&mut self, mut preamble: ServerPreamble, answer: &Answer) {
        let Side::Server(config) = &mut self.side else { return };
        let padding_seed = preamble.padding_seed.as_ref().unwrap_or(&answer.fallback_seed).clone();
        let mut padding = PaddingUse::Handshake.prng(&padding_seed);
        let mut opening = ServerOpening::new(&mut padding, &mut preamble.to_client);
        let facts = PreambleFacts::of(&preamble, opening.bytes.len());
        if let Some(name) = &preamble.prefix {
            let reply = (config.decisions.reply_prefix)(name, &padding_seed);
            opening = opening.with_prefix(&answer.keyword, &reply.prefix, reply.split);
        }
        self.write_opening(&opening.bytes, opening.first_write, opening.split_delay);
        self.inbound.deobfuscate(preamble.from_client);
        self.outbound.obfuscate(Obfuscation {
            keystream: preamble.to_client,
            padding,
            style: PaddingStyle::Any,
        });
        self.events.push_back(Event::Preamble(facts));
        self.send_identification();
    }
}
