//! What a server offers and allows clients by who and where they are: home pages, versions, regions, alerts, authorizations.

use std::fs;

use serde_json::{Value, json};

use super::reports::wait_event;
use super::{Case, Note, Protocols, case};
use crate::failure::{Doing, Failure, expect_eq};
use crate::lines::Cursor;
use crate::notices::Notice;
use crate::process::Signal;
use crate::proxies::{self, Target};
use crate::scenario::{Client, Folder, ServerEdits, Setting, TUNNEL, members};

pub(super) const CASES: &[Case] = &[
    case("home_pages_region_upgrade", home_pages_region_upgrade).over(Protocols::OnlyOssh),
    case("alert_with_pages", alert_with_pages).over(Protocols::OnlyOssh),
    case("authorizations", authorizations).over(Protocols::OnlyOssh),
    case("shared_authorization", shared_authorization).over(Protocols::OnlyOssh),
];

/// Loopback is in Canada there, and in autonomous system 64496.
pub(super) const PLACES: [(&str, &[u8]); 2] = [
    ("city.mmdb", include_bytes!("../../../fuzz/corpus/geoip_database/city.mmdb")),
    ("isp.mmdb", include_bytes!("../../../fuzz/corpus/geoip_database/isp.mmdb")),
];
/// One key, a token of it that holds until 2040, and one that does not hold any more.
const KEY_RING: &str = include_str!("../../../fuzz/corpus/authorizations/ring");
const VALID: &str = include_str!("../../../fuzz/corpus/authorizations/valid");
const EXPIRED: &str = include_str!("../../../fuzz/corpus/authorizations/expired");

/// A client learns its region, its sponsor's pages and a newer version.
fn home_pages_region_upgrade(setting: &Setting) -> Result<Note, Failure> {
    let folder = Folder::new()?;
    let mut server = setting.server(edits(&folder)?)?;
    let plan = setting.plan(&server).with("ClientPlatform", "Windows_Pairing").with("ClientVersion", "7");
    let mut client = setting.connect(&plan)?;
    let mut text = |kind, field| said(&mut client, kind, |data| Some(data.get(field)?.as_str()?.to_owned()));
    let page = text("Homepage", "url")?;
    let expected = "https://home.example/?client_region=CA&client_asn=64496&client_platform=windows";
    expect_eq("home page", expected, page.as_str())?;
    expect_eq("region", "CA", text("ClientRegion", "region")?.as_str())?;
    expect_eq("newer version", "9", text("ClientUpgradeAvailable", "version")?.as_str())?;
    client.stop(Signal::Terminate)?;
    let event = wait_event(&mut server, "server_tunnel")?;
    for (field, expected) in [
        ("client_region", "CA"),
        ("client_city", "Test_Town"),
        ("client_isp", "Test_ISP"),
        ("client_asn", "64496"),
        ("client_aso", "Test_Organization_with_a_longer_name"),
    ] {
        let found = event.get(field).and_then(Value::as_str);
        expect_eq(format!("{field} of server_tunnel"), Some(expected), found)?;
    }
    Ok(Note::new())
}

/// Who tries what is not allowed is told so, with pages that say more.
fn alert_with_pages(setting: &Setting) -> Result<Note, Failure> {
    let folder = Folder::new()?;
    let denied = setting.origin.echo;
    let rules = members(json!({ "DisallowTCPPorts": [denied.port()] }));
    let server = setting.server(ServerEdits { rules, ..edits(&folder)? })?;
    let mut client = setting.connect(&setting.plan(&server).with("EmitServerAlerts", true))?;
    // What the proxy says to it is another case.
    let _ = proxies::ask_socks5(client.socks, &Target::address(denied))?;
    let (reason, pages) = said(&mut client, "ServerAlert", |data| {
        Some((data.get("reason")?.as_str()?.to_owned(), data.get("actionURLs")?.clone()))
    })?;
    expect_eq("reason", "disallowed-traffic", reason.as_str())?;
    expect_eq("pages", json!(["https://alert.example/?client_region=CA"]), pages).map(|()| Note::new())
}

