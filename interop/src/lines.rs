//! The lines that a program has written, kept while it runs, to be waited on.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::clock::Deadline;

/// How many lines of one program are kept; the oldest go first.
const KEPT: usize = 20_000;

/// The output of one program, both streams merged.
#[derive(Default)]
pub(crate) struct Lines {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    dropped: usize,
    lines: VecDeque<String>,
    readers: usize,
}

/// How far a waiter has read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor(usize);

/// How waiting for a line ended without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missed {
    /// The time was up.
    TimedOut,
    /// The program closed its output, so nothing more can come.
    Closed,
}

impl Lines {
    /// Starts a thread that moves the lines of `stream` here.
    pub(crate) fn follow(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        self.lock().readers += 1;
        let lines = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                lines.push(String::from_utf8_lossy(&line).into_owned());
            }
            lines.lock().readers -= 1;
            lines.changed.notify_all();
        });
    }

    /// The first value that `pick` makes of a line at or after `cursor`, which moves past that line.
    pub(crate) fn wait<T>(
        &self,
        cursor: &mut Cursor,
        limit: Duration,
        mut pick: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, Missed> {
        let deadline = Deadline::after(limit);
        let mut state = self.lock();
        loop {
            let start = cursor.0.saturating_sub(state.dropped);
            for line in state.lines.iter().skip(start) {
                cursor.0 += 1;
                if let Some(found) = pick(line) {
                    return Ok(found);
                }
            }
            if state.readers == 0 {
                return Err(Missed::Closed);
            }
            let left = deadline.left().ok_or(Missed::TimedOut)?;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The last `count` lines.
    pub(crate) fn tail(&self, count: usize) -> Vec<String> {
        let state = self.lock();
        state.lines.iter().skip(state.lines.len().saturating_sub(count)).cloned().collect()
    }

    fn push(&self, line: String) {
        let mut state = self.lock();
        if state.lines.len() == KEPT {
            state.lines.pop_front();
            state.dropped += 1;
        }
        state.lines.push_back(line);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_find_each_line_once_and_notice_the_end() {
        let lines = Arc::new(Lines::default());
        lines.follow(&b"one\ntwo\none\n"[..]);
        let mut cursor = Cursor::default();
        let one = |line: &str| (line == "one").then_some(());
        assert_eq!(lines.wait(&mut cursor, Duration::from_secs(5), one), Ok(()));
        assert_eq!(lines.wait(&mut cursor, Duration::from_secs(5), one), Ok(()));
        assert_eq!(lines.wait(&mut cursor, Duration::from_secs(5), one), Err(Missed::Closed));
        assert_eq!(lines.tail(2), ["two", "one"]);
    }
}
