//! What servers know of destinations: a blocklist of addresses and names, which also rules questions to name servers, and how many bytes
//! went where.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::offers::PLACES;
use super::rules::reaches;
use super::udp::{GATEWAY, answer, echo, frame};
use super::{Applies, Case, Note, Protocols, case};
use crate::clock;
use crate::failure::{Doing, Failure, expect_eq};
use crate::lines::Cursor;
use crate::process::Signal;
use crate::programs::Maker;
use crate::proxies::{self, Target};
use crate::scenario::{Client, Folder, Server, ServerEdits, Setting, members};

pub(super) const CASES: &[Case] = &[
    case("blocklist_reports", |setting| blocklist(setting, false)).over(Protocols::OsshAndPlainMeek),
    case("blocklist_refuses", |setting| blocklist(setting, true)).over(Protocols::OsshAndPlainMeek),
    case("blocklist_reload", reload).over(Protocols::OnlyOssh),
    case("dns_questions", questions).over(Protocols::OsshAndPlainMeek),
    case("destination_bytes", destination_bytes).over(Protocols::OnlyOssh),
    // The reference's client does not say that it ends, and servers wait 45 s for further requests.
    case("meek_destination_bytes", destination_bytes).over(Protocols::OnlyPlainMeek).only(Applies::OurClient),
];

/// Long enough for anything here on a slow machine.
const SOON: Duration = Duration::from_secs(30);
const LIST: &str = "127.0.0.1,feed,botnet\nlocalhost,feed,phishing\nbad.example,feed,malware\n";

/// A list in a file, and the settings that name it.
struct Listing {
    file: PathBuf,
    _folder: Folder,
}

impl Listing {
    fn new(list: &str) -> Result<Self, Failure> {
        let folder = Folder::new()?;
        let listing = Self { file: folder.0.join("list"), _folder: folder };
        listing.write(list)?;
        Ok(listing)
    }

    fn write(&self, list: &str) -> Result<(), Failure> {
        fs::write(&self.file, list).doing("write the blocklist")
    }

    fn edits(&self, active: bool) -> ServerEdits {
        let config = json!({ "BlocklistFilename": self.file, "BlocklistActive": active });
        ServerEdits { config: members(config), ..ServerEdits::default() }
    }
}

/// Who tries an address or a name that is listed is reported, and refused and told if the list is active.
fn blocklist(setting: &Setting, active: bool) -> Result<Note, Failure> {
    let listing = Listing::new(LIST)?;
    let mut server = setting.server(listing.edits(active))?;
    let mut client = setting.connect(&setting.plan(&server).with("EmitServerAlerts", true))?;
    let page = setting.origin.page;
    for (target, listed, subject) in [
        (Target::address(page), ("blocklist_ip_address", "127.0.0.1"), "botnet"),
        (Target::localhost(page), ("blocklist_domain", "localhost"), "phishing"),
    ] {
        expect_eq(format!("whether {target} is reached"), !active, reaches(&client, &target))?;
        hit(&mut server, listed, subject)?;
        if active {
            alerted(&mut client, subject)?;
        }
    }
    Ok(Note::new())
}

/// A list that changes under a tunnel holds for new flows, and ours ends open ones that it refuses.
fn reload(setting: &Setting) -> Result<Note, Failure> {
    let listing = Listing::new("192.0.2.1,feed,other\n")?;
    let mut server = setting.server(listing.edits(true))?;
    let client = setting.connect(&setting.plan(&server))?;
    let target = Target::address(setting.origin.echo);
    let mut open = proxies::socks5(client.socks, &target)?;
    proxies::echo(&mut open, b"here")?;
    listing.write(LIST)?;
    server.process()?.signal(Signal::Reload)?;
    let page = Target::address(setting.origin.page);
    let obeyed = clock::poll(SOON, || (!reaches(&client, &page)).then_some(()));
    expect_eq("whether the new list is obeyed", Some(()), obeyed)?;
    if setting.pairing.server == Maker::Ours {
        let ended = clock::poll(SOON, || proxies::echo(&mut open, b"gone").is_err().then_some(()));
        expect_eq("whether an open flow was ended", Some(()), ended)?;
    } else {
        proxies::echo(&mut open, b"still here")?;
    }
    hit(&mut server, ("blocklist_ip_address", "127.0.0.1"), "botnet").map(|()| Note::new())
}

