//! HTTP/1.1 with clients that connect straight to the server: bodies in, responses out, pieces written as they are. Responses look like those of a
//! common web server in front of an application. Source: TRANSPORTS.md 2.6, RFC 9112.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::session::{Status, Turn};
use crate::Stream;
use crate::meek::wire::MAX_BODY;

/// Up to this a response is sent whole, with its length.
const SMALL: usize = 2048;
/// What goes to a stream at once that cannot take several pieces: a record of TLS.
const JOINED: usize = 16 * 1024;
/// Most bytes that a filler is made of, besides its least.
const MOST_FILLER: usize = 255;
/// A body that is too long is read to its end, so that the connection can go on, if it is not longer than this.
const MOST_DISCARDED: usize = 1 << 20;

/// A request's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// It is longer than any may be; it was read and thrown away.
    TooLong,
}

/// Reads a body of this length, the beginning of which was received before.
///
/// # Errors
/// The connection ended before the body did, or the body is out of all bounds.
pub async fn read_body(stream: &mut Stream, received: &mut BytesMut, len: usize) -> io::Result<Body> {
    if len > MAX_BODY {
        discard(stream, received, len).await?;
        return Ok(Body::TooLong);
    }
    received.reserve(len.saturating_sub(received.len()));
    while received.len() < len {
        if stream.read_buf(received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Body::Whole(received.split_to(len).freeze()))
}

async fn discard(stream: &mut Stream, received: &mut BytesMut, len: usize) -> io::Result<()> {
    if len > MOST_DISCARDED {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let at_hand = received.len().min(len);
    received.advance(at_hand);
    let mut left = len - at_hand;
    while left > 0 {
        let mut space = [0; 4096];
        let room = space.get_mut(..left.min(4096)).unwrap_or_default();
        match stream.read(room).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => left -= read,
        }
    }
    Ok(())
}

/// What goes into a response's head.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Its status.
    pub status: Status,
    /// The cookie's name and the session's, once.
    pub set_cookie: Option<(&'a [u8], &'a str)>,
    /// How long a write may take.
    pub patience: Duration,
}

/// Writes a response; without a turn an empty one.
///
/// # Errors
/// The connection broke, or the peer reads nothing for too long.
pub async fn respond(stream: &mut Stream, answer: &Answer<'_>, turn: Option<&mut Turn>) -> io::Result<()> {
    let mut pieces = Pieces::default();
    // What takes no pieces encrypts them: there a length is all that is seen, and is not to be one that every flow has.
    let varies = !stream.is_write_vectored();
    let Some(turn) = turn else {
        pieces.push(head(answer, Some(0), varies));
        return write(stream, pieces, answer.patience).await;
    };
    let mut more = true;
    let mut batch = Vec::new();
    let mut body = Vec::new();
    let mut len = 0;
    while more && len <= SMALL {
        more = turn.next(&mut batch).await;
        len += batch.iter().map(Bytes::len).sum::<usize>();
        body.append(&mut batch);
    }
    if !more {
        pieces.push(head(answer, Some(len), varies));
        body.into_iter().for_each(|piece| pieces.push(piece));
        return write(stream, pieces, answer.patience).await;
    }
    pieces.push(head(answer, None, varies));
    pieces.push_chunk(&mut body);
    loop {
        write(stream, std::mem::take(&mut pieces), answer.patience).await?;
        if !turn.next(&mut batch).await {
            break;
        }
        pieces.push_chunk(&mut batch);
    }
    pieces.push(match varies {
        // A trailer: RFC 9112 section 7.1.2.
        true => format!("0\r\nServer-Timing: {}\r\n\r\n", filler()).into(),
        false => Bytes::from_static(b"0\r\n\r\n"),
    });
    write(stream, pieces, answer.patience).await
}

/// Text of a length that is drawn; without randomness it has the least.
fn filler() -> String {
    const LEAST: usize = 8;
    let mut drawn = [0; 1 + LEAST + MOST_FILLER];
    let most = match aws_lc_rs::rand::fill(&mut drawn) {
        Ok(()) => drawn.first().map_or(0, |byte| usize::from(*byte)),
        Err(_) => 0,
    };
    let bytes = drawn.get(1..=LEAST + most.min(MOST_FILLER)).unwrap_or_default();
    data_encoding::BASE64URL_NOPAD.encode(bytes)
}

