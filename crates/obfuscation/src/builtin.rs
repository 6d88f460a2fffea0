//! Prefixes that this program brings along, for servers whose entry or parameters name none: beginnings of common
//! protocols, so that a connection's first packet is not the noise that censors drop. The reference's servers take any
//! prefix, and answer a name they do not know with 24 random bytes. Source: `PROTOCOL.md` 2.5; the rule that the
//! first packet must pass is in the tests.

use crate::{GeneratedPrefix, PrefixName, PrefixSpec, Prng, Seed};

/// One built-in prefix: how a client begins, and how our server answers.
#[derive(Debug, PartialEq, Eq)]
pub struct BuiltinPrefix {
    name: &'static str,
    client: &'static str,
    server: &'static str,
}

impl BuiltinPrefix {
    /// One of them, each as likely as the others.
    #[must_use]
    pub fn pick(prng: &mut Prng) -> &'static Self {
        prng.pick(ALL).unwrap_or(&FIRST)
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &PrefixName) -> Option<&'static Self> {
        ALL.iter().find(|prefix| prefix.name.as_bytes() == name.as_bytes())
    }

    /// Its name, as clients tell it to servers.
    #[must_use]
    pub fn name(&self) -> PrefixName {
        PrefixName::new(self.name).expect("built-in names are short")
    }

    /// What a client begins with.
    #[must_use]
    pub fn for_client(&self, seed: &Seed) -> GeneratedPrefix {
        generate(self.client, seed)
    }

    /// What a server answers with.
    #[must_use]
    pub fn for_server(&self, seed: &Seed) -> GeneratedPrefix {
        generate(self.server, seed)
    }
}

fn generate(pattern: &str, seed: &Seed) -> GeneratedPrefix {
    let spec = PrefixSpec::from_pattern(pattern).expect("built-in patterns are valid, as a test shows");
    spec.prefix(seed).expect("built-in patterns generate little, as a test shows")
}

// Lengths vary on purpose. `x{m,n}` draws short ones far more often than long ones, so alternatives are spelt out
// where it matters.

macro_rules! host {
    () => {
        concat!(
            r"(www\.|cdn\.|api\.|static\.|img[0-9]\.|)",
            r"([a-z]{4}|[a-z]{5}|[a-z]{6}|[a-z]{7}|[a-z]{8}|[a-z]{10}|[a-z]{4}-[a-z]{5}|[a-z]{6}-[a-z]{6})",
            r"\.(com|net|org|io|info|co|app|dev)",
        )
    };
}

macro_rules! path {
    () => {
        concat!(
            r"(/|/index\.html|/[a-z]{3}|/[a-z]{5}/[0-9]{4}|/[a-z]{8}|/[a-z]{4}/[a-z]{7}\.(js|css|png|jpg)",
            r"|/v[1-3]/[a-z]{6}/[0-9a-f]{16}|/[a-z]{6}\?id=[0-9]{5}|/[a-z]{4}/[0-9a-f]{32}\.(mp4|zip|bin))",
        )
    };
}

macro_rules! agent {
    () => {
        concat!(
            r"(Mozilla/5\.0 \((Windows NT 10\.0; Win64; x64|Macintosh; Intel Mac OS X 10_15_7|X11; Linux x86_64",
            r"|Linux; Android 1[0-4]; K)\) AppleWebKit/537\.36 \(KHTML, like Gecko\) Chrome/1[23][0-9]\.0\.0\.0",
            r"( Mobile|) Safari/537\.36|curl/8\.[0-9]\.[01]|Wget/1\.21\.[1-4]|okhttp/4\.1[0-2]\.0",
            r"|Dalvik/2\.1\.0 \(Linux; U; Android 1[0-4]\)|python-requests/2\.3[0-2]\.[0-3])",
        )
    };
}

