//! A path that takes time: bytes come out as they went in, later. What is under way has no bound.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Moves bytes both ways until both sides have ended.
pub(crate) async fn relay<A, B>(a: A, b: B, delay: Duration)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let ((a_read, a_write), (b_read, b_write)) = (split(a), split(b));
    tokio::join!(one_way(a_read, b_write, delay), one_way(b_read, a_write, delay));
}

async fn one_way(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, delay: Duration) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let read = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(len @ 1..) = from.read(&mut buffer).await {
            if sender.send((Instant::now() + delay, buffer[..len].to_vec())).is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, bytes)) = receiver.recv().await {
            sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // The other side may be gone already.
        drop(to.shutdown().await);
    };
    tokio::join!(read, write);
}
