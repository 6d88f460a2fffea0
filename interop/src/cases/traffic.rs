//! What a tunnel is for: a page through every kind of proxy request, bulk data, many flows, half-closed flows.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use super::{Applies, Case, Note, case};
use crate::clock;
use crate::failure::{Doing, Failure, expect_eq};
use crate::origin::Origin;
use crate::pattern::{Pattern, read_digest};
use crate::proxies::{self, Target};
use crate::scenario::{Client, Setting};

pub(super) const CASES: &[Case] = &[
    case("page", page),
    case("transfer", transfer),
    case("flows_200", flows),
    case("duplex", duplex),
    case("stalled_flow", stalled_flow),
    case("json_api", json_api),
    case("both_protocols", both_protocols).over(super::Protocols::OnlyOssh),
    case("half_close", half_close).only(Applies::OnlyOurs),
];

const MEGABYTE: u64 = 1_000_000;

fn page(setting: &Setting) -> Result<Note, Failure> {
    let (_server, client) = setting.pair()?;
    pages(&client, &setting.origin)?;
    Ok(Note::new())
}

/// The page through each kind of request that the proxies take.
fn pages(client: &Client, origin: &Origin) -> Result<(), Failure> {
    let address = Target::address(origin.page);
    let name = Target::localhost(origin.page);
    for target in [&address, &name] {
        proxies::fetch_page(proxies::socks5(client.socks, target)?)?;
        proxies::fetch_page(proxies::socks4(client.socks, target)?)?;
        proxies::fetch_page(proxies::connect(client.http, target)?)?;
        proxies::fetch_page_plain(client.http, target)?;
    }
    Ok(())
}

/// 20 MB (200 in the long variant) up, then as much down, each with its digest.
fn transfer(setting: &Setting) -> Result<Note, Failure> {
    let megabytes = if setting.long { 200 } else { 20 };
    let (server, mut client) = setting.pair()?;
    let before = [client.process().usage(), server.process()?.usage()];
    let up = upload(client.socks, setting.origin.bulk, megabytes * MEGABYTE)?;
    let down = download(client.socks, setting.origin.bulk, megabytes * MEGABYTE)?;
    let used = [client.process().usage().since(before[0]), server.process()?.usage().since(before[1])];
    let speed = |elapsed: Duration| megabytes as f64 / elapsed.as_secs_f64();
    let spent =
        used.map(|usage| format!("{:.2} s CPU, {:.1} MB", usage.cpu_seconds, usage.peak_rss as f64 / 1e6));
    let [client, server] = spent;
    Ok(format!(
        "{megabytes} MB each way; up {:.0} MB/s, down {:.0} MB/s; client {client}; server {server}",
        speed(up),
        speed(down)
    ))
}

/// Sends `length` bytes to the bulk destination and checks the digest it answers; how long that took.
pub(super) fn upload(socks: SocketAddr, bulk: SocketAddr, length: u64) -> Result<Duration, Failure> {
    let mut flow = proxies::socks5(socks, &Target::address(bulk))?;
    let start = clock::now();
    writeln!(flow, "up {length}").doing("start the upload")?;
    let sent = Pattern::new(length).write(length, &mut flow).doing("upload")?;
    let received = read_line(&mut flow)?;
    let elapsed = clock::now() - start;
    expect_eq("digest of the upload", sent, received)?;
    Ok(elapsed)
}

/// Takes `length` bytes from the bulk destination and checks their digest; how long that took.
pub(super) fn download(socks: SocketAddr, bulk: SocketAddr, length: u64) -> Result<Duration, Failure> {
    let mut flow = proxies::socks5(socks, &Target::address(bulk))?;
    let start = clock::now();
    writeln!(flow, "down {length} {length}").doing("start the download")?;
    finish_download(&mut flow, length)?;
    Ok(clock::now() - start)
}

fn finish_download(flow: &mut TcpStream, length: u64) -> Result<(), Failure> {
    let received = read_digest(flow, length).doing("download")?;
    expect_eq("digest of the download", read_line(flow)?, received)
}

/// 200 flows, all open before the first of them is used.
fn flows(setting: &Setting) -> Result<Note, Failure> {
    let (_server, client) = setting.pair()?;
    let start = clock::now();
    let target = Target::address(setting.origin.echo);
    let open = in_parallel((0..200).collect(), |_| proxies::socks5(client.socks, &target))?;
    let opened = clock::now() - start;
    in_parallel(open.into_iter().enumerate().collect(), |(index, mut flow)| {
        for round in 0..3 {
            exchange(&mut flow, index as u64 * 3 + round)?;
        }
        Ok(())
    })?;
    Ok(format!(
        "all open after {:.2} s, all done after {:.2} s",
        opened.as_secs_f64(),
        (clock::now() - start).as_secs_f64()
    ))
}

