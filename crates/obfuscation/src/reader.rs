//! The server's incremental reader of a client's first bytes, with or without a prefix. Bounded: it holds at
//! most [`MAX_KEPT`] bytes, and costs a stranger's connection one terminator and, when the caller has allowed
//! it, one key derivation. What to do on failure (drain in silence), how many derivations strangers may cause
//! and the replay history are the caller's. Source: `PROTOCOL.md` 2.4, 2.5.

use std::fmt;

use crate::preamble::{MAGIC, MAX_PADDING, PREFIX_HEADER_VERSION};
use crate::prefix::{MAX_PREFIX_NAME_LEN, PrefixError, PrefixName, TerminatorSearch};
use crate::{Derivation, Derived, Direction, Keystream, Keyword, ObfuscatorSeed, SEED_LEN, Seed};

/// Seed, magic and padding length (`PROTOCOL.md` 2.1).
const FIXED_LEN: usize = ObfuscatorSeed::LEN + 8;
/// Version and length of the name (`PROTOCOL.md` 2.5).
const PREFIX_HEADER_LEN: usize = 4;

/// What a client's preamble told, and the streams that continue behind it.
pub struct ServerPreamble {
    /// The seed, which the caller must have checked against its history of seeds.
    pub seed: ObfuscatorSeed,
    /// What the server draws its own padding from; `None` from old clients, for which it takes a random one.
    pub padding_seed: Option<Seed>,
    /// Bytes of padding that the client sent, for reports.
    pub padding_len: usize,
    /// Present when the client sent a prefix: the server then answers with the prefix of this name.
    pub prefix: Option<PrefixName>,
    /// Reveals what follows from the client.
    pub from_client: Keystream,
    /// Hides what the server sends, behind its prefix if it sends one.
    pub to_client: Keystream,
}

impl fmt::Debug for ServerPreamble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerPreamble")
            .field("padding_seed", &self.padding_seed.is_some())
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// Why the bytes are no preamble. Always the peer's doing; nothing may be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PreambleError {
    /// The peer does not know the keyword, and prefixes are not accepted or one was removed already.
    #[error("the peer sent no valid obfuscation magic: it does not know the keyword")]
    Magic,
    /// The peer does not know the keyword: neither magic nor a prefix's end was found.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// The peer knows the keyword but sent nonsense.
    #[error("the peer announced {0} bytes of obfuscation padding; at most {MAX_PADDING} are allowed")]
    PaddingLength(i32),
    /// The peer's prefix header is of a version this program does not know.
    #[error("the peer sent a prefix header of version {0}; only {PREFIX_HEADER_VERSION} is known")]
    PrefixVersion(u16),
    /// The reader had failed or finished before and was pushed to again: a bug of the caller.
    #[error("bytes were given to a preamble reader that had already ended")]
    Ended,
}

/// Bytes that a reader keeps at most while its derivation is put off. More than any client sends before it is
/// answered; who sends more is only searched for a prefix's end.
pub const MAX_KEPT: usize = 16 * 1024;

/// Reads one preamble from bytes as they arrive.
///
/// The key derivation costs some thousand times what all else here does, so it is a step of its own:
/// [`Self::receive`] says when one is due, and the caller allows it with [`Self::judge`], now or later, or
/// declines it with [`Self::dismiss`]. Meanwhile bytes are received as before. [`Self::push`] is for callers
/// that need not care.
pub struct PreambleReader {
    keyword: Keyword,
    prefix: PrefixState,
    /// What was received and is not done with.
    kept: Vec<u8>,
    state: State,
    authenticated: Option<ObfuscatorSeed>,
    /// Hides what will be sent, if its key came with the other direction's.
    to_client: Option<Box<Keystream>>,
    padding_len: usize,
}

/// What became of the bytes so far.
#[derive(Debug)]
pub enum PreambleProgress {
    /// They are the beginning of a preamble, or may be.
    Incomplete,
    /// Whether they are can only be told by a key derivation.
    Due(Evidence),
    /// They are a preamble; what was received behind it is had from [`PreambleReader::into_rest`].
    Complete(Box<ServerPreamble>),
}

/// What speaks for the peer before its derivation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// Nothing: anybody can send such bytes.
    Nothing,
    /// A prefix with its terminator, which only somebody with the keyword can have made, though anybody can
    /// repeat it.
    Terminator,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PrefixState {
    Refused,
    Possible,
    Removed,
}

