//! The command line of `psiphond`: verbs, flags, what is said about mistakes, and exit codes. The flags are the
//! reference's; they may also follow the verb. Not serving: the caller brings functions that do.

mod control;

use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use culvert_protocol::json_position::near_name;
use culvert_server::RunError;
use culvert_server::config::{self, ConfigError, ServerConfig, Strictness};
use culvert_server::control::Request;
use culvert_server::forward::own_addresses;
use culvert_server::generate::{self, FileNames, GenerateError, Generated, Listeners, Options, WriteError};
use culvert_server::log::{Field, LogError, LogTarget, Logger};

use crate::exit::{Exit, Failure};
use crate::flags::{Arguments, Flag, Syntax, UsageError};
use control::Form;

const CONFIG: Flag = Flag::text("config", "run or generate with this config file (default psiphond.config)");
const IP_ADDRESS: Flag = Flag::text("ipaddress", "generate with this server IP address (default 127.0.0.1)");
const INTERFACE: Flag =
    Flag::text("interface", "generate with the IP address of this network interface instead");
const PROTOCOL: Flag =
    Flag::repeated("protocol", "generate with PROTOCOL:PORT, for example OSSH:9999").yields_to_verbs();
const WEB: Flag = Flag::integer("web", "accepted for compatibility; there is no web server");
const LOG_FILENAME: Flag = Flag::text("logFilename", "generate with this log file (default standard error)");
const TRAFFIC_RULES: Flag = Flag::text("trafficRules", "generate this traffic rules file");
const OSL: Flag = Flag::text("osl", "generate this OSL config file");
const TACTICS: Flag = Flag::text("tactics", "generate this tactics config file");
const SERVER_ENTRY: Flag = Flag::text("serverEntry", "generate this server entry file");

const JSON: Flag = Flag::switch("json", "print answers of the running server as one line of JSON");

const VERSION: Flag = Flag::switch("version", "print the version and exit");

const VERBS: &[(&str, &str)] = &[
    ("generate", "make configuration files and a server entry"),
    ("run", "run the configured server"),
    ("reload", "have the running server read its rules and data files again"),
    ("status", "say how the running server is doing"),
    ("pause", "have the running server accept no new tunnels"),
    ("resume", "have it accept them again"),
    ("stop", "end the running server"),
];

const SYNTAX: Syntax = Syntax {
    program: "psiphond",
    verbs: VERBS,
    flags: &[
        CONFIG,
        IP_ADDRESS,
        INTERFACE,
        PROTOCOL,
        WEB,
        LOG_FILENAME,
        TRAFFIC_RULES,
        OSL,
        TACTICS,
        SERVER_ENTRY,
        JSON,
        VERSION,
    ],
    most_words: 1,
};

/// What follows the list of flags when a person asks for help.
const MORE_HELP: &str = "
generate writes five files that only their owner can read, replacing those of the
same names: the server's configuration, its traffic rules, server list and tactics
configurations, and the server entry, which is all that a client needs. Then it
starts the server for a moment and connects to it over each protocol, and says on
standard error whether that worked, or why it was not tried.

run serves until SIGTERM or SIGINT; a second one ends it at once. SIGTSTP stops
accepting new tunnels, SIGCONT resumes, SIGUSR2 logs the load. SIGHUP and SIGUSR1
reload, and open the log file anew after something has moved it away.

reload has the server that runs with this configuration read its traffic rules and
other data files again: all of them, or, if one is wrong, none. No tunnel is dropped.
It says what changed, or what is wrong and where, and which settings of the main file
need a restart. It must be run by the server's user or by root, and in its folder if
the configuration has relative paths.

Exit status: 0 after a stop that was asked for; 64 wrong command line; 69 a port or
address cannot be had; 70 what was generated does not work; 73 a file cannot be
written; 74 the log cannot be written any more, and must be; 77 not permitted;
78 wrong configuration (culvert check FILE finds more).

Examples:
  psiphond -ipaddress 192.0.2.1 -protocol OSSH:9999 -protocol SSH:2222 generate
  psiphond run
  psiphond -config other/psiphond.config run
  psiphond -config other/psiphond.config reload
";

