//! HLS playlists whose addresses are made to lead through the URL modes, so that a player that knows no proxies stays
//! in the tunnel. Lines that name nothing are left as they are.
//!
//! Source: RFC 8216 sections 4.1 to 4.4.

use std::borrow::Cow;
use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use url::Url;

use super::url_mode;

/// The longest playlist, packed or not; live ones have some kilobytes.
pub const LONGEST: usize = 4 << 20;

/// Why a playlist is not rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlaylistError {
    #[error("the playlist is not in gzip form although it says so")]
    Gzip,
    #[error("the playlist has more than {LONGEST} bytes")]
    TooLong,
}

/// Unpacks a body that is in gzip form.
pub fn unpacked(body: &[u8]) -> Result<Vec<u8>, PlaylistError> {
    let mut text = Vec::new();
    let limit = LONGEST as u64 + 1;
    MultiGzDecoder::new(body).take(limit).read_to_end(&mut text).map_err(|_| PlaylistError::Gzip)?;
    if text.len() > LONGEST { Err(PlaylistError::TooLong) } else { Ok(text) }
}

/// A playlist from `base`, with its addresses leading through the proxy at `proxy` (host and port). `None` for what is
/// no playlist.
pub fn rewritten(text: &[u8], base: &Url, proxy: &str) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !text.starts_with("#EXTM3U") {
        return None;
    }
    let mut out = String::with_capacity(text.len() * 2);
    let mut names_playlist = false;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches(['\n', '\r']);
        let ending = line.get(bare.len()..).unwrap_or_default();
        if let Some(tag) = bare.strip_prefix('#') {
            out.push_str(&with_attribute(bare, tag, base, proxy));
            // The address of a variant stands on the next line that is no tag.
            names_playlist |= tag.starts_with("EXT-X-STREAM-INF:");
        } else if bare.trim().is_empty() {
            out.push_str(bare);
        } else {
            out.push_str(&through(bare.trim(), base, proxy, names_playlist));
            names_playlist = false;
        }
        out.push_str(ending);
    }
    Some(out)
}

/// The tags whose `URI` attribute names another playlist.
const OF_PLAYLISTS: [&str; 3] = ["EXT-X-MEDIA:", "EXT-X-I-FRAME-STREAM-INF:", "EXT-X-RENDITION-REPORT:"];

/// A tag with its `URI` attribute rewritten, if it has one. RFC 8216 section 4.2: attributes are quoted, without escapes.
fn with_attribute<'l>(line: &'l str, tag: &str, base: &Url, proxy: &str) -> Cow<'l, str> {
    const NAME: &str = "URI=\"";
    let begins = |at: &usize| {
        let before = at.checked_sub(1).and_then(|before| line.as_bytes().get(before));
        tag.starts_with("EXT-X-") && matches!(before, Some(b':' | b',' | b' '))
    };
    let Some(at) = line.match_indices(NAME).map(|(at, _)| at).find(begins) else { return line.into() };
    let Some((head, rest)) = line.split_at_checked(at + NAME.len()) else { return line.into() };
    let Some((uri, tail)) = rest.split_once('"') else { return line.into() };
    let is_playlist = OF_PLAYLISTS.iter().any(|name| tag.starts_with(name));
    format!("{head}{}\"{tail}", through(uri, base, proxy, is_playlist)).into()
}

/// An address that leads through the proxy, unless it is none that can be fetched.
fn through<'u>(uri: &'u str, base: &Url, proxy: &str, is_playlist: bool) -> Cow<'u, str> {
    match base.join(uri) {
        Ok(absolute) if matches!(absolute.scheme(), "http" | "https") => {
            url_mode::address(proxy, &absolute, is_playlist).into()
        }
        _ => uri.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const PROXY: &str = "127.0.0.1:8080";

    fn after(text: &str) -> String {
        let base = Url::parse("https://cdn.example/a/list.m3u8?t=1").unwrap();
        rewritten(text.as_bytes(), &base, PROXY).unwrap()
    }

    #[test]
    fn segments_keys_and_maps_stay_in_the_tunnel() {
        let text = "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"k.bin\",IV=0x1\r\n#EXT-X-MAP:URI=\"/init.mp4\"\n\
                    #EXTINF:9.0,a title URI=\"no\"\nseg 1.ts?x=1&y=2\n\n#EXT-X-KEY:METHOD=SAMPLE,URI=\"skd://key\"\n# a remark\nhttp://other.example/s";
        let expected = "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"http://127.0.0.1:8080/tunneled/https%3A%2F%2Fcdn.example%2Fa%2Fk.bin\",IV=0x1\r\n\
            #EXT-X-MAP:URI=\"http://127.0.0.1:8080/tunneled/https%3A%2F%2Fcdn.example%2Finit.mp4\"\n\
            #EXTINF:9.0,a title URI=\"no\"\n\
            http://127.0.0.1:8080/tunneled/https%3A%2F%2Fcdn.example%2Fa%2Fseg%25201.ts%3Fx%3D1%26y%3D2\n\n\
            #EXT-X-KEY:METHOD=SAMPLE,URI=\"skd://key\"\n# a remark\nhttp://127.0.0.1:8080/tunneled/http%3A%2F%2Fother.example%2Fs";
        assert_eq!(after(text), expected);
    }

    #[test]
    fn variants_and_renditions_are_rewritten_in_turn() {
        let text = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,URI=\"en.m3u8\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\n\nlow.m3u8\nx.ts\n";
        let rewrite = "http://127.0.0.1:8080/tunneled-rewrite/https%3A%2F%2Fcdn.example%2Fa%2F";
        let plain = "http://127.0.0.1:8080/tunneled/https%3A%2F%2Fcdn.example%2Fa%2F";
        let expected = format!(
            "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,URI=\"{rewrite}en.m3u8?m3u8=\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\n\n{rewrite}low.m3u8?m3u8=\n{plain}x.ts\n"
        );
        assert_eq!(after(text), expected);
    }

    #[test]
    fn other_texts_are_no_playlists_and_bombs_are_refused() {
        let base = Url::parse("http://a.example/").unwrap();
        assert_eq!(rewritten(b"<html>", &base, PROXY), None);
        assert_eq!(rewritten(b"#EXTM3U\n\xff", &base, PROXY), None);
        let packed = |bytes: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(unpacked(&packed(b"#EXTM3U")).unwrap(), b"#EXTM3U");
        assert_eq!(unpacked(&packed(&vec![0; LONGEST + 1])), Err(PlaylistError::TooLong));
        assert_eq!(unpacked(b"#EXTM3U"), Err(PlaylistError::Gzip));
    }
}
