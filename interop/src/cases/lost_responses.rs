//! Responses that are lost, in the middle or before they began: a session of requests and responses outlives its connections.

use std::net::SocketAddr;
use std::time::Duration;

use super::traffic::{download, upload};
use super::{Case, Note, Protocols, case};
use crate::failure::{Doing, Failure, expect_eq};
use crate::relay::{Losses, Relay};
use crate::scenario::Setting;

pub(super) const CASES: &[Case] = &[
    case("cut_between_requests", cut_between_requests).over(Protocols::OnlyMeek),
    case("responses_cut_in_the_middle", cut_in_the_middle).over(Protocols::OnlyMeek),
    case("responses_cut_at_the_beginning", cut_at_the_beginning).over(Protocols::OnlyMeek),
];

const BYTES: u64 = 2_000_000;
/// For a pause between requests.
const PATIENCE: Duration = Duration::from_secs(30);

/// Every connection ends; the tunnel stays.
fn cut_between_requests(setting: &Setting) -> Result<Note, Failure> {
    through(setting, Losses::None, |relay, socks| {
        for _ in 0..5 {
            relay.cut_when_answered(PATIENCE)?;
            download(socks, setting.origin.bulk, 100_000)?;
        }
        Ok(())
    })
}

/// Every connection ends in the middle of a response.
fn cut_in_the_middle(setting: &Setting) -> Result<Note, Failure> {
    through(setting, Losses::AfterDownstream(150_000), |_, socks| {
        download(socks, setting.origin.bulk, BYTES)?;
        Ok(())
    })
}

/// Every connection ends when a request has been answered and before any of that arrives: it is repeated, and not used twice.
fn cut_at_the_beginning(setting: &Setting) -> Result<Note, Failure> {
    through(setting, Losses::AnswerAfterUpstream(200_000), |_, socks| {
        upload(socks, setting.origin.bulk, BYTES)?;
        Ok(())
    })
}

fn through(
    setting: &Setting,
    losses: Losses,
    traffic: impl FnOnce(&Relay, SocketAddr) -> Result<(), Failure>,
) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    let relay = Relay::start(server.address(setting.protocol)).doing("start the relay")?;
    let mut client = setting.connect(&setting.plan(&server).via(setting.protocol, &relay))?;
    let before = relay.seen().len();
    relay.lose(losses);
    traffic(&relay, client.socks)?;
    relay.lose(Losses::None);
    let connections = relay.seen().len() - before;
    expect_eq(format!("whether {connections} new connections are several"), true, connections >= 3)?;
    let lost = client.wait_tunnels(0, Duration::from_millis(100));
    expect_eq("whether the tunnel is the first one", true, matches!(lost, Err(Failure::Timeout { .. })))?;
    Ok(format!("{connections} connections"))
}
