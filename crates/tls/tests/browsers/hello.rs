//! What of a ClientHello is the same in every connection of a browser, or one of a few.

use culvert_tls::HelloMessage;

/// Record header.
const RECORD: usize = 5;
const KEY_SHARES: u16 = 0x33;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xFE0D;
/// What stands for a reserved number (RFC 8701).
const GREASE: u16 = 0x0A0A;

/// Numbers and contents, with what is drawn taken out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    record_version: [u8; 2],
    session_id: usize,
    suites: Vec<u16>,
    extensions: Vec<(u16, Vec<u8>)>,
}

impl Hello {
    /// Reads a record with a whole ClientHello. The order of extensions is left out where it is drawn, but for GREASE at both ends.
    pub(crate) fn read(record: &[u8], shuffled: bool) -> Self {
        let hello = HelloMessage::read(&record[RECORD..]).unwrap();
        let mut extensions: Vec<_> = hello
            .extensions
            .iter()
            .map(|(number, content)| (settled(*number), same(*number, content)))
            .collect();
        if shuffled {
            let ends = extensions.len() - 1;
            extensions[1..ends].sort();
        }
        Self {
            record_version: [record[1], record[2]],
            session_id: hello.session_id.len(),
            suites: numbers(hello.suites),
            extensions,
        }
    }
}

fn same(number: u16, content: &[u8]) -> Vec<u8> {
    match number {
        KEY_SHARES => shares(content),
        // Type, ciphers and lengths, but neither configuration, key nor payload.
        ENCRYPTED_CLIENT_HELLO => {
            [&content[..5], &content[6..8], &content[40..42], &content.len().to_be_bytes()].concat()
        }
        _ if content.len().is_multiple_of(2) => {
            numbers(content).iter().flat_map(|number| number.to_be_bytes()).collect()
        }
        // A list behind a length of one byte.
        _ => {
            let rest = numbers(&content[1..]);
            [&content[..1], &rest.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>()]
                .concat()
        }
    }
}

/// Groups and lengths.
fn shares(content: &[u8]) -> Vec<u8> {
    let mut rest = &content[2..];
    let mut shapes = Vec::new();
    while let [a, b, c, d, ..] = rest {
        let length = usize::from(u16::from_be_bytes([*c, *d]));
        shapes.extend(settled(u16::from_be_bytes([*a, *b])).to_be_bytes());
        shapes.extend([*c, *d]);
        rest = &rest[4 + length..];
    }
    shapes
}

fn numbers(list: &[u8]) -> Vec<u16> {
    list.chunks_exact(2).map(|pair| settled(u16::from_be_bytes([pair[0], pair[1]]))).collect()
}

fn settled(number: u16) -> u16 {
    let [high, low] = number.to_be_bytes();
    if high == low && low & 0x0F == 0x0A { GREASE } else { number }
}
