//! The verbs that talk to a running server over its control socket, and what a person reads of its answers.

use std::fmt::Write as _;
use std::path::Path;

use culvert_server::config::{self, ConfigError};
use culvert_server::control::{Answer, AskError, FileReport, Reloaded, Request, Status, ask};

use crate::exit::{Exit, Failure};

/// How an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    /// One line of JSON, for scripts.
    Json,
}

/// The request that a verb stands for.
pub(super) fn request(verb: &str) -> Option<Request> {
    let request = match verb {
        "reload" => Request::Reload,
        "status" => Request::Status,
        "stop" => Request::Stop,
        "pause" => Request::Pause,
        "resume" => Request::Resume,
        _ => return None,
    };
    Some(request)
}

/// Asks the server that was started with this file and prints what it answers.
pub(super) fn talk(file: &Path, request: Request, form: Form) -> Result<(), Failure> {
    let socket = config::control_socket(file).map_err(|error| not_asked(file, error))?;
    let answer = ask(&socket, request)?;
    if form == Form::Json {
        let line = serde_json::to_string(&answer).unwrap_or_default();
        println!("{line}");
    }
    match (&answer, form) {
        (Answer::NotReloaded { problems }, form) => {
            let mut message = if form == Form::Text { problems.join("\n") } else { String::new() };
            message.push_str(
                "\nnothing was changed, the server goes on as before: mend what is named (FILE:LINE:COLUMN) and reload again",
            );
            Err(Failure { exit: Exit::Config, message: message.trim_start().to_owned() })
        }
        (Answer::Refused { reason }, _) => Err(Failure { exit: Exit::Unavailable, message: reason.clone() }),
        (_, Form::Json) => Ok(()),
        (Answer::Reloaded(reloaded), Form::Text) => {
            print!("{}", reloaded_text(reloaded));
            Ok(())
        }
        (Answer::Status(status), Form::Text) => {
            print!("{}", status_text(status));
            Ok(())
        }
        (Answer::Done, Form::Text) => {
            println!("{}", done_text(request));
            Ok(())
        }
    }
}

/// Without the file nobody knows where the server is.
fn not_asked(file: &Path, error: ConfigError) -> Failure {
    let is_missing = error.is_missing(file);
    let mut failure = Failure::from(error);
    failure.message.push_str(if is_missing {
        "\nname the file that the server was started with: -config FILE"
    } else {
        "\nthe server was not asked, since this file says where; signals reach it too (SIGTERM, SIGHUP, SIGTSTP, SIGCONT)"
    });
    failure
}

fn done_text(request: Request) -> &'static str {
    match request {
        Request::Stop => "stopped",
        Request::Pause => {
            "paused: new tunnels are turned away, those that are up stay (psiphond resume ends this)"
        }
        Request::Resume => "resumed: new tunnels are accepted unless the load is too high",
        Request::Reload | Request::Status => "done",
    }
}

fn reloaded_text(reloaded: &Reloaded) -> String {
    let mut text = String::new();
    for file in &reloaded.files {
        text.push_str(&file_text(file));
    }
    if reloaded.files.is_empty() {
        text.push_str("the configuration names no file that can be reloaded\n");
    }
    for warning in &reloaded.warnings {
        let _ = writeln!(text, "note: {warning}");
    }
    if !reloaded.needs_restart.is_empty() {
        let _ = writeln!(text, "changed, but needs a restart: {}", reloaded.needs_restart.join(", "));
    }
    text
}

fn file_text(file: &FileReport) -> String {
    let mut text = format!("{}: {}", file.kind, if file.changed { "changed" } else { "as before" });
    if let Some(rows) = file.rows {
        let _ = write!(text, ", {rows} {}", if rows == 1 { "row" } else { "rows" });
    }
    let _ = writeln!(text, " ({})", file.files.join(", "));
    for change in &file.changes {
        let _ = writeln!(text, "  {change}");
    }
    text
}

fn status_text(status: &Status) -> String {
    let mut text = format!(
        "psiphond {}, process {}, running for {}\n",
        status.version,
        status.pid,
        duration(status.seconds)
    );
    let new = if status.accepting { "accepted" } else { "turned away" };
    let _ = write!(text, "tunnels      {} up, new ones are {new}", status.tunnels);
    if let Some(why) = &status.turned_away_for {
        let _ = write!(text, ": {why}");
    }
    text.push('\n');
    for port in &status.listeners {
        let _ = writeln!(text, "listens for  {} on {}", port.protocol, port.address);
    }
    if let Some(last) = &status.last_reload {
        let ago = status.last_reload_seconds.map(|seconds| format!("{} ago: ", duration(seconds)));
        let _ = writeln!(text, "last reload  {}{last}", ago.unwrap_or_default());
    }
    text
}

/// `2 d 3 h`, `5 min 1 s`: two units are enough.
fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (1.., ..) => format!("{days} d {} h", hours % 24),
        (0, 1.., _) => format!("{hours} h {} min", minutes % 60),
        (0, 0, 1..) => format!("{minutes} min {} s", seconds % 60),
        _ => format!("{seconds} s"),
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        let exit = match error {
            AskError::NotPermitted { .. } => Exit::Permission,
            AskError::NotRunning { .. } | AskError::Io { .. } | AskError::Nonsense { .. } => {
                Exit::Unavailable
            }
        };
        Self { exit, message: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_in_few_words() {
        let rules = FileReport {
            kind: "traffic rules".into(),
            files: vec!["r.config".into()],
            changed: true,
            changes: vec!["DefaultRules.DisallowTCPPorts: 1 added from [0] on, 1 in all".into()],
            rows: Some(3),
        };
        let tactics = FileReport { kind: "tactics".into(), files: vec!["t".into()], ..FileReport::default() };
        let reloaded = Reloaded {
            files: vec![rules, tactics],
            needs_restart: vec!["LogLevel".into(), "SSHPassword".into()],
            warnings: vec!["r.config:1:2: a: b".into()],
        };
        assert_eq!(
            reloaded_text(&reloaded),
            "traffic rules: changed, 3 rows (r.config)\n  DefaultRules.DisallowTCPPorts: 1 added from [0] on, 1 in all\n\
             tactics: as before (t)\nnote: r.config:1:2: a: b\nchanged, but needs a restart: LogLevel, SSHPassword\n"
        );
        let status = Status { version: "1".into(), pid: 2, seconds: 93_784, tunnels: 4, ..Status::default() };
        assert_eq!(
            status_text(&status),
            "psiphond 1, process 2, running for 1 d 2 h\ntunnels      4 up, new ones are turned away\n"
        );
        let reloaded = Status {
            turned_away_for: Some("paused".into()),
            last_reload: Some("changed: traffic rules".into()),
            last_reload_seconds: Some(61),
            ..status
        };
        assert!(status_text(&reloaded).ends_with(
            "new ones are turned away: paused\nlast reload  1 min 1 s ago: changed: traffic rules\n"
        ));
        assert_eq!([7, 67, 3700].map(duration), ["7 s", "1 min 7 s", "1 h 1 min"]);
    }
}
