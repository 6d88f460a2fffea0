//! The steps of `quickstart`, one after the other, until one fails or a person interrupts them.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use culvert_protocol::{Carrier, ServerEntry, TunnelProtocol};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout};

use super::bulk::{self, Moved};
use super::failure::{QuickstartError, StepError};
use super::folder::TemporaryFolder;
use super::observer::{Observer, ROUND_TRIP};
use super::origin::{Origin, PAGE};
use super::progress::Progress;
use super::proxies;
use super::report::Report;
use super::setup::{self, ServerFiles, TUNNEL_SECONDS};
use super::{table, verdict};
use crate::in_process::{LocalClient, LocalServer, Tunnel};

/// The client gives up first; this is for one that does not.
const TUNNEL: Duration = Duration::from_secs(TUNNEL_SECONDS + 5);
/// Data that does not move for this long will not.
const STALL: Duration = Duration::from_secs(30);

/// What to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Megabytes (of 10^6 bytes) to move each way.
    pub megabytes: u32,
    /// One after the other.
    pub protocols: Vec<TunnelProtocol>,
    /// Leave the folder.
    pub keep: bool,
}

/// Tries what the plan says and prints it on standard output.
pub fn run(plan: &Plan) -> Result<(), QuickstartError> {
    let mut report = Report::on_stdout();
    report.title("Culvert quickstart: a server, a client and a tunnel on this machine");
    report.begin("folder");
    let failed = |error| QuickstartError::Step { step: "folder", error: Box::new(error), complaint: None };
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(StepError::Host(error)))?;
    let folder = TemporaryFolder::create("culvert-quickstart");
    let folder = folder.map_err(|error| failed(StepError::Folder(error)))?;
    let end = if plan.keep { "kept at the end" } else { "removed at the end" };
    report.done(&format!("{}, {end}", folder.path().display()));
    let mut trial = Trial { plan, folder: folder.path(), report, server: None, client: None };
    let result = runtime.block_on(trial.supervised());
    let Trial { mut report, .. } = trial;
    if plan.keep {
        folder.keep();
    } else if let Err(error) = folder.remove() {
        report.line(&format!("The folder could not be removed: {error}"));
    }
    result
}

/// What runs, to be stopped in order however the steps end.
struct Trial<'a> {
    plan: &'a Plan,
    folder: &'a Path,
    report: Report,
    server: Option<LocalServer>,
    client: Option<LocalClient>,
}

/// What came of one protocol.
struct Outcome {
    tunnel: Tunnel,
    protocol: TunnelProtocol,
    upload: Moved,
    download: Moved,
    row: table::Row,
}

/// Starts a client and waits for its tunnel.
async fn tunnel(
    client: &mut Option<LocalClient>,
    files: &ServerFiles,
    protocol: TunnelProtocol,
    entry: &ServerEntry,
) -> Result<Tunnel, StepError> {
    let client = client.insert(files.start_client(protocol, entry)?);
    match timeout(TUNNEL, client.tunnel()).await {
        Ok(tunnel) => Ok(tunnel?),
        Err(_) => Err(StepError::NoTunnel { protocol, seconds: TUNNEL.as_secs() }),
    }
}

