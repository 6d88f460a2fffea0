//! What can go wrong in `quickstart`: at which step, why, and what to do about it.

use std::io;

use culvert_protocol::TunnelProtocol;
use culvert_server::generate::{GenerateError, WriteError};
use culvert_server::log::LogError;
use thiserror::Error;

use super::bulk::BulkError;
use super::proxies::ProxyError;
use crate::exit::{Exit, Failure};
use crate::in_process::{ClientError, PartError};

/// Why a quickstart did not come to its end.
#[derive(Debug, Error)]
pub enum QuickstartError {
    #[error("the step \"{step}\" failed: {error}")]
    Step {
        step: &'static str,
        #[source]
        error: Box<StepError>,
        /// What the client said last, which often is the cause.
        complaint: Option<String>,
    },
    /// A signal.
    #[error("interrupted: everything was stopped")]
    Interrupted,
}

/// Why a step failed.
#[derive(Debug, Error)]
pub enum StepError {
    #[error("cannot make a folder below {}: {}", std::env::temp_dir().display(), .0)]
    Folder(#[source] io::Error),
    #[error("cannot write {file}: {source}")]
    File { file: &'static str, source: io::Error },
    #[error("no free port on the loopback address: {0}")]
    Port(#[source] io::Error),
    #[error("cannot wait for sockets, timers and signals: {0}")]
    Host(#[source] io::Error),
    #[error(transparent)]
    Generate(#[from] GenerateError),
    #[error("{error}: {}", error.source)]
    Write {
        #[from]
        error: WriteError,
    },
    #[error("{error}: {}", error.source)]
    Log {
        #[from]
        error: LogError,
    },
    #[error("the server's generated configuration is not valid: {0}")]
    ServerConfig(#[from] culvert_server::config::ConfigError),
    #[error("the client's generated configuration is not valid: {0}")]
    ClientConfig(#[from] culvert_client::config::ConfigError),
    #[error("the generated server entry is not valid: {0}")]
    Entry(#[from] culvert_protocol::server_entry::FieldError),
    #[error("the generated server entry has no port: {0}")]
    EntryPort(#[from] culvert_protocol::server_entry::DialPortError),
    #[error("the server ended: {0}")]
    Server(#[from] PartError<culvert_server::RunError>),
    #[error("the client ended: {0}")]
    Client(#[from] PartError<ClientError>),
    #[error("no tunnel over {protocol} within {seconds} s")]
    NoTunnel { protocol: TunnelProtocol, seconds: u64 },
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error("the page is not the one that was served")]
    WrongPage,
    #[error(transparent)]
    Bulk(#[from] BulkError),
    #[error("no data moved for {seconds} s")]
    Stalled { seconds: u64 },
}

impl StepError {
    fn advice(&self) -> &'static str {
        match self {
            _ if is_out_of_files(self) => "raise the limit of open files (ulimit -n) or close other programs",
            Self::Folder(_) | Self::File { .. } | Self::Write { .. } | Self::Log { .. } => {
                "set TMPDIR to a folder that you may write to and that has room"
            }
            Self::Port(_) => "check that the loopback interface is up (ip addr show lo)",
            Self::Host(_) => "check the limits of open files and processes (ulimit -a)",
            Self::Server(_) => "run it again: a port may have been taken by another program meanwhile",
            Self::Client(_) | Self::NoTunnel { .. } | Self::Proxy(_) | Self::Stalled { .. } => {
                "check that no firewall filters loopback; then run with --keep and read server.log and client.notices"
            }
            Self::Generate(_)
            | Self::ServerConfig(_)
            | Self::ClientConfig(_)
            | Self::Entry(_)
            | Self::EntryPort(_)
            | Self::WrongPage
            | Self::Bulk(_) => {
                "this is a fault of the program: run with --keep and report it with server.log and client.notices"
            }
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Folder(_) | Self::File { .. } | Self::Write { .. } | Self::Log { .. } => Exit::CannotCreate,
            Self::Generate(_)
            | Self::ServerConfig(_)
            | Self::ClientConfig(_)
            | Self::Entry(_)
            | Self::EntryPort(_)
            | Self::WrongPage
            | Self::Bulk(_) => Exit::Software,
            _ => Exit::Unavailable,
        }
    }
}

/// Whether a cause is `ENFILE` or `EMFILE`, errno(3), which have the same numbers on every Unix.
fn is_out_of_files(error: &(dyn std::error::Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| matches!(error.raw_os_error(), Some(23 | 24)))
}

impl From<QuickstartError> for Failure {
    fn from(error: QuickstartError) -> Self {
        let mut message = error.to_string();
        let exit = match error {
            QuickstartError::Interrupted => Exit::Interrupted,
            QuickstartError::Step { error, complaint, .. } => {
                if let Some(complaint) = complaint {
                    message.push_str(&format!("\nthe client said: {complaint}"));
                }
                message.push_str(&format!("\nwhat to do: {}", error.advice()));
                error.exit()
            }
        };
        Self { exit, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_open_files_is_recognised_wherever_it_strikes() {
        let lack = || io::Error::from_raw_os_error(24);
        let part: PartError<culvert_server::RunError> = PartError::Thread(lack());
        for error in [StepError::Host(lack()), StepError::File { file: "x", source: lack() }, part.into()] {
            assert!(error.advice().contains("ulimit -n"), "{error}");
        }
        assert!(!StepError::Host(io::ErrorKind::Other.into()).advice().contains("ulimit -n"));
    }

    #[test]
    fn a_failure_names_step_reason_and_remedy() {
        let error = QuickstartError::Step {
            step: "tunnel",
            error: Box::new(StepError::NoTunnel { protocol: TunnelProtocol::OSSH, seconds: 15 }),
            complaint: Some("OSSH: refused".to_owned()),
        };
        let failure = Failure::from(error);
        let lines: Vec<_> = failure.message.lines().collect();
        assert_eq!(lines[0], "the step \"tunnel\" failed: no tunnel over OSSH within 15 s");
        assert_eq!(lines[1], "the client said: OSSH: refused");
        assert!(lines[2].starts_with("what to do: check that no firewall"), "{lines:?}");
        assert_eq!(failure.exit, Exit::Unavailable);
        assert_eq!(Failure::from(QuickstartError::Interrupted).exit, Exit::Interrupted);
    }
}
