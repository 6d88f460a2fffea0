//! Login: decisions are made on one credential, in order, a bounded number of times, and once.

use culvert_ssh::kexinit::Role;
use culvert_ssh::{Error, Event, Misbehaviour, OpenError};

use crate::peer::{Raw, login, message, open, password, request};
use crate::{ROLES, bounded, broken};

fn is_login(event: &&Event) -> bool {
    matches!(event, Event::Authenticated { .. })
}

fn asked_for(method: &[u8]) -> Vec<u8> {
    message(50, &[b"u", b"ssh-connection", method])
}

/// A server whose service was asked for.
fn asking() -> Raw {
    let mut raw = Raw::keyed(Role::Server);
    raw.say(&message(5, &[b"ssh-userauth"])).expect("by the book");
    raw
}

#[test]
fn a_password_before_the_service_is_no_login() {
    let mut raw = Raw::keyed(Role::Server);
    assert_eq!(broken(raw.say(&password(b"u", b"p"))), Misbehaviour::UnexpectedMessage(50));
    assert!(!raw.connection.is_authenticated());
}

#[test]
fn other_services_are_refused() {
    for service in [&b"ssh-connection"[..], b"", b"ssh-userauth\0", &[b'x'; 100_000]] {
        let result = bounded(|| Raw::keyed(Role::Server).say(&message(5, &[service])));
        assert_eq!(broken(result), Misbehaviour::Service);
        let result = Raw::keyed(Role::Client).say(&message(6, &[service]));
        assert_eq!(broken(result), Misbehaviour::Service);
    }
    for service in [&b"ssh-userauth"[..], b"", &[b'x'; 100_000]] {
        let mut request = message(50, &[b"u", service, b"password"]);
        request.extend_from_slice(&[0, 0, 0, 0, 1, b'p']);
        let mut raw = asking();
        assert_eq!(broken(raw.say(&request)), Misbehaviour::Service);
        assert!(!raw.connection.is_authenticated());
    }
    let mut twice = asking();
    assert_eq!(broken(twice.say(&message(5, &[b"ssh-userauth"]))), Misbehaviour::UnexpectedMessage(5));
}

/// CVE-2024-45337, GO-2026-5023: what counts is the credential that was accepted, not one that was merely shown.
#[test]
fn only_the_accepted_credential_is_reported() {
    let mut raw = asking();
    for (user, secret) in [(&b"admin"[..], &b"p"[..]), (b"u", b"q"), (b"u", b""), (b"u\0", b"p"), (b"", b"p")]
    {
        raw.say(&password(user, secret)).expect("a login may fail");
        assert!(!raw.connection.is_authenticated());
    }
    assert!(!raw.events.iter().any(|event| is_login(&event)));
    raw.say(&password(b"u", b"p")).expect("by the book");
    let logins: Vec<&Event> = raw.events.iter().filter(is_login).collect();
    assert!(matches!(logins[..], [Event::Authenticated { password }] if password.as_slice() == b"p"));
}

#[test]
fn other_methods_never_log_in_and_are_counted() {
    for method in
        [&b"publickey"[..], b"keyboard-interactive", b"hostbased", b"gssapi-with-mic", b"", b"password\0"]
    {
        let mut raw = asking();
        let result = bounded(|| {
            (0..100).try_for_each(|_| {
                let mut payload = asked_for(method);
                // As many prompts or mechanisms as can be counted (CVE-2026-48107, CVE-2025-58181).
                payload.extend_from_slice(&[0xff; 64]);
                raw.say(&payload)
            })
        });
        assert_eq!(broken(result), Misbehaviour::TooManyLogins, "{method:?}");
        assert!(!raw.connection.is_authenticated());
    }
    let mut raw = asking();
    let result = (0..100).try_for_each(|_| raw.say(&asked_for(b"none")));
    assert_eq!(broken(result), Misbehaviour::TooManyLogins);
}

#[test]
fn the_sixth_wrong_password_is_the_last() {
    let mut raw = asking();
    for _ in 0..5 {
        raw.say(&password(b"u", b"wrong")).expect("may fail");
    }
    assert_eq!(broken(raw.say(&password(b"u", b"wrong"))), Misbehaviour::TooManyLogins);
    assert_eq!(raw.heard().last().and_then(|last| last.first().copied()), Some(1), "it says why");
}

