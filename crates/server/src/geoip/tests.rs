//! Look-ups in databases made here, and what becomes of damaged ones.

use std::fs;

use super::writer::{Value, database};
use super::*;
use crate::scratch::Scratch;

fn text_in(path: &[&'static str], text: &'static str) -> (&'static str, Value) {
    let (name, inside) = path.split_first().unwrap();
    if inside.is_empty() {
        (name, Value::Text(text))
    } else {
        (name, Value::Map(vec![text_in(inside, text)]))
    }
}

fn city(country: &'static str, city: &'static str) -> Value {
    let names = text_in(&["city", "names", "en"], city);
    Value::Map(vec![text_in(&["country", "iso_code"], country), names])
}

/// Like GeoIP2-City and GeoIP2-ISP, with addresses for documentation and loopback.
fn databases() -> [Vec<u8>; 2] {
    let cities = vec![
        ("127.0.0.0", 8, city("CA", "Test Town")),
        ("192.0.2.0", 24, city("DE", "")),
        ("2001:db8::", 32, Value::Map(vec![text_in(&["country", "iso_code"], "FR")])),
        ("203.0.113.0", 24, Value::Map(vec![("country", Value::Text("not a map"))])),
    ];
    let isp = |isp, asn, aso| {
        Value::Map(vec![
            ("isp", Value::Text(isp)),
            ("autonomous_system_number", Value::Number(asn)),
            ("autonomous_system_organization", Value::Text(aso)),
        ])
    };
    let networks = vec![
        ("127.0.0.0", 9, isp("Test ISP", 64_496, "Test Organization with a longer name")),
        ("2001:db8::", 33, isp("Other", 64_497, "Other")),
    ];
    [database("GeoIP2-City", cities), database("GeoIP2-ISP", networks)]
}

fn both(scratch: &Scratch) -> (GeoIp, Vec<PathBuf>) {
    let files: Vec<_> = ["city.mmdb", "isp.mmdb"].iter().map(|name| scratch.path().join(name)).collect();
    for (file, bytes) in files.iter().zip(databases()) {
        fs::write(file, bytes).unwrap();
    }
    (read(&files, scratch.path()).unwrap(), files)
}

fn place(geoip: &GeoIp, address: &str) -> [String; 5] {
    let Place { country, city, isp, asn, aso } = geoip.look_up(address.parse().unwrap());
    [country, city, isp, asn, aso].map(String::from)
}

#[test]
fn what_is_known_is_found_and_what_is_not_is_none() {
    let scratch = Scratch::new("geoip");
    let (geoip, _) = both(&scratch);
    let organization = "Test Organization with a longer name";
    for (address, expected) in [
        ("127.0.0.1", ["CA", "Test Town", "Test ISP", "64496", organization]),
        ("::ffff:127.0.0.1", ["CA", "Test Town", "Test ISP", "64496", organization]),
        ("127.200.0.1", ["CA", "Test Town", UNKNOWN, UNKNOWN, UNKNOWN]),
        ("192.0.2.1", ["DE", UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN]),
        ("203.0.113.1", [UNKNOWN; 5]),
        ("2001:db8::1", ["FR", UNKNOWN, "Other", "64497", "Other"]),
        ("2001:db8:ffff::1", ["FR", UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN]),
        ("198.51.100.1", [UNKNOWN; 5]),
        ("::1", [UNKNOWN; 5]),
    ] {
        assert_eq!(place(&geoip, address), expected, "{address}");
    }
    let network = geoip.look_up_network("127.0.0.1".parse().unwrap());
    assert_eq!((&*network.country, &*network.asn), (UNKNOWN, "64496"));
    assert_eq!(place(&GeoIp::default(), "127.0.0.1"), [UNKNOWN; 5]);
}

#[test]
fn spaces_become_underscores_in_the_log() {
    let scratch = Scratch::new("geoip");
    let fields = both(&scratch).0.look_up("127.0.0.1".parse().unwrap()).log_fields("client");
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(fields[..2], [("client_region", "CA"), ("client_city", "Test_Town")]);
    assert_eq!(fields[3], ("client_asn", "64496"));
}

#[test]
fn files_may_be_cut_and_removed_while_they_are_in_use() {
    let scratch = Scratch::new("geoip");
    let (geoip, files) = both(&scratch);
    for file in &files {
        fs::OpenOptions::new().write(true).open(file).unwrap().set_len(0).unwrap();
    }
    assert_eq!(place(&geoip, "127.0.0.1")[0], "CA");
    assert!(read(&files, scratch.path()).is_err());
    for file in &files {
        fs::remove_file(file).unwrap();
    }
    assert_eq!(place(&geoip, "127.0.0.1")[3], "64496");
    let left = fs::read_dir(scratch.path()).unwrap().count();
    assert_eq!(left, 0, "copies have no name");
    let error = read(&files, scratch.path()).unwrap_err();
    assert_eq!(error.findings.len(), 2, "{error}");
}

#[test]
fn a_database_is_read_to_memory_where_it_cannot_be_copied() {
    let scratch = Scratch::new("geoip");
    let (_, files) = both(&scratch);
    let geoip = read(&files, &scratch.path().join("nowhere")).unwrap();
    assert_eq!(place(&geoip, "127.0.0.1")[0], "CA");
}

#[test]
fn damage_is_an_error_or_unknown() {
    let addresses = ["127.0.0.1", "192.0.2.1", "2001:db8::1", "255.255.255.255", "::"];
    for bytes in databases() {
        for index in 0..bytes.len() {
            for value in [0, 0x7f, 0xff, bytes[index] ^ 1] {
                let mut damaged = bytes.clone();
                damaged[index] = value;
                let Ok(geoip) = GeoIp::from_bytes(damaged) else { continue };
                for address in addresses {
                    place(&geoip, address);
                }
            }
            let _ = GeoIp::from_bytes(bytes[..index].to_vec()).map(|geoip| place(&geoip, "127.0.0.1"));
        }
    }
}

/// Other packages' tests use these files.
#[test]
fn the_committed_databases_are_these() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/geoip_database");
    let mut differ = Vec::new();
    for (name, bytes) in ["city.mmdb", "isp.mmdb"].into_iter().zip(databases()) {
        let committed = fs::read(folder.join(name)).unwrap_or_default();
        if committed != bytes {
            let written = std::env::temp_dir().join(name);
            fs::write(&written, bytes).unwrap();
            differ.push(written);
        }
    }
    assert!(differ.is_empty(), "copy {differ:?} to {}", folder.display());
}
