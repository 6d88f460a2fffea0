//! Which application, and which remote address, each connection number of the gateway stands for. Bounded: the one used
//! least recently makes room, as on the server.
//!
//! Source: PROTOCOL.md 7.1.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// Connections of one application: browsers have hundreds of hosts, and servers keep far fewer sockets for one client.
const MOST_PER_OWNER: usize = 256;
/// Connections of all applications.
const MOST: usize = 1024;

/// Names whoever uses connections.
pub(super) type Owner = u64;

/// The table. `T` is where datagrams of an owner go.
pub(super) struct Connections<T> {
    table: Mutex<Table<T>>,
}

struct Table<T> {
    next: u16,
    by_number: BTreeMap<u16, Connection<T>>,
    by_flow: BTreeMap<(Owner, SocketAddr), u16>,
}

struct Connection<T> {
    owner: Owner,
    remote: SocketAddr,
    to: T,
    used: Instant,
}

/// A connection's number, and whether it stands for a new flow: the server may have a socket of an older one for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Known(u16),
    New(u16),
}

impl<T: Clone> Connections<T> {
    pub(super) fn new() -> Self {
        Self { table: Mutex::new(Table { next: 0, by_number: BTreeMap::new(), by_flow: BTreeMap::new() }) }
    }

    /// The connection of an owner to a remote address; `to` is where its answers go.
    pub(super) fn number(&self, owner: Owner, remote: SocketAddr, to: &T) -> Number {
        let mut table = self.lock();
        let known = table.by_flow.get(&(owner, remote)).copied();
        if let Some(number) = known
            && let Some(connection) = table.by_number.get_mut(&number)
        {
            connection.used = Instant::now();
            return Number::Known(number);
        }
        table.make_room(owner);
        let number = table.free_number();
        let connection = Connection { owner, remote, to: to.clone(), used: Instant::now() };
        table.by_number.insert(number, connection);
        table.by_flow.insert((owner, remote), number);
        Number::New(number)
    }

    /// The family of a connection's remote address.
    pub(super) fn is_ipv6(&self, number: u16) -> Option<bool> {
        self.lock().by_number.get(&number).map(|connection| connection.remote.is_ipv6())
    }

    /// Where a datagram of a connection goes; none when it is of an older flow with the same number.
    pub(super) fn receiver(&self, number: u16, remote: SocketAddr) -> Option<T> {
        let mut table = self.lock();
        let connection = table.by_number.get_mut(&number).filter(|found| found.remote == remote)?;
        connection.used = Instant::now();
        Some(connection.to.clone())
    }

    /// Forgets all of an owner.
    pub(super) fn forget(&self, owner: Owner) {
        let mut table = self.lock();
        table.by_number.retain(|_, connection| connection.owner != owner);
        table.by_flow.retain(|(of, _), _| *of != owner);
    }

    fn lock(&self) -> MutexGuard<'_, Table<T>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Table<T> {
    fn make_room(&mut self, owner: Owner) {
        let own = self.by_flow.range((owner, LEAST)..).take_while(|((of, _), _)| *of == owner).count();
        let candidates = |connection: &Connection<T>| own < MOST_PER_OWNER || connection.owner == owner;
        if own < MOST_PER_OWNER && self.by_number.len() < MOST {
            return;
        }
        let oldest = self
            .by_number
            .iter()
            .filter(|(_, connection)| candidates(connection))
            .min_by_key(|(_, connection)| connection.used)
            .map(|(number, connection)| (*number, (connection.owner, connection.remote)));
        if let Some((number, flow)) = oldest {
            self.by_number.remove(&number);
            self.by_flow.remove(&flow);
        }
    }

    /// The table is far smaller than there are numbers, so one is free.
    fn free_number(&mut self) -> u16 {
        loop {
            let number = self.next;
            self.next = self.next.wrapping_add(1);
            if !self.by_number.contains_key(&number) {
                return number;
            }
        }
    }
}

/// Not above any address.
const LEAST: SocketAddr = SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0));

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(n: usize) -> SocketAddr {
        SocketAddr::from(([192, 0, (n >> 8) as u8, n as u8], 53))
    }

    #[tokio::test(start_paused = true)]
    async fn flows_keep_their_number_until_they_are_the_oldest() {
        let connections = Connections::new();
        assert_eq!(connections.number(1, remote(0), &'a'), Number::New(0));
        for n in 1..MOST_PER_OWNER {
            tokio::time::advance(std::time::Duration::from_millis(1)).await;
            assert_eq!(connections.number(1, remote(n), &'a'), Number::New(n as u16));
        }
        assert_eq!(connections.number(1, remote(0), &'a'), Number::Known(0), "used again");
        tokio::time::advance(std::time::Duration::from_millis(1)).await;
        assert_eq!(connections.number(1, remote(9999), &'a'), Number::New(256));
        assert_eq!(connections.receiver(1, remote(1)), None, "the oldest made room");
        assert_eq!(connections.receiver(0, remote(0)), Some('a'));
        assert_eq!(connections.receiver(0, remote(7)), None, "another flow had the number");
        assert_eq!(connections.number(2, remote(0), &'b'), Number::New(257), "owners do not share");
        connections.forget(1);
        assert_eq!(connections.is_ipv6(0), None);
        assert_eq!(connections.receiver(257, remote(0)), Some('b'));
    }

    #[test]
    fn there_are_never_more_than_so_many() {
        let connections = Connections::new();
        for owner in 0..20 {
            for n in 0..100 {
                connections.number(owner, remote(n), &());
            }
        }
        assert_eq!(connections.lock().by_number.len(), MOST);
        assert_eq!(connections.lock().by_flow.len(), MOST);
    }
}
