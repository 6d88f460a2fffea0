//! Who is connected now, by protocol and country: connections of all sorts, of which tunnels are some.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use culvert_protocol::TunnelProtocol;

use super::country::Country;
use super::labels::Protocol;
use super::{Figures, Present};

/// Connections that are open. Countries are fewer than 700, so this is small.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<BTreeMap<(Country, TunnelProtocol), u64>>);

impl Connections {
    pub(super) fn now(&self) -> BTreeMap<(Country, TunnelProtocol), u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, of: (Country, TunnelProtocol)) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(of).or_default() += 1;
    }

    fn remove(&self, of: (Country, TunnelProtocol)) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&of) {
            *count -= 1;
            if *count == 0 {
                open.remove(&of);
            }
        }
    }
}

/// A connection that counts while this lives.
#[derive(Debug)]
pub(crate) struct Connection {
    figures: Arc<Figures>,
    country: Country,
    protocol: TunnelProtocol,
    _present: Present,
}

impl Connection {
    pub(super) fn new(figures: &Arc<Figures>, protocol: TunnelProtocol, country: Country) -> Self {
        figures.connections_now.add((country, protocol));
        let present = Present::among(figures, |figures| figures.connections.of(Protocol(protocol)));
        Self { figures: figures.clone(), country, protocol, _present: present }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.figures.connections_now.remove((self.country, self.protocol));
    }
}
