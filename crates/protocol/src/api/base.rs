//! The parameters that every request has, and the padding that hides how long requests are. PROTOCOL.md 4.3, 4.4.

use culvert_obfuscation::Prng;
use serde_json::Value as Json;

use crate::go_number;
use crate::packed::{Params, Value};

/// The most bytes of padding that a server adds to a reply.
pub const MAX_RESPONSE_PADDING: usize = 16_384;

/// Who the client is. Values that clients may leave out are none when left out; the reference sends the others even when
/// they are empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BaseParams {
    /// How the client was distributed, hex.
    pub propagation_channel_id: String,
    /// Who distributes the client, 16 hex digits.
    pub sponsor_id: String,
    /// Version of the host application, a whole number in text.
    pub client_version: String,
    /// Operating system and host application, without white space.
    pub client_platform: String,
    /// Features of the host application; none where it has no such notion.
    pub client_features: Option<Vec<String>>,
    /// Source revision of the client, hex.
    pub client_build_rev: String,
    /// Kind of network, such as `WIFI`.
    pub network_type: String,
    /// Tag of the tactics in use; empty if none.
    pub applied_tactics_tag: String,
    /// Region that the device says it is in.
    pub device_region: Option<String>,
    /// Geohash that the device says it is at.
    pub device_location: Option<String>,
    /// Region in which the user wants to leave the tunnel.
    pub egress_region: Option<String>,
}

/// Least and most bytes of one kind of padding; none is drawn or sent if the most is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaddingRange {
    /// Least.
    pub min: u16,
    /// Most.
    pub max: u16,
}

/// The padding that parameters allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaddingRanges {
    /// Of requests.
    pub upstream: PaddingRange,
    /// Of replies.
    pub downstream: PaddingRange,
}

/// The padding of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Padding {
    /// Bytes added to the request.
    pub request: Option<usize>,
    /// Bytes that the reply shall have.
    pub response: Option<usize>,
}

impl Default for PaddingRanges {
    fn default() -> Self {
        let range = PaddingRange { min: 0, max: 1024 };
        Self { upstream: range, downstream: range }
    }
}

impl Padding {
    /// Draws the padding of the next request: upstream first, then downstream, neither if its most is 0. The generator is
    /// the tunnel's own for API padding.
    pub fn draw(prng: &mut Prng, ranges: PaddingRanges) -> Self {
        let mut one = |range: PaddingRange| {
            (range.max > 0)
                .then(|| usize::try_from(prng.range(range.min.into(), range.max.into())).unwrap_or(0))
        };
        let request = one(ranges.upstream);
        Self { request, response: one(ranges.downstream) }
    }

    /// Adds the padding's parameters.
    pub fn write(self, params: &mut Params) {
        if let Some(length) = self.request {
            params.set("padding", " ".repeat(length));
        }
        if let Some(length) = self.response {
            params.set("pad_response", length.to_string());
        }
    }
}

/// The padding for the reply to a request: as many spaces as it asks for, within bounds.
#[must_use]
pub fn response_padding(params: &Params) -> String {
    let asked = params.text("pad_response").and_then(go_number::parse_int).unwrap_or(0);
    " ".repeat(usize::try_from(asked).unwrap_or(0).min(MAX_RESPONSE_PADDING))
}

impl BaseParams {
    /// Adds these parameters.
    pub fn write(&self, params: &mut Params) {
        for (name, text) in self.always() {
            params.set(name, text.as_str());
        }
        params.set(
            "client_features",
            self.client_features.clone().map_or(Value::Json(Json::Null), Value::TextList),
        );
        let optional = [
            ("device_region", &self.device_region),
            ("device_location", &self.device_location),
            ("egress_region", &self.egress_region),
        ];
        for (name, text) in optional {
            if let Some(text) = text {
                params.set(name, text.as_str());
            }
        }
    }

    /// Reads these parameters of a request that was validated.
    #[must_use]
    pub fn read(params: &Params) -> Self {
        let optional = |name| params.text(name).map(str::to_owned);
        let text = |name| optional(name).unwrap_or_default();
        Self {
            propagation_channel_id: text("propagation_channel_id"),
            sponsor_id: text("sponsor_id"),
            client_version: text("client_version"),
            client_platform: text("client_platform"),
            client_features: params.text_list("client_features").map(<[_]>::to_vec),
            client_build_rev: text("client_build_rev"),
            network_type: text("network_type"),
            applied_tactics_tag: text("applied_tactics_tag"),
            device_region: optional("device_region"),
            device_location: optional("device_location"),
            egress_region: optional("egress_region"),
        }
    }

    fn always(&self) -> [(&'static str, &String); 7] {
        [
            ("propagation_channel_id", &self.propagation_channel_id),
            ("sponsor_id", &self.sponsor_id),
            ("client_version", &self.client_version),
            ("client_platform", &self.client_platform),
            ("client_build_rev", &self.client_build_rev),
            ("network_type", &self.network_type),
            ("applied_tactics_tag", &self.applied_tactics_tag),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_obfuscation::Seed;

    #[test]
    fn padding_is_drawn_upstream_first_and_only_if_wanted() {
        let seed = Seed::from_bytes([3; 32]);
        let mut expected = Prng::new(&seed);
        let (up, down) = (expected.range(0, 1024), expected.range(0, 1024));
        let drawn = Padding::draw(&mut Prng::new(&seed), PaddingRanges::default());
        assert_eq!((drawn.request, drawn.response), (usize::try_from(up).ok(), usize::try_from(down).ok()));
        let ranges = PaddingRanges { upstream: PaddingRange { min: 0, max: 0 }, ..PaddingRanges::default() };
        let drawn = Padding::draw(&mut Prng::new(&seed), ranges);
        assert_eq!((drawn.request, drawn.response), (None, usize::try_from(up).ok()));
    }

    #[test]
    fn replies_are_padded_within_bounds() {
        let padding = |asked: &str| {
            let mut params = Params::default();
            params.set("pad_response", asked);
            response_padding(&params).len()
        };
        assert_eq!(
            [padding("5"), padding("99999999"), padding("-1"), padding("x")],
            [5, MAX_RESPONSE_PADDING, 0, 0]
        );
        assert_eq!(response_padding(&Params::default()), "");
    }
}
