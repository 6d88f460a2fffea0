//! The check at the end of `psiphond generate`: the new server is started in this process, and a client connects with
//! the new entry over each protocol. Nothing of it stays: state goes to a temporary folder.

use std::fmt::Write as _;

use culvert_client::SPOKEN;
use culvert_protocol::TunnelProtocol;
use culvert_server::RunError;
use culvert_server::config::{self, ServerConfig, Strictness};
use culvert_server::generate::{Generated, Options};
use culvert_server::log::{Captured, Logger};
use serde_json::json;
use tokio::runtime::Builder;

use crate::exit::{Exit, Failure};
use crate::in_process::{LocalClient, LocalServer, PartError};
use crate::quickstart::folder::TemporaryFolder;

/// How long connecting over one protocol may take. Over loopback it takes milliseconds, unless the machine is busy.
const LIMIT_SECONDS: u32 = 10;

/// What came of a check.
#[derive(Debug, PartialEq, Eq)]
pub enum Checked {
    /// A client connected over each of these.
    Works(Vec<TunnelProtocol>),
    /// The server cannot run here and now, which is no fault of its files.
    Skipped { reason: String },
}

/// Why the generated server is of no use.
#[derive(Debug, thiserror::Error)]
pub enum SelfcheckError {
    /// A bug.
    #[error("the new configuration is not valid: {0}")]
    Config(#[from] config::ConfigError),
    /// A bug.
    #[error("the configuration made for the check is not valid: {0}")]
    ClientConfig(#[from] culvert_client::config::ConfigError),
    /// The host.
    #[error("cannot make a temporary folder or wait for sockets: {0}")]
    Host(#[from] std::io::Error),
    #[error("the new server does not start: {0}")]
    Server(#[source] PartError<RunError>),
    #[error("a client cannot connect to the new server over {protocol}: {reason}")]
    Connect { protocol: TunnelProtocol, reason: String },
}

/// Checks what was just written and says on standard error what came of it.
pub fn selfcheck(generated: &Generated, options: &Options) -> Result<(), Failure> {
    let checked = check(generated, options).map_err(|error| {
        let advice = "the files stay; look at them with culvert check, or generate them anew";
        Failure { exit: Exit::Software, message: format!("self-check failed: {error}\n{advice}") }
    })?;
    let text = match checked {
        Checked::Works(protocols) => {
            format!("self-check passed: a client connected over {}", names(&protocols))
        }
        Checked::Skipped { reason } => format!("self-check skipped: {reason}"),
    };
    eprintln!("psiphond: {text}");
    Ok(())
}

fn names(protocols: &[TunnelProtocol]) -> String {
    protocols.iter().map(|protocol| protocol.name()).collect::<Vec<_>>().join(" and ")
}

/// Starts the server from its files and connects to it over what the client speaks.
pub fn check(generated: &Generated, options: &Options) -> Result<Checked, SelfcheckError> {
    let folder = TemporaryFolder::create("culvert-selfcheck")?;
    let mut server = config::load(&options.files.config, Strictness::Run)?.value;
    server.state_directory = folder.path().join("server");
    // A server that runs already has the other.
    server.control_socket = None;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (log, lines) = Logger::captured(culvert_server::log::Level::Warning, server.log.origin.clone());
        // What needs a front between client and server cannot be tried without one.
        let tried = |it: &TunnelProtocol| SPOKEN.contains(it) && it.is_direct();
        let (protocols, others): (Vec<_>, Vec<_>) =
            options.listeners.iter().map(|(protocol, _)| protocol).partition(tried);
        if protocols.is_empty() {
            let reason =
                format!("this build's client does not speak {}, or not without a CDN", names(&others));
            return Ok(Checked::Skipped { reason });
        }
        let running = match start(server, log).await? {
            Ok(running) => running,
            Err(reason) => return Ok(Checked::Skipped { reason }),
        };
        let mut result = Ok(());
        for protocol in &protocols {
            result = connect(generated, *protocol, &folder).await;
            if result.is_err() {
                break;
            }
        }
        running.stop().await;
        result.map_err(|error| with_log(error, &lines)).map(|()| Checked::Works(protocols))
    })
}

/// The server, or why it cannot be run here and now.
async fn start(config: ServerConfig, log: Logger) -> Result<Result<LocalServer, String>, SelfcheckError> {
    match LocalServer::start(config, log).await {
        Ok(server) => Ok(Ok(server)),
        // Another machine's address, a port in use, or one that needs more rights: the files may be right all the same.
        Err(PartError::Ended(RunError::Bind(error))) => Ok(Err(error.to_string())),
        Err(error) => Err(SelfcheckError::Server(error)),
    }
}

async fn connect(
    generated: &Generated,
    protocol: TunnelProtocol,
    folder: &TemporaryFolder,
) -> Result<(), SelfcheckError> {
    let settings = json!({
        "PropagationChannelId": "0000000000000000",
        "SponsorId": "0000000000000000",
        "DataRootDirectory": folder.path().join("client"),
        "TargetServerEntry": generated.entry.encode(),
        "LimitTunnelProtocols": [protocol.name()],
        "DisableLocalSocksProxy": true,
        "DisableLocalHTTPProxy": true,
        "EstablishTunnelTimeoutSeconds": LIMIT_SECONDS,
    });
    std::fs::create_dir_all(folder.path().join("client"))?;
    let config = culvert_client::config::parse("the self-check's client", &settings.to_string())?.config;
    let failed =
        |error: &dyn std::error::Error| SelfcheckError::Connect { protocol, reason: error.to_string() };
    let mut client = LocalClient::start(config, Vec::new()).map_err(|error| failed(&error))?;
    client.tunnel().await.map_err(|error| failed(&error))?;
    client.stop().await;
    Ok(())
}

/// What the server had to say makes a failure to connect easier to understand.
fn with_log(error: SelfcheckError, lines: &Captured) -> SelfcheckError {
    match error {
        SelfcheckError::Connect { protocol, mut reason } => {
            for line in lines.text().lines() {
                let _ = write!(reason, "\nthe server logged: {line}");
            }
            SelfcheckError::Connect { protocol, reason }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, TcpListener};

    use culvert_server::generate::{FileNames, Listeners, generate};

    use super::*;

    fn options(folder: &TemporaryFolder, address: IpAddr, listeners: &[String]) -> Options {
        let at = |name: &str| folder.path().join(name);
        Options {
            address,
            listeners: Listeners::parse(listeners.iter().map(String::as_str)).unwrap(),
            log_file: None,
            files: FileNames {
                config: at("a"),
                traffic_rules: at("b"),
                osl: at("c"),
                tactics: at("d"),
                server_entry: at("e"),
            },
        }
    }

    fn made(options: &Options) -> Generated {
        let generated = generate(options).unwrap();
        generated.write().unwrap();
        generated
    }

    #[test]
    fn what_is_generated_works_and_nothing_else_is_left() {
        let folder = TemporaryFolder::create("culvert-selfcheck-test").unwrap();
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [ossh, ssh] = ports.map(|port| port.local_addr().unwrap().port());
        let listeners = [format!("OSSH:{ossh}"), format!("SSH:{ssh}")];
        let options = options(&folder, Ipv4Addr::LOCALHOST.into(), &listeners);
        let generated = made(&options);
        let Checked::Works(protocols) = check(&generated, &options).unwrap() else { panic!("skipped") };
        assert_eq!(protocols.len(), 2);
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.count(), 5);
    }

    #[test]
    fn what_cannot_be_bound_is_skipped_and_the_reason_given() {
        let folder = TemporaryFolder::create("culvert-selfcheck-test").unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners = [format!("OSSH:{}", taken.local_addr().unwrap().port())];
        for (address, words) in
            [("127.0.0.1", "another program"), ("192.0.2.1", "does not have that address")]
        {
            let options = options(&folder, address.parse().unwrap(), &listeners);
            match check(&made(&options), &options).unwrap() {
                Checked::Skipped { reason } => assert!(reason.contains(words), "{reason}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn an_entry_of_another_server_is_noticed() {
        let folder = TemporaryFolder::create("culvert-selfcheck-test").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = options(&folder, Ipv4Addr::LOCALHOST.into(), &[format!("SSH:{port}")]);
        let other = made(&options);
        made(&options);
        let error = check(&other, &options).unwrap_err();
        assert!(matches!(error, SelfcheckError::Connect { .. }), "{error}");
        assert!(error.to_string().contains("over SSH"), "{error}");
    }
}
