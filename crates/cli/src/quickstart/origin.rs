//! The built-in destinations of `quickstart`: a web page and a bulk end, on free ports of the loopback address.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::bulk;

/// The page, as served and as expected at the near end.
pub const PAGE: &str =
    "<!doctype html>\n<title>Culvert</title>\n<h1>It works</h1>\n<p>This page came through the tunnel.</p>\n";

/// The most that a request head may take.
const LONGEST_HEAD: u64 = 16 * 1024;

/// How long a page request may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// Flows served at once by each destination; more wait until one has ended.
const MOST_FLOWS: usize = 256;

/// Running destinations; they stop when this is dropped.
#[derive(Debug)]
pub struct Origin {
    page: SocketAddr,
    bulk: SocketAddr,
    tasks: [AbortHandle; 2],
}

impl Origin {
    /// Starts both.
    pub async fn start() -> io::Result<Self> {
        let (page, page_task) =
            listen(|stream| async move { timeout(PATIENCE, serve_page(stream)).await? }).await?;
        let (bulk, bulk_task) = listen(bulk::serve).await?;
        Ok(Self { page, bulk, tasks: [page_task, bulk_task] })
    }

    /// Where the page is served over HTTP/1.1.
    pub fn page(&self) -> SocketAddr {
        self.page
    }

    /// Where [`bulk::serve`] answers.
    pub fn bulk(&self) -> SocketAddr {
        self.bulk
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn listen<S, F>(serve: S) -> io::Result<(SocketAddr, AbortHandle)>
where
    S: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let accepting = tokio::spawn(async move {
        // Dropped with this task, and every flow with it.
        let mut flows = JoinSet::new();
        loop {
            while flows.len() >= MOST_FLOWS {
                let _ = flows.join_next().await;
            }
            while flows.try_join_next().is_some() {}
            // A flow that breaks is reported where it was asked for, at the near end.
            if let Ok((stream, _)) = listener.accept().await {
                flows.spawn(serve(stream));
            }
        }
    });
    Ok((address, accepting.abort_handle()))
}

async fn serve_page(stream: TcpStream) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = (&mut stream).take(LONGEST_HEAD);
    let mut request = String::new();
    head.read_line(&mut request).await?;
    let mut line = String::new();
    while head.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let (status, body) = match request.split(' ').nth(1) {
        Some("/") => ("200 OK", PAGE),
        _ => ("404 Not Found", "The only page is /.\n"),
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn serves_the_page_and_nothing_else() {
        let origin = Origin::start().await.unwrap();
        for (path, expected) in [("/", PAGE), ("/other", "The only page is /.\n")] {
            let mut stream = TcpStream::connect(origin.page()).await.unwrap();
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.ends_with(&format!("\r\n\r\n{expected}")), "{answer}");
        }
    }

    #[tokio::test]
    async fn moves_data_and_stops_when_dropped() {
        let origin = Origin::start().await.unwrap();
        let address = origin.bulk();
        let stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(bulk::download(stream, 100_000, |_| {}).await.unwrap().bytes, 100_000);
        drop(origin);
        let gone = async {
            while TcpStream::connect(address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, gone).await.unwrap();
    }
}
