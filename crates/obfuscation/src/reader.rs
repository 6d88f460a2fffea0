//! The server's incremental reader of a client's first bytes, with or without a prefix. Bounded: it holds at
//! most one padding and one name, and costs a stranger's connection one key derivation and one terminator.
//! What to do on failure (drain in silence) and the replay history are the caller's. Source: `PROTOCOL.md` 2.4, 2.5.

use std::fmt;

use crate::preamble::{MAGIC, MAX_PADDING, PREFIX_HEADER_VERSION};
use crate::prefix::{MAX_PREFIX_NAME_LEN, PrefixError, PrefixName, TerminatorSearch};
use crate::{Direction, Keystream, Keyword, ObfuscatorSeed, SEED_LEN, Seed};

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

/// Reads one preamble from bytes as they arrive.
pub struct PreambleReader {
    keyword: Keyword,
    prefix: PrefixState,
    /// The bytes of the part that is being read; never more than that part.
    part: Vec<u8>,
    state: State,
    authenticated: Option<ObfuscatorSeed>,
    padding_len: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PrefixState {
    Refused,
    Possible,
    Removed,
}

enum State {
    Fixed,
    Prefix(TerminatorSearch),
    Padding { stream: Keystream, len: usize },
    PrefixHeader { stream: Keystream, padding_seed: Option<Seed> },
    PrefixName { stream: Keystream, padding_seed: Option<Seed>, len: usize },
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
            part: Vec::with_capacity(FIXED_LEN),
            state: State::Fixed,
            authenticated: None,
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

    /// Takes the next bytes. Returns how many were consumed, and the preamble when it ended there; what follows
    /// is the client's identification line. All are consumed while there is no preamble.
    ///
    /// # Errors
    /// The bytes are no preamble. The reader has ended then.
    pub fn push(&mut self, input: &[u8]) -> Result<(usize, Option<ServerPreamble>), PreambleError> {
        let mut consumed = 0;
        loop {
            let rest = input.get(consumed..).unwrap_or_default();
            // Until the step succeeds the reader counts as ended, which makes every error final.
            let state = std::mem::replace(&mut self.state, State::Ended);
            let (used, next) = match state {
                State::Prefix(search) => self.search_prefix(search, rest)?,
                State::Ended => return Err(PreambleError::Ended),
                state => match self.collect(&state, rest) {
                    Some(used) => (used, self.complete_part(state)?),
                    None => (rest.len(), Next::Wait(state)),
                },
            };
            consumed += used;
            match next {
                Next::Wait(state) => {
                    self.state = state;
                    return Ok((consumed, None));
                }
                Next::Continue(state) => self.state = state,
                Next::Complete(preamble) => return Ok((consumed, Some(*preamble))),
            }
        }
    }

    /// Fills up the part that `state` reads. Returns how many bytes that took, or `None` while it is not whole.
    fn collect(&mut self, state: &State, input: &[u8]) -> Option<usize> {
        let missing = state.part_len().saturating_sub(self.part.len());
        match input.get(..missing) {
            Some(enough) => {
                self.part.extend_from_slice(enough);
                Some(missing)
            }
            None => {
                self.part.extend_from_slice(input);
                None
            }
        }
    }

    fn search_prefix(
        &mut self,
        mut search: TerminatorSearch,
        input: &[u8],
    ) -> Result<(usize, Next), PreambleError> {
        let (used, found) = search.push(input)?;
        if !found {
            return Ok((used, Next::Wait(State::Prefix(search))));
        }
        self.prefix = PrefixState::Removed;
        Ok((used, Next::Continue(State::Fixed)))
    }

    fn complete_part(&mut self, state: State) -> Result<Next, PreambleError> {
        let mut part = std::mem::take(&mut self.part);
        match state {
            State::Fixed => self.complete_fixed(&part).map(Next::Continue),
            State::Padding { mut stream, .. } => {
                stream.apply(&mut part);
                self.padding_len = part.len();
                // `PROTOCOL.md` 2.4: shorter padding comes from old clients and gives no seed.
                let padding_seed = part.first_chunk::<SEED_LEN>().map(|bytes| Seed::from_bytes(*bytes));
                if self.prefix == PrefixState::Removed {
                    return Ok(Next::Continue(State::PrefixHeader { stream, padding_seed }));
                }
                self.complete(stream, padding_seed, None)
            }
            State::PrefixHeader { mut stream, padding_seed } => {
                stream.apply(&mut part);
                let len = parse_prefix_header(&part)?;
                Ok(Next::Continue(State::PrefixName { stream, padding_seed, len }))
            }
            State::PrefixName { mut stream, padding_seed, .. } => {
                stream.apply(&mut part);
                let name = PrefixName::new(part)?;
                self.complete(stream, padding_seed, Some(name))
            }
            State::Prefix(_) | State::Ended => Err(PreambleError::Ended),
        }
    }

    fn complete_fixed(&mut self, part: &[u8]) -> Result<State, PreambleError> {
        let Some((seed, hidden)) = part.split_first_chunk::<{ ObfuscatorSeed::LEN }>() else {
            return Err(PreambleError::Ended);
        };
        let seed = ObfuscatorSeed::from_bytes(*seed);
        // Only this direction's key: a stranger costs no more than he must.
        let mut stream = Keystream::derive(&self.keyword, &seed, Direction::ClientToServer);
        let mut revealed = [0; 8];
        revealed.iter_mut().zip(hidden).for_each(|(to, from)| *to = *from);
        stream.apply(&mut revealed);
        let word = u64::from_be_bytes(revealed);
        // `PROTOCOL.md` 2.4: the magic before the length, or probes could learn from the difference.
        if (word >> 32) as u32 != MAGIC {
            return self.expect_prefix(part);
        }
        self.authenticated = Some(seed);
        let len = (word as u32).cast_signed();
        match usize::try_from(len) {
            Ok(len) if len <= MAX_PADDING => Ok(State::Padding { stream, len }),
            _ => Err(PreambleError::PaddingLength(len)),
        }
    }

    /// What was read is no preamble: then it may be the start of a prefix, unless one was removed already.
    fn expect_prefix(&mut self, part: &[u8]) -> Result<State, PreambleError> {
        if self.prefix != PrefixState::Possible {
            return Err(PreambleError::Magic);
        }
        let mut search = TerminatorSearch::new(self.keyword.clone(), Direction::ClientToServer);
        search.push(part)?;
        Ok(State::Prefix(search))
    }

    fn complete(
        &mut self,
        from_client: Keystream,
        padding_seed: Option<Seed>,
        prefix: Option<PrefixName>,
    ) -> Result<Next, PreambleError> {
        let seed = self.authenticated.ok_or(PreambleError::Ended)?;
        let to_client = Keystream::derive(&self.keyword, &seed, Direction::ServerToClient);
        let padding_len = self.padding_len;
        let preamble = ServerPreamble { seed, padding_seed, padding_len, prefix, from_client, to_client };
        Ok(Next::Complete(Box::new(preamble)))
    }
}

enum Next {
    Wait(State),
    Continue(State),
    Complete(Box<ServerPreamble>),
}

impl State {
    const fn part_len(&self) -> usize {
        match self {
            Self::Fixed => FIXED_LEN,
            Self::Padding { len, .. } | Self::PrefixName { len, .. } => *len,
            Self::PrefixHeader { .. } => PREFIX_HEADER_LEN,
            Self::Prefix(_) | Self::Ended => 0,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Fixed => "fixed part",
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
            .field("buffered", &self.part.len())
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
