//! What a ClientHello tells of the program that made it: JA4, and whether a browser has that. Sources: RFC 8446 section 4.1.2; FoxIO's JA4
//! specification (technical details, "JA4").

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;

/// JA4 of browsers, without the letter for the presence of a server name, which is the network's to choose.
/// From FoxIO's published list, and computed from the browsers named.
const BROWSERS: &[(&str, &str)] = &[
    ("t13_1516h2_8daaf6152771_02713d6af862", "Chromium 117 to 130"),
    ("t13_1516h2_8daaf6152771_e5627efa2ab1", "Chromium 106 to 116"),
    ("t13_1516h2_8daaf6152771_d8a2da3f94cd", "Chromium 131 and later"),
    ("t13_1517h2_8daaf6152771_cb7bf5808d99", "Chromium 156"),
    ("t13_1715h2_5b57614c22b0_5c2c66f702b0", "Firefox 105 to 116"),
    ("t13_1715h2_5b57614c22b0_7121afd63204", "Firefox 120"),
    ("t13_1717h2_5b57614c22b0_3cbfd9057e0d", "Firefox 135 and later"),
    ("t13_1617h2_86a278354501_3cbfd9057e0d", "Firefox 153"),
    ("t13_2014h2_a09f3c656075_14788d8d241b", "Safari 15 to 17"),
    ("t13_2014h2_a09f3c656075_e42f34c56612", "Safari 18"),
    ("t13_2013h2_a09f3c656075_7f0f34a4126d", "Safari 26"),
];

/// The lists of a ClientHello, GREASE left out (RFC 8701).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    version: u16,
    suites: Vec<u16>,
    extensions: Vec<u16>,
    signatures: Vec<u16>,
    protocol: Vec<u8>,
}

impl ClientHello {
    /// Reads one from the beginning of a stream of TLS records. `None`: there is none, or not all of it.
    #[must_use]
    pub fn read(stream: &[u8]) -> Option<Self> {
        let mut message = Vec::new();
        let mut records = stream;
        while message.len() < 4 || message.len() < 4 + length24(&message)? {
            let (header, rest) = records.split_at_checked(5)?;
            let [22, 3, _, high, low] = header else { return None };
            let (body, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
            message.extend_from_slice(body);
            records = rest;
        }
        Self::parse(&message)
    }

    fn parse(message: &[u8]) -> Option<Self> {
        let mut reader = Reader(message);
        if reader.take(1)? != [1] {
            return None;
        }
        reader.take(3)?;
        let version = reader.u16()?;
        reader.take(32)?;
        reader.list8()?;
        let suites = numbers(reader.list16()?);
        reader.list8()?;
        let mut hello = Self { version, suites, ..Self::default() };
        let mut extensions = Reader(reader.list16()?);
        while !extensions.0.is_empty() {
            let kind = extensions.u16()?;
            let mut body = Reader(extensions.list16()?);
            match kind {
                13 => hello.signatures = numbers(body.list16()?),
                16 => hello.protocol = Reader(body.list16()?).list8()?.to_vec(),
                43 => hello.version = numbers(body.list8()?).into_iter().max().unwrap_or(version),
                _ => {}
            }
            if !is_grease(kind) {
                hello.extensions.push(kind);
            }
        }
        Some(hello)
    }

    /// Whether a server name is in it.
    #[must_use]
    pub fn has_server_name(&self) -> bool {
        self.extensions.contains(&0)
    }

    /// Its JA4, over TCP.
    #[must_use]
    pub fn ja4(&self) -> String {
        let version = match self.version {
            0x0304 => "13",
            0x0303 => "12",
            0x0302 => "11",
            0x0301 => "10",
            _ => "00",
        };
        let name = if self.has_server_name() { 'd' } else { 'i' };
        let end = |at: Option<&u8>| at.map_or('0', |byte| char::from(*byte));
        let (first, last) = (end(self.protocol.first()), end(self.protocol.last()));
        let (suites, extensions) = (self.suites.len().min(99), self.extensions.len().min(99));
        let mut sorted = self.suites.clone();
        sorted.sort_unstable();
        let mut kinds: Vec<u16> =
            self.extensions.iter().copied().filter(|kind| ![0, 16].contains(kind)).collect();
        kinds.sort_unstable();
        let mut tail = list(&kinds);
        if !self.signatures.is_empty() {
            tail = format!("{tail}_{}", list(&self.signatures));
        }
        format!(
            "t{version}{name}{suites:02}{extensions:02}{first}{last}_{}_{}",
            short_hash(&list(&sorted)),
            short_hash(&tail)
        )
    }
}

/// The browser whose JA4 this is, or would be with or without a server name.
#[must_use]
pub fn browser_of(ja4: &str) -> Option<&'static str> {
    let without = [ja4.get(..3)?, ja4.get(4..)?].join("_");
    // The count of extensions has the server name in it.
    let one_more = count_changed(&without);
    let known = |name: &str| BROWSERS.iter().find(|(known, _)| *known == name).map(|(_, browser)| *browser);
    match ja4.get(3..4)? {
        "d" => known(&without),
        _ => known(&one_more?),
    }
}

