//! One attempt to ask one server for addresses of both families at once.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use culvert_obfuscation::Seed;
use thiserror::Error;
use tokio::sync::mpsc;

use super::plan::{DnsServer, ResolvePlan};
use super::wire::{Asking, BadQuery, Family, Found, NoAnswer, Question};
use super::{is_bogus, secure, udp};
use crate::tls::Verify;
use crate::{DialError, Network};

/// Why an attempt brought nothing.
#[derive(Debug, Error)]
pub enum ExchangeError {
    /// The name or the settings.
    #[error(transparent)]
    Query(#[from] BadQuery),
    /// The network.
    #[error("asking the DNS server: {0}")]
    Network(#[from] io::Error),
    /// The same, of a server over TLS.
    #[error("connecting to the DNS server: {0}")]
    Connect(#[source] Box<DialError>),
    /// HTTP.
    #[error("DNS over HTTPS: {0}")]
    Http(#[from] hyper::Error),
    /// HTTP, of the settings.
    #[error("DNS over HTTPS: {0}")]
    Request(#[from] hyper::http::Error),
    /// The server does not serve DNS there.
    #[error("DNS over HTTPS: {0}")]
    Status(&'static str),
    /// What came is not to be believed.
    #[error("DNS: {0}")]
    Answer(#[from] NoAnswer),
    /// The system's resolver.
    #[error("the system's resolver: {0}")]
    System(#[source] io::Error),
    /// This machine's random source failed.
    #[error("this machine's random source failed")]
    Random,
}

/// What an attempt found for one family, or why not.
pub(super) type Outcome = (Family, Result<Found, ExchangeError>);

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    System,
    Server(DnsServer),
}

/// An attempt.
pub(super) struct Attempt {
    pub(super) network: Arc<dyn Network>,
    pub(super) asked: Asked,
    pub(super) name: String,
    pub(super) families: Vec<Family>,
    /// What the first attempt does besides, where it is this one.
    pub(super) plan: ResolvePlan,
    pub(super) is_first: bool,
    pub(super) verify: fn(&str) -> Verify,
}

impl Attempt {
    /// Asks, and sends what comes of it. What is asked over UDP listens until it is dropped, unless it gets an answer: before the true one
    /// others may come.
    pub(super) async fn run(self, outcomes: mpsc::Sender<Outcome>) {
        match &self.asked {
            Asked::System => self.system(&outcomes).await,
            Asked::Server(server) => {
                let questions = match self.questions(server) {
                    Ok(questions) => questions,
                    Err(error) => {
                        let _gone = outcomes.send((Family::V4, Err(error))).await;
                        return;
                    }
                };
                match server {
                    DnsServer::Udp(address) => {
                        udp::ask(&self.network, *address, questions, &outcomes).await;
                    }
                    DnsServer::Tls { address, name } => {
                        let plan = secure::plan(*address, name, (self.verify)(name));
                        let asked = secure::over_tls(&self.network, plan, &questions, &outcomes).await;
                        report(asked, &outcomes).await;
                    }
                    DnsServer::Https { address, name, path } => {
                        let plan = secure::plan(*address, name, (self.verify)(name));
                        let url = format!("https://{name}{path}");
                        let asked = secure::over_https(&self.network, plan, url, &questions, &outcomes).await;
                        report(asked, &outcomes).await;
                    }
                }
            }
        }
    }

    fn questions(&self, server: &DnsServer) -> Result<Vec<(Family, Question)>, ExchangeError> {
        let casing = self.plan.casing.filter(|_| self.is_first).map(Seed::from_bytes);
        let over_udp = matches!(server, DnsServer::Udp(_));
        let mut questions = Vec::with_capacity(self.families.len());
        for family in &self.families {
            let mut id = [0; 2];
            if over_udp {
                aws_lc_rs::rand::fill(&mut id).map_err(|_| ExchangeError::Random)?;
            }
            let question = Question::new(Asking {
                name: &self.name,
                family: *family,
                // Over TLS nobody guesses; RFC 8484 section 4.1 wants zero.
                id: u16::from_be_bytes(id),
                edns0: self.plan.edns0,
                casing: casing.as_ref().filter(|_| over_udp),
                transform: self.plan.transform.as_ref().filter(|_| self.is_first && over_udp),
                name_must_match: self.plan.name_must_match && self.is_first,
            })?;
            questions.push((*family, question));
        }
        Ok(questions)
    }

    async fn system(&self, outcomes: &mpsc::Sender<Outcome>) {
        let found = self.network.resolve(&self.name).await;
        let is_local = is_local(&self.name);
        let addresses = match found {
            Ok(addresses) => addresses,
            Err(error) => {
                let _gone = outcomes.send((Family::V4, Err(ExchangeError::System(error)))).await;
                return;
            }
        };
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses
            .iter()
            .copied()
            .filter(|address| is_local || !is_bogus(*address))
            .partition(IpAddr::is_ipv4);
        if v4.is_empty() && v6.is_empty() {
            let _gone = outcomes.send((Family::V4, Err(NoAnswer::Bogus.into()))).await;
            return;
        }
        // Both at once: nothing more is to be waited for.
        for (family, addresses) in [(Family::V6, v6), (Family::V4, v4)] {
            let _gone = outcomes.send((family, Ok(Found { addresses, ttl: None }))).await;
        }
    }
}

async fn report(result: Result<(), ExchangeError>, outcomes: &mpsc::Sender<Outcome>) {
    if let Err(error) = result {
        let _gone = outcomes.send((Family::V4, Err(error))).await;
    }
}

/// Names that are this machine by definition. RFC 6761 section 6.3.
fn is_local(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}