/// Datagrams to name servers must be questions, and not about what is listed or local.
fn questions(setting: &Setting) -> Result<Note, Failure> {
    let Some(names) = name_server()? else { return Ok("port 53 cannot be had here".to_owned()) };
    for active in [false, true] {
        let listing = Listing::new(LIST)?;
        let mut server = setting.server(listing.edits(active))?;
        let mut client = setting.connect(&setting.plan(&server).with("EmitServerAlerts", true))?;
        let mut flow = proxies::socks5(client.socks, &Target::address(GATEWAY))?;
        for (connection, packet, passes) in [
            (1, query("good.example"), true),
            (2, b"no question".to_vec(), false),
            (3, query("printer.local"), false),
            (4, query("bad.example"), !active),
            (5, query("www.bad.example"), true),
        ] {
            flow.write_all(&frame(0, connection, names, &packet)).doing("send a question")?;
            if !passes {
                // What came back for it would come before this.
                let (connection, packet) = (100 + connection, query("after.example"));
                flow.write_all(&frame(0, connection, names, &packet)).doing("send a question")?;
                answer(&mut flow, connection, names, &packet)?;
                continue;
            }
            answer(&mut flow, connection, names, &packet)?;
        }
        hit(&mut server, ("blocklist_domain", "bad.example"), "malware")?;
        if active {
            alerted(&mut client, "malware")?;
        }
    }
    Ok(Note::new())
}

/// Answers on the port of name servers with what it is sent, at an address of its own; `None` without the right to that port.
fn name_server() -> Result<Option<SocketAddr>, Failure> {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., low] = std::process::id().to_be_bytes();
    let at = SocketAddr::from((Ipv4Addr::new(127, 53, low, NEXT.fetch_add(1, Ordering::Relaxed)), 53));
    match UdpSocket::bind(at) {
        Ok(free) => drop(free),
        Err(_) => return Ok(None),
    }
    echo(at).map(Some)
}

/// A question for the IPv4 addresses of a name. RFC 1035 section 4.1.
fn query(name: &str) -> Vec<u8> {
    let mut bytes = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or(0));
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// Bytes by network are summed up by the server, and bytes by site by those clients that count them; both events have what went both ways.
fn destination_bytes(setting: &Setting) -> Result<Note, Failure> {
    const SENT: usize = 5000;
    let folder = Folder::new()?;
    let mut server = setting.server(counting(&folder)?)?;
    let plan = setting.plan(&server).with("ClientPlatform", "Windows_Pairing").with("DeviceRegion", "NL");
    let mut client = setting.connect(&plan)?;
    let mut flow = proxies::socks5(client.socks, &Target::address(setting.origin.echo))?;
    proxies::echo(&mut flow, &[7; SENT])?;
    drop(flow);
    let by_datagrams = echo((Ipv4Addr::LOCALHOST, 0).into())?;
    let mut gateway = proxies::socks5(client.socks, &Target::address(GATEWAY))?;
    gateway.write_all(&frame(0, 1, by_datagrams, &[7; 1000])).doing("send a datagram")?;
    answer(&mut gateway, 1, by_datagrams, &[7; 1000])?;
    drop(gateway);
    let page = page_of(&client, setting.origin.page)?;
    client.stop(Signal::Terminate)?;
    // The echo saw as much as it said; datagrams came back with a port before them.
    let network = sum(&mut server, "asn_dest_bytes", ("asn", "64496"), |tcp, udp| {
        (2 * SENT as u64 <= tcp && udp == 1000 + 1002).then_some(tcp)
    })?;
    expect_eq("bytes over TCP", (2 * SENT + page) as u64, network)?;
    if setting.pairing.client == Maker::Ours {
        // It counts no sites, whoever asks.
        return Ok("by network".to_owned());
    }
    let site = sum(&mut server, "domain_dest_bytes", ("domain", "the site"), |tcp, udp| {
        // It may report in pieces.
        (udp == 0 && tcp >= page as u64).then_some(tcp)
    })?;
    expect_eq("bytes of a site", page as u64, site)?;
    Ok("by network and by site".to_owned())
}