/// Sends a pattern to the echo and compares what comes back.
fn exchange(flow: &mut TcpStream, seed: u64) -> Result<(), Failure> {
    const LENGTH: u64 = 15_000;
    let sent = Pattern::new(seed).write(LENGTH, flow).doing("write to the echo")?;
    let received = read_digest(flow, LENGTH).doing("read from the echo")?;
    expect_eq("digest of the echo", sent, received)
}

/// Both directions of one flow at once, more than any buffer on the way can hold.
fn duplex(setting: &Setting) -> Result<Note, Failure> {
    const LENGTH: u64 = 16 * MEGABYTE;
    let (_server, client) = setting.pair()?;
    let mut flow = proxies::socks5(client.socks, &Target::address(setting.origin.echo))?;
    let mut writer = flow.try_clone().doing("clone the flow")?;
    let (sent, received) = thread::scope(|scope| {
        let sender = scope.spawn(move || Pattern::new(1).write(LENGTH, &mut writer));
        let received = read_digest(&mut flow, LENGTH);
        (sender.join(), received)
    });
    let sent =
        sent.map_err(|_| Failure::mismatch("writer", "an end", "a panic"))?.doing("write to the echo")?;
    expect_eq("digest of the echo", sent, received.doing("read from the echo")?)?;
    Ok(Note::new())
}

/// A flow whose reader sleeps must not hold up the others, and must lose nothing.
fn stalled_flow(setting: &Setting) -> Result<Note, Failure> {
    const LENGTH: u64 = 20 * MEGABYTE;
    let (_server, client) = setting.pair()?;
    let mut stalled = proxies::socks5(client.socks, &Target::address(setting.origin.bulk))?;
    writeln!(stalled, "down {LENGTH} 5").doing("start the stalled download")?;
    // Wait until it flows; from then on nobody reads it, so every buffer on its way fills.
    stalled.peek(&mut [0]).doing("first byte of the stalled download")?;
    download(client.socks, setting.origin.bulk, 4 * MEGABYTE)?;
    upload(client.socks, setting.origin.bulk, 4 * MEGABYTE)?;
    pages(&client, &setting.origin)?;
    finish_download(&mut stalled, LENGTH)?;
    Ok(Note::new())
}

/// The other encoding of the API messages.
fn json_api(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    let client = setting.connect(&setting.plan(&server).with("TargetAPIEncoding", "json"))?;
    proxies::fetch_page(proxies::socks5(client.socks, &Target::address(setting.origin.page))?)?;
    Ok(Note::new())
}

/// One server, a client of each protocol at the same time.
fn both_protocols(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    let plans = ["SSH", "OSSH"].map(|name| setting.plan(&server).with("LimitTunnelProtocols", vec![name]));
    let clients = in_parallel(plans.to_vec(), |plan| setting.connect(&plan))?;
    in_parallel(clients.iter().collect(), |client| {
        pages(client, &setting.origin)?;
        download(client.socks, setting.origin.bulk, 2 * MEGABYTE).map(drop)
    })?;
    Ok(Note::new())
}

/// The reply to a request that ends with the end of the stream arrives.
fn half_close(setting: &Setting) -> Result<Note, Failure> {
    let (_server, client) = setting.pair()?;
    let target = Target::address(setting.origin.after_end);
    for mut flow in [proxies::socks5(client.socks, &target)?, proxies::connect(client.http, &target)?] {
        Pattern::new(3).write(100_000, &mut flow).doing("write before the end")?;
        flow.shutdown(Shutdown::Write).doing("end the stream")?;
        let mut answer = String::new();
        flow.read_to_string(&mut answer).doing("read after the end")?;
        expect_eq("answer after the end", "100000\n", answer.as_str())?;
    }
    Ok(Note::new())
}

fn read_line(flow: &mut TcpStream) -> Result<String, Failure> {
    let mut line = [0; 65];
    flow.read_exact(&mut line).doing("read the digest")?;
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// Does `work` on each item in a thread of its own; the first failure, if any.
pub(super) fn in_parallel<I: Send, T: Send>(
    items: Vec<I>,
    work: impl Fn(I) -> Result<T, Failure> + Sync,
) -> Result<Vec<T>, Failure> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = items.into_iter().map(|item| scope.spawn(move || work(item))).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|result| {
                result.unwrap_or_else(|_| Err(Failure::mismatch("worker thread", "an end", "a panic")))
            })
            .collect()
    })
}