impl Trial<'_> {
    async fn supervised(&mut self) -> Result<(), QuickstartError> {
        let ended = match Interruption::new() {
            Ok(mut interruption) => tokio::select! {
                ended = self.steps() => Some(ended),
                () = interruption.comes() => None,
            },
            Err(error) => Some(Err(StepError::Host(error))),
        };
        let result = match ended {
            Some(ended) => ended.map_err(|error| QuickstartError::Step {
                step: self.report.step(),
                error: Box::new(error),
                complaint: self.client.as_mut().and_then(LocalClient::last_complaint),
            }),
            None => Err(QuickstartError::Interrupted),
        };
        self.stop_client().await;
        self.stop_server().await;
        result
    }

    /// Everything between making the folder and removing it.
    async fn steps(&mut self) -> Result<(), StepError> {
        self.report.begin("origin");
        let origin = Origin::start().await.map_err(StepError::Port)?;
        let (page, bulk) = (origin.page(), origin.bulk());
        self.report.done(&format!("a page on {page}, bulk data on {bulk}"));

        let mut outcomes = Vec::new();
        let mut servers = Vec::new();
        for (number, group) in setup::groups(&self.plan.protocols).iter().enumerate() {
            let files = self.start_server(number, group).await?;
            for protocol in group {
                outcomes.push(self.through(*protocol, &files, &origin).await?);
                self.stop_client().await;
            }
            self.stop_server().await;
            servers.push((files, group.clone()));
        }
        self.report.line("\nIt works: every byte arrived as it was sent.");
        for outcome in &outcomes {
            outcome.print(&mut self.report);
        }
        table::print(&mut self.report, outcomes.iter().map(|outcome| &outcome.row));
        if self.plan.keep {
            self.print_how_to_go_on(&servers);
        }
        Ok(())
    }

    /// A server for protocols that one entry has room for.
    async fn start_server(
        &mut self,
        number: usize,
        protocols: &[TunnelProtocol],
    ) -> Result<ServerFiles, StepError> {
        self.report.begin("server");
        let start = Instant::now();
        let folder = match number {
            0 => self.folder.to_owned(),
            _ => self.folder.join(format!("server-{}", number + 1)),
        };
        let files = ServerFiles::generate(&folder, protocols)?;
        let took = start.elapsed().as_secs_f64();
        self.server = Some(files.start().await?);
        let listeners: Vec<_> = files
            .listeners
            .iter()
            .map(|(protocol, port)| format!("{protocol} on 127.0.0.1:{port}"))
            .collect();
        let listeners = listeners.join(" and ");
        self.report.done(&format!("keys and configuration made in {took:.1} s"));
        self.report.done(&format!("listens for {listeners}"));
        Ok(files)
    }

    /// A client's life: tunnel, pages, bulk data; and another's, with somebody on the way.
    async fn through(
        &mut self,
        protocol: TunnelProtocol,
        files: &ServerFiles,
        origin: &Origin,
    ) -> Result<Outcome, StepError> {
        let report = &mut self.report;
        report.begin("tunnel");
        let start = Instant::now();
        let tunnel = tunnel(&mut self.client, files, protocol, &files.entry).await?;
        let took = start.elapsed();
        let (socks, http) = (loopback(tunnel.socks_port), loopback(tunnel.http_port));
        report.done(&format!("{protocol}, up {} ms after the client's start", took.as_millis()));
        report.begin("proxies");
        report.done(&format!("SOCKS5 on {socks}, HTTP on {http}"));

        report.begin("page");
        let flow = patiently(proxies::socks5(socks, origin.page())).await??;
        let page = patiently(proxies::page_over(flow, origin.page())).await??;
        report.done(&format!("{} came through the SOCKS5 proxy", judged(&page)?));
        let page = patiently(proxies::page_through_http(http, origin.page())).await??;
        report.done(&format!("{} came through the HTTP proxy", judged(&page)?));

        let upload = transfer(Way::Up, self.plan.megabytes, (socks, origin.bulk()), report).await?;
        let download = transfer(Way::Down, self.plan.megabytes, (socks, origin.bulk()), report).await?;
        self.stop_client().await;
        let observed = self.observed(protocol, files, origin).await?;
        let row = table::Row { protocol, tunnel: took, observed, up: upload.clone(), down: download.clone() };
        Ok(Outcome { tunnel, protocol, upload, download, row })
    }

    /// A tunnel and a page, seen by somebody on the way.
    async fn observed(
        &mut self,
        protocol: TunnelProtocol,
        files: &ServerFiles,
        origin: &Origin,
    ) -> Result<table::Observed, StepError> {
        let report = &mut self.report;
        report.begin("observer");
        let server = files.entry.dial_port(protocol).map(loopback)?;
        let carrier = match protocol.base().traits().carrier {
            Carrier::Tcp => culvert_detect::Carrier::Tcp,
            Carrier::Udp => culvert_detect::Carrier::Udp,
        };
        let observer = Observer::start(carrier, server).await.map_err(StepError::Port)?;
        let entry = files.entry_by_way_of(protocol, observer.address.port())?;
        let tunnel = tunnel(&mut self.client, files, protocol, &entry).await?;
        let round_trips = observer.round_trips().unwrap_or_default();
        let flow = patiently(proxies::socks5(loopback(tunnel.socks_port), origin.page())).await??;
        judged(&patiently(proxies::page_over(flow, origin.page())).await??)?;
        let flows = observer.flows();
        report.done(&format!("a tunnel and a page at {} ms a round trip", ROUND_TRIP.as_millis()));
        Ok(table::Observed { round_trips, noticed: verdict::noticed(&flows) })
    }

    async fn stop_server(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }

    async fn stop_client(&mut self) {
        if let Some(client) = self.client.take() {
            client.stop().await;
        }
    }

    fn print_how_to_go_on(&mut self, servers: &[(ServerFiles, Vec<TunnelProtocol>)]) {
        self.report.line("\nTo start the same again:");
        for (files, protocols) in servers {
            self.report.line(&format!("  psiphond -config {} run", files.config().display()));
            for protocol in protocols {
                let config = files.client_config(*protocol);
                self.report.line(&format!("  ConsoleClient -config {}", config.display()));
            }
        }
    }
}

