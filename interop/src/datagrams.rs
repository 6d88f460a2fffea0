//! A wire for datagrams between clients and a server that can be looked at, and that can change the client's address or lose some.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How many datagrams of the client are kept.
const KEPT: usize = 64;
/// How often threads look whether they are to end.
const LOOK: Duration = Duration::from_millis(100);

/// A relay between one client and one server. Dropping it ends it.
pub(crate) struct DatagramRelay {
    shared: Arc<Shared>,
    port: u16,
}

struct Shared {
    /// Towards the client.
    front: UdpSocket,
    /// Towards the server; another one is another address of the client.
    back: Mutex<Arc<UdpSocket>>,
    server: SocketAddr,
    client: Mutex<Option<SocketAddr>>,
    kept: Mutex<Vec<Vec<u8>>>,
    over: AtomicBool,
    /// One of so many is lost in each direction; 0: none.
    lose_one_in: AtomicU32,
    passed: AtomicU32,
}

impl DatagramRelay {
    /// Starts a relay to `server` on a free port.
    pub(crate) fn start(server: SocketAddr) -> io::Result<Self> {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = front.local_addr()?.port();
        front.set_read_timeout(Some(LOOK))?;
        let back = Arc::new(back(server)?);
        let shared = Arc::new(Shared {
            front,
            back: Mutex::new(Arc::clone(&back)),
            server,
            client: Mutex::default(),
            kept: Mutex::default(),
            over: AtomicBool::new(false),
            lose_one_in: AtomicU32::new(0),
            passed: AtomicU32::new(0),
        });
        let up = Arc::clone(&shared);
        thread::spawn(move || up.carry_up());
        shared.carry_down(back);
        Ok(Self { shared, port })
    }

    /// The port to put in the client's entry.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What the client sent first, in order.
    pub(crate) fn first_datagrams(&self) -> Vec<Vec<u8>> {
        lock(&self.shared.kept).clone()
    }

    /// The client has another address from now on, as behind a router that forgot it.
    pub(crate) fn change_address(&self) -> io::Result<()> {
        let new = Arc::new(back(self.shared.server)?);
        *lock(&self.shared.back) = Arc::clone(&new);
        self.shared.carry_down(new);
        Ok(())
    }

    /// Loses one of so many datagrams from now on.
    pub(crate) fn lose_one_in(&self, many: u32) {
        self.shared.lose_one_in.store(many, Ordering::Relaxed);
    }
}

impl Drop for DatagramRelay {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

fn back(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(LOOK))?;
    Ok(socket)
}

impl Shared {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn is_lost(&self) -> bool {
        let many = self.lose_one_in.load(Ordering::Relaxed);
        let passed = self.passed.fetch_add(1, Ordering::Relaxed);
        many > 0 && passed % many == many - 1
    }

    fn carry_up(&self) {
        let mut buffer = vec![0; 65_536];
        while !self.is_over() {
            let Ok((count, client)) = self.front.recv_from(&mut buffer) else { continue };
            *lock(&self.client) = Some(client);
            let datagram = buffer.get(..count).unwrap_or_default();
            let mut kept = lock(&self.kept);
            if kept.len() < KEPT {
                kept.push(datagram.to_vec());
            }
            drop(kept);
            if !self.is_lost() {
                let back = lock(&self.back).clone();
                // A server that is down loses it.
                let _ = back.send(datagram);
            }
        }
    }

    fn carry_down(self: &Arc<Self>, back: Arc<UdpSocket>) {
        let shared = Arc::clone(self);
        thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !shared.is_over() {
                let Ok(count) = back.recv(&mut buffer) else { continue };
                let client = *lock(&shared.client);
                if let (Some(client), false) = (client, shared.is_lost()) {
                    let _ = shared.front.send_to(buffer.get(..count).unwrap_or_default(), client);
                }
            }
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
