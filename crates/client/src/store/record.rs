//! A stored entry as bytes: what is asked without decoding it, then the entry itself.
//!
//! The entry is kept packed (PROTOCOL.md 5.5), which is half of its JSON, unless packing would lose something that a
//! signature covers; then it is kept as JSON. A checksum tells damage before a dial is wasted on it.

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use culvert_protocol::packed::NumberForm;
use culvert_protocol::server_entry::EntrySource;
use culvert_protocol::{EntryFields, ServerEntry, TunnelProtocol};

use super::{ProtocolSet, Received, StoredServer};

const CHECKSUM: usize = 4;
const PACKED: u8 = 1;
const JSON: u8 = 2;
/// Longer names of regions are kept in the entry only: they are no region that anybody asks for.
const LONGEST_REGION: usize = 8;
const LONGEST_SOURCE: usize = 64;

/// An entry on its way into the store.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) address: Vec<u8>,
    pub(super) region: String,
    pub(super) protocols: ProtocolSet,
    pub(super) bytes: Vec<u8>,
}

/// What stands before the entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordHead {
    pub(super) version: i64,
    pub(super) tag: u64,
    pub(super) received: Received,
    pub(super) region: String,
    pub(super) source: String,
    pub(super) address: Vec<u8>,
}

impl Record {
    pub(super) fn new(entry: &ServerEntry, source: &EntrySource, received: Received) -> Self {
        let mut fields = entry.fields().clone();
        fields.remove_local();
        let head = RecordHead {
            version: entry.configuration_version(),
            tag: hash64(entry.tag().as_str().as_bytes()),
            received,
            region: entry.region().filter(|region| region.len() <= LONGEST_REGION).unwrap_or_default().into(),
            source: source.to_string().chars().filter(char::is_ascii).take(LONGEST_SOURCE).collect(),
            address: address_key(entry.address()),
        };
        let mut body = vec![0; CHECKSUM];
        head.write(&mut body);
        match fields.to_packed(NumberForm::Natural) {
            Ok(packed) if EntryFields::from_packed(&packed).is_ok_and(|again| again == fields) => {
                body.push(PACKED);
                body.extend_from_slice(&packed);
            }
            _ => {
                body.push(JSON);
                body.extend_from_slice(fields.to_json().as_bytes());
            }
        }
        let sum = checksum(body.get(CHECKSUM..).unwrap_or_default());
        body.iter_mut().zip(sum).for_each(|(place, byte)| *place = byte);
        let RecordHead { address, region, .. } = head;
        Self { address, region, protocols: ProtocolSet::of(entry), bytes: body }
    }
}

impl RecordHead {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.tag.to_le_bytes());
        out.extend_from_slice(&self.received.0.to_le_bytes());
        for text in [self.region.as_bytes(), self.source.as_bytes(), self.address.as_slice()] {
            out.push(u8::try_from(text.len()).unwrap_or_default());
            out.extend_from_slice(text);
        }
    }

    /// Reads a head without looking at the rest.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        Self::split(bytes).map(|(head, _)| head)
    }

    fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let rest = bytes.get(CHECKSUM..)?;
        let (version, rest) = rest.split_first_chunk()?;
        let (tag, rest) = rest.split_first_chunk()?;
        let (received, rest) = rest.split_first_chunk()?;
        let (region, rest) = short(rest)?;
        let (source, rest) = short(rest)?;
        let (address, rest) = short(rest)?;
        let head = Self {
            version: i64::from_le_bytes(*version),
            tag: u64::from_le_bytes(*tag),
            received: Received(u32::from_le_bytes(*received)),
            region: String::from_utf8(region.to_vec()).ok()?,
            source: String::from_utf8(source.to_vec()).ok()?,
            address: address.to_vec(),
        };
        Some((head, rest))
    }
}

/// Reads a whole record; `None` when it is damaged.
pub(super) fn read(id: super::ServerId, bytes: &[u8]) -> Option<StoredServer> {
    let sealed = bytes.get(CHECKSUM..)?;
    if bytes.get(..CHECKSUM)? != checksum(sealed) {
        return None;
    }
    let (head, rest) = RecordHead::split(bytes)?;
    let fields = match rest.split_first()? {
        (&PACKED, packed) => EntryFields::from_packed(packed).ok()?,
        (&JSON, json) => EntryFields::from_json(json).ok()?,
        _ => return None,
    };
    Some(StoredServer {
        id,
        entry: ServerEntry::try_from(fields).ok()?,
        source: head.source.parse().ok()?,
        received: head.received,
    })
}

/// An address as an index holds it.
pub(super) fn address_key(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Whether two records hold the same entry, wherever it came from.
pub(super) fn same_entry(a: &[u8], b: &[u8]) -> bool {
    let entry = |bytes| RecordHead::split(bytes).map(|(_, entry)| entry.to_vec());
    entry(a).is_some_and(|a| entry(b) == Some(a))
}

/// Puts a checksum before bytes that others wrote.
pub(super) fn seal(bytes: &[u8]) -> Vec<u8> {
    [checksum(bytes).as_slice(), bytes].concat()
}

/// The bytes, if they are still what was sealed.
pub(super) fn unseal(bytes: &[u8]) -> Option<&[u8]> {
    let (sum, rest) = bytes.split_first_chunk::<CHECKSUM>()?;
    (*sum == checksum(rest)).then_some(rest)
}

/// The first eight bytes of a hash: an index of tags need not hold the tags.
pub(super) fn hash64(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(digest(&SHA256, bytes).as_ref().first_chunk().copied().unwrap_or_default())
}

/// Changes when the protocols that bits stand for do.
pub(super) fn protocols_stamp() -> u64 {
    let names: Vec<&str> = TunnelProtocol::all().map(TunnelProtocol::name).collect();
    hash64(names.join(" ").as_bytes())
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    digest(&SHA256, bytes).as_ref().first_chunk().copied().unwrap_or_default()
}

/// A length in one byte, and so many bytes.
fn short(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*len))
}