impl Outcome {
    fn print(&self, report: &mut Report) {
        let network = self.tunnel.details.as_ref().and_then(|details| details.network.as_ref());
        let metric = |name| network.and_then(|network| network.metrics.get(name)?.as_str());
        let looks_like = network.and_then(|network| network.ossh_prefix.as_deref());
        report.line("");
        report.result("protocol", self.protocol.name());
        report.result("key exchange", metric("SSHKeyExchange").unwrap_or("unknown"));
        report.result("cipher", metric("SSHCipher").unwrap_or("unknown"));
        if let Some(prefix) = looks_like {
            report.result("looks like", prefix);
        }
        for (name, moved) in [("upload", &self.upload), ("download", &self.download)] {
            let (megabytes, seconds) = (moved.bytes / 1_000_000, moved.elapsed.as_secs_f64());
            let speed = moved.megabytes_per_second();
            report.result(name, &format!("{megabytes} MB in {seconds:.2} s, {speed:.0} MB/s"));
        }
    }
}

#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

async fn transfer(
    way: Way,
    megabytes: u32,
    (socks, bulk): (SocketAddr, SocketAddr),
    report: &mut Report,
) -> Result<Moved, StepError> {
    let step = match way {
        Way::Up => "upload",
        Way::Down => "download",
    };
    report.begin(step);
    let flow = patiently(proxies::socks5(socks, bulk)).await??;
    report.done(&format!("{megabytes} MB through the SOCKS5 proxy"));
    let length = u64::from(megabytes) * 1_000_000;
    let mut progress = Progress::on_stdout(step, length);
    let moved = Cell::new(0);
    let show = |bytes| {
        moved.set(bytes);
        progress.show(bytes);
    };
    let done = match way {
        Way::Up => unless_stalled(bulk::upload(flow, length, show), &moved).await?,
        Way::Down => unless_stalled(bulk::download(flow, length, show), &moved).await?,
    };
    Ok(done?)
}

/// Waits as long as bytes keep moving.
async fn unless_stalled<T>(transfer: impl Future<Output = T>, moved: &Cell<u64>) -> Result<T, StepError> {
    let mut transfer = pin!(transfer);
    loop {
        let before = moved.get();
        match timeout(STALL, transfer.as_mut()).await {
            Ok(done) => return Ok(done),
            Err(_) if moved.get() == before => return Err(StepError::Stalled { seconds: STALL.as_secs() }),
            Err(_) => {}
        }
    }
}

async fn patiently<T>(request: impl Future<Output = T>) -> Result<T, StepError> {
    timeout(STALL, request).await.map_err(|_| StepError::Stalled { seconds: STALL.as_secs() })
}

fn judged(page: &str) -> Result<String, StepError> {
    if page == PAGE { Ok(format!("all {} bytes", page.len())) } else { Err(StepError::WrongPage) }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// The signals by which a person or the system ends a program.
struct Interruption([Signal; 3]);

impl Interruption {
    fn new() -> std::io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn comes(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_does_not_move_is_given_up_and_what_moves_is_not() {
        let moved = Cell::new(0);
        let stalled = unless_stalled(pending::<()>(), &moved).await;
        assert!(matches!(stalled, Err(StepError::Stalled { .. })));
        let slow = async {
            for bytes in 1..=10 {
                tokio::time::sleep(STALL / 2).await;
                moved.set(bytes);
            }
        };
        unless_stalled(slow, &moved).await.unwrap();
        assert_eq!(moved.get(), 10);
    }

    #[test]
    fn another_page_is_noticed() {
        assert!(judged(PAGE).is_ok() && matches!(judged("hello"), Err(StepError::WrongPage)));
    }
}