#[test]
fn a_password_change_is_no_login() {
    let mut raw = asking();
    let mut change = asked_for(b"password");
    change.push(1);
    change.extend_from_slice(&message(0, &[b"p", b"p"])[1..]);
    raw.say(&change).expect("may fail");
    assert!(!raw.connection.is_authenticated());
}

/// RFC 4252 section 5.1.
#[test]
fn logins_after_the_first_mean_nothing() {
    let mut raw = Raw::logged_in(Role::Server);
    raw.events.clear();
    raw.forget();
    bounded(|| {
        for _ in 0..1000 {
            raw.say(&password(b"u", b"p")).expect("is ignored");
            raw.say(&password(b"other", b"wrong")).expect("is ignored");
        }
    });
    assert!(raw.connection.is_authenticated() && raw.events.is_empty() && raw.heard().is_empty());
    let mut client = Raw::logged_in(Role::Client);
    assert_eq!(broken(client.say(&[52])), Misbehaviour::UnexpectedMessage(52));
    let mut client = Raw::logged_in(Role::Client);
    assert_eq!(broken(client.say(&message(53, &[b"a banner", b""]))), Misbehaviour::UnexpectedMessage(53));
}

#[test]
fn a_client_does_not_believe_a_server_that_lets_it_in_unasked() {
    let mut raw = Raw::greeted(Role::Client, crate::peer::offer(Role::Client));
    assert_eq!(broken(raw.say(&[52])), Misbehaviour::UnexpectedMessage(52));
    let mut refused = Raw::keyed(Role::Client);
    let refusal = [message(51, &[b"password"]), vec![0]].concat();
    assert!(matches!(refused.say(&refusal), Err(Error::AuthenticationRefused)));
    let mut partial = Raw::keyed(Role::Client);
    let partial_success = [message(51, &[b"publickey"]), vec![1]].concat();
    assert!(matches!(partial.say(&partial_success), Err(Error::AuthenticationRefused)));
    assert!(!partial.connection.is_authenticated());
}

#[test]
fn banners_cost_nothing() {
    let mut raw = Raw::keyed(Role::Client);
    bounded(|| raw.say_all((0..200).map(|_| message(53, &[&[b'!'; 100_000], b""])))).expect("may be said");
    // CVE-2026-48107: a keyboard-interactive question with 2^32-1 prompts is no message to us.
    let mut question = message(60, &[b"", b"", b""]);
    question.extend_from_slice(&[0xff; 4]);
    bounded(|| raw.say(&question)).expect("is not understood");
    assert_eq!(raw.heard().last().and_then(|last| last.first().copied()), Some(3), "UNIMPLEMENTED");
}

#[test]
fn nothing_but_login_happens_before_login() {
    for role in ROLES {
        for payload in [
            open(0, 1 << 20, 1 << 15),
            request(true, b""),
            request(false, b""),
            vec![81],
            vec![82],
            message(192, &[b""]),
        ] {
            let mut raw = Raw::keyed(role);
            let number = payload[0];
            assert_eq!(broken(raw.say(&payload)), Misbehaviour::UnexpectedMessage(number), "{role:?}");
            assert!(raw.events.iter().all(|event| matches!(event, Event::Keyed { .. })), "{:?}", raw.events);
            let ours = culvert_ssh::ChannelOpen { kind: "direct-tcpip", payload: b"" };
            assert_eq!(raw.connection.open_channel(ours), Err(OpenError::NotAuthenticated));
        }
        let mut raw = Raw::keyed(role);
        for step in login(role) {
            raw.say(&step).expect("by the book");
        }
        raw.say(&request(false, b"")).expect("is allowed now");
    }
}

/// CVE-2026-48107: a server that asks for as many answers as can be counted.
#[test]
fn a_client_answers_no_prompts() {
    for prompts in [0, 1, u32::MAX] {
        let mut raw = Raw::keyed(Role::Client);
        raw.say(&message(6, &[b"ssh-userauth"])).expect("by the book");
        raw.forget();
        let mut asked = message(60, &[b"name", b"instruction", b""]);
        asked.extend_from_slice(&prompts.to_be_bytes());
        asked.extend_from_slice(&[0; 100]);
        let result = bounded(|| raw.say(&asked));
        assert!(!raw.connection.is_authenticated());
        // Refused, or not understood: in no case answered.
        let heard = raw.heard();
        assert!(result.is_err() || heard.iter().all(|heard| heard[0] == 3), "{heard:?}");
    }
}
