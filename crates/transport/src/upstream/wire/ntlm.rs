//! The messages of NTLM version 2. Source: MS-NLMP, TRANSPORTS.md 6.4.
//!
//! No keys are agreed on for later, because nothing is signed or sealed behind a proxy's login.

use std::fmt;
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit as _, Mac as _};
use md4::{Digest as _, Md4};
use md5::Md5;
use thiserror::Error;
use zeroize::Zeroizing;

const SIGNATURE: &[u8; 8] = b"NTLMSSP\0";
/// MS-NLMP section 2.2.2.5: Unicode, NTLM, always sign, extended session security, version, 128 and 56 bits.
const OFFERED: u32 = 0xA208_8201;
/// Besides, in what a server may ask of a client: the target's name and its information.
const ACCEPTED: u32 = OFFERED | OEM | TARGET_INFO | 4;
/// The second message has the target's information.
const TARGET_INFO: u32 = 0x0080_0000;
const UNICODE: u32 = 1;
/// What strings are in where it is not Unicode: the code page of who reads them.
const OEM: u32 = 2;
/// 5.1, build 2600, revision 15: what the reference says, and with it many.
const VERSION: [u8; 8] = [5, 1, 0x28, 0x0A, 0, 0, 0, 15];
/// Length of the fixed part of the third message: signature, kind, six fields, flags, version, integrity code.
const AUTHENTICATE_HEAD: usize = 88;
const MIC_AT: usize = 72;
/// Largest challenge.
const MOST_CHALLENGE: usize = 16 * 1024;
/// Between 1601 and 1970.
const EPOCH: Duration = Duration::from_secs(11_644_473_600);
/// Pairs of the target's information. MS-NLMP section 2.2.2.1.
const AV_END: u16 = 0;
const AV_FLAGS: u16 = 6;
const AV_TIMESTAMP: u16 = 7;
/// In the flags: the third message has an integrity code.
const AV_HAS_MIC: u32 = 2;

/// A challenge that is none. The proxy is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("malformed NTLM challenge")]
pub struct BadChallenge;

/// Who logs in.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    /// May be empty.
    pub domain: &'a str,
    /// The name without the domain.
    pub user: &'a str,
    /// The password.
    pub password: &'a str,
}

impl<'a> Account<'a> {
    /// Reads `domain\user`, or a user alone.
    #[must_use]
    pub fn new(name: &'a str, password: &'a str) -> Self {
        let (domain, user) = name.split_once('\\').unwrap_or(("", name));
        Self { domain, user, password }
    }
}

impl fmt::Debug for Account<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted account]")
    }
}

/// The second message: what the server wants answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerChallenge {
    bytes: Vec<u8>,
    flags: u32,
    challenge: [u8; 8],
    target_info: Vec<u8>,
}

/// What an answer consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Responses {
    /// Of LAN manager, or zeros.
    pub lm: Vec<u8>,
    /// The proof, and what it is of.
    pub nt: Vec<u8>,
    session_key: Zeroizing<[u8; 16]>,
    has_mic: bool,
}

/// The first message.
#[must_use]
pub fn negotiate() -> Vec<u8> {
    let mut message = SIGNATURE.to_vec();
    message.extend(1_u32.to_le_bytes());
    message.extend(OFFERED.to_le_bytes());
    for _ in 0..2 {
        message.extend([0, 0, 0, 0]);
        message.extend(40_u32.to_le_bytes());
    }
    message.extend(VERSION);
    message
}

