//! Typed settings of the local proxies from the fields of a config file.

use super::problem::Fault;
use super::read::Fields;
use super::{ListenInterface, LocalLogin, LocalPort, LocalProxies, Secret};

/// What switches UDP off.
const NO_UDP: &str = "off";
/// RFC 1929 section 2.
const LONGEST_LOGIN: usize = 255;

pub(super) fn local(fields: &mut Fields<'_>) -> LocalProxies {
    let (socks, http) = if fields.switch("UseUnixDomainSockets") {
        let socks = unix(fields, "DisableLocalSocksProxy", "LocalSocksProxyUnixPath");
        let http = unix(fields, "DisableLocalHTTPProxy", "LocalHttpProxyUnixPath");
        (socks, http)
    } else {
        let socks = port(fields, "DisableLocalSocksProxy", "LocalSocksProxyPort");
        let http = port(fields, "DisableLocalHTTPProxy", "LocalHttpProxyPort");
        (socks, http)
    };
    let mut proxies = LocalProxies {
        socks,
        http,
        interface: ListenInterface::from(fields.text("ListenInterface").unwrap_or_default()),
        one_port: fields.switch("SharedLocalPort"),
        login: login(fields),
        allowed_users: allowed_users(fields),
        udp_gateway: udp_gateway(fields),
    };
    in_one_place(fields, &mut proxies);
    proxies
}

fn port(fields: &mut Fields<'_>, off: &'static str, port: &'static str) -> LocalPort {
    let given = fields.integer::<u16>(port, 0..=65535, "a port from 1 to 65535, or 0 for any free one");
    match (fields.switch(off), given) {
        (true, _) => LocalPort::Off,
        (false, None | Some(0)) => LocalPort::Any,
        (false, Some(port)) => LocalPort::Fixed(port),
    }
}

fn unix(fields: &mut Fields<'_>, off: &'static str, path: &'static str) -> LocalPort {
    if fields.switch(off) {
        return LocalPort::Off;
    }
    let expected = "an absolute path, or on Linux @ and a name, of at most 103 bytes";
    match fields.text(path).map(str::parse) {
        Some(Ok(path)) => return LocalPort::Unix(path),
        Some(Err(_)) => fields.fault(path, Fault::Invalid { expected }),
        // With one place for both, SOCKS has it.
        None if fields.switch("SharedLocalPort") && path == "LocalHttpProxyUnixPath" => {}
        None => fields.fault(path, Fault::Missing { need: "where to listen, for UseUnixDomainSockets" }),
    }
    LocalPort::Any
}

/// Without `SharedLocalPort` the same place twice is a mistake: the second would fail with a less clear message.
fn in_one_place(fields: &mut Fields<'_>, proxies: &mut LocalProxies) {
    let same = proxies.socks == proxies.http && !matches!(proxies.socks, LocalPort::Off | LocalPort::Any);
    if same && !proxies.one_port {
        let (name, other) = match proxies.socks {
            LocalPort::Unix(_) => ("LocalHttpProxyUnixPath", "the same path in LocalSocksProxyUnixPath"),
            _ => ("LocalHttpProxyPort", "the same number in LocalSocksProxyPort, but for SharedLocalPort"),
        };
        fields.fault(name, Fault::Excludes { other });
    }
    if proxies.is_one_place() && proxies.socks == LocalPort::Any {
        // Either key says where.
        proxies.socks = proxies.http.clone();
    }
}

fn login(fields: &mut Fields<'_>) -> Option<LocalLogin> {
    let username = fields.text("LocalProxyUsername").map(str::to_owned);
    let password = fields.text("LocalProxyPassword").map(str::to_owned);
    let (username, password) = match (username, password) {
        (None, None) => return None,
        (None, Some(_)) => {
            fields.fault("LocalProxyPassword", Fault::Requires { other: "LocalProxyUsername" });
            return None;
        }
        (Some(_), None) => {
            fields.fault("LocalProxyUsername", Fault::Requires { other: "LocalProxyPassword" });
            return None;
        }
        (Some(username), Some(password)) => (username, password),
    };
    // RFC 7617 section 2: a colon would end the username.
    if username.len() > LONGEST_LOGIN || username.contains(':') {
        let expected = "at most 255 bytes without a colon";
        fields.fault("LocalProxyUsername", Fault::Invalid { expected });
    }
    if password.len() > LONGEST_LOGIN {
        fields.fault("LocalProxyPassword", Fault::Invalid { expected: "at most 255 bytes" });
    }
    Some(LocalLogin { username, password: Secret::new(password) })
}

