//! Browsers, run without a window and with a fresh profile, towards a port that only listens.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use libtest_mimic::Failed;

/// What browsers are told to go to, which has to be a name.
pub(crate) const NAME: &str = "localhost";
/// A browser's first start takes long.
const PATIENCE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Browser {
    Chromium,
    Firefox,
}

impl Browser {
    pub(crate) const ALL: [Self; 2] = [Self::Chromium, Self::Firefox];

    /// Its program.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chromium => "chromium",
            Self::Firefox => "firefox-esr",
        }
    }

    /// What its profiles are called.
    pub(crate) fn profile(self) -> &'static str {
        match self {
            Self::Chromium => "Chrome",
            Self::Firefox => "Firefox",
        }
    }

    pub(crate) fn program(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join(self.name())).find(|program| program.is_file())
    }

    /// The first number of its version.
    pub(crate) fn version(self, program: &Path) -> Option<u32> {
        let output = Command::new(program).arg("--version").stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let word =
            text.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
        word.split('.').next()?.parse().ok()
    }

    /// The first ClientHello, with its record's header.
    pub(crate) fn hello(self, program: &Path) -> Result<Vec<u8>, Failed> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let home = std::env::temp_dir().join(format!("culvert-browser-{}-{number}", std::process::id()));
        fs::create_dir_all(&home)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("https://{NAME}:{}/", listener.local_addr()?.port());
        let running = Running { child: self.start(program, &home, &url)?, home };
        let caught = accept(&listener).and_then(|stream| read_record(&stream));
        drop(running);
        caught
    }

    fn start(self, program: &Path, home: &Path, url: &str) -> Result<Child, Failed> {
        let mut command = Command::new(program);
        match self {
            Self::Chromium => command
                .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
                .arg(format!("--user-data-dir={}", home.display())),
            Self::Firefox => command.args(["--headless", "--no-remote", "--profile"]).arg(home),
        };
        command.arg(url).env("HOME", home).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // With its own children, to be ended together.
        Ok(command.process_group(0).spawn()?)
    }
}

struct Running {
    child: Child,
    home: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.home);
    }
}

fn accept(listener: &TcpListener) -> Result<TcpStream, Failed> {
    listener.set_nonblocking(true)?;
    let mut waited = Duration::ZERO;
    while waited < PATIENCE {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            return Ok(stream);
        }
        thread::sleep(TICK);
        waited += TICK;
    }
    Err("the browser did not come".into())
}

fn read_record(mut stream: &TcpStream) -> Result<Vec<u8>, Failed> {
    let mut record = vec![0; 5];
    stream.read_exact(&mut record)?;
    let length = u16::from_be_bytes([record[3], record[4]]);
    record.resize(5 + usize::from(length), 0);
    stream.read_exact(&mut record[5..])?;
    Ok(record)
}