impl ServerChallenge {
    /// Reads the message.
    ///
    /// # Errors
    /// It is none, or of a kind that this version does not answer.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadChallenge> {
        let kind = bytes.get(8..12);
        if bytes.len() > MOST_CHALLENGE || !bytes.starts_with(SIGNATURE) || kind != Some(&[2, 0, 0, 0]) {
            return Err(BadChallenge);
        }
        let flags = u32::from_le_bytes(at(bytes, 20)?);
        if flags & (UNICODE | OEM) == 0 {
            return Err(BadChallenge);
        }
        // Where it has none, something else may stand in its place.
        let target_info = if flags & TARGET_INFO == 0 {
            &[][..]
        } else {
            let length = usize::from(u16::from_le_bytes(at(bytes, 40)?));
            let start = usize::try_from(u32::from_le_bytes(at(bytes, 44)?)).map_err(|_| BadChallenge)?;
            let end = start.checked_add(length).ok_or(BadChallenge)?;
            bytes.get(start..end).ok_or(BadChallenge)?
        };
        Ok(Self {
            bytes: bytes.to_vec(),
            flags,
            challenge: at(bytes, 24)?,
            target_info: target_info.to_vec(),
        })
    }

    /// The server's time, where it says it.
    fn timestamp(&self) -> Option<[u8; 8]> {
        let mut rest = self.target_info.as_slice();
        while let Some((kind, value, behind)) = pair(rest) {
            if kind == AV_TIMESTAMP {
                return value.try_into().ok();
            }
            rest = behind;
        }
        None
    }

    /// The target's information as it is sent back, with a note that an integrity code comes along.
    fn noted(&self) -> Vec<u8> {
        let (mut noted, mut rest, mut flags) = (Vec::new(), self.target_info.as_slice(), AV_HAS_MIC);
        while let Some((kind, value, behind)) = pair(rest) {
            rest = behind;
            match (kind, value.first_chunk::<4>()) {
                (AV_END, _) => break,
                (AV_FLAGS, Some(own)) => flags |= u32::from_le_bytes(*own),
                _ => push_pair(&mut noted, kind, value),
            }
        }
        push_pair(&mut noted, AV_FLAGS, &flags.to_le_bytes());
        push_pair(&mut noted, AV_END, &[]);
        noted
    }

    /// What answers the challenge. MS-NLMP section 3.3.2.
    #[must_use]
    pub fn respond(&self, account: Account<'_>, client_challenge: [u8; 8], now: SystemTime) -> Responses {
        let server_time = self.timestamp();
        let target_info = if server_time.is_some() { self.noted() } else { self.target_info.clone() };
        let key = account_key(account);
        let mut blob = vec![1, 1, 0, 0, 0, 0, 0, 0];
        blob.extend(server_time.unwrap_or_else(|| file_time(now)));
        blob.extend(client_challenge);
        blob.extend([0; 4]);
        blob.extend(target_info);
        blob.extend([0; 4]);
        let proof = hmac_md5(key.as_slice(), &[&self.challenge, &blob]);
        let lm = match server_time {
            // MS-NLMP section 3.1.5.1.2: not sent to who knows better.
            Some(_) => vec![0; 24],
            None => {
                let proof = hmac_md5(key.as_slice(), &[&self.challenge, &client_challenge]);
                [&proof[..], &client_challenge].concat()
            }
        };
        Responses {
            lm,
            nt: [&proof[..], &blob].concat(),
            session_key: Zeroizing::new(hmac_md5(key.as_slice(), &[&proof])),
            has_mic: server_time.is_some(),
        }
    }
}

/// The third message.
#[must_use]
pub fn authenticate(challenge: &ServerChallenge, account: Account<'_>, responses: &Responses) -> Vec<u8> {
    let is_unicode = challenge.flags & UNICODE != 0;
    let text = |text: &str| if is_unicode { utf16(text) } else { oem(text) };
    let (domain, user) = (text(account.domain), text(account.user));
    // In the order of the fields: LM, NT, domain, user, workstation, session key.
    let parts: [&[u8]; 6] = [&responses.lm, &responses.nt, &domain, &user, &[], &[]];
    let mut message = SIGNATURE.to_vec();
    message.extend(3_u32.to_le_bytes());
    let mut offset = AUTHENTICATE_HEAD;
    for part in parts {
        // Parts are of our making or came in one challenge: short.
        let length = u16::try_from(part.len()).unwrap_or(u16::MAX).to_le_bytes();
        message.extend([length, length].concat());
        message.extend(u32::try_from(offset).unwrap_or(u32::MAX).to_le_bytes());
        offset += part.len();
    }
    message.extend((challenge.flags & ACCEPTED).to_le_bytes());
    message.extend(VERSION);
    message.extend([0; AUTHENTICATE_HEAD - MIC_AT]);
    for part in parts {
        message.extend_from_slice(part);
    }
    if responses.has_mic {
        let mic = hmac_md5(responses.session_key.as_slice(), &[&negotiate(), &challenge.bytes, &message]);
        if let Some(place) = message.get_mut(MIC_AT..AUTHENTICATE_HEAD) {
            place.copy_from_slice(&mic);
        }
    }
    message
}

/// MS-NLMP section 3.3.2, NTOWFv2.
fn account_key(account: Account<'_>) -> Zeroizing<[u8; 16]> {
    let password = Zeroizing::new(utf16(account.password));
    let hash = Zeroizing::new(<[u8; 16]>::from(Md4::digest(password.as_slice())));
    let name = [utf16(&account.user.to_uppercase()), utf16(account.domain)].concat();
    Zeroizing::new(hmac_md5(hash.as_slice(), &[&name]))
}

