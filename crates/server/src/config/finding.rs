//! What is wrong, or worth saying, about a configuration file: where it is, which setting, what, and what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use culvert_protocol::TunnelProtocol;
use culvert_protocol::json_position::{Position, Step, display_path};

/// One remark on a file. Displays as `FILE:LINE:COLUMN: FIELD: problem`, less what is not known.
#[derive(Debug)]
pub struct Finding {
    pub file: PathBuf,
    pub position: Option<Position>,
    /// The way to the setting from the root of the file; empty when the whole file is meant.
    pub field: Vec<Step>,
    pub problem: Problem,
}

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Never stops anything.
    Note,
    /// A warning when a program starts, an error when a file is checked.
    Strict,
    /// The file cannot be used.
    Error,
}

/// What can be said about a setting. Secret values are never quoted.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("cannot be read")]
    Unreadable(#[source] io::Error),
    /// A file that this setting names.
    #[error("{path} cannot be read")]
    NamesUnreadable {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "holds keys, and others than its owner may read or change it (mode {mode:04o}): run chmod 600 {path}"
    )]
    ReadableByOthers { mode: u32, path: String },
    #[error("is not UTF-8 text: save it in that encoding")]
    NotText,
    #[error("is not valid JSON: {0}")]
    NotJson(String),
    #[error("must hold one JSON object")]
    NotAnObject,
    #[error("unknown setting{}", did_you_mean(.near))]
    UnknownKey { near: Option<&'static str> },
    /// The same where it leaves people unprotected.
    #[error("unknown setting (did you mean {near}?)")]
    Misspelt { near: &'static str },
    #[error("set before at {first}; this one counts, remove the other")]
    Duplicate { first: Position },
    #[error("must be {expected}, not {found}")]
    WrongKind { expected: &'static str, found: &'static str },
    #[error("is required{}; psiphond generate writes one", for_protocol(.needed_by))]
    Missing { needed_by: Option<TunnelProtocol> },
    #[error("{found} is out of range: must be between {least} and {most}")]
    OutOfRange { found: i64, least: i64, most: i64 },
    #[error("{found} is not the decimal number of a mode: 384 is 0600, 416 is 0640, at most 511")]
    NotAMode { found: i64 },
    #[error("{found:?} is not an IP address: use one such as 192.0.2.1 or 2001:db8::1")]
    NotAnAddress { found: String },
    #[error("{found:?} is not an IP address with a port: use the form 127.0.0.1:7300")]
    NotAnAddressAndPort { found: String },
    #[error("{found:?} is not a host with a port: use the form www.example.org:443")]
    NotAHostAndPort { found: String },
    #[error(
        "{found:?} can be reached from other machines: figures are served to this one alone, at 127.0.0.1 or [::1]"
    )]
    NotLoopback { found: String },
    #[error("must be a list of at most {most} countries by their two letters, such as [\"IR\", \"CN\"]")]
    NotCountries { most: usize },
    #[error(
        "{found:?} is not a tunnel protocol{}; this build runs {}",
        did_you_mean(.near),
        super::supported_names()
    )]
    UnknownProtocol { found: String, near: Option<&'static str> },
    #[error("this build cannot run {protocol} yet; it runs {}", super::supported_names())]
    UnsupportedProtocol { protocol: TunnelProtocol },
    #[error("port {port} is already given to {by}: every protocol needs its own")]
    PortTaken { port: u16, by: TunnelProtocol },
    #[error("{found:?} is {}", crate::log::LevelError)]
    NotALevel { found: String },
    #[error("{found:?} is not a name of a chain: up to 28 letters, digits, _ and -")]
    NotAChain { found: String },
    #[error("must be two numbers from 0 to 1000000")]
    NotTwoNumbers,
    #[error("{found:?} is not a log format of this build: use json")]
    NotALogFormat { found: String },
    #[error("{found:?} is {}", crate::rules::SubnetError)]
    NotASubnet { found: String },
    #[error("{found:?} is not the decimal number of an autonomous system")]
    NotAnAsn { found: String },
    #[error(
        "{found:?} is no region that clients are in, so nobody fits: regions are two capital letters, such as IR"
    )]
    NotARegion { found: String },
    #[error(
        "{found:?} is no network that clients are in, so nobody fits: networks are decimal numbers, such as 44244"
    )]
    NeverAnAsn { found: String },
    #[error("{found:?} is not a parameter of handshakes{}", did_you_mean(.near))]
    UnknownParameter { found: String, near: Option<&'static str> },
    #[error("must be a port from 1 to 65535 or a pair [FIRST, LAST] of such in rising order")]
    NotAPortRange,
    #[error("must be positive when {other} is set")]
    NeededPositive { other: &'static str },
    #[error("CDNs carry it to the port of {}, which must be given too", TunnelProtocol::FRONTED_MEEK_OSSH)]
    NeedsFronted,
    #[error("must be 64 hexadecimal digits where session tickets are made from it, as generate writes them")]
    NotATicketKey,
    #[error("must be 32 bytes in base64, as generate writes them")]
    NotAMeekKey,
    #[error("{found:?} is not the ID of a sponsor, which has 16 hexadecimal digits")]
    NotASponsor { found: String },
    #[error("{0}")]
    BadHeaderKey(#[source] culvert_protocol::proxy_header::KeyError),
    #[error(
        "{0}; psiphond generate makes one, and ssh-keygen -p -m PEM -f FILE turns another into this form"
    )]
    BadHostKey(#[source] culvert_ssh::host_key::HostKeyError),
    #[error("{0}")]
    BadEntry(#[source] culvert_protocol::server_entry::DecodeError),
    #[error("{0}; get it anew, uncompressed")]
    BadDatabase(#[source] crate::geoip::DatabaseError),
    #[error("{0}")]
    BadPrefix(#[source] culvert_obfuscation::TransformError),
    #[error("{0}")]
    BadParameter(#[source] culvert_protocol::parameters::Fault),
    #[error("must be a list of one pair of texts, such as [[\"\", \"HTTP/1\\\\.1 200 OK\"]]")]
    NotAPrefixSpec,
    #[error("has {found} fields where {expected} are needed: destination,source,subject")]
    WrongFieldCount { found: usize, expected: usize },
    #[error("{found:?} is neither an IP address nor a host name; list them one by one")]
    NotADestination { found: String },
    #[error("holds a quote inside a field: double it and put the whole field in quotes")]
    BareQuote,
    #[error("opens a quote that is never closed")]
    OpenQuote,
    #[error("server entries disagree on their {member}; one server has one")]
    EntriesDisagree { member: &'static str },
    #[error("{0}")]
    BadKeyRing(#[source] culvert_protocol::authorization::AuthorizationError),
    #[error("{found:?} is not a regular expression that clients understand")]
    NotARegex { found: String },
    #[error("the last version must be a whole number in text, such as \"42\"")]
    NotAVersion,
    #[error("must be in rising order: the last version is offered, and an earlier one is newer")]
    NotTheNewest,
    #[error("must be two times such as 2030-01-02T03:04:05Z, the first and the last")]
    NotADateRange,
    #[error("has the address of the server at [{first}]: each needs its own")]
    SameAddress { first: usize },
    #[error("is understood but has no effect in this build yet")]
    NoEffectYet,
}

impl Problem {
    pub fn severity(&self) -> Severity {
        match self {
            Self::NoEffectYet | Self::NotARegion { .. } | Self::NeverAnAsn { .. } => Severity::Note,
            Self::UnknownKey { .. } | Self::Duplicate { .. } | Self::NotTheNewest => Severity::Strict,
            // The reference passes them on, and its clients count nothing then.
            Self::NotARegex { .. } | Self::NotAVersion => Severity::Strict,
            _ => Severity::Error,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        f.write_str(": ")?;
        if !self.field.is_empty() {
            write!(f, "{}: ", display_path(&self.field))?;
        }
        write!(f, "{}", self.problem.with_cause())
    }
}

impl Problem {
    /// What it displays as, with what the system said and what helps against that.
    pub fn with_cause(&self) -> String {
        match self {
            Self::Unreadable(source) | Self::NamesUnreadable { source, .. } => {
                let help = match source.kind() {
                    io::ErrorKind::NotFound => "; is the name right, and the working directory?",
                    io::ErrorKind::PermissionDenied => {
                        "; be the user whose it is, or give it to this one (chown)"
                    }
                    io::ErrorKind::IsADirectory => "; name a file in it",
                    _ => "",
                };
                format!("{self}: {source}{help}")
            }
            _ => self.to_string(),
        }
    }
}

/// A configuration that cannot be used; every reason is listed, one a line.
#[derive(Debug)]
pub struct ConfigError {
    /// At least one. Those that are not errors by themselves come along for completeness.
    pub findings: Vec<Finding>,
}

impl ConfigError {
    /// Whether there is no such file as `main`.
    pub fn is_missing(&self, main: &std::path::Path) -> bool {
        self.findings.iter().any(|finding| {
            finding.file == main
                && matches!(&finding.problem, Problem::Unreadable(error) if error.kind() == io::ErrorKind::NotFound)
        })
    }

    /// Whether the cause is a missing permission rather than a mistake in the file.
    pub fn is_permission(&self) -> bool {
        self.findings.iter().any(|finding| {
            matches!(&finding.problem, Problem::Unreadable(error) | Problem::NamesUnreadable { source: error, .. }
                if error.kind() == io::ErrorKind::PermissionDenied)
        })
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

fn did_you_mean(near: &Option<&'static str>) -> String {
    near.map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
}

fn for_protocol(protocol: &Option<TunnelProtocol>) -> String {
    protocol.map(|protocol| format!(" to run {protocol}")).unwrap_or_default()
}
