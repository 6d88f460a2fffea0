//! Which connections have the first bytes that we send fragmented, and from which seed. Only clients' that have proved to be
//! some: strangers see nothing that tells this server from others. Source: TRANSPORTS.md 6.6.

use culvert_obfuscation::{PaddingUse, Prng, Seed, ServerPreamble};
use culvert_protocol::TunnelProtocol;
use culvert_protocol::parameters::DownstreamFragmentor;
use culvert_transport::Stream;
use culvert_transport::fragmentor::{Settings, fragment};

/// The rules of all ports.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fragmentation {
    pub(crate) parameters: DownstreamFragmentor,
    /// Also where the client has sent a prefix.
    pub(crate) with_prefix: bool,
}

impl Fragmentation {
    /// Below a transport, or below plain SSH: no client says how.
    pub(crate) fn of_carrier(&self, stream: Stream, protocol: TunnelProtocol) -> Stream {
        let Some(settings) = Settings::of_server(&self.parameters, protocol) else { return stream };
        let mut seed = [0; 32];
        // Without randomness not fragmented, which is no failure.
        match aws_lc_rs::rand::fill(&mut seed) {
            Ok(()) => fragment(stream, &settings, Prng::new(&Seed::from_bytes(seed))),
            Err(_) => stream,
        }
    }

    /// Where the preamble is the connection's beginning: the client's seed decides.
    pub(crate) fn of_preamble(
        &self,
        stream: Stream,
        protocol: TunnelProtocol,
        preamble: &ServerPreamble,
    ) -> Stream {
        let settings = Settings::of_server(&self.parameters, protocol);
        let allowed = preamble.prefix.is_none() || self.with_prefix;
        match (settings, &preamble.padding_seed) {
            (Some(settings), Some(seed)) if allowed => {
                fragment(stream, &settings, PaddingUse::ServerFragmentor.prng(seed))
            }
            _ => stream,
        }
    }
}
