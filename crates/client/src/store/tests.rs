//! Tests of the store as its users see it.

mod damage;

use std::fs;
use std::io::Cursor;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use culvert_protocol::EntryFields;
use serde_json::json;

use super::*;

/// A data root of its own, removed at the end.
pub(super) struct Root(PathBuf);

/// A store and what it has warned of.
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) warnings: Arc<Mutex<Vec<String>>>,
    _data_dir: DataDir,
}

impl Root {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("culvert-store-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn open(&self) -> Opened {
        let data_dir = DataDir::open(Some(&self.0)).unwrap().data_dir;
        let warnings = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&warnings);
        let store = Store::open(&data_dir, move |warning| heard.lock().unwrap().push(warning.to_string()));
        Opened { store, warnings, _data_dir: data_dir }
    }

    pub(super) fn file(&self) -> PathBuf {
        self.0.join("ca.psiphon.PsiphonTunnel.tunnel-core").join(FILE)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

impl Opened {
    pub(super) fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap().clone()
    }
}

/// The `number`th server.
pub(super) fn entry(number: u32, region: &str, version: i64) -> ServerEntry {
    let address = std::net::Ipv4Addr::from(0x0a00_0000 + number);
    let fields = json!({
        "ipAddress": address.to_string(),
        "webServerSecret": format!("{number:064x}"),
        "sshUsername": "user",
        "sshPassword": format!("{number:064x}"),
        "sshObfuscatedKey": format!("{:064x}", u64::from(number) * 3),
        "sshObfuscatedPort": 443,
        "capabilities": if number.is_multiple_of(2) { vec!["OSSH", "handshake"] } else { vec!["QUIC", "TLS-OSSH"] },
        "region": region,
        "configurationVersion": version,
        "ofALaterVersion": [1, 2.5, "x"],
    });
    ServerEntry::try_from(EntryFields::from_json(fields.to_string().as_bytes()).unwrap()).unwrap()
}

/// What entries must be at least before they are pruned.
const WEEK: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 3600);

fn put(store: &Store, entry: &ServerEntry) -> Stored {
    store.put(entry, &EntrySource::Embedded, Replace::IfNewer).unwrap()
}

#[test]
fn a_server_comes_back_as_it_was_stored() {
    let root = Root::new("comes-back");
    let entry = entry(1, "CA", 3);
    let id = {
        let opened = root.open();
        let stored = opened.store.put(&entry, &EntrySource::Dsl("x".into()), Replace::IfNewer).unwrap();
        let Stored::Added(id) = stored else { panic!("{stored:?}") };
        id
    };
    let opened = root.open();
    let server = opened.store.server(id).unwrap();
    assert!(server.entry == entry);
    assert_eq!(server.source, EntrySource::Dsl("x".into()));
    assert_eq!(server.received, Received::at(OffsetDateTime::now_utc()));
    assert_eq!(opened.store.id_of(&entry), Some(id));
    let summary = opened.store.summary(id).unwrap();
    assert_eq!((summary.region.as_str(), summary.configuration_version), ("CA", 3));
    assert_eq!(summary.protocols, ProtocolSet::of(&entry));
    assert!(summary.protocols.contains(TunnelProtocol::QUIC_OSSH));
    assert!(!summary.protocols.contains(TunnelProtocol::OSSH));
    assert_eq!(opened.warnings(), Vec::<String>::new());
}

#[test]
fn only_a_newer_version_replaces_and_drops_the_plans() {
    let store = Store::in_memory();
    let id = put(&store, &entry(1, "CA", 3)).id().unwrap();
    store.set_plan("WIFI-1", id, b"plan");
    store.set_plan("MOBILE-1", id, b"other");
    assert_eq!(put(&store, &entry(1, "US", 3)), Stored::Kept(id));
    assert_eq!(store.plan("WIFI-1", id).as_deref(), Some(&b"plan"[..]));
    assert_eq!(put(&store, &entry(1, "US", 4)), Stored::Replaced(id));
    assert_eq!((store.plan("WIFI-1", id), store.plan("MOBILE-1", id)), (None, None));
    assert_eq!(store.replayable("WIFI-1"), []);
    assert_eq!(store.servers(Some("CA")), []);
    assert_eq!(store.servers(Some("US")), [id]);
    let again = store.put(&entry(1, "DE", 1), &EntrySource::Remote, Replace::Always).unwrap();
    assert_eq!(again, Stored::Replaced(id));
    assert_eq!((store.regions(), store.count()), (vec!["DE".to_owned()], 1));
}

#[test]
fn the_same_entry_again_changes_nothing() {
    let store = Store::in_memory();
    let id = put(&store, &entry(1, "CA", 3)).id().unwrap();
    store.set_plan("N", id, b"plan");
    let again = store.put(&entry(1, "CA", 3), &EntrySource::Discovery, Replace::Always).unwrap();
    assert_eq!(again, Stored::Kept(id));
    assert_eq!(store.replayable("N"), [id]);
    assert_eq!(store.server(id).unwrap().source, EntrySource::Embedded);
}