/// What this file does not do itself.
pub struct Actions {
    /// Serves until told to stop.
    pub run: fn(ServerConfig, Logger) -> Result<(), Failure>,
    /// Dials the server that was just generated, to show that it works.
    pub selfcheck: fn(&Generated, &Options) -> Result<(), Failure>,
}

/// What the command line asks for.
#[derive(Debug)]
enum Command {
    Help,
    Version,
    Generate(Options),
    Run { config: PathBuf },
    Talk { config: PathBuf, request: Request, form: Form },
}

/// Does what the arguments, which follow the program's name, ask for.
pub fn main(arguments: impl IntoIterator<Item = OsString>, actions: &Actions) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(verb) = misprinted_verb(&arguments) {
        eprintln!("psiphond: note: \"-protocol {verb}\" is taken as the verb {verb}");
    }
    let done = match parse(arguments) {
        Ok(Command::Help) => {
            eprint!("{}{MORE_HELP}", SYNTAX.usage());
            Ok(())
        }
        Ok(Command::Version) => {
            println!("psiphond {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Ok(Command::Generate(options)) => generate(&options, actions),
        Ok(Command::Run { config }) => run(&config, actions),
        Ok(Command::Talk { config, request, form }) => control::talk(&config, request, form),
        Err(failure) => Err(failure),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report("psiphond", "psiphond -help"),
    }
}

fn generate(options: &Options, actions: &Actions) -> Result<(), Failure> {
    let generated = generate::generate(options)?;
    generated.write()?;
    (actions.selfcheck)(&generated, options)
}

fn run(file: &Path, actions: &Actions) -> Result<(), Failure> {
    let loaded = config::load(file, Strictness::Run).map_err(|error| not_started(file, error))?;
    let config = loaded.value;
    config::check_modes(&config.files)?;
    let log = config.log.open()?;
    let file_of_log = match &config.log.target {
        LogTarget::File { path, .. } => Some(path.clone()),
        LogTarget::StandardError => None,
    };
    let warnings = loaded.warnings.into_iter().map(|finding| finding.to_string());
    for finding in warnings {
        if file_of_log.is_some() {
            eprintln!("psiphond: note: {finding}");
        }
        log.warning("configuration", [("finding", Field::text(finding))]);
    }
    if let Some(path) = file_of_log {
        eprintln!("psiphond: the log is {}", path.display());
    }
    let done = (actions.run)(config, log.clone());
    if let Err(failure) = &done {
        // Whoever looks for the reason there finds it.
        log.error("server failed", [("error", Field::text(failure.message.clone()))]);
    }
    done
}

/// The mistakes, and what to do about them.
fn not_started(file: &Path, error: ConfigError) -> Failure {
    let is_missing = error.is_missing(file);
    let mut failure = Failure::from(error);
    if is_missing {
        failure
            .message
            .push_str("\nname it with -config FILE, or make one with psiphond -protocol OSSH:9999 generate");
    } else if failure.exit == Exit::Config {
        let what = "nothing was started: mend what is named (FILE:LINE:COLUMN)";
        failure
            .message
            .push_str(&format!("\n{what}; culvert check {} says when all is right", file.display()));
    }
    failure
}

fn parse(arguments: Vec<OsString>) -> Result<Command, Failure> {
    let arguments = match SYNTAX.parse(arguments) {
        Ok(arguments) => arguments,
        Err(UsageError::Help) => return Ok(Command::Help),
        Err(error) => return Err(Failure::usage(error.to_string())),
    };
    if arguments.is_on(&VERSION) {
        return Ok(Command::Version);
    }
    let verb = arguments.words().next();
    let config = || arguments.text(&CONFIG).unwrap_or(config::DEFAULT_FILE).into();
    match verb {
        Some("generate") => Ok(Command::Generate(options(&arguments)?)),
        Some("help") => Ok(Command::Help),
        Some("run") => Ok(Command::Run { config: config() }),
        Some(other) => match control::request(other) {
            Some(request) => {
                let form = if arguments.is_on(&JSON) { Form::Json } else { Form::Text };
                Ok(Command::Talk { config: config(), request, form })
            }
            None => {
                let near = near_name(other, VERBS.iter().map(|(verb, _)| *verb));
                let near = near.map(|verb| format!(" (did you mean {verb}?)")).unwrap_or_default();
                Err(Failure::usage(format!("unknown verb {other:?}{near}: use {}", verbs())))
            }
        },
        None => Err(Failure::usage(format!("a verb is missing: {}", verbs()))),
    }
}

/// `generate, run or stop`.
fn verbs() -> String {
    let names: Vec<_> = VERBS.iter().map(|(verb, _)| *verb).collect();
    match names.split_last() {
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

fn options(arguments: &Arguments) -> Result<Options, Failure> {
    let file = |flag: &Flag, default: PathBuf| match arguments.text(flag) {
        Some("") => Err(Failure::usage(format!("-{} needs the name of a file", flag.name()))),
        Some(given) => Ok(PathBuf::from(given)),
        None => Ok(default),
    };
    let default = FileNames::default();
    let files = FileNames {
        config: file(&CONFIG, default.config)?,
        traffic_rules: file(&TRAFFIC_RULES, default.traffic_rules)?,
        osl: file(&OSL, default.osl)?,
        tactics: file(&TACTICS, default.tactics)?,
        server_entry: file(&SERVER_ENTRY, default.server_entry)?,
    };
    let names = [&files.config, &files.traffic_rules, &files.osl, &files.tactics, &files.server_entry];
    for (index, name) in names.iter().enumerate() {
        if names.iter().skip(index + 1).any(|other| other == name) {
            let message = format!("{} is named for two files; every file needs its own name", name.display());
            return Err(Failure::usage(message));
        }
    }
    Ok(Options {
        address: address(arguments)?,
        listeners: Listeners::parse(arguments.all(&PROTOCOL))?,
        log_file: arguments.text(&LOG_FILENAME).filter(|name| !name.is_empty()).map(PathBuf::from),
        files,
    })
}

fn address(arguments: &Arguments) -> Result<IpAddr, Failure> {
    if let Some(interface) = arguments.text(&INTERFACE).filter(|name| !name.is_empty()) {
        let unavailable = |message| Failure { exit: Exit::Unavailable, message };
        let found = own_addresses::of_interface(interface)
            .map_err(|error| unavailable(format!("cannot list the network interfaces: {error}")))?;
        return found.first().copied().ok_or_else(|| {
            let names = own_addresses::interface_names().unwrap_or_default().join(", ");
            Failure::usage(format!("interface {interface:?} has no address; those that have are {names}"))
        });
    }
    let given = arguments.text(&IP_ADDRESS).unwrap_or("127.0.0.1");
    given.parse().map_err(|_| Failure::usage(format!("-ipaddress {given:?} is not an IP address")))
}

/// The verb in `-protocol VERB`: a copied walk-through misses the protocol there.
fn misprinted_verb(arguments: &[OsString]) -> Option<&'static str> {
    let is_protocol = |flag: &OsString| flag == "-protocol" || flag == "--protocol";
    let verb_after = |pair: &[OsString]| match pair {
        [flag, word] if is_protocol(flag) => VERBS.iter().map(|(verb, _)| *verb).find(|verb| word == *verb),
        _ => None,
    };
    arguments.windows(2).find_map(verb_after)
}

impl From<GenerateError> for Failure {
    fn from(error: GenerateError) -> Self {
        let exit = match error {
            GenerateError::KeyMaterial(_) | GenerateError::HostKey(_) | GenerateError::Entry(_) => {
                Exit::Unavailable
            }
            _ => Exit::Usage,
        };
        Self { exit, message: error.to_string() }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        Self { exit: Exit::CannotCreate, message: not_written(&error, &error.path, &error.source) }
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self { exit: Exit::CannotCreate, message: not_written(&error, &error.path, &error.source) }
    }
}

/// With what would help.
fn not_written(error: &dyn std::fmt::Display, path: &Path, source: &io::Error) -> String {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.display();
    match source.kind() {
        io::ErrorKind::PermissionDenied if path.exists() => {
            format!(
                "{error}: {source}; it is another user's: give it to this one (chown), or name another file"
            )
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            format!(
                "{error}: {source}; name a file in a folder of this user's (root makes one with install -d -o USER -m 0700 FOLDER)"
            )
        }
        io::ErrorKind::IsADirectory => format!("{error}: {source}; name a file in it"),
        io::ErrorKind::NotFound => format!("{error}: {source}; make its folder (mkdir -p {folder})"),
        io::ErrorKind::StorageFull => {
            format!("{error}: {source}; make room (df -h {folder} says how much there is)")
        }
        _ => format!("{error}: {source}"),
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let exit = match &error {
            RunError::State(_) | RunError::Control(_) => Exit::CannotCreate,
            RunError::LogLost => Exit::Io,
            error if error.is_permission() => Exit::Permission,
            _ => Exit::Unavailable,
        };
        Self { exit, message: error.to_string() }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let exit = if error.is_permission() { Exit::Permission } else { Exit::Config };
        Self { exit, message: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, Failure> {
        parse(line.split_whitespace().map(OsString::from).collect())
    }

    fn generates(line: &str) -> Options {
        match parsed(line) {
            Ok(Command::Generate(options)) => options,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_walk_through_and_its_variants_mean_the_same() {
        for line in [
            "-ipaddress 127.0.0.1 -protocol OSSH:9999 generate",
            "generate -ipaddress 127.0.0.1 -protocol OSSH:9999",
            "--ipaddress=127.0.0.1 --protocol=OSSH:9999 -web 0 generate",
            "-ipaddress 127.0.0.1 -protocol OSSH:9999 -protocol generate",
        ] {
            let options = generates(line);
            assert_eq!(options.address.to_string(), "127.0.0.1", "{line}");
            assert_eq!(options.listeners, Listeners::parse(["OSSH:9999"]).unwrap(), "{line}");
            assert_eq!(options.files.config, Path::new("psiphond.config"), "{line}");
        }
    }

    #[test]
    fn files_can_be_named() {
        let options = generates(
            "generate -protocol SSH:1 -config a -trafficRules b -osl c -tactics d -serverEntry e -logFilename f",
        );
        let files = options.files;
        let names = [files.config, files.traffic_rules, files.osl, files.tactics, files.server_entry];
        assert_eq!(names.map(|name| name.display().to_string()), ["a", "b", "c", "d", "e"]);
        assert_eq!(options.log_file.as_deref(), Some(Path::new("f")));
        assert!(matches!(parsed("-config x run"), Ok(Command::Run { config }) if config == Path::new("x")));
    }

    #[test]
    fn the_loopback_interface_gives_its_address() {
        let loopback = own_addresses::interface_names()
            .unwrap()
            .into_iter()
            .find(|name| own_addresses::of_interface(name).unwrap().contains(&"127.0.0.1".parse().unwrap()));
        let options = generates(&format!("generate -protocol SSH:1 -interface {}", loopback.unwrap()));
        assert!(options.address.is_loopback());
    }

    #[test]
    fn mistakes_name_what_is_wrong() {
        for (line, message) in [
            ("", "a verb is missing"),
            ("generat", "unknown verb \"generat\" (did you mean generate?)"),
            ("bogus", "unknown verb \"bogus\": use generate, run, reload"),
            ("generate", "no tunnel protocol given"),
            ("-protocol generate", "no tunnel protocol given"),
            ("generate -protocol OSSH", "\"OSSH\" is not of the form PROTOCOL:PORT"),
            ("generate -protocol OSSH:0", "\"OSSH:0\": the port"),
            ("generate -protocol OSSH:1 -ipaddress nowhere", "-ipaddress \"nowhere\" is not an IP address"),
            (
                "generate -protocol OSSH:1 -interface nope9",
                "interface \"nope9\" has no address; those that have",
            ),
            ("generate -protocol OSSH:1 -config x -osl x", "x is named for two files"),
            ("generate -protocol OSSH:1 -osl=", "-osl needs the name of a file"),
            ("run -confg x", "-confg (did you mean -config?)"),
            ("run run", "too many plain arguments"),
        ] {
            let failure = parsed(line).unwrap_err();
            assert!(failure.message.contains(message), "{line}: {}", failure.message);
            assert_eq!(failure.exit, Exit::Usage, "{line}");
        }
        assert!(matches!(parsed("-h"), Ok(Command::Help)));
    }

    #[test]
    fn the_misprint_is_noticed() {
        let arguments = |line: &str| line.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(misprinted_verb(&arguments("-ipaddress 1 -protocol generate")), Some("generate"));
        assert_eq!(misprinted_verb(&arguments("-protocol OSSH:1 generate")), None);
    }
}
