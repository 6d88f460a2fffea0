//! Both ends of a plain connection, and waiting until they have logged in.

use std::sync::Arc;

use culvert_obfuscation::{GeneratedPrefix, Seed};
use culvert_ssh::host_key::HostKey;
use culvert_ssh::kex::FreshKeys;
use culvert_ssh::{
    Algorithms, ClientConfig, Connection, Decisions, Ident, Limits, ReplyPrefix, ServerConfig,
};
use culvert_ssh_tokio::{Incoming, Session};

fn ident() -> Ident {
    Ident::local("SSH-2.0-OpenSSH_8.1").expect("valid")
}

pub(crate) fn server(host_key: Arc<HostKey>) -> Connection {
    let config = ServerConfig {
        ident: ident(),
        algorithms: Algorithms::default(),
        host_key,
        obfuscation: None,
        decisions: Decisions {
            reply_prefix: Box::new(|_, _| ReplyPrefix {
                prefix: GeneratedPrefix::new(vec![b'p'; 24], 24).expect("long enough"),
                split: None,
            }),
            authenticate: Box::new(|_, _| true),
        },
        limits: Limits::default(),
        seed: Seed::from_bytes([1; 32]),
    };
    Connection::server(config, Box::new(FreshKeys))
}

pub(crate) fn client(host_key: &HostKey) -> Connection {
    let config = ClientConfig {
        ident: ident(),
        algorithms: Algorithms::default(),
        host_key: host_key.public_blob().to_vec(),
        user: b"u".to_vec(),
        password: b"p".to_vec().into(),
        obfuscation: None,
        limits: Limits::default(),
        seed: Seed::from_bytes([2; 32]),
    };
    Connection::client(config, Box::new(FreshKeys))
}

pub(crate) async fn logged_in(session: &mut Session) {
    while let Some(incoming) = session.next().await {
        if matches!(incoming, Incoming::Authenticated { .. }) {
            return;
        }
    }
    unreachable!("no login: {:?}", session.handle().end());
}
