//! The command line of `ConsoleClient`, with the flags of the reference's program. Not what the program does: the
//! program runs what [`Invocation`] says.

use std::ffi::OsString;
use std::path::PathBuf;

use culvert_client::notice::{Form, NoticeFileLimits};

use crate::flags::{Arguments, Flag, Syntax, UsageError};

/// Exit code for a flag that is known but does nothing yet (`EX_USAGE` of BSD's sysexits).
pub const EXIT_NOT_SUPPORTED: u8 = 64;

/// Exit code for a failure at start, as the reference's.
pub const EXIT_FAILURE: u8 = 1;

const CONFIG: Flag = Flag::text("config", "configuration input file");
const DATA_ROOT_DIRECTORY: Flag =
    Flag::text("dataRootDirectory", "directory where persistent files will be stored");
const SERVER_LIST: Flag = Flag::text("serverList", "embedded server entry list input file");
const PUSH_PAYLOAD: Flag =
    Flag::text("pushPayload", "server entry push payload input file (not supported yet)");
const FORMAT_NOTICES: Flag = Flag::switch("formatNotices", "emit notices in human-readable format");
const LISTEN_INTERFACE: Flag = Flag::text("listenInterface", "bind local proxies to specified interface");
const VERSION: Flag = Flag::switch("version", "print build information and exit");
const V: Flag = Flag::switch("v", "print build information and exit");
const FEEDBACK_UPLOAD: Flag = Flag::switch("feedbackUpload", "upload a feedback package (not supported yet)");
const FEEDBACK_UPLOAD_PATH: Flag =
    Flag::text("feedbackUploadPath", "path for the feedback package (not supported yet)");
const TUN_DEVICE: Flag = Flag::text("tunDevice", "run packet tunnel for tun device (not supported yet)");
const TUN_BIND_INTERFACE: Flag =
    Flag::text("tunBindInterface", "bypass tun device via interface (not supported yet)");
const TUN_DNS_SERVERS: Flag =
    Flag::text("tunDNSServers", "comma-delimited tun bypass DNS servers (not supported yet)");
const NOTICES: Flag = Flag::text("notices", "notices output file (defaults to stderr)");
const USE_NOTICE_FILES: Flag =
    Flag::switch("useNoticeFiles", "write homepages and rotating notices to files");
const ROTATING_FILE_SIZE: Flag =
    Flag::integer("rotatingFileSize", "rotating notices file size in bytes (default 1048576)");
const ROTATING_SYNC_FREQUENCY: Flag =
    Flag::integer("rotatingSyncFrequency", "notices between two syncs of the file (default 100)");

/// Flags that are refused rather than silently ignored.
const NOT_SUPPORTED: [Flag; 6] =
    [PUSH_PAYLOAD, FEEDBACK_UPLOAD, FEEDBACK_UPLOAD_PATH, TUN_DEVICE, TUN_BIND_INTERFACE, TUN_DNS_SERVERS];

/// What `ConsoleClient` accepts.
pub const SYNTAX: Syntax = Syntax {
    program: "ConsoleClient",
    verbs: &[],
    flags: &[
        CONFIG,
        DATA_ROOT_DIRECTORY,
        SERVER_LIST,
        PUSH_PAYLOAD,
        FORMAT_NOTICES,
        LISTEN_INTERFACE,
        VERSION,
        V,
        FEEDBACK_UPLOAD,
        FEEDBACK_UPLOAD_PATH,
        TUN_DEVICE,
        TUN_BIND_INTERFACE,
        TUN_DNS_SERVERS,
        NOTICES,
        USE_NOTICE_FILES,
        ROTATING_FILE_SIZE,
        ROTATING_SYNC_FREQUENCY,
    ],
    most_words: 0,
};

/// What follows the list of flags when a person asks for help.
pub(super) const MORE_HELP: &str = "
Opens a SOCKS and an HTTP proxy on this machine and carries what they get through
a tunnel to the server of TargetServerEntry, or to one of those that it knows:
those of -serverList, now and earlier, and what servers tell of others. What happens is reported in notices,
one JSON object a line; the proxies' ports are among them.

SIGINT or SIGTERM stops it; a second one ends it at once.

Exit status: 0 after a stop that was asked for; 1 the configuration or the data
folder cannot be used; 2 wrong command line; 64 a flag that is not supported yet;
65 the server entry is wrong, or no line of the list of servers is one; 69 no tunnel in time, or no port for a proxy; 78 no
server fits the configuration. The last notices say why.

Example of a configuration (culvert check FILE validates one):
  {
    \"PropagationChannelId\": \"0000000000000000\",
    \"SponsorId\": \"0000000000000000\",
    \"LocalSocksProxyPort\": 1080,
    \"TargetServerEntry\": \"the line in server-entry.dat\"
  }
";

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    Run(RunArguments),
    /// Print [`version_text`] and exit 0.
    Version,
}

/// How to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunArguments {
    pub config: PathBuf,
    /// Replaces `DataRootDirectory` of the config.
    pub data_root_directory: Option<PathBuf>,
    /// Replaces `ListenInterface` of the config.
    pub listen_interface: Option<String>,
    /// A list of servers to know.
    pub server_list: Option<PathBuf>,
    /// Replaces `UseNoticeFiles` of the config.
    pub notice_files: Option<NoticeFileLimits>,
    pub output: NoticeOutput,
}

/// Where and how notices are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoticeOutput {
    /// `None`: standard error.
    pub file: Option<PathBuf>,
    pub form: Form,
}

