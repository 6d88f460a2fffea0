//! A profile: which ClientHello a browser sends, as lines of text, so that a profile can come with parameters as well as with a release.
//!
//! ```text
//! profile Chrome-133
//! about Chrome 133, February 2025
//! suites grease 1301 1302
//! shuffled
//! grease
//! server-name
//! raw 0017
//! groups grease 001d
//! ```
//! `current` marks what browsers in wide use send. Extensions stand in the order in which they are sent; `shuffled` says that the browser draws an order for each connection, in which GREASE,
//! padding and a pre-shared key keep their places. Numbers are hexadecimal. Source: TRANSPORTS.md 1.4, RFC 8701.

use super::number;

/// What most browsers say that the noise is encrypted with.
const AES_128_GCM: &str = "0001";
/// The most bytes of a profile's text, and the most items of a list.
const MAX_TEXT: usize = 16 * 1024;
const MAX_ITEMS: usize = 128;

/// What rustls offers, too, or what next to no server answers: certificate status, point formats, timestamps, extended master secret, modes of
/// keys, renegotiation.
const ANSWERABLE: [u16; 6] = [0x0005, 0x000b, 0x0012, 0x0017, 0x002d, 0xff01];

/// A number in a list, or a reserved one that is drawn for each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// RFC 8701.
    Grease,
    /// As it is.
    Number(u16),
}

/// One extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extension {
    /// A reserved one, with this content.
    Grease(Vec<u8>),
    /// The server's name.
    ServerName,
    /// `supported_groups`.
    Groups(Vec<Value>),
    /// `signature_algorithms`.
    Signatures(Vec<Value>),
    /// `application_layer_protocol_negotiation`.
    Alpn(Vec<String>),
    /// `session_ticket`: empty, or with a ticket.
    Ticket,
    /// `supported_versions`.
    Versions(Vec<Value>),
    /// `key_share`, of these groups.
    KeyShares(Vec<Value>),
    /// `padding` to 512 bytes, where the hello would have between 256 and 511.
    Padding,
    /// `encrypted_client_hello` with noise in it.
    EchGrease(EchGrease),
    /// `pre_shared_key`, where there is one; it is the last.
    PreSharedKey,
    /// Any other, or a fixed content.
    Raw(u16, Vec<u8>),
}

/// What the noise in an `encrypted_client_hello` pretends to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EchGrease {
    /// Bytes of payload: one of these.
    pub lengths: Vec<usize>,
    /// Ciphers: one of these (RFC 9180 section 7.3).
    pub ciphers: Vec<u16>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    name: String,
    about: String,
    origin: Origin,
    pub(crate) suites: Vec<Value>,
    pub(crate) shuffled: bool,
    pub(crate) extensions: Vec<Extension>,
}

/// Whose hello it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Of a browser that few people still use.
    Older,
    /// Of a browser as people use it now.
    Current,
    /// Nobody's.
    Drawn,
}