#[test]
fn what_is_signed_with_another_key_is_removed() {
    let store = Store::in_memory();
    let pair = |seed| culvert_protocol::server_entry::KeyPair::from_seed(&[seed; 32]).unwrap();
    let signed = |number, seed| {
        let mut fields = entry(number, "CA", 0).into_fields();
        fields.sign(&culvert_protocol::server_entry::SigningKey::from_base64(&pair(seed).private).unwrap());
        ServerEntry::try_from(fields).unwrap()
    };
    let ids: Vec<ServerId> = [signed(1, 7), signed(2, 8), entry(3, "CA", 0)]
        .iter()
        .map(|entry| put(&store, entry).id().unwrap())
        .collect();
    assert!(ids.iter().all(|id| store.server(*id).is_some()));
    store.verify_with(VerifyingKey::from_base64(&pair(7).public).unwrap());
    assert!(store.server(ids[0]).is_some() && store.server(ids[2]).is_some());
    assert!(store.server(ids[1]).is_none());
    assert_eq!(store.servers(None), [ids[0], ids[2]]);
}

#[test]
fn selection_is_by_region_and_protocol() {
    let store = Store::in_memory();
    let ids: Vec<ServerId> = (0..60)
        .map(|number| {
            let region = ["CA", "US", "", "AVERYLONGNAME"][number as usize % 4];
            put(&store, &entry(number, region, 0)).id().unwrap()
        })
        .collect();
    assert_eq!(store.servers(None), ids);
    assert_eq!(store.regions(), ["CA", "US"]);
    let american: Vec<ServerId> = ids.iter().copied().skip(1).step_by(4).collect();
    assert_eq!(store.servers(Some("US")), american);
    assert_eq!(store.servers(Some("XX")), []);
    let ossh: ProtocolSet = [TunnelProtocol::OSSH].into_iter().collect();
    let even: Vec<ServerId> = ids.iter().copied().step_by(2).collect();
    assert_eq!(store.servers_where(None, |protocols| protocols.meets(ossh)), even);
    assert_eq!(store.servers_where(Some("US"), |protocols| protocols.meets(ossh)), []);
    let overview = store.overview();
    assert_eq!((overview.servers, overview.damaged), (60, 0));
    assert_eq!(overview.by_region.get("US"), Some(&15));
    assert_eq!(overview.by_protocol.get("OSSH"), Some(&30));
    assert_eq!(overview.by_source.get("EMBEDDED"), Some(&60));
}

#[test]
fn a_removed_server_leaves_nothing_and_its_number_is_not_given_again() {
    let store = Store::in_memory();
    let first = put(&store, &entry(1, "CA", 0)).id().unwrap();
    store.set_affinity("N", first);
    store.set_plan("N", first, b"plan");
    assert!(store.delete(first).unwrap());
    assert!(!store.delete(first).unwrap());
    assert_eq!((store.affinity("N"), store.plan("N", first)), (None, None));
    assert_eq!((store.replayable("N"), store.count(), store.regions()), (vec![], 0, vec![]));
    let Stored::Added(second) = put(&store, &entry(1, "CA", 0)) else { panic!() };
    assert_ne!(first, second);
}

#[test]
fn the_last_success_is_replayed_first() {
    let store = Store::in_memory();
    let ids: Vec<ServerId> =
        (0..4).map(|number| put(&store, &entry(number, "CA", 0)).id().unwrap()).collect();
    for index in [0, 1, 2, 0] {
        store.set_plan("N", ids[index], &[index as u8; 10]);
    }
    store.set_plan("M", ids[3], b"elsewhere");
    assert_eq!(store.replayable("N"), [ids[0], ids[2], ids[1]]);
    store.drop_plan("N", ids[2]);
    assert_eq!(store.replayable("N"), [ids[0], ids[1]]);
    assert_eq!(store.plan("N", ids[1]), Some(vec![1; 10]));
    assert_eq!(store.replayable("M"), [ids[3]]);
}

#[test]
fn old_networks_are_forgotten() {
    let store = Store::in_memory();
    let id = put(&store, &entry(1, "CA", 0)).id().unwrap();
    for network in 0..80 {
        let network = format!("WIFI-{network}");
        store.set_plan(&network, id, b"plan");
        store.set_affinity(&network, id);
        store.note_success(&network, TunnelProtocol::OSSH);
    }
    let kept = |network: u32| {
        let network = format!("WIFI-{network}");
        (
            store.replayable(&network).len(),
            store.affinity(&network).is_some(),
            store.successes(&network).len(),
        )
    };
    assert_eq!(
        (kept(0), kept(15), kept(16), kept(79)),
        ((0, false, 0), (0, false, 0), (1, true, 1), (1, true, 1))
    );
}

