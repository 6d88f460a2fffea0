//! How programs end: exit codes that service managers and scripts can tell apart, and the words that go with them.
//!
//! Source: sysexits(3).

use std::process::ExitCode;

/// How a program ends, as sysexits(3) numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command line is wrong.
    Usage = 64,
    /// A file of data is wrong.
    Data = 65,
    /// Something that is needed cannot be had: an address, a port, the machine's random source.
    Unavailable = 69,
    /// The program is at fault.
    Software = 70,
    /// A file cannot be written.
    CannotCreate = 73,
    /// A file that must be written cannot be any more.
    Io = 74,
    /// The system does not permit it.
    Permission = 77,
    /// A configuration file is wrong.
    Config = 78,
    /// A person pressed Ctrl-C, as shells number it.
    Interrupted = 130,
}

/// Why a program ends early: what to say, in a person's words, and the exit code.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl Failure {
    /// A mistake on the command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    /// Says on standard error what went wrong, and where help is if that was the command line.
    pub fn report(&self, program: &str, help: &str) -> ExitCode {
        for line in self.message.lines() {
            eprintln!("{program}: {line}");
        }
        if self.exit == Exit::Usage {
            eprintln!("{program}: try {help}");
        }
        self.exit.into()
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}
