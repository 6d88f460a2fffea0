//! The other end of the control socket: asks a running server. Blocking, for a program that has nothing else to do.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::message::{Answer, LONGEST_ANSWER, Request};

/// How long a server may take to answer: a reload reads files of any size.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Local: the server, or the path.
    #[error("no server answers at {}: start it with psiphond run, or name its configuration with -config", path.display())]
    NotRunning { path: PathBuf },
    /// Local: whose server it is.
    #[error("may not connect to {}: be the user that the server runs as, or root", path.display())]
    NotPermitted { path: PathBuf },
    /// The server, or the system.
    #[error("asking at {}: {source}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The server: it is of another version, or something else.
    #[error("what answers at {} is no server of this version", path.display())]
    Nonsense { path: PathBuf },
}

/// Asks the server whose socket this is. After a request to stop it returns only when the server has ended.
pub fn ask(socket: &Path, request: Request) -> Result<Answer, AskError> {
    let path = socket.to_owned();
    let line = match exchange(socket, request) {
        Ok(line) => line,
        Err(error) => {
            return Err(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NotRunning { path },
                io::ErrorKind::PermissionDenied => AskError::NotPermitted { path },
                _ => AskError::Io { path, source: error },
            });
        }
    };
    // Nothing at all: who asks is of another user, or the server has ended meanwhile.
    if line.is_empty() {
        return Err(AskError::NotPermitted { path });
    }
    serde_json::from_slice(&line).map_err(|_| AskError::Nonsense { path })
}

fn exchange(socket: &Path, request: Request) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    let most = u64::try_from(LONGEST_ANSWER).unwrap_or(u64::MAX);
    let mut reader = BufReader::new(&stream).take(most);
    reader.read_until(b'\n', &mut answer)?;
    if request == Request::Stop {
        // The rest is its end; an error is one too.
        let _ = io::copy(&mut reader, &mut io::sink());
    }
    Ok(answer)
}
