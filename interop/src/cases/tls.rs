//! TLS: every profile of a ClientHello, and what may be changed in one.

use super::lifecycle::fetch;
use super::traffic::{download, upload};
use super::{Case, Note, Protocols, case};
use crate::failure::Failure;
use crate::programs::Maker;
use crate::scenario::{ClientPlan, Setting};

pub(super) const CASES: &[Case] = &[
    case("tls_profiles", profiles).over(Protocols::OnlyTls),
    case("tls_split_hello", split_hello).over(Protocols::OnlyTls),
    case("tls_ticket", ticket).over(Protocols::OnlyTls),
];

/// Of TLS 1.3, which TLS-OSSH needs: one of each kind, then the others.
const SOME: [&str; 5] = ["Chrome-133", "Firefox-65", "Safari-16", "iOS-13", "Randomized-v2"];
const OTHERS: [&str; 13] = [
    "iOS-14",
    "Chrome-70",
    "Chrome-72",
    "Chrome-83",
    "Chrome-96",
    "Chrome-102",
    "Chrome-106",
    "Chrome-112_PSK",
    "Chrome-120",
    "Chrome-120_PQ",
    "Chrome-131",
    "Firefox-99",
    "Firefox-105",
];
/// What only ours have.
const OURS: [&str; 4] = ["Safari-18", "Safari-26", "Chrome-156", "Firefox-153"];
/// The one with a place for a ticket.
const WITH_TICKET: &str = "Chrome-112_PSK";
const BYTES: u64 = 300_000;

fn limited(plan: ClientPlan, profile: &str) -> ClientPlan {
    plan.with("LimitTLSProfiles", vec![profile])
}

fn profiles(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    let mut names = SOME.to_vec();
    if setting.long {
        names.extend(OTHERS);
    }
    if setting.pairing.client == Maker::Ours {
        names.extend(OURS);
    }
    for name in &names {
        moves_bytes(setting, limited(setting.plan(&server), name))?;
    }
    Ok(format!("{} profiles", names.len()))
}

/// Cut at the server's name, where there is one.
fn split_hello(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    let plan = setting.plan(&server).with("TLSFragmentClientHelloProbability", 1.0);
    moves_bytes(setting, plan.with("TransformHostNameProbability", 1.0))?;
    Ok(Note::new())
}

/// Half of the dials offer a ticket.
fn ticket(setting: &Setting) -> Result<Note, Failure> {
    let server = setting.plain_server()?;
    for _ in 0..4 {
        moves_bytes(setting, limited(setting.plan(&server), WITH_TICKET))?;
    }
    Ok(Note::new())
}

fn moves_bytes(setting: &Setting, plan: ClientPlan) -> Result<(), Failure> {
    let client = setting.connect(&plan)?;
    fetch(setting, &client)?;
    download(client.socks, setting.origin.bulk, BYTES)?;
    upload(client.socks, setting.origin.bulk, BYTES)?;
    Ok(())
}