fn hmac_md5(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let mut mac = Hmac::<Md5>::new_from_slice(key).expect("any length is a key");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// What all code pages have in common.
fn oem(text: &str) -> Vec<u8> {
    text.chars().map(|c| if c.is_ascii() { u8::try_from(c).unwrap_or(b'?') } else { b'?' }).collect()
}

/// Tenths of microseconds since 1601.
fn file_time(now: SystemTime) -> [u8; 8] {
    let since = now.duration_since(SystemTime::UNIX_EPOCH - EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos() / 100).unwrap_or(u64::MAX).to_le_bytes()
}

fn at<const N: usize>(bytes: &[u8], place: usize) -> Result<[u8; N], BadChallenge> {
    bytes.get(place..).and_then(<[u8]>::first_chunk).copied().ok_or(BadChallenge)
}

fn pair(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (kind, rest) = bytes.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    Some((u16::from_le_bytes(*kind), value, rest))
}

fn push_pair(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    to.extend(kind.to_le_bytes());
    to.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
    to.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    const ACCOUNT: Account<'_> = Account { domain: "Domain", user: "User", password: "Password" };

    /// MS-NLMP section 4.2.4.3: the challenge message of its examples for NTLMv2.
    fn example() -> ServerChallenge {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([2, 0, 0, 0]);
        bytes.extend([0x0C, 0, 0x0C, 0, 0x38, 0, 0, 0]);
        bytes.extend(0xE28A_8233_u32.to_le_bytes());
        bytes.extend([0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF]);
        bytes.extend([0; 8]);
        bytes.extend([0x24, 0, 0x24, 0, 0x44, 0, 0, 0]);
        bytes.extend([6, 0, 0x70, 0x17, 0, 0, 0, 0x0F]);
        bytes.extend(utf16("Server"));
        let mut info = Vec::new();
        push_pair(&mut info, 2, &utf16("Domain"));
        push_pair(&mut info, 1, &utf16("Server"));
        push_pair(&mut info, AV_END, &[]);
        bytes.extend(info);
        ServerChallenge::parse(&bytes).unwrap()
    }

    /// MS-NLMP sections 4.2.4.1 and 4.2.4.2.
    #[test]
    fn responses_are_those_of_the_specification() {
        assert_eq!(HEXLOWER.encode(account_key(ACCOUNT).as_slice()), "0c868a403bfd7a93a3001ef22ef02e3f");
        let responses = example().respond(ACCOUNT, [0xAA; 8], SystemTime::UNIX_EPOCH - EPOCH);
        assert_eq!(HEXLOWER.encode(&responses.lm), "86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa");
        assert_eq!(HEXLOWER.encode(&responses.nt[..16]), "68cd0ab851e51c96aabc927bebef6a1c");
        assert_eq!(HEXLOWER.encode(responses.session_key.as_slice()), "8de40ccadbc14a82f15cb0ad0de95ca3");
    }

    #[test]
    fn a_server_that_says_its_time_gets_an_integrity_code() {
        let mut bytes = example().bytes;
        // The end of the information becomes the server's time, and a new end.
        bytes.truncate(bytes.len() - 4);
        push_pair(&mut bytes, AV_TIMESTAMP, &[7; 8]);
        push_pair(&mut bytes, AV_END, &[]);
        bytes[40] += 12;
        bytes[42] += 12;
        let challenge = ServerChallenge::parse(&bytes).unwrap();
        let responses = challenge.respond(ACCOUNT, [0xAA; 8], SystemTime::UNIX_EPOCH);
        assert_eq!(responses.lm, [0; 24]);
        assert_eq!(responses.nt.get(24..32), Some(&[7; 8][..]));
        let message = authenticate(&challenge, ACCOUNT, &responses);
        let mut without = message.clone();
        without[MIC_AT..AUTHENTICATE_HEAD].fill(0);
        let mic = hmac_md5(responses.session_key.as_slice(), &[&negotiate(), &bytes, &without]);
        assert_eq!(message[MIC_AT..AUTHENTICATE_HEAD], mic);
        assert!(message.windows(8).any(|part| part == [6, 0, 4, 0, 2, 0, 0, 0]), "the flags say so");
    }

    #[test]
    fn an_old_server_is_answered_in_its_own_letters() {
        let mut bytes = example().bytes;
        bytes.truncate(32);
        bytes.extend(b"what else there is");
        bytes[20..24].copy_from_slice(&0x0000_0206_u32.to_le_bytes());
        let challenge = ServerChallenge::parse(&bytes).unwrap();
        let message =
            authenticate(&challenge, ACCOUNT, &challenge.respond(ACCOUNT, [1; 8], SystemTime::UNIX_EPOCH));
        assert!(message.ends_with(b"DomainUser"));
        assert_eq!(message[60..64], 0x0000_0206_u32.to_le_bytes());
    }

    #[test]
    fn what_is_no_challenge_is_none() {
        let whole = example().bytes;
        for end in 0..whole.len() {
            assert!(ServerChallenge::parse(&whole[..end]).is_err(), "{end}");
        }
        assert!(ServerChallenge::parse(&negotiate()).is_err());
    }
}