enum State {
    Fixed,
    /// The fixed part is there; the search, if a prefix is possible, has seen all that is kept.
    Due(Option<TerminatorSearch>),
    Prefix(TerminatorSearch),
    Padding {
        stream: Keystream,
        len: usize,
    },
    PrefixHeader {
        stream: Keystream,
        padding_seed: Option<Seed>,
    },
    PrefixName {
        stream: Keystream,
        padding_seed: Option<Seed>,
        len: usize,
    },
    Ended,
}

impl PreambleReader {
    /// A reader that accepts a prefix, as for SSH tunnels.
    #[must_use]
    pub fn new(keyword: Keyword) -> Self {
        Self::start(keyword, PrefixState::Possible)
    }

    /// A reader for the other uses of the format, which know no prefix (`PROTOCOL.md` 2.4).
    #[must_use]
    pub fn without_prefix(keyword: Keyword) -> Self {
        Self::start(keyword, PrefixState::Refused)
    }

    fn start(keyword: Keyword, prefix: PrefixState) -> Self {
        Self {
            keyword,
            prefix,
            kept: Vec::new(),
            state: State::Fixed,
            authenticated: None,
            to_client: None,
            padding_len: 0,
        }
    }

    /// The seed, once the magic proved that the peer knows the keyword. The caller puts it into its history of
    /// seeds as soon as it is there, whether or not the rest turns out well, and treats a repetition as a failure
    /// (`PROTOCOL.md` 2.4).
    #[must_use]
    pub fn authenticated_seed(&self) -> Option<ObfuscatorSeed> {
        self.authenticated
    }

    /// The seed of the derivation that is due. A caller that knows it already may decline the derivation, since
    /// no good preamble has it; it proves nothing, and it may be the beginning of a prefix.
    #[must_use]
    pub fn claimed_seed(&self) -> Option<ObfuscatorSeed> {
        match self.state {
            State::Due(_) => self.kept.first_chunk().copied().map(ObfuscatorSeed::from_bytes),
            _ => None,
        }
    }

