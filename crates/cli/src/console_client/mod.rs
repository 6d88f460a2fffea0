//! The `ConsoleClient` program up to the moment when the client runs: command line, where notices go, config, data
//! folder. What happens then is handed in as a function.

mod arguments;
mod run;
mod server_list;

use std::ffi::OsString;
use std::process::ExitCode;

use culvert_client::config::{self, Config, ConfigError, ListenInterface};
use culvert_client::data_dir::{DataDir, DataDirError};
use culvert_client::notice::{BuildInfo, FreeText, Notice, NoticeFiles, Notices, Sink};
use culvert_client::old_files;

use crate::exit::Exit;

pub use arguments::{
    ArgumentError, EXIT_FAILURE, EXIT_NOT_SUPPORTED, Invocation, NoticeOutput, RunArguments, SYNTAX, parse,
    version_text,
};
pub use run::run;
pub use server_list::{ServerList, ServerListError};

/// All that a client needs to run.
#[derive(Debug)]
pub struct Prepared {
    pub config: Config,
    pub data_dir: DataDir,
    pub notices: Notices,
    pub server_list: Option<ServerList>,
}

/// Why the client could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    ServerList(#[from] ServerListError),
}

impl StartError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::DataDir(_) => EXIT_FAILURE.into(),
            Self::ServerList(_) => Exit::Data.into(),
        }
    }
}

/// The program: prepares a client, has it `run`, and gives back the exit code. Whatever ends a run, the last notice
/// is `Exiting`.
pub fn main<I>(arguments: I, run: impl FnOnce(Prepared) -> ExitCode) -> ExitCode
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let invocation = match parse(arguments) {
        Ok(invocation) => invocation,
        Err(error) => return refuse(&error),
    };
    let arguments = match invocation {
        Invocation::Run(arguments) => arguments,
        Invocation::Version => {
            print!("{}", version_text());
            return ExitCode::SUCCESS;
        }
    };
    let Some(notices) = open_notices(&arguments.output) else { return EXIT_FAILURE.into() };
    let code = match prepare(&arguments, &notices) {
        Ok(prepared) => run(prepared),
        Err(error) => {
            // One notice for each problem: they are read one by one.
            error.to_string().lines().for_each(|line| notices.fatal(line));
            error.exit_code()
        }
    };
    notices.emit(Notice::Exiting {});
    code
}

/// Reads the config and opens the data folder, saying what is questionable about either.
pub fn prepare(arguments: &RunArguments, notices: &Notices) -> Result<Prepared, StartError> {
    let loaded = config::load(&arguments.config)?;
    let mut config = loaded.config;
    notices.show(config.notices.detail, config.notices.topics.clone());
    for warning in &loaded.warnings {
        notices.emit(Notice::ConfigWarning { message: FreeText::new(warning) });
    }
    if !loaded.without_effect.is_empty() {
        notices.info(format_args!("settings without effect yet: {}", loaded.without_effect.join(", ")));
    }
    if let Some(root) = &arguments.data_root_directory {
        config.data_root_directory = Some(root.clone());
    }
    if let Some(interface) = &arguments.listen_interface {
        config.local.interface = ListenInterface::from(interface.as_str());
    }
    let server_list = arguments.server_list.as_deref().map(ServerList::open).transpose()?;
    let opened = DataDir::open(config.data_root_directory.as_deref())?;
    if let Some(warning) = opened.warning {
        notices.emit(Notice::ConfigWarning { message: FreeText::new(warning) });
    }
    let data_dir = opened.data_dir;
    let moved = old_files::adopt(&data_dir, &config.old_paths);
    if let Some(limits) = arguments.notice_files.or(config.notices.files) {
        let files = NoticeFiles { folder: data_dir.path().to_owned(), limits };
        if let Err(error) = notices.keep_files(files) {
            let message = FreeText::new(format!("notices are not written to files: {error}"));
            notices.emit(Notice::ConfigWarning { message });
        }
    }
    for failed in &moved.failed {
        notices.warning(failed);
    }
    if !moved.moved.is_empty() {
        notices.info(format_args!("moved to the data folder: {}", moved.moved.join(", ")));
    }
    notices.emit(Notice::BuildInfo { build_info: build_info() });
    Ok(Prepared { config, data_dir, notices: notices.clone(), server_list })
}

