//! Log lines and metric events: one JSON object a line, to standard error or a file, through a handle and no global.
//! Not what is worth logging. Field names and the timestamp are the reference's, except that times are in UTC.
//!
//! Nothing that identifies a client may be logged. A [`Field`] therefore has no conversion from an address:
//!
//! ```
//! use culvert_server::log::Field;
//! let field = Field::from(443_u16);
//! ```
//!
//! ```compile_fail
//! use culvert_server::log::Field;
//! let field = Field::from(std::net::IpAddr::from([192, 0, 2, 1]));
//! ```

mod aggregate;
mod file;
mod sink;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::sync::watch;

pub use aggregate::Aggregated;
pub use file::{Keeping, Rotation};
pub use sink::{Captured, LogError, LogTarget};
use sink::{Outcome, Sink};

/// How much a line matters. Lines below the configured level are not written; metric events always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
    Fatal,
}

impl Level {
    const ALL: [Self; 5] = [Self::Debug, Self::Info, Self::Warning, Self::Error, Self::Fatal];

    /// What the reference accepts as `LogLevel`. Its `panic` and `trace` are the nearest of ours.
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("trace", Self::Debug),
        ("debug", Self::Debug),
        ("info", Self::Info),
        ("warn", Self::Warning),
        ("warning", Self::Warning),
        ("error", Self::Error),
        ("fatal", Self::Fatal),
        ("panic", Self::Fatal),
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

/// A text that names no level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a log level: use debug, info, warn, error, fatal or panic")]
pub struct LevelError;

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        let found = Self::NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        found.map(|(_, level)| *level).ok_or(LevelError)
    }
}

/// What may stand in a log line.
#[derive(Clone, Debug, PartialEq)]
pub struct Field(Value);

impl Field {
    /// A text made at run time. The caller vouches that no client address and no destination is in it.
    pub fn text(text: impl Into<String>) -> Self {
        Self(Value::String(text.into()))
    }

    /// An address that this server itself listens on.
    pub fn listener(address: std::net::SocketAddr) -> Self {
        Self(Value::String(address.to_string()))
    }

    /// An error of this host: files, sockets, settings. Errors of a peer are counted, not quoted.
    pub fn local_error(error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Self(Value::String(text))
    }

    /// A request parameter in the form that `culvert_protocol::api::log_fields` gave it, which leaves addresses out.
    pub fn parameter(value: Value) -> Self {
        Self(value)
    }

    /// An object, for events that group their counters.
    pub fn object<'a>(members: impl IntoIterator<Item = (&'a str, Field)>) -> Self {
        Self(Value::Object(members.into_iter().map(|(name, field)| (name.to_owned(), field.0)).collect()))
    }
}

macro_rules! fields_from {
    ($($kind:ty),*) => {
        $(impl From<$kind> for Field {
            fn from(value: $kind) -> Self {
                Self(Value::from(value))
            }
        })*
    };
}

fields_from!(bool, i64, u64, u32, u16, usize, f64, &'static str);

/// What every line says about this server.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    pub host_id: String,
    /// Hosting provider; empty leaves the field out.
    pub provider: String,
    pub build_rev: &'static str,
}

/// Where lines go and which. Clones write to the same place.
#[derive(Clone)]
pub struct Logger(Arc<Inner>);

struct Inner {
    origin: Origin,
    level: AtomicU8,
    now: fn() -> OffsetDateTime,
    sink: Mutex<Sink>,
    /// Lines that could not be written.
    lost: AtomicU64,
    /// Whether a lost line ends the server.
    stops_server: bool,
    broken: watch::Sender<bool>,
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logger").field("level", &self.level()).finish_non_exhaustive()
    }
}

impl Logger {
    /// Opens the target. A file is created if need be and never followed through a symbolic link.
    pub fn open(target: LogTarget, keeping: Keeping, level: Level, origin: Origin) -> Result<Self, LogError> {
        let sink = Sink::open(target, keeping.rotation)?;
        Ok(Self::with_sink(sink, level, origin, keeping.stops_server))
    }

    /// A logger whose lines can be read back, for tests.
    pub fn captured(level: Level, origin: Origin) -> (Self, Captured) {
        let (sink, captured) = Sink::captured();
        (Self::with_sink(sink, level, origin, false), captured)
    }

