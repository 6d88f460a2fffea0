//! Changes of this host's addresses, from Linux' netlink, so that an address that it gets is refused to clients from then on.
//! Not the policy. Source: rtnetlink(7).

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};
use tokio::time::{Instant, sleep_until, timeout};

use super::own_addresses::OwnAddresses;
use crate::live::Live;
use crate::log::{Field, Logger};

/// Looked at this often where changes are not told, and in any case this often.
const POLL: Duration = Duration::from_secs(10);
/// Addresses that come and go all the time must not keep us busy.
const AT_LEAST_APART: Duration = Duration::from_millis(100);
/// Larger than any message that is of interest: their contents are not read.
const BUFFER: usize = 8192;

/// Keeps them current. Never returns.
pub(crate) async fn follow(own: &Live<OwnAddresses>, log: &Logger) {
    let socket = listen().inspect_err(|error| {
        let text = error.to_string();
        log.warning(
            "changes of this machine's addresses are looked for, not told",
            [("error", Field::text(text))],
        );
    });
    let mut socket = socket.ok();
    loop {
        // What changed before there was somebody to tell counts too.
        renew(own, log);
        let next = Instant::now() + AT_LEAST_APART;
        if let Some(Ok(Err(_))) = wait(socket.as_ref()).await {
            socket = listen().ok();
        }
        sleep_until(next).await;
    }
}

/// The outcome of waiting for a message; `None` without a socket.
async fn wait(socket: Option<&TokioSocket>) -> Option<Result<io::Result<()>, tokio::time::error::Elapsed>> {
    match socket {
        Some(socket) => Some(timeout(POLL, change(socket)).await),
        None => {
            tokio::time::sleep(POLL).await;
            None
        }
    }
}

fn renew(own: &Live<OwnAddresses>, log: &Logger) {
    let before = own.get();
    match before.renewed() {
        Ok(now) if now != *before => {
            own.replace(now);
            log.info("this machine's addresses have changed", []);
        }
        Ok(_) => {}
        // Those known before are refused still; a dial looks at the route besides.
        Err(error) => {
            log.warning("cannot list this machine's addresses", [("error", Field::text(error.to_string()))]);
        }
    }
}

fn listen() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    let groups = libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
    socket.socket_mut().bind(&SocketAddr::new(0, groups.cast_unsigned()))?;
    Ok(socket)
}

/// The next message. Messages that were lost are a change too.
async fn change(socket: &TokioSocket) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(BUFFER);
    match socket.recv(&mut buffer).await {
        Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(()),
        other => other.map(drop),
    }
}
