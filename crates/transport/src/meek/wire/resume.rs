//! What lets a request be made again: which body counts as one that came before, and how a client says from where it lacks the
//! response. Source: TRANSPORTS.md 2.6.

use crc::{CRC_64_NVME, Crc, Table};

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_NVME);

/// A body as it is remembered: a server keeps that of the last body that was not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Of a whole body, padding included.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self(CRC.checksum(body))
    }

    /// The check sum itself, CRC-64/NVME.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

/// The value of the `Range` header by which a client asks for a response's rest.
#[must_use]
pub fn range_of(received: u64) -> String {
    format!("bytes={received}-")
}

/// From where a response is asked for; `None` for all that is not exactly what [`range_of`] gives.
#[must_use]
pub fn range_position(header: &[u8]) -> Option<u64> {
    let digits = header.strip_prefix(b"bytes=")?.strip_suffix(b"-")?;
    let digits =
        std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flavour_of_the_check_sum() {
        assert_eq!(Fingerprint::of(b"123456789").get(), 0xae8b_1486_0a79_9888);
    }

    #[test]
    fn ranges() {
        for position in [0, 1, 65_536, u64::MAX] {
            assert_eq!(range_position(range_of(position).as_bytes()), Some(position));
        }
        for other in
            ["", "bytes=", "bytes=-", "bytes=+1-", "bytes=1-2", "Bytes=1-", "bytes= 1-", "bytes=1-,3-"]
        {
            assert_eq!(range_position(other.as_bytes()), None, "{other}");
        }
        assert_eq!(range_position(b"bytes=18446744073709551616-"), None);
    }
}
