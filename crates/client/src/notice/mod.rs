//! What the client tells its user and its host program: typed events, who may see each, and where they go. A
//! [`Notices`] handle is passed to whoever has something to say; there is no global state.

mod event;
mod files;
mod redact;
mod sink;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;

pub use event::{
    Audience, BuildInfo, CandidateServers, Detail, DiagnosticId, DialDetails, DialNetworkDetails, DialOrigin,
    Notice, PortInUse, Topic, duration_text,
};
pub use files::{NoticeFileLimits, NoticeFiles};
pub use redact::{FreeText, Sensitive, without_addresses};
pub use sink::{Emitted, Form, Sink};

use event::Repeats;

/// Most notices of which a repeat is remembered; beyond it, repeats are shown.
const MOST_REMEMBERED: usize = 256;

/// Where to say something. Cheap to clone; all clones write to the same sinks, one notice after the other.
#[derive(Clone)]
pub struct Notices {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    detail: Detail,
    topics: BTreeSet<Topic>,
    sinks: Vec<Sink>,
    clock: fn() -> OffsetDateTime,
    last: BTreeMap<String, String>,
    ended: bool,
}

impl Notices {
    /// A handle that writes to `sinks`, showing only what is for every user until [`Notices::show`] says otherwise.
    pub fn new(sinks: Vec<Sink>) -> Self {
        Self::with_clock(sinks, OffsetDateTime::now_utc)
    }

    /// A handle with another source of time, for tests.
    pub fn with_clock(sinks: Vec<Sink>, clock: fn() -> OffsetDateTime) -> Self {
        let shared = Shared {
            detail: Detail::default(),
            topics: BTreeSet::new(),
            sinks,
            clock,
            last: BTreeMap::new(),
            ended: false,
        };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// A handle that says nothing.
    pub fn silent() -> Self {
        Self::new(Vec::new())
    }

    /// A further sink: a channel, which loses notices when it is full.
    pub fn subscribe(&self, capacity: usize) -> tokio::sync::mpsc::Receiver<Emitted> {
        let (sender, receiver) = tokio::sync::mpsc::channel(capacity.max(1));
        self.lock().sinks.push(Sink::Channel(sender));
        receiver
    }

    /// Also writes notices to files from now on. Streams no longer get what is for diagnosis, and no home pages.
    pub fn keep_files(&self, files: NoticeFiles) -> std::io::Result<()> {
        let sink = Sink::Files(files::Files::open(files)?);
        self.lock().sinks.push(sink);
        Ok(())
    }

    /// Sets how much is shown from now on.
    pub fn show(&self, detail: Detail, topics: BTreeSet<Topic>) {
        let mut shared = self.lock();
        shared.detail = detail;
        shared.topics = topics;
    }

    /// Whether a topic is shown, for callers that would otherwise collect data in vain.
    pub fn shows(&self, topic: Topic) -> bool {
        self.lock().topics.contains(&topic)
    }

    /// Emits a notice, unless it is not for this audience, repeats itself, or comes after [`Notice::Exiting`].
    pub fn emit(&self, notice: Notice) {
        let mut shared = self.lock();
        if shared.ended || !shared.is_for_audience(&notice) {
            return;
        }
        let notice = notice.reduced_to(shared.detail);
        if shared.is_repeat(&notice) {
            return;
        }
        shared.ended = matches!(notice, Notice::Exiting {});
        let emitted = Emitted { at: (shared.clock)(), notice };
        let filed = shared.sinks.iter().any(|sink| matches!(sink, Sink::Files(_)));
        let in_files = matches!(emitted.notice.audience(), Audience::Diagnostic)
            || matches!(emitted.notice, Notice::Homepage { .. });
        let failures: Vec<String> = shared
            .sinks
            .iter_mut()
            .filter(|sink| !(filed && in_files && matches!(sink, Sink::Stream { .. })))
            .filter_map(|sink| sink.write(&emitted).err())
            .collect();
        for failure in failures {
            let notice = Notice::InternalError { message: FreeText::new(failure) };
            let report = Emitted { at: emitted.at, notice };
            // A sink that fails again has nowhere left to say so.
            shared.sinks.iter_mut().for_each(|sink| drop(sink.write(&report)));
        }
    }

    pub fn info(&self, message: impl fmt::Display) {
        self.emit(Notice::info(message));
    }

    pub fn warning(&self, message: impl fmt::Display) {
        self.emit(Notice::warning(message));
    }

    pub fn error(&self, message: impl fmt::Display) {
        self.emit(Notice::error(message));
    }

    /// Says why the run ends; shown to every user.
    pub fn fatal(&self, message: impl fmt::Display) {
        self.emit(Notice::fatal(message));
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn is_for_audience(&self, notice: &Notice) -> bool {
        match notice.audience() {
            Audience::User => true,
            Audience::Subscriber(topic) => self.topics.contains(&topic),
            Audience::Diagnostic => self.detail >= Detail::Diagnostic,
        }
    }

    fn is_repeat(&mut self, notice: &Notice) -> bool {
        let (kind, data) = sink::parts(notice);
        let key = match notice.repeats() {
            Repeats::Shown => return false,
            Repeats::LastSuppressed => kind,
            Repeats::AllSuppressed => format!("{kind} {data}"),
        };
        if self.last.get(&key) == Some(&data) {
            return true;
        }
        if self.last.len() < MOST_REMEMBERED || self.last.contains_key(&key) {
            self.last.insert(key, data);
        }
        false
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notices")
    }
}
