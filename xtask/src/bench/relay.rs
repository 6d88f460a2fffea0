//! `xtask bench-relay`: a TCP forwarder that moves bytes inside the kernel. What every tunnel is measured against.
//!
//! Its pipes are of the system's own size, 64 KiB, because the goals were set against such a relay. With pipes of 1 MiB it costs about half.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use super::{Outcome, sys};

/// Forwards every connection to `listen` to `to`, for ever. Says where it listens on its first line.
pub(crate) fn run(listen: &str, to: &str) -> Outcome<()> {
    let to: SocketAddr = to.parse()?;
    let listener = TcpListener::bind(listen)?;
    println!("listening {}", listener.local_addr()?);
    for client in listener.incoming() {
        let Ok(client) = client else { continue };
        thread::spawn(move || forward(&client, to));
    }
    Ok(())
}

fn forward(client: &TcpStream, to: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(to)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    thread::scope(|scope| {
        scope.spawn(|| one_way(client, &server));
        one_way(&server, client)
    })
}

fn one_way(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let (read, write) = sys::pipe()?;
    let moved = loop {
        let mut left = match sys::splice(from, &write, sys::CHUNK) {
            Ok(0) => break Ok(()),
            Ok(count) => count,
            Err(error) => break Err(error),
        };
        while left > 0 {
            left -= sys::splice(&read, to, left)?;
        }
    };
    // Gone already is shut already.
    let _ = to.shutdown(Shutdown::Write);
    moved
}