macro_rules! http_answer {
    () => {
        concat!(
            r"HTTP/1\.1 200 OK\r\n(Server: (nginx|nginx/1\.2[0-8]\.[0-3]|Apache|Caddy)\r\n|)",
            r"Content-Type: (application/(octet-stream|zip)|image/(jpeg|png|webp)|video/mp4)\r\n",
            r"Content-Length: [1-9][0-9]{4}([0-9]|[0-9]{2}|[0-9]{3}|)\r\n",
            r"(Cache-Control: (no-store|no-cache|max-age=[1-9]00|max-age=[1-9]0000)\r\n|)",
            r"(ETag: \x22[0-9a-f]{8}-[0-9a-f]{5}\x22\r\n|)(Accept-Ranges: bytes\r\n|)(Connection: keep-alive\r\n|)\r\n",
        )
    };
}

const FIRST: BuiltinPrefix = BuiltinPrefix {
    name: "http-get",
    client: concat!(
        "GET ",
        path!(),
        r" HTTP/1\.1\r\nHost: ",
        host!(),
        r"\r\nUser-Agent: ",
        agent!(),
        r"\r\nAccept: (\*/\*|text/html,\*/\*;q=0\.8)\r\n(Accept-Encoding: (gzip|identity|gzip, deflate|gzip, deflate, br)\r\n|)",
        r"(Accept-Language: (en-US,en;q=0\.[5-9]|fr|de|es-ES)\r\n|)(Connection: keep-alive\r\n|)\r\n",
    ),
    server: http_answer!(),
};

