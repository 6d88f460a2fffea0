//! One program that takes part: started in its own process group, its output followed with the time of each line, killed when dropped.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use super::{Outcome, proc, sys};

/// What is kept of a program's output.
const KEPT_LINES: usize = 20_000;

/// A running program.
pub(crate) struct Program {
    name: String,
    child: Child,
    output: Arc<Mutex<Output>>,
    /// How many lines [`Program::next_line`] has looked at.
    read: usize,
}

#[derive(Default)]
struct Output {
    lines: Vec<(SystemTime, String)>,
    /// Of all that came, kept or not.
    count: u64,
    bytes: u64,
}

impl Program {
    /// Starts it with nothing on its standard input.
    pub(crate) fn start(name: &str, command: &mut Command) -> Outcome<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        #[expect(unsafe_code, reason = "std has no other way to ask for the parent's death signal")]
        // SAFETY: between fork and exec it makes one system call and touches no memory.
        unsafe {
            command.pre_exec(|| {
                sys::die_with_parent();
                Ok(())
            });
        }
        let mut child = command.spawn().map_err(|error| format!("start {name}: {error}"))?;
        sys::guard(child.id());
        let output = Arc::default();
        follow(&output, child.stdout.take());
        follow(&output, child.stderr.take());
        Ok(Self { name: name.to_owned(), child, output, read: 0 })
    }

    /// Waits for a line from which `pick` makes something; with the time at which it came.
    pub(crate) fn wait_line<T>(
        &mut self,
        what: &str,
        limit: Duration,
        pick: impl FnMut(&str) -> Option<T>,
    ) -> Outcome<(SystemTime, T)> {
        self.read = 0;
        self.next_line(what, limit, pick)
    }

    /// The same, but only of lines behind the one that was found last.
    pub(crate) fn next_line<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut pick: impl FnMut(&str) -> Option<T>,
    ) -> Outcome<(SystemTime, T)> {
        let deadline = sys::now() + limit;
        loop {
            let ended = self.child.try_wait()?.is_some();
            if ended {
                // The readers may still be at its last lines.
                thread::sleep(Duration::from_millis(50));
            }
            {
                let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
                for (time, line) in output.lines.iter().skip(self.read) {
                    self.read += 1;
                    if let Some(found) = pick(line) {
                        return Ok((*time, found));
                    }
                }
            }
            if ended || sys::now() > deadline {
                let how = if ended { "it ended" } else { "time is up" };
                return Err(format!("{}: no {what}: {how}\n{}", self.name, self.tail()).into());
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for its end; true for success.
    pub(crate) fn wait_success(&mut self, limit: Duration) -> Outcome<()> {
        let deadline = sys::now() + limit;
        while sys::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                // The readers may still be at its last lines.
                thread::sleep(Duration::from_millis(20));
                let failed = || format!("{}: {status}\n{}", self.name, self.tail()).into();
                return if status.success() { Ok(()) } else { Err(failed()) };
            }
            thread::sleep(Duration::from_millis(2));
        }
        Err(format!("{}: still running after {} s\n{}", self.name, limit.as_secs(), self.tail()).into())
    }

    /// Waits for its end; the code it exits with, unless a signal ended it.
    pub(crate) fn wait_code(&mut self, limit: Duration) -> Outcome<Option<i32>> {
        let deadline = sys::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            if sys::now() > deadline {
                return Err(format!("{}: still running after {} s", self.name, limit.as_secs()).into());
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Signals it and all below it.
    pub(crate) fn signal(&self, signal: i32) {
        sys::signal_group(self.child.id(), signal);
    }

    /// Its process, or the one that it wraps.
    pub(crate) fn process(&self) -> u32 {
        proc::innermost(self.child.id())
    }

    /// How many lines it has printed.
    pub(crate) fn lines(&self) -> u64 {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// How many bytes it has printed.
    pub(crate) fn printed(&self) -> u64 {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    /// User and system time of it and all below it, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        proc::of_tree(self.child.id()).cpu_seconds
    }

    /// Resident memory of it and all below it, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        proc::of_tree(self.child.id()).resident
    }

    /// The last lines, for a message.
    fn tail(&self) -> String {
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let from = output.lines.len().saturating_sub(8);
        let each = output.lines.iter().skip(from).map(|(_, line)| line.chars().take(300).collect::<String>());
        each.collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        sys::end(self.child.id());
        let _ = self.child.wait();
    }
}

fn follow(output: &Arc<Mutex<Output>>, from: Option<impl Read + Send + 'static>) {
    let Some(from) = from else { return };
    let output = Arc::clone(output);
    thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { break };
            let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
            output.count += 1;
            output.bytes += line.len() as u64 + 1;
            if output.lines.len() < KEPT_LINES {
                output.lines.push((SystemTime::now(), line));
            }
        }
    });
}
