//! One connection of HTTP/1.1: requests of clients are served one after the other; whoever is none gets what the site says, from the first byte
//! on. With a site, a connection that does not begin with a whole request at once is shown to the site as it comes, so that waits and ends
//! are the site's. Source: TRANSPORTS.md 2.5, 2.10.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use culvert_transport::Stream;
use culvert_transport::meek::server::{Answer, Body, Carrier, Head, Status, head_of, read_body, respond};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::admit::{Admitted, Visitor};
use super::{MeekService, decoy};
use crate::services::Services;
use crate::session::carriage::Carriage;
use crate::session::stranger::must_leave;
use crate::session::tls::reset;
use crate::session::{Arrival, Stopping};

/// How long the site is not asked for a peer whose request is not complete. A client's is there by then.
const EARLY: Duration = Duration::from_millis(100);
/// How long the head of a request may take to come where there is no site, and how long until the next one begins.
const HEAD: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(75);
/// Room for a request at first.
const PIECE: usize = 4096;

pub(super) struct Connection {
    stream: Stream,
    arrival: Arrival,
    carriage: Carriage,
    carrier: Carrier,
    services: Arc<Services>,
    stopping: Stopping,
    received: BytesMut,
    /// Bytes of `received` in which no end of a head is.
    searched: usize,
    /// The site, and how much of `received` it has seen.
    origin: Option<(TcpStream, usize)>,
    /// A request was a client's.
    is_client: bool,
}

/// What came.
enum Came {
    Head(Head),
    /// Something that no client sends.
    Other,
    /// Nothing in time.
    Late,
    /// The peer's end.
    End,
}

/// What became of a request.
enum Served {
    Done,
    /// It is not a client's.
    Stranger,
}

impl Connection {
    /// `received` was read from the stream before.
    pub(super) fn new(
        stream: Stream,
        received: BytesMut,
        (arrival, carriage): (Arrival, Carriage),
        services: Arc<Services>,
        stopping: Stopping,
    ) -> Self {
        Self {
            stream,
            arrival,
            carriage,
            carrier: Carrier::unique(),
            services,
            stopping,
            received,
            searched: 0,
            origin: None,
            is_client: false,
        }
    }

    pub(super) async fn serve(mut self, site: Option<String>) {
        let services = self.services.clone();
        let Some(meek) = &services.meek else { return };
        let mut ticket = if site.is_some() { services.at_site.enter() } else { services.held.enter() };
        let mut stopping = self.stopping.clone();
        let deadline = services.handshakes.probe_hold.map(|limit| self.arrival.at + limit);
        let first = tokio::select! {
            first = self.request(meek, site.as_deref()) => first,
            () = must_leave(&mut ticket, deadline, &mut stopping) => return,
        };
        let mut served = first;
        if !matches!(served, Ok(Served::Done)) {
            if matches!(served, Ok(Served::Stranger)) {
                tokio::select! {
                    // However it ends, nothing is left to be done.
                    _ = self.serve_stranger(site) => {}
                    () = ticket.evicted() => {}
                }
            }
            return;
        }
        drop(ticket);
        while matches!(served, Ok(Served::Done)) {
            served = self.request(meek, None).await;
        }
        if matches!(served, Ok(Served::Stranger)) {
            let _ = self.serve_stranger(site).await;
        }
    }

