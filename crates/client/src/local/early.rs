//! Flows of applications that are told of their success before it is certain: what they say at once goes with the open
//! and saves a round trip. A flow that then fails ends in a reset, so that nobody takes silence for an answer.
//!
//! Source: PROTOCOL.md 12.2.

use std::io;
use std::time::Duration;

use culvert_ssh::direct_tcpip::MAX_FIRST_BYTES;
use tokio::io::Interest;
use tokio::time::timeout;

use super::Proxy;
use super::relay::relay_socket;
use super::stream::AppStream;
use crate::flow::{Destination, FlowOpener, OpenFailure};
use crate::notice::{FreeText, Notice, Notices};

/// How long an application may take to say something. Those that speak first do so at once; those whose server speaks
/// first are kept waiting for no longer than this.
const WAIT: Duration = Duration::from_millis(10);

/// Opens flows for applications of one proxy. Cheap to clone.
#[derive(Clone)]
pub(super) struct EarlyFlows {
    pub(super) proxy: Proxy,
    pub(super) opener: FlowOpener,
    pub(super) notices: Notices,
}

impl EarlyFlows {
    /// Carries the flow of an application that was just told that it is open. `said` is what it had sent before.
    pub(super) async fn carry(&self, stream: AppStream, destination: Destination, said: Vec<u8>) {
        let Ok(first_bytes) = first_bytes(&stream, said).await else { return };
        let opened = tokio::select! {
            opened = self.opener.open_with(destination, first_bytes.into()) => opened,
            () = hung_up(&stream) => return,
        };
        match opened {
            // A failure resets the application's connection: it learns that bytes may be missing.
            Ok(flow) => drop(relay_socket(stream, flow).await),
            Err(failure) => {
                self.tell(&failure);
                stream.reset_on_close();
            }
        }
    }

    /// Says why a flow was not opened.
    pub(super) fn tell(&self, failure: &OpenFailure) {
        let message = FreeText::new(format!("{} proxy: {failure}", self.proxy));
        self.notices.emit(Notice::LocalProxyError { message });
    }
}

/// What the application says at once, if anything. Its end, if that comes first, is left for the relay to find.
async fn first_bytes(stream: &AppStream, mut said: Vec<u8>) -> io::Result<Vec<u8>> {
    if said.is_empty()
        && let Ok(readable) = timeout(WAIT, stream.ready(Interest::READABLE)).await
    {
        readable?;
        said.reserve(MAX_FIRST_BYTES);
        match stream.try_read_buf(&mut said) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Ok(_) | Err(_) => said.shrink_to_fit(),
        }
    }
    Ok(said)
}

/// Completes when the application has closed its connection for good. A half-close cannot be told apart while data
/// before it is unread, and one right after the request is legitimate, so only an error counts.
pub(super) async fn hung_up(stream: &AppStream) {
    loop {
        match stream.ready(Interest::ERROR).await {
            Ok(ready) if ready.is_error() => return,
            Ok(_) => {}
            Err(_) => return,
        }
    }
}