/// The text is not a profile. Whoever wrote it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Longer than any.
    #[error("a TLS profile has more than {MAX_TEXT} bytes")]
    TooLong,
    /// No such keyword, or something wrong behind it.
    #[error("TLS profile {profile:?}: cannot read the line {line:?}")]
    Line {
        /// Its name, as far as known.
        profile: String,
        /// The line.
        line: String,
    },
    /// It lacks what every hello has, or has something twice.
    #[error("TLS profile {profile:?}: {what}")]
    Incomplete {
        /// Its name.
        profile: String,
        /// What is wrong.
        what: &'static str,
    },
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    /// See [`ProfileError`].
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        if text.len() > MAX_TEXT {
            return Err(ProfileError::TooLong);
        }
        let mut profile = Self {
            name: String::new(),
            about: String::new(),
            origin: Origin::Older,
            suites: Vec::new(),
            shuffled: false,
            extensions: Vec::new(),
        };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let read = profile.line(line);
            read.ok_or_else(|| ProfileError::Line { profile: profile.name.clone(), line: line.to_owned() })?;
        }
        profile.check()?;
        Ok(profile)
    }

    /// A profile that was drawn and not read.
    pub(crate) fn made(name: &str, suites: Vec<Value>, extensions: Vec<Extension>) -> Self {
        let about = "drawn".to_owned();
        Self { name: name.to_owned(), about, origin: Origin::Drawn, suites, shuffled: false, extensions }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Browser, version and date.
    #[must_use]
    pub fn about(&self) -> &str {
        &self.about
    }

    /// Whether a browser sends it that is in wide use now.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.origin == Origin::Current
    }

    /// Whether it is no browser's.
    #[must_use]
    pub fn is_drawn(&self) -> bool {
        self.origin == Origin::Drawn
    }

    /// Whether the order of extensions is drawn for each connection.
    #[must_use]
    pub fn is_shuffled(&self) -> bool {
        self.shuffled
    }

    /// Whether TLS 1.3 is offered.
    #[must_use]
    pub fn offers_tls13(&self) -> bool {
        self.versions().is_some_and(|versions| versions.contains(&Value::Number(0x0304)))
    }

    /// Whether TLS 1.2 is offered.
    #[must_use]
    pub fn offers_tls12(&self) -> bool {
        self.versions().is_none_or(|versions| versions.contains(&Value::Number(0x0303)))
    }

    /// Whether a ticket of TLS 1.2 has a place in it.
    #[must_use]
    pub fn takes_tls12_ticket(&self) -> bool {
        self.extensions.contains(&Extension::Ticket)
    }

    /// Whether a pre-shared key of TLS 1.3 has a place in it.
    #[must_use]
    pub fn takes_pre_shared_key(&self) -> bool {
        self.extensions.contains(&Extension::PreSharedKey)
    }

    /// Whether every answer to it is understood. Servers of ours answer none of what is not, but those of others may.
    #[must_use]
    pub fn is_answerable(&self) -> bool {
        let answerable = |extension: &Extension| match extension {
            // Certificates compressed with zlib, and nothing else.
            Extension::Raw(0x001b, content) => content == &[2, 0, 1],
            Extension::Raw(number, _) => ANSWERABLE.contains(number),
            Extension::EchGrease(_) => false,
            _ => true,
        };
        self.extensions.iter().all(answerable)
    }

    /// The application protocols that it offers.
    #[must_use]
    pub fn alpn(&self) -> &[String] {
        let find = |extension: &Extension| matches!(extension, Extension::Alpn(_));
        match self.extensions.iter().find(|extension| find(extension)) {
            Some(Extension::Alpn(names)) => names,
            _ => &[],
        }
    }

    fn versions(&self) -> Option<&Vec<Value>> {
        self.extensions.iter().find_map(|extension| match extension {
            Extension::Versions(versions) => Some(versions),
            _ => None,
        })
    }

    pub(crate) fn key_share_groups(&self) -> Vec<u16> {
        let shares = self.extensions.iter().find_map(|extension| match extension {
            Extension::KeyShares(groups) => Some(groups),
            _ => None,
        });
        shares.map(|groups| groups.iter().filter_map(|group| group.number()).collect()).unwrap_or_default()
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let (keyword, rest) = line.split_once(' ').unwrap_or((line, ""));
        let extension = match keyword {
            "profile" => {
                rest.clone_into(&mut self.name);
                return Some(());
            }
            "about" => {
                rest.clone_into(&mut self.about);
                return Some(());
            }
            "suites" => {
                self.suites = values(rest)?;
                return Some(());
            }
            "shuffled" => {
                self.shuffled = true;
                return Some(());
            }
            "current" => {
                self.origin = Origin::Current;
                return Some(());
            }
            "grease" => Extension::Grease(bytes(rest)?),
            "server-name" => Extension::ServerName,
            "groups" => Extension::Groups(values(rest)?),
            "signatures" => Extension::Signatures(values(rest)?),
            "alpn" => Extension::Alpn(list(rest, |name| (name.len() < 256).then(|| name.to_owned()))?),
            "ticket" => Extension::Ticket,
            "versions" => Extension::Versions(values(rest)?),
            "key-shares" => Extension::KeyShares(values(rest)?),
            "padding" => Extension::Padding,
            "ech-grease" => {
                let (lengths, ciphers) = rest.split_once(" ciphers ").unwrap_or((rest, AES_128_GCM));
                let lengths = list(lengths, |len| len.parse().ok().filter(|len| *len < 1024))?;
                Extension::EchGrease(EchGrease { lengths, ciphers: list(ciphers, number)? })
            }
            "pre-shared-key" => Extension::PreSharedKey,
            "raw" => {
                let (kind, content) = rest.split_once(' ').unwrap_or((rest, ""));
                Extension::Raw(number(kind)?, bytes(content)?)
            }
            _ => return None,
        };
        self.extensions.push(extension);
        (self.extensions.len() <= MAX_ITEMS).then_some(())
    }

    fn check(&self) -> Result<(), ProfileError> {
        let wrong = |what| Err(ProfileError::Incomplete { profile: self.name.clone(), what });
        let groups = self.extensions.iter().any(|extension| matches!(extension, Extension::Groups(_)));
        let mut kinds: Vec<_> = self.extensions.iter().filter_map(Extension::number).collect();
        let count = kinds.len();
        kinds.sort_unstable();
        kinds.dedup();
        let last = self.extensions.iter().rposition(|extension| *extension == Extension::PreSharedKey);
        if self.name.is_empty() || self.suites.is_empty() || !groups {
            wrong("it needs a name, suites and groups")
        } else if kinds.len() != count {
            wrong("it has an extension twice")
        } else if last.is_some_and(|at| at + 1 != self.extensions.len()) {
            wrong("a pre-shared key must be last")
        } else if self.offers_tls13() && self.key_share_groups().is_empty() {
            wrong("it offers TLS 1.3 without key shares")
        } else if !self.offers_tls13() && !self.offers_tls12() {
            wrong("it offers neither TLS 1.2 nor TLS 1.3")
        } else {
            Ok(())
        }
    }
}

