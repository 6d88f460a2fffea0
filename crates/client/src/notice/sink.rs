//! Where notices are written: a stream of JSON or readable lines, or a channel to an embedding program. Writes to
//! streams block, as the reference's do: a reader of standard error that stops reading stops the client in the end.

use std::io::Write;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tokio::sync::mpsc;

use super::event::Notice;
use super::files::Files;

const MILLISECONDS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// A notice and when it was emitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Emitted {
    pub at: OffsetDateTime,
    pub notice: Notice,
}

/// How a stream shows a notice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// One JSON object per line, keys sorted.
    #[default]
    Json,
    /// Time, type and data.
    Readable,
}

/// Where notices go.
pub enum Sink {
    Stream {
        writer: Box<dyn Write + Send>,
        form: Form,
    },
    /// Files in the data folder.
    Files(Files),
    /// A full channel loses notices, so make it large.
    Channel(mpsc::Sender<Emitted>),
}

impl Sink {
    /// Standard error.
    pub fn stderr(form: Form) -> Self {
        Self::Stream { writer: Box::new(std::io::stderr()), form }
    }

    /// A file that is appended to, made for the owner only.
    pub fn file(path: &std::path::Path, form: Form) -> std::io::Result<Self> {
        let mut options = std::fs::OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(Self::Stream { writer: Box::new(options.open(path)?), form })
    }

    /// Writes one notice as one write, so that lines of several programs do not mix.
    pub(super) fn write(&mut self, emitted: &Emitted) -> Result<(), String> {
        match self {
            Self::Stream { writer, form } => {
                let line = match form {
                    Form::Json => emitted.to_json(),
                    Form::Readable => emitted.to_readable(),
                };
                let written = writer.write_all(format!("{line}\n").as_bytes()).and_then(|()| writer.flush());
                written.map_err(|error| format!("a notice could not be written: {error}"))
            }
            Self::Files(files) => {
                files.write(emitted).map_err(|error| format!("a notice file could not be written: {error}"))
            }
            // Losing a notice is better than a tunnel that waits for its host program.
            Self::Channel(sender) => {
                drop(sender.try_send(emitted.clone()));
                Ok(())
            }
        }
    }
}

impl Emitted {
    /// `{"data":{...},"noticeType":"...","timestamp":"..."}`
    pub fn to_json(&self) -> String {
        let mut object = match serde_json::to_value(&self.notice) {
            Ok(Value::Object(object)) => object,
            _ => serde_json::Map::new(),
        };
        object.insert("timestamp".to_owned(), Value::String(self.timestamp()));
        Value::Object(object).to_string()
    }

    /// `2026-01-02T03:04:05.678Z Tunnels {"count":1}`
    pub fn to_readable(&self) -> String {
        let (kind, data) = parts(&self.notice);
        format!("{} {kind} {data}", self.timestamp())
    }

    fn timestamp(&self) -> String {
        self.at.to_offset(time::UtcOffset::UTC).format(MILLISECONDS).unwrap_or_default()
    }
}

/// A notice's type and its data as JSON text.
pub(super) fn parts(notice: &Notice) -> (String, String) {
    let value = serde_json::to_value(notice).unwrap_or_default();
    let kind = value.get("noticeType").and_then(Value::as_str).unwrap_or_default().to_owned();
    let data = value.get("data").map(Value::to_string).unwrap_or_else(|| "{}".to_owned());
    (kind, data)
}
