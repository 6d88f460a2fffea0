//! Who has not shown yet that it has the key of TLS-OSSH. Without a proof in its ClientHello a peer is served by the site that the configuration
//! names, with every byte, pause and end of that site; or, where none is named, kept waiting in silence like all strangers (`hold`). Nothing of
//! this server's own is sent before the proof. Source: PROTOCOL.md 2.4, TRANSPORTS.md 1.3.

use std::io;
use std::time::{Duration, SystemTime};

use culvert_transport::Stream;
use culvert_transport::tls::{ClientHello, HelloReader, PassthroughKey, TlsServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::stranger::{NOT_BEFORE, must_leave};
use super::{Arrival, Stopping, stopped};
use crate::admission::Treated;
use crate::hold;
use crate::services::Services;

/// How long the site is not asked for a peer that says nothing. A client's ClientHello is there by then.
const EARLY: Duration = Duration::from_millis(100);
/// The handshake behind a proof, where the configuration sets no limit.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// Where no proof is asked for, a ClientHello may take so long, and the handshake behind it, as with web servers that mind who is slow.
const WITHOUT_PROOF: Duration = Duration::from_secs(10);
const PIECE: usize = 16 * 1024;

/// What TLS-OSSH needs.
pub(crate) struct TlsService {
    pub(crate) key: PassthroughKey,
    pub(crate) server: TlsServer,
    pub(crate) strangers: Strangers,
    /// Whether clients that offer TLS 1.2 alone are none.
    pub(crate) needs_tls13: bool,
}

/// What becomes of those without a proof.
pub(crate) enum Strangers {
    /// A site serves them, `host:port`.
    Site {
        address: String,
        /// The proof is of the kind that makes it sure enough who is a client for the port to be shared (TRANSPORTS.md 6.3).
        shares_port: bool,
    },
    /// They are kept waiting.
    Silence,
    /// No proof is asked for: what is inside TLS tells, and has something to show to others.
    Inside,
}

impl TlsService {
    /// How long the handshake may take.
    fn handshake_limit(&self, services: &Services) -> Duration {
        let limit = services.handshakes.duration.unwrap_or(HANDSHAKE);
        match self.strangers {
            Strangers::Inside => limit.min(WITHOUT_PROOF),
            Strangers::Site { .. } | Strangers::Silence => limit,
        }
    }

    /// Whether both meek and TLS-OSSH are inside.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.strangers, Strangers::Site { shares_port: true, .. })
    }
}

/// What was made of a connection's beginning.
enum Verdict {
    Client,
    /// With what a log says of it.
    Stranger(&'static str),
    /// It ended before anything could be said.
    Ended,
}

/// The stream inside TLS, where the preamble begins. `None`: there is none, and the connection is closed.
pub(super) async fn introduce(
    mut stream: Stream,
    arrival: Arrival,
    tls: &TlsService,
    services: &Services,
    stopping: &mut Stopping,
) -> Option<Treated> {
    let mut judge = Judge { reader: HelloReader::default(), tls, services, arrival };
    let needs_proof = !matches!(tls.strangers, Strangers::Inside);
    let mut ticket = match tls.strangers {
        Strangers::Silence | Strangers::Inside => services.held.enter(),
        Strangers::Site { .. } => services.at_site.enter(),
    };
    let verdict = match &tls.strangers {
        Strangers::Silence | Strangers::Inside => {
            let hold = match needs_proof {
                true => services.handshakes.probe_hold,
                false => Some(WITHOUT_PROOF),
            };
            let deadline = hold.map(|limit| arrival.at + limit);
            let verdict = tokio::select! {
                verdict = judge.listen(&mut stream) => verdict,
                () = must_leave(&mut ticket, deadline, stopping) => {
                    hold::close(stream).await;
                    return None;
                }
            };
            if !matches!(verdict, Verdict::Client) {
                judge.record(&verdict);
                drop(judge);
                if !needs_proof {
                    // Not TLS, which web servers end.
                    hold::close(stream).await;
                    return None;
                }
                // Whoever has ended meanwhile sees our end as late as all others.
                let not_before = Instant::now() + NOT_BEFORE;
                hold::drain(stream, &services.held, not_before, must_leave(&mut ticket, deadline, stopping))
                    .await;
                return None;
            }
            verdict
        }
        Strangers::Site { address, .. } => tokio::select! {
            verdict = judge.beside_site(&mut stream, address) => verdict,
            () = ticket.evicted() => return None,
            () = stopped(stopping) => return None,
        },
    };
    match verdict {
        // Of meek there may be a tunnel already.
        Verdict::Client if tls.needs_tls13 && !services.admits(arrival.protocol) => {
            hold::close(stream).await;
            None
        }
        Verdict::Client => {
            let below = services.treatment.of_carrier(stream, arrival);
            let limit = tls.handshake_limit(services);
            let accepting = timeout(limit, tls.server.accept(judge.reader, below.stream));
            let connected = tokio::select! {
                accepted = accepting => accepted.ok()?.ok()?,
                () = ticket.evicted(), if !needs_proof => return None,
            };
            Some(Treated { stream: connected.stream, cuts: below.cuts, follows: below.follows })
        }
        // Served by the site, to the end.
        Verdict::Stranger(_) | Verdict::Ended => None,
    }
}

struct Judge<'s> {
    reader: HelloReader,
    tls: &'s TlsService,
    services: &'s Services,
    arrival: Arrival,
}

