//! russh, an SSH library of others, in this process, in both roles.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{Algorithm, HashAlg, PublicKeyOrCertificate, decode_secret_key};
use russh::server::{Auth, ChannelOpenHandle, Msg, Session};
use russh::{Channel, Error, Limits, Preferred, cipher, client, compression, kex, mac, server};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use crate::ours::{self, PASSWORD};
use crate::programs::{KEYS_OFTEN, Rekey, Suite};
use crate::{Fault, Outcome, traffic};

/// Logged in to our server.
pub(crate) type Tunnel = client::Handle<Trusting>;

/// Our server is on the other end of the stream.
pub(crate) async fn connect(
    stream: impl traffic::Stream + 'static,
    suite: &Suite,
    rekey: Rekey,
) -> Result<Tunnel, Fault> {
    let config =
        client::Config { preferred: preferred(suite)?, limits: limits(rekey), ..client::Config::default() };
    let mut tunnel = client::connect_stream(Arc::new(config), stream, Trusting).await?;
    let result = tunnel.authenticate_password("somebody", PASSWORD).await?;
    if result.success() { Ok(tunnel) } else { Err("russh could not log in".into()) }
}

/// Serves our client, whose user name may be any; its host key is ours.
pub(crate) async fn serve(stream: impl traffic::Stream + 'static, suite: &Suite, rekey: Rekey) -> Outcome {
    let config = server::Config {
        keys: vec![decode_secret_key(&ours::host_key().to_pem()?, None)?],
        preferred: preferred(suite)?,
        limits: limits(rekey),
        ..server::Config::default()
    };
    server::run_stream(Arc::new(config), stream, Forwarding).await?.await?;
    Ok(())
}

fn limits(rekey: Rekey) -> Limits {
    let Rekey::Often = rekey else { return Limits::default() };
    let bytes = usize::try_from(KEYS_OFTEN).unwrap_or(usize::MAX);
    Limits::new(bytes, bytes, Duration::from_secs(3600))
}

fn preferred(suite: &Suite) -> Result<Preferred, Fault> {
    let no = |name: &str| format!("russh does not know {name}");
    let macs = if suite.mac.is_empty() { "hmac-sha2-256" } else { suite.mac };
    let methods = vec![
        kex::Name::try_from(suite.kex).map_err(|()| no(suite.kex))?,
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_SUPPORT_AS_SERVER,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ];
    Ok(Preferred {
        kex: Cow::Owned(methods),
        key: Cow::Owned(vec![Algorithm::Rsa { hash: Some(HashAlg::Sha256) }]),
        cipher: Cow::Owned(vec![cipher::Name::try_from(suite.cipher).map_err(|()| no(suite.cipher))?]),
        mac: Cow::Owned(vec![mac::Name::try_from(macs).map_err(|()| no(macs))?]),
        compression: Cow::Borrowed(&[compression::NONE]),
        host_key_certificates: Cow::Borrowed(&[]),
    })
}

/// Whose key it is, is not what is tested here.
pub(crate) struct Trusting;

impl client::Handler for Trusting {
    type Error = Error;

    async fn check_server_key(&mut self, _key: &PublicKeyOrCertificate) -> Result<bool, Error> {
        Ok(true)
    }
}

struct Forwarding;

impl server::Handler for Forwarding {
    type Error = Error;

    async fn auth_password(&mut self, _user: &str, password: &str) -> Result<Auth, Error> {
        Ok(if password == PASSWORD { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _from_host: &str,
        _from_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        let target = format!("{host}:{port}");
        // A flow that was cut off is the test's doing.
        tokio::spawn(async move { drop(forward(channel, reply, &target).await) });
        Ok(())
    }
}

async fn forward(channel: Channel<Msg>, reply: ChannelOpenHandle, target: &str) -> Outcome {
    let mut target = TcpStream::connect(target).await?;
    reply.accept().await;
    copy_bidirectional(&mut channel.into_stream(), &mut target).await?;
    Ok(())
}