/// Why the command line cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error("-{flag} is not supported yet; without it the program does something else, so it stops here")]
    NotSupported { flag: &'static str },
    /// Reported as a notice, as the reference does.
    #[error("configuration file is required: use -config FILE")]
    ConfigRequired { output: NoticeOutput },
}

impl ArgumentError {
    /// The program's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(error) => error.exit_code(),
            Self::NotSupported { .. } => EXIT_NOT_SUPPORTED,
            Self::ConfigRequired { .. } => EXIT_FAILURE,
        }
    }
}

/// Reads the arguments that follow the program's name.
pub fn parse<I>(arguments: I) -> Result<Invocation, ArgumentError>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let arguments = SYNTAX.parse(arguments)?;
    if arguments.is_on(&VERSION) || arguments.is_on(&V) {
        return Ok(Invocation::Version);
    }
    if let Some(flag) = NOT_SUPPORTED.iter().find(|flag| asks_for(&arguments, flag)) {
        return Err(ArgumentError::NotSupported { flag: flag.name() });
    }
    let text = |flag: &Flag| arguments.text(flag).filter(|text| !text.is_empty());
    let form = if arguments.is_on(&FORMAT_NOTICES) { Form::Readable } else { Form::Json };
    let output = NoticeOutput { file: text(&NOTICES).map(PathBuf::from), form };
    let Some(config) = text(&CONFIG) else {
        return Err(ArgumentError::ConfigRequired { output });
    };
    Ok(Invocation::Run(RunArguments {
        config: config.into(),
        data_root_directory: text(&DATA_ROOT_DIRECTORY).map(PathBuf::from),
        listen_interface: text(&LISTEN_INTERFACE).map(str::to_owned),
        server_list: text(&SERVER_LIST).map(PathBuf::from),
        notice_files: arguments.is_on(&USE_NOTICE_FILES).then(|| notice_files(&arguments)),
        output,
    }))
}

/// As in the reference, what is not above 0 is the default.
fn notice_files(arguments: &Arguments) -> NoticeFileLimits {
    let usual = NoticeFileLimits::default();
    let above_0 =
        |flag| arguments.integer(flag).and_then(|given| u64::try_from(given).ok()).filter(|n| *n > 0);
    NoticeFileLimits {
        size: above_0(&ROTATING_FILE_SIZE).unwrap_or(usual.size),
        sync_every: above_0(&ROTATING_SYNC_FREQUENCY)
            .and_then(|every| u32::try_from(every).ok())
            .unwrap_or(usual.sync_every),
    }
}

/// Whether a flag is given with another value than the empty one of its kind.
fn asks_for(arguments: &Arguments, flag: &Flag) -> bool {
    !matches!(arguments.text(flag), None | Some("" | "false"))
}

/// What `-version` prints.
pub fn version_text() -> String {
    format!(
        "Culvert Console Client\n  Version: {}\n  Built With: Rust\n  Repository: {}\n",
        env!("CARGO_PKG_VERSION"),
        option_env!("CARGO_PKG_REPOSITORY").unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Invocation, ArgumentError> {
        parse(line.split_whitespace())
    }

    #[test]
    fn the_walk_through_line_runs() {
        let expected = RunArguments {
            config: "client.config".into(),
            data_root_directory: None,
            listen_interface: None,
            server_list: None,
            notice_files: None,
            output: NoticeOutput::default(),
        };
        assert_eq!(read("-config client.config"), Ok(Invocation::Run(expected.clone())));
        assert_eq!(
            read("--config=client.config -useNoticeFiles=false -serverList="),
            Ok(Invocation::Run(expected))
        );
    }

    #[test]
    fn all_supported_flags_arrive() {
        let line = "-formatNotices -notices n.log -listenInterface any -dataRootDirectory d -config c \
                    -serverList l -useNoticeFiles -rotatingFileSize 0 -rotatingSyncFrequency 7";
        let expected = RunArguments {
            config: "c".into(),
            data_root_directory: Some("d".into()),
            listen_interface: Some("any".into()),
            server_list: Some("l".into()),
            notice_files: Some(NoticeFileLimits { size: 1 << 20, sync_every: 7 }),
            output: NoticeOutput { file: Some("n.log".into()), form: Form::Readable },
        };
        assert_eq!(read(line), Ok(Invocation::Run(expected)));
        for line in ["-version", "-v", "--v -config c"] {
            assert_eq!(read(line), Ok(Invocation::Version));
        }
    }

    #[test]
    fn mistakes_have_their_exit_codes() {
        for (line, code, message) in [
            ("", 1, "configuration file is required: use -config FILE"),
            ("-cofnig c", 2, "flag provided but not defined: -cofnig (did you mean -config?)"),
            ("client.config", 2, "unexpected argument \"client.config\": this program takes only flags"),
            ("-config", 2, "flag needs an argument: -config"),
            ("-help", 0, "help requested"),
        ] {
            let error = read(line).unwrap_err();
            assert_eq!((error.exit_code(), error.to_string().as_str()), (code, message), "{line}");
        }
        for flag in NOT_SUPPORTED {
            let value = if SYNTAX.usage().contains(&format!("-{} int", flag.name())) { "7" } else { "true" };
            let error = read(&format!("-config c -{}={value}", flag.name())).unwrap_err();
            assert_eq!(error, ArgumentError::NotSupported { flag: flag.name() });
            assert_eq!(error.exit_code(), 64);
        }
    }
}
