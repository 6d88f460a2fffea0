//! The URL modes: an address in the path of a request to the proxy itself, for programs that know no proxies. The path
//! says how it is fetched; not the fetching, which is `fetch.rs`.
//!
//! Source: the reference's paths, `/tunneled/`, `/direct/`, `/tunneled-rewrite/` and `/tunneled-icy/`, each followed by the
//! escaped address.

use url::Url;

/// How an address is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Through the tunnel.
    Tunneled,
    /// Past it.
    Direct,
    /// Through the tunnel; in playlists, addresses are made to lead through it too.
    Rewrite,
    /// Through the tunnel, from radio servers too, which begin an answer with "ICY".
    Icy,
}

const PATHS: [(&str, Mode); 4] = [
    ("/tunneled/", Mode::Tunneled),
    ("/direct/", Mode::Direct),
    ("/tunneled-rewrite/", Mode::Rewrite),
    ("/tunneled-icy/", Mode::Icy),
];

/// Why a path of these is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path needs an escaped http:// or https:// address behind its first part")]
pub struct BadAddress;

/// What the path and query of a request ask for; `None` when the path is none of these.
pub fn parse(path: &str, query: Option<&str>) -> Option<Result<(Mode, Url), BadAddress>> {
    let (rest, mode) = PATHS.iter().find_map(|(prefix, mode)| Some((path.strip_prefix(prefix)?, *mode)))?;
    // The reference rewrites only what the query names, which is playlists.
    let rewrites =
        query.is_some_and(|query| query.split('&').any(|pair| pair.split('=').next() == Some("m3u8")));
    let mode = if mode == Mode::Rewrite && !rewrites { Mode::Tunneled } else { mode };
    Some(origin(rest).map(|url| (mode, url)).ok_or(BadAddress))
}

fn origin(escaped: &str) -> Option<Url> {
    let text = String::from_utf8(unescaped(escaped)?).ok()?;
    let url = Url::parse(&text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

/// The address that fetches `url` through the proxy at `proxy`.
pub(super) fn address(proxy: &str, url: &Url, is_playlist: bool) -> String {
    let escaped: String = url::form_urlencoded::byte_serialize(url.as_str().as_bytes()).collect();
    match is_playlist {
        true => format!("http://{proxy}/tunneled-rewrite/{escaped}?m3u8="),
        false => format!("http://{proxy}/tunneled/{escaped}"),
    }
}

/// Text without its escapes, in which a plus is a space, as in queries.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_mode_and_address() {
        let address = "https%3A%2F%2Fa.example%3A8443%2Fb%3Fc%3Dd%2Be";
        for (path, query, mode) in [
            ("tunneled", None, Mode::Tunneled),
            ("direct", None, Mode::Direct),
            ("tunneled-rewrite", Some("m3u8="), Mode::Rewrite),
            ("tunneled-rewrite", Some("x=1&m3u8"), Mode::Rewrite),
            ("tunneled-rewrite", None, Mode::Tunneled),
            ("tunneled-icy", None, Mode::Icy),
        ] {
            let (found, url) = parse(&format!("/{path}/{address}"), query).unwrap().unwrap();
            assert_eq!((found, url.as_str()), (mode, "https://a.example:8443/b?c=d+e"), "{path}");
        }
        assert_eq!(parse("/other/x", None), None);
        for wrong in
            ["", "a.example", "ftp%3A%2F%2Fa.example", "http%3A%2F%2F", "http%3A%2", "%ff", "data%3Ax"]
        {
            assert_eq!(parse(&format!("/tunneled/{wrong}"), None), Some(Err(BadAddress)), "{wrong}");
        }
        // What was not escaped is understood as well.
        let (_, url) = parse("/direct/http://a.example/b", None).unwrap().unwrap();
        assert_eq!(url.as_str(), "http://a.example/b");
    }

    #[test]
    fn an_address_through_the_proxy_is_understood_by_it() {
        let url = Url::parse("http://a.example/b c?d=%2F&e#f").unwrap();
        for (is_playlist, mode) in [(true, Mode::Rewrite), (false, Mode::Tunneled)] {
            let through = Url::parse(&address("127.0.0.1:8080", &url, is_playlist)).unwrap();
            assert_eq!(parse(through.path(), through.query()), Some(Ok((mode, url.clone()))));
        }
    }
}
