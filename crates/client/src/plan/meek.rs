//! The plan of a meek session: where its connections go, and how its requests look. Source: TRANSPORTS.md 2.3.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use culvert_obfuscation::{Pattern, PatternKind, Prng, Seed, TransformError};

use culvert_protocol::parameters::Transforms;
use culvert_protocol::{Feature, TunnelProtocol};
use culvert_transport::meek::wire::{KEY_LEN, MAX_BODY, names};
use culvert_transport::meek::{self, HeadTransform, Keys, RequestLook, Route};
use culvert_transport::tls::{self, ClientSettings, TicketSecret, Verify};
use culvert_transport::{Endpoint, TransportPlan};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::choices::{Choice, StoredTransform};
use super::draft::Draft;
use super::tls::HelloWishes;
use super::{DialPlan, PlanError, host_name, transform, user_agent};

/// The ports that a `Host` header leaves out.
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;
/// Tells what is behind a front which of its addresses was dialed.
const FRONTING_HEADER: &str = "X-Psiphon-Fronting-Address";
/// Headers that requests have in any case, once.
const WRITTEN: [&str; 6] =
    ["Host", "User-Agent", "Content-Length", "Content-Type", "Cookie", "Accept-Encoding"];

impl Draft<'_> {
    /// HTTPS to the server itself, which does not show who it is before it is inside.
    pub(super) fn unfronted_meek_https(
        &self,
        protocol: TunnelProtocol,
        port: u16,
    ) -> Result<TransportPlan, PlanError> {
        let seed = self.seed.derive("meek");
        let server = Endpoint::Address(SocketAddr::new(self.entry.address(), port));
        let key = self.entry.required_text("meekObfuscatedKey")?;
        let has_ticket = protocol.has(Feature::SessionTicket);
        let server_name = self.server_name(protocol, &seed);
        // Inside TLS the server's address would be of use to nobody: some name is sent in any case.
        let host = server_name.clone().unwrap_or_else(|| {
            self.keep_or(Choice::HOST_NAME, || {
                let mut prng = Prng::derived(&seed, "host-name");
                host_name::select(&self.parameters.host_names, protocol, &mut prng)
            })
        });
        let ticket_secret = has_ticket.then(|| TicketSecret::from_hex(key)).flatten();
        let plan = tls::Plan {
            server,
            settings: self.meek_hello(protocol, server_name, ticket_secret, &seed)?,
            passthrough: Some(self.passthrough_key(protocol, key)),
        };
        let route = Route::Https(Box::new(plan));
        self.meek(protocol, &seed, route, (with_port(&host, port, HTTPS_PORT), None))
    }

    /// HTTPS to a front, which takes the request to the server by the name in its `Host` header.
    pub(super) fn fronted_meek(
        &self,
        protocol: TunnelProtocol,
        port: u16,
    ) -> Result<TransportPlan, PlanError> {
        let seed = self.seed.derive("meek");
        let front = self.front(&seed)?;
        // The name of another of the front's hosts, its own, or none.
        let server_name = match (self.entry.flag("meekFrontingDisableSNI"), self.server_name(protocol, &seed))
        {
            (true, _) => None,
            (false, Some(other)) => Some(other),
            (false, None) => Some(front.address.clone()).filter(|name| name.parse::<IpAddr>().is_err()),
        };
        let key = self.entry.required_text("meekObfuscatedKey")?;
        let plan = tls::Plan {
            server: endpoint(&front.address, port),
            settings: self.meek_hello(protocol, server_name, None, &seed)?,
            passthrough: Some(self.passthrough_key(protocol, key)),
        };
        self.meek(protocol, &seed, Route::Https(Box::new(plan)), (front.host, None))
    }

    /// HTTP to a front.
    pub(super) fn fronted_meek_http(
        &self,
        protocol: TunnelProtocol,
        port: u16,
    ) -> Result<TransportPlan, PlanError> {
        let seed = self.seed.derive("meek");
        let front = self.front(&seed)?;
        let provider = self.entry.text("frontingProviderID").unwrap_or_default();
        let transform = self.http_transform(&seed, &self.parameters.fronted_http, provider)?;
        self.meek(protocol, &seed, Route::Http(endpoint(&front.address, port)), (front.host, transform))
    }

    /// Where to connect, and what to ask for there.
    pub(super) fn front(&self, seed: &Seed) -> Result<Front, PlanError> {
        self.keep_or_try(Choice::FRONT, || self.new_front(seed))
    }

    fn new_front(&self, seed: &Seed) -> Result<Front, PlanError> {
        let mut choice = Prng::derived(seed, "front");
        let pick = |list: &str, single: &str, choice: &mut Prng| {
            let listed: Vec<&str> = self.entry.texts(list).collect();
            choice.pick(&listed).copied().or_else(|| self.entry.text(single)).map(str::to_owned)
        };
        let address = match self.entry.text("meekFrontingAddressesRegex").filter(|text| !text.is_empty()) {
            Some(pattern) => generated(pattern, &mut choice)?,
            None => pick("meekFrontingAddresses", "meekFrontingDomain", &mut choice)
                .ok_or(PlanError::NoFront("meekFrontingAddresses"))?,
        };
        let host = pick("meekFrontingHosts", "meekFrontingHost", &mut choice)
            .ok_or(PlanError::NoFront("meekFrontingHosts"))?;
        Ok(Front { address, host })
    }

    /// Whoever answers is not asked for a certificate: the server proves itself by its SSH key, and a front that is somebody in the
    /// middle learns no more than one that is not.
    fn meek_hello(
        &self,
        protocol: TunnelProtocol,
        server_name: Option<String>,
        ticket_secret: Option<TicketSecret>,
        seed: &Seed,
    ) -> Result<ClientSettings, PlanError> {
        let of = &self.parameters.meek;
        let padding = self.keep_or(Choice::HELLO_PADDING, || {
            let padding = self.shapes(protocol, seed).then(|| {
                let mut prng = Prng::derived(seed, "hello-padding");
                prng.range_u32(of.min_tls_padding, of.max_tls_padding.max(of.min_tls_padding))
            });
            padding.and_then(|padding| u16::try_from(padding).ok()).filter(|padding| *padding > 0)
        });
        let verify = Verify::Skip;
        let wishes = HelloWishes { protocol, only_tls13: false, server_name, padding, ticket_secret, verify };
        self.client_hello(wishes, seed)
    }

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
        let other = self.keep_or(Choice::HOST_NAME, || {
            host_name::transforms(settings, &mut choice)
                .then(|| host_name::select(settings, protocol, &mut choice))
        });
        let host = match other {
            Some(other) => with_port(&other, port, HTTP_PORT),
            None if port == HTTP_PORT => server.ip().to_string(),
            None => server.to_string(),
        };
        let transform = self.http_transform(&seed, &self.parameters.direct_http, "")?;
        self.meek(protocol, &seed, Route::Http(Endpoint::Address(server)), (host, transform))
    }

    pub(super) fn meek(
        &self,
        protocol: TunnelProtocol,
        seed: &Seed,
        route: Route,
        (host, transform): (String, Option<HeadTransform>),
    ) -> Result<TransportPlan, PlanError> {
        let of = &self.parameters.meek;
        let dialed = dialed(&route);
        if of.dial_domains_only && matches!(dialed, Endpoint::Address(_)) {
            return Err(PlanError::NoName);
        }
        let additional = self.additional_headers(protocol, &route);
        let cookie_seed = self.keep_seed_or(Choice::MEEK_COOKIE, || seed.derive("cookie"));
        let look = RequestLook {
            host,
            user_agent: self.user_agent(&route, seed),
            content_type: names::content_type(&cookie_seed, of.alternate_content_type_probability.get()),
            cookie_name: names::cookie_name(&cookie_seed, of.alternate_cookie_name_probability.get()),
            additional,
            transform,
        };
        let limits = &of.payload_padding_limit_protocols;
        let pads = self.keep_or(Choice::PAYLOAD_PADDING, || {
            (limits.is_empty() || limits.contains(&protocol))
                && Prng::derived(seed, "payload-padding")
                    .flip_weighted_coin(of.payload_padding_probability.get())
        });
        Ok(TransportPlan::Meek(Box::new(meek::Plan {
            route,
            look,
            keys: self.meek_keys()?,
            protocol,
            most_payload: self.keep_or(Choice::MEEK_PAYLOAD, || self.most_payload(protocol, seed)),
            payload_padding: pads,
            cookie_seed,
            pace_seed: self.keep_seed_or(Choice::MEEK_PACE, || seed.derive("pace")),
            parameters: Arc::new(of.clone()),
            latency_multiplier: self.parameters.latency.general(),
        })))
    }

    /// Those of the config; of the parameters where nothing hides them, as with proxies; and one for fronts that ask for it.
    fn additional_headers(&self, protocol: TunnelProtocol, route: &Route) -> Vec<(String, String)> {
        let of = &self.parameters.fronting;
        let mut all: Vec<(String, String)> = Vec::new();
        if matches!(route, Route::Http(_)) {
            let custom = of.additional_custom_headers.iter();
            all.extend(custom.flat_map(|(name, values)| values.iter().map(|it| (name.clone(), it.clone()))));
        }
        let provider = self.entry.text("frontingProviderID").filter(|provider| !provider.is_empty());
        let asked = provider.and_then(|provider| of.add_psiphon_fronting_header.get(provider));
        if asked.is_some_and(|protocols| protocols.contains(&protocol)) {
            let front = match dialed(route) {
                Endpoint::Address(address) => address.ip().to_string(),
                Endpoint::Name(name, _) => name.clone(),
            };
            all.push((FRONTING_HEADER.to_owned(), front));
        }
        let is_new = |name: &str| !all.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        let own: Vec<_> = self.headers.iter().filter(|(name, _)| is_new(name)).collect();
        all.extend(own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        all.retain(|(name, _)| !WRITTEN.iter().any(|written| name.eq_ignore_ascii_case(written)));
        all
    }

    /// That of the browser whose ClientHello is sent, where there is one.
    fn user_agent(&self, route: &Route, seed: &Seed) -> String {
        let profile = match route {
            Route::Http(_) | Route::Http3(_) => None,
            Route::Https(plan) => Some(plan.settings.profile.name()),
        };
        self.keep_or(Choice::USER_AGENT, || {
            let mut prng = Prng::derived(seed, "user-agent");
            let agent = user_agent::pick(profile, &mut prng);
            let wanted =
                prng.flip_weighted_coin(self.parameters.host_names.pick_user_agent_probability.get());
            if wanted { agent.to_owned() } else { String::new() }
        })
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

    /// Whether bodies are limited and ClientHellos padded.
    fn shapes(&self, protocol: TunnelProtocol, seed: &Seed) -> bool {
        let of = &self.parameters.meek;
        let limits = &of.traffic_shaping_limit_protocols;
        (limits.is_empty() || limits.contains(&protocol))
            && Prng::derived(seed, "shaping").flip_weighted_coin(of.traffic_shaping_probability.get())
    }

    /// The limit of bodies: drawn once for a session, where they are limited at all.
    fn most_payload(&self, protocol: TunnelProtocol, seed: &Seed) -> usize {
        let of = &self.parameters.meek;
        let mut prng = Prng::derived(seed, "payload-limit");
        let least = of.min_limit_request_payload_length;
        let limit = self
            .shapes(protocol, seed)
            .then(|| prng.range_u32(least, of.max_limit_request_payload_length.max(least)));
        limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(MAX_BODY)
    }

    /// What is done to the heads of requests that can be seen on the wire. TRANSPORTS.md 2.11.
    fn http_transform(
        &self,
        seed: &Seed,
        settings: &Transforms,
        scope: &str,
    ) -> Result<Option<HeadTransform>, PlanError> {
        if self.entry.flag("disableHTTPTransforms") {
            return Ok(None);
        }
        let seed = seed.derive("http-transform");
        let chosen = self.keep_or_try(Choice::HTTP_TRANSFORM, || transform(settings, scope, &seed))?;
        let head = |StoredTransform { name, steps, seed }| HeadTransform { name, steps, seed: seed.0 };
        Ok(chosen.map(head))
    }
}

/// A host of a CDN. Stored, because it was picked, or made, from what the entry has.
#[derive(Serialize, Deserialize)]
pub(super) struct Front {
    /// Where connections go: a name, or an address.
    pub(super) address: String,
    /// What requests ask for.
    pub(super) host: String,
}

pub(super) fn endpoint(host: &str, port: u16) -> Endpoint {
    match host.parse::<IpAddr>() {
        Ok(address) => Endpoint::Address(SocketAddr::new(address, port)),
        Err(_) => Endpoint::Name(host.to_owned(), port),
    }
}

fn generated(pattern: &str, prng: &mut Prng) -> Result<String, PlanError> {
    let pattern = Pattern::parse(pattern, PatternKind::Text).map_err(TransformError::from)?;
    let text = pattern.generate(prng).map_err(TransformError::from)?;
    String::from_utf8(text).map_err(|_| PlanError::NoFront("meekFrontingAddressesRegex"))
}

fn with_port(host: &str, port: u16, usual: u16) -> String {
    if port == usual { host.to_owned() } else { format!("{host}:{port}") }
}

/// What is reported of a meek session, by the names of dial parameters.
pub(crate) fn report(plan: &DialPlan, address: &str) -> Vec<(&'static str, String)> {
    let TransportPlan::Meek(meek) = &plan.transport else { return Vec::new() };
    let look = &meek.look;
    let fronted = plan.protocol.has(Feature::Fronted);
    let mut report = vec![("user_agent", look.user_agent.clone()), ("meek_host_header", look.host.clone())];
    let mut transformed = !fronted && !look.host.trim_start_matches('[').starts_with(address);
    if let Route::Https(plan) = &meek.route {
        let name = plan.settings.edits.server_name.as_ref();
        transformed = name.is_some_and(|name| !fronted || !text(&plan.server).starts_with(name.as_str()));
        report.push(("tls_profile", plan.settings.profile.name().to_owned()));
        report.extend(name.map(|name| ("meek_sni_server_name", name.clone())));
    }
    if fronted {
        report.push(("meek_dial_address", text(dialed(&meek.route))));
    }
    report.push(("meek_transformed_host_name", u8::from(transformed).to_string()));
    report.extend(look.transform.as_ref().map(|transform| ("http_transform", transform.name.clone())));
    report
}

/// Where its connections go.
fn dialed(route: &Route) -> &Endpoint {
    match route {
        Route::Http(front) => front,
        Route::Https(plan) => &plan.server,
        Route::Http3(plan) => &plan.front,
    }
}

fn text(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Address(address) => address.to_string(),
        Endpoint::Name(name, port) => format!("{name}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use culvert_protocol::parameters::{Parameters, Probability};
    use culvert_protocol::{EntryFields, ServerEntry};
    use culvert_ssh::ServerKind;
    use culvert_transport::upstream::CustomHeaders;

    use super::super::{Planner, Wanted};
    use super::*;

    const ENTRY: &str = r#"{"ipAddress":"192.0.2.7","meekServerPort":8080,"sshObfuscatedKey":"key",
        "capabilities":["UNFRONTED-MEEK","UNFRONTED-MEEK-HTTPS","UNFRONTED-MEEK-SESSION-TICKET","FRONTED-MEEK","FRONTED-MEEK-HTTP"],
        "meekObfuscatedKey":"0101010101010101010101010101010101010101010101010101010101010101",
        "meekCookieEncryptionPublicKey":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
        "meekFrontingAddresses":["one.example","192.0.2.8"],"meekFrontingHosts":["host.example"]}"#;

    fn entry(changes: &[(&str, serde_json::Value)]) -> ServerEntry {
        let mut fields = EntryFields::from_json(ENTRY.as_bytes()).unwrap();
        for (name, value) in changes {
            fields.set(name, value.clone());
        }
        ServerEntry::try_from(fields).unwrap()
    }

    fn planned(
        entry: &ServerEntry,
        parameters: &Parameters,
        protocol: TunnelProtocol,
        n: u8,
    ) -> Result<meek::Plan, PlanError> {
        let seed = Seed::from_bytes([n; 32]);
        let (wanted, server) = (Wanted::Any, ServerKind::Any);
        let headers = &CustomHeaders::new([("X-Own".to_owned(), "1".to_owned())]).unwrap();
        let plan =
            Planner { entry, parameters, seed, wanted, server, earlier: None, headers, steering: None }
                .plan(protocol)?;
        let TransportPlan::Meek(plan) = plan.transport else { panic!("no plan of meek") };
        Ok(*plan)
    }

    #[test]
    fn hosts_of_plain_http_are_the_address_or_others() {
        let (entry, parameters) = (entry(&[]), Parameters::default());
        let mut addresses = 0;
        for n in 0..60 {
            let plan = planned(&entry, &parameters, TunnelProtocol::UNFRONTED_MEEK_OSSH, n).unwrap();
            assert!(plan.look.host.ends_with(":8080"), "seed {n}: {}", plan.look.host);
            addresses += usize::from(plan.look.host.starts_with("192.0.2.7:"));
            assert_eq!(plan.route, Route::Http(endpoint("192.0.2.7", 8080)));
        }
        assert!((15..45).contains(&addresses), "{addresses}");
    }

    #[test]
    fn hosts_of_https_are_names_and_what_the_handshake_says() {
        let (entry, parameters) = (entry(&[]), Parameters::default());
        let mut tickets = 0;
        for n in 0..40 {
            let protocol = TunnelProtocol::UNFRONTED_MEEK_SESSION_TICKET_OSSH;
            let plan = planned(&entry, &parameters, protocol, n).unwrap();
            let Route::Https(tls) = &plan.route else { panic!("no TLS") };
            let host = plan.look.host.strip_suffix(":8080").unwrap();
            assert!(!host.contains("192.0.2.7"), "seed {n}");
            assert!(tls.settings.edits.server_name.as_deref().is_none_or(|name| name == host), "seed {n}");
            tickets += usize::from(tls.settings.ticket_secret.is_some());
        }
        assert!(tickets > 0, "no profile takes a ticket");
    }

    #[test]
    fn fronts_are_dialed_and_asked_for_the_host() {
        let parameters = Parameters::default();
        let whole = entry(&[]);
        let mut fronts = std::collections::BTreeSet::new();
        for n in 0..30 {
            let plan = planned(&whole, &parameters, TunnelProtocol::FRONTED_MEEK_HTTP_OSSH, n).unwrap();
            assert_eq!(plan.look.host, "host.example");
            let Route::Http(front) = plan.route else { panic!("no HTTP") };
            fronts.insert(text(&front));
        }
        assert_eq!(Vec::from_iter(fronts), ["192.0.2.8:80", "one.example:80"]);
        let pattern = [("meekFrontingAddressesRegex", "[a-c]{3}\\.example".into())];
        let silent = entry(&[("meekFrontingDisableSNI", true.into()), pattern[0].clone()]);
        for n in 0..10 {
            let plan = planned(&silent, &parameters, TunnelProtocol::FRONTED_MEEK_OSSH, n).unwrap();
            let Route::Https(tls) = plan.route else { panic!("no TLS") };
            assert_eq!(tls.settings.edits.server_name, None);
            assert!(matches!(&tls.server, Endpoint::Name(name, 443) if name.ends_with(".example")));
        }
        let none = entry(&[("meekFrontingAddresses", serde_json::Value::Array(Vec::new()))]);
        let error = planned(&none, &parameters, TunnelProtocol::FRONTED_MEEK_OSSH, 0).err();
        assert!(matches!(error, Some(PlanError::NoFront("meekFrontingAddresses"))));
    }

    #[test]
    fn parameters_and_config_add_headers_and_may_want_names() {
        let whole = entry(&[("frontingProviderID", "CDN".into())]);
        let mut parameters = Parameters::default();
        let of = &mut parameters.fronting;
        let headers =
            [("X-More", "2"), ("cookie", "3")].map(|(name, value)| (name.into(), vec![value.into()]));
        of.additional_custom_headers.extend(headers);
        let protocols = vec![TunnelProtocol::FRONTED_MEEK_OSSH];
        of.add_psiphon_fronting_header.insert("CDN".to_owned(), protocols);
        let names = |protocol, parameters: &Parameters| {
            let plan = planned(&whole, parameters, protocol, 3)?;
            Ok::<_, PlanError>(plan.look.additional.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
        };
        let plain = names(TunnelProtocol::UNFRONTED_MEEK_OSSH, &parameters).unwrap();
        assert_eq!(plain, ["X-More", "X-Own"]);
        let fronted = names(TunnelProtocol::FRONTED_MEEK_OSSH, &parameters).unwrap();
        assert_eq!(fronted, [FRONTING_HEADER, "X-Own"]);
        parameters.meek.dial_domains_only = true;
        let error = names(TunnelProtocol::UNFRONTED_MEEK_OSSH, &parameters).err();
        assert!(matches!(error, Some(PlanError::NoName)), "{error:?}");
        parameters.host_names.pick_user_agent_probability = Probability::NEVER;
        parameters.meek.dial_domains_only = false;
        let plan = planned(&whole, &parameters, TunnelProtocol::UNFRONTED_MEEK_OSSH, 3).unwrap();
        assert_eq!(plan.look.user_agent, "");
    }

    #[test]
    fn transforms_come_from_their_scope() {
        let mut parameters = Parameters::default();
        for (of, name) in [(&mut parameters.direct_http, "direct"), (&mut parameters.fronted_http, "fronted")]
        {
            of.probability = Probability::ALWAYS;
            of.specs.insert(name.to_owned(), vec![["^POST".to_owned(), "PUT".to_owned()]]);
            of.scoped_names.insert(String::new(), vec![name.to_owned()]);
        }
        parameters.fronted_http.scoped_names.insert("CDN".to_owned(), Vec::new());
        let name = |entry: &ServerEntry, protocol| {
            let plan = planned(entry, &parameters, protocol, 1).unwrap();
            plan.look.transform.map(|transform| transform.name)
        };
        let whole = entry(&[]);
        assert_eq!(name(&whole, TunnelProtocol::UNFRONTED_MEEK_OSSH).as_deref(), Some("direct"));
        assert_eq!(name(&whole, TunnelProtocol::FRONTED_MEEK_HTTP_OSSH).as_deref(), Some("fronted"));
        assert_eq!(name(&whole, TunnelProtocol::UNFRONTED_MEEK_HTTPS_OSSH), None);
        let of_cdn = entry(&[("frontingProviderID", "CDN".into())]);
        assert_eq!(name(&of_cdn, TunnelProtocol::FRONTED_MEEK_HTTP_OSSH), None);
        let without = entry(&[("disableHTTPTransforms", true.into())]);
        assert_eq!(name(&without, TunnelProtocol::UNFRONTED_MEEK_OSSH), None);
    }
}