    /// Serves the next request. An error is the connection's end.
    async fn request(&mut self, meek: &MeekService, site: Option<&str>) -> io::Result<Served> {
        let head = match self.head(meek, site).await? {
            Came::Head(head) => head,
            Came::Other => {
                self.services.irregular.record(
                    self.arrival.protocol,
                    self.arrival.port,
                    "invalid meek request",
                );
                return Ok(Served::Stranger);
            }
            Came::Late | Came::End => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        let visitor = Visitor {
            meek,
            services: &self.services,
            arrival: self.arrival,
            carriage: &self.carriage,
            stopping: &self.stopping,
        };
        let admitted = match head.body {
            Some(_) => visitor.admit(&head).await,
            None => None,
        };
        let (Some(admitted), Some(len)) = (admitted, head.body) else { return Ok(Served::Stranger) };
        self.origin = None;
        self.is_client = true;
        self.serve_client(meek, head, len, admitted).await?;
        Ok(Served::Done)
    }

    async fn serve_client(
        &mut self,
        meek: &MeekService,
        head: Head,
        len: usize,
        admitted: Admitted,
    ) -> io::Result<()> {
        let patience = meek.config.patience;
        drop(self.received.split_to(head.len));
        self.searched = 0;
        let body = timeout(patience, read_body(&mut self.stream, &mut self.received, len)).await??;
        if self.received.is_empty() {
            // Idle connections are many.
            self.received = BytesMut::new();
        }
        let plain = Answer { status: Status::Ok, set_cookie: None, patience };
        let Body::Whole(body) = body else { return respond(&mut self.stream, &plain, None).await };
        admitted.session.carried_by(self.carrier);
        let Some(mut turn) = admitted.session.turn().await else {
            return respond(&mut self.stream, &plain, None).await;
        };
        let received = turn.receive(body, head.position).await;
        let status = received.map_err(|over| io::Error::new(io::ErrorKind::NotConnected, over))?;
        let name = head.cookie.as_ref().filter(|_| admitted.is_new);
        let set_cookie = name.map(|(name, _)| (name.as_slice(), admitted.session.id().as_str()));
        let answer = Answer { status, set_cookie, patience };
        let superseded = turn.superseded();
        tokio::select! {
            written = respond(&mut self.stream, &answer, Some(&mut turn)) => written?,
            () = superseded => return Err(io::ErrorKind::ConnectionAborted.into()),
        }
        turn.finish();
        Ok(())
    }

    /// Reads the next request's head.
    async fn head(&mut self, meek: &MeekService, site: Option<&str>) -> io::Result<Came> {
        let began = Instant::now();
        let early = began + EARLY;
        let mut late = began + if self.is_client { PAUSE } else { HEAD };
        loop {
            match head_of(&self.received, self.searched, &meek.config.rules) {
                Ok(Some(head)) => return Ok(Came::Head(head)),
                Err(_) => return Ok(Came::Other),
                Ok(None) if decoy::refuses(&self.received) => return Ok(Came::Other),
                Ok(None) => self.searched = self.received.len(),
            }
            self.show_to_site().await?;
            self.received.reserve(PIECE);
            let waits_for_site = self.origin.is_none() && site.is_some();
            tokio::select! {
                read = self.stream.read_buf(&mut self.received) => {
                    if read? == 0 {
                        // The site may have something to say to half a request.
                        let is_half = site.is_some() && !self.received.is_empty();
                        return Ok(if is_half { Came::Other } else { Came::End });
                    }
                    late = late.min(Instant::now() + HEAD);
                }
                answered = answer_of(&mut self.origin) => {
                    answered?;
                    return Ok(Came::Other);
                }
                () = sleep_until(early), if waits_for_site => {
                    let origin = TcpStream::connect(site.unwrap_or_default()).await?;
                    origin.set_nodelay(true)?;
                    self.origin = Some((origin, 0));
                }
                () = sleep_until(late), if site.is_none() => return Ok(Came::Late),
            }
        }
    }

    /// The site sees all that is no whole request.
    async fn show_to_site(&mut self) -> io::Result<()> {
        if let Some((origin, seen)) = &mut self.origin {
            origin.write_all(self.received.get(*seen..).unwrap_or_default()).await?;
            *seen = self.received.len();
        }
        Ok(())
    }

    async fn serve_stranger(mut self, site: Option<String>) -> io::Result<()> {
        let Some(site) = site else { return decoy::serve(self.stream, self.received).await };
        if self.origin.is_none() {
            let origin = TcpStream::connect(&site).await?;
            origin.set_nodelay(true)?;
            self.origin = Some((origin, 0));
        }
        self.show_to_site().await?;
        self.received = BytesMut::new();
        if let Some((origin, _)) = &mut self.origin {
            let copied = copy_bidirectional(&mut self.stream, origin).await;
            if copied.is_err() {
                reset(&self.stream, origin);
            }
            copied?;
        }
        Ok(())
    }
}

/// Ready when the site has said something, or has ended; never without a site.
async fn answer_of(origin: &mut Option<(TcpStream, usize)>) -> io::Result<()> {
    match origin {
        Some((origin, _)) => origin.readable().await,
        None => std::future::pending().await,
    }
}
