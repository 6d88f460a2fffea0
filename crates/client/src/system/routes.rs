//! Changes of interfaces, addresses and routes, from Linux' netlink. Most of them mean nothing to us: what counts is which
//! address of ours packets to the world would leave from.
//!
//! Source: rtnetlink(7).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use bytes::BytesMut;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};
use tokio::time::{sleep, timeout};

use crate::controls::Controls;
use crate::notice::Notices;

/// A change is many messages; they are over when none comes for so long.
const SETTLED: Duration = Duration::from_millis(200);
/// Nobody waits longer for them to be over.
const LONGEST: Duration = Duration::from_secs(1);
/// After an error that would come again at once.
const BACK_OFF: Duration = Duration::from_secs(1);
/// Larger than any message that is of interest: their contents are not read.
const BUFFER: usize = 8192;
/// Addresses of no host, which every default route leads to (RFC 5737, RFC 3849). Nothing is sent there.
const WORLD: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// Passes on changes. Never returns.
pub(super) async fn watch(controls: &Controls, notices: &Notices) {
    let socket = match listen() {
        Ok(socket) => socket,
        Err(error) => {
            notices.info(format!("changes of the network are not noticed: {error}"));
            return std::future::pending().await;
        }
    };
    // The last ways out that there were: without one, nothing is known to be different.
    let mut last = ways_out();
    loop {
        if next_change(&socket).await.is_err() {
            sleep(BACK_OFF).await;
        }
        let settled = async { while let Ok(Ok(())) = timeout(SETTLED, next_change(&socket)).await {} };
        let _ = timeout(LONGEST, settled).await;
        let now = ways_out();
        if now == NO_WAY || now == last {
            controls.network_touched();
            continue;
        }
        let before = std::mem::replace(&mut last, now);
        match before {
            NO_WAY => controls.network_touched(),
            _ => controls.network_changed(),
        }
    }
}

fn listen() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    let groups = libc::RTMGRP_LINK
        | libc::RTMGRP_IPV4_IFADDR
        | libc::RTMGRP_IPV6_IFADDR
        | libc::RTMGRP_IPV4_ROUTE
        | libc::RTMGRP_IPV6_ROUTE;
    socket.socket_mut().bind(&SocketAddr::new(0, groups.cast_unsigned()))?;
    Ok(socket)
}

/// The next message. Messages that were lost are a change too.
async fn next_change(socket: &TokioSocket) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(BUFFER);
    match socket.recv(&mut buffer).await {
        Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(()),
        other => other.map(drop),
    }
}

/// Which addresses of ours packets to the world leave from, of either family.
type WaysOut = [Option<IpAddr>; 2];

const NO_WAY: WaysOut = [None, None];

fn ways_out() -> WaysOut {
    WORLD.map(|to| {
        let any: IpAddr = match to {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        // Only chooses a route: a datagram socket tells nobody that it is connected.
        socket.connect((to, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    })
}