impl Value {
    pub(crate) fn number(self) -> Option<u16> {
        match self {
            Self::Grease => None,
            Self::Number(number) => Some(number),
        }
    }
}

impl Extension {
    /// Its number; GREASE has none of its own.
    pub(crate) fn number(&self) -> Option<u16> {
        Some(match self {
            Self::Grease(_) => return None,
            Self::ServerName => number::SERVER_NAME,
            Self::Groups(_) => number::GROUPS,
            Self::Signatures(_) => number::SIGNATURES,
            Self::Alpn(_) => number::ALPN,
            Self::Ticket => number::SESSION_TICKET,
            Self::Versions(_) => number::VERSIONS,
            Self::KeyShares(_) => number::KEY_SHARES,
            Self::Padding => number::PADDING,
            Self::EchGrease(_) => number::ENCRYPTED_CLIENT_HELLO,
            Self::PreSharedKey => number::PRE_SHARED_KEY,
            Self::Raw(number, _) => *number,
        })
    }
}

fn list<T>(text: &str, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let items: Vec<T> = text.split_ascii_whitespace().map(read).collect::<Option<_>>()?;
    (!items.is_empty() && items.len() <= MAX_ITEMS).then_some(items)
}

fn values(text: &str) -> Option<Vec<Value>> {
    list(text, |word| if word == "grease" { Some(Value::Grease) } else { number(word).map(Value::Number) })
}

fn number(word: &str) -> Option<u16> {
    u16::from_str_radix(word, 16).ok().filter(|_| word.len() == 4)
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits: Vec<u8> = text.as_bytes().iter().map(digit).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "profile P\nsuites grease 1301\ngroups 001d\nkey-shares 001d\nversions 0304 0303\n";

    #[test]
    fn what_a_profile_says_is_known_of_it() {
        let profile = Profile::parse(GOOD).unwrap();
        assert!(profile.offers_tls13() && profile.offers_tls12() && profile.is_answerable());
        assert!(!profile.is_current() && !profile.takes_tls12_ticket() && !profile.takes_pre_shared_key());
        let more = format!("{GOOD}ticket\nalpn h2\nech-grease 144\npre-shared-key\ncurrent");
        let profile = Profile::parse(&more).unwrap();
        assert!(profile.is_current() && profile.takes_pre_shared_key() && !profile.is_answerable());
        assert_eq!(profile.alpn(), ["h2"]);
    }

    #[test]
    fn what_is_no_profile_is_named() {
        for line in ["unknown", "suites 130", "suites", "raw 0017 0", "raw 0017 zz", "groups grease 13011"] {
            let found = Profile::parse(&format!("{GOOD}{line}"));
            assert_eq!(
                found,
                Err(ProfileError::Line { profile: "P".to_owned(), line: line.to_owned() }),
                "{line}"
            );
        }
        for text in [
            "",
            "profile P\nsuites 1301",
            "profile P\nsuites 1301\ngroups 001d\nversions 0304",
            "profile P\nsuites 1301\ngroups 001d\nversions 0302",
            &format!("{GOOD}raw 0017\nraw 0017"),
            &format!("{GOOD}pre-shared-key\nraw 0017"),
        ] {
            assert!(matches!(Profile::parse(text), Err(ProfileError::Incomplete { .. })), "{text}");
        }
        assert_eq!(Profile::parse(&"x".repeat(MAX_TEXT + 1)), Err(ProfileError::TooLong));
    }
}
