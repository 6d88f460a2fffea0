//! A request as a proxy wants it that is to send it on: for all of its target, and with a login. For proxies that let
//! applications have requests, but tunnels to few ports. No I/O. Source: RFC 9112 section 3.2.2, RFC 9110 section 11.7.2.

use std::net::SocketAddr;

use crate::Login;

/// What is changed in requests.
pub(super) struct Forwarded {
    target: SocketAddr,
    login: Option<Login>,
}

impl Forwarded {
    /// To this server.
    pub(super) fn new(target: SocketAddr, login: Option<Login>) -> Self {
        Self { target, login }
    }

    /// Rewrites the head of a request, which has all of `head` for itself. A head that a transform has made into something else is left.
    pub(super) fn rewrite(&self, head: &mut Vec<u8>) {
        const START: &[u8] = b"POST / ";
        const HOST: &[u8] = b"\r\nHost: ";
        let Some(rest) = head.strip_prefix(START) else { return };
        let Some(host) = rest.windows(HOST.len()).position(|window| window == HOST) else { return };
        let (line, rest) = rest.split_at(host);
        // What is said of a host besides the target does not count.
        let behind = rest.get(HOST.len()..).unwrap_or_default();
        let Some(end) = behind.windows(2).position(|window| window == b"\r\n") else { return };
        let target = self.target.to_string();
        let mut made = format!("POST http://{target}/ ").into_bytes();
        made.extend_from_slice(line);
        made.extend_from_slice(HOST);
        made.extend_from_slice(target.as_bytes());
        if let Some(login) = &self.login {
            made.extend_from_slice(b"\r\nProxy-Authorization: ");
            made.extend_from_slice(login.expose().as_bytes());
        }
        made.extend_from_slice(behind.get(end..).unwrap_or_default());
        *head = made;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(head: &str, login: Option<Login>) -> String {
        let mut head = head.as_bytes().to_vec();
        Forwarded::new("203.0.113.9:8080".parse().unwrap(), login).rewrite(&mut head);
        String::from_utf8(head).unwrap()
    }

    #[test]
    fn requests_name_their_target_in_full() {
        let head = "POST / HTTP/1.1\r\nHost: other.example\r\nCookie: a=b\r\n\r\n";
        assert_eq!(
            rewritten(head, None),
            "POST http://203.0.113.9:8080/ HTTP/1.1\r\nHost: 203.0.113.9:8080\r\nCookie: a=b\r\n\r\n"
        );
        assert_eq!(
            rewritten(head, Some(Login::new("Basic YTpi".to_owned()))),
            "POST http://203.0.113.9:8080/ HTTP/1.1\r\nHost: 203.0.113.9:8080\r\nProxy-Authorization: Basic YTpi\r\nCookie: a=b\r\n\r\n"
        );
    }

    #[test]
    fn what_is_no_such_head_is_left() {
        for head in
            ["", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\n\r\n", "POST / HTTP/1.1\r\nHost: a"]
        {
            assert_eq!(rewritten(head, None), head);
        }
    }
}