/// A server that counts, with loopback in a network of databases in this folder.
fn counting(folder: &Folder) -> Result<ServerEdits, Failure> {
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.0.join(name);
        fs::write(&path, bytes).doing(format!("write {name}"))?;
        Ok(path)
    };
    let psinet = json!({ "sponsors": {"FFFFFFFFFFFFFFFF": {
        "id": "FFFFFFFFFFFFFFFF",
        "https_request_regexes": [{ "regex": "^(localhost)$", "replace": "the site" }],
    }}});
    let psinet = write("psinet.json", psinet.to_string().as_bytes())?;
    let places =
        PLACES.iter().map(|(name, bytes)| write(name, bytes)).collect::<Result<Vec<_>, Failure>>()?;
    let config = json!({
        "PsinetDatabaseFilename": psinet,
        "GeoIPDatabaseFilenames": places,
        "DestinationBytesPeriodSeconds": 1,
    });
    let tactics = json!({ "DestinationBytesMetricsASNs": ["64496"] });
    Ok(ServerEdits { config: members(config), tactics: members(tactics), ..ServerEdits::default() })
}

/// Fetches a page by its name; how many bytes that were both ways.
fn page_of(client: &Client, page: SocketAddr) -> Result<usize, Failure> {
    let mut flow = proxies::socks5(client.socks, &Target::localhost(page))?;
    let request = b"GET /page HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    flow.write_all(request).doing("request a page")?;
    let mut response = Vec::new();
    flow.read_to_end(&mut response).doing("read a page")?;
    Ok(request.len() + response.len())
}

/// What events of one destination say together, once it is what it should be.
fn sum(
    server: &mut Server,
    event: &str,
    (field, destination): (&str, &str),
    is_it: impl Fn(u64, u64) -> Option<u64>,
) -> Result<u64, Failure> {
    let (mut tcp, mut udp) = (0, 0);
    let mut wrong = Map::new();
    let awaited = format!("{event} of {destination}");
    let found = server.process_mut()?.wait_line(&mut Cursor::default(), SOON, &awaited, |line| {
        let line: Value = serde_json::from_str(line).ok()?;
        if line.get("event_name")? != event || line.get(field)? != destination {
            return None;
        }
        let number = |name: &str| line.get(name).and_then(Value::as_u64).unwrap_or(0);
        tcp += number("bytes_tcp");
        udp += number("bytes_udp");
        for (field, expected) in [
            ("client_region", "CA"),
            ("client_asn", "64496"),
            ("sponsor_id", "FFFFFFFFFFFFFFFF"),
            ("client_platform", "Windows"),
            ("device_region", "NL"),
        ] {
            if line.get(field).and_then(Value::as_str) != Some(expected) {
                wrong.insert(field.to_owned(), line.get(field).cloned().unwrap_or_default());
            }
        }
        if number("bytes") != number("bytes_tcp") + number("bytes_udp") {
            wrong.insert("bytes".to_owned(), number("bytes").into());
        }
        is_it(tcp, udp)
    })?;
    expect_eq(format!("wrong fields of {event}"), &Map::new(), &wrong)?;
    Ok(found)
}

/// Waits for the report of a destination that is listed.
fn hit(server: &mut Server, (field, listed): (&str, &str), subject: &str) -> Result<(), Failure> {
    let awaited = format!("server_blocklist_hit of {listed}");
    let event = server.process_mut()?.wait_line(&mut Cursor::default(), SOON, &awaited, |line| {
        let event: Value = serde_json::from_str(line).ok()?;
        let is_it = event.get("event_name")? == "server_blocklist_hit" && event.get(field)? == listed;
        is_it.then_some(event)
    })?;
    for (field, expected) in [("blocklist_source", "feed"), ("blocklist_subject", subject)] {
        expect_eq(field, Some(expected), event.get(field).and_then(Value::as_str))?;
    }
    Ok(())
}

/// Waits until the client has told its user.
fn alerted(client: &mut Client, subject: &str) -> Result<(), Failure> {
    client.wait_notice(&format!("notice ServerAlert of {subject}"), SOON, |notice| {
        let is_it = notice.kind == "ServerAlert"
            && notice.data["reason"] == "unsafe-traffic"
            && notice.data["subject"] == subject;
        is_it.then_some(())
    })
}