/// What is valid is accepted and allows what its type does; what has expired is no harm.
fn authorizations(setting: &Setting) -> Result<Note, Failure> {
    let mut server = setting.server(with_keys()?)?;
    let plan = setting.plan(&server).with("Authorizations", vec![EXPIRED, VALID]);
    let mut client = setting.connect(&plan)?;
    let ids = said(&mut client, "ActiveAuthorizationIDs", |data| Some(data.get("IDs")?.as_array()?.len()))?;
    expect_eq("authorizations that were accepted", 1, ids)?;
    client.stop(Signal::Terminate)?;
    let event = wait_event(&mut server, "server_tunnel")?;
    let types = event.get("authorized_access_types");
    expect_eq("access types of server_tunnel", Some(&json!(["speed-boost"])), types)?;
    Ok(Note::new())
}

/// The second session that shows one takes it over; the first goes on without.
fn shared_authorization(setting: &Setting) -> Result<Note, Failure> {
    let mut server = setting.server(with_keys()?)?;
    let plan = setting.plan(&server).with("Authorizations", vec![VALID]);
    let first = setting.connect(&plan)?;
    let second = setting.connect(&plan)?;
    let event = wait_event(&mut server, "irregular_tunnel")?;
    let error = event.get("tunnel_error").and_then(Value::as_str).unwrap_or_default();
    let is_about_it = error.ends_with("duplicate active authorization");
    expect_eq(format!("whether {error:?} is about the authorization"), true, is_about_it)?;
    let has_id = event.get("duplicate_authorization_id").is_some_and(Value::is_string);
    expect_eq("whether the event names it", true, has_id)?;
    for client in [&first, &second] {
        super::lifecycle::fetch(setting, client)?;
    }
    Ok(Note::new())
}

fn with_keys() -> Result<ServerEdits, Failure> {
    let ring: Value =
        serde_json::from_str(KEY_RING).map_err(|error| Failure::mismatch("key ring", "JSON", error))?;
    let config = members(json!({ "AccessControlVerificationKeyRing": ring }));
    Ok(ServerEdits { config, ..ServerEdits::default() })
}

/// A server with databases in this folder.
fn edits(folder: &Folder) -> Result<ServerEdits, Failure> {
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.0.join(name);
        fs::write(&path, bytes).doing(format!("write {name}"))?;
        Ok(path.to_string_lossy().into_owned())
    };
    let psinet = json!({
        "sponsors": {"FFFFFFFFFFFFFFFF": {
            "id": "FFFFFFFFFFFFFFFF",
            "home_pages": {
                "CA": [{"region": "CA", "url": "https://home.example/?client_region=XX&client_asn=XX&client_platform=XX"}],
                "None": [{"region": "None", "url": "https://none.example/"}],
            },
            "alert_action_urls": {"disallowed-traffic": ["https://alert.example/?client_region=XX"]},
        }},
        "client_versions": {"Windows": [{"version": "8"}, {"version": "9"}]},
    });
    let psinet = write("psinet.json", psinet.to_string().as_bytes())?;
    let places =
        PLACES.iter().map(|(name, bytes)| write(name, bytes)).collect::<Result<Vec<_>, Failure>>()?;
    let config = members(json!({ "PsinetDatabaseFilename": psinet, "GeoIPDatabaseFilenames": places }));
    Ok(ServerEdits { config, ..ServerEdits::default() })
}

/// What the first notice of a kind says, wherever it stands among the others.
fn said<T>(client: &mut Client, kind: &str, mut pick: impl FnMut(&Value) -> Option<T>) -> Result<T, Failure> {
    let pick =
        |line: &str| Notice::parse(line).filter(|notice| notice.kind == kind).and_then(|it| pick(&it.data));
    client.process().wait_line(&mut Cursor::default(), TUNNEL, &format!("notice {kind}"), pick)
}