#[test]
fn what_got_through_is_counted_by_network() {
    let store = Store::in_memory();
    for protocol in [TunnelProtocol::OSSH, TunnelProtocol::QUIC_OSSH, TunnelProtocol::OSSH] {
        store.note_success("N", protocol);
    }
    let found: Vec<_> =
        store.successes("N").iter().map(|success| (success.protocol, success.count)).collect();
    assert_eq!(found, [(TunnelProtocol::OSSH, 2), (TunnelProtocol::QUIC_OSSH, 1)]);
    assert_eq!(store.successes("M"), []);
}

#[test]
fn reports_are_taken_put_back_and_cleared() {
    let root = Root::new("reports");
    let opened = root.open();
    let store = &opened.store;
    for number in 0..250 {
        store.enqueue_stat(StatKind::FailedTunnel, &format!("{{\"n\":{number}}}"), 200);
    }
    store.enqueue_stat(StatKind::FailedTunnel, "not json", 200);
    assert_eq!(store.waiting_stats(), 200);
    let first = store.take_stats(20);
    let texts: Vec<&str> = first.reports.iter().map(|(_, json)| json.as_str()).collect();
    assert_eq!(texts, ["{\"n\":0}", "{\"n\":1}", "{\"n\":2}"]);
    let second = store.take_stats(1);
    assert_eq!(second.reports, [(StatKind::FailedTunnel, "{\"n\":3}".to_owned())]);
    store.put_back(first);
    store.clear(second);
    assert_eq!(store.waiting_stats(), 199);
    let all = store.take_stats(usize::MAX);
    assert_eq!((all.reports.len(), store.waiting_stats()), (199, 0));
    // Taken and then gone is reported again.
    drop(all);
    drop(opened);
    assert_eq!(root.open().store.waiting_stats(), 199);
}

#[test]
fn the_time_of_the_last_connection_moves_once() {
    let root = Root::new("moves");
    {
        let data_dir = DataDir::open(Some(&root.0)).unwrap().data_dir;
        data_dir.update(|state| state.last_connected = Some("2026-01-02T03:00:00Z".into())).unwrap();
    }
    let opened = root.open();
    assert_eq!(opened.store.last_connected().as_deref(), Some("2026-01-02T03:00:00Z"));
    opened.store.remove_value("last_connected");
    drop(opened);
    assert_eq!(root.open().store.last_connected(), None);
}

#[test]
fn a_list_is_imported_line_by_line() {
    let store = Store::in_memory();
    let good = |number| entry(number, "CA", 0).encode();
    let list = format!("{}\n\nnonsense\n{}\r\n{}\n00\n{}", good(1), good(2), good(1), good(3));
    let mut steps = Vec::new();
    let imported = store
        .import(Cursor::new(list.as_bytes()), &EntrySource::Embedded, |progress| {
            steps.push(progress);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((imported.added, imported.replaced, imported.kept, imported.bad), (3, 0, 1, 2));
    assert_eq!(imported.first_bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [3, 6]);
    assert_eq!(steps, [Progress { entries: 6, bytes: list.len() as u64 }]);
    assert_eq!(store.count(), 3);
}

#[test]
fn a_list_of_nothing_good_is_told_from_an_empty_one() {
    let store = Store::in_memory();
    let import = |list: &[u8]| {
        store.import(list, &EntrySource::Embedded, |_| ControlFlow::Continue(())).unwrap().is_all_bad()
    };
    assert!(import(b"x\ny\n\xff\xfe\n"));
    assert!(!import(b"\n\n"));
}

#[test]
fn a_server_is_pruned_when_it_is_old_enough_and_embedded_lists_do_not_bring_it_back() {
    let root = Root::new("prune");
    let mut opened = root.open();
    let entry = entry(1, "CA", 0);
    put(&opened.store, &entry);
    assert_eq!(opened.store.prune(&entry.tag(), WEEK).unwrap(), Pruned::TooYoung);
    Arc::get_mut(&mut opened.store.shared).unwrap().clock =
        || OffsetDateTime::now_utc() + time::Duration::days(7) + time::Duration::hours(1);
    assert_eq!(opened.store.prune(&entry.tag(), WEEK).unwrap(), Pruned::Removed);
    assert_eq!(opened.store.prune(&entry.tag(), WEEK).unwrap(), Pruned::Unknown);
    assert_eq!(put(&opened.store, &entry), Stored::Pruned);
    let back = opened.store.put(&entry, &EntrySource::Remote, Replace::IfNewer).unwrap();
    assert!(matches!(back, Stored::Added(_)));
}

#[test]
fn the_index_of_protocols_is_renewed_for_other_bits() {
    let root = Root::new("renewed");
    let id = {
        let store = root.open().store;
        let id = put(&store, &entry(2, "CA", 0)).id().unwrap();
        store.change(engine::Lasting::Now, |transaction| {
            transaction.open_table(tables::REGIONS)?.insert(("CA", id.0), 0)?;
            transaction.open_table(engine::META)?.insert(tables::PROTOCOLS, 7)?;
            Ok(())
        });
        id
    };
    assert!(root.open().store.summary(id).unwrap().protocols.contains(TunnelProtocol::OSSH));
}
