//! What clients may do with their tunnels and flows: rates, ports, subnets, timeouts and counts, and for whom. A traffic rules file is
//! compiled to a [`RuleSet`], which does not change; a reload puts another in its place. Not the file's syntax, which is
//! `config::traffic_rules`, and not obeying: flows, streams and listeners do that.
//! Source: the reference's meaning of each field; the first filter that fits a client overrides the fields that it sets.

mod changes;
mod facts;
mod filter;
mod index;
mod limits;
mod ports;
mod set;
mod subnets;

pub use changes::{FilteredRules, RateChanges, RuleChanges, RulesFile};
pub use facts::{ClientFacts, HandshakeFacts, TextParameters};
pub(crate) use facts::{parameter_names, parameter_number};
pub use filter::{Api, Authorizations, Filter, HandshakeFilter, Names, Patterns, Versions};
pub use limits::{AsnOf, MeekRate, Networks, Rates, Stage, TrafficRules, UdpRules};
pub use ports::PortList;
pub use set::RuleSet;
pub use subnets::{Subnet, SubnetError, SubnetSet};