    fn with_sink(sink: Sink, level: Level, origin: Origin, stops_server: bool) -> Self {
        Self(Arc::new(Inner {
            origin,
            level: AtomicU8::new(level as u8),
            now: OffsetDateTime::now_utc,
            sink: Mutex::new(sink),
            lost: AtomicU64::new(0),
            stops_server,
            broken: watch::Sender::new(false),
        }))
    }

    fn level(&self) -> Level {
        let number = self.0.level.load(Ordering::Relaxed);
        Level::ALL.into_iter().find(|level| *level as u8 == number).unwrap_or(Level::Info)
    }

    /// Changes which lines are written from now on.
    pub fn set_level(&self, level: Level) {
        self.0.level.store(level as u8, Ordering::Relaxed);
    }

    /// Lines that could not be written so far.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Returns when the log could not be written and that shall end the server.
    pub async fn broken(&self) {
        let mut broken = self.0.broken.subscribe();
        // The sender is as old as this.
        let _ = broken.wait_for(|broken| *broken).await;
    }

    /// Whether lines of this level are written, to save the work of making one.
    pub fn enabled(&self, level: Level) -> bool {
        level as u8 >= self.0.level.load(Ordering::Relaxed)
    }

    #[track_caller]
    pub fn debug<'a>(&self, message: &'static str, fields: impl IntoIterator<Item = (&'a str, Field)>) {
        self.line(Level::Debug, message, fields);
    }

    #[track_caller]
    pub fn info<'a>(&self, message: &'static str, fields: impl IntoIterator<Item = (&'a str, Field)>) {
        self.line(Level::Info, message, fields);
    }

    #[track_caller]
    pub fn warning<'a>(&self, message: &'static str, fields: impl IntoIterator<Item = (&'a str, Field)>) {
        self.line(Level::Warning, message, fields);
    }

    #[track_caller]
    pub fn error<'a>(&self, message: &'static str, fields: impl IntoIterator<Item = (&'a str, Field)>) {
        self.line(Level::Error, message, fields);
    }

    /// One line about where a flow goes, of level debug: no other may name a destination.
    #[track_caller]
    pub fn destination<'a>(
        &self,
        message: &'static str,
        (host, port): (&str, u32),
        fields: impl IntoIterator<Item = (&'a str, Field)>,
    ) {
        if self.enabled(Level::Debug) {
            let destination = [("destination", Field::text(format!("{host}:{port}")))];
            self.line(Level::Debug, message, destination.into_iter().chain(fields));
        }
    }

    /// One log line. A field called like one of the line's own is kept as `fields.NAME`, as the reference does.
    #[track_caller]
    pub fn line<'a>(
        &self,
        level: Level,
        message: &'static str,
        fields: impl IntoIterator<Item = (&'a str, Field)>,
    ) {
        if !self.enabled(level) {
            return;
        }
        let own =
            [("level", level.as_str().into()), ("msg", message.into()), ("trace", trace(Location::caller()))];
        self.write(own, fields);
    }

    /// One metric event, whatever the level. It has no `level` and no `msg`.
    pub fn event<'a>(&self, name: &'static str, fields: impl IntoIterator<Item = (&'a str, Field)>) {
        self.write([("event_name", name.into())], fields);
    }

    /// Opens the file anew by its name, after something else moved it away. Standard error stays as it is.
    pub fn reopen(&self) -> Result<(), LogError> {
        self.0.sink.lock().unwrap_or_else(PoisonError::into_inner).reopen()
    }

    fn write<'a, const N: usize>(
        &self,
        own: [(&str, Field); N],
        fields: impl IntoIterator<Item = (&'a str, Field)>,
    ) {
        let Some(line) = self.made(own, fields) else { return };
        let mut sink = self.0.sink.lock().unwrap_or_else(PoisonError::into_inner);
        match sink.write(&line) {
            Outcome::Written => {}
            Outcome::WrittenAfter(lost) => {
                let level = ("level", Level::Error.as_str().into());
                let own = [level, ("msg", "lines of the log were lost".into())];
                if let Some(line) = self.made(own, [("count", lost.into())]) {
                    sink.write(&line);
                }
            }
            Outcome::Lost => {
                self.0.lost.fetch_add(1, Ordering::Relaxed);
                if self.0.stops_server {
                    self.0.broken.send_replace(true);
                }
            }
        }
    }

