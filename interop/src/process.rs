//! One program under test: started in its own process group, its output followed, its group killed when dropped.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::poll;
use crate::failure::{Doing, Failure};
use crate::lines::{Cursor, Lines, Missed};
use crate::usage::{self, Usage};
use crate::watchdog;

/// The output of every program that a case has started, for the report when it fails.
#[derive(Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<Named>>>);

type Named = (String, Arc<Lines>);

impl Journal {
    /// The last lines of each program, ready to print.
    pub(crate) fn tails(&self, count: usize) -> String {
        let programs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut report = String::new();
        for (name, lines) in programs.iter().rev().take(4).rev() {
            report.push_str(&format!("\n---- last lines of {name} ----\n"));
            for line in lines.tail(count) {
                report.extend(line.chars().take(400));
                report.push('\n');
            }
        }
        report
    }

    fn add(&self, name: &str, lines: &Arc<Lines>) {
        let mut programs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        programs.push((name.to_owned(), Arc::clone(lines)));
    }
}

/// The signals that cases send.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// An orderly stop.
    Terminate,
    /// A crash.
    Kill,
    /// To a server: files have changed.
    Reload,
}

/// A running program.
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: Arc<Lines>,
}

impl Process {
    /// Starts `command` with nothing on its standard input.
    pub(crate) fn start(journal: &Journal, name: &str, command: &mut Command) -> Result<Self, Failure> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().doing(format!("start {name}"))?;
        watchdog::add(child.id());
        let lines = Arc::new(Lines::default());
        if let Some(stdout) = child.stdout.take() {
            lines.follow(stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            lines.follow(stderr);
        }
        journal.add(name, &lines);
        Ok(Self { name: name.to_owned(), child, lines })
    }

    /// Its last lines.
    pub(crate) fn tail(&self, count: usize) -> Vec<String> {
        self.lines.tail(count)
    }

    /// Waits for a line of its output; see [`Lines::wait`].
    pub(crate) fn wait_line<T>(
        &mut self,
        cursor: &mut Cursor,
        limit: Duration,
        awaited: &str,
        pick: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, Failure> {
        match self.lines.wait(cursor, limit, pick) {
            Ok(found) => Ok(found),
            Err(Missed::TimedOut) => {
                Err(Failure::Timeout { awaited: format!("{awaited} from {}", self.name), limit })
            }
            Err(Missed::Closed) => {
                let status = poll(Duration::from_secs(1), || self.child.try_wait().ok().flatten());
                Err(Failure::Ended { program: self.name.clone(), status, awaited: awaited.to_owned() })
            }
        }
    }

    /// Sends a signal to the program itself, not to its children.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Failure> {
        send(i64::from(self.child.id()), signal).doing(format!("signal {}", self.name))
    }

    /// Waits until it has ended.
    pub(crate) fn wait_exit(&mut self, limit: Duration) -> Result<ExitStatus, Failure> {
        let child = &mut self.child;
        poll(limit, || child.try_wait().ok().flatten())
            .ok_or_else(|| Failure::Timeout { awaited: format!("exit of {}", self.name), limit })
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it and its children have used so far.
    pub(crate) fn usage(&self) -> Usage {
        usage::of_tree(self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The group, because the reference's server is a wrapper around a second process.
        let _ = send(-i64::from(self.child.id()), Signal::Kill);
        watchdog::end(self.child.id());
        let _ = self.child.wait();
    }
}

fn send(target: i64, signal: Signal) -> io::Result<()> {
    let number = match signal {
        Signal::Interrupt => libc::SIGINT,
        Signal::Terminate => libc::SIGTERM,
        Signal::Kill => libc::SIGKILL,
        Signal::Reload => libc::SIGUSR1,
    };
    let target = libc::pid_t::try_from(target).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "std has no way to send a signal other than KILL")]
    // SAFETY: kill takes two integers and touches no memory of this process.
    let result = unsafe { libc::kill(target, number) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
