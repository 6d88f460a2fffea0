//! The plan of a meek session: where its connections go, and how its requests look. Source: TRANSPORTS.md 2.3.

use std::net::SocketAddr;
use std::sync::Arc;

use culvert_obfuscation::{Prng, Seed, Transform};
use culvert_protocol::TunnelProtocol;
use culvert_protocol::parameters::Transforms;
use culvert_transport::meek::wire::{KEY_LEN, MAX_BODY, names};
use culvert_transport::meek::{self, HeadTransform, Keys, RequestLook, Route};
use culvert_transport::{Endpoint, TransportPlan};
use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::{DialPlan, PlanError, Planner, host_name, select, specs, user_agent};

/// The port that a `Host` header leaves out.
const HTTP_PORT: u16 = 80;

impl Planner<'_> {
    /// HTTP to the server itself.
    pub(super) fn unfronted_meek(
        &self,
        protocol: TunnelProtocol,
        port: u16,
    ) -> Result<TransportPlan, PlanError> {
        let seed = self.seed.derive("meek");
        let server = SocketAddr::new(self.entry.address(), port);
        let settings = &self.parameters.host_names;
        let mut choice = Prng::derived(&seed, "host-name");
        let host = if host_name::transforms(settings, &mut choice) {
            with_port(&host_name::select(settings, protocol, &mut choice), port, HTTP_PORT)
        } else if port == HTTP_PORT {
            server.ip().to_string()
        } else {
            server.to_string()
        };
        let transform = self.http_transform(&seed, &self.parameters.direct_http, "")?;
        self.meek(protocol, &seed, Route::Http(Endpoint::Address(server)), (host, transform))
    }

    fn meek(
        &self,
        protocol: TunnelProtocol,
        seed: &Seed,
        route: Route,
        (host, transform): (String, Option<HeadTransform>),
    ) -> Result<TransportPlan, PlanError> {
        let of = &self.parameters.meek;
        let cookie_seed = seed.derive("cookie");
        let look = RequestLook {
            host,
            user_agent: user_agent::pick(&mut Prng::derived(seed, "user-agent")).to_owned(),
            content_type: names::content_type(&cookie_seed, of.alternate_content_type_probability.get()),
            cookie_name: names::cookie_name(&cookie_seed, of.alternate_cookie_name_probability.get()),
            additional: Vec::new(),
            transform,
        };
        let limits = &of.payload_padding_limit_protocols;
        let pads = (limits.is_empty() || limits.contains(&protocol))
            && Prng::derived(seed, "payload-padding")
                .flip_weighted_coin(of.payload_padding_probability.get());
        Ok(TransportPlan::Meek(Box::new(meek::Plan {
            route,
            look,
            keys: self.meek_keys()?,
            protocol,
            most_payload: self.most_payload(protocol, seed),
            payload_padding: pads,
            cookie_seed,
            pace_seed: seed.derive("pace"),
            parameters: Arc::new(of.clone()),
        })))
    }

    fn meek_keys(&self) -> Result<Keys, PlanError> {
        let name = "meekCookieEncryptionPublicKey";
        let decoded = BASE64.decode(self.entry.required_text(name)?.as_bytes()).ok();
        let cookie_key: Option<[u8; KEY_LEN]> = decoded.and_then(|bytes| bytes.try_into().ok());
        Ok(Keys {
            obfuscated_key: Zeroizing::new(self.entry.required_text("meekObfuscatedKey")?.to_owned()),
            cookie_key: cookie_key.ok_or(PlanError::MeekKey)?,
        })
    }

    /// The limit of bodies: drawn once for a session, where they are limited at all.
    fn most_payload(&self, protocol: TunnelProtocol, seed: &Seed) -> usize {
        let of = &self.parameters.meek;
        let limits = &of.traffic_shaping_limit_protocols;
        let mut prng = Prng::derived(seed, "payload-limit");
        let shapes = (limits.is_empty() || limits.contains(&protocol))
            && prng.flip_weighted_coin(of.traffic_shaping_probability.get());
        let least = of.min_limit_request_payload_length;
        let limit = shapes.then(|| prng.range_u32(least, of.max_limit_request_payload_length.max(least)));
        limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(MAX_BODY)
    }

    /// What is done to the heads of requests that can be seen on the wire. TRANSPORTS.md 2.11.
    fn http_transform(
        &self,
        seed: &Seed,
        settings: &Transforms,
        scope: &str,
    ) -> Result<Option<HeadTransform>, PlanError> {
        let mut choice = Prng::derived(seed, "http-transform");
        if self.entry.flag("disableHTTPTransforms") || !choice.flip_weighted_coin(settings.probability.get())
        {
            return Ok(None);
        }
        let compiled = specs(settings, Transform::new)?;
        let Some((name, _)) = select(settings, &compiled, scope.to_owned(), &mut choice) else {
            return Ok(None);
        };
        let steps = settings.specs.get(&name).cloned().unwrap_or_default();
        Ok(Some(HeadTransform { name, steps, seed: seed.derive("http-transform-spec") }))
    }
}

fn with_port(host: &str, port: u16, usual: u16) -> String {
    if port == usual { host.to_owned() } else { format!("{host}:{port}") }
}

/// What is reported of a meek session, by the names of dial parameters.
pub(crate) fn report(plan: &DialPlan, address: &str) -> Vec<(&'static str, String)> {
    let TransportPlan::Meek(meek) = &plan.transport else { return Vec::new() };
    let look = &meek.look;
    let transformed = !look.host.trim_start_matches('[').starts_with(address);
    let mut report = vec![
        ("user_agent", look.user_agent.clone()),
        ("meek_host_header", look.host.clone()),
        ("meek_transformed_host_name", u8::from(transformed).to_string()),
    ];
    report.extend(look.transform.as_ref().map(|transform| ("http_transform", transform.name.clone())));
    report
}
