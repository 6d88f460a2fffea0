//! Stored dial plans.

use std::sync::OnceLock;

use culvert_client::StoredPlan;
use culvert_client::first_flight::{Basis, prepare};
use culvert_protocol::parameters::Parameters;
use culvert_protocol::{EntryFields, ServerEntry};

/// A server with everything, so that every plan finds what it needs.
const ENTRY: &str = r#"{"ipAddress":"192.0.2.7","sshPort":22,"sshObfuscatedPort":1022,"tlsOSSHPort":1443,
    "sshShadowsocksPort":1080,"sshObfuscatedQUICPort":1444,"meekServerPort":8080,
    "sshUsername":"user","sshPassword":"password","sshHostKey":"AAAA","sshObfuscatedKey":"obfuscated",
    "sshShadowsocksKey":"shadowsocks","frontingProviderID":"CDN",
    "capabilities":["SSH","OSSH","TLS","SHADOWSOCKS","QUIC","UNFRONTED-MEEK","UNFRONTED-MEEK-HTTPS",
        "UNFRONTED-MEEK-SESSION-TICKET","FRONTED-MEEK","FRONTED-MEEK-HTTP","FRONTED-MEEK-QUIC"],
    "meekObfuscatedKey":"0101010101010101010101010101010101010101010101010101010101010101",
    "meekCookieEncryptionPublicKey":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
    "meekFrontingAddresses":["one.example"],"meekFrontingHosts":["host.example"]}"#;

/// A plan from the store: whatever it says, a dial can be planned by it or it is refused; a plan that was made from it is stored, read
/// and made again as it was.
pub(crate) fn stored_plan(data: &[u8]) {
    static SERVER: OnceLock<ServerEntry> = OnceLock::new();
    let entry = SERVER.get_or_init(|| {
        let fields = EntryFields::from_json(ENTRY.as_bytes()).expect("it is JSON");
        ServerEntry::try_from(fields).expect("it is an entry")
    });
    let Ok(plan) = StoredPlan::read(data) else { return };
    let parameters = Parameters::default();
    let (last_used, settings) = (plan.last_used, plan.settings);
    let Ok(prepared) = prepare(&Basis::Stored(plan), entry, &parameters) else { return };
    let stored = prepared.to_stored(last_used, settings);
    let read = StoredPlan::read(&stored.write()).expect("a plan of ours cannot be read");
    assert_eq!(read, stored, "written and read again it is another");
    let again = prepare(&Basis::Stored(read), entry, &parameters).expect("a plan of ours cannot be used");
    assert_eq!(again.to_stored(last_used, settings), stored, "used again it is another");
}
