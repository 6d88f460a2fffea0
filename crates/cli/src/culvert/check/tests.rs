//! What is printed about broken files, word by word.

use std::fs;

use culvert_protocol::EntryFields;

use super::*;
use crate::quickstart::folder::TemporaryFolder;

/// Checks a text under a file name, as if the file were in the working directory.
fn checked(name: &str, text: &str) -> (String, Option<Verdict>) {
    let folder = TemporaryFolder::create("culvert-check-test").unwrap();
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    let checked = check(path.to_str().unwrap(), None);
    (checked.text().replace(&format!("{}/", folder.path().display()), ""), checked.verdict())
}

fn entry(change: impl FnOnce(&mut EntryFields)) -> String {
    let mut fields = EntryFields::default();
    fields.set("ipAddress", "192.0.2.1");
    fields.set("sshPort", 22);
    fields.set("sshUsername", "user");
    fields.set("sshPassword", "secret-password");
    fields.set("sshHostKey", "AAAA");
    fields.set("capabilities", vec!["SSH"]);
    change(&mut fields);
    fields.encode()
}

#[test]
fn a_client_configuration_with_everything_wrong() {
    let text = r#"{
  "PropagationChannelId": "1",
  "SponsrId": "2",
  "LocalSocksProxyPort": "1080",
  "LocalHttpProxyPort": 99999,
  "LimitTunnelProtocols": ["SSH", "OSHS"],
  "localsocksproxyport": 3,
  "EgressRegion": "ca"
}"#;
    let expected = r#"client.config: SponsorId: missing: the ID of the sponsor, in hex
client.config:3:3: SponsrId: unknown key (did you mean SponsorId?)
client.config:4:3: LocalSocksProxyPort: expected a whole number, found text; write 1080 without quotes
client.config:5:3: LocalHttpProxyPort: expected a port from 1 to 65535, or 0 for any free one, found 99999
client.config:6:35: LimitTunnelProtocols[1]: "OSHS" is not a tunnel protocol (did you mean OSSH?)
client.config:7:3: localsocksproxyport: the key is spelled LocalSocksProxyPort; other letter case is accepted but may be mistaken
client.config:8:3: EgressRegion: expected a two-letter country code in capitals, such as "CA"
client.config: client configuration, 7 problems
"#;
    assert_eq!(checked("client.config", text), (expected.to_owned(), Some(Verdict::Config)));
}

#[test]
fn a_server_configuration_with_mistakes() {
    let text = r#"{
  "ServerIPAddress": "localhost",
  "TunnelProtocolPorts": {"SSH": 22, "OSHS": 23, "OSSH": 22},
  "LogLevl": "info",
  "LogLevel": 7
}"#;
    let (text, verdict) = checked("psiphond.config", text);
    for line in [
        "psiphond.config:2:3: ServerIPAddress: \"localhost\" is not an IP address: use one such as 192.0.2.1 or 2001:db8::1\n",
        "psiphond.config:3:38: TunnelProtocolPorts.OSHS: \"OSHS\" is not a tunnel protocol (did you mean OSSH?); this build runs SSH, OSSH, ",
        "psiphond.config:4:3: LogLevl: unknown setting (did you mean LogLevel?)\n",
        "psiphond.config:5:3: LogLevel: must be ",
        "psiphond.config: SSHPrivateKey: is required",
    ] {
        assert!(text.contains(line), "{line}\nis not in\n{text}");
    }
    assert_eq!(verdict, Some(Verdict::Config));
}

#[test]
fn broken_json_has_a_place() {
    for name in ["client.config", "psiphond.config", "psiphond-tactics.config", "unknown"] {
        let (text, verdict) = checked(name, "{\n  \"SponsorId\": \"1\",\n}");
        assert!(text.starts_with(&format!("{name}:3:1: ")), "{text}");
        assert!(text.contains("not valid JSON: trailing comma"), "{text}");
        assert_eq!(verdict, Some(Verdict::Config), "{name}");
    }
}

#[test]
fn server_entries_with_mistakes() {
    let odd = &entry(|_| {})[1..];
    let lines = [
        entry(|_| {}),
        String::new(),
        "  30zz".to_owned(),
        odd.to_owned(),
        entry(|fields| fields.set("sshPort", "22")),
        entry(|fields| fields.remove("sshPort")),
        entry(|fields| fields.set("capabilities", vec!["OSSH"])),
        entry(|fields| {
            fields.remove("sshPassword");
            fields.set("sshPasword", "secret-password");
        }),
        entry(|fields| fields.set("capabilities", vec!["other"])),
    ];
    let hex_end = odd.len() + 1;
    let expected = format!(
        "list:3:5: not a server entry: a pair of hex digits must stand here
list:4:{hex_end}: not a server entry: a pair of hex digits must stand here
list:5:1: sshPort: must be a whole number
list:6:1: sshPort: is missing, but capabilities has SSH
list:7:1: sshObfuscatedPort: is missing, but capabilities has OSSH
list:7:1: sshObfuscatedKey: missing
list:8:1: sshPasword: unknown member (did you mean sshPassword?)
list:8:1: sshPassword: missing
list:9:1: capabilities: names no known tunnel protocol: no client can use it
list: server entries, 9 problems
"
    );
    let (text, verdict) = checked("list", &lines.join("\n"));
    assert_eq!((text.as_str(), verdict), (expected.as_str(), Some(Verdict::Data)));
    assert!(!text.contains("secret-password"));
}

#[test]
fn the_entry_of_a_client_is_checked_too() {
    let text = |entry: &str| {
        format!(
            "{{\"PropagationChannelId\": \"1\", \"SponsorId\": \"2\",\n\"TargetServerEntry\": \"{entry}\"}}"
        )
    };
    let (printed, verdict) = checked("c", &text(&entry(|fields| fields.remove("sshHostKey"))));
    assert_eq!(
        printed,
        "c:2:1: TargetServerEntry: sshHostKey: missing\nc: client configuration, 1 problem\n"
    );
    assert_eq!(verdict, Some(Verdict::Config));
    let (printed, verdict) = checked("c", &text(&entry(|_| {})));
    assert_eq!((printed.as_str(), verdict), ("c: client configuration, no problems\n", None));
}

#[test]
fn notes_are_no_problems() {
    let (printed, verdict) = checked("osl", "{\"Schemes\": [{}]}");
    assert_eq!(
        printed,
        "osl:1:2: note: Schemes: is understood but has no effect in this build yet\n\
         osl: server list configuration, no problems\n"
    );
    assert_eq!(verdict, None);
}

#[test]
fn what_cannot_be_read_or_told_is_a_problem() {
    let (printed, verdict) = checked("x", "hello");
    assert!(
        printed.starts_with("x: has no known setting and is no server entry: say what it is, --kind client")
    );
    assert_eq!(verdict, Some(Verdict::Data));
    let missing = check("/nowhere/at/all", None);
    assert!(
        missing.text().starts_with("/nowhere/at/all: cannot be read: No such file"),
        "{}",
        missing.text()
    );
    assert_eq!(missing.verdict(), Some(Verdict::Data));
    assert_eq!(checked("e", "").1, Some(Verdict::Data));
}