const ALL: &[BuiltinPrefix] = &[
    FIRST,
    BuiltinPrefix {
        name: "http-post",
        client: concat!(
            "POST ",
            path!(),
            r" HTTP/1\.1\r\nHost: ",
            host!(),
            r"\r\nUser-Agent: ",
            agent!(),
            r"\r\nContent-Type: application/(octet-stream|x-protobuf|grpc|zip)\r\n",
            r"Content-Length: [1-9][0-9]{4}([0-9]|[0-9]{2}|)\r\n(Connection: keep-alive\r\n|)\r\n",
        ),
        server: http_answer!(),
    },
    BuiltinPrefix {
        name: "websocket",
        client: concat!(
            r"GET /(ws|socket|live|chat|stream|[a-z]{4}/ws|[a-z]{6}|[a-z]{9}) HTTP/1\.1\r\nHost: ",
            host!(),
            r"\r\n(User-Agent: ",
            agent!(),
            r"\r\n|)Upgrade: websocket\r\nConnection: Upgrade\r\n",
            r"Sec-WebSocket-Key: [A-Za-z0-9+/]{21}[AQgw]==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        ),
        server: concat!(
            r"HTTP/1\.1 101 Switching Protocols\r\n(Server: (nginx|Caddy|Cowboy)\r\n|)Upgrade: websocket\r\n",
            r"Connection: (U|u)pgrade\r\nSec-WebSocket-Accept: [A-Za-z0-9+/]{26}[AEIMQUYcgkosw048]=\r\n\r\n",
        ),
    },
    BuiltinPrefix {
        name: "ssh",
        client: concat!(
            r"SSH-2\.0-(OpenSSH_[89]\.[0-9](p1|)|OpenSSH_9\.[2-9]p1 Debian-[1-9]\+deb12u[1-7]",
            r"|OpenSSH_8\.[29]p1 Ubuntu-[34]ubuntu0\.(1|3|1[0-3])|OpenSSH_for_Windows_[89]\.[1-5]|PuTTY_Release_0\.[78][0-9]",
            r"|libssh2_1\.(9|10|11)\.[01]|libssh_0\.(9\.[0-8]|10\.[0-6])|paramiko_3\.[0-5]\.[01]|WinSCP_release_6\.[1-5]\.[1-6]",
            r"|dropbear_202[0-5]\.[78][0-9]|FileZilla_3\.[67][0-9]\.[0-2]|AsyncSSH_2\.1[0-9]\.[0-2]|Renci\.SshNet\.SshClient\.0\.0\.1",
            r"|JSCH_0\.2\.[1-9]|TTSSH/3\.[01] Win32|OpenSSH_9\.[67]p1 Ubuntu-3ubuntu13\.[1-9]|mod_sftp",
            r"|Cyberduck/[89]\.[0-9]\.[0-4]\.4[0-9]{4} \((Mac OS X/1[2-5]\.[0-6]|Windows 1[01]/10\.0)\) \((aarch64|x86_64|amd64)\))\r\n",
        ),
        server: concat!(
            r"SSH-2\.0-(OpenSSH_[89]\.[0-9](p1|)|OpenSSH_9\.[2-9]p1 Debian-[1-9]\+deb12u[1-7]",
            r"|OpenSSH_8\.[29]p1 Ubuntu-[34]ubuntu0\.(1|3|1[0-3])|dropbear_202[0-5]\.[78][0-9])\r\n",
        ),
    },
    BuiltinPrefix {
        // Record and handshake lengths agree; what follows the session id is as random as the key shares of a real one.
        name: "tls",
        client: concat!(
            r"\x16\x03\x01(\x02\x00\x01\x00\x01\xfc|\x02\x05\x01\x00\x02\x01|\x06\xc4\x01\x00\x06\xc0|\x07\x13\x01\x00\x07\x0f",
            r"|\x01\x3c\x01\x00\x01\x38)\x03\x03[\x00-\xff]{32}\x20[\x00-\xff]{32}",
            r"(\x00\x20[\x0a\x1a\x2a\x3a]{2}\x13\x01\x13\x02\x13\x03\xc0\x2b\xc0\x2f|\x00\x06\x13\x01\x13\x02\x13\x03\x01\x00",
            r"|\x00\x22\x13\x01\x13\x03\x13\x02\xc0\x2b\xc0\x2f\xcc\xa9\xcc\xa8|\x00\x3e\x13\x02\x13\x03\x13\x01\xc0\x2c|)",
            r"([\x00-\xff]{4}|[\x00-\xff]{9}|[\x00-\xff]{17}|[\x00-\xff]{26}|[\x00-\xff]{33}|)",
        ),
        server: concat!(
            r"\x16\x03\x03\x00(\x7a\x02\x00\x00\x76|\x80\x02\x00\x00\x7c)\x03\x03[\x00-\xff]{32}\x20[\x00-\xff]{32}",
            r"\x13[\x01-\x03]\x00\x00\x2e\x00\x2b\x00\x02\x03\x04\x00\x33\x00\x24\x00\x1d\x00\x20[\x00-\xff]{32}",
        ),
    },
    BuiltinPrefix {
        name: "xmpp",
        client: concat!(
            r"<\?xml version='1\.0'( encoding='(UTF|utf)-8'|)\?><stream:stream (from='[a-z]{4}([a-z]{2}|[0-9]{3}|)@",
            host!(),
            r"' |)to='",
            host!(),
            r"' version='1\.0' (xml:lang='(en|de|fr|ru|zh)' |)xmlns='jabber:client' ",
            r"xmlns:stream='http://etherx\.jabber\.org/streams'>",
        ),
        server: concat!(
            r"<\?xml version='1\.0'\?><stream:stream id='([0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
            r"|[0-9]{19,20})' from='",
            host!(),
            r"' version='1\.0' xml:lang='en' xmlns='jabber:client' xmlns:stream='http://etherx\.jabber\.org/streams'>",
        ),
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{ClientPreamble, Keyword, ObfuscatorSeed, PaddingRange, PreamblePlan, PrefixPlan};

    /// What a middlebox sees of a write: the first segment.
    const SEGMENT: usize = 1448;
    const DRAWS: u32 = 2000;

    fn seed(n: u32) -> Seed {
        Seed::from_bytes([0; 32]).derive(&n.to_string())
    }

    fn printable(byte: &u8) -> bool {
        (0x20..=0x7E).contains(byte)
    }

    /// Whether a censor's rule against fully encrypted traffic lets a first packet pass: too many or too few bits
    /// set, six printable bytes first, more than half printable, more than 20 printable in a row, or the first bytes
    /// of TLS or HTTP.
    fn passes(packet: &[u8]) -> bool {
        let ones: u32 = packet.iter().map(|byte| byte.count_ones()).sum();
        let per_byte = f64::from(ones) / packet.len() as f64;
        let share = packet.iter().filter(|byte| printable(byte)).count() * 2 > packet.len();
        let run = packet.split(|byte| !printable(byte)).map(<[u8]>::len).max().unwrap_or(0) > 20;
        let tls = matches!(packet, [0x16 | 0x17, 0x03, 0x00..=0x09, ..]);
        let http = ["GET ", "PUT ", "POST ", "HEAD "].iter().any(|verb| packet.starts_with(verb.as_bytes()));
        let head = packet.get(..6).is_some_and(|head| head.iter().all(printable));
        per_byte <= 3.4 || per_byte >= 4.6 || head || share || run || tls || http
    }

    /// The share of the most frequent length.
    fn dominance(lengths: &[usize]) -> f64 {
        let mut counts = BTreeMap::new();
        lengths.iter().for_each(|len| *counts.entry(*len).or_insert(0_u32) += 1);
        f64::from(counts.into_values().max().unwrap_or(0)) / lengths.len() as f64
    }

    #[test]
    fn the_rule_blocks_noise() {
        let blocked = (0..200).filter(|n| !passes(&Prng::new(&seed(*n)).bytes(300))).count();
        assert!(blocked > 190, "{blocked}");
    }

    #[test]
    fn every_first_packet_passes_and_no_length_dominates() {
        for builtin in ALL {
            let mut lengths = Vec::new();
            let spec = PrefixSpec::from_pattern(builtin.client).unwrap();
            for n in 0..DRAWS {
                let prefix = spec.prefix(&seed(n)).unwrap();
                let alone = &prefix.bytes()[..prefix.unfilled()];
                assert!(passes(alone), "{} alone, seed {n}: {alone:?}", builtin.name);
                // What follows looks random whatever it is.
                let mut prng = Prng::new(&seed(n));
                let rest = prng.padding(40, 9000);
                let joined: Vec<u8> = prefix.bytes().iter().chain(&rest).copied().take(SEGMENT).collect();
                assert!(passes(&joined), "{} with more, seed {n}", builtin.name);
                assert!(prefix.unfilled() < 700, "{}, seed {n}", builtin.name);
                lengths.push(prefix.unfilled());
            }
            assert!(dominance(&lengths) < 0.2, "{}: {}", builtin.name, dominance(&lengths));
        }
    }

    #[test]
    fn first_packets_of_picked_prefixes_pass_as_they_are_sent() {
        let keyword = Keyword::new("keyword");
        let (mut alone, mut joined) = (Vec::new(), Vec::new());
        for n in 0..DRAWS / 10 {
            let mut prng = Prng::new(&seed(n));
            let builtin = BuiltinPrefix::pick(&mut prng);
            let prefix = builtin.for_client(&seed(n).derive("prefix"));
            alone.push(prefix.unfilled());
            let plan = PreamblePlan {
                obfuscator_seed: ObfuscatorSeed::from_bytes(*prng.bytes(16).first_chunk().unwrap()),
                padding_seed: seed(n).derive("padding"),
                padding: PaddingRange::default(),
                prefix: Some(PrefixPlan { name: builtin.name(), prefix, split: None }),
            };
            let preamble = ClientPreamble::new(&keyword, &plan);
            assert_eq!(preamble.first_write, preamble.bytes.len());
            assert!(passes(&preamble.bytes[..preamble.bytes.len().min(SEGMENT)]), "seed {n}");
            joined.push(preamble.bytes.len());
        }
        assert!(dominance(&alone) < 0.2 && dominance(&joined) < 0.2);
    }

    #[test]
    fn servers_answer_every_name() {
        for builtin in ALL {
            assert_eq!(BuiltinPrefix::named(&builtin.name()), Some(builtin));
            let lengths: Vec<usize> = (0..200).map(|n| builtin.for_server(&seed(n)).unfilled()).collect();
            assert!(lengths.iter().all(|len| (20..1000).contains(len)), "{}: {lengths:?}", builtin.name);
        }
        assert_eq!(BuiltinPrefix::named(&PrefixName::new("other").unwrap()), None);
    }
}
