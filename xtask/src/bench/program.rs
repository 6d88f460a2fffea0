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
    lines: Arc<Mutex<Vec<(SystemTime, String)>>>,
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
        let lines = Arc::default();
        follow(&lines, child.stdout.take());
        follow(&lines, child.stderr.take());
        Ok(Self { name: name.to_owned(), child, lines })
    }

    /// Waits for a line from which `pick` makes something; with the time at which it came.
    pub(crate) fn wait_line<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut pick: impl FnMut(&str) -> Option<T>,
    ) -> Outcome<(SystemTime, T)> {
        let deadline = sys::now() + limit;
        let mut seen = 0;
        loop {
            let ended = self.child.try_wait()?.is_some();
            {
                let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
                for (time, line) in lines.iter().skip(seen) {
                    if let Some(found) = pick(line) {
                        return Ok((*time, found));
                    }
                }
                seen = lines.len();
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
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let from = lines.len().saturating_sub(8);
        let each = lines.iter().skip(from).map(|(_, line)| line.chars().take(300).collect::<String>());
        each.collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        sys::end(self.child.id());
        let _ = self.child.wait();
    }
}

fn follow(lines: &Arc<Mutex<Vec<(SystemTime, String)>>>, from: Option<impl Read + Send + 'static>) {
    let Some(from) = from else { return };
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { break };
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() < KEPT_LINES {
                lines.push((SystemTime::now(), line));
            }
        }
    });
}