impl Judge<'_> {
    /// `None`: it cannot be told yet.
    fn look(&mut self, bytes: &[u8]) -> Option<Verdict> {
        match self.reader.receive(bytes) {
            Ok(None) => None,
            Ok(Some(hello)) => Some(self.verdict(&hello)),
            Err(_) => Some(Verdict::Stranger("invalid TLS ClientHello")),
        }
    }

    fn verdict(&self, hello: &ClientHello) -> Verdict {
        if matches!(self.tls.strangers, Strangers::Inside) {
            return Verdict::Client;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let proved = self.tls.key.verifies(&hello.random, i64::try_from(now).unwrap_or(i64::MAX));
        if !proved || self.tls.needs_tls13 && !hello.offers_tls13 {
            return Verdict::Stranger("invalid TLS client random");
        }
        match self.services.ssh.admit_bytes(&hello.random, self.arrival.peer) {
            true => Verdict::Client,
            false => Verdict::Stranger("replayed TLS client random"),
        }
    }

    /// Reads until it can be told.
    async fn listen(&mut self, stream: &mut Stream) -> Verdict {
        loop {
            match hold::receive(stream, |bytes| self.look(bytes)).await {
                Ok(None) | Err(_) => return Verdict::Ended,
                Ok(Some(None)) => {}
                Ok(Some(Some(verdict))) => return verdict,
            }
        }
    }

    /// The same, while the site sees all that the peer sends but the end of a client's ClientHello, and answers.
    async fn beside_site(&mut self, stream: &mut Stream, site: &str) -> Verdict {
        let early = match timeout(EARLY, hold::receive(stream, |bytes| self.look(bytes))).await {
            Ok(Ok(None) | Err(_)) => return Verdict::Ended,
            Ok(Ok(Some(early))) => early,
            Err(_) => None,
        };
        if let Some(Verdict::Client) = early {
            return Verdict::Client;
        }
        if let Some(verdict) = &early {
            self.record(verdict);
        }
        let verdict = self.serve_by_site(stream, site, early.is_some()).await;
        verdict.unwrap_or(Verdict::Ended)
    }

    fn record(&self, verdict: &Verdict) {
        if let Verdict::Stranger(why) = verdict {
            self.services.irregular.record(self.arrival.protocol, self.arrival.port, why);
        }
    }

    async fn serve_by_site(&mut self, stream: &mut Stream, site: &str, judged: bool) -> io::Result<Verdict> {
        let mut origin = TcpStream::connect(site).await?;
        origin.set_nodelay(true)?;
        let served = self.beside(stream, &mut origin, judged).await;
        if served.is_err() {
            reset(stream, &origin);
        }
        served
    }

    async fn beside(
        &mut self,
        stream: &mut Stream,
        origin: &mut TcpStream,
        judged: bool,
    ) -> io::Result<Verdict> {
        origin.write_all(self.reader.received()).await?;
        if !judged {
            match self.until_judged(stream, origin).await? {
                Verdict::Client => return Ok(Verdict::Client),
                verdict => self.record(&verdict),
            }
        }
        copy_bidirectional(stream, origin).await?;
        Ok(Verdict::Ended)
    }

    /// Ends with the peer's direction, too, whose end the site has then not been told.
    async fn until_judged(&mut self, stream: &mut Stream, origin: &mut TcpStream) -> io::Result<Verdict> {
        let (mut sent, mut answered) = (vec![0; PIECE], vec![0; PIECE]);
        loop {
            tokio::select! {
                read = stream.read(&mut sent) => {
                    let bytes = sent.get(..read?).unwrap_or_default();
                    if bytes.is_empty() {
                        return Ok(Verdict::Ended);
                    }
                    let verdict = self.look(bytes);
                    if let Some(Verdict::Client) = verdict {
                        return Ok(Verdict::Client);
                    }
                    origin.write_all(bytes).await?;
                    if let Some(verdict) = verdict {
                        return Ok(verdict);
                    }
                }
                // Whoever has been answered is the site's.
                read = origin.read(&mut answered) => {
                    let bytes = answered.get(..read?).unwrap_or_default();
                    stream.write_all(bytes).await?;
                    if bytes.is_empty() {
                        stream.shutdown().await?;
                    }
                    return Ok(Verdict::Stranger("invalid TLS ClientHello"));
                }
            }
        }
    }
}

/// Whichever side was reset, the other is to see the same: its connection ends at once, without waiting for what is on its way.
pub(super) fn reset(stranger: &Stream, site: &TcpStream) {
    for connection in [stranger.as_tcp(), Some(site)].into_iter().flatten() {
        // Fails only for a connection that is gone.
        let _ = connection.set_zero_linger();
    }
}
