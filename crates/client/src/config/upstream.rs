//! The settings of a proxy that dials go through. Not the dialing: see `culvert_transport::upstream`.

use std::sync::Arc;

use culvert_protocol::{Feature, TunnelProtocol};
use culvert_transport::Network;
use culvert_transport::upstream::{CustomHeaders, ProxyUrl, UpstreamProxy};
use serde_json::Value;

use super::problem::Fault;
use super::read::Fields;

const URL: &str = "UpstreamProxyURL";
/// The name of now, and the one of before.
const HEADERS: [&str; 2] = ["CustomHeaders", "UpstreamProxyCustomHeaders"];

/// A proxy between this machine and all servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    pub proxy: ProxyUrl,
    /// What its requests have besides.
    pub headers: CustomHeaders,
}

impl Upstream {
    /// Whether a protocol can be dialed through a proxy: datagrams cannot.
    #[must_use]
    pub fn carries(protocol: TunnelProtocol) -> bool {
        protocol.has(Feature::UpstreamProxy)
    }

    /// A network behind the proxy, which is reached over `network`.
    #[must_use]
    pub fn network(&self, network: Arc<dyn Network>) -> Arc<dyn Network> {
        Arc::new(UpstreamProxy::new(network, self.proxy.clone(), self.headers.clone()))
    }
}

pub(super) fn read(fields: &mut Fields<'_>) -> Option<Upstream> {
    let key = HEADERS.into_iter().find(|key| fields.is_set(key)).unwrap_or(HEADERS[0]);
    let headers = headers(fields, key);
    let proxy = match ProxyUrl::parse(fields.text(URL)?) {
        Ok(proxy) => proxy,
        Err(error) => {
            fields.fault(URL, Fault::ProxyUrl(error));
            return None;
        }
    };
    Some(Upstream { proxy, headers: headers? })
}

/// A table of headers.
pub(super) fn headers(fields: &mut Fields<'_>, key: &'static str) -> Option<CustomHeaders> {
    let table = fields.value(key).and_then(Value::as_object).cloned().unwrap_or_default();
    let mut all = Vec::new();
    for (name, given) in table {
        let values = match &given {
            Value::String(one) => vec![one.clone()],
            Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let is_texts = given.is_string() || given.as_array().is_some_and(|list| list.len() == values.len());
        if !is_texts {
            let expected = "text in quotes, or a list of texts";
            fields.fault_at(key, &[name.as_str().into()], Fault::Invalid { expected });
        }
        all.extend(values.into_iter().map(|value| (name.clone(), value)));
    }
    match CustomHeaders::new(all) {
        Ok(headers) => Some(headers),
        Err(error) => {
            fields.fault(key, Fault::Header(error));
            None
        }
    }
}