fn open_notices(output: &NoticeOutput) -> Option<Notices> {
    let sink = match &output.file {
        None => Sink::stderr(output.form),
        Some(path) => match Sink::file(path, output.form) {
            Ok(sink) => sink,
            Err(error) => {
                eprintln!("error opening notice file {}: {error}", path.display());
                return None;
            }
        },
    };
    Some(Notices::new(vec![sink]))
}

fn refuse(error: &ArgumentError) -> ExitCode {
    match error {
        ArgumentError::ConfigRequired { output } => {
            if let Some(notices) = open_notices(output) {
                notices.fatal(error);
                notices.emit(Notice::Exiting {});
            }
        }
        ArgumentError::Usage(crate::flags::UsageError::Help) => {
            eprint!("{}{}", SYNTAX.usage(), arguments::MORE_HELP);
        }
        ArgumentError::Usage(error) => eprint!("{error}\n{}", SYNTAX.usage()),
        ArgumentError::NotSupported { .. } => eprintln!("ConsoleClient: {error}"),
    }
    error.exit_code().into()
}

fn build_info() -> BuildInfo {
    BuildInfo {
        build_date: String::new(),
        build_repo: option_env!("CARGO_PKG_REPOSITORY").unwrap_or_default().to_owned(),
        build_rev: env!("CARGO_PKG_VERSION").to_owned(),
        go_version: String::new(),
        values_rev: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    /// A folder with a config, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str, config: &str) -> Self {
            let path = std::env::temp_dir().join(format!("culvert-console-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("c"), config).unwrap();
            Self(path)
        }

        fn at(&self, name: &str) -> OsString {
            self.0.join(name).into()
        }

        /// Runs the program; gives back whether the client ran and the notices.
        fn run(&self) -> (bool, Vec<String>) {
            let line = ["-config".into(), self.at("c"), "-notices".into(), self.at("n")];
            let line = line.into_iter().chain(["-dataRootDirectory".into(), self.0.clone().into()]);
            let mut ran = false;
            let code = main(line, |prepared| {
                ran = true;
                prepared.notices.emit(Notice::Tunnels { count: 0 });
                assert_eq!(prepared.config.data_root_directory.as_deref(), Some(self.0.as_path()));
                ExitCode::SUCCESS
            });
            assert_eq!(code == ExitCode::SUCCESS, ran);
            let notices = std::fs::read_to_string(Path::new(&self.at("n"))).unwrap();
            (ran, notices.lines().map(str::to_owned).collect())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn a_usable_config_runs_and_exiting_is_last() {
        let config = "{\"PropagationChannelId\": \"1\", \"SponsorId\": \"2\", \"SponsrId\": \"3\"}";
        let (ran, notices) = Folder::new("usable", config).run();
        assert!(ran);
        assert_eq!(notices.len(), 3, "{notices:?}");
        assert!(
            notices[0].contains("\"Warning\"") && notices[0].contains("did you mean SponsorId?"),
            "{notices:?}"
        );
        assert!(notices[1].contains("\"Tunnels\"") && notices[2].contains("\"Exiting\""), "{notices:?}");
    }

    #[test]
    fn every_problem_of_a_config_is_an_error_notice() {
        let (ran, notices) = Folder::new("unusable", "{\"LocalSocksProxyPort\": \"x\"}").run();
        assert!(!ran);
        assert_eq!(notices.len(), 4, "{notices:?}");
        for (notice, field) in
            notices.iter().zip(["LocalSocksProxyPort", "PropagationChannelId", "SponsorId"])
        {
            assert!(notice.contains("\"noticeType\":\"Error\"") && notice.contains(field), "{notice}");
        }
        assert!(notices[3].contains("\"Exiting\""));
    }
}
