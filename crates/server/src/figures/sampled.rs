//! Figures that are looked up when somebody asks, rather than counted.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;

use super::labels::{Direction, Kind, Labels as _};
use super::tally::{Bytes, Live};

/// What tunnels have carried.
#[derive(Debug)]
pub(super) struct Carriage(pub(super) Arc<Live>);

impl Collector for Carriage {
    fn encode(&self, mut to: DescriptorEncoder) -> fmt::Result {
        let carried = self.0.carried();
        let both = |bytes: Bytes| [(Direction::Up, bytes.up), (Direction::Down, bytes.down)];
        let help = "Bytes that flows have carried, without what tunnels add";
        let mut flows = to.encode_descriptor("flow", help, Some(&Unit::Bytes), MetricType::Counter)?;
        for (kind, bytes) in [(Kind::Tcp, carried.tcp), (Kind::Udp, carried.udp)] {
            for (direction, count) in both(bytes) {
                let labels = (kind, direction).pairs();
                ConstCounter::new(count).encode(flows.encode_family(&labels)?)?;
            }
        }
        let help = "Bytes of tunnels between this server and clients, inside the transport";
        let mut wire = to.encode_descriptor("tunnel", help, Some(&Unit::Bytes), MetricType::Counter)?;
        for (direction, count) in both(carried.wire) {
            ConstCounter::new(count).encode(wire.encode_family(&direction.pairs())?)?;
        }
        Ok(())
    }
}
