//! What is fuzzed: one function per parser, which takes any bytes and fails by panicking. `cargo test` runs each for a moment on the
//! committed inputs and changes of them (`tests/smoke.rs`); libFuzzer runs the same functions for long (`cargo xtask long`).
//!
//! A target states what must hold besides not panicking: nearly always that input in pieces gives what input at once gives, and that
//! what was read and written again reads the same.

mod local_proxies;
mod meek;
pub mod mutate;
mod obfuscation;
mod parameters;
mod plan;
mod programs;
mod protocol;
mod ssh;
mod ssh_between;
mod ssh_channels;
mod ssh_exchange;
mod ssh_ledger;
mod ssh_messages;
mod ssh_peer;
mod ssh_setup;
mod tls;
mod transport;
mod upstream;

/// What a target is called, here, in `fuzz/fuzz_targets` and in `fuzz/corpus`, and what it runs.
pub type Target = (&'static str, fn(&[u8]));

/// The keyword of all obfuscated inputs.
pub const KEYWORD: &[u8] = obfuscation::KEYWORD;

/// Every target.
pub const TARGETS: &[Target] = &[
    ("api_parameters", protocol::api_parameters),
    ("api_replies", protocol::api_replies),
    ("api_requests", protocol::api_requests),
    ("authorizations", protocol::authorizations),
    ("blocklist", programs::blocklist),
    ("cbor", protocol::cbor),
    ("client_config", programs::client_config),
    ("client_hello", transport::client_hello),
    ("control_requests", programs::control_requests),
    ("direct_tcpip", ssh::direct_tcpip),
    ("dns_answer", upstream::dns_answer),
    ("dns_question", programs::dns_question),
    ("forward_destination", programs::forward_destination),
    ("geoip_database", programs::geoip_database),
    ("host_key", ssh::host_key),
    ("http_proxy", local_proxies::http_proxy),
    ("json_positions", protocol::json_positions),
    ("kex_messages", ssh::kex_messages),
    ("kex_packet", obfuscation::kex_packet),
    ("kexinit", ssh::kexinit),
    ("meek_bodies", meek::meek_bodies),
    ("meek_cookie", meek::meek_cookie),
    ("meek_head", meek::meek_head),
    ("meek_response", meek::meek_response),
    ("notice_text", programs::notice_text),
    ("ntlm_challenge", upstream::ntlm_challenge),
    ("parameters", parameters::parameters),
    ("playlist", local_proxies::playlist),
    ("preamble", obfuscation::preamble),
    ("preamble_body", obfuscation::preamble_body),
    ("prefix_search", obfuscation::prefix_search),
    ("proxy_header", protocol::proxy_header),
    ("proxy_replies", upstream::proxy_replies),
    ("proxy_url", upstream::proxy_url),
    ("psinet", programs::psinet_database),
    ("quic_datagrams", transport::quic_datagrams),
    ("quic_frames", transport::quic_frames),
    ("regen", obfuscation::regen),
    ("seed_history", culvert_obfuscation::fuzz::seed_history),
    ("server_config", programs::server_config),
    ("server_entry", protocol::server_entry),
    ("server_entry_json", protocol::server_entry_json),
    ("server_entry_list", protocol::server_entry_list),
    ("server_entry_packed", protocol::server_entry_packed),
    ("server_list", programs::server_list),
    ("server_traffic_rules", programs::server_traffic_rules),
    ("shadowsocks_chunks", transport::shadowsocks_chunks),
    ("socks", local_proxies::socks),
    ("socks_datagram", local_proxies::socks_datagram),
    ("ssh_channels", ssh_channels::ssh_channels),
    ("ssh_exchange", ssh_exchange::ssh_exchange),
    ("ssh_messages", ssh_messages::ssh_messages),
    ("ssh_opening", ssh::ssh_opening),
    ("ssh_packet", ssh::ssh_packet),
    ("ssh_password", protocol::ssh_password),
    ("stored_plan", plan::stored_plan),
    ("tls_answer", tls::answer),
    ("tls_hello_message", tls::hello_message),
    ("tls_profile", tls::profile),
    ("tls_ticket_state", tls::ticket_state),
    ("transform", culvert_obfuscation::fuzz::transform),
    ("udpgw", protocol::udpgw),
];

/// Runs the target of that name.
///
/// # Panics
/// There is none, or it found a fault.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, body) = target.expect("the name is one of TARGETS");
    body(data);
}
