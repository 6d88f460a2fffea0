//! What applications do inside the flows: small pages over TLS, as sizes and turns. The handshakes are those on which the model of TLS
//! inside tunnels was trained, because they are what it finds best.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use super::chance::Chance;

/// Client, server, client, server: TLS 1.2, TLS 1.3, and TLS 1.3 with a key share that quantum computers do not break.
const HANDSHAKES: [[usize; 4]; 3] = [[213, 4515, 108, 308], [641, 4649, 448, 1094], [1850, 4903, 785, 1051]];
/// Requests behind a handshake.
const REQUESTS: usize = 3;
/// Lengths of a question and of its answer, at the question's beginning.
const HEAD: usize = 8;
const LARGEST: usize = 1 << 20;

/// A site whose answers are as long as its questions say. Serves for as long as the program runs.
pub(super) fn start_site() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A visitor who goes early is of no interest.
            thread::spawn(move || serve(stream));
        }
    });
    Ok(address)
}

/// Serves one visitor to the end.
pub(super) fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let mut head = [0; HEAD];
        stream.read_exact(&mut head)?;
        let [a, b, c, d, e, f, g, h] = head;
        let [question, answer] = [[a, b, c, d], [e, f, g, h]].map(u32::from_be_bytes);
        let length = |word| usize::try_from(word).unwrap_or(LARGEST).min(LARGEST);
        stream.read_exact(&mut vec![0; length(question).saturating_sub(HEAD)])?;
        stream.write_all(&noise(&mut Chance::from(u64::from(answer)), length(answer)))?;
    }
}

/// Visits a site over a stream that leads there: a handshake, give or take a few bytes, and some requests.
pub(super) fn visit(stream: &mut TcpStream, chance: &mut Chance) -> io::Result<()> {
    let [first, second, third, fourth] = *chance.one_of(&HANDSHAKES).unwrap_or(&[0; 4]);
    ask(stream, chance.near(first), chance.near(second), chance)?;
    ask(stream, chance.near(third), chance.near(fourth), chance)?;
    for _ in 0..REQUESTS {
        let (question, answer) = (chance.between(80, 700), chance.between(300, 20_000));
        ask(stream, question, answer, chance)?;
    }
    Ok(())
}

fn ask(stream: &mut TcpStream, question: usize, answer: usize, chance: &mut Chance) -> io::Result<()> {
    let word = |length: usize| u32::try_from(length).unwrap_or(0).to_be_bytes();
    let mut bytes = [word(question), word(answer)].concat();
    bytes.extend(noise(chance, question.saturating_sub(HEAD)));
    stream.write_all(&bytes)?;
    stream.read_exact(&mut vec![0; answer])
}

/// Bytes without form.
pub(super) fn noise(chance: &mut Chance, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend(chance.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
