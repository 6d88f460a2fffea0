//! Writes small databases for tests: MaxMind DB file format 2.0, an IPv6 tree with records of 24 bits, IPv4 below `::/96`.

use std::collections::BTreeMap;
use std::net::IpAddr;

pub(super) enum Value {
    Text(&'static str),
    Short(u16),
    Number(u32),
    Long(u64),
    EmptyList,
    Map(Vec<(&'static str, Value)>),
}

/// A database of networks, each with a prefix in bits and a record.
pub(super) fn database(kind: &'static str, networks: Vec<(&str, u8, Value)>) -> Vec<u8> {
    let (mut tree, mut data) = (Tree::default(), Vec::new());
    for (address, bits, record) in networks {
        let (address, bits) = match address.parse().unwrap() {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)), bits + 96),
            IpAddr::V6(v6) => (u128::from(v6), bits),
        };
        tree.insert(address, bits, data.len());
        write(&record, &mut data);
    }
    let mut file = tree.write();
    let nodes = u32::try_from(tree.nodes.len()).unwrap();
    file.extend([0; 16]);
    file.extend(data);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    let metadata = vec![
        ("binary_format_major_version", Value::Short(2)),
        ("binary_format_minor_version", Value::Short(0)),
        ("build_epoch", Value::Long(1_700_000_000)),
        ("database_type", Value::Text(kind)),
        ("description", Value::Map(vec![("en", Value::Text("for tests"))])),
        ("ip_version", Value::Short(6)),
        ("languages", Value::EmptyList),
        ("node_count", Value::Number(nodes)),
        ("record_size", Value::Short(24)),
    ];
    write(&Value::Map(metadata), &mut file);
    file
}

#[derive(Clone, Copy)]
enum Record {
    Node(usize),
    Data(usize),
    Nothing,
}

struct Tree {
    nodes: Vec<[Record; 2]>,
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: vec![[Record::Nothing; 2]] }
    }
}

impl Tree {
    fn insert(&mut self, address: u128, bits: u8, data: usize) {
        let side = |bit: u8| usize::from(address >> (127 - u32::from(bit)) & 1 == 1);
        let mut node = 0;
        for bit in 0..bits - 1 {
            node = match self.nodes[node][side(bit)] {
                Record::Node(next) => next,
                _ => {
                    self.nodes.push([Record::Nothing; 2]);
                    let next = self.nodes.len() - 1;
                    self.nodes[node][side(bit)] = Record::Node(next);
                    next
                }
            };
        }
        self.nodes[node][side(bits - 1)] = Record::Data(data);
    }

    fn write(&self) -> Vec<u8> {
        let count = self.nodes.len();
        let number = |record: &Record| match *record {
            Record::Node(node) => node,
            Record::Nothing => count,
            Record::Data(offset) => count + 16 + offset,
        };
        let bytes = |record| u32::try_from(number(record)).unwrap().to_be_bytes()[1..].to_vec();
        self.nodes.iter().flatten().flat_map(bytes).collect()
    }
}

/// Control bytes: three bits of type, five of length; longer texts say 29 and the rest in one more byte.
fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) if text.len() < 29 => {
            out.push(2 << 5 | u8::try_from(text.len()).unwrap());
            out.extend(text.bytes());
        }
        Value::Text(text) => {
            out.extend([2 << 5 | 29, u8::try_from(text.len() - 29).unwrap()]);
            out.extend(text.bytes());
        }
        Value::Short(number) => {
            out.push(5 << 5 | 2);
            out.extend(number.to_be_bytes());
        }
        Value::Number(number) => {
            out.push(6 << 5 | 4);
            out.extend(number.to_be_bytes());
        }
        // Types from 8 on are in a byte of their own, less 7.
        Value::Long(number) => {
            out.extend([8, 2]);
            out.extend(number.to_be_bytes());
        }
        Value::EmptyList => out.extend([0, 4]),
        Value::Map(members) => {
            out.push(7 << 5 | u8::try_from(members.len()).unwrap());
            let sorted: BTreeMap<_, _> = members.iter().map(|(name, value)| (*name, value)).collect();
            for (name, value) in sorted {
                write(&Value::Text(name), out);
                write(value, out);
            }
        }
    }
}
