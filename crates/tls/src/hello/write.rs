//! Writes a ClientHello by a profile. What only rustls knows is taken from the hello that rustls wrote: session ID, keys, ticket, cookie.
//! Everything that is drawn is drawn once for a connection: the second hello, after a HelloRetryRequest, must agree with the first.
//! Source: RFC 8446 sections 4.1.2, 4.2.11; RFC 8701; RFC 7685; TRANSPORTS.md 1.5.

use culvert_obfuscation::{Prng, Seed};

use super::message::{HelloMessage, Malformed, with_length16};
use super::number;
use super::profile::{EchGrease, Extension, Profile, Value};

/// What a hello of at least this many and less than the next is padded to.
const PADDED_FROM: usize = 0x100;
const PADDED_TO: usize = 0x200;
/// Bytes of a share of a group that nothing here can compute.
const UNKNOWN_SHARE: usize = 1216;

/// Whether the session ID of TLS 1.2 is sent, which nothing needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionId {
    /// 32 bytes.
    #[default]
    Kept,
    /// None, unless there is a ticket.
    LeftOut,
}

/// Changes to a profile's hello.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HelloEdits {
    /// What the server name extension says; `None` leaves it out.
    pub server_name: Option<String>,
    /// The session ID.
    pub session_id: SessionId,
    /// A padding extension of so many bytes comes first, instead of the profile's own.
    pub padding: Option<u16>,
}

/// The shares of one connection, by group.
pub(crate) type Shares = Vec<(u16, Vec<u8>)>;

/// Writes the hellos of one connection.
pub(crate) struct HelloWriter {
    edits: HelloEdits,
    /// With every choice made.
    suites: Vec<u8>,
    extensions: Vec<Item>,
    session_id: Vec<u8>,
    /// Drawn shares of groups that nothing here can compute.
    noise: Vec<u8>,
    first_written: bool,
}

/// An extension with its choices made.
enum Item {
    Fixed(u16, Vec<u8>),
    /// Groups; GREASE is a number by now.
    KeyShares(Vec<(u16, ShareKind)>),
    Ticket,
    Padding,
    PreSharedKey,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ShareKind {
    Grease,
    Real,
}

impl HelloWriter {
    pub(crate) fn new(profile: &Profile, edits: HelloEdits, seed: &Seed) -> Self {
        let mut prng = Prng::new(seed);
        let grease = GreaseNumbers::draw(&mut prng);
        let mut extensions = profile.extensions.clone();
        if edits.server_name.is_none() {
            extensions.retain(|extension| *extension != Extension::ServerName);
        }
        if edits.padding.is_some() {
            extensions.retain(|extension| *extension != Extension::Padding);
        }
        if profile.shuffled {
            shuffle(&mut extensions, &mut prng);
        }
        let session_id = prng.bytes(32);
        let noise = prng.bytes(UNKNOWN_SHARE);
        let mut grease_seen = 0;
        let mut items: Vec<Item> = edits
            .padding
            .iter()
            .map(|len| Item::Fixed(number::PADDING, vec![0; usize::from(*len)]))
            .collect();
        for extension in extensions {
            items.push(Self::settle(extension, &edits, &grease, &mut grease_seen, &mut prng));
        }
        let suites = numbers(&profile.suites, grease.suite);
        Self { edits, suites, extensions: items, session_id, noise, first_written: false }
    }