/// The same with one extension more.
fn count_changed(name: &str) -> Option<String> {
    let count: u32 = name.get(6..8)?.parse().ok()?;
    Some(format!("{}{:02}{}", name.get(..6)?, count + 1, name.get(8..)?))
}

fn list(numbers: &[u16]) -> String {
    numbers.iter().map(|number| format!("{number:04x}")).collect::<Vec<_>>().join(",")
}

fn short_hash(text: &str) -> String {
    if text.is_empty() {
        return "000000000000".to_owned();
    }
    let hash = HEXLOWER.encode(digest(&SHA256, text.as_bytes()).as_ref());
    hash.get(..12).unwrap_or_default().to_owned()
}

/// RFC 8701 section 2.
fn is_grease(number: u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high == low && low & 0x0F == 0x0A
}

fn numbers(list: &[u8]) -> Vec<u16> {
    let pairs = list.chunks_exact(2).map(|pair| pair.iter().fold(0, |sum, byte| sum << 8 | u16::from(*byte)));
    pairs.filter(|number| !is_grease(*number)).collect()
}

fn length24(message: &[u8]) -> Option<usize> {
    let [_, a, b, c, ..] = message else { return None };
    usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).ok()
}

/// Takes from the front; `None` when there is less.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        let [high, low] = self.take(2)? else { return None };
        Some(u16::from_be_bytes([*high, *low]))
    }

    fn list8(&mut self) -> Option<&'b [u8]> {
        let [length] = self.take(1)? else { return None };
        self.take(usize::from(*length))
    }

    fn list16(&mut self) -> Option<&'b [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists of Chromium 120, as FoxIO publishes them.
    fn chromium() -> ClientHello {
        ClientHello {
            version: 0x0304,
            suites: vec![
                0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x9c,
                0x9d, 0x2f, 0x35,
            ],
            extensions: vec![
                0x1b, 0, 0x33, 0x10, 0x4469, 0x17, 0x2d, 0x0d, 5, 0x23, 0x12, 0x2b, 0xff01, 0x0b, 0x0a,
                0xfe0d,
            ],
            signatures: vec![0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601],
            protocol: b"h2".to_vec(),
        }
    }

    #[test]
    fn ja4_is_as_published() {
        let mut hello = chromium();
        assert_eq!(hello.ja4(), "t13d1516h2_8daaf6152771_02713d6af862");
        assert_eq!(browser_of(&hello.ja4()), Some("Chromium 117 to 130"));
        hello.extensions.remove(1);
        assert_eq!(hello.ja4(), "t13i1515h2_8daaf6152771_02713d6af862");
        assert_eq!(browser_of(&hello.ja4()), Some("Chromium 117 to 130"));
        hello.suites.pop();
        assert_eq!(browser_of(&hello.ja4()), None);
        assert_eq!(browser_of(""), None);
    }

    #[test]
    fn a_hello_is_read_over_records() {
        let extensions = [0, 13, 0, 4, 0, 2, 4, 3, 0x2A, 0x2A, 0, 0, 0, 43, 0, 5, 4, 0x3A, 0x3A, 3, 4];
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 4, 0x1A, 0x1A, 0x13, 1, 1, 0, 0, 21]);
        body.extend(extensions);
        let mut message = vec![1, 0, 0, u8::try_from(body.len()).unwrap()];
        message.extend(body);
        let mut stream = Vec::new();
        for piece in message.chunks(20) {
            stream.extend([22, 3, 1, 0, u8::try_from(piece.len()).unwrap()]);
            stream.extend(piece);
        }
        let hello = ClientHello::read(&stream).unwrap();
        let expected = ClientHello {
            version: 0x0304,
            suites: vec![0x1301],
            extensions: vec![13, 43],
            signatures: vec![0x0403],
            protocol: Vec::new(),
        };
        assert_eq!(hello, expected);
        for end in 0..stream.len() {
            assert_eq!(ClientHello::read(&stream[..end]), None);
        }
    }
}