    /// Takes the next bytes, all of them.
    ///
    /// # Errors
    /// The bytes are no preamble. The reader has ended then.
    pub fn receive(&mut self, input: &[u8]) -> Result<PreambleProgress, PreambleError> {
        // Until a step succeeds the reader counts as ended, which makes every error final.
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => return Err(PreambleError::Ended),
            State::Prefix(search) => {
                let rest = self.search_prefix(search, input)?;
                self.kept.extend_from_slice(rest);
            }
            State::Due(search) => {
                let before = self.kept.len();
                self.kept.extend_from_slice(input);
                self.wait(search, before)?;
            }
            state => {
                self.kept.extend_from_slice(input);
                self.state = state;
            }
        }
        self.advance()
    }

    /// The derivation that is due, to be finished together with others and given to [`Self::judge_with`].
    #[must_use]
    pub fn derivation(&self) -> Option<Derivation> {
        self.claimed_seed().map(|seed| Derivation::new(&self.keyword, seed))
    }

    /// Does the derivation that is due, and goes on with what was kept. Without effect when none is.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn judge(&mut self) -> Result<PreambleProgress, PreambleError> {
        match self.derivation().and_then(|due| Derivation::finish(&[due]).pop()) {
            Some(derived) => self.judge_with(derived),
            None => self.advance(),
        }
    }

    /// Goes on with what came of the derivation that is due. Without effect when it is another's.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn judge_with(&mut self, derived: Derived) -> Result<PreambleProgress, PreambleError> {
        if self.claimed_seed() == Some(derived.seed) {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Due(search) => self.complete_fixed(search, derived)?,
                state => self.state = state,
            }
        }
        self.advance()
    }

    /// Declines the derivation that is due: the bytes count as no preamble, though they may still begin a prefix.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn dismiss(&mut self) -> Result<PreambleProgress, PreambleError> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Due(search) => self.expect_prefix(search)?,
            state => self.state = state,
        }
        self.advance()
    }

    /// Takes the next bytes and derives as soon as it is due. Returns how many were consumed, and the preamble when
    /// it ended there; what follows is the client's identification line. All are consumed while there is no
    /// preamble.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn push(&mut self, input: &[u8]) -> Result<(usize, Option<ServerPreamble>), PreambleError> {
        /// Keeps copies small when there is much input.
        const PIECE: usize = 4096;
        let mut consumed = 0;
        // At least once, so that an ended reader says so.
        while consumed < input.len() || matches!(self.state, State::Ended) {
            let rest = input.get(consumed..).unwrap_or_default();
            let piece = rest.get(..PIECE).unwrap_or(rest);
            let mut progress = self.receive(piece)?;
            consumed += piece.len();
            while let PreambleProgress::Due(_) = progress {
                progress = self.judge()?;
            }
            if let PreambleProgress::Complete(preamble) = progress {
                return Ok((consumed.saturating_sub(self.kept.len()), Some(*preamble)));
            }
        }
        Ok((consumed, None))
    }

    /// What was received behind the preamble.
    #[must_use]
    pub fn into_rest(self) -> Vec<u8> {
        self.kept
    }

    /// Goes on with what is kept, as far as it reaches.
    fn advance(&mut self) -> Result<PreambleProgress, PreambleError> {
        loop {
            match &self.state {
                State::Due(_) => {
                    let proven = self.prefix == PrefixState::Removed;
                    let evidence = if proven { Evidence::Terminator } else { Evidence::Nothing };
                    return Ok(PreambleProgress::Due(evidence));
                }
                state if self.kept.len() < state.part_len() => return Ok(PreambleProgress::Incomplete),
                State::Prefix(_) if self.kept.is_empty() => return Ok(PreambleProgress::Incomplete),
                _ => {}
            }
            if let Some(preamble) = self.complete_part()? {
                return Ok(PreambleProgress::Complete(Box::new(preamble)));
            }
        }
    }

    /// The derivation is due: looks for the end of a prefix in the bytes kept since `before`. That costs next to
    /// nothing, and where it succeeds the derivation of these bytes is saved.
    fn wait(&mut self, search: Option<TerminatorSearch>, before: usize) -> Result<(), PreambleError> {
        let Some(mut search) = search else {
            if self.kept.len() > MAX_KEPT {
                return Err(PreambleError::Magic);
            }
            self.state = State::Due(None);
            return Ok(());
        };
        let (used, found) = search.push(self.kept.get(before..).unwrap_or_default())?;
        if found {
            self.prefix = PrefixState::Removed;
            self.kept.drain(..before + used);
            self.state = State::Fixed;
        } else if self.kept.len() > MAX_KEPT {
            self.expect_prefix(Some(search))?;
        } else {
            self.state = State::Due(Some(search));
        }
        Ok(())
    }

    /// Returns what follows the prefix, if it ends in `input`.
    fn search_prefix<'i>(
        &mut self,
        mut search: TerminatorSearch,
        input: &'i [u8],
    ) -> Result<&'i [u8], PreambleError> {
        let (used, found) = search.push(input)?;
        if !found {
            self.state = State::Prefix(search);
            return Ok(&[]);
        }
        self.prefix = PrefixState::Removed;
        self.state = State::Fixed;
        Ok(input.get(used..).unwrap_or_default())
    }

    /// The part that the state waits for is whole.
    fn complete_part(&mut self) -> Result<Option<ServerPreamble>, PreambleError> {
        let state = std::mem::replace(&mut self.state, State::Ended);
        if let State::Fixed = state {
            let search = (self.prefix == PrefixState::Possible)
                .then(|| TerminatorSearch::new(self.keyword.clone(), Direction::ClientToServer));
            self.wait(search, 0)?;
            return Ok(None);
        }
        let mut part = self.take(state.part_len());
        match state {
            State::Padding { mut stream, .. } => {
                stream.apply(&mut part);
                self.padding_len = part.len();
                // `PROTOCOL.md` 2.4: shorter padding comes from old clients and gives no seed.
                let padding_seed = part.first_chunk::<SEED_LEN>().map(|bytes| Seed::from_bytes(*bytes));
                if self.prefix != PrefixState::Removed {
                    return self.complete(stream, padding_seed, None).map(Some);
                }
                self.state = State::PrefixHeader { stream, padding_seed };
            }
            State::PrefixHeader { mut stream, padding_seed } => {
                stream.apply(&mut part);
                let len = parse_prefix_header(&part)?;
                self.state = State::PrefixName { stream, padding_seed, len };
            }
            State::PrefixName { mut stream, padding_seed, .. } => {
                stream.apply(&mut part);
                let name = PrefixName::new(part)?;
                return self.complete(stream, padding_seed, Some(name)).map(Some);
            }
            State::Fixed | State::Due(_) | State::Prefix(_) | State::Ended => {
                return Err(PreambleError::Ended);
            }
        }
        Ok(None)
    }

    /// Removes the first bytes that are kept.
    fn take(&mut self, len: usize) -> Vec<u8> {
        let rest = self.kept.split_off(len.min(self.kept.len()));
        std::mem::replace(&mut self.kept, rest)
    }

    fn complete_fixed(
        &mut self,
        search: Option<TerminatorSearch>,
        derived: Derived,
    ) -> Result<(), PreambleError> {
        let Derived { seed, to_server: mut stream, to_client } = derived;
        let hidden = self.kept.get(ObfuscatorSeed::LEN..).and_then(<[u8]>::first_chunk);
        let mut revealed: [u8; 8] = *hidden.ok_or(PreambleError::Ended)?;
        stream.apply(&mut revealed);
        let word = u64::from_be_bytes(revealed);
        // `PROTOCOL.md` 2.4: the magic before the length, or probes could learn from the difference.
        if (word >> 32) as u32 != MAGIC {
            return self.expect_prefix(search);
        }
        self.take(FIXED_LEN);
        (self.authenticated, self.to_client) = (Some(seed), to_client.map(Box::new));
        let len = (word as u32).cast_signed();
        match usize::try_from(len) {
            Ok(len) if len <= MAX_PADDING => self.state = State::Padding { stream, len },
            _ => return Err(PreambleError::PaddingLength(len)),
        }
        Ok(())
    }

    /// What was read is no preamble: then it may be the start of a prefix, unless one was removed already.
    fn expect_prefix(&mut self, search: Option<TerminatorSearch>) -> Result<(), PreambleError> {
        // The search has seen what is kept.
        self.kept = Vec::new();
        self.state = State::Prefix(search.ok_or(PreambleError::Magic)?);
        Ok(())
    }

    fn complete(
        &mut self,
        from_client: Keystream,
        padding_seed: Option<Seed>,
        prefix: Option<PrefixName>,
    ) -> Result<ServerPreamble, PreambleError> {
        let seed = self.authenticated.ok_or(PreambleError::Ended)?;
        let later = || Keystream::derive(&self.keyword, &seed, Direction::ServerToClient);
        let to_client = self.to_client.take().map_or_else(later, |stream| *stream);
        let padding_len = self.padding_len;
        Ok(ServerPreamble { seed, padding_seed, padding_len, prefix, from_client, to_client })
    }
}