    fn settle(
        extension: Extension,
        edits: &HelloEdits,
        grease: &GreaseNumbers,
        grease_seen: &mut usize,
        prng: &mut Prng,
    ) -> Item {
        let number = extension.number();
        let content = match extension {
            Extension::Grease(content) => {
                let kind = if *grease_seen == 0 { grease.first_extension } else { grease.last_extension };
                *grease_seen += 1;
                return Item::Fixed(kind, content);
            }
            Extension::KeyShares(groups) => {
                let settled = groups.iter().map(|group| match group {
                    Value::Grease => (grease.group, ShareKind::Grease),
                    Value::Number(group) => (*group, ShareKind::Real),
                });
                return Item::KeyShares(settled.collect());
            }
            Extension::Ticket => return Item::Ticket,
            Extension::Padding => return Item::Padding,
            Extension::PreSharedKey => return Item::PreSharedKey,
            Extension::ServerName => server_name(edits.server_name.as_deref().unwrap_or_default()),
            Extension::Groups(groups) => with_length16(&numbers(&groups, grease.group)),
            Extension::Signatures(schemes) => with_length16(&numbers(&schemes, grease.signature)),
            Extension::Alpn(names) => {
                let names: Vec<u8> = names.iter().flat_map(|name| with_length8(name.as_bytes())).collect();
                with_length16(&names)
            }
            Extension::Versions(versions) => with_length8(&numbers(&versions, grease.version)),
            Extension::EchGrease(grease) => ech_grease(&grease, prng),
            Extension::Raw(_, content) => content,
        };
        Item::Fixed(number.unwrap_or_default(), content)
    }

    /// The hello that goes out instead of `original`, which may lack its binders: what is returned lacks the same.
    pub(crate) fn write(&mut self, original: &[u8], shares: &Shares) -> Result<Vec<u8>, Malformed> {
        let original = HelloMessage::read(original)?;
        let retry = std::mem::replace(&mut self.first_written, true);
        let with_ticket = original.extension(number::SESSION_TICKET).is_some_and(|ticket| !ticket.is_empty());
        let mut written: Vec<(u16, Vec<u8>)> = Vec::new();
        for item in &self.extensions {
            let (number, content) = match item {
                Item::Fixed(number, content) => (*number, content.clone()),
                Item::Ticket => {
                    let ticket = original.extension(number::SESSION_TICKET).unwrap_or_default();
                    (number::SESSION_TICKET, ticket.to_vec())
                }
                Item::KeyShares(_) if retry => {
                    let requested = original.extension(number::KEY_SHARES).unwrap_or_default();
                    (number::KEY_SHARES, requested.to_vec())
                }
                Item::KeyShares(groups) => (number::KEY_SHARES, self.key_shares(groups, shares)),
                // They come last and depend on what is before them.
                Item::Padding | Item::PreSharedKey => continue,
            };
            written.push((number, content));
        }
        if let Some(cookie) = original.extension(number::COOKIE) {
            written.push((number::COOKIE, cookie.to_vec()));
        }
        // RFC 8446 section 4.2.11: the binders cover everything before them.
        let pre_shared_key =
            original.extension(number::PRE_SHARED_KEY).filter(|_| self.has(&Item::PreSharedKey));
        let session_id = self.session_id(&original, with_ticket);
        let end = pre_shared_key.map_or(0, |key| 4 + key.len() + original.missing);
        if self.has(&Item::Padding) {
            let fixed = 4 + 2 + 32 + 1 + session_id.len() + 2 + self.suites.len() + 2 + 2;
            let length = fixed + written.iter().map(|(_, content)| 4 + content.len()).sum::<usize>() + end;
            if let Some(padding) = padding(length) {
                written.push((number::PADDING, vec![0; padding]));
            }
        }
        let mut extensions: Vec<u8> = Vec::new();
        for (number, content) in written {
            extensions.extend(number.to_be_bytes());
            extensions.extend(with_length16(&content));
        }
        let missing = if let Some(key) = pre_shared_key {
            extensions.extend(number::PRE_SHARED_KEY.to_be_bytes());
            extensions.extend(length16(key.len() + original.missing));
            extensions.extend(key);
            original.missing
        } else {
            0
        };
        let body = [
            &[3, 3][..],
            original.random,
            &with_length8(session_id),
            &with_length16(&self.suites),
            &[1, 0],
            &length16(extensions.len() + missing),
            &extensions,
        ]
        .concat();
        let [_, a, b, c] = u32::try_from(body.len() + missing).unwrap_or(u32::MAX).to_be_bytes();
        Ok([&[1, a, b, c], &body[..]].concat())
    }

