//! The rows: each measures some figures for every contender that has them, one after the other within a repetition.

mod bulk;
mod cipher;
mod client;
mod crowd;
mod echo;
mod establish;
mod far;
mod flows;
mod many;
mod reconnect;
mod round_trips;
mod rules;
mod stored;
mod transports;

use std::path::Path;
use std::time::Duration;

use super::Outcome;
use super::contender::{Client, Contender, Server};
use super::figures::Row;
use super::load::Load;
use super::options::Options;
use super::peers::Peers;
use super::program::Program;
use super::results::Results;

/// What every row works with.
pub(super) struct Bench {
    /// The programs.
    pub(super) peers: Peers,
    /// How much of everything.
    pub(super) options: Options,
    /// The load.
    pub(super) load: Load,
    /// What came out so far.
    pub(super) results: Results,
}

impl Bench {
    /// Measures a row.
    pub(super) fn row(&mut self, row: Row) {
        let outcome = match row {
            Row::Bulk => bulk::measure(self),
            Row::Cipher => cipher::measure(self),
            Row::Far => far::measure(self),
            Row::RoundTrips => round_trips::measure(self),
            Row::Echo => echo::measure(self),
            Row::Memory => many::memory(self),
            Row::Tunnels => many::tunnels(self),
            Row::Client => client::measure(self),
            Row::Probe => many::probes(self),
            Row::Transports => transports::measure(self),
            Row::Establish => establish::measure(self),
            Row::Replay => stored::replay(self),
            Row::Stored => stored::many(self),
            Row::ProxyFlows => flows::measure(self),
            Row::Reconnect => reconnect::measure(self),
            Row::Held => crowd::held(self),
            Row::Active => crowd::active(self),
            Row::Fairness => crowd::fairness(self),
            Row::Reload => crowd::reload(self),
            Row::Rules => rules::measure(self),
        };
        if let Err(error) = outcome {
            self.results.fail(format!("{}: {error}", row.name()));
        }
    }

    /// Those of the contenders that are here. The others are noted.
    fn present(&mut self, contenders: &[Contender]) -> Vec<Contender> {
        let (here, absent): (Vec<_>, Vec<_>) =
            contenders.iter().partition(|contender| contender.is_there(&self.peers));
        self.results.absent.extend(absent);
        here
    }

    /// A contender's client program.
    fn client_program(&self, contender: Contender) -> &Path {
        match (contender, &self.peers.reference) {
            (Contender::Reference | Contender::ReferenceToOurs, Some(pair)) => &pair.client,
            _ => &self.peers.ours.client,
        }
    }

    /// A contender's server.
    fn server(&self, contender: Contender) -> Outcome<Server> {
        Server::start(contender, &self.peers, self.load.origin.address)
    }

    /// Servers of the contenders that are here; one that does not start is noted and left out.
    fn servers(&mut self, contenders: &[Contender]) -> Vec<Server> {
        let mut servers = Vec::new();
        for contender in self.present(contenders) {
            match self.server(contender) {
                Ok(server) => servers.push(server),
                Err(error) => self.results.fail(format!("server of {}: {error}", contender.name())),
            }
        }
        servers
    }

    /// Servers with a client each, as `servers` and [`Bench::gcm_client`] have them.
    fn pairs(&mut self, contenders: &[Contender]) -> Vec<(Server, Client)> {
        let mut pairs = Vec::new();
        for server in self.servers(contenders) {
            match self.gcm_client(&server) {
                Ok(client) => pairs.push((server, client)),
                Err(error) => self.results.fail(format!("client of {}: {error}", server.contender.name())),
            }
        }
        pairs
    }

    /// A client of a server, directly. One that tells its cipher is started anew until that is AES-GCM.
    fn gcm_client(&self, server: &Server) -> Outcome<Client> {
        let mut client = server.client(&self.peers, server.address())?;
        for _ in 0..40 {
            if client.cipher.as_ref().is_none_or(|cipher| cipher.contains("gcm")) {
                break;
            }
            client = server.client(&self.peers, server.address())?;
        }
        Ok(client)
    }
}

/// CPU seconds that the programs used during something.
fn cpu_during<T>(programs: &[&Program], action: impl FnOnce() -> T) -> (f64, T) {
    let total = || programs.iter().map(|program| program.cpu()).sum::<f64>();
    let before = total();
    let done = action();
    // What the last bytes set off belongs to them too.
    std::thread::sleep(Duration::from_millis(30));
    (total() - before, done)
}

/// Bytes per second in MB.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn megabytes(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / 1e6 / time.as_secs_f64()
}

/// CPU seconds per GB.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_gigabyte(cpu: f64, bytes: u64) -> f64 {
    cpu / (bytes as f64 / 1e9)
}
