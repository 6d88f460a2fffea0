//! Answers on the control socket. Who connects must be of the server's own user, or root: the socket's mode says so too, but a mode
//! can be changed. Everything is bounded: connections, a request's length, and the time for it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::ControlSocket;
use super::message::{Answer, LONGEST_REQUEST, Request, RequestError};
use crate::log::{Field, Logger};
use crate::orders::{Command, Order};
use crate::state_directory::own_user;

/// Connections at once.
const MOST: usize = 8;
/// How long somebody may take to ask, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause after an error of accepting.
const BACK_OFF: Duration = Duration::from_secs(1);

/// Serves until the task is ended. The socket keeps its name for as long.
pub(crate) async fn serve(socket: ControlSocket, orders: mpsc::Sender<Order>, log: Logger) {
    let listener = socket.listener.try_clone().and_then(UnixListener::from_std);
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => {
            return log.error("cannot serve the control socket", [("error", Field::local_error(&error))]);
        }
    };
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        // Never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let orders = orders.clone();
                tokio::spawn(async move {
                    // Who hangs up has no use for an answer.
                    let _ = converse(stream, orders).await;
                    drop(place);
                });
            }
            Err(_) => sleep(BACK_OFF).await,
        }
    }
}

/// One request and its answer.
async fn converse(mut stream: UnixStream, orders: mpsc::Sender<Order>) -> io::Result<()> {
    let user = stream.peer_cred()?.uid();
    if user != 0 && user != own_user() {
        return Ok(());
    }
    let request = match timeout(PATIENCE, read_line(&mut stream)).await {
        Ok(line) => Request::parse(&line?),
        Err(_) => return Ok(()),
    };
    let stops = request == Ok(Request::Stop);
    let answer = match request {
        Ok(request) => give(request, orders).await,
        Err(error) => refused(error),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    timeout(PATIENCE, stream.write_all(&line)).await??;
    if stops {
        // Whoever asks sees the end of the process as the end of the stream.
        std::future::pending::<()>().await;
    }
    stream.shutdown().await
}

async fn read_line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut part = [0; 256];
    while line.len() <= LONGEST_REQUEST && !line.contains(&b'\n') {
        match stream.read(&mut part).await? {
            0 => break,
            read => line.extend_from_slice(part.get(..read).unwrap_or_default()),
        }
    }
    match line.iter().position(|byte| *byte == b'\n') {
        Some(end) => line.truncate(end),
        // Without its end it may be a part of another request.
        None if line.len() <= LONGEST_REQUEST => line.clear(),
        None => {}
    }
    Ok(line)
}

async fn give(request: Request, orders: mpsc::Sender<Order>) -> Answer {
    let command = match request {
        Request::Reload => Command::Reload,
        Request::Status => Command::Status,
        Request::Stop => Command::Stop,
        Request::Pause => Command::Establish(false),
        Request::Resume => Command::Establish(true),
    };
    let (answer, answered) = oneshot::channel();
    let given = orders.send(Order { command, answer: Some(answer) }).await;
    match (given, answered.await) {
        (Ok(()), Ok(answer)) => answer,
        _ => Answer::Refused { reason: "the server is stopping".to_owned() },
    }
}

fn refused(error: RequestError) -> Answer {
    Answer::Refused { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Level, Origin};
    use crate::scratch::Scratch;

    #[tokio::test]
    async fn a_request_becomes_an_order_and_its_answer_a_line() {
        let folder = Scratch::new("control-serve");
        let path = folder.path().join("control");
        let (log, _) = Logger::captured(Level::Info, Origin::default());
        let (orders, mut given) = mpsc::channel(1);
        let serving = tokio::spawn(serve(ControlSocket::bind(&path).unwrap(), orders, log));
        let obeying = tokio::spawn(async move {
            while let Some(Order { command, answer }) = given.recv().await {
                assert_eq!(command, Command::Establish(false));
                answer.unwrap().send(Answer::Done).unwrap();
            }
        });
        for (line, answer) in [
            (&b"{\"request\":\"pause\"}\n"[..], "{\"answer\":\"done\"}\n"),
            (b"nonsense\n", "{\"answer\":\"refused\",\"reason\":\"not a request: "),
            (
                &[b'x'; 5000],
                "{\"answer\":\"refused\",\"reason\":\"the request is longer than 1024 bytes\"}\n",
            ),
        ] {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            // It may be answered, and the connection over, before all is written.
            let _ = stream.write_all(line).await;
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all).await;
            let all = String::from_utf8(all).unwrap();
            assert!(all.starts_with(answer), "{all}");
        }
        serving.abort();
        assert!(serving.await.unwrap_err().is_cancelled());
        assert!(!path.exists());
        obeying.await.unwrap();
    }
}