impl State {
    const fn part_len(&self) -> usize {
        match self {
            Self::Fixed => FIXED_LEN,
            Self::Padding { len, .. } | Self::PrefixName { len, .. } => *len,
            Self::PrefixHeader { .. } => PREFIX_HEADER_LEN,
            Self::Due(_) | Self::Prefix(_) | Self::Ended => 0,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Fixed => "fixed part",
            Self::Due(_) => "derivation due",
            Self::Prefix(_) => "prefix",
            Self::Padding { .. } => "padding",
            Self::PrefixHeader { .. } => "prefix header",
            Self::PrefixName { .. } => "prefix name",
            Self::Ended => "ended",
        }
    }
}

impl fmt::Debug for PreambleReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreambleReader")
            .field("state", &self.state.name())
            .field("kept", &self.kept.len())
            .finish_non_exhaustive()
    }
}

/// Returns the length of the name that follows.
fn parse_prefix_header(part: &[u8]) -> Result<usize, PreambleError> {
    let Some([v0, v1, n0, n1]) = part.first_chunk() else { return Err(PreambleError::Ended) };
    let version = u16::from_be_bytes([*v0, *v1]);
    if version != PREFIX_HEADER_VERSION {
        return Err(PreambleError::PrefixVersion(version));
    }
    let len = usize::from(u16::from_be_bytes([*n0, *n1]));
    if len > MAX_PREFIX_NAME_LEN {
        return Err(PrefixError::NameTooLong { len }.into());
    }
    Ok(len)
}

#[cfg(test)]
mod tests;
