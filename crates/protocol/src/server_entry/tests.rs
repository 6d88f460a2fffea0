//! Behaviour of server entries beyond the known-answer cases.

use super::*;
use crate::tunnel_protocol::TunnelProtocol;

const JSON: &str = r#"{"ipAddress":"192.0.2.1","webServerSecret":"0123456789abcdef","sshPort":22,"sshObfuscatedPort":0,"sshPassword":"aabb","sshHostKey":"AAAB","capabilities":["SSH","OSSH"],"region":"US","x":{"b":1,"a":[1.5]}}"#;

fn fields(json: &str) -> EntryFields {
    EntryFields::from_json(json.as_bytes()).unwrap()
}

fn entry() -> ServerEntry {
    ServerEntry::try_from(fields(JSON)).unwrap()
}

#[test]
fn keeps_what_it_does_not_know() {
    let again = ServerEntry::decode(&entry().encode()).unwrap();
    assert_eq!(again, entry());
    assert!(again.fields().canonical_json().contains(r#""x":{"a":[1.5],"b":1}"#));
}

#[test]
fn shows_neither_address_nor_secrets() {
    let shown = format!("{:?} {:?} {:?}", entry(), entry().fields(), Unverified::new(fields(JSON)));
    for hidden in ["192.0.2.1", "aabb", "0123456789abcdef"] {
        assert!(!shown.contains(hidden), "{shown}");
    }
    assert!(shown.contains("g0ZI9nJM") && shown.contains("OSSH"), "{shown}");
}

#[test]
fn names_the_member_that_is_wrong() {
    for (json, field, problem) in [
        ("{}", "ipAddress", FieldProblem::Missing),
        (r#"{"ipAddress":"example.org"}"#, "ipAddress", FieldProblem::NotAddress),
        (r#"{"ipAddress":"192.0.2.1","sshPort":"22"}"#, "sshPort", FieldProblem::NotInt),
        (r#"{"ipAddress":"192.0.2.1","sshPort":22.5}"#, "sshPort", FieldProblem::NotInt),
        (r#"{"ipAddress":"192.0.2.1","sshPort":65536}"#, "sshPort", FieldProblem::NotPort),
        (r#"{"ipAddress":"192.0.2.1","sshPort":-1}"#, "sshPort", FieldProblem::NotPort),
        (r#"{"ipAddress":"192.0.2.1","capabilities":["a",1]}"#, "capabilities", FieldProblem::NotTextList),
        (r#"{"ipAddress":"192.0.2.1","disableOSSHPrefix":1}"#, "disableOSSHPrefix", FieldProblem::NotFlag),
        (r#"{"ipAddress":"192.0.2.1","sshUsername":1}"#, "sshUsername", FieldProblem::NotText),
        (
            r#"{"ipAddress":"192.0.2.1","configurationVersion":1e300}"#,
            "configurationVersion",
            FieldProblem::NotInt,
        ),
    ] {
        assert_eq!(ServerEntry::try_from(fields(json)), Err(FieldError::of(field, problem)), "{json}");
    }
    assert_eq!(entry().ssh_host_key().unwrap(), [0, 0, 1]);
    assert_eq!(entry().ssh_username(), Err(FieldError::of("sshUsername", FieldProblem::Missing)));
    let missing_port = DialPortError::NoPort { protocol: TunnelProtocol::OSSH, field: "sshObfuscatedPort" };
    assert_eq!(entry().dial_port(TunnelProtocol::OSSH), Err(missing_port));
    assert_eq!(entry().dial_port(TunnelProtocol::SSH), Ok(22));
}

#[test]
fn a_bad_line_says_where_it_is_wrong() {
    assert!(matches!(decode_line("00zz"), Err(DecodeError::Hex { column: 3 })));
    assert!(matches!(decode_line("000"), Err(DecodeError::Hex { column: 4 })));
    assert!(matches!(decode_line("302030207b7d"), Err(DecodeError::Prefix { found: 2 })));
    assert!(matches!(decode_line("302030203020302078"), Err(DecodeError::Json(_))));
    assert!(matches!(decode_line(""), Err(DecodeError::Prefix { found: 0 })));
}

fn numbered(lines: &[ListLine]) -> Vec<(usize, bool)> {
    lines.iter().map(|line| (line.number, line.entry.is_ok())).collect()
}

#[test]
fn a_bad_line_costs_only_itself() {
    let good = entry().encode();
    let list = format!("{good}\r\n\nzz\n{}\n  {good}\n3020\n{good}", "3".repeat(MAX_LINE + 1));
    let expected = [(1, true), (3, false), (4, false), (5, true), (6, false), (7, true)];
    assert_eq!(numbered(&decode_list(&list).collect::<Vec<_>>()), expected);
    for piece in [1, 7, 1000, list.len()] {
        let (mut lines, mut decoder) = (Vec::new(), ListDecoder::new());
        for bytes in list.as_bytes().chunks(piece) {
            decoder.push(bytes, &mut |line| lines.push(line));
            assert!(decoder.buffered() <= MAX_LINE);
        }
        decoder.finish(&mut |line| lines.push(line));
        assert_eq!(numbered(&lines), expected, "pieces of {piece}");
    }
}

#[test]
fn derived_tags_do_not_break_signatures() {
    let pair = KeyPair::from_seed(&[7; 32]).unwrap();
    let key = SigningKey::from_base64(&pair.private).unwrap();
    let verifying = VerifyingKey::from_base64(&pair.public).unwrap();
    assert_eq!(key.verifying_key(), &verifying);
    let mut signed = fields(JSON);
    signed.sign(&key);
    signed.store_derived_tag();
    signed.set("localSource", "REMOTE");
    assert_eq!(Unverified::new(signed.clone()).verify(&verifying).unwrap().diagnostic_id(), "g0ZI9nJM");
    let again = EntryFields::from_json(signed.to_json().as_bytes()).unwrap();
    assert_eq!(again.verify_signature(&verifying), Ok(()));
    signed.set("sshPort", 23);
    assert_eq!(signed.verify_signature(&verifying), Err(SignatureError::Mismatch));
    signed.set("signature", "AAAA");
    assert_eq!(signed.verify_signature(&verifying), Err(SignatureError::Malformed));
    signed.remove("signature");
    assert_eq!(signed.verify_signature(&verifying), Err(SignatureError::Missing));
}

#[test]
fn packed_form_is_strict_where_the_signature_needs_it() {
    use crate::text_form::hex;
    let unpack = |form: &str| EntryFields::from_packed(&hex(form).unwrap());
    assert!(matches!(unpack("a101a1190100f6"), Err(PackedEntryError::UnknownKey { key: 256 })));
    assert!(matches!(unpack("a201a102616102a169697041646472657373616200".trim_end_matches("00")),
        Err(PackedEntryError::Duplicate { name }) if name == "ipAddress"));
    assert_eq!(unpack("a101a106fb4036000000000000").unwrap().canonical_json(), r#"{"sshPort":22}"#);
    assert_eq!(unpack("a101a10616").unwrap().canonical_json(), r#"{"sshPort":22}"#);
    assert_eq!(unpack("a101a103191f90").unwrap().canonical_json(), r#"{"webServerPort":"8080"}"#);
    assert!(matches!(unpack("a101a103fb4036000000000000"), Err(PackedEntryError::Value { .. })));
    assert!(matches!(unpack("8101"), Err(PackedEntryError::Shape)));
}

#[test]
fn sources_parse_and_print() {
    for name in ["EMBEDDED", "DSL-", "DSL-abc", "PUSH-x", "TARGET"] {
        assert_eq!(name.parse::<EntrySource>().unwrap().to_string(), name);
    }
    assert!("OTHER".parse::<EntrySource>().is_err());
}