    /// A line with its end.
    fn made<'a, const N: usize>(
        &self,
        own: [(&str, Field); N],
        fields: impl IntoIterator<Item = (&'a str, Field)>,
    ) -> Option<Vec<u8>> {
        let origin = &self.0.origin;
        let mut object: BTreeMap<String, Value> = BTreeMap::new();
        object.insert("timestamp".into(), Value::String(timestamp((self.0.now)())));
        object.insert("host_id".into(), Value::String(origin.host_id.clone()));
        object.insert("build_rev".into(), Value::String(origin.build_rev.into()));
        if !origin.provider.is_empty() {
            object.insert("provider".into(), Value::String(origin.provider.clone()));
        }
        object.extend(own.into_iter().map(|(name, field)| (name.to_owned(), field.0)));
        for (name, field) in fields {
            let name = if object.contains_key(name) { format!("fields.{name}") } else { name.to_owned() };
            object.insert(name, field.0);
        }
        let mut line = serde_json::to_vec(&object).ok()?;
        line.push(b'\n');
        Some(line)
    }
}

/// RFC 3339 to the second.
fn timestamp(now: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    now.to_offset(time::UtcOffset::UTC).format(&format).unwrap_or_default()
}

/// `listen.rs#42`: the file without its folders, and the line.
fn trace(location: &Location<'_>) -> Field {
    let file = location.file();
    let file = file.rsplit(['/', '\\']).next().unwrap_or(file);
    Field::text(format!("{file}#{}", location.line()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin { host_id: "h".into(), provider: String::new(), build_rev: "r" }
    }

    #[test]
    fn lines_have_the_reference_s_fields() {
        let (log, captured) = Logger::captured(Level::Info, origin());
        log.info("listening", [("tunnelProtocol", "OSSH".into()), ("msg", "mine".into())]);
        log.debug("not written", []);
        let line = captured.text();
        let value: Value = serde_json::from_str(line.trim_end()).unwrap();
        let names: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["build_rev", "fields.msg", "host_id", "level", "msg", "timestamp", "trace", "tunnelProtocol"]
        );
        assert_eq!(value["msg"], "listening");
        assert_eq!(value["level"], "info");
        assert!(value["trace"].as_str().unwrap().starts_with("mod.rs#"), "{value}");
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1);
    }

    #[test]
    fn events_have_neither_level_nor_message() {
        let (log, captured) = Logger::captured(Level::Fatal, Origin { provider: "p".into(), ..origin() });
        log.event("server_load", [("ALL", Field::object([("accepted_clients", 3u64.into())]))]);
        let value: Value = serde_json::from_str(captured.text().trim_end()).unwrap();
        let names: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["ALL", "build_rev", "event_name", "host_id", "provider", "timestamp"]);
        assert_eq!(value["ALL"]["accepted_clients"], 3);
    }

    #[test]
    fn the_level_can_change() {
        let (log, captured) = Logger::captured(Level::Error, origin());
        log.info("not written", []);
        log.set_level(Level::Debug);
        log.debug("written", []);
        assert_eq!(captured.text().lines().count(), 1);
    }

    #[tokio::test]
    async fn lost_lines_are_counted_told_and_may_end_the_server() {
        let folder = crate::scratch::Scratch::new("log-full");
        // Takes no byte, like a full disk.
        let target = LogTarget::File { path: "/dev/full".into(), create_mode: 0o600 };
        let keeping = Keeping { stops_server: true, ..Keeping::default() };
        let log = Logger::open(target, keeping, Level::Info, origin()).unwrap();
        log.info("lost", []);
        log.info("lost", []);
        assert_eq!(log.lost(), 2);
        log.broken().await;
        let path = folder.path().join("log");
        let target = LogTarget::File { path: path.clone(), create_mode: 0o600 };
        *log.0.sink.lock().unwrap() = match (Sink::open(target, None).unwrap(), 2) {
            (Sink::File { file, .. }, lost) => Sink::File { file, lost },
            (other, _) => other,
        };
        log.info("again", []);
        let text = std::fs::read_to_string(path).unwrap();
        let counts: Vec<_> = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
        assert!(counts.len() == 2 && counts[1]["count"] == 2, "{text}");
    }

    #[test]
    fn timestamps() {
        let at = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        assert_eq!(timestamp(at), "2023-11-14T22:13:20Z");
    }

    #[test]
    fn levels() {
        assert_eq!("WARN".parse(), Ok(Level::Warning));
        assert_eq!("panic".parse(), Ok(Level::Fatal));
        assert_eq!("verbose".parse::<Level>(), Err(LevelError));
        assert!(Level::Debug < Level::Info && Level::Error < Level::Fatal);
    }
}
