//! What is said over the control socket: a request is a line of JSON, and so is its answer. Both ends are this program, maybe of two
//! versions: members that are not known are passed over.

use serde::{Deserialize, Serialize};

/// The longest request.
pub(super) const LONGEST_REQUEST: usize = 1024;
/// The longest answer: a reload may have much to say about a broken file.
pub(super) const LONGEST_ANSWER: usize = 4 << 20;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Read the files again that can change while the server runs.
    Reload,
    /// How the server is doing.
    Status,
    /// End as after SIGTERM.
    Stop,
    /// Accept no new tunnels.
    Pause,
    /// Accept them again.
    Resume,
}

/// A line that is no request. The culprit is whoever wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("the request is longer than {LONGEST_REQUEST} bytes")]
    TooLong,
    #[error(
        "not a request: send one line such as {{\"request\":\"status\"}}; known are reload, status, stop, pause and resume"
    )]
    Unknown,
}

impl Request {
    /// The request that a line is, with its end or without.
    pub fn parse(line: &[u8]) -> Result<Self, RequestError> {
        if line.len() > LONGEST_REQUEST {
            return Err(RequestError::TooLong);
        }
        serde_json::from_slice(line).map_err(|_| RequestError::Unknown)
    }
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    Reloaded(Reloaded),
    /// Nothing was changed; why, one remark a place: `FILE:LINE:COLUMN: FIELD: problem`.
    NotReloaded {
        problems: Vec<String>,
    },
    Status(Status),
    /// It is done, or has begun.
    Done,
    /// It was no request, or the server cannot do it any more.
    Refused {
        reason: String,
    },
}

/// What a reload changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reloaded {
    pub files: Vec<FileReport>,
    /// Settings of the main file that are not what the server started with: they need a restart.
    pub needs_restart: Vec<String>,
    pub warnings: Vec<String>,
}

/// One file, or the files of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileReport {
    /// What it holds, such as `traffic rules`.
    pub kind: String,
    pub files: Vec<String>,
    pub changed: bool,
    /// What changed in it, the first of it if there is much.
    pub changes: Vec<String>,
    /// How many of what it is made of, such as rules.
    pub rows: Option<u64>,
}

/// How a server is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    /// For how long it has been running.
    pub seconds: u64,
    /// Whether new tunnels are accepted.
    pub accepting: bool,
    /// Why they are not: `paused`, or what there is too much of.
    pub turned_away_for: Option<String>,
    /// Tunnels that are up.
    pub tunnels: u64,
    pub listeners: Vec<Listening>,
    /// What the last reload came to; `None` before the first.
    pub last_reload: Option<String>,
    /// How long ago that was.
    pub last_reload_seconds: Option<u64>,
}

/// A port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Listening {
    pub protocol: String,
    pub address: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_lines_of_json() {
        for (line, request) in [
            (&b"{\"request\":\"reload\"}\n"[..], Request::Reload),
            (b"{\"request\": \"status\", \"later\": 1}", Request::Status),
            (b" {\"request\":\"pause\"} ", Request::Pause),
        ] {
            assert_eq!(Request::parse(line), Ok(request));
        }
        for line in
            [&b""[..], b"reload", b"{}", b"{\"request\":\"Reload\"}", b"{\"request\":1}", b"[]", b"\xff"]
        {
            assert_eq!(Request::parse(line), Err(RequestError::Unknown));
        }
        assert_eq!(Request::parse(&[b' '; LONGEST_REQUEST + 1]), Err(RequestError::TooLong));
    }

    #[test]
    fn answers_survive_the_way() {
        let file = FileReport { kind: "traffic rules".into(), rows: Some(3), ..FileReport::default() };
        let answers = [
            Answer::Reloaded(Reloaded { files: vec![file], ..Reloaded::default() }),
            Answer::NotReloaded { problems: vec!["r:1:2: x".into()] },
            Answer::Status(Status { tunnels: 7, ..Status::default() }),
            Answer::Done,
        ];
        for answer in answers {
            let line = serde_json::to_string(&answer).unwrap();
            assert_eq!(serde_json::from_str::<Answer>(&line).unwrap(), answer, "{line}");
        }
        let older = r#"{"answer":"reloaded","files":[{"kind":"psinet"}]}"#;
        assert!(matches!(serde_json::from_str(older).unwrap(), Answer::Reloaded(it) if it.files.len() == 1));
    }
}
