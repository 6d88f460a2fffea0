//! Recorded heads of meek's requests and responses: ours are the same bytes, theirs are understood.

use bytes::BytesMut;
use culvert_transport::meek::{HeadWriter, Piece, RequestLook, RequestPart, ResponseHead};
use serde_json::Value;

use crate::obfuscation::fields::{Checked, boolean, expect_len, integer, list, same, text};

/// One exchange, as the client sees it.
pub(super) fn exchange(case: &Value) -> Checked {
    let head = text(case, "request_head")?;
    let field = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.strip_prefix(": ")).ok_or_else(|| format!("no {name} in the request"))
    };
    let (cookie_name, cookie) = field("Cookie")?.split_once('=').ok_or("no cookie")?;
    let look = RequestLook {
        host: field("Host")?.to_owned(),
        user_agent: field("User-Agent")?.to_owned(),
        content_type: field("Content-Type")?.to_owned(),
        cookie_name: cookie_name.to_owned(),
        additional: Vec::new(),
        transform: None,
    };
    let part = RequestPart { cookie, length: integer(case, "request_body_length")?, range: None };
    let mut written = Vec::new();
    let writer = HeadWriter::new(look).map_err(|error| error.to_string())?;
    writer.write(part, &mut written).map_err(|error| error.to_string())?;
    same("request_head", head, &String::from_utf8_lossy(&written))?;
    response(case, cookie_name)
}

fn response(case: &Value, cookie_name: &str) -> Checked {
    let mut input = BytesMut::from(text(case, "response_head")?);
    let length = integer(case, "response_body_length")?;
    if boolean(case, "response_chunked")? {
        for size in list(case, "response_chunk_sizes")? {
            let size = size.as_u64().and_then(|size| usize::try_from(size).ok()).ok_or("no chunk size")?;
            input.extend_from_slice(format!("{size:x}\r\n").as_bytes());
            input.extend_from_slice(&[b'\n'].repeat(size));
            input.extend_from_slice(b"\r\n");
        }
    } else {
        input.extend_from_slice(&[b'\n'].repeat(length));
    }
    let head = ResponseHead::take(&mut input, cookie_name).map_err(|error| error.to_string())?;
    let head = head.ok_or("the head is taken for incomplete")?;
    same("status and reuse", (200, true), (head.status, head.keep_alive))?;
    let (mut body, mut read) = (head.body, 0);
    while let Piece::Data(piece) = body.take(&mut input).map_err(|error| error.to_string())? {
        read += piece.len();
    }
    expect_len(case, "response_body_length", read)?;
    same("bytes behind the response", 0, input.len())
}
