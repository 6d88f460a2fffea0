//! A name server that says of each name what the name asks for: an internal address, an alias of one, a public address first and
//! another later, or both at once.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

use crate::forms::ALLOWED;

/// How a name leads to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    Direct,
    /// An alias of an alias.
    Alias,
    /// Public the first time it is asked for.
    Rebinding,
    /// Beside a public address.
    Mixed,
}

impl Lie {
    pub(crate) const ALL: [Self; 4] = [Self::Direct, Self::Alias, Self::Rebinding, Self::Mixed];

    fn label(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Alias => "alias",
            Self::Rebinding => "rebinding",
            Self::Mixed => "mixed",
        }
    }

    /// The name for an address.
    pub(crate) fn name(self, address: IpAddr) -> String {
        let hex = match address {
            IpAddr::V4(address) => format!("{:08x}", address.to_bits()),
            IpAddr::V6(address) => format!("{:032x}", address.to_bits()),
        };
        format!("x{hex}.{}.test.example", self.label())
    }
}

/// Answers for ever.
pub(crate) async fn serve(at: SocketAddr) {
    let socket = UdpSocket::bind(at).await.unwrap();
    let mut asked = HashMap::new();
    let mut buffer = [0; 2048];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let answer = answer(&buffer[..length], &mut asked);
        socket.send_to(&answer, from).await.unwrap();
    }
}

fn answer(question: &[u8], asked: &mut HashMap<String, u32>) -> Vec<u8> {
    let mut message = Message::from_vec(question).unwrap();
    message.metadata.message_type = MessageType::Response;
    let query = message.queries[0].clone();
    let name = query.name().to_ascii().to_ascii_lowercase();
    let mut labels = name.split('.');
    let address = labels.next().and_then(|label| address(label.strip_prefix('x')?));
    let lie = labels.next().and_then(|label| Lie::ALL.into_iter().find(|lie| lie.label() == label));
    let (Some(address), Some(lie)) = (address, lie) else { return message.to_vec().unwrap() };
    let times = asked.entry(format!("{name} {}", query.query_type())).or_default();
    *times += 1;
    let allowed = ALLOWED.map(|allowed| allowed.parse().unwrap());
    let owner = match lie {
        Lie::Alias => Name::from_ascii("last.test.example.").unwrap(),
        _ => query.name().clone(),
    };
    let addresses = match lie {
        Lie::Direct | Lie::Alias => vec![address],
        Lie::Rebinding if *times == 1 => allowed.to_vec(),
        Lie::Rebinding => vec![address],
        Lie::Mixed => vec![address, allowed[0], address],
    };
    if lie == Lie::Alias {
        let middle = Name::from_ascii("middle.test.example.").unwrap();
        let alias =
            |from: &Name, to: &Name| Record::from_rdata(from.clone(), 0, RData::CNAME(CNAME(to.clone())));
        message.answers.push(alias(query.name(), &middle));
        message.answers.push(alias(&middle, &owner));
    }
    for address in addresses {
        let data = match (address, query.query_type()) {
            (IpAddr::V4(address), RecordType::A) => RData::A(A(address)),
            (IpAddr::V6(address), RecordType::AAAA) => RData::AAAA(AAAA(address)),
            _ => continue,
        };
        message.answers.push(Record::from_rdata(owner.clone(), 0, data));
    }
    message.to_vec().unwrap()
}

fn address(hex: &str) -> Option<IpAddr> {
    match hex.len() {
        8 => Some(Ipv4Addr::from_bits(u32::from_str_radix(hex, 16).ok()?).into()),
        32 => Some(Ipv6Addr::from_bits(u128::from_str_radix(hex, 16).ok()?).into()),
        _ => None,
    }
}
