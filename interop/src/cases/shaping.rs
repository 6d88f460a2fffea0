//! First bytes in small writes, in both directions, looked at on the wire.

use serde_json::json;

use super::traffic::{download, upload};
use super::{Case, Note, Protocols, case};
use crate::failure::{Doing, Failure};
use crate::proxies::{self, Target};
use crate::relay::Relay;
use crate::scenario::{ServerEdits, Setting, members};

pub(super) const CASES: &[Case] = &[case("fragmented", fragmented).over(Protocols::Streams)];

/// The largest piece.
const MOST: usize = 90;

/// Both ends fragment; the tunnel works, and what the client sends first is small.
fn fragmented(setting: &Setting) -> Result<Note, Failure> {
    let tactics = members(json!({
        "FragmentorDownstreamProbability": 1.0,
        "FragmentorDownstreamMinTotalBytes": 1000,
        "FragmentorDownstreamMaxTotalBytes": 2000,
        "FragmentorDownstreamMinWriteBytes": 1,
        "FragmentorDownstreamMaxWriteBytes": MOST,
        "FragmentorDownstreamMaxDelay": "2ms",
    }));
    let server = setting.server(ServerEdits { tactics, ..ServerEdits::default() })?;
    let relay = Relay::start(server.address(setting.protocol)).doing("start the relay")?;
    let plan = setting
        .plan(&server)
        .without_prefix()
        .with("FragmentorProbability", 1.0)
        .with("FragmentorMinTotalBytes", 1000)
        .with("FragmentorMaxTotalBytes", 2000)
        .with("FragmentorMinWriteBytes", 1)
        .with("FragmentorMaxWriteBytes", MOST)
        .with("FragmentorMaxDelayMicroseconds", 2000);
    let client = setting.connect(&plan.via(setting.protocol, &relay))?;
    proxies::fetch_page(proxies::socks5(client.socks, &Target::address(setting.origin.page))?)?;
    upload(client.socks, setting.origin.bulk, 300_000)?;
    download(client.socks, setting.origin.bulk, 300_000)?;
    let seen = relay.seen().pop().ok_or_else(|| Failure::mismatch("relay", "a connection", "none"))?;
    // Pieces may be read together, but not many where pauses lie between.
    if seen.first_read > 4 * MOST {
        let expected = format!("pieces of at most {MOST} bytes");
        return Err(Failure::mismatch("the first segment", expected, format!("{} bytes", seen.first_read)));
    }
    Ok(format!("first segment {} bytes", seen.first_read))
}
