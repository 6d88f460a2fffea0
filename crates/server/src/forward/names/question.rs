//! The first question of a DNS query that a client wants passed on: enough of the message to know what is asked, and that it
//! is a query at all. Source: RFC 1035 section 4.1; PROTOCOL.md 7.1.

/// RFC 1035 section 2.3.4.
const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;

/// Why a datagram is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    #[error("the client's datagram is shorter than the DNS message that it begins")]
    Short,
    #[error("the client's datagram is no DNS query with one question")]
    NotAQuery,
    #[error("the client's DNS question has a name that is too long, or refers to another")]
    Name,
}

/// The name that is asked for: lower case, without a final dot, empty for the root. Bytes that host names do not have are
/// there as `\ddd`, so that different names are never the same text.
pub fn question_name(message: &[u8]) -> Result<String, QuestionError> {
    let (header, mut rest) = message.split_first_chunk::<12>().ok_or(QuestionError::Short)?;
    let [_, _, flags, _, high, low, ..] = *header;
    // A query of the ordinary kind: not a response, not an update.
    if flags & 0xF8 != 0 || [high, low] != [0, 1] {
        return Err(QuestionError::NotAQuery);
    }
    let (mut name, mut length) = (String::new(), 0);
    loop {
        let (label, after) = rest.split_first().ok_or(QuestionError::Short)?;
        let size = usize::from(*label);
        length += size + 1;
        if size > MAX_LABEL || length > MAX_NAME {
            return Err(QuestionError::Name);
        }
        let (label, after) = after.split_at_checked(size).ok_or(QuestionError::Short)?;
        rest = after;
        if size == 0 {
            break;
        }
        if !name.is_empty() {
            name.push('.');
        }
        for byte in label {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'*' => {
                    name.push(char::from(byte.to_ascii_lowercase()));
                }
                other => name.push_str(&format!("\\{other:03}")),
            }
        }
    }
    // Its type and class.
    if rest.len() < 4 { Err(QuestionError::Short) } else { Ok(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &[u8]) -> Vec<u8> {
        [&[0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], name, &[0, 1, 0, 1]].concat()
    }

    #[test]
    fn names_are_read() {
        for (wire, name) in [
            (&b"\x03Www\x07example\0"[..], "www.example"),
            (b"\0", ""),
            (b"\x01_\x03a.b\0", "_.a\\046b"),
            (b"\x02\xff\0\0", "\\255\\000"),
        ] {
            assert_eq!(question_name(&query(wire)).as_deref(), Ok(name));
        }
    }

    #[test]
    fn what_is_no_query_is_not_taken_for_one() {
        let good = query(b"\x01x\0");
        for length in 0..good.len() {
            assert_eq!(question_name(&good[..length]), Err(QuestionError::Short), "{length}");
        }
        for (at, byte) in [(2, 0x80), (2, 0x28), (5, 2), (5, 0), (4, 1)] {
            let mut bad = good.clone();
            bad[at] |= byte;
            if at == 5 && byte == 0 {
                bad[at] = 0;
            }
            assert_eq!(question_name(&bad), Err(QuestionError::NotAQuery), "{at}");
        }
        assert_eq!(question_name(&query(b"\xc0\x0c")), Err(QuestionError::Name));
        let long = [&[60; 61][..], &[60; 61], &[60; 61], &[60; 61], &[60; 61], &[0]].concat();
        assert_eq!(question_name(&query(&long)), Err(QuestionError::Name));
    }
}
