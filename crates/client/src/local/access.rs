//! Who may use the proxies: whoever knows the password, and on Linux the users that are listed. Loopback is shared by all
//! users of a machine.
//!
//! Source: RFC 1929, RFC 7617; unix(7) SO_PEERCRED, proc_net(5).

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use data_encoding::BASE64;

use super::stream::AppStream;
use crate::config::LocalLogin;

/// The rules. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Access {
    login: Option<Arc<LocalLogin>>,
    /// Empty: everybody.
    users: Arc<[u32]>,
}

impl Access {
    pub(super) fn new(login: Option<LocalLogin>, users: &[u32]) -> Self {
        Self { login: login.map(Arc::new), users: users.into() }
    }

    /// Whether a login is needed.
    pub(super) fn wants_login(&self) -> bool {
        self.login.is_some()
    }

    /// Whether a login is right. Both are compared whatever the outcome of the first, in constant time.
    pub(super) fn admits(&self, username: &[u8], password: &[u8]) -> bool {
        let Some(login) = &self.login else { return true };
        let equal = |a: &[u8], b: &[u8]| verify_slices_are_equal(a, b).is_ok();
        equal(login.username.as_bytes(), username) & equal(login.password.expose().as_bytes(), password)
    }

    /// Whether the value of an authorization header is right (RFC 7617 section 2).
    pub(super) fn admits_basic(&self, header: Option<&[u8]>) -> bool {
        if self.login.is_none() {
            return true;
        }
        let decoded = header.and_then(|value| {
            let (scheme, token) = value.split_at_checked(6)?;
            let token = token.trim_ascii();
            if scheme.eq_ignore_ascii_case(b"basic ") { BASE64.decode(token).ok() } else { None }
        });
        let Some(decoded) = decoded.map(zeroize::Zeroizing::new) else { return false };
        let colon = decoded.iter().position(|byte| *byte == b':').unwrap_or(decoded.len());
        let (username, rest) = decoded.split_at(colon);
        self.admits(username, rest.get(1..).unwrap_or_default())
    }

    /// Whether the user of an application may use the proxies. Who cannot be told may not.
    pub(super) fn admits_user(&self, stream: &AppStream) -> bool {
        self.users.is_empty() || user_of(stream).is_some_and(|user| self.users.contains(&user))
    }
}

#[cfg(target_os = "linux")]
fn user_of(stream: &AppStream) -> Option<u32> {
    match stream.addresses() {
        None => stream.unix_user(),
        Some((proxy, application)) => {
            let table = if application.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
            user_in(&std::fs::read_to_string(table).ok()?, application, proxy)
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn user_of(_: &AppStream) -> Option<u32> {
    None
}

/// The user of the socket at `near` that is connected to `far`, from the text of a /proc/net/tcp table.
#[cfg(target_os = "linux")]
fn user_in(table: &str, near: std::net::SocketAddr, far: std::net::SocketAddr) -> Option<u32> {
    let (near, far) = (in_table(near), in_table(far));
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace();
        let (local, remote) = (columns.nth(1)?, columns.next()?);
        let user = columns.nth(4)?;
        if local == near && remote == far { user.parse().ok() } else { None }
    })
}

/// An address as the table writes it: words in the machine's own order.
#[cfg(target_os = "linux")]
fn in_table(address: std::net::SocketAddr) -> String {
    let octets = match address.ip() {
        std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
        std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = octets.chunks(4).filter_map(|word| Some(u32::from_ne_bytes(word.try_into().ok()?)));
    words.map(|word| format!("{word:08X}")).collect::<String>() + &format!(":{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn guarded() -> Access {
        let login = LocalLogin { username: "me".into(), password: Secret::new("a:b".to_owned()) };
        Access::new(Some(login), &[])
    }

    #[test]
    fn only_the_right_login_is_admitted() {
        let access = guarded();
        assert!(access.admits(b"me", b"a:b"));
        for (username, password) in [(&b"me"[..], &b"a"[..]), (b"", b""), (b"ME", b"a:b"), (b"me", b"")] {
            assert!(!access.admits(username, password));
        }
        let basic = |text: &str| format!("Basic {}", BASE64.encode(text.as_bytes()));
        assert!(access.admits_basic(Some(basic("me:a:b").as_bytes())));
        assert!(access.admits_basic(Some(basic("me:a:b").replace("Basic", "bASIC").as_bytes())));
        for header in [Some(basic("me:a")), Some(basic("me")), Some("Basic !".into()), Some("B".into()), None]
        {
            assert!(!access.admits_basic(header.as_ref().map(String::as_bytes)), "{header:?}");
        }
        assert!(Access::default().admits(b"any", b"thing") && Access::default().admits_basic(None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn users_are_found_in_the_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:9999 0100007F:0438 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1\n\
            1: 0100007F:0438 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4713 1\n";
        if cfg!(target_endian = "little") {
            let at = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
            assert_eq!(user_in(table, at(0x9999), at(0x438)), Some(1000));
            assert_eq!(user_in(table, at(0x438), at(0x9999)), Some(0));
            assert_eq!(user_in(table, at(0x9998), at(0x438)), None);
        }
    }
}
