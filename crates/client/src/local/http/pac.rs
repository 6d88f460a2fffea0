//! The proxy auto-configuration file, which tells browsers to use these proxies.
//!
//! Source: the file format that Netscape described and MDN documents ("Proxy Auto-Configuration (PAC) file").

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response};

use super::{Body, text_body};

/// Where the file is.
pub(super) const PATH: &str = "/proxy.pac";

/// The file, for a request that reads it; `None` for others, and where no port is to be named. `own` are the addresses
/// of the proxies, SOCKS first if there is one.
pub(super) fn answer<B>(request: &Request<B>, own: &[SocketAddr]) -> Option<Response<Body>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let reached = request.headers().get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let text = file(reached.as_ref().map(Authority::host), own)?;
    let mut response = Response::new(text_body(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ns-proxy-autoconfig"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}

/// Names of this machine go direct: the server would look for them at itself.
fn file(reached: Option<&str>, own: &[SocketAddr]) -> Option<String> {
    let http = own.last()?;
    // A browser on another machine reached the proxy by a name that leads to it from there.
    let host = match http.ip() {
        ip if ip.is_unspecified() => {
            reached.map_or_else(|| IpAddr::V4(Ipv4Addr::LOCALHOST).to_string(), str::to_owned)
        }
        IpAddr::V6(ip) => format!("[{ip}]"),
        IpAddr::V4(ip) => ip.to_string(),
    };
    let socks =
        own.first().map(|socks| format!("; SOCKS5 {host}:{}", socks.port())).filter(|_| own.len() > 1);
    let proxies = format!("PROXY {host}:{}{}", http.port(), socks.unwrap_or_default());
    Some(format!(
        "function FindProxyForURL(url, host) {{\n  if (host == \"localhost\" || shExpMatch(host, \"*.localhost\") || \
         shExpMatch(host, \"127.*\") || host == \"[::1]\" || host == \"::1\") return \"DIRECT\";\n  return \"{proxies}\";\n}}\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_where_the_proxies_are() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let one = file(None, &[at("127.0.0.1:8080")]).unwrap();
        assert!(one.contains("return \"PROXY 127.0.0.1:8080\";"), "{one}");
        let both = file(Some("box.lan"), &[at("0.0.0.0:1080"), at("0.0.0.0:8080")]).unwrap();
        assert!(both.contains("return \"PROXY box.lan:8080; SOCKS5 box.lan:1080\";"), "{both}");
        let v6 = file(None, &[at("[::1]:8080")]).unwrap();
        assert!(v6.contains("PROXY [::1]:8080"), "{v6}");
        assert_eq!(file(None, &[]), None);
    }
}
