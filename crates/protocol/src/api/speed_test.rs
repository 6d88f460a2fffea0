//! The speed test body, which is also the reply to keepalives, and samples of it. PROTOCOL.md 3.6, 6.4.5.

use serde_json::{Value as Json, json};
use time::OffsetDateTime;

use crate::timestamp::{self, SECONDS_FROM_YEAR_1_TO_1970};

/// Length of the timestamp, which is also the body's first byte.
const TIMESTAMP: u8 = 15;
/// The timestamp's version byte.
const VERSION: u8 = 1;
/// Version of timestamps with seconds in their offset, one byte longer.
const VERSION_2: u8 = 2;

/// One speed test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeedTestSample {
    /// The server's time, cut to the hour.
    pub time: OffsetDateTime,
    /// The server's region.
    pub region: String,
    /// The tunnel protocol.
    pub protocol: String,
    /// Milliseconds from request to reply.
    pub round_trip_milliseconds: i64,
    /// Bytes of the request.
    pub bytes_up: i64,
    /// Bytes of the reply.
    pub bytes_down: i64,
}

/// Why a body gives no sample. Only the sample is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpeedTestError {
    /// Shorter than it says.
    #[error("the peer's speed test body is cut short")]
    Short,
    /// Not a timestamp.
    #[error("the peer's speed test body has no timestamp")]
    Timestamp,
}

/// Writes a body: the time cut to the hour, then padding, which the caller drew (0 to 256 bytes).
#[must_use]
pub fn speed_test_reply(now: OffsetDateTime, padding: &[u8]) -> Vec<u8> {
    let seconds = timestamp::hour_of(now).unix_timestamp() + SECONDS_FROM_YEAR_1_TO_1970;
    let mut body = vec![TIMESTAMP, VERSION];
    body.extend(seconds.to_be_bytes());
    body.extend(0u32.to_be_bytes());
    // The offset -1 stands for UTC.
    body.extend((-1i16).to_be_bytes());
    body.extend(padding);
    body
}

/// Reads the time of a body; what follows it is padding.
///
/// # Errors
/// There is no valid timestamp.
pub fn parse_speed_test_reply(body: &[u8]) -> Result<OffsetDateTime, SpeedTestError> {
    let (length, rest) = body.split_first().ok_or(SpeedTestError::Short)?;
    let stamp = rest.get(..usize::from(*length)).ok_or(SpeedTestError::Short)?;
    let expected = match stamp.first() {
        Some(&VERSION) => TIMESTAMP,
        Some(&VERSION_2) => TIMESTAMP + 1,
        _ => return Err(SpeedTestError::Timestamp),
    };
    if *length != expected {
        return Err(SpeedTestError::Timestamp);
    }
    read_time(stamp).ok_or(SpeedTestError::Timestamp)
}

impl SpeedTestSample {
    /// The sample as a parameter.
    #[must_use]
    pub fn to_json(&self) -> Json {
        json!({
            "s": timestamp::to_second(self.time),
            "r": self.region,
            "p": self.protocol,
            "t": self.round_trip_milliseconds,
            "u": self.bytes_up,
            "d": self.bytes_down,
        })
    }

    /// Reads a sample; none if a member is missing or of another type.
    #[must_use]
    pub fn from_json(value: &Json) -> Option<Self> {
        let text = |name: &str| value.get(name)?.as_str();
        let number = |name: &str| value.get(name)?.as_i64();
        Some(Self {
            time: timestamp::parse(text("s")?)?,
            region: text("r")?.to_owned(),
            protocol: text("p")?.to_owned(),
            round_trip_milliseconds: number("t")?,
            bytes_up: number("u")?,
            bytes_down: number("d")?,
        })
    }
}

fn read_time(stamp: &[u8]) -> Option<OffsetDateTime> {
    let (seconds, rest) = stamp.get(1..)?.split_first_chunk()?;
    let (nanoseconds, _) = rest.split_first_chunk()?;
    let seconds = i64::from_be_bytes(*seconds).checked_sub(SECONDS_FROM_YEAR_1_TO_1970)?;
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    time.replace_nanosecond(u32::from_be_bytes(*nanoseconds)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_survives_and_a_broken_one_is_refused() {
        let now = timestamp::parse("2025-01-02T03:04:05.5Z").unwrap();
        let body = speed_test_reply(now, &[9; 256]);
        assert_eq!(body.len(), 272);
        assert_eq!(parse_speed_test_reply(&body), Ok(timestamp::hour_of(now)));
        for end in 0..16 {
            assert_eq!(parse_speed_test_reply(&body[..end]), Err(SpeedTestError::Short), "{end}");
        }
        assert_eq!(parse_speed_test_reply(&[0, 1]), Err(SpeedTestError::Timestamp));
        assert_eq!(parse_speed_test_reply(&[1, 1]), Err(SpeedTestError::Timestamp));
        let far = [&[15, 1][..], &[0x7f; 14]].concat();
        assert_eq!(parse_speed_test_reply(&far), Err(SpeedTestError::Timestamp));
    }
}
