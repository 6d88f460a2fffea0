//! The algorithms that two plaintext SSH streams negotiate: RFC 4253 sections 4.2, 6 and 7.1, read only.

use crate::failure::Failure;

/// The names both sides agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Negotiated {
    /// Key exchange.
    pub(crate) kex: String,
    /// Host key.
    pub(crate) host_key: String,
    /// Cipher from client to server, then from server to client.
    pub(crate) ciphers: [String; 2],
    /// MAC likewise; `implicit` where the cipher authenticates by itself.
    pub(crate) macs: [String; 2],
}

/// What RFC 4253 section 7.1 makes of the first KEXINIT of each stream.
pub(crate) fn negotiate(client: &[u8], server: &[u8]) -> Result<Negotiated, Failure> {
    let missing = |side: &str| {
        Failure::mismatch(format!("{side}'s stream"), "an identification and a KEXINIT", "neither")
    };
    let client = lists(client).ok_or_else(|| missing("client"))?;
    let server = lists(server).ok_or_else(|| missing("server"))?;
    let pick = |index: usize| first_common(client.get(index)?, server.get(index)?);
    let named = |index: usize, what: &str| {
        pick(index).ok_or_else(|| Failure::mismatch(format!("common {what}"), "one", "none"))
    };
    let ciphers = [named(2, "cipher up")?, named(3, "cipher down")?];
    let mac = |index: usize, cipher: &str| {
        let implicit = cipher.contains("gcm") || cipher.contains("poly1305");
        if implicit { Ok("implicit".to_owned()) } else { named(index, "MAC") }
    };
    let macs = [mac(4, &ciphers[0])?, mac(5, &ciphers[1])?];
    Ok(Negotiated { kex: named(0, "key exchange")?, host_key: named(1, "host key")?, ciphers, macs })
}

fn first_common(client: &[String], server: &[String]) -> Option<String> {
    // RFC 8308 section 2.1 and the strict key exchange markers are no algorithms.
    let real = |name: &&String| !name.starts_with("ext-info-") && !name.starts_with("kex-strict-");
    client.iter().filter(real).find(|name| server.contains(name)).cloned()
}

/// The ten name-lists of the first packet, which must be a KEXINIT.
fn lists(stream: &[u8]) -> Option<Vec<Vec<String>>> {
    let mut rest = stream;
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let (line, after) = rest.split_at(end);
        rest = after.get(2..)?;
        if line.starts_with(b"SSH-") {
            break;
        }
    }
    // Packet length, padding length, message number 20, cookie.
    let (header, body) = rest.split_first_chunk::<22>()?;
    if header[5] != 20 {
        return None;
    }
    let mut rest = body;
    let mut found = Vec::new();
    for _ in 0..10 {
        let (length, after) = rest.split_first_chunk()?;
        let (names, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        found.push(std::str::from_utf8(names).ok()?.split(',').map(str::to_owned).collect());
        rest = after;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(names: [&str; 6]) -> Vec<u8> {
        let mut bytes = b"\0\0\r\nSSH-2.0-x\r\n\0\0\0\0\x04\x14".to_vec();
        bytes.extend([0; 16]);
        for list in names.into_iter().chain(["none"; 4]) {
            bytes.extend(u32::try_from(list.len()).unwrap().to_be_bytes());
            bytes.extend(list.as_bytes());
        }
        bytes
    }

    #[test]
    fn the_clients_first_wins_and_markers_do_not_count() {
        let client = stream(["kex-strict-c-v00@openssh.com,a,b", "h", "c2,c1", "x-gcm", "m", "m"]);
        let server = stream(["b,a,kex-strict-c-v00@openssh.com", "h", "c1,c2", "x-gcm", "m", "n"]);
        let agreed = negotiate(&client, &server).unwrap();
        assert_eq!((agreed.kex.as_str(), agreed.ciphers[0].as_str()), ("a", "c2"));
        assert_eq!(agreed.macs, ["m", "implicit"]);
        assert!(negotiate(&client[..40], &server).is_err());
    }
}
