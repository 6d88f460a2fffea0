//! The files of a server and of its clients in one folder, and starting both from them, as a person would.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use culvert_client::notice::{Form, Sink};
use culvert_protocol::{PortSource, ServerEntry, TunnelProtocol};
use culvert_server::config::{self, Strictness};
use culvert_server::generate::{FileNames, Listeners, Options, generate};
use serde_json::json;

use super::failure::StepError;
use crate::in_process::{LocalClient, LocalServer};

/// Protocols in as few groups as server entries have room for: some have the member for their port in common.
pub(super) fn groups(protocols: &[TunnelProtocol]) -> Vec<Vec<TunnelProtocol>> {
    let mut groups: Vec<Vec<TunnelProtocol>> = Vec::new();
    for protocol in protocols {
        let clashes = |other: &TunnelProtocol| other.port_source() == protocol.port_source();
        match groups.iter_mut().find(|group| !group.iter().any(clashes)) {
            Some(group) => group.push(*protocol),
            None => groups.push(vec![*protocol]),
        }
    }
    groups
}

/// Names in the folder. Failures point to the last two.
const CONFIG: &str = "psiphond.config";
const ENTRY: &str = "server-entry.dat";
const SERVER_LOG: &str = "server.log";
const CLIENT_NOTICES: &str = "client.notices";

/// Until the client gives up and says why.
pub(super) const TUNNEL_SECONDS: u64 = 15;

/// A server's files on disk.
pub(super) struct ServerFiles {
    folder: PathBuf,
    /// What clients know of it.
    pub(super) entry: ServerEntry,
    /// Where it will listen.
    pub(super) listeners: Vec<(TunnelProtocol, u16)>,
}

impl ServerFiles {
    /// Generates a server for free loopback ports.
    pub(super) fn generate(folder: &Path, protocols: &[TunnelProtocol]) -> Result<Self, StepError> {
        // If it cannot be made, writing the files says so; its parent is private.
        let _ = fs::create_dir(folder);
        let at = |name: &str| folder.join(name);
        let ports = free_ports(protocols.len()).map_err(StepError::Port)?;
        let given: Vec<_> =
            protocols.iter().zip(ports).map(|(protocol, port)| format!("{protocol}:{port}")).collect();
        let listeners = Listeners::parse(given.iter().map(String::as_str))?;
        let options = Options {
            address: Ipv4Addr::LOCALHOST.into(),
            listeners: listeners.clone(),
            log_file: Some(at(SERVER_LOG)),
            files: FileNames {
                config: at(CONFIG),
                traffic_rules: at("psiphond-traffic-rules.config"),
                osl: at("psiphond-osl.config"),
                tactics: at("psiphond-tactics.config"),
                server_entry: at(ENTRY),
            },
        };
        let generated = generate(&options)?;
        generated.write()?;
        let text = generated.text(&options.files.config).unwrap_or_default();
        // The destinations are on loopback, where a server lets no flow go unless told so.
        let text = text.replacen('{', "{\n    \"AllowBogons\": true,", 1);
        let written = write_private(&options.files.config, &text);
        written.map_err(|source| StepError::File { file: CONFIG, source })?;
        Ok(Self {
            folder: folder.to_owned(),
            entry: generated.entry.clone(),
            listeners: listeners.iter().collect(),
        })
    }

    /// Starts the server from its files.
    pub(super) async fn start(&self) -> Result<LocalServer, StepError> {
        let config = config::load(&self.config(), Strictness::Check)?.value;
        let log = config.log.open()?;
        Ok(LocalServer::start(config, log).await?)
    }

    /// The entry with another port for a protocol: that of somebody on the way.
    pub(super) fn entry_by_way_of(
        &self,
        protocol: TunnelProtocol,
        port: u16,
    ) -> Result<ServerEntry, StepError> {
        let mut fields = self.entry.fields().clone();
        if let PortSource::Member(member) | PortSource::MemberOr(member, _) = protocol.port_source() {
            fields.set(member, port);
        }
        Ok(ServerEntry::try_from(fields)?)
    }

    /// Writes a client's file and starts the client from it.
    pub(super) fn start_client(
        &self,
        protocol: TunnelProtocol,
        entry: &ServerEntry,
    ) -> Result<LocalClient, StepError> {
        let settings = json!({
            "PropagationChannelId": "0000000000000000",
            "SponsorId": "0000000000000000",
            "DataRootDirectory": self.folder,
            "TargetServerEntry": entry.encode(),
            "LimitTunnelProtocols": [protocol.name()],
            "EstablishTunnelTimeoutSeconds": TUNNEL_SECONDS,
            "EmitDiagnosticNotices": true,
            "EmitDiagnosticNetworkParameters": true,
            "EmitServerAlerts": true,
        });
        let path = self.client_config(protocol);
        let failed = |file| move |source| StepError::File { file, source };
        write_private(&path, &format!("{settings:#}\n")).map_err(failed("the client's configuration"))?;
        let config = culvert_client::config::check(&path)?.config;
        let notices = Sink::file(&self.folder.join(CLIENT_NOTICES), Form::Json);
        let notices = notices.map_err(failed(CLIENT_NOTICES))?;
        Ok(LocalClient::start(config, vec![notices])?)
    }

    pub(super) fn config(&self) -> PathBuf {
        self.folder.join(CONFIG)
    }

    pub(super) fn client_config(&self, protocol: TunnelProtocol) -> PathBuf {
        self.folder.join(format!("client-{protocol}.config"))
    }
}

/// Different free ports. They are free again when this returns; that nobody takes one meanwhile is likely, not sure.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let held: io::Result<Vec<_>> = (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
    held?.iter().map(|port| Ok(port.local_addr()?.port())).collect()
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_with_one_port_member_are_kept_apart() {
        let meek = |name: &str| name.parse::<TunnelProtocol>().unwrap();
        let [http, https] = ["UNFRONTED-MEEK-OSSH", "UNFRONTED-MEEK-HTTPS-OSSH"].map(meek);
        let all = [TunnelProtocol::OSSH, http, TunnelProtocol::TLS_OSSH, https, TunnelProtocol::SSH];
        let expected =
            [vec![TunnelProtocol::OSSH, http, TunnelProtocol::TLS_OSSH, TunnelProtocol::SSH], vec![https]];
        assert_eq!(groups(&all), expected);
    }
}