    /// That of rustls where it sent one: it compares what comes back.
    fn session_id<'w>(&'w self, original: &HelloMessage<'w>, with_ticket: bool) -> &'w [u8] {
        match self.edits.session_id {
            SessionId::LeftOut if !with_ticket => &[],
            _ if original.session_id.is_empty() => &self.session_id,
            _ => original.session_id,
        }
    }

    fn has(&self, wanted: &Item) -> bool {
        self.extensions.iter().any(|item| std::mem::discriminant(item) == std::mem::discriminant(wanted))
    }

    fn key_shares(&self, groups: &[(u16, ShareKind)], shares: &Shares) -> Vec<u8> {
        let mut list = Vec::new();
        for (group, kind) in groups {
            let share = match kind {
                ShareKind::Grease => &[0][..],
                ShareKind::Real => shares
                    .iter()
                    .find(|(found, _)| found == group)
                    .map_or(&self.noise[..], |(_, share)| share.as_slice()),
            };
            list.extend(group.to_be_bytes());
            list.extend(with_length16(share));
        }
        with_length16(&list)
    }
}

/// One reserved number for each place. RFC 8701: those of two extensions differ.
struct GreaseNumbers {
    suite: u16,
    group: u16,
    signature: u16,
    version: u16,
    first_extension: u16,
    last_extension: u16,
}

impl GreaseNumbers {
    fn draw(prng: &mut Prng) -> Self {
        let mut number = || {
            let nibble = u16::try_from(prng.intn(16)).unwrap_or_default();
            0x0a0a | nibble << 12 | nibble << 4
        };
        let [suite, group, version, first_extension, last, signature] = std::array::from_fn(|_| number());
        let last_extension = if last == first_extension { last ^ 0x1010 } else { last };
        Self { suite, group, signature, version, first_extension, last_extension }
    }
}

/// GREASE, padding and a pre-shared key keep their places.
fn shuffle(extensions: &mut [Extension], prng: &mut Prng) {
    let moves = |extension: &Extension| {
        !matches!(extension, Extension::Grease(_) | Extension::Padding | Extension::PreSharedKey)
    };
    let mut moving: Vec<Extension> =
        extensions.iter().filter(|extension| moves(extension)).cloned().collect();
    prng.shuffle(&mut moving);
    let places = extensions.iter_mut().filter(|extension| moves(extension));
    for (place, extension) in places.zip(moving) {
        *place = extension;
    }
}

fn numbers(values: &[Value], grease: u16) -> Vec<u8> {
    values.iter().flat_map(|value| value.number().unwrap_or(grease).to_be_bytes()).collect()
}

fn server_name(name: &str) -> Vec<u8> {
    with_length16(&[&[0], &with_length16(name.as_bytes())[..]].concat())
}

/// What looks like an encrypted hello: HKDF-SHA256 with AES-128-GCM, any configuration, an X25519 key.
fn ech_grease(grease: &EchGrease, prng: &mut Prng) -> Vec<u8> {
    /// Of the tag that ends what is encrypted.
    const TAG: usize = 16;
    let mut key = prng.bytes(33);
    let configuration = key.pop().unwrap_or_default();
    // The highest bit of a public key is never set.
    if let Some(last) = key.last_mut() {
        *last &= 0x7F;
    }
    let length = prng.pick(&grease.lengths).copied().unwrap_or_default();
    let [_, cipher] = prng.pick(&grease.ciphers).copied().unwrap_or(1).to_be_bytes();
    let payload = prng.bytes(length.max(TAG));
    [&[0, 0, 1, 0, cipher, configuration][..], &with_length16(&key), &with_length16(&payload)].concat()
}

/// Bytes in a padding extension for a hello of `length` bytes with its header.
fn padding(length: usize) -> Option<usize> {
    let wanted = PADDED_TO.checked_sub(length).filter(|_| (PADDED_FROM..PADDED_TO).contains(&length))?;
    // An empty extension has four bytes, and servers exist that do not like one.
    Some(wanted.checked_sub(4).filter(|padding| *padding > 0).unwrap_or(1))
}

fn with_length8(content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap_or(u8::MAX);
    let kept = content.get(..usize::from(length)).unwrap_or(content);
    [&[length], kept].concat()
}

fn length16(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}