fn head(answer: &Answer<'_>, len: Option<usize>, varies: bool) -> Bytes {
    let mut head = Vec::with_capacity(320);
    let status = match answer.status {
        Status::Ok => "200 OK",
        Status::Partial => "206 Partial Content",
    };
    head.extend_from_slice(format!("HTTP/1.1 {status}\r\nServer: nginx\r\nDate: ").as_bytes());
    head.extend_from_slice(date(SystemTime::now()).as_bytes());
    head.extend_from_slice(b"\r\n");
    if len != Some(0) {
        head.extend_from_slice(b"Content-Type: application/octet-stream\r\n");
    }
    match len {
        Some(len) => head.extend_from_slice(format!("Content-Length: {len}\r\n").as_bytes()),
        None => head.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    head.extend_from_slice(b"Connection: keep-alive\r\n");
    if varies {
        head.extend_from_slice(format!("ETag: \"{}\"\r\n", filler()).as_bytes());
    }
    if let Some((name, value)) = answer.set_cookie {
        for part in [b"Set-Cookie: ", name, b"=", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}

async fn write(stream: &mut Stream, mut pieces: Pieces, patience: Duration) -> io::Result<()> {
    if !stream.is_write_vectored() {
        // Else each piece would be a record of its own, and a segment, of a size that tells.
        pieces.join();
    }
    while pieces.has_remaining() {
        // Each piece is in its place until it has left, so a slow peer is given the time for what it takes.
        match timeout(patience, stream.write_buf(&mut pieces)).await {
            Ok(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => drop(written?),
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
    match timeout(patience, stream.flush()).await {
        Ok(flushed) => flushed,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Buffers to be written one after the other.
#[derive(Default)]
struct Pieces {
    queue: VecDeque<Bytes>,
    len: usize,
}

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.queue.push_back(piece);
        }
    }

    /// Puts small ones together until they fill a record, with the beginning of what follows: whoever gets a response's head then gets some of
    /// its payload, too. Large ones stay where they are.
    fn join(&mut self) {
        let mut joined: VecDeque<Bytes> = VecDeque::new();
        let mut open: Vec<u8> = Vec::new();
        for mut piece in self.queue.drain(..) {
            if !open.is_empty() || piece.len() < JOINED {
                let room = JOINED.saturating_sub(open.len()).min(piece.len());
                open.extend_from_slice(&piece.split_to(room));
            }
            if open.len() >= JOINED {
                joined.push_back(std::mem::take(&mut open).into());
            }
            if piece.len() >= JOINED {
                joined.push_back(piece);
            } else {
                open.extend_from_slice(&piece);
            }
        }
        joined.extend(Some(open).filter(|open| !open.is_empty()).map(Bytes::from));
        self.queue = joined;
    }

    /// RFC 9112 section 7.1.
    fn push_chunk(&mut self, pieces: &mut Vec<Bytes>) {
        let len: usize = pieces.iter().map(Bytes::len).sum();
        self.push(format!("{len:x}\r\n").into());
        pieces.drain(..).for_each(|piece| self.push(piece));
        self.push(Bytes::from_static(b"\r\n"));
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.queue.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, to: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slot, piece) in to.iter_mut().zip(&self.queue) {
            *slot = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        self.len -= count;
        while let Some(first) = self.queue.front_mut() {
            if count < first.len() {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.queue.pop_front();
        }
    }
}

/// A time as HTTP writes it. RFC 9110 section 5.6.7.
#[must_use]
pub fn date(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March have their odd day at the end; 719 468 days before 1970 was a year 0 of that kind.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era + u64::from(month >= 10);
    let name = |names: &[&'static str], at: u64| {
        usize::try_from(at).ok().and_then(|at| names.get(at).copied()).unwrap_or_default()
    };
    let (weekday, month) = (name(&DAYS, days % 7), name(&MONTHS, (month + 2) % 12));
    let (hours, minutes, seconds) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday}, {day:02} {month} {year} {hours:02}:{minutes:02}:{seconds:02} GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn pieces_leave_in_order_whatever_is_written_at_a_time() {
        for step in 1..12 {
            let mut pieces = Pieces::default();
            pieces.push(Bytes::from_static(b"head"));
            pieces.push_chunk(&mut vec![Bytes::from_static(b"abc"), Bytes::new(), Bytes::from_static(b"de")]);
            let mut out = Vec::new();
            while pieces.has_remaining() {
                let mut slots = [IoSlice::new(&[]); 3];
                let used = pieces.chunks_vectored(&mut slots);
                let all: Vec<u8> = slots.iter().take(used).flat_map(|slot| slot.to_vec()).collect();
                let taken = step.min(all.len());
                out.extend_from_slice(&all[..taken]);
                pieces.advance(taken);
            }
            assert_eq!(out, b"head5\r\nabcde\r\n");
        }
    }
}