fn allowed_users(fields: &mut Fields<'_>) -> Vec<u32> {
    const NAME: &str = "LocalProxyAllowedUserIDs";
    let mut users = Vec::new();
    for (index, text) in fields.texts(NAME).into_iter().enumerate() {
        match text.parse() {
            Ok(user) => users.push(user),
            Err(_) => {
                let expected = "the number of a user in quotes, such as \"1000\"";
                fields.fault_at(NAME, &[index.into()], Fault::Invalid { expected });
            }
        }
    }
    if !users.is_empty() && !cfg!(target_os = "linux") {
        fields.fault(NAME, Fault::NotSupported);
    }
    users
}

fn udp_gateway(fields: &mut Fields<'_>) -> Option<std::net::SocketAddr> {
    match fields.text("UDPGatewayAddress") {
        None => Some(LocalProxies::UDP_GATEWAY),
        Some(NO_UDP) => None,
        Some(text) => match text.parse() {
            Ok(address) => Some(address),
            Err(_) => {
                let expected = "an address and port such as \"127.0.0.1:7300\", or \"off\"";
                fields.fault("UDPGatewayAddress", Fault::Invalid { expected });
                None
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Loaded, parse};

    fn loaded(members: &str) -> Result<Loaded, String> {
        let text = format!("{{\"PropagationChannelId\":\"A\",\"SponsorId\":\"B\",{members}}}");
        parse("c", &text).map_err(|error| error.to_string())
    }

    fn proxies(members: &str) -> LocalProxies {
        loaded(members).unwrap().config.local
    }

    #[test]
    fn places_are_ports_or_sockets() {
        let unix = proxies(
            r#""UseUnixDomainSockets":true,"LocalSocksProxyUnixPath":"/run/s","LocalHttpProxyUnixPath":"/run/h","LocalSocksProxyPort":1"#,
        );
        assert_eq!(unix.socks, LocalPort::Unix("/run/s".parse().unwrap()));
        assert_eq!(unix.http, LocalPort::Unix("/run/h".parse().unwrap()));
        let one = proxies(
            r#""UseUnixDomainSockets":true,"DisableLocalSocksProxy":true,"LocalHttpProxyUnixPath":"/run/h""#,
        );
        assert_eq!(one.socks, LocalPort::Off);
        let shared = proxies(r#""SharedLocalPort":true,"LocalHttpProxyPort":8080"#);
        assert!(shared.is_one_place() && shared.socks == LocalPort::Fixed(8080));
        let same = proxies(r#""SharedLocalPort":true,"LocalHttpProxyPort":9,"LocalSocksProxyPort":9"#);
        assert!(same.is_one_place() && same.socks == LocalPort::Fixed(9));
        assert!(!proxies(r#""SharedLocalPort":true,"DisableLocalHTTPProxy":true"#).is_one_place());
    }

    #[test]
    fn who_may_come_and_where_udp_goes() {
        let local = proxies(
            r#""LocalProxyUsername":"me","LocalProxyPassword":"p:w","LocalProxyAllowedUserIDs":["0"],"UDPGatewayAddress":"[::1]:7""#,
        );
        assert_eq!(local.login.as_ref().unwrap().username, "me");
        assert!(!format!("{local:?}").contains("p:w"));
        assert_eq!(local.allowed_users, [0]);
        assert_eq!(local.udp_gateway, Some("[::1]:7".parse().unwrap()));
        assert_eq!(proxies(r#""UDPGatewayAddress":"off""#).udp_gateway, None);
        assert_eq!(proxies(r#""UDPGatewayAddress":"""#).udp_gateway, Some(LocalProxies::UDP_GATEWAY));
    }

    #[test]
    fn mistakes_are_named() {
        for (members, message) in [
            (r#""UseUnixDomainSockets":true,"LocalSocksProxyUnixPath":"/s""#, "LocalHttpProxyUnixPath: "),
            (
                r#""UseUnixDomainSockets":true,"LocalSocksProxyUnixPath":"s","LocalHttpProxyUnixPath":"/h""#,
                "LocalSocksProxyUnixPath: expected an absolute path",
            ),
            (
                r#""UseUnixDomainSockets":true,"LocalSocksProxyUnixPath":"/s","LocalHttpProxyUnixPath":"/s""#,
                "LocalHttpProxyUnixPath: cannot be combined with the same path",
            ),
            (r#""LocalProxyUsername":"me""#, "LocalProxyUsername: "),
            (r#""LocalProxyPassword":"p""#, "LocalProxyPassword: "),
            (r#""LocalProxyUsername":"a:b","LocalProxyPassword":"p""#, "LocalProxyUsername: "),
            (r#""LocalProxyAllowedUserIDs":["me"]"#, "LocalProxyAllowedUserIDs[0]: "),
            (r#""UDPGatewayAddress":"localhost:7300""#, "UDPGatewayAddress: "),
        ] {
            let error = loaded(members).unwrap_err();
            assert!(error.contains(message), "{members}: {error}");
        }
    }
}
