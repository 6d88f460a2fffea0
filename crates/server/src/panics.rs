//! Panics are bugs, and end what they are in and nothing else: the runtime catches one in a tunnel's task, and this file writes it to
//! the log as the reference names it, `server_panic`. There: where it was and on whose behalf, but of its message only what was
//! compiled in, since what is put into a message at run time may be a client's.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::fmt;
use std::panic::{PanicHookInfo, set_hook, take_hook};
use std::sync::{Arc, Once};

use crate::figures::Figures;
use crate::log::{Field, Logger};

/// Our functions that are named of those that were being called.
const MOST_FRAMES: usize = 24;
/// What the names of our functions have in them.
const OURS: &str = "culvert";

thread_local! {
    /// Where panics of this thread are written.
    static LOG: RefCell<Option<Logger>> = const { RefCell::new(None) };
    /// Where they are counted.
    static FIGURES: RefCell<Option<Arc<Figures>>> = const { RefCell::new(None) };
}

/// From now on panics of this thread are written to the log. Those of other threads go where they went.
pub(crate) fn log_those_of_this_thread(log: &Logger) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if !write(info) {
                before(info);
            }
        }));
    });
    LOG.with(|of_thread| *of_thread.borrow_mut() = Some(log.clone()));
}

/// And are counted.
pub(crate) fn count_those_of_this_thread(figures: &Arc<Figures>) {
    FIGURES.with(|of_thread| *of_thread.borrow_mut() = Some(figures.clone()));
}

/// False: this thread has no log.
fn write(info: &PanicHookInfo<'_>) -> bool {
    // A thread that is about to end may have lost it; one that panics while writing must not try again.
    let log = LOG.try_with(|log| log.try_borrow_mut().ok()?.take()).ok().flatten();
    let Some(log) = log else { return false };
    let place =
        info.location().map(|at| format!("{}:{}:{}", without_folders(at.file()), at.line(), at.column()));
    let fields = [
        ("panic", Field::text(message(info.payload()))),
        ("location", Field::text(place.unwrap_or_default())),
        ("thread", Field::text(std::thread::current().name().unwrap_or_default())),
        ("backtrace", Field::text(our_frames(&Backtrace::force_capture().to_string()))),
    ];
    log.event("server_panic", fields);
    let _ = FIGURES.try_with(|figures| figures.try_borrow().map(|it| it.iter().for_each(|it| it.panicked())));
    LOG.with(|of_thread| *of_thread.borrow_mut() = Some(log));
    true
}

/// The text of a panic if it was compiled in.
fn message(payload: &(dyn Any + Send)) -> &'static str {
    match payload.downcast_ref::<&'static str>() {
        Some(text) => text,
        None => "(not written, as it may have data of clients in it)",
    }
}

/// From the folder that names the crate: where it was built is nobody's business.
fn without_folders(file: &str) -> &str {
    let start = file.rfind("/src/").and_then(|at| file.get(..at)?.rfind('/')).map_or(0, |at| at + 1);
    file.get(start..).unwrap_or(file)
}

/// The names of our functions, innermost first, from the text of a backtrace: `  12: name` and lines `at file`.
fn our_frames(backtrace: &str) -> String {
    let names = backtrace.lines().filter_map(|line| line.trim_start().split_once(": ").map(|(_, name)| name));
    // Without those that write this.
    let ours = names.skip_while(|name| !name.contains("panicking")).filter(|name| name.contains(OURS));
    ours.take(MOST_FRAMES).collect::<Vec<_>>().join("\n")
}

/// Where a test may let the server panic. No configuration leads here: an embedding program sets it or nobody.
#[derive(Clone, Default)]
#[doc(hidden)]
pub struct Drill(Option<Arc<dyn Fn(DrillSpot) + Send + Sync>>);

/// A place in the server's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub enum DrillSpot {
    /// The loop that accepts connections has accepted one.
    Accept,
    /// A connection is about to be served.
    Connection,
    /// A tunnel has a request to answer.
    Request,
    /// A flow is about to be dialled.
    Flow,
}

impl Drill {
    pub fn new(act: impl Fn(DrillSpot) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(act)))
    }

    pub(crate) fn at(&self, spot: DrillSpot) {
        if let Some(act) = &self.0 {
            act(spot);
        }
    }
}

impl fmt::Debug for Drill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Drill" } else { "no Drill" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Level, Origin};

    #[test]
    fn a_panic_is_written_without_what_it_says_of_data() {
        let (log, captured) = Logger::captured(Level::Info, Origin::default());
        let on_thread = |panics: fn()| {
            let log = log.clone();
            let thread = std::thread::Builder::new().name("tunnels".into()).spawn(move || {
                log_those_of_this_thread(&log);
                panics();
            });
            thread.unwrap().join().unwrap_err();
        };
        on_thread(|| panic!("a bug"));
        on_thread(|| panic!("{} was not expected", std::hint::black_box("example.com")));
        let text = captured.text();
        let events: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(events.len(), 2);
        assert!(
            events.iter().all(|event| event["event_name"] == "server_panic" && event["thread"] == "tunnels")
        );
        assert_eq!(events[0]["panic"], "a bug");
        let place = events[0]["location"].as_str().unwrap();
        assert!(place.starts_with("server/src/panics.rs:"), "{place}");
        assert!(!text.contains("example.com"), "{text}");
        assert!(events[0]["backtrace"].as_str().unwrap().contains("culvert_server"), "{text}");
    }

    #[test]
    fn folders_are_left_out() {
        assert_eq!(without_folders("/home/me/crates/server/src/a/b.rs"), "server/src/a/b.rs");
        assert_eq!(without_folders("crates/ssh/src/lib.rs"), "ssh/src/lib.rs");
        assert_eq!(without_folders("lib.rs"), "lib.rs");
    }
}
